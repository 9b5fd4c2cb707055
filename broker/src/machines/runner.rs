//! Runs one machine on one partition: decide, append, apply, note, and reply when that is committed.
//!
//! Always true: what the machine knows is what its log says, in the log's order, because one lock covers decision,
//! append and apply. A failed append applies nothing. Every request that waits here is answered once, at the latest
//! with [`Closed`] when the leadership ends.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use coordinator::machine::{AppendFailure, Decision, Ticket};
use coordinator::time::Monotonic;
use storage::types::Offset;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::{Instant, sleep};
use tracing::warn;

use crate::clock;
use crate::machines::journal::{Journal, Journaled, Writing};

/// The partition is led by another broker now, or by none; nothing more is decided here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closed;

pub(crate) struct Runner<M: Journaled, J: Journal> {
    /// Named in logs.
    name: String,
    journal: J,
    writing: Writing,
    /// A std mutex: held for one decision with its append, never across `.await`, and no other lock is taken under
    /// it but the partition's own.
    inner: Mutex<Inner<M, J>>,
    /// Wakes the keeper of time when a deadline has come nearer, or all is over.
    alarm: Notify,
    /// For those who look after what the machine has decided.
    progress: watch::Sender<Progress>,
}

/// That something was written down, and whether anything will be again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    appends: u64,
    pub(crate) closed: bool,
}

struct Inner<M: Journaled, J: Journal> {
    machine: M,
    waiting: BTreeMap<Ticket, oneshot::Sender<M::Reply>>,
    last_ticket: u64,
    /// The newest append, on which all that is known rests.
    last_append: Option<J::Receipt>,
    /// What the keeper of time sleeps towards.
    armed: Option<Monotonic>,
    closed: bool,
}

impl<M: Journaled, J: Journal> Runner<M, J> {
    /// Takes over a machine that has been told everything its log says.
    pub(crate) fn start(name: String, machine: M, journal: J, writing: Writing) -> Arc<Self> {
        let inner = Inner {
            machine,
            waiting: BTreeMap::new(),
            last_ticket: 0,
            last_append: None,
            armed: None,
            closed: false,
        };
        let runner = Arc::new(Runner {
            name,
            journal,
            writing,
            inner: Mutex::new(inner),
            alarm: Notify::new(),
            progress: watch::Sender::new(Progress::default()),
        });
        {
            let mut inner = runner.lock();
            let decision = inner.machine.loaded(clock::now());
            runner.carry_out(&mut inner, decision);
        }
        tokio::spawn(Arc::clone(&runner).keep_time());
        runner
    }

    /// Puts a command before the machine, now; the future only waits for the answer.
    pub(crate) fn ask(
        self: &Arc<Self>,
        command: M::Command,
    ) -> impl Future<Output = Result<M::Reply, Closed>> + Send + use<M, J> {
        let (sender, receiver) = oneshot::channel();
        let mut inner = self.lock();
        if !inner.closed {
            inner.last_ticket += 1;
            let ticket = Ticket(inner.last_ticket);
            inner.waiting.insert(ticket, sender);
            let decision = inner.machine.decide(clock::now(), ticket, command);
            self.carry_out(&mut inner, decision);
        }
        drop(inner);
        async move { receiver.await.map_err(|_| Closed) }
    }

    /// Looks at what is known, without waiting for its commit.
    pub(crate) fn look<T>(&self, question: impl FnOnce(&M) -> T) -> T {
        question(&self.lock().machine)
    }

    /// Looks at what is known, and answers once that is committed.
    pub(crate) async fn read<T>(&self, question: impl FnOnce(&M) -> T) -> Result<T, AppendFailure> {
        let (answer, rests_on) = {
            let inner = self.lock();
            (question(&inner.machine), inner.last_append.clone())
        };
        let deadline = Instant::now() + self.writing.commit_timeout;
        if let Some(receipt) = rests_on.filter(|receipt| !self.journal.is_committed(receipt)) {
            self.journal.committed(&receipt, deadline).await?;
        }
        Ok(answer)
    }

    /// A record that another room has appended to the log, at `at`.
    pub(crate) fn observe(&self, at: Offset, record: &M::Record) {
        self.lock().machine.apply(at, record);
    }

