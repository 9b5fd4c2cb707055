//! Whatever members, administrators, the clock and the log do, these things hold.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use coordinator::groups::{
    Command, Commit, GroupConfig, Handshake, Heartbeat, Join, Leave, LeavingMember, OffsetCommit, Record,
    Reply, SkipAssignment, Sync, TransactionalProducer,
};
use coordinator::machine::{AppendFailure, Ticket};
use proptest::prelude::*;
use storage::types::{LeaderEpoch, Offset, ProducerId, TopicPartition};
use support::{Outcome, Seat};

const GROUPS: [&str; 2] = ["g", "h"];
const MEMBERS: usize = 4;

#[derive(Clone, Debug)]
enum Step {
    Join { group: usize, member: usize, stranger: bool, protocols: usize },
    Sync { group: usize, member: usize },
    Heartbeat { group: usize, member: usize },
    Leave { group: usize, member: usize },
    Commit { group: usize, member: Option<usize>, partition: i32, producer: Option<i64> },
    EndTransaction { producer: i64, commit: bool },
    DeleteOffset { group: usize, partition: i32 },
    DeleteGroup { group: usize },
    Pass { ms: u64 },
    Jam { jammed: bool },
    Reload,
}

fn step() -> impl Strategy<Value = Step> {
    let group = 0..GROUPS.len();
    let member = 0..MEMBERS;
    prop_oneof![
        8 => (group.clone(), member.clone(), prop::bool::weighted(0.1), 0..3usize)
            .prop_map(|(group, member, stranger, protocols)| Step::Join { group, member, stranger, protocols }),
        8 => (group.clone(), member.clone()).prop_map(|(group, member)| Step::Sync { group, member }),
        4 => (group.clone(), member.clone()).prop_map(|(group, member)| Step::Heartbeat { group, member }),
        2 => (group.clone(), member.clone()).prop_map(|(group, member)| Step::Leave { group, member }),
        6 => (group.clone(), prop::option::of(member), 0..3i32, prop::option::weighted(0.3, 7..9i64))
            .prop_map(|(group, member, partition, producer)| Step::Commit { group, member, partition, producer }),
        2 => (7..9i64, any::<bool>()).prop_map(|(producer, commit)| Step::EndTransaction { producer, commit }),
        1 => (group.clone(), 0..3i32).prop_map(|(group, partition)| Step::DeleteOffset { group, partition }),
        1 => group.prop_map(|group| Step::DeleteGroup { group }),
        4 => prop_oneof![0..500u64, 500..20_000u64, Just(700_000u64)].prop_map(|ms| Step::Pass { ms }),
        1 => prop::bool::weighted(0.3).prop_map(|jammed| Step::Jam { jammed }),
        1 => Just(Step::Reload),
    ]
}

/// What a client of one member remembers.
#[derive(Clone, Default)]
struct Client {
    id: Option<Arc<str>>,
    generation: i32,
    /// Set while it leads: whom it has to assign to.
    leads: Vec<Arc<str>>,
}

/// A group's number and a partition of `orders`.
type Place = (usize, i32);

struct World {
    seat: Seat,
    clients: BTreeMap<(usize, usize), Client>,
    asked: BTreeMap<Ticket, (usize, usize)>,
    answered: BTreeSet<Ticket>,
    /// The one assignment of a group's generation, by the number of the sync that brought it.
    assigned: BTreeMap<(usize, i32), u64>,
    /// Who got which part in a generation.
    owners: BTreeMap<(usize, i32, String), Arc<str>>,
    /// What the log's reader should find: by group and partition.
    offsets: BTreeMap<Place, i64>,
    pending: BTreeMap<i64, BTreeMap<Place, (i64, usize)>>,
    /// Position in the log of the commit that counts.
    at: BTreeMap<Place, usize>,
    counter: u64,
}

impl World {
    fn new() -> World {
        let config = GroupConfig {
            initial_rebalance_delay_ms: 100,
            size_max: 3,
            offsets_retention_ms: 1_000_000_000,
            ..GroupConfig::default()
        };
        World {
            seat: Seat::new(config),
            clients: BTreeMap::new(),
            asked: BTreeMap::new(),
            answered: BTreeSet::new(),
            assigned: BTreeMap::new(),
            owners: BTreeMap::new(),
            offsets: BTreeMap::new(),
            pending: BTreeMap::new(),
            at: BTreeMap::new(),
            counter: 0,
        }
    }

    fn client(&self, group: usize, member: usize) -> Client {
        self.clients.get(&(group, member)).cloned().unwrap_or_default()
    }

