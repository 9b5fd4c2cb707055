//! Transactions of one partition of `__transaction_state`: who may write under a transactional id, to which
//! partitions, and how it ends.
//!
//! Behaves as Apache 3.9.1's coordinator (KIP-98, 360, 447, 664, 890 part 1) with `transaction.version` 0, and writes
//! its records, so that either can take over the other's partition. An outcome, once written, does not change; a
//! transactional id has one producer whose epoch only grows. Where Kafka keeps a step as "pending" until it is
//! replicated, here the step is applied at once and what rests on it is answered when it is committed.
//! Knows no other partition, no topic's existence, no permission and no clock; markers are written by others, who
//! find what there is to write in [`Transactions::endings`].
//!
//! Reading order: `command` (the words), `state` and `record` (what is durable), `init`, `steps` (the requests of
//! producers), `upkeep` (what time asks for).

mod command;
mod config;
mod init;
mod record;
mod refusal;
mod state;
mod steps;
mod upkeep;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use storage::types::{Offset, ProducerId, TimestampMs, TopicPartition};

pub use self::command::{Command, Description, Ending, Identity, Init, Initialized, Listing, Reply};
pub use self::config::TransactionConfig;
pub use self::record::{Metadata, NO_EPOCH, Record, TransactionalId};
pub use self::refusal::TransactionError;
pub use self::state::{Outcome, State};
use crate::machine::{AppendFailure, Decision, Machine, Ticket};
use crate::time::{Monotonic, Now};

/// What changes without a record.
#[derive(Clone, Debug)]
pub enum Note {
    /// Who the producer was before its last InitProducerId, so that a repeated one is understood, and when that one's
    /// last transaction began.
    Before(TransactionalId, Identity, TimestampMs),
    /// These partitions have their marker.
    Marked(TransactionalId, BTreeSet<TopicPartition>),
    /// The producer was to be fenced, but that could not be written down. The epoch is used up all the same.
    FenceFailed(TransactionalId, i16),
    /// When to look for transactions that are open for too long.
    AbortAt(Monotonic),
    /// Where the search for expired ids goes on, and when.
    Expiry(Expiry),
}

/// A walk through all transactional ids.
#[derive(Clone, Debug, Default)]
pub struct Expiry {
    /// `None` until the partition is loaded.
    at: Option<Monotonic>,
    /// The ids up to this one are done.
    after: Option<TransactionalId>,
}

#[derive(Clone, Debug)]
struct Transaction {
    /// As in the log, but for the partitions of one that is ending: these leave with their markers.
    metadata: Metadata,
    before: Identity,
    fence_failed: bool,
    /// When its last transaction began, also while a new producer has not begun one: shown, and lost at load.
    last_started_at: TimestampMs,
}

/// No producer before this one, as far as is remembered.
const NOBODY: Identity = Identity { producer: ProducerId::NONE, epoch: NO_EPOCH };

impl Transaction {
    fn identity(&self) -> Identity {
        Identity { producer: self.metadata.producer, epoch: self.metadata.epoch }
    }

    /// The coordinator can always fence one more time, so producers do not get the largest epoch.
    fn is_exhausted(&self) -> bool {
        is_exhausted(self.metadata.epoch)
    }

    /// Open for longer than its producer allowed.
    fn deadline(&self) -> Option<TimestampMs> {
        let Metadata { state, started_at, timeout_ms, .. } = &self.metadata;
        (*state == State::Ongoing).then(|| TimestampMs(started_at.0.saturating_add(i64::from(*timeout_ms))))
    }
}

fn is_exhausted(epoch: i16) -> bool {
    epoch >= i16::MAX - 1
}

/// Whether each of some partitions belongs to a transaction.
pub type Verdicts = Vec<(TopicPartition, Result<(), TransactionError>)>;

/// All transactional ids of one partition of the transaction topic.
pub struct Transactions {
    config: TransactionConfig,
    transactions: BTreeMap<TransactionalId, Transaction>,
    /// Of every open transaction.
    deadlines: BTreeSet<(TimestampMs, TransactionalId)>,
    /// Those in a state that [`State::is_ending`].
    ending: BTreeSet<TransactionalId>,
    /// `None` until the partition is loaded.
    abort_at: Option<Monotonic>,
    expiry: Expiry,
}

impl Transactions {
    pub fn new(config: TransactionConfig) -> Transactions {
        Transactions {
            config,
            transactions: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            ending: BTreeSet::new(),
            abort_at: None,
            expiry: Expiry::default(),
        }
    }

