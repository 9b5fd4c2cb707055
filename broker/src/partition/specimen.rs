//! A broker's partitions in two log directories, and one of them that it leads, for the tests of this room.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::messages::leader_and_isr_request::{LeaderAndIsrPartitionState, LeaderAndIsrTopicState};
use kafka_protocol::messages::stop_replica_request::{StopReplicaPartitionState, StopReplicaTopicState};
use kafka_protocol::messages::{BrokerId as WireId, LeaderAndIsrRequest, StopReplicaRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use storage::batch::{BatchBuilder, BatchOptions, Origin, headers, records};
use storage::directory::LogDirectory;
use storage::disk::Disk;
use storage::error::StorageError;
use storage::store::Store;
use storage::types::{BrokerId, TimestampMs, TopicPartition};
use uuid::Uuid;

use crate::config::BrokerConfig;
use crate::config::layers::Layers;
use crate::config::properties;
use crate::partition::directories::Directories;
use crate::partition::registry::{LogSettings, TopicConfigs, producer_settings};
use crate::partition::surroundings::Surroundings;
use crate::partition::{Acks, MoveRate, Partition, Partitions};

pub(super) fn id() -> TopicPartition {
    TopicPartition::new("t", 0)
}

/// A broker's partitions in two directories below `root`.
pub(super) fn open(disk: Arc<dyn Disk>, root: &Path) -> Result<Partitions, StorageError> {
    let layers = Layers::from_file(properties::parse(b"").expect("nothing"));
    let config = Arc::new(BrokerConfig::new(layers).expect("the defaults"));
    let directories: Result<Vec<_>, _> =
        ["a", "b"].iter().map(|name| LogDirectory::open(Arc::clone(&disk), &root.join(name))).collect();
    let settings = LogSettings {
        producers: producer_settings(&config),
        recovery_threads: 1,
        move_rate: MoveRate::new(config.logs.move_window, None),
    };
    let around = Surroundings::new(BrokerId(0), &config);
    let directories = Directories::new(directories?, Vec::new());
    let configs = TopicConfigs::new(config);
    let (partitions, backlog) = Partitions::open(around, Store::new(disk), directories, configs, settings)?;
    partitions.work_off(&backlog, &|_| ());
    Ok(partitions)
}

fn name() -> TopicName {
    TopicName(StrBytes::from_static_str("t"))
}

/// Makes the partition, which this broker leads.
pub(super) fn lead(partitions: &Partitions) -> Arc<Partition> {
    let state = LeaderAndIsrPartitionState::default()
        .with_leader(WireId(0))
        .with_isr(vec![WireId(0)])
        .with_replicas(vec![WireId(0)])
        .with_is_new(true);
    let topic = LeaderAndIsrTopicState::default()
        .with_topic_name(name())
        .with_topic_id(Uuid::from_u128(5))
        .with_partition_states(vec![state]);
    let (answer, _) =
        partitions.leader_and_isr(&LeaderAndIsrRequest::default().with_topic_states(vec![topic]));
    assert_eq!(answer.topics[0].partition_errors[0].error_code, 0);
    partitions.get(&id()).expect("made")
}

/// Deletes the partition, as a controller has it; yields the code.
pub(super) fn delete(partitions: &Partitions) -> i16 {
    let state = StopReplicaPartitionState::default().with_leader_epoch(-1).with_delete_partition(true);
    let topic = StopReplicaTopicState::default().with_topic_name(name()).with_partition_states(vec![state]);
    let (answer, _) = partitions.stop_replica(&StopReplicaRequest::default().with_topic_states(vec![topic]));
    answer.partition_errors[0].error_code
}

pub(super) fn append(partition: &Partition, value: &str) -> bool {
    let mut builder = BatchBuilder::new(BatchOptions::default()).expect("a builder");
    builder.append(TimestampMs(1_700_000_000_000), None, Some(value.as_bytes()), &[]).expect("appended");
    let batch = builder.build().expect("built");
    partition.append(batch, Origin::Client { produce_version: 9 }, Acks::Leader).is_ok()
}

/// True where all that was appended is on the disk.
pub(super) fn flush(partition: &Partition) -> bool {
    let flush = partition.lock().log.flush();
    flush.run().is_ok()
}

pub(super) fn values(partition: &Partition) -> Vec<String> {
    let inner = partition.lock();
    let (reader, end) = (inner.log.reader(), inner.log.end());
    let mut values = Vec::new();
    let mut from = inner.log.start();
    while from < end {
        let slice = reader.read(from, 1 << 20, end, true).expect("read");
        let bytes: &Bytes = slice.records.bytes();
        for located in headers(bytes) {
            let located = located.expect("a batch");
            let batch = bytes.slice(located.position..located.position + located.size);
            located.batch.check_crc(&batch).expect("a good checksum");
            let text =
                |value: Option<Bytes>| String::from_utf8_lossy(&value.unwrap_or_default()).into_owned();
            values.extend(
                records(&batch).expect("records").map(|record| text(record.expect("a record").value)),
            );
            from = located.batch.next_offset();
        }
    }
    values
}

/// Folders of partitions in both directories, as `a/t-0`.
pub(super) fn folders(root: &Path) -> Vec<String> {
    let of = |directory: &str| {
        let entries =
            fs::read_dir(root.join(directory)).expect("listed").map(|entry| entry.expect("an entry"));
        let folders = entries.filter(|entry| entry.path().is_dir());
        let names = folders.map(|entry| format!("{directory}/{}", entry.file_name().to_string_lossy()));
        names.collect::<Vec<_>>()
    };
    [of("a"), of("b")].concat()
}