    fn play(&mut self, step: Step) {
        self.counter += 1;
        match step {
            Step::Join { group, member, stranger, protocols } => {
                self.join(group, member, stranger, protocols)
            }
            Step::Sync { group, member } => {
                let client = self.client(group, member);
                let part = |member: &Arc<str>| Bytes::from(format!("{} {member}", self.counter));
                let assignments =
                    client.leads.iter().map(|member| (Arc::clone(member), part(member))).collect();
                let command = Command::Sync(Sync {
                    group: Arc::from(GROUPS[group]),
                    member_id: client.id.unwrap_or_else(|| Arc::from("nobody")),
                    instance_id: None,
                    generation: client.generation,
                    protocol_type: None,
                    protocol: None,
                    assignments,
                });
                self.ask(group, member, command);
            }
            Step::Heartbeat { group, member } => {
                let client = self.client(group, member);
                let command = Command::Heartbeat(Heartbeat {
                    group: Arc::from(GROUPS[group]),
                    member_id: client.id.unwrap_or_else(|| Arc::from("nobody")),
                    instance_id: None,
                    generation: client.generation,
                });
                let outcome = self.ask(group, member, command);
                assert!(outcome.reply().is_some(), "a heartbeat is answered at once");
            }
            Step::Leave { group, member } => {
                let client = self.client(group, member);
                let member_id = client.id.unwrap_or_else(|| Arc::from("nobody"));
                let members = vec![LeavingMember { member_id, instance_id: None }];
                self.ask(group, member, Command::Leave(Leave { group: Arc::from(GROUPS[group]), members }));
            }
            Step::Commit { group, member, partition, producer } => {
                self.commit(group, member, partition, producer)
            }
            Step::EndTransaction { producer, commit } => self.end_transaction(producer, commit),
            Step::DeleteOffset { group, partition } => {
                let partitions = vec![TopicPartition::new("orders", partition)];
                let outcome =
                    self.ask(group, 0, Command::DeleteOffsets(Arc::from(GROUPS[group]), partitions));
                if !outcome.records.is_empty() {
                    self.offsets.remove(&(group, partition));
                    self.at.remove(&(group, partition));
                }
            }
            Step::DeleteGroup { group } => {
                let outcome = self.ask(group, 0, Command::DeleteGroup(Arc::from(GROUPS[group])));
                if outcome.reply() == Some(&Reply::DeleteGroup(Ok(()))) {
                    self.offsets.retain(|(of, _), _| *of != group);
                    self.at.retain(|(of, _), _| *of != group);
                    self.assigned.retain(|(of, _), _| *of != group);
                    self.owners.retain(|(of, _, _), _| *of != group);
                }
            }
            Step::Pass { ms } => {
                let outcome = self.seat.pass(ms);
                self.hear(&outcome);
            }
            Step::Jam { jammed } => self.seat.jammed = jammed.then_some(AppendFailure::NotEnoughReplicas),
            Step::Reload => self.reload(),
        }
        self.forget_ended_groups();
        self.check_offsets();
    }

    /// The generations of a group that starts anew are other ones.
    fn forget_ended_groups(&mut self) {
        for (index, name) in GROUPS.iter().enumerate() {
            let ended = self.seat.groups.stored(name).is_none();
            self.assigned.retain(|(of, _), _| *of != index || !ended);
            self.owners.retain(|(of, _, _), _| *of != index || !ended);
        }
    }

    fn reload(&mut self) {
        self.check_replay();
        let outcome = self.seat.reload();
        self.hear(&outcome);
        // Whoever waited has lost its connection, and a rebalance under way did not happen.
        self.answered.extend(self.asked.keys());
        let stored: Vec<i32> =
            GROUPS.iter().map(|name| self.seat.groups.stored(name).map_or(0, |it| it.generation)).collect();
        self.assigned.retain(|(group, generation), _| *generation <= stored[*group]);
        self.owners.retain(|(group, generation, _), _| *generation <= stored[*group]);
    }

    fn join(&mut self, group: usize, member: usize, stranger: bool, protocols: usize) {
        let client = self.client(group, member);
        let names = [&["range"][..], &["range", "sticky"], &["sticky", "range"]][protocols];
        let fresh = u128::from(self.counter).to_be_bytes();
        let command = Command::Join(Join {
            group: Arc::from(GROUPS[group]),
            member_id: client.id.filter(|_| !stranger).unwrap_or_else(|| Arc::from("")),
            // Member 0 is a static one.
            instance_id: (member == 0).then(|| Arc::from("seat")),
            client_id: Arc::from("client"),
            client_host: Arc::from("/127.0.0.1"),
            rebalance_timeout_ms: 5_000,
            session_timeout_ms: 6_000,
            protocol_type: Arc::from("consumer"),
            protocols: names
                .iter()
                .map(|name| (Arc::from(*name), Bytes::from_static(b"\0\0\0\0\0\0\0\0\0\0")))
                .collect(),
            handshake: if member == 1 { Handshake::None } else { Handshake::IdFirst },
            skip_assignment: SkipAssignment::Understood,
            fresh_id: fresh,
        });
        self.ask(group, member, command);
    }

