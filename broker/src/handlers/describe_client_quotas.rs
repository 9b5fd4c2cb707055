//! DescribeClientQuotas: which quotas are set for users, client ids and addresses (KIP-546).

use std::sync::Arc;

use coordinator::quotas::{Named, QuotaEntity};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::describe_client_quotas_response::{EntityData, EntryData, ValueData};
use kafka_protocol::messages::{DescribeClientQuotasRequest, DescribeClientQuotasResponse};
use kafka_protocol::protocol::StrBytes;
use tracing::warn;

use crate::errors::WireError;
use crate::handlers::Context;
use crate::house::House;
use crate::reconfiguration::quotas::describe::{
    self, CLIENT_ID, DescribeQuotasError, Described, Filter, IP, Match, USER,
};
use crate::reconfiguration::quotas::stored::Subject;

pub(crate) async fn handle(
    house: &Arc<House>,
    _: &Context,
    request: DescribeClientQuotasRequest,
) -> DescribeClientQuotasResponse {
    let described = match filter(&request) {
        Ok(filter) => describe::describe(&house.zookeeper, &filter).await,
        Err(refused) => Err(refused),
    };
    match described {
        Ok(described) => DescribeClientQuotasResponse::default()
            .with_error_message(Some(StrBytes::default()))
            .with_entries(Some(described.into_iter().map(entry).collect())),
        Err(why) => DescribeClientQuotasResponse::default()
            .with_error_code(why.wire().code())
            .with_error_message(message(&why))
            .with_entries(None),
    }
}

fn filter(request: &DescribeClientQuotasRequest) -> Result<Filter, DescribeQuotasError> {
    let mut components = Vec::with_capacity(request.components.len());
    for component in &request.components {
        let wanted = Match::from_wire(component.match_type, component._match.as_deref())?;
        components.push((&*component.entity_type, wanted));
    }
    Filter::new(components, request.strict)
}

fn entry(described: Described) -> EntryData {
    let part = |entity_type, name: &Named| {
        EntityData::default().with_entity_type(StrBytes::from_static_str(entity_type)).with_entity_name(
            match name {
                Named::Default => None,
                Named::One(name) => Some(StrBytes::from_string(name.to_string())),
            },
        )
    };
    let entity = match &described.subject {
        Subject::Client(QuotaEntity::User(user)) => vec![part(USER, user)],
        Subject::Client(QuotaEntity::Client(client)) => vec![part(CLIENT_ID, client)],
        Subject::Client(QuotaEntity::UserClient(user, client)) => {
            vec![part(USER, user), part(CLIENT_ID, client)]
        }
        Subject::Ip(ip) => vec![part(IP, ip)],
    };
    let values = described.values.into_iter();
    let values = values
        .map(|(key, value)| ValueData::default().with_key(StrBytes::from_string(key)).with_value(value));
    EntryData::default().with_entity(entity).with_values(values.collect())
}

/// What failed on this side is said in the log alone, as Kafka keeps it to itself.
fn message(why: &DescribeQuotasError) -> Option<StrBytes> {
    if why.wire() == ResponseError::UnknownServerError {
        warn!("quotas were not described for a client: {why}");
        return None;
    }
    Some(StrBytes::from_string(why.to_string()))
}
