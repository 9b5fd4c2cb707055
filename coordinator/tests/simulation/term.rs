//! One term of office: the plan, fed with what happens and obeyed in ZooKeeper and at the brokers, as
//! `broker::cluster::controller::term` does it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use coordinator::cluster::{
    Controller, Event, Leadership, LiveBroker, Loaded, Operation, Outcome, Request, RequestBody, Settings,
    Step, StopOrder, Ticket, TopicRecord,
};
use coordinator::znodes::{Outcome as Written, Refusal, Rejection, Write};
use storage::types::{BrokerId, TopicPartition};

use super::ensemble::{create, is};
use super::messages::{Answer, Body, Call, Caller, Found, Life, Office};
use super::outside::Outside;
use super::process::{Asked, RETRY_MS, Timer};
use super::scenario::Broken;
use super::session::{Client, Errand as ClientErrand};
use super::texts;

/// How often leaders are looked at for their balance. Unit: ms.
const BALANCE_MS: u64 = 7_000;

/// What a term asked ZooKeeper for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Errand {
    /// A node of the reading with this number, by its place.
    Read(u64, usize),
    Write(usize),
    /// What stands where another version was expected.
    ReadBack(usize),
    Watch(Signal),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    Brokers,
    Topics,
    Controller,
}

impl Signal {
    const ALL: [Signal; 3] = [Signal::Brokers, Signal::Topics, Signal::Controller];

    fn path(self) -> &'static str {
        match self {
            Signal::Brokers => texts::BROKERS,
            Signal::Topics => texts::TOPICS,
            Signal::Controller => texts::CONTROLLER,
        }
    }

    fn watch(self) -> Call {
        let path = self.path().to_owned();
        match self {
            Signal::Controller => Call::Get { path, watch: true },
            Signal::Brokers | Signal::Topics => Call::Children { path, watch: true },
        }
    }
}

/// What a term may reach.
pub(crate) struct Hands<'a> {
    pub(crate) client: &'a mut Client,
    pub(crate) outside: &'a mut Outside,
    pub(crate) asked: &'a mut BTreeMap<u64, Asked>,
}

enum Work {
    Look(Signal),
    Tell(Event),
}

/// What is being read, and why.
#[derive(Clone)]
enum Purpose {
    LoadBrokers,
    LoadBrokerNodes(Vec<BrokerId>),
    LoadTopics(Loaded),
    LoadTopicNodes(Loaded, Vec<String>),
    LoadStates(Loaded, Vec<TopicPartition>),
    Brokers,
    BrokerNodes(Vec<BrokerId>),
    Topics,
    TopicNodes(BTreeSet<Arc<str>>, Vec<String>),
    Holder,
}

struct Reading {
    number: u64,
    purpose: Purpose,
    found: Vec<Option<Found>>,
}

struct Writing {
    operations: Vec<Operation>,
    outcomes: Vec<Option<Outcome>>,
}

enum State {
    Idle,
    Reading(Box<Reading>),
    Writing(Writing),
}

/// The way to one registration of one broker: one request at a time, repeated until it is answered.
struct Link {
    broker_epoch: i64,
    queue: VecDeque<Request>,
    /// Its number.
    under_way: Option<u64>,
}

pub(crate) struct Term {
    life: Life,
    /// Among the terms of this life.
    pub(crate) number: u64,
    pub(crate) epoch: i32,
    /// Version of `/controller_epoch`.
    fence: i32,
    /// Number of the session it began in.
    pub(crate) session: u64,
    pub(crate) plan: Option<Controller>,
    state: State,
    readings: u64,
    inbox: VecDeque<Work>,
    links: BTreeMap<BrokerId, Link>,
    asking: BTreeMap<Ticket, (Caller, u64)>,
    tickets: u64,
    balanced_at: u64,
    lost: Option<&'static str>,
}

