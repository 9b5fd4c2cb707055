//! One life of a broker: what it is told, what it answers, and what it does by itself. Everything it decides comes from
//! `coordinator`; here is what the shell does around that.

use std::collections::{BTreeMap, BTreeSet};

use coordinator::cluster::{AlterRefusal, IsrChange, Recovery, Reply, RequestBody};
use coordinator::replication::{
    Obedience, Proposal, Question, Standing, UNKNOWN_BROKER_EPOCH, Verdict, check_role, is_for_former_life,
    may_stop,
};
use storage::types::{BrokerId, LeaderEpoch, TopicPartition};

use super::candidate::Candidate;
use super::log::Log;
use super::messages::{Answer, Body, Call, Caller, Life};
use super::outside::{Input, Outside};
use super::replica::{Next, Replica, Role};
use super::scenario::Broken;
use super::session::{Client, Errand, Word};
use super::term::Term;

/// Pause before ZooKeeper, or the controller, is asked again. Unit: ms.
pub(crate) const RETRY_MS: u64 = 250;
/// How often the client of ZooKeeper looks after its connection. Unit: ms.
const TICK_MS: u64 = 300;
/// How often high watermarks are written down. Unit: ms.
const CHECKPOINT_MS: u64 = 5_000;
/// Questions to the controller before a broker goes without its leave.
const SHUTDOWN_ATTEMPTS: u32 = 3;

#[derive(Clone, Debug)]
pub(crate) enum Timer {
    Tick,
    Register(u64),
    Candidate(u64),
    /// A call for a term, once more.
    Again(Call, Errand),
    Shrink,
    Checkpoint,
    Flush,
    Fetch(TopicPartition),
    /// A fetch that found nothing.
    Held(Caller, u64, Body),
    Propose(TopicPartition, Proposal),
    /// Requests of a term to a broker.
    Link(u64, BrokerId),
    ShutDown,
}

/// A request of this broker to another, or to itself.
#[derive(Clone, Debug)]
pub(crate) enum Asked {
    Leader(TopicPartition, Question),
    Alter(TopicPartition, Proposal),
    /// Of the term with this number.
    Order(u64, BrokerId),
    ShutDown,
}

pub(crate) struct Process {
    pub(crate) life: Life,
    pub(crate) client: Client,
    pub(crate) broker_epoch: i64,
    /// Registered once: requests are taken. What came before waits at the door.
    pub(crate) serves: bool,
    door: Vec<Input>,
    obedience: Obedience,
    pub(crate) replicas: BTreeMap<TopicPartition, Replica>,
    /// What the controller told of the cluster.
    pub(crate) alive: BTreeSet<BrokerId>,
    pub(crate) leaders: BTreeMap<TopicPartition, (BrokerId, LeaderEpoch)>,
    pub(crate) last_controller: Option<BrokerId>,
    /// Number of the last request that told of the cluster.
    news: u64,
    pub(crate) candidate: Candidate,
    pub(crate) term: Option<Term>,
    pub(crate) terms: u64,
    pub(crate) asked: BTreeMap<u64, Asked>,
    /// The question under way, by partition.
    fetching: BTreeMap<TopicPartition, u64>,
    shutting_down: Option<u32>,
    /// It has nothing more to do here.
    pub(crate) done: bool,
}

impl Process {
    pub(crate) fn start(outside: &mut Outside, life: Life, disk: BTreeMap<TopicPartition, Log>) -> Process {
        let replicas = disk.into_iter().map(|(partition, log)| {
            let replica = Replica {
                life,
                partition: partition.clone(),
                log,
                role: Role::Unassigned(LeaderEpoch::NONE),
            };
            (partition, replica)
        });
        let lag_max_ms = outside.scenario.lag_max_ms;
        let flush = outside.random.between(500, 15_000);
        outside.timer(life, 0, Timer::Tick);
        outside.timer(life, lag_max_ms / 2, Timer::Shrink);
        outside.timer(life, CHECKPOINT_MS, Timer::Checkpoint);
        outside.timer(life, flush, Timer::Flush);
        outside.say(|| format!("{life}: starts"));
        Process {
            life,
            client: Client::new(life),
            broker_epoch: -1,
            serves: false,
            door: Vec::new(),
            obedience: Obedience::default(),
            replicas: replicas.collect(),
            alive: BTreeSet::new(),
            leaders: BTreeMap::new(),
            last_controller: None,
            news: 0,
            candidate: Candidate::default(),
            term: None,
            terms: 0,
            asked: BTreeMap::new(),
            fetching: BTreeMap::new(),
            shutting_down: None,
            done: false,
        }
    }

