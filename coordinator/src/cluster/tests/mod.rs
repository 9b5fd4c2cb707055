//! The plan against a small model of ZooKeeper: states with versions, topics, wishes to delete.

mod happenings;
mod reassignments;
mod sentences;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use storage::types::{BrokerId, LeaderEpoch, TopicId, TopicPartition};

use super::*;
use crate::replication::{InSyncMember, UNKNOWN_BROKER_EPOCH};

const SETTINGS: Settings = Settings {
    topic_ids: true,
    leader_recovery: true,
    delete_topics: true,
    unclean_election: false,
    imbalance_percent: 10,
};

/// What ZooKeeper holds, and what the controller said.
#[derive(Default)]
struct Tree {
    states: BTreeMap<TopicPartition, Leadership>,
    topics: BTreeMap<Arc<str>, TopicRecord>,
    deletions: BTreeSet<Arc<str>>,
    unclean: BTreeMap<Arc<str>, bool>,
    operations: Vec<Operation>,
}

impl Tree {
    fn execute(&mut self, operation: &Operation) -> Outcome {
        self.operations.push(operation.clone());
        match operation {
            Operation::CreateState(partition, leadership) => {
                if self.states.contains_key(partition) {
                    return Outcome::Exists;
                }
                self.states.insert(partition.clone(), Leadership { version: 0, ..leadership.clone() });
                Outcome::Written(0)
            }
            Operation::SetState(partition, leadership) => {
                let Some(current) = self.states.get_mut(partition) else { return Outcome::Conflict(None) };
                if current.version != leadership.version {
                    return Outcome::Conflict(Some(current.clone()));
                }
                assert!(leadership.leader_epoch >= current.leader_epoch, "leader epochs never go back");
                *current = Leadership { version: current.version + 1, ..leadership.clone() };
                Outcome::Written(current.version)
            }
            Operation::SetTopic(record) => {
                self.topics.insert(Arc::clone(&record.name), record.clone());
                Outcome::Written(1)
            }
            Operation::DeleteTopic(topic) => {
                self.topics.remove(topic);
                self.deletions.remove(topic);
                self.states.retain(|partition, _| partition.topic != *topic);
                Outcome::Written(0)
            }
            Operation::DropDeletion(topic) => {
                self.deletions.remove(topic);
                Outcome::Written(0)
            }
            Operation::ReadUncleanElection(topic) => {
                Outcome::UncleanElection(self.unclean.get(topic).copied())
            }
            _ => Outcome::Written(0),
        }
    }
}

/// A controller, the tree it writes to, and all it said.
struct Office {
    controller: Controller,
    tree: Tree,
    requests: Vec<Request>,
    replies: Vec<Reply>,
    notes: Vec<String>,
}

impl Office {
    fn open(brokers: &[i32], loaded: Loaded) -> Office {
        Office::take_over(Loaded { brokers: brokers.iter().map(|id| broker(*id, 100)).collect(), ..loaded })
    }

    fn take_over(loaded: Loaded) -> Office {
        let mut tree = Tree::default();
        for record in &loaded.topics {
            tree.topics.insert(Arc::clone(&record.name), record.clone());
        }
        tree.states.clone_from(&loaded.leaderships);
        tree.deletions.clone_from(&loaded.deletions);
        let (controller, step) = Controller::start(7, SETTINGS, loaded);
        let mut office =
            Office { controller, tree, requests: Vec::new(), replies: Vec::new(), notes: Vec::new() };
        office.settle(step);
        office
    }

    fn settle(&mut self, mut step: Step) {
        loop {
            self.requests.append(&mut step.requests);
            self.replies.extend(step.replies.drain(..).map(|(_, reply)| reply));
            self.notes.append(&mut step.notes);
            if !self.controller.is_waiting() {
                return;
            }
            let outcomes = step.operations.iter().map(|operation| self.tree.execute(operation)).collect();
            step = self.controller.done(outcomes);
        }
    }

    fn tell(&mut self, event: Event) {
        self.requests.clear();
        self.replies.clear();
        self.tree.operations.clear();
        let step = self.controller.handle(event);
        self.settle(step);
    }

    /// A tool wrote the topic; the watch fires.
    fn create(&mut self, name: &str, partitions: &[&[i32]]) {
        let record = topic(name, partitions);
        self.tree.topics.insert(Arc::clone(&record.name), record.clone());
        let all = self.tree.topics.keys().cloned().collect();
        self.tell(Event::Topics { all, new: vec![record], fresh_ids: vec![] });
    }

