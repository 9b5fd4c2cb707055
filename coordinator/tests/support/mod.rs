//! A machine with its log and its clock: what the runner in `broker` does, without tasks or disks.

// Each test crate uses its part of this.
#![allow(dead_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Buf;
use coordinator::groups::consumer::{ClusterTopics, OwnedPartitions, TopicInfo, Topics};
use coordinator::groups::{Command, GroupConfig, Groups, Note, Record, Reply};
use coordinator::machine::{AppendFailure, Decision, Machine, Ticket};
use coordinator::time::{Monotonic, Now};
use storage::types::{Offset, TimestampMs, TopicId};

/// Wall-clock time when the monotonic clock shows 0.
pub(crate) const WALL_START_MS: i64 = 1_700_000_000_000;

pub(crate) struct Seat {
    pub(crate) config: GroupConfig,
    pub(crate) groups: Groups,
    pub(crate) log: Vec<(Offset, Record)>,
    pub(crate) now_ms: u64,
    /// When set, the log takes nothing.
    pub(crate) jammed: Option<AppendFailure>,
    cluster: ClusterTopics,
    tickets: u64,
}

/// What a command, or the passing of time, led to.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) ticket: Option<Ticket>,
    pub(crate) records: Vec<Record>,
    pub(crate) replies: Vec<(Ticket, Reply)>,
}

impl Outcome {
    /// The answer to the command itself; `None` while it is parked.
    pub(crate) fn reply(&self) -> Option<&Reply> {
        self.replies.iter().find(|(ticket, _)| Some(*ticket) == self.ticket).map(|(_, reply)| reply)
    }
}

impl Seat {
    pub(crate) fn new(config: GroupConfig) -> Seat {
        let mut seat = Seat {
            config,
            groups: Groups::new(config),
            log: Vec::new(),
            now_ms: 0,
            jammed: None,
            cluster: ClusterTopics::default(),
            tickets: 0,
        };
        seat.reload();
        seat
    }

    pub(crate) fn now(&self) -> Now {
        let wall = TimestampMs(WALL_START_MS + i64::try_from(self.now_ms).expect("a test is short"));
        Now { mono: Monotonic(self.now_ms), wall }
    }

    pub(crate) fn play(&mut self, command: Command) -> Outcome {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let decision = self.groups.decide(self.now(), ticket, command);
        let mut outcome = Outcome { ticket: Some(ticket), ..Outcome::default() };
        self.carry_out(decision, &mut outcome);
        self.settle(&mut outcome);
        outcome
    }

    /// Lets time pass, stopping at every deadline on the way.
    pub(crate) fn pass(&mut self, ms: u64) -> Outcome {
        let end = self.now_ms + ms;
        let mut outcome = Outcome::default();
        while let Some(next) = self.groups.next_deadline().filter(|next| next.0 <= end) {
            self.now_ms = self.now_ms.max(next.0);
            self.settle(&mut outcome);
        }
        self.now_ms = end;
        outcome
    }

    /// The topics of the cluster are these, with so many partitions.
    pub(crate) fn set_topics(&mut self, counts: &BTreeMap<Arc<str>, i32>) {
        let topics = Arc::new(Counts(counts.clone()));
        self.cluster = ClusterTopics { version: self.cluster.version + 1, topics };
        self.groups.note(Note::Topics(self.cluster.clone()));
    }

    /// A control record has been written by the coordinator of the transaction.
    pub(crate) fn append_marker(&mut self, record: Record) {
        self.append(std::slice::from_ref(&record));
    }

    /// A new leader reads the log.
    pub(crate) fn reload(&mut self) -> Outcome {
        self.groups = Groups::new(self.config);
        self.groups.note(Note::Topics(self.cluster.clone()));
        for (at, record) in &self.log {
            self.groups.apply(*at, record);
        }
        let mut outcome = Outcome::default();
        let decision = self.groups.loaded(self.now());
        self.carry_out(decision, &mut outcome);
        self.settle(&mut outcome);
        outcome
    }

