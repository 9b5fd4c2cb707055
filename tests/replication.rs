//! Partitions are copied between brokers, ours and Apache's in both roles: what was acknowledged survives the death of
//! its leader, and a replica that comes back throws away what nobody acknowledged.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    DeleteRecordsRequest, FetchRequest, FindCoordinatorRequest, GroupId, OffsetCommitRequest, ProduceRequest,
    TopicName,
};
use support::cluster::Cluster;
use support::ensemble::Ensemble;
use support::process::PATIENCE;
use support::records::Batch;
use support::requests::{create_topic, produce, text, try_committed, try_fetch, try_produce};
use support::seat::{Broker, Kind, kind};
use support::stock;
use support::wire::Connection;

const TOPIC: &str = "copied";
const PARTITIONS: [i32; 2] = [0, 1];
/// Takes nothing unless both replicas are in sync.
const STRICT: &str = "strict";
const GROUP: &str = "readers";
/// Where each broker is.
const RACKS: [&str; 2] = ["one", "two"];

const NOT_ENOUGH_REPLICAS: i16 = 19;

const SETTINGS: &[(&str, &str)] = &[
    ("offsets.topic.replication.factor", "2"),
    ("zookeeper.session.timeout.ms", "4000"),
    ("replica.lag.time.max.ms", "5000"),
    ("replica.fetch.backoff.ms", "200"),
    ("auto.leader.rebalance.enable", "false"),
    ("replica.selector.class", "org.apache.kafka.common.replica.RackAwareReplicaSelector"),
];

/// Two brokers, and what they have acknowledged.
struct Story {
    cluster: Cluster,
    /// By partition and offset.
    acknowledged: BTreeMap<(i32, i64), String>,
    told: usize,
}

impl Story {
    #[track_caller]
    fn begin(kinds: [Kind; 2]) -> Story {
        let ensemble = Ensemble::of(1, 0);
        let connect = ensemble.connect_string();
        let join = |((id, kind), rack): ((i32, Kind), &'static str)| {
            let settings: Vec<_> = SETTINGS.iter().copied().chain([("broker.rack", rack)]).collect();
            Broker::join(kind, id, &connect, &settings)
        };
        let brokers = (1..).zip(kinds).zip(RACKS).map(join).collect();
        let mut cluster = Cluster { brokers, ensemble };
        cluster.wait_until_all_are_known();
        // Small segments, so that replicas roll them each at their own time.
        let configs = [("segment.bytes", "4096"), ("min.insync.replicas", "1")];
        let mut controller = cluster.broker(cluster.controller()).connect();
        create_topic(&mut controller, TOPIC, 2, 2, &configs);
        create_topic(&mut controller, STRICT, 1, 2, &[("min.insync.replicas", "2")]);
        let story = Story { cluster, acknowledged: BTreeMap::new(), told: 0 };
        story.wait_until_both_are_in_sync();
        story
    }

    #[track_caller]
    fn wait_until_both_are_in_sync(&self) {
        for partition in PARTITIONS {
            self.cluster.wait_until_in_sync(TOPIC, partition, 2);
        }
    }

    fn next_batch(&mut self) -> (Vec<String>, Batch) {
        self.told += 1;
        let values: Vec<String> = (0..3).map(|part| format!("{}.{part}", self.told)).collect();
        let batch = Batch::of(&values.iter().map(String::as_str).collect::<Vec<_>>());
        (values, batch)
    }

    /// Batches at acks=all to each partition, through its leader.
    #[track_caller]
    fn tell(&mut self, batches: usize) {
        for partition in PARTITIONS {
            let leader = self.cluster.leader(TOPIC, partition);
            let mut connection = self.cluster.broker(leader).connect();
            for _ in 0..batches {
                let (values, batch) = self.next_batch();
                let offset = produce(&mut connection, TOPIC, partition, &batch.encode());
                for (offset, value) in (offset..).zip(values) {
                    self.acknowledged.insert((partition, offset), value);
                }
            }
        }
    }

