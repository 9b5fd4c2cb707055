//! ZooKeeper: the embedded coordinator's own tree, with sessions that expire, watches, and connections that break.
//!
//! As one server: what an ensemble adds is that it may be away for a while, which ends no session.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use coordinator::znodes::{
    Change, CreateMode, Expiry, Notice, ProposedAcl, Refusal, Rejection, SessionId, Txn, WatchMode,
    WatchRequest, WatcherId, Watches, Write, ZnodeTree, Zxid, perms,
};

use super::messages::{Call, Found, FromZooKeeper, Life, Office, ToZooKeeper, Watched};
use super::outside::{Happening, Outside};
use super::texts;

/// How often a server looks for sessions that ended. Unit: ms.
const TICK_MS: u64 = 500;

struct Connection {
    life: Life,
    session: SessionId,
}

pub(crate) struct Ensemble {
    tree: ZnodeTree,
    watches: Watches,
    expiry: Expiry,
    connections: BTreeMap<u64, Connection>,
    sessions: i64,
    away: bool,
    /// Of the write that is being applied.
    office: Option<Office>,
}

impl Ensemble {
    pub(crate) fn begin(outside: &mut Outside) -> Ensemble {
        let mut ensemble = Ensemble {
            tree: ZnodeTree::new(),
            watches: Watches::default(),
            expiry: Expiry::default(),
            connections: BTreeMap::new(),
            sessions: 0,
            away: false,
            office: None,
        };
        outside.after(TICK_MS, Happening::ZooKeeperTick);
        let operator = ensemble.open_session(outside);
        let mut writes: Vec<Write> =
            texts::PERSISTENT.into_iter().map(|path| create(path, Bytes::new(), false)).collect();
        writes.push(create(texts::CONTROLLER_EPOCH, texts::number(0), false));
        writes.push(create("/admin", Bytes::new(), false));
        let made = ensemble.write(outside, operator, Write::Multi(writes));
        assert!(made.is_ok(), "the first paths are made");
        ensemble
    }

    /// A tool writes, in a session of its own.
    pub(crate) fn operate(&mut self, outside: &mut Outside, write: Write) {
        let session = SessionId(1);
        let done = self.write(outside, session, write);
        outside.say(|| format!("operator: {done:?}"));
    }

    pub(crate) fn data(&self, path: &str) -> Option<Bytes> {
        self.tree.data(path, &[]).ok().and_then(|(data, _)| data)
    }

    /// The version of a node, too.
    pub(crate) fn node(&self, path: &str) -> Option<(Vec<u8>, i32)> {
        let (data, stat) = self.tree.data(path, &[]).ok()?;
        Some((data.unwrap_or_default().to_vec(), stat.version))
    }

    pub(crate) fn go_away(&mut self) {
        self.away = true;
        self.connections.clear();
        self.watches = Watches::default();
    }

    /// Sessions get their whole timeout anew.
    pub(crate) fn come_back(&mut self, outside: &Outside) {
        self.away = false;
        let sessions: Vec<SessionId> = self.tree.sessions().map(|(id, _)| id).collect();
        for session in sessions {
            self.touch(outside, session);
        }
    }

    pub(crate) fn tick(&mut self, outside: &mut Outside) {
        outside.after(TICK_MS, Happening::ZooKeeperTick);
        if self.away {
            return;
        }
        for session in self.expiry.expire(Duration::from_millis(outside.now)) {
            self.end_session(outside, session);
        }
    }

    /// Ends the session of a broker's present life, as an operator's hand or a clock gone mad would.
    pub(crate) fn expire_session_of(&mut self, outside: &mut Outside, life: Life) {
        let session = self.connections.values().find(|one| one.life == life).map(|one| one.session);
        if let Some(session) = session {
            self.end_session(outside, session);
        }
    }

    pub(crate) fn receive(
        &mut self,
        outside: &mut Outside,
        life: Life,
        connection: u64,
        message: ToZooKeeper,
    ) {
        if self.away {
            return;
        }
        match message {
            ToZooKeeper::Connect { session, seen, watched } => {
                self.connect(outside, life, connection, session, seen, watched);
            }
            ToZooKeeper::Call { id, call } => {
                let Some(Connection { session, .. }) = self.connections.get(&connection) else { return };
                let session = *session;
                if self.tree.session(session).is_none() {
                    return;
                }
                self.touch(outside, session);
                let found = self.serve(outside, connection, session, call);
                let answer = FromZooKeeper::Answer { id, found };
                outside.tell_client(life, connection, self.tree.zxid().0, answer);
            }
        }
    }

