//! Making topics.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use coordinator::cluster::{Assignment, Placement, TopicRecord, assign_replicas};
use kafka_protocol::error::ResponseError;
use storage::types::{BrokerId, TopicId};

use super::{
    Admin, AdminError, all_led, collide, deadline, has_collision_characters, invalid_topic_name, list,
};
use crate::cluster::configs;
use crate::cluster::loading::fresh_ids;
use crate::cluster::znodes::{encode_topic, paths};
use crate::config::BrokerConfig;
use crate::config::properties::Properties;
use crate::quota::Changes;

/// A topic to be made.
#[derive(Clone, Debug, Default)]
pub(crate) struct NewTopic {
    pub(crate) name: String,
    /// `None`: `num.partitions`, or given by the assignments.
    pub(crate) partitions: Option<i32>,
    /// `None`: `default.replication.factor`, or given by the assignments.
    pub(crate) replication_factor: Option<i32>,
    /// In the order of the request; a partition named twice counts as named last.
    pub(crate) assignments: Vec<(i32, Vec<BrokerId>)>,
    /// In the order of the request.
    pub(crate) configs: Vec<(String, Option<String>)>,
}

/// A topic as it was made, or would have been.
#[derive(Clone, Debug)]
pub(crate) struct CreatedTopic {
    /// Zero where it was only checked, or topics have no ids.
    pub(crate) id: TopicId,
    pub(crate) partitions: Vec<i32>,
    pub(crate) replication_factor: usize,
    pub(crate) configs: Properties,
}

impl Admin<'_> {
    /// Makes topics and waits for their leaders. The results come in the order of the topics.
    ///
    /// A topic that is made but not seen in time counts as timed out; it stays.
    pub(crate) async fn create_topics(
        &self,
        config: &BrokerConfig,
        topics: Vec<NewTopic>,
        validate_only: bool,
        timeout_ms: i32,
        changes: &mut Changes<'_>,
    ) -> Vec<Result<CreatedTopic, AdminError>> {
        let deadline = deadline(timeout_ms);
        let mut results = Vec::with_capacity(topics.len());
        let mut names = Vec::with_capacity(topics.len());
        for topic in topics {
            names.push(topic.name.clone());
            results.push(self.create_topic(config, topic, validate_only, changes).await);
        }
        if validate_only {
            return results;
        }
        for (name, result) in names.iter().zip(&mut results) {
            let Ok(created) = &*result else { continue };
            let seen = match deadline {
                Some(deadline) => {
                    self.see(deadline, |cluster| all_led(cluster, name, &created.partitions)).await
                }
                None => false,
            };
            if !seen {
                *result = Err(AdminError::timed_out());
            }
        }
        results
    }

    async fn create_topic(
        &self,
        config: &BrokerConfig,
        topic: NewTopic,
        validate_only: bool,
        changes: &mut Changes<'_>,
    ) -> Result<CreatedTopic, AdminError> {
        let name = topic.name.clone();
        if self.metadata.snapshot().topic(&name).is_some() {
            return Err(exists(&name));
        }
        let configs = given_configs(&topic.configs)?;
        let assignments = self.assign(config, &topic)?;
        self.check(&name, &assignments).await?;
        let overrides: Properties = configs.iter().cloned().collect();
        config
            .check_topic(&overrides)
            .map_err(|error| AdminError::new(ResponseError::InvalidConfig, error.to_string()))?;
        let id = fresh_ids(usize::from(self.topic_ids)).pop();
        let created = CreatedTopic {
            id: id.filter(|_| !validate_only).unwrap_or_default(),
            partitions: assignments.keys().copied().collect(),
            replication_factor: assignments.values().next().map_or(0, Vec::len),
            configs: overrides,
        };
        if !validate_only {
            changes.record(created.partitions.len())?;
            tracing::info!(topic = name, partitions = created.partitions.len(), "creating");
            let assignments =
                assignments.into_iter().map(|(index, replicas)| (index, Assignment::of(replicas))).collect();
            let record = TopicRecord { name: Arc::from(name.as_str()), id, assignments };
            if !configs::create_topic(self.zookeeper, &name, &configs, encode_topic(&record)).await? {
                return Err(exists(&name));
            }
        }
        Ok(created)
    }

    /// The assignments asked for, or new ones over the live brokers.
    fn assign(
        &self,
        config: &BrokerConfig,
        topic: &NewTopic,
    ) -> Result<BTreeMap<i32, Vec<BrokerId>>, AdminError> {
        if !topic.assignments.is_empty() {
            if topic.partitions.is_some() || topic.replication_factor.is_some() {
                let both = "Both numPartitions or replicationFactor and replicasAssignments were set. Both cannot be \
                            used at the same time.";
                return Err(AdminError::new(ResponseError::InvalidRequest, both));
            }
            // Brokers that do not exist are let through, as Kafka does.
            return Ok(topic.assignments.iter().cloned().collect());
        }
        let cluster = self.metadata.snapshot();
        let brokers: Vec<(BrokerId, Option<&str>)> =
            cluster.brokers().map(|broker| (broker.id, broker.rack.as_deref())).collect();
        let [start, shift] = random();
        let placement = Placement {
            partitions: topic.partitions.unwrap_or(config.topics.default_partitions),
            replication_factor: topic.replication_factor.unwrap_or(config.topics.default_replication_factor),
            first_partition: 0,
            start,
            shift,
        };
        Ok(assign_replicas(&brokers, placement)?)
    }

    /// The name, and the shape of the assignments.
    async fn check(&self, name: &str, assignments: &BTreeMap<i32, Vec<BrokerId>>) -> Result<(), AdminError> {
        let refuse = |error, message: &str| Err(AdminError::new(error, message));
        if let Some(reason) = invalid_topic_name(name) {
            return refuse(ResponseError::InvalidTopicException, &reason);
        }
        if self.topic_exists(&paths::deletion(name)).await? {
            let message = format!("Topic '{name}' is marked for deletion.");
            return refuse(ResponseError::TopicAlreadyExists, &message);
        }
        if self.topic_exists(&paths::topic(name)).await? {
            return Err(exists(name));
        }
        if has_collision_characters(name) {
            let all = self.zookeeper.children(paths::TOPICS).await?.unwrap_or_default();
            let colliding: Vec<String> = all.into_iter().filter(|other| collide(name, other)).collect();
            if !colliding.is_empty() {
                let message =
                    format!("Topic '{name}' collides with existing topics: {}", colliding.join(", "));
                return refuse(ResponseError::InvalidTopicException, &message);
            }
        }
        let invalid = ResponseError::InvalidReplicaAssignment;
        if assignments.values().map(Vec::len).collect::<BTreeSet<_>>().len() != 1 {
            return refuse(invalid, "All partitions should have the same number of replicas");
        }
        if assignments
            .values()
            .any(|replicas| replicas.iter().collect::<BTreeSet<_>>().len() != replicas.len())
        {
            let shown = shown(assignments);
            return refuse(invalid, &format!("Duplicate replica assignment found: {shown}"));
        }
        if !assignments.keys().copied().eq((0..).take(assignments.len())) {
            return refuse(invalid, "partitions should be a consecutive 0-based integer sequence");
        }
        Ok(())
    }
}

