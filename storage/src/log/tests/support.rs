//! A log in a temporary folder and batches to put into it.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use crate::batch::{
    BatchBuilder, BatchOptions, BatchProducer, EndTransaction, Origin, Prepared, prepare, records,
};
use crate::config::LogConfig;
use crate::directory::LastStop;
use crate::disk::Disk;
use crate::disk::faulty::FaultyDisk;
use crate::error::{AppendError, StorageError};
use crate::log::{Appended, LeaderAppend, Log, LogOptions};
use crate::producers::{ProducerSettings, VerificationGuard};
use crate::specimen::rules;
use crate::store::Store;
use crate::types::{LeaderEpoch, Offset, ProducerId, TimestampMs, TopicPartition};

pub(super) const NOW: TimestampMs = TimestampMs(1_700_000_000_000);

/// Whether there is time for many runs.
pub(super) fn soak() -> bool {
    std::env::var_os("ODRADEK_SOAK").is_some()
}

/// A folder that outlives the logs opened in it.
pub(super) struct Place {
    pub(super) directory: tempfile::TempDir,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) config: LogConfig,
    pub(super) producers: ProducerSettings,
}

impl Place {
    pub(super) fn new(config: LogConfig) -> Place {
        Place::on(Arc::new(FaultyDisk::new()), config)
    }

    pub(super) fn on(disk: Arc<dyn Disk>, config: LogConfig) -> Place {
        let directory = tempfile::tempdir().expect("a directory");
        let producers = ProducerSettings { verify_transactions: false, ..ProducerSettings::default() };
        Place { directory, disk, config, producers }
    }

    pub(super) fn folder(&self) -> PathBuf {
        self.directory.path().join("t-0")
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    pub(super) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.folder())
            .expect("listed")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    pub(super) fn options(&self, last_stop: LastStop) -> LogOptions {
        LogOptions {
            folder: self.folder(),
            partition: TopicPartition::new("t", 0),
            config: Arc::new(self.config.clone()),
            recovery_point: Offset::ZERO,
            log_start: Offset::ZERO,
            last_stop,
            topic_id: None,
            producers: self.producers,
            now: NOW,
        }
    }

    pub(super) fn try_open(&self, last_stop: LastStop) -> Result<Log, StorageError> {
        Log::open(&Store::new(self.disk.clone()), self.options(last_stop))
    }

    pub(super) fn open(&self, last_stop: LastStop) -> Log {
        self.try_open(last_stop).expect("opened")
    }
}

pub(super) fn small_segments(bytes: u32) -> LogConfig {
    LogConfig { segment_bytes: bytes, ..LogConfig::default() }
}

/// Not idempotent.
pub(super) const NOBODY: BatchProducer = BatchProducer::NONE;

pub(super) fn producer(id: i64, epoch: i16, base_sequence: i32) -> BatchProducer {
    BatchProducer { id: ProducerId(id), epoch, base_sequence }
}

pub(super) fn options(producer: BatchProducer) -> BatchOptions {
    BatchOptions { producer, ..BatchOptions::default() }
}

/// A batch of records with these values, a millisecond apart from `timestamp`.
pub(super) fn batch_at(options: BatchOptions, timestamp: i64, values: &[&str]) -> Bytes {
    let mut builder = BatchBuilder::new(options).expect("a builder");
    for (index, value) in values.iter().enumerate() {
        let timestamp = TimestampMs(timestamp + index as i64);
        builder.append(timestamp, None, Some(value.as_bytes()), &[]).expect("appended");
    }
    builder.build().expect("built")
}

pub(super) fn marker_batch(producer: BatchProducer, end: EndTransaction, coordinator_epoch: i32) -> Bytes {
    let options = BatchOptions {
        producer: BatchProducer { base_sequence: -1, ..producer },
        is_transactional: true,
        is_control: true,
        ..BatchOptions::default()
    };
    let mut builder = BatchBuilder::new(options).expect("a builder");
    builder.append_end_transaction(NOW, end, coordinator_epoch).expect("appended");
    builder.build().expect("built")
}

pub(super) fn prepared(bytes: Bytes, origin: Origin) -> Prepared {
    let rules = rules(&TopicPartition::new("t", 0), origin);
    prepare(bytes, &rules, NOW).expect("accepted").expect("a batch")
}

pub(super) const CLIENT: Origin = Origin::Client { produce_version: 9 };

pub(super) fn lead(epoch: i32, origin: Origin) -> LeaderAppend {
    LeaderAppend { origin, epoch: LeaderEpoch(epoch), verification: VerificationGuard::NONE, now: NOW }
}

pub(super) fn append(log: &mut Log, bytes: Bytes) -> Result<Appended, AppendError> {
    log.append_as_leader(prepared(bytes, CLIENT), lead(0, CLIENT))
}

/// Appends a batch with these values; yields its first offset.
pub(super) fn put(log: &mut Log, values: &[&str]) -> i64 {
    append(log, batch_at(options(NOBODY), NOW.0, values)).expect("appended").first.0
}

pub(super) fn mark(log: &mut Log, producer: BatchProducer, end: EndTransaction) -> Appended {
    let batch = prepared(marker_batch(producer, end, 0), Origin::Coordinator);
    log.append_as_leader(batch, lead(0, Origin::Coordinator)).expect("appended")
}

/// Everything from `from` to the end: offsets and values.
pub(super) fn contents(log: &Log, from: i64) -> Vec<(i64, String)> {
    let reader = log.reader();
    let mut found = Vec::new();
    let mut from = Offset(from);
    while from < log.end() {
        let slice = reader.read(from, 1 << 20, log.end(), true).expect("read");
        if slice.records.is_empty() {
            break;
        }
        for located in crate::batch::headers(slice.records.bytes()) {
            let located = located.expect("a batch");
            let entry = slice.records.bytes().slice(located.position..located.position + located.size);
            located.batch.check_crc(&entry).expect("a good checksum");
            from = located.batch.next_offset();
            for record in records(&entry).expect("records") {
                let record = record.expect("a record");
                let value = String::from_utf8_lossy(&record.value.unwrap_or_default()).into_owned();
                found.push((record.offset.0, value));
            }
        }
    }
    found
}

pub(super) fn values(log: &Log) -> Vec<String> {
    contents(log, log.start().0).into_iter().map(|(_, value)| value).collect()
}
