//! The one thread that owns the tree, the sessions, the watches and the journal.
//!
//! It takes what has arrived, decides and applies it in order, makes all of it durable with one sync, and only then lets the answers and
//! events go. What arrives meanwhile is the next batch. After a failed write it stops: memory knows more than the disk then.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use coordinator::znodes::{
    Applied, Change, Expiry, Identity, Misfit, SessionId, Txn, WatcherId, Watches, ZnodeTree, permits, perms,
};
use storage::disk::Disk;
use tokio::sync::{mpsc, oneshot};

use super::Settings;
use super::connection::{Permit, Traffic};
use super::counters::{Counters, Ledger};
use super::journal::{Journal, JournalError};
use super::outbox::{Outbox, Total};
use super::reply;
use super::request::{Envelope, Hello};
use super::words::Word;

/// Commands taken at once.
const BATCH: usize = 512;

/// Answers held back until a sync; beyond that the batch is synced early. Unit: bytes.
const STAGED_BYTES_MAX: usize = 16 << 20;

/// Pause before a full disk is tried again.
const SPACE_RETRY: Duration = Duration::from_millis(500);

/// What connections and the owner of the server ask of the core.
#[derive(Debug)]
pub(super) enum Command {
    Connect { id: WatcherId, peer: SocketAddr, hello: Hello, outbox: Outbox },
    Request { id: WatcherId, envelope: Envelope, arrived: Instant, permit: Permit },
    Gone { id: WatcherId },
    Word { word: Word, peer: SocketAddr, reply: oneshot::Sender<String> },
    ExpireAbandoned { session: SessionId, reply: oneshot::Sender<bool> },
    Shutdown { reply: oneshot::Sender<()> },
}

#[derive(Debug, thiserror::Error)]
pub(super) enum CoreError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("a decided change does not fit: {0}")]
    Misfit(#[from] Misfit),
}

/// An attached connection.
pub(super) struct Link {
    pub(super) peer: SocketAddr,
    pub(super) outbox: Outbox,
    pub(super) session: SessionId,
    /// As negotiated by this connection.
    pub(super) timeout: Duration,
    pub(super) identities: Vec<Identity>,
    pub(super) ledger: Ledger,
    /// Its end is staged; nothing more is taken from it.
    pub(super) closing: bool,
}

/// What the core shares with its owner and its connections.
#[derive(Debug, Clone, Default)]
pub(super) struct Shared {
    /// The owner wants the core to end, even one that waits for space.
    pub(super) stopping: Arc<AtomicBool>,
    pub(super) unsent: Total,
    pub(super) traffic: Arc<Traffic>,
}

/// What happened so far, for `mntr`.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) changes: u64,
    pub(super) sessions_expired: u64,
    pub(super) cut_off: u64,
    pub(super) auth_failed: u64,
}

/// Held back until the changes before it are durable.
enum Staged {
    Frame(WatcherId, Bytes),
    Close(WatcherId),
    Flag(oneshot::Sender<bool>, bool),
}

pub(super) struct Core {
    pub(super) settings: Settings,
    pub(super) address: SocketAddr,
    pub(super) tree: ZnodeTree,
    pub(super) watches: Watches,
    pub(super) expiry: Expiry,
    pub(super) journal: Journal,
    pub(super) links: BTreeMap<WatcherId, Link>,
    /// The connection of each attached session.
    pub(super) attached: BTreeMap<SessionId, WatcherId>,
    pub(super) next_session: i64,
    pub(super) started: Instant,
    pub(super) counters: Counters,
    pub(super) tally: Tally,
    pub(super) shared: Shared,
    staged: Vec<Staged>,
    staged_bytes: usize,
    next_sweep: Option<Instant>,
}

impl Core {
    pub(super) fn open(
        disk: Arc<dyn Disk>,
        settings: Settings,
        address: SocketAddr,
        shared: Shared,
    ) -> Result<Core, JournalError> {
        let (journal, tree) = Journal::open(disk, &settings.data_directory, settings.snapshots)?;
        let mut expiry = Expiry::default();
        for (id, session) in tree.sessions() {
            expiry.touch(id, Duration::ZERO, timeout(session.timeout_ms));
        }
        let newest = tree.sessions().last().map_or(0, |(id, _)| id.0);
        tracing::info!(
            zxid = tree.zxid().0,
            znodes = tree.node_count(),
            sessions = tree.sessions().count(),
            directory = %settings.data_directory.display(),
            "the embedded coordinator has its znodes"
        );
        Ok(Core {
            next_session: first_session(wall_clock_ms()).max(newest.saturating_add(1)),
            settings,
            address,
            tree,
            watches: Watches::default(),
            expiry,
            journal,
            links: BTreeMap::new(),
            attached: BTreeMap::new(),
            started: Instant::now(),
            counters: Counters::default(),
            tally: Tally::default(),
            shared,
            staged: Vec::new(),
            staged_bytes: 0,
            next_sweep: None,
        })
    }

