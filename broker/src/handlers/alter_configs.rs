//! AlterConfigs: everything that was set for a resource is replaced. Old clients; newer ones change single keys.

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{AlterConfigsRequest, AlterConfigsResponse};
use kafka_protocol::protocol::StrBytes;
use tracing::warn;

use crate::errors::WireError;
use crate::handlers::Context;
use crate::house::House;
use crate::reconfiguration::alter::{self, AlterError, Mode, Wish};

pub(crate) async fn handle(
    house: &Arc<House>,
    _: &Context,
    request: AlterConfigsRequest,
) -> AlterConfigsResponse {
    let mode = if request.validate_only { Mode::Check } else { Mode::Make };
    let twice = named_twice(request.resources.iter().map(|one| (one.resource_type, &*one.resource_name)));
    let mut responses = Vec::with_capacity(request.resources.len());
    for (resource, twice) in request.resources.into_iter().zip(twice) {
        let (kind, name) = (resource.resource_type, resource.resource_name);
        let wishes = resource.configs.iter().map(|config| Wish {
            name: config.name.to_string(),
            operation: 0,
            value: config.value.as_ref().map(ToString::to_string),
        });
        let wishes: Vec<Wish> = wishes.collect();
        let done = if twice {
            Err(AlterError::ResourceTwice)
        } else {
            alter::replace(house, kind, &name, &wishes, mode).await
        };
        let response =
            AlterConfigsResourceResponse::default().with_resource_type(kind).with_resource_name(name);
        responses.push(match done {
            Ok(()) => response.with_error_message(None),
            Err(why) => response.with_error_code(why.wire().code()).with_error_message(message(&why)),
        });
    }
    AlterConfigsResponse::default().with_responses(responses)
}

/// Which of the resources appear more than once.
pub(super) fn named_twice<'a>(resources: impl Iterator<Item = (i8, &'a str)> + Clone) -> Vec<bool> {
    let mut counts: BTreeMap<(i8, &str), usize> = BTreeMap::new();
    for resource in resources.clone() {
        *counts.entry(resource).or_default() += 1;
    }
    resources.map(|resource| counts[&resource] > 1).collect()
}

/// What failed on this side is said in the log alone, as Kafka keeps it to itself.
pub(super) fn message(why: &AlterError) -> Option<StrBytes> {
    if why.wire() == ResponseError::UnknownServerError {
        warn!("configs were not changed for a client: {why}");
        return None;
    }
    Some(StrBytes::from_string(why.to_string()))
}
