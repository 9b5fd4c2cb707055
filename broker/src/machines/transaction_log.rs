//! The batches of `__transaction_state`, as Kafka 3.9 writes and reads them.

use bytes::Bytes;
use coordinator::machine::AppendFailure;
use coordinator::transactions::{Record, Transactions};
use storage::batch::{self, BatchBuilder, BatchError, BatchOptions, TargetCompression};
use storage::types::{Offset, TimestampMs};
use tracing::warn;

use crate::machines::journal::Journaled;

impl Journaled for Transactions {
    fn encode(
        records: &[Record],
        now: TimestampMs,
        compression: TargetCompression,
    ) -> Result<Vec<(Bytes, usize)>, AppendFailure> {
        let batch = encode(records, now, compression).map_err(|error| {
            warn!(%error, "records of a transaction do not fit into a batch");
            AppendFailure::TooLarge
        })?;
        Ok(vec![(batch, records.len())])
    }

    fn decode(entry: &Bytes, each: &mut dyn FnMut(Offset, Record)) {
        if let Err(error) = decode(entry, each) {
            warn!(%error, "passing over what cannot be read of a batch in __transaction_state");
        }
    }
}

fn encode(records: &[Record], now: TimestampMs, compression: TargetCompression) -> Result<Bytes, BatchError> {
    let mut builder = BatchBuilder::new(BatchOptions { compression, ..BatchOptions::default() })?;
    for (key, value) in records.iter().map(Record::encode) {
        builder.append(now, Some(&key), value.as_deref(), &[])?;
    }
    builder.build()
}

fn decode(entry: &Bytes, each: &mut dyn FnMut(Offset, Record)) -> Result<(), BatchError> {
    let mut base = None;
    for record in batch::records(entry)? {
        let record = record?;
        let base = *base.get_or_insert(record.offset);
        let Some(key) = &record.key else { continue };
        match Record::decode(key, record.value.as_deref()) {
            Ok(Some(record)) => each(base, record),
            Ok(None) => {
                warn!(
                    offset = record.offset.0,
                    "passing over a record of another kind of transaction coordinator"
                );
            }
            Err(error) => {
                warn!(offset = record.offset.0, %error, "passing over a record in __transaction_state");
            }
        }
    }
    Ok(())
}
