//! Topics that come into being when somebody first asks for them: the internal ones, and others where
//! `auto.create.topics.enable` allows it.

use std::collections::BTreeMap;

use kafka_protocol::error::ResponseError;

use crate::cluster::admin::NewTopic;
use crate::house::House;
use crate::machines::group_room::OFFSETS_TOPIC;

/// Begins to create topics that are not there, without waiting for their leaders. Tells for each what a client that
/// asked for its metadata hears: `LeaderNotAvailable` where it is on its way.
///
/// On ZooKeeper any broker may write a new topic down; the controller takes it from there.
pub(super) async fn create(house: &House, names: Vec<String>) -> BTreeMap<String, ResponseError> {
    if names.is_empty() {
        return BTreeMap::new();
    }
    let topics = names.iter().map(|name| new_topic(house, name)).collect();
    let created = house.admin().create_topics(&house.config, topics, false, NO_WAIT).await;
    let told = created.into_iter().map(|created| match created.err().map(|refused| refused.error) {
        None | Some(ResponseError::TopicAlreadyExists | ResponseError::RequestTimedOut) => {
            ResponseError::LeaderNotAvailable
        }
        Some(error) => error,
    });
    names.into_iter().zip(told).collect()
}

const NO_WAIT: i32 = 0;

fn new_topic(house: &House, name: &str) -> NewTopic {
    if name != OFFSETS_TOPIC {
        return NewTopic { name: name.to_owned(), ..NewTopic::default() };
    }
    let groups = &house.config.groups;
    let config = |key: &str, value: String| (key.to_owned(), Some(value));
    NewTopic {
        name: name.to_owned(),
        partitions: Some(groups.offsets_topic_partitions),
        replication_factor: Some(groups.offsets_topic_replication_factor.into()),
        assignments: Vec::new(),
        configs: vec![
            config("compression.type", "producer".to_owned()),
            config("cleanup.policy", "compact".to_owned()),
            config("segment.bytes", groups.offsets_topic_segment_bytes.to_string()),
        ],
    }
}
