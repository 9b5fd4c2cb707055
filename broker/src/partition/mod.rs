//! A partition as this broker hosts it: the log, its role in replication, and who waits for it.
//!
//! Always true: the high watermark never passes the log's end; a record is appended and the watermark it moves is
//! settled under one lock. It knows no request and no wire version.

mod awaited;
pub(crate) mod compaction;
mod copying;
pub(crate) mod directories;
mod hosting;
mod leadership;
mod loading;
pub(crate) mod lookup;
mod move_rate;
pub(crate) mod moving;
mod parallel;
mod produce_error;
pub(crate) mod proposals;
pub(crate) mod reading;
pub(crate) mod registry;
pub(crate) mod replicating;
mod roles;
#[cfg(test)]
mod specimen;
pub(crate) mod surroundings;
mod transactions;
mod upkeep;
pub(crate) mod waiters;
mod writing;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use coordinator::replication::{Leader, Standing};
use storage::log::Log;
use storage::producers::ProducerSettings;
use storage::types::{BrokerId, LeaderEpoch, Offset, TimestampMs, TopicId, TopicPartition};
use tokio::sync::watch;

use crate::clock;
use crate::config::topic::TopicConfig;

use directories::Directories;
pub(crate) use loading::Backlog;
pub(crate) use move_rate::MoveRate;
use moving::Relocation;
pub(crate) use produce_error::ProduceError;
use reading::Isolation;
pub(crate) use registry::Partitions;
pub(crate) use roles::{RoleChange, refuse_all};
use surroundings::Surroundings;
use waiters::Waiters;
pub(crate) use writing::{Acks, Appended};

use writing::Progress;

/// One replica of a partition.
pub(crate) struct Partition {
    id: TopicPartition,
    around: Arc<Surroundings>,
    /// To be told when the disk fails.
    directories: Arc<Directories>,
    config: RwLock<Arc<TopicConfig>>,
    /// A std mutex: held for one append or one look-up, never across `.await`, never two at once.
    /// Log and role share it because an append and the watermark it moves must be one step.
    inner: Mutex<Inner>,
    /// Outside the lock so that waiting costs no one anything.
    progress: watch::Sender<Progress>,
    /// Consumers, who see what is committed.
    waiters: Arc<Waiters>,
    relocation: Relocation,
    /// Followers, who see all that is appended.
    end_waiters: Arc<Waiters>,
    /// Those who wait until followers have let records go.
    deletions: Arc<Waiters>,
}

struct Inner {
    log: Log,
    role: Role,
    /// When the flush by time (`flush.ms`) last ran.
    flushed_at: TimestampMs,
}

/// What the controller made of this replica.
enum Role {
    /// Opened from disk, or stopped. An older word of the controller than the one that stopped it is not obeyed;
    /// `LeaderEpoch::NONE` before any.
    Unassigned {
        leader_epoch: LeaderEpoch,
    },
    Leader(Leader),
    Follower {
        leader: BrokerId,
        standing: Standing,
    },
}

impl Partition {
    /// `high_watermark` is the last one written down; it is clipped to what the log holds.
    fn new(
        around: Arc<Surroundings>,
        directories: Arc<Directories>,
        config: Arc<TopicConfig>,
        mut log: Log,
        high_watermark: Offset,
    ) -> Partition {
        log.set_high_watermark(high_watermark.clamp(log.start(), log.end()));
        let high_watermark = log.high_watermark();
        let role = Role::Unassigned { leader_epoch: LeaderEpoch::NONE };
        Partition {
            id: log.partition().clone(),
            around,
            directories,
            config: RwLock::new(config),
            inner: Mutex::new(Inner { log, role, flushed_at: clock::wall() }),
            progress: watch::Sender::new(Progress { leading: None, high_watermark }),
            waiters: Arc::default(),
            relocation: Relocation::default(),
            end_waiters: Arc::default(),
            deletions: Arc::default(),
        }
    }

    pub(crate) fn id(&self) -> &TopicPartition {
        &self.id
    }

    /// `TopicId::ZERO` where the cluster has no topic ids.
    pub(crate) fn topic_id(&self) -> TopicId {
        self.lock().log.topic_id().unwrap_or(TopicId::ZERO)
    }

    /// Those who want to know when a reader of `isolation` sees more.
    pub(crate) fn waiters(&self, isolation: Isolation) -> &Arc<Waiters> {
        match isolation {
            Isolation::LogEnd => &self.end_waiters,
            Isolation::ReadUncommitted | Isolation::ReadCommitted => &self.waiters,
        }
    }

    /// The replica has another role: nobody need wait for what it would have done.
    fn wake_everybody(&self) {
        for waiters in [&self.waiters, &self.end_waiters, &self.deletions] {
            waiters.wake_all();
        }
    }

    /// Those who want to know when a follower's log starts elsewhere.
    pub(crate) fn deletions(&self) -> &Arc<Waiters> {
        &self.deletions
    }

    pub(crate) fn config(&self) -> Arc<TopicConfig> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The topic's configuration changed; appends and the next roll follow it.
    pub(crate) fn set_config(&self, config: Arc<TopicConfig>) {
        let mut guard = self.lock();
        let inner = &mut *guard;
        inner.log.update_config(Arc::clone(&config.log));
        if let Role::Leader(leader) = &mut inner.role {
            let before = inner.log.high_watermark();
            let settings = self.around.leader_settings(&config);
            let high_watermark = self.around.now(|moment| leader.configure(settings, moment));
            inner.log.set_high_watermark(high_watermark);
            self.publish(inner, before);
        }
        drop(guard);
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
    }

    pub(crate) fn set_producer_settings(&self, settings: ProducerSettings) {
        self.lock().log.set_producer_settings(settings);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
