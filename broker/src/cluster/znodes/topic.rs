//! `/brokers/topics/T`, the states of its partitions, and the lists of partitions under `/admin`.

use std::collections::BTreeMap;
use std::sync::Arc;

use coordinator::cluster::{Assignment, Leadership, Recovery, TopicRecord};
use serde_json::{Map, Value, json};
use storage::types::{BrokerId, LeaderEpoch, TopicId, TopicPartition};

use super::{Node, Unreadable, order, paths, text};

/// Without an id where the cluster's inter-broker protocol is below 2.8.
pub(crate) fn encode_topic(topic: &TopicRecord) -> Vec<u8> {
    let replicas = |of: fn(&Assignment) -> &[BrokerId], with_empty: bool| -> Value {
        let mut lists: Vec<(String, Value)> = topic
            .assignments
            .iter()
            .map(|(partition, assignment)| (partition, of(assignment)))
            .filter(|(_, replicas)| with_empty || !replicas.is_empty())
            .map(|(partition, replicas)| (partition.to_string(), id_list(replicas)))
            .collect();
        order::as_scala_map(&mut lists);
        Value::Object(lists.into_iter().collect())
    };
    let mut json = Map::new();
    json.insert("partitions".into(), replicas(|assignment| &assignment.replicas, true));
    if let Some(id) = topic.id {
        json.insert("topic_id".into(), id.to_string().into());
    }
    json.insert("adding_replicas".into(), replicas(|assignment| &assignment.adding, false));
    json.insert("removing_replicas".into(), replicas(|assignment| &assignment.removing, false));
    json.insert("version".into(), 3.into());
    text(&json.into())
}

/// Reads versions 1 to 3.
pub(crate) fn topic(name: &str, data: &[u8]) -> Result<TopicRecord, Unreadable> {
    let path = paths::topic(name);
    let node = Node::parse(&path, data)?;
    node.version(1..=3)?;
    let id = match node.json.get("topic_id") {
        None | Some(Value::Null) => None,
        Some(id) => {
            Some(id.as_str().and_then(TopicId::parse).ok_or_else(|| node.lacks("topic_id", "a topic id"))?)
        }
    };
    let mut assignments = BTreeMap::new();
    let partitions = node.json.get("partitions").and_then(Value::as_object);
    for (partition, replicas) in partitions.into_iter().flatten() {
        let list = |key: &str| -> Result<Vec<BrokerId>, Unreadable> {
            match node.json.get(key).and_then(|lists| lists.get(partition)) {
                None => Ok(Vec::new()),
                Some(list) => ids(list).ok_or_else(|| node.lacks(key, "lists of broker ids")),
            }
        };
        let index = partition.parse().ok().filter(|index: &i32| *index >= 0);
        let index = index.ok_or_else(|| node.unreadable(&format!("{partition:?} is no partition")))?;
        let replicas = ids(replicas).ok_or_else(|| node.lacks("partitions", "lists of broker ids"))?;
        let assignment =
            Assignment { replicas, adding: list("adding_replicas")?, removing: list("removing_replicas")? };
        assignments.insert(index, assignment);
    }
    Ok(TopicRecord { name: Arc::from(name), id, assignments })
}

pub(crate) fn encode_state(state: &Leadership) -> Vec<u8> {
    // Five members and more come in another order in Kafka's map, hence the two forms.
    let json = match state.recovery {
        Recovery::Recovered => json!({
            "controller_epoch": state.controller_epoch,
            "leader": state.leader.0,
            "version": 1,
            "leader_epoch": state.leader_epoch.0,
            "isr": id_list(&state.isr),
        }),
        Recovery::Recovering => json!({
            "controller_epoch": state.controller_epoch,
            "leader": state.leader.0,
            "version": 1,
            "leader_recovery_state": state.recovery.id(),
            "leader_epoch": state.leader_epoch.0,
            "isr": id_list(&state.isr),
        }),
    };
    text(&json)
}

/// `version` is the node's `dataVersion`.
pub(crate) fn state(partition: &TopicPartition, data: &[u8], version: i32) -> Result<Leadership, Unreadable> {
    let path = paths::partition_state(partition);
    let node = Node::parse(&path, data)?;
    node.version(1..=1)?;
    let recovery = match node.optional_int("leader_recovery_state")?.unwrap_or(0) {
        0 => Recovery::Recovered,
        1 => Recovery::Recovering,
        _ => return Err(node.lacks("leader_recovery_state", "0 or 1")),
    };
    Ok(Leadership {
        leader: BrokerId(node.int("leader")?),
        leader_epoch: LeaderEpoch(node.int("leader_epoch")?),
        isr: node.json.get("isr").and_then(ids).ok_or_else(|| node.lacks("isr", "a list of broker ids"))?,
        recovery,
        controller_epoch: node.int("controller_epoch")?,
        version,
    })
}

/// `{"version":1,"partitions":[{"topic":..,"partition":..}]}`: preferred elections and ISR notices.
pub(crate) fn partition_list(path: &str, data: &[u8]) -> Result<Vec<TopicPartition>, Unreadable> {
    let node = Node::parse(path, data)?;
    node.version(1..=1)?;
    node.array("partitions")?
        .iter()
        .map(|item| named_partition(item).ok_or_else(|| node.lacks("partitions", "a list of partitions")))
        .collect()
}

/// `/admin/reassign_partitions`, as tools below 3.0 write it.
pub(crate) fn reassignment(data: &[u8]) -> Result<Vec<(TopicPartition, Vec<BrokerId>)>, Unreadable> {
    let node = Node::parse(paths::REASSIGN_PARTITIONS, data)?;
    node.version(1..=1)?;
    node.array("partitions")?
        .iter()
        .map(|item| {
            named_partition(item)
                .zip(item.get("replicas").and_then(ids))
                .ok_or_else(|| node.lacks("partitions", "a list of assignments"))
        })
        .collect()
}

