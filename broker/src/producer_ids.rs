//! Ids for idempotent producers, from a block that only this broker gives out.

use std::time::Duration;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::AllocateProducerIdsRequest;
use tokio::sync::Mutex;

use crate::cluster::to_controller::{NoAnswer, ToController};
use crate::peers::versions;

/// How often the controller is asked for a block before the producer is told to come again.
const ATTEMPTS: usize = 20;
/// Pause between those (`RPCProducerIdManager`).
const PAUSE: Duration = Duration::from_millis(50);

/// Why there is no id now. The producer asks again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoProducerId {
    #[error(transparent)]
    NoAnswer(#[from] NoAnswer),
    #[error("the controller gave no block: {0:?}")]
    Refused(ResponseError),
    #[error("the controller gave an empty block")]
    Empty,
}

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
    pub(crate) async fn next(&self, to_controller: &ToController) -> Result<i64, NoProducerId> {
        let mut block = self.block.lock().await;
        let mut rest = match *block {
            Some(rest) if rest.next <= rest.last => rest,
            _ => next_block(to_controller).await?,
        };
        let id = rest.next;
        rest.next += 1;
        *block = Some(rest);
        Ok(id)
    }
}

/// The controller may just have changed, or not know of this registration yet: that passes.
async fn next_block(to_controller: &ToController) -> Result<Block, NoProducerId> {
    let mut attempt = 1;
    loop {
        match ask(to_controller).await {
            Err(_) if attempt < ATTEMPTS => tokio::time::sleep(PAUSE).await,
            done => return done,
        }
        attempt += 1;
    }
}

async fn ask(to_controller: &ToController) -> Result<Block, NoProducerId> {
    let request = AllocateProducerIdsRequest::default()
        .with_broker_id(to_controller.me().0.into())
        .with_broker_epoch(to_controller.broker_epoch());
    let answer = to_controller.ask(&request, versions::ALLOCATE_PRODUCER_IDS).await?;
    if let Some(error) = ResponseError::try_from_code(answer.error_code) {
        return Err(NoProducerId::Refused(error));
    }
    let (first, count) = (answer.producer_id_start.0, i64::from(answer.producer_id_len));
    match first.checked_add(count - 1) {
        Some(last) if first >= 0 && count > 0 => Ok(Block { next: first, last }),
        _ => Err(NoProducerId::Empty),
    }
}
