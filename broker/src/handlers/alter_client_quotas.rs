//! AlterClientQuotas: quotas are set and removed for users, client ids and addresses (KIP-546).

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::alter_client_quotas_request::EntryData as Alteration;
use kafka_protocol::messages::alter_client_quotas_response::{EntityData, EntryData};
use kafka_protocol::messages::{AlterClientQuotasRequest, AlterClientQuotasResponse};
use kafka_protocol::protocol::StrBytes;
use tracing::warn;

use crate::errors::WireError;
use crate::handlers::Context;
use crate::house::House;
use crate::reconfiguration::quotas::alter::{self, AlterQuotasError, QuotaOperation};

/// Types and names; a type that comes twice counts as it comes last.
type Entity = Vec<(String, Option<String>)>;

pub(crate) async fn handle(
    house: &Arc<House>,
    _: &Context,
    request: AlterClientQuotasRequest,
) -> AlterClientQuotasResponse {
    let mut outcomes: Vec<(Entity, Result<(), AlterQuotasError>)> = Vec::with_capacity(request.entries.len());
    // An entity that comes twice is altered twice and answered once.
    let mut places: BTreeMap<Entity, usize> = BTreeMap::new();
    for entry in &request.entries {
        let entity = entity(entry);
        let operations: Vec<QuotaOperation> =
            entry.ops.iter().map(|op| (op.key.to_string(), (!op.remove).then_some(op.value))).collect();
        let outcome = alter::alter(&house.zookeeper, &entity, &operations, request.validate_only).await;
        match places.get(&entity) {
            Some(place) => outcomes[*place].1 = outcome,
            None => {
                places.insert(entity.clone(), outcomes.len());
                outcomes.push((entity, outcome));
            }
        }
    }
    let entries = outcomes.into_iter().map(|(entity, outcome)| answer(entity, outcome));
    AlterClientQuotasResponse::default().with_entries(entries.collect())
}

fn entity(entry: &Alteration) -> Entity {
    let named: BTreeMap<String, Option<String>> = entry
        .entity
        .iter()
        .map(|part| (part.entity_type.to_string(), part.entity_name.as_ref().map(ToString::to_string)))
        .collect();
    named.into_iter().collect()
}

fn answer(entity: Entity, outcome: Result<(), AlterQuotasError>) -> EntryData {
    let entity = entity.into_iter().map(|(entity_type, name)| {
        EntityData::default()
            .with_entity_type(StrBytes::from_string(entity_type))
            .with_entity_name(name.map(StrBytes::from_string))
    });
    let answer = EntryData::default().with_entity(entity.collect()).with_error_message(None);
    match outcome {
        Ok(()) => answer,
        Err(why) => answer.with_error_code(why.wire().code()).with_error_message(message(&why)),
    }
}

/// What failed on this side is said in the log alone, as Kafka keeps it to itself.
fn message(why: &AlterQuotasError) -> Option<StrBytes> {
    if why.wire() == ResponseError::UnknownServerError {
        warn!("quotas were not changed for a client: {why}");
        return None;
    }
    Some(StrBytes::from_string(why.to_string()))
}
