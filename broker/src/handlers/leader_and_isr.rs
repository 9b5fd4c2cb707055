//! LeaderAndIsr: the controller gives this broker's replicas their roles.

use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{LeaderAndIsrRequest, LeaderAndIsrResponse};

use crate::handlers::Context;
use crate::house::House;

pub(crate) async fn handle(
    house: &Arc<House>,
    _: &Context,
    request: LeaderAndIsrRequest,
) -> LeaderAndIsrResponse {
    if house.is_stale(request.broker_epoch) {
        return LeaderAndIsrResponse::default().with_error_code(ResponseError::StaleBrokerEpoch.code());
    }
    house.leader_and_isr(request).await
}
