//! A stretch of a log: a record file, its sparse indexes and its aborted transactions.
//!
//! Shared between the writer, which holds the log, and readers, which hold nothing: readers see the bytes below
//! [`Segment::size`], published after they were written. Whoever cuts a segment keeps its readers out meanwhile.

mod cut;
pub(crate) mod files;
mod read;
mod rolling;
mod trust;
mod walk;

use std::io::IoSlice;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::config::LogConfig;
use crate::disk::{Open, write_all};
use crate::error::StorageError;
use crate::index::{AbortedTransaction, OffsetEntry, OffsetIndex, TimeEntry, TimeIndex, TransactionIndex};
use crate::store::{Handle, Store};
use crate::types::{Offset, TimestampMs};

use files::{FileKind, Files, Home, Stage};

use rolling::jitter;
use trust::Trust;
pub(crate) use walk::{CheckedWalk, Located, Step, Walk};

/// Of a segment, about as much may be unknown to its indexes on disk, and is read again after a kill: 64 entries where batches
/// are small, and fewer where they are large. Unit: bytes.
const UNWRITTEN_MAX: u64 = 1 << 20;

/// What the indexes want to know of a batch that is appended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchFacts {
    /// Unit: bytes.
    pub(crate) size: u64,
    pub(crate) last: Offset,
    pub(crate) max_timestamp: TimestampMs,
}

/// Lengths of the files of a segment found on disk. Unit: bytes. `None`: no such file.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lengths {
    pub(crate) records: u64,
    pub(crate) offset_index: Option<u64>,
    pub(crate) time_index: Option<u64>,
    pub(crate) transaction_index: Option<u64>,
}

#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) base: Offset,
    files: Arc<Files>,
    handle: Arc<Handle>,
    offsets: OffsetIndex,
    times: TimeIndex,
    aborted: TransactionIndex,
    /// Bytes of whole batches; nothing behind is ever shown to anybody.
    size: AtomicU64,
    /// Bytes a new mapping reserves, see [`Handle::slice`].
    reserve: AtomicU64,
    growth: Mutex<Growth>,
    /// What of the file need not be checked before it is read.
    trust: Trust,
    /// How much earlier than `segment.ms` this segment rolls.
    jitter_ms: i64,
}

/// What only the writer needs.
#[derive(Debug)]
struct Growth {
    /// Unit: bytes.
    since_entry: u64,
    /// What the indexes on disk do not know of. Unit: bytes.
    since_write: u64,
    /// Youngest timestamp and the last offset of its batch; `None`: ask the time index.
    largest: Option<TimeEntry>,
    /// Of the first batch; what rolling by time counts from.
    first_timestamp: Option<TimestampMs>,
    created: TimestampMs,
    /// A failed append left bytes behind `size` that could not be cut off yet.
    torn: bool,
    /// All files have the form of a segment that gets no more.
    finished: bool,
}

impl Segment {
    /// Creates an empty segment with its files. Replaces files of that name, which hold nothing anybody was told of.
    pub(crate) fn create(
        store: &Store,
        home: &Arc<Home>,
        base: Offset,
        config: &LogConfig,
        now: TimestampMs,
    ) -> Result<Segment, StorageError> {
        Segment::create_as(Stage::Present, store, home, base, config, now)
    }

    /// The same for the result of a compaction, which takes its place among the others later.
    pub(crate) fn create_cleaned(
        store: &Store,
        home: &Arc<Home>,
        base: Offset,
        config: &LogConfig,
        now: TimestampMs,
    ) -> Result<Segment, StorageError> {
        Segment::create_as(Stage::Cleaned, store, home, base, config, now)
    }

