//! The promise: what a client reads, and how it is refused, is what Apache Kafka 3.9.1 would have said.
//!
//! The same requests go to our broker and to Apache's, and their answers are compared whole, but for what must differ:
//! ids that are made up (topics, sessions, the cluster), ports, paths and the size of a disk.

#[path = "support/mod.rs"]
mod support;

use std::collections::HashMap;
use std::fmt::Debug;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic, ReplicaState};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Request, StrBytes};
use support::process::PATIENCE;
use support::records::Batch;
use support::seat::{Broker, Kind, kind};
use support::wire::Connection;
use uuid::Uuid;

/// The time of all records, so that both logs are equal. Unit: ms since 1970.
const WRITTEN: i64 = 1_700_000_000_000;

/// A record with a key and a value, in a frame of zstd.
const ZSTD_RECORD: &[u8] = b"\x28\xb5\x2f\xfd\0\x58\x79\0\0\x1c\0\0\0\x06key\x0avalue\0";

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn name(name: &str) -> TopicName {
    TopicName(text(name))
}

/// One broker, a connection to it, and the ids it made up.
struct Side {
    /// 0 is ours, 1 Apache.
    index: usize,
    broker: Broker,
    connection: Connection,
    ids: HashMap<String, Uuid>,
}

impl Side {
    fn start(index: usize, kind: Kind, settings: &[(&str, &str)]) -> Side {
        let broker = Broker::start_with(kind, settings);
        let connection = broker.connect();
        Side { index, broker, connection, ids: HashMap::new() }
    }

    fn create(&mut self, topic: &str, partitions: i32, configs: &[(&str, &str)]) {
        let configs = configs.iter().map(|(key, value)| {
            CreatableTopicConfig::default().with_name(text(key)).with_value(Some(text(value)))
        });
        let creatable = CreatableTopic::default()
            .with_name(name(topic))
            .with_num_partitions(partitions)
            .with_replication_factor(1)
            .with_configs(configs.collect());
        let request = CreateTopicsRequest::default().with_timeout_ms(30_000).with_topics(vec![creatable]);
        let answer = self.connection.request(7, &request);
        assert_eq!(answer.topics[0].error_code, 0, "{:?}", answer.topics[0].error_message);
        self.ids.insert(topic.to_owned(), answer.topics[0].topic_id);
        self.wait_for(topic);
    }

    /// Until all partitions have a leader.
    fn wait_for(&mut self, topic: &str) {
        let asked = MetadataRequestTopic::default().with_name(Some(name(topic)));
        let request =
            MetadataRequest::default().with_topics(Some(vec![asked])).with_allow_auto_topic_creation(false);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.connection.request(12, &request);
            let topic = &answer.topics[0];
            if topic.error_code == 0 && topic.partitions.iter().all(|p| p.error_code == 0) {
                self.ids.insert(topic.name.as_ref().expect("named").to_string(), topic.topic_id);
                return;
            }
            assert!(Instant::now() < deadline, "{topic:?}");
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    fn produce(&mut self, topic: &str, partition: i32, records: Bytes) {
        let data = PartitionProduceData::default().with_index(partition).with_records(Some(records));
        let topic = TopicProduceData::default().with_name(name(topic)).with_partition_data(vec![data]);
        let request =
            ProduceRequest::default().with_acks(1).with_timeout_ms(30_000).with_topic_data(vec![topic]);
        let answer = self.connection.request(9, &request);
        assert_eq!(answer.responses[0].partition_responses[0].error_code, 0, "{answer:?}");
    }

    fn id(&self, topic: &str) -> Uuid {
        self.ids.get(topic).copied().unwrap_or(Uuid::from_bytes([9; 16]))
    }
}

/// The id that stands for a topic in compared answers.
fn stand_in(ids: &HashMap<String, Uuid>, id: Uuid) -> Uuid {
    let known = ids.iter().find(|(_, known)| **known == id);
    known.map_or(id, |(name, _)| {
        let mut bytes = [0; 16];
        bytes.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from);
        Uuid::from_bytes(bytes)
    })
}