/// What a broker writes when a log directory failed (`LogDirEventNotificationSequenceZNode`).
pub(crate) fn encode_log_dir_event(broker: BrokerId) -> Vec<u8> {
    format!(r#"{{"version":1,"broker":{broker},"event":1}}"#).into_bytes()
}

/// What is left of such a list, as Apache's controller writes it.
pub(crate) fn encode_reassignment(list: &BTreeMap<TopicPartition, Vec<BrokerId>>) -> Vec<u8> {
    let partitions: Vec<Value> = list
        .iter()
        .map(|(name, replicas)| {
            json!({"topic": &*name.topic, "partition": name.partition, "replicas": id_list(replicas)})
        })
        .collect();
    text(&json!({"version": 1, "partitions": partitions}))
}

/// The broker that tells of a failed log directory.
pub(crate) fn log_dir_event(path: &str, data: &[u8]) -> Result<BrokerId, Unreadable> {
    let node = Node::parse(path, data)?;
    node.version(1..=1)?;
    Ok(BrokerId(node.int("broker")?))
}

fn named_partition(item: &Value) -> Option<TopicPartition> {
    let partition = item.get("partition")?.as_i64().and_then(|index| i32::try_from(index).ok())?;
    Some(TopicPartition::new(item.get("topic")?.as_str()?, partition))
}

fn ids(list: &Value) -> Option<Vec<BrokerId>> {
    list.as_array()?
        .iter()
        .map(|id| id.as_i64().and_then(|id| i32::try_from(id).ok()).map(BrokerId))
        .collect()
}

fn id_list(ids: &[BrokerId]) -> Value {
    ids.iter().map(|id| id.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(data: &[u8]) -> String {
        String::from_utf8_lossy(data).into_owned()
    }

    #[test]
    fn topics_read_as_captured_and_back() {
        for captured in [
            r#"{"partitions":{"0":[2,1,0],"1":[0,2,1],"2":[1,0,2],"3":[2,0,1]},"topic_id":"wCT62mBgSaOmgu4MpgWr4w","adding_replicas":{},"removing_replicas":{},"version":3}"#,
            r#"{"partitions":{"0":[2,0,1]},"topic_id":"b3GjRiPyReiK4wMiubZheQ","adding_replicas":{"0":[2,0]},"removing_replicas":{"0":[1]},"version":3}"#,
            r#"{"partitions":{"0":[1,2,0],"1":[0,1,2],"2":[2,0,1]},"adding_replicas":{},"removing_replicas":{},"version":3}"#,
        ] {
            let read = topic("t", captured.as_bytes()).expect("captured text");
            assert_eq!(shown(&encode_topic(&read)), captured);
        }
    }

    #[test]
    fn many_partitions_come_in_the_order_of_scalas_table() {
        let assignments = (0..13).map(|partition| (partition, Assignment::of(vec![BrokerId(0)]))).collect();
        let record = TopicRecord { name: Arc::from("t"), id: None, assignments };
        let text = shown(&encode_topic(&record));
        // Captured from Apache 3.9.1 with 13 partitions on one broker.
        let captured = ["11", "12", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10"]
            .map(|partition| format!("\"{partition}\":[0]"))
            .join(",");
        assert!(text.contains(&captured), "{text}");
    }

    #[test]
    fn old_topics_are_read_and_future_ones_refused() {
        let first = topic("t", br#"{"version":1,"partitions":{"0":[1,2]}}"#).expect("version 1");
        assert_eq!(first.id, None);
        assert_eq!(first.assignments[&0], Assignment::of(vec![BrokerId(1), BrokerId(2)]));
        assert!(topic("t", br#"{"version":4,"partitions":{}}"#).is_err());
        assert!(topic("t", br#"{"version":3,"partitions":{"x":[1]}}"#).is_err());
        assert!(topic("t", br#"{"version":3,"partitions":{"0":[99999999999]}}"#).is_err());
        assert!(topic("t", b"").is_err());
    }

    #[test]
    fn states_read_as_captured_and_back() {
        let partition = TopicPartition::new("t", 0);
        let captured = r#"{"controller_epoch":1,"leader":2,"version":1,"leader_epoch":0,"isr":[2,1,0]}"#;
        let read = state(&partition, captured.as_bytes(), 4).expect("captured text");
        assert_eq!((read.leader, read.version, read.recovery), (BrokerId(2), 4, Recovery::Recovered));
        assert_eq!(shown(&encode_state(&read)), captured);

        let recovering = Leadership { recovery: Recovery::Recovering, ..read };
        assert_eq!(state(&partition, &encode_state(&recovering), 4), Ok(recovering));
        assert!(state(&partition, br#"{"version":1,"leader":1}"#, 0).is_err());
    }

    #[test]
    fn lists_of_partitions_are_read() {
        let list = br#"{"version":1,"partitions":[{"topic":"t","partition":3}]}"#;
        assert_eq!(partition_list("/p", list), Ok(vec![TopicPartition::new("t", 3)]));
        let moves = br#"{"version":1,"partitions":[{"topic":"t","partition":3,"replicas":[1,2]}]}"#;
        assert_eq!(
            reassignment(moves),
            Ok(vec![(TopicPartition::new("t", 3), vec![BrokerId(1), BrokerId(2)])])
        );
        assert_eq!(encode_log_dir_event(BrokerId(2)), br#"{"version":1,"broker":2,"event":1}"#);
        assert_eq!(log_dir_event("/p", br#"{"version":1,"broker":2,"event":1}"#), Ok(BrokerId(2)));
    }
}
