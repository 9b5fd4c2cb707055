//! The control record that ends a transaction.

use bytes::Bytes;

use crate::batch::{EndTransaction, records};
use crate::types::TimestampMs;

/// How a transaction ended, and by which coordinator's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marker {
    pub end: EndTransaction,
    pub coordinator_epoch: i32,
    pub timestamp: TimestampMs,
}

/// The marker in a control batch; `entry` is the whole batch. `None`: it holds another kind of control record, or
/// none any more.
#[must_use]
pub fn marker(entry: &Bytes) -> Option<Marker> {
    let record = records(entry).ok()?.next()?.ok()?;
    let key = record.key?;
    let (version, kind) = (be_i16(&key, 0)?, be_i16(&key, 2)?);
    let end = match kind {
        0 if version >= 0 => EndTransaction::Abort,
        1 if version >= 0 => EndTransaction::Commit,
        _ => return None,
    };
    let value = record.value?;
    let coordinator_epoch = i32::from_be_bytes(value.get(2..6)?.try_into().ok()?);
    (be_i16(&value, 0)? >= 0).then_some(Marker { end, coordinator_epoch, timestamp: record.timestamp })
}

fn be_i16(bytes: &[u8], at: usize) -> Option<i16> {
    Some(i16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}
