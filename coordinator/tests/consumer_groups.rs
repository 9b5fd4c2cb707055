//! Whatever members of the new protocol, the clock, the cluster and the log do, these things hold.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use coordinator::groups::consumer::assignors::Assignment;
use coordinator::groups::consumer::{ConsumerHeartbeat, Heard, MigrationPolicy};
use coordinator::groups::{
    Command, GroupConfig, GroupError, Handshake, Heartbeat, Join, Leave, LeavingMember, Reply,
    SkipAssignment, Sync,
};
use coordinator::machine::AppendFailure;
use proptest::prelude::*;
use storage::types::TopicId;
use support::{Outcome, Seat, embedded_partitions, topic_id};

const TOPICS: [&str; 3] = ["orders", "pays", "users"];
/// The last two speak the classic protocol.
const MEMBERS: usize = 6;

#[derive(Clone, Debug)]
enum Step {
    /// The next heartbeat, join or sync, whatever its protocol wants; `confirms` where it has done what it was told.
    Goes {
        member: usize,
        confirms: bool,
    },
    Subscribes {
        member: usize,
        topics: usize,
        range: bool,
    },
    Leaves {
        member: usize,
    },
    IsAway {
        member: usize,
    },
    /// Its process ends without a word, and another takes its name.
    Dies {
        member: usize,
    },
    Grows {
        topic: usize,
        partitions: i32,
    },
    Pass {
        ms: u64,
    },
    Jam {
        jammed: bool,
    },
    Reload,
}

fn step() -> impl Strategy<Value = Step> {
    let member = 0..MEMBERS;
    prop_oneof![
        30 => (member.clone(), prop::bool::weighted(0.8))
            .prop_map(|(member, confirms)| Step::Goes { member, confirms }),
        3 => (member.clone(), 1..8usize, any::<bool>())
            .prop_map(|(member, topics, range)| Step::Subscribes { member, topics, range }),
        2 => member.clone().prop_map(|member| Step::Leaves { member }),
        1 => member.clone().prop_map(|member| Step::IsAway { member }),
        1 => member.prop_map(|member| Step::Dies { member }),
        2 => (0..TOPICS.len(), 0..7i32).prop_map(|(topic, partitions)| Step::Grows { topic, partitions }),
        6 => prop_oneof![0..500u64, 500..20_000u64, Just(50_000u64)].prop_map(|ms| Step::Pass { ms }),
        1 => prop::bool::weighted(0.3).prop_map(|jammed| Step::Jam { jammed }),
        1 => Just(Step::Reload),
    ]
}

/// What a member's process knows.
#[derive(Clone, Debug, Default)]
struct Client {
    id: Arc<str>,
    epoch: i32,
    /// What it may read from: told, and not given up.
    owned: BTreeSet<(TopicId, i32)>,
    /// Told to have, and not yet confirmed.
    target: BTreeSet<(TopicId, i32)>,
    topics: usize,
    range: bool,
    /// A classic member that has joined and not yet synced.
    joined: bool,
    lives: usize,
}

struct World {
    seat: Seat,
    clients: Vec<Client>,
    counts: BTreeMap<Arc<str>, i32>,
}

fn flat(assignment: &Assignment) -> BTreeSet<(TopicId, i32)> {
    let all = assignment.iter().flat_map(|(topic, it)| it.iter().map(|partition| (*topic, *partition)));
    all.collect()
}

fn names(topics: usize) -> BTreeSet<Arc<str>> {
    let chosen = TOPICS.iter().enumerate().filter(|(bit, _)| topics & (1 << bit) != 0);
    chosen.map(|(_, name)| Arc::from(*name)).collect()
}

/// ConsumerProtocolSubscription version 1.
fn embedded(topics: usize, owned: &BTreeSet<(TopicId, i32)>) -> Bytes {
    let mut out = BytesMut::new();
    let text = |out: &mut BytesMut, text: &str| {
        out.put_i16(i16::try_from(text.len()).expect("short"));
        out.put_slice(text.as_bytes());
    };
    out.put_i16(1);
    let topics = names(topics);
    out.put_i32(i32::try_from(topics.len()).expect("few"));
    topics.iter().for_each(|topic| text(&mut out, topic));
    out.put_i32(-1);
    out.put_i32(i32::try_from(owned.len()).expect("few"));
    for (topic, partition) in owned {
        text(&mut out, &support::topic_name(*topic));
        out.put_i32(1);
        out.put_i32(*partition);
    }
    out.freeze()
}

impl World {
    fn new(policy: MigrationPolicy) -> World {
        let mut config = GroupConfig { initial_rebalance_delay_ms: 0, ..GroupConfig::default() };
        config.consumer.migration = policy;
        let client = |at: usize| Client { id: id(at, 0), topics: 1, ..Client::default() };
        let mut world = World {
            seat: Seat::new(config),
            clients: (0..MEMBERS).map(client).collect(),
            counts: [(Arc::from("orders"), 4)].into(),
        };
        world.seat.set_topics(&world.counts);
        world
    }

