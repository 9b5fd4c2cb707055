//! DeleteRecords (KIP-107): moves the start of logs forward.

use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use kafka_protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse};
use storage::types::Offset;
use tokio::time::Instant;

use crate::handlers::{Context, topics};
use crate::house::House;
use crate::partition::Partition;

/// In a request: up to the high watermark.
const HIGH_WATERMARK: i64 = -1;
/// In a response: nothing is known.
const NO_LOW_WATERMARK: i64 = -1;

pub(crate) async fn handle(
    house: &Arc<House>,
    _: &Context,
    request: DeleteRecordsRequest,
) -> DeleteRecordsResponse {
    let deadline = Instant::now() + Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
    // First all are deleted here, then all are waited for.
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let deleted = topic.partitions.iter().map(|asked| {
            (asked.partition_index, delete(house, &topic.name, asked.partition_index, asked.offset))
        });
        topics.push((topic.name.clone(), deleted.collect::<Vec<_>>()));
    }
    let mut results = Vec::with_capacity(topics.len());
    for (name, deleted) in topics {
        let mut partitions = Vec::with_capacity(deleted.len());
        for (index, deleted) in deleted {
            partitions.push(settle(index, deleted, deadline).await);
        }
        results.push(DeleteRecordsTopicResult::default().with_name(name).with_partitions(partitions));
    }
    DeleteRecordsResponse::default().with_topics(results)
}

/// Waits for the other replicas.
async fn settle(
    index: i32,
    deleted: Result<(Arc<Partition>, Offset), ResponseError>,
    deadline: Instant,
) -> DeleteRecordsPartitionResult {
    let settled = match deleted {
        Ok((partition, offset)) => partition.deleted(offset, deadline).await,
        Err(error) => Err(error),
    };
    let (low_watermark, error) = match settled {
        Ok((low_watermark, true)) => (low_watermark.0, 0),
        Ok((low_watermark, false)) => (low_watermark.0, ResponseError::RequestTimedOut.code()),
        Err(error) => (NO_LOW_WATERMARK, error.code()),
    };
    DeleteRecordsPartitionResult::default()
        .with_partition_index(index)
        .with_low_watermark(low_watermark)
        .with_error_code(error)
}

/// The offset before which records are gone here.
fn delete(
    house: &House,
    topic: &str,
    index: i32,
    offset: i64,
) -> Result<(Arc<Partition>, Offset), ResponseError> {
    if house.metadata.snapshot().partition(topic, index).is_none() {
        return Err(ResponseError::UnknownTopicOrPartition);
    }
    if topics::is_internal(topic) {
        return Err(ResponseError::InvalidTopicException);
    }
    let partition = house.partitions.find(&house.metadata, topic, index)?;
    let before = partition.delete_records((offset != HIGH_WATERMARK).then_some(Offset(offset)))?;
    Ok((partition, before))
}
