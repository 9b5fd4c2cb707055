//! Brokers that come and go, and disks with them.
//!
//! A broker that is up is told everything it holds; one that is gone loses its leaderships and its places in the in-sync
//! sets. A new epoch under a known id means both, in that order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use storage::types::{BrokerId, TopicPartition};

use super::controller::{Controller, Pending, Strategy, Task, Then};
use super::election::Candidates;
use super::image::{Image, PartitionPhase, Replicas};
use super::plan::Operation;
use super::types::LiveBroker;

impl Controller {
    pub(super) fn compare_brokers(&mut self, now: Vec<LiveBroker>) {
        let known = |broker: &LiveBroker| self.image.brokers.get(&broker.id).map(|known| known.epoch);
        let listed: BTreeSet<BrokerId> = now.iter().map(|broker| broker.id).collect();
        let dead: BTreeSet<BrokerId> =
            self.image.brokers.keys().copied().filter(|id| !listed.contains(id)).collect();
        let (mut new, mut bounced) = (Vec::new(), Vec::new());
        for broker in now {
            match known(&broker) {
                None => new.push(broker),
                Some(epoch) if broker.epoch > epoch => bounced.push(broker),
                Some(_) => {}
            }
        }
        let mut tasks = Vec::new();
        if !new.is_empty() {
            tasks.push(Task::BrokersUp(new));
        }
        if !bounced.is_empty() {
            tasks.push(Task::BrokersGone(bounced.iter().map(|broker| broker.id).collect()));
            tasks.push(Task::BrokersUp(bounced));
        }
        if !dead.is_empty() {
            tasks.push(Task::BrokersGone(dead));
        }
        self.first(tasks);
    }

    pub(super) fn brokers_up(&mut self, brokers: Vec<LiveBroker>) {
        let existing: Vec<BrokerId> = self.image.brokers.keys().copied().collect();
        let new: BTreeSet<BrokerId> = brokers.iter().map(|broker| broker.id).collect();
        for broker in brokers {
            self.image.offline_replicas.remove(&broker.id);
            self.image.brokers.insert(broker.id, broker);
        }
        self.batch.announce(&self.image, existing, []);
        self.flush();
        let led: Vec<TopicPartition> = self
            .image
            .partitions()
            .filter(|(name, partition)| {
                partition.leadership.is_some() && !self.image.is_queued_for_deletion(&name.topic)
            })
            .map(|(name, _)| name)
            .collect();
        self.batch.announce(&self.image, new.iter().copied(), &led);
        self.flush();
        let replicas = self.image.replicas_on(&new);
        let resumed: Vec<Arc<str>> = replicas.topics().into_iter().collect();
        for topic in resumed {
            if let Some(deletion) = self.image.deletions.get_mut(&topic) {
                deletion.ineligible = false;
            }
        }
        self.first([
            Task::Online(replicas),
            Task::ElectMissing(None),
            Task::ResumeReassignmentsTo(new),
            Task::ResumeDeletions,
        ]);
    }

    pub(super) fn brokers_gone(&mut self, brokers: &BTreeSet<BrokerId>) {
        for id in brokers {
            self.image.brokers.remove(id);
            self.image.offline_replicas.remove(id);
            self.image.shutting_down.remove(id);
        }
        let replicas = self.image.replicas_on(brokers);
        self.first([Task::ReplicasGone(replicas)]);
    }

    pub(super) fn replicas_gone(&mut self, replicas: Replicas) {
        let (doomed, others) =
            replicas.split(|_, partition| self.image.is_queued_for_deletion(&partition.topic));
        let leaderless: Vec<TopicPartition> = self
            .image
            .partitions()
            .filter(|(name, partition)| {
                let leader = partition.leadership.as_ref().map(|state| state.leader);
                leader.is_some_and(|leader| !self.image.is_replica_online(leader, name))
                    && !self.image.is_queued_for_deletion(&name.topic)
            })
            .map(|(name, _)| name)
            .collect();
        for name in leaderless {
            if let Some(partition) = self.image.partition_mut(&name) {
                partition.phase = PartitionPhase::Offline;
            }
        }
        self.elections.clear();
        let mut tasks = vec![Task::ElectMissing(None)];
        let quiet = others.is_empty();
        tasks.push(Task::Offline(others));
        tasks.push(Task::FailDeletion(doomed));
        if quiet {
            tasks.push(Task::AnnounceIfQuiet);
        }
        self.first(tasks);
    }