    /// What the topic that wants both replicas answers to a producer.
    fn told_strictly(&self) -> i16 {
        let mut connection = self.cluster.broker(self.cluster.leader(STRICT, 0)).connect();
        let batch = Batch::of(&["for both"]).encode();
        try_produce(&mut connection, STRICT, 0, -1, &batch).expect("the leader answers").0
    }

    /// Asks the group's coordinator, whoever it is, until it gives an answer.
    #[track_caller]
    fn ask_coordinator<T>(&self, what: &str, ask: impl Fn(&mut Connection) -> Option<T>) -> T {
        self.cluster.await_some(what, |cluster| {
            let running = || cluster.brokers.iter().filter(|broker| broker.is_running());
            let coordinator = running().find_map(|broker| {
                let request = FindCoordinatorRequest::default().with_key(text(GROUP));
                let answer = broker.try_connect()?.try_request(3, &request).ok()?;
                (answer.error_code == 0).then_some(answer.node_id.0)
            })?;
            ask(&mut running().find(|broker| broker.id == coordinator)?.try_connect()?)
        })
    }

    #[track_caller]
    fn commit(&self, offset: i64) {
        let partition = OffsetCommitRequestPartition::default().with_committed_offset(offset);
        let topic =
            OffsetCommitRequestTopic::default().with_name(name(TOPIC)).with_partitions(vec![partition]);
        let request = OffsetCommitRequest::default()
            .with_group_id(GroupId(text(GROUP)))
            .with_generation_id_or_member_epoch(-1)
            .with_topics(vec![topic]);
        self.ask_coordinator("an offset is committed", |connection| {
            let answer = connection.try_request(7, &request).ok()?;
            (answer.topics[0].partitions[0].error_code == 0).then_some(())
        });
        for partition in 0..5 {
            self.cluster.wait_until_in_sync("__consumer_offsets", partition, 2);
        }
    }

    #[track_caller]
    fn committed(&self) -> i64 {
        self.ask_coordinator("the committed offset is told", |connection| {
            try_committed(connection, GROUP, TOPIC, &[0]).map(|offsets| offsets[0])
        })
    }

    /// A leader sends a consumer to the replica in its rack, and that one serves what is committed.
    #[track_caller]
    fn check_nearest(&self) {
        for partition in PARTITIONS {
            let leader = self.cluster.leader(TOPIC, partition);
            let other = 3 - leader;
            let rack = RACKS[usize::try_from(other - 1).expect("an index")];
            let wanted = FetchPartition::default()
                .with_partition(partition)
                .with_current_leader_epoch(-1)
                .with_fetch_offset(0)
                .with_partition_max_bytes(1 << 20);
            let topic = FetchTopic::default().with_topic(name(TOPIC)).with_partitions(vec![wanted]);
            let request = FetchRequest::default()
                .with_max_wait_ms(500)
                .with_rack_id(text(rack))
                .with_topics(vec![topic]);
            let answer = self.cluster.broker(leader).connect().request(11, &request);
            let told = &answer.responses[0].partitions[0];
            assert_eq!((told.error_code, told.preferred_read_replica.0), (0, other));
            assert!(told.records.as_ref().is_none_or(bytes::Bytes::is_empty));

            let last = self.acknowledged.keys().rfind(|(of, _)| *of == partition).expect("told").1;
            self.cluster.until("the follower serves all", |cluster| {
                let mut connection = cluster.broker(other).connect();
                let served = try_fetch(&mut connection, TOPIC, partition, last);
                served.is_ok_and(|served| values(&served.records).contains_key(&last))
            });
        }
    }

    /// Records are gone once no replica has them any more.
    #[track_caller]
    fn delete_before(&self, partition: i32, offset: i64) {
        let wanted = DeleteRecordsPartition::default().with_partition_index(partition).with_offset(offset);
        let topic = DeleteRecordsTopic::default().with_name(name(TOPIC)).with_partitions(vec![wanted]);
        let request = DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(25_000);
        let mut connection = self.cluster.broker(self.cluster.leader(TOPIC, partition)).connect();
        let answer = connection.request(2, &request);
        let done = &answer.topics[0].partitions[0];
        assert_eq!((done.error_code, done.low_watermark), (0, offset));
    }