    fn settle(&mut self, outcome: &mut Outcome) {
        for _ in 0..10_000 {
            if self.groups.next_deadline().is_none_or(|next| next.0 > self.now_ms) {
                return;
            }
            let decision = self.groups.expire(self.now());
            self.carry_out(decision, outcome);
        }
        panic!("time stands still: the machine always has something more to do");
    }

    fn carry_out(&mut self, decision: Decision<Groups>, outcome: &mut Outcome) {
        let mut decision = decision;
        if let Some(failure) = self.jammed.filter(|_| !decision.records.is_empty()) {
            decision = self.groups.refuse(self.now(), decision, failure);
            assert!(decision.records.is_empty(), "what cannot be appended is not tried again");
        }
        self.append(&decision.records);
        for note in decision.notes {
            self.groups.note(note);
        }
        self.groups.check();
        outcome.records.extend(decision.records);
        outcome.replies.extend(decision.replies);
    }

    fn append(&mut self, records: &[Record]) {
        let base = Offset(i64::try_from(self.log.len()).expect("a test is short"));
        for record in records {
            self.groups.apply(base, record);
            // What another coordinator would read back.
            self.log.push((base, as_read_back(record)));
        }
    }
}

/// A cluster whose topics have their names as ids.
struct Counts(BTreeMap<Arc<str>, i32>);

impl Topics for Counts {
    fn topic(&self, name: &str) -> Option<TopicInfo> {
        let partitions = *self.0.get(name)?;
        Some(TopicInfo { id: topic_id(name), partitions, racks: BTreeMap::new() })
    }

    fn id(&self, name: &str) -> Option<TopicId> {
        self.0.contains_key(name).then(|| topic_id(name))
    }

    fn name(&self, id: TopicId) -> Option<Arc<str>> {
        self.0.keys().find(|name| topic_id(name) == id).cloned()
    }
}

pub(crate) fn topic_id(name: &str) -> TopicId {
    let mut id = [0; 16];
    for (byte, letter) in id.iter_mut().zip(name.bytes()) {
        *byte = letter;
    }
    TopicId(id)
}

pub(crate) fn topic_name(id: TopicId) -> String {
    String::from_utf8_lossy(&id.0).trim_end_matches('\0').to_string()
}

/// `topic-partition`s, separated by commas.
pub(crate) fn owned(text: &str) -> OwnedPartitions {
    let mut owned: BTreeMap<TopicId, BTreeSet<i32>> = BTreeMap::new();
    for word in text.split(',').filter(|word| word.contains('-')) {
        let (topic, partition) = word.rsplit_once('-').expect("topic-partition");
        owned.entry(topic_id(topic)).or_default().insert(partition.parse().expect("a partition"));
    }
    owned.into_iter().map(|(topic, partitions)| (topic, partitions.into_iter().collect())).collect()
}

/// What a ConsumerProtocolAssignment of version 0 says.
pub(crate) fn embedded_partitions(bytes: &[u8]) -> Vec<String> {
    let mut rest = &bytes[2..];
    let mut all = Vec::new();
    for _ in 0..rest.get_i32() {
        let length = usize::try_from(rest.get_i16()).expect("a text");
        let name = String::from_utf8_lossy(&rest[..length]).into_owned();
        rest.advance(length);
        for _ in 0..rest.get_i32() {
            all.push(format!("{name}-{}", rest.get_i32()));
        }
    }
    all
}

fn as_read_back(record: &Record) -> Record {
    let Some((key, value)) = record.encode() else { return record.clone() };
    let producer = match record {
        Record::Offset { producer, .. } => *producer,
        _ => None,
    };
    let read =
        Record::decode(&key, value.as_deref(), producer).expect("our own record").expect("our own kind");
    assert_eq!(&read, record, "a record reads back as it was written");
    read
}
