//! Cutting a log at its end, as a follower does when its records are not those of the leader.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::Log;
use super::reader::Shared;
use crate::error::StorageError;
use crate::recovery::Replay;
use crate::segment::Segment;
use crate::types::{Offset, TimestampMs};

impl Log {
    /// Drops every batch that ends at or behind `end`, which becomes the next offset. Yields whether there were any.
    ///
    /// `end` should be a batch boundary: of `[0..=9][10..=30]`, 20 drops the second batch whole and leaves a gap.
    /// Slices handed out before stay as they are. What is cut reaches the disk before this returns: after a power cut none
    /// of it may lie among the records that come in its place. On `Err` the log takes no more writes until recovery has
    /// looked at it.
    pub fn truncate_to(&mut self, end: Offset, now: TimestampMs) -> Result<bool, StorageError> {
        if end.0 < 0 {
            return Err(StorageError::NegativeOffset { path: self.folder(), offset: end });
        }
        let result = self.cut_to(end, now);
        self.poison_on_error(result)
    }

    /// Half a truncation must not be appended to.
    pub(super) fn poison_on_error<T>(&self, result: Result<T, StorageError>) -> Result<T, StorageError> {
        result.inspect_err(|_| self.shared.poisoned.store(true, Ordering::Release))
    }

    fn cut_to(&mut self, end: Offset, now: TimestampMs) -> Result<bool, StorageError> {
        self.check_writable()?;
        if end >= self.end() {
            if self.epochs.truncate_from_end(self.end()) {
                self.epochs.write_or_keep(self.store.disk().as_ref())?;
            }
            return Ok(false);
        }
        if end < self.first_segment() {
            self.start_over(end, None, now)?;
            return Ok(true);
        }
        tracing::info!(partition = %self.partition, %end, "truncating");
        let shared = self.shared.clone();
        {
            let _alone = shared.cutting.write().unwrap_or_else(PoisonError::into_inner);
            shared.truncations.fetch_add(1, Ordering::AcqRel);
            let dropped = self.split_off(&shared, end);
            // From the back: whatever interrupts this leaves no hole.
            self.discard(dropped.into_iter().rev(), now)?;
            let active = self.active();
            if active.truncate_to(end, &self.config, now)? {
                active.sync_records()?;
            }
            self.sync_folder()?;
            self.publish_end(end);
            shared.start.fetch_min(end.0, Ordering::AcqRel);
            shared.high_watermark.fetch_min(end.0, Ordering::AcqRel);
            self.cleaned = self.cleaned.map(|cleaned| cleaned.min(end));
        }
        if self.epochs.truncate_from_end(end) {
            self.epochs.write_or_keep(self.store.disk().as_ref())?;
        }
        self.rebuild_producers(end, now)?;
        Ok(true)
    }

    /// Takes the segments behind `end` out of the list.
    fn split_off(&self, shared: &Shared, end: Offset) -> Vec<Arc<Segment>> {
        let mut segments = shared.segments.write().unwrap_or_else(PoisonError::into_inner);
        let kept = segments.partition_point(|segment| segment.base <= end).max(1);
        segments.split_off(kept)
    }

    /// Drops everything and continues at `offset`; the log starts at `log_start`, or there.
    pub fn truncate_fully_and_start_at(
        &mut self,
        offset: Offset,
        log_start: Option<Offset>,
        now: TimestampMs,
    ) -> Result<(), StorageError> {
        let result = self.start_over(offset, log_start, now);
        self.poison_on_error(result)
    }

    fn start_over(
        &mut self,
        offset: Offset,
        log_start: Option<Offset>,
        now: TimestampMs,
    ) -> Result<(), StorageError> {
        self.check_writable()?;
        tracing::info!(partition = %self.partition, %offset, "truncating fully");
        let shared = self.shared.clone();
        {
            let _alone = shared.cutting.write().unwrap_or_else(PoisonError::into_inner);
            shared.truncations.fetch_add(1, Ordering::AcqRel);
            let dropped = shared.segments();
            // Renamed before the new one is made: it may get the same name.
            self.discard(dropped.into_iter(), now)?;
            self.sync_folder()?;
            let segment = Segment::create(&self.store, &shared.home, offset, &self.config, now)?;
            *shared.segments.write().unwrap_or_else(PoisonError::into_inner) = vec![Arc::new(segment)];
            self.publish_end(offset);
            shared.start.store(log_start.unwrap_or(offset).0, Ordering::Release);
            shared.high_watermark.store(offset.0, Ordering::Release);
            self.cleaned = self.cleaned.map(|cleaned| cleaned.min(self.shared.start()));
        }
        self.epochs.clear();
        self.epochs.write_or_keep(self.store.disk().as_ref())?;
        let disk = self.store.disk().clone();
        self.producers.clear(disk.as_ref(), &self.folder(), offset)?;
        self.rebuild_producers(offset, now)
    }

    /// Names that were taken away stay away.
    fn sync_folder(&self) -> Result<(), StorageError> {
        let folder = self.folder();
        self.store.disk().sync_directory(&folder).map_err(StorageError::io("sync", &folder))
    }

    fn rebuild_producers(&mut self, end: Offset, now: TimestampMs) -> Result<(), StorageError> {
        let shared = self.shared.clone();
        let replay = Replay { home: &shared.home, start: self.start(), clean: false, sync: true, now };
        replay.rebuild(&mut self.producers, &shared.segments(), end)?;
        self.publish_first_unstable();
        Ok(())
    }
}
