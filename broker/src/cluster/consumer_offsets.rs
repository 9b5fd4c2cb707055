//! Offsets that the clients of 0.8 keep in ZooKeeper: `/consumers/GROUP/offsets/TOPIC/PARTITION`, the offset as text.
//!
//! As in Kafka a group's name may hold slashes; one that makes no path of it (empty, relative) is refused by the client.

use storage::types::{Offset, TopicPartition};
use zookeeper_client as zk;

use crate::cluster::client::ZooKeeper;
use crate::cluster::registration::make_path;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error(transparent)]
    ZooKeeper(#[from] zk::Error),
    #[error("{0} holds no offset")]
    NoNumber(String),
}

/// `Ok(None)` where nothing was committed.
pub(crate) async fn read(
    zookeeper: &ZooKeeper,
    group: &str,
    partition: &TopicPartition,
) -> Result<Option<Offset>, ReadError> {
    let path = path(group, partition);
    let Some((data, _)) = zookeeper.get(&path).await? else { return Ok(None) };
    let number = std::str::from_utf8(&data).ok().and_then(|text| text.parse().ok());
    number.map(|offset| Some(Offset(offset))).ok_or(ReadError::NoNumber(path))
}

pub(crate) async fn write(
    zookeeper: &ZooKeeper,
    group: &str,
    partition: &TopicPartition,
    offset: Offset,
) -> Result<(), zk::Error> {
    let (path, text) = (path(group, partition), offset.to_string());
    match zookeeper.set(&path, text.as_bytes(), None).await {
        Err(zk::Error::NoNode) => {}
        written => return written.map(drop),
    }
    make_path(zookeeper, &path).await?;
    zookeeper.set(&path, text.as_bytes(), None).await.map(drop)
}

fn path(group: &str, partition: &TopicPartition) -> String {
    format!("/consumers/{group}/offsets/{}/{}", partition.topic, partition.partition)
}
