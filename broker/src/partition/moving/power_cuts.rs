//! Power cuts at every operation of a move between log directories, and of a deletion: a partition is there whole, with all
//! that was flushed, or it was deleted.

use std::collections::BTreeSet;
use std::fs;

use bytes::Bytes;
use kafka_protocol::messages::leader_and_isr_request::{LeaderAndIsrPartitionState, LeaderAndIsrTopicState};
use kafka_protocol::messages::stop_replica_request::{StopReplicaPartitionState, StopReplicaTopicState};
use kafka_protocol::messages::{BrokerId as WireId, LeaderAndIsrRequest, StopReplicaRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use storage::batch::{BatchBuilder, BatchOptions, Origin, headers, records};
use storage::directory::LogDirectory;
use storage::disk::Disk;
use storage::disk::faulty::FaultyDisk;
use storage::disk::powered::{Dice, PoweredDisk};
use storage::store::Store;
use storage::types::{BrokerId, TimestampMs};

use super::*;
use crate::config::BrokerConfig;
use crate::config::layers::Layers;
use crate::config::properties;
use crate::partition::directories::Directories;
use crate::partition::registry::{LogSettings, TopicConfigs, producer_settings};
use crate::partition::surroundings::Surroundings;
use crate::partition::{Acks, MoveRate};

/// Of what a cut may leave, so many samples are looked at.
const SAMPLES: u64 = 2;

fn id() -> TopicPartition {
    TopicPartition::new("t", 0)
}

/// A broker's partitions in two directories below `root`.
fn open(disk: Arc<dyn Disk>, root: &Path) -> Result<Partitions, StorageError> {
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
    let directories = Directories::new(directories?, 0);
    let configs = TopicConfigs::new(config);
    let (partitions, backlog) = Partitions::open(around, Store::new(disk), directories, configs, settings)?;
    partitions.work_off(&backlog, &|_| ());
    Ok(partitions)
}

fn name() -> TopicName {
    TopicName(StrBytes::from_static_str("t"))
}

/// Makes the partition, which this broker leads.
fn lead(partitions: &Partitions) -> Arc<Partition> {
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

fn append(partition: &Partition, value: &str) -> bool {
    let mut builder = BatchBuilder::new(BatchOptions::default()).expect("a builder");
    builder.append(TimestampMs(1_700_000_000_000), None, Some(value.as_bytes()), &[]).expect("appended");
    let batch = builder.build().expect("built");
    partition.append(batch, Origin::Client { produce_version: 9 }, Acks::Leader).is_ok()
}

/// True where all that was appended is on the disk.
fn flush(partition: &Partition) -> bool {
    let flush = partition.lock().log.flush();
    flush.run().is_ok()
}

fn values(partition: &Partition) -> Vec<String> {
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
fn folders(root: &Path) -> Vec<String> {
    let of = |directory: &str| {
        let entries =
            fs::read_dir(root.join(directory)).expect("listed").map(|entry| entry.expect("an entry"));
        let folders = entries.filter(|entry| entry.path().is_dir());
        let names = folders.map(|entry| format!("{directory}/{}", entry.file_name().to_string_lossy()));
        names.collect::<Vec<_>>()
    };
    [of("a"), of("b")].concat()
}

/// A partition that this broker leads, with three records that were flushed.
fn begun(disk: &PoweredDisk, root: &Path) -> (Partitions, Arc<Partition>) {
    let partitions = open(Arc::new(disk.clone()), root).expect("opened");
    let partition = lead(&partitions);
    assert!((0..3).all(|number| append(&partition, &number.to_string())) && flush(&partition));
    (partitions, partition)
}

/// What was salvaged, on a disk that works.
#[track_caller]
fn opened_again(root: &Path, context: &str) -> Partitions {
    open(Arc::new(FaultyDisk::new()), root).unwrap_or_else(|why| panic!("{context}: {why}"))
}

/// What is there when the power is back.
fn salvage(disk: &PoweredDisk, root: &Path, seed: u64) -> tempfile::TempDir {
    let after = tempfile::tempdir().expect("a folder");
    disk.salvage(root, after.path(), &mut Dice(seed));
    after
}

/// A first seed, printed so that a failing one can be given a name.
fn first_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    let seed = now.as_secs() << 20;
    println!("seeds from {seed}");
    seed
}

/// The move until it is over or the power fails; meanwhile records come and are flushed, one of them behind the last step of
/// the copy. Yields how many are known to be on the disk.
fn moved(partitions: &Partitions, partition: &Arc<Partition>, to: &Path) -> usize {
    let mut flushed = 3;
    let mut write = |number: usize| {
        if append(partition, &number.to_string()) && flush(partition) {
            flushed = number + 1;
        }
    };
    let path = std::path::absolute(to).expect("a path");
    if partitions.alter_directory(&id(), &path.display().to_string()).is_err() {
        return flushed;
    }
    write(3);
    let moving = partitions.moves.get(&id()).expect("begun");
    let mut log = moving.log.lock().expect("nobody panicked");
    let copied = copy(partition, log.as_mut().expect("the copy"));
    write(4);
    if copied.is_ok() {
        let _ = partitions.take_over(&moving, &mut log);
    }
    write(5);
    flushed
}

#[test]
fn a_power_cut_at_every_operation_of_a_move_costs_nothing_that_was_flushed() {
    let seed = first_seed();
    let mut left = BTreeSet::new();
    for cut in 0.. {
        let root = tempfile::tempdir().expect("a folder");
        let disk = PoweredDisk::default();
        let (partitions, partition) = begun(&disk, root.path());
        assert_eq!(folders(root.path()), ["a/t-0"]);
        disk.fail_after(cut);
        let flushed = moved(&partitions, &partition, &root.path().join("b"));
        let done = !disk.has_failed();
        drop((partitions, partition));
        for sample in 0..SAMPLES {
            let seed = seed + cut as u64 * SAMPLES + sample;
            let context = format!("cut at {cut}, seed {seed}");
            let after = salvage(&disk, root.path(), seed);
            let found = folders(after.path());
            let partitions = opened_again(after.path(), &context);
            let partition = partitions.get(&id()).unwrap_or_else(|| panic!("{context}: gone of {found:?}"));
            let check = |when: &str| {
                let there = values(&partition);
                let expected = (0..there.len()).map(|number| number.to_string());
                assert!(there.iter().cloned().eq(expected), "{context}, {when}: {there:?}");
                assert!(there.len() >= flushed, "{context}, {when}: {there:?}, {flushed} were flushed");
            };
            check("at the start");
            assert!((0..100).any(|_| partitions.move_on(&id()) == Step::Done), "{context}: no end");
            check("when the move was gone on with");
            partitions.remove_condemned(TimestampMs(i64::MAX));
            let one: [&str; 2] = ["a/t-0", "b/t-0"];
            let kept = folders(after.path());
            assert!(kept.len() == 1 && one.contains(&kept[0].as_str()), "{context}: {kept:?}");
            left.insert(kept);
        }
        if done {
            assert!(cut > 20, "{cut} operations");
            break;
        }
    }
    assert_eq!(left.len(), 2, "both outcomes happen: {left:?}");
}

#[test]
fn a_power_cut_at_every_operation_of_a_deletion_leaves_a_partition_whole_or_none() {
    let seed = first_seed();
    let mut left = BTreeSet::new();
    for cut in 0.. {
        let root = tempfile::tempdir().expect("a folder");
        let disk = PoweredDisk::default();
        let (partitions, partition) = begun(&disk, root.path());
        drop(partition);
        disk.fail_after(cut);
        let state = StopReplicaPartitionState::default().with_leader_epoch(-1).with_delete_partition(true);
        let topic =
            StopReplicaTopicState::default().with_topic_name(name()).with_partition_states(vec![state]);
        let (answer, _) =
            partitions.stop_replica(&StopReplicaRequest::default().with_topic_states(vec![topic]));
        let is_deleted = answer.partition_errors[0].error_code == 0;
        partitions.remove_condemned(TimestampMs(i64::MAX));
        let done = !disk.has_failed();
        drop(partitions);
        for sample in 0..SAMPLES {
            let seed = seed + cut as u64 * SAMPLES + sample;
            let context = format!("cut at {cut}, seed {seed}");
            let after = salvage(&disk, root.path(), seed);
            let partitions = opened_again(after.path(), &context);
            let there = partitions.get(&id()).map(|partition| values(&partition));
            if let Some(there) = &there {
                assert!(!is_deleted, "{context}: a deletion that was answered is for good");
                assert_eq!(there.as_slice(), ["0", "1", "2"], "{context}");
            }
            partitions.remove_condemned(TimestampMs(i64::MAX));
            assert_eq!(folders(after.path()).len(), usize::from(there.is_some()), "{context}");
            left.insert(there.is_some());
        }
        if done {
            assert!(cut > 5, "{cut} operations");
            break;
        }
    }
    assert_eq!(left.len(), 2, "both outcomes happen");
}
