//! DeleteRecords (KIP-107): moves the start of logs forward.

use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use kafka_protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse};
use storage::types::Offset;

use crate::handlers::{Context, topics};
use crate::house::House;

/// In a request: up to the high watermark.
const HIGH_WATERMARK: i64 = -1;
/// In a response: nothing is known.
const NO_LOW_WATERMARK: i64 = -1;

pub(crate) async fn handle(
    house: &Arc<House>,
    _: &Context,
    request: DeleteRecordsRequest,
) -> DeleteRecordsResponse {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| {
            let (low_watermark, error) = match delete(house, &topic.name, asked.partition_index, asked.offset)
            {
                Ok(low_watermark) => (low_watermark.0, 0),
                Err(error) => (NO_LOW_WATERMARK, error.code()),
            };
            DeleteRecordsPartitionResult::default()
                .with_partition_index(asked.partition_index)
                .with_low_watermark(low_watermark)
                .with_error_code(error)
        });
        DeleteRecordsTopicResult::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    DeleteRecordsResponse::default().with_topics(topics.collect())
}

fn delete(house: &House, topic: &str, index: i32, offset: i64) -> Result<Offset, ResponseError> {
    if house.metadata.snapshot().partition(topic, index).is_none() {
        return Err(ResponseError::UnknownTopicOrPartition);
    }
    if topics::is_internal(topic) {
        return Err(ResponseError::InvalidTopicException);
    }
    let partition = house.partitions.find(&house.metadata, topic, index)?;
    partition.delete_records((offset != HIGH_WATERMARK).then_some(Offset(offset)))
}
