//! How a broker registers, and stands for the controller's office: the way through ZooKeeper of
//! `broker::cluster::{registration, controller}`, call by call.

use coordinator::znodes::{Outcome, Refusal, Write};
use storage::types::BrokerId;

use super::ensemble::{create, is};
use super::messages::{Call, Found};
use super::outside::Outside;
use super::process::{Process, RETRY_MS, Timer};
use super::session::Errand;
use super::term::{Hands, Term};
use super::texts;

/// Pause before a broker looks again whether its former session has ended. Unit: ms.
const FORMER_SESSION_MS: u64 = 500;

/// What a candidate asks of ZooKeeper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asking {
    Holder,
    Epoch,
    Election { epoch: i32 },
    OwnElection { epoch: i32 },
    OwnEpoch { epoch: i32 },
    Resignation,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Off,
    Busy,
    /// Another one is controller: until it goes.
    Waiting,
    InOffice,
}

#[derive(Debug, Default)]
pub(crate) struct Candidate {
    stage: Stage,
    round: u64,
    current: Option<BrokerId>,
    registering: u64,
    /// Number of the session that holds the broker's entry.
    registered_in: u64,
}

impl Candidate {
    /// Who is controller, as far as ZooKeeper told.
    pub(crate) fn current(&self) -> Option<BrokerId> {
        self.current
    }
}

/// Registration.
impl Process {
    pub(crate) fn new_session(&mut self, outside: &mut Outside) {
        if self.term.as_ref().is_some_and(|term| term.session != self.client.number()) {
            self.end_term(outside, "the session expired");
        } else {
            self.stand(outside);
        }
    }

    fn register(&mut self, outside: &mut Outside) {
        self.candidate.registering += 1;
        let path = texts::broker(self.life.broker);
        let writes = vec![create(&path, bytes::Bytes::new(), true)];
        let errand = Errand::Register(self.candidate.registering);
        self.call(outside, Call::Multi { writes, office: None }, errand);
    }

    pub(crate) fn register_again(&mut self, outside: &mut Outside, attempt: u64) {
        if attempt == self.candidate.registering {
            self.register(outside);
        }
    }

    fn registered(&mut self, outside: &mut Outside, epoch: i64) {
        let life = self.life;
        outside.say(|| format!("{life}: is registered with epoch {epoch}"));
        self.candidate.registering += 1;
        self.candidate.registered_in = self.client.number();
        self.broker_epoch = epoch;
        self.stand(outside);
        self.open_door(outside);
    }
}

/// Standing for election.
impl Process {
    /// Waits for the present controller to go, or tries to be the next one.
    fn stand(&mut self, outside: &mut Outside) {
        self.candidate.stage = Stage::Busy;
        self.candidate.round += 1;
        if self.candidate.registered_in != self.client.number() {
            return self.register(outside);
        }
        self.inquire(outside, Call::Get { path: texts::CONTROLLER.to_owned(), watch: true }, Asking::Holder);
    }

    pub(crate) fn stand_again(&mut self, outside: &mut Outside, round: u64) {
        if round == self.candidate.round {
            self.stand(outside);
        }
    }

    fn inquire(&mut self, outside: &mut Outside, call: Call, asking: Asking) {
        let errand = Errand::Candidate(self.candidate.round, asking);
        self.call(outside, call, errand);
    }

    pub(crate) fn end_term(&mut self, outside: &mut Outside, why: &str) {
        if let Some(term) = self.term.take() {
            let (life, epoch) = (self.life, term.epoch);
            outside.say(|| format!("{life}: no longer controller {epoch}: {why}"));
            term.end(outside);
        }
        self.candidate.current = None;
        self.stand(outside);
    }