    /// Something the machine should know that is not in its log, and that nobody waits for.
    pub(crate) fn inform(&self, note: M::Note) {
        self.lock().machine.note(note);
    }

    /// Changes with every append, and at the end.
    pub(crate) fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Ends it: whoever waits is told [`Closed`].
    pub(crate) fn close(&self) {
        let mut inner = self.lock();
        inner.closed = true;
        inner.waiting.clear();
        drop(inner);
        self.progress.send_modify(|progress| progress.closed = true);
        self.alarm.notify_one();
    }

    /// Sleeps from deadline to deadline until the runner is closed.
    async fn keep_time(self: Arc<Self>) {
        loop {
            let next = {
                let mut inner = self.lock();
                if inner.closed {
                    return;
                }
                inner.armed = inner.machine.next_deadline();
                inner.armed
            };
            let Some(next) = next else {
                self.alarm.notified().await;
                continue;
            };
            let pause = Duration::from_millis(clock::now().mono.ms_until(next));
            tokio::select! {
                () = sleep(pause) => self.expire_one(),
                () = self.alarm.notified() => {}
            }
        }
    }

    fn expire_one(self: &Arc<Self>) {
        let mut inner = self.lock();
        let now = clock::now();
        if !inner.closed && inner.machine.next_deadline().is_some_and(|next| next <= now.mono) {
            let decision = inner.machine.expire(now);
            self.carry_out(&mut inner, decision);
        }
    }

    fn carry_out(self: &Arc<Self>, inner: &mut Inner<M, J>, decision: Decision<M>) {
        let had_records = !decision.records.is_empty();
        let mut decision = decision;
        if had_records && let Err(failure) = self.append(inner, &mut decision.records) {
            warn!(
                partition = self.name,
                ?failure,
                "a decision could not be written down and is not carried out"
            );
            decision = inner.machine.refuse(clock::now(), decision, failure);
            assert!(decision.records.is_empty(), "what cannot be appended is not tried again");
        }
        for note in decision.notes {
            inner.machine.note(note);
        }
        self.deliver(inner, decision.replies, had_records);
        let next = inner.machine.next_deadline();
        if next.is_some_and(|next| inner.armed.is_none_or(|armed| next < armed)) {
            self.alarm.notify_one();
        }
    }

    /// Appends and applies; what could not be appended is left in `records`.
    fn append(&self, inner: &mut Inner<M, J>, records: &mut Vec<M::Record>) -> Result<(), AppendFailure> {
        for (batch, count) in M::encode(records, clock::wall(), self.writing.compression)? {
            let receipt = self.journal.append(batch)?;
            for record in records.drain(..count) {
                inner.machine.apply(J::base_offset(&receipt), &record);
            }
            inner.last_append = Some(receipt);
        }
        self.progress.send_modify(|progress| progress.appends += 1);
        Ok(())
    }

    /// Sends what may go at once, and lets the rest wait for the commit of the newest append.
    fn deliver(
        self: &Arc<Self>,
        inner: &mut Inner<M, J>,
        replies: Vec<(Ticket, M::Reply)>,
        had_records: bool,
    ) {
        let uncommitted = inner.last_append.clone().filter(|receipt| !self.journal.is_committed(receipt));
        let mut waiting = Vec::new();
        for (ticket, reply) in replies {
            let Some(sender) = inner.waiting.remove(&ticket) else { continue };
            if uncommitted.is_some() && (had_records || M::rests_on_log(&reply)) {
                waiting.push((sender, reply));
            } else {
                // The client may have gone meanwhile.
                let _ = sender.send(reply);
            }
        }
        let Some(receipt) = uncommitted.filter(|_| !waiting.is_empty()) else { return };
        let (runner, deadline) = (Arc::clone(self), Instant::now() + self.writing.commit_timeout);
        tokio::spawn(async move {
            let committed = runner.journal.committed(&receipt, deadline).await;
            for (sender, reply) in waiting {
                let _ = sender.send(match committed {
                    Ok(()) => reply,
                    Err(failure) => M::failed(reply, failure),
                });
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, Inner<M, J>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
