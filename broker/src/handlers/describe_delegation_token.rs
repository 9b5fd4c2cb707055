//! DescribeDelegationToken: which tokens there are. There are none yet; see `create_delegation_token`.

use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{DescribeDelegationTokenRequest, DescribeDelegationTokenResponse};

use crate::handlers::Context;
use crate::house::House;

pub(crate) async fn handle(
    _: &Arc<House>,
    _: &Context,
    _: DescribeDelegationTokenRequest,
) -> DescribeDelegationTokenResponse {
    DescribeDelegationTokenResponse::default()
        .with_error_code(ResponseError::DelegationTokenRequestNotAllowed.code())
}
