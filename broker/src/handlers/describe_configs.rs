//! DescribeConfigs: what topics, this broker and its loggers are set to, and where each value comes from (KIP-226).

use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};
use kafka_protocol::protocol::StrBytes;
use storage::types::BrokerId;

use crate::cluster::entities::{self, ConfigsError, Entity};
use crate::config::describe::{Described, Synonym};
use crate::errors::WireError;
use crate::handlers::{Context, topics};
use crate::house::House;
use crate::reconfiguration::alter::{BROKER, BROKER_LOGGER, CLIENT_METRICS, TOPIC};
use crate::telemetry::loggers;

/// Source of the level of a logger (`DYNAMIC_BROKER_LOGGER_CONFIG`).
const LOGGER_SOURCE: i8 = 6;

/// Why a resource is not described, in Kafka's words.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DescribeError {
    #[error("Topic name is invalid: {0}")]
    InvalidTopic(String),
    #[error("unknown topic")]
    UnknownTopic,
    #[error("Broker id must be an integer, but it is: {0}")]
    NoBrokerId(String),
    #[error("Unexpected broker id, expected {expected} or empty string, but received {received}")]
    OtherBroker { expected: BrokerId, received: String },
    #[error("Unexpected broker id, expected {expected} but received {received}")]
    OtherBrokersLoggers { expected: BrokerId, received: String },
    #[error("Broker id must not be empty")]
    LoggersOfNobody,
    #[error("Client metrics subscription name must not be empty")]
    EmptySubscription,
    #[error("Config type client-metrics is only supported on KRaft clusters")]
    ClientMetrics,
    #[error("{}", ResponseError::InvalidRequest)]
    UnknownKind,
    #[error(transparent)]
    Store(#[from] ConfigsError),
}

/// Parts of the answer that not every request wants, or knows.
#[derive(Clone, Copy)]
struct Wanted {
    synonyms: bool,
    documentation: bool,
}

pub(crate) async fn handle(
    house: &Arc<House>,
    _: &Context,
    request: DescribeConfigsRequest,
) -> DescribeConfigsResponse {
    let wanted = Wanted { synonyms: request.include_synonyms, documentation: request.include_documentation };
    let known = |kind| matches!(kind, TOPIC | BROKER | BROKER_LOGGER | CLIENT_METRICS);
    // One unknown kind spoils the request, as in Kafka.
    let spoilt = request.resources.iter().any(|resource| !known(resource.resource_type));
    let mut results = Vec::with_capacity(request.resources.len());
    for resource in request.resources {
        let described =
            if spoilt { Err(DescribeError::UnknownKind) } else { describe(house, &resource, wanted).await };
        results.push(result(resource, described));
    }
    DescribeConfigsResponse::default().with_results(results)
}

fn result(
    resource: DescribeConfigsResource,
    described: Result<Vec<DescribeConfigsResourceResult>, DescribeError>,
) -> DescribeConfigsResult {
    let result = DescribeConfigsResult::default()
        .with_resource_type(resource.resource_type)
        .with_resource_name(resource.resource_name);
    match described {
        Ok(mut configs) => {
            if let Some(keys) = resource.configuration_keys.filter(|keys| !keys.is_empty()) {
                configs.retain(|config| keys.contains(&config.name));
            }
            result.with_configs(configs)
        }
        Err(why) => result.with_error_code(why.wire().code()).with_error_message(message(&why)),
    }
}

fn message(why: &DescribeError) -> Option<StrBytes> {
    match why {
        // Empty, as where nothing failed.
        DescribeError::UnknownTopic => Some(StrBytes::default()),
        DescribeError::Store(error) => {
            tracing::warn!("a client's configs cannot be described: {error}");
            None
        }
        // The sentence of the code itself.
        DescribeError::UnknownKind => Some(StrBytes::from_static_str(MALFORMED)),
        why => Some(StrBytes::from_string(why.to_string())),
    }
}

/// Kafka's sentence for INVALID_REQUEST.
const MALFORMED: &str = "This most likely occurs because of a request being malformed by the client library or the \
                         message was sent to an incompatible broker. See the broker logs for more details.";

async fn describe(
    house: &House,
    resource: &DescribeConfigsResource,
    wanted: Wanted,
) -> Result<Vec<DescribeConfigsResourceResult>, DescribeError> {
    let name = &*resource.resource_name;
    let described = match resource.resource_type {
        TOPIC => {
            if let Some(fault) = topics::name_fault(name) {
                return Err(DescribeError::InvalidTopic(fault));
            }
            if house.metadata.snapshot().topic(name).is_none() {
                return Err(DescribeError::UnknownTopic);
            }
            let stored = entities::read(&house.zookeeper, &Entity::Topic(name.to_owned())).await?;
            house.live.current().describe_topic(&stored.entries.into_iter().collect())
        }
        BROKER if name.is_empty() => house.live.current().describe_cluster(),
        BROKER if broker_id(name)? == house.me => house.live.current().describe_broker(),
        BROKER => {
            return Err(DescribeError::OtherBroker { expected: house.me, received: name.to_owned() });
        }
        BROKER_LOGGER if name.is_empty() => return Err(DescribeError::LoggersOfNobody),
        BROKER_LOGGER if broker_id(name)? == house.me => return Ok(loggers()),
        BROKER_LOGGER => {
            let received = name.to_owned();
            return Err(DescribeError::OtherBrokersLoggers { expected: house.me, received });
        }
        CLIENT_METRICS if name.is_empty() => return Err(DescribeError::EmptySubscription),
        CLIENT_METRICS => return Err(DescribeError::ClientMetrics),
        _ => return Err(DescribeError::UnknownKind),
    };
    Ok(described.into_iter().map(|one| config(one, wanted)).collect())
}

fn broker_id(name: &str) -> Result<BrokerId, DescribeError> {
    name.parse().map(BrokerId).map_err(|_| DescribeError::NoBrokerId(name.to_owned()))
}

/// Version 0 has a field "is default" in place of the source; Kafka has left it false since it has sources.
fn config(described: Described, wanted: Wanted) -> DescribeConfigsResourceResult {
    let synonyms = if wanted.synonyms { described.synonyms } else { Vec::new() };
    let documentation = described.documentation.filter(|_| wanted.documentation);
    DescribeConfigsResourceResult::default()
        .with_name(StrBytes::from_string(described.name))
        .with_value(described.value.map(StrBytes::from_string))
        .with_read_only(described.read_only)
        .with_config_source(described.source as i8)
        .with_is_sensitive(described.sensitive)
        .with_synonyms(synonyms.into_iter().map(synonym).collect())
        .with_config_type(described.kind)
        .with_documentation(documentation.map(StrBytes::from_string))
}

fn synonym(synonym: Synonym) -> DescribeConfigsSynonym {
    DescribeConfigsSynonym::default()
        .with_name(StrBytes::from_string(synonym.name))
        .with_value(synonym.value.map(StrBytes::from_string))
        .with_source(synonym.source as i8)
}

fn loggers() -> Vec<DescribeConfigsResourceResult> {
    let logger = |(name, level): (String, &'static str)| {
        DescribeConfigsResourceResult::default()
            .with_name(StrBytes::from_string(name))
            .with_value(Some(StrBytes::from_static_str(level)))
            .with_config_source(LOGGER_SOURCE)
            .with_documentation(None)
    };
    loggers::all().into_iter().map(logger).collect()
}
