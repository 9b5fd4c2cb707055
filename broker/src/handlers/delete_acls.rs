//! DeleteAcls: there is no authorizer yet, so there are none to delete.

use std::sync::Arc;

use kafka_protocol::messages::delete_acls_response::DeleteAclsFilterResult;
use kafka_protocol::messages::{DeleteAclsRequest, DeleteAclsResponse};

use super::acl_words::{AclCodes, security_disabled};
use crate::handlers::Context;
use crate::house::House;
use crate::wire::reply::OrClosed;

pub(crate) async fn handle(
    _: &Arc<House>,
    context: &Context,
    request: DeleteAclsRequest,
) -> OrClosed<DeleteAclsResponse> {
    let mut codes = request.filters.iter().map(|filter| AclCodes {
        resource_type: filter.resource_type_filter,
        pattern_type: filter.pattern_type_filter,
        operation: filter.operation,
        permission_type: filter.permission_type,
    });
    let (code, message) = security_disabled("No Authorizer is configured.");
    let result = DeleteAclsFilterResult::default().with_error_code(code).with_error_message(message);
    OrClosed(
        codes
            .all(|codes| codes.names_filter(context.version))
            .then(|| DeleteAclsResponse::default().with_filter_results(vec![result; request.filters.len()])),
    )
}
