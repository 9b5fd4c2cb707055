//! A machine with its log and its clock: what the runner in `broker` does, without tasks or disks.

// Each test crate uses its part of this.
#![allow(dead_code)]

use coordinator::groups::{Command, GroupConfig, Groups, Record, Reply};
use coordinator::machine::{AppendFailure, Decision, Machine, Ticket};
use coordinator::time::{Monotonic, Now};
use storage::types::{Offset, TimestampMs};

/// Wall-clock time when the monotonic clock shows 0.
pub(crate) const WALL_START_MS: i64 = 1_700_000_000_000;

pub(crate) struct Seat {
    pub(crate) config: GroupConfig,
    pub(crate) groups: Groups,
    pub(crate) log: Vec<(Offset, Record)>,
    pub(crate) now_ms: u64,
    /// When set, the log takes nothing.
    pub(crate) jammed: Option<AppendFailure>,
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

    /// A control record has been written by the coordinator of the transaction.
    pub(crate) fn append_marker(&mut self, record: Record) {
        self.append(std::slice::from_ref(&record));
    }

    /// A new leader reads the log.
    pub(crate) fn reload(&mut self) -> Outcome {
        self.groups = Groups::new(self.config);
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
