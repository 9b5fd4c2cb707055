//! The leader's checks of a batch, made before the partition is locked.
//!
//! A batch of magic 2 that needs no other codec passes as it came: its header becomes a value that can be patched,
//! its records stay the bytes the client sent. The lock is only needed to [`Prepared::assign`] offsets.

use bytes::Bytes;

use crate::types::{LeaderEpoch, Offset, TimestampMs};

use super::attributes::{Compression, TimestampType};
use super::codec::{INFLATED_RECORD_BYTES_MAX, Inflate};
use super::convert;
use super::crc::Tail;
use super::error::BatchError;
use super::header::{BatchHeader, HEADER_SIZE};
use super::raw;
use super::records::timestamp_of;
use super::rules::{Origin, ProduceRules, Refusal, RefusalKind};
use super::view::{BatchView, ProducerStamp, headers};
use super::walk::{Judge, RecordFacts};

/// A batch of magic 2 found good, waiting for its offsets.
#[derive(Clone, Debug)]
pub struct Prepared {
    header: BatchHeader,
    body: Bytes,
    /// Where the broker sets the timestamps: their checksum then follows without reading the records again.
    tail: Option<Tail>,
    converted: bool,
}

/// A batch of magic 2 ready to be written: `encode_header()` followed by `body()`.
#[derive(Clone, Debug)]
pub struct Assigned {
    header: BatchHeader,
    body: Bytes,
}

/// Checks `records`, what one partition got in a request, and brings them into the form the log keeps.
///
/// `Ok(None)`: there is no whole batch in them, which Kafka accepts from Produce 0 to 2 and ignores.
/// Bytes behind the last whole batch are ignored. `now` is what the range of timestamps is counted from.
/// On `Err` nothing of the records may be appended.
pub fn prepare(records: Bytes, rules: &ProduceRules, now: TimestampMs) -> Result<Option<Prepared>, Refusal> {
    if let Origin::Client { produce_version } = rules.origin {
        check_version(&records, produce_version)
            .map_err(|refusal| Refusal { by_version: true, ..refusal })?;
    }
    let Some(survey) = survey(&records, rules)? else {
        return Ok(None);
    };
    let source = survey.source;
    let target = rules.compression.codec(source);
    if survey.entries > 1 && (survey.first.magic() == 2 || source != Compression::None) {
        return Err(Refusal::invalid("Compressed outer record has more than one batch"));
    }
    let BatchView::V2(header) = survey.first else {
        return convert::from_legacy(&records[..survey.valid_bytes], source, rules, now).map(Some);
    };
    check_batch(&header, rules)?;
    let body = records.slice(HEADER_SIZE..survey.valid_bytes);
    let stays_uncompressed = target == Compression::None || header.is_control();
    let max_timestamp = match source {
        Compression::None if stays_uncompressed => judge_uncompressed(&header, &body, rules, now)?,
        codec if codec == target => judge_compressed(&header, codec, &body, rules, now)?,
        codec => return convert::from_other_codec(&header, codec, &body, rules, now).map(Some),
    };
    Ok(Some(Prepared::in_place(header, body, max_timestamp, rules.timestamp_type)))
}

/// What the version of a Produce request promises: from version 3 on exactly one batch, of magic 2.
fn check_version(records: &[u8], version: i16) -> Result<(), Refusal> {
    if version < 3 {
        return Ok(());
    }
    let mut walk = headers(records);
    let refuse =
        |what: &str| Err(Refusal::invalid(format!("Produce requests with version {version} {what}")));
    let Some(first) = walk.next().transpose()? else {
        return refuse("must have at least one record batch per partition");
    };
    if first.batch.magic() != 2 {
        return refuse("are only allowed to contain record batches with magic version 2");
    }
    if version < 7 && first.batch.compression()? == Compression::Zstd {
        return Err(Refusal::new(
            RefusalKind::UnsupportedCompressionType,
            format!("Produce requests with version {version} are not allowed to use ZStandard compression"),
        ));
    }
    if walk.next().transpose()?.is_some() {
        return refuse("are only allowed to contain exactly one record batch per partition");
    }
    Ok(())
}

/// What a first look at all entries tells.
struct Survey {
    first: BatchView,
    entries: usize,
    valid_bytes: usize,
    /// The codec of the last compressed entry.
    source: Compression,
}

/// Checks each entry by itself: base offset, size, checksum.
fn survey(records: &[u8], rules: &ProduceRules) -> Result<Option<Survey>, Refusal> {
    let mut survey: Option<Survey> = None;
    let mut walk = headers(records);
    while let Some(located) = walk.next().transpose()? {
        let batch = located.batch;
        if let (BatchView::V2(header), Origin::Client { .. }) = (&batch, rules.origin)
            && header.base_offset != Offset::ZERO
        {
            return Err(Refusal::invalid(format!(
                "The baseOffset of the record batch in the append to {} should be 0, but it is {}",
                rules.partition, header.base_offset
            )));
        }
        if located.size > rules.max_message_bytes {
            return Err(too_large(located.size, rules));
        }
        batch.check_crc(walk.bytes_of(&located))?;
        let codec = batch.compression()?;
        let survey = survey.get_or_insert(Survey {
            first: batch,
            entries: 0,
            valid_bytes: 0,
            source: Compression::None,
        });
        survey.entries += 1;
        survey.valid_bytes = located.position + located.size;
        if codec != Compression::None {
            survey.source = codec;
        }
    }
    Ok(survey)
}

