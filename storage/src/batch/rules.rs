//! What a partition demands of the records written to it, and how it says no.

use std::fmt;

use crate::types::TopicPartition;

use super::attributes::{Compression, TimestampType};
use super::error::BatchError;

/// Who asks for an append on the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A Produce request of this version. Range: `0..=11`.
    Client { produce_version: i16 },
    /// The broker itself: group and transaction logs, transaction markers.
    Coordinator,
}

/// `compression.type` of a topic with the level that belongs to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TargetCompression {
    /// `producer`: whatever the producer chose is kept.
    #[default]
    Producer,
    /// `uncompressed`.
    Uncompressed,
    /// `compression.gzip.level`. Range: `1..=9`, or `-1` for zlib's default, 6.
    Gzip {
        level: i32,
    },
    Snappy,
    /// `compression.lz4.level`. Range: `1..=17`. Default: 9.
    Lz4 {
        level: i32,
    },
    /// `compression.zstd.level`. Range: `-131072..=22`. Default: 3.
    Zstd {
        level: i32,
    },
}

/// The settings of a partition that decide what may be appended to it.
#[derive(Clone, Debug)]
pub struct ProduceRules {
    /// Named in refusals.
    pub partition: TopicPartition,
    pub origin: Origin,
    /// `compression.type`.
    pub compression: TargetCompression,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`. Unit: ms. Default: `i64::MAX`.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`. Unit: ms. Default: `i64::MAX`.
    pub timestamp_after_max_ms: i64,
    /// `max.message.bytes`: a batch with its header, as it would be written.
    pub max_message_bytes: usize,
    /// `cleanup.policy` contains `compact`: every record needs a key.
    pub compacted: bool,
}

/// Kafka's error that a refused append is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// `CORRUPT_MESSAGE` (2).
    CorruptMessage,
    /// `MESSAGE_TOO_LARGE` (10).
    MessageTooLarge,
    /// `INVALID_TIMESTAMP` (32).
    InvalidTimestamp,
    /// `UNSUPPORTED_COMPRESSION_TYPE` (76).
    UnsupportedCompressionType,
    /// `INVALID_RECORD` (87).
    InvalidRecord,
    /// `UNKNOWN_SERVER_ERROR` (-1): what Kafka answers where decoding fails in a way it has no error for.
    UnknownServerError,
}

/// Why nothing of an append was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub kind: RefusalKind,
    /// Told to the client; Kafka tells only where single records are to blame.
    pub message: Option<String>,
    /// Index of the record in its batch, and what is wrong with it. At most [`RECORD_ERRORS_MAX`].
    pub record_errors: Vec<(i32, Option<String>)>,
    /// Refused for what its version of Produce allows, before any partition was asked.
    pub by_version: bool,
    /// For the broker's own log.
    pub reason: String,
}

/// Record errors listed in one refusal. Kafka lists all; this bounds what a bad batch makes the broker hold.
pub const RECORD_ERRORS_MAX: usize = 10_000;

impl Refusal {
    pub(super) fn new(kind: RefusalKind, reason: impl Into<String>) -> Refusal {
        Refusal { kind, message: None, record_errors: Vec::new(), by_version: false, reason: reason.into() }
    }

    pub(super) fn invalid(reason: impl Into<String>) -> Refusal {
        Refusal::new(RefusalKind::InvalidRecord, reason)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message.as_deref().unwrap_or(&self.reason))
    }
}

impl std::error::Error for Refusal {}

impl From<BatchError> for Refusal {
    fn from(error: BatchError) -> Refusal {
        let kind = match error {
            BatchError::Truncated { .. }
            | BatchError::TooSmall(_)
            | BatchError::UnknownMagic(_)
            | BatchError::WrongCrc { .. } => RefusalKind::CorruptMessage,
            BatchError::InvalidRecord(_) => RefusalKind::InvalidRecord,
            BatchError::NotInOldFormats => RefusalKind::UnsupportedCompressionType,
            BatchError::Inflated { .. } => RefusalKind::MessageTooLarge,
            BatchError::UnknownCompression(_)
            | BatchError::Codec { .. }
            | BatchError::LegacyLengths { .. } => RefusalKind::UnknownServerError,
        };
        Refusal::new(kind, error.to_string())
    }
}

impl TargetCompression {
    /// The codec to write with, for records that came in `source`.
    pub(super) fn codec(self, source: Compression) -> Compression {
        match self {
            TargetCompression::Producer => source,
            TargetCompression::Uncompressed => Compression::None,
            TargetCompression::Gzip { .. } => Compression::Gzip,
            TargetCompression::Snappy => Compression::Snappy,
            TargetCompression::Lz4 { .. } => Compression::Lz4,
            TargetCompression::Zstd { .. } => Compression::Zstd,
        }
    }
}
