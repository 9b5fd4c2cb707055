//! FindCoordinator: which broker keeps a group or a transactional id. The first one to ask has the topic made.

use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::{BrokerId, FindCoordinatorRequest, FindCoordinatorResponse};
use kafka_protocol::protocol::StrBytes;

use crate::handlers::group_words::{offsets_partitions, wire};
use crate::handlers::{Context, first_use};
use crate::house::House;
use crate::machines::group_room::{OFFSETS_TOPIC, partition_for};
use crate::machines::transaction_room::TRANSACTION_TOPIC;
use crate::metadata::MetadataSnapshot;
use crate::transactions;

const SEVERAL_KEYS_SINCE: i16 = 4;
const SHARE_SINCE: i16 = 6;

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
const SHARE: i8 = 2;

/// Where the coordinator of a key is.
struct Place {
    id: i32,
    host: StrBytes,
    port: i32,
}

pub(crate) async fn handle(
    house: &Arc<House>,
    context: &Context,
    request: FindCoordinatorRequest,
) -> FindCoordinatorResponse {
    house.metadata.first_topics(|| !house.partitions.all().is_empty()).await;
    if let Some(topic) = topic_of(request.key_type)
        && house.metadata.snapshot().topic(topic).is_none()
    {
        first_use::create(house, context, vec![topic.to_owned()]).await;
    }
    if context.version < SEVERAL_KEYS_SINCE {
        return in_old_words(find(house, context, request.key_type, &request.key));
    }
    if !(GROUP..=SHARE).contains(&request.key_type) {
        let error = ResponseError::InvalidRequest;
        let refused = request.coordinator_keys.into_iter();
        let refused = refused.map(|key| nowhere(key, error).with_error_message(Some(message(error))));
        return FindCoordinatorResponse::default().with_coordinators(refused.collect());
    }
    let found =
        request.coordinator_keys.into_iter().map(|key| match find(house, context, request.key_type, &key) {
            Ok(place) => Coordinator::default()
                .with_key(key)
                .with_node_id(BrokerId(place.id))
                .with_host(place.host)
                .with_port(place.port),
            Err(error) => nowhere(key, error),
        });
    FindCoordinatorResponse::default().with_coordinators(found.collect())
}

/// The internal topic whose leaders coordinate what the key names.
fn topic_of(key_type: i8) -> Option<&'static str> {
    match key_type {
        GROUP => Some(OFFSETS_TOPIC),
        TRANSACTION => Some(TRANSACTION_TOPIC),
        _ => None,
    }
}

fn find(house: &House, context: &Context, key_type: i8, key: &str) -> Result<Place, ResponseError> {
    let metadata = house.metadata.snapshot();
    let (topic, partition) = match key_type {
        GROUP => (OFFSETS_TOPIC, partition_for(key, offsets_partitions(house))),
        TRANSACTION => (TRANSACTION_TOPIC, partition_for(key, transactions::topic_partitions(house))),
        // Share groups need KRaft; Kafka answers so in ZooKeeper mode.
        SHARE if context.version >= SHARE_SINCE => return Err(ResponseError::CoordinatorNotAvailable),
        _ => return Err(ResponseError::InvalidRequest),
    };
    leader(&metadata, context, topic, partition).ok_or(ResponseError::CoordinatorNotAvailable)
}

fn leader(metadata: &MetadataSnapshot, context: &Context, topic: &str, partition: i32) -> Option<Place> {
    let leader = metadata.partition(topic, partition)?.leader;
    let endpoint = metadata.node(leader, &context.connection.listener)?;
    Some(Place { id: leader.0, host: wire(&endpoint.host), port: endpoint.port })
}

fn in_old_words(found: Result<Place, ResponseError>) -> FindCoordinatorResponse {
    match found {
        Ok(place) => FindCoordinatorResponse::default()
            .with_error_message(Some(wire("NONE")))
            .with_node_id(BrokerId(place.id))
            .with_host(place.host)
            .with_port(place.port),
        Err(error) => FindCoordinatorResponse::default()
            .with_error_code(error.code())
            .with_error_message(Some(message(error)))
            .with_node_id(BrokerId(-1))
            .with_port(-1),
    }
}

fn nowhere(key: StrBytes, error: ResponseError) -> Coordinator {
    Coordinator::default()
        .with_key(key)
        .with_node_id(BrokerId(-1))
        .with_port(-1)
        .with_error_code(error.code())
}

/// Kafka's words.
fn message(error: ResponseError) -> StrBytes {
    StrBytes::from_static_str(match error {
        ResponseError::InvalidRequest => {
            "This most likely occurs because of a request being malformed by the client library or the message was \
             sent to an incompatible broker. See the broker logs for more details."
        }
        _ => "The coordinator is not available.",
    })
}