    fn connect(
        &mut self,
        outside: &mut Outside,
        life: Life,
        connection: u64,
        session: Option<SessionId>,
        seen: i64,
        watched: Watched,
    ) {
        let session = match session {
            Some(session) if self.tree.session(session).is_none() => {
                outside.tell_client(life, connection, self.tree.zxid().0, FromZooKeeper::Expired);
                return;
            }
            Some(session) => session,
            None => self.open_session(outside),
        };
        self.touch(outside, session);
        // The session moved: nothing that is still on its way over the former connection counts.
        let former = self.connections.iter().filter(|(_, one)| one.session == session);
        let former: Vec<u64> = former.map(|(id, _)| *id).collect();
        for id in former {
            self.forget(id);
        }
        self.connections.insert(connection, Connection { life, session });
        let zxid = self.tree.zxid().0;
        outside.tell_client(life, connection, zxid, FromZooKeeper::Connected(session));
        let request = WatchRequest {
            since: Zxid(seen),
            data: watched.data.into_iter().collect(),
            exist: watched.exist.into_iter().collect(),
            child: watched.children.into_iter().collect(),
            ..WatchRequest::default()
        };
        let missed = self.tree.resume_watches(&mut self.watches, WatcherId(connection), &request);
        for event in missed.expect("few watches") {
            let event = FromZooKeeper::Event { path: event.path };
            outside.tell_client(life, connection, zxid, event);
        }
    }

    fn forget(&mut self, connection: u64) {
        self.connections.remove(&connection);
        self.watches.forget(WatcherId(connection));
    }

    fn serve(&mut self, outside: &mut Outside, connection: u64, session: SessionId, call: Call) -> Found {
        let watcher = WatcherId(connection);
        match call {
            Call::Ping => Found::Pong,
            Call::Get { path, watch } => {
                if watch {
                    self.watches.watch_data(watcher, &path, WatchMode::Once).expect("few watches");
                }
                let found = self.tree.data(&path, &[]).ok();
                Found::Node(found.map(|(data, stat)| (data.unwrap_or_default().to_vec(), stat)))
            }
            Call::Children { path, watch } => {
                if watch && self.tree.stat(&path, &[]).is_ok() {
                    self.watches.watch_children(watcher, &path, WatchMode::Once).expect("few watches");
                }
                let found = self.tree.children(&path, &[]).ok();
                Found::Children(found.map(|(names, _)| names.map(str::to_owned).collect()))
            }
            Call::Multi { writes, office } => {
                self.judge_office(outside, office.as_ref(), &writes);
                self.office = office;
                let done = self.write(outside, session, Write::Multi(writes));
                self.office = None;
                Found::Multi(done)
            }
        }
    }

    /// Every write in the name of a controller must be of the one whose epoch stands.
    fn judge_office(&self, outside: &mut Outside, office: Option<&Office>, writes: &[Write]) {
        let Some(office) = office.map(|office| office.epoch) else { return };
        let stands = self.data(texts::CONTROLLER_EPOCH).map(|data| texts::read_number(&data));
        let harmless = self.tree.decide(SessionId(1), &[], Write::Multi(writes.to_vec())).is_err();
        if stands != Some(i64::from(office)) && !harmless {
            outside.truth.violated(format!(
                "controller {office} wrote in ZooKeeper while the epoch was {stands:?}: {writes:?}"
            ));
        }
    }

    fn write(
        &mut self,
        outside: &mut Outside,
        session: SessionId,
        write: Write,
    ) -> Result<Vec<coordinator::znodes::Outcome>, Rejection> {
        let change = self.tree.decide(session, &[], write)?;
        match self.apply(outside, session, change) {
            coordinator::znodes::Outcome::Multi(outcomes) => Ok(outcomes),
            outcome => Ok(vec![outcome]),
        }
    }

