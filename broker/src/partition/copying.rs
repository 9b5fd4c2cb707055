//! Copying a replica's log to the one that is to replace it, and whether both tell the same.
//!
//! Records are taken as a follower takes them, checksums and order checked. Where the log was truncated meanwhile, its
//! copy is too, by leader epochs (KIP-101).

use storage::error::{AppendError, ReadError, StorageError};
use storage::log::Log;
use storage::types::{LeaderEpoch, Offset};
use tracing::info;

use crate::clock;
use crate::partition::{Inner, Partition};

/// Read in one step. Unit: bytes. The default of `replica.fetch.max.bytes`.
pub(super) const STEP_BYTES: usize = 1 << 20;

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum StepError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// What a step has copied, and how much is missing still.
pub(super) struct Copied {
    /// Unit: bytes.
    pub(super) bytes: usize,
    /// An estimate. Unit: bytes.
    pub(super) rest: i64,
}

/// Brings `future` a step nearer to the log of `partition`.
pub(super) fn copy(partition: &Partition, future: &mut Log) -> Result<Copied, StepError> {
    let now = clock::wall();
    let (reader, common, start, high_watermark) = {
        let inner = partition.lock();
        let log = &inner.log;
        (log.reader(), history_differs(log, future), log.start(), log.high_watermark())
    };
    if let Some(common) = common {
        info!(partition = %partition.id(), upto = %common, "the log was truncated while it was moved; so is its copy");
        future.truncate_to(common, now)?;
    }
    if future.end() < start {
        future.truncate_fully_and_start_at(start, None, now)?;
    }
    let end = reader.end().offset;
    let slice = reader.read(future.end(), STEP_BYTES, end, true)?;
    let bytes = slice.records.len();
    if bytes > 0 {
        future.append_as_follower(slice.records.bytes(), LeaderEpoch(i32::MAX), now)?;
    }
    future.set_high_watermark(high_watermark);
    if start > future.start() && start <= future.high_watermark() {
        future.delete_records(start)?;
    }
    let missing = i64::try_from(reader.size()).unwrap_or(i64::MAX);
    let there = i64::try_from(future.reader().size()).unwrap_or(i64::MAX);
    // Compaction makes sizes differ; where nothing was left to read, nothing is missing.
    let rest = if future.end() >= end { 0 } else { (missing - there).max(1) };
    Ok(Copied { bytes, rest })
}

/// Copies what is left, all of it within bounds. False where it is too much to be done under the lock.
pub(super) fn copy_rest(inner: &Inner, future: &mut Log) -> Result<bool, StepError> {
    let reader = inner.log.reader();
    let end = inner.log.end();
    if future.end() < inner.log.start() {
        return Ok(false);
    }
    let mut budget = STEP_BYTES;
    while future.end() < end {
        let before = future.end();
        let slice = reader.read(before, budget, end, false)?;
        if slice.records.is_empty() || slice.first_incomplete {
            return Ok(false);
        }
        budget = budget.saturating_sub(slice.records.len());
        future.append_as_follower(slice.records.bytes(), LeaderEpoch(i32::MAX), clock::wall())?;
        if future.end() == before {
            return Ok(false);
        }
    }
    future.set_high_watermark(inner.log.high_watermark());
    if inner.log.start() > future.start() {
        future.delete_records(inner.log.start())?;
    }
    if future.end() == end {
        take_latest_epoch(&inner.log, future)?;
    }
    Ok(future.end() == end && future.latest_epoch() == inner.log.latest_epoch())
}

/// An epoch in which nothing was written, or of which everything was deleted, comes with no record: a leader has begun
/// again, or `DeleteRecords` and retention have left nothing.
fn take_latest_epoch(log: &Log, copy: &mut Log) -> Result<(), StorageError> {
    match log.epochs().latest() {
        Some(latest) if copy.latest_epoch() < Some(latest.epoch) => {
            copy.assign_epoch(latest.epoch, latest.start)
        }
        _ => Ok(()),
    }
}

/// Up to where both have the same records, if that is less than `copy` has (KIP-101).
pub(super) fn history_differs(log: &Log, copy: &Log) -> Option<Offset> {
    let common = match copy.latest_epoch() {
        None => log.end(),
        Some(epoch) => match log.end_offset_for(epoch) {
            Some((found, end)) if found == epoch => end,
            Some((found, end)) => copy.end_offset_for(found).map_or(end, |(_, own)| own.min(end)),
            None => log.end(),
        },
    };
    (common < copy.end()).then_some(common)
}

/// Whether `one` has every record of `other`.
pub(super) fn has_all_of(one: &Partition, other: &Partition) -> bool {
    let (one, other) = (one.lock(), other.lock());
    one.log.end() >= other.log.end()
        && one.log.start() <= other.log.end()
        && history_differs(&one.log, &other.log).is_none()
}