    pub(crate) fn input(&mut self, outside: &mut Outside, input: Input) {
        match input {
            Input::Request { .. } if !self.serves => self.door.push(input),
            Input::Request { from, id, body } => self.request(outside, from, id, body),
            Input::Answer { id, answer } => {
                if let Some(asked) = self.asked.remove(&id) {
                    self.hear(outside, id, asked, Some(answer));
                }
            }
            Input::NoAnswer { id } => {
                if let Some(asked) = self.asked.remove(&id) {
                    self.hear(outside, id, asked, None);
                }
            }
            Input::FromZooKeeper { connection, zxid, message } => {
                match self.client.hear(outside, connection, zxid, message) {
                    Word::NewSession => self.new_session(outside),
                    Word::Found(errand, found) => self.found(outside, errand, found),
                    Word::Happened(path) => self.happened(outside, &path),
                    Word::Nothing => {}
                }
            }
            Input::Timer(timer) => self.wake(outside, timer),
        }
    }

    /// From now on requests are taken.
    pub(crate) fn open_door(&mut self, outside: &mut Outside) {
        self.serves = true;
        for input in std::mem::take(&mut self.door) {
            self.input(outside, input);
        }
    }

    fn wake(&mut self, outside: &mut Outside, timer: Timer) {
        let life = self.life;
        match timer {
            Timer::Tick => {
                outside.timer(life, TICK_MS, Timer::Tick);
                for (call, errand) in self.client.tick(outside) {
                    self.unanswered(outside, call, errand);
                }
            }
            Timer::Register(attempt) => self.register_again(outside, attempt),
            Timer::Candidate(round) => self.stand_again(outside, round),
            Timer::Again(call, errand) => self.call_again(outside, call, errand),
            Timer::Shrink => {
                let pause = outside.scenario.lag_max_ms / 2;
                outside.timer(life, pause, Timer::Shrink);
                let mut proposals = Vec::new();
                for (partition, replica) in &mut self.replicas {
                    let proposal = replica.shrink(outside, &self.alive);
                    proposals.extend(proposal.map(|proposal| (partition.clone(), proposal)));
                }
                for (partition, proposal) in proposals {
                    self.propose(outside, partition, proposal);
                }
            }
            Timer::Checkpoint => {
                outside.timer(life, CHECKPOINT_MS, Timer::Checkpoint);
                self.replicas.values_mut().for_each(|replica| replica.log.note_watermark());
            }
            Timer::Flush => {
                let pause = outside.random.between(500, 15_000);
                outside.timer(life, pause, Timer::Flush);
                self.replicas.values_mut().for_each(|replica| replica.log.flush());
            }
            Timer::Fetch(partition) => self.fetch(outside, &partition),
            Timer::Held(caller, id, body) => self.ask(outside, caller, id, body, false),
            Timer::Propose(partition, proposal) => {
                let verdict = Verdict::Unclear;
                let Some(replica) = self.replicas.get_mut(&partition) else { return };
                if let Some(again) = replica.on_verdict(outside, &self.alive, &proposal, verdict) {
                    self.send_proposal(outside, partition, again);
                }
            }
            Timer::Link(term, broker) => {
                self.with_term(outside, term, |term, hands| term.pump(hands, broker))
            }
            Timer::ShutDown => self.ask_to_go(outside),
        }
    }
}

/// Requests to this broker.
impl Process {
    fn request(&mut self, outside: &mut Outside, from: Caller, id: u64, body: Body) {
        match body {
            Body::Control { controller, controller_epoch, broker_epoch, order } => {
                if matches!(order, RequestBody::UpdateMetadata(_)) {
                    // Nothing tells an old list of brokers from a new one, in Kafka's protocol: that the copy on a
                    // connection that was given up comes last of all is left out here.
                    if id < self.news {
                        return;
                    }
                    self.news = id;
                }
                let taken = self.obey(outside, controller, controller_epoch, broker_epoch, order);
                outside.answer(self.life, from, id, Answer::Control(taken));
            }
            Body::Ask { .. } => self.ask(outside, from, id, body, true),
            Body::AlterPartition { .. } | Body::ControlledShutdown { .. } => {
                match self.term.as_ref().filter(|term| term.is_in_office()).map(|term| term.number) {
                    Some(term) => {
                        self.with_term(outside, term, |term, hands| term.ask(hands, from, id, body))
                    }
                    None => outside.answer(self.life, from, id, Answer::Controller(None)),
                }
            }
            Body::Produce { partition, value, acks_all } => match self.replicas.get_mut(&partition) {
                Some(replica) => replica.produce(outside, &self.alive, (from, id), value, acks_all),
                None => outside.answer(self.life, from, id, Answer::Produced(Err("unknown partition"))),
            },
        }
    }

