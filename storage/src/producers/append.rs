//! Judging the batches of an append against what is known of their producers.

use super::entry::{BatchSummary, ProducerEntry};
use super::{Marker, Producers, Transaction, Verification, VerificationGuard};
use crate::batch::{EndTransaction, NO_PRODUCER_EPOCH, NO_SEQUENCE, Origin, ProducerStamp};
use crate::error::AppendError;
use crate::types::{Offset, ProducerId, TimestampMs};

/// One batch of an idempotent or transactional producer, its offsets assigned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Incoming {
    pub(crate) stamp: ProducerStamp,
    pub(crate) first: Offset,
    pub(crate) last: Offset,
    pub(crate) max_timestamp: TimestampMs,
    pub(crate) is_transactional: bool,
    pub(crate) is_control: bool,
    /// What a control batch says.
    pub(crate) marker: Option<Marker>,
}

/// A transaction that its marker has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Completed {
    pub(crate) producer: ProducerId,
    pub(crate) first: Offset,
    /// Of the marker.
    pub(crate) last: Offset,
    pub(crate) end: EndTransaction,
}

/// What an append changes for one producer.
#[derive(Clone, Debug)]
pub(crate) struct Update {
    entry: ProducerEntry,
    /// Where transactions begin in this append.
    started: Option<Offset>,
    pub(crate) completed: Option<Completed>,
    is_transactional: bool,
}

impl Producers {
    /// The batch that was appended before with the same sequences, if a client repeats one.
    pub(crate) fn duplicate_of(&self, stamp: &ProducerStamp) -> Option<BatchSummary> {
        self.entry(stamp.id)?.duplicate_of(stamp.epoch, stamp.first_sequence, stamp.last_sequence)
    }

    /// Refuses transactional records of which the transaction coordinator knows nothing.
    pub(crate) fn check_verified(
        &self,
        batch: &Incoming,
        origin: Origin,
        guard: VerificationGuard,
    ) -> Result<(), AppendError> {
        if !batch.is_transactional || batch.is_control || self.has_ongoing_transaction(batch.stamp.id) {
            return Ok(());
        }
        let proven = match origin {
            Origin::Client { .. } => {
                guard != VerificationGuard::NONE && guard == self.guard_of(batch.stamp.id)
            }
            Origin::Coordinator => self.verifications.get(&batch.stamp.id).is_some_and(|it| it.confirmed),
        };
        if proven || !self.settings().verify_transactions {
            return Ok(());
        }
        Err(AppendError::InvalidTransactionState {
            producer: batch.stamp.id,
            offset: batch.first,
            reason: "Record was not part of an ongoing transaction",
        })
    }

    /// What `batch` changes, or why it must not be appended. Changes nothing. `origin` is `None` for batches that a
    /// leader has accepted: these are warned about and never refused.
    pub(crate) fn prepare(&self, batch: &Incoming, origin: Option<Origin>) -> Result<Update, AppendError> {
        let id = batch.stamp.id;
        let judge = Judge {
            current: self.entry(id).copied().unwrap_or_else(|| ProducerEntry::empty(id)),
            verification: self.verifications.get(&id).copied(),
            origin,
        };
        match batch.marker {
            Some(marker) => judge.marker(batch, marker),
            None if batch.is_control => Ok(Update {
                entry: judge.current.without_batches(),
                started: None,
                completed: None,
                is_transactional: batch.is_transactional,
            }),
            None => judge.data(batch),
        }
    }

    /// Takes over what [`Producers::prepare`] found, once the bytes are written.
    pub(crate) fn apply(&mut self, update: &Update) {
        let id = update.entry.producer;
        match self.entries.get_mut(&id) {
            Some(entry) => entry.absorb(&update.entry),
            None => {
                self.entries.insert(id, Box::new(update.entry));
            }
        }
        if let Some(first) = update.started {
            self.ongoing.insert(first, Transaction { producer: id, last: None });
        }
        if update.is_transactional {
            self.verifications.remove(&id);
        }
    }

    /// The last stable offset as it will be when `completed` is replicated.
    pub(crate) fn last_stable_after(&self, completed: &Completed) -> Offset {
        let other = self.ongoing.iter().find(|(_, open)| open.producer != completed.producer);
        other.map_or(completed.last.next(), |(first, _)| *first)
    }

