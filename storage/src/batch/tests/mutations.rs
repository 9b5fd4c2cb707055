//! Nothing that arrives makes this room panic.

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::types::LeaderEpoch;

/// Records of random shape, as a builder takes them.
#[derive(Clone, Debug)]
struct Plan {
    options: BatchOptions,
    records: Vec<PlannedRecord>,
}

type PlannedHeader = (Vec<u8>, Option<Vec<u8>>);
/// Timestamp, key, value, headers.
type PlannedRecord = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<PlannedHeader>);

fn bytes_up_to(len: usize) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..len)
}

fn plan() -> impl Strategy<Value = Plan> {
    let headers = proptest::collection::vec((bytes_up_to(5), proptest::option::of(bytes_up_to(5))), 0..3);
    let record = (
        -1..4_000_000_000_000_i64,
        proptest::option::of(bytes_up_to(20)),
        proptest::option::of(bytes_up_to(200)),
        headers,
    );
    (0..ALL_CODECS.len(), proptest::collection::vec(record, 1..8)).prop_map(|(codec, records)| Plan {
        options: BatchOptions { compression: ALL_CODECS[codec], ..BatchOptions::default() },
        records,
    })
}

impl Plan {
    fn build(&self) -> Bytes {
        let mut builder = BatchBuilder::new(self.options).expect("a known level");
        for (timestamp, key, value, headers) in &self.records {
            let headers: Vec<RecordHeader> = headers.iter().map(to_header).collect();
            builder
                .append(TimestampMs(*timestamp), key.as_deref(), value.as_deref(), &headers)
                .expect("memory");
        }
        builder.build().expect("small")
    }
}

fn to_header((key, value): &PlannedHeader) -> RecordHeader {
    RecordHeader { key: Bytes::copy_from_slice(key), value: value.as_deref().map(Bytes::copy_from_slice) }
}

fn any_rules() -> impl Strategy<Value = ProduceRules> {
    (-1..12_i16, 0..ALL_CODECS.len() + 1, any::<bool>(), any::<bool>(), 100..5000_usize).prop_map(
        |(version, codec, append_time, compacted, max_message_bytes)| ProduceRules {
            origin: if version < 0 {
                Origin::Coordinator
            } else {
                Origin::Client { produce_version: version }
            },
            compression: ALL_CODECS.get(codec).copied().unwrap_or_default(),
            timestamp_type: if append_time {
                TimestampType::LogAppendTime
            } else {
                TimestampType::CreateTime
            },
            timestamp_before_max_ms: 1_000_000_000,
            compacted,
            max_message_bytes,
            ..rules()
        },
    )
}

/// Makes the checksums of all entries right, so that a mutation is seen by what comes after them.
fn forge_checksums(bytes: &mut [u8]) {
    let mut found = Vec::new();
    for located in headers(bytes).map_while(Result::ok) {
        let entry = &bytes[located.position..located.position + located.size];
        match located.batch.check_crc(entry) {
            Err(BatchError::WrongCrc { computed, .. }) => found.push((located, computed)),
            _ => continue,
        }
    }
    for (located, computed) in found {
        let place = located.position + if located.batch.magic() == 2 { 17 } else { 12 };
        bytes[place..place + 4].copy_from_slice(&computed.to_be_bytes());
    }
}

/// Everything a broker does with bytes of others.
fn exercise(bytes: &Bytes, rules: &ProduceRules) {
    for located in headers(bytes).map_while(Result::ok) {
        let entry = bytes.slice(located.position..located.position + located.size);
        let _ = (located.batch.check_crc(&entry), located.batch.next_offset(), located.batch.producer());
        if let Ok(records) = records(&entry) {
            records.for_each(drop);
        }
        let _ = find_by_timestamp(&entry, NOW, Offset::ZERO);
        let _ = find_max_timestamp(&entry);
    }
    let _ = down_convert(bytes, 0, Offset(1));
    let _ = down_convert(bytes, 1, Offset(1));
    if let Ok(Some(prepared)) = prepare(bytes.clone(), rules, NOW) {
        let assigned = prepared.assign(at(1000), LeaderEpoch(3), NOW);
        let log = written(&assigned);
        let records = decode(&log);
        if rules.origin != Origin::Coordinator {
            assert_eq!(i64::try_from(records.len()), Ok(assigned.last_offset() - assigned.base_offset() + 1));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn what_is_built_reads_back(plan in plan()) {
        let read = decode(&plan.build());
        prop_assert_eq!(read.len(), plan.records.len());
        for (record, (timestamp, key, value, headers)) in read.iter().zip(&plan.records) {
            prop_assert_eq!(record.timestamp, TimestampMs(*timestamp));
            prop_assert_eq!(record.key.as_deref(), key.as_deref());
            prop_assert_eq!(record.value.as_deref(), value.as_deref());
            prop_assert_eq!(&record.headers, &headers.iter().map(to_header).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_header_reads_back_what_it_encoded(head in proptest::collection::vec(any::<u8>(), HEADER_SIZE), len in 49..i32::MAX) {
        let mut head = head;
        head[8..12].copy_from_slice(&len.to_be_bytes());
        head[16] = 2;
        let header = BatchHeader::parse(&head).expect("long enough");
        prop_assert_eq!(&header.encode()[..], &head[..]);
    }

    #[test]
    fn arbitrary_bytes_are_refused_in_peace(bytes: Vec<u8>, rules in any_rules()) {
        exercise(&bytes.into(), &rules);
    }

    #[test]
    fn damaged_batches_are_taken_or_refused_in_peace(
        plan in plan(),
        rules in any_rules(),
        format in 0..3_i8,
        damage in proptest::collection::vec((any::<Index>(), any::<u8>()), 0..5),
        keep in any::<Index>(),
        forge: bool,
        cut: bool,
    ) {
        let built = plan.build();
        let mut bytes = match format {
            2 => built.to_vec(),
            old => down_convert(&built, old, Offset::ZERO).unwrap_or_else(|_| built.to_vec()),
        };
        for (place, byte) in damage {
            if !bytes.is_empty() {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
        }
        if cut {
            bytes.truncate(keep.index(bytes.len() + 1));
        }
        if forge {
            forge_checksums(&mut bytes);
        }
        exercise(&bytes.into(), &rules);
    }
}