/// Takes out of an answer what two brokers cannot have in common.
trait Comparable: Debug + PartialEq {
    fn without_accidents(self, ids: &HashMap<String, Uuid>) -> Self;
}

macro_rules! nothing_accidental {
    ($($response:ty),*) => { $(
        impl Comparable for $response {
            fn without_accidents(self, _: &HashMap<String, Uuid>) -> Self {
                self
            }
        }
    )* };
}

nothing_accidental!(OffsetForLeaderEpochResponse, DeleteRecordsResponse);

impl Comparable for ListOffsetsResponse {
    fn without_accidents(self, _: &HashMap<String, Uuid>) -> Self {
        self
    }
}

impl Comparable for FetchResponse {
    fn without_accidents(mut self, ids: &HashMap<String, Uuid>) -> Self {
        self.session_id = self.session_id.signum();
        for topic in &mut self.responses {
            topic.topic_id = stand_in(ids, topic.topic_id);
        }
        for endpoint in &mut self.node_endpoints {
            endpoint.port = 0;
        }
        self
    }
}

impl Comparable for MetadataResponse {
    fn without_accidents(mut self, ids: &HashMap<String, Uuid>) -> Self {
        self.cluster_id = self.cluster_id.map(|_| text("cluster"));
        self.brokers.iter_mut().for_each(|broker| broker.port = 0);
        for topic in &mut self.topics {
            topic.topic_id = stand_in(ids, topic.topic_id);
            topic.partitions.sort_by_key(|partition| partition.partition_index);
        }
        // Kafka's order is that of a hash table.
        self.topics.sort_by_key(|topic| (topic.name.clone().map(|name| name.to_string()), topic.topic_id));
        self
    }
}

impl Comparable for DescribeClusterResponse {
    fn without_accidents(mut self, _: &HashMap<String, Uuid>) -> Self {
        if !self.cluster_id.is_empty() {
            self.cluster_id = text("cluster");
        }
        self.brokers.iter_mut().for_each(|broker| broker.port = 0);
        self
    }
}

impl Comparable for DescribeLogDirsResponse {
    fn without_accidents(mut self, _: &HashMap<String, Uuid>) -> Self {
        for result in &mut self.results {
            assert!(result.log_dir.starts_with('/'), "{result:?}");
            result.log_dir = text("/");
            result.total_bytes = result.total_bytes.signum();
            result.usable_bytes = result.usable_bytes.signum();
            result.topics.sort_by_key(|topic| topic.name.to_string());
            for topic in &mut result.topics {
                topic.partitions.sort_by_key(|partition| partition.partition_index);
            }
        }
        self
    }
}

/// Our broker and Apache's, side by side.
struct Pair {
    sides: [Side; 2],
}

impl Pair {
    /// With `ODRADEK_SEAT=apache` Apache is compared with itself: that is how the comparison is shown to be right.
    fn start(settings: &[(&str, &str)]) -> Pair {
        Pair { sides: [Side::start(0, kind(), settings), Side::start(1, Kind::Apache, settings)] }
    }

    fn both(&mut self, mut act: impl FnMut(&mut Side)) {
        self.sides.iter_mut().for_each(&mut act);
    }

    /// Sends what `request` makes for each side, and compares.
    #[track_caller]
    fn same<R>(&mut self, what: &str, version: i16, request: impl Fn(&Side) -> R) -> [R::Response; 2]
    where
        R: Request,
        R::Response: Comparable + Clone,
    {
        let raw = self.sides.each_mut().map(|side| {
            let request = request(side);
            side.connection.request(version, &request)
        });
        let [ours, apache] = [0, 1].map(|i: usize| raw[i].clone().without_accidents(&self.sides[i].ids));
        assert_eq!(ours, apache, "{what}, version {version}: ours left, Apache's right");
        raw
    }
}

