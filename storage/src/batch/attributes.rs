//! The attribute bits of a batch: codec, timestamp type and the flags of magic 2.
//!
//! Bits 0-2 codec, 3 timestamp type (magic 1 and 2), 4 transactional, 5 control, 6 delete horizon (magic 2).

use std::fmt;

use super::error::BatchError;

/// How the records of a batch are compressed. The numbers are those on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Compression {
    #[default]
    None = 0,
    Gzip = 1,
    Snappy = 2,
    Lz4 = 3,
    Zstd = 4,
}

impl Compression {
    pub const fn from_id(id: u8) -> Result<Compression, BatchError> {
        match id {
            0 => Ok(Compression::None),
            1 => Ok(Compression::Gzip),
            2 => Ok(Compression::Snappy),
            3 => Ok(Compression::Lz4),
            4 => Ok(Compression::Zstd),
            _ => Err(BatchError::UnknownCompression(id)),
        }
    }

    /// Kafka's name of the codec, as `compression.type` and the tools write it.
    pub const fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Who set the timestamps of a batch: its producer, or the broker when it appended it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TimestampType {
    #[default]
    CreateTime,
    LogAppendTime,
}

impl TimestampType {
    /// Kafka's name, as `message.timestamp.type` and the tools write it.
    pub const fn name(self) -> &'static str {
        match self {
            TimestampType::CreateTime => "CreateTime",
            TimestampType::LogAppendTime => "LogAppendTime",
        }
    }
}

impl fmt::Display for TimestampType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

const COMPRESSION_MASK: i16 = 0x07;
const TIMESTAMP_TYPE: i16 = 0x08;
const TRANSACTIONAL: i16 = 0x10;
const CONTROL: i16 = 0x20;
const DELETE_HORIZON: i16 = 0x40;
const KNOWN: i16 = COMPRESSION_MASK | TIMESTAMP_TYPE | TRANSACTIONAL | CONTROL | DELETE_HORIZON;

/// The attribute field of a batch, kept as it came: bits Kafka does not know survive until it rewrites the field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Attributes(pub i16);

impl Attributes {
    pub const fn new(compression: Compression, timestamp_type: TimestampType) -> Attributes {
        Attributes(compression as i16).with_timestamp_type(timestamp_type)
    }

    pub const fn compression(self) -> Result<Compression, BatchError> {
        Compression::from_id((self.0 & COMPRESSION_MASK) as u8)
    }

    /// True for any codec, also for one nobody knows.
    pub const fn is_compressed(self) -> bool {
        self.0 & COMPRESSION_MASK != 0
    }

    pub const fn timestamp_type(self) -> TimestampType {
        if self.0 & TIMESTAMP_TYPE == 0 { TimestampType::CreateTime } else { TimestampType::LogAppendTime }
    }

    pub const fn is_transactional(self) -> bool {
        self.0 & TRANSACTIONAL != 0
    }

    pub const fn is_control(self) -> bool {
        self.0 & CONTROL != 0
    }

    pub const fn has_delete_horizon(self) -> bool {
        self.0 & DELETE_HORIZON != 0
    }

    /// Drops unknown bits, as Kafka does whenever it rewrites this field.
    #[must_use]
    pub const fn with_timestamp_type(self, timestamp_type: TimestampType) -> Attributes {
        let cleared = self.0 & KNOWN & !TIMESTAMP_TYPE;
        match timestamp_type {
            TimestampType::CreateTime => Attributes(cleared),
            TimestampType::LogAppendTime => Attributes(cleared | TIMESTAMP_TYPE),
        }
    }

    #[must_use]
    pub const fn transactional(self) -> Attributes {
        Attributes(self.0 | TRANSACTIONAL)
    }

    #[must_use]
    pub const fn control(self) -> Attributes {
        Attributes(self.0 | CONTROL)
    }

    #[must_use]
    pub const fn delete_horizon(self) -> Attributes {
        Attributes(self.0 | DELETE_HORIZON)
    }
}
