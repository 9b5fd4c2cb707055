//! Reading a log without holding it: appends go on while a cold read waits for the disk.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use super::tail::{Boundary, Tail};
use crate::batch::TimestampOffset;
use crate::disk::FileBytes;
use crate::error::{ReadError, StorageError};
use crate::index::AbortedTransaction;
use crate::segment::Segment;
use crate::segment::files::Home;
use crate::types::{Offset, TimestampMs};

/// What the writer and the readers of a log share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(super) home: Arc<Home>,
    /// By base offset, never empty. Held for moments, never during I/O.
    pub(super) segments: RwLock<Vec<Arc<Segment>>>,
    pub(super) tail: Mutex<Tail>,
    pub(super) start: AtomicI64,
    pub(super) high_watermark: AtomicI64,
    /// First offset of an open or unreplicated transaction; `i64::MAX` without one.
    pub(super) first_unstable: AtomicI64,
    pub(super) recovery_point: AtomicI64,
    /// Readers hold it shared, truncation exclusively: nobody looks at a place while it is cut. Slices that were
    /// handed out need no lock, see [`crate::disk::Mapping`].
    pub(super) cutting: RwLock<()>,
    /// Grows with every truncation, so that a flush that overlaps one does not claim too much.
    pub(super) truncations: AtomicU64,
    /// An fsync failed: what was written since the last good one may or may not be on disk.
    pub(super) poisoned: AtomicBool,
}

impl Shared {
    pub(super) fn tail(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn reading(&self) -> RwLockReadGuard<'_, ()> {
        self.cutting.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn segments(&self) -> Vec<Arc<Segment>> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn start(&self) -> Offset {
        Offset(self.start.load(Ordering::Acquire))
    }

    pub(super) fn last_stable(&self) -> Offset {
        let unstable = self.first_unstable.load(Ordering::Acquire);
        Offset(unstable.min(self.high_watermark.load(Ordering::Acquire)))
    }

    /// The segment that contains `offset`, or would, and the base of the next.
    pub(super) fn floor(&self, offset: Offset) -> Option<(Arc<Segment>, Option<Offset>)> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        let index = segments.partition_point(|segment| segment.base <= offset).checked_sub(1)?;
        Some((segments.get(index)?.clone(), segments.get(index + 1).map(|next| next.base)))
    }
}

/// Records of one read, as they lie in the log.
#[derive(Clone, Debug)]
pub struct Slice {
    /// Whole batches, except that the last may be cut off by the limit. Shares memory with the page cache.
    pub records: FileBytes,
    /// Where they begin.
    pub begin: Boundary,
    /// The limit did not even allow the first batch, and no exception was asked for.
    pub first_incomplete: bool,
}

/// A segment as `DescribeLogDirs` and `broker log` tell of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    pub base: Offset,
    /// Unit: bytes.
    pub size: u64,
    pub path: PathBuf,
}

/// Reads a log. Cheap to clone; outlives the log, and then reads what was there.
#[derive(Clone, Debug)]
pub struct LogReader {
    pub(super) shared: Arc<Shared>,
}

/// Attempts of a look-up that races with files being renamed.
const ATTEMPTS: usize = 3;

/// Repeats what found a file missing: a rename of the folder, or the removal of a deleted segment, may have come
/// between finding its name and opening it.
fn patiently<T, E>(mut attempt: impl FnMut() -> Result<T, E>, missing: impl Fn(&E) -> bool) -> Result<T, E> {
    for _ in 1..ATTEMPTS {
        match attempt() {
            Err(error) if missing(&error) => {}
            other => return other,
        }
    }
    attempt()
}

impl LogReader {
    /// First offset that may be read.
    #[must_use]
    pub fn start(&self) -> Offset {
        self.shared.start()
    }

    /// The offset behind the last record, and where that is.
    #[must_use]
    pub fn end(&self) -> Boundary {
        self.shared.tail().end()
    }

