//! The plan against a small model of ZooKeeper: states with versions, topics, wishes to delete.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use storage::types::{BrokerId, LeaderEpoch, TopicId, TopicPartition};

use super::*;

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
        let mut tree = Tree::default();
        for record in &loaded.topics {
            tree.topics.insert(Arc::clone(&record.name), record.clone());
        }
        tree.states.clone_from(&loaded.leaderships);
        tree.deletions.clone_from(&loaded.deletions);
        let loaded = Loaded { brokers: brokers.iter().map(|id| broker(*id, 100)).collect(), ..loaded };
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
        isr: isr.iter().copied().map(BrokerId).collect(),
        recovery: Recovery::Recovered,
        version,
    }
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

#[test]
fn a_new_topic_gets_its_directories_then_states_then_the_brokers_hear_of_it() {
    let mut office = Office::open(&[0], Loaded::default());
    assert_eq!(office.sent(), ["0 know  of 0"]);

    office.create("t", &[&[0], &[0]]);

    let (zero, one) = (TopicPartition::new("t", 0), TopicPartition::new("t", 1));
    let leadership = Leadership {
        leader: BrokerId(0),
        leader_epoch: LeaderEpoch(0),
        isr: vec![BrokerId(0)],
        recovery: Recovery::Recovered,
        controller_epoch: 7,
        version: 0,
    };
    assert_eq!(
        office.tree.operations,
        [
            Operation::CreateTopicDirectory(Arc::from("t")),
            Operation::CreatePartitionDirectory(zero.clone()),
            Operation::CreatePartitionDirectory(one.clone()),
            Operation::CreateState(zero, leadership.clone()),
            Operation::CreateState(one, leadership),
        ]
    );
    assert_eq!(office.sent(), ["0 lead t-0!:0@0 t-1!:0@0", "0 know t-0:0 t-1:0 of 0"]);
}

#[test]
fn dead_replicas_are_not_in_the_first_in_sync_set() {
    let mut office = Office::open(&[1, 2], Loaded::default());
    office.create("t", &[&[3, 2, 1], &[3]]);
    assert_eq!(office.state("t", 0), (2, 0, vec![2, 1], 0));
    assert!(!office.tree.states.contains_key(&TopicPartition::new("t", 1)));
    office.brokers(&[(1, 100), (2, 100), (3, 200)]);
    assert_eq!(office.state("t", 1), (3, 0, vec![3], 0));
}

#[test]
fn a_topic_of_an_old_tool_gets_its_id_before_anything_else() {
    let mut office = Office::open(&[0], Loaded::default());
    let record = TopicRecord { id: None, ..topic("old", &[&[0]]) };
    let id = TopicId([9; 16]);
    office.tell(Event::Topics {
        all: [Arc::from("old")].into(),
        new: vec![record.clone()],
        fresh_ids: vec![id],
    });
    assert_eq!(office.tree.operations[0], Operation::SetTopic(TopicRecord { id: Some(id), ..record }));
    assert_eq!(office.controller.image().topic_name(id).map(|name| &**name), Some("old"));
    assert_eq!(office.state("old", 0), (0, 0, vec![0], 0));
}

#[test]
fn a_growing_topic_starts_only_its_new_partitions() {
    let mut office = Office::open(&[0], Loaded::default());
    office.create("t", &[&[0]]);
    office.tell(Event::TopicModified(topic("t", &[&[0], &[0]])));
    assert_eq!(office.sent(), ["0 lead t-1!:0@0", "0 know t-1:0 of 0"]);
}

#[test]
fn a_topic_is_deleted_when_its_replicas_are_gone() {
    let mut office = Office::open(&[0], Loaded::default());
    office.create("t", &[&[0]]);

    office.delete("t");

    assert_eq!(office.state("t", 0), (-1, 1, vec![0], 1));
    assert_eq!(office.sent(), ["0 know t-0:-2 of 0", "0 stop t-0@-2", "0 stop t-0!@-2"]);
    office.confirm_deletions(0);
    assert_eq!(office.tree.operations, [Operation::DeleteTopic(Arc::from("t"))]);
    assert!(office.controller.image().topics().is_empty());
    assert!(!office.controller.image().is_queued_for_deletion("t"));
}

