//! JoinGroup: a member comes to its group; answered when the rebalance is complete.

use std::sync::Arc;

use coordinator::groups::{Command, GroupError, Handshake, Join, Joined, Reply, SkipAssignment};
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::{JoinGroupRequest, JoinGroupResponse};
use uuid::Uuid;

use crate::errors::WireError;
use crate::handlers::Context;
use crate::handlers::group_words::{
    client_host, coordinator_of, copied, copied_bytes, copied_if, wire, wire_if,
};
use crate::house::House;
use crate::machines::group_room::{self, EmptyGroupId};

const REBALANCE_TIMEOUT_SINCE: i16 = 1;
const MEMBER_ID_FIRST_SINCE: i16 = 4;
const NULL_PROTOCOL_SINCE: i16 = 7;
const SKIP_ASSIGNMENT_SINCE: i16 = 9;

pub(crate) async fn handle(
    house: &Arc<House>,
    context: &Context,
    request: JoinGroupRequest,
) -> JoinGroupResponse {
    let runner = coordinator_of(house, &request.group_id.0, EmptyGroupId::Refused);
    let answer = group_room::ask(runner, Command::Join(join(context, &request))).await;
    match answer {
        Ok(Reply::Join(Ok(joined))) => accepted(context.version, joined),
        Ok(Reply::Join(Err(refused))) => refused_with(context.version, &refused.member_id, refused.error),
        Ok(_) => refused_with(context.version, &request.member_id, GroupError::Unknown),
        Err(error) => refused_with(context.version, &request.member_id, error),
    }
}

fn join(context: &Context, request: &JoinGroupRequest) -> Join {
    let dynamic = request.group_instance_id.is_none();
    let first = context.version >= MEMBER_ID_FIRST_SINCE && dynamic;
    let skips = context.version >= SKIP_ASSIGNMENT_SINCE;
    Join {
        group: copied(&request.group_id.0),
        member_id: copied(&request.member_id),
        instance_id: copied_if(request.group_instance_id.as_ref()),
        client_id: Arc::clone(&context.client_id),
        client_host: client_host(context.connection.address.ip()),
        rebalance_timeout_ms: match context.version {
            REBALANCE_TIMEOUT_SINCE.. => request.rebalance_timeout_ms,
            _ => request.session_timeout_ms,
        },
        session_timeout_ms: request.session_timeout_ms,
        protocol_type: copied(&request.protocol_type),
        protocols: request
            .protocols
            .iter()
            .map(|protocol| (copied(&protocol.name), copied_bytes(&protocol.metadata)))
            .collect(),
        handshake: if first { Handshake::IdFirst } else { Handshake::None },
        skip_assignment: if skips { SkipAssignment::Understood } else { SkipAssignment::Unknown },
        fresh_id: Uuid::new_v4().into_bytes(),
    }
}

fn accepted(version: i16, joined: Joined) -> JoinGroupResponse {
    let members = joined.members.into_iter().map(|member| {
        JoinGroupResponseMember::default()
            .with_member_id(wire(&member.member_id))
            .with_group_instance_id(wire_if(member.instance_id.as_ref()))
            .with_metadata(member.metadata)
    });
    JoinGroupResponse::default()
        .with_generation_id(joined.generation)
        .with_protocol_type(wire_if(joined.protocol_type.as_ref()))
        .with_protocol_name(protocol_name(version, joined.protocol.as_ref()))
        .with_leader(wire(&joined.leader))
        .with_skip_assignment(joined.skip_assignment && version >= SKIP_ASSIGNMENT_SINCE)
        .with_member_id(wire(&joined.member_id))
        .with_members(members.collect())
}

fn refused_with(version: i16, member_id: &str, error: GroupError) -> JoinGroupResponse {
    JoinGroupResponse::default()
        .with_error_code(error.wire().code())
        .with_generation_id(-1)
        .with_protocol_type(None)
        .with_protocol_name(protocol_name(version, None))
        .with_member_id(wire(member_id))
}

/// Before version 7 there is no null: none is the empty name. From then on the empty name is none.
fn protocol_name(version: i16, protocol: Option<&Arc<str>>) -> Option<kafka_protocol::protocol::StrBytes> {
    match version {
        NULL_PROTOCOL_SINCE.. => wire_if(protocol.filter(|name| !name.is_empty())),
        _ => Some(protocol.map(|name| wire(name)).unwrap_or_default()),
    }
}
