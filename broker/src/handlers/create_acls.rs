//! CreateAcls: there is no authorizer yet, so none are made.

use std::sync::Arc;

use kafka_protocol::messages::create_acls_response::AclCreationResult;
use kafka_protocol::messages::{CreateAclsRequest, CreateAclsResponse};

use super::acl_words::{AclCodes, security_disabled};
use crate::handlers::Context;
use crate::house::House;
use crate::wire::reply::OrClosed;

pub(crate) async fn handle(
    _: &Arc<House>,
    context: &Context,
    request: CreateAclsRequest,
) -> OrClosed<CreateAclsResponse> {
    let mut codes = request.creations.iter().map(|wanted| AclCodes {
        resource_type: wanted.resource_type,
        pattern_type: wanted.resource_pattern_type,
        operation: wanted.operation,
        permission_type: wanted.permission_type,
    });
    let (code, message) = security_disabled("No Authorizer is configured.");
    let result = AclCreationResult::default().with_error_code(code).with_error_message(message);
    OrClosed(
        codes
            .all(|codes| codes.names_acl(context.version))
            .then(|| CreateAclsResponse::default().with_results(vec![result; request.creations.len()])),
    )
}
