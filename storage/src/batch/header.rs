//! The fixed 61 bytes in front of every batch of magic 2.
//!
//! A header is a value: parsed, patched and encoded without touching the records behind it.

use crate::types::{LeaderEpoch, Offset, ProducerId, TimestampMs};

use super::attributes::{Attributes, Compression, TimestampType};
use super::crc::{self, Tail};
use super::error::BatchError;
use super::fields::Fields;

/// Bytes before the length counts: base offset (8) and the length itself (4). The same for every magic.
pub const LOG_OVERHEAD: usize = 12;

/// Size of the header of magic 2. Unit: bytes.
pub const HEADER_SIZE: usize = 61;

/// The checksum covers everything from here, the attributes, to the end of the batch.
const CRC_START: usize = 21;

/// "No sequence": a batch of a producer that is not idempotent, or a control batch.
pub const NO_SEQUENCE: i32 = -1;

/// "No producer epoch".
pub const NO_PRODUCER_EPOCH: i16 = -1;

/// The header of a batch of magic 2, field by field in the order of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    pub base_offset: Offset,
    /// Bytes that follow this field. Range: `49..=i32::MAX`.
    pub length: i32,
    /// Not covered by the checksum, so that a leader can stamp it.
    pub leader_epoch: LeaderEpoch,
    /// CRC-32C of everything behind it.
    pub crc: u32,
    pub attributes: Attributes,
    pub last_offset_delta: i32,
    /// Timestamp the deltas of the records count from; or the delete horizon where that attribute is set.
    pub base_timestamp: TimestampMs,
    pub max_timestamp: TimestampMs,
    pub producer_id: ProducerId,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    /// Records in the batch. Compaction may leave fewer than the offsets span, even none.
    pub count: i32,
}

impl BatchHeader {
    /// Reads the header at the start of `bytes`; the records may be missing.
    ///
    /// The checksum is not looked at, see [`BatchHeader::check_crc`].
    pub fn parse(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
        let Some(head) = bytes.first_chunk::<HEADER_SIZE>() else {
            return Err(BatchError::Truncated { needed: HEADER_SIZE, available: bytes.len() });
        };
        let mut fields = Fields(head);
        let base_offset = Offset(fields.i64());
        let length = fields.i32();
        let leader_epoch = LeaderEpoch(fields.i32());
        let magic = fields.i8();
        if magic != 2 {
            return Err(BatchError::UnknownMagic(magic));
        }
        let header = BatchHeader {
            base_offset,
            length,
            leader_epoch,
            crc: fields.u32(),
            attributes: Attributes(fields.i16()),
            last_offset_delta: fields.i32(),
            base_timestamp: TimestampMs(fields.i64()),
            max_timestamp: TimestampMs(fields.i64()),
            producer_id: ProducerId(fields.i64()),
            producer_epoch: fields.i16(),
            base_sequence: fields.i32(),
            count: fields.i32(),
        };
        if header.size_in_bytes() < HEADER_SIZE {
            return Err(BatchError::Truncated { needed: HEADER_SIZE, available: header.size_in_bytes() });
        }
        Ok(header)
    }

    pub fn encode(&self) -> [u8; HEADER_SIZE] {
        let mut head = [0; HEADER_SIZE];
        head[0..8].copy_from_slice(&self.base_offset.0.to_be_bytes());
        head[8..12].copy_from_slice(&self.length.to_be_bytes());
        head[12..16].copy_from_slice(&self.leader_epoch.0.to_be_bytes());
        head[16] = 2;
        head[17..21].copy_from_slice(&self.crc.to_be_bytes());
        head[21..23].copy_from_slice(&self.attributes.0.to_be_bytes());
        head[23..27].copy_from_slice(&self.last_offset_delta.to_be_bytes());
        head[27..35].copy_from_slice(&self.base_timestamp.0.to_be_bytes());
        head[35..43].copy_from_slice(&self.max_timestamp.0.to_be_bytes());
        head[43..51].copy_from_slice(&self.producer_id.0.to_be_bytes());
        head[51..53].copy_from_slice(&self.producer_epoch.to_be_bytes());
        head[53..57].copy_from_slice(&self.base_sequence.to_be_bytes());
        head[57..61].copy_from_slice(&self.count.to_be_bytes());
        head
    }

