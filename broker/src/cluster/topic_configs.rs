//! The overrides of topics, from `/config/topics`, as the partitions' configuration.

use tracing::warn;
use zookeeper_client as zk;

use crate::cluster::client::ZooKeeper;
use crate::cluster::znodes::{self, Unreadable, paths};
use crate::config::properties::Properties;

#[derive(Debug, thiserror::Error)]
pub(crate) enum TopicConfigsError {
    #[error("ZooKeeper: {0}")]
    ZooKeeper(#[from] zk::Error),
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

/// The overrides of one topic; `None` where it has no entry.
pub(crate) async fn of(zookeeper: &ZooKeeper, topic: &str) -> Result<Option<Properties>, TopicConfigsError> {
    let path = paths::topic_config(topic);
    let Some((data, _)) = zookeeper.get(&path).await? else { return Ok(None) };
    Ok(Some(znodes::config(&path, &data)?.into_iter().collect()))
}

/// Every topic with an entry. One that cannot be read is named and left at the defaults.
pub(crate) async fn all(zookeeper: &ZooKeeper) -> Result<Vec<(String, Properties)>, zk::Error> {
    let mut all = Vec::new();
    for topic in zookeeper.children("/config/topics").await?.unwrap_or_default() {
        match of(zookeeper, &topic).await {
            Ok(Some(overrides)) => all.push((topic, overrides)),
            Ok(None) => {}
            Err(TopicConfigsError::ZooKeeper(error)) => return Err(error),
            Err(TopicConfigsError::Unreadable(error)) => {
                warn!(topic, %error, "the topic keeps the broker's defaults; set its configuration again");
            }
        }
    }
    Ok(all)
}
