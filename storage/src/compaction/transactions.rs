//! Which transactions the records being read belong to, and how those ended.
//!
//! Records of aborted transactions go. A marker stays until all records of its transaction are gone: whoever reads the
//! log must not meet records without knowing how they ended (Kafka's `CleanedTransactionMetadata`).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use bytes::Bytes;

use crate::batch::{BatchView, EndTransaction};
use crate::index::AbortedTransaction;
use crate::producers::marker;
use crate::types::{Offset, ProducerId};

#[derive(Debug, Default)]
pub(crate) struct Transactions {
    /// Of which a batch has been seen and no marker yet.
    committed: BTreeSet<ProducerId>,
    aborted: BTreeMap<ProducerId, Aborted>,
    /// Aborted ones that begin behind what has been read, by first offset.
    to_come: BinaryHeap<Reverse<(Offset, Offset, ProducerId, Offset)>>,
}

#[derive(Debug)]
struct Aborted {
    transaction: AbortedTransaction,
    /// A batch of it has been read.
    observed: bool,
}

/// What a control batch means for compaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Nothing of its transaction is left.
    pub(crate) discardable: bool,
    /// To be noted in the transaction index of the result.
    pub(crate) aborted: Option<AbortedTransaction>,
}

impl Transactions {
    /// What the transaction indexes say about the stretch that is read next.
    pub(crate) fn expect(&mut self, aborted: impl IntoIterator<Item = AbortedTransaction>) {
        let entry = |one: AbortedTransaction| Reverse((one.first, one.last, one.producer, one.last_stable));
        self.to_come.extend(aborted.into_iter().map(entry));
    }

    /// Whether the records of the batch were aborted.
    pub(crate) fn data(&mut self, batch: &BatchView) -> bool {
        self.begin_up_to(batch.last_offset());
        let Some(stamp) = batch.producer().filter(|_| batch.is_transactional()) else { return false };
        match self.aborted.get_mut(&stamp.id) {
            Some(aborted) => {
                aborted.observed = true;
                true
            }
            None => {
                self.committed.insert(stamp.id);
                false
            }
        }
    }

    /// `entry` is the whole control batch.
    pub(crate) fn control(&mut self, batch: &BatchView, entry: &Bytes) -> Verdict {
        self.begin_up_to(batch.last_offset());
        let kept = Verdict { discardable: false, aborted: None };
        let gone = Verdict { discardable: true, aborted: None };
        if batch.count() == Some(0) {
            return gone;
        }
        let (Some(stamp), Some(marker)) = (batch.producer(), marker(entry)) else { return kept };
        match marker.end {
            EndTransaction::Abort => match self.aborted.remove(&stamp.id) {
                Some(Aborted { transaction, observed: true }) => {
                    Verdict { aborted: Some(transaction), ..kept }
                }
                _ => gone,
            },
            EndTransaction::Commit if self.committed.remove(&stamp.id) => kept,
            EndTransaction::Commit => gone,
        }
    }

    fn begin_up_to(&mut self, offset: Offset) {
        while let Some(Reverse((first, last, producer, last_stable))) = self.to_come.peek().copied() {
            if first > offset {
                return;
            }
            self.to_come.pop();
            let transaction = AbortedTransaction { producer, first, last, last_stable };
            self.aborted.entry(producer).or_insert(Aborted { transaction, observed: false });
        }
    }
}