    /// The whole batch, header included. Unit: bytes. Never below 61 in a header that was parsed.
    pub fn size_in_bytes(&self) -> usize {
        LOG_OVERHEAD + usize::try_from(self.length).unwrap_or(0)
    }

    pub fn last_offset(&self) -> Offset {
        Offset(self.base_offset.0.wrapping_add(i64::from(self.last_offset_delta)))
    }

    /// Sequence number of the last record; sequence numbers wrap from `i32::MAX` to 0.
    pub fn last_sequence(&self) -> i32 {
        if self.base_sequence == NO_SEQUENCE {
            NO_SEQUENCE
        } else {
            increment_sequence(self.base_sequence, self.last_offset_delta)
        }
    }

    pub const fn has_producer_id(&self) -> bool {
        self.producer_id.0 > ProducerId::NONE.0
    }

    pub const fn is_control(&self) -> bool {
        self.attributes.is_control()
    }

    pub const fn is_transactional(&self) -> bool {
        self.attributes.is_transactional()
    }

    pub const fn compression(&self) -> Result<Compression, BatchError> {
        self.attributes.compression()
    }

    pub const fn timestamp_type(&self) -> TimestampType {
        self.attributes.timestamp_type()
    }

    /// When compaction may drop the tombstones and transaction markers of this batch (KIP-534).
    pub const fn delete_horizon(&self) -> Option<TimestampMs> {
        if self.attributes.has_delete_horizon() { Some(self.base_timestamp) } else { None }
    }

    /// CRC-32C of this header's covered part followed by `body`, the bytes behind the header.
    pub fn compute_crc(&self, body: &[u8]) -> u32 {
        crc::append_crc32c(self.head_crc(), body)
    }

    /// Lets a change of the header keep the checksum right: the `len` bytes behind it, by their part in the checksum.
    ///
    /// The checksum must have been found right.
    pub(super) fn tail(&self, len: usize) -> Tail {
        Tail::cut_off(self.crc, self.head_crc(), len)
    }

    /// Whether [`BatchHeader::stamp`] would change nothing.
    pub(super) fn is_stamped(&self, kind: TimestampType, max_timestamp: TimestampMs) -> bool {
        self.timestamp_type() == kind && self.max_timestamp == max_timestamp
    }

    /// Sets who timed the records and the largest time, and the checksum with them.
    pub(super) fn stamp(&mut self, kind: TimestampType, max_timestamp: TimestampMs, tail: Tail) {
        self.attributes = self.attributes.with_timestamp_type(kind);
        self.max_timestamp = max_timestamp;
        self.crc = tail.behind(self.head_crc());
    }

    /// CRC-32C of the part of the header that the checksum covers.
    fn head_crc(&self) -> u32 {
        crc::crc32c(&self.encode()[CRC_START..])
    }

    /// Refuses a batch whose stored checksum is not that of its bytes; `body` is what follows the header.
    pub fn check_crc(&self, body: &[u8]) -> Result<(), BatchError> {
        let computed = self.compute_crc(body);
        if computed == self.crc { Ok(()) } else { Err(BatchError::WrongCrc { stored: self.crc, computed }) }
    }
}

/// Sequence numbers count `0..=i32::MAX` and start over at 0.
pub const fn increment_sequence(sequence: i32, increment: i32) -> i32 {
    if sequence > i32::MAX.wrapping_sub(increment) {
        increment.wrapping_sub(i32::MAX.wrapping_sub(sequence)).wrapping_sub(1)
    } else {
        sequence.wrapping_add(increment)
    }
}

/// The inverse of [`increment_sequence`].
pub const fn decrement_sequence(sequence: i32, decrement: i32) -> i32 {
    if sequence < decrement {
        i32::MAX.wrapping_sub(decrement.wrapping_sub(sequence)).wrapping_add(1)
    } else {
        sequence.wrapping_sub(decrement)
    }
}
