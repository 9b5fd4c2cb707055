//! IncrementalAlterConfigs: single keys are set, deleted, and lists grown or shrunk (KIP-339).

use std::sync::Arc;

use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};

use crate::errors::WireError;
use crate::handlers::Context;
use crate::handlers::alter_configs::{message, named_twice};
use crate::house::House;
use crate::reconfiguration::alter::{self, AlterError, Mode, Wish};

pub(crate) async fn handle(
    house: &Arc<House>,
    _: &Context,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let mode = if request.validate_only { Mode::Check } else { Mode::Make };
    let twice = named_twice(request.resources.iter().map(|one| (one.resource_type, &*one.resource_name)));
    let mut responses = Vec::with_capacity(request.resources.len());
    for (resource, twice) in request.resources.into_iter().zip(twice) {
        let (kind, name) = (resource.resource_type, resource.resource_name);
        let wishes = resource.configs.iter().map(|config| Wish {
            name: config.name.to_string(),
            operation: config.config_operation,
            value: config.value.as_ref().map(ToString::to_string),
        });
        let wishes: Vec<Wish> = wishes.collect();
        let done = if twice {
            Err(AlterError::ResourceTwice)
        } else {
            alter::change(house, kind, &name, &wishes, mode).await
        };
        let response =
            AlterConfigsResourceResponse::default().with_resource_type(kind).with_resource_name(name);
        responses.push(match done {
            Ok(()) => response.with_error_message(None),
            Err(why) => response.with_error_code(why.wire().code()).with_error_message(message(&why)),
        });
    }
    IncrementalAlterConfigsResponse::default().with_responses(responses)
}
