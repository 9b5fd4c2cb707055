//! The steps of one transaction: partitions join it, its outcome is decided, its partitions hear of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use storage::types::TopicPartition;

use super::command::{Identity, Reply};
use super::record::{Metadata, NO_EPOCH, Record, TransactionalId};
use super::refusal::TransactionError;
use super::state::{Outcome, State};
use super::{Note, Transaction, Transactions};
use crate::machine::{Decision, Ticket};
use crate::time::Now;

/// Only the newest producer may do anything.
pub(super) fn check_identity(transaction: &Transaction, identity: Identity) -> Result<(), TransactionError> {
    if transaction.metadata.producer != identity.producer {
        Err(TransactionError::InvalidProducerIdMapping)
    } else if transaction.metadata.epoch != identity.epoch {
        Err(TransactionError::ProducerFenced)
    } else {
        Ok(())
    }
}

fn known(transaction: Option<&Transaction>, identity: Identity) -> Result<&Transaction, TransactionError> {
    let transaction = transaction.ok_or(TransactionError::InvalidProducerIdMapping)?;
    check_identity(transaction, identity)?;
    Ok(transaction)
}

pub(super) fn add(
    now: Now,
    ticket: Ticket,
    id: &TransactionalId,
    identity: Identity,
    partitions: &BTreeSet<TopicPartition>,
    transaction: Option<&Transaction>,
) -> Decision<Transactions> {
    let answer = |result| Decision::reply(ticket, Reply::AddPartitions(result));
    let metadata = match known(transaction, identity) {
        Ok(transaction) => &transaction.metadata,
        Err(error) => return answer(Err(error)),
    };
    let started_at = match metadata.state {
        State::PrepareCommit | State::PrepareAbort => {
            return answer(Err(TransactionError::ConcurrentTransactions));
        }
        State::Dead | State::PrepareEpochFence => return answer(Err(TransactionError::Unknown)),
        State::Ongoing if partitions.is_subset(&metadata.partitions) => return answer(Ok(())),
        State::Ongoing => metadata.started_at,
        State::Empty | State::CompleteCommit | State::CompleteAbort => now.wall,
    };
    let grown = Metadata {
        state: State::Ongoing,
        partitions: metadata.partitions.union(partitions).cloned().collect(),
        updated_at: now.wall,
        started_at,
        ..metadata.clone()
    };
    Decision { records: vec![Record::Transaction(Arc::clone(id), grown)], ..answer(Ok(())) }
}

pub(super) fn end(
    now: Now,
    ticket: Ticket,
    id: &TransactionalId,
    identity: Identity,
    outcome: Outcome,
    transaction: Option<&Transaction>,
) -> Decision<Transactions> {
    let answer = |result| Decision::reply(ticket, Reply::End(result));
    let metadata = match known(transaction, identity) {
        Ok(transaction) => &transaction.metadata,
        Err(error) => return answer(Err(error)),
    };
    match metadata.state {
        State::Ongoing => {
            let state = outcome.prepared();
            let ended = Metadata { state, updated_at: now.wall, ..metadata.clone() };
            Decision { records: vec![Record::Transaction(Arc::clone(id), ended)], ..answer(Ok(())) }
        }
        State::PrepareCommit | State::PrepareAbort => answer(Err(TransactionError::ConcurrentTransactions)),
        state if state == outcome.completed() => answer(Ok(())),
        State::Empty | State::CompleteCommit | State::CompleteAbort => {
            answer(Err(TransactionError::InvalidState))
        }
        State::Dead | State::PrepareEpochFence => answer(Err(TransactionError::Unknown)),
    }
}

/// Aborts the open transaction under the next epoch, which no producer gets: the one that has it open is out.
pub(super) fn fence(now: Now, id: &TransactionalId, transaction: &Transaction) -> Decision<Transactions> {
    let metadata = &transaction.metadata;
    // One that could not be written down was used up all the same, and has not been used by anybody.
    let epoch = if transaction.fence_failed { metadata.epoch } else { metadata.epoch.saturating_add(1) };
    let state = State::PrepareAbort;
    let fenced = Metadata { epoch, state, updated_at: now.wall, ..metadata.clone() };
    let before = Identity { epoch: NO_EPOCH, ..transaction.before };
    Decision {
        records: vec![Record::Transaction(Arc::clone(id), fenced)],
        notes: vec![Note::Before(Arc::clone(id), before, transaction.last_started_at)],
        replies: Vec::new(),
    }
}

/// Partitions have their marker. With the last of them the transaction is over.
pub(super) fn marked(
    now: Now,
    ticket: Ticket,
    id: &TransactionalId,
    identity: Identity,
    partitions: BTreeSet<TopicPartition>,
    transaction: Option<&Transaction>,
) -> Decision<Transactions> {
    let answer = |result| Decision::reply(ticket, Reply::Marked(result));
    let metadata = match known(transaction, identity) {
        Ok(transaction) => &transaction.metadata,
        Err(error) => return answer(Err(error)),
    };
    let state = match metadata.state {
        State::PrepareCommit => State::CompleteCommit,
        State::PrepareAbort => State::CompleteAbort,
        _ => return answer(Err(TransactionError::InvalidState)),
    };
    if !metadata.partitions.is_subset(&partitions) {
        let notes = vec![Note::Marked(Arc::clone(id), partitions)];
        return Decision { notes, ..answer(Ok(())) };
    }
    let over = Metadata { state, partitions: BTreeSet::new(), updated_at: now.wall, ..metadata.clone() };
    Decision { records: vec![Record::Transaction(Arc::clone(id), over)], ..answer(Ok(())) }
}
