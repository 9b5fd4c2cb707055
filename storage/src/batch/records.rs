//! Decoding the records of a batch, for those who need them: internal topics, compaction, old consumers, inspection.
//!
//! Compressed batches are read as streams, one record in memory at a time.

use bytes::Bytes;

use crate::types::{Offset, TimestampMs};

use super::attributes::{Compression, TimestampType};
use super::codec::Inflate;
use super::error::BatchError;
use super::header::{BatchHeader, HEADER_SIZE, NO_SEQUENCE, increment_sequence};
use super::legacy::{Messages, Placed};
use super::raw::{self, Cursor, RawRecord};
use super::view::BatchView;

/// A header of a record; the same key may come more than once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// UTF-8 by agreement of the clients; nobody checks.
    pub key: Bytes,
    pub value: Option<Bytes>,
}

/// One record, of any magic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub offset: Offset,
    /// The producer's, or the broker's where the batch has append time. `-1` is none.
    pub timestamp: TimestampMs,
    /// `-1` without an idempotent producer.
    pub sequence: i32,
    pub key: Option<Bytes>,
    /// `None` is a tombstone in compacted topics.
    pub value: Option<Bytes>,
    /// In their order. Always empty before magic 2.
    pub headers: Vec<RecordHeader>,
}

/// Decodes the records of `entry`, one whole entry of the log of any magic.
///
/// Keys and values of uncompressed batches of magic 2 share `entry`'s memory. The checksum is not looked at.
/// Ends after the first error.
pub fn records(entry: &Bytes) -> Result<Records<'_>, BatchError> {
    let view = BatchView::parse(entry)?
        .ok_or(BatchError::Truncated { needed: HEADER_SIZE, available: entry.len() })?;
    let size = view.size_in_bytes();
    let Some(whole) = entry.get(..size) else {
        return Err(BatchError::Truncated { needed: size, available: entry.len() });
    };
    let source = match view {
        BatchView::Legacy(_) => Source::Legacy(Box::new(Messages::new(whole)?)),
        BatchView::V2(header) => {
            let left = u32::try_from(header.count).map_err(|_| raw::NEGATIVE_COUNT)?;
            let body = whole.get(HEADER_SIZE..).unwrap_or_default();
            match header.compression()? {
                Compression::None => Source::Plain { header, left, rest: body, entry },
                codec => Source::Stream { header, left, stream: Box::new(Inflate::new(codec, 2, body)?) },
            }
        }
    };
    Ok(Records { source: Some(source) })
}

/// See [`records`].
pub struct Records<'a> {
    /// `None` after the end or an error.
    source: Option<Source<'a>>,
}

enum Source<'a> {
    Plain { header: BatchHeader, left: u32, rest: &'a [u8], entry: &'a Bytes },
    Stream { header: BatchHeader, left: u32, stream: Box<Inflate<'a>> },
    Legacy(Box<Messages<'a>>),
}

impl Source<'_> {
    fn next(&mut self) -> Result<Option<Record>, BatchError> {
        match self {
            Source::Legacy(messages) => messages.next()?.map(|placed| from_message(&placed)).transpose(),
            Source::Plain { left: 0, .. } | Source::Stream { left: 0, .. } => Ok(None),
            Source::Plain { header, left, rest, entry } => {
                let record = raw::next_record(rest)?;
                *left -= 1;
                if *left == 0 && !rest.is_empty() {
                    return Err(raw::RECORDS_REMAIN);
                }
                from_raw(header, &record, |bytes| entry.slice_ref(bytes)).map(Some)
            }
            Source::Stream { header, left, stream } => {
                let body = Bytes::from(next_body(stream)?);
                *left -= 1;
                if *left == 0 && !stream.at_end()? {
                    return Err(raw::RECORDS_REMAIN);
                }
                let record = raw::split(&body)?;
                from_raw(header, &record, |bytes| body.slice_ref(bytes)).map(Some)
            }
        }
    }
}

impl Iterator for Records<'_> {
    type Item = Result<Record, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.source.as_mut()?.next().transpose();
        if !matches!(next, Some(Ok(_))) {
            self.source = None;
        }
        next
    }
}

/// The next record of a decompressed stream, without its size.
pub(super) fn next_body(stream: &mut Inflate<'_>) -> Result<Vec<u8>, BatchError> {
    let size =
        stream.i32().map_err(|error| if error == raw::MALFORMED { raw::PREMATURE_END } else { error })?;
    stream.take(usize::try_from(size).map_err(|_| raw::PREMATURE_END)?)
}

/// The timestamp of a record by its batch.
pub(super) fn timestamp_of(header: &BatchHeader, delta: i64) -> TimestampMs {
    match header.timestamp_type() {
        TimestampType::CreateTime => TimestampMs(header.base_timestamp.0.wrapping_add(delta)),
        TimestampType::LogAppendTime => header.max_timestamp,
    }
}

fn from_raw(
    header: &BatchHeader,
    record: &RawRecord<'_>,
    share: impl Fn(&[u8]) -> Bytes,
) -> Result<Record, BatchError> {
    let mut headers = Vec::new();
    let mut rest = Cursor(record.headers);
    for _ in 0..record.header_count {
        let (key, value) = rest.header().ok_or(raw::MALFORMED)?;
        headers.push(RecordHeader { key: share(key), value: value.map(&share) });
    }
    Ok(Record {
        offset: Offset(header.base_offset.0.wrapping_add(i64::from(record.offset_delta))),
        timestamp: timestamp_of(header, record.timestamp_delta),
        sequence: if header.base_sequence >= 0 {
            increment_sequence(header.base_sequence, record.offset_delta)
        } else {
            NO_SEQUENCE
        },
        key: record.key.map(&share),
        value: record.value.map(&share),
        headers,
    })
}

fn from_message(placed: &Placed<'_>) -> Result<Record, BatchError> {
    Ok(Record {
        offset: placed.offset,
        timestamp: placed.timestamp,
        sequence: NO_SEQUENCE,
        key: placed.message.key()?.map(Bytes::copy_from_slice),
        value: placed.message.value()?.map(Bytes::copy_from_slice),
        headers: Vec::new(),
    })
}