    /// Serves until told to shut down or the disk fails.
    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Command>) {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_time().build() {
            Ok(runtime) => runtime,
            Err(error) => return tracing::error!(%error, "the embedded coordinator cannot wait for anything"),
        };
        match runtime.block_on(self.serve(&mut queue)) {
            // Dropped by its owner: everything acknowledged is in the log.
            Ok(None) => {}
            Ok(Some(told)) => {
                self.links.clear();
                if let Err(error) = self.journal.close(&self.tree) {
                    tracing::error!(%error, "the embedded coordinator could not close its journal");
                }
                let _ = told.send(());
            }
            Err(error) => {
                tracing::error!(%error, "the embedded coordinator stops; what it acknowledged is on disk: \
                     mend the cause and start again");
            }
        }
    }

    /// Returns whom to tell once the journal is closed.
    async fn serve(
        &mut self,
        queue: &mut mpsc::Receiver<Command>,
    ) -> Result<Option<oneshot::Sender<()>>, CoreError> {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let taken = match self.next_wakeup() {
                None => queue.recv_many(&mut batch, BATCH).await,
                Some(wakeup) => {
                    tokio::select! {
                        taken = queue.recv_many(&mut batch, BATCH) => taken,
                        () = tokio::time::sleep_until(wakeup.into()) => usize::MAX,
                    }
                }
            };
            if taken == 0 {
                return Ok(None);
            }
            let mut told = None;
            for command in batch.drain(..) {
                match command {
                    Command::Shutdown { reply } => told = Some(reply),
                    command => self.take(command)?,
                }
                if self.staged_bytes > STAGED_BYTES_MAX {
                    self.release()?;
                }
            }
            self.end_overdue_sessions()?;
            self.sweep_containers()?;
            self.release()?;
            if told.is_some() {
                return Ok(told);
            }
            self.journal.snapshot_if_due(&self.tree);
        }
    }

    fn take(&mut self, command: Command) -> Result<(), CoreError> {
        match command {
            Command::Connect { id, peer, hello, outbox } => self.connect(id, peer, hello, outbox)?,
            Command::Request { id, envelope, arrived, permit } => {
                // A closed connection may still have requests in the queue.
                if self.links.get(&id).is_some_and(|link| !link.closing) {
                    self.request(id, envelope, arrived)?;
                }
                drop(permit);
            }
            Command::Gone { id } => self.detach(id),
            Command::Word { word, peer, reply } => {
                let _ = reply.send(self.word(word, peer));
            }
            Command::ExpireAbandoned { session, reply } => {
                let ended = self.tree.session(session).is_some() && !self.attached.contains_key(&session);
                if ended {
                    self.end_session(session)?;
                }
                self.staged.push(Staged::Flag(reply, ended));
            }
            Command::Shutdown { .. } => {}
        }
        Ok(())
    }

    /// Gives a change its place in the order, applies it, and stages the events it causes.
    pub(super) fn commit(&mut self, session: SessionId, change: Change) -> Result<Applied, CoreError> {
        let txn = Txn { zxid: self.tree.zxid().next(), time_ms: wall_clock_ms(), session, change };
        self.journal.append(&txn);
        self.tally.changes += 1;
        let applied = self.tree.apply(&txn)?;
        for (watcher, event, acl) in self.watches.notify(&applied.notices) {
            let may_read = |link: &Link| permits(&acl, perms::READ, &link.identities);
            if self.links.get(&watcher).is_some_and(may_read) {
                self.stage(watcher, reply::event(&event));
            }
        }
        Ok(applied)
    }

    pub(super) fn stage(&mut self, id: WatcherId, frame: Bytes) {
        self.staged_bytes += frame.len();
        self.staged.push(Staged::Frame(id, frame));
    }

    /// The connection is closed after what was staged for it before.
    pub(super) fn stage_close(&mut self, id: WatcherId) {
        if let Some(link) = self.links.get_mut(&id) {
            link.closing = true;
        }
        self.staged.push(Staged::Close(id));
    }

    /// Makes the batch durable, then lets go of everything that waited for it.
    fn release(&mut self) -> Result<(), CoreError> {
        self.make_durable()?;
        self.staged_bytes = 0;
        for staged in std::mem::take(&mut self.staged) {
            match staged {
                Staged::Frame(id, frame) => {
                    let Some(link) = self.links.get_mut(&id) else { continue };
                    self.counters.sent += 1;
                    self.counters.answers.add(frame.len());
                    link.ledger.counters.sent += 1;
                    if !link.outbox.send(frame) {
                        self.cut_off(id);
                    }
                }
                Staged::Close(id) => self.detach(id),
                Staged::Flag(reply, ended) => {
                    let _ = reply.send(ended);
                }
            }
        }
        while self.shared.unsent.is_too_much() {
            let slowest = self.links.iter().max_by_key(|(_, link)| link.outbox.unsent());
            let Some((id, _)) = slowest.filter(|(_, link)| link.outbox.unsent() > 0) else { break };
            self.cut_off(*id);
        }
        Ok(())
    }

    /// Writes the batch to disk. A full disk is waited out: nothing is answered meanwhile, and no session ends for that.
    fn make_durable(&mut self) -> Result<(), CoreError> {
        let mut waited = false;
        loop {
            match self.journal.commit() {
                Ok(()) => break,
                Err(error) if error.is_out_of_space() && !self.shared.stopping.load(Ordering::Relaxed) => {
                    if !std::mem::replace(&mut waited, true) {
                        tracing::error!(
                            %error,
                            "the disk of the embedded coordinator is full: it answers nothing until there is space \
                             again; free some, or stop the broker and move zookeeper.embedded.data.dir"
                        );
                    }
                    std::thread::park_timeout(SPACE_RETRY);
                }
                Err(error) => return Err(error.into()),
            }
        }
        if waited {
            tracing::info!("the embedded coordinator has space again, and goes on");
            // Nobody could be heard meanwhile.
            for (id, session) in self.tree.sessions() {
                self.expiry.touch(id, self.started.elapsed(), timeout(session.timeout_ms));
            }
        }
        Ok(())
    }

    /// Ends a connection whose client does not read, with all that waits for it; its session lives on.
    fn cut_off(&mut self, id: WatcherId) {
        if let Some(link) = self.links.get(&id) {
            tracing::warn!(peer = %link.peer, unsent = link.outbox.unsent(), "a client that does not read its answers is cut off");
            link.outbox.cut();
            self.tally.cut_off += 1;
        }
        self.detach(id);
    }

    /// Forgets a connection, which thereby closes; its session lives on.
    pub(super) fn detach(&mut self, id: WatcherId) {
        self.watches.forget(id);
        if let Some(link) = self.links.remove(&id)
            && self.attached.get(&link.session) == Some(&id)
        {
            self.attached.remove(&link.session);
        }
    }

    fn next_wakeup(&self) -> Option<Instant> {
        let expiry = self.expiry.next_deadline().map(|deadline| self.started + deadline);
        [expiry, self.next_sweep].into_iter().flatten().min()
    }

    /// Since the server's start.
    pub(super) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn sweep_containers(&mut self) -> Result<(), CoreError> {
        if !self.tree.has_containers() {
            self.next_sweep = None;
            return Ok(());
        }
        let now = Instant::now();
        let due = *self.next_sweep.get_or_insert(now + self.settings.sweep_interval);
        if due > now {
            return Ok(());
        }
        for path in self.tree.abandoned_containers() {
            if let Some(change) = self.tree.decide_sweep(&path) {
                self.commit(SessionId(0), change)?;
            }
        }
        self.next_sweep = Some(now + self.settings.sweep_interval);
        Ok(())
    }
}

/// Unit: ms since 1970.
pub(super) fn wall_clock_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

pub(super) fn timeout(ms: i32) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

/// ZooKeeper's scheme for server 0: five bytes of time, two of counter, the top byte clear.
fn first_session(now_ms: i64) -> i64 {
    ((now_ms << 24).cast_unsigned() >> 8).cast_signed()
}
