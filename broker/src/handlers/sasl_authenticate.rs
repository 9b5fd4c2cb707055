//! SaslAuthenticate: a client goes on with its login. No listener has SASL yet; see `sasl_handshake`.

use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{SaslAuthenticateRequest, SaslAuthenticateResponse};
use kafka_protocol::protocol::StrBytes;

use crate::handlers::Context;
use crate::house::House;

/// Kafka's words; there is no login before which a request could come.
const REFUSAL: &str = "SaslAuthenticate request received after successful authentication";

pub(crate) async fn handle(
    _: &Arc<House>,
    _: &Context,
    _: SaslAuthenticateRequest,
) -> SaslAuthenticateResponse {
    SaslAuthenticateResponse::default()
        .with_error_code(ResponseError::IllegalSaslState.code())
        .with_error_message(Some(StrBytes::from_static_str(REFUSAL)))
}