    pub(super) fn announce_if_quiet(&mut self) {
        if !self.elections.values().any(Result::is_ok) {
            self.batch.announce(&self.image, self.image.brokers.keys().copied(), []);
            self.flush();
        }
    }

    pub(super) fn modify_broker(&mut self, broker: LiveBroker) {
        let Some(known) = self.image.brokers.get_mut(&broker.id) else { return };
        if known.endpoints != broker.endpoints {
            // The epoch is that of the registration and did not change.
            *known = LiveBroker { epoch: known.epoch, ..broker };
            self.batch.announce(&self.image, self.image.brokers.keys().copied(), []);
            self.flush();
        }
    }

    pub(super) fn replicas_answered(
        &mut self,
        broker: BrokerId,
        online: &BTreeSet<TopicPartition>,
        offline: BTreeSet<TopicPartition>,
    ) {
        let known = self.image.offline_replicas.entry(broker).or_default();
        known.retain(|partition| !online.contains(partition) || offline.contains(partition));
        let mut new = Replicas::default();
        for partition in offline {
            if known.insert(partition.clone()) {
                new.insert(broker, partition);
            }
        }
        if !new.is_empty() {
            self.first([Task::ReplicasGone(new)]);
        }
    }
}

/// Members of in-sync sets that restarted between two controllers, so that none saw them gone, by partition. None of them
/// where nobody who stayed can lead: then only the leader restarted, and what follows needs an epoch of its own.
///
/// Apache's controller takes them for what they were. A leader that lost the end of its log with the power of its machine
/// then goes on in its old epoch, and the followers throw away what they had replicated.
pub(super) type Restarts = BTreeMap<TopicPartition, BTreeSet<BrokerId>>;

impl Image {
    /// `written`: when each state was last written. Where that is unknown nobody restarted; where there is one replica, no
    /// other can differ from it.
    pub(super) fn restarts(&self, written: &BTreeMap<TopicPartition, i64>) -> Restarts {
        let mut restarts = Restarts::new();
        for (name, partition) in self.partitions() {
            let (Some(state), Some(written)) = (&partition.leadership, written.get(&name)) else { continue };
            let restarted =
                |id: &BrokerId| self.brokers.get(id).is_some_and(|broker| broker.epoch > *written);
            let stayed = |id: &BrokerId| self.is_live(*id) && !restarted(id);
            let alone = partition.assignment.replicas.len() == 1;
            if alone || self.is_queued_for_deletion(&name.topic) || !state.isr.iter().any(restarted) {
                continue;
            }
            if state.isr.iter().any(stayed) {
                restarts.insert(name, state.isr.iter().copied().filter(restarted).collect());
            } else if restarted(&state.leader) {
                restarts.insert(name, BTreeSet::new());
            }
        }
        restarts
    }
}

impl Controller {
    pub(super) fn renew(&mut self, restarts: Restarts) {
        let mut work = Vec::new();
        for (name, distrusted) in restarts {
            let Some(partition) = self.image.partition(&name) else { continue };
            let Some(current) = &partition.leadership else { continue };
            let candidates = Candidates {
                assignment: &partition.assignment,
                current,
                live: &self.image.live_replicas(&name),
                running: &self.image.running_replicas(&name),
            };
            let elected = candidates.without(&distrusted).filter(|_| self.check_epoch(current).is_ok());
            let Some(mut elected) = elected else { continue };
            elected.leadership.controller_epoch = self.epoch;
            let operation = Operation::SetState(name.clone(), elected.leadership.clone());
            work.push((operation, Pending::Elected(name, elected)));
        }
        if !work.is_empty() {
            self.execute(work, Then::Elections(Strategy::Offline { unclean: false }, Vec::new()));
        }
    }
}
