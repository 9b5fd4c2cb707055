//! Checks on single records that a leader makes before it takes a batch.
//!
//! Collects what is wrong with each record and says it in Kafka's words.

use crate::types::TimestampMs;

use super::attributes::TimestampType;
use super::header::BatchHeader;
use super::raw::RawRecord;
use super::records::timestamp_of;
use super::rules::{ProduceRules, RECORD_ERRORS_MAX, Refusal, RefusalKind};

/// What the rules want to know of a record, whichever format it came in.
pub(super) struct RecordFacts {
    /// As Kafka would print it: the producer's, not yet the log's.
    pub(super) offset: i64,
    pub(super) timestamp: i64,
    pub(super) has_key: bool,
}

/// Judges the records of one batch one by one.
pub(super) struct Judge<'a> {
    rules: &'a ProduceRules,
    now: TimestampMs,
    /// The timestamp type the batch claims; `None` for magic 0.
    claimed: Option<TimestampType>,
    index: i32,
    max_timestamp: i64,
    errors: u64,
    invalid_timestamp: bool,
    listed: Vec<(i32, Option<String>)>,
}

impl<'a> Judge<'a> {
    pub(super) fn new(
        rules: &'a ProduceRules,
        now: TimestampMs,
        claimed: Option<TimestampType>,
    ) -> Judge<'a> {
        Judge {
            rules,
            now,
            claimed,
            index: 0,
            max_timestamp: TimestampMs::NONE.0,
            errors: 0,
            invalid_timestamp: false,
            listed: Vec::new(),
        }
    }

    /// Takes the next record. `describe` prints it, for the one message that shows it.
    #[inline]
    pub(super) fn record(&mut self, record: &RecordFacts, describe: impl FnOnce() -> String) {
        if self.rules.compacted && !record.has_key {
            self.refuse_without_key();
        } else if self.rules.timestamp_type == TimestampType::CreateTime
            && record.timestamp != TimestampMs::NONE.0
        {
            self.check_range(record);
        } else if self.claimed == Some(TimestampType::LogAppendTime) {
            self.refuse_timestamp_type(&describe());
        }
        self.max_timestamp = self.max_timestamp.max(record.timestamp);
        self.index = self.index.saturating_add(1);
    }

    /// Takes the next record of a batch of magic 2.
    #[inline]
    pub(super) fn raw_record(&mut self, header: &BatchHeader, record: &RawRecord<'_>) {
        let facts = RecordFacts {
            offset: header.base_offset.0.wrapping_add(i64::from(record.offset_delta)),
            timestamp: timestamp_of(header, record.timestamp_delta).0,
            has_key: record.key.is_some(),
        };
        self.record(&facts, || {
            format!(
                "DefaultRecord(offset={}, timestamp={}, key={} bytes, value={} bytes)",
                facts.offset,
                facts.timestamp,
                record.key.map_or(0, <[u8]>::len),
                record.value.map_or(0, <[u8]>::len)
            )
        });
    }

    /// Takes the next record as wrong for a reason found elsewhere.
    pub(super) fn reject(&mut self, message: String) {
        self.push(message);
        self.index = self.index.saturating_add(1);
    }

    fn check_range(&mut self, record: &RecordFacts) {
        let age = self.now.0.wrapping_sub(record.timestamp);
        if age > self.rules.timestamp_before_max_ms || age.wrapping_neg() > self.rules.timestamp_after_max_ms
        {
            self.refuse_timestamp(record);
        }
    }

    #[cold]
    fn refuse_timestamp(&mut self, record: &RecordFacts) {
        let now = self.now.0;
        let (before, after) = (self.rules.timestamp_before_max_ms, self.rules.timestamp_after_max_ms);
        self.invalid_timestamp = true;
        self.push(format!(
            "Timestamp {} of message with offset {} is out of range. The timestamp should be within [{}, {}]",
            record.timestamp,
            record.offset,
            now.wrapping_sub(before),
            now.wrapping_add(after)
        ));
    }

    #[cold]
    fn refuse_timestamp_type(&mut self, record: &str) {
        self.invalid_timestamp = true;
        self.push(format!(
            "Invalid timestamp type in message {record}. Producer should not set timestamp type to LogAppendTime."
        ));
    }

    #[cold]
    fn refuse_without_key(&mut self) {
        self.push(format!(
            "Compacted topic cannot accept message without key in topic partition {}",
            self.rules.partition
        ));
    }

    #[cold]
    fn push(&mut self, message: String) {
        self.errors += 1;
        if self.listed.len() < RECORD_ERRORS_MAX {
            self.listed.push((self.index, Some(message)));
        }
    }

    pub(super) fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// The largest timestamp of the records, `-1` without any; or the refusal of the whole batch.
    pub(super) fn finish(self) -> Result<TimestampMs, Refusal> {
        if self.errors == 0 {
            return Ok(TimestampMs(self.max_timestamp));
        }
        let (kind, message) = if self.invalid_timestamp {
            let message = "One or more records have been rejected due to invalid timestamp".to_owned();
            (RefusalKind::InvalidTimestamp, message)
        } else {
            let first: Vec<String> = self.listed.iter().take(3).map(print_error).collect();
            let message = format!(
                "One or more records have been rejected due to {} record errors in total, and only showing the first \
                 three errors at most: [{}]",
                self.errors,
                first.join(", ")
            );
            (RefusalKind::InvalidRecord, message)
        };
        Err(Refusal {
            kind,
            reason: message.clone(),
            message: Some(message),
            record_errors: self.listed,
            by_version: false,
        })
    }
}

fn print_error((index, message): &(i32, Option<String>)) -> String {
    match message {
        Some(message) => format!("RecordError(batchIndex={index}, message='{message}')"),
        None => format!("RecordError(batchIndex={index}, message=null)"),
    }
}
