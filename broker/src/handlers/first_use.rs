//! Topics that come into being when somebody first asks for them: the internal ones, and others where
//! `auto.create.topics.enable` allows it.

use std::collections::BTreeMap;
use std::sync::Once;

use kafka_protocol::error::ResponseError;
use tracing::warn;

use crate::cluster::admin::NewTopic;
use crate::handlers::Context;
use crate::house::House;
use crate::machines::group_room::OFFSETS_TOPIC;
use crate::machines::transaction_room::TRANSACTION_TOPIC;

/// Begins to create topics that are not there, without waiting for their leaders. Tells for each what a client that
/// asked for its metadata hears: `LeaderNotAvailable` where it is on its way.
///
/// On ZooKeeper any broker may write a new topic down; the controller takes it from there.
pub(super) async fn create(
    house: &House,
    context: &Context,
    names: Vec<String>,
) -> BTreeMap<String, ResponseError> {
    if names.is_empty() {
        return BTreeMap::new();
    }
    let topics = names.iter().map(|name| new_topic(house, name)).collect();
    // They count, and are never refused for it: no version of these requests knows that answer.
    let mut changes = house.quotas.changes(context, i16::MAX);
    let config = house.live.current();
    let created = house.admin().create_topics(&config, topics, false, NO_WAIT, &mut changes).await;
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

/// Without its topic no coordinator can work, and clients ask for it again and again.
fn say_once(name: &str, error: ResponseError, brokers: usize) {
    static OFFSETS: Once = Once::new();
    static TRANSACTIONS: Once = Once::new();
    let (said, what, key) = match name {
        OFFSETS_TOPIC => (&OFFSETS, "consumer groups", "offsets.topic.replication.factor"),
        TRANSACTION_TOPIC => (&TRANSACTIONS, "transactions", "transaction.state.log.replication.factor"),
        _ => return,
    };
    said.call_once(|| {
        warn!(
            ?error,
            brokers,
            "{name} cannot be created, so {what} cannot work: start more brokers, or set {key} to at most the number \
             of brokers (1 on one machine)"
        );
    });
}

const NO_WAIT: i32 = 0;

fn new_topic(house: &House, name: &str) -> NewTopic {
    match name {
        OFFSETS_TOPIC => offsets_topic(house),
        TRANSACTION_TOPIC => transaction_topic(house),
        _ => NewTopic { name: name.to_owned(), ..NewTopic::default() },
    }
}

fn config(key: &str, value: impl ToString) -> (String, Option<String>) {
    (key.to_owned(), Some(value.to_string()))
}

fn offsets_topic(house: &House) -> NewTopic {
    let groups = &house.config.groups;
    NewTopic {
        name: OFFSETS_TOPIC.to_owned(),
        partitions: Some(groups.offsets_topic_partitions),
        replication_factor: Some(groups.offsets_topic_replication_factor.into()),
        assignments: Vec::new(),
        configs: vec![
            config("compression.type", "producer"),
            config("cleanup.policy", "compact"),
            config("segment.bytes", groups.offsets_topic_segment_bytes),
        ],
    }
}

fn transaction_topic(house: &House) -> NewTopic {
    let transactions = &house.config.transactions;
    NewTopic {
        name: TRANSACTION_TOPIC.to_owned(),
        partitions: Some(transactions.topic_partitions),
        replication_factor: Some(transactions.topic_replication_factor.into()),
        assignments: Vec::new(),
        configs: vec![
            config("unclean.leader.election.enable", false),
            config("compression.type", "uncompressed"),
            config("cleanup.policy", "compact"),
            config("min.insync.replicas", transactions.topic_min_isr),
            config("segment.bytes", transactions.topic_segment_bytes),
        ],
    }
}
