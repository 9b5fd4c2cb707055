//! This broker's configuration as it holds now: its file under what ZooKeeper has for it, and the configs of its topics.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use storage::types::BrokerId;
use tokio::sync::{MutexGuard, watch};
use tracing::warn;

use crate::cluster::client::ZooKeeper;
use crate::cluster::entities::{self, ConfigsError, Entity, READS_AT_ONCE, Stored};
use crate::config::BrokerConfig;
use crate::config::properties::Properties;
use crate::partition::registry::TopicConfigs;

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

    /// For who sets something up anew when the configuration changes.
    pub(crate) fn watch(&self) -> watch::Receiver<Arc<BrokerConfig>> {
        self.current.subscribe()
    }

    /// Held while topic configs are read and taken over.
    pub(crate) async fn loading(&self) -> MutexGuard<'_, ()> {
        self.loading.lock().await
    }

    /// From now on `next` holds.
    pub(crate) fn replace(&self, next: Arc<BrokerConfig>) {
        self.current.send_replace(next);
    }

    /// Reads the configs of topics whose first partition here is about to be made. One that cannot be read begins with the
    /// broker's defaults, and is told.
    pub(crate) async fn load_topics(
        &self,
        zookeeper: &ZooKeeper,
        configs: &TopicConfigs,
        topics: BTreeSet<String>,
    ) {
        if topics.is_empty() {
            return;
        }
        let _loading = self.loading.lock().await;
        let topics: Vec<String> = topics.into_iter().collect();
        for some in topics.chunks(READS_AT_ONCE) {
            let entities: Vec<Entity> = some.iter().cloned().map(Entity::Topic).collect();
            let reads = entities.iter().map(|entity| entities::read(zookeeper, entity));
            for (topic, read) in some.iter().zip(futures_util::future::join_all(reads).await) {
                match read {
                    Ok(stored) => configs.set(topic, properties(stored)),
                    Err(why) => {
                        warn!(
                            topic,
                            "the topic begins with the broker's defaults; set its configs again: {why}"
                        )
                    }
                }
            }
        }
    }

    /// What holds once everything in ZooKeeper is taken over. What cannot be used is left out, and told once.
    pub(crate) async fn stored(
        &self,
        zookeeper: &ZooKeeper,
        me: BrokerId,
    ) -> Result<BrokerConfig, ConfigsError> {
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

/// What lies in ZooKeeper, as a file would have it.
pub(crate) fn properties(stored: Stored) -> Properties {
    stored.entries.into_iter().collect()
}
