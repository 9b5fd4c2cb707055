//! A partition's log: the public face of this crate.
//!
//! [`Log`] is what one owner changes, under a lock of theirs. [`LogReader`] is what everybody reads, without that
//! lock. [`Flush`] brings data to the disk, without it too. What was acknowledged to nobody may be lost; offsets that
//! were given out once are never given out again for other records, unless a truncation was ordered.
//! Knows no leader and no replica: epochs, high watermarks and the time are told to it.

mod append;
mod cleaning;
mod deletion;
mod flush;
mod reader;
mod tail;
mod truncation;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::config::LogConfig;
use crate::directory::{LastStop, read_topic_id, write_first_topic_id, write_topic_id};
use crate::epochs::LeaderEpochs;
use crate::error::StorageError;
use crate::producers::{ProducerEntry, ProducerSettings, Producers, VerificationGuard};
use crate::recovery::{self, Loaded, Loading};
use crate::segment::Segment;
use crate::segment::files::{FileKind, Home, parse_name};
use crate::store::Store;
use crate::types::{LeaderEpoch, Offset, ProducerId, TimestampMs, TopicId, TopicPartition};

pub use append::{Appended, LeaderAppend};
pub use flush::Flush;
pub use reader::{LogReader, SegmentInfo, Slice};
pub use tail::Boundary;

use deletion::Doomed;
pub(crate) use reader::Shared;
use tail::Tail;

/// What is needed to open the log of a partition.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// The partition's own folder; created where it is missing.
    pub folder: PathBuf,
    pub partition: TopicPartition,
    pub config: Arc<LogConfig>,
    /// From the checkpoint of the log directory; 0 without an entry.
    pub recovery_point: Offset,
    /// From the checkpoint of the log directory; 0 without an entry.
    pub log_start: Offset,
    pub last_stop: LastStop,
    /// What the cluster says; `None` where it does not.
    pub topic_id: Option<TopicId>,
    pub producers: ProducerSettings,
    pub now: TimestampMs,
}

/// What becomes of a folder that is not there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    Create,
    Fail,
}

/// The log of one partition. Not locked inside: the owner keeps it in a mutex and appends through `&mut`.
#[derive(Debug)]
pub struct Log {
    store: Store,
    partition: TopicPartition,
    config: Arc<LogConfig>,
    shared: Arc<Shared>,
    epochs: LeaderEpochs,
    producers: Producers,
    topic_id: Option<TopicId>,
    /// Files waiting for `file.delete.delay.ms`, soonest first.
    doomed: VecDeque<Doomed>,
    /// Compacted below.
    cleaned: Option<Offset>,
    /// Appended since the producers were last captured in a snapshot. Unit: bytes.
    since_snapshot: u64,
    closed: bool,
}

impl Log {
    /// Opens the log in a folder, or creates it there; repairs what the last stop left behind.
    pub fn open(store: &Store, options: LogOptions) -> Result<Log, StorageError> {
        Log::open_or(Missing::Create, store, options)
    }

    /// The same where a folder that has gone meanwhile is not to come back: an error then.
    pub fn reopen(store: &Store, options: LogOptions) -> Result<Log, StorageError> {
        Log::open_or(Missing::Fail, store, options)
    }