impl Term {
    pub(crate) fn new(life: Life, number: u64, epoch: i32, fence: i32, session: u64) -> Term {
        Term {
            life,
            number,
            epoch,
            fence,
            session,
            plan: None,
            state: State::Idle,
            readings: 0,
            inbox: VecDeque::new(),
            links: BTreeMap::new(),
            asking: BTreeMap::new(),
            tickets: 0,
            balanced_at: 0,
            lost: None,
        }
    }

    pub(crate) fn is_in_office(&self) -> bool {
        self.plan.is_some()
    }

    /// Why it is over.
    pub(crate) fn lost(&self) -> Option<&'static str> {
        self.lost
    }

    pub(crate) fn end(self, outside: &mut Outside) {
        for (caller, id) in self.asking.into_values() {
            outside.answer(self.life, caller, id, Answer::Controller(None));
        }
    }

    /// Someone asks for a balance of leaders, or time does.
    pub(crate) fn balance(&mut self, hands: &mut Hands<'_>) {
        self.work(hands, Work::Tell(Event::BalanceLeaders));
    }

    pub(crate) fn ask(&mut self, hands: &mut Hands<'_>, from: Caller, id: u64, body: Body) {
        let ticket = Ticket(self.tickets);
        self.tickets += 1;
        self.asking.insert(ticket, (from, id));
        let event = match body {
            Body::AlterPartition { broker, broker_epoch, change } => {
                Event::AlterPartition { ticket, broker, broker_epoch, changes: vec![change] }
            }
            Body::ControlledShutdown { broker, broker_epoch } => {
                Event::ControlledShutdown { ticket, broker, broker_epoch }
            }
            Body::Control { .. } | Body::Ask { .. } | Body::Produce { .. } => return,
        };
        self.work(hands, Work::Tell(event));
    }

    pub(crate) fn happened(&mut self, hands: &mut Hands<'_>, path: &str) {
        for signal in Signal::ALL {
            if signal.path() == path && self.plan.is_some() {
                self.call(hands, signal.watch(), Errand::Watch(signal));
            }
        }
    }

    fn work(&mut self, hands: &mut Hands<'_>, work: Work) {
        self.inbox.push_back(work);
        self.go_on(hands);
    }

    /// The next piece of work, if none is under way.
    fn go_on(&mut self, hands: &mut Hands<'_>) {
        while self.lost.is_none() && self.plan.is_some() && matches!(self.state, State::Idle) {
            if hands.outside.now > self.balanced_at + BALANCE_MS && !hands.outside.healed {
                self.balanced_at = hands.outside.now;
                self.inbox.push_back(Work::Tell(Event::BalanceLeaders));
            }
            match self.inbox.pop_front() {
                None => return,
                Some(Work::Tell(event)) => self.tell(hands, event),
                Some(Work::Look(signal)) => {
                    let path = signal.path().to_owned();
                    match signal {
                        Signal::Brokers => self.list(hands, path, Purpose::Brokers),
                        Signal::Topics => self.list(hands, path, Purpose::Topics),
                        Signal::Controller => {
                            self.read(hands, Purpose::Holder, vec![Call::Get { path, watch: false }]);
                        }
                    }
                }
            }
        }
    }

    fn tell(&mut self, hands: &mut Hands<'_>, event: Event) {
        let Some(plan) = &mut self.plan else { return };
        let (life, epoch) = (self.life, self.epoch);
        hands.outside.say(|| format!("{life}: controller {epoch} hears {event:?}"));
        let step = plan.handle(event);
        self.obey(hands, step);
    }

    /// Does what the plan says until it has nothing more to say, or ZooKeeper must answer first.
    fn obey(&mut self, hands: &mut Hands<'_>, step: Step) {
        let life = self.life;
        for note in step.notes {
            hands.outside.say(|| format!("{life}: {note}"));
        }
        let Some(plan) = &self.plan else { return };
        let registered = plan.image().brokers();
        self.links
            .retain(|id, link| registered.get(id).is_some_and(|broker| broker.epoch == link.broker_epoch));
        let mut told = BTreeSet::new();
        for request in step.requests {
            let (to, broker_epoch) = (request.to, request.broker_epoch);
            if registered.get(&to).is_none_or(|broker| broker.epoch != broker_epoch) {
                continue;
            }
            let link = self.links.entry(to).or_insert_with(|| Link {
                broker_epoch,
                queue: VecDeque::new(),
                under_way: None,
            });
            link.queue.push_back(request);
            told.insert(to);
        }
        let waits = plan.is_waiting();
        for (ticket, reply) in step.replies {
            if let Some((caller, id)) = self.asking.remove(&ticket) {
                hands.outside.answer(life, caller, id, Answer::Controller(Some(reply)));
            }
        }
        for broker in told {
            self.pump(hands, broker);
        }
        if !waits {
            return;
        }
        let outcomes = step.operations.iter().map(|_| None).collect();
        let count = step.operations.len();
        self.state = State::Writing(Writing { operations: step.operations, outcomes });
        for index in 0..count {
            self.perform(hands, index);
        }
        self.finish_writing(hands);
    }

    fn call(&mut self, hands: &mut Hands<'_>, call: Call, errand: Errand) {
        let errand = ClientErrand::Term(self.number, errand);
        if !hands.client.call(hands.outside, call.clone(), errand.clone()) {
            hands.outside.timer(self.life, RETRY_MS, Timer::Again(call, errand));
        }
    }

    pub(crate) fn found(&mut self, hands: &mut Hands<'_>, errand: Errand, found: Found) {
        match (errand, &mut self.state, found) {
            (Errand::Watch(signal), _, _) => self.work(hands, Work::Look(signal)),
            (Errand::Read(number, place), State::Reading(reading), found) if reading.number == number => {
                if let Some(slot) = reading.found.get_mut(place) {
                    *slot = Some(found);
                }
                self.finish_reading(hands);
            }
            (Errand::Write(index), State::Writing(_), Found::Multi(result)) => {
                self.written(hands, index, result);
                self.finish_writing(hands);
            }
            (Errand::Write(index), State::Writing(writing), Found::Node(_)) => {
                // The topic's config, which does not say.
                if let Some(slot) = writing.outcomes.get_mut(index) {
                    *slot = Some(Outcome::UncleanElection(None));
                }
                self.finish_writing(hands);
            }
            (Errand::ReadBack(index), State::Writing(_), Found::Node(found)) => {
                self.read_back(index, found.map(|(data, stat)| texts::decode_state(&data, stat.version)));
                self.finish_writing(hands);
            }
            _ => {}
        }
        self.go_on(hands);
    }
}