    fn is_classic(member: usize) -> bool {
        member >= MEMBERS - 2
    }

    fn instance(member: usize) -> Option<Arc<str>> {
        (member == 0).then(|| Arc::from("seat"))
    }

    fn play(&mut self, step: Step) {
        match step {
            Step::Goes { member, confirms } if World::is_classic(member) => self.classic(member, confirms),
            Step::Goes { member, confirms } => self.beat(member, confirms, None),
            Step::Subscribes { member, topics, range } => {
                (self.clients[member].topics, self.clients[member].range) = (topics, range);
                if !World::is_classic(member) {
                    self.beat(member, true, None);
                }
            }
            Step::Leaves { member } if World::is_classic(member) => {
                let leaving = LeavingMember { member_id: self.clients[member].id.clone(), instance_id: None };
                self.seat.play(Command::Leave(Leave { group: Arc::from("g"), members: vec![leaving] }));
                self.dies(member);
            }
            Step::Leaves { member } => {
                self.beat(member, true, Some(-1));
                self.dies(member);
            }
            Step::IsAway { member: 0 } => {
                self.beat(0, true, Some(-2));
                self.dies(0);
            }
            Step::IsAway { .. } => {}
            Step::Dies { member } => self.dies(member),
            Step::Grows { topic, partitions } => {
                let count = self.counts.entry(Arc::from(TOPICS[topic])).or_default();
                *count = (*count).max(partitions);
                self.seat.set_topics(&self.counts);
            }
            Step::Pass { ms } => {
                self.seat.pass(ms);
            }
            Step::Jam { jammed } => self.seat.jammed = jammed.then_some(AppendFailure::NotEnoughReplicas),
            Step::Reload => {
                self.check_replay();
                self.seat.reload();
            }
        }
        self.check();
    }

    fn dies(&mut self, member: usize) {
        let lives = self.clients[member].lives + 1;
        let (topics, range) = (self.clients[member].topics, self.clients[member].range);
        self.clients[member] = Client { id: id(member, lives), topics, range, lives, ..Client::default() };
    }

