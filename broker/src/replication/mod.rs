//! This broker as a follower: it copies partitions from the brokers that lead them, and as a leader it asks the
//! controller for in-sync sets of those that keep up.
//!
//! A fetcher is one task with one connection to one leader; partitions come to it and leave it as the controller gives
//! out roles ([`Fetchers::apply`]). Always true: a partition is with one fetcher at most, and what a fetcher does to a log
//! is refused there once the replica has another role. The rules are `coordinator::replication`.

mod fetcher;
mod fetchers;
mod in_sync;
mod messages;

use std::sync::Arc;
use std::time::Duration;

use coordinator::replication::FollowerSettings;

use crate::config::BrokerConfig;
use crate::config::replication::Replication;
use crate::config::setup_timeout::SetupTimeout;
use crate::partition::Partitions;
use crate::peers::PeerSettings;
use crate::peers::versions::Dialect;

pub(crate) use fetchers::Fetchers;
pub(crate) use in_sync::{propose, watch};

/// Least time between two attempts to connect to another broker.
const RECONNECT_BACKOFF: Duration = Duration::from_millis(50);

/// What the tasks of this room share.
pub(crate) struct Replicating {
    partitions: Arc<Partitions>,
    /// `inter.broker.listener.name`.
    listener: String,
    settings: Replication,
    speaks: Dialect,
    /// How long making a connection may take.
    setup_timeout: SetupTimeout,
}

impl Replicating {
    pub(crate) fn new(partitions: &Arc<Partitions>, config: &BrokerConfig) -> Arc<Replicating> {
        Arc::new(Replicating {
            partitions: Arc::clone(partitions),
            listener: config.network.inter_broker_listener.clone(),
            settings: config.replication.clone(),
            speaks: Dialect::of(config.between_brokers.protocol),
            setup_timeout: config.between_brokers.setup_timeout,
        })
    }

    fn follower_settings(&self) -> FollowerSettings {
        FollowerSettings {
            // What brokers from `inter.broker.protocol.version` 2.7 on do; here it is 3.0 at least.
            truncates_on_fetch: true,
            asks_for_epochs: true,
            backoff_ms: i64::try_from(self.settings.backoff.as_millis()).unwrap_or(i64::MAX),
        }
    }

    fn peer_settings(&self, client_id: String) -> PeerSettings {
        PeerSettings {
            client_id: client_id.into(),
            // An answer is larger than what was asked for where its first batch is.
            response_max: i32::MAX as usize,
            setup_timeout: self.setup_timeout,
            reconnect_backoff: RECONNECT_BACKOFF,
            receive_buffer: self.settings.receive_buffer,
        }
    }
}
