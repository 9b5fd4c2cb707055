//! What a follower does to its log: append what the leader sent, cut what the leader does not have.
//!
//! Always true: nothing is done on behalf of a leader epoch that is not the replica's own any more; who asks is told so
//! ([`ReplicationError::Outdated`]) and lets go.

use bytes::Bytes;
use coordinator::replication::{
    Follower, FollowerSettings, History, Order, replicated_high_watermark, replicated_log_start,
};
use storage::error::{AppendError, ReadError, StorageError};
use storage::log::{Log, LogReader};
use storage::types::{LeaderEpoch, Offset};
use tracing::{info, warn};

use crate::clock;
use crate::partition::{Inner, Partition, Role};

/// What came with records from the leader.
#[derive(Clone, Debug)]
pub(crate) struct FromLeader {
    /// The replica's own leader epoch when it asked.
    pub(crate) leader_epoch: LeaderEpoch,
    /// What it asked for.
    pub(crate) offset: Offset,
    pub(crate) records: Bytes,
    pub(crate) high_watermark: Offset,
    pub(crate) log_start: Offset,
}

/// Why a follower's log stays as it is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReplicationError {
    #[error("the replica has another role, or another leader, by now")]
    Outdated,
    #[error("the leader's records begin at {asked}, but this log ends at {end}")]
    Gap { asked: Offset, end: Offset },
    #[error(transparent)]
    Append(AppendError),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl ReplicationError {
    /// Whether trying again may help: the records were damaged on their way.
    pub(crate) fn is_corrupt(&self) -> bool {
        matches!(
            self,
            ReplicationError::Append(AppendError::Corrupt { .. } | AppendError::OffsetsOutOfOrder { .. })
        )
    }

    /// A failure of the disk.
    pub(crate) fn storage(&self) -> Option<&StorageError> {
        match self {
            ReplicationError::Append(AppendError::Storage(error)) | ReplicationError::Storage(error) => {
                Some(error)
            }
            _ => None,
        }
    }
}

/// A log, as the follower's rules look at it.
pub(crate) struct LogHistory<'a>(&'a Log);

impl History for LogHistory<'_> {
    fn log_start(&self) -> Offset {
        self.0.start()
    }

    fn log_end(&self) -> Offset {
        self.0.end()
    }

    fn high_watermark(&self) -> Offset {
        self.0.high_watermark()
    }

    fn latest_epoch(&self) -> Option<LeaderEpoch> {
        self.0.latest_epoch()
    }

    fn end_offset_for(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        self.0.end_offset_for(epoch)
    }
}

impl Partition {
    /// The state to begin with towards the leader of `leader_epoch`; `None` where that is not this replica's epoch.
    pub(crate) fn begin_following(
        &self,
        leader_epoch: LeaderEpoch,
        settings: FollowerSettings,
    ) -> Option<Follower> {
        let inner = self.lock();
        inner.follows_in(leader_epoch).ok()?;
        Some(Follower::begin(leader_epoch, settings, &LogHistory(&inner.log)))
    }

    /// Lets the follower's rules look at the log.
    pub(crate) fn with_history<R>(&self, look: impl FnOnce(&LogHistory<'_>) -> R) -> R {
        look(&LogHistory(&self.lock().log))
    }

    pub(crate) fn reader(&self) -> LogReader {
        self.lock().log.reader()
    }

    /// Appends records of the leader and takes over its high watermark and log start, as far as they go here. Yields the
    /// epoch of the last record of the log.
    pub(crate) fn replicate(&self, from: &FromLeader) -> Result<Option<LeaderEpoch>, ReplicationError> {
        let mut guard = self.lock();
        let inner = &mut *guard;
        inner.follows_in(from.leader_epoch)?;
        let (before, end) = (inner.log.high_watermark(), inner.log.end());
        if end != from.offset {
            return Err(ReplicationError::Gap { asked: from.offset, end });
        }
        let rolled = inner.append_replicated(&from.records, from.leader_epoch)?;
        let high_watermark = replicated_high_watermark(from.high_watermark, &LogHistory(&inner.log));
        inner.log.set_high_watermark(high_watermark);
        let start = replicated_log_start(from.log_start, &LogHistory(&inner.log));
        let moved = inner.log.delete_records(start);
        self.publish(inner, before);
        if rolled {
            self.flush_later(inner);
        }
        match moved {
            Ok(_) | Err(ReadError::OutOfRange { .. }) => Ok(inner.log.latest_epoch()),
            Err(ReadError::Storage(error)) => Err(error.into()),
        }
    }

    /// Carries out an order of the follower's rules that cuts the log. Yields whether the recovery point fell: then its
    /// checkpoint says of records that are to come that they were flushed, until it is written anew.
    pub(crate) fn cut(&self, leader_epoch: LeaderEpoch, order: Order) -> Result<bool, ReplicationError> {
        let mut guard = self.lock();
        let inner = &mut *guard;
        inner.follows_in(leader_epoch)?;
        let flushed = inner.log.recovery_point();
        let (before, now) = (inner.log.high_watermark(), clock::wall());
        match order {
            Order::TruncateTo(truncation) => {
                if truncation.offset < before {
                    warn!(
                        partition = %self.id, to = %truncation.offset, high_watermark = %before,
                        "truncating below the high watermark: the leader does not have records that were committed"
                    );
                }
                inner.log.truncate_to(truncation.offset, now)?;
            }
            Order::StartOver { offset, .. } => {
                info!(
                    partition = %self.id, end = %inner.log.end(), start = %offset,
                    "the leader's log starts behind the end of this one, which starts over there"
                );
                inner.log.truncate_fully_and_start_at(offset, None, now)?;
            }
            Order::Nothing | Order::Append => {}
        }
        self.publish(inner, before);
        Ok(inner.log.recovery_point() < flushed)
    }
}

impl Inner {
    fn follows_in(&self, leader_epoch: LeaderEpoch) -> Result<(), ReplicationError> {
        match &self.role {
            Role::Follower { standing, .. } if standing.leader_epoch == leader_epoch => Ok(()),
            _ => Err(ReplicationError::Outdated),
        }
    }

    /// Whether a new segment was begun.
    fn append_replicated(
        &mut self,
        records: &Bytes,
        leader_epoch: LeaderEpoch,
    ) -> Result<bool, ReplicationError> {
        let now = clock::wall();
        let appended = match self.log.append_as_follower(records, leader_epoch, now) {
            // The leader's log starts in the middle of its first batch (DeleteRecords): an empty log starts with it.
            Err(AppendError::UnexpectedOffset { first, last, next })
                if self.log.start() == next && first < next && last >= next =>
            {
                info!(partition = %self.log.partition(), start = %first, "starting with the batch that contains the leader's log start");
                self.log.truncate_fully_and_start_at(first, None, now)?;
                self.log.append_as_follower(records, leader_epoch, now)
            }
            appended => appended,
        };
        let appended = appended.map_err(ReplicationError::Append)?;
        Ok(appended.is_some_and(|appended| appended.rolled))
    }
}
