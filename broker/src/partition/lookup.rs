//! Questions about a partition's log that read no records for the client: offsets by time and by epoch, sizes, and
//! moving the log's start.

use kafka_protocol::error::ResponseError;
use storage::types::{LeaderEpoch, Offset, TimestampMs};
use tokio::time::{Instant, timeout_at};

use crate::clock;
use crate::partition::Partition;
use crate::partition::reading::Isolation;
use crate::partition::waiters::Waiter;

/// Which offset is asked for (ListOffsets, KIP-79, KIP-734).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// Where a reader of the given isolation would wait for the next record.
    Latest,
    Earliest,
    /// The record with the largest timestamp.
    MaxTimestamp,
    /// The first record at or after a time.
    At(TimestampMs),
}

/// An offset that was asked for. `timestamp` is `NONE` for the two ends of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) offset: Offset,
    pub(crate) timestamp: TimestampMs,
    pub(crate) leader_epoch: LeaderEpoch,
}

/// Where an epoch ended (KIP-101). `LeaderEpoch::NONE` and `Offset::NONE` where it is unknown here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EpochEnd {
    pub(crate) epoch: LeaderEpoch,
    pub(crate) end: Offset,
}

impl Partition {
    /// `Ok(None)` where no record that the reader may see fits.
    pub(crate) fn find_offset(
        &self,
        lookup: Lookup,
        isolation: Isolation,
        current_leader_epoch: LeaderEpoch,
        leader_only: bool,
    ) -> Result<Option<Found>, ResponseError> {
        let inner = self.lock();
        inner.check_epoch(current_leader_epoch, leader_only)?;
        let limit = inner.limit(isolation);
        let end = |offset, leader_epoch| Found { offset, timestamp: TimestampMs::NONE, leader_epoch };
        if lookup == Lookup::Earliest {
            let start = inner.log.start();
            let epoch = inner.log.epochs().of(start).unwrap_or(LeaderEpoch::NONE);
            return Ok(Some(end(start, epoch)));
        }
        let lagging = isolation != Isolation::LogEnd && inner.watermark_lags();
        if lookup == Lookup::Latest {
            let latest = end(limit, inner.leader_epoch());
            return if lagging { Err(ResponseError::OffsetNotAvailable) } else { Ok(Some(latest)) };
        }
        let reader = inner.log.reader();
        drop(inner);
        let found = match lookup {
            Lookup::At(timestamp) => reader.offset_for_timestamp(timestamp),
            _ => reader.offset_of_max_timestamp(),
        };
        let found = found
            .map_err(|error| self.unreadable(&reader, &error.into()))?
            .filter(|found| found.offset < limit);
        match found {
            None if lagging => Err(ResponseError::OffsetNotAvailable),
            found => Ok(found.map(|found| Found {
                offset: found.offset,
                timestamp: found.timestamp,
                leader_epoch: found.leader_epoch,
            })),
        }
    }

    /// Version 0 of ListOffsets: starts of segments that were last written before a time (-1: all, -2: the first), the
    /// newest first; and the high watermark.
    pub(crate) fn offsets_before(
        &self,
        timestamp: TimestampMs,
        most: usize,
        leader_only: bool,
    ) -> Result<(Vec<Offset>, Offset), ResponseError> {
        let inner = self.lock();
        inner.check_epoch(LeaderEpoch::NONE, leader_only)?;
        let high_watermark = inner.log.high_watermark();
        let reader = inner.log.reader();
        drop(inner);
        let offsets = reader
            .offsets_before(timestamp, most, clock::wall())
            .map_err(|error| self.unreadable(&reader, &error.into()))?;
        Ok((offsets, high_watermark))
    }

    pub(crate) fn end_of_epoch(
        &self,
        epoch: LeaderEpoch,
        current_leader_epoch: LeaderEpoch,
        leader_only: bool,
    ) -> Result<EpochEnd, ResponseError> {
        let inner = self.lock();
        inner.check_epoch(current_leader_epoch, leader_only)?;
        let known = inner.log.end_offset_for(epoch);
        let (epoch, end) = known.unwrap_or((LeaderEpoch::NONE, Offset::NONE));
        Ok(EpochEnd { epoch, end })
    }

    /// Makes everything before `offset` unreadable here (DeleteRecords) and returns that offset. `None` asks for the high
    /// watermark.
    pub(crate) fn delete_records(&self, offset: Option<Offset>) -> Result<Offset, ResponseError> {
        let deletable = self.config().log.cleanup.delete;
        let mut inner = self.lock();
        inner.check_epoch(LeaderEpoch::NONE, true)?;
        if !deletable {
            return Err(ResponseError::PolicyViolation);
        }
        let offset = offset.unwrap_or(inner.log.high_watermark());
        if offset < Offset::ZERO {
            return Err(ResponseError::OffsetOutOfRange);
        }
        let deleted = inner.log.delete_records(offset);
        deleted.map_err(|error| self.unreadable(&inner.log.reader(), &error))?;
        Ok(offset)
    }

    /// Waits until no replica alive has records before `offset`, `deadline` at the latest. Yields where the replica with
    /// most records begins, and whether that is at `offset` or behind.
    pub(crate) async fn deleted(
        &self,
        offset: Offset,
        deadline: Instant,
    ) -> Result<(Offset, bool), ResponseError> {
        let waiter = Waiter::new();
        let _registration = self.deletions().register(&waiter);
        let mut cluster = self.around.metadata.changes();
        loop {
            let low_watermark = self.low_watermark()?;
            let woken = async {
                tokio::select! {
                    () = waiter.woken() => {}
                    // A replica that is not alive any more need not be waited for.
                    Ok(()) = cluster.changed() => {}
                }
            };
            if low_watermark >= offset || timeout_at(deadline, woken).await.is_err() {
                return Ok((low_watermark, low_watermark >= offset));
            }
        }
    }

    pub(crate) fn high_watermark(&self) -> Offset {
        self.lock().log.high_watermark()
    }

    pub(crate) fn start_offset(&self) -> Offset {
        self.lock().log.start()
    }

    pub(crate) fn end_offset(&self) -> Offset {
        self.lock().log.end()
    }

    /// All segments of the log. Unit: bytes.
    pub(crate) fn size_in_bytes(&self) -> u64 {
        self.lock().log.reader().size()
    }
}
