//! Leaving records out of a batch: what compaction does with each one it reads.
//!
//! A batch that loses nothing stays as it is, byte for byte. Otherwise it is written anew in its own magic and codec,
//! with its span of offsets and its producer fields kept, so that the last sequence number stays known. A batch is
//! walked a second time only to be rewritten; compressed records are never held all at once.

use bytes::Bytes;

use crate::types::{Offset, TimestampMs};

use super::attributes::{Attributes, Compression, TimestampType};
use super::builder::{BatchBuilder, BatchOptions, BatchProducer, Finished, NewRecord};
use super::codec::Inflate;
use super::error::BatchError;
use super::header::{BatchHeader, HEADER_SIZE, LOG_OVERHEAD};
use super::legacy::{MessageSet, Messages};
use super::raw::{self, RawRecord};
use super::records::{next_body, timestamp_of};
use super::rules::TargetCompression;
use super::view::{BatchView, LegacyHeader};

/// What decides about a record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Brief<'a> {
    pub(crate) offset: Offset,
    pub(crate) key: Option<&'a [u8]>,
    /// False in a tombstone.
    pub(crate) has_value: bool,
}

/// How one batch is filtered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Filter {
    /// Keep the header even without records: it tells the last sequence or the epoch of an active producer.
    pub(crate) retain_empty: bool,
    /// The marker in it belongs to a transaction of which nothing is left: its delete horizon is due to be set.
    pub(crate) marks_empty_transaction: bool,
    /// What to set where tombstones or such a marker have no delete horizon yet (KIP-534).
    pub(crate) new_horizon: TimestampMs,
}

/// What is left of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    Nothing,
    /// All of it, as it is.
    Whole,
    /// A new batch.
    Anew(Bytes),
}

/// Records read and kept of one batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) read: u64,
    pub(crate) kept: u64,
}

