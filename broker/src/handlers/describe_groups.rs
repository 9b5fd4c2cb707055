//! DescribeGroups: who is in a group, and who has which part.

use std::sync::Arc;

use coordinator::groups::{GroupDescription, GroupError};
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::{DescribeGroupsRequest, DescribeGroupsResponse, GroupId};

use crate::errors::WireError;
use crate::handlers::group_words::{coordinator_of, wire, wire_if};
use crate::handlers::{Context, operations};
use crate::house::House;
use crate::machines::group_room::{EmptyGroupId, read_failure};

const AUTHORIZED_OPERATIONS_SINCE: i16 = 3;

pub(crate) async fn handle(
    house: &Arc<House>,
    context: &Context,
    request: DescribeGroupsRequest,
) -> DescribeGroupsResponse {
    let tell_operations =
        context.version >= AUTHORIZED_OPERATIONS_SINCE && request.include_authorized_operations;
    let mut groups = Vec::with_capacity(request.groups.len().min(1_024));
    for id in request.groups {
        let described = DescribedGroup::default().with_group_id(id.clone());
        groups.push(match describe(house, &id).await {
            Ok(description) => {
                let described = told(described, description);
                if tell_operations {
                    described.with_authorized_operations(operations::ON_GROUP)
                } else {
                    described
                }
            }
            Err(error) => described.with_error_code(error.wire().code()),
        });
    }
    DescribeGroupsResponse::default().with_groups(groups)
}

/// A group that does not exist is a dead one.
async fn describe(house: &House, id: &GroupId) -> Result<GroupDescription, GroupError> {
    let runner = coordinator_of(house, &id.0, EmptyGroupId::Allowed)?;
    let described = runner.read(|groups| groups.describe(&id.0)).await.map_err(read_failure)?;
    let none = || Arc::from("");
    Ok(described.unwrap_or_else(|| GroupDescription {
        state: "Dead",
        protocol_type: none(),
        protocol: none(),
        members: Vec::new(),
    }))
}

fn told(group: DescribedGroup, description: GroupDescription) -> DescribedGroup {
    let members = description.members.into_iter().map(|member| {
        DescribedGroupMember::default()
            .with_member_id(wire(&member.member_id))
            .with_group_instance_id(wire_if(member.instance_id.as_ref()))
            .with_client_id(wire(&member.client_id))
            .with_client_host(wire(&member.client_host))
            .with_member_metadata(member.metadata)
            .with_member_assignment(member.assignment)
    });
    group
        .with_group_state(wire(description.state))
        .with_protocol_type(wire(&description.protocol_type))
        .with_protocol_data(wire(&description.protocol))
        .with_members(members.collect())
}
