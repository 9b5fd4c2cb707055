//! What a partition remembers of one idempotent or transactional producer.

use crate::batch::{NO_PRODUCER_EPOCH, NO_SEQUENCE, decrement_sequence};
use crate::types::{Offset, ProducerId, TimestampMs};

/// Batches a producer may have in flight, and therefore repeat.
pub const BATCHES_MAX: usize = 5;

/// A batch that was appended. Which sequences and offsets it covers follows from its last and its span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchSummary {
    pub last_sequence: i32,
    pub last_offset: Offset,
    /// Last offset minus first.
    pub offset_delta: i32,
    pub timestamp: TimestampMs,
}

impl BatchSummary {
    const NONE: BatchSummary = BatchSummary {
        last_sequence: NO_SEQUENCE,
        last_offset: Offset::NONE,
        offset_delta: 0,
        timestamp: TimestampMs::NONE,
    };

    #[must_use]
    pub fn first_sequence(&self) -> i32 {
        decrement_sequence(self.last_sequence, self.offset_delta)
    }

    #[must_use]
    pub fn first_offset(&self) -> Offset {
        Offset(self.last_offset.0.wrapping_sub(i64::from(self.offset_delta)))
    }
}

/// State of one producer in one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerEntry {
    pub producer: ProducerId,
    /// `-1` before its first batch.
    pub epoch: i16,
    /// Of the transaction coordinator that ended its last transaction; `-1` before that.
    pub coordinator_epoch: i32,
    /// Of its last batch or marker.
    pub last_timestamp: TimestampMs,
    /// Where its open transaction begins.
    pub transaction_start: Option<Offset>,
    batches: [BatchSummary; BATCHES_MAX],
    batch_count: u8,
}

impl ProducerEntry {
    pub(crate) fn empty(producer: ProducerId) -> ProducerEntry {
        ProducerEntry {
            producer,
            epoch: NO_PRODUCER_EPOCH,
            coordinator_epoch: -1,
            last_timestamp: TimestampMs::NONE,
            transaction_start: None,
            batches: [BatchSummary::NONE; BATCHES_MAX],
            batch_count: 0,
        }
    }

    /// The same without its batches: what an append starts from.
    pub(crate) fn without_batches(&self) -> ProducerEntry {
        ProducerEntry { batch_count: 0, ..*self }
    }

    /// The last batches, oldest first.
    #[must_use]
    pub fn batches(&self) -> &[BatchSummary] {
        self.batches.get(..usize::from(self.batch_count)).unwrap_or_default()
    }

    /// `-1` without a batch.
    #[must_use]
    pub fn last_sequence(&self) -> i32 {
        self.batches().last().map_or(NO_SEQUENCE, |batch| batch.last_sequence)
    }

    /// Of its last batch; `-1` without one.
    #[must_use]
    pub fn last_offset(&self) -> Offset {
        self.batches().last().map_or(Offset::NONE, |batch| batch.last_offset)
    }

    pub(crate) fn last_offset_delta(&self) -> i32 {
        self.batches().last().map_or(0, |batch| batch.offset_delta)
    }

    /// The batch that was appended before with the same sequences.
    pub(crate) fn duplicate_of(&self, epoch: i16, first: i32, last: i32) -> Option<BatchSummary> {
        let same = |batch: &&BatchSummary| batch.first_sequence() == first && batch.last_sequence == last;
        self.batches().iter().find(same).filter(|_| epoch == self.epoch).copied()
    }

    /// A new epoch forgets the batches of the old one.
    pub(crate) fn set_epoch(&mut self, epoch: i16) {
        if self.epoch != epoch {
            self.batch_count = 0;
            self.epoch = epoch;
        }
    }

    pub(crate) fn add_batch(&mut self, batch: BatchSummary) {
        if usize::from(self.batch_count) == BATCHES_MAX {
            self.batches.rotate_left(1);
            self.batch_count -= 1;
        }
        if let Some(slot) = self.batches.get_mut(usize::from(self.batch_count)) {
            *slot = batch;
            self.batch_count += 1;
        }
    }

    /// Takes over what an append has added.
    pub(crate) fn absorb(&mut self, newer: &ProducerEntry) {
        self.set_epoch(newer.epoch);
        newer.batches().iter().for_each(|batch| self.add_batch(*batch));
        self.coordinator_epoch = newer.coordinator_epoch;
        self.transaction_start = newer.transaction_start;
        self.last_timestamp = newer.last_timestamp;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_producer_takes_160_bytes() {
        assert_eq!(size_of::<ProducerEntry>(), 160, "many thousands of them may be known in a partition");
    }
}
