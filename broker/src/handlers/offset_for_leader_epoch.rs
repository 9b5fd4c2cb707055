//! OffsetForLeaderEpoch: where an epoch ended, so that a reader can tell whether its records were lost (KIP-101, KIP-320).

use std::sync::Arc;

use kafka_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use kafka_protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};
use storage::types::LeaderEpoch;

use crate::handlers::Context;
use crate::house::House;

pub(crate) async fn handle(
    house: &Arc<House>,
    _: &Context,
    request: OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| {
            let found = house.partitions.find(&house.metadata, &topic.topic, asked.partition);
            let (epoch, current) = (LeaderEpoch(asked.leader_epoch), LeaderEpoch(asked.current_leader_epoch));
            let answer = EpochEndOffset::default().with_partition(asked.partition);
            match found.and_then(|partition| partition.end_of_epoch(epoch, current, true)) {
                Ok(known) => answer.with_leader_epoch(known.epoch.0).with_end_offset(known.end.0),
                Err(error) => answer.with_error_code(error.code()),
            }
        });
        OffsetForLeaderTopicResult::default()
            .with_topic(topic.topic.clone())
            .with_partitions(partitions.collect())
    });
    OffsetForLeaderEpochResponse::default().with_topics(topics.collect())
}
