//! Log compaction: of all records with one key only the newest stays (Kafka's log cleaner).
//!
//! A [`Cleaner`] reads the dirty part of a log into a map from key to newest offset, writes segments without the
//! records that are superseded, and swaps them in. Appends and reads go on meanwhile: the log is needed only to begin,
//! before each swap and at the end. Offsets never change, and a crash at any point leaves the old records or the new.
//! Which log is due, the clock and the pauses are the caller's.

mod groups;
mod offset_map;
mod rewriting;
mod throttle;
mod transactions;

use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};

use crate::config::LogConfig;
use crate::error::StorageError;
use crate::log::Log;
use crate::segment::{CheckedWalk, Located, Segment, Step};
use crate::types::{Offset, TimestampMs};

pub(crate) use groups::Sizes;
pub(crate) use rewriting::{Cleaned, Job, LastRecord};
pub use throttle::Throttle;

use groups::group;
use offset_map::OffsetMap;
use transactions::Transactions;

/// How a cleaner gets at the log that its owner keeps under a lock.
pub trait Owner {
    /// Holds the log for as long as `work` takes.
    fn with<R>(&self, work: impl FnOnce(&mut Log) -> R) -> R;
}

impl Owner for Mutex<Log> {
    fn with<R>(&self, work: impl FnOnce(&mut Log) -> R) -> R {
        work(&mut self.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Told of every stretch of bytes read or written, for pauses; `Break` ends the cleaning and leaves the log as it is.
pub type Pace<'a> = &'a mut dyn FnMut(u64) -> ControlFlow<()>;

/// What compaction could do in a log now. See [`Log::cleanable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cleanable {
    /// Everything below was cleaned before.
    pub first_dirty: Offset,
    /// A segment's base: it and what follows stays untouched.
    pub first_uncleanable: Offset,
    /// Of segments cleaned before. Unit: bytes.
    pub clean_bytes: u64,
    /// Unit: bytes.
    pub cleanable_bytes: u64,
    /// How much longer than `max.compaction.lag.ms` the oldest dirty record waits; 0: not at all.
    pub overdue_ms: i64,
}

impl Cleanable {
    /// Share of bytes that were not cleaned yet. Range: `0.0..=1.0`.
    #[must_use]
    pub fn dirty_ratio(&self) -> f64 {
        let total = self.clean_bytes.saturating_add(self.cleanable_bytes);
        if total == 0 { 0.0 } else { self.cleanable_bytes as f64 / total as f64 }
    }

    /// Whether it is worth it: by `min.cleanable.dirty.ratio`, or because `max.compaction.lag.ms` demands it.
    #[must_use]
    pub fn is_due(&self, config: &LogConfig) -> bool {
        let overdue = self.overdue_ms > 0 && self.cleanable_bytes > 0;
        overdue || self.dirty_ratio() > config.min_cleanable_dirty_ratio
    }
}

/// Settings of one cleaner.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CleanerSettings {
    /// `log.cleaner.dedupe.buffer.size` divided by the number of cleaners. Unit: bytes.
    pub map_bytes: u64,
    /// `log.cleaner.io.buffer.load.factor`. Range: `0.0..=1.0`.
    pub load_factor: f64,
}

/// What a cleaning did.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Summary {
    /// Clean now is everything below.
    pub upto: Offset,
    /// Unit: bytes, while the keys were collected.
    pub indexed_bytes: u64,
    /// Unit: bytes, while segments were rewritten.
    pub read_bytes: u64,
    /// Unit: bytes.
    pub written_bytes: u64,
    pub records_read: u64,
    pub records_written: u64,
    /// Records without a key, which a compacted topic should not have; they are dropped.
    pub records_without_key: u64,
    /// Filled share of the map. Range: `0.0..=1.0`.
    pub map_utilization: f64,
}

/// How a cleaning ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome {
    Cleaned(Summary),
    /// Told to stop, or the log was truncated or lost segments meanwhile. What was swapped in stays.
    Interrupted,
}

/// Why a cleaning goes no further.
#[derive(Debug)]
enum Halt {
    Interrupted,
    Failed(StorageError),
}

impl From<StorageError> for Halt {
    fn from(error: StorageError) -> Halt {
        Halt::Failed(error)
    }
}

/// Cleans one log at a time. Holds the map's memory.
#[derive(Debug)]
pub struct Cleaner {
    map: OffsetMap,
}

impl Cleaner {
    /// `None`: the map would not take a single key, so no cleaning would ever get anywhere.
    #[must_use]
    pub fn new(settings: CleanerSettings) -> Option<Cleaner> {
        let map = OffsetMap::new(settings.map_bytes, settings.load_factor);
        (map.limit() >= 1).then_some(Cleaner { map })
    }

