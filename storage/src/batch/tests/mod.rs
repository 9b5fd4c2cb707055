//! The whole room from outside.

mod leader;
mod mutations;
mod old_consumers;
mod stock;

use bytes::Bytes;

use crate::types::{Offset, TimestampMs, TopicPartition};

use super::*;

const NOW: TimestampMs = TimestampMs(1_700_000_000_000);

fn rules() -> ProduceRules {
    ProduceRules {
        partition: TopicPartition::new("t", 0),
        origin: Origin::Client { produce_version: 9 },
        compression: TargetCompression::Producer,
        timestamp_type: TimestampType::CreateTime,
        timestamp_before_max_ms: i64::MAX,
        timestamp_after_max_ms: i64::MAX,
        max_message_bytes: 1_048_588,
        compacted: false,
    }
}

const ALL_CODECS: [TargetCompression; 5] = [
    TargetCompression::Uncompressed,
    TargetCompression::Gzip { level: -1 },
    TargetCompression::Snappy,
    TargetCompression::Lz4 { level: 9 },
    TargetCompression::Zstd { level: 3 },
];

fn header(key: &str, value: Option<&str>) -> RecordHeader {
    RecordHeader {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: value.map(|value| Bytes::copy_from_slice(value.as_bytes())),
    }
}

/// Three records: with a key and twice the same header, without a key, without a value.
fn batch(options: BatchOptions) -> Bytes {
    let mut builder = BatchBuilder::new(options).expect("a known level");
    let value = [b'a'; 32];
    let headers = [header("h", Some("1")), header("h", None)];
    builder.append(NOW, Some(b"k"), Some(&value), &headers).expect("memory");
    builder.append(TimestampMs(NOW.0 + 2), None, Some(b"v"), &[]).expect("memory");
    builder.append(TimestampMs(NOW.0 + 1), Some(b"t"), None, &[]).expect("memory");
    builder.build().expect("a small batch")
}

fn in_codec(compression: TargetCompression) -> Bytes {
    batch(BatchOptions { compression, ..BatchOptions::default() })
}

fn decode(bytes: &Bytes) -> Vec<Record> {
    let mut walk = headers(bytes);
    let mut all = Vec::new();
    for located in walk.by_ref() {
        let located = located.expect("a good header");
        let entry = bytes.slice(located.position..located.position + located.size);
        located.batch.check_crc(&entry).expect("a good checksum");
        all.extend(records(&entry).expect("a good batch").map(|record| record.expect("a good record")));
    }
    assert_eq!(walk.position(), bytes.len(), "nothing is left over");
    all
}

fn offsets(records: &[Record]) -> Vec<i64> {
    records.iter().map(|record| record.offset.0).collect()
}

/// The batch as it would lie in the log.
fn written(assigned: &Assigned) -> Bytes {
    let mut bytes = assigned.encode_header().to_vec();
    bytes.extend_from_slice(assigned.body());
    assert_eq!(bytes.len(), assigned.size_in_bytes());
    bytes.into()
}

fn accepted(bytes: Bytes, rules: &ProduceRules) -> Prepared {
    prepare(bytes, rules, NOW).expect("good records").expect("a batch")
}

fn refused(bytes: Bytes, rules: &ProduceRules) -> Refusal {
    match prepare(bytes, rules, NOW) {
        Err(refusal) => refusal,
        Ok(taken) => panic!("was taken: {taken:?}"),
    }
}

fn at(first: i64) -> Offset {
    Offset(first)
}

fn unhex(text: &str) -> Bytes {
    let digits: Vec<u8> =
        text.chars().filter_map(|digit| digit.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect::<Vec<u8>>().into()
}
