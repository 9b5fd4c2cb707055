//! DescribeTransactions: transactional ids as their coordinator knows them (KIP-664).

use std::sync::Arc;

use coordinator::transactions::{Description, TransactionError};
use kafka_protocol::messages::describe_transactions_response::{TopicData, TransactionState};
use kafka_protocol::messages::{DescribeTransactionsRequest, DescribeTransactionsResponse, ProducerId};
use kafka_protocol::protocol::StrBytes;

use crate::colleagues::by_topic;
use crate::errors::WireError;
use crate::handlers::Context;
use crate::handlers::transaction_words::coordinator_of;
use crate::house::House;

pub(crate) async fn handle(
    house: &Arc<House>,
    _: &Context,
    request: DescribeTransactionsRequest,
) -> DescribeTransactionsResponse {
    let states = request.transactional_ids.into_iter().map(|id| {
        let found = coordinator_of(house, &id.0)
            .and_then(|runner| runner.look(|it| it.describe(&id.0)).ok_or(TransactionError::NotFound));
        let state = match found {
            Ok(description) => told(&description),
            Err(error) => TransactionState::default().with_error_code(error.wire().code()),
        };
        state.with_transactional_id(id)
    });
    DescribeTransactionsResponse::default().with_transaction_states(states.collect())
}

fn told(description: &Description) -> TransactionState {
    let topics = by_topic(description.partitions.iter()).into_iter();
    let topics =
        topics.map(|(topic, partitions)| TopicData::default().with_topic(topic).with_partitions(partitions));
    TransactionState::default()
        .with_transaction_state(StrBytes::from_static_str(description.state.name()))
        .with_transaction_timeout_ms(description.timeout_ms)
        .with_transaction_start_time_ms(description.started_at.0)
        .with_producer_id(ProducerId(description.identity.producer.0))
        .with_producer_epoch(description.identity.epoch)
        .with_topics(topics.collect())
}
