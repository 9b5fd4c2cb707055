//! InitProducerId: a producer takes over a transactional id, and whoever had it before is fenced.

use std::collections::BTreeSet;
use std::sync::Arc;

use storage::types::TimestampMs;

use super::command::{Identity, Init, Initialized, Reply};
use super::record::{ID_LENGTH_MAX, Metadata, NO_EPOCH, Record};
use super::refusal::TransactionError;
use super::state::State;
use super::{Note, Transaction, Transactions, is_exhausted, steps};
use crate::machine::{Decision, Ticket};
use crate::time::Now;

pub(super) fn decide(
    now: Now,
    ticket: Ticket,
    init: &Init,
    transaction: Option<&Transaction>,
) -> Decision<Transactions> {
    let refuse = |error| Decision::reply(ticket, Reply::Init(Err(error)));
    if init.id.len() > ID_LENGTH_MAX {
        return refuse(TransactionError::Unknown);
    }
    let Some(transaction) = transaction else {
        return match init.fresh {
            None => needs_producer_id(ticket),
            Some(producer) => {
                let identity = Identity { producer, epoch: 0 };
                let before = Identity { producer, epoch: NO_EPOCH };
                ready(now, ticket, init, identity, (before, TimestampMs::NONE))
            }
        };
    };
    match transaction.metadata.state {
        State::PrepareCommit | State::PrepareAbort => refuse(TransactionError::ConcurrentTransactions),
        _ if !init.expected.is_none_or(|expected| is_known(transaction, expected)) => {
            refuse(TransactionError::ProducerFenced)
        }
        State::Empty | State::CompleteCommit | State::CompleteAbort => renew(now, ticket, init, transaction),
        State::Ongoing => fence(now, ticket, init, transaction),
        State::Dead | State::PrepareEpochFence => refuse(TransactionError::Unknown),
    }
}

/// The producer is the one that is known, or was it until its epochs were used up and has not heard of it.
fn is_known(transaction: &Transaction, expected: Identity) -> bool {
    expected.producer == transaction.metadata.producer
        || (expected.producer == transaction.before.producer && is_exhausted(expected.epoch))
}

fn needs_producer_id(ticket: Ticket) -> Decision<Transactions> {
    Decision::reply(ticket, Reply::Init(Ok(Initialized::NeedsProducerId)))
}

/// No transaction is open: the next epoch, or a new producer id where there is none left.
fn renew(now: Now, ticket: Ticket, init: &Init, transaction: &Transaction) -> Decision<Transactions> {
    let current = transaction.identity();
    let expected = init.expected.map(|expected| expected.epoch);
    if transaction.is_exhausted() && expected.is_none_or(|epoch| epoch == current.epoch) {
        let Some(producer) = init.fresh else { return needs_producer_id(ticket) };
        let epoch = if expected.is_some() { current.epoch } else { NO_EPOCH };
        let before = Identity { producer: current.producer, epoch };
        let before = (before, transaction.last_started_at);
        return ready(now, ticket, init, Identity { producer, epoch: 0 }, before);
    }
    if transaction.is_exhausted() {
        return Decision::reply(ticket, Reply::Init(Err(TransactionError::Unknown)));
    }
    let before = transaction.before.epoch;
    let (epoch, before) = match expected {
        None => (current.epoch + 1, NO_EPOCH),
        Some(epoch) if epoch == current.epoch => (current.epoch + 1, current.epoch),
        // The answer to the request before this one was lost.
        Some(epoch) if epoch == before => (current.epoch, before),
        Some(_) => return Decision::reply(ticket, Reply::Init(Err(TransactionError::ProducerFenced))),
    };
    let producer = current.producer;
    let before = (Identity { producer, epoch: before }, transaction.last_started_at);
    ready(now, ticket, init, Identity { producer, epoch }, before)
}

fn ready(
    now: Now,
    ticket: Ticket,
    init: &Init,
    identity: Identity,
    (before, last_started_at): (Identity, TimestampMs),
) -> Decision<Transactions> {
    let metadata = Metadata {
        producer: identity.producer,
        epoch: identity.epoch,
        timeout_ms: init.timeout_ms,
        state: State::Empty,
        partitions: BTreeSet::new(),
        updated_at: now.wall,
        started_at: TimestampMs::NONE,
    };
    Decision {
        records: vec![Record::Transaction(Arc::clone(&init.id), metadata)],
        notes: vec![Note::Before(Arc::clone(&init.id), before, last_started_at)],
        replies: vec![(ticket, Reply::Init(Ok(Initialized::Ready(identity))))],
    }
}

/// The transaction of the former producer is aborted under an epoch that nobody gets; the new one asks again.
fn fence(now: Now, ticket: Ticket, init: &Init, transaction: &Transaction) -> Decision<Transactions> {
    let mut decision = steps::fence(now, &init.id, transaction);
    decision.replies.push((ticket, Reply::Init(Err(TransactionError::ConcurrentTransactions))));
    decision
}
