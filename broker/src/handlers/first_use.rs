//! Topics that come into being when somebody first asks for them: the internal ones, and others where
//! `auto.create.topics.enable` allows it.

use std::collections::BTreeMap;
use std::sync::Once;

use kafka_protocol::error::ResponseError;
use tracing::warn;

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
    let created = house.admin().create_topics(&house.live.current(), topics, false, NO_WAIT).await;
    let told = names.iter().zip(created).map(|(name, created)| match created {
        Ok(_) => ResponseError::LeaderNotAvailable,
        Err(refused) => match refused.error {
            ResponseError::TopicAlreadyExists | ResponseError::RequestTimedOut => {
                ResponseError::LeaderNotAvailable
            }
            error => {
                say_once(name, error, house.metadata.snapshot().brokers().len());
                error
            }
        },
    });
    let told: Vec<ResponseError> = told.collect();
    names.into_iter().zip(told).collect()
}

/// Without its offsets topic no group can work, and clients ask for it again and again.
fn say_once(name: &str, error: ResponseError, brokers: usize) {
    static SAID: Once = Once::new();
    if name == OFFSETS_TOPIC {
        SAID.call_once(|| {
            warn!(
                ?error,
                brokers,
                "{OFFSETS_TOPIC} cannot be created, so consumer groups cannot work: start more brokers, or set \
                 offsets.topic.replication.factor to at most the number of brokers (1 on one machine)"
            );
        });
    }
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