    /// Does something for the term with this number, if it is still the present one.
    pub(crate) fn with_term(
        &mut self,
        outside: &mut Outside,
        number: u64,
        work: impl FnOnce(&mut Term, &mut Hands<'_>),
    ) {
        let Some(term) = self.term.as_mut().filter(|term| term.number == number) else { return };
        let mut hands = Hands { client: &mut self.client, outside, asked: &mut self.asked };
        work(term, &mut hands);
        if let Some(why) = term.lost() {
            self.end_term(outside, why);
        }
    }

    fn call(&mut self, outside: &mut Outside, call: Call, errand: Errand) {
        if !self.client.call(outside, call.clone(), errand.clone()) {
            self.unanswered(outside, call, errand);
        }
    }

    /// Not known whether it was done.
    pub(crate) fn unanswered(&mut self, outside: &mut Outside, call: Call, errand: Errand) {
        let timer = match errand {
            Errand::Register(attempt) | Errand::LookAtRegistration(attempt) => Timer::Register(attempt),
            Errand::Candidate(round, _) => Timer::Candidate(round),
            Errand::Term(..) => Timer::Again(call, errand),
            Errand::Nothing => return,
        };
        outside.timer(self.life, RETRY_MS, timer);
    }

    pub(crate) fn call_again(&mut self, outside: &mut Outside, call: Call, errand: Errand) {
        let Errand::Term(number, _) = errand else { return };
        let Some(term) = self.term.as_ref().filter(|term| term.number == number) else { return };
        if term.session != self.client.number() {
            return self.end_term(outside, "the session expired");
        }
        self.call(outside, call, errand);
    }

    pub(crate) fn happened(&mut self, outside: &mut Outside, path: &str) {
        if path == texts::CONTROLLER && self.candidate.stage == Stage::Waiting {
            self.stand(outside);
        }
        if let Some(number) = self.term.as_ref().map(|term| term.number) {
            self.with_term(outside, number, |term, hands| term.happened(hands, path));
        }
    }

    pub(crate) fn found(&mut self, outside: &mut Outside, errand: Errand, found: Found) {
        match (errand, found) {
            (Errand::Register(attempt), found) if attempt == self.candidate.registering => match found {
                Found::Multi(Ok(outcomes)) => {
                    let made = outcomes.into_iter().find_map(|outcome| match outcome {
                        Outcome::Created { stat, .. } => Some(stat.czxid),
                        _ => None,
                    });
                    self.registered(outside, made.expect("it was created"));
                }
                _ => {
                    let path = texts::broker(self.life.broker);
                    let errand = Errand::LookAtRegistration(attempt);
                    self.call(outside, Call::Get { path, watch: false }, errand);
                }
            },
            (Errand::LookAtRegistration(attempt), Found::Node(held))
                if attempt == self.candidate.registering =>
            {
                let own = self.client.session().map(|session| session.0);
                match held {
                    None => self.register(outside),
                    Some((_, stat)) if Some(stat.ephemeral_owner) == own => {
                        self.registered(outside, stat.czxid)
                    }
                    Some(_) => outside.timer(self.life, FORMER_SESSION_MS, Timer::Register(attempt)),
                }
            }
            (Errand::Candidate(round, asking), found) if round == self.candidate.round => {
                self.answered(outside, asking, found);
            }
            (Errand::Term(number, errand), found) => {
                self.with_term(outside, number, |term, hands| term.found(hands, errand, found));
            }
            _ => {}
        }
    }

    fn answered(&mut self, outside: &mut Outside, asking: Asking, found: Found) {
        let own = self.client.session().map_or(0, |session| session.0);
        let epoch_node = || Call::Get { path: texts::CONTROLLER_EPOCH.to_owned(), watch: false };
        match (asking, found) {
            (Asking::Holder, Found::Node(None)) => {
                self.candidate.current = None;
                self.inquire(outside, epoch_node(), Asking::Epoch);
            }
            (Asking::Holder, Found::Node(Some((_, stat)))) if stat.ephemeral_owner == own => {
                // A term of this broker broke off: make room, for this one or another.
                let path = texts::CONTROLLER.to_owned();
                let writes = vec![Write::Delete { path, version: stat.version }];
                self.inquire(outside, Call::Multi { writes, office: None }, Asking::Resignation);
            }
            (Asking::Holder, Found::Node(Some((data, _)))) => {
                let holder = i32::try_from(texts::read_number(&data)).expect("a broker");
                self.candidate.current = Some(BrokerId(holder));
                self.candidate.stage = Stage::Waiting;
            }
            (Asking::Epoch, Found::Node(Some((data, stat)))) => {
                let epoch = i32::try_from(texts::read_number(&data)).expect("an epoch") + 1;
                let holder = texts::number(self.life.broker.0.into());
                let writes = vec![
                    create(texts::CONTROLLER, holder, true),
                    Write::SetData {
                        path: texts::CONTROLLER_EPOCH.to_owned(),
                        data: Some(texts::number(epoch.into())),
                        version: stat.version,
                    },
                ];
                self.inquire(outside, Call::Multi { writes, office: None }, Asking::Election { epoch });
            }
            (Asking::Election { epoch }, Found::Multi(Ok(outcomes))) => {
                let fence = outcomes.iter().find_map(|outcome| match outcome {
                    Outcome::Changed { stat } => Some(stat.version),
                    _ => None,
                });
                self.take_office(outside, epoch, fence.expect("the epoch was written"));
            }
            (Asking::Election { epoch }, Found::Multi(Err(refusal)))
                if is(&refusal, 0, Refusal::NodeExists) || is(&refusal, 1, Refusal::BadVersion) =>
            {
                let path = texts::CONTROLLER.to_owned();
                self.inquire(outside, Call::Get { path, watch: false }, Asking::OwnElection { epoch });
            }
            (Asking::OwnElection { epoch }, Found::Node(Some((_, stat)))) if stat.ephemeral_owner == own => {
                self.inquire(outside, epoch_node(), Asking::OwnEpoch { epoch });
            }
            (Asking::OwnEpoch { epoch }, Found::Node(Some((data, stat))))
                if texts::read_number(&data) == i64::from(epoch) =>
            {
                self.take_office(outside, epoch, stat.version);
            }
            _ => self.stand(outside),
        }
    }

    fn take_office(&mut self, outside: &mut Outside, epoch: i32, fence: i32) {
        self.candidate.stage = Stage::InOffice;
        self.candidate.current = Some(self.life.broker);
        let life = self.life;
        outside.say(|| format!("{life}: elected as controller {epoch}"));
        outside.truth.took_office(epoch, life);
        outside.truth.count("controllers");
        self.terms += 1;
        let number = self.terms;
        self.term = Some(Term::new(life, number, epoch, fence, self.client.number()));
        self.with_term(outside, number, |term, hands| term.load(hands));
    }
}
