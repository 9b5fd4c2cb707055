//! What surrounds the machines: time, chance, the network between them, and the eye that watches all of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use storage::types::BrokerId;

use super::messages::{Answer, Body, Caller, FromZooKeeper, Life, Place, ToZooKeeper};
use super::process::Timer;
use super::random::Random;
use super::scenario::{Broken, Scenario};
use super::truth::Truth;

/// A request of a broker counts as lost after this. Unit: ms.
const REQUEST_TIMEOUT_MS: u64 = 2_500;

/// What happens to a process.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    Request { from: Caller, id: u64, body: Body },
    Answer { id: u64, answer: Answer },
    NoAnswer { id: u64 },
    FromZooKeeper { connection: u64, zxid: i64, message: FromZooKeeper },
    Timer(Timer),
}

#[derive(Clone, Debug)]
pub(crate) enum Happening {
    /// To the life, if it is still the one.
    Process(Life, Input),
    /// To whatever life the broker has when it arrives: what connects anew.
    Arrival {
        to: BrokerId,
        from: Caller,
        id: u64,
        body: Body,
    },
    ToZooKeeper {
        life: Life,
        connection: u64,
        message: ToZooKeeper,
    },
    ToClient(Answer),
    ZooKeeperTick,
    Produce,
    Fault,
    Restart(BrokerId),
    Resume(BrokerId),
    Mend(Vec<(Place, Place)>),
    ZooKeeperBack,
    Heal,
    Check,
}

/// Which way nothing passes, and how bad the rest is.
#[derive(Debug, Default)]
pub(crate) struct Network {
    /// How many faults cut this direction.
    cuts: BTreeMap<(Place, Place), u32>,
    /// Connections to ZooKeeper of which something was lost: nothing passes any more.
    torn: BTreeSet<u64>,
    /// When the last message of a connection to ZooKeeper arrives, by direction.
    arrivals: BTreeMap<(u64, bool), u64>,
}

impl Network {
    pub(crate) fn cut(&mut self, ways: &[(Place, Place)]) {
        for way in ways {
            *self.cuts.entry(*way).or_default() += 1;
        }
    }

    pub(crate) fn mend(&mut self, ways: &[(Place, Place)]) {
        for way in ways {
            if let Some(cuts) = self.cuts.get_mut(way) {
                *cuts = cuts.saturating_sub(1);
            }
        }
    }

    pub(crate) fn mend_all(&mut self) {
        self.cuts.clear();
    }

    fn is_cut(&self, from: Place, to: Place) -> bool {
        self.cuts.get(&(from, to)).is_some_and(|cuts| *cuts > 0)
    }
}

pub(crate) struct Outside {
    /// Unit: ms.
    pub(crate) now: u64,
    pub(crate) random: Random,
    pub(crate) scenario: Scenario,
    pub(crate) broken: Option<Broken>,
    pub(crate) network: Network,
    pub(crate) truth: Truth,
    /// No faults any more.
    pub(crate) healed: bool,
    queue: BTreeMap<(u64, u64), Happening>,
    queued: u64,
    requests: u64,
    trace: Option<Vec<String>>,
}

impl Outside {
    pub(crate) fn new(
        random: Random,
        scenario: Scenario,
        broken: Option<Broken>,
        traced: bool,
        truth: Truth,
    ) -> Outside {
        Outside {
            now: 0,
            random,
            scenario,
            broken,
            network: Network::default(),
            truth,
            healed: false,
            queue: BTreeMap::new(),
            queued: 0,
            requests: 0,
            trace: traced.then(Vec::new),
        }
    }

    pub(crate) fn is_broken(&self, rule: Broken) -> bool {
        self.broken == Some(rule)
    }

