//! A small partition with every kind of file and batch of magic 2 in it, for tests that read, damage or fuzz one.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::batch::{
    BatchBuilder, BatchOptions, BatchProducer, EndTransaction, Origin, ProduceRules, TargetCompression,
    TimestampType, prepare,
};
use crate::config::LogConfig;
use crate::directory::LastStop;
use crate::disk::OsDisk;
use crate::error::StorageError;
use crate::log::{LeaderAppend, Log, LogOptions};
use crate::producers::{ProducerSettings, VerificationGuard};
use crate::store::Store;
use crate::types::{LeaderEpoch, Offset, ProducerId, TimestampMs, TopicId, TopicPartition};

/// When everything is written, a second from batch to batch.
pub const NOW: TimestampMs = TimestampMs(1_700_000_000_000);

/// How many batches of a producer there are, beside those of transactions.
pub const BATCHES: i32 = 40;

pub const CODECS: [TargetCompression; 5] = [
    TargetCompression::Uncompressed,
    TargetCompression::Gzip { level: 6 },
    TargetCompression::Snappy,
    TargetCompression::Lz4 { level: 9 },
    TargetCompression::Zstd { level: 3 },
];

/// Small segments, dense indexes, nothing that retention would take.
#[must_use]
pub fn config() -> LogConfig {
    LogConfig {
        segment_bytes: 1500,
        segment_index_bytes: 480,
        index_interval_bytes: 100,
        retention_ms: None,
        ..LogConfig::default()
    }
}

pub fn open(folder: &Path, partition: &TopicPartition, last_stop: LastStop) -> Result<Log, StorageError> {
    let options = LogOptions {
        folder: folder.to_path_buf(),
        partition: partition.clone(),
        config: Arc::new(config()),
        recovery_point: Offset::ZERO,
        log_start: Offset::ZERO,
        last_stop,
        topic_id: None,
        producers: ProducerSettings { verify_transactions: false, ..ProducerSettings::default() },
        now: NOW,
    };
    Log::open(&Store::new(Arc::new(OsDisk)), options)
}

/// What a leader asks of batches that are to be stored as they are.
#[must_use]
pub fn rules(partition: &TopicPartition, origin: Origin) -> ProduceRules {
    ProduceRules {
        partition: partition.clone(),
        origin,
        compression: TargetCompression::Producer,
        timestamp_type: TimestampType::CreateTime,
        timestamp_before_max_ms: i64::MAX,
        timestamp_after_max_ms: i64::MAX,
        max_message_bytes: 1 << 20,
        compacted: false,
    }
}

/// Writes the partition into a folder that is not there yet, and closes it: batches of every codec by an idempotent producer
/// and by nobody, under three leaders, and transactions that were committed and aborted.
///
/// # Panics
/// Where the disk fails.
pub fn write(folder: &Path, partition: &TopicPartition, topic_id: TopicId) {
    let mut log = open(folder, partition, LastStop::Clean).expect("opened");
    log.assign_topic_id(topic_id).expect("assigned");
    for number in 0..BATCHES {
        let producer = match number % 2 {
            0 => BatchProducer { id: ProducerId(4000), epoch: 1, base_sequence: number },
            _ => BatchProducer::NONE,
        };
        let compression = CODECS[number as usize % CODECS.len()];
        let options = BatchOptions { compression, producer, ..BatchOptions::default() };
        append(&mut log, number, options, &["one", &"x".repeat(number as usize)]);
        if number % 7 == 0 {
            let id = ProducerId(9000 + i64::from(number));
            let producer = BatchProducer { id, epoch: 0, base_sequence: 0 };
            let options = BatchOptions { producer, is_transactional: true, ..BatchOptions::default() };
            append(&mut log, number, options, &["in a transaction"]);
            let commits = if number % 14 == 0 { EndTransaction::Abort } else { EndTransaction::Commit };
            end(&mut log, number, producer, commits);
        }
    }
    log.close().expect("closed");
}

fn time_of(number: i32) -> TimestampMs {
    TimestampMs(NOW.0 + i64::from(number) * 1000)
}

fn append(log: &mut Log, number: i32, options: BatchOptions, values: &[&str]) {
    let mut builder = BatchBuilder::new(options).expect("a builder");
    for value in values {
        builder.append(time_of(number), Some(b"key"), Some(value.as_bytes()), &[]).expect("appended");
    }
    store(log, number, builder.build().expect("built"), Origin::Client { produce_version: 9 });
}

fn end(log: &mut Log, number: i32, producer: BatchProducer, end: EndTransaction) {
    let producer = BatchProducer { base_sequence: -1, ..producer };
    let options =
        BatchOptions { producer, is_transactional: true, is_control: true, ..BatchOptions::default() };
    let mut builder = BatchBuilder::new(options).expect("a builder");
    builder.append_end_transaction(time_of(number), end, 5).expect("appended");
    store(log, number, builder.build().expect("built"), Origin::Coordinator);
}

fn store(log: &mut Log, number: i32, batch: Bytes, origin: Origin) {
    let prepared = prepare(batch, &rules(log.partition(), origin), NOW).expect("accepted").expect("a batch");
    let epoch = LeaderEpoch(number / 15);
    let how = LeaderAppend { origin, epoch, verification: VerificationGuard::NONE, now: NOW };
    log.append_as_leader(prepared, how).expect("appended");
}

/// The files in a folder by name.
///
/// # Panics
/// Where they cannot be read.
#[must_use]
pub fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let paths = fs::read_dir(folder).expect("listed").map(|entry| entry.expect("an entry").path());
    let named = paths.map(|path| {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        (name, fs::read(path).expect("read"))
    });
    named.collect()
}