    /// Batches at acks=1, which only the leader has, because the other broker is stopped meanwhile.
    #[track_caller]
    fn whisper(&mut self, leader: i32, other: i32) {
        let partition = PARTITIONS.into_iter().find(|one| self.cluster.leader(TOPIC, *one) == leader);
        let partition = partition.expect("each broker leads a partition");
        let mut connection = self.cluster.broker(leader).connect();
        self.cluster.broker(other).pause();
        for _ in 0..5 {
            let (_, batch) = self.next_batch();
            let told = try_produce(&mut connection, TOPIC, partition, 1, &batch.encode());
            assert_eq!(told.expect("the leader answers").0, 0);
        }
        self.cluster.broker_mut(leader).kill();
        self.cluster.broker(other).resume();
    }

    /// A write that waits for a follower is acknowledged when that follower is dead.
    #[track_caller]
    fn outlive(&mut self, leader: i32, other: i32) {
        let partition = PARTITIONS.into_iter().find(|one| self.cluster.leader(TOPIC, *one) == leader);
        let data = PartitionProduceData::default()
            .with_index(partition.expect("it leads a partition"))
            .with_records(Some(Batch::of(&["outlives"]).encode()));
        let topic = TopicProduceData::default().with_name(name(TOPIC)).with_partition_data(vec![data]);
        let request =
            ProduceRequest::default().with_acks(-1).with_timeout_ms(28_000).with_topic_data(vec![topic]);
        let mut connection = self.cluster.broker(leader).connect();
        self.cluster.broker(other).pause();
        connection.send(9, &request).expect("sent");
        self.cluster.broker_mut(other).kill();
        let answer = connection.receive::<ProduceRequest>(9).expect("an answer");
        assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
    }

    #[track_caller]
    fn wait_until_led_by(&self, broker: i32) {
        for partition in PARTITIONS {
            self.cluster.until(&format!("broker {broker} leads {TOPIC}-{partition}"), |cluster| {
                cluster.leadership(TOPIC, partition).is_some_and(|(leader, _)| leader == broker)
            });
        }
    }

    /// Every acknowledged record is where it was, as a consumer of `broker` sees it.
    #[track_caller]
    fn check_acknowledged(&self, broker: i32) {
        for partition in PARTITIONS {
            let mut connection = self.cluster.broker(broker).connect();
            let mut seen: BTreeMap<i64, String> = BTreeMap::new();
            let wanted = self.acknowledged.keys().filter(|(of, _)| *of == partition).map(|(_, at)| *at).max();
            let wanted = wanted.expect("something was told");
            let deadline = std::time::Instant::now() + PATIENCE;
            while seen.last_key_value().is_none_or(|(last, _)| *last < wanted) {
                assert!(std::time::Instant::now() < deadline, "{} of {wanted} records", seen.len());
                let next = seen.last_key_value().map_or(0, |(last, _)| last + 1);
                let fetched = try_fetch(&mut connection, TOPIC, partition, next).expect("the broker answers");
                seen.extend(values(&fetched.records));
            }
            for ((_, offset), value) in self.acknowledged.iter().filter(|((of, _), _)| *of == partition) {
                assert_eq!(seen.get(offset), Some(value), "{TOPIC}-{partition} at {offset}");
            }
        }
    }

    /// The replicas have the same bytes, however they are cut into segments.
    #[track_caller]
    fn wait_until_logs_are_equal(&self) {
        for partition in PARTITIONS {
            let folder = format!("{TOPIC}-{partition}");
            self.cluster.until(&format!("the replicas of {folder} are equal"), |cluster| {
                let logs = [1, 2].map(|id| log(&cluster.broker(id).log_dir().join(&folder)));
                logs[0] == logs[1] && !logs[0].is_empty()
            });
        }
    }