    pub(crate) fn complete(&mut self, completed: &Completed) {
        if let Some(mut transaction) = self.ongoing.remove(&completed.first) {
            transaction.last = Some(completed.last);
            self.unreplicated.insert(completed.first, transaction);
        }
    }
}

struct Judge {
    current: ProducerEntry,
    verification: Option<Verification>,
    origin: Option<Origin>,
}

impl Judge {
    fn data(&self, batch: &Incoming) -> Result<Update, AppendError> {
        self.check_epoch(batch)?;
        if let Some(Origin::Client { .. }) = self.origin {
            self.check_sequence(batch)?;
        }
        let mut entry = self.current.without_batches();
        entry.set_epoch(batch.stamp.epoch);
        entry.add_batch(BatchSummary {
            last_sequence: batch.stamp.last_sequence,
            last_offset: batch.last,
            // The span of a batch is a 32-bit field of its header.
            offset_delta: (batch.last - batch.first) as i32,
            timestamp: batch.max_timestamp,
        });
        entry.last_timestamp = batch.max_timestamp;
        let mut started = None;
        match (entry.transaction_start, batch.is_transactional) {
            (Some(_), false) if self.origin.is_none() => {
                tracing::warn!(producer = %batch.stamp.id, offset = %batch.first, "a replicated batch is not transactional within a transaction");
            }
            (Some(_), false) => {
                return Err(AppendError::InvalidTransactionState {
                    producer: batch.stamp.id,
                    offset: batch.first,
                    reason: "Expected transactional write from producer",
                });
            }
            (None, true) => {
                entry.transaction_start = Some(batch.first);
                started = Some(batch.first);
            }
            _ => {}
        }
        Ok(Update { entry, started, completed: None, is_transactional: batch.is_transactional })
    }

    fn marker(&self, batch: &Incoming, marker: Marker) -> Result<Update, AppendError> {
        self.check_epoch(batch)?;
        let producer = batch.stamp.id;
        let current = self.current.coordinator_epoch;
        if current > marker.coordinator_epoch {
            if self.origin.is_some() {
                return Err(AppendError::CoordinatorFenced {
                    producer,
                    offset: batch.first,
                    epoch: marker.coordinator_epoch,
                    current,
                });
            }
            tracing::info!(%producer, offset = %batch.first, epoch = marker.coordinator_epoch, current, "a marker of an older transaction coordinator");
        }
        let mut entry = self.current.without_batches();
        let completed = entry.transaction_start.map(|first| Completed {
            producer,
            first,
            last: batch.first,
            end: marker.end,
        });
        entry.set_epoch(batch.stamp.epoch);
        entry.coordinator_epoch = marker.coordinator_epoch;
        entry.transaction_start = None;
        entry.last_timestamp = marker.timestamp;
        Ok(Update { entry, started: None, completed, is_transactional: batch.is_transactional })
    }

    fn check_epoch(&self, batch: &Incoming) -> Result<(), AppendError> {
        let (epoch, current) = (batch.stamp.epoch, self.current.epoch);
        if epoch >= current {
            return Ok(());
        }
        let producer = batch.stamp.id;
        if self.origin.is_none() {
            tracing::warn!(%producer, offset = %batch.first, epoch, current, "a replicated batch has an older producer epoch than one before it");
            return Ok(());
        }
        Err(AppendError::InvalidProducerEpoch { producer, offset: batch.first, epoch, current })
    }

    fn check_sequence(&self, batch: &Incoming) -> Result<(), AppendError> {
        let (epoch, sequence) = (batch.stamp.epoch, batch.stamp.first_sequence);
        let refuse = |last: i32| {
            Err(AppendError::OutOfOrderSequence {
                producer: batch.stamp.id,
                offset: batch.first,
                sequence,
                last,
            })
        };
        if let Some(lowest) = self.verification.map(|verification| verification.lowest_sequence)
            && sequence > lowest
        {
            return refuse(lowest);
        }
        if self.current.epoch == NO_PRODUCER_EPOCH {
            return Ok(());
        }
        if epoch != self.current.epoch {
            return if sequence == 0 { Ok(()) } else { refuse(NO_SEQUENCE) };
        }
        let last = self.current.last_sequence();
        let follows = i64::from(sequence) == i64::from(last) + 1 || (sequence == 0 && last == i32::MAX);
        if follows { Ok(()) } else { refuse(last) }
    }
}
