//! Adding partitions to topics.

use std::collections::{BTreeMap, BTreeSet};

use coordinator::cluster::{Assignment, LiveBroker, Placement, TopicRecord, assign_replicas};
use kafka_protocol::error::ResponseError;
use storage::types::BrokerId;

use super::{Admin, AdminError, all_led, deadline, list};
use crate::cluster::loading::all_brokers;
use crate::cluster::znodes::{self, encode_topic, paths};
use crate::quota::Changes;

/// A topic that shall have more partitions.
#[derive(Clone, Debug)]
pub(crate) struct MorePartitions {
    pub(crate) topic: String,
    /// Partitions in the end.
    pub(crate) count: i32,
    /// One list of replicas for each new partition; `None` lets the cluster choose.
    pub(crate) assignments: Option<Vec<Vec<BrokerId>>>,
}

impl Admin<'_> {
    /// Adds partitions and waits for their leaders. The results come in the order of the topics.
    pub(crate) async fn create_partitions(
        &self,
        topics: Vec<MorePartitions>,
        validate_only: bool,
        timeout_ms: i32,
        changes: &mut Changes<'_>,
    ) -> Vec<Result<(), AdminError>> {
        let deadline = deadline(timeout_ms);
        let brokers = match all_brokers(self.zookeeper).await {
            Ok(brokers) => brokers,
            Err(error) => return topics.iter().map(|_| Err(error.clone())).collect(),
        };
        let mut grown = Vec::with_capacity(topics.len());
        for topic in topics {
            let name = topic.topic.clone();
            grown.push((name, self.grow(topic, &brokers, validate_only, changes).await));
        }
        let mut results = Vec::with_capacity(grown.len());
        for (name, result) in grown {
            results.push(match result {
                Ok(_) if validate_only => Ok(()),
                Ok(partitions) => {
                    let seen = match deadline {
                        Some(deadline) => {
                            self.see(deadline, |cluster| all_led(cluster, &name, &partitions)).await
                        }
                        None => false,
                    };
                    if seen { Ok(()) } else { Err(AdminError::timed_out()) }
                }
                Err(error) => Err(error),
            });
        }
        results
    }

    /// All partitions of the topic as it is then.
    async fn grow(
        &self,
        wanted: MorePartitions,
        brokers: &[LiveBroker],
        validate_only: bool,
        changes: &mut Changes<'_>,
    ) -> Result<Vec<i32>, AdminError> {
        let name = &wanted.topic;
        let unknown = || {
            let message = format!("The topic '{name}' does not exist.");
            AdminError::new(ResponseError::UnknownTopicOrPartition, message)
        };
        if super::invalid_topic_name(name).is_some() {
            return Err(unknown());
        }
        if self.topic_exists(&paths::deletion(name)).await? {
            let message = "The topic is queued for deletion.";
            return Err(AdminError::new(ResponseError::InvalidTopicException, message));
        }
        let path = paths::topic(name);
        let (data, _) = self.zookeeper.get(&path).await?.ok_or_else(unknown)?;
        let mut record = znodes::topic(name, &data)?;
        if record.assignments.values().any(Assignment::is_being_reassigned) {
            let message = format!("A partition reassignment is in progress for the topic '{name}'.");
            return Err(AdminError::new(ResponseError::ReassignmentInProgress, message));
        }
        if record.assignments.is_empty() {
            return Err(unknown());
        }
        let new = new_assignments(&record, &wanted, brokers)?;
        let added = new.len();
        for (index, replicas) in new {
            record.assignments.insert(index, Assignment::of(replicas));
        }
        if !validate_only {
            changes.record(added)?;
            tracing::info!(topic = name, partitions = record.assignments.len(), "adding partitions");
            self.zookeeper.set(&path, &encode_topic(&record), None).await?;
        }
        Ok(record.assignments.keys().copied().collect())
    }
}

