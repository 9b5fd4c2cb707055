//! Topics that come, grow, and get their ids.

use std::collections::BTreeSet;
use std::sync::Arc;

use storage::types::{TopicId, TopicPartition};

use super::controller::{Controller, Pending, Strategy, Task, Then};
use super::image::{Image, Partition, PartitionPhase, ReplicaPhase, Replicas, Topic};
use super::plan::Operation;
use super::types::{Assignment, TopicRecord};

impl Controller {
    pub(super) fn compare_topics(
        &mut self,
        all: &BTreeSet<Arc<str>>,
        new: Vec<TopicRecord>,
        fresh_ids: Vec<TopicId>,
    ) {
        let gone: Vec<Arc<str>> =
            self.image.topics.keys().filter(|name| !all.contains(*name)).cloned().collect();
        for topic in gone {
            self.image.remove_topic(&topic);
        }
        let (mut partitions, mut without_id) = (Vec::new(), Vec::new());
        for record in new {
            if self.image.topics.contains_key(&record.name) {
                continue;
            }
            if record.id.is_none() && self.settings.topic_ids {
                without_id.push(Arc::clone(&record.name));
            }
            let name = Arc::clone(&record.name);
            self.image.add_topic(record);
            partitions.extend(self.image.partitions_of(&name));
        }
        self.first([Task::StartPartitions(partitions)]);
        self.give_ids(without_id, &mut fresh_ids.into_iter());
    }

    /// Writes an id into each topic that lacks one, before anything else is done with it.
    pub(super) fn give_ids(&mut self, topics: Vec<Arc<str>>, ids: &mut impl Iterator<Item = TopicId>) {
        let mut work = Vec::new();
        for (name, id) in topics.into_iter().zip(ids) {
            let Some(record) = self.image.record(&name) else { continue };
            let record = TopicRecord { id: Some(id), ..record };
            work.push((Operation::SetTopic(record), Pending::TopicId(name, id)));
        }
        if !work.is_empty() {
            self.execute(work, Then::NextTask);
        }
    }

    pub(super) fn modify_topic(&mut self, record: TopicRecord) {
        let Some(topic) = self.image.topics.get(&record.name) else { return };
        let added: Vec<(i32, Assignment)> = record
            .assignments
            .into_iter()
            .filter(|(index, _)| !topic.partitions.contains_key(index))
            .collect();
        if added.is_empty() {
            return;
        }
        if self.image.is_queued_for_deletion(&record.name) {
            self.note(format!("topic {} is being deleted: its new partitions are taken back", record.name));
            let restored = self.image.record(&record.name).map(|r| Task::Do(Operation::SetTopic(r)));
            self.first(restored);
            return;
        }
        let mut partitions = Vec::new();
        if let Some(topic) = self.image.topics.get_mut(&record.name) {
            for (index, assignment) in added {
                topic.partitions.insert(index, Partition::new(assignment));
                partitions.push(TopicPartition::new(Arc::clone(&record.name), index));
            }
        }
        self.first([Task::StartPartitions(partitions)]);
    }

    pub(super) fn start_partitions(&mut self, partitions: Vec<TopicPartition>) {
        let mut replicas = Replicas::default();
        for name in &partitions {
            let Some(partition) = self.image.partition_mut(name) else { continue };
            partition.phase = PartitionPhase::New;
            for replica in partition.assignment.replicas.clone() {
                partition.replicas.insert(replica, ReplicaPhase::New);
                replicas.insert(replica, name.clone());
            }
        }
        if !partitions.is_empty() {
            self.first([
                Task::Elect(partitions, Strategy::Offline { unclean: false }),
                Task::Online(replicas),
            ]);
        }
    }
}

impl Image {
    pub(super) fn add_topic(&mut self, record: TopicRecord) {
        let partitions = record
            .assignments
            .into_iter()
            .map(|(index, assignment)| (index, Partition::new(assignment)))
            .collect();
        if let Some(id) = record.id {
            self.names.insert(id, Arc::clone(&record.name));
        }
        self.topics.insert(record.name, Topic { id: record.id, partitions });
    }

    pub(super) fn set_topic_id(&mut self, name: &Arc<str>, id: TopicId) {
        if let Some(topic) = self.topics.get_mut(name) {
            topic.id = Some(id);
            self.names.insert(id, Arc::clone(name));
        }
    }

    pub(super) fn remove_topic(&mut self, name: &Arc<str>) {
        if let Some(id) = self.topics.remove(name).and_then(|topic| topic.id) {
            self.names.remove(&id);
        }
        self.deletions.remove(name);
        for offline in self.offline_replicas.values_mut() {
            offline.retain(|partition| partition.topic != *name);
        }
    }

    pub(super) fn is_being_reassigned(&self, topic: &str) -> bool {
        self.topics.get(topic).is_some_and(|topic| {
            topic.partitions.values().any(|partition| partition.assignment.is_being_reassigned())
        })
    }
}