/// Filters `entry`, one whole batch with the header `batch`; `keep` is asked once for every record, in order.
///
/// The checksum must have been found right.
pub(crate) fn filter(
    batch: &BatchView,
    entry: &[u8],
    how: Filter,
    keep: impl FnMut(&Brief<'_>) -> bool,
) -> Result<(Kept, Tally), BatchError> {
    match batch {
        BatchView::V2(header) => filter_v2(header, entry, how, keep),
        BatchView::Legacy(header) => filter_legacy(header, entry, keep),
    }
}

fn filter_v2(
    header: &BatchHeader,
    entry: &[u8],
    how: Filter,
    mut keep: impl FnMut(&Brief<'_>) -> bool,
) -> Result<(Kept, Tally), BatchError> {
    let mut verdicts = Verdicts::default();
    let mut tombstones = false;
    each_record(header, entry, |record| {
        let brief =
            Brief { offset: offset_of(header, record), key: record.key, has_value: record.value.is_some() };
        let kept = keep(&brief);
        tombstones |= kept && !brief.has_value;
        verdicts.push(kept);
        Ok(())
    })?;
    let tally = verdicts.tally;
    if tally.kept == 0 {
        let empty = if how.retain_empty { Kept::Anew(empty(header)) } else { Kept::Nothing };
        return Ok((empty, tally));
    }
    let needs_horizon = (tombstones || how.marks_empty_transaction) && header.delete_horizon().is_none();
    if tally.kept == tally.read && !needs_horizon {
        return Ok((Kept::Whole, tally));
    }
    let horizon = if needs_horizon { Some(how.new_horizon) } else { header.delete_horizon() };
    let mut builder = builder(header, horizon.filter(|horizon| horizon.0 >= 0))?;
    let mut verdicts = verdicts.iter();
    each_record(header, entry, |record| {
        if verdicts.next() != Some(true) {
            return Ok(());
        }
        let offset = offset_of(header, record);
        if offset < builder.next_offset() {
            return Err(OFFSETS_GO_BACK);
        }
        builder.append_raw(&NewRecord {
            offset,
            timestamp: timestamp_of(header, record.timestamp_delta),
            key: record.key,
            value: record.value,
            header_count: record.header_count,
            headers: record.headers,
        })
    })?;
    if header.last_offset().next() < builder.next_offset() {
        return Err(OFFSETS_GO_BACK);
    }
    builder.extend_to(header.last_offset());
    match builder.finish()? {
        Finished::Batch { whole, .. } => Ok((Kept::Anew(whole), tally)),
        Finished::TooLarge(limit) => Err(BatchError::Inflated { limit }),
    }
}

const OFFSETS_GO_BACK: BatchError =
    BatchError::InvalidRecord("the offsets within a batch do not increase or lie outside of it");

fn builder(header: &BatchHeader, delete_horizon: Option<TimestampMs>) -> Result<BatchBuilder, BatchError> {
    let by_broker = header.timestamp_type() == TimestampType::LogAppendTime;
    let options = BatchOptions {
        base_offset: header.base_offset,
        leader_epoch: header.leader_epoch,
        compression: TargetCompression::Producer,
        producer: BatchProducer {
            id: header.producer_id,
            epoch: header.producer_epoch,
            base_sequence: header.base_sequence,
        },
        is_transactional: header.is_transactional(),
        is_control: header.is_control(),
        log_append_time: by_broker.then_some(header.max_timestamp),
        delete_horizon,
    };
    BatchBuilder::with_limit(options, header.compression()?, i32::MAX as usize)
}

/// The header alone, for a batch that has no records any more.
fn empty(header: &BatchHeader) -> Bytes {
    let mut attributes = Attributes::new(Compression::None, header.timestamp_type());
    if header.is_transactional() {
        attributes = attributes.transactional();
    }
    if header.is_control() {
        attributes = attributes.control();
    }
    let mut empty = BatchHeader {
        length: (HEADER_SIZE - LOG_OVERHEAD) as i32,
        attributes,
        base_timestamp: TimestampMs::NONE,
        count: 0,
        ..*header
    };
    empty.crc = empty.compute_crc(&[]);
    Bytes::copy_from_slice(&empty.encode())
}

fn offset_of(header: &BatchHeader, record: &RawRecord<'_>) -> Offset {
    Offset(header.base_offset.0.wrapping_add(i64::from(record.offset_delta)))
}

/// Shows every record of a batch of magic 2.
pub(crate) fn each_key(
    batch: &BatchView,
    entry: &[u8],
    mut visit: impl FnMut(Offset, Option<&[u8]>) -> bool,
) -> Result<(), BatchError> {
    // Unwinding early is an error nobody sees.
    let mut stopped = false;
    let result = match batch {
        BatchView::V2(header) => each_record(header, entry, |record| {
            stopped = !visit(offset_of(header, record), record.key);
            if stopped { Err(OFFSETS_GO_BACK) } else { Ok(()) }
        }),
        BatchView::Legacy(_) => {
            let mut messages = Messages::new(entry)?;
            while let Some(placed) = messages.next()? {
                if !visit(placed.offset, placed.message.key()?) {
                    break;
                }
            }
            Ok(())
        }
    };
    if stopped { Ok(()) } else { result }
}

fn each_record(
    header: &BatchHeader,
    entry: &[u8],
    mut visit: impl FnMut(&RawRecord<'_>) -> Result<(), BatchError>,
) -> Result<(), BatchError> {
    let count = u32::try_from(header.count).map_err(|_| raw::NEGATIVE_COUNT)?;
    let body = entry.get(HEADER_SIZE..header.size_in_bytes());
    let mut body =
        body.ok_or(BatchError::Truncated { needed: header.size_in_bytes(), available: entry.len() })?;
    let at_end = match header.compression()? {
        Compression::None => {
            for _ in 0..count {
                visit(&raw::next_record(&mut body)?)?;
            }
            body.is_empty()
        }
        codec => {
            let mut stream = Inflate::new(codec, 2, body)?;
            for _ in 0..count {
                let record = next_body(&mut stream)?;
                visit(&raw::split(&record)?)?;
            }
            count == 0 || stream.at_end()?
        }
    };
    if at_end || count == 0 { Ok(()) } else { Err(raw::RECORDS_REMAIN) }
}

fn filter_legacy(
    header: &LegacyHeader,
    entry: &[u8],
    mut keep: impl FnMut(&Brief<'_>) -> bool,
) -> Result<(Kept, Tally), BatchError> {
    let mut verdicts = Verdicts::default();
    let (mut first, mut same_magic) = (None, true);
    let mut messages = Messages::new(entry)?;
    while let Some(placed) = messages.next()? {
        let (key, has_value) = (placed.message.key()?, placed.message.value()?.is_some());
        let kept = keep(&Brief { offset: placed.offset, key, has_value });
        if kept {
            first = first.or(Some(placed.offset));
            same_magic &= placed.message.magic == header.magic;
        }
        verdicts.push(kept);
    }
    let tally = verdicts.tally;
    let Some(first) = first else { return Ok((Kept::Nothing, tally)) };
    if tally.kept == tally.read && same_magic {
        return Ok((Kept::Whole, tally));
    }
    let (kind, append_time) = match header.attributes.timestamp_type() {
        TimestampType::LogAppendTime if header.magic == 1 => (TimestampType::LogAppendTime, header.timestamp),
        _ => (TimestampType::CreateTime, TimestampMs::NONE),
    };
    let codec = header.attributes.compression()?;
    let mut set = MessageSet::new(header.magic, codec, kind, first, append_time, i32::MAX as usize)?;
    let mut verdicts = verdicts.iter();
    let mut messages = Messages::new(entry)?;
    while let Some(placed) = messages.next()? {
        if verdicts.next() == Some(true) {
            let (key, value) = (placed.message.key()?, placed.message.value()?);
            set.append(placed.offset, placed.timestamp, key, value)?;
        }
    }
    Ok((Kept::Anew(set.finish()?.into()), tally))
}

/// One bit for every record of a batch.
#[derive(Debug, Default)]
struct Verdicts {
    bits: Vec<u64>,
    tally: Tally,
}

impl Verdicts {
    fn push(&mut self, kept: bool) {
        let bit = self.tally.read % 64;
        if bit == 0 {
            self.bits.push(0);
        }
        if let Some(word) = self.bits.last_mut() {
            *word |= u64::from(kept) << bit;
        }
        self.tally.read += 1;
        self.tally.kept += u64::from(kept);
    }

    fn iter(&self) -> impl Iterator<Item = bool> {
        let bits = self.bits.iter().flat_map(|word| (0..64).map(move |bit| word >> bit & 1 == 1));
        bits.take(usize::try_from(self.tally.read).unwrap_or(usize::MAX))
    }
}
