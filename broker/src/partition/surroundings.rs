//! What every replica of this broker has around it: the cluster, as the controller told it, and the broker's settings.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use coordinator::quotas::Window;
use coordinator::replication::{LeaderSettings, Moment, Throttle, UNKNOWN_BROKER_EPOCH};
use storage::types::BrokerId;

use crate::clock;
use crate::config::BrokerConfig;
use crate::config::topic::TopicConfig;
use crate::metadata::MetadataCache;
use crate::partition::proposals::Proposals;

pub(crate) struct Surroundings {
    pub(crate) me: BrokerId,
    pub(crate) metadata: Arc<MetadataCache>,
    pub(crate) proposals: Proposals,
    pub(crate) to_followers: Throttled,
    pub(crate) from_leaders: Throttled,
    /// `replica.lag.time.max.ms`.
    lag_max: Duration,
    /// czxid of this broker's registration, the newest one.
    broker_epoch: Arc<AtomicI64>,
}

impl Surroundings {
    /// Of a broker that is not registered yet, in a cluster that it knows nothing of.
    pub(crate) fn new(me: BrokerId, config: &BrokerConfig) -> Surroundings {
        let settings = &config.replication;
        Surroundings {
            me,
            metadata: Arc::new(MetadataCache::default()),
            proposals: Proposals::default(),
            to_followers: Throttled::new(settings.throttle_window, settings.leader_rate),
            from_leaders: Throttled::new(settings.throttle_window, settings.follower_rate),
            lag_max: settings.lag_max,
            broker_epoch: Arc::new(AtomicI64::new(UNKNOWN_BROKER_EPOCH)),
        }
    }

    pub(crate) fn broker_epoch(&self) -> i64 {
        self.broker_epoch.load(Ordering::Acquire)
    }

    /// For those that name this life of the broker in requests of their own.
    pub(crate) fn broker_epoch_cell(&self) -> &Arc<AtomicI64> {
        &self.broker_epoch
    }

    /// The broker registered (again).
    pub(crate) fn set_broker_epoch(&self, epoch: i64) {
        self.broker_epoch.store(epoch, Ordering::Release);
    }

    /// The broker's configuration changed.
    pub(crate) fn configure(&self, config: &BrokerConfig) {
        self.to_followers.set_limit(config.replication.leader_rate);
        self.from_leaders.set_limit(config.replication.follower_rate);
    }

    /// Asks a leader's rules now.
    pub(super) fn now<R>(&self, ask: impl FnOnce(Moment<'_>) -> R) -> R {
        let is_alive = |id: BrokerId| self.metadata.snapshot().is_alive(id);
        ask(Moment { now: clock::now().mono, is_alive: &is_alive })
    }

    pub(super) fn leader_settings(&self, topic: &TopicConfig) -> LeaderSettings {
        LeaderSettings {
            lag_max_ms: u64::try_from(self.lag_max.as_millis()).unwrap_or(u64::MAX),
            min_in_sync: usize::try_from(topic.min_insync_replicas).unwrap_or(1),
        }
    }
}

/// One direction of replication, with the bytes per second that throttled replicas may take.
pub(crate) struct Throttled {
    /// Held for a sum or an addition, never across `.await`.
    throttle: Mutex<Throttle>,
}

impl Throttled {
    fn new(window: Window, limit: Option<u64>) -> Throttled {
        Throttled { throttle: Mutex::new(Throttle::new(window, limit)) }
    }

    fn set_limit(&self, limit: Option<u64>) {
        self.throttle.lock().unwrap_or_else(PoisonError::into_inner).set_limit(limit);
    }

    pub(crate) fn record(&self, bytes: usize) {
        let now = clock::now().mono;
        self.throttle.lock().unwrap_or_else(PoisonError::into_inner).record(bytes as u64, now);
    }

    pub(crate) fn is_exceeded(&self) -> bool {
        let now = clock::now().mono;
        self.throttle.lock().unwrap_or_else(PoisonError::into_inner).is_exceeded(now)
    }
}
