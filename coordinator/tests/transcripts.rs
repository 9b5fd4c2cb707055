//! Plays the files of `tests/transcripts`: each line a request or time passing, indented below it what came of it.
//!
//! `UPDATE_TRANSCRIPTS=1 cargo test -p coordinator --test transcripts` writes down what came instead; read the
//! difference before you keep it. Members are called by the name of who joined; `a#2` is the second id given to `a`.

mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use coordinator::groups::consumer::assignors::Assignment;
use coordinator::groups::consumer::{ConsumerHeartbeat, ConsumerRecord};
use coordinator::groups::{
    Command, Commit, GroupConfig, Handshake, Heartbeat, Join, Leave, LeavingMember, OffsetCommit, Record,
    Reply, SkipAssignment, Sync, TransactionalProducer,
};
use coordinator::machine::{AppendFailure, Ticket};
use storage::types::{LeaderEpoch, Offset, ProducerId, TimestampMs, TopicPartition};
use support::{Outcome, Seat, WALL_START_MS};

#[test]
fn every_transcript_still_happens_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut files: Vec<_> =
        std::fs::read_dir(&folder).expect("transcripts").map(|f| f.expect("file").path()).collect();
    files.sort();
    assert!(!files.is_empty());
    let mut wrong = Vec::new();
    for file in files {
        let written = std::fs::read_to_string(&file).expect("readable");
        let happened = play(&written);
        if std::env::var_os("UPDATE_TRANSCRIPTS").is_some() {
            std::fs::write(&file, happened).expect("writable");
        } else if written != happened {
            wrong.push(format!("{}\n{}", file.display(), difference(&written, &happened)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn difference(written: &str, happened: &str) -> String {
    let (mut old, mut new) = (written.lines(), happened.lines());
    for number in 1.. {
        match (old.next(), new.next()) {
            (None, None) => break,
            (a, b) if a == b => {}
            (a, b) => {
                return format!(
                    "line {number}\n  written:  {}\n  happened: {}",
                    a.unwrap_or(""),
                    b.unwrap_or("")
                );
            }
        }
    }
    String::new()
}

fn play(text: &str) -> String {
    let mut stage = Stage::new();
    let mut out = String::new();
    for line in text.lines().filter(|line| !line.starts_with("  ")) {
        writeln!(out, "{line}").expect("text");
        let words: Vec<&str> = line.split_whitespace().collect();
        if words.is_empty() || line.starts_with('#') {
            continue;
        }
        for happened in stage.play(&words) {
            writeln!(out, "  {happened}").expect("text");
        }
    }
    out
}

struct Stage {
    seat: Seat,
    /// Who is behind a member id.
    names: BTreeMap<Arc<str>, String>,
    /// The current id of a name.
    ids: BTreeMap<String, Arc<str>>,
    asked: BTreeMap<Ticket, String>,
    /// What members of the new protocol were told last.
    epochs: BTreeMap<String, i32>,
    randomness: u8,
}

/// `key=value` words of a line.
struct Options<'a>(BTreeMap<&'a str, &'a str>);

impl Options<'_> {
    fn counts(&self) -> BTreeMap<Arc<str>, i32> {
        self.0.iter().map(|(name, count)| (Arc::from(*name), count.parse().expect("a number"))).collect()
    }

    fn text(&self, key: &str) -> Option<Arc<str>> {
        self.0.get(key).map(|text| Arc::from(*text))
    }

    fn number<N: std::str::FromStr>(&self, key: &str, default: N) -> N {
        self.0.get(key).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{key}={text}")))
    }
}

impl Stage {
    fn new() -> Stage {
        let config = GroupConfig { initial_rebalance_delay_ms: 0, ..GroupConfig::default() };
        Stage {
            seat: Seat::new(config),
            names: BTreeMap::new(),
            ids: BTreeMap::new(),
            asked: BTreeMap::new(),
            epochs: BTreeMap::new(),
            randomness: 0,
        }
    }

    fn play(&mut self, words: &[&str]) -> Vec<String> {
        let options = Options(words.iter().filter_map(|word| word.split_once('=')).collect());
        let name = words.get(1).copied().filter(|word| !word.contains('=')).unwrap_or("");
        let group: Arc<str> = options.text("group").unwrap_or_else(|| Arc::from("g"));
        let command = match words[0] {
            "config" => {
                self.configure(&options);
                return Vec::new();
            }
            "jam" => {
                self.seat.jammed = match name {
                    "" => None,
                    "isr" => Some(AppendFailure::NotEnoughReplicas),
                    "leader" => Some(AppendFailure::NotLeader),
                    other => panic!("{other}"),
                };
                return Vec::new();
            }
            "show" => return self.show(&group),
            "list" => {
                return self.seat.groups.list().map(|it| format!("{} {}", it.group, it.state)).collect();
            }
            "fetch" => return self.fetch(&group, &words[1..]),
            "reload" => {
                let outcome = self.seat.reload();
                return self.tell(&outcome, "");
            }
            "end" => {
                let record = Record::TransactionEnd {
                    producer: ProducerId(options.number("producer", 7)),
                    committed: name == "commit",
                };
                self.seat.append_marker(record);
                return Vec::new();
            }
            wait if wait.starts_with('+') => {
                let ms = wait[1..].parse().expect("milliseconds");
                let outcome = self.seat.pass(ms);
                return self.tell(&outcome, "");
            }
            "join" => self.join(group, name, words, &options),
            "topics" => {
                self.seat.set_topics(&options.counts());
                return Vec::new();
            }
            "beat" => self.beat(group, name, &options),
            "sync" => Command::Sync(Sync {
                group,
                member_id: self.id(name),
                instance_id: options.text("instance"),
                generation: options.number("generation", 1),
                protocol_type: options.text("type"),
                protocol: options.text("protocol"),
                assignments: self.assignments(&options),
            }),
            "heartbeat" => Command::Heartbeat(Heartbeat {
                group,
                member_id: self.id(name),
                instance_id: options.text("instance"),
                generation: options.number("generation", 1),
            }),
            "leave" => {
                let instance_id = options.text("instance");
                Command::Leave(Leave {
                    group,
                    members: vec![LeavingMember { member_id: self.id(name), instance_id }],
                })
            }
            "commit" => self.commit(group, name, words, &options),
            "delete-group" => Command::DeleteGroup(group),
            "delete-offsets" => Command::DeleteOffsets(group, partitions(&words[1..])),
            "forget" => Command::ForgetPartitions(group, partitions(&words[1..])),
            other => panic!("no such line: {other}"),
        };
        let outcome = self.seat.play(command);
        self.asked.insert(outcome.ticket.expect("a command has one"), name.to_string());
        self.tell(&outcome, name)
    }

    fn configure(&mut self, options: &Options<'_>) {
        let config = &mut self.seat.config;
        config.initial_rebalance_delay_ms = options.number("delay", config.initial_rebalance_delay_ms);
        config.size_max = options.number("size", config.size_max);
        config.offset_metadata_max = options.number("metadata", config.offset_metadata_max);
        config.consumer.size_max = options.number("consumers", config.consumer.size_max);
        config.consumer.migration.upgrade = options.number("upgrade", config.consumer.migration.upgrade);
        config.consumer.migration.downgrade =
            options.number("downgrade", config.consumer.migration.downgrade);
        config.offsets_retention_ms = options.number("retention", config.offsets_retention_ms);
        self.seat.reload();
    }

    fn id(&self, name: &str) -> Arc<str> {
        self.ids.get(name).cloned().unwrap_or_else(|| Arc::from(name))
    }

    fn join(&mut self, group: Arc<str>, name: &str, words: &[&str], options: &Options<'_>) -> Command {
        self.randomness += 1;
        let stranger = words.contains(&"new") || !self.ids.contains_key(name);
        let version = options.number("v", 9);
        let instance_id = options.text("instance");
        let first_id = version >= 4 && instance_id.is_none();
        let topics = options.text("topics").unwrap_or_else(|| Arc::from("orders"));
        let protocols = options.text("protocols").unwrap_or_else(|| Arc::from("range"));
        Command::Join(Join {
            group,
            member_id: if stranger { Arc::from("") } else { self.id(name) },
            instance_id,
            client_id: Arc::from(name),
            client_host: Arc::from("/127.0.0.1"),
            rebalance_timeout_ms: options.number("rebalance", 60_000),
            session_timeout_ms: options.number("session", 10_000),
            protocol_type: options.text("type").unwrap_or_else(|| Arc::from("consumer")),
            protocols: protocols.split(',').map(|name| (Arc::from(name), subscription(&topics))).collect(),
            handshake: if first_id { Handshake::IdFirst } else { Handshake::None },
            skip_assignment: if version >= 9 { SkipAssignment::Understood } else { SkipAssignment::Unknown },
            fresh_id: [self.randomness; 16],
        })
    }

    /// A heartbeat of the new protocol; without `epoch=` in the epoch that the member was told last.
    fn beat(&mut self, group: Arc<str>, name: &str, options: &Options<'_>) -> Command {
        let epoch = options.number("epoch", self.epochs.get(name).copied().unwrap_or(0));
        let joins = epoch == 0;
        let topics = options.text("topics").or_else(|| joins.then(|| Arc::from("orders")));
        let owned = options.text("owned").or_else(|| joins.then(|| Arc::from("")));
        let timeout = joins || options.0.contains_key("rebalance");
        Command::ConsumerHeartbeat(ConsumerHeartbeat {
            group,
            member_id: options.text("id").unwrap_or_else(|| Arc::from(name)),
            epoch,
            instance_id: options.text("instance"),
            rack_id: None,
            rebalance_timeout_ms: timeout.then(|| options.number("rebalance", 60_000)),
            client_id: Arc::from(name),
            client_host: Arc::from("/127.0.0.1"),
            topics: topics.map(|topics| topics.split(',').map(Arc::from).collect()),
            assignor: options.text("assignor"),
            owned: owned.map(|owned| support::owned(&owned)),
            fresh_id: [7; 16],
        })
    }

    fn assignments(&self, options: &Options<'_>) -> Vec<(Arc<str>, Bytes)> {
        let Some(text) = options.text("assign") else { return Vec::new() };
        let pairs = text.split(',').map(|pair| pair.split_once(':').expect("member:partition"));
        pairs.map(|(name, part)| (self.id(name), Bytes::copy_from_slice(part.as_bytes()))).collect()
    }

    fn commit(&self, group: Arc<str>, name: &str, words: &[&str], options: &Options<'_>) -> Command {
        let metadata = options.text("metadata").unwrap_or_else(|| Arc::from(""));
        let committed_at = TimestampMs(self.seat.now().wall.0);
        let keeps =
            options.0.get("keep").map(|ms| TimestampMs(committed_at.0 + ms.parse::<i64>().expect("ms")));
        let offsets = words.iter().filter_map(|word| word.strip_prefix('@')).map(|word| {
            let (partition, offset) = word.split_once('=').expect("@topic-partition=offset");
            let commit = OffsetCommit {
                offset: Offset(offset.parse().expect("offset")),
                leader_epoch: LeaderEpoch::NONE,
                metadata: Arc::clone(&metadata),
                committed_at,
                expires_at: keeps,
            };
            (topic_partition(partition), commit)
        });
        Command::Commit(Commit {
            group,
            member_id: self.id(name),
            instance_id: options.text("instance"),
            generation: options.number("generation", if name.is_empty() { -1 } else { 1 }),
            knows_epochs: options.number("v", 9) >= 9,
            producer: options.0.get("producer").map(|id| TransactionalProducer {
                id: ProducerId(id.parse().expect("producer id")),
                epoch: 0,
            }),
            offsets: offsets.collect(),
        })
    }

    fn fetch(&self, group: &str, words: &[&str]) -> Vec<String> {
        let told = words.iter().filter(|word| !word.contains('=')).map(|word| {
            let partition = topic_partition(word);
            let stable = match self.seat.groups.stable_offset(group, &partition) {
                Ok(_) => String::new(),
                Err(error) => format!(" ({error:?})"),
            };
            match self.seat.groups.offset(group, &partition) {
                Some(commit) => format!("{word} at {}{stable}", commit.offset),
                None => format!("{word} nowhere{stable}"),
            }
        });
        told.collect()
    }

    fn show(&self, group: &str) -> Vec<String> {
        if let Some(shown) = self.seat.groups.describe_consumer(group) {
            let head =
                format!("{} epoch {} plan {} {}", shown.state, shown.epoch, shown.plan_epoch, shown.assignor);
            let members = shown.members.iter().map(|it| {
                let (name, assigned, planned) =
                    (self.name(&it.member_id), part(&it.assigned), part(&it.planned));
                format!("{name} epoch {} has [{assigned}] shall have [{planned}]", it.epoch)
            });
            return std::iter::once(head).chain(members).collect();
        }
        let Some(shown) = self.seat.groups.describe(group) else { return vec!["no such group".into()] };
        let members = shown.members.iter().map(|member| {
            let assignment = String::from_utf8_lossy(&member.assignment).into_owned();
            format!("{} has [{assignment}]", self.name(&member.member_id))
        });
        std::iter::once(format!("{} {} {}", shown.state, shown.protocol_type, shown.protocol))
            .chain(members)
            .collect()
    }

    fn name(&self, id: &str) -> String {
        self.names.get(id).cloned().unwrap_or_else(|| id.to_string())
    }

    fn learn(&mut self, name: &str, id: &Arc<str>) {
        if id.is_empty() || self.names.contains_key(id) {
            return;
        }
        let number = self.names.values().filter(|known| known.split('#').next() == Some(name)).count() + 1;
        let label = if number == 1 { name.to_string() } else { format!("{name}#{number}") };
        self.names.insert(Arc::clone(id), label);
        self.ids.insert(name.to_string(), Arc::clone(id));
    }

    fn tell(&mut self, outcome: &Outcome, asker: &str) -> Vec<String> {
        for (ticket, reply) in &outcome.replies {
            let name = self.asked.get(ticket).cloned().unwrap_or_else(|| asker.to_string());
            match reply {
                Reply::Join(Ok(joined)) => self.learn(&name, &joined.member_id.clone()),
                Reply::Join(Err(refused)) => self.learn(&name, &refused.member_id.clone()),
                Reply::ConsumerHeartbeat(Ok(heard)) => {
                    self.epochs.insert(name.clone(), heard.epoch);
                }
                _ => {}
            }
        }
        let mut lines: Vec<String> = outcome.records.iter().map(|record| self.record(record)).collect();
        for (ticket, reply) in &outcome.replies {
            let name = self.asked.get(ticket).cloned().unwrap_or_else(|| asker.to_string());
            lines.push(format!("{name}: {}", self.reply(reply)).trim_start_matches(": ").to_string());
        }
        if outcome.ticket.is_some() && outcome.reply().is_none() {
            lines.push("parked".to_string());
        }
        lines
    }

    fn record(&self, record: &Record) -> String {
        match record {
            Record::Group(group, it) => {
                let members: Vec<String> =
                    it.members.iter().map(|member| self.name(&member.member_id)).collect();
                let protocol = it.protocol.as_deref().unwrap_or("-");
                format!("record {group} generation {} {protocol} [{}]", it.generation, members.join(" "))
            }
            Record::GroupGone(group) => format!("record {group} gone"),
            Record::Consumer(group, record) => format!("record {group} {}", self.consumer_record(record)),
            Record::Offset { group, partition, commit, producer } => {
                let producer =
                    producer.map(|producer| format!(" if {} commits", producer.id)).unwrap_or_default();
                format!("record {group} {partition} at {}{producer}", commit.offset)
            }
            Record::OffsetGone { group, partition, .. } => format!("record {group} {partition} gone"),
            Record::TransactionEnd { .. } => "record transaction end".to_string(),
        }
    }

    fn consumer_record(&self, record: &ConsumerRecord) -> String {
        match record {
            ConsumerRecord::Epoch(Some(epoch)) => format!("epoch {epoch}"),
            ConsumerRecord::Epoch(None) => "epoch gone".into(),
            ConsumerRecord::Topics(Some(topics)) => {
                let topics = topics.iter().map(|(name, topic)| format!("{name}:{}", topic.partitions));
                format!("topics [{}]", topics.collect::<Vec<_>>().join(" "))
            }
            ConsumerRecord::Topics(None) => "topics gone".into(),
            ConsumerRecord::Member(member, Some(it)) => {
                let topics = it.topics.iter().map(|topic| topic.to_string()).collect::<Vec<_>>().join(" ");
                let classic = if it.classic.is_some() { " classic" } else { "" };
                format!("member {}{classic} [{topics}]", self.name(member))
            }
            ConsumerRecord::Member(member, None) => format!("member {} gone", self.name(member)),
            ConsumerRecord::PlanEpoch(Some(epoch)) => format!("plan for epoch {epoch}"),
            ConsumerRecord::PlanEpoch(None) => "plan gone".into(),
            ConsumerRecord::Plan(member, Some(plan)) => {
                format!("plan {} [{}]", self.name(member), part(plan))
            }
            ConsumerRecord::Plan(member, None) => format!("plan {} gone", self.name(member)),
            ConsumerRecord::Current(member, Some(it)) => {
                let revoked = part(&it.revoked);
                let revoked = if revoked.is_empty() { revoked } else { format!(" without [{revoked}]") };
                let (name, has) = (self.name(member), part(&it.assigned));
                format!(
                    "{name} {:?} epoch {} after {} [{has}]{revoked}",
                    it.state, it.epoch, it.previous_epoch
                )
            }
            ConsumerRecord::Current(member, None) => format!("{} has nothing", self.name(member)),
        }
    }

    fn reply(&self, reply: &Reply) -> String {
        match reply {
            Reply::ConsumerHeartbeat(Ok(heard)) => {
                let part =
                    heard.assignment.as_ref().map(|it| format!(" has [{}]", part(it))).unwrap_or_default();
                format!("epoch {}{part}", heard.epoch)
            }
            Reply::ConsumerHeartbeat(Err(refused)) => format!("{:?}", refused.error),
            Reply::Join(Ok(joined)) => {
                let members: Vec<String> =
                    joined.members.iter().map(|member| self.name(&member.member_id)).collect();
                let members =
                    if members.is_empty() { String::new() } else { format!(" [{}]", members.join(" ")) };
                let skip = if joined.skip_assignment { " skip assignment" } else { "" };
                let (me, leader) = (self.name(&joined.member_id), self.name(&joined.leader));
                let protocol = joined.protocol.as_deref().unwrap_or("-");
                format!(
                    "joined as {me} generation {} {protocol} leader {leader}{members}{skip}",
                    joined.generation
                )
            }
            Reply::Join(Err(refused)) => format!("{:?} as {}", refused.error, self.name(&refused.member_id))
                .trim_end_matches(" as ")
                .to_string(),
            Reply::Sync(Ok(synced)) => format!("assigned [{}]", assigned(&synced.assignment)),
            Reply::Sync(Err(error)) | Reply::Heartbeat(Err(error)) => format!("{error:?}"),
            Reply::Heartbeat(Ok(())) => "ok".to_string(),
            Reply::Leave(results) => {
                results.iter().map(|(_, result)| told(result)).collect::<Vec<_>>().join(", ")
            }
            Reply::Commit(results) | Reply::DeleteOffsets(Ok(results)) => results
                .iter()
                .map(|(it, result)| format!("{it} {}", told(result)))
                .collect::<Vec<_>>()
                .join(", "),
            Reply::DeleteGroup(result) => told(result),
            Reply::DeleteOffsets(Err(error)) => format!("{error:?}"),
            Reply::Forgotten => "forgotten".to_string(),
        }
    }
}

/// Partitions, `topic-partition` each.
fn part(assignment: &Assignment) -> String {
    let all = assignment.iter().flat_map(|(topic, partitions)| {
        let name = support::topic_name(*topic);
        partitions.iter().map(move |partition| format!("{name}-{partition}"))
    });
    all.collect::<Vec<_>>().join(" ")
}

/// What a leader of these transcripts wrote, or a ConsumerProtocolAssignment of version 0.
fn assigned(bytes: &Bytes) -> String {
    match bytes.first() {
        Some(0) => support::embedded_partitions(bytes).join(" "),
        _ => String::from_utf8_lossy(bytes).into_owned(),
    }
}

fn told<E: std::fmt::Debug>(result: &Result<(), E>) -> String {
    match result {
        Ok(()) => "ok".to_string(),
        Err(error) => format!("{error:?}"),
    }
}

fn partitions(words: &[&str]) -> Vec<TopicPartition> {
    words.iter().filter(|word| !word.contains('=')).map(|word| topic_partition(word)).collect()
}

fn topic_partition(text: &str) -> TopicPartition {
    let (topic, partition) = text.rsplit_once('-').expect("topic-partition");
    TopicPartition::new(topic, partition.parse().expect("partition"))
}

/// ConsumerProtocolSubscription version 0.
fn subscription(topics: &str) -> Bytes {
    let topics: Vec<&str> = topics.split(',').collect();
    let mut out = BytesMut::new();
    out.put_i16(0);
    out.put_i32(i32::try_from(topics.len()).expect("few"));
    for topic in topics {
        out.put_i16(i16::try_from(topic.len()).expect("short"));
        out.put_slice(topic.as_bytes());
    }
    out.put_i32(-1);
    out.freeze()
}

#[test]
fn the_stage_starts_at_a_known_time() {
    assert_eq!(Stage::new().seat.now().wall, TimestampMs(WALL_START_MS));
}