    /// A line of the trace; only put together where someone reads it.
    pub(crate) fn say<T: Display>(&mut self, line: impl FnOnce() -> T) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>8} {}", self.now, line()));
        }
    }

    pub(crate) fn take_trace(&mut self) -> Vec<String> {
        self.trace.take().unwrap_or_default()
    }

    pub(crate) fn after(&mut self, ms: u64, happening: Happening) {
        self.queued += 1;
        self.queue.insert((self.now + ms, self.queued), happening);
    }

    /// The next thing to happen; time moves to it.
    pub(crate) fn next(&mut self) -> Option<Happening> {
        let ((at, _), happening) = self.queue.pop_first()?;
        self.now = at;
        Some(happening)
    }

    pub(crate) fn timer(&mut self, life: Life, ms: u64, timer: Timer) {
        self.after(ms, Happening::Process(life, Input::Timer(timer)));
    }

    /// A number for a request that the caller keeps to recognise the answer.
    pub(crate) fn fresh_id(&mut self) -> u64 {
        self.requests += 1;
        self.requests
    }

    /// From one broker to another, or to itself. An answer or `NoAnswer` will come, or nothing if the caller dies.
    pub(crate) fn request(&mut self, from: Life, to: BrokerId, body: Body) -> u64 {
        let id = self.fresh_id();
        let caller = Caller::Broker(from);
        if from.broker == to {
            let delay = self.random.below(3);
            self.after(delay, Happening::Arrival { to, from: caller, id, body });
            return id;
        }
        self.after(REQUEST_TIMEOUT_MS, Happening::Process(from, Input::NoAnswer { id }));
        if let Some(delay) = self.passage(Place::Broker(from.broker), Place::Broker(to)) {
            self.after(delay, Happening::Arrival { to, from: caller, id, body });
        }
        id
    }

    pub(crate) fn produce(&mut self, to: BrokerId, body: Body) -> u64 {
        let id = self.fresh_id();
        if let Some(delay) = self.passage(Place::Clients, Place::Broker(to)) {
            self.after(delay, Happening::Arrival { to, from: Caller::Client, id, body });
        }
        id
    }

    /// The connection was refused: the caller hears at once.
    pub(crate) fn refuse(&mut self, from: Caller, id: u64) {
        if let Caller::Broker(life) = from {
            self.after(1, Happening::Process(life, Input::NoAnswer { id }));
        }
    }

    pub(crate) fn answer(&mut self, from: Life, to: Caller, id: u64, answer: Answer) {
        match to {
            Caller::Broker(life) if life.broker == from.broker => {
                self.after(0, Happening::Process(life, Input::Answer { id, answer }));
            }
            Caller::Broker(life) => {
                let passage = self.passage(Place::Broker(from.broker), Place::Broker(life.broker));
                if let Some(delay) = passage {
                    self.after(delay, Happening::Process(life, Input::Answer { id, answer }));
                }
            }
            Caller::Client => {
                if let Some(delay) = self.passage(Place::Broker(from.broker), Place::Clients) {
                    self.after(delay, Happening::ToClient(answer));
                }
            }
        }
    }

    pub(crate) fn ask_zookeeper(&mut self, life: Life, connection: u64, message: ToZooKeeper) {
        let from = Place::Broker(life.broker);
        if let Some(delay) = self.stream(connection, true, from, Place::ZooKeeper) {
            self.after(delay, Happening::ToZooKeeper { life, connection, message });
        }
    }

    pub(crate) fn tell_client(&mut self, life: Life, connection: u64, zxid: i64, message: FromZooKeeper) {
        let to = Place::Broker(life.broker);
        if let Some(delay) = self.stream(connection, false, Place::ZooKeeper, to) {
            let input = Input::FromZooKeeper { connection, zxid, message };
            self.after(delay, Happening::Process(life, input));
        }
    }

    /// How long a message takes that has no others before it; `None`: it is lost.
    fn passage(&mut self, from: Place, to: Place) -> Option<u64> {
        if self.network.is_cut(from, to) {
            return None;
        }
        let usual = self.random.between(1, 15);
        if self.healed {
            return Some(usual);
        }
        let network = self.scenario.network;
        if self.random.chance(network.lost_per_mille) {
            self.truth.count("messages lost");
            None
        } else if self.random.chance(network.late_per_mille) {
            self.truth.count("messages late");
            Some(self.random.between(100, network.late_max_ms))
        } else {
            Some(usual)
        }
    }

    /// The same within a connection: in order, and after a loss nothing more.
    fn stream(&mut self, connection: u64, up: bool, from: Place, to: Place) -> Option<u64> {
        if self.network.torn.contains(&connection) {
            return None;
        }
        let Some(delay) = self.passage(from, to) else {
            self.network.torn.insert(connection);
            return None;
        };
        let last = self.network.arrivals.entry((connection, up)).or_default();
        *last = (*last).max(self.now + delay);
        Some(*last - self.now)
    }
}