/// Reading.
impl Term {
    pub(crate) fn load(&mut self, hands: &mut Hands<'_>) {
        self.list(hands, texts::BROKERS.to_owned(), Purpose::LoadBrokers);
    }

    fn list(&mut self, hands: &mut Hands<'_>, path: String, purpose: Purpose) {
        self.read(hands, purpose, vec![Call::Children { path, watch: false }]);
    }

    fn read(&mut self, hands: &mut Hands<'_>, purpose: Purpose, calls: Vec<Call>) {
        self.readings += 1;
        let number = self.readings;
        let found = calls.iter().map(|_| None).collect();
        self.state = State::Reading(Box::new(Reading { number, purpose, found }));
        for (place, call) in calls.into_iter().enumerate() {
            self.call(hands, call, Errand::Read(number, place));
        }
        self.finish_reading(hands);
    }

    fn read_nodes(&mut self, hands: &mut Hands<'_>, purpose: Purpose, paths: impl Iterator<Item = String>) {
        let calls = paths.map(|path| Call::Get { path, watch: false }).collect();
        self.read(hands, purpose, calls);
    }

    fn finish_reading(&mut self, hands: &mut Hands<'_>) {
        let State::Reading(reading) = &mut self.state else { return };
        if reading.found.iter().any(Option::is_none) {
            return;
        }
        let purpose = reading.purpose.clone();
        let found: Vec<Found> = reading.found.drain(..).flatten().collect();
        self.state = State::Idle;
        match purpose {
            Purpose::LoadBrokers | Purpose::Brokers => {
                let ids: Vec<BrokerId> =
                    names(found).iter().filter_map(|name| name.parse().ok()).map(BrokerId).collect();
                let paths: Vec<String> = ids.iter().map(|id| texts::broker(*id)).collect();
                let next = match purpose {
                    Purpose::LoadBrokers => Purpose::LoadBrokerNodes(ids),
                    _ => Purpose::BrokerNodes(ids),
                };
                self.read_nodes(hands, next, paths.into_iter());
            }
            Purpose::LoadBrokerNodes(ids) => {
                let loaded = Loaded { brokers: brokers(ids, found), ..Loaded::default() };
                self.list(hands, texts::TOPICS.to_owned(), Purpose::LoadTopics(loaded));
            }
            Purpose::LoadTopics(loaded) => {
                let names = names(found);
                let paths: Vec<String> = names.iter().map(|name| texts::topic(name)).collect();
                self.read_nodes(hands, Purpose::LoadTopicNodes(loaded, names), paths.into_iter());
            }
            Purpose::LoadTopicNodes(loaded, names) => {
                let loaded = Loaded { topics: topics(&names, found), ..loaded };
                let partitions: Vec<TopicPartition> = loaded
                    .topics
                    .iter()
                    .flat_map(|record| {
                        let name = &record.name;
                        record.assignments.keys().map(|index| TopicPartition::new(Arc::clone(name), *index))
                    })
                    .collect();
                let paths: Vec<String> = partitions.iter().map(texts::state).collect();
                self.read_nodes(hands, Purpose::LoadStates(loaded, partitions), paths.into_iter());
            }
            Purpose::LoadStates(loaded, partitions) => self.begin(hands, loaded, partitions, found),
            Purpose::BrokerNodes(ids) => self.tell(hands, Event::Brokers(brokers(ids, found))),
            Purpose::Topics => {
                let names = names(found);
                let known = self.plan.as_ref().map(|plan| plan.image().topics());
                let is_new = |name: &&String| known.is_some_and(|known| !known.contains_key(name.as_str()));
                let new: Vec<String> = names.iter().filter(is_new).cloned().collect();
                let all = names.iter().map(|name| Arc::from(name.as_str())).collect();
                let paths: Vec<String> = new.iter().map(|name| texts::topic(name)).collect();
                self.read_nodes(hands, Purpose::TopicNodes(all, new), paths.into_iter());
            }
            Purpose::TopicNodes(all, names) => {
                let new = topics(&names, found);
                self.tell(hands, Event::Topics { all, new, fresh_ids: Vec::new() });
            }
            Purpose::Holder => {
                let own = hands.client.session().map(|session| session.0);
                if !found.iter().any(|found| {
                    matches!(found, Found::Node(Some((_, stat))) if Some(stat.ephemeral_owner) == own)
                }) {
                    self.lost = Some("another controller was elected");
                }
            }
        }
    }