#[test]
fn the_deletion_waits_for_a_replica_that_is_away() {
    let mut office = Office::open(&[0, 1, 2], Loaded::default());
    office.create("t", &[&[2, 1, 0]]);
    office.brokers(&[(0, 100), (1, 100)]);
    assert_eq!(office.state("t", 0), (1, 1, vec![1, 0], 1));

    office.delete("t");
    assert_eq!(office.state("t", 0), (-1, 3, vec![1], 3));
    office.confirm_deletions(1);
    let deleted = [TopicPartition::new("t", 0)].into();
    let event = Event::DeletionAnswered { broker: BrokerId(0), deleted, failed: BTreeSet::new() };
    office.tell(event);
    assert!(office.tree.topics.contains_key("t"), "broker 2 still has it");

    office.brokers(&[(0, 100), (1, 100), (2, 300)]);
    office.confirm_deletions(2);
    assert!(!office.tree.topics.contains_key("t"));
}

#[test]
fn wishes_to_delete_what_does_not_exist_are_dropped() {
    let mut office = Office::open(&[0], Loaded::default());
    office.delete("nothing");
    assert_eq!(office.tree.operations, [Operation::DropDeletion(Arc::from("nothing"))]);

    let loaded = Loaded { deletions: [Arc::from("gone")].into(), ..Loaded::default() };
    let office = Office::open(&[0], loaded);
    assert!(office.tree.deletions.is_empty());
}

#[test]
fn partitions_added_to_a_topic_being_deleted_are_taken_back() {
    let mut office = Office::open(&[0], Loaded::default());
    office.create("t", &[&[0]]);
    office.delete("t");
    office.tell(Event::TopicModified(topic("t", &[&[0], &[0]])));
    assert_eq!(office.tree.operations, [Operation::SetTopic(topic("t", &[&[0]]))]);
}

#[test]
fn leaders_move_away_from_a_dead_broker_and_it_leaves_the_in_sync_sets() {
    let mut office = Office::open(&[0, 1, 2], Loaded::default());
    office.create("t", &[&[2, 1], &[1, 2], &[2]]);

    office.brokers(&[(0, 100), (1, 100)]);

    assert_eq!(office.state("t", 0), (1, 1, vec![1], 1));
    assert_eq!(office.state("t", 1), (1, 1, vec![1], 1));
    assert_eq!(office.state("t", 2), (-1, 1, vec![2], 1), "its only replica stays in the set");

    office.brokers(&[(0, 100), (1, 100), (2, 300)]);
    assert_eq!(office.state("t", 2), (2, 2, vec![2], 2));
    assert_eq!(office.state("t", 0), (1, 1, vec![1], 1));
}

#[test]
fn a_bounced_broker_is_treated_as_gone_and_come_back() {
    let mut office = Office::open(&[0, 1], Loaded::default());
    office.create("t", &[&[1, 0]]);
    office.brokers(&[(0, 100), (1, 101)]);
    assert_eq!(office.state("t", 0), (0, 1, vec![0], 1));
    let epochs: Vec<_> = office.controller.image().brokers().values().map(|broker| broker.epoch).collect();
    assert_eq!(epochs, [100, 101]);
}

#[test]
fn a_state_changed_by_another_hand_is_read_again_before_it_is_overwritten() {
    let mut office = Office::open(&[0, 1], Loaded::default());
    office.create("t", &[&[1, 0]]);
    let state = office.tree.states.get_mut(&TopicPartition::new("t", 0)).expect("created");
    state.version = 5;
    state.leader_epoch = LeaderEpoch(3);
    office.brokers(&[(0, 100)]);
    assert_eq!(office.state("t", 0), (0, 4, vec![0], 6));
}

