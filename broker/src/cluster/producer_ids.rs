//! Blocks of producer ids, handed out by the controller.
//!
//! A block is written before it is used, so no id is given twice. What of a block a broker does not use is lost.

use storage::types::BrokerId;

use zookeeper_client as zk;

use super::client::{Lifetime, ZooKeeper};
use super::znodes::{ProducerIdBlock, Unreadable, paths};

/// Ids in a block.
const BLOCK_SIZE: i64 = 1000;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ProducerIdError {
    #[error("ZooKeeper: {0}")]
    ZooKeeper(#[from] zk::Error),
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    #[error("all producer ids are used up")]
    Exhausted,
}

/// Claims the next block for `broker`.
pub(crate) async fn allocate(
    zookeeper: &ZooKeeper,
    broker: BrokerId,
) -> Result<ProducerIdBlock, ProducerIdError> {
    loop {
        let found = zookeeper.get(paths::PRODUCER_ID_BLOCK).await?;
        let first = match &found {
            // Brokers create the node empty.
            Some((data, _)) if !data.is_empty() => {
                let last = ProducerIdBlock::decode(data)?.last;
                if last > i64::MAX - BLOCK_SIZE {
                    return Err(ProducerIdError::Exhausted);
                }
                last + 1
            }
            _ => 0,
        };
        let block = ProducerIdBlock { broker, first, last: first + BLOCK_SIZE - 1 };
        let data = block.encode();
        let done = match found {
            Some((_, stat)) => zookeeper.set(paths::PRODUCER_ID_BLOCK, &data, Some(stat.version)).await,
            None => zookeeper.create(paths::PRODUCER_ID_BLOCK, &data, Lifetime::Persistent).await,
        };
        match done {
            Ok(_) => return Ok(block),
            // Another broker was faster, or the answer to the own attempt was lost: that block is skipped.
            Err(zk::Error::BadVersion | zk::Error::NodeExists | zk::Error::NoNode) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