    fn apply(
        &mut self,
        outside: &mut Outside,
        session: SessionId,
        change: Change,
    ) -> coordinator::znodes::Outcome {
        let time_ms = i64::try_from(outside.now).expect("a run is short");
        let txn = Txn { zxid: self.tree.zxid().next(), time_ms, session, change };
        let applied = self.tree.apply(&txn).expect("it was decided against this tree");
        for notice in &applied.notices {
            self.tell_truth(outside, notice);
        }
        for (watcher, event, _) in self.watches.notify(&applied.notices) {
            let Some(connection) = self.connections.get(&watcher.0) else { continue };
            let event = FromZooKeeper::Event { path: event.path };
            outside.tell_client(connection.life, watcher.0, txn.zxid.0, event);
        }
        applied.outcome
    }

    fn tell_truth(&self, outside: &mut Outside, notice: &Notice) {
        match notice {
            Notice::Created { path, .. } | Notice::DataChanged { path, .. } => {
                let Ok((Some(data), stat)) = self.tree.data(path, &[]) else { return };
                if let Some(partition) = texts::partition_of_state(path) {
                    let state = texts::decode_state(&data, stat.version);
                    outside.say(|| format!("ZooKeeper: {partition} is {}", shown(&state)));
                    let unclean = outside.scenario.unclean_election;
                    let known = self.office.as_ref().map(|office| Arc::clone(&office.known));
                    outside.truth.state_written(&partition, state, known.unwrap_or_default(), unclean);
                } else if let Some(broker) = texts::broker_of(path) {
                    outside
                        .say(|| format!("ZooKeeper: broker {broker} registered with epoch {}", stat.czxid));
                    outside.truth.registered(broker, stat.czxid);
                }
            }
            Notice::Deleted { path, .. } => {
                if let Some(broker) = texts::broker_of(path) {
                    outside.say(|| format!("ZooKeeper: broker {broker} is gone"));
                    outside.truth.unregistered(broker);
                }
            }
            Notice::ChildrenChanged { .. } => {}
        }
    }

    fn open_session(&mut self, outside: &mut Outside) -> SessionId {
        self.sessions += 1;
        let session = SessionId(self.sessions);
        let timeout_ms = i32::try_from(outside.scenario.session_timeout_ms).expect("small");
        self.apply(outside, session, Change::OpenSession { timeout_ms, password: [0; 16] });
        session
    }

    fn end_session(&mut self, outside: &mut Outside, session: SessionId) {
        self.expiry.forget(session);
        let of_session = self.connections.iter().filter(|(_, one)| one.session == session);
        let of_session: Vec<u64> = of_session.map(|(id, _)| *id).collect();
        outside.say(|| format!("ZooKeeper: session {} ends", session.0));
        if self.tree.session(session).is_some() {
            self.apply(outside, session, Change::CloseSession);
        }
        for id in of_session {
            self.forget(id);
        }
    }

    fn touch(&mut self, outside: &Outside, session: SessionId) {
        // The operator's does not end.
        if session != SessionId(1) {
            let timeout = Duration::from_millis(outside.scenario.session_timeout_ms);
            self.expiry.touch(session, Duration::from_millis(outside.now), timeout);
        }
    }
}

pub(crate) fn shown(state: &coordinator::cluster::Leadership) -> String {
    let isr = state.isr.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    format!(
        "led by {} in epoch {} with in-sync set {isr}, version {}, by controller {}",
        state.leader, state.leader_epoch, state.version, state.controller_epoch
    )
}

pub(crate) fn create(path: &str, data: Bytes, ephemeral: bool) -> Write {
    let mode = if ephemeral { CreateMode::Ephemeral } else { CreateMode::Persistent };
    Write::Create { path: path.to_owned(), data: Some(data), acl: open(), mode: Some(mode), container: false }
}

pub(crate) fn is(rejection: &Rejection, at: usize, refusal: Refusal) -> bool {
    match rejection {
        Rejection::Single(found) => *found == refusal,
        Rejection::Multi(codes) => codes.get(at) == Some(&refusal.code()),
    }
}

fn open() -> Vec<ProposedAcl> {
    vec![ProposedAcl { perms: perms::ALL, scheme: Some("world".to_owned()), id: Some("anyone".to_owned()) }]
}