    fn open_or(missing: Missing, store: &Store, options: LogOptions) -> Result<Log, StorageError> {
        let disk = store.disk();
        let folder = &options.folder;
        let mut is_new = false;
        let entries = match disk.list(folder, &recovery::is_measured) {
            Err(error) if missing == Missing::Create && error.kind() == std::io::ErrorKind::NotFound => {
                disk.create_directories(folder).map_err(StorageError::io("create", folder))?;
                if let Some(parent) = folder.parent() {
                    disk.sync_directory(parent).map_err(StorageError::io("sync", parent))?;
                }
                is_new = true;
                Vec::new()
            }
            listed => listed.map_err(StorageError::io("list", folder))?,
        };
        let home = Home::new(disk.clone(), folder.clone());
        let loaded = Loading {
            store,
            home: &home,
            config: &options.config,
            recovery_point: options.recovery_point,
            log_start: options.log_start,
            last_stop: options.last_stop,
            producers: options.producers,
            now: options.now,
        }
        .load(entries)?;
        let mut log = Log::assemble(store, home, &options, loaded);
        match options.topic_id {
            Some(id) if is_new => {
                write_first_topic_id(disk.as_ref(), folder, id)?;
                log.topic_id = Some(id);
            }
            Some(id) => {
                log.topic_id = read_topic_id(disk.as_ref(), folder)?;
                log.assign_topic_id(id)?;
            }
            None => log.topic_id = read_topic_id(disk.as_ref(), folder)?,
        }
        Ok(log)
    }

    /// What [`Log::open`] will check in `folder` after [`LastStop::Unclean`]: an estimate, for telling how far it is.
    /// Unit: bytes.
    pub fn unchecked_bytes(
        store: &Store,
        folder: &Path,
        recovery_point: Offset,
    ) -> Result<u64, StorageError> {
        let base_of = |name: &str| match parse_name(name) {
            Some((base, FileKind::Records, "")) => Some(base),
            _ => None,
        };
        let records = |name: &str| base_of(name).is_some();
        let entries = store.disk().list(folder, &records).map_err(StorageError::io("list", folder))?;
        let mut segments: Vec<(Offset, u64)> =
            entries.iter().filter_map(|entry| Some((base_of(&entry.name)?, entry.size))).collect();
        segments.sort_unstable();
        let first = segments.partition_point(|(base, _)| *base <= recovery_point).saturating_sub(1);
        Ok(segments.iter().skip(first).map(|(_, size)| size).sum())
    }

    fn assemble(store: &Store, home: Arc<Home>, options: &LogOptions, loaded: Loaded) -> Log {
        let active = loaded.segments.last();
        let end = Boundary {
            offset: loaded.end,
            segment: active.map_or(loaded.end, |active| active.base),
            position: active.map_or(0, |active| active.size()),
        };
        let shared = Shared {
            home,
            segments: RwLock::new(loaded.segments),
            tail: Mutex::new(Tail::new(end)),
            start: AtomicI64::new(loaded.start.0),
            high_watermark: AtomicI64::new(loaded.start.0),
            first_unstable: AtomicI64::new(i64::MAX),
            recovery_point: AtomicI64::new(loaded.recovery_point.0),
            cutting: RwLock::new(()),
            truncations: AtomicU64::new(0),
            poisoned: AtomicBool::new(false),
        };
        let log = Log {
            store: store.clone(),
            partition: options.partition.clone(),
            config: options.config.clone(),
            shared: Arc::new(shared),
            epochs: loaded.epochs,
            producers: loaded.producers,
            topic_id: None,
            doomed: VecDeque::new(),
            cleaned: None,
            since_snapshot: 0,
            closed: false,
        };
        log.publish_first_unstable();
        log
    }

    /// Reads this log without holding it.
    #[must_use]
    pub fn reader(&self) -> LogReader {
        LogReader { shared: self.shared.clone() }
    }

    #[must_use]
    pub fn partition(&self) -> &TopicPartition {
        &self.partition
    }

    #[must_use]
    pub fn config(&self) -> &Arc<LogConfig> {
        &self.config
    }

    /// Takes new settings; they count from the next append, roll and retention check on.
    pub fn update_config(&mut self, config: Arc<LogConfig>) {
        self.config = config;
    }

    /// First offset that may be read.
    #[must_use]
    pub fn start(&self) -> Offset {
        self.shared.start()
    }

    /// The offset the next record gets.
    #[must_use]
    pub fn end(&self) -> Offset {
        self.end_boundary().offset
    }

    /// The end with its place.
    #[must_use]
    pub fn end_boundary(&self) -> Boundary {
        self.shared.tail().end()
    }

