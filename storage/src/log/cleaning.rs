//! A log's side of compaction: what can be cleaned, and how the result takes its place.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::Log;
use super::reader::Shared;
use crate::compaction::{Cleanable, Cleaned, Job, LastRecord};
use crate::error::StorageError;
use crate::index::AbortedTransaction;
use crate::segment::Segment;
use crate::segment::files::Stage;
use crate::types::{Offset, ProducerId, TimestampMs};

impl Shared {
    /// Transactions that overlap `from..upto` and were aborted.
    pub(crate) fn aborted_between(
        &self,
        from: Offset,
        upto: Offset,
    ) -> Result<Vec<AbortedTransaction>, StorageError> {
        let segments = self.segments();
        let first = segments.partition_point(|segment| segment.base <= from).saturating_sub(1);
        let mut found = Vec::new();
        for segment in segments.iter().skip(first) {
            if segment.aborted(from, upto, &mut found)? {
                break;
            }
        }
        Ok(found)
    }
}

impl Log {
    /// Everything below was compacted; what to put into the cleaner's checkpoint. `None`: never, as far as known.
    #[must_use]
    pub fn cleaned(&self) -> Option<Offset> {
        self.cleaned
    }

    /// From the checkpoint of the log directory.
    pub fn set_cleaned(&mut self, upto: Option<Offset>) {
        self.cleaned = upto;
    }

    /// What compaction could do here. `None` where the topic is not compacted or nothing lies below the active segment.
    pub fn cleanable(&self, now: TimestampMs) -> Result<Option<Cleanable>, StorageError> {
        let segments = self.shared.segments();
        let Some((active, inactive)) = segments.split_last().filter(|_| self.config.cleanup.compact) else {
            return Ok(None);
        };
        let first_dirty = self.first_dirty();
        let from = inactive.partition_point(|segment| segment.base <= first_dirty).saturating_sub(1);
        let dirty = if first_dirty >= active.base { &[] } else { inactive.get(from..).unwrap_or_default() };
        let mut uncleanable = self.last_stable().min(active.base);
        let lag = self.config.min_compaction_lag_ms;
        if lag > 0 {
            for segment in dirty {
                if segment.largest_or_modified()?.0 > now.0.saturating_sub(lag) {
                    uncleanable = uncleanable.min(segment.base);
                    break;
                }
            }
        }
        let uncleanable = uncleanable.max(first_dirty);
        // The segment that holds the first uncleanable offset stays untouched as a whole.
        let holds = inactive.partition_point(|segment| segment.base <= uncleanable).saturating_sub(1);
        let first_uncleanable = match inactive.get(holds) {
            Some(segment) if uncleanable < active.base => segment.base,
            _ => active.base,
        };
        let bytes = |segments: &[Arc<Segment>]| segments.iter().map(|segment| segment.size()).sum::<u64>();
        let clean = segments.partition_point(|segment| segment.base < first_dirty);
        let end = inactive.partition_point(|segment| segment.base < first_uncleanable);
        let begin = if first_dirty < first_uncleanable { from.min(end) } else { end };
        let cleanable = Cleanable {
            first_dirty,
            first_uncleanable,
            clean_bytes: bytes(segments.get(..clean).unwrap_or_default()),
            cleanable_bytes: bytes(inactive.get(begin..end).unwrap_or_default()),
            overdue_ms: self.overdue_ms(dirty, now)?,
        };
        Ok((cleanable.clean_bytes + cleanable.cleanable_bytes > 0).then_some(cleanable))
    }

    /// Where the last cleaning ended, or the log's start where that is not known or cannot be true.
    fn first_dirty(&self) -> Offset {
        match self.cleaned {
            Some(cleaned) if (self.start()..=self.end()).contains(&cleaned) => cleaned,
            _ => self.start(),
        }
    }

    fn overdue_ms(&self, dirty: &[Arc<Segment>], now: TimestampMs) -> Result<i64, StorageError> {
        let due = now.0.saturating_sub(self.config.max_compaction_lag_ms.max(0));
        if due <= 0 {
            return Ok(0);
        }
        let mut earliest = i64::MAX;
        for segment in dirty {
            if let Some(first) = segment.first_timestamp()?.filter(|first| first.0 > 0) {
                earliest = earliest.min(first.0);
            }
        }
        Ok(due.saturating_sub(earliest).max(0))
    }

