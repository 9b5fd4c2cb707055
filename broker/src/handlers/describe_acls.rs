//! DescribeAcls: there is no authorizer yet, so none are told.

use std::sync::Arc;

use kafka_protocol::messages::{DescribeAclsRequest, DescribeAclsResponse};

use super::acl_words::{AclCodes, security_disabled};
use crate::handlers::Context;
use crate::house::House;
use crate::wire::reply::OrClosed;

pub(crate) async fn handle(
    _: &Arc<House>,
    context: &Context,
    request: DescribeAclsRequest,
) -> OrClosed<DescribeAclsResponse> {
    let codes = AclCodes {
        resource_type: request.resource_type_filter,
        pattern_type: request.pattern_type_filter,
        operation: request.operation,
        permission_type: request.permission_type,
    };
    let (code, message) = security_disabled("No Authorizer is configured on the broker");
    OrClosed(
        codes
            .names_filter(context.version)
            .then(|| DescribeAclsResponse::default().with_error_code(code).with_error_message(message)),
    )
}