    /// Cleans the log up to where its map is full or [`Cleanable::first_uncleanable`].
    ///
    /// On `Err` the log has the records it had, or those it is to have, segment by segment.
    /// [`StorageError::Corrupt`] names a batch that cannot be read: the log cannot be cleaned until that is gone.
    pub fn clean(
        &mut self,
        owner: &impl Owner,
        cleanable: &Cleanable,
        now: TimestampMs,
        pace: Pace<'_>,
    ) -> Result<Outcome, StorageError> {
        let job = owner.with(|log| log.begin_cleaning(cleanable));
        let result = self.run(owner, &job, now, pace);
        self.map.clear();
        match result {
            Ok(summary) => Ok(Outcome::Cleaned(summary)),
            Err(Halt::Interrupted) => Ok(Outcome::Interrupted),
            Err(Halt::Failed(error)) => Err(error),
        }
    }

    fn run(
        &mut self,
        owner: &impl Owner,
        job: &Job,
        now: TimestampMs,
        pace: Pace<'_>,
    ) -> Result<Summary, Halt> {
        let mut summary = Summary::default();
        self.collect(job, &mut summary, pace)?;
        // A record goes for the sake of a newer one, which may lie in another group: that one has to be on the disk before.
        owner.with(|log| log.flush_inactive()).run()?;
        let upto = self.map.latest().next();
        let segments = job.below(upto);
        let sizes: Vec<Sizes> = segments.iter().map(|segment| Sizes::of(segment)).collect();
        let mut transactions = Transactions::default();
        for range in group(&sizes, &job.config, job.first_uncleanable) {
            let old = segments.get(range).unwrap_or_default();
            let last_records = owner.with(|log| log.last_records());
            let cleaned =
                job.rewrite(old, &self.map, &mut transactions, &last_records, now, &mut summary, &mut *pace)?;
            if !owner.with(|log| log.swap_in(job, cleaned, old, now))? {
                return Err(Halt::Interrupted);
            }
        }
        summary.upto = upto;
        summary.map_utilization = self.map.utilization();
        if owner.with(|log| log.finish_cleaning(job, upto)) { Ok(summary) } else { Err(Halt::Interrupted) }
    }

    /// Notes the newest offset of every key in the dirty part, as far as the map goes.
    fn collect(&mut self, job: &Job, summary: &mut Summary, pace: Pace<'_>) -> Result<(), Halt> {
        self.map.clear();
        let mut transactions = Transactions::default();
        transactions.expect(job.aborted(job.first_dirty, job.first_uncleanable)?);
        let dirty = job.dirty();
        for (index, segment) in dirty.iter().enumerate() {
            let next = dirty.get(index + 1).map_or(job.first_uncleanable, |next| next.base);
            if !self.collect_segment(segment, job.first_dirty, &mut transactions, summary, &mut *pace)? {
                return Ok(());
            }
            // Offsets that nobody has any more count as seen.
            self.map.set_latest(Offset(next.0 - 1));
        }
        Ok(())
    }

    /// False where the map is full.
    fn collect_segment(
        &mut self,
        segment: &Segment,
        first_dirty: Offset,
        transactions: &mut Transactions,
        summary: &mut Summary,
        pace: Pace<'_>,
    ) -> Result<bool, Halt> {
        let start = segment.hint(first_dirty)?;
        let map = &mut self.map;
        let mut full = false;
        let bytes = walk(segment, start, pace, |located, entry| {
            let batch = &located.batch;
            if batch.is_control() {
                transactions.control(batch, &bytes::Bytes::copy_from_slice(entry));
            } else if !transactions.data(batch) {
                crate::batch::each_key(batch, entry, |offset, key| {
                    full = key.is_some_and(|key| offset >= first_dirty && !map.put(key, offset));
                    !full
                })
                .map_err(|error| {
                    StorageError::corrupt(&segment.path(), located.position, error.to_string())
                })?;
            }
            if !full && batch.last_offset() >= first_dirty {
                map.set_latest(batch.last_offset());
            }
            Ok(if full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        summary.indexed_bytes += bytes;
        Ok(!full)
    }
}

/// Shows every batch of `segment` from `position` on, checked; yields how many bytes were read.
fn walk(
    segment: &Segment,
    position: u64,
    pace: Pace<'_>,
    mut visit: impl FnMut(&Located, &[u8]) -> Result<ControlFlow<()>, StorageError>,
) -> Result<u64, Halt> {
    /// Bytes between two looks at the pace.
    const STRETCH: u64 = 256 * 1024;

    let (file, path, size) = (segment.file()?, segment.path(), segment.size());
    let mut walk = CheckedWalk::new(file.as_ref(), &path, position, size);
    let mut paced = position;
    loop {
        let at = walk.position();
        if at - paced >= STRETCH {
            if pace(at - paced).is_break() {
                return Err(Halt::Interrupted);
            }
            paced = at;
        }
        let flow = match walk.next()? {
            Step::End => break,
            Step::Bad(reason) => return Err(StorageError::corrupt(&path, at, reason).into()),
            Step::Batch(located, Some(entry)) => visit(&located, entry)?,
            Step::Batch(located, None) => visit(&located, &segment.entry(&located)?)?,
        };
        if flow.is_break() {
            break;
        }
    }
    let end = walk.position();
    if pace(end - paced).is_break() {
        return Err(Halt::Interrupted);
    }
    Ok(end - position)
}
