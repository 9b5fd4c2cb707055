//! InitProducerId: an id for an idempotent producer, or a transactional id taken over by a new producer (KIP-98, 360).

use std::sync::Arc;

use coordinator::transactions::{Command, Identity, Init, Initialized, Reply, TransactionError};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{self, InitProducerIdRequest, InitProducerIdResponse};
use kafka_protocol::protocol::StrBytes;
use storage::types::ProducerId;
use tracing::warn;

use crate::errors::WireError;
use crate::handlers::Context;
use crate::handlers::transaction_words::{ask, coordinator_of, identity};
use crate::house::House;

/// "No producer id" and "no epoch" on the wire.
const NO_ID: i64 = -1;
const NO_EPOCH: i16 = -1;

const FENCED_SINCE: i16 = 4;

pub(crate) async fn handle(
    house: &Arc<House>,
    context: &Context,
    request: InitProducerIdRequest,
) -> InitProducerIdResponse {
    match init(house, &request).await {
        Ok(identity) => InitProducerIdResponse::default()
            .with_producer_id(messages::ProducerId(identity.producer.0))
            .with_producer_epoch(identity.epoch),
        Err(error) => {
            let error = match error {
                ResponseError::ProducerFenced if context.version < FENCED_SINCE => {
                    ResponseError::InvalidProducerEpoch
                }
                error => error,
            };
            InitProducerIdResponse::default()
                .with_error_code(error.code())
                .with_producer_id(messages::ProducerId(NO_ID))
                .with_producer_epoch(NO_EPOCH)
        }
    }
}

async fn init(house: &House, request: &InitProducerIdRequest) -> Result<Identity, ResponseError> {
    if (request.producer_id.0 == NO_ID) != (request.producer_epoch == NO_EPOCH) {
        return Err(ResponseError::InvalidRequest);
    }
    match &request.transactional_id {
        None => Ok(Identity { producer: fresh_producer_id(house).await?, epoch: 0 }),
        Some(id) => init_transactional(house, &id.0, request).await,
    }
}

async fn fresh_producer_id(house: &House) -> Result<ProducerId, ResponseError> {
    let id = house.producer_ids.next(house.to_controller()).await;
    id.map(ProducerId).map_err(|why| {
        warn!("no producer id for a client, which asks again: {why}");
        why.wire()
    })
}

async fn init_transactional(
    house: &House,
    id: &StrBytes,
    request: &InitProducerIdRequest,
) -> Result<Identity, ResponseError> {
    if id.is_empty() {
        return Err(ResponseError::InvalidRequest);
    }
    if !house.transactions.config().allows_timeout(request.transaction_timeout_ms) {
        return Err(TransactionError::InvalidTimeout.wire());
    }
    coordinator_of(house, id).map_err(|error| error.wire())?;
    let mut init = Init {
        id: Arc::from(id.as_str()),
        timeout_ms: request.transaction_timeout_ms,
        expected: (request.producer_id.0 != NO_ID)
            .then(|| identity(request.producer_id, request.producer_epoch)),
        fresh: None,
    };
    loop {
        let answer = ask(house, id, Command::Init(init.clone())).await;
        match answer.map_err(|error| error.wire())? {
            Reply::Init(Ok(Initialized::Ready(identity))) => return Ok(identity),
            Reply::Init(Ok(Initialized::NeedsProducerId)) if init.fresh.is_none() => {
                init.fresh = Some(fresh_producer_id(house).await?);
            }
            Reply::Init(Err(error)) => return Err(error.wire()),
            _ => return Err(ResponseError::UnknownServerError),
        }
    }
}
