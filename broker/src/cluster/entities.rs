//! The configs of topics, brokers and clients in ZooKeeper: read, written, and announced to every broker.
//!
//! A change is the entity's znode first, then a numbered notice below `/config/changes`: who misses the notice finds
//! the change when it reads the znode for another reason, never the other way round.

use storage::types::BrokerId;
use tracing::warn;
use zookeeper_client as zk;

use super::client::{Lifetime, MultiError, Write, ZooKeeper};
use super::configs::{self, ConfigWriteError};
use super::znodes::{self, Unreadable, paths};
use crate::config::operations::Entries;
use crate::config::properties::Properties;

/// Topic configs read at once.
pub(crate) const READS_AT_ONCE: usize = 64;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigsError {
    #[error("ZooKeeper: {0}")]
    ZooKeeper(#[from] zk::Error),
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    #[error("configs cannot be changed while there is no controller")]
    NoController,
}

/// Whose configs they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entity {
    Topic(String),
    Broker(BrokerId),
    /// The dynamic defaults of the cluster.
    AllBrokers,
    /// Users, clients and addresses, for which there are quotas: `users/alice/clients/c1`, as notices name it.
    Limited(String),
}

/// Name of the znode that holds what goes for every broker.
pub(crate) const DEFAULT_ENTITY: &str = "<default>";

impl Entity {
    /// As notices name it: `topics/t1`, `brokers/<default>`.
    fn notice(&self) -> String {
        match self {
            Entity::Topic(topic) => format!("topics/{topic}"),
            Entity::Broker(id) => format!("brokers/{id}"),
            Entity::AllBrokers => format!("brokers/{DEFAULT_ENTITY}"),
            Entity::Limited(path) => path.clone(),
        }
    }

    fn path(&self) -> String {
        format!("/config/{}", self.notice())
    }
}

/// What is set for an entity, and the znode's version; without a znode nothing is set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) entries: Entries,
    version: Option<i32>,
}

pub(crate) async fn read(zookeeper: &ZooKeeper, entity: &Entity) -> Result<Stored, ConfigsError> {
    let path = entity.path();
    match zookeeper.get(&path).await? {
        Some((data, stat)) => {
            Ok(Stored { entries: znodes::config(&path, &data)?, version: Some(stat.version) })
        }
        None => Ok(Stored::default()),
    }
}

/// Every topic with an entry. One that cannot be read is named and left at the defaults.
pub(crate) async fn of_all_topics(zookeeper: &ZooKeeper) -> Result<Vec<(String, Properties)>, zk::Error> {
    let topics = zookeeper.children("/config/topics").await?.unwrap_or_default();
    let mut all = Vec::with_capacity(topics.len());
    for some in topics.chunks(READS_AT_ONCE) {
        let entities: Vec<Entity> = some.iter().cloned().map(Entity::Topic).collect();
        let reads = entities.iter().map(|entity| read(zookeeper, entity));
        for (topic, read) in some.iter().zip(futures_util::future::join_all(reads).await) {
            match read {
                Ok(stored) if stored.entries.is_empty() => {}
                Ok(stored) => all.push((topic.clone(), stored.entries.into_iter().collect())),
                Err(ConfigsError::ZooKeeper(error)) => return Err(error),
                Err(why) => {
                    warn!(topic, "the topic keeps the broker's defaults; set its configs again: {why}");
                }
            }
        }
    }
    Ok(all)
}

/// Puts `entries` in place of what was read as `former`, and tells every broker. `false`: somebody was faster, read
/// again.
///
/// Guarded by the version of `/controller`, as all writes of configs are.
pub(crate) async fn replace(
    zookeeper: &ZooKeeper,
    entity: &Entity,
    former: &Stored,
    entries: &Entries,
) -> Result<bool, ConfigsError> {
    let (path, data) = (entity.path(), znodes::encode_config(entries));
    let (_, controller) = zookeeper.get(paths::CONTROLLER).await?.ok_or(ConfigsError::NoController)?;
    let guard = Write::Check { path: paths::CONTROLLER.to_owned(), version: controller.version };
    let write = match former.version {
        Some(version) => Write::Set { path, data, version: Some(version) },
        None => Write::Create { path, data, lifetime: Lifetime::Persistent },
    };
    match zookeeper.multi(&[guard, write]).await {
        Ok(_) => {
            configs::notify(zookeeper, &entity.notice()).await?;
            Ok(true)
        }
        Err(MultiError::Refused { index: 0, .. }) => Err(ConfigsError::NoController),
        Err(MultiError::Refused {
            source: zk::Error::BadVersion | zk::Error::NodeExists | zk::Error::NoNode,
            ..
        }) => Ok(false),
        Err(MultiError::Refused { source, .. } | MultiError::Failed(source)) => Err(source.into()),
    }
}

/// Puts `entries` in place of whatever was there, and tells every broker.
pub(crate) async fn overwrite(
    zookeeper: &ZooKeeper,
    entity: &Entity,
    entries: &Entries,
) -> Result<(), ConfigsError> {
    let path = entity.notice();
    let Some((entity_type, name)) = path.split_once('/') else { return Ok(()) };
    match configs::change(zookeeper, entity_type, name, entries).await {
        Ok(()) => Ok(()),
        Err(ConfigWriteError::ZooKeeper(error)) => Err(error.into()),
        Err(ConfigWriteError::Unreadable(error)) => Err(error.into()),
        Err(ConfigWriteError::NoController { .. }) => Err(ConfigsError::NoController),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entities_are_where_kafka_keeps_them() {
        assert_eq!(Entity::Topic("t1".into()).path(), "/config/topics/t1");
        assert_eq!(Entity::Broker(BrokerId(2)).path(), "/config/brokers/2");
        assert_eq!(Entity::AllBrokers.notice(), "brokers/<default>");
    }
}
