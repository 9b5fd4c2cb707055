//! CreateDelegationToken: Kafka refuses it on listeners where nobody has logged in, and there are no others yet (KIP-48).

use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{CreateDelegationTokenRequest, CreateDelegationTokenResponse};
use kafka_protocol::protocol::StrBytes;

use crate::handlers::Context;
use crate::house::House;

/// From this version on the answer names who asked (KIP-373).
const REQUESTER_SINCE: i16 = 3;

/// Type of all principals that Kafka itself knows.
const USER_TYPE: &str = "User";

pub(crate) async fn handle(
    _: &Arc<House>,
    context: &Context,
    request: CreateDelegationTokenRequest,
) -> CreateDelegationTokenResponse {
    let user_type = StrBytes::from_static_str(USER_TYPE);
    let me = StrBytes::from_string(context.connection.user.to_string());
    let (error, owner) = match (request.owner_principal_type, request.owner_principal_name) {
        (Some(kind), Some(name)) if !name.is_empty() => {
            (ResponseError::DelegationTokenRequestNotAllowed, (kind, name))
        }
        // An owner without a type is a mistake that Kafka does not foresee.
        (None, Some(name)) if !name.is_empty() => {
            (ResponseError::UnknownServerError, (user_type.clone(), me.clone()))
        }
        _ => (ResponseError::DelegationTokenRequestNotAllowed, (user_type.clone(), me.clone())),
    };
    let answer = CreateDelegationTokenResponse::default()
        .with_error_code(error.code())
        .with_principal_type(owner.0)
        .with_principal_name(owner.1)
        .with_issue_timestamp_ms(-1)
        .with_expiry_timestamp_ms(-1)
        .with_max_timestamp_ms(-1);
    if context.version < REQUESTER_SINCE {
        return answer;
    }
    answer.with_token_requester_principal_type(user_type).with_token_requester_principal_name(me)
}
