//! Reads by consumers and followers, and the look-ups around them.

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use storage::types::{BrokerId, LeaderEpoch, Offset, ProducerId};

use crate::clock;
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
    pub(crate) follower: Option<BrokerId>,
}

/// What a read saw.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) records: Bytes,
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
}

impl Partition {
    /// Reads from the log as it is now; waiting for more is the caller's business.
    pub(crate) fn read(&self, read: &Read) -> Result<Seen, ResponseError> {
        let inner = self.lock();
        inner.check_epoch(read.current_leader_epoch, read.leader_only)?;
        if let Some(follower) = read.follower {
            inner.check_follower(follower)?;
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

        let slice =
            reader.read(read.offset, read.max_bytes, upto, read.at_least_one).map_err(|e| e.wire())?;
        if read.isolation == Isolation::ReadCommitted {
            let aborted = reader.aborted_transactions(read.offset, &slice).map_err(|e| e.wire())?;
            seen.aborted = Some(aborted.into_iter().map(|txn| (txn.producer, txn.first)).collect());
        }
        seen.first_incomplete = slice.first_incomplete;
        seen.older_segment = read.offset < upto
            && slice.records.len() < read.max_bytes
            && slice.begin.segment < reader.end().segment;
        seen.records = slice.records;
        if let Some(follower) = read.follower {
            self.note_follower(follower, read.offset);
        }
        Ok(seen)
    }

    /// A follower has everything before `offset`. The answer to this very fetch still has the watermark from before.
    fn note_follower(&self, follower: BrokerId, offset: Offset) {
        let mut inner = self.lock();
        let before = inner.log.high_watermark();
        let Role::Leader(leader) = &mut inner.role else { return };
        let high_watermark = leader.on_follower_fetch(follower, offset, clock::now().mono);
        inner.log.set_high_watermark(high_watermark);
        self.publish(&inner, before);
    }
}

impl Inner {
    /// What `Seen` says besides records.
    fn bounds(&self) -> Seen {
        Seen {
            records: Bytes::new(),
            first_incomplete: false,
            older_segment: false,
            high_watermark: self.log.high_watermark(),
            last_stable_offset: self.last_stable_offset(),
            log_start: self.log.start(),
            log_end: self.log.end(),
            aborted: None,
            diverging: None,
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
    fn check_follower(&self, follower: BrokerId) -> Result<(), ResponseError> {
        match &self.role {
            Role::Leader(leader) if !leader.standing().replicas.contains(&follower) => {
                Err(ResponseError::NotLeaderOrFollower)
            }
            _ => Ok(()),
        }
    }

    /// KIP-320: a reader that knows an older or newer leader than this one is told so.
    pub(super) fn check_epoch(&self, expected: LeaderEpoch, leader_only: bool) -> Result<(), ResponseError> {
        let current = self.leader_epoch();
        if expected != LeaderEpoch::NONE && expected < current {
            return Err(ResponseError::FencedLeaderEpoch);
        }
        if expected > current {
            return Err(ResponseError::UnknownLeaderEpoch);
        }
        match self.role {
            Role::Leader(_) => Ok(()),
            Role::Follower { .. } if !leader_only => Ok(()),
            Role::Follower { .. } | Role::Unassigned => Err(ResponseError::NotLeaderOrFollower),
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