    fn commit(&mut self, group: usize, member: Option<usize>, partition: i32, producer: Option<i64>) {
        let offset = i64::try_from(self.counter).expect("short");
        let client = member.map(|member| self.client(group, member));
        let now = self.seat.now();
        let commit = OffsetCommit {
            offset: Offset(offset),
            leader_epoch: LeaderEpoch(1),
            metadata: Arc::from("m"),
            committed_at: now.wall,
            expires_at: None,
        };
        let command = Command::Commit(Commit {
            group: Arc::from(GROUPS[group]),
            member_id: client.as_ref().and_then(|client| client.id.clone()).unwrap_or_else(|| Arc::from("")),
            instance_id: None,
            generation: client.map_or(-1, |client| client.generation),
            knows_epochs: true,
            producer: producer.map(|id| TransactionalProducer { id: ProducerId(id), epoch: 0 }),
            offsets: vec![(TopicPartition::new("orders", partition), commit)],
        });
        let outcome = self.ask(group, member.unwrap_or(0), command);
        let Some(Reply::Commit(results)) = outcome.reply() else { panic!("a commit is answered at once") };
        if results[0].1.is_err() {
            return;
        }
        let at = self.seat.log.len();
        match producer {
            Some(producer) => {
                self.pending.entry(producer).or_default().insert((group, partition), (offset, at));
            }
            None => {
                self.offsets.insert((group, partition), offset);
                self.at.insert((group, partition), at);
            }
        }
    }

    fn end_transaction(&mut self, producer: i64, commit: bool) {
        self.seat.append_marker(Record::TransactionEnd { producer: ProducerId(producer), committed: commit });
        for (key, (offset, at)) in self.pending.remove(&producer).unwrap_or_default() {
            if commit && self.at.get(&key).is_none_or(|current| *current < at) {
                self.offsets.insert(key, offset);
                self.at.insert(key, at);
            }
        }
    }

    fn ask(&mut self, group: usize, member: usize, command: Command) -> Outcome {
        let outcome = self.seat.play(command);
        self.asked.insert(outcome.ticket.expect("a command has one"), (group, member));
        self.hear(&outcome);
        outcome
    }

    fn hear(&mut self, outcome: &Outcome) {
        for (ticket, reply) in &outcome.replies {
            assert!(self.answered.insert(*ticket), "a request is answered once");
            let (group, member) = self.asked[ticket];
            let client = self.clients.entry((group, member)).or_default();
            match reply {
                Reply::Join(Ok(joined)) => {
                    client.id = Some(Arc::clone(&joined.member_id));
                    client.generation = joined.generation;
                    client.leads =
                        joined.members.iter().map(|member| Arc::clone(&member.member_id)).collect();
                }
                Reply::Join(Err(refused)) => {
                    client.id = Some(Arc::clone(&refused.member_id)).filter(|id| !id.is_empty())
                }
                Reply::Sync(Ok(synced)) if !synced.assignment.is_empty() => {
                    let (id, generation) = (client.id.clone().expect("known"), client.generation);
                    let text = String::from_utf8(synced.assignment.to_vec()).expect("ours");
                    let (sync, part) = text.split_once(' ').expect("ours");
                    let sync: u64 = sync.parse().expect("ours");
                    let first = *self.assigned.entry((group, generation)).or_insert(sync);
                    assert_eq!(first, sync, "a generation has one assignment");
                    let key = (group, generation, part.to_string());
                    let owner = self.owners.entry(key).or_insert_with(|| Arc::clone(&id));
                    assert!(*owner == id || member == 0, "a part has one owner in a generation");
                }
                _ => {}
            }
        }
    }

    fn check_offsets(&self) {
        for (index, group) in GROUPS.iter().enumerate() {
            for partition in 0..3 {
                let found = self.seat.groups.offset(group, &TopicPartition::new("orders", partition));
                let expected = self.offsets.get(&(index, partition)).copied();
                assert_eq!(
                    found.map(|commit| commit.offset.0),
                    expected,
                    "offsets move only as they are committed"
                );
            }
        }
    }

    /// Another coordinator would find what this one knows.
    fn check_replay(&self) {
        let replayed = {
            let mut other = Seat::new(self.seat.config);
            other.log.clone_from(&self.seat.log);
            other.reload();
            other
        };
        for (index, group) in GROUPS.iter().enumerate() {
            for partition in self.seat.groups.partitions_of(group) {
                assert_eq!(
                    self.seat.groups.offset(group, &partition),
                    replayed.groups.offset(group, &partition)
                );
            }
            assert_eq!(
                self.seat.groups.partitions_of(group),
                replayed.groups.partitions_of(group),
                "{index}"
            );
            let state = self.seat.groups.describe(group).map(|it| it.state);
            if state == Some("Stable") {
                let live = self.seat.groups.stored(group).expect("stable");
                let read = replayed.groups.stored(group).expect("stored");
                let read = coordinator::groups::GroupMetadata { state_since: live.state_since, ..read };
                assert_eq!(live, read, "what is stable is what the log says");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn groups_keep_their_promises(steps in prop::collection::vec(step(), 1..200)) {
        let mut world = World::new();
        for step in steps {
            world.play(step);
        }
        world.seat.jammed = None;
        world.check_replay();
        // Nobody says anything any more: every group becomes empty, and nobody is left waiting.
        let outcome = world.seat.pass(3_000_000);
        world.hear(&outcome);
        for group in world.seat.groups.list() {
            prop_assert_eq!(group.state, "Empty");
        }
        prop_assert!(world.asked.keys().all(|ticket| world.answered.contains(ticket)), "everyone is answered");
    }
}
