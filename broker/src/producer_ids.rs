//! Ids for idempotent producers, from a block that only this broker gives out.

use storage::types::BrokerId;
use tokio::sync::Mutex;

use crate::cluster::client::ZooKeeper;
use crate::cluster::producer_ids::{self, ProducerIdError};

/// The rest of the present block. What is left at a stop is lost: an id is never given twice.
#[derive(Debug, Default)]
pub(crate) struct ProducerIds {
    /// Held while the next block is fetched, so that one request fetches it for all that wait.
    block: Mutex<Option<Block>>,
}

/// Both ends inclusive.
#[derive(Clone, Copy, Debug)]
struct Block {
    next: i64,
    last: i64,
}

impl ProducerIds {
    /// An id that no producer of the cluster has had.
    pub(crate) async fn next(&self, zookeeper: &ZooKeeper, me: BrokerId) -> Result<i64, ProducerIdError> {
        let mut block = self.block.lock().await;
        let mut rest = match *block {
            Some(rest) if rest.next <= rest.last => rest,
            _ => {
                let fresh = producer_ids::allocate(zookeeper, me).await?;
                Block { next: fresh.first, last: fresh.last }
            }
        };
        let id = rest.next;
        rest.next += 1;
        *block = Some(rest);
        Ok(id)
    }
}
