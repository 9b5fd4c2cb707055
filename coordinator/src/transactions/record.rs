//! What a partition of `__transaction_state` holds, byte for byte as Kafka 3.9 writes it.
//!
//! Key version 0 is a transactional id; a null value is a tombstone; later keys are passed over. Written:
//! TransactionLogValue v0, as Kafka does until `transaction.version` 1, which needs KRaft. Read: versions 0 and 1.
//! Source: the JSON schemas in the 3.9.1 jars. Partitions are written in the order of their names; Kafka's order is
//! that of a hash table.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use storage::types::{ProducerId, TimestampMs, TopicPartition};

use super::state::State;
use crate::wire::{Reader, WireError, Writer};

/// `transactional.id`: any text but the empty one.
pub type TransactionalId = Arc<str>;

/// Longest transactional id that fits the key of a record. Unit: bytes.
pub(super) const ID_LENGTH_MAX: usize = i16::MAX as usize;

/// No epoch yet (`RecordBatch.NO_PRODUCER_EPOCH`).
pub const NO_EPOCH: i16 = -1;

/// One durable step of a transactional id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    Transaction(TransactionalId, Metadata),
    /// `transactional.id.expiration.ms` has come for it.
    Gone(TransactionalId),
}

/// TransactionLogValue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    pub producer: ProducerId,
    /// Of the one producer that may write.
    pub epoch: i16,
    /// How long a transaction may stay open. Unit: ms.
    pub timeout_ms: i32,
    pub state: State,
    /// What the transaction writes to; none unless it is open or being ended.
    pub partitions: BTreeSet<TopicPartition>,
    /// When anything of this was last written.
    pub updated_at: TimestampMs,
    /// When its last transaction began; `TimestampMs::NONE` before the first.
    pub started_at: TimestampMs,
}

impl Record {
    /// Key and value as they go into the log; a value of `None` is a tombstone.
    pub fn encode(&self) -> (Bytes, Option<Bytes>) {
        match self {
            Record::Transaction(id, metadata) => (encode_key(id), Some(encode_value(metadata))),
            Record::Gone(id) => (encode_key(id), None),
        }
    }

    /// Reads one record of the log. `Ok(None)`: a key that this coordinator does not know, left over from another.
    pub fn decode(key: &[u8], value: Option<&[u8]>) -> Result<Option<Record>, WireError> {
        let mut key = Reader::new(key);
        if key.i16()? != 0 {
            return Ok(None);
        }
        let id: TransactionalId = key.text(false)?.into();
        Ok(Some(match value {
            Some(value) => Record::Transaction(id, decode_value(value)?),
            None => Record::Gone(id),
        }))
    }
}

fn encode_key(id: &str) -> Bytes {
    Writer::versioned(0).text(id).finish()
}

fn encode_value(metadata: &Metadata) -> Bytes {
    let mut out = Writer::versioned(0);
    out.i64(metadata.producer.0).i16(metadata.epoch).i32(metadata.timeout_ms).i8(metadata.state.id());
    if metadata.state == State::Empty {
        // A null array.
        out.i32(-1);
    } else {
        encode_partitions(&mut out, &metadata.partitions);
    }
    out.i64(metadata.updated_at.0).i64(metadata.started_at.0).finish()
}

fn encode_partitions(out: &mut Writer, partitions: &BTreeSet<TopicPartition>) {
    let mut topics: Vec<(&str, Vec<i32>)> = Vec::new();
    for TopicPartition { topic, partition } in partitions {
        match topics.last_mut() {
            Some((last, of_topic)) if *last == &**topic => of_topic.push(*partition),
            _ => topics.push((topic, vec![*partition])),
        }
    }
    out.count(topics.len());
    for (topic, of_topic) in topics {
        out.text(topic).count(of_topic.len());
        for partition in of_topic {
            out.i32(partition);
        }
    }
}

