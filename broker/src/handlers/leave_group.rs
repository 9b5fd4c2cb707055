//! LeaveGroup: members go, on their own or by an administrator's hand (KIP-345).

use std::sync::Arc;

use coordinator::groups::{Command, GroupError, Leave, LeavingMember, Reply};
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::{LeaveGroupRequest, LeaveGroupResponse};

use crate::errors::WireError;
use crate::handlers::Context;
use crate::handlers::group_words::{code, coordinator_of, copied, copied_if, wire, wire_if};
use crate::house::House;
use crate::machines::group_room::{self, EmptyGroupId};

const SEVERAL_MEMBERS_SINCE: i16 = 3;

pub(crate) async fn handle(
    house: &Arc<House>,
    context: &Context,
    request: LeaveGroupRequest,
) -> LeaveGroupResponse {
    let runner = coordinator_of(house, &request.group_id.0, EmptyGroupId::Refused);
    let leave = Leave { group: copied(&request.group_id.0), members: leaving(context.version, &request) };
    match group_room::ask(runner, Command::Leave(leave)).await {
        Ok(Reply::Leave(results)) => told(context.version, results),
        Ok(_) => refused(GroupError::Unknown),
        Err(error) => refused(error),
    }
}

fn leaving(version: i16, request: &LeaveGroupRequest) -> Vec<LeavingMember> {
    if version < SEVERAL_MEMBERS_SINCE {
        return vec![LeavingMember { member_id: copied(&request.member_id), instance_id: None }];
    }
    let members = request.members.iter().map(|member| LeavingMember {
        member_id: copied(&member.member_id),
        instance_id: copied_if(member.group_instance_id.as_ref()),
    });
    members.collect()
}

fn told(version: i16, results: Vec<(LeavingMember, Result<(), GroupError>)>) -> LeaveGroupResponse {
    if version < SEVERAL_MEMBERS_SINCE {
        let result = results.into_iter().next().map_or(Ok(()), |(_, result)| result);
        return LeaveGroupResponse::default().with_error_code(code(result));
    }
    let members = results.into_iter().map(|(member, result)| {
        MemberResponse::default()
            .with_member_id(wire(&member.member_id))
            .with_group_instance_id(wire_if(member.instance_id.as_ref()))
            .with_error_code(code(result))
    });
    LeaveGroupResponse::default().with_members(members.collect())
}

fn refused(error: GroupError) -> LeaveGroupResponse {
    LeaveGroupResponse::default().with_error_code(error.wire().code())
}