#[test]
fn a_new_controller_elects_where_the_leader_is_gone_and_tells_everyone_the_rest() {
    let mut first = Office::open(&[0, 1], Loaded::default());
    first.create("t", &[&[1, 0], &[0, 1]]);
    let loaded = Loaded {
        topics: first.tree.topics.values().cloned().collect(),
        leaderships: first.tree.states.clone(),
        ..Loaded::default()
    };
    let office = Office::open(&[0], loaded);
    assert_eq!(office.state("t", 0), (0, 2, vec![0], 2));
    assert_eq!(office.state("t", 1), (0, 1, vec![0], 1));
    assert_eq!(office.sent()[0], "0 know  of 0");
    assert!(office.sent().last().is_some_and(|last| last.starts_with("0 know t-0:0")));
    assert_eq!(office.notes, Vec::<String>::new());
}

#[test]
fn an_unclean_election_needs_the_topics_word() {
    let mut office = Office::open(&[0, 1], Loaded::default());
    office.create("t", &[&[0, 1]]);
    alter(&mut office, 0, isr_change("t", 0, &[0], 0)).expect("leader's word");
    office.brokers(&[(1, 100)]);
    assert_eq!(office.state("t", 0), (-1, 1, vec![0], 2));

    office.tree.unclean.insert(Arc::from("t"), true);
    office.tell(Event::UncleanElectionEnabled(Some(Arc::from("t"))));
    assert_eq!(office.state("t", 0), (1, 2, vec![1], 3));
    assert_eq!(office.tree.states[&TopicPartition::new("t", 0)].recovery, Recovery::Recovering);
}

#[test]
fn a_leader_changes_its_in_sync_set_only_with_the_right_epochs() {
    let mut office = Office::open(&[0, 1], Loaded::default());
    office.create("t", &[&[0, 1]]);

    let shrunk = alter(&mut office, 0, isr_change("t", 0, &[0], 0)).expect("accepted");
    assert_eq!((shrunk.version, shrunk.leader_epoch), (1, LeaderEpoch(0)));
    assert_eq!(office.sent(), ["0 know t-0:0 of 0 1", "1 know t-0:0 of 0 1"]);
    let mut refused = |change| alter(&mut office, 0, change).expect_err("refused");
    assert_eq!(refused(isr_change("t", 0, &[0, 1], 0)), AlterRefusal::InvalidUpdateVersion);
    assert_eq!(refused(isr_change("t", 0, &[0, 1], 2)), AlterRefusal::NotController);
    assert_eq!(refused(isr_change("t", 1, &[0, 1], 1)), AlterRefusal::NotController);
    assert_eq!(refused(isr_change("t", -1, &[0, 1], 1)), AlterRefusal::FencedLeaderEpoch);
    assert_eq!(refused(isr_change("t", 0, &[0, 3], 1)), AlterRefusal::IneligibleReplica);
    assert_eq!(refused(isr_change("u", 0, &[0], 1)), AlterRefusal::UnknownPartition);
    let recovering = IsrChange { recovery: Recovery::Recovering, ..isr_change("t", 0, &[0], 1) };
    assert_eq!(refused(recovering), AlterRefusal::InvalidRecovery);
    let again = alter(&mut office, 0, isr_change("t", 0, &[0], 0)).expect("already so");
    assert_eq!(again.version, 1);

    office.brokers(&[(0, 101), (1, 100)]);
    let event = Event::AlterPartition {
        ticket: Ticket(2),
        broker: BrokerId(0),
        broker_epoch: 100,
        changes: vec![isr_change("t", 0, &[0, 1], 1)],
    };
    office.tell(event);
    assert_eq!(office.replies, [Reply::StaleBrokerEpoch]);
}

#[test]
fn a_broker_that_shuts_down_hands_its_leaderships_over_first() {
    let mut office = Office::open(&[0, 1], Loaded::default());
    office.create("t", &[&[1, 0], &[0, 1], &[1]]);
    let leave =
        |epoch| Event::ControlledShutdown { ticket: Ticket(3), broker: BrokerId(1), broker_epoch: epoch };
    office.tell(leave(99));
    let stale = Reply::ControlledShutdown(Err(ShutdownRefusal::StaleBrokerEpoch));
    assert_eq!(office.replies, [stale]);

    office.tell(leave(100));

    assert_eq!(office.replies, [Reply::ControlledShutdown(Ok(BTreeSet::new()))]);
    assert_eq!(office.state("t", 0), (0, 1, vec![0], 1));
    assert_eq!(office.state("t", 1), (0, 1, vec![0], 1));
    assert_eq!(office.state("t", 2), (1, 0, vec![1], 0), "nobody else has it");
}

