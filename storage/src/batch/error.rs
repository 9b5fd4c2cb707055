//! What can be wrong with the bytes of a batch.

use super::attributes::Compression;

/// Bytes that are not a batch, or not the batch they claim to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    #[error("the batch ends after {available} bytes where at least {needed} are needed")]
    Truncated { needed: usize, available: usize },

    #[error("Record size {0} is less than the minimum record overhead (14)")]
    TooSmall(i32),

    #[error("Invalid magic found in record: {0}")]
    UnknownMagic(i8),

    #[error("the record is corrupt (stored crc = {stored}, computed crc = {computed})")]
    WrongCrc { stored: u32, computed: u32 },

    #[error("unknown compression type id: {0}")]
    UnknownCompression(u8),

    /// The records contradict their header or themselves.
    #[error("{0}")]
    InvalidRecord(&'static str),

    /// The compressed stream cannot be read to its end.
    #[error("the {codec} stream cannot be decompressed: {reason}")]
    Codec { codec: Compression, reason: String },

    /// A record, or a batch, that grows beyond what this broker is willing to hold or to walk.
    #[error("decompression yields more than {limit} bytes")]
    Inflated { limit: u64 },

    /// Codec of a batch that consumers of the old formats do not know.
    #[error("down-conversion of zstandard-compressed batches is not supported")]
    NotInOldFormats,

    /// A field of a message in magic 0 or 1 points outside of it.
    #[error("a length inside a message of magic {magic} points outside of it")]
    LegacyLengths { magic: i8 },
}
