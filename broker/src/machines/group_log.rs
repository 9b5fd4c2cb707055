//! The batches of `__consumer_offsets`, as Kafka 3.9 writes and reads them.

use bytes::Bytes;
use coordinator::groups::{Groups, Record, TransactionalProducer};
use coordinator::machine::AppendFailure;
use storage::batch::{
    self, BatchBuilder, BatchError, BatchHeader, BatchOptions, BatchProducer, BatchView, TargetCompression,
};
use storage::types::{Offset, ProducerId, TimestampMs};
use tracing::warn;

use crate::machines::journal::Journaled;

/// Tombstones of one batch at most. They do not depend on each other, and a group may have any number of offsets.
const TOMBSTONES_PER_BATCH_MAX: usize = 1_000;

/// Type of a control record that commits; the other one, 0, aborts.
const COMMIT_MARKER: i16 = 1;

impl Journaled for Groups {
    fn encode(
        records: &[Record],
        now: TimestampMs,
        compression: TargetCompression,
    ) -> Result<Vec<(Bytes, usize)>, AppendFailure> {
        let only_tombstones = records.iter().all(is_tombstone);
        let per_batch = if only_tombstones { TOMBSTONES_PER_BATCH_MAX } else { records.len().max(1) };
        let batches =
            records.chunks(per_batch).map(|chunk| Ok((encode(chunk, now, compression)?, chunk.len())));
        batches.collect::<Result<_, BatchError>>().map_err(|error| {
            warn!(%error, "records of a group do not fit into a batch");
            AppendFailure::TooLarge
        })
    }

    fn decode(entry: &Bytes, each: &mut dyn FnMut(Offset, Record)) {
        if let Err(error) = decode(entry, each) {
            warn!(%error, "passing over what cannot be read of a batch in __consumer_offsets");
        }
    }
}

fn is_tombstone(record: &Record) -> bool {
    matches!(record, Record::GroupGone(_) | Record::OffsetGone { .. })
}

fn encode(records: &[Record], now: TimestampMs, compression: TargetCompression) -> Result<Bytes, BatchError> {
    let mut builder = BatchBuilder::new(BatchOptions { compression, ..options(records.first()) })?;
    for (key, value) in records.iter().filter_map(Record::encode) {
        builder.append(now, Some(&key), value.as_deref(), &[])?;
    }
    builder.build()
}

/// Kafka gives its batches of offsets sequence 0, in a transaction or not, and all others none.
fn options(first: Option<&Record>) -> BatchOptions {
    let producer = match first {
        Some(Record::Offset { producer: Some(producer), .. }) => {
            BatchProducer { id: producer.id, epoch: producer.epoch, base_sequence: 0 }
        }
        Some(Record::Offset { producer: None, .. }) => {
            BatchProducer { base_sequence: 0, ..BatchProducer::NONE }
        }
        _ => BatchProducer::NONE,
    };
    BatchOptions { producer, is_transactional: producer.id != ProducerId::NONE, ..BatchOptions::default() }
}

fn decode(entry: &Bytes, each: &mut dyn FnMut(Offset, Record)) -> Result<(), BatchError> {
    let header = match BatchView::parse(entry)? {
        Some(BatchView::V2(header)) => Some(header),
        _ => None,
    };
    let producer = header.as_ref().filter(|header| header.attributes.is_transactional());
    let producer =
        producer.map(|header| TransactionalProducer { id: header.producer_id, epoch: header.producer_epoch });
    let mut base = None;
    for record in batch::records(entry)? {
        let record = record?;
        let base = *base.get_or_insert(record.offset);
        let Some(key) = &record.key else { continue };
        if let Some(header) = header.as_ref().filter(|header| header.attributes.is_control()) {
            if let Some(end) = transaction_end(header, key) {
                each(base, end);
            }
            continue;
        }
        match Record::decode(key, record.value.as_deref(), producer) {
            Ok(Some(record)) => each(base, record),
            Ok(None) => {
                warn!(offset = record.offset.0, "passing over a record of another kind of group coordinator")
            }
            Err(error) => {
                warn!(offset = record.offset.0, %error, "passing over a record in __consumer_offsets")
            }
        }
    }
    Ok(())
}

/// What a control record says; `None` for kinds that do not end a transaction.
fn transaction_end(header: &BatchHeader, key: &[u8]) -> Option<Record> {
    let &[_, _, high, low, ..] = key else { return None };
    let kind = i16::from_be_bytes([high, low]);
    (0..=COMMIT_MARKER)
        .contains(&kind)
        .then(|| Record::TransactionEnd { producer: header.producer_id, committed: kind == COMMIT_MARKER })
}
