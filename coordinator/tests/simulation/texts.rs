//! What stands in the znodes of the simulation, and where. The texts are its own; the paths are Kafka's.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use coordinator::cluster::{Assignment, Leadership, LiveBroker, Recovery, TopicRecord};
use storage::types::{BrokerId, LeaderEpoch, TopicId, TopicPartition};

pub(crate) const CONTROLLER: &str = "/controller";
pub(crate) const CONTROLLER_EPOCH: &str = "/controller_epoch";
pub(crate) const BROKERS: &str = "/brokers/ids";
pub(crate) const TOPICS: &str = "/brokers/topics";

/// What every cluster has, parents first.
pub(crate) const PERSISTENT: [&str; 3] = ["/brokers", BROKERS, TOPICS];

pub(crate) fn broker(id: BrokerId) -> String {
    format!("{BROKERS}/{id}")
}

pub(crate) fn topic(name: &str) -> String {
    format!("{TOPICS}/{name}")
}

pub(crate) fn topic_partitions(name: &str) -> String {
    format!("{TOPICS}/{name}/partitions")
}

pub(crate) fn partition(name: &TopicPartition) -> String {
    format!("{TOPICS}/{}/partitions/{}", name.topic, name.partition)
}

pub(crate) fn state(name: &TopicPartition) -> String {
    format!("{}/state", partition(name))
}

pub(crate) fn number(number: i64) -> Bytes {
    Bytes::from(number.to_string())
}

pub(crate) fn read_number(data: &[u8]) -> i64 {
    text(data).parse().expect("a number")
}

pub(crate) fn live_broker(id: BrokerId, epoch: i64) -> LiveBroker {
    LiveBroker { id, epoch, rack: None, endpoints: Vec::new() }
}

/// The partition whose state lies at `path`.
pub(crate) fn partition_of_state(path: &str) -> Option<TopicPartition> {
    let (topic, rest) = path.strip_prefix(TOPICS)?.strip_prefix('/')?.split_once("/partitions/")?;
    let index = rest.strip_suffix("/state")?.parse().ok()?;
    Some(TopicPartition::new(topic, index))
}

/// The broker whose registration lies at `path`.
pub(crate) fn broker_of(path: &str) -> Option<BrokerId> {
    path.strip_prefix(BROKERS)?.strip_prefix('/')?.parse().ok().map(BrokerId)
}

pub(crate) fn encode_state(state: &Leadership) -> Bytes {
    let Leadership { leader, leader_epoch, recovery, controller_epoch, .. } = state;
    Bytes::from(format!("{leader} {leader_epoch} {} {controller_epoch} {}", recovery.id(), ids(&state.isr)))
}

pub(crate) fn decode_state(data: &[u8], version: i32) -> Leadership {
    let mut words = text(data).split(' ');
    let mut next = || words.next().expect("a word");
    let number = |word: &str| word.parse::<i32>().expect("a number");
    Leadership {
        leader: BrokerId(number(next())),
        leader_epoch: LeaderEpoch(number(next())),
        recovery: if next() == "0" { Recovery::Recovered } else { Recovery::Recovering },
        controller_epoch: number(next()),
        isr: read_ids(next()),
        version,
    }
}

pub(crate) fn encode_topic(record: &TopicRecord) -> Bytes {
    let id = record.id.map_or_else(|| "-".to_owned(), |id| id.to_string());
    let partitions = record.assignments.iter().map(|(index, assignment)| {
        let Assignment { replicas, adding, removing } = assignment;
        format!(" {index}:{}:{}:{}", ids(replicas), ids(adding), ids(removing))
    });
    Bytes::from(id + &partitions.collect::<String>())
}

pub(crate) fn decode_topic(name: &str, data: &[u8]) -> TopicRecord {
    let mut words = text(data).split(' ');
    let id = TopicId::parse(words.next().expect("an id"));
    let assignments = words.map(|word| {
        let mut parts = word.split(':');
        let mut next = || parts.next().expect("a part");
        let index = next().parse().expect("an index");
        let assignment =
            Assignment { replicas: read_ids(next()), adding: read_ids(next()), removing: read_ids(next()) };
        (index, assignment)
    });
    let assignments: BTreeMap<i32, Assignment> = assignments.collect();
    TopicRecord { name: Arc::from(name), id, assignments }
}

fn ids(ids: &[BrokerId]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn read_ids(text: &str) -> Vec<BrokerId> {
    text.split(',').filter(|id| !id.is_empty()).map(|id| BrokerId(id.parse().expect("an id"))).collect()
}

fn text(data: &[u8]) -> &str {
    std::str::from_utf8(data).expect("text")
}
