//! SyncGroup: the leader hands in the assignment, everyone takes its part away.

use std::sync::Arc;

use coordinator::groups::{Command, GroupError, Reply, Sync};
use kafka_protocol::messages::{SyncGroupRequest, SyncGroupResponse};

use crate::errors::WireError;
use crate::handlers::Context;
use crate::handlers::group_words::{coordinator_of, copied, copied_bytes, copied_if, wire_if};
use crate::house::House;
use crate::machines::group_room::{self, EmptyGroupId};

const PROTOCOL_NEEDED_SINCE: i16 = 5;

pub(crate) async fn handle(
    house: &Arc<House>,
    context: &Context,
    request: SyncGroupRequest,
) -> SyncGroupResponse {
    let unnamed = request.protocol_type.is_none() || request.protocol_name.is_none();
    if context.version >= PROTOCOL_NEEDED_SINCE && unnamed {
        return refused(GroupError::InconsistentProtocol);
    }
    let runner = coordinator_of(house, &request.group_id.0, EmptyGroupId::Refused);
    let sync = Sync {
        group: copied(&request.group_id.0),
        member_id: copied(&request.member_id),
        instance_id: copied_if(request.group_instance_id.as_ref()),
        generation: request.generation_id,
        protocol_type: copied_if(request.protocol_type.as_ref()),
        protocol: copied_if(request.protocol_name.as_ref()),
        assignments: request
            .assignments
            .iter()
            .map(|part| (copied(&part.member_id), copied_bytes(&part.assignment)))
            .collect(),
    };
    match group_room::ask(runner, Command::Sync(sync)).await {
        Ok(Reply::Sync(Ok(synced))) => SyncGroupResponse::default()
            .with_protocol_type(wire_if(synced.protocol_type.as_ref()))
            .with_protocol_name(wire_if(synced.protocol.as_ref()))
            .with_assignment(synced.assignment),
        Ok(Reply::Sync(Err(error))) => refused(error),
        Ok(_) => refused(GroupError::Unknown),
        // The rebalance was lost with the former coordinator: a new join is all that helps, and old clients
        // understand only this about it.
        Err(GroupError::LoadInProgress) => refused(GroupError::RebalanceInProgress),
        Err(error) => refused(error),
    }
}

fn refused(error: GroupError) -> SyncGroupResponse {
    SyncGroupResponse::default()
        .with_error_code(error.wire().code())
        .with_protocol_type(None)
        .with_protocol_name(None)
}
