//! ListGroups: all groups that this broker coordinates, or those in certain states.

use std::sync::Arc;

use coordinator::groups::{GroupError, GroupListing};
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{GroupId, ListGroupsRequest, ListGroupsResponse};

use crate::errors::WireError;
use crate::handlers::Context;
use crate::handlers::group_words::wire;
use crate::house::House;

pub(crate) async fn handle(
    house: &Arc<House>,
    _: &Context,
    request: ListGroupsRequest,
) -> ListGroupsResponse {
    let loading = house.groups.seats().is_loading();
    let runners = match house.groups.all() {
        Ok(all) => all,
        Err(error) => return ListGroupsResponse::default().with_error_code(error.wire().code()),
    };
    let any_type = request.types_filter.is_empty();
    let wanted = |group: &GroupListing| {
        let states = &request.states_filter;
        let in_state =
            states.is_empty() || states.iter().any(|state| state.eq_ignore_ascii_case(group.state));
        in_state
            && (any_type || request.types_filter.iter().any(|kind| kind.eq_ignore_ascii_case(group.kind)))
    };
    let mut listed = Vec::new();
    for runner in runners {
        listed.extend(runner.look(|groups| groups.list().filter(wanted).map(told).collect::<Vec<_>>()));
    }
    let code = if loading { GroupError::LoadInProgress.wire().code() } else { 0 };
    ListGroupsResponse::default().with_error_code(code).with_groups(listed)
}

fn told(group: GroupListing) -> ListedGroup {
    ListedGroup::default()
        .with_group_id(GroupId(wire(&group.group)))
        .with_protocol_type(wire(&group.protocol_type))
        .with_group_state(wire(group.state))
        .with_group_type(wire(group.kind))
}
