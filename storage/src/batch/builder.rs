//! Writes batches of magic 2: for the broker's own logs, for compaction, and for records that need another codec.
//!
//! Only the broker's own decisions come in here; what a client sent is checked before.

use bytes::Bytes;

use crate::types::{LeaderEpoch, Offset, ProducerId, TimestampMs};

use super::attributes::{Attributes, Compression, TimestampType};
use super::codec::{Deflate, Deflated};
use super::error::BatchError;
use super::header::{BatchHeader, HEADER_SIZE, LOG_OVERHEAD, NO_PRODUCER_EPOCH, NO_SEQUENCE};
use super::records::RecordHeader;
use super::rules::{Refusal, RefusalKind, TargetCompression};
use super::varint;

/// The producer fields of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchProducer {
    pub id: ProducerId,
    pub epoch: i16,
    /// `-1` in control batches.
    pub base_sequence: i32,
}

impl BatchProducer {
    /// No idempotent producer.
    pub const NONE: BatchProducer =
        BatchProducer { id: ProducerId::NONE, epoch: NO_PRODUCER_EPOCH, base_sequence: NO_SEQUENCE };
}

/// What a batch is to say of itself.
#[derive(Clone, Copy, Debug)]
pub struct BatchOptions {
    pub base_offset: Offset,
    pub leader_epoch: LeaderEpoch,
    /// [`TargetCompression::Producer`] means uncompressed here.
    pub compression: TargetCompression,
    pub producer: BatchProducer,
    pub is_transactional: bool,
    pub is_control: bool,
    /// The time of append, where the broker sets the timestamps; else each record has its own.
    pub log_append_time: Option<TimestampMs>,
    /// When compaction may drop tombstones and markers (KIP-534).
    pub delete_horizon: Option<TimestampMs>,
}

impl Default for BatchOptions {
    fn default() -> Self {
        BatchOptions {
            base_offset: Offset::ZERO,
            leader_epoch: LeaderEpoch::NONE,
            compression: TargetCompression::Uncompressed,
            producer: BatchProducer::NONE,
            is_transactional: false,
            is_control: false,
            log_append_time: None,
            delete_horizon: None,
        }
    }
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndTransaction {
    Abort = 0,
    Commit = 1,
}

/// A batch of magic 2 being written.
pub struct BatchBuilder {
    options: BatchOptions,
    sink: Deflate,
    scratch: Vec<u8>,
    count: i32,
    last_offset: Option<Offset>,
    base_timestamp: Option<TimestampMs>,
    max_timestamp: TimestampMs,
}

/// A record as it is to be written; `headers` are already encoded.
pub(super) struct NewRecord<'a> {
    pub(super) offset: Offset,
    pub(super) timestamp: TimestampMs,
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
    pub(super) header_count: usize,
    pub(super) headers: &'a [u8],
}

impl BatchBuilder {
    /// `Err` only for a codec that refuses its level.
    pub fn new(options: BatchOptions) -> Result<BatchBuilder, BatchError> {
        BatchBuilder::with_limit(options, Compression::None, usize::MAX)
    }

    /// Stops keeping bytes once the batch is larger than `limit`, see [`BatchBuilder::finish`].
    pub(super) fn with_limit(
        options: BatchOptions,
        source: Compression,
        limit: usize,
    ) -> Result<BatchBuilder, BatchError> {
        Ok(BatchBuilder {
            sink: Deflate::new(options.compression, source, 2, HEADER_SIZE, limit)?,
            scratch: Vec::new(),
            count: 0,
            last_offset: None,
            base_timestamp: options.delete_horizon,
            max_timestamp: TimestampMs::NONE,
            options,
        })
    }

    /// Adds a record at the next offset.
    pub fn append(
        &mut self,
        timestamp: TimestampMs,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[RecordHeader],
    ) -> Result<(), BatchError> {
        self.append_at(self.next_offset(), timestamp, key, value, headers)
    }

    /// Adds a record at `offset`, which must be beyond all before; compaction leaves gaps.
    pub fn append_at(
        &mut self,
        offset: Offset,
        timestamp: TimestampMs,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[RecordHeader],
    ) -> Result<(), BatchError> {
        let mut encoded = Vec::new();
        for header in headers {
            put_nullable(&mut encoded, Some(&header.key))?;
            put_nullable(&mut encoded, header.value.as_deref())?;
        }
        self.append_raw(&NewRecord {
            offset,
            timestamp,
            key,
            value,
            header_count: headers.len(),
            headers: &encoded,
        })
    }

    /// Adds the marker that ends a transaction; the batch must be a transactional control batch with a producer.
    pub fn append_end_transaction(
        &mut self,
        timestamp: TimestampMs,
        end: EndTransaction,
        coordinator_epoch: i32,
    ) -> Result<(), BatchError> {
        assert!(
            self.options.is_control
                && self.options.is_transactional
                && self.options.producer.id != ProducerId::NONE,
            "a transaction marker needs a transactional control batch with a producer"
        );
        let key = [0, 0, 0, end as u8];
        let mut value = [0; 6];
        value[2..].copy_from_slice(&coordinator_epoch.to_be_bytes());
        self.append(timestamp, Some(&key), Some(&value), &[])
    }

