//! ApiVersions (KIP-35, KIP-511, KIP-584): what this broker serves, straight from the menu.

use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, ApiVersionsResponse};

use crate::handlers::{Api, Context, MENU};
use crate::house::House;
use crate::wire::reply::{self, EncodeError, Reply};

pub(crate) async fn handle(
    _: &Arc<House>,
    context: &Context,
    request: ApiVersionsRequest,
) -> ApiVersionsResponse {
    let named =
        is_software_text(&request.client_software_name) && is_software_text(&request.client_software_version);
    if context.version >= 3 && !named {
        return ApiVersionsResponse::default().with_error_code(ResponseError::InvalidRequest.code());
    }
    ApiVersionsResponse::default()
        .with_api_keys(MENU.iter().map(range).collect())
        .with_finalized_features_epoch(if context.version >= 3 { 0 } else { -1 })
}

/// The answer to a version we do not know: v0, and only the versions of ApiVersions itself (KIP-511).
pub(crate) fn unsupported_version(correlation_id: i32) -> Result<Reply, EncodeError> {
    let own = MENU.iter().filter(|api| api.key == ApiKey::ApiVersions).map(range).collect();
    let response = ApiVersionsResponse::default()
        .with_error_code(ResponseError::UnsupportedVersion.code())
        .with_api_keys(own);
    reply::encode(&response, 0, correlation_id, &[]).map(Reply::Ready)
}

fn range(api: &Api) -> ApiVersion {
    ApiVersion::default().with_api_key(api.key as i16).with_min_version(api.min).with_max_version(api.max)
}

/// KIP-511: letters, digits, `-` and `.`, beginning and ending with a letter or digit.
fn is_software_text(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    ends(bytes.first()) && ends(bytes.last()) && bytes.iter().all(|byte| inner(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn software_names_follow_kip_511() {
        assert!(is_software_text("apache-kafka-java"));
        assert!(is_software_text("3.9.1"));
        assert!(!is_software_text(""));
        assert!(!is_software_text("-x"));
        assert!(!is_software_text("a b"));
    }
}
