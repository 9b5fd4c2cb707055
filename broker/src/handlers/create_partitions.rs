//! CreatePartitions: topics grow; waits for the leaders of the new partitions.

use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::{CreatePartitionsRequest, CreatePartitionsResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use storage::types::BrokerId;

use super::create_topics::repeated;
use crate::cluster::admin::{AdminError, MorePartitions};
use crate::handlers::Context;
use crate::house::House;

/// From this version on clients know THROTTLING_QUOTA_EXCEEDED (KIP-599).
const STRICT_SINCE: i16 = 3;

pub(crate) async fn handle(
    house: &Arc<House>,
    context: &Context,
    request: CreatePartitionsRequest,
) -> CreatePartitionsResponse {
    let repeated = repeated(request.topics.iter().map(|topic| &topic.name));
    let mut results: Vec<CreatePartitionsTopicResult> = Vec::with_capacity(request.topics.len());
    if !house.is_controller() {
        for topic in &request.topics {
            if !results.iter().any(|known| known.name == topic.name) {
                results.push(result(&topic.name, ResponseError::NotController.code(), None));
            }
        }
        return CreatePartitionsResponse::default().with_results(results);
    }
    let single: Vec<&CreatePartitionsTopic> =
        request.topics.iter().filter(|topic| !repeated.contains(&topic.name)).collect();
    let wanted = single.iter().map(|topic| more_partitions(topic)).collect();
    let admin = house.admin();
    let mut changes = house.quotas.changes(context, STRICT_SINCE);
    let (validate_only, timeout_ms) = (request.validate_only, request.timeout_ms);
    let outcomes = admin.create_partitions(wanted, validate_only, timeout_ms, &mut changes).await;
    for (topic, outcome) in single.iter().zip(outcomes) {
        results.push(match outcome {
            Ok(()) => result(&topic.name, 0, None),
            Err(AdminError { error, message }) => result(&topic.name, error.code(), message),
        });
    }
    for name in repeated {
        let message = "Duplicate topic in request.".to_owned();
        results.push(result(&name, ResponseError::InvalidRequest.code(), Some(message)));
    }
    CreatePartitionsResponse::default()
        .with_results(results)
        .with_throttle_time_ms(changes.throttle_time_ms())
}

fn more_partitions(topic: &CreatePartitionsTopic) -> MorePartitions {
    let assignments = topic.assignments.as_ref().map(|assignments| {
        let replicas =
            |ids: &[kafka_protocol::messages::BrokerId]| ids.iter().map(|id| BrokerId(id.0)).collect();
        assignments.iter().map(|assignment| replicas(&assignment.broker_ids)).collect()
    });
    MorePartitions { topic: topic.name.to_string(), count: topic.count, assignments }
}

fn result(name: &TopicName, code: i16, message: Option<String>) -> CreatePartitionsTopicResult {
    CreatePartitionsTopicResult::default()
        .with_name(name.clone())
        .with_error_code(code)
        .with_error_message(message.map(StrBytes::from_string))
}
