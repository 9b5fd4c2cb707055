//! ListOffsets: the ends of a partition, and offsets by time (KIP-79, KIP-98, KIP-734, KIP-405, KIP-1005).

use std::collections::HashSet;
use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::list_offsets_request::ListOffsetsPartition;
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};
use storage::types::{LeaderEpoch, Offset, TimestampMs};

use crate::handlers::Context;
use crate::house::House;
use crate::partition::lookup::{Found, Lookup};
use crate::partition::reading::Isolation;

/// Consumers; anyone else may see what is not committed yet.
const CONSUMER: i32 = -1;
/// A tool that also asks followers.
const DEBUGGER: i32 = -2;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;

const LEADER_EPOCH_SINCE: i16 = 4;
const OFFSET_NOT_AVAILABLE_SINCE: i16 = 5;

pub(crate) async fn handle(
    house: &Arc<House>,
    context: &Context,
    request: ListOffsetsRequest,
) -> ListOffsetsResponse {
    let duplicates = duplicates(&request);
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let index = partition.partition_index;
            let asker = Asker { house, version: context.version, request: &request };
            let answer = match context.version {
                0 => asker.offsets_before(&topic.name, partition),
                _ if duplicates.contains(&(topic.name.as_str(), index)) => Err(ResponseError::InvalidRequest),
                _ => asker.offset(&topic.name, partition),
            };
            answer
                .unwrap_or_else(|error| ListOffsetsPartitionResponse::default().with_error_code(error.code()))
                .with_partition_index(index)
        });
        ListOffsetsTopicResponse::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    ListOffsetsResponse::default().with_topics(topics.collect())
}

/// Partitions that a request names more than once.
fn duplicates(request: &ListOffsetsRequest) -> HashSet<(&str, i32)> {
    let named = request.topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(|partition| (topic.name.as_str(), partition.partition_index))
    });
    let mut seen = HashSet::new();
    named.filter(|partition| !seen.insert(*partition)).collect()
}

struct Asker<'a> {
    house: &'a House,
    version: i16,
    request: &'a ListOffsetsRequest,
}

impl Asker<'_> {
    fn leader_only(&self) -> bool {
        self.request.replica_id.0 != DEBUGGER
    }

    fn isolation(&self) -> Result<Isolation, ResponseError> {
        match (self.request.replica_id.0, self.request.isolation_level) {
            (CONSUMER, 0) => Ok(Isolation::ReadUncommitted),
            (CONSUMER, 1) => Ok(Isolation::ReadCommitted),
            (CONSUMER, _) => Err(ResponseError::UnknownServerError),
            _ => Ok(Isolation::LogEnd),
        }
    }

    fn offset(
        &self,
        topic: &str,
        asked: &ListOffsetsPartition,
    ) -> Result<ListOffsetsPartitionResponse, ResponseError> {
        let lookup = self.lookup(asked.timestamp)?;
        let partition = self.house.partitions.find(&self.house.metadata, topic, asked.partition_index)?;
        let epoch = LeaderEpoch(asked.current_leader_epoch);
        let found = match lookup {
            Some(lookup) => partition.find_offset(lookup, self.isolation()?, epoch, self.leader_only()),
            // Nothing is ever tiered here; the checks of a look-up apply all the same.
            None => partition
                .find_offset(Lookup::Earliest, self.isolation()?, epoch, self.leader_only())
                .map(|_| Some(NOTHING_TIERED)),
        };
        let found = found.map_err(|error| match error {
            ResponseError::OffsetNotAvailable if self.version < OFFSET_NOT_AVAILABLE_SINCE => {
                ResponseError::LeaderNotAvailable
            }
            error => error,
        })?;
        Ok(self.found(found))
    }

    fn found(&self, found: Option<Found>) -> ListOffsetsPartitionResponse {
        let response = ListOffsetsPartitionResponse::default();
        let Some(found) = found else { return response };
        let response = response.with_timestamp(found.timestamp.0).with_offset(found.offset.0);
        match self.version {
            LEADER_EPOCH_SINCE.. => response.with_leader_epoch(found.leader_epoch.0),
            _ => response,
        }
    }

    /// `Ok(None)` for the newest tiered record.
    fn lookup(&self, timestamp: i64) -> Result<Option<Lookup>, ResponseError> {
        let (lookup, since) = match timestamp {
            0.. => (Some(Lookup::At(TimestampMs(timestamp))), 1),
            LATEST => (Some(Lookup::Latest), 1),
            EARLIEST => (Some(Lookup::Earliest), 1),
            MAX_TIMESTAMP => (Some(Lookup::MaxTimestamp), 7),
            EARLIEST_LOCAL => (Some(Lookup::Earliest), 8),
            LATEST_TIERED => (None, 9),
            _ => return Err(ResponseError::UnsupportedVersion),
        };
        if self.version < since {
            return Err(ResponseError::UnsupportedVersion);
        }
        Ok(lookup)
    }

    /// Version 0: starts of segments that were last written before a time, newest first.
    fn offsets_before(
        &self,
        topic: &str,
        asked: &ListOffsetsPartition,
    ) -> Result<ListOffsetsPartitionResponse, ResponseError> {
        if asked.timestamp < EARLIEST {
            return Err(ResponseError::UnsupportedVersion);
        }
        let partition = self.house.partitions.find(&self.house.metadata, topic, asked.partition_index)?;
        let most = usize::try_from(asked.max_num_offsets).map_err(|_| ResponseError::UnknownServerError)?;
        let (mut offsets, high_watermark) =
            partition.offsets_before(TimestampMs(asked.timestamp), most, self.leader_only())?;
        if self.request.replica_id.0 == CONSUMER && offsets.iter().any(|offset| *offset > high_watermark) {
            offsets.retain(|offset| *offset <= high_watermark);
            offsets.insert(0, high_watermark);
        }
        Ok(ListOffsetsPartitionResponse::default()
            .with_old_style_offsets(offsets.into_iter().map(|offset| offset.0).collect()))
    }
}

/// What Kafka answers where remote storage is off.
const NOTHING_TIERED: Found =
    Found { offset: Offset::NONE, timestamp: TimestampMs::NONE, leader_epoch: LeaderEpoch::NONE };
