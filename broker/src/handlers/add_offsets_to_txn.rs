//! AddOffsetsToTxn: the offsets of a group become part of a transaction.

use std::sync::Arc;

use coordinator::transactions::{Command, Reply, TransactionError};
use kafka_protocol::messages::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse};
use storage::types::TopicPartition;

use crate::handlers::Context;
use crate::handlers::group_words::offsets_partitions;
use crate::handlers::transaction_words::{ask, code, identity};
use crate::house::House;
use crate::machines::group_room::{OFFSETS_TOPIC, partition_for};

const FENCED_SINCE: i16 = 2;

pub(crate) async fn handle(
    house: &Arc<House>,
    context: &Context,
    request: AddOffsetsToTxnRequest,
) -> AddOffsetsToTxnResponse {
    let id = &*request.transactional_id.0;
    let partition = partition_for(&request.group_id.0, offsets_partitions(house));
    let command = Command::AddPartitions {
        id: Arc::from(id),
        identity: identity(request.producer_id, request.producer_epoch),
        partitions: [TopicPartition::new(OFFSETS_TOPIC, partition)].into(),
    };
    let result = match ask(house, id, command).await {
        Ok(Reply::AddPartitions(result)) => result,
        Ok(_) => Err(TransactionError::Unknown),
        Err(error) => Err(error),
    };
    AddOffsetsToTxnResponse::default().with_error_code(code(result, context.version, FENCED_SINCE))
}
