//! DeleteGroups: groups without members, and their offsets, are taken away (KIP-229).

use std::collections::BTreeSet;
use std::sync::Arc;

use coordinator::groups::{Command, GroupError, Reply};
use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse};

use crate::handlers::Context;
use crate::handlers::group_words::{code, coordinator_of, copied};
use crate::house::House;
use crate::machines::group_room::{self, EmptyGroupId};

pub(crate) async fn handle(
    house: &Arc<House>,
    _: &Context,
    request: DeleteGroupsRequest,
) -> DeleteGroupsResponse {
    let (mut seen, mut results) = (BTreeSet::new(), Vec::new());
    for id in request.groups_names {
        if !seen.insert(id.0.clone()) {
            continue;
        }
        let runner = coordinator_of(house, &id.0, EmptyGroupId::Allowed);
        let result = match group_room::ask(runner, Command::DeleteGroup(copied(&id.0))).await {
            Ok(Reply::DeleteGroup(result)) => result,
            Ok(_) => Err(GroupError::Unknown),
            Err(error) => Err(error),
        };
        results.push(DeletableGroupResult::default().with_group_id(id).with_error_code(code(result)));
    }
    DeleteGroupsResponse::default().with_results(results)
}