fn too_large(size: usize, rules: &ProduceRules) -> Refusal {
    Refusal::new(
        RefusalKind::MessageTooLarge,
        format!(
            "The record batch size in the append to {} is {size} bytes which exceeds the maximum configured value of {}.",
            rules.partition, rules.max_message_bytes
        ),
    )
}

/// What the header of a batch of magic 2 must say.
fn check_batch(header: &BatchHeader, rules: &ProduceRules) -> Result<(), Refusal> {
    let Origin::Client { .. } = rules.origin else {
        return Ok(());
    };
    let partition = &rules.partition;
    let (base, last) = (header.base_offset, header.last_offset());
    let span = last.0.wrapping_sub(base.0).wrapping_add(1);
    if span <= 0 {
        return Err(Refusal::invalid(format!(
            "Batch has an invalid offset range: [{base}, {last}] in topic partition {partition}"
        )));
    }
    if header.count <= 0 {
        return Err(Refusal::invalid(format!(
            "Invalid reported count for record batch: {} in topic partition {partition}",
            header.count
        )));
    }
    if span != i64::from(header.count) {
        return Err(Refusal::invalid(format!(
            "Inconsistent batch offset range [{base}, {last}] and count of records {} in topic partition {partition}",
            header.count
        )));
    }
    if header.is_control() {
        return Err(Refusal::invalid(format!(
            "Clients are not allowed to write control records in topic partition {partition}"
        )));
    }
    if header.has_producer_id() && header.base_sequence < 0 {
        return Err(Refusal::invalid(format!(
            "Invalid sequence number {} in record batch with producerId {} in topic partition {partition}",
            header.base_sequence, header.producer_id
        )));
    }
    Ok(())
}

/// Walks uncompressed records of magic 2 where they lie; yields their largest timestamp.
fn judge_uncompressed(
    header: &BatchHeader,
    body: &[u8],
    rules: &ProduceRules,
    now: TimestampMs,
) -> Result<TimestampMs, Refusal> {
    let mut judge = Judge::new(rules, now, Some(header.timestamp_type()));
    let count = usize::try_from(header.count).map_err(|_| raw::NEGATIVE_COUNT)?;
    let mut rest = body;
    for _ in 0..count {
        let record = raw::next_record(&mut rest)?;
        judge.raw_record(header, &record);
    }
    if count > 0 && !rest.is_empty() {
        return Err(raw::RECORDS_REMAIN.into());
    }
    judge.finish()
}

/// Walks compressed records of magic 2 as a stream, without holding keys or values.
fn judge_compressed(
    header: &BatchHeader,
    codec: Compression,
    body: &[u8],
    rules: &ProduceRules,
    now: TimestampMs,
) -> Result<TimestampMs, Refusal> {
    let mut judge = Judge::new(rules, now, Some(header.timestamp_type()));
    if header.count < 0 {
        return Err(raw::NEGATIVE_COUNT.into());
    }
    let mut stream = Inflate::new(codec, 2, body)?;
    let mut consecutive = true;
    for index in 0..header.count {
        let record = SkippedRecord::read(&mut stream)?;
        consecutive &= record.offset_delta == index;
        let facts = RecordFacts {
            offset: header.base_offset.0.wrapping_add(i64::from(record.offset_delta)),
            timestamp: timestamp_of(header, record.timestamp_delta).0,
            has_key: record.key_len >= 0,
        };
        judge.record(&facts, || {
            format!(
                "PartialDefaultRecord(offset={}, timestamp={}, key={} bytes, value={} bytes)",
                facts.offset, facts.timestamp, record.key_len, record.value_len
            )
        });
    }
    if header.count > 0 && !stream.at_end()? {
        return Err(raw::RECORDS_REMAIN.into());
    }
    let max_timestamp = judge.finish()?;
    if consecutive {
        Ok(max_timestamp)
    } else {
        // Kafka means to write such a batch anew, but has skipped the keys by then and fails.
        Err(Refusal::new(
            RefusalKind::UnknownServerError,
            "the offsets in a compressed batch are not consecutive",
        ))
    }
}

/// A record of a compressed batch whose key, value and headers were passed over.
struct SkippedRecord {
    timestamp_delta: i64,
    offset_delta: i32,
    /// Negative for null, as is `value_len`.
    key_len: i32,
    value_len: i32,
}

