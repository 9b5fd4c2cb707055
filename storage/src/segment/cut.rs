//! Taking batches away from the end of a segment, and making its indexes anew.

use std::sync::atomic::Ordering;

use super::walk::{Located, Walk};
use super::{BatchFacts, Segment, to_usize};
use crate::config::LogConfig;
use crate::error::StorageError;
use crate::index::TimeEntry;
use crate::types::{Offset, TimestampMs};

impl Segment {
    /// Drops all batches that end at or behind `offset`. Yields whether there were any.
    ///
    /// Slices handed out before show what they showed. On `Err` the segment must not be appended to again before
    /// recovery.
    pub(crate) fn truncate_to(
        &self,
        offset: Offset,
        config: &LogConfig,
        now: TimestampMs,
    ) -> Result<bool, StorageError> {
        let cut = self.locate(offset, self.size())?.map(|found| found.position);
        self.offsets.truncate_to(offset, config.segment_index_bytes)?;
        self.times.truncate_to(offset, config.segment_index_bytes)?;
        self.aborted.truncate_to(offset)?;
        if let Some(cut) = cut {
            self.cut(cut)?;
        }
        self.reserve.store(u64::from(config.segment_bytes), Ordering::Relaxed);
        let largest = self.largest_after_cut()?;
        let mut growth = self.growth();
        growth.since_entry = 0;
        growth.finished = false;
        if self.size() == 0 {
            growth.created = now;
            growth.first_timestamp = None;
            growth.largest = None;
        } else if growth.largest.is_some() || largest.timestamp.0 >= 0 {
            growth.largest = Some(largest);
        }
        Ok(cut.is_some())
    }

    /// Cuts the record file to `size` bytes.
    pub(crate) fn cut(&self, size: u64) -> Result<(), StorageError> {
        let file = self.handle.file()?;
        let path = self.path();
        let mut opened = self.handle.write();
        let present = self.size();
        let (from, upto) = (to_usize(size), to_usize(present));
        opened.detach(from, upto).map_err(StorageError::io("detach readers of", &path))?;
        self.size.store(size.min(present), Ordering::Release);
        self.trust_from(size);
        file.set_len(size).map_err(StorageError::io("cut", &path))
    }

    /// The youngest timestamp after a cut: of the time index, or of the batches behind its last entry.
    fn largest_after_cut(&self) -> Result<TimeEntry, StorageError> {
        let largest = self.largest_on_disk()?;
        let start = self.end_of(largest.offset)?;
        self.largest_behind(largest, start)
    }

    /// The younger of `largest` and the batches from position `start` on. Unit: bytes.
    pub(super) fn largest_behind(
        &self,
        mut largest: TimeEntry,
        start: u64,
    ) -> Result<TimeEntry, StorageError> {
        let (file, path) = (self.handle.file()?, self.path());
        let mut walk = Walk::new(file.as_ref(), &path, start, self.size());
        while let Some(located) = walk.next()? {
            let timestamp = located.batch.max_timestamp();
            if timestamp > largest.timestamp {
                largest = TimeEntry { timestamp, offset: located.batch.last_offset() };
            }
        }
        Ok(largest)
    }

    /// Prepares rebuilding the indexes from the records: all three are empty afterwards.
    pub(crate) fn reset_indexes(&self, config: &LogConfig) -> Result<(), StorageError> {
        self.offsets.reset(config.segment_index_bytes)?;
        self.times.reset(config.segment_index_bytes)?;
        self.aborted.reset()?;
        let mut growth = self.growth();
        growth.since_entry = 0;
        growth.finished = false;
        growth.largest = Some(TimeEntry { timestamp: TimestampMs::NONE, offset: self.base });
        growth.first_timestamp = None;
        Ok(())
    }

    /// Keeps what the indexes on disk surely know: up to their last entry but one. Yields the position and the offset
    /// of that entry, from where on batches are to be [noted again](Self::note_again); the start without one.
    pub(crate) fn rewind_indexes(&self, config: &LogConfig) -> Result<(u64, Offset), StorageError> {
        let known = self.offsets.rewind(config.segment_index_bytes, self.size())?;
        let last = known.map_or(Offset(self.base.0 - 1), |entry| entry.offset);
        self.times.rewind(last, config.segment_index_bytes)?;
        let mut growth = self.growth();
        growth.since_entry = 0;
        growth.finished = false;
        growth.largest = None;
        growth.first_timestamp = None;
        drop(growth);
        let largest = self.largest_on_disk()?;
        self.growth().largest = Some(largest);
        Ok((known.map_or(0, |entry| u64::from(entry.position)), last))
    }

    /// Notes a batch behind a [rewind](Self::rewind_indexes); those up to `known` are in the indexes already.
    pub(crate) fn note_again(
        &self,
        located: &Located,
        known: Offset,
        config: &LogConfig,
    ) -> Result<(), StorageError> {
        if located.batch.last_offset() > known {
            return self.note_recovered(located, config);
        }
        self.growth().since_entry += located.size;
        Ok(())
    }

    /// Whether the indexes look as they do when a segment is left for the next: cut to their entries, none of them
    /// blank. An offset index that is full looks the same while it is rebuilt, so it does not count.
    pub(crate) fn has_final_indexes(&self, config: &LogConfig) -> Result<bool, StorageError> {
        let full = self.offsets.size() + 8 > u64::from(config.segment_index_bytes);
        let offsets = self.offsets.last()?.is_none_or(|last| {
            last.position > 0 && u64::from(last.position) < self.size() && last.offset >= self.base
        });
        Ok(!full && offsets && self.times.last()?.is_none_or(|last| !last.is_blank(self.base)))
    }

    /// Notes a batch found by recovery; batches come in their order.
    pub(crate) fn note_recovered(&self, located: &Located, config: &LogConfig) -> Result<(), StorageError> {
        let facts = BatchFacts {
            size: located.size,
            last: located.batch.last_offset(),
            max_timestamp: located.batch.max_timestamp(),
        };
        self.note(&mut self.growth(), located.position, std::iter::once(facts), config)?;
        Ok(())
    }
}