    /// Where the log lies now.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.shared.home.folder()
    }

    /// The high watermark the log was last told of.
    #[must_use]
    pub fn high_watermark(&self) -> Offset {
        Offset(self.shared.high_watermark.load(Ordering::Acquire))
    }

    /// Readers of committed data stop here; at most the high watermark.
    #[must_use]
    pub fn last_stable(&self) -> Offset {
        self.shared.last_stable()
    }

    /// All segments. Unit: bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.shared.segments().iter().map(|segment| segment.size()).sum()
    }

    #[must_use]
    pub fn segments(&self) -> Vec<SegmentInfo> {
        let segments = self.shared.segments();
        let info = |segment: &Arc<Segment>| SegmentInfo {
            base: segment.base,
            size: segment.size(),
            path: segment.path(),
        };
        segments.iter().map(info).collect()
    }

    /// Records from the batch that contains `from`, out of one segment, below `upto` (exclusive).
    ///
    /// At most `max_bytes`, ending anywhere; with `at_least_one` never less than the first batch. Empty where `from`
    /// is at or behind `upto`. `from` may be the log's end, but not behind it.
    pub fn read(
        &self,
        from: Offset,
        max_bytes: usize,
        upto: Offset,
        at_least_one: bool,
    ) -> Result<Slice, ReadError> {
        let missing = |error: &ReadError| matches!(error, ReadError::Storage(error) if error.is_not_found());
        patiently(|| self.try_read(from, max_bytes, upto, at_least_one), missing)
    }

    fn try_read(
        &self,
        from: Offset,
        max_bytes: usize,
        upto: Offset,
        at_least_one: bool,
    ) -> Result<Slice, ReadError> {
        let shared = &self.shared;
        let _reading = shared.reading();
        let (end, begin, limit) = {
            let tail = shared.tail();
            (tail.end(), tail.find(from), tail.find(upto).map(|(limit, _)| limit))
        };
        let start = shared.start();
        if from < start || from > end.offset {
            return Err(ReadError::OutOfRange { requested: from, start, end: end.offset });
        }
        let limit = if upto >= end.offset { Some(end) } else { limit };
        let upto = upto.min(end.offset);
        if from >= upto {
            return Ok(Slice {
                records: FileBytes::default(),
                begin: self.boundary(from, end)?,
                first_incomplete: false,
            });
        }
        if let (Some((begin, Some(next))), Some(limit)) = (begin, limit)
            && let Some(slice) = self.read_recent(begin, next, limit, max_bytes)?
        {
            return Ok(slice);
        }
        self.read_found(from, max_bytes, upto, limit, at_least_one)
    }

    /// The place of `offset`, for an answer without records.
    fn boundary(&self, offset: Offset, end: Boundary) -> Result<Boundary, ReadError> {
        if let Some((boundary, _)) = self.shared.tail().find(offset) {
            return Ok(boundary);
        }
        match self.shared.floor(offset) {
            Some((segment, _)) => {
                Ok(Boundary { offset, segment: segment.base, position: segment.end_of(offset)? })
            }
            None => Ok(end),
        }
    }

    /// A read between two boundaries that are remembered: nothing needs to be looked up. `None`: take the long way.
    fn read_recent(
        &self,
        begin: Boundary,
        next: Boundary,
        limit: Boundary,
        max_bytes: usize,
    ) -> Result<Option<Slice>, ReadError> {
        let max = max_bytes as u64;
        if begin.segment != limit.segment || next.position - begin.position > max {
            return Ok(None);
        }
        let Some((segment, _)) = self.shared.floor(begin.offset) else { return Ok(None) };
        if segment.base != begin.segment {
            return Ok(None);
        }
        let upto = limit.position.min(begin.position.saturating_add(max));
        let records = segment.slice(begin.position, upto)?;
        Ok(Some(Slice { records, begin, first_incomplete: false }))
    }

    fn read_found(
        &self,
        from: Offset,
        max_bytes: usize,
        upto: Offset,
        limit: Option<Boundary>,
        at_least_one: bool,
    ) -> Result<Slice, ReadError> {
        let mut wanted = from;
        while let Some((segment, next)) = self.shared.floor(wanted) {
            let end = match limit {
                _ if next.is_some_and(|next| next <= upto) => segment.size(),
                Some(limit) if limit.segment == segment.base => limit.position,
                _ => segment.end_of(upto)?,
            };
            match segment.read(from, max_bytes, end, at_least_one)? {
                Some(slice) => {
                    let begin = Boundary { offset: from, segment: segment.base, position: slice.position };
                    return Ok(Slice {
                        records: slice.records,
                        begin,
                        first_incomplete: slice.first_incomplete,
                    });
                }
                // Compaction may have emptied the rest of a segment.
                None => match next.filter(|next| *next < upto) {
                    Some(next) => wanted = next,
                    None => break,
                },
            }
        }
        let end = self.shared.tail().end();
        // Retention may have taken the segment away since the range was checked.
        let start = self.shared.start();
        if from < start {
            return Err(ReadError::OutOfRange { requested: from, start, end: end.offset });
        }
        Ok(Slice { records: FileBytes::default(), begin: end, first_incomplete: false })
    }

    /// What a reader of committed data must know to skip aborted records in `slice`, which begins at `from`.
    pub fn aborted_transactions(
        &self,
        from: Offset,
        slice: &Slice,
    ) -> Result<Vec<AbortedTransaction>, StorageError> {
        patiently(|| self.try_aborted_transactions(from, slice), StorageError::is_not_found)
    }

    fn try_aborted_transactions(
        &self,
        from: Offset,
        slice: &Slice,
    ) -> Result<Vec<AbortedTransaction>, StorageError> {
        let _reading = self.shared.reading();
        let Some((segment, next)) = self.shared.floor(slice.begin.segment) else { return Ok(Vec::new()) };
        let bound = segment.upper_bound(slice.begin.position, slice.records.len() as u64)?;
        let upto = bound.or(next).unwrap_or_else(|| self.shared.tail().end().offset);
        let mut found = Vec::new();
        for segment in self.shared.segments().iter().filter(|other| other.base >= segment.base) {
            if segment.aborted(from, upto, &mut found)? {
                break;
            }
        }
        Ok(found)
    }

    /// The first record that is not older than `target`: `ListOffsets` with a timestamp.
    pub fn offset_for_timestamp(&self, target: TimestampMs) -> Result<Option<TimestampOffset>, StorageError> {
        let search = || {
            let _reading = self.shared.reading();
            for segment in self.shared.segments() {
                if segment.largest_or_modified()? >= target {
                    return segment.find_by_timestamp(target, self.shared.start());
                }
            }
            Ok(None)
        };
        patiently(search, StorageError::is_not_found)
    }

    /// The first record that has the youngest timestamp: `ListOffsets` with -3 (KIP-734).
    pub fn offset_of_max_timestamp(&self) -> Result<Option<TimestampOffset>, StorageError> {
        patiently(|| self.try_offset_of_max_timestamp(), StorageError::is_not_found)
    }

    fn try_offset_of_max_timestamp(&self) -> Result<Option<TimestampOffset>, StorageError> {
        let _reading = self.shared.reading();
        let mut youngest: Option<(TimestampMs, Arc<Segment>)> = None;
        for segment in self.shared.segments() {
            let timestamp = segment.largest()?.timestamp;
            if youngest.as_ref().is_none_or(|(known, _)| timestamp > *known) {
                youngest = Some((timestamp, segment));
            }
        }
        match youngest {
            Some((_, segment)) => segment.find_largest(),
            None => Ok(None),
        }
    }

    /// Answers of `ListOffsets` version 0: segment starts not younger than `timestamp`, newest first, at most `max`.
    /// -1 is the end of the log, -2 its start.
    pub fn offsets_before(
        &self,
        timestamp: TimestampMs,
        max: usize,
        now: TimestampMs,
    ) -> Result<Vec<Offset>, StorageError> {
        let segments = self.shared.segments();
        let mut places = Vec::with_capacity(segments.len() + 1);
        for segment in &segments {
            places.push((segment.base.max(self.shared.start()), segment.modified()?));
        }
        if segments.last().is_some_and(|last| last.size() > 0) {
            places.push((self.shared.tail().end().offset, now));
        }
        let count = match timestamp.0 {
            -1 => places.len(),
            -2 => 1,
            _ => places.iter().rposition(|(_, modified)| *modified <= timestamp).map_or(0, |last| last + 1),
        };
        let mut offsets: Vec<Offset> =
            places.iter().take(count).rev().take(max).map(|(offset, _)| *offset).collect();
        offsets.sort_by(|a, b| b.cmp(a));
        Ok(offsets)
    }
}