    fn delete(&mut self, name: &str) {
        self.tree.deletions.insert(Arc::from(name));
        self.tell(Event::Deletions(self.tree.deletions.clone()));
    }

    fn brokers(&mut self, brokers: &[(i32, i64)]) {
        self.tell(Event::Brokers(brokers.iter().map(|(id, epoch)| broker(*id, *epoch)).collect()));
    }

    /// Leader, leader epoch, in-sync set and version of a partition, as ZooKeeper has them.
    fn state(&self, name: &str, index: i32) -> (i32, i32, Vec<i32>, i32) {
        let state = &self.tree.states[&TopicPartition::new(name, index)];
        let isr = state.isr.iter().map(|id| id.0).collect();
        (state.leader.0, state.leader_epoch.0, isr, state.version)
    }

    fn sent(&self) -> Vec<String> {
        self.requests.iter().map(shown).collect()
    }

    /// Brokers answer that they deleted what they were told to.
    fn confirm_deletions(&mut self, broker: i32) {
        let deleted = self
            .requests
            .iter()
            .filter(|request| request.to == BrokerId(broker))
            .filter_map(|request| match &request.body {
                RequestBody::StopReplica(stops) => Some(stops),
                _ => None,
            })
            .flatten()
            .filter(|(_, stop)| stop.delete)
            .map(|(partition, _)| partition.clone())
            .collect();
        let failed = BTreeSet::new();
        self.tell(Event::DeletionAnswered { broker: BrokerId(broker), deleted, failed });
    }
}

fn shown(request: &Request) -> String {
    let list = |names: Vec<String>| names.join(" ");
    match &request.body {
        RequestBody::LeaderAndIsr { partitions, .. } => {
            let orders = partitions.iter().map(|(name, order)| {
                let new = if order.is_new { "!" } else { "" };
                format!("{name}{new}:{}@{}", order.leadership.leader, order.leadership.leader_epoch)
            });
            format!("{} lead {}", request.to, list(orders.collect()))
        }
        RequestBody::UpdateMetadata(news) => {
            let partitions =
                news.partitions.iter().map(|(name, news)| format!("{name}:{}", news.leadership.leader));
            let brokers = news.brokers.iter().map(|broker| broker.id.to_string());
            format!("{} know {} of {}", request.to, list(partitions.collect()), list(brokers.collect()))
        }
        RequestBody::StopReplica(stops) => {
            let stops = stops.iter().map(|(name, stop)| {
                format!("{name}{}@{}", if stop.delete { "!" } else { "" }, stop.leader_epoch)
            });
            format!("{} stop {}", request.to, list(stops.collect()))
        }
    }
}

fn broker(id: i32, epoch: i64) -> LiveBroker {
    LiveBroker { id: BrokerId(id), epoch, rack: None, endpoints: vec![] }
}

fn topic(name: &str, partitions: &[&[i32]]) -> TopicRecord {
    let assignments = (0..)
        .zip(partitions)
        .map(|(index, ids)| (index, Assignment::of(ids.iter().copied().map(BrokerId).collect())))
        .collect();
    TopicRecord { name: Arc::from(name), id: Some(TopicId([1; 16])), assignments }
}

fn isr_change(name: &str, leader_epoch: i32, isr: &[i32], version: i32) -> IsrChange {
    IsrChange {
        partition: TopicPartition::new(name, 0),
        leader_epoch: LeaderEpoch(leader_epoch),
        isr: isr.iter().map(|id| member(*id, UNKNOWN_BROKER_EPOCH)).collect(),
        recovery: Recovery::Recovered,
        version,
    }
}

fn member(broker: i32, broker_epoch: i64) -> InSyncMember {
    InSyncMember { broker: BrokerId(broker), broker_epoch }
}

fn alter(office: &mut Office, broker: i32, change: IsrChange) -> Result<Leadership, AlterRefusal> {
    let partition = change.partition.clone();
    let event = Event::AlterPartition {
        ticket: Ticket(1),
        broker: BrokerId(broker),
        broker_epoch: 100,
        changes: vec![change],
    };
    office.tell(event);
    match office.replies.pop() {
        Some(Reply::AlterPartition(mut results)) => results.remove(&partition).expect("an answer"),
        other => panic!("not an answer to AlterPartition: {other:?}"),
    }
}
