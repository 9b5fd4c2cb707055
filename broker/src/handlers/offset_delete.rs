//! OffsetDelete: an administrator takes offsets of a group away (KIP-496).

use std::sync::Arc;

use coordinator::groups::{Command, GroupError, Reply};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use kafka_protocol::messages::{OffsetDeleteRequest, OffsetDeleteResponse};
use storage::types::TopicPartition;

use crate::errors::WireError;
use crate::handlers::Context;
use crate::handlers::group_words::{Codes, coordinator_of, copied};
use crate::house::House;
use crate::machines::group_room::{self, EmptyGroupId};

pub(crate) async fn handle(
    house: &Arc<House>,
    _: &Context,
    request: OffsetDeleteRequest,
) -> OffsetDeleteResponse {
    let metadata = house.metadata.snapshot();
    let (mut codes, mut known) = (Codes::default(), Vec::new());
    for topic in &request.topics {
        let name = copied(&topic.name.0);
        for partition in &topic.partitions {
            let id = TopicPartition::new(Arc::clone(&name), partition.partition_index);
            match metadata.partition(&name, partition.partition_index) {
                Some(_) => known.push(id),
                None => codes.set(id, ResponseError::UnknownTopicOrPartition.code()),
            }
        }
    }
    let runner = coordinator_of(house, &request.group_id.0, EmptyGroupId::Refused);
    let command = Command::DeleteOffsets(copied(&request.group_id.0), known);
    match group_room::ask(runner, command).await {
        Ok(Reply::DeleteOffsets(Ok(results))) => codes.set_all(results),
        Ok(Reply::DeleteOffsets(Err(error))) | Err(error) => return refused(error),
        Ok(_) => return refused(GroupError::Unknown),
    }
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            OffsetDeleteResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(codes.get(&topic.name, partition.partition_index))
        });
        let partitions = partitions.collect();
        OffsetDeleteResponseTopic::default().with_name(topic.name).with_partitions(partitions)
    });
    OffsetDeleteResponse::default().with_topics(topics.collect())
}

fn refused(error: GroupError) -> OffsetDeleteResponse {
    OffsetDeleteResponse::default().with_error_code(error.wire().code())
}