fn decode_value(value: &[u8]) -> Result<Metadata, WireError> {
    let mut value = Reader::new(value);
    let version = value.i16()?;
    if !(0..=1).contains(&version) {
        return Err(WireError::Version(version));
    }
    let compact = version >= 1;
    let producer = ProducerId(value.i64()?);
    let epoch = value.i16()?;
    let timeout_ms = value.i32()?;
    let state = value.i8()?;
    let state = State::from_id(state).ok_or(WireError::State(state))?;
    let mut partitions = BTreeSet::new();
    for _ in 0..value.nullable_count(compact)?.unwrap_or(0) {
        let topic: Arc<str> = value.text(compact)?.into();
        for _ in 0..value.count(compact)? {
            partitions.insert(TopicPartition::new(Arc::clone(&topic), value.i32()?));
        }
        if compact {
            value.skip_tagged_fields()?;
        }
    }
    if state == State::Empty {
        partitions.clear();
    }
    let updated_at = TimestampMs(value.i64()?);
    let started_at = TimestampMs(value.i64()?);
    Ok(Metadata { producer, epoch, timeout_ms, state, partitions, updated_at, started_at })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ongoing() -> Metadata {
        Metadata {
            producer: ProducerId(1_000),
            epoch: 3,
            timeout_ms: 60_000,
            state: State::Ongoing,
            partitions: [("b", 1), ("a", 0), ("b", 0)].map(|(t, p)| TopicPartition::new(t, p)).into(),
            updated_at: TimestampMs(9),
            started_at: TimestampMs(8),
        }
    }

    #[test]
    fn an_open_transaction_is_written_as_kafka_writes_it() {
        let record = Record::Transaction(Arc::from("tx"), ongoing());
        let (key, value) = record.encode();
        assert_eq!(&key[..], b"\0\0\0\x02tx");
        let value = value.expect("no tombstone");
        assert_eq!(
            &value[..],
            b"\0\0\0\0\0\0\0\0\x03\xe8\0\x03\0\0\xea\x60\x01\0\0\0\x02\
              \0\x01a\0\0\0\x01\0\0\0\0\
              \0\x01b\0\0\0\x02\0\0\0\0\0\0\0\x01\
              \0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\x08"
        );
        assert_eq!(Record::decode(&key, Some(&value)), Ok(Some(record)));
    }

    #[test]
    fn an_empty_transaction_has_a_null_array_of_partitions() {
        let empty = Metadata { state: State::Empty, partitions: BTreeSet::new(), ..ongoing() };
        let value = encode_value(&empty);
        assert_eq!(&value[17..21], [0xff; 4]);
        assert_eq!(decode_value(&value), Ok(empty));
    }

    #[test]
    fn the_flexible_version_is_read() {
        let flexible = b"\0\x01\0\0\0\0\0\0\x03\xe8\0\x03\0\0\xea\x60\x01\x03\
              \x02a\x02\0\0\0\0\0\
              \x02b\x03\0\0\0\0\0\0\0\x01\0\
              \0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\x08\0";
        assert_eq!(decode_value(flexible), Ok(ongoing()));
        assert_eq!(decode_value(b"\0\x02"), Err(WireError::Version(2)));
    }

    #[test]
    fn a_broken_record_is_an_error_and_a_foreign_one_is_passed_over() {
        let (key, value) = Record::Transaction(Arc::from("tx"), ongoing()).encode();
        let value = value.expect("no tombstone");
        for end in 0..value.len() {
            assert!(decode_value(&value[..end]).is_err(), "cut at {end}");
        }
        assert!(Record::decode(&key[..3], Some(&value)).is_err());
        assert_eq!(Record::decode(b"\0\x01\0\x02tx", Some(&value)), Ok(None));
        assert_eq!(Record::decode(&key, None), Ok(Some(Record::Gone(Arc::from("tx")))));
        let mut unknown = value.to_vec();
        unknown[16] = 8;
        assert_eq!(decode_value(&unknown), Err(WireError::State(8)));
    }
}
