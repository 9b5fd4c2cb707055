//! `.timeindex`: the largest timestamp so far and the last offset of the batch that has it. 12 bytes an entry.

use super::sparse::{Entry, SparseIndex};
use crate::error::StorageError;
use crate::segment::files::FileKind;
use crate::types::{Offset, TimestampMs};

/// No record up to `offset` is younger than `timestamp`, and the batch ending at `offset` has a record that old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeEntry {
    pub(crate) timestamp: TimestampMs,
    pub(crate) offset: Offset,
}

impl TimeEntry {
    /// Looks like the unused rest of a file.
    pub(crate) fn is_blank(self, base: Offset) -> bool {
        self.timestamp == TimestampMs(0) && self.offset == base
    }
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

    fn offset(&self) -> Offset {
        self.offset
    }
}

pub(crate) type TimeIndex = SparseIndex<TimeEntry>;

impl TimeIndex {
    /// One slot is kept free for the entry that a roll adds.
    pub(crate) fn is_full(&self) -> bool {
        self.count() + 1 >= self.capacity()
    }

    /// Adds the entry if it is younger than the last; offsets and timestamps in the file only ever grow.
    pub(crate) fn push(&self, entry: TimeEntry) -> Result<(), StorageError> {
        if self.is_news(entry)? && !self.is_full() {
            self.add(entry);
        }
        Ok(())
    }

    /// Adds the entry if it is younger than the last, using the slot kept free.
    pub(crate) fn push_last(&self, entry: TimeEntry) -> Result<(), StorageError> {
        if self.is_news(entry)? {
            self.add_last(entry);
        }
        Ok(())
    }

    fn is_news(&self, entry: TimeEntry) -> Result<bool, StorageError> {
        Ok(match self.last()? {
            Some(last) => entry.timestamp > last.timestamp && entry.offset >= last.offset,
            None => entry.timestamp > TimestampMs::NONE,
        })
    }

    /// The last entry not younger than `timestamp`.
    pub(crate) fn floor(&self, timestamp: TimestampMs) -> Result<Option<TimeEntry>, StorageError> {
        Ok(self.search(|entry| entry.timestamp <= timestamp)?.before)
    }

    /// Keeps the entries in the file up to `last`.
    pub(crate) fn rewind(&self, last: Offset, max_bytes: u32) -> Result<(), StorageError> {
        let base = self.base();
        let kept = self.search(|entry| !entry.is_blank(base) && entry.offset <= last)?.count;
        self.cut_back(kept, max_bytes)
    }
}