fn new_assignments(
    record: &TopicRecord,
    wanted: &MorePartitions,
    brokers: &[LiveBroker],
) -> Result<BTreeMap<i32, Vec<BrokerId>>, AdminError> {
    let existing = i32::try_from(record.assignments.len()).unwrap_or(i32::MAX);
    let count = wanted.count;
    let added = count.saturating_sub(existing);
    if added <= 0 {
        let message = if added == 0 {
            format!("Topic already has {existing} partitions.")
        } else {
            format!("Topic currently has {existing} partitions, which is higher than the requested {count}.")
        };
        return Err(AdminError::new(ResponseError::InvalidPartitions, message));
    }
    let first = record.assignments.get(&0).ok_or_else(|| {
        let message = format!(
            "Unexpected existing replica assignment for topic '{}', partition id 0 is missing.",
            record.name
        );
        AdminError::new(ResponseError::UnknownServerError, message)
    })?;
    if let Some(assignments) = &wanted.assignments {
        let new: BTreeMap<i32, Vec<BrokerId>> = (existing..).zip(assignments.iter().cloned()).collect();
        check_assignments(&new, added, first.replicas.len(), brokers)?;
        return Ok(new);
    }
    let with_racks = brokers.iter().filter(|broker| broker.rack.is_some()).count();
    if with_racks > 0 && with_racks < brokers.len() {
        let message = "Not all brokers have rack information. Add --disable-rack-aware in command line to make \
                       replica assignment without rack information.";
        return Err(AdminError::new(ResponseError::UnknownServerError, message));
    }
    let leader = first.replicas.first().copied().unwrap_or(BrokerId::NONE);
    let start = brokers.iter().position(|broker| broker.id >= leader).unwrap_or(0);
    let placement = Placement {
        partitions: added,
        replication_factor: i32::try_from(first.replicas.len()).unwrap_or(i32::MAX),
        first_partition: existing,
        start,
        shift: start,
    };
    let brokers: Vec<(BrokerId, Option<&str>)> =
        brokers.iter().map(|broker| (broker.id, broker.rack.as_deref())).collect();
    Ok(assign_replicas(&brokers, placement)?)
}

fn check_assignments(
    new: &BTreeMap<i32, Vec<BrokerId>>,
    added: i32,
    replication_factor: usize,
    brokers: &[LiveBroker],
) -> Result<(), AdminError> {
    let refuse = |message: String| Err(AdminError::new(ResponseError::InvalidReplicaAssignment, message));
    let known: BTreeSet<BrokerId> = brokers.iter().map(|broker| broker.id).collect();
    let named: BTreeSet<BrokerId> = new.values().flatten().copied().collect();
    let unknown: Vec<BrokerId> = named.difference(&known).copied().collect();
    if !unknown.is_empty() {
        return refuse(format!("Unknown broker(s) in replica assignment: {}.", list(&unknown)));
    }
    if usize::try_from(added) != Ok(new.len()) {
        return refuse(format!(
            "Increasing the number of partitions by {added} but {} assignments provided.",
            new.len()
        ));
    }
    for (index, replicas) in new {
        if replicas.is_empty() {
            return refuse(format!("Cannot have replication factor of 0 for partition id {index}."));
        }
        if replicas.iter().collect::<BTreeSet<_>>().len() != replicas.len() {
            return refuse(format!(
                "Duplicate brokers not allowed in replica assignment: {} for partition id {index}.",
                list(replicas)
            ));
        }
    }
    let odd: Vec<(&i32, usize)> = new
        .iter()
        .map(|(index, replicas)| (index, replicas.len()))
        .filter(|(_, count)| *count != replication_factor)
        .collect();
    if !odd.is_empty() {
        let indexes = odd.iter().map(|(index, _)| index.to_string()).collect::<Vec<_>>().join(", ");
        let counts = odd.iter().map(|(_, count)| count.to_string()).collect::<Vec<_>>().join(", ");
        return refuse(format!(
            "Inconsistent replication factor between partitions, partition 0 has {replication_factor} while \
             partitions [{indexes}] have replication factors [{counts}], respectively."
        ));
    }
    Ok(())
}
