//! Reads by consumers and followers, and the look-ups around them.

use coordinator::replication::{Fetch, StaleFetch, check_leader_epoch};
use kafka_protocol::error::ResponseError;
use storage::disk::FileBytes;
use storage::error::ReadError;
use storage::log::LogReader;
use storage::types::{BrokerId, LeaderEpoch, Offset, ProducerId};
use tracing::info;

use crate::errors::WireError;
use crate::partition::{Inner, Partition, Role};

/// Which records a reader may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Isolation {
    /// Consumers: up to the high watermark.
    ReadUncommitted,
    /// Consumers: up to the last stable offset, with the transactions that were aborted.
    ReadCommitted,
    /// Followers: up to the log's end.
    LogEnd,
}

/// One partition of a fetch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Read {
    pub(crate) offset: Offset,
    /// Unit: bytes.
    pub(crate) max_bytes: usize,
    pub(crate) isolation: Isolation,
    /// The epoch the reader believes the leader to be in; `LeaderEpoch::NONE` is not checked.
    pub(crate) current_leader_epoch: LeaderEpoch,
    /// The epoch of the reader's last record; `LeaderEpoch::NONE` asks for no check of divergence (KIP-595).
    pub(crate) last_fetched_epoch: LeaderEpoch,
    /// Followers, and consumers before Fetch 11, read from the leader alone (KIP-392).
    pub(crate) leader_only: bool,
    /// Return the first batch even where it is larger than `max_bytes`.
    pub(crate) at_least_one: bool,
    /// The follower that reads; `None` for a consumer.
    pub(crate) follower: Option<Replica>,
}

/// A follower, as it names itself in a fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Replica {
    pub(crate) id: BrokerId,
    /// The czxid of its registration; `-1` before Fetch 15.
    pub(crate) broker_epoch: i64,
    /// Where its log starts; `Offset::NONE` before Fetch 5.
    pub(crate) log_start: Offset,
    /// False where it is only looked for it again: it has not moved since.
    pub(crate) noted: bool,
}

/// What a read saw.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) records: FileBytes,
    /// `records` is the beginning of one batch: the limit did not allow all of it.
    pub(crate) first_incomplete: bool,
    /// What is left of an older segment was read; there is more in the next one.
    pub(crate) older_segment: bool,
    pub(crate) high_watermark: Offset,
    pub(crate) last_stable_offset: Offset,
    pub(crate) log_start: Offset,
    pub(crate) log_end: Offset,
    /// For `ReadCommitted`: producer and first offset of each aborted transaction in the records.
    pub(crate) aborted: Option<Vec<(ProducerId, Offset)>>,
    /// The reader's log has another history: the end of the last epoch both may share.
    pub(crate) diverging: Option<(LeaderEpoch, Offset)>,
    /// The consumer had better read from this replica.
    pub(crate) preferred: Option<BrokerId>,
}

impl Partition {
    /// Reads from the log as it is now; waiting for more is the caller's business.
    pub(crate) fn read(&self, read: &Read) -> Result<Seen, ResponseError> {
        let inner = self.lock();
        inner.check_epoch(read.current_leader_epoch, read.leader_only)?;
        if let Some(follower) = read.follower {
            inner.check_follower(follower.id, read.current_leader_epoch)?;
        }
        let mut seen = inner.bounds();
        if let Some(diverging) = inner.diverging(read)? {
            seen.diverging = Some(diverging);
            return Ok(seen);
        }
        let upto = match read.isolation {
            Isolation::ReadUncommitted => seen.high_watermark,
            Isolation::ReadCommitted => seen.last_stable_offset,
            Isolation::LogEnd => seen.log_end,
        };
        let reader = inner.log.reader();
        drop(inner);

        let slice = reader
            .read(read.offset, read.max_bytes, upto, read.at_least_one)
            .map_err(|error| self.unreadable(&reader, &error))?;
        if read.isolation == Isolation::ReadCommitted {
            let aborted = reader
                .aborted_transactions(read.offset, &slice)
                .map_err(|error| self.unreadable(&reader, &error.into()))?;
            seen.aborted = Some(aborted.into_iter().map(|txn| (txn.producer, txn.first)).collect());
        }
        seen.first_incomplete = slice.first_incomplete;
        seen.older_segment = read.offset < upto
            && slice.records.len() < read.max_bytes
            && slice.begin.segment < reader.end().segment;
        seen.records = slice.records;
        if let Some(follower) = read.follower.filter(|follower| follower.noted) {
            self.note_follower(&Fetch {
                follower: follower.id,
                broker_epoch: follower.broker_epoch,
                offset: read.offset,
                log_start: follower.log_start,
                leader_end: seen.log_end,
            })?;
        }
        Ok(seen)
    }

