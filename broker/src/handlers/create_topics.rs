//! CreateTopics: the controller's broker writes the topics and waits for their leaders.

use std::collections::HashSet;
use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use kafka_protocol::messages::{CreateTopicsRequest, CreateTopicsResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use storage::types::BrokerId;
use uuid::Uuid;

use crate::cluster::admin::{AdminError, CreatedTopic, NewTopic};
use crate::handlers::Context;
use crate::house::House;

/// From this version on clients know THROTTLING_QUOTA_EXCEEDED (KIP-599).
const STRICT_SINCE: i16 = 6;
/// KRaft's own topic: nobody may make it.
const CLUSTER_METADATA: &str = "__cluster_metadata";
/// "As the broker has it": partitions and replication factor.
const UNSET: i32 = -1;

pub(crate) async fn handle(
    house: &Arc<House>,
    context: &Context,
    request: CreateTopicsRequest,
) -> CreateTopicsResponse {
    if !house.is_controller() {
        let refuse = |topic: &CreatableTopic| failed(&topic.name, ResponseError::NotController, None);
        return CreateTopicsResponse::default().with_topics(request.topics.iter().map(refuse).collect());
    }
    let repeated = repeated(request.topics.iter().map(|topic| &topic.name));
    let verdicts: Vec<Option<&str>> = request
        .topics
        .iter()
        .map(|topic| match topic.name.0.as_str() {
            CLUSTER_METADATA => Some("Creation of internal topic __cluster_metadata is prohibited."),
            _ if repeated.contains(&topic.name) => Some("Found multiple entries for this topic."),
            _ => None,
        })
        .collect();
    let wanted = request.topics.iter().zip(&verdicts).filter(|(_, refused)| refused.is_none());
    let wanted = wanted.map(|(topic, _)| new_topic(topic)).collect();
    let admin = house.admin();
    let config = house.live.current();
    let mut changes = house.quotas.changes(context, STRICT_SINCE);
    let (validate_only, timeout_ms) = (request.validate_only, request.timeout_ms);
    let created = admin.create_topics(&config, wanted, validate_only, timeout_ms, &mut changes).await;
    let mut created = created.into_iter();
    let results = request.topics.iter().zip(verdicts).filter_map(|(topic, refused)| match refused {
        Some(message) => Some(failed(&topic.name, ResponseError::InvalidRequest, Some(message.to_owned()))),
        None => Some(match created.next()? {
            Ok(created) => succeeded(house, &topic.name, &created),
            Err(AdminError { error, message }) => failed(&topic.name, error, message),
        }),
    });
    CreateTopicsResponse::default()
        .with_topics(results.collect())
        .with_throttle_time_ms(changes.throttle_time_ms())
}

/// Names that come more than once.
pub(super) fn repeated<'a>(names: impl Iterator<Item = &'a TopicName>) -> HashSet<TopicName> {
    let mut seen = HashSet::new();
    names.filter(|name| !seen.insert((*name).clone())).cloned().collect()
}

fn new_topic(topic: &CreatableTopic) -> NewTopic {
    let assignments = topic.assignments.iter().map(|assignment| {
        let replicas = assignment.broker_ids.iter().map(|id| BrokerId(id.0)).collect();
        (assignment.partition_index, replicas)
    });
    let configs = topic
        .configs
        .iter()
        .map(|config| (config.name.to_string(), config.value.as_ref().map(ToString::to_string)));
    NewTopic {
        name: topic.name.to_string(),
        partitions: (topic.num_partitions != UNSET).then_some(topic.num_partitions),
        replication_factor: (i32::from(topic.replication_factor) != UNSET)
            .then_some(topic.replication_factor.into()),
        assignments: assignments.collect(),
        configs: configs.collect(),
    }
}

fn succeeded(house: &House, name: &TopicName, created: &CreatedTopic) -> CreatableTopicResult {
    let configs = house.live.current().describe_topic(&created.configs).into_iter().map(|config| {
        CreatableTopicConfigs::default()
            .with_name(StrBytes::from_string(config.name))
            .with_value(config.value.map(StrBytes::from_string))
            .with_read_only(config.read_only)
            .with_config_source(config.source as i8)
            .with_is_sensitive(config.sensitive)
    });
    CreatableTopicResult::default()
        .with_name(name.clone())
        .with_topic_id(Uuid::from_bytes(created.id.0))
        .with_error_message(None)
        .with_num_partitions(i32::try_from(created.partitions.len()).unwrap_or(i32::MAX))
        .with_replication_factor(i16::try_from(created.replication_factor).unwrap_or(i16::MAX))
        .with_configs(Some(configs.collect()))
}

fn failed(name: &TopicName, error: ResponseError, message: Option<String>) -> CreatableTopicResult {
    CreatableTopicResult::default()
        .with_name(name.clone())
        .with_error_code(error.code())
        .with_error_message(message.map(StrBytes::from_string))
        .with_configs(Some(Vec::new()))
}
