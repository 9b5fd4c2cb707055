//! `.timeindex`: the largest timestamp so far and the last offset of the batch that has it. 12 bytes an entry.

use std::sync::Arc;

use super::sparse::{Entry, SparseIndex};
use crate::error::StorageError;
use crate::segment::files::{FileKind, Files};
use crate::types::{Offset, TimestampMs};

/// No record up to `offset` is younger than `timestamp`, and the batch ending at `offset` has a record that old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeEntry {
    pub(crate) timestamp: TimestampMs,
    pub(crate) offset: Offset,
}

impl Entry for TimeEntry {
    const SIZE: usize = 12;
    const KIND: FileKind = FileKind::TimeIndex;

    fn encode(&self, base: Offset, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.timestamp.0.to_be_bytes());
        bytes.extend_from_slice(&((self.offset - base) as u32).to_be_bytes());
    }

    fn decode(base: Offset, bytes: &[u8]) -> Self {
        let timestamp = bytes.get(..8).and_then(|field| field.try_into().ok()).map_or(-1, i64::from_be_bytes);
        let relative = bytes.get(8..12).and_then(|field| field.try_into().ok()).map_or(0, u32::from_be_bytes);
        TimeEntry {
            timestamp: TimestampMs(timestamp),
            offset: Offset(base.0.saturating_add(i64::from(relative))),
        }
    }
}

#[derive(Debug)]
pub(crate) struct TimeIndex {
    entries: SparseIndex<TimeEntry>,
}

impl TimeIndex {
    pub(crate) fn existing(files: Arc<Files>, length: u64) -> TimeIndex {
        TimeIndex { entries: SparseIndex::existing(files, length) }
    }

    pub(crate) fn create(files: Arc<Files>, max_bytes: u32) -> Result<TimeIndex, StorageError> {
        Ok(TimeIndex { entries: SparseIndex::create(files, max_bytes)? })
    }

    pub(crate) fn reserve(&self, max_bytes: u32) {
        self.entries.reserve(max_bytes);
    }

    /// One slot is kept free for the entry that a roll adds.
    pub(crate) fn is_full(&self) -> bool {
        self.entries.count() + 1 >= self.entries.capacity()
    }

    pub(crate) fn last(&self) -> Result<Option<TimeEntry>, StorageError> {
        self.entries.last()
    }

    /// Adds the entry if it is younger than the last; offsets and timestamps in the file only ever grow.
    pub(crate) fn push(&self, entry: TimeEntry) -> Result<(), StorageError> {
        if self.is_news(entry)? && !self.is_full() {
            self.entries.push(entry);
        }
        Ok(())
    }

    /// Adds the entry if it is younger than the last, using the slot kept free.
    pub(crate) fn push_last(&self, entry: TimeEntry) -> Result<(), StorageError> {
        if self.is_news(entry)? {
            self.entries.push_last(entry);
        }
        Ok(())
    }

    fn is_news(&self, entry: TimeEntry) -> Result<bool, StorageError> {
        Ok(match self.entries.last()? {
            Some(last) => entry.timestamp > last.timestamp && entry.offset >= last.offset,
            None => entry.timestamp > TimestampMs::NONE,
        })
    }

    /// The last entry not younger than `timestamp`.
    pub(crate) fn floor(&self, timestamp: TimestampMs) -> Result<Option<TimeEntry>, StorageError> {
        Ok(self.entries.search(|entry| entry.timestamp <= timestamp)?.before)
    }

    /// Keeps the entries below `offset`.
    pub(crate) fn truncate_to(&self, offset: Offset, max_bytes: u32) -> Result<(), StorageError> {
        let kept = self.entries.search(|entry| entry.offset < offset)?.count;
        self.entries.truncate(kept, max_bytes)
    }

    pub(crate) fn reset(&self, max_bytes: u32) -> Result<(), StorageError> {
        self.entries.reset(max_bytes)
    }

    /// Unit: bytes of all entries.
    pub(crate) fn size(&self) -> u64 {
        (self.entries.count() * TimeEntry::SIZE) as u64
    }

    pub(crate) fn trim(&self) -> Result<(), StorageError> {
        self.entries.trim()
    }

    pub(crate) fn flush(&self, sync: bool) -> Result<(), StorageError> {
        self.entries.flush(sync)
    }
}
