//! The follower's rules: how a log is brought in line with the leader's, and kept there.
//!
//! A [`Follower`] is the state of one replica towards one leader epoch. It says what to do next ([`Follower::next`]), is
//! told what came of it, and orders changes of the log ([`Order`]), which its owner carries out and reports. Always true:
//! nothing is cut off that leader and follower share by epoch and offset (KIP-101, KIP-279, KIP-320, KIP-595), and an
//! answer to a question of an earlier epoch or offset changes nothing. It knows no wire version and no other partition.

use storage::types::{LeaderEpoch, Offset};

use crate::time::Monotonic;

/// What the rules need to know of the follower's own log.
pub trait History {
    fn log_start(&self) -> Offset;
    fn log_end(&self) -> Offset;
    fn high_watermark(&self) -> Offset;
    /// Of the last record whose leader is known. `None`: old formats, or no record.
    fn latest_epoch(&self) -> Option<LeaderEpoch>;
    /// The largest epoch not above `epoch` and the offset behind its last record; `None` where that is unknown.
    fn end_offset_for(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)>;
}

/// What the brokers of the cluster have agreed on (`inter.broker.protocol.version`), and pauses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FollowerSettings {
    /// The leader tells of diverging logs in its answers to fetches (from 2.7 on). Else the end of the follower's last
    /// epoch is asked for before the first fetch.
    pub truncates_on_fetch: bool,
    /// The leader can tell where an epoch ended (from 0.11 on). Else logs are cut to the high watermark, which loses
    /// records that were acknowledged (KIP-101); it is what such clusters do.
    pub asks_for_epochs: bool,
    /// Pause after an error: `replica.fetch.backoff.ms`. Unit: ms.
    pub backoff_ms: i64,
}

/// What a replica is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Its log is the leader's as far as it goes; more records are asked for.
    Fetching,
    /// Its log may differ from the leader's; where they part is not known yet.
    Truncating,
    /// The leader does not have the offset: is its log shorter?
    SeekingEnd,
    /// The leader does not have the offset, and its log is not shorter: where does it start?
    SeekingStart { leader_end: Offset },
    /// Given up until the controller speaks again.
    Failed,
}

/// What is asked of the leader, in which epoch. An answer counts only as long as the question would be the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Fetch.
    Records {
        leader_epoch: LeaderEpoch,
        offset: Offset,
        /// Of the record before `offset`; `LeaderEpoch::NONE` asks for no check.
        last_fetched_epoch: LeaderEpoch,
        /// The follower's own.
        log_start: Offset,
    },
    /// OffsetForLeaderEpoch.
    EpochEnd { leader_epoch: LeaderEpoch, epoch: LeaderEpoch },
    /// ListOffsets with -1.
    LogEnd { leader_epoch: LeaderEpoch },
    /// ListOffsets with -2.
    LogStart { leader_epoch: LeaderEpoch },
}

impl Question {
    /// Where the follower's own log starts is told along the way; it may move while the answer travels.
    fn is_same(&self, other: &Question) -> bool {
        match (self, other) {
            (
                Question::Records { leader_epoch, offset, last_fetched_epoch, .. },
                Question::Records { leader_epoch: epoch, offset: other, last_fetched_epoch: last, .. },
            ) => (leader_epoch, offset, last_fetched_epoch) == (epoch, other, last),
            _ => self == other,
        }
    }
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Ask(Question),
    Carry(Order),
    /// After an error, until then.
    Wait(Monotonic),
    /// Until the controller speaks.
    Rest,
}

/// A change of the follower's log, to be reported when it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The answer changes no log.
    Nothing,
    /// Append the records that came with the answer, then take over high watermark and log start.
    Append,
    TruncateTo(Truncation),
    /// Drop everything and start at `offset`.
    StartOver {
        offset: Offset,
        leader_end: Offset,
    },
}

/// Where to cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truncation {
    /// Becomes the log's end, where that is not before it anyway.
    pub offset: Offset,
    /// Below it both logs are the same. If not, the leader is asked again.
    pub complete: bool,
}

/// Where an epoch ended in the leader's log. `NONE` where it does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEnd {
    pub epoch: LeaderEpoch,
    pub end: Offset,
}

/// Errors of one partition that the rules tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaderError {
    /// OFFSET_OUT_OF_RANGE.
    OutOfRange,
    /// FENCED_LEADER_EPOCH: the leader is in a later epoch.
    Fenced,
    /// Anything else, a lost connection included: it is tried again after a pause.
    Other,
}

