//! How the controller's word changes a partition's role.

use std::path::PathBuf;

use coordinator::replication::{AfterVerdict, Leader, Proposal, Standing, Verdict};
use kafka_protocol::error::ResponseError;
use storage::error::StorageError;
use storage::types::{BrokerId, LeaderEpoch, Offset, TopicId};
use tracing::info;

use crate::partition::writing::Progress;
use crate::partition::{Inner, Partition, Role};

impl Partition {
    /// This broker leads from now on; appends of the epoch start at the log's end.
    pub(crate) fn lead(&self, standing: Standing) -> Result<(), StorageError> {
        let settings = self.around.leader_settings(&self.config());
        let mut guard = self.lock();
        let inner = &mut *guard;
        let (before, end) = (inner.log.high_watermark(), inner.log.end());
        inner.log.assign_epoch(standing.leader_epoch, end)?;
        let high_watermark = match &mut inner.role {
            Role::Leader(leader) => self.around.now(|moment| leader.update(standing, moment)),
            Role::Follower { .. } | Role::Unassigned { .. } => {
                let me = self.around.me;
                let leader =
                    self.around.now(|moment| Leader::new(me, standing, settings, end, before, moment));
                let high_watermark = leader.high_watermark();
                inner.role = Role::Leader(leader);
                high_watermark
            }
        };
        inner.log.set_high_watermark(high_watermark);
        self.publish(inner, before);
        drop(guard);
        self.wake_everybody();
        Ok(())
    }

    /// Another broker leads, or none (`BrokerId::NONE`); this one serves what it has.
    pub(crate) fn follow(&self, leader: BrokerId, standing: Standing) {
        let mut inner = self.lock();
        inner.role = Role::Follower { leader, standing };
        let before = inner.log.high_watermark();
        self.publish(&inner, before);
        self.wake_everybody();
    }

    /// No role any more: the replica is stopped. Its epoch stays, so that a role from before the stop is not taken.
    pub(crate) fn retire(&self) {
        let mut inner = self.lock();
        inner.role = Role::Unassigned { leader_epoch: inner.leader_epoch() };
        let before = inner.log.high_watermark();
        self.publish(&inner, before);
        self.wake_everybody();
    }

    /// Whom this replica follows, in which epoch. `BrokerId::NONE` where there is no leader.
    pub(crate) fn followed(&self) -> Option<(BrokerId, LeaderEpoch)> {
        match &self.lock().role {
            Role::Follower { leader, standing } => Some((*leader, standing.leader_epoch)),
            Role::Leader(_) | Role::Unassigned { .. } => None,
        }
    }

    /// The epoch in which this replica began to lead, see `Leader::since`.
    pub(crate) fn led(&self) -> Option<LeaderEpoch> {
        match &self.lock().role {
            Role::Leader(leader) => Some(leader.since()),
            Role::Follower { .. } | Role::Unassigned { .. } => None,
        }
    }

    /// Followers that have not kept up are to leave the in-sync set.
    pub(crate) fn shrink_in_sync(&self) {
        let mut inner = self.lock();
        let Role::Leader(leader) = &mut inner.role else { return };
        let Some(proposal) = self.around.now(|moment| leader.shrink(moment)) else { return };
        let in_sync = &leader.standing().isr;
        info!(partition = %self.id, ?in_sync, proposed = ?proposal.isr, "followers have fallen behind");
        self.around.proposals.submit(self.id.clone(), proposal);
    }

    /// Whether `follower` is in the in-sync set, as this leader knows it.
    pub(crate) fn is_in_sync(&self, follower: BrokerId) -> bool {
        matches!(&self.lock().role, Role::Leader(leader) if leader.standing().isr.contains(&follower))
    }

    /// Whether the leader here still waits for the controller's word on `proposal`.
    pub(crate) fn awaits_verdict(&self, proposal: &Proposal) -> bool {
        matches!(&self.lock().role, Role::Leader(leader) if leader.awaits(proposal))
    }

    /// The controller's word on a proposal. Yields whether it has to be asked again.
    pub(crate) fn on_verdict(&self, proposal: &Proposal, verdict: Verdict) -> bool {
        let mut guard = self.lock();
        let inner = &mut *guard;
        let before = inner.log.high_watermark();
        let Role::Leader(leader) = &mut inner.role else { return false };
        let was = leader.standing().partition_epoch;
        match self.around.now(|moment| leader.on_verdict(proposal, verdict, moment)) {
            AfterVerdict::Again(_) => true,
            AfterVerdict::Settled(high_watermark) => {
                let standing = leader.standing();
                if standing.partition_epoch != was {
                    info!(partition = %self.id, in_sync = ?standing.isr, "the in-sync set has changed");
                }
                inner.log.set_high_watermark(high_watermark);
                self.publish(inner, before);
                false
            }
        }
    }

    /// The lowest log start of the replicas alive; `Offset::NONE` while one has not told.
    pub(crate) fn low_watermark(&self) -> Result<Offset, ResponseError> {
        let inner = self.lock();
        let Role::Leader(leader) = &inner.role else { return Err(ResponseError::NotLeaderOrFollower) };
        Ok(self.around.now(|moment| leader.low_watermark(inner.log.start(), moment)))
    }

    /// Whether copying it to followers counts against `leader.replication.throttled.rate`.
    pub(crate) fn is_throttled_as_leader(&self) -> bool {
        self.config().leader_throttled.contains(self.id.partition, self.around.me.0)
    }

    /// Whether copying it here counts against `follower.replication.throttled.rate`.
    pub(crate) fn is_throttled_as_follower(&self) -> bool {
        self.config().follower_throttled.contains(self.id.partition, self.around.me.0)
    }

    /// Renames the log's folder within its directory and returns its new path.
    pub(crate) fn rename_folder(&self, name: &str) -> Result<PathBuf, StorageError> {
        let mut inner = self.lock();
        inner.log.rename(name)?;
        Ok(inner.log.folder())
    }

    /// Gives a log from before topic ids the id of its topic.
    pub(crate) fn assign_topic_id(&self, id: TopicId) -> Result<(), StorageError> {
        self.lock().log.assign_topic_id(id)
    }

    /// The epoch of the role this replica has; `LeaderEpoch::NONE` before any controller spoke.
    pub(crate) fn leader_epoch(&self) -> LeaderEpoch {
        self.lock().leader_epoch()
    }

    /// Tells those that wait what changed under the lock. Called with the lock held so that they see the moves in order.
    pub(super) fn publish(&self, inner: &Inner, high_watermark_before: Offset) {
        let leading = match &inner.role {
            Role::Leader(leader) => Some(leader.since()),
            Role::Follower { .. } | Role::Unassigned { .. } => None,
        };
        let now = Progress { leading, high_watermark: inner.log.high_watermark() };
        self.progress.send_if_modified(|progress| std::mem::replace(progress, now) != now);
        if inner.log.high_watermark() != high_watermark_before {
            self.waiters.wake_all();
            self.directories.note_watermark();
        }
    }
}

impl Inner {
    pub(super) fn leader_epoch(&self) -> LeaderEpoch {
        match &self.role {
            Role::Leader(leader) => leader.standing().leader_epoch,
            Role::Follower { standing, .. } => standing.leader_epoch,
            Role::Unassigned { leader_epoch } => *leader_epoch,
        }
    }
}