    /// What Apache's tool reads out of a replica.
    #[track_caller]
    fn dumped(&self, broker: i32, partition: i32) -> Vec<String> {
        let folder = self.cluster.broker(broker).log_dir().join(format!("{TOPIC}-{partition}"));
        let files: Vec<String> = segments(&folder).iter().map(|path| path.display().to_string()).collect();
        let arguments = ["--deep-iteration", "--print-data-log", "--files", &files.join(",")];
        let dump = stock::tool("3.9.1", "kafka-dump-log", &arguments, "").success();
        // Where in its file a batch lies differs with the segments.
        let lines = dump.lines().filter(|line| line.contains("offset: "));
        let told = |line: &str| {
            let words = line.split(" position: ").next().unwrap_or_default();
            words.to_owned()
        };
        lines.map(told).collect()
    }
}

fn name(topic: &str) -> TopicName {
    TopicName(text(topic))
}

fn segments(folder: &Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut logs: Vec<_> = paths.filter(|path| path.extension().is_some_and(|end| end == "log")).collect();
    logs.sort();
    logs
}

fn log(folder: &Path) -> Vec<u8> {
    segments(folder).iter().flat_map(|path| fs::read(path).unwrap_or_default()).collect()
}

/// Offsets and values of uncompressed batches of magic 2; a batch that is cut off is left out.
fn values(mut records: &[u8]) -> BTreeMap<i64, String> {
    let mut found = BTreeMap::new();
    while let Some((head, rest)) = records.split_at_checked(12) {
        let base = i64::from_be_bytes(head[..8].try_into().expect("8 bytes"));
        let length = i32::from_be_bytes(head[8..].try_into().expect("4 bytes"));
        let Some((batch, rest)) = rest.split_at_checked(usize::try_from(length).expect("a length")) else {
            break;
        };
        records = rest;
        // 49 bytes of header follow the length.
        let mut at = &batch[49..];
        while !at.is_empty() {
            varint(&mut at);
            at = &at[1..];
            varint(&mut at);
            let offset = base + varint(&mut at);
            let key = varint(&mut at);
            at = &at[usize::try_from(key).unwrap_or(0)..];
            let value = usize::try_from(varint(&mut at)).expect("a value");
            found.insert(offset, String::from_utf8_lossy(&at[..value]).into_owned());
            at = &at[value..];
            varint(&mut at);
        }
    }
    found
}

fn varint(from: &mut &[u8]) -> i64 {
    let (mut value, mut shift) = (0_u64, 0);
    loop {
        let byte = from[0];
        *from = &from[1..];
        value |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            return (value >> 1).cast_signed() ^ -(value & 1).cast_signed();
        }
    }
}

fn survives(kinds: [Kind; 2]) {
    let mut story = Story::begin(kinds);
    story.tell(40);
    story.wait_until_logs_are_equal();
    story.check_nearest();
    story.commit(17);
    assert_eq!(story.told_strictly(), 0);

    // The other broker takes over without the records that were never acknowledged by it.
    story.whisper(1, 2);
    story.wait_until_led_by(2);
    story.check_acknowledged(2);
    assert_eq!(story.committed(), 17);
    story.cluster.until("the dead one is out of sync everywhere", |cluster| {
        cluster.leadership(STRICT, 0) == Some((2, vec![2]))
    });
    assert_eq!(story.told_strictly(), NOT_ENOUGH_REPLICAS);
    story.tell(20);

    // The first one comes back with records that the second has not, and throws them away.
    story.cluster.broker_mut(1).restart();
    story.wait_until_both_are_in_sync();
    story.commit(18);
    story.tell(5);
    story.wait_until_logs_are_equal();
    assert_eq!(story.dumped(1, 0), story.dumped(2, 0));

    // Now the roles the other way round.
    story.cluster.broker_mut(2).kill();
    story.wait_until_led_by(1);
    story.check_acknowledged(1);
    assert_eq!(story.committed(), 18);
    story.tell(5);
    story.cluster.broker_mut(2).restart();
    story.wait_until_both_are_in_sync();
    story.wait_until_logs_are_equal();
    story.check_acknowledged(1);
    for partition in PARTITIONS {
        story.delete_before(partition, 4);
    }
    story.outlive(1, 2);
}

#[test]
fn what_was_acknowledged_survives_every_leader() {
    survives([kind(), kind()]);
}

#[test]
fn our_broker_and_apaches_copy_from_each_other_and_survive_each_other() {
    survives([Kind::Ours, Kind::Apache]);
}