    /// `None`: refused as a whole. Else the partitions that took their order.
    fn obey(
        &mut self,
        outside: &mut Outside,
        controller: BrokerId,
        controller_epoch: i32,
        broker_epoch: i64,
        order: RequestBody,
    ) -> Option<BTreeSet<TopicPartition>> {
        let own = controller == self.life.broker;
        if !own
            && is_for_former_life(broker_epoch, self.broker_epoch)
            && !outside.is_broken(Broken::ObeysForFormerLives)
        {
            outside.truth.count("orders for former lives");
            return None;
        }
        if self.obedience.hear(controller_epoch).is_err() {
            outside.truth.count("orders of former controllers");
            return None;
        }
        let mut taken = BTreeSet::new();
        match order {
            RequestBody::LeaderAndIsr { partitions, .. } => {
                for (partition, order) in partitions {
                    let standing = Standing {
                        leader_epoch: order.leadership.leader_epoch,
                        partition_epoch: order.leadership.version,
                        replicas: order.assignment.replicas,
                        isr: order.leadership.isr.into_iter().collect(),
                    };
                    if self.assume(outside, &partition, order.leadership.leader, standing) {
                        taken.insert(partition);
                    }
                }
            }
            RequestBody::UpdateMetadata(news) => {
                self.alive = news.brokers.iter().map(|broker| broker.id).collect();
                self.last_controller = Some(controller);
                for (partition, one) in &news.partitions {
                    let told = (one.leadership.leader, one.leadership.leader_epoch);
                    self.leaders.insert(partition.clone(), told);
                }
            }
            RequestBody::StopReplica(stops) => {
                for (partition, stop) in stops {
                    let Some(replica) = self.replicas.get_mut(&partition) else { continue };
                    if may_stop(replica.leader_epoch(), stop.leader_epoch) {
                        replica.retire(outside);
                        self.fetching.remove(&partition);
                        if stop.delete {
                            self.replicas.remove(&partition);
                        }
                        taken.insert(partition);
                    }
                }
            }
        }
        Some(taken)
    }

    fn assume(
        &mut self,
        outside: &mut Outside,
        partition: &TopicPartition,
        leader: BrokerId,
        standing: Standing,
    ) -> bool {
        if !standing.replicas.contains(&self.life.broker) {
            return false;
        }
        let life = self.life;
        let replica = self.replicas.entry(partition.clone()).or_insert_with(|| Replica {
            life,
            partition: partition.clone(),
            log: Log::default(),
            role: Role::Unassigned(LeaderEpoch::NONE),
        });
        if check_role(replica.leader_epoch(), standing.leader_epoch).is_err() {
            return false;
        }
        self.fetching.remove(partition);
        if leader == life.broker {
            replica.lead(outside, standing, &self.alive);
        } else {
            replica.follow(outside, leader, standing.leader_epoch);
            self.fetch(outside, partition);
        }
        true
    }

    /// A follower asks. A fetch that finds nothing may wait a while.
    fn ask(&mut self, outside: &mut Outside, from: Caller, id: u64, body: Body, may_wait: bool) {
        let Body::Ask { partition, follower, broker_epoch, question } = &body else { return };
        let Some(replica) = self.replicas.get_mut(partition) else { return outside.refuse(from, id) };
        let (answer, proposal) = replica.answer(outside, &self.alive, (*follower, *broker_epoch), question);
        let partition = partition.clone();
        match &answer {
            Answer::Records { records, .. } if may_wait && records.is_empty() => {
                let most = outside.scenario.fetch_wait_ms;
                let wait = outside.random.between(1, most);
                outside.timer(self.life, wait, Timer::Held(from, id, body));
            }
            _ => outside.answer(self.life, from, id, answer),
        }
        if let Some(proposal) = proposal {
            self.propose(outside, partition, proposal);
        }
    }
}

/// Requests of this broker.
impl Process {
    fn hear(&mut self, outside: &mut Outside, id: u64, asked: Asked, answer: Option<Answer>) {
        match asked {
            Asked::Leader(partition, question) => {
                if self.fetching.get(&partition) != Some(&id) {
                    return;
                }
                self.fetching.remove(&partition);
                let Some(replica) = self.replicas.get_mut(&partition) else { return };
                match answer {
                    Some(answer) => replica.hear(outside, &question, answer),
                    None => replica.no_answer(outside),
                }
                self.fetch(outside, &partition);
            }
            Asked::Alter(partition, proposal) => {
                let verdict = match answer {
                    Some(Answer::Controller(Some(reply))) => verdict(reply, &partition),
                    _ => Verdict::Unclear,
                };
                let Some(replica) = self.replicas.get_mut(&partition) else { return };
                if let Some(again) = replica.on_verdict(outside, &self.alive, &proposal, verdict) {
                    outside.timer(self.life, RETRY_MS / 2, Timer::Propose(partition, again));
                }
            }
            Asked::Order(term, broker) => {
                self.with_term(outside, term, |term, hands| term.answered(hands, broker, id, answer));
            }
            Asked::ShutDown => match answer {
                Some(Answer::Controller(Some(Reply::ControlledShutdown(Ok(left))))) if left.is_empty() => {
                    outside.truth.count("controlled shutdowns with the controller's leave");
                    self.done = true;
                }
                _ => outside.timer(self.life, 4 * RETRY_MS, Timer::ShutDown),
            },
        }
    }

