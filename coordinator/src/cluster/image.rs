//! What the controller knows: brokers, topics, and how far each partition and replica has come.
//!
//! Always true here: the image changes only after ZooKeeper took the write. It answers questions and decides nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use storage::types::{BrokerId, TopicId, TopicPartition};

use super::types::{Assignment, Leadership, LiveBroker, TopicRecord};

/// How far a partition has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartitionPhase {
    /// Assigned, but never led.
    New,
    Online,
    /// Its leader is gone.
    Offline,
    /// Its topic is being deleted.
    NonExistent,
}

/// How far a replica has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaPhase {
    New,
    Online,
    Offline,
    DeletionStarted,
    DeletionSuccessful,
    /// Could not be deleted: its broker or disk is away.
    DeletionIneligible,
}

impl ReplicaPhase {
    /// Whether a replica may go from here to `next`.
    pub(super) fn may_become(self, next: ReplicaPhase) -> bool {
        use ReplicaPhase::{DeletionIneligible, DeletionStarted, DeletionSuccessful, New, Offline, Online};
        match next {
            New => false,
            Online | Offline => matches!(self, New | Online | Offline | DeletionIneligible),
            DeletionStarted => self == Offline,
            DeletionSuccessful => self == DeletionStarted,
            DeletionIneligible => matches!(self, Offline | DeletionStarted),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    pub assignment: Assignment,
    /// `None` until a first leader was written.
    pub leadership: Option<Leadership>,
    pub phase: PartitionPhase,
    /// A replica that is missing here was never started.
    pub replicas: BTreeMap<BrokerId, ReplicaPhase>,
}

impl Partition {
    pub(super) fn new(assignment: Assignment) -> Partition {
        Partition { assignment, leadership: None, phase: PartitionPhase::New, replicas: BTreeMap::new() }
    }
}

/// Where the deletion of a topic stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deletion {
    /// Brokers were told; its partitions have no leader any more.
    pub started: bool,
    /// Waits until a broker or disk comes back, or a reassignment is through.
    pub ineligible: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topic {
    pub id: Option<TopicId>,
    pub partitions: BTreeMap<i32, Partition>,
}

/// The cluster in the eyes of its controller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    pub(super) brokers: BTreeMap<BrokerId, LiveBroker>,
    pub(super) shutting_down: BTreeSet<BrokerId>,
    pub(super) topics: BTreeMap<Arc<str>, Topic>,
    pub(super) names: BTreeMap<TopicId, Arc<str>>,
    /// A topic may stand here without existing: then only the wish is dropped.
    pub(super) deletions: BTreeMap<Arc<str>, Deletion>,
    /// Replicas that a broker said it could not open.
    pub(super) offline_replicas: BTreeMap<BrokerId, BTreeSet<TopicPartition>>,
}

impl Image {
    /// All that are registered, those that are shutting down included, by id.
    #[must_use]
    pub fn brokers(&self) -> &BTreeMap<BrokerId, LiveBroker> {
        &self.brokers
    }

    /// Brokers that asked to go and are not gone yet.
    #[must_use]
    pub fn shutting_down(&self) -> &BTreeSet<BrokerId> {
        &self.shutting_down
    }

    #[must_use]
    pub fn topics(&self) -> &BTreeMap<Arc<str>, Topic> {
        &self.topics
    }

    #[must_use]
    pub fn partition(&self, partition: &TopicPartition) -> Option<&Partition> {
        self.topics.get(&partition.topic)?.partitions.get(&partition.partition)
    }

    #[must_use]
    pub fn leadership(&self, partition: &TopicPartition) -> Option<&Leadership> {
        self.partition(partition)?.leadership.as_ref()
    }

    /// The topic an id belongs to.
    #[must_use]
    pub fn topic_name(&self, id: TopicId) -> Option<&Arc<str>> {
        self.names.get(&id)
    }

    #[must_use]
    pub fn is_queued_for_deletion(&self, topic: &str) -> bool {
        self.deletions.contains_key(topic)
    }

    /// Partitions without a leader that could serve: for the operator's eyes.
    #[must_use]
    pub fn offline_partitions(&self) -> usize {
        self.partitions()
            .filter(|(name, _)| !self.is_queued_for_deletion(&name.topic))
            .filter(|(_, partition)| partition.phase == PartitionPhase::Offline)
            .count()
    }

    pub(super) fn partition_mut(&mut self, partition: &TopicPartition) -> Option<&mut Partition> {
        self.topics.get_mut(&partition.topic)?.partitions.get_mut(&partition.partition)
    }

    /// In the order of names and indexes.
    pub(super) fn partitions(&self) -> impl Iterator<Item = (TopicPartition, &Partition)> {
        self.topics.iter().flat_map(|(name, topic)| {
            topic
                .partitions
                .iter()
                .map(|(index, partition)| (TopicPartition::new(Arc::clone(name), *index), partition))
        })
    }

