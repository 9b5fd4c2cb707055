//! SaslHandshake: a client wants to log in. No listener has SASL yet, and on one without it Kafka says that this is the wrong
//! moment.

use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{SaslHandshakeRequest, SaslHandshakeResponse};

use crate::handlers::Context;
use crate::house::House;

pub(crate) async fn handle(_: &Arc<House>, _: &Context, _: SaslHandshakeRequest) -> SaslHandshakeResponse {
    SaslHandshakeResponse::default().with_error_code(ResponseError::IllegalSaslState.code())
}