    /// Transactions whose outcome is decided and not yet known to all their partitions, of those that are wanted.
    pub fn endings(&self, wanted: impl Fn(&TransactionalId) -> bool) -> Vec<Ending> {
        let ending = self.ending.iter().filter(|id| wanted(id));
        let told = ending.filter_map(|id| {
            let transaction = self.transactions.get(id)?;
            let committed = transaction.metadata.state == State::PrepareCommit;
            Some(Ending {
                id: Arc::clone(id),
                identity: transaction.identity(),
                outcome: if committed { Outcome::Commit } else { Outcome::Abort },
                partitions: transaction.metadata.partitions.clone(),
            })
        });
        told.collect()
    }

    /// Whether each of `partitions` belongs to the open transaction of the producer (KIP-890).
    ///
    /// A transaction that is over, or has not begun, has none; `Err` is about the producer itself.
    pub fn verify(
        &self,
        id: &str,
        identity: Identity,
        partitions: impl IntoIterator<Item = TopicPartition>,
    ) -> Result<Verdicts, TransactionError> {
        let transaction = self.transactions.get(id).ok_or(TransactionError::InvalidProducerIdMapping)?;
        steps::check_identity(transaction, identity)?;
        if transaction.metadata.state.is_ending() {
            return Err(TransactionError::ConcurrentTransactions);
        }
        let known = &transaction.metadata.partitions;
        let verdict = |partition: TopicPartition| match known.contains(&partition) {
            true => (partition, Ok(())),
            false => (partition, Err(TransactionError::Abortable)),
        };
        Ok(partitions.into_iter().map(verdict).collect())
    }

    /// `None` where there is no such transactional id.
    pub fn describe(&self, id: &str) -> Option<Description> {
        let transaction = self.transactions.get(id)?;
        let metadata = &transaction.metadata;
        (metadata.state != State::Dead).then(|| Description {
            state: metadata.state,
            identity: transaction.identity(),
            timeout_ms: metadata.timeout_ms,
            started_at: transaction.last_started_at,
            partitions: metadata.partitions.clone(),
        })
    }

    pub fn list(&self) -> impl Iterator<Item = Listing> {
        let living = self.transactions.iter().filter(|(_, it)| it.metadata.state != State::Dead);
        living.map(|(id, transaction)| Listing {
            id: Arc::clone(id),
            producer: transaction.metadata.producer,
            state: transaction.metadata.state,
            started_at: transaction.last_started_at,
        })
    }

    /// What the log says of a transactional id: for comparing a replay with what lived.
    pub fn stored(&self, id: &str) -> Option<&Metadata> {
        self.transactions.get(id).map(|transaction| &transaction.metadata)
    }

    /// Panics where the machine contradicts itself. For tests.
    pub fn check(&self) {
        let deadlines: BTreeSet<_> = self
            .transactions
            .iter()
            .filter_map(|(id, transaction)| Some((transaction.deadline()?, Arc::clone(id))))
            .collect();
        assert_eq!(deadlines, self.deadlines, "every open transaction is watched");
        for (id, transaction) in &self.transactions {
            let metadata = &transaction.metadata;
            assert_eq!(self.ending.contains(id), metadata.state.is_ending(), "{id}");
            assert!(!metadata.state.is_idle() || metadata.partitions.is_empty(), "{id} holds on to nothing");
            assert!(metadata.epoch >= 0, "{id} has an epoch");
        }
        assert!(self.ending.iter().all(|id| self.transactions.contains_key(id)));
    }

    fn set(&mut self, id: &TransactionalId, metadata: &Metadata) {
        let former = self.remove(id);
        let over = matches!(metadata.state, State::CompleteCommit | State::CompleteAbort);
        let transaction = Transaction {
            metadata: metadata.clone(),
            before: former.as_ref().map_or(NOBODY, |former| former.before),
            fence_failed: former.is_some_and(|former| former.fence_failed) && !over,
            last_started_at: metadata.started_at,
        };
        self.deadlines.extend(transaction.deadline().map(|at| (at, Arc::clone(id))));
        if metadata.state.is_ending() {
            self.ending.insert(Arc::clone(id));
        }
        self.transactions.insert(Arc::clone(id), transaction);
    }

    fn remove(&mut self, id: &TransactionalId) -> Option<Transaction> {
        let former = self.transactions.remove(id)?;
        if let Some(at) = former.deadline() {
            self.deadlines.remove(&(at, Arc::clone(id)));
        }
        self.ending.remove(id);
        Some(former)
    }
}

impl Machine for Transactions {
    type Command = Command;
    type Record = Record;
    type Note = Note;
    type Reply = Reply;

