//! Where things are in the tree, relative to the chroot.

use storage::types::{BrokerId, TopicPartition};

pub(crate) const BROKER_IDS: &str = "/brokers/ids";
pub(crate) const TOPICS: &str = "/brokers/topics";
pub(crate) const BROKER_SEQUENCE: &str = "/brokers/seqid";
pub(crate) const CLUSTER_ID: &str = "/cluster/id";
pub(crate) const CONTROLLER: &str = "/controller";
pub(crate) const CONTROLLER_EPOCH: &str = "/controller_epoch";
pub(crate) const FEATURE: &str = "/feature";
pub(crate) const DELETE_TOPICS: &str = "/admin/delete_topics";
pub(crate) const REASSIGN_PARTITIONS: &str = "/admin/reassign_partitions";
pub(crate) const PREFERRED_ELECTION: &str = "/admin/preferred_replica_election";
pub(crate) const CONFIG_CHANGES: &str = "/config/changes";
pub(crate) const ISR_CHANGES: &str = "/isr_change_notification";
pub(crate) const LOG_DIR_EVENTS: &str = "/log_dir_event_notification";
pub(crate) const PRODUCER_ID_BLOCK: &str = "/latest_producer_id_block";

/// What every broker makes sure exists when it starts, in Kafka's order (parents are made on the way).
///
/// Without the block of producer ids: Apache's controller reads a node that holds empty data (not: no data) as a broken
/// block, and nodes without data are beyond the client library. Whoever hands out the first block creates it.
pub(crate) const PERSISTENT: [&str; 13] = [
    "/consumers",
    BROKER_IDS,
    TOPICS,
    CONFIG_CHANGES,
    DELETE_TOPICS,
    BROKER_SEQUENCE,
    ISR_CHANGES,
    LOG_DIR_EVENTS,
    "/config/topics",
    "/config/clients",
    "/config/users",
    "/config/brokers",
    "/config/ips",
];

pub(crate) fn broker(id: BrokerId) -> String {
    format!("{BROKER_IDS}/{id}")
}

pub(crate) fn topic(topic: &str) -> String {
    format!("{TOPICS}/{topic}")
}

pub(crate) fn topic_partitions(topic: &str) -> String {
    format!("{TOPICS}/{topic}/partitions")
}

pub(crate) fn partition(partition: &TopicPartition) -> String {
    format!("{TOPICS}/{}/partitions/{}", partition.topic, partition.partition)
}

pub(crate) fn partition_state(partition: &TopicPartition) -> String {
    format!("{TOPICS}/{}/partitions/{}/state", partition.topic, partition.partition)
}

pub(crate) fn deletion(topic: &str) -> String {
    format!("{DELETE_TOPICS}/{topic}")
}

/// `entity_type`: topics, clients, users, brokers, ips. `entity` is percent-encoded where Kafka does so (users, clients).
pub(crate) fn config(entity_type: &str, entity: &str) -> String {
    format!("/config/{entity_type}/{entity}")
}

/// Config of all topics of a name: `/config/topics/T`.
pub(crate) fn topic_config(topic: &str) -> String {
    config("topics", topic)
}

/// Prefix of the sequential nodes that tell of a failed log directory.
pub(crate) const LOG_DIR_EVENT_PREFIX: &str = "/log_dir_event_notification/log_dir_event_";

/// Prefix of the sequential nodes that announce a changed config.
pub(crate) const CONFIG_CHANGE_PREFIX: &str = "/config/changes/config_change_";
