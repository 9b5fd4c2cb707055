//! One replica of a partition in a broker: its log, and the role the controller gave it, played by the rules of
//! `coordinator::replication`.

use std::collections::BTreeSet;

use coordinator::replication::{
    AfterVerdict, EpochEnd, Fetch, Follower, FollowerSettings, History, Leader, LeaderAnswer, LeaderError,
    LeaderSettings, Moment, Order, Proposal, Question, Standing, Step, Verdict, replicated_high_watermark,
};
use coordinator::time::Monotonic;
use storage::types::{BrokerId, LeaderEpoch, Offset, TopicPartition};

use super::log::{Log, Record};
use super::messages::{Answer, Caller, Life};
use super::outside::Outside;
use super::scenario::Broken;

/// Records in one answer to a fetch.
const RECORDS_MAX: usize = 8;
/// Pause of a follower after an error. Unit: ms.
const BACKOFF_MS: i64 = 200;

/// A record that waits to be on all replicas in sync.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting {
    end: Offset,
    value: u64,
    caller: Caller,
    id: u64,
}

pub(crate) enum Role {
    /// Opened, or stopped in this epoch.
    Unassigned(LeaderEpoch),
    Leader {
        leader: Leader,
        waiting: Vec<Waiting>,
    },
    Follower {
        leader: BrokerId,
        follower: Follower,
        leader_epoch: LeaderEpoch,
    },
}

pub(crate) struct Replica {
    pub(crate) life: Life,
    pub(crate) partition: TopicPartition,
    pub(crate) log: Log,
    pub(crate) role: Role,
}

/// What a follower does next.
pub(crate) enum Next {
    Ask(BrokerId, Question),
    Wait(u64),
    Rest,
}

impl Replica {
    pub(crate) fn leader_epoch(&self) -> LeaderEpoch {
        match &self.role {
            Role::Unassigned(leader_epoch) => *leader_epoch,
            Role::Leader { leader, .. } => leader.standing().leader_epoch,
            Role::Follower { leader_epoch, .. } => *leader_epoch,
        }
    }

    pub(crate) fn lead(&mut self, outside: &mut Outside, standing: Standing, alive: &BTreeSet<BrokerId>) {
        self.give_up_waiting(outside);
        let is_alive = |id: BrokerId| alive.contains(&id);
        let moment = Moment { now: Monotonic(outside.now), is_alive: &is_alive };
        let epoch = standing.leader_epoch;
        let high_watermark = match &mut self.role {
            Role::Leader { leader, .. } => {
                if leader.standing().leader_epoch != epoch {
                    self.log.begin_epoch(epoch);
                }
                leader.update(standing, moment)
            }
            _ => {
                self.log.begin_epoch(epoch);
                let settings = LeaderSettings {
                    lag_max_ms: outside.scenario.lag_max_ms,
                    min_in_sync: outside.scenario.min_in_sync,
                };
                let (end, watermark) = (self.log.log_end(), self.log.high_watermark());
                let leader = Leader::new(self.life.broker, standing, settings, end, watermark, moment);
                let high_watermark = leader.high_watermark();
                self.role = Role::Leader { leader, waiting: Vec::new() };
                high_watermark
            }
        };
        self.log.set_high_watermark(high_watermark);
        let (life, partition, end) = (self.life, &self.partition, self.log.log_end());
        outside.say(|| {
            format!("{life}: leads {partition} in epoch {epoch}, log end {end}, watermark {high_watermark}")
        });
        if let Role::Leader { leader, .. } = &self.role {
            outside.truth.leads(partition, life, leader.standing(), &self.log);
        }
    }

    pub(crate) fn follow(&mut self, outside: &mut Outside, leader: BrokerId, epoch: LeaderEpoch) {
        self.give_up_waiting(outside);
        let modern = !outside.is_broken(Broken::TruncatesToHighWatermark);
        let settings = FollowerSettings {
            truncates_on_fetch: outside.scenario.truncates_on_fetch && modern,
            asks_for_epochs: modern,
            backoff_ms: BACKOFF_MS,
        };
        let follower = Follower::begin(epoch, settings, &self.log);
        self.role = Role::Follower { leader, follower, leader_epoch: epoch };
        let (life, partition, end) = (self.life, &self.partition, self.log.log_end());
        let watermark = self.log.high_watermark();
        outside.say(|| {
            format!("{life}: follows {leader} for {partition} in epoch {epoch}, log end {end}, watermark {watermark}")
        });
    }

    pub(crate) fn retire(&mut self, outside: &mut Outside) {
        self.give_up_waiting(outside);
        let (life, partition) = (self.life, &self.partition);
        outside.say(|| format!("{life}: stops {partition}"));
        self.role = Role::Unassigned(self.leader_epoch());
    }

