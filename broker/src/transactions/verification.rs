//! Whether partitions belong to an open transaction, by the word of its coordinator (KIP-890): asked before the first
//! record of a transaction goes into a partition.

use kafka_protocol::error::ResponseError;

use super::topic_partitions;
use crate::colleagues::{Question, Verdicts};
use crate::errors::{TRANSACTION_ABORTABLE, WireError};
use crate::house::House;
use crate::machines::group_room::partition_for;
use crate::machines::transaction_room::TRANSACTION_TOPIC;

/// Which answers the client understands: Produce 11 and TxnOffsetCommit 4 know that a transaction can be aborted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asker {
    Recent,
    Old,
}

/// Asks the coordinator, wherever it is. What is left unsaid is confirmed.
pub(crate) async fn verify(house: &House, question: &Question<'_>, asker: Asker) -> Verdicts {
    match ask(house, question).await {
        Ok(verdicts) => {
            verdicts.into_iter().map(|(partition, error)| (partition, told(error, asker))).collect()
        }
        Err(error) => {
            question.partitions.iter().map(|partition| (partition.clone(), told(error, asker))).collect()
        }
    }
}

async fn ask(house: &House, question: &Question<'_>) -> Result<Verdicts, ResponseError> {
    let seat = partition_for(question.transactional_id, topic_partitions(house));
    let leader = house.metadata.snapshot().partition(TRANSACTION_TOPIC, seat).map(|known| known.leader);
    let leader = leader.filter(|leader| house.metadata.snapshot().is_alive(*leader));
    match leader {
        None => Err(ResponseError::CoordinatorNotAvailable),
        Some(leader) if leader != house.me => house.colleagues.verify(leader, question).await,
        Some(_) => ask_here(house, question),
    }
}

fn ask_here(house: &House, question: &Question<'_>) -> Result<Verdicts, ResponseError> {
    let runner = house.transactions.find(question.transactional_id, topic_partitions(house));
    let partitions = question.partitions.iter().cloned();
    let verdicts = runner
        .and_then(|runner| {
            runner.look(|it| it.verify(question.transactional_id, question.identity, partitions))
        })
        .map_err(|error| error.wire())?;
    let refused = verdicts.into_iter().filter_map(|(id, verdict)| Some((id, verdict.err()?.wire())));
    Ok(refused.collect())
}

/// The coordinator's word, as a producer expects it.
fn told(error: ResponseError, asker: Asker) -> ResponseError {
    match error {
        ResponseError::ProducerFenced => ResponseError::InvalidProducerEpoch,
        TRANSACTION_ABORTABLE if asker == Asker::Old => ResponseError::InvalidTxnState,
        error => error,
    }
}
