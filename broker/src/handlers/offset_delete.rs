//! OffsetDelete: an administrator takes offsets of a group away (KIP-496).

use std::sync::Arc;

use coordinator::groups::{Command, GroupError, Reply};
use kafka_protocol::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use kafka_protocol::messages::{OffsetDeleteRequest, OffsetDeleteResponse, TopicName};
use storage::types::TopicPartition;

use crate::errors::WireError;
use crate::handlers::Context;
use crate::handlers::group_words::{coordinator_of, copied};
use crate::handlers::partition_codes::{Codes, Repeats};
use crate::house::House;
use crate::machines::group_room::{self, EmptyGroupId};

pub(crate) async fn handle(
    house: &Arc<House>,
    _: &Context,
    request: OffsetDeleteRequest,
) -> OffsetDeleteResponse {
    let mut codes = Codes::default();
    let ids = asked(&request).map(|(topic, index)| (TopicPartition::new(copied(&topic.0), index), ()));
    let known = codes.of_known(&house.metadata.snapshot(), ids).into_iter().map(|(id, ())| id).collect();
    let runner = coordinator_of(house, &request.group_id.0, EmptyGroupId::Refused);
    let command = Command::DeleteOffsets(copied(&request.group_id.0), known);
    match group_room::ask(runner, command).await {
        Ok(Reply::DeleteOffsets(Ok(results))) => codes.set_all(results),
        Ok(Reply::DeleteOffsets(Err(error))) | Err(error) => return refused(error),
        Ok(_) => return refused(GroupError::Unknown),
    }
    let topics = codes.arranged(asked(&request), Repeats::Dropped).into_iter().map(|(name, partitions)| {
        let partitions = partitions.into_iter().map(|(partition, code)| {
            OffsetDeleteResponsePartition::default().with_partition_index(partition).with_error_code(code)
        });
        OffsetDeleteResponseTopic::default().with_name(name).with_partitions(partitions.collect())
    });
    OffsetDeleteResponse::default().with_topics(topics.collect())
}

fn asked(request: &OffsetDeleteRequest) -> impl Iterator<Item = (&TopicName, i32)> + Clone {
    request
        .topics
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(|partition| (&topic.name, partition.partition_index)))
}

fn refused(error: GroupError) -> OffsetDeleteResponse {
    OffsetDeleteResponse::default().with_error_code(error.wire().code())
}
