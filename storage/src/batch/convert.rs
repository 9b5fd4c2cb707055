//! Writing a client's records anew: in the topic's codec, and in magic 2 where they came in an older format.
//!
//! Records go from a stream to a stream. At most one record and the batch that results, which is bounded by
//! `max.message.bytes`, are in memory.

use crate::types::TimestampMs;

use super::attributes::Compression;
use super::builder::{BatchBuilder, BatchOptions, BatchProducer, Finished, NewRecord};
use super::codec::Inflate;
use super::error::BatchError;
use super::header::BatchHeader;
use super::legacy::{Messages, Placed};
use super::prepare::Prepared;
use super::raw;
use super::records::{next_body, timestamp_of};
use super::rules::{ProduceRules, Refusal, RefusalKind};
use super::view::{BatchView, headers};
use super::walk::{Judge, RecordFacts};

/// Records of magic 2 whose codec is not the topic's.
pub(super) fn from_other_codec(
    header: &BatchHeader,
    source: Compression,
    body: &[u8],
    rules: &ProduceRules,
    now: TimestampMs,
) -> Result<Prepared, Refusal> {
    if header.count < 0 {
        return Err(raw::NEGATIVE_COUNT.into());
    }
    let mut judge = Judge::new(rules, now, Some(header.timestamp_type()));
    let producer = BatchProducer {
        id: header.producer_id,
        epoch: header.producer_epoch,
        base_sequence: header.base_sequence,
    };
    let mut rewrite = Rewrite::new(producer, header.is_transactional(), source, rules)?;
    let mut stream = Inflate::new(source, 2, body)?;
    for _ in 0..header.count {
        let record = next_body(&mut stream)?;
        let record = raw::split(&record)?;
        judge.raw_record(header, &record);
        if !judge.has_errors() {
            rewrite.append(&NewRecord {
                offset: rewrite.builder.next_offset(),
                timestamp: timestamp_of(header, record.timestamp_delta),
                key: record.key,
                value: record.value,
                header_count: record.header_count,
                headers: record.headers,
            })?;
        }
    }
    if header.count > 0 && !stream.at_end()? {
        return Err(raw::RECORDS_REMAIN.into());
    }
    judge.finish()?;
    rewrite.finish(rules)
}

/// Entries of magic 0 or 1, each with its checksum already found right; all become one batch of magic 2.
pub(super) fn from_legacy(
    entries: &[u8],
    source: Compression,
    rules: &ProduceRules,
    now: TimestampMs,
) -> Result<Prepared, Refusal> {
    let mut rewrite = Rewrite::new(BatchProducer::NONE, false, source, rules)?;
    let mut first_magic = None;
    let mut walk = headers(entries);
    while let Some(located) = walk.next().transpose()? {
        let magic = located.batch.magic();
        let expected = *first_magic.get_or_insert(magic);
        if magic != expected {
            return Err(Refusal::invalid(format!(
                "Batch magic {magic} is not the same as the first batch's magic byte {expected} in topic partition {}",
                rules.partition
            )));
        }
        rewrite.take_entry(&located.batch, walk.bytes_of(&located), rules, now)?;
    }
    rewrite.finish(rules)
}

/// A batch of magic 2 in the making.
struct Rewrite {
    builder: BatchBuilder,
    /// Kafka's writer refuses timestamps below -1, but only after all records were judged.
    negative_timestamp: Option<TimestampMs>,
}

impl Rewrite {
    fn new(
        producer: BatchProducer,
        is_transactional: bool,
        source: Compression,
        rules: &ProduceRules,
    ) -> Result<Rewrite, Refusal> {
        let options = BatchOptions {
            compression: rules.compression,
            producer,
            is_transactional,
            ..BatchOptions::default()
        };
        let builder = BatchBuilder::with_limit(options, source, rules.max_message_bytes)?;
        Ok(Rewrite { builder, negative_timestamp: None })
    }

    fn append(&mut self, record: &NewRecord<'_>) -> Result<(), BatchError> {
        if record.timestamp < TimestampMs::NONE {
            self.negative_timestamp.get_or_insert(record.timestamp);
        }
        self.builder.append_raw(record)
    }

    fn take_entry(
        &mut self,
        batch: &BatchView,
        entry: &[u8],
        rules: &ProduceRules,
        now: TimestampMs,
    ) -> Result<(), Refusal> {
        let mut messages = Messages::new(entry)?;
        let mut judge = Judge::new(rules, now, messages.outer().timestamp_type());
        let is_wrapped = batch.attributes().is_compressed();
        while let Some(placed) = messages.next()? {
            if placed.message.magic != batch.magic() {
                judge.reject(format!(
                    "Record {}'s magic does not match outer magic {} in topic partition {}",
                    describe(&placed),
                    batch.magic(),
                    rules.partition
                ));
                continue;
            }
            if is_wrapped {
                placed.message.check_crc()?;
            }
            let has_key = placed.message.has_key();
            let facts = RecordFacts { offset: placed.offset.0, timestamp: placed.timestamp.0, has_key };
            judge.record(&facts, || describe(&placed));
            if !judge.has_errors() {
                self.append(&NewRecord {
                    offset: self.builder.next_offset(),
                    timestamp: placed.timestamp,
                    key: placed.message.key()?,
                    value: placed.message.value()?,
                    header_count: 0,
                    headers: &[],
                })?;
            }
        }
        judge.finish()?;
        Ok(())
    }

    fn finish(self, rules: &ProduceRules) -> Result<Prepared, Refusal> {
        self.builder.check_producer()?;
        if let Some(timestamp) = self.negative_timestamp {
            return Err(Refusal::new(
                RefusalKind::UnknownServerError,
                format!("Invalid negative timestamp {timestamp}"),
            ));
        }
        match self.builder.finish()? {
            Finished::Batch { header, whole } => {
                Ok(Prepared::converted(header, &whole, rules.timestamp_type))
            }
            Finished::TooLarge(size) => Err(Refusal::new(
                RefusalKind::MessageTooLarge,
                format!(
                    "Message batch size is {size} bytes in append to partition {} which exceeds the maximum \
                     configured size of {}.",
                    rules.partition, rules.max_message_bytes
                ),
            )),
        }
    }
}

fn describe(placed: &Placed<'_>) -> String {
    placed.message.describe(placed.offset.0, placed.timestamp, placed.timestamp_type)
}
