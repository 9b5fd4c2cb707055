//! ExpireDelegationToken: a token ends earlier. There are none yet; see `create_delegation_token`.

use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{ExpireDelegationTokenRequest, ExpireDelegationTokenResponse};

use crate::handlers::Context;
use crate::house::House;

pub(crate) async fn handle(
    _: &Arc<House>,
    _: &Context,
    _: ExpireDelegationTokenRequest,
) -> ExpireDelegationTokenResponse {
    ExpireDelegationTokenResponse::default()
        .with_error_code(ResponseError::DelegationTokenRequestNotAllowed.code())
        .with_expiry_timestamp_ms(-1)
}
