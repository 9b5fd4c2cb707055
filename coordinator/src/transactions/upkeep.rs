//! What time asks for: transactions that are open for too long are aborted, ids that nobody uses are forgotten.

use std::sync::Arc;

use super::config::{TOMBSTONES_MAX, TransactionConfig};
use super::record::{Record, TransactionalId};
use super::{Expiry, Note, Transactions, behind, steps};
use crate::machine::Decision;
use crate::time::Now;

/// Aborts the transaction that is overdue for longest; with none left, says when to look again.
pub(super) fn abort_next(transactions: &Transactions, now: Now) -> Decision<Transactions> {
    let overdue = transactions.deadlines.first().filter(|(deadline, _)| *deadline < now.wall);
    let found = overdue.and_then(|(_, id)| Some((id, transactions.transactions.get(id)?)));
    match found {
        Some((id, transaction)) => steps::fence(now, id, transaction),
        None => Decision { notes: vec![next_abort(&transactions.config, now)], ..Decision::nothing() },
    }
}

pub(super) fn next_abort(config: &TransactionConfig, now: Now) -> Note {
    Note::AbortAt(now.mono.after_ms(config.abort_interval_ms.max(1)))
}

/// Forgets the next ids that have not been used for long; behind the last one, says when to begin anew.
pub(super) fn expire_next(transactions: &Transactions, now: Now) -> Decision<Transactions> {
    let expiration_ms = transactions.config.id_expiration_ms;
    let unused = behind(&transactions.transactions, transactions.expiry.after.as_ref())
        .filter(|(_, transaction)| transaction.metadata.state.is_idle())
        .filter(|(_, it)| now.wall.0.saturating_sub(it.metadata.updated_at.0) >= expiration_ms)
        .map(|(id, _)| Arc::clone(id));
    let unused: Vec<TransactionalId> = unused.take(TOMBSTONES_MAX).collect();
    let note = match unused.last() {
        Some(last) => Note::Expiry(Expiry { at: transactions.expiry.at, after: Some(Arc::clone(last)) }),
        None => next_expiry(&transactions.config, now),
    };
    let records = unused.into_iter().map(Record::Gone).collect();
    Decision { records, notes: vec![note], replies: Vec::new() }
}

pub(super) fn next_expiry(config: &TransactionConfig, now: Now) -> Note {
    let at = now.mono.after_ms(config.expiration_interval_ms.max(1));
    Note::Expiry(Expiry { at: Some(at), after: None })
}
