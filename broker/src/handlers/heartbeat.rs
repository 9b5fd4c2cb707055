//! Heartbeat: a member is alive, and learns whether it has to join again.

use std::sync::Arc;

use coordinator::groups::{Command, GroupError, Heartbeat, Reply};
use kafka_protocol::messages::{HeartbeatRequest, HeartbeatResponse};

use crate::handlers::Context;
use crate::handlers::group_words::{code, coordinator_of, copied, copied_if};
use crate::house::House;
use crate::machines::group_room::{self, EmptyGroupId};

pub(crate) async fn handle(house: &Arc<House>, _: &Context, request: HeartbeatRequest) -> HeartbeatResponse {
    let runner = coordinator_of(house, &request.group_id.0, EmptyGroupId::Refused);
    let heartbeat = Heartbeat {
        group: copied(&request.group_id.0),
        member_id: copied(&request.member_id),
        instance_id: copied_if(request.group_instance_id.as_ref()),
        generation: request.generation_id,
    };
    let result = match group_room::ask(runner, Command::Heartbeat(heartbeat)).await {
        Ok(Reply::Heartbeat(result)) => result,
        Ok(_) => Err(GroupError::Unknown),
        // Nobody is dropped while the group is being loaded, so all is well as far as anyone knows.
        Err(GroupError::LoadInProgress) => Ok(()),
        Err(error) => Err(error),
    };
    HeartbeatResponse::default().with_error_code(code(result))
}
