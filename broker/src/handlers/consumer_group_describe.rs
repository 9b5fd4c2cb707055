//! ConsumerGroupDescribe (KIP-848): who is in a group of the new protocol, what each has and shall have.

use std::sync::Arc;

use coordinator::groups::GroupError;
use coordinator::groups::consumer::assignors::Assignment as Partitions;
use coordinator::groups::consumer::{ConsumerDescription, ConsumerMemberDescription};
use kafka_protocol::messages::consumer_group_describe_response::{
    Assignment, DescribedGroup, Member, TopicPartitions,
};
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, GroupId, TopicName,
};
use uuid::Uuid;

use crate::errors::WireError;
use crate::handlers::group_words::{coordinator_of, wire, wire_if};
use crate::handlers::{Context, operations};
use crate::house::House;
use crate::machines::group_room::{EmptyGroupId, read_failure};
use crate::metadata::MetadataSnapshot;

pub(crate) async fn handle(
    house: &Arc<House>,
    _: &Context,
    request: ConsumerGroupDescribeRequest,
) -> ConsumerGroupDescribeResponse {
    let offered = house.config.groups.offers_consumer_protocol;
    let mut groups = Vec::with_capacity(request.group_ids.len().min(1_024));
    for id in request.group_ids {
        let described = DescribedGroup::default().with_group_id(id.clone());
        let found = if offered { describe(house, &id).await } else { Err(GroupError::UnsupportedVersion) };
        groups.push(match found {
            Ok(description) => {
                let described = told(&house.metadata.snapshot(), described, description);
                match request.include_authorized_operations {
                    true => described.with_authorized_operations(operations::ON_GROUP),
                    false => described,
                }
            }
            Err(error) => described.with_error_code(error.wire().code()),
        });
    }
    ConsumerGroupDescribeResponse::default().with_groups(groups)
}

async fn describe(house: &House, id: &GroupId) -> Result<ConsumerDescription, GroupError> {
    let runner = coordinator_of(house, &id.0, EmptyGroupId::Refused)?;
    let described = runner.read(|groups| groups.describe_consumer(&id.0)).await.map_err(read_failure)?;
    described.ok_or(GroupError::GroupNotFound)
}

fn told(
    cluster: &MetadataSnapshot,
    group: DescribedGroup,
    description: ConsumerDescription,
) -> DescribedGroup {
    let members = description.members.into_iter().map(|it| member(cluster, it));
    group
        .with_group_state(wire(description.state))
        .with_group_epoch(description.epoch)
        .with_assignment_epoch(description.plan_epoch)
        .with_assignor_name(wire(&description.assignor))
        .with_members(members.collect())
}

fn member(cluster: &MetadataSnapshot, it: ConsumerMemberDescription) -> Member {
    Member::default()
        .with_member_id(wire(&it.member_id))
        .with_instance_id(wire_if(it.instance_id.as_ref()))
        .with_rack_id(wire_if(it.rack_id.as_ref()))
        .with_member_epoch(it.epoch)
        .with_client_id(wire(&it.client_id))
        .with_client_host(wire(&it.client_host))
        .with_subscribed_topic_names(it.topics.iter().map(|topic| TopicName(wire(topic))).collect())
        .with_subscribed_topic_regex(wire_if(it.regex.as_ref()))
        .with_assignment(assignment(cluster, &it.assigned))
        .with_target_assignment(assignment(cluster, &it.planned))
}

/// Topics that are gone are left out.
fn assignment(cluster: &MetadataSnapshot, partitions: &Partitions) -> Assignment {
    let topics = partitions.iter().filter_map(|(id, partitions)| {
        let topic = TopicPartitions::default()
            .with_topic_id(Uuid::from_bytes(id.0))
            .with_topic_name(TopicName(wire(cluster.topic_name(*id)?)))
            .with_partitions(partitions.iter().copied().collect());
        Some(topic)
    });
    Assignment::default().with_topic_partitions(topics.collect())
}
