//! Configs that change while the broker runs: the requests that change them, and what a change does here.
//!
//! ZooKeeper alone says what holds. A request is checked against it, written there and announced; every broker, this
//! one too, acts on the announcement. So a change by a tool that speaks to ZooKeeper has the same effect.

pub(crate) mod alter;
mod follow;
mod quotas;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use storage::types::BrokerId;
use tokio::sync::watch;
use tracing::warn;

pub(crate) use follow::{Running, follow, load_topics};
pub(crate) use quotas::load as load_quotas;

use crate::cluster::client::ZooKeeper;
use crate::cluster::entities::{self, ConfigsError, Entity, Stored};
use crate::config::BrokerConfig;
use crate::config::properties::Properties;

/// This broker's configuration as it holds now.
pub(crate) struct LiveConfig {
    current: watch::Sender<Arc<BrokerConfig>>,
    /// What was said about values that cannot be used, each once.
    told: Mutex<BTreeSet<String>>,
    /// Held while topic configs are read and taken over: what was read later is taken over later.
    loading: tokio::sync::Mutex<()>,
}

impl LiveConfig {
    pub(crate) fn new(config: Arc<BrokerConfig>) -> LiveConfig {
        LiveConfig {
            current: watch::Sender::new(config),
            told: Mutex::default(),
            loading: tokio::sync::Mutex::default(),
        }
    }

    /// `file` under what lies in ZooKeeper for this broker.
    pub(crate) async fn begin(
        file: BrokerConfig,
        zookeeper: &ZooKeeper,
        me: BrokerId,
    ) -> Result<LiveConfig, ConfigsError> {
        let live = LiveConfig::new(Arc::new(file));
        let next = live.stored(zookeeper, me).await?;
        live.current.send_replace(Arc::new(next));
        Ok(live)
    }

    pub(crate) fn current(&self) -> Arc<BrokerConfig> {
        Arc::clone(&self.current.borrow())
    }

    /// What holds once everything in ZooKeeper is taken over. What cannot be used is left out, and told once.
    async fn stored(&self, zookeeper: &ZooKeeper, me: BrokerId) -> Result<BrokerConfig, ConfigsError> {
        let cluster = properties(entities::read(zookeeper, &Entity::AllBrokers).await?);
        let broker = properties(entities::read(zookeeper, &Entity::Broker(me)).await?);
        let (next, unusable) = self.current().with_stored(&cluster, &broker);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        for sentence in &unusable {
            if !told.contains(sentence) {
                warn!("{sentence}");
            }
        }
        *told = unusable.into_iter().collect();
        Ok(next)
    }
}

fn properties(stored: Stored) -> Properties {
    stored.entries.into_iter().collect()
}