    fn fetch(&mut self, outside: &mut Outside, partition: &TopicPartition) {
        if self.fetching.contains_key(partition) {
            return;
        }
        let Some(replica) = self.replicas.get_mut(partition) else { return };
        match replica.next(outside) {
            Next::Ask(leader, question) => {
                let body = Body::Ask {
                    partition: partition.clone(),
                    follower: self.life.broker,
                    broker_epoch: self.broker_epoch,
                    question,
                };
                let id = outside.request(self.life, leader, body);
                self.asked.insert(id, Asked::Leader(partition.clone(), question));
                self.fetching.insert(partition.clone(), id);
            }
            Next::Wait(ms) => outside.timer(self.life, ms, Timer::Fetch(partition.clone())),
            Next::Rest => {}
        }
    }

    fn propose(&mut self, outside: &mut Outside, partition: TopicPartition, proposal: Proposal) {
        let (life, isr) = (self.life, &proposal.isr);
        outside.say(|| {
            let isr: Vec<String> = isr.iter().map(|member| member.broker.to_string()).collect();
            format!("{life}: proposes {} as in-sync set of {partition}", isr.join(","))
        });
        if outside.is_broken(Broken::AltersWithoutAsking)
            && let Some(replica) = self.replicas.get_mut(&partition)
        {
            let verdict = Verdict::Altered {
                leader_epoch: proposal.leader_epoch,
                partition_epoch: proposal.partition_epoch,
                isr: isr.iter().map(|member| member.broker).collect(),
            };
            let _ = replica.on_verdict(outside, &self.alive, &proposal, verdict);
        }
        self.send_proposal(outside, partition, proposal);
    }

    fn send_proposal(&mut self, outside: &mut Outside, partition: TopicPartition, proposal: Proposal) {
        let Some(controller) = self.controller() else {
            return outside.timer(self.life, RETRY_MS, Timer::Propose(partition, proposal));
        };
        let mut isr = proposal.isr.clone();
        if outside.is_broken(Broken::AdmitsFormerLives) {
            isr.iter_mut().for_each(|member| member.broker_epoch = UNKNOWN_BROKER_EPOCH);
        }
        let change = IsrChange {
            partition: partition.clone(),
            leader_epoch: proposal.leader_epoch,
            isr,
            recovery: Recovery::Recovered,
            version: proposal.partition_epoch,
        };
        let (broker, broker_epoch) = (self.life.broker, self.broker_epoch);
        let id =
            outside.request(self.life, controller, Body::AlterPartition { broker, broker_epoch, change });
        self.asked.insert(id, Asked::Alter(partition, proposal));
    }

    /// Whom this broker takes for the controller.
    pub(crate) fn controller(&self) -> Option<BrokerId> {
        self.candidate.current().or(self.last_controller)
    }

    /// Wants to go, with the controller's leave.
    pub(crate) fn shut_down(&mut self, outside: &mut Outside) {
        if self.serves && self.shutting_down.is_none() {
            let life = self.life;
            outside.say(|| format!("{life}: wants to go"));
            self.shutting_down = Some(0);
            self.ask_to_go(outside);
        }
    }

    fn ask_to_go(&mut self, outside: &mut Outside) {
        let Some(attempts) = &mut self.shutting_down else { return };
        *attempts += 1;
        if *attempts > SHUTDOWN_ATTEMPTS {
            self.done = true;
            return;
        }
        let Some(controller) = self.controller() else {
            return outside.timer(self.life, 4 * RETRY_MS, Timer::ShutDown);
        };
        let (broker, broker_epoch) = (self.life.broker, self.broker_epoch);
        let id = outside.request(self.life, controller, Body::ControlledShutdown { broker, broker_epoch });
        self.asked.insert(id, Asked::ShutDown);
    }
}

/// What the answer of a controller means to the leader that asked.
fn verdict(reply: Reply, partition: &TopicPartition) -> Verdict {
    let Reply::AlterPartition(mut results) = reply else { return Verdict::Unclear };
    match results.remove(partition) {
        Some(Ok(state)) => Verdict::Altered {
            leader_epoch: state.leader_epoch,
            partition_epoch: state.version,
            isr: state.isr.into_iter().collect(),
        },
        Some(Err(AlterRefusal::IneligibleReplica)) => Verdict::NotApplied,
        Some(Err(AlterRefusal::NotController | AlterRefusal::Failed)) | None => Verdict::Unclear,
        Some(Err(_)) => Verdict::Outdated,
    }
}
