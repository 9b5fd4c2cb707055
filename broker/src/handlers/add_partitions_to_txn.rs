//! AddPartitionsToTxn: partitions become part of a transaction (versions 0 to 3, from producers), or several
//! transactions are asked about by another broker (4 and later, KIP-890).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use coordinator::transactions::{Command, Reply, TransactionError};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTransaction;
use kafka_protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnResult, AddPartitionsToTxnTopicResult,
};
use kafka_protocol::messages::{AddPartitionsToTxnRequest, AddPartitionsToTxnResponse};
use storage::types::TopicPartition;

use crate::errors::WireError;
use crate::handlers::Context;
use crate::handlers::transaction_words::{ask, code, coordinator_of, identity};
use crate::house::House;

const SEVERAL_SINCE: i16 = 4;
const FENCED_SINCE: i16 = 2;

/// Every partition that was asked about, with its code; 0 is no error.
type Codes = BTreeMap<TopicPartition, i16>;

pub(crate) async fn handle(
    house: &Arc<House>,
    context: &Context,
    request: AddPartitionsToTxnRequest,
) -> AddPartitionsToTxnResponse {
    if context.version < SEVERAL_SINCE {
        let transaction = AddPartitionsToTxnTransaction::default()
            .with_transactional_id(request.v3_and_below_transactional_id)
            .with_producer_id(request.v3_and_below_producer_id)
            .with_producer_epoch(request.v3_and_below_producer_epoch)
            .with_topics(request.v3_and_below_topics);
        let codes = one(house, context.version, &transaction).await;
        return AddPartitionsToTxnResponse::default()
            .with_results_by_topic_v3_and_below(topic_results(&transaction, &codes));
    }
    let mut results = Vec::with_capacity(request.transactions.len());
    for transaction in &request.transactions {
        let codes = one(house, context.version, transaction).await;
        results.push(
            AddPartitionsToTxnResult::default()
                .with_transactional_id(transaction.transactional_id.clone())
                .with_topic_results(topic_results(transaction, &codes)),
        );
    }
    AddPartitionsToTxnResponse::default().with_results_by_transaction(results)
}

fn partitions(transaction: &AddPartitionsToTxnTransaction) -> BTreeSet<TopicPartition> {
    let topics = transaction.topics.iter();
    let of_topic = topics.flat_map(|topic| {
        let name: Arc<str> = Arc::from(&*topic.name.0);
        topic.partitions.iter().map(move |partition| TopicPartition::new(Arc::clone(&name), *partition))
    });
    of_topic.collect()
}

async fn one(house: &House, version: i16, transaction: &AddPartitionsToTxnTransaction) -> Codes {
    let partitions = partitions(transaction);
    if let Some(codes) = unknown(house, &partitions) {
        return codes;
    }
    if transaction.verify_only && version >= SEVERAL_SINCE {
        return verify(house, transaction, partitions);
    }
    let id = &*transaction.transactional_id.0;
    let command = Command::AddPartitions {
        id: Arc::from(id),
        identity: identity(transaction.producer_id, transaction.producer_epoch),
        partitions: partitions.clone(),
    };
    let result = match ask(house, id, command).await {
        Ok(Reply::AddPartitions(result)) => result,
        Ok(_) => Err(TransactionError::Unknown),
        Err(error) => Err(error),
    };
    let code = code(result, version, FENCED_SINCE);
    partitions.into_iter().map(|partition| (partition, code)).collect()
}

/// One partition that does not exist keeps all from being added.
fn unknown(house: &House, partitions: &BTreeSet<TopicPartition>) -> Option<Codes> {
    let metadata = house.metadata.snapshot();
    let exists =
        |partition: &TopicPartition| metadata.partition(&partition.topic, partition.partition).is_some();
    if partitions.iter().all(exists) {
        return None;
    }
    let code = |partition: &TopicPartition| match exists(partition) {
        true => ResponseError::OperationNotAttempted.code(),
        false => ResponseError::UnknownTopicOrPartition.code(),
    };
    Some(partitions.iter().map(|partition| (partition.clone(), code(partition))).collect())
}

fn verify(
    house: &House,
    transaction: &AddPartitionsToTxnTransaction,
    partitions: BTreeSet<TopicPartition>,
) -> Codes {
    let id = &*transaction.transactional_id.0;
    let identity = identity(transaction.producer_id, transaction.producer_epoch);
    let verdicts = coordinator_of(house, id)
        .and_then(|runner| runner.look(|machine| machine.verify(id, identity, partitions.iter().cloned())));
    match verdicts {
        Ok(verdicts) => {
            let code =
                |verdict: Result<(), TransactionError>| verdict.err().map_or(0, |error| error.wire().code());
            verdicts.into_iter().map(|(partition, verdict)| (partition, code(verdict))).collect()
        }
        Err(error) => {
            let code = error.wire().code();
            partitions.into_iter().map(|partition| (partition, code)).collect()
        }
    }
}

/// In the order of the request.
fn topic_results(
    transaction: &AddPartitionsToTxnTransaction,
    codes: &Codes,
) -> Vec<AddPartitionsToTxnTopicResult> {
    let topics = transaction.topics.iter().map(|topic| {
        let code = |partition: i32| {
            codes.get(&TopicPartition::new(&*topic.name.0, partition)).copied().unwrap_or_default()
        };
        let results = topic.partitions.iter().map(|partition| {
            AddPartitionsToTxnPartitionResult::default()
                .with_partition_index(*partition)
                .with_partition_error_code(code(*partition))
        });
        AddPartitionsToTxnTopicResult::default()
            .with_name(topic.name.clone())
            .with_results_by_partition(results.collect())
    });
    topics.collect()
}
