//! Every entry of a log seen the same way, whatever its magic.
//!
//! Reads headers only: no record is decoded and no checksum computed unless asked for.

use crate::types::{LeaderEpoch, Offset, ProducerId, TimestampMs};

use super::attributes::{Attributes, Compression, TimestampType};
use super::crc;
use super::error::BatchError;
use super::fields::Fields;
use super::header::{BatchHeader, HEADER_SIZE, LOG_OVERHEAD};

/// Bytes that tell the size and the magic of an entry.
pub const PREFIX_SIZE: usize = 17;

/// Smallest legal value of the length field: a message of magic 0 without key and value.
const RECORD_OVERHEAD_V0: i32 = 14;

/// Size of an entry's header where a message of magic 1 has its timestamp.
const LEGACY_HEADER_SIZE_V1: usize = 26;
const LEGACY_HEADER_SIZE_V0: usize = 18;

/// A message of magic 0 or 1 as an entry of the log: a single record, or the wrapper of compressed ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LegacyHeader {
    /// Of the only, or the last, record.
    pub offset: Offset,
    /// Bytes that follow this field. Range: `14..=i32::MAX`.
    pub length: i32,
    /// CRC-32 (IEEE) of everything behind it.
    pub crc: u32,
    /// 0 or 1.
    pub magic: i8,
    pub attributes: Attributes,
    /// `-1` for magic 0, which has none.
    pub timestamp: TimestampMs,
}

/// Who produced a batch, for the duplicate and gap checks of idempotent producers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerStamp {
    pub id: ProducerId,
    pub epoch: i16,
    /// `-1` in control batches.
    pub first_sequence: i32,
    pub last_sequence: i32,
}

/// The header of one entry of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchView {
    V2(BatchHeader),
    Legacy(LegacyHeader),
}

impl BatchView {
    /// Reads the header at the start of `bytes`, which may end behind it: 61 bytes are enough for any magic,
    /// fewer where the entry itself is smaller.
    ///
    /// `Ok(None)`: too few bytes to tell, the entry is cut off.
    pub fn parse(bytes: &[u8]) -> Result<Option<BatchView>, BatchError> {
        let Some((size, magic)) = size_and_magic(bytes)? else {
            return Ok(None);
        };
        let header_size = match magic {
            0 => LEGACY_HEADER_SIZE_V0,
            1 => LEGACY_HEADER_SIZE_V1,
            _ => HEADER_SIZE,
        };
        if size < header_size {
            return Err(BatchError::Truncated { needed: header_size, available: size });
        }
        if bytes.len() < header_size {
            return Ok(None);
        }
        if magic == 2 {
            return BatchHeader::parse(bytes).map(|header| Some(BatchView::V2(header)));
        }
        let mut fields = Fields(bytes);
        Ok(Some(BatchView::Legacy(LegacyHeader {
            offset: Offset(fields.i64()),
            length: fields.i32(),
            crc: fields.u32(),
            magic: fields.i8(),
            attributes: Attributes(i16::from(fields.i8())),
            timestamp: if magic == 0 { TimestampMs::NONE } else { TimestampMs(fields.i64()) },
        })))
    }

    /// 0, 1 or 2.
    pub const fn magic(&self) -> i8 {
        match self {
            BatchView::V2(_) => 2,
            BatchView::Legacy(header) => header.magic,
        }
    }

    /// The whole entry, header included. Unit: bytes.
    pub fn size_in_bytes(&self) -> usize {
        match self {
            BatchView::V2(header) => header.size_in_bytes(),
            BatchView::Legacy(header) => LOG_OVERHEAD + usize::try_from(header.length).unwrap_or(0),
        }
    }

    /// `None` for a compressed entry of magic 0 or 1: only decompressing it would tell.
    pub const fn base_offset(&self) -> Option<Offset> {
        match self {
            BatchView::V2(header) => Some(header.base_offset),
            BatchView::Legacy(header) if header.attributes.is_compressed() => None,
            BatchView::Legacy(header) => Some(header.offset),
        }
    }

    pub fn last_offset(&self) -> Offset {
        match self {
            BatchView::V2(header) => header.last_offset(),
            BatchView::Legacy(header) => header.offset,
        }
    }

    /// The first offset where the header has it, else the last: what Kafka compares with the log's end.
    pub fn first_or_last_offset(&self) -> Offset {
        match self {
            BatchView::V2(header) => header.base_offset,
            BatchView::Legacy(header) => header.offset,
        }
    }

    /// The offset behind the last record.
    pub fn next_offset(&self) -> Offset {
        Offset(self.last_offset().0.wrapping_add(1))
    }

    /// `-1` for magic 0.
    pub const fn max_timestamp(&self) -> TimestampMs {
        match self {
            BatchView::V2(header) => header.max_timestamp,
            BatchView::Legacy(header) => header.timestamp,
        }
    }

    /// `None` for magic 0, which has no timestamps.
    pub const fn timestamp_type(&self) -> Option<TimestampType> {
        match self {
            BatchView::V2(header) => Some(header.timestamp_type()),
            BatchView::Legacy(header) if header.magic == 0 => None,
            BatchView::Legacy(header) => Some(header.attributes.timestamp_type()),
        }
    }