/// What to fetch of one partition.
#[derive(Clone, Copy)]
struct Ask<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
    max_bytes: i32,
    epoch: i32,
}

fn ask(topic: &str, partition: i32, offset: i64) -> Ask<'_> {
    Ask { topic, partition, offset, max_bytes: 1 << 20, epoch: -1 }
}

fn fetch(side: &Side, version: i16, asks: &[Ask<'_>]) -> FetchRequest {
    let topics = asks.iter().map(|ask| {
        let partition = FetchPartition::default()
            .with_partition(ask.partition)
            .with_fetch_offset(ask.offset)
            .with_partition_max_bytes(ask.max_bytes)
            .with_current_leader_epoch(ask.epoch);
        let topic = FetchTopic::default().with_partitions(vec![partition]);
        match version {
            13.. => topic.with_topic_id(side.id(ask.topic)),
            _ => topic.with_topic(name(ask.topic)),
        }
    });
    let request = FetchRequest::default().with_max_wait_ms(0).with_min_bytes(1).with_topics(topics.collect());
    if version >= 7 { request.with_session_epoch(-1) } else { request }
}

/// `plain`: 2 partitions, 5 batches in the first; `compact`; `zstd`; `stubborn` (no down-conversion).
fn with_topics() -> Pair {
    let mut pair = Pair::start(&[("auto.create.topics.enable", "false")]);
    pair.both(|side| {
        side.create("plain", 2, &[]);
        side.create("compact", 1, &[("cleanup.policy", "compact")]);
        side.create("zstd", 1, &[("compression.type", "zstd")]);
        side.create("stubborn", 1, &[("message.downconversion.enable", "false")]);
        for batch in 0..5 {
            let values = [format!("first of {batch}"), format!("second of {batch}"), "x".repeat(600)];
            let mut records = Batch::of(&values.each_ref().map(String::as_str));
            records.base_timestamp = WRITTEN + batch * 1000;
            side.produce("plain", 0, records.encode());
        }
        let mut keyed = Batch::of(&["value"]);
        keyed.records[0].0 = Some(b"key".to_vec());
        keyed.base_timestamp = WRITTEN;
        for topic in ["compact", "stubborn"] {
            side.produce(topic, 0, keyed.encode());
        }
        // Compressed here, so that neither broker does it in its own way.
        keyed.attributes = 4;
        keyed.payload = Some(ZSTD_RECORD.to_vec());
        side.produce("zstd", 0, keyed.encode());
    });
    pair
}

#[test]
fn records_and_refusals_of_a_fetch_are_apaches_in_every_version() {
    let mut pair = with_topics();
    for version in 0..=17 {
        let mut same = |what: &str, asks: &[Ask<'_>], change: &dyn Fn(FetchRequest) -> FetchRequest| {
            pair.same(what, version, |side| change(fetch(side, version, asks)))
        };
        let as_is = |request| request;
        same("from the start", &[ask("plain", 0, 0)], &as_is);
        same("from within a batch", &[ask("plain", 0, 4)], &as_is);
        same("the end", &[ask("plain", 0, 15)], &as_is);
        same("beyond the end", &[ask("plain", 0, 16)], &as_is);
        same("a negative offset", &[ask("plain", 0, -1)], &as_is);
        same("an empty partition", &[ask("plain", 1, 0)], &as_is);
        same("no such partition", &[ask("plain", 7, 0)], &as_is);
        same("no such topic", &[ask("nowhere", 0, 0)], &as_is);
        same(
            "good, bad and good",
            &[ask("plain", 0, 12), ask("nowhere", 0, 0), ask("compact", 0, 0), ask("plain", 1, 3)],
            &as_is,
        );
        same("twice", &[ask("plain", 0, 0), ask("plain", 1, 0), ask("plain", 0, 14)], &as_is);
        same("nothing", &[], &as_is);
        same("a topic in zstd", &[ask("zstd", 0, 0)], &as_is);
        same("no conversion", &[ask("stubborn", 0, 0)], &as_is);
        same("no conversion of an error", &[ask("stubborn", 0, 9)], &as_is);
        for max_bytes in [0, 1, 100, 700, 800, 2000] {
            let small = Ask { max_bytes, ..ask("plain", 0, 0) };
            same("a small partition limit", &[small], &as_is);
            same("two small limits", &[small, Ask { max_bytes, ..ask("compact", 0, 0) }], &as_is);
            if version >= 3 {
                let limited = |request: FetchRequest| request.with_max_bytes(max_bytes);
                same("a small limit", &[ask("plain", 0, 3), ask("compact", 0, 0)], &limited);
            }
        }
        if version >= 4 {
            let committed = |request: FetchRequest| request.with_isolation_level(1);
            same(
                "read committed",
                &[ask("plain", 0, 0), ask("plain", 0, 15), ask("plain", 1, 0)],
                &committed,
            );
            same("beyond the end, committed", &[ask("plain", 0, 99)], &committed);
        }
        if version >= 9 {
            for epoch in [0, 1, 7] {
                same("a leader epoch", &[Ask { epoch, ..ask("plain", 0, 0) }], &as_is);
            }
        }
        let follower = |request: FetchRequest| match version {
            15.. => request.with_replica_state(ReplicaState::default().with_replica_id(5.into())),
            _ => request.with_replica_id(5.into()),
        };
        same("a follower that is no replica", &[ask("plain", 0, 0)], &follower);
    }
}

#[test]
fn fetch_sessions_go_as_apaches() {
    let mut pair = with_topics();
    for version in [7, 9, 12, 13, 17] {
        let mut sessions = [0, 0];
        let mut step = |pair: &mut Pair, what: &str, epoch, asks: &[Ask<'_>], forget: &[(&str, i32)]| {
            let answers = pair.same(what, version, |side| {
                let forgotten = forget.iter().map(|(topic, partition)| {
                    let forgotten = ForgottenTopic::default().with_partitions(vec![*partition]);
                    match version {
                        13.. => forgotten.with_topic_id(side.id(topic)),
                        _ => forgotten.with_topic(name(topic)),
                    }
                });
                fetch(side, version, asks)
                    .with_session_id(sessions[side.index])
                    .with_session_epoch(epoch)
                    .with_forgotten_topics_data(forgotten.collect())
            });
            for (session, answer) in sessions.iter_mut().zip(&answers) {
                if answer.session_id != 0 {
                    *session = answer.session_id;
                }
            }
            answers
        };
        let all = [ask("plain", 0, 15), ask("compact", 0, 1), ask("nowhere", 0, 0), ask("plain", 1, 0)];
        step(&mut pair, "opened", 0, &all, &[]);
        step(&mut pair, "nothing new but the error", 1, &[], &[]);
        step(&mut pair, "one moved back", 2, &[ask("plain", 0, 12)], &[]);
        step(&mut pair, "again", 3, &[], &[]);
        step(&mut pair, "forgotten and added", 4, &[ask("zstd", 0, 0)], &[("nowhere", 0), ("plain", 0)]);
        step(&mut pair, "records again", 5, &[], &[]);
        step(&mut pair, "caught up", 6, &[ask("zstd", 0, 1)], &[]);
        step(&mut pair, "out of range", 7, &[ask("zstd", 0, 5)], &[]);
        step(&mut pair, "in range again", 8, &[ask("zstd", 0, 1)], &[]);
        step(&mut pair, "a doubled request", 8, &[], &[]);
        step(&mut pair, "a lost request", 20, &[], &[]);
        step(&mut pair, "all forgotten", 9, &[], &[("zstd", 0), ("plain", 1), ("compact", 0)]);
        step(&mut pair, "gone", 10, &[], &[]);
        step(&mut pair, "opened with nothing", 0, &[], &[]);
        step(&mut pair, "added to nothing", 1, &[ask("plain", 0, 14)], &[]);
        step(&mut pair, "closed", -1, &[ask("plain", 0, 14)], &[]);
        step(&mut pair, "closed is gone", 2, &[], &[]);
        step(&mut pair, "opened anew", 0, &all[..2], &[]);
        step(&mut pair, "replaced", 0, &all[..1], &[]);
        step(&mut pair, "the new one goes on", 1, &[], &[]);
    }
}

#[test]
fn a_session_by_name_cannot_go_on_by_id() {
    let mut pair = with_topics();
    let opened = pair.same("opened", 12, |side| fetch(side, 12, &[ask("plain", 0, 0)]).with_session_epoch(0));
    let ids = opened.map(|answer| answer.session_id);
    pair.same("continued by id", 13, |side| {
        fetch(side, 13, &[]).with_session_id(ids[side.index]).with_session_epoch(1)
    });
}

#[test]
fn a_fetch_waits_for_records_and_no_longer_than_it_says() {
    let mut pair = with_topics();
    let waiting = |side: &Side, wait: i32, min_bytes: i32| {
        fetch(side, 12, &[ask("plain", 0, 15), ask("plain", 1, 0)])
            .with_max_wait_ms(wait)
            .with_min_bytes(min_bytes)
    };
    pair.both(|side| {
        let start = Instant::now();
        let request = waiting(side, 400, 1);
        side.connection.request(12, &request);
        let waited = start.elapsed();
        // Brokers count whole milliseconds; who waited for anything else would never answer.
        assert!(waited + Duration::from_millis(5) >= Duration::from_millis(400), "{waited:?}");
    });
    pair.both(|side| {
        let mut other = side.broker.connect();
        // Longer than the test waits for an answer.
        let request = waiting(side, 600_000, 1);
        other.send(12, &request).expect("sent");
        let mut batch = Batch::of(&["news"]);
        batch.base_timestamp = WRITTEN;
        side.produce("plain", 1, batch.encode());
        let answer = other.receive::<FetchRequest>(12).expect("answered");
        assert_eq!(answer.responses[0].partitions.len(), 2);
    });
    pair.same("after the news", 12, |side| waiting(side, 600_000, 1));
    // Two batches are needed to have enough.
    pair.both(|side| {
        let mut other = side.broker.connect();
        let request = fetch(side, 12, &[ask("plain", 1, 1)]).with_max_wait_ms(600_000).with_min_bytes(100);
        other.send(12, &request).expect("sent");
        for _ in 0..2 {
            let mut batch = Batch::of(&["more"]);
            batch.base_timestamp = WRITTEN;
            side.produce("plain", 1, batch.encode());
        }
        let answer = other.receive::<FetchRequest>(12).expect("answered");
        let records = answer.responses[0].partitions[0].records.as_ref().expect("records").len();
        assert!(records >= 100, "{records} bytes");
    });
}

fn list_offsets(asks: &[(&str, i32, i64)]) -> ListOffsetsRequest {
    let topics = asks.iter().map(|(topic, partition, timestamp)| {
        let partition = ListOffsetsPartition::default()
            .with_partition_index(*partition)
            .with_timestamp(*timestamp)
            .with_max_num_offsets(1);
        ListOffsetsTopic::default().with_name(name(topic)).with_partitions(vec![partition])
    });
    ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(topics.collect())
}

#[test]
fn offsets_are_found_as_apache_finds_them() {
    let mut pair = with_topics();
    for version in 0..=9 {
        for replica in [-1, -2, 0, 5] {
            for timestamp in (-9..=0).chain([WRITTEN - 1, WRITTEN, WRITTEN + 1, WRITTEN + 2500, i64::MAX]) {
                let asks = [
                    ("plain", 0, timestamp),
                    ("plain", 1, timestamp),
                    ("compact", 0, timestamp),
                    ("plain", 9, timestamp),
                    ("nowhere", 0, timestamp),
                ];
                // Version 0 compares with the time of the last write to a file, which differs.
                if version == 0 && timestamp > WRITTEN && timestamp < i64::MAX {
                    continue;
                }
                pair.same(&format!("{timestamp} for {replica}"), version, |_| {
                    list_offsets(&asks).with_replica_id(replica.into())
                });
            }
        }
        pair.same("twice", version, |_| {
            list_offsets(&[("plain", 0, -1), ("plain", 1, -1), ("plain", 0, -2)])
        });
        if version >= 2 {
            pair.same("committed", version, |_| list_offsets(&[("plain", 0, -1)]).with_isolation_level(1));
        }
        if version >= 4 {
            for epoch in [0, 1, 6] {
                pair.same("an epoch", version, |_| {
                    let mut request = list_offsets(&[("plain", 0, -1), ("plain", 0, 0)]);
                    request.topics[0].partitions[0].current_leader_epoch = epoch;
                    request
                });
            }
        }
    }
    for most in [0, 1, 2, 100] {
        for timestamp in [-1, -2, i64::MAX] {
            pair.same("the old way", 0, |_| {
                let mut request = list_offsets(&[("plain", 0, timestamp), ("plain", 1, timestamp)]);
                for topic in &mut request.topics {
                    topic.partitions[0].max_num_offsets = most;
                }
                request
            });
        }
    }
}

#[test]
fn epochs_end_where_apaches_end() {
    let mut pair = with_topics();
    for version in 0..=4 {
        for epoch in [-1, 0, 1, 5] {
            for current in [-1, 0, 3] {
                if version < 2 && current != -1 {
                    continue;
                }
                pair.same(&format!("epoch {epoch} at {current}"), version, |_| {
                    let topics = ["plain", "nowhere"].map(|topic| {
                        let partitions = [0, 1, 8].map(|partition| {
                            OffsetForLeaderPartition::default()
                                .with_partition(partition)
                                .with_leader_epoch(epoch)
                                .with_current_leader_epoch(current)
                        });
                        OffsetForLeaderTopic::default()
                            .with_topic(name(topic))
                            .with_partitions(partitions.into())
                    });
                    OffsetForLeaderEpochRequest::default().with_topics(topics.into())
                });
            }
        }
    }
}

#[test]
fn records_are_deleted_as_by_apache() {
    let mut pair = with_topics();
    for (version, offset) in [(0, -2), (1, 99), (2, 0), (0, 4), (1, 4), (2, 2), (2, 9), (2, -1), (0, -1)] {
        pair.same(&format!("up to {offset}"), version, |_| {
            let topics =
                [("plain", 0), ("compact", 0), ("nowhere", 0), ("plain", 9)].map(|(topic, partition)| {
                    let partition =
                        DeleteRecordsPartition::default().with_partition_index(partition).with_offset(offset);
                    DeleteRecordsTopic::default().with_name(name(topic)).with_partitions(vec![partition])
                });
            // Kafka groups by topic in the order of a hash table: one topic in a request.
            DeleteRecordsRequest::default().with_timeout_ms(5000).with_topics(topics[..1].to_vec())
        });
        pair.same("read afterwards", 12, |side| fetch(side, 12, &[ask("plain", 0, 3)]));
        pair.same("start and end", 7, |_| {
            list_offsets(&[("plain", 0, -2), ("plain", 1, -2), ("compact", 0, -1)])
        });
    }
    for (topic, partition) in [("compact", 0), ("nowhere", 0), ("plain", 9)] {
        pair.same(topic, 2, |_| {
            let partition = DeleteRecordsPartition::default().with_partition_index(partition).with_offset(1);
            let topic = DeleteRecordsTopic::default().with_name(name(topic)).with_partitions(vec![partition]);
            DeleteRecordsRequest::default().with_timeout_ms(5000).with_topics(vec![topic])
        });
    }
}

fn metadata(names: &[&str]) -> MetadataRequest {
    let topics = names.iter().map(|topic| MetadataRequestTopic::default().with_name(Some(name(topic))));
    MetadataRequest::default().with_topics(Some(topics.collect()))
}

#[test]
fn metadata_is_apaches_in_every_version() {
    let mut pair = with_topics();
    for version in 0..=12 {
        pair.same("one", version, |_| metadata(&["plain"]));
        pair.same("known and not", version, |_| metadata(&["plain", "nowhere", "compact"]));
        pair.same("impossible names", version, |_| metadata(&["a b", ".", &"x".repeat(250)]));
        pair.same("no name", version, |_| metadata(&[""]));
        pair.same("twice", version, |_| metadata(&["plain", "plain"]));
        pair.same("an empty list", version, |_| metadata(&[]));
        if version >= 1 {
            pair.same("all", version, |_| MetadataRequest::default().with_topics(None));
        }
        if version >= 8 {
            pair.same("topic operations", version, |_| {
                metadata(&["plain", "nowhere"]).with_include_topic_authorized_operations(true)
            });
        }
        if (8..=10).contains(&version) {
            pair.same("cluster operations", version, |_| {
                metadata(&["plain"]).with_include_cluster_authorized_operations(true)
            });
        }
        if version >= 10 {
            let by_id = |side: &Side, topic: &str| {
                MetadataRequestTopic::default().with_topic_id(side.id(topic)).with_name(None)
            };
            pair.same("by id", version, |side| {
                MetadataRequest::default().with_topics(Some(vec![
                    by_id(side, "plain"),
                    by_id(side, "nowhere"),
                    by_id(side, "zstd"),
                ]))
            });
            pair.same("neither name nor id", version, |_| {
                MetadataRequest::default()
                    .with_topics(Some(vec![MetadataRequestTopic::default().with_name(None)]))
            });
        }
    }
}

#[test]
fn topics_come_into_being_on_first_use_as_with_apache() {
    let mut pair = Pair::start(&[("num.partitions", "3")]);
    pair.same("not allowed", 4, |_| metadata(&["fresh"]).with_allow_auto_topic_creation(false));
    pair.same("first asked for", 4, |_| metadata(&["fresh", "a b"]));
    pair.both(|side| side.wait_for("fresh"));
    pair.same("there", 12, |_| metadata(&["fresh"]));
    pair.same("asked for in version 0", 0, |_| metadata(&["old"]));
    pair.both(|side| side.wait_for("old"));
    pair.same("there too", 1, |_| metadata(&["old"]));
}

#[test]
fn the_cluster_is_described_as_apache_does() {
    let mut pair = with_topics();
    for version in 0..=1 {
        for operations in [false, true] {
            pair.same("described", version, |_| {
                DescribeClusterRequest::default().with_include_cluster_authorized_operations(operations)
            });
        }
    }
    for kind in [0, 1, 2, 3, -1] {
        pair.same("a kind of endpoint", 1, |_| DescribeClusterRequest::default().with_endpoint_type(kind));
    }
}

#[test]
fn log_directories_are_described_as_apache_does() {
    let mut pair = with_topics();
    let topic = |topic: &str, partitions: &[i32]| {
        DescribableLogDirTopic::default().with_topic(name(topic)).with_partitions(partitions.to_vec())
    };
    for version in 0..=4 {
        pair.same("all", version, |_| DescribeLogDirsRequest::default().with_topics(None));
        pair.same("none", version, |_| DescribeLogDirsRequest::default().with_topics(Some(Vec::new())));
        pair.same("some", version, |_| {
            let topics = vec![topic("plain", &[1, 9]), topic("nowhere", &[0]), topic("zstd", &[])];
            DescribeLogDirsRequest::default().with_topics(Some(topics))
        });
    }
}