    /// In office, with the cluster as it was read.
    fn begin(
        &mut self,
        hands: &mut Hands<'_>,
        loaded: Loaded,
        partitions: Vec<TopicPartition>,
        found: Vec<Found>,
    ) {
        let (mut leaderships, mut written) = (BTreeMap::new(), BTreeMap::new());
        for (partition, found) in partitions.into_iter().zip(found) {
            if let Found::Node(Some((data, stat))) = found {
                leaderships.insert(partition.clone(), texts::decode_state(&data, stat.version));
                written.insert(partition, stat.mzxid);
            }
        }
        if hands.outside.is_broken(Broken::TrustsWhoRestarted) {
            written.clear();
        }
        let loaded = Loaded { leaderships, written, ..loaded };
        let settings = Settings {
            topic_ids: false,
            leader_recovery: true,
            delete_topics: true,
            unclean_election: hands.outside.scenario.unclean_election,
            imbalance_percent: 0,
        };
        let (life, epoch) = (self.life, self.epoch);
        hands.outside.say(|| format!("{life}: in office as controller {epoch}"));
        hands.outside.truth.began_office(self.epoch);
        let (plan, step) = Controller::start(self.epoch, settings, loaded);
        self.plan = Some(plan);
        self.balanced_at = hands.outside.now;
        self.obey(hands, step);
        for signal in Signal::ALL {
            self.call(hands, signal.watch(), Errand::Watch(signal));
        }
    }
}