    pub(crate) fn begin_cleaning(&self, cleanable: &Cleanable) -> Job {
        let mut segments = self.shared.segments();
        let active = self.active().base;
        segments.retain(|segment| segment.base < cleanable.first_uncleanable && segment.base < active);
        Job {
            shared: self.shared.clone(),
            home: self.shared.home.clone(),
            store: self.store.clone(),
            config: self.config.clone(),
            segments,
            first_dirty: cleanable.first_dirty,
            first_uncleanable: cleanable.first_uncleanable,
            truncations: self.shared.truncations.load(Ordering::Acquire),
        }
    }

    /// The newest thing of every producer that is still known.
    pub(crate) fn last_records(&self) -> BTreeMap<ProducerId, LastRecord> {
        let last = |entry: &crate::producers::ProducerEntry| match entry.last_offset() {
            offset if offset.0 >= 0 => LastRecord::Data(offset),
            _ => LastRecord::Marker { epoch: entry.epoch },
        };
        self.producers.entries().map(|entry| (entry.producer, last(entry))).collect()
    }

    /// Puts `cleaned` in the place of `old`. False where the log has changed there meanwhile: then nothing happens.
    ///
    /// On `Err` either nothing has happened, or the log takes no more writes and the next open completes the swap.
    pub(crate) fn swap_in(
        &mut self,
        job: &Job,
        cleaned: Cleaned,
        old: &[Arc<Segment>],
        now: TimestampMs,
    ) -> Result<bool, StorageError> {
        let place = self.place_of(job, old);
        let prepared = match self.check_writable() {
            Ok(()) if place.is_some() => cleaned.announce(),
            other => other,
        };
        let Some(place) = place.filter(|_| prepared.is_ok()) else {
            return match (prepared, cleaned.discard()) {
                (Ok(()), Ok(())) => Ok(false),
                (Err(error), Ok(())) => Err(error),
                (_, Err(error)) => self.poison_on_error(Err(error)),
            };
        };
        let swapped = self.replace(cleaned, old, place, now);
        self.poison_on_error(swapped)?;
        Ok(true)
    }

    /// Index of the first of `old`, if they still are what they were and lie below the active segment.
    fn place_of(&self, job: &Job, old: &[Arc<Segment>]) -> Option<usize> {
        if self.shared.truncations.load(Ordering::Acquire) != job.truncations {
            return None;
        }
        let first = old.first()?.base;
        let segments = self.shared.segments.read().unwrap_or_else(PoisonError::into_inner);
        let place = segments.partition_point(|segment| segment.base < first);
        let present = segments.get(place..place + old.len())?;
        let same = present.iter().zip(old).all(|(present, old)| Arc::ptr_eq(present, old));
        (same && place + old.len() < segments.len()).then_some(place)
    }

    fn replace(
        &mut self,
        cleaned: Cleaned,
        old: &[Arc<Segment>],
        place: usize,
        now: TimestampMs,
    ) -> Result<(), StorageError> {
        let disk = self.store.disk().clone();
        let folder = self.folder();
        let sync = || disk.sync_directory(&folder).map_err(StorageError::io("sync", &folder));
        // From here on a crash leads to the new records, before that to the old ones.
        sync()?;
        let mut paths = Vec::new();
        for (index, segment) in old.iter().enumerate() {
            paths.extend(segment.mark_deleted()?);
            if index > 0 {
                paths.extend(self.producers.mark_snapshot_deleted(disk.as_ref(), &folder, segment.base)?);
            }
        }
        // None of the old may come back beside a result that has lost its `.swap`.
        sync()?;
        let Cleaned { segment, bound } = cleaned;
        segment.enter(Stage::Present)?;
        if let Some(bound) = bound {
            bound.remove_unborn()?;
        }
        segment.release();
        {
            let mut segments = self.shared.segments.write().unwrap_or_else(PoisonError::into_inner);
            segments.splice(place..place + old.len(), [Arc::new(segment)]);
        }
        old.iter().for_each(|segment| segment.release());
        self.doom(paths, now);
        Ok(())
    }

    /// Notes how far the log is clean; false where it was truncated meanwhile.
    pub(crate) fn finish_cleaning(&mut self, job: &Job, upto: Offset) -> bool {
        let untouched = self.shared.truncations.load(Ordering::Acquire) == job.truncations;
        if untouched {
            self.cleaned = Some(upto);
        }
        untouched
    }
}