    #[must_use]
    pub fn high_watermark(&self) -> Offset {
        Offset(self.shared.high_watermark.load(Ordering::Acquire))
    }

    /// Tells the log how far its records are committed; kept within `start..=end`. Yields what was kept.
    ///
    /// Bounds what retention may delete and where readers of committed data stop.
    pub fn set_high_watermark(&mut self, high_watermark: Offset) -> Offset {
        let kept = high_watermark.min(self.end()).max(self.start());
        self.shared.high_watermark.store(kept.0, Ordering::Release);
        self.producers.on_high_watermark(kept);
        self.publish_first_unstable();
        kept
    }

    /// Readers of committed data stop here: the first offset of an open transaction, or the high watermark.
    #[must_use]
    pub fn last_stable(&self) -> Offset {
        self.shared.last_stable()
    }

    /// Everything below is on disk; what to put into the checkpoint file.
    #[must_use]
    pub fn recovery_point(&self) -> Offset {
        Offset(self.shared.recovery_point.load(Ordering::Acquire))
    }

    #[must_use]
    pub fn segment_count(&self) -> usize {
        self.shared.segments.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Base offset of the first segment; below [`Log::start`] where `DeleteRecords` cut into it. Only then the start
    /// belongs into the checkpoint file.
    #[must_use]
    pub fn first_segment(&self) -> Offset {
        let segments = self.shared.segments.read().unwrap_or_else(PoisonError::into_inner);
        segments.first().map_or(Offset::ZERO, |segment| segment.base)
    }

    #[must_use]
    pub fn epochs(&self) -> &LeaderEpochs {
        &self.epochs
    }

    #[must_use]
    pub fn latest_epoch(&self) -> Option<LeaderEpoch> {
        self.epochs.latest().map(|latest| latest.epoch)
    }

    /// Notes that a leader with `epoch` starts writing at `start`. Durable when it returns; on a full disk, before its
    /// first record is appended.
    pub fn assign_epoch(&mut self, epoch: LeaderEpoch, start: Offset) -> Result<(), StorageError> {
        self.epochs.assign_or_keep(self.store.disk().as_ref(), epoch, start)
    }

    /// Where the records of `epoch` end (KIP-101); see [`LeaderEpochs::end_offset_for`].
    #[must_use]
    pub fn end_offset_for(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        self.epochs.end_offset_for(epoch, self.end())
    }

    #[must_use]
    pub fn topic_id(&self) -> Option<TopicId> {
        self.topic_id
    }

    /// Writes the topic id into the folder if it has none; refuses another than it has.
    pub fn assign_topic_id(&mut self, id: TopicId) -> Result<(), StorageError> {
        match self.topic_id {
            Some(found) if found == id => Ok(()),
            Some(found) => {
                Err(StorageError::TopicId { partition: self.partition.clone(), found, expected: id })
            }
            None => {
                write_topic_id(self.store.disk().as_ref(), &self.folder(), id)?;
                self.topic_id = Some(id);
                Ok(())
            }
        }
    }

    /// Where the log lies now.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.shared.home.folder()
    }

    /// Renames the folder within its log directory, as for deletion or when a moved replica takes its place.
    pub fn rename(&mut self, name: &str) -> Result<(), StorageError> {
        let to = self.folder().with_file_name(name);
        let renamed = self.shared.home.rename(&to);
        // A failed sync leaves the new name in place.
        let folder = self.folder();
        self.epochs.moved_to(&folder);
        for doomed in &mut self.doomed {
            doomed.moved_to(&folder);
        }
        renamed
    }

    /// Producers of this partition, for `DescribeProducers`.
    pub fn producers(&self) -> impl Iterator<Item = &ProducerEntry> {
        self.producers.entries()
    }

    /// Settings about producers changed; they hold from now on.
    pub fn set_producer_settings(&mut self, settings: ProducerSettings) {
        self.producers.set_settings(settings);
    }