    fn beat(&mut self, member: usize, confirms: bool, leaves: Option<i32>) {
        let client = &mut self.clients[member];
        if confirms {
            client.owned = client.target.clone();
        }
        let epoch = leaves.unwrap_or(client.epoch);
        let joins = epoch == 0;
        let owned = client.owned.iter().map(|(topic, partition)| (*topic, vec![*partition])).collect();
        let command = Command::ConsumerHeartbeat(ConsumerHeartbeat {
            group: Arc::from("g"),
            member_id: Arc::clone(&client.id),
            epoch,
            instance_id: World::instance(member),
            rack_id: None,
            rebalance_timeout_ms: joins.then_some(15_000),
            client_id: Arc::from("client"),
            client_host: Arc::from("/127.0.0.1"),
            topics: Some(names(client.topics)),
            assignor: Some(Arc::from(if client.range { "range" } else { "uniform" })),
            owned: (confirms || joins).then_some(owned),
            fresh_id: [0; 16],
        });
        let outcome = self.seat.play(command);
        match reply(&outcome) {
            Reply::ConsumerHeartbeat(Ok(heard)) if leaves.is_none() => self.hear(member, heard),
            Reply::ConsumerHeartbeat(Ok(_)) => {}
            Reply::ConsumerHeartbeat(Err(refused)) => match refused.error {
                GroupError::FencedMemberEpoch | GroupError::UnknownMember | GroupError::GroupNotFound => {
                    let client = &mut self.clients[member];
                    (client.epoch, client.owned, client.target) = (0, BTreeSet::new(), BTreeSet::new());
                }
                GroupError::UnreleasedInstance
                | GroupError::FencedInstance
                | GroupError::Unknown
                | GroupError::CoordinatorNotAvailable => {}
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    fn hear(&mut self, member: usize, heard: &Heard) {
        let client = &mut self.clients[member];
        assert!(heard.epoch >= client.epoch, "epochs never go back");
        client.epoch = heard.epoch;
        if let Some(assignment) = &heard.assignment {
            client.target = flat(assignment);
            // What it has not given up yet it still reads.
            client.owned.extend(client.target.iter().copied());
        }
    }

    fn classic(&mut self, member: usize, confirms: bool) {
        let client = self.clients[member].clone();
        let group: Arc<str> = Arc::from("g");
        if client.epoch > 0 && !confirms {
            let command = Command::Heartbeat(Heartbeat {
                group,
                member_id: client.id,
                instance_id: None,
                generation: client.epoch,
            });
            let outcome = self.seat.play(command);
            return self.hear_classic(member, reply(&outcome));
        }
        if client.joined {
            let command = Command::Sync(Sync {
                group,
                member_id: client.id,
                instance_id: None,
                generation: client.epoch,
                protocol_type: None,
                protocol: None,
                assignments: Vec::new(),
            });
            let outcome = self.seat.play(command);
            return outcome.reply().into_iter().for_each(|reply| self.hear_classic(member, reply));
        }
        let command = Command::Join(Join {
            group,
            member_id: client.id,
            instance_id: None,
            client_id: Arc::from("client"),
            client_host: Arc::from("/127.0.0.1"),
            rebalance_timeout_ms: 15_000,
            session_timeout_ms: 10_000,
            protocol_type: Arc::from("consumer"),
            protocols: vec![(Arc::from("range"), embedded(client.topics, &client.owned))],
            handshake: Handshake::None,
            skip_assignment: SkipAssignment::Understood,
            fresh_id: [0; 16],
        });
        let outcome = self.seat.play(command);
        outcome.reply().into_iter().for_each(|reply| self.hear_classic(member, reply));
    }

    fn hear_classic(&mut self, member: usize, reply: &Reply) {
        let in_consumer_group = self.seat.groups.describe_consumer("g").is_some();
        let client = &mut self.clients[member];
        match reply {
            Reply::Join(Ok(joined)) if in_consumer_group => {
                (client.epoch, client.joined) = (joined.generation, true);
            }
            Reply::Sync(Ok(synced)) if in_consumer_group => {
                client.joined = false;
                let told = embedded_partitions(&synced.assignment);
                client.owned = told.iter().map(|text| place(text)).collect();
            }
            Reply::Heartbeat(Ok(())) if in_consumer_group => {}
            // A cooperative consumer goes on with what it keeps; this one gives all up.
            _ => (client.joined, client.owned) = (false, BTreeSet::new()),
        }
    }

    /// What members of the group have confirmed belongs to one of them.
    fn check(&self) {
        let Some(group) = self.seat.groups.describe_consumer("g") else { return };
        let mut owners: BTreeMap<(TopicId, i32), usize> = BTreeMap::new();
        for (number, client) in self.clients.iter().enumerate() {
            let Some(member) = group.members.iter().find(|it| it.member_id == client.id) else { continue };
            // A classic member that has joined learns only by its sync that it was out meanwhile, as with Kafka.
            if member.epoch != client.epoch || client.joined {
                continue;
            }
            for partition in &client.owned {
                let other = owners.insert(*partition, number);
                assert!(other.is_none(), "{partition:?} is read by {other:?} and {number}");
            }
        }
    }

    fn check_replay(&self) {
        let mut other = Seat::new(self.seat.config);
        other.log.clone_from(&self.seat.log);
        other.reload();
        assert_eq!(self.seat.groups.stored_consumer("g"), other.groups.stored_consumer("g"));
    }

    /// Everybody does what it is told for as long as it takes.
    fn settle(&mut self) {
        self.seat.jammed = None;
        for _ in 0..60 {
            for member in 0..MEMBERS - 2 {
                self.beat(member, true, None);
                self.check();
            }
            self.seat.pass(3_000);
        }
    }
}

fn id(member: usize, life: usize) -> Arc<str> {
    format!("m{member}-{life}").into()
}

fn place(text: &str) -> (TopicId, i32) {
    let (topic, partition) = text.rsplit_once('-').expect("topic-partition");
    (topic_id(topic), partition.parse().expect("a partition"))
}

fn reply(outcome: &Outcome) -> &Reply {
    outcome.reply().expect("answered at once")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn consumer_groups_keep_their_promises(
        steps in prop::collection::vec(step(), 1..150),
        (upgrade, downgrade) in any::<(bool, bool)>(),
    ) {
        let mut world = World::new(MigrationPolicy { upgrade, downgrade });
        for step in steps {
            world.play(step);
        }
        world.settle();
        world.check_replay();
        let group = world.seat.groups.describe_consumer("g").expect("a group with members");
        prop_assert_eq!(group.state, "Stable");
        let subscribed: BTreeSet<Arc<str>> = group.members.iter().flat_map(|it| it.topics.clone()).collect();
        let all: i32 = subscribed.iter().filter_map(|topic| world.counts.get(topic)).sum();
        let owned: usize = group.members.iter().map(|member| flat(&member.assigned).len()).sum();
        prop_assert_eq!(i32::try_from(owned).unwrap(), all, "every partition has its reader");
        // Nobody says anything any more: the group is empty, and perhaps taken away already.
        world.seat.pass(60_000);
        let left = world.seat.groups.describe_consumer("g").map(|group| group.state);
        prop_assert!(left.is_none_or(|state| state == "Empty"), "{:?}", left);
    }
}
