//! Letting records go from the front: `DeleteRecords`, retention, and the delayed removal of files.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use super::{Log, renamed_into};
use crate::error::{ReadError, StorageError};
use crate::retention::{Aging, Position, Reason, deletable};
use crate::segment::Segment;
use crate::types::{Offset, TimestampMs};

/// Files that are removed when the time has come.
#[derive(Debug)]
pub(super) struct Doomed {
    due: TimestampMs,
    paths: Vec<PathBuf>,
}

impl Doomed {
    pub(super) fn moved_to(&mut self, folder: &Path) {
        for path in &mut self.paths {
            *path = renamed_into(folder, path);
        }
    }
}

impl Aging for Arc<Segment> {
    fn base(&self) -> Offset {
        self.base
    }

    fn size(&self) -> u64 {
        Segment::size(self)
    }

    fn youngest(&self) -> Result<TimestampMs, StorageError> {
        self.largest_or_modified()
    }
}

impl Log {
    /// Moves the log start up to `start`: nothing below is shown any more; files go with the next [`Log::expire`].
    ///
    /// Refused above the high watermark. A start below the present one changes nothing. Yields the start.
    pub fn delete_records(&mut self, start: Offset) -> Result<Offset, ReadError> {
        if start > self.high_watermark() {
            return Err(ReadError::OutOfRange {
                requested: start,
                start: self.start(),
                end: self.high_watermark(),
            });
        }
        self.raise_start(start)?;
        Ok(self.start())
    }

    /// Deletes the segments whose time has come, by log start, size and time. Yields how many.
    ///
    /// Their files get the suffix `.deleted` now and are removed by [`Log::remove_due`] later.
    pub fn expire(&mut self, now: TimestampMs) -> Result<usize, StorageError> {
        let mut deleted = 0;
        for reason in [Reason::LogStart, Reason::Size, Reason::Time] {
            let segments = self.shared.segments();
            let position =
                Position { start: self.start(), high_watermark: self.high_watermark(), end: self.end() };
            let count = deletable(&segments, position, &self.config, reason, now)?;
            if count > 0 {
                self.check_writable()?;
                self.delete_first(segments, count, reason, now)?;
            }
            deleted += count;
        }
        Ok(deleted)
    }

    fn delete_first(
        &mut self,
        segments: Vec<Arc<Segment>>,
        mut count: usize,
        reason: Reason,
        now: TimestampMs,
    ) -> Result<(), StorageError> {
        if count == segments.len() {
            match self.roll_to(Offset::ZERO, now) {
                // What can go without room for a new segment goes now, and that makes room.
                Err(error) if error.is_out_of_space() && count > 1 => count -= 1,
                other => other?,
            }
        }
        let kept: Vec<Arc<Segment>> = self.shared.segments().split_off(count);
        let Some(first) = kept.first().map(|segment| segment.base) else { return Ok(()) };
        tracing::info!(partition = %self.partition, count, ?reason, start = %first, "deleting segments");
        self.raise_start(first)?;
        *self.shared.segments.write().unwrap_or_else(PoisonError::into_inner) = kept;
        let mut going = VecDeque::from(segments);
        going.truncate(count);
        while let Some(segment) = going.front().cloned() {
            if let Err(error) = self.discard(std::iter::once(segment), now) {
                // Whose files have their names still stays known. It lies below the start, so it goes first the next time:
                // what comes behind it must not go before it, or the log would open with a hole.
                let mut segments = self.shared.segments.write().unwrap_or_else(PoisonError::into_inner);
                segments.splice(0..0, going);
                return Err(error);
            }
            going.pop_front();
        }
        Ok(())
    }

    /// Gives the files of segments, which nobody can find any more, the suffix `.deleted`. Ends at the first error: a
    /// segment that stays between two that go would be a hole when the log is opened again.
    pub(super) fn discard(
        &mut self,
        segments: impl Iterator<Item = Arc<Segment>>,
        now: TimestampMs,
    ) -> Result<(), StorageError> {
        let disk = self.store.disk().clone();
        let folder = self.folder();
        for segment in segments {
            segment.release();
            let files = segment.mark_deleted()?;
            let snapshot = self.producers.mark_snapshot_deleted(disk.as_ref(), &folder, segment.base);
            self.doom(files, now);
            self.doom(snapshot?.into_iter().collect(), now);
        }
        Ok(())
    }

    pub(super) fn doom(&mut self, paths: Vec<PathBuf>, now: TimestampMs) {
        if !paths.is_empty() {
            let due = TimestampMs(now.0.saturating_add(self.config.file_delete_delay_ms));
            // The delay may have been shortened: who comes later may go earlier.
            let before = self.doomed.partition_point(|doomed| doomed.due <= due);
            self.doomed.insert(before, Doomed { due, paths });
        }
    }

    /// Removes files whose `file.delete.delay.ms` has passed. Yields when the next are due.
    pub fn remove_due(&mut self, now: TimestampMs) -> Result<Option<TimestampMs>, StorageError> {
        while self.doomed.front().is_some_and(|doomed| doomed.due <= now) {
            let Some(doomed) = self.doomed.pop_front() else { break };
            for path in &doomed.paths {
                match self.store.disk().remove(path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        return Err(StorageError::io("remove", path)(error));
                    }
                    _ => {}
                }
            }
        }
        Ok(self.doomed.front().map(|doomed| doomed.due))
    }
}
