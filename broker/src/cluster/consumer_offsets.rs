//! Offsets that the clients of 0.8 keep in ZooKeeper: `/consumers/GROUP/offsets/TOPIC/PARTITION`, the offset as text.

use storage::types::{Offset, TopicPartition};
use zookeeper_client as zk;

use crate::cluster::client::ZooKeeper;
use crate::cluster::registration::make_path;

/// `Ok(None)` where nothing was committed, or what is there is no offset.
pub(crate) async fn read(
    zookeeper: &ZooKeeper,
    group: &str,
    partition: &TopicPartition,
) -> Result<Option<Offset>, zk::Error> {
    let found = zookeeper.get(&path(group, partition)?).await?;
    let text = found.and_then(|(data, _)| String::from_utf8(data).ok());
    Ok(text.and_then(|text| text.parse().ok()).map(Offset))
}

pub(crate) async fn write(
    zookeeper: &ZooKeeper,
    group: &str,
    partition: &TopicPartition,
    offset: Offset,
) -> Result<(), zk::Error> {
    let (path, text) = (path(group, partition)?, offset.to_string());
    match zookeeper.set(&path, text.as_bytes(), None).await {
        Err(zk::Error::NoNode) => {}
        written => return written.map(drop),
    }
    make_path(zookeeper, &path).await?;
    zookeeper.set(&path, text.as_bytes(), None).await.map(drop)
}

/// A group's name that would lead elsewhere in the tree is refused.
fn path(group: &str, partition: &TopicPartition) -> Result<String, zk::Error> {
    if group.is_empty() || group.contains('/') || group == "." || group == ".." {
        return Err(zk::Error::BadArguments(&"a group id that cannot name a znode"));
    }
    Ok(format!("/consumers/{group}/offsets/{}/{}", partition.topic, partition.partition))
}
