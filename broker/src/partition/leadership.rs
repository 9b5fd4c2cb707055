//! How the controller's word changes a partition's role.

use std::path::PathBuf;

use coordinator::replication::{Leader, Standing};
use storage::error::StorageError;
use storage::types::{BrokerId, LeaderEpoch, Offset, TopicId};

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
            Role::Follower { .. } | Role::Unassigned => {
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
        self.waiters.wake_all();
        Ok(())
    }

    /// Another broker leads, or none (`BrokerId::NONE`); this one serves what it has.
    pub(crate) fn follow(&self, leader: BrokerId, standing: Standing) {
        let mut inner = self.lock();
        inner.role = Role::Follower { leader, standing };
        let before = inner.log.high_watermark();
        self.publish(&inner, before);
        self.waiters.wake_all();
    }

    /// No role any more: the replica is stopped. Its epoch is forgotten, so that a new assignment is taken.
    pub(crate) fn retire(&self) {
        let mut inner = self.lock();
        inner.role = Role::Unassigned;
        let before = inner.log.high_watermark();
        self.publish(&inner, before);
        self.waiters.wake_all();
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
            Role::Leader(leader) => Some(leader.standing().leader_epoch),
            Role::Follower { .. } | Role::Unassigned => None,
        };
        let now = Progress { leading, high_watermark: inner.log.high_watermark() };
        self.progress.send_if_modified(|progress| std::mem::replace(progress, now) != now);
        if inner.log.high_watermark() != high_watermark_before {
            self.waiters.wake_all();
        }
    }
}

impl Inner {
    pub(super) fn leader_epoch(&self) -> LeaderEpoch {
        match &self.role {
            Role::Leader(leader) => leader.standing().leader_epoch,
            Role::Follower { standing, .. } => standing.leader_epoch,
            Role::Unassigned => LeaderEpoch::NONE,
        }
    }
}
