//! Finding a record of one batch by its timestamp.

use bytes::Bytes;

use crate::types::{LeaderEpoch, Offset, TimestampMs};

use super::error::BatchError;
use super::records::records;
use super::view::BatchView;

/// A record found by its timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampOffset {
    pub timestamp: TimestampMs,
    pub offset: Offset,
    /// `-1` where the batch does not know.
    pub leader_epoch: LeaderEpoch,
}

/// The first record of `entry` with a timestamp of at least `target` and an offset of at least `from`.
///
/// `entry` is one whole entry of the log, of any magic. Decodes nothing where the header rules it out.
pub fn find_by_timestamp(
    entry: &Bytes,
    target: TimestampMs,
    from: Offset,
) -> Result<Option<TimestampOffset>, BatchError> {
    let Some(batch) = BatchView::parse(entry)? else {
        return Ok(None);
    };
    if batch.max_timestamp() < target {
        return Ok(None);
    }
    find(entry, &batch, |timestamp, offset| timestamp >= target && offset >= from)
}

/// The first record of `entry` that has the batch's largest timestamp; what `ListOffsets` for -3 answers.
///
/// `None` for magic 0, which has no timestamps, and for a batch whose records are all gone.
pub fn find_max_timestamp(entry: &Bytes) -> Result<Option<TimestampOffset>, BatchError> {
    match BatchView::parse(entry)? {
        Some(batch) if batch.magic() > 0 => {
            let max = batch.max_timestamp();
            find(entry, &batch, |timestamp, _| timestamp == max)
        }
        _ => Ok(None),
    }
}

fn find(
    entry: &Bytes,
    batch: &BatchView,
    wanted: impl Fn(TimestampMs, Offset) -> bool,
) -> Result<Option<TimestampOffset>, BatchError> {
    for record in records(entry)? {
        let record = record?;
        if wanted(record.timestamp, record.offset) {
            return Ok(Some(TimestampOffset {
                timestamp: record.timestamp,
                offset: record.offset,
                leader_epoch: batch.leader_epoch(),
            }));
        }
    }
    Ok(None)
}