    pub(super) fn append_raw(&mut self, record: &NewRecord<'_>) -> Result<(), BatchError> {
        assert!(
            self.last_offset.map_or(record.offset >= self.options.base_offset, |last| record.offset > last),
            "offsets in a batch only grow"
        );
        let base_timestamp = *self.base_timestamp.get_or_insert(record.timestamp);
        let offset_delta = delta(self.options.base_offset, record.offset)?;
        let timestamp_delta = record.timestamp.0.wrapping_sub(base_timestamp.0);
        let (key_len, value_len) = (nullable_len(record.key)?, nullable_len(record.value)?);
        let header_count = length(record.header_count)?;
        let size = 1
            + varint::size_i64(timestamp_delta)
            + varint::size_i32(offset_delta)
            + varint::size_i32(key_len)
            + record.key.map_or(0, <[u8]>::len)
            + varint::size_i32(value_len)
            + record.value.map_or(0, <[u8]>::len)
            + varint::size_i32(header_count)
            + record.headers.len();

        let head = &mut self.scratch;
        head.clear();
        varint::put_i32(head, length(size)?);
        head.push(0);
        varint::put_i64(head, timestamp_delta);
        varint::put_i32(head, offset_delta);
        varint::put_i32(head, key_len);
        self.sink.write(head)?;
        self.sink.write(record.key.unwrap_or_default())?;
        head.clear();
        varint::put_i32(head, value_len);
        self.sink.write(head)?;
        self.sink.write(record.value.unwrap_or_default())?;
        head.clear();
        varint::put_i32(head, header_count);
        self.sink.write(head)?;
        self.sink.write(record.headers)?;

        self.count = self.count.checked_add(1).ok_or(TOO_LONG)?;
        self.last_offset = Some(record.offset);
        self.max_timestamp = self.max_timestamp.max(record.timestamp);
        Ok(())
    }

    /// What Kafka's writer demands of the producer fields; a client's batch that is not rewritten gets by without.
    pub(super) fn check_producer(&self) -> Result<(), Refusal> {
        let producer = &self.options.producer;
        let refuse = |reason| Err(Refusal::new(RefusalKind::UnknownServerError, reason));
        if producer.id == ProducerId::NONE {
            if self.options.is_transactional {
                return refuse("Cannot write transactional messages without a valid producer ID");
            }
        } else if producer.epoch == NO_PRODUCER_EPOCH {
            return refuse("Invalid negative producer epoch");
        } else if producer.base_sequence < 0 {
            return refuse("Invalid negative sequence number used");
        }
        Ok(())
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Where the next record goes unless told otherwise.
    pub fn next_offset(&self) -> Offset {
        self.last_offset.map_or(self.options.base_offset, Offset::next)
    }

    /// What the batch takes if the codec gains nothing. Unit: bytes.
    pub fn uncompressed_size(&self) -> u64 {
        HEADER_SIZE as u64 + self.sink.uncompressed()
    }

    /// Lets the batch end at `last_offset`, beyond its last record: compaction keeps the span of the original.
    pub fn extend_to(&mut self, last_offset: Offset) {
        assert!(
            self.last_offset.is_none_or(|last| last_offset >= last),
            "a batch ends at or behind its last record"
        );
        self.last_offset = Some(last_offset);
    }

    /// The whole batch, checksum included.
    pub fn build(self) -> Result<Bytes, BatchError> {
        match self.finish()? {
            Finished::Batch { whole, .. } => Ok(whole),
            Finished::TooLarge(size) => Err(BatchError::Inflated { limit: size }),
        }
    }

    pub(super) fn finish(self) -> Result<Finished, BatchError> {
        let codec = self.sink.codec();
        let mut bytes = match self.sink.finish()? {
            Deflated::Bytes(bytes) => bytes,
            Deflated::TooLarge(size) => return Ok(Finished::TooLarge(size)),
        };
        let options = &self.options;
        let mut attributes = Attributes::new(
            codec,
            match options.log_append_time {
                Some(_) => TimestampType::LogAppendTime,
                None => TimestampType::CreateTime,
            },
        );
        if options.is_transactional {
            attributes = attributes.transactional();
        }
        if options.is_control {
            attributes = attributes.control();
        }
        if options.delete_horizon.is_some() {
            attributes = attributes.delete_horizon();
        }
        let body = bytes.get(HEADER_SIZE..).unwrap_or_default();
        let mut header = BatchHeader {
            base_offset: options.base_offset,
            length: length(bytes.len() - LOG_OVERHEAD)?,
            leader_epoch: options.leader_epoch,
            crc: 0,
            attributes,
            last_offset_delta: delta(options.base_offset, self.last_offset.unwrap_or(options.base_offset))?,
            base_timestamp: self.base_timestamp.unwrap_or(TimestampMs::NONE),
            max_timestamp: options.log_append_time.unwrap_or(self.max_timestamp),
            producer_id: options.producer.id,
            producer_epoch: options.producer.epoch,
            base_sequence: options.producer.base_sequence,
            count: self.count,
        };
        header.crc = header.compute_crc(body);
        if let Some(head) = bytes.first_chunk_mut::<HEADER_SIZE>() {
            *head = header.encode();
        }
        Ok(Finished::Batch { header, whole: bytes.into() })
    }
}

pub(super) enum Finished {
    Batch {
        header: BatchHeader,
        /// Header and body.
        whole: Bytes,
    },
    /// The size that went beyond the limit.
    TooLarge(u64),
}

const TOO_LONG: BatchError = BatchError::Inflated { limit: i32::MAX as u64 };

fn length(len: usize) -> Result<i32, BatchError> {
    i32::try_from(len).map_err(|_| TOO_LONG)
}

fn delta(base: Offset, offset: Offset) -> Result<i32, BatchError> {
    i32::try_from(offset.0.wrapping_sub(base.0)).map_err(|_| TOO_LONG)
}

fn nullable_len(bytes: Option<&[u8]>) -> Result<i32, BatchError> {
    bytes.map_or(Ok(-1), |bytes| length(bytes.len()))
}

fn put_nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) -> Result<(), BatchError> {
    varint::put_i32(out, nullable_len(bytes)?);
    out.extend_from_slice(bytes.unwrap_or_default());
    Ok(())
}
