//! ConsumerGroupHeartbeat (KIP-848): a member comes, is alive, learns what it shall have, and goes.

use std::sync::Arc;

use coordinator::groups::consumer::assignors::Assignment as Partitions;
use coordinator::groups::consumer::{ConsumerHeartbeat, HeartbeatRefused};
use coordinator::groups::{Command, GroupError, Reply};
use kafka_protocol::messages::consumer_group_heartbeat_response::{Assignment, TopicPartitions};
use kafka_protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use storage::types::TopicId;
use uuid::Uuid;

use crate::errors::WireError;
use crate::handlers::Context;
use crate::handlers::group_words::{client_host, coordinator_of, copied, copied_if, wire};
use crate::house::House;
use crate::machines::group_room::{self, EmptyGroupId};

pub(crate) async fn handle(
    house: &Arc<House>,
    context: &Context,
    request: ConsumerGroupHeartbeatRequest,
) -> ConsumerGroupHeartbeatResponse {
    if !house.config.groups.offers_consumer_protocol {
        return refused(GroupError::UnsupportedVersion, None);
    }
    let runner = coordinator_of(house, &request.group_id.0, EmptyGroupId::Allowed);
    let heard = match group_room::ask(runner, Command::ConsumerHeartbeat(heartbeat(context, &request))).await
    {
        Ok(Reply::ConsumerHeartbeat(Ok(heard))) => heard,
        Ok(Reply::ConsumerHeartbeat(Err(HeartbeatRefused { error, text }))) => {
            return refused(error, Some(&text));
        }
        Ok(_) => return refused(GroupError::Unknown, None),
        Err(error) => return refused(error, None),
    };
    ConsumerGroupHeartbeatResponse::default()
        .with_member_id(Some(wire(&heard.member_id)))
        .with_member_epoch(heard.epoch)
        .with_heartbeat_interval_ms(heard.heartbeat_interval_ms)
        .with_assignment(heard.assignment.as_ref().map(assignment))
}

/// Fields that are null or -1 say nothing new.
fn heartbeat(context: &Context, request: &ConsumerGroupHeartbeatRequest) -> ConsumerHeartbeat {
    let owned = request.topic_partitions.as_ref().map(|topics| {
        let of_topic =
            |topic: &kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions| {
                (TopicId(topic.topic_id.into_bytes()), topic.partitions.clone())
            };
        topics.iter().map(of_topic).collect()
    });
    let topics = request.subscribed_topic_names.as_ref();
    ConsumerHeartbeat {
        group: copied(&request.group_id.0),
        member_id: copied(&request.member_id),
        epoch: request.member_epoch,
        instance_id: copied_if(request.instance_id.as_ref()),
        rack_id: copied_if(request.rack_id.as_ref()),
        rebalance_timeout_ms: (request.rebalance_timeout_ms != -1).then_some(request.rebalance_timeout_ms),
        client_id: Arc::clone(&context.client_id),
        client_host: client_host(context.connection.address.ip()),
        topics: topics.map(|topics| topics.iter().map(|topic| copied(&topic.0)).collect()),
        assignor: copied_if(request.server_assignor.as_ref()),
        owned,
        fresh_id: Uuid::new_v4().into_bytes(),
    }
}

fn assignment(partitions: &Partitions) -> Assignment {
    let topics = partitions.iter().map(|(topic, partitions)| {
        TopicPartitions::default()
            .with_topic_id(Uuid::from_bytes(topic.0))
            .with_partitions(partitions.iter().copied().collect())
    });
    Assignment::default().with_topic_partitions(topics.collect())
}

fn refused(error: GroupError, text: Option<&str>) -> ConsumerGroupHeartbeatResponse {
    ConsumerGroupHeartbeatResponse::default()
        .with_error_code(error.wire().code())
        .with_error_message(text.filter(|_| error != GroupError::Unknown).map(wire))
}