#[test]
fn preferred_leaders_come_back_when_asked_or_when_too_many_are_away() {
    let mut office = Office::open(&[0, 1], Loaded::default());
    office.create("t", &[&[1, 0]]);
    office.brokers(&[(0, 100)]);
    office.brokers(&[(0, 100), (1, 200)]);
    assert_eq!(office.state("t", 0).0, 0);
    office.tell(Event::BalanceLeaders);
    assert_eq!(office.state("t", 0).0, 0, "1 is not in sync yet");
    alter(&mut office, 0, isr_change("t", 1, &[0, 1], 1)).expect("in sync again");

    office.tell(Event::BalanceLeaders);
    assert_eq!(office.state("t", 0), (1, 2, vec![0, 1], 3));

    let name = TopicPartition::new("t", 0);
    let partitions = Some([name.clone(), TopicPartition::new("x", 0)].into());
    office.tell(Event::ElectLeaders { ticket: Ticket(4), kind: ElectionKind::Preferred, partitions });
    let expected = BTreeMap::from([
        (name, Err(ElectionRefusal::NotNeeded)),
        (TopicPartition::new("x", 0), Err(ElectionRefusal::UnknownPartition)),
    ]);
    assert_eq!(office.replies, [Reply::ElectLeaders(expected)]);
}

#[test]
fn a_replica_on_a_failed_disk_leaves_like_one_on_a_dead_broker() {
    let mut office = Office::open(&[0, 1], Loaded::default());
    office.create("t", &[&[1, 0], &[1, 0]]);
    let name = TopicPartition::new("t", 0);
    let offline = BTreeSet::from([name.clone()]);
    office.tell(Event::ReplicasAnswered { broker: BrokerId(1), online: BTreeSet::new(), offline });
    assert_eq!(office.state("t", 0), (0, 1, vec![0], 1));
    assert_eq!(office.state("t", 1), (1, 0, vec![1, 0], 0));

    let event = Event::LogDirsFailed { brokers: [BrokerId(1)].into(), notices: vec!["0".to_owned()] };
    office.tell(event);
    assert_eq!(office.tree.operations, [Operation::DropLogDirNotices(vec!["0".to_owned()])]);
    assert!(office.sent()[0].starts_with("1 lead t-0"));
}

#[test]
fn only_changed_endpoints_are_announced() {
    let mut office = Office::open(&[0], Loaded::default());
    office.tell(Event::BrokerModified(broker(0, 100)));
    assert_eq!(office.sent(), Vec::<String>::new());
    let endpoint = Endpoint {
        listener: "PLAINTEXT".to_owned(),
        host: "h".to_owned(),
        port: 1,
        protocol: SecurityProtocol::Plaintext,
    };
    office.tell(Event::BrokerModified(LiveBroker { endpoints: vec![endpoint], ..broker(0, 0) }));
    assert_eq!(office.sent(), ["0 know  of 0"]);
    assert_eq!(office.controller.image().brokers()[&BrokerId(0)].epoch, 100);
}

#[derive(Clone, Debug)]
enum Happening {
    Brokers(BTreeMap<i32, i64>),
    Create(usize, Vec<Vec<i32>>),
    Delete(usize),
    Confirm,
    Balance,
    Shutdown(i32),
    Shrink(usize),
    ForeignWrite(usize),
}

fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let replicas = prop::sample::subsequence(vec![0, 1, 2, 3], 1..=3).prop_shuffle();
    let happening = prop_oneof![
        3 => prop::collection::btree_map(0..4, 0..3_i64, 0..=4).prop_map(Happening::Brokers),
        3 => (0..3_usize, prop::collection::vec(replicas, 1..4)).prop_map(|(n, p)| Happening::Create(n, p)),
        1 => (0..3_usize).prop_map(Happening::Delete),
        2 => Just(Happening::Confirm),
        1 => Just(Happening::Balance),
        1 => (0..4).prop_map(Happening::Shutdown),
        2 => (0..9_usize).prop_map(Happening::Shrink),
        1 => (0..9_usize).prop_map(Happening::ForeignWrite),
    ];
    prop::collection::vec(happening, 1..40)
}

impl Office {
    fn suffer(&mut self, happening: Happening, epoch: &mut i64) {
        const NAMES: [&str; 3] = ["a", "b", "c"];
        match happening {
            Happening::Brokers(brokers) => {
                let known = self.controller.image().brokers().clone();
                let now = brokers.into_iter().map(|(id, bounce)| {
                    let stays = known.get(&BrokerId(id)).filter(|_| bounce > 0).map(|broker| broker.epoch);
                    *epoch += 1;
                    (id, stays.unwrap_or(*epoch))
                });
                self.brokers(&now.collect::<Vec<_>>());
            }
            Happening::Create(name, partitions) => {
                if !self.tree.topics.contains_key(NAMES[name]) {
                    let partitions: Vec<&[i32]> = partitions.iter().map(Vec::as_slice).collect();
                    self.create(NAMES[name], &partitions);
                }
            }
            Happening::Delete(name) => self.delete(NAMES[name]),
            Happening::Confirm => {
                let alive: Vec<i32> = self.controller.image().brokers().keys().map(|id| id.0).collect();
                for id in alive {
                    let deleted = self.tree.states.keys().cloned().collect::<BTreeSet<TopicPartition>>();
                    let failed = BTreeSet::new();
                    self.tell(Event::DeletionAnswered { broker: BrokerId(id), deleted, failed });
                }
            }
            Happening::Balance => self.tell(Event::BalanceLeaders),
            Happening::Shutdown(id) => self.tell(Event::ControlledShutdown {
                ticket: Ticket(0),
                broker: BrokerId(id),
                broker_epoch: -1,
            }),
            Happening::Shrink(nth) => {
                let Some((name, state)) = self.tree.states.iter().nth(nth) else { return };
                let Some(leader) = self.controller.image().brokers().get(&state.leader) else { return };
                let event = Event::AlterPartition {
                    ticket: Ticket(0),
                    broker: leader.id,
                    broker_epoch: leader.epoch,
                    changes: vec![IsrChange {
                        partition: name.clone(),
                        leader_epoch: state.leader_epoch,
                        isr: vec![leader.id],
                        recovery: state.recovery,
                        version: state.version,
                    }],
                };
                self.tell(event);
            }
            Happening::ForeignWrite(nth) => {
                if let Some(state) = self.tree.states.values_mut().nth(nth) {
                    state.version += 1;
                }
            }
        }
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let image = self.controller.image();
        prop_assert!(!self.controller.is_waiting());
        for (name, state) in &self.tree.states {
            prop_assert!(!state.isr.is_empty(), "{name} has an empty in-sync set");
            prop_assert!(
                state.leader == BrokerId::NONE || state.isr.contains(&state.leader),
                "{name} is led from outside of its in-sync set"
            );
            let Some(partition) = image.partition(name) else { continue };
            let known = partition.leadership.as_ref().expect("written by this controller");
            prop_assert!(known.version <= state.version);
            if image.is_queued_for_deletion(&name.topic) || known.version != state.version {
                continue;
            }
            let electable = state
                .isr
                .iter()
                .any(|id| image.brokers().contains_key(id) && !image.shutting_down().contains(id));
            if electable {
                prop_assert!(
                    image.brokers().contains_key(&state.leader),
                    "{name} could be led, but its leader is {}",
                    state.leader
                );
            }
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn whatever_happens_leaders_are_in_sync_and_alive_where_they_can_be(happenings in happenings()) {
        let mut office = Office::open(&[0, 1], Loaded::default());
        let mut epoch = 1000;
        for happening in happenings {
            office.suffer(happening, &mut epoch);
            office.check()?;
        }
    }
}