    fn decide(&self, now: Now, ticket: Ticket, command: Command) -> Decision<Transactions> {
        match command {
            Command::Init(init) => {
                let transaction = self.transactions.get(&init.id);
                init::decide(now, ticket, &init, transaction)
            }
            Command::AddPartitions { id, identity, partitions } => {
                steps::add(now, ticket, &id, identity, &partitions, self.transactions.get(&id))
            }
            Command::End { id, identity, outcome } => {
                steps::end(now, ticket, &id, identity, outcome, self.transactions.get(&id))
            }
            Command::Marked { id, identity, partitions } => {
                steps::marked(now, ticket, &id, identity, partitions, self.transactions.get(&id))
            }
        }
    }

    fn expire(&self, now: Now) -> Decision<Transactions> {
        if self.abort_at.is_some_and(|at| at <= now.mono) {
            return upkeep::abort_next(self, now);
        }
        if self.expiry.at.is_some_and(|at| at <= now.mono) {
            return upkeep::expire_next(self, now);
        }
        Decision::nothing()
    }

    fn next_deadline(&self) -> Option<Monotonic> {
        self.abort_at.into_iter().chain(self.expiry.at).min()
    }

    fn loaded(&self, now: Now) -> Decision<Transactions> {
        let notes = vec![upkeep::next_abort(&self.config, now), upkeep::next_expiry(&self.config, now)];
        Decision { notes, ..Decision::nothing() }
    }

    fn refuse(
        &self,
        now: Now,
        decision: Decision<Transactions>,
        failure: AppendFailure,
    ) -> Decision<Transactions> {
        let mut notes = Vec::new();
        if decision.replies.is_empty() {
            // Time has asked, and shall not ask again at once.
            notes.push(upkeep::next_abort(&self.config, now));
            notes.push(upkeep::next_expiry(&self.config, now));
        }
        if let Some(Record::Transaction(id, metadata)) = decision.records.first()
            && metadata.state == State::PrepareAbort
            && self.transactions.get(id).is_some_and(|it| it.metadata.state == State::Ongoing)
            && self.transactions.get(id).is_some_and(|it| it.is_fenced_by(metadata))
        {
            notes.push(Note::FenceFailed(Arc::clone(id), metadata.epoch));
        }
        let failed = |(ticket, reply)| (ticket, Self::failed(reply, failure));
        Decision { records: Vec::new(), notes, replies: decision.replies.into_iter().map(failed).collect() }
    }

    fn rests_on_log(reply: &Reply) -> bool {
        matches!(reply, Reply::AddPartitions(Ok(())) | Reply::End(Ok(())))
    }

    fn failed(reply: Reply, failure: AppendFailure) -> Reply {
        let error = TransactionError::storing(failure);
        match reply {
            Reply::Init(_) => Reply::Init(Err(error)),
            Reply::AddPartitions(_) => Reply::AddPartitions(Err(error)),
            Reply::End(_) => Reply::End(Err(error)),
            Reply::Marked(_) => Reply::Marked(Err(error)),
        }
    }

    fn apply(&mut self, _: Offset, record: &Record) {
        match record {
            Record::Transaction(id, metadata) => self.set(id, metadata),
            Record::Gone(id) => {
                self.remove(id);
            }
        }
    }

    fn note(&mut self, note: Note) {
        match note {
            Note::Before(id, before, last_started_at) => {
                if let Some(transaction) = self.transactions.get_mut(&id) {
                    transaction.before = before;
                    transaction.last_started_at = last_started_at;
                }
            }
            Note::Marked(id, partitions) => {
                if let Some(transaction) = self.transactions.get_mut(&id) {
                    for partition in &partitions {
                        transaction.metadata.partitions.remove(partition);
                    }
                }
            }
            Note::FenceFailed(id, epoch) => {
                if let Some(transaction) = self.transactions.get_mut(&id) {
                    transaction.metadata.epoch = epoch;
                    transaction.before.epoch = NO_EPOCH;
                    transaction.fence_failed = true;
                }
            }
            Note::AbortAt(at) => self.abort_at = Some(at),
            Note::Expiry(expiry) => self.expiry = expiry,
        }
    }
}

impl Transaction {
    fn is_fenced_by(&self, next: &Metadata) -> bool {
        next.epoch > self.metadata.epoch
    }
}

/// The ids behind `after`, in order.
fn behind<'a>(
    transactions: &'a BTreeMap<TransactionalId, Transaction>,
    after: Option<&TransactionalId>,
) -> impl Iterator<Item = (&'a TransactionalId, &'a Transaction)> {
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    transactions.range::<TransactionalId, _>((from, Bound::Unbounded))
}
