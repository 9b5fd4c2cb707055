//! UpdateMetadata: the controller tells this broker what the cluster looks like.

use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{UpdateMetadataRequest, UpdateMetadataResponse};

use crate::handlers::Context;
use crate::house::House;

pub(crate) async fn handle(
    house: &Arc<House>,
    _: &Context,
    request: UpdateMetadataRequest,
) -> UpdateMetadataResponse {
    if house.is_stale(request.broker_epoch) {
        return UpdateMetadataResponse::default().with_error_code(ResponseError::StaleBrokerEpoch.code());
    }
    house.update_metadata(request).await
}