    fn give_up_waiting(&mut self, outside: &mut Outside) {
        if let Role::Leader { waiting, .. } = &mut self.role {
            for one in waiting.drain(..) {
                outside.answer(self.life, one.caller, one.id, Answer::Produced(Err("no longer leader")));
            }
        }
    }
}

/// As leader.
impl Replica {
    pub(crate) fn produce(
        &mut self,
        outside: &mut Outside,
        alive: &BTreeSet<BrokerId>,
        (caller, id): (Caller, u64),
        value: u64,
        acks_all: bool,
    ) {
        let Role::Leader { leader, waiting } = &mut self.role else {
            return outside.answer(self.life, caller, id, Answer::Produced(Err("not the leader")));
        };
        if acks_all && !leader.has_enough_in_sync() {
            return outside.answer(self.life, caller, id, Answer::Produced(Err("too few in sync")));
        }
        let at = self.log.log_end();
        self.log.append(Record { epoch: leader.standing().leader_epoch, value });
        if acks_all {
            waiting.push(Waiting { end: at.next(), value, caller, id });
        } else {
            outside.answer(self.life, caller, id, Answer::Produced(Ok(at)));
        }
        let is_alive = |id: BrokerId| alive.contains(&id);
        let moment = Moment { now: Monotonic(outside.now), is_alive: &is_alive };
        let high_watermark = leader.on_append(self.log.log_end(), moment);
        self.settle(outside, high_watermark);
    }

    /// Answers a follower, and what its fetch leads to: a proposal to the controller.
    pub(crate) fn answer(
        &mut self,
        outside: &mut Outside,
        alive: &BTreeSet<BrokerId>,
        follower: (BrokerId, i64),
        question: &Question,
    ) -> (Answer, Option<Proposal>) {
        let error = |error| (Answer::LeaderError(error), None);
        let (Question::Records { leader_epoch: asked, .. }
        | Question::EpochEnd { leader_epoch: asked, .. }
        | Question::LogEnd { leader_epoch: asked }
        | Question::LogStart { leader_epoch: asked }) = question;
        let current = self.leader_epoch();
        if !outside.is_broken(Broken::ServesAnyLeaderEpoch) {
            if *asked < current {
                return error(LeaderError::Fenced);
            }
            if *asked > current {
                return error(LeaderError::Other);
            }
        }
        let Role::Leader { leader, .. } = &mut self.role else { return error(LeaderError::Other) };
        let (offset, last_fetched_epoch, log_start) = match question {
            Question::EpochEnd { epoch, .. } => {
                return (Answer::EpochEnd(epoch_end(&self.log, *epoch)), None);
            }
            Question::LogEnd { .. } => return (Answer::Offset(self.log.log_end()), None),
            Question::LogStart { .. } => return (Answer::Offset(self.log.log_start()), None),
            Question::Records { offset, last_fetched_epoch, log_start, .. } => {
                (*offset, *last_fetched_epoch, *log_start)
            }
        };
        if last_fetched_epoch != LeaderEpoch::NONE {
            let known = epoch_end(&self.log, last_fetched_epoch);
            if known.epoch == LeaderEpoch::NONE {
                return error(LeaderError::OutOfRange);
            }
            if known.epoch < last_fetched_epoch || known.end < offset {
                return (Answer::Diverging(known), None);
            }
        }
        if offset > self.log.log_end() {
            return error(LeaderError::OutOfRange);
        }
        let records = self.log.read(offset, RECORDS_MAX);
        // The answer to this very fetch still has the watermark from before.
        let answer = Answer::Records { records, high_watermark: self.log.high_watermark() };
        let fetch = Fetch {
            follower: follower.0,
            broker_epoch: follower.1,
            offset,
            log_start,
            leader_end: self.log.log_end(),
        };
        let is_alive = |id: BrokerId| alive.contains(&id);
        let moment = Moment { now: Monotonic(outside.now), is_alive: &is_alive };
        let Ok(moved) = leader.on_fetch(&fetch, moment) else { return error(LeaderError::Other) };
        self.settle(outside, moved.high_watermark);
        (answer, moved.proposal)
    }

    pub(crate) fn shrink(&mut self, outside: &mut Outside, alive: &BTreeSet<BrokerId>) -> Option<Proposal> {
        let Role::Leader { leader, .. } = &mut self.role else { return None };
        let is_alive = |id: BrokerId| alive.contains(&id);
        leader.shrink(Moment { now: Monotonic(outside.now), is_alive: &is_alive })
    }