fn exists(name: &str) -> AdminError {
    AdminError::new(ResponseError::TopicAlreadyExists, format!("Topic '{name}' already exists."))
}

fn given_configs(configs: &[(String, Option<String>)]) -> Result<Vec<(String, String)>, AdminError> {
    let without: Vec<&str> =
        configs.iter().filter(|(_, value)| value.is_none()).map(|(key, _)| key.as_str()).collect();
    if !without.is_empty() {
        let message = format!("Null value not supported for topic configs: {}", without.join(","));
        return Err(AdminError::new(ResponseError::InvalidConfig, message));
    }
    let mut given: Vec<(String, String)> = Vec::with_capacity(configs.len());
    for (key, value) in configs {
        let value = value.clone().unwrap_or_default();
        match given.iter_mut().find(|(known, _)| known == key) {
            Some((_, former)) => *former = value,
            None => given.push((key.clone(), value)),
        }
    }
    Ok(given)
}

/// As Scala prints such a map.
fn shown(assignments: &BTreeMap<i32, Vec<BrokerId>>) -> String {
    let entries: Vec<String> = assignments
        .iter()
        .map(|(partition, replicas)| format!("{partition} -> ArrayBuffer({})", list(replicas)))
        .collect();
    format!("HashMap({})", entries.join(", "))
}

/// Two random numbers below 2^32.
fn random() -> [usize; 2] {
    let bytes = uuid::Uuid::new_v4().into_bytes();
    let number = |at: usize| {
        bytes.iter().skip(at).take(4).fold(0_usize, |number, byte| (number << 8) | usize::from(*byte))
    };
    [number(0), number(12)]
}
