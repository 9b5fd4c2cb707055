//! Record batches: the bytes that producers send, the log keeps and consumers get.
//!
//! All three message formats, magic 0, 1 and 2, can be read; only magic 2 is written to the log. Whatever comes from
//! the network or the disk is checked before it is believed, and no length found in it is allocated before the bytes
//! behind it are there. A batch that needs no conversion is never decoded into records and never copied.
//! Knows no file and no log: positions, offsets and the time are arguments.

mod attributes;
mod builder;
mod codec;
mod convert;
mod crc;
mod down;
mod error;
mod fields;
mod header;
mod legacy;
mod lookup;
mod prepare;
mod raw;
mod records;
mod rewrite;
mod rules;
#[cfg(test)]
mod tests;
mod varint;
mod view;
mod walk;

pub use attributes::{Attributes, Compression, TimestampType};
pub use builder::{BatchBuilder, BatchOptions, BatchProducer, EndTransaction};
pub use codec::{INFLATED_BYTES_MAX, INFLATED_RECORD_BYTES_MAX};
pub use down::down_convert;
pub use error::BatchError;
pub use header::{
    BatchHeader, HEADER_SIZE, LOG_OVERHEAD, NO_PRODUCER_EPOCH, NO_SEQUENCE, decrement_sequence,
    increment_sequence,
};
pub use lookup::{TimestampOffset, find_by_timestamp, find_max_timestamp};
pub use prepare::{Assigned, Prepared, prepare};
pub use records::{Record, RecordHeader, Records, records};
pub(crate) use rewrite::{Brief, Filter, Kept, each_key, filter};
pub use rules::{Origin, ProduceRules, RECORD_ERRORS_MAX, Refusal, RefusalKind, TargetCompression};
pub use view::{BatchView, Headers, LegacyHeader, Located, PREFIX_SIZE, ProducerStamp, headers};
