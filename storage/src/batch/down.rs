//! Turning batches back into message sets of magic 0 or 1, for consumers from before Kafka 0.11.
//!
//! Transaction markers and record headers do not exist there and are dropped. The result has exactly as many bytes
//! as Kafka sends, so what does not fit is cut and what is missing is filled with a message that is never complete.

use bytes::Bytes;

use crate::types::{Offset, TimestampMs};

use super::attributes::{Compression, TimestampType};
use super::error::BatchError;
use super::legacy::MessageSet;
use super::records::records;
use super::view::{BatchView, headers};

/// Smallest thing an old consumer takes for the start of a message: offset and size.
const OVERFLOW_MIN: usize = 12;

/// Kafka fills up in pieces of this many bytes.
const OVERFLOW_PIECE: usize = 128 * 1024;

/// What the message that never completes claims at least.
const OVERFLOW_LENGTH_MIN: usize = 61;

/// Bytes one converted batch may take: five times the largest batch a topic is likely to allow.
///
/// Without compression a record grows from 7 bytes at least to 34; with it, sizes hardly change.
const CONVERTED_BYTES_MAX: usize = 512 * 1024 * 1024;

/// Converts the whole batches in `source` to `magic`, 0 or 1, for a fetch from `first_offset`.
///
/// Batches already in that format or an older one are copied. Records before `first_offset` are left out of
/// uncompressed batches only, as some versions of librdkafka rely on. The result is as long as `source`, or as the first
/// converted batch where that is longer, so that a consumer always makes progress; 12 bytes where nothing in `source`
/// exists in the old format; empty where `source` holds no whole batch.
///
/// `Err(BatchError::NotInOldFormats)`: the first batch is compressed with zstd. A later one, or a later one that cannot
/// be read, ends the conversion; the consumer meets the error when it fetches from there.
pub fn down_convert(source: &Bytes, magic: i8, first_offset: Offset) -> Result<Vec<u8>, BatchError> {
    assert!(magic == 0 || magic == 1, "only magic 0 and 1 are old formats");
    let mut out = Vec::new();
    let mut size = None;
    let mut any = false;
    for located in headers(source) {
        let located = located?;
        any = true;
        let entry = source.slice(located.position..located.position + located.size);
        match convert(&located.batch, &entry, magic, first_offset) {
            Ok(converted) if converted.is_empty() => continue,
            Ok(converted) => out.extend_from_slice(&converted),
            Err(error) if out.is_empty() => return Err(error),
            Err(_) => break,
        }
        let size = *size.get_or_insert(source.len().max(out.len()));
        if out.len() >= size {
            break;
        }
    }
    if any {
        fill_up(&mut out, size.unwrap_or(OVERFLOW_MIN));
    }
    Ok(out)
}

fn convert(batch: &BatchView, entry: &Bytes, magic: i8, first_offset: Offset) -> Result<Vec<u8>, BatchError> {
    if batch.is_control() {
        return Ok(Vec::new());
    }
    let codec = batch.compression()?;
    if codec == Compression::Zstd {
        return Err(BatchError::NotInOldFormats);
    }
    if batch.magic() <= magic {
        return Ok(entry.to_vec());
    }
    let (kind, append_time) = match batch.timestamp_type() {
        Some(TimestampType::LogAppendTime) => (TimestampType::LogAppendTime, batch.max_timestamp()),
        _ => (TimestampType::CreateTime, TimestampMs::NONE),
    };
    let mut set: Option<MessageSet> = None;
    for record in records(entry)? {
        let record = record?;
        if codec == Compression::None && record.offset < first_offset {
            continue;
        }
        let set = match &mut set {
            Some(set) => set,
            None => set.insert(MessageSet::new(
                magic,
                codec,
                kind,
                record.offset,
                append_time,
                CONVERTED_BYTES_MAX,
            )?),
        };
        set.append(record.offset, record.timestamp, record.key.as_deref(), record.value.as_deref())?;
    }
    set.map_or(Ok(Vec::new()), MessageSet::finish)
}

/// Brings `out` to `size`: cuts the last message, or starts one that will never be complete.
fn fill_up(out: &mut Vec<u8>, size: usize) {
    out.truncate(size);
    while out.len() < size {
        let start = out.len();
        let missing = size - start;
        let claimed = i32::try_from((missing + 1).max(OVERFLOW_LENGTH_MIN)).unwrap_or(i32::MAX);
        out.extend_from_slice(&(-1_i64).to_be_bytes());
        out.extend_from_slice(&claimed.to_be_bytes());
        out.resize(start + OVERFLOW_MIN.max(OVERFLOW_PIECE.min(missing + 1)), 0);
        out.truncate(size);
    }
}