impl SkippedRecord {
    fn of(record: &raw::RawRecord<'_>) -> Result<SkippedRecord, BatchError> {
        let len = |field: Option<&[u8]>| field.map_or(Ok(-1), |field| i32::try_from(field.len()));
        let (Ok(key_len), Ok(value_len)) = (len(record.key), len(record.value)) else {
            return Err(raw::WRONG_SIZE);
        };
        let (timestamp_delta, offset_delta) = (record.timestamp_delta, record.offset_delta);
        Ok(SkippedRecord { timestamp_delta, offset_delta, key_len, value_len })
    }

    /// Unlike Kafka here, insists that the fields fill the size the record claims: consumers would fail on others.
    fn read(stream: &mut Inflate<'_>) -> Result<SkippedRecord, BatchError> {
        let size =
            stream.i32().map_err(|error| if error == raw::MALFORMED { raw::PREMATURE_END } else { error })?;
        if usize::try_from(size).is_ok_and(|size| size > INFLATED_RECORD_BYTES_MAX) {
            return Err(BatchError::Inflated { limit: INFLATED_RECORD_BYTES_MAX as u64 });
        }
        if let Some(body) = usize::try_from(size).ok().and_then(|size| stream.in_one_piece(size)) {
            return SkippedRecord::of(&raw::split(body)?);
        }
        let start = stream.consumed();
        stream.skip(1)?;
        let timestamp_delta = stream.i64()?;
        let offset_delta = stream.i32()?;
        let key_len = stream.skip_nullable()?;
        let value_len = stream.skip_nullable()?;
        for _ in 0..stream.len()? {
            let key = stream.len()?;
            stream.skip(key)?;
            stream.skip_nullable()?;
        }
        if i64::try_from(stream.consumed() - start) != Ok(i64::from(size)) {
            return Err(raw::WRONG_SIZE);
        }
        Ok(SkippedRecord { timestamp_delta, offset_delta, key_len, value_len })
    }
}

impl Prepared {
    /// A batch written anew by [`convert`]; `whole` starts with `header`.
    pub(super) fn converted(header: BatchHeader, whole: &Bytes, kind: TimestampType) -> Prepared {
        let body = whole.slice(HEADER_SIZE..);
        let tail = (kind == TimestampType::LogAppendTime).then(|| header.tail(body.len()));
        Prepared { header, body, tail, converted: true }
    }

    /// A batch whose records stay as they are, its checksum found right; the header is corrected where the rules or
    /// the records say so.
    fn in_place(mut header: BatchHeader, body: Bytes, max: TimestampMs, kind: TimestampType) -> Prepared {
        if kind == TimestampType::LogAppendTime {
            let tail = Some(header.tail(body.len()));
            return Prepared { header, body, tail, converted: false };
        }
        if !header.is_stamped(kind, max) {
            header.stamp(kind, max, header.tail(body.len()));
        }
        Prepared { header, body, tail: None, converted: false }
    }

    /// Stamps the batch for its place in the log. `now` counts only where the topic keeps append times.
    ///
    /// Costs the same for any size of batch.
    pub fn assign(mut self, first: Offset, leader_epoch: LeaderEpoch, now: TimestampMs) -> Assigned {
        self.header.base_offset = first;
        self.header.leader_epoch = leader_epoch;
        if let Some(tail) = self.tail
            && !self.header.is_stamped(TimestampType::LogAppendTime, now)
        {
            self.header.stamp(TimestampType::LogAppendTime, now, tail);
        }
        Assigned { header: self.header, body: self.body }
    }

    /// The header as checked; its base offset is still the client's, 0.
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// Header and records together. Unit: bytes.
    pub fn size_in_bytes(&self) -> usize {
        self.header.size_in_bytes()
    }

    /// Offsets the batch will take: at least 1.
    pub fn offsets(&self) -> i64 {
        i64::from(self.header.last_offset_delta).saturating_add(1)
    }

    /// Who produced the batch; `None` without an idempotent producer.
    pub fn producer(&self) -> Option<ProducerStamp> {
        BatchView::V2(self.header).producer()
    }

    /// Whether the records were written anew: other codec, older format, or offsets that were not consecutive.
    pub fn was_converted(&self) -> bool {
        self.converted
    }
}

impl Assigned {
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The bytes in front of [`Assigned::body`].
    pub fn encode_header(&self) -> [u8; HEADER_SIZE] {
        self.header.encode()
    }

    /// Everything behind the header, not copied from what the client sent unless it was converted.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// Header and body together. Unit: bytes.
    pub fn size_in_bytes(&self) -> usize {
        self.header.size_in_bytes()
    }

    pub fn base_offset(&self) -> Offset {
        self.header.base_offset
    }

    pub fn last_offset(&self) -> Offset {
        self.header.last_offset()
    }

    /// The time index files this timestamp under [`Assigned::last_offset`], as Kafka 3.9 does.
    pub fn max_timestamp(&self) -> TimestampMs {
        self.header.max_timestamp
    }

    /// Who produced the batch; `None` without an idempotent producer.
    pub fn producer(&self) -> Option<ProducerStamp> {
        BatchView::V2(self.header).producer()
    }
}