    /// Forgets producers that were silent for `producer.id.expiration.ms`.
    pub fn remove_expired_producers(&mut self, now: TimestampMs) {
        self.producers.remove_expired(now);
    }

    #[must_use]
    pub fn has_ongoing_transaction(&self, producer: ProducerId) -> bool {
        self.producers.has_ongoing_transaction(producer)
    }

    #[must_use]
    pub fn has_late_transaction(&self, now: TimestampMs) -> bool {
        self.producers.has_late_transaction(now)
    }

    /// The guard to present with the next transactional append of `producer`, after the transaction coordinator has
    /// confirmed it (KIP-890). [`VerificationGuard::NONE`]: the log knows the transaction, nothing is to be asked.
    pub fn start_verification(
        &mut self,
        producer: ProducerId,
        sequence: i32,
        epoch: i16,
        now: TimestampMs,
    ) -> VerificationGuard {
        self.producers.start_verification(producer, sequence, epoch, now)
    }

    /// The transaction coordinator has confirmed what `guard` was made for: the broker itself may now append for
    /// `producer`, as the group coordinator does. A guard that is no longer expected confirms nothing.
    pub fn confirm_verification(&mut self, producer: ProducerId, guard: VerificationGuard) {
        self.producers.confirm(producer, guard);
    }

    /// Flushes and closes: indexes get their final length, a producer snapshot is written. Yields the recovery point,
    /// which is the end.
    ///
    /// Readers stay usable, writes are refused from then on. On `Err` the next open must not believe in a clean stop.
    pub fn close(&mut self) -> Result<Offset, StorageError> {
        self.check_writable()?;
        self.flush().run()?;
        let disk = self.store.disk().clone();
        self.producers.take_snapshot(disk.as_ref(), &self.folder(), true)?;
        for segment in self.shared.segments() {
            segment.close()?;
        }
        self.closed = true;
        Ok(self.recovery_point())
    }

    fn active(&self) -> Arc<Segment> {
        let segments = self.shared.segments.read().unwrap_or_else(PoisonError::into_inner);
        segments.last().cloned().unwrap_or_else(|| unreachable!("a log has an active segment at all times"))
    }

    fn check_writable(&self) -> Result<(), StorageError> {
        if self.shared.poisoned.load(Ordering::Acquire) {
            return Err(StorageError::Poisoned { path: self.folder() });
        }
        if self.closed {
            return Err(StorageError::Closed { path: self.folder() });
        }
        Ok(())
    }

    fn publish_first_unstable(&self) {
        let first = self.producers.first_unstable().map_or(i64::MAX, |first| first.0.max(self.start().0));
        self.shared.first_unstable.store(first, Ordering::Release);
    }

    /// After segments or their sizes changed in any other way than by an append.
    fn publish_end(&self, end: Offset) {
        let active = self.active();
        let boundary = Boundary { offset: end, segment: active.base, position: active.size() };
        self.shared.tail().reset(boundary);
        self.shared.recovery_point.fetch_min(end.0, Ordering::AcqRel);
    }

    fn raise_start(&mut self, start: Offset) -> Result<(), StorageError> {
        if start <= self.start() {
            return Ok(());
        }
        self.shared.start.store(start.0, Ordering::Release);
        // The recovery point stays where Kafka raises it too: after a power cut segments in front of the start may be
        // back, and what they hold was never flushed.
        self.shared.high_watermark.fetch_max(start.0, Ordering::AcqRel);
        self.producers.on_log_start(start);
        self.publish_first_unstable();
        if self.epochs.truncate_from_start(start) {
            self.epochs.write_or_keep(self.store.disk().as_ref())?;
        }
        Ok(())
    }
}

fn renamed_into(folder: &Path, path: &Path) -> PathBuf {
    path.file_name().map_or_else(|| path.to_path_buf(), |name| folder.join(name))
}