    /// The replica that a consumer of `offset` had better read from; only a leader knows, and it never names itself.
    pub(crate) fn nearest_replica(
        &self,
        offset: Offset,
        is_near: impl Fn(BrokerId) -> bool,
    ) -> Option<BrokerId> {
        match &self.lock().role {
            Role::Leader(leader) => leader.nearest(offset, is_near),
            Role::Follower { .. } | Role::Unassigned { .. } => None,
        }
    }

    /// As [`read`](Self::read), for a consumer that is sent to another replica instead.
    pub(crate) fn send_to(&self, replica: BrokerId, read: &Read) -> Result<Seen, ResponseError> {
        let inner = self.lock();
        inner.check_epoch(read.current_leader_epoch, read.leader_only)?;
        Ok(Seen { preferred: Some(replica), ..inner.bounds() })
    }

    /// The log's directory is told of what its disk did; the reader gets the code.
    pub(super) fn unreadable(&self, reader: &LogReader, error: &ReadError) -> ResponseError {
        if let ReadError::Storage(error) = error {
            self.directories.report_log(&reader.folder(), error);
        }
        error.wire()
    }

    /// A follower has everything before the offset it asks for. The answer to this very fetch still has the watermark
    /// from before.
    fn note_follower(&self, fetch: &Fetch) -> Result<(), ResponseError> {
        let mut guard = self.lock();
        let inner = &mut *guard;
        let before = inner.log.high_watermark();
        let Role::Leader(leader) = &mut inner.role else { return Ok(()) };
        let noted = self.around.now(|moment| leader.on_fetch(fetch, moment));
        let moved = noted.map_err(|StaleFetch| ResponseError::NotLeaderOrFollower)?;
        inner.log.set_high_watermark(moved.high_watermark);
        self.publish(inner, before);
        if let Some(proposal) = moved.proposal {
            info!(partition = %self.id, follower = %fetch.follower, "the follower has caught up");
            self.around.proposals.submit(self.id.clone(), proposal);
        }
        drop(guard);
        if moved.log_start_moved {
            self.deletions.wake_all();
        }
        Ok(())
    }
}

impl Inner {
    /// What `Seen` says besides records.
    fn bounds(&self) -> Seen {
        Seen {
            records: FileBytes::default(),
            first_incomplete: false,
            older_segment: false,
            high_watermark: self.log.high_watermark(),
            last_stable_offset: self.last_stable_offset(),
            log_start: self.log.start(),
            log_end: self.log.end(),
            aborted: None,
            diverging: None,
            preferred: None,
        }
    }

    pub(super) fn last_stable_offset(&self) -> Offset {
        self.log.last_stable()
    }

    pub(super) fn limit(&self, isolation: Isolation) -> Offset {
        match isolation {
            Isolation::ReadUncommitted => self.log.high_watermark(),
            Isolation::ReadCommitted => self.last_stable_offset(),
            Isolation::LogEnd => self.log.end(),
        }
    }

    pub(super) fn watermark_lags(&self) -> bool {
        matches!(&self.role, Role::Leader(leader) if leader.watermark_lags())
    }

    /// Only brokers that the controller made replicas may read as followers.
    fn check_follower(&self, follower: BrokerId, epoch: LeaderEpoch) -> Result<(), ResponseError> {
        match &self.role {
            Role::Leader(leader) if leader.is_replica(follower) => Ok(()),
            // It knows the leader of this epoch, so it may soon be a replica.
            Role::Leader(_) if epoch != LeaderEpoch::NONE => Err(ResponseError::UnknownLeaderEpoch),
            Role::Leader(_) => Err(ResponseError::NotLeaderOrFollower),
            Role::Follower { .. } | Role::Unassigned { .. } => Ok(()),
        }
    }

    /// KIP-320: a reader that knows an older or newer leader than this one is told so.
    pub(super) fn check_epoch(&self, expected: LeaderEpoch, leader_only: bool) -> Result<(), ResponseError> {
        check_leader_epoch(expected, self.leader_epoch()).map_err(|mismatch| mismatch.wire())?;
        match self.role {
            Role::Leader(_) => Ok(()),
            Role::Follower { .. } if !leader_only => Ok(()),
            Role::Follower { .. } | Role::Unassigned { .. } => Err(ResponseError::NotLeaderOrFollower),
        }
    }

    /// KIP-595: where the reader's last epoch ended here before the offset it asks for, it has to truncate.
    fn diverging(&self, read: &Read) -> Result<Option<(LeaderEpoch, Offset)>, ResponseError> {
        if read.last_fetched_epoch == LeaderEpoch::NONE {
            return Ok(None);
        }
        let Some((epoch, end)) = self.log.end_offset_for(read.last_fetched_epoch) else {
            return Err(ResponseError::OffsetOutOfRange);
        };
        if read.offset < self.log.start() {
            return Err(ResponseError::OffsetOutOfRange);
        }
        let diverges = epoch < read.last_fetched_epoch || end < read.offset;
        Ok(diverges.then_some((epoch, end)))
    }
}