    /// `-1` for magic 0 and 1.
    pub const fn leader_epoch(&self) -> LeaderEpoch {
        match self {
            BatchView::V2(header) => header.leader_epoch,
            BatchView::Legacy(_) => LeaderEpoch::NONE,
        }
    }

    /// `None` where no idempotent producer wrote the batch.
    pub fn producer(&self) -> Option<ProducerStamp> {
        match self {
            BatchView::V2(header) if header.has_producer_id() => Some(ProducerStamp {
                id: header.producer_id,
                epoch: header.producer_epoch,
                first_sequence: header.base_sequence,
                last_sequence: header.last_sequence(),
            }),
            _ => None,
        }
    }

    /// `None` for magic 0 and 1, which do not say.
    pub const fn count(&self) -> Option<i32> {
        match self {
            BatchView::V2(header) => Some(header.count),
            BatchView::Legacy(_) => None,
        }
    }

    pub const fn is_control(&self) -> bool {
        matches!(self, BatchView::V2(header) if header.is_control())
    }

    pub const fn is_transactional(&self) -> bool {
        matches!(self, BatchView::V2(header) if header.is_transactional())
    }

    pub const fn attributes(&self) -> Attributes {
        match self {
            BatchView::V2(header) => header.attributes,
            BatchView::Legacy(header) => header.attributes,
        }
    }

    pub const fn compression(&self) -> Result<Compression, BatchError> {
        self.attributes().compression()
    }

    /// The stored checksum.
    pub const fn crc(&self) -> u32 {
        match self {
            BatchView::V2(header) => header.crc,
            BatchView::Legacy(header) => header.crc,
        }
    }

    /// Refuses an entry whose stored checksum is not that of its bytes; `entry` is all of it, header included.
    pub fn check_crc(&self, entry: &[u8]) -> Result<(), BatchError> {
        let size = self.size_in_bytes();
        let Some(entry) = entry.get(..size) else {
            return Err(BatchError::Truncated { needed: size, available: entry.len() });
        };
        match self {
            BatchView::V2(header) => header.check_crc(entry.get(HEADER_SIZE..).unwrap_or_default()),
            BatchView::Legacy(header) => {
                let computed = crc::crc32(entry.get(LOG_OVERHEAD + 4..).unwrap_or_default());
                if computed == header.crc {
                    Ok(())
                } else {
                    Err(BatchError::WrongCrc { stored: header.crc, computed })
                }
            }
        }
    }
}

/// Whole size and magic of the entry at the start of `bytes`; `None` where they are cut off.
fn size_and_magic(bytes: &[u8]) -> Result<Option<(usize, i8)>, BatchError> {
    if bytes.len() < LOG_OVERHEAD {
        return Ok(None);
    }
    let mut fields = Fields(bytes);
    let _offset = fields.i64();
    let length = fields.i32();
    if length < RECORD_OVERHEAD_V0 {
        return Err(BatchError::TooSmall(length));
    }
    if bytes.len() < PREFIX_SIZE {
        return Ok(None);
    }
    let _crc_or_epoch = fields.i32();
    let magic = fields.i8();
    if !(0..=2).contains(&magic) {
        return Err(BatchError::UnknownMagic(magic));
    }
    Ok(Some((LOG_OVERHEAD + usize::try_from(length).unwrap_or(0), magic)))
}

/// One entry found in a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Located {
    /// Where the entry starts in the buffer.
    pub position: usize,
    /// Its whole size. `position + size` never exceeds the buffer.
    pub size: usize,
    pub batch: BatchView,
}

/// Walks the entries of `bytes`, any mix of magics.
///
/// Ends silently at an entry that is cut off, as fetched and recovered data may end so: compare
/// [`Headers::position`] with the buffer's length. Ends after the first error.
pub fn headers(bytes: &[u8]) -> Headers<'_> {
    Headers { bytes, position: 0, failed: false }
}

/// See [`headers`].
#[derive(Clone, Debug)]
pub struct Headers<'a> {
    bytes: &'a [u8],
    position: usize,
    failed: bool,
}

impl<'a> Headers<'a> {
    /// End of the last whole entry that was yielded: the number of valid bytes so far.
    pub fn position(&self) -> usize {
        self.position
    }

    /// The bytes of an entry this walk has yielded.
    pub fn bytes_of(&self, located: &Located) -> &'a [u8] {
        self.bytes.get(located.position..located.position.saturating_add(located.size)).unwrap_or_default()
    }
}

impl Iterator for Headers<'_> {
    type Item = Result<Located, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let rest = self.bytes.get(self.position..)?;
        match size_and_magic(rest) {
            Ok(Some((size, _))) if size <= rest.len() => {}
            Ok(_) => return None,
            Err(error) => {
                self.failed = true;
                return Some(Err(error));
            }
        }
        match BatchView::parse(rest).transpose()? {
            Ok(batch) => {
                let located = Located { position: self.position, size: batch.size_in_bytes(), batch };
                self.position += located.size;
                Some(Ok(located))
            }
            Err(error) => {
                self.failed = true;
                Some(Err(error))
            }
        }
    }
}