fn names(found: Vec<Found>) -> Vec<String> {
    found
        .into_iter()
        .flat_map(|found| match found {
            Found::Children(names) => names.unwrap_or_default(),
            _ => Vec::new(),
        })
        .collect()
}

fn brokers(ids: Vec<BrokerId>, found: Vec<Found>) -> Vec<LiveBroker> {
    let found = ids.into_iter().zip(found).filter_map(|(id, found)| match found {
        Found::Node(Some((_, stat))) => Some(texts::live_broker(id, stat.czxid)),
        _ => None,
    });
    found.collect()
}

fn topics(names: &[String], found: Vec<Found>) -> Vec<TopicRecord> {
    let found = names.iter().zip(found).filter_map(|(name, found)| match found {
        Found::Node(Some((data, _))) => Some(texts::decode_topic(name, &data)),
        _ => None,
    });
    found.collect()
}

/// Writing: `broker::cluster::ledger`.
impl Term {
    fn perform(&mut self, hands: &mut Hands<'_>, index: usize) {
        let State::Writing(writing) = &self.state else { return };
        let Some(operation) = writing.operations.get(index) else { return };
        let empty = |path: String| create(&path, bytes::Bytes::new(), false);
        let write = match operation {
            Operation::CreateTopicDirectory(topic) => empty(texts::topic_partitions(topic)),
            Operation::CreatePartitionDirectory(name) => empty(texts::partition(name)),
            Operation::CreateState(name, state) => {
                create(&texts::state(name), texts::encode_state(state), false)
            }
            Operation::SetState(name, state) => Write::SetData {
                path: texts::state(name),
                data: Some(texts::encode_state(state)),
                version: state.version,
            },
            Operation::SetTopic(record) => Write::SetData {
                path: texts::topic(&record.name),
                data: Some(texts::encode_topic(record)),
                version: -1,
            },
            Operation::ReadUncleanElection(topic) => {
                let path = format!("/config/topics/{topic}");
                return self.call(hands, Call::Get { path, watch: false }, Errand::Write(index));
            }
            other => panic!("nobody asks for it here: {other:?}"),
        };
        let check = Write::Check { path: texts::CONTROLLER_EPOCH.to_owned(), version: self.fence };
        let fenced = !hands.outside.is_broken(Broken::WritesUnfenced);
        let writes = if fenced { vec![check, write] } else { vec![write] };
        let known = self.plan.iter().flat_map(|plan| plan.image().brokers().values());
        let known = Arc::new(known.map(|broker| (broker.id, broker.epoch)).collect());
        let office = Some(Office { epoch: self.epoch, known });
        self.call(hands, Call::Multi { writes, office }, Errand::Write(index));
    }

    fn written(&mut self, hands: &mut Hands<'_>, index: usize, result: Result<Vec<Written>, Rejection>) {
        let fenced = !hands.outside.is_broken(Broken::WritesUnfenced);
        let at = usize::from(fenced);
        let State::Writing(writing) = &mut self.state else { return };
        let Some(operation) = writing.operations.get(index) else { return };
        let outcome = match result {
            Ok(outcomes) => Outcome::Written(match outcomes.get(at) {
                Some(Written::Changed { stat }) => stat.version,
                _ => 0,
            }),
            Err(refusal)
                if fenced && (is(&refusal, 0, Refusal::BadVersion) || is(&refusal, 0, Refusal::NoNode)) =>
            {
                hands.outside.truth.count("writes fenced off");
                self.lost = Some("another controller was elected");
                return;
            }
            Err(refusal) => {
                if let Operation::CreateState(name, _) | Operation::SetState(name, _) = operation
                    && (is(&refusal, at, Refusal::NodeExists)
                        || is(&refusal, at, Refusal::BadVersion)
                        || is(&refusal, at, Refusal::NoNode))
                {
                    let path = texts::state(name);
                    return self.call(hands, Call::Get { path, watch: false }, Errand::ReadBack(index));
                }
                match is(&refusal, at, Refusal::NodeExists) {
                    true => Outcome::Exists,
                    false => Outcome::Failed(format!("{refusal:?}")),
                }
            }
        };
        if let Some(slot) = writing.outcomes.get_mut(index) {
            *slot = Some(outcome);
        }
    }