    fn create_as(
        stage: Stage,
        store: &Store,
        home: &Arc<Home>,
        base: Offset,
        config: &LogConfig,
        now: TimestampMs,
    ) -> Result<Segment, StorageError> {
        let files = Files::new(home.clone(), base, stage);
        let path = files.path(FileKind::Records);
        let file = files.open(FileKind::Records, Open::Replace).map_err(StorageError::io("create", &path))?;
        if config.preallocate {
            file.set_len(u64::from(config.segment_bytes)).map_err(StorageError::io("preallocate", &path))?;
        }
        drop(file);
        let transactions = files.path(FileKind::TransactionIndex);
        match files.disk().remove(&transactions) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(StorageError::io("remove", &transactions)(error));
            }
            _ => {}
        }
        let offsets = OffsetIndex::create(files.clone(), config.segment_index_bytes)?;
        let times = TimeIndex::create(files.clone(), config.segment_index_bytes)?;
        let segment =
            Segment::with(store, files, offsets, times, Lengths::default(), jitter(home, base, config), now);
        segment.reserve.store(u64::from(config.segment_bytes), Ordering::Relaxed);
        Ok(segment)
    }

    /// A segment found on disk. Nothing is opened and nothing believed yet.
    pub(crate) fn existing(
        store: &Store,
        home: &Arc<Home>,
        base: Offset,
        lengths: Lengths,
        config: &LogConfig,
        now: TimestampMs,
    ) -> Segment {
        let files = Files::new(home.clone(), base, Stage::Present);
        let offsets = OffsetIndex::existing(files.clone(), lengths.offset_index.unwrap_or(0));
        let times = TimeIndex::existing(files.clone(), lengths.time_index.unwrap_or(0));
        Segment::with(store, files, offsets, times, lengths, jitter(home, base, config), now)
    }

    fn with(
        store: &Store,
        files: Arc<Files>,
        offsets: OffsetIndex,
        times: TimeIndex,
        lengths: Lengths,
        jitter_ms: i64,
        now: TimestampMs,
    ) -> Segment {
        Segment {
            base: files.base,
            handle: store.handle(files.clone()),
            aborted: TransactionIndex::new(files.clone(), lengths.transaction_index.unwrap_or(0)),
            files,
            offsets,
            times,
            size: AtomicU64::new(lengths.records),
            reserve: AtomicU64::new(0),
            growth: Mutex::new(Growth {
                since_entry: 0,
                since_write: 0,
                largest: None,
                first_timestamp: None,
                created: now,
                torn: false,
                finished: false,
            }),
            trust: Trust::beyond(lengths.records),
            jitter_ms,
        }
    }

    /// Whole batches. Unit: bytes.
    pub(crate) fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    pub(crate) fn path(&self) -> std::path::PathBuf {
        self.files.path(FileKind::Records)
    }

    /// Takes new settings as the active segment: indexes get their full size with the next entry.
    pub(crate) fn activate(&self, config: &LogConfig) {
        self.offsets.reserve(config.segment_index_bytes);
        self.times.reserve(config.segment_index_bytes);
        let mut growth = self.growth();
        growth.since_entry = 0;
        growth.finished = false;
        self.reserve.store(u64::from(config.segment_bytes), Ordering::Relaxed);
    }

    /// Writes `slices`, which are the batches described by `batches`, behind what is there.
    ///
    /// On `Err` nothing is there for readers; what reached the file is cut off now or before the next append.
    pub(crate) fn append(
        &self,
        slices: &mut [IoSlice<'_>],
        batches: impl Iterator<Item = BatchFacts>,
        config: &LogConfig,
    ) -> Result<(), StorageError> {
        let start = self.size();
        let file = self.handle.file()?;
        let mut growth = self.growth();
        if growth.torn {
            file.set_len(start).map_err(|error| StorageError::io("cut", &self.path())(error))?;
            growth.torn = false;
        }
        // What the indexes must know is read before anything is written.
        if growth.largest.is_none() {
            growth.largest = Some(self.largest_on_disk()?);
        }
        self.times.last()?;
        if let Err(error) = write_all(file.as_ref(), slices, start) {
            growth.torn = file.set_len(start).is_err();
            return Err(StorageError::io("append to", &self.path())(error));
        }
        match self.note(&mut growth, start, batches, config) {
            Ok(end) => {
                self.size.store(end, Ordering::Release);
                Ok(())
            }
            Err(error) => {
                growth.torn = true;
                Err(error)
            }
        }
    }

    /// Updates the indexes for batches that lie at `position` and behind; yields where they end.
    fn note(
        &self,
        growth: &mut Growth,
        mut position: u64,
        batches: impl Iterator<Item = BatchFacts>,
        config: &LogConfig,
    ) -> Result<u64, StorageError> {
        for batch in batches {
            let largest = match growth.largest {
                Some(largest) => largest,
                None => self.largest_on_disk()?,
            };
            let largest = if batch.max_timestamp > largest.timestamp {
                TimeEntry { timestamp: batch.max_timestamp, offset: batch.last }
            } else {
                largest
            };
            growth.largest = Some(largest);
            growth.first_timestamp = growth.first_timestamp.or(Some(batch.max_timestamp));
            if growth.since_entry > u64::from(config.index_interval_bytes) {
                // Segments end before position or relative offset outgrow 32 bits.
                let due = self.offsets.push(OffsetEntry { offset: batch.last, position: position as u32 });
                self.times.push(largest)?;
                // Times first: recovery after a kill trusts them as far as the offsets go.
                if due || growth.since_write >= UNWRITTEN_MAX {
                    growth.since_write = 0;
                    if self.times.write_out() {
                        self.offsets.write_out();
                    }
                }
                growth.since_entry = 0;
            }
            position += batch.size;
            growth.since_entry += batch.size;
            growth.since_write += batch.size;
        }
        Ok(position)
    }

    /// What the time index ends with, if a batch bears it out; else what the batches say.
    fn largest_on_disk(&self) -> Result<TimeEntry, StorageError> {
        let none = TimeEntry { timestamp: TimestampMs::NONE, offset: self.base };
        let Some(last) = self.times.last()? else { return Ok(none) };
        if self.size() == 0 || self.is_borne_out(last)? {
            return Ok(last);
        }
        tracing::warn!(
            path = %self.path().display(),
            "the time index does not end with a batch's time, looking at every batch; remove the .timeindex file and restart to have it rebuilt"
        );
        self.largest_behind(none, 0)
    }

    /// The youngest timestamp of the segment and the last offset of the batch that has it; `-1` without one.
    pub(crate) fn largest(&self) -> Result<TimeEntry, StorageError> {
        let known = self.growth().largest;
        match known {
            Some(largest) => Ok(largest),
            None => {
                let largest = self.largest_on_disk()?;
                Ok(*self.growth().largest.get_or_insert(largest))
            }
        }
    }

    /// The youngest timestamp, or where the records have none the time the file was last written.
    pub(crate) fn largest_or_modified(&self) -> Result<TimestampMs, StorageError> {
        let largest = self.largest()?.timestamp;
        if largest.0 >= 0 {
            return Ok(largest);
        }
        self.modified()
    }

    pub(crate) fn modified(&self) -> Result<TimestampMs, StorageError> {
        let file = self.handle.file()?;
        file.modified().map_err(|error| StorageError::io("look at", &self.path())(error))
    }

    pub(crate) fn add_aborted(&self, aborted: AbortedTransaction) -> Result<(), StorageError> {
        self.aborted.append(aborted)
    }

    /// The same unless it is there: entries come in the order in which transactions ended.
    pub(crate) fn add_aborted_once(&self, aborted: AbortedTransaction) -> Result<(), StorageError> {
        match self.aborted.last()? {
            Some(last) if last.last >= aborted.last => Ok(()),
            _ => self.aborted.append(aborted),
        }
    }

    /// See [`TransactionIndex::collect`].
    pub(crate) fn aborted(
        &self,
        from: Offset,
        upto: Offset,
        found: &mut Vec<AbortedTransaction>,
    ) -> Result<bool, StorageError> {
        self.aborted.collect(from, upto, found)
    }

    /// The segment gets no more batches: the youngest timestamp is noted and all files get their final length.
    pub(crate) fn finish(&self) -> Result<(), StorageError> {
        if self.growth().finished {
            return Ok(());
        }
        self.times.push_last(self.largest()?)?;
        self.times.trim()?;
        self.offsets.trim()?;
        let size = self.size();
        let file = self.handle.file()?;
        let path = self.path();
        let length = file.size().map_err(StorageError::io("look at", &path))?;
        if length != size {
            file.set_len(size).map_err(StorageError::io("cut", &path))?;
        }
        let mut growth = self.growth();
        growth.torn = false;
        growth.finished = true;
        self.reserve.store(0, Ordering::Relaxed);
        Ok(())
    }

    /// The same for a log that is closed: an untouched segment is left as it was found.
    pub(crate) fn close(&self) -> Result<(), StorageError> {
        let touched = {
            let growth = self.growth();
            growth.torn || growth.largest.is_some()
        };
        if touched {
            self.finish()?;
        } else {
            self.times.trim()?;
            self.offsets.trim()?;
        }
        self.handle.close();
        Ok(())
    }

    /// Brings everything to the disk.
    pub(crate) fn sync(&self) -> Result<(), StorageError> {
        self.sync_records()?;
        self.sync_indexes()
    }

    pub(crate) fn sync_records(&self) -> Result<(), StorageError> {
        let file = self.handle.file()?;
        file.sync().map_err(|error| StorageError::io("sync", &self.path())(error))
    }

    pub(crate) fn sync_indexes(&self) -> Result<(), StorageError> {
        self.times.flush(true)?;
        self.offsets.flush(true)?;
        self.aborted.sync()
    }

    /// Refuses a transaction index that does not belong to this segment.
    pub(crate) fn check_transactions(&self) -> Result<(), StorageError> {
        self.aborted.check()
    }

    /// The offset behind the last batch, read from the record file, and where that batch ends.
    pub(crate) fn read_next_offset(&self) -> Result<(Offset, u64), StorageError> {
        if self.size() == 0 {
            return Ok((self.base, 0));
        }
        let start = self.offsets.last()?.map_or(0, |entry| u64::from(entry.position));
        let (file, path) = (self.handle.file()?, self.path());
        let mut next = self.base;
        let mut walk = Walk::new(file.as_ref(), &path, start, self.size());
        while let Some(located) = walk.next()? {
            next = located.batch.next_offset();
        }
        let end = if next == self.base && start > 0 { 0 } else { walk.position() };
        Ok((next, end))
    }

    /// The record file for a checked walk.
    pub(crate) fn file(&self) -> Result<Arc<dyn crate::disk::DiskFile>, StorageError> {
        self.handle.file()
    }

    /// Gives the files the suffix `.deleted`; yields their new names.
    pub(crate) fn mark_deleted(&self) -> Result<Vec<std::path::PathBuf>, StorageError> {
        self.files.enter(Stage::Deleted)
    }

    /// Takes the next step of a compaction's result into the log.
    pub(crate) fn enter(&self, stage: Stage) -> Result<(), StorageError> {
        self.files.enter(stage).map(drop)
    }

    /// Removes the files of a compaction's result that nobody was told of.
    pub(crate) fn remove_unborn(&self) -> Result<(), StorageError> {
        self.handle.close();
        self.files.remove_unborn()
    }

    pub(crate) fn set_modified(&self, modified: TimestampMs) -> Result<(), StorageError> {
        let file = self.handle.file()?;
        file.set_modified(modified).map_err(|error| StorageError::io("date", &self.path())(error))
    }

    /// Entries of the offset and of the time index. Unit: bytes.
    pub(crate) fn index_sizes(&self) -> (u64, u64) {
        (self.offsets.size(), self.times.size())
    }

    /// Where to look for `offset` first. Unit: bytes from the start of the file.
    pub(crate) fn hint(&self, offset: Offset) -> Result<u64, StorageError> {
        Ok(self.offsets.floor(offset)?.map_or(0, |entry| u64::from(entry.position)))
    }

    /// Lets go of descriptor and mapping.
    pub(crate) fn release(&self) {
        self.handle.close();
    }

    fn growth(&self) -> MutexGuard<'_, Growth> {
        self.growth.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) fn to_usize(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
