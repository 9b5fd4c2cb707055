//! Between the words of the wire and those of the transaction coordinator.

use std::sync::Arc;

use coordinator::transactions::{Command, Identity, Reply, TransactionError, Transactions};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages;
use storage::types::ProducerId;

use crate::errors::WireError;
use crate::house::House;
use crate::machines::partition_journal::PartitionJournal;
use crate::machines::runner::Runner;
use crate::machines::transaction_room;
use crate::transactions::topic_partitions;

/// Whoever coordinates `transactional_id` here.
pub(super) fn coordinator_of(
    house: &House,
    transactional_id: &str,
) -> Result<Arc<Runner<Transactions, PartitionJournal>>, TransactionError> {
    house.transactions.find(transactional_id, topic_partitions(house))
}

/// Finds the coordinator, and waits for its answer.
pub(super) async fn ask(
    house: &House,
    transactional_id: &str,
    command: Command,
) -> Result<Reply, TransactionError> {
    let runner = coordinator_of(house, transactional_id)?;
    transaction_room::ask(&runner, command).await
}

pub(super) fn identity(producer: messages::ProducerId, epoch: i16) -> Identity {
    Identity { producer: ProducerId(producer.0), epoch }
}

/// The code of an answer; 0 is none. Clients before `fenced_since` do not know PRODUCER_FENCED.
pub(super) fn code(result: Result<(), TransactionError>, version: i16, fenced_since: i16) -> i16 {
    match result {
        Ok(()) => 0,
        Err(TransactionError::ProducerFenced) if version < fenced_since => {
            ResponseError::InvalidProducerEpoch.code()
        }
        Err(error) => error.wire().code(),
    }
}