    /// It may be the own write, done before a connection broke.
    fn read_back(&mut self, index: usize, found: Option<Leadership>) {
        let State::Writing(writing) = &mut self.state else { return };
        let outcome = match writing.operations.get(index) {
            Some(Operation::CreateState(_, state)) => {
                let own = Leadership { version: 0, ..state.clone() };
                if found == Some(own) { Outcome::Written(0) } else { Outcome::Exists }
            }
            Some(Operation::SetState(_, state)) => {
                let own = Leadership { version: state.version + 1, ..state.clone() };
                match found {
                    Some(found) if found == own => Outcome::Written(own.version),
                    found => Outcome::Conflict(found),
                }
            }
            _ => return,
        };
        if let Some(slot) = writing.outcomes.get_mut(index) {
            *slot = Some(outcome);
        }
    }

    fn finish_writing(&mut self, hands: &mut Hands<'_>) {
        let State::Writing(writing) = &mut self.state else { return };
        if self.lost.is_some() || writing.outcomes.iter().any(Option::is_none) {
            return;
        }
        let outcomes = writing.outcomes.drain(..).flatten().collect();
        self.state = State::Idle;
        let Some(plan) = &mut self.plan else { return };
        let step = plan.done(outcomes);
        self.obey(hands, step);
        self.go_on(hands);
    }
}

/// Links to brokers.
impl Term {
    /// Sends the next request to `broker`, if none is under way.
    pub(crate) fn pump(&mut self, hands: &mut Hands<'_>, broker: BrokerId) {
        let Some(link) = self.links.get_mut(&broker).filter(|link| link.under_way.is_none()) else {
            return;
        };
        let Some(request) = link.queue.front() else { return };
        let body = Body::Control {
            controller: self.life.broker,
            controller_epoch: self.epoch,
            broker_epoch: request.broker_epoch,
            order: request.body.clone(),
        };
        let id = hands.outside.request(self.life, broker, body);
        link.under_way = Some(id);
        hands.asked.insert(id, Asked::Order(self.number, broker));
    }

    pub(crate) fn answered(
        &mut self,
        hands: &mut Hands<'_>,
        broker: BrokerId,
        id: u64,
        answer: Option<Answer>,
    ) {
        let of_link = |link: &&mut Link| link.under_way == Some(id);
        let Some(link) = self.links.get_mut(&broker).filter(of_link) else { return };
        link.under_way = None;
        let Some(Answer::Control(taken)) = answer else {
            return hands.outside.timer(self.life, RETRY_MS, Timer::Link(self.number, broker));
        };
        let request = link.queue.pop_front();
        self.pump(hands, broker);
        let Some(taken) = taken else { return };
        match request.map(|request| request.body) {
            Some(RequestBody::LeaderAndIsr { .. }) => {
                let event = Event::ReplicasAnswered { broker, online: taken, offline: BTreeSet::new() };
                self.work(hands, Work::Tell(event));
            }
            Some(RequestBody::StopReplica(stops)) => {
                let is_deleted =
                    |(partition, stop): (TopicPartition, StopOrder)| stop.delete.then_some(partition);
                let asked: BTreeSet<TopicPartition> = stops.into_iter().filter_map(is_deleted).collect();
                if !asked.is_empty() {
                    let (deleted, failed) = asked.into_iter().partition(|name| taken.contains(name));
                    self.work(hands, Work::Tell(Event::DeletionAnswered { broker, deleted, failed }));
                }
            }
            _ => {}
        }
    }
}
