//! DescribeProducers: who has written to a partition lately, and whose transaction is open there (KIP-664).

use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::describe_producers_response::{
    PartitionResponse, ProducerState, TopicResponse,
};
use kafka_protocol::messages::{DescribeProducersRequest, DescribeProducersResponse, ProducerId};
use kafka_protocol::protocol::StrBytes;
use storage::producers::ProducerEntry;

use crate::handlers::Context;
use crate::handlers::topics::name_fault;
use crate::house::House;

/// "No transaction is open" on the wire.
const NO_OFFSET: i64 = -1;

pub(crate) async fn handle(
    house: &Arc<House>,
    _: &Context,
    request: DescribeProducersRequest,
) -> DescribeProducersResponse {
    let topics = request.topics.into_iter().map(|topic| {
        let fault = topic_fault(house, &topic.name.0);
        let partitions = topic.partition_indexes.iter().map(|partition| match &fault {
            Some((error, message)) => {
                PartitionResponse::default().with_error_code(error.code()).with_error_message(message.clone())
            }
            None => describe(house, &topic.name.0, *partition),
        });
        let partitions = partitions.zip(&topic.partition_indexes);
        let partitions = partitions.map(|(response, partition)| response.with_partition_index(*partition));
        TopicResponse::default().with_partitions(partitions.collect()).with_name(topic.name)
    });
    DescribeProducersResponse::default().with_topics(topics.collect())
}

/// What is wrong with all partitions of a topic.
fn topic_fault(house: &House, topic: &str) -> Option<(ResponseError, Option<StrBytes>)> {
    if let Some(fault) = name_fault(topic) {
        let message = format!("Topic name is invalid: {fault}");
        return Some((ResponseError::InvalidTopicException, Some(StrBytes::from_string(message))));
    }
    house.metadata.snapshot().topic(topic).is_none().then(|| {
        let message = "This server does not host this topic-partition.";
        (ResponseError::UnknownTopicOrPartition, Some(StrBytes::from_static_str(message)))
    })
}

fn describe(house: &House, topic: &str, partition: i32) -> PartitionResponse {
    let found = house.partitions.find(&house.metadata, topic, partition);
    match found.and_then(|partition| partition.active_producers()) {
        Ok(mut producers) => {
            producers.sort_by_key(|entry| entry.producer);
            PartitionResponse::default().with_active_producers(producers.iter().map(told).collect())
        }
        Err(error) => PartitionResponse::default().with_error_code(error.code()),
    }
}

fn told(entry: &ProducerEntry) -> ProducerState {
    ProducerState::default()
        .with_producer_id(ProducerId(entry.producer.0))
        .with_producer_epoch(i32::from(entry.epoch))
        .with_last_sequence(entry.last_sequence())
        .with_last_timestamp(entry.last_timestamp.0)
        .with_coordinator_epoch(entry.coordinator_epoch)
        .with_current_txn_start_offset(entry.transaction_start.map_or(NO_OFFSET, |first| first.0))
}
