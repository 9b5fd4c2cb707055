//! What every replica of this broker has around it: the cluster, as the controller told it, and the broker's settings.

use std::sync::Arc;
use std::time::Duration;

use coordinator::replication::{LeaderSettings, Moment};
use storage::types::BrokerId;

use crate::clock;
use crate::cluster::metadata::MetadataCache;
use crate::config::topic::TopicConfig;

pub(crate) struct Surroundings {
    pub(crate) me: BrokerId,
    pub(crate) metadata: Arc<MetadataCache>,
    /// `replica.lag.time.max.ms`.
    pub(crate) lag_max: Duration,
}

impl Surroundings {
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