    /// The controller's answer to a proposal: what is to be sent again.
    pub(crate) fn on_verdict(
        &mut self,
        outside: &mut Outside,
        alive: &BTreeSet<BrokerId>,
        proposal: &Proposal,
        verdict: Verdict,
    ) -> Option<Proposal> {
        let Role::Leader { leader, .. } = &mut self.role else { return None };
        let is_alive = |id: BrokerId| alive.contains(&id);
        let moment = Moment { now: Monotonic(outside.now), is_alive: &is_alive };
        match leader.on_verdict(proposal, verdict, moment) {
            AfterVerdict::Settled(high_watermark) => {
                outside.truth.stands(&self.partition, self.life, leader.standing());
                self.settle(outside, high_watermark);
                None
            }
            AfterVerdict::Again(proposal) => Some(proposal),
        }
    }

    fn settle(&mut self, outside: &mut Outside, high_watermark: Offset) {
        let before = self.log.high_watermark();
        self.log.set_high_watermark(high_watermark);
        let Role::Leader { leader, waiting } = &mut self.role else { return };
        let epoch = leader.standing().leader_epoch;
        outside.truth.committed(&self.partition, self.life, epoch, &self.log, before);
        let enough = leader.has_committed_to_enough();
        let done: Vec<Waiting> = waiting.extract_if(.., |one| one.end <= high_watermark).collect();
        for Waiting { end, value, caller, id } in done {
            let at = Offset(end.0 - 1);
            let result = if enough { Ok(at) } else { Err("too few in sync after the append") };
            if enough {
                outside.truth.acknowledged(&self.partition, epoch, at, value);
            }
            outside.answer(self.life, caller, id, Answer::Produced(result));
        }
    }
}

fn epoch_end(log: &Log, epoch: LeaderEpoch) -> EpochEnd {
    let (epoch, end) = log.end_offset_for(epoch).unwrap_or((LeaderEpoch::NONE, Offset::NONE));
    EpochEnd { epoch, end }
}

/// As follower.
impl Replica {
    /// Carries out what can be done alone, and says what is to be asked of whom.
    pub(crate) fn next(&mut self, outside: &mut Outside) -> Next {
        loop {
            let Role::Follower { leader, follower, .. } = &mut self.role else { return Next::Rest };
            if *leader == BrokerId::NONE {
                return Next::Rest;
            }
            match follower.next(Monotonic(outside.now), &self.log) {
                Step::Ask(question) => return Next::Ask(*leader, question),
                Step::Wait(until) => return Next::Wait(until.0.saturating_sub(outside.now).max(1)),
                Step::Rest => return Next::Rest,
                Step::Carry(order) => self.carry(outside, order),
            }
        }
    }

    pub(crate) fn no_answer(&mut self, outside: &Outside) {
        if let Role::Follower { follower, .. } = &mut self.role {
            follower.delay(Monotonic(outside.now));
        }
    }

    pub(crate) fn hear(&mut self, outside: &mut Outside, question: &Question, answer: Answer) {
        let Role::Follower { follower, .. } = &mut self.role else { return };
        let (told, records) = match answer {
            Answer::Records { records, high_watermark } => {
                (LeaderAnswer::Records, Some((records, high_watermark)))
            }
            Answer::Diverging(end) => (LeaderAnswer::Diverging(end), None),
            Answer::EpochEnd(end) => (LeaderAnswer::EpochEnd(end), None),
            Answer::Offset(offset) => (LeaderAnswer::Offset(offset), None),
            Answer::LeaderError(error) => (LeaderAnswer::Error(error), None),
            Answer::Control(_) | Answer::Controller(_) | Answer::Produced(_) => return,
        };
        match (follower.on_answer(question, told, Monotonic(outside.now), &self.log), records) {
            (Order::Append, Some((records, high_watermark))) => self.append(outside, records, high_watermark),
            (order, _) => self.carry(outside, order),
        }
    }

    fn append(&mut self, outside: &mut Outside, records: Vec<Record>, leader_watermark: Offset) {
        let Role::Follower { follower, leader_epoch, .. } = &mut self.role else { return };
        let last_epoch = records.last().map(|record| record.epoch);
        for record in records {
            self.log.append(record);
        }
        let before = self.log.high_watermark();
        self.log.set_high_watermark(replicated_high_watermark(leader_watermark, &self.log));
        follower.appended(last_epoch, leader_watermark, &self.log);
        outside.truth.replicated(&self.partition, self.life, *leader_epoch, &self.log, before);
    }

    fn carry(&mut self, outside: &mut Outside, order: Order) {
        let Role::Follower { follower, .. } = &mut self.role else { return };
        let end = match order {
            Order::Nothing | Order::Append => return,
            Order::TruncateTo(truncation) => truncation.offset,
            Order::StartOver { .. } => Offset::ZERO,
        };
        if end < self.log.log_end() {
            let (life, partition, from) = (self.life, &self.partition, self.log.log_end());
            outside.say(|| format!("{life}: cuts {partition} from {from} to {end}"));
            outside.truth.count("truncations");
        }
        self.log.truncate_to(end);
        follower.cut(order, &self.log);
    }
}
