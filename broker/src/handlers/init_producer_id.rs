//! InitProducerId: an id for an idempotent producer. Transactional ones need a coordinator, which is not here.

use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId};

use crate::errors::WireError;
use crate::handlers::Context;
use crate::house::House;

/// "No producer id" and "no epoch" on the wire.
const NO_ID: i64 = -1;
const NO_EPOCH: i16 = -1;

pub(crate) async fn handle(
    house: &Arc<House>,
    _: &Context,
    request: InitProducerIdRequest,
) -> InitProducerIdResponse {
    match producer_id(house, &request).await {
        Ok(id) => InitProducerIdResponse::default().with_producer_id(ProducerId(id)).with_producer_epoch(0),
        Err(error) => InitProducerIdResponse::default()
            .with_error_code(error.code())
            .with_producer_id(ProducerId(NO_ID))
            .with_producer_epoch(NO_EPOCH),
    }
}

async fn producer_id(house: &House, request: &InitProducerIdRequest) -> Result<i64, ResponseError> {
    if (request.producer_id.0 == NO_ID) != (request.producer_epoch == NO_EPOCH) {
        return Err(ResponseError::InvalidRequest);
    }
    let Some(transactional_id) = &request.transactional_id else {
        let id = house.producer_ids.next(&house.zookeeper, house.me).await;
        return id.map_err(|why| {
            tracing::warn!("no producer id for a client, which asks again: {why}");
            why.wire()
        });
    };
    let timeout_max = house.config.transactions.timeout_max;
    let timeout = u64::try_from(request.transaction_timeout_ms).ok().map(Duration::from_millis);
    if transactional_id.is_empty() {
        Err(ResponseError::InvalidRequest)
    } else if timeout.is_none_or(|timeout| timeout.is_zero() || timeout > timeout_max) {
        Err(ResponseError::InvalidTransactionTimeout)
    } else {
        // No partition of the transaction topic is led here.
        Err(ResponseError::NotCoordinator)
    }
}