    pub(super) fn partitions_of(&self, topic: &str) -> Vec<TopicPartition> {
        let Some((name, topic)) = self.topics.get_key_value(topic) else { return Vec::new() };
        topic.partitions.keys().map(|index| TopicPartition::new(Arc::clone(name), *index)).collect()
    }

    /// Live and not about to go.
    pub(super) fn is_live(&self, broker: BrokerId) -> bool {
        self.brokers.contains_key(&broker) && !self.shutting_down.contains(&broker)
    }

    pub(super) fn is_replica_online(&self, replica: BrokerId, partition: &TopicPartition) -> bool {
        self.is_live(replica) && !self.is_on_offline_disk(replica, partition)
    }

    fn is_on_offline_disk(&self, replica: BrokerId, partition: &TopicPartition) -> bool {
        self.offline_replicas.get(&replica).is_some_and(|offline| offline.contains(partition))
    }

    pub(super) fn live_replicas(&self, partition: &TopicPartition) -> Vec<BrokerId> {
        self.replicas_where(partition, |replica| self.is_replica_online(replica, partition))
    }

    /// As `live_replicas`, with those on brokers that are shutting down.
    pub(super) fn running_replicas(&self, partition: &TopicPartition) -> Vec<BrokerId> {
        self.replicas_where(partition, |replica| {
            self.brokers.contains_key(&replica) && !self.is_on_offline_disk(replica, partition)
        })
    }

    fn replicas_where(&self, partition: &TopicPartition, wanted: impl Fn(BrokerId) -> bool) -> Vec<BrokerId> {
        self.partition(partition)
            .map(|found| found.assignment.replicas.iter().copied().filter(|id| wanted(*id)).collect())
            .unwrap_or_default()
    }

    /// All replicas on these brokers.
    pub(super) fn replicas_on(&self, brokers: &BTreeSet<BrokerId>) -> Replicas {
        let mut found = Replicas::default();
        for (name, partition) in self.partitions() {
            for replica in &partition.assignment.replicas {
                if brokers.contains(replica) {
                    found.insert(*replica, name.clone());
                }
            }
        }
        found
    }

    /// All replicas of these topics.
    pub(super) fn replicas_of<'a>(&self, topics: impl IntoIterator<Item = &'a Arc<str>>) -> Replicas {
        let mut found = Replicas::default();
        for topic in topics {
            for (index, partition) in self.topics.get(topic).into_iter().flat_map(|topic| &topic.partitions) {
                for replica in &partition.assignment.replicas {
                    found.insert(*replica, TopicPartition::new(Arc::clone(topic), *index));
                }
            }
        }
        found
    }

    pub(super) fn replica_phase(
        &self,
        replica: BrokerId,
        partition: &TopicPartition,
    ) -> Option<ReplicaPhase> {
        self.partition(partition)?.replicas.get(&replica).copied()
    }

    pub(super) fn set_replica_phase(
        &mut self,
        replica: BrokerId,
        partition: &TopicPartition,
        phase: ReplicaPhase,
    ) {
        if let Some(partition) = self.partition_mut(partition) {
            partition.replicas.insert(replica, phase);
        }
    }

    pub(super) fn set_leadership(&mut self, partition: &TopicPartition, leadership: Leadership) {
        if let Some(partition) = self.partition_mut(partition) {
            partition.leadership = Some(leadership);
        }
    }

    /// The topic as its znode should have it.
    pub(super) fn record(&self, topic: &str) -> Option<TopicRecord> {
        let (name, topic) = self.topics.get_key_value(topic)?;
        let assignments = topic
            .partitions
            .iter()
            .map(|(index, partition)| (*index, partition.assignment.clone()))
            .collect();
        Some(TopicRecord { name: Arc::clone(name), id: topic.id, assignments })
    }
}

/// Replicas by broker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Replicas(pub(super) BTreeMap<BrokerId, BTreeSet<TopicPartition>>);

impl Replicas {
    pub(super) fn insert(&mut self, replica: BrokerId, partition: TopicPartition) {
        self.0.entry(replica).or_default().insert(partition);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (BrokerId, &TopicPartition)> {
        self.0.iter().flat_map(|(replica, partitions)| partitions.iter().map(|p| (*replica, p)))
    }

    /// Those that are `wanted`, and the others.
    pub(super) fn split(self, wanted: impl Fn(BrokerId, &TopicPartition) -> bool) -> (Replicas, Replicas) {
        let (mut yes, mut no) = (Replicas::default(), Replicas::default());
        for (replica, partitions) in self.0 {
            for partition in partitions {
                let side = if wanted(replica, &partition) { &mut yes } else { &mut no };
                side.insert(replica, partition);
            }
        }
        (yes, no)
    }

    pub(super) fn topics(&self) -> BTreeSet<Arc<str>> {
        self.iter().map(|(_, partition)| Arc::clone(&partition.topic)).collect()
    }
}
