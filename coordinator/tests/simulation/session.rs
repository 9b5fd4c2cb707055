//! A broker's client of ZooKeeper: one connection, calls in order, and a session that it takes along when it connects
//! anew. Only the ensemble says when a session has expired.

use std::collections::BTreeMap;

use coordinator::znodes::SessionId;

use super::messages::{Call, Found, FromZooKeeper, Life, ToZooKeeper, Watched};
use super::outside::Outside;

/// What a call was made for. Attempts are numbered: what belongs to an earlier one is no longer waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Errand {
    Register(u64),
    LookAtRegistration(u64),
    Candidate(u64, super::candidate::Asking),
    /// Of the term with this number.
    Term(u64, super::term::Errand),
    Nothing,
}

/// What a message from ZooKeeper means to the process.
#[derive(Debug)]
pub(crate) enum Word {
    /// A session began that is not the former one.
    NewSession,
    Found(Errand, Found),
    Happened(String),
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Down,
    /// Since when, and over which connection.
    Connecting(u64, u64),
    Up(u64),
}

#[derive(Debug)]
pub(crate) struct Client {
    life: Life,
    session: Option<SessionId>,
    /// Counts sessions, from 1.
    number: u64,
    link: Link,
    calls: BTreeMap<u64, (Call, Errand)>,
    watched: Watched,
    seen: i64,
    heard_at: u64,
    pinged_at: u64,
}

impl Client {
    pub(crate) fn new(life: Life) -> Client {
        Client {
            life,
            session: None,
            number: 0,
            link: Link::Down,
            calls: BTreeMap::new(),
            watched: Watched::default(),
            seen: 0,
            heard_at: 0,
            pinged_at: 0,
        }
    }

    pub(crate) fn session(&self) -> Option<SessionId> {
        self.session
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Connects, keeps the session alive, and gives up a connection that is silent for too long. Calls that were under
    /// way then may have been carried out or not: their errands.
    pub(crate) fn tick(&mut self, outside: &mut Outside) -> Vec<(Call, Errand)> {
        let timeout = outside.scenario.session_timeout_ms;
        match self.link {
            Link::Down => self.connect(outside),
            Link::Connecting(since, _) if outside.now > since + timeout / 3 => self.connect(outside),
            Link::Connecting(..) => {}
            Link::Up(_) if outside.now > self.heard_at + timeout * 2 / 3 => {
                let life = self.life;
                outside.say(|| format!("{life}: ZooKeeper is silent, connecting anew"));
                self.link = Link::Down;
                let lost = std::mem::take(&mut self.calls).into_values().collect();
                self.connect(outside);
                return lost;
            }
            Link::Up(_) if outside.now >= self.pinged_at + timeout / 3 => {
                self.pinged_at = outside.now;
                self.call(outside, Call::Ping, Errand::Nothing);
            }
            Link::Up(_) => {}
        }
        Vec::new()
    }

    /// False where there is no connection: nothing was sent.
    pub(crate) fn call(&mut self, outside: &mut Outside, call: Call, errand: Errand) -> bool {
        let Link::Up(connection) = self.link else { return false };
        let id = outside.fresh_id();
        self.calls.insert(id, (call.clone(), errand));
        outside.ask_zookeeper(self.life, connection, ToZooKeeper::Call { id, call });
        true
    }

    pub(crate) fn hear(
        &mut self,
        outside: &mut Outside,
        connection: u64,
        zxid: i64,
        message: FromZooKeeper,
    ) -> Word {
        match (self.link, message) {
            (Link::Connecting(_, expected), FromZooKeeper::Connected(session)) if expected == connection => {
                self.link = Link::Up(connection);
                self.heard_at = outside.now;
                self.pinged_at = outside.now;
                if self.session == Some(session) {
                    return Word::Nothing;
                }
                self.session = Some(session);
                self.number += 1;
                self.seen = zxid;
                Word::NewSession
            }
            (Link::Connecting(_, expected), FromZooKeeper::Expired) if expected == connection => {
                let life = self.life;
                outside.say(|| format!("{life}: the session expired"));
                self.session = None;
                self.watched = Watched::default();
                self.connect(outside);
                Word::Nothing
            }
            (Link::Up(current), message) if current == connection => {
                self.heard_at = outside.now;
                self.seen = self.seen.max(zxid);
                self.word(message)
            }
            _ => Word::Nothing,
        }
    }

    fn word(&mut self, message: FromZooKeeper) -> Word {
        match message {
            FromZooKeeper::Answer { id, found } => {
                let Some((call, errand)) = self.calls.remove(&id) else { return Word::Nothing };
                self.remember_watch(call, &found);
                Word::Found(errand, found)
            }
            FromZooKeeper::Event { path } => {
                self.watched.data.remove(&path);
                self.watched.exist.remove(&path);
                self.watched.children.remove(&path);
                Word::Happened(path)
            }
            FromZooKeeper::Connected(_) | FromZooKeeper::Expired => Word::Nothing,
        }
    }

    fn remember_watch(&mut self, call: Call, found: &Found) {
        match (call, found) {
            (Call::Get { path, watch: true }, Found::Node(Some(_))) => self.watched.data.insert(path),
            (Call::Get { path, watch: true }, Found::Node(None)) => self.watched.exist.insert(path),
            (Call::Children { path, watch: true }, Found::Children(Some(_))) => {
                self.watched.children.insert(path)
            }
            _ => false,
        };
    }

    fn connect(&mut self, outside: &mut Outside) {
        let connection = outside.fresh_id();
        self.link = Link::Connecting(outside.now, connection);
        let message =
            ToZooKeeper::Connect { session: self.session, seen: self.seen, watched: self.watched.clone() };
        outside.ask_zookeeper(self.life, connection, message);
    }
}
