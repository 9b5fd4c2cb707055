//! Topics on their way out.
//!
//! Every replica is stopped, taken out of its in-sync set and deleted; when all of them said so, the topic's nodes go. A
//! topic with a replica on a dead broker or disk waits until it is back.

use std::collections::BTreeSet;
use std::sync::Arc;

use storage::types::{BrokerId, TopicPartition};

use super::controller::{Controller, Pending, Task, Then};
use super::image::{PartitionPhase, ReplicaPhase, Replicas};
use super::plan::Operation;

impl Controller {
    pub(super) fn queue_deletions(&mut self, wanted: BTreeSet<Arc<str>>) {
        let mut tasks = Vec::new();
        for topic in wanted {
            if !self.image.topics.contains_key(&topic) || !self.settings.delete_topics {
                self.note(format!("the wish to delete topic {topic} is dropped"));
                tasks.push(Task::Do(Operation::DropDeletion(topic)));
                continue;
            }
            let reassigned = self.image.is_being_reassigned(&topic);
            let deletion = self.image.deletions.entry(topic).or_default();
            deletion.ineligible |= reassigned;
        }
        tasks.push(Task::ResumeDeletions);
        self.first(tasks);
    }

    /// Looks at every queued topic: done, to be tried again, or to be begun.
    pub(super) fn resume_deletions(&mut self) {
        let mut finished = Vec::new();
        let mut again = Replicas::default();
        let mut begin = BTreeSet::new();
        for (topic, deletion) in &self.image.deletions {
            let replicas = self.image.replicas_of([topic]);
            let count = |phase| {
                replicas
                    .iter()
                    .filter(|(id, name)| self.image.replica_phase(*id, name) == Some(phase))
                    .count()
            };
            if count(ReplicaPhase::DeletionSuccessful) == replicas.iter().count() {
                finished
                    .push((Operation::DeleteTopic(Arc::clone(topic)), Pending::Deleted(Arc::clone(topic))));
                continue;
            }
            if count(ReplicaPhase::DeletionStarted) > 0 {
                continue;
            }
            for (replica, name) in replicas.iter() {
                if self.image.replica_phase(replica, name) == Some(ReplicaPhase::DeletionIneligible) {
                    again.insert(replica, name.clone());
                }
            }
            if !deletion.ineligible {
                begin.insert(Arc::clone(topic));
            }
        }
        let mut tasks = Vec::new();
        if !again.is_empty() {
            tasks.push(Task::Offline(again));
        }
        if !begin.is_empty() {
            tasks.push(Task::StartDeletion(begin));
        }
        self.first(tasks);
        if !finished.is_empty() {
            self.execute(finished, Then::NextTask);
        }
    }

    pub(super) fn start_deletion(&mut self, topics: &BTreeSet<Arc<str>>) {
        let mut partitions = Vec::new();
        for name in topics {
            let Some(deletion) = self.image.deletions.get_mut(name) else { continue };
            let seen = std::mem::replace(&mut deletion.started, true);
            partitions.extend(self.image.partitions_of(name));
            let Some(topic) = self.image.topics.get_mut(name) else { continue };
            if !seen {
                for partition in topic.partitions.values_mut() {
                    partition.phase = PartitionPhase::NonExistent;
                }
            }
        }
        // From here on brokers answer for these topics as if they were gone.
        self.batch.announce(&self.image, self.image.brokers.keys().copied(), &partitions);
        self.flush();

        let (alive, dead) =
            self.image.replicas_of(topics).split(|id, name| self.image.is_replica_online(id, name));
        let (_, alive) = alive
            .split(|id, name| self.image.replica_phase(id, name) == Some(ReplicaPhase::DeletionSuccessful));
        self.mark_ineligible(&dead);
        self.first([Task::Offline(alive.clone()), Task::DeleteReplicas(alive)]);
    }

    /// Replicas that cannot be deleted now, and with them their topics.
    fn mark_ineligible(&mut self, replicas: &Replicas) {
        for (replica, name) in replicas.iter() {
            let phase = self.image.replica_phase(replica, name);
            if phase.is_some_and(|phase| phase.may_become(ReplicaPhase::DeletionIneligible)) {
                self.image.set_replica_phase(replica, name, ReplicaPhase::DeletionIneligible);
            }
        }
        for topic in replicas.topics() {
            if let Some(deletion) = self.image.deletions.get_mut(&topic)
                && !std::mem::replace(&mut deletion.ineligible, true)
            {
                self.note(format!("the deletion of topic {topic} waits for a replica that is away"));
            }
        }
    }

    pub(super) fn delete_replicas(&mut self, replicas: &Replicas) {
        for (replica, name) in replicas.iter() {
            let phase = self.image.replica_phase(replica, name);
            if phase.is_some_and(|phase| phase.may_become(ReplicaPhase::DeletionStarted)) {
                self.image.set_replica_phase(replica, name, ReplicaPhase::DeletionStarted);
                self.batch.stop(&self.image, replica, name, true);
            }
        }
        self.flush();
    }

    pub(super) fn deletion_answered(
        &mut self,
        broker: BrokerId,
        deleted: BTreeSet<TopicPartition>,
        failed: BTreeSet<TopicPartition>,
    ) {
        let started = |name: &TopicPartition| {
            self.image.deletions.get(&name.topic).is_some_and(|deletion| deletion.started)
        };
        let replicas = |names: BTreeSet<TopicPartition>| {
            let mut replicas = Replicas::default();
            names.into_iter().filter(started).for_each(|name| replicas.insert(broker, name));
            replicas
        };
        let (failed, deleted) = (replicas(failed), replicas(deleted));
        self.first([Task::FailDeletion(failed), Task::CompleteDeletion(deleted)]);
    }

    pub(super) fn fail_deletion(&mut self, replicas: Replicas) {
        let (queued, _) = replicas.split(|_, name| self.image.is_queued_for_deletion(&name.topic));
        if !queued.is_empty() {
            self.mark_ineligible(&queued);
            self.first([Task::ResumeDeletions]);
        }
    }

    pub(super) fn complete_deletion(&mut self, replicas: Replicas) {
        for (replica, name) in replicas.iter() {
            let phase = self.image.replica_phase(replica, name);
            if phase.is_some_and(|phase| phase.may_become(ReplicaPhase::DeletionSuccessful)) {
                self.image.set_replica_phase(replica, name, ReplicaPhase::DeletionSuccessful);
            }
        }
        if !replicas.is_empty() {
            self.first([Task::ResumeDeletions]);
        }
    }
}