/// What the leader answered about one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaderAnswer {
    /// Records, or none.
    Records,
    /// The follower's log is another one behind this point.
    Diverging(EpochEnd),
    EpochEnd(EpochEnd),
    Offset(Offset),
    Error(LeaderError),
}

/// One replica, towards one leader epoch.
#[derive(Clone, Copy, Debug)]
pub struct Follower {
    settings: FollowerSettings,
    leader_epoch: LeaderEpoch,
    phase: Phase,
    /// The next to fetch. While truncating: where to cut to if the leader knows of no epochs.
    offset: Offset,
    last_fetched_epoch: Option<LeaderEpoch>,
    /// Behind the leader's high watermark. Unit: records. `None`: not fetched yet.
    lag: Option<i64>,
    delayed_until: Option<Monotonic>,
}

impl Follower {
    /// Another broker leads in `leader_epoch`.
    pub fn begin(leader_epoch: LeaderEpoch, settings: FollowerSettings, log: &impl History) -> Follower {
        let latest = if settings.truncates_on_fetch { log.latest_epoch() } else { None };
        let (phase, offset) = match latest {
            Some(_) => (Phase::Fetching, log.log_end()),
            None => (Phase::Truncating, log.high_watermark()),
        };
        Follower {
            settings,
            leader_epoch,
            phase,
            offset,
            last_fetched_epoch: latest,
            lag: None,
            delayed_until: None,
        }
    }

    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.leader_epoch
    }

    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Behind the leader's high watermark. Unit: records. `None`: not fetched yet.
    pub fn lag(&self) -> Option<i64> {
        self.lag
    }

    /// Whether throttling it would take it out of the in-sync set.
    pub fn is_in_sync(&self) -> bool {
        self.lag.is_some_and(|lag| lag <= 0)
    }

    pub fn next(&self, now: Monotonic, log: &impl History) -> Step {
        let leader_epoch = self.leader_epoch;
        match (self.phase, self.delayed_until) {
            (Phase::Failed, _) => Step::Rest,
            (_, Some(until)) if until > now => Step::Wait(until),
            (Phase::Fetching, _) => Step::Ask(self.records(log)),
            (Phase::SeekingEnd, _) => Step::Ask(Question::LogEnd { leader_epoch }),
            (Phase::SeekingStart { .. }, _) => Step::Ask(Question::LogStart { leader_epoch }),
            (Phase::Truncating, _) => match log.latest_epoch() {
                Some(epoch) if self.settings.asks_for_epochs => {
                    Step::Ask(Question::EpochEnd { leader_epoch, epoch })
                }
                _ => Step::Carry(Order::TruncateTo(Truncation { offset: self.offset, complete: true })),
            },
        }
    }

    /// The leader's answer to `question`. What it orders has to be carried out and reported before anything else is asked.
    pub fn on_answer(
        &mut self,
        question: &Question,
        answer: LeaderAnswer,
        now: Monotonic,
        log: &impl History,
    ) -> Order {
        if !matches!(self.next(now, log), Step::Ask(current) if current.is_same(question)) {
            return Order::Nothing;
        }
        match (self.phase, answer) {
            (Phase::Fetching, LeaderAnswer::Records) => Order::Append,
            (Phase::Fetching, LeaderAnswer::Diverging(end)) if self.settings.truncates_on_fetch => {
                Order::TruncateTo(self.truncation(end, log))
            }
            (Phase::Truncating, LeaderAnswer::EpochEnd(end)) => Order::TruncateTo(self.truncation(end, log)),
            (Phase::SeekingEnd, LeaderAnswer::Offset(leader_end)) => self.found_end(leader_end, log),
            (Phase::SeekingStart { leader_end }, LeaderAnswer::Offset(leader_start)) => {
                self.found_start(leader_start, leader_end, log)
            }
            (Phase::Fetching, LeaderAnswer::Error(LeaderError::OutOfRange)) => {
                self.phase = Phase::SeekingEnd;
                Order::Nothing
            }
            // The question was asked in the epoch that is current here: only the controller can tell a newer one.
            (_, LeaderAnswer::Error(LeaderError::Fenced)) => {
                self.phase = Phase::Failed;
                Order::Nothing
            }
            _ => {
                self.delay(now);
                Order::Nothing
            }
        }
    }

    /// Records were appended, or there were none. `last_epoch` is that of the last record appended.
    pub fn appended(
        &mut self,
        last_epoch: Option<LeaderEpoch>,
        leader_high_watermark: Offset,
        log: &impl History,
    ) {
        self.offset = log.log_end();
        self.last_fetched_epoch = last_epoch.or(self.last_fetched_epoch);
        self.lag = Some((leader_high_watermark - self.offset).max(0));
        self.delayed_until = None;
    }

    /// An order to cut was carried out.
    pub fn cut(&mut self, order: Order, log: &impl History) {
        let complete = match order {
            Order::TruncateTo(truncation) => {
                self.offset = truncation.offset;
                truncation.complete
            }
            Order::StartOver { offset, leader_end } => {
                self.offset = offset;
                self.lag = Some((leader_end - offset).max(0));
                true
            }
            Order::Nothing | Order::Append => return,
        };
        self.phase = match complete || self.settings.truncates_on_fetch {
            true => Phase::Fetching,
            false => Phase::Truncating,
        };
        self.last_fetched_epoch = log.latest_epoch();
        self.delayed_until = None;
    }

    /// Something failed that may go better later: a connection, a batch with a wrong checksum.
    pub fn delay(&mut self, now: Monotonic) {
        if self.delayed_until.is_none_or(|until| until <= now) {
            self.delayed_until = Some(now.after_ms(self.settings.backoff_ms));
        }
    }

    /// Something failed that will not go better by itself: the disk, or records that do not continue the log.
    pub fn fail(&mut self) {
        self.phase = Phase::Failed;
    }

    fn records(&self, log: &impl History) -> Question {
        let last_fetched_epoch = match self.settings.truncates_on_fetch {
            true => self.last_fetched_epoch.unwrap_or(LeaderEpoch::NONE),
            false => LeaderEpoch::NONE,
        };
        Question::Records {
            leader_epoch: self.leader_epoch,
            offset: self.offset,
            last_fetched_epoch,
            log_start: log.log_start(),
        }
    }

    /// Where the two logs part, given where the leader's records of the follower's last epoch, or of the nearest one
    /// below, end.
    fn truncation(&self, leader: EpochEnd, log: &impl History) -> Truncation {
        let log_end = log.log_end();
        let complete = |offset: Offset| Truncation { offset: offset.min(log_end), complete: true };
        if leader.end == Offset::NONE {
            return Truncation { offset: self.offset, complete: true };
        }
        if leader.epoch == LeaderEpoch::NONE {
            return complete(leader.end);
        }
        match log.end_offset_for(leader.epoch) {
            Some((epoch, end)) if epoch == leader.epoch => complete(end.min(leader.end)),
            // The leader has an epoch that this log has not: whatever lies behind the nearest one below is not shared,
            // and whether that one ends at the same offset is the next question.
            Some((_, end)) => Truncation { offset: end.min(log_end), complete: false },
            None => complete(leader.end),
        }
    }

    fn found_end(&mut self, leader_end: Offset, log: &impl History) -> Order {
        if leader_end < log.log_end() {
            self.lag = Some(0);
            return Order::TruncateTo(Truncation { offset: leader_end, complete: true });
        }
        self.phase = Phase::SeekingStart { leader_end };
        Order::Nothing
    }

    fn found_start(&mut self, leader_start: Offset, leader_end: Offset, log: &impl History) -> Order {
        if leader_start > log.log_end() {
            return Order::StartOver { offset: leader_start, leader_end };
        }
        self.phase = Phase::Fetching;
        self.offset = log.log_end();
        self.last_fetched_epoch = log.latest_epoch();
        self.lag = Some((leader_end - self.offset).max(0));
        Order::Nothing
    }
}

/// The high watermark a follower keeps when its leader told `leader`: never beyond its own log. It may go back, when a
/// new leader does not know yet how far its predecessor was.
#[must_use]
pub fn replicated_high_watermark(leader: Offset, log: &impl History) -> Offset {
    leader.min(log.log_end()).max(log.log_start())
}

/// The log start a follower keeps when its leader told `leader`: it only moves forward, and not beyond what is committed.
#[must_use]
pub fn replicated_log_start(leader: Offset, log: &impl History) -> Offset {
    leader.min(log.high_watermark()).max(log.log_start())
}
