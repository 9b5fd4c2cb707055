//! What every machine of this crate is: it decides from what it knows, and changes only by what it is told to apply.
//!
//! The runner in `broker` drives them all alike: decide, append the records, apply them, take the notes, and let a
//! reply go **when the log is committed up to what the decision rests on**. A failed append applies nothing; what then
//! happens instead is `refuse`'s to say. Machines know no socket, no log, no clock.

use storage::types::Offset;

use crate::time::{Monotonic, Now};

/// Names one waiting request. The runner hands them out and never twice; a machine may keep one and answer it later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// Why records that a decision asked for are not in the log, or not known to be committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendFailure {
    /// The partition is not (any more) known here.
    UnknownPartition,
    /// This broker does not lead the partition.
    NotLeader,
    /// The log could not be written.
    Storage,
    /// Fewer in-sync replicas than `min.insync.replicas`.
    NotEnoughReplicas,
    /// Larger than the partition takes.
    TooLarge,
    /// The log knows a newer epoch of the transactional producer that the records are for.
    ProducerFenced,
    /// The records are for a transaction that the log was not told of.
    NotInTransaction,
    /// Appended, but not committed in time.
    TimedOut,
}

/// A machine that decides from what it knows and changes only by what it is told to apply.
pub trait Machine {
    type Command;
    /// Durable: appended to the log, replayed at load.
    type Record;
    /// Volatile: sessions, parked joins; lost at load.
    type Note;
    type Reply;

    /// Pure: same state, same `now`, same command, same decision.
    fn decide(&self, now: Now, ticket: Ticket, command: Self::Command) -> Decision<Self>;

    /// What the passing of time asks for. Called again while [`Machine::next_deadline`] is not after `now`: every
    /// call settles one thing, so that a batch stays small.
    fn expire(&self, now: Now) -> Decision<Self>;

    /// When [`Machine::expire`] has something to do, at the earliest. It may then turn out to be nothing.
    fn next_deadline(&self) -> Option<Monotonic>;

    /// Called once, when the last record of the log has been replayed: starts the clocks of what was loaded.
    fn loaded(&self, now: Now) -> Decision<Self>;

    /// What to do instead of `decision`, whose records could not be appended. The answer has no records.
    fn refuse(&self, now: Now, decision: Decision<Self>, failure: AppendFailure) -> Decision<Self>;

    /// Whether a reply repeats what the log says, so that it has to wait for the commit of earlier records though its
    /// decision has none of its own.
    fn rests_on_log(reply: &Self::Reply) -> bool;

    /// The reply that tells its client that what it rests on is not committed; the reply itself where it does not care.
    fn failed(reply: Self::Reply, failure: AppendFailure) -> Self::Reply;

    /// The only two mutations. They cannot fail: what arrives here was decided above, or replayed from the log.
    /// `at` is the base offset of the batch that holds the record.
    fn apply(&mut self, at: Offset, record: &Self::Record);
    fn note(&mut self, note: Self::Note);
}

/// What a machine wants done: first all of `records` as one step, then `notes`, then `replies`.
///
/// `replies` may answer earlier tickets: a join parked until the last member arrives.
pub struct Decision<M: Machine + ?Sized> {
    pub records: Vec<M::Record>,
    pub notes: Vec<M::Note>,
    pub replies: Vec<(Ticket, M::Reply)>,
}

impl<M: Machine + ?Sized> Decision<M> {
    /// Nothing to do, nobody to answer.
    pub fn nothing() -> Self {
        Decision { records: Vec::new(), notes: Vec::new(), replies: Vec::new() }
    }

    /// An answer that changes nothing.
    pub fn reply(ticket: Ticket, reply: M::Reply) -> Self {
        Decision { records: Vec::new(), notes: Vec::new(), replies: vec![(ticket, reply)] }
    }
}
