//! StopReplica: the controller stops replicas of this broker, or deletes them.

use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{StopReplicaRequest, StopReplicaResponse};

use crate::handlers::Context;
use crate::house::House;

pub(crate) async fn handle(
    house: &Arc<House>,
    _: &Context,
    request: StopReplicaRequest,
) -> StopReplicaResponse {
    if house.is_stale(request.broker_epoch) {
        return StopReplicaResponse::default().with_error_code(ResponseError::StaleBrokerEpoch.code());
    }
    house.stop_replica(request).await
}
