//! Sparse indexes of a segment: from offsets to file positions, from timestamps to offsets, and its aborted
//! transactions.
//!
//! Indexes are hints: whoever follows one checks what lies there. They can be lost and rebuilt from the records.

mod offset;
mod sparse;
mod time;
mod transaction;

pub(crate) use offset::{OffsetEntry, OffsetIndex};
pub(crate) use sparse::Entry;
pub(crate) use time::{TimeEntry, TimeIndex};
pub use transaction::AbortedTransaction;
pub(crate) use transaction::{SIZE as ABORTED_TRANSACTION_SIZE, TransactionIndex, decode as decode_aborted};
