//! DeleteTopics: by name, from version 6 on also by id. Waits until the topics are gone.

use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use storage::types::TopicId;

use crate::handlers::Context;
use crate::house::House;

/// From this version on topics come one by one, named or by id.
const TOPIC_IDS_SINCE: i16 = 6;
/// From this version on clients know THROTTLING_QUOTA_EXCEEDED (KIP-599).
const STRICT_SINCE: i16 = 5;
/// Older clients do not know TOPIC_DELETION_DISABLED.
const DISABLED_SINCE: i16 = 3;

pub(crate) async fn handle(
    house: &Arc<House>,
    context: &Context,
    request: DeleteTopicsRequest,
) -> DeleteTopicsResponse {
    let version = context.version;
    let wanted = wanted(&request, version);
    let refused = if !house.is_controller() {
        Some(ResponseError::NotController)
    } else if !house.config.topics.delete_enabled {
        let known = version >= DISABLED_SINCE;
        Some(if known { ResponseError::TopicDeletionDisabled } else { ResponseError::InvalidRequest })
    } else if wanted.iter().any(|topic| topic.name.is_some() && !topic.topic_id.is_nil()) {
        Some(ResponseError::InvalidRequest)
    } else {
        None
    };
    if let Some(error) = refused {
        let results = wanted.into_iter().map(|topic| result(topic, Some(error)));
        return DeleteTopicsResponse::default().with_responses(results.collect());
    }
    let cluster = house.metadata.snapshot();
    let mut doomed: Vec<String> = Vec::new();
    let mut results: Vec<DeletableTopicResult> = Vec::with_capacity(wanted.len());
    for mut topic in wanted {
        if !topic.topic_id.is_nil() {
            let name = cluster.topic_name(TopicId(topic.topic_id.into_bytes()));
            topic.name = name.map(|name| TopicName(StrBytes::from_string(name.to_string())));
        }
        let error = match &topic.name {
            // Nobody may delete the topic without a name.
            None if topic.topic_id.is_nil() => Some(ResponseError::TopicAuthorizationFailed),
            None => Some(ResponseError::UnknownTopicId),
            Some(name) if cluster.topic(&name.0).is_none() => Some(ResponseError::UnknownTopicOrPartition),
            Some(name) => {
                if !doomed.iter().any(|known| *known == *name.0) {
                    doomed.push(name.0.to_string());
                }
                None
            }
        };
        results.push(result(topic, error));
    }
    let mut changes = house.quotas.changes(context, STRICT_SINCE);
    let outcomes = house.admin().delete_topics(&doomed, request.timeout_ms, &mut changes).await;
    for (name, outcome) in doomed.iter().zip(outcomes) {
        let Err(error) = outcome else { continue };
        // A name given twice is answered once with its error, as Kafka does.
        let first = results.iter_mut().find(|result| result.name.as_ref().is_some_and(|n| *n.0 == **name));
        if let Some(first) = first {
            first.error_code = error.error.code();
        }
    }
    DeleteTopicsResponse::default().with_responses(results).with_throttle_time_ms(changes.throttle_time_ms())
}

fn wanted(request: &DeleteTopicsRequest, version: i16) -> Vec<DeleteTopicState> {
    if version >= TOPIC_IDS_SINCE {
        return request.topics.clone();
    }
    request.topic_names.iter().map(|name| DeleteTopicState::default().with_name(Some(name.clone()))).collect()
}

fn result(topic: DeleteTopicState, error: Option<ResponseError>) -> DeletableTopicResult {
    DeletableTopicResult::default()
        .with_name(topic.name)
        .with_topic_id(topic.topic_id)
        .with_error_code(error.map_or(0, |error| error.code()))
}
