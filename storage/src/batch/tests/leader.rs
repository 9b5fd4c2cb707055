//! What a leader takes, changes and refuses.

use super::*;
use crate::types::{LeaderEpoch, ProducerId};

/// Applies `change` to the header of `bytes` and makes the checksum right again.
fn patched(bytes: &Bytes, change: impl FnOnce(&mut BatchHeader)) -> Bytes {
    let mut header = BatchHeader::parse(bytes).expect("a good header");
    let body = bytes.slice(HEADER_SIZE..);
    change(&mut header);
    header.crc = header.compute_crc(&body);
    [header.encode().as_slice(), &body].concat().into()
}

fn old_format(version: i16) -> ProduceRules {
    ProduceRules { origin: Origin::Client { produce_version: version }, ..rules() }
}

#[test]
fn a_batch_in_the_topics_codec_passes_without_its_records_being_copied() {
    for codec in ALL_CODECS {
        let bytes = in_codec(codec);
        let assigned = accepted(bytes.clone(), &rules()).assign(at(100), LeaderEpoch(7), NOW);
        assert_eq!(assigned.body().as_ptr(), bytes.slice(HEADER_SIZE..).as_ptr());
        assert_eq!((assigned.base_offset(), assigned.last_offset()), (at(100), at(102)));
        assert_eq!(assigned.header().leader_epoch, LeaderEpoch(7));
        assert_eq!(assigned.max_timestamp(), TimestampMs(NOW.0 + 2));
        assert_eq!(assigned.header().crc, BatchHeader::parse(&bytes).expect("a good header").crc);
        assert_eq!(offsets(&decode(&written(&assigned))), [100, 101, 102]);
    }
}

#[test]
fn append_time_is_stamped_and_the_checksum_follows() {
    for codec in ALL_CODECS {
        let rules = ProduceRules { timestamp_type: TimestampType::LogAppendTime, ..rules() };
        let now = TimestampMs(NOW.0 + 5_000);
        let assigned = accepted(in_codec(codec), &rules).assign(at(9), LeaderEpoch(0), now);
        assert_eq!(assigned.max_timestamp(), now);
        let records = decode(&written(&assigned));
        assert!(records.iter().all(|record| record.timestamp == now), "{records:?}");
    }
}

#[test]
fn a_wrong_max_timestamp_is_corrected() {
    let bytes =
        patched(&in_codec(TargetCompression::Uncompressed), |header| header.max_timestamp = TimestampMs(5));
    let assigned = accepted(bytes, &rules()).assign(at(0), LeaderEpoch(0), NOW);
    assert_eq!(assigned.max_timestamp(), TimestampMs(NOW.0 + 2));
    decode(&written(&assigned));
}

#[test]
fn records_are_written_anew_in_the_topics_codec() {
    for source in ALL_CODECS {
        for compression in ALL_CODECS {
            let rules = ProduceRules { compression, ..rules() };
            let producer = BatchProducer { id: ProducerId(4), epoch: 1, base_sequence: 7 };
            let bytes = batch(BatchOptions { compression: source, producer, ..BatchOptions::default() });
            let prepared = accepted(bytes.clone(), &rules);
            assert_eq!(prepared.was_converted(), source != compression);
            let stamp = prepared.producer().expect("a producer");
            assert_eq!((stamp.first_sequence, stamp.last_sequence), (7, 9));
            let assigned = prepared.assign(at(50), LeaderEpoch(2), NOW);
            assert_eq!(assigned.header().compression(), Ok(compression.codec(Compression::None)));
            let expected = batch(BatchOptions { base_offset: at(50), producer, ..BatchOptions::default() });
            assert_eq!(decode(&written(&assigned)), decode(&expected));
        }
    }
}

#[test]
fn message_sets_of_old_clients_become_one_batch_of_magic_2() {
    let modern = in_codec(TargetCompression::Uncompressed);
    for magic in [0, 1] {
        for source in [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4] {
            let compression = match source {
                Compression::Gzip => ALL_CODECS[1],
                Compression::Snappy => ALL_CODECS[2],
                Compression::Lz4 => ALL_CODECS[3],
                _ => ALL_CODECS[0],
            };
            let set = down_convert(&in_codec(compression), magic, at(0)).expect("a good batch");
            let prepared = accepted(set.into(), &old_format(2));
            assert!(prepared.was_converted());
            let assigned = prepared.assign(at(0), LeaderEpoch(0), NOW);
            assert_eq!(assigned.header().compression(), Ok(source));
            let mut expected = decode(&modern);
            for record in &mut expected {
                record.headers.clear();
                if magic == 0 {
                    record.timestamp = TimestampMs::NONE;
                }
            }
            assert_eq!(decode(&written(&assigned)), expected, "magic {magic} {source}");
        }
    }
}

#[test]
fn old_requests_without_a_whole_message_are_ignored_and_new_ones_refused() {
    let torn = in_codec(TargetCompression::Uncompressed).slice(..70);
    for bytes in [Bytes::new(), torn] {
        assert!(matches!(prepare(bytes.clone(), &old_format(2), NOW), Ok(None)));
        assert_eq!(refused(bytes, &rules()).kind, RefusalKind::InvalidRecord);
    }
}

#[test]
fn bytes_behind_the_last_whole_batch_are_left_out() {
    let good = in_codec(TargetCompression::Uncompressed);
    let bytes: Bytes = [&good[..], &[0, 0, 0]].concat().into();
    assert_eq!(accepted(bytes, &rules()).size_in_bytes(), good.len());
}

#[test]
fn what_a_client_must_not_send_gets_kafkas_error() {
    let good = in_codec(TargetCompression::Uncompressed);
    let twice: Bytes = [&good[..], &good[..]].concat().into();
    let mut broken = good.to_vec();
    broken[80] ^= 1;
    let set: Bytes = down_convert(&good, 1, at(0)).expect("a good batch").into();
    let cases: [(&str, Bytes, RefusalKind); 12] = [
        ("a wrong checksum", broken.into(), RefusalKind::CorruptMessage),
        ("two batches", twice, RefusalKind::InvalidRecord),
        ("an old format", set, RefusalKind::InvalidRecord),
        ("a base offset", patched(&good, |h| h.base_offset = at(1)), RefusalKind::InvalidRecord),
        (
            "a control batch",
            patched(&good, |h| h.attributes = h.attributes.control()),
            RefusalKind::InvalidRecord,
        ),
        ("too few records", patched(&good, |h| h.count = 2), RefusalKind::InvalidRecord),
        ("no records", patched(&good, |h| h.count = 0), RefusalKind::InvalidRecord),
        ("fewer than nothing", patched(&good, |h| h.count = -3), RefusalKind::InvalidRecord),
        ("a negative span", patched(&good, |h| h.last_offset_delta = -2), RefusalKind::InvalidRecord),
        (
            "an unknown codec",
            patched(&good, |h| h.attributes = Attributes(5)),
            RefusalKind::UnknownServerError,
        ),
        ("no gzip inside", patched(&good, |h| h.attributes = Attributes(1)), RefusalKind::UnknownServerError),
        ("no sequence", patched(&good, |h| h.producer_id = ProducerId(3)), RefusalKind::InvalidRecord),
    ];
    for (what, bytes, kind) in cases {
        let refusal = refused(bytes, &rules());
        assert_eq!((refusal.kind, refusal.message), (kind, None), "{what}: {}", refusal.reason);
    }
}

#[test]
fn more_records_than_declared_and_fewer_are_refused() {
    for codec in ALL_CODECS {
        for count in [2, 4] {
            let bytes = patched(&in_codec(codec), |header| {
                header.count = count;
                header.last_offset_delta = count - 1;
            });
            assert_eq!(refused(bytes, &rules()).kind, RefusalKind::InvalidRecord, "{codec:?} {count}");
        }
    }
}

#[test]
fn zstd_needs_produce_7() {
    let bytes = in_codec(TargetCompression::Zstd { level: 3 });
    assert_eq!(refused(bytes.clone(), &old_format(6)).kind, RefusalKind::UnsupportedCompressionType);
    accepted(bytes, &old_format(7));
}

#[test]
fn the_size_limit_counts_the_batch_as_it_would_be_written() {
    let bytes = in_codec(TargetCompression::Uncompressed);
    let limit = |max_message_bytes, compression| ProduceRules { max_message_bytes, compression, ..rules() };
    accepted(bytes.clone(), &limit(bytes.len(), TargetCompression::Producer));
    let refusal = refused(bytes.clone(), &limit(bytes.len() - 1, TargetCompression::Producer));
    assert_eq!(refusal.kind, RefusalKind::MessageTooLarge);

    let small = in_codec(TargetCompression::Gzip { level: 9 });
    assert!(small.len() < bytes.len());
    let refusal = refused(small.clone(), &limit(small.len(), TargetCompression::Uncompressed));
    assert_eq!(refusal.kind, RefusalKind::MessageTooLarge);
}

#[test]
fn compacted_topics_name_each_record_without_a_key() {
    for codec in ALL_CODECS {
        let refusal = refused(in_codec(codec), &ProduceRules { compacted: true, ..rules() });
        let single = "Compacted topic cannot accept message without key in topic partition t-0";
        assert_eq!(refusal.kind, RefusalKind::InvalidRecord);
        assert_eq!(refusal.record_errors, [(1, Some(single.to_owned()))]);
        assert_eq!(
            refusal.message.as_deref(),
            Some(
                "One or more records have been rejected due to 1 record errors in total, and only showing the first \
                 three errors at most: [RecordError(batchIndex=1, message='Compacted topic cannot accept message \
                 without key in topic partition t-0')]"
            )
        );
    }
}

#[test]
fn timestamps_out_of_range_are_named_with_the_range() {
    let rules = ProduceRules { timestamp_before_max_ms: 1000, timestamp_after_max_ms: 1, ..rules() };
    for codec in ALL_CODECS {
        let refusal = refused(in_codec(codec), &rules);
        assert_eq!(refusal.kind, RefusalKind::InvalidTimestamp);
        assert_eq!(
            refusal.message.as_deref(),
            Some("One or more records have been rejected due to invalid timestamp")
        );
        let single = "Timestamp 1700000000002 of message with offset 1 is out of range. The timestamp should be within \
                      [1699999999000, 1700000000001]";
        assert_eq!(refusal.record_errors, [(1, Some(single.to_owned()))]);
    }
}

#[test]
fn the_coordinator_may_write_markers_and_they_stay_uncompressed() {
    let options = BatchOptions {
        producer: BatchProducer { id: ProducerId(77), epoch: 3, base_sequence: NO_SEQUENCE },
        is_transactional: true,
        is_control: true,
        ..BatchOptions::default()
    };
    let mut builder = BatchBuilder::new(options).expect("no codec");
    builder.append_end_transaction(NOW, EndTransaction::Abort, 1).expect("memory");
    let rules = ProduceRules {
        origin: Origin::Coordinator,
        compression: TargetCompression::Gzip { level: -1 },
        ..rules()
    };
    let prepared = accepted(builder.build().expect("small"), &rules);
    assert!(!prepared.was_converted());
    assert!(prepared.header().is_control());
    assert_eq!(prepared.producer().map(|stamp| stamp.first_sequence), Some(NO_SEQUENCE));
}

#[test]
fn a_bomb_of_one_record_is_refused_without_being_held() {
    let zeroes = vec![0; INFLATED_RECORD_BYTES_MAX + 1];
    let mut builder = BatchBuilder::new(BatchOptions {
        compression: TargetCompression::Zstd { level: 1 },
        ..BatchOptions::default()
    })
    .expect("a known level");
    builder.append(NOW, None, Some(&zeroes), &[]).expect("memory");
    let bytes = builder.build().expect("small once compressed");
    assert!(bytes.len() < 100_000, "{}", bytes.len());
    assert_eq!(refused(bytes, &rules()).kind, RefusalKind::MessageTooLarge);
}

#[test]
fn records_are_found_by_their_timestamps() {
    for codec in ALL_CODECS {
        let bytes = in_codec(codec);
        let find = |timestamp, from| {
            find_by_timestamp(&bytes, TimestampMs(timestamp), at(from))
                .expect("good")
                .map(|found| found.offset)
        };
        assert_eq!(find(NOW.0 - 9, 0), Some(at(0)));
        assert_eq!(find(NOW.0 + 1, 0), Some(at(1)), "the first in the order of offsets, not of time");
        assert_eq!(find(NOW.0 + 1, 2), Some(at(2)));
        assert_eq!(find(NOW.0 + 3, 0), None);
        let max = find_max_timestamp(&bytes).expect("good").expect("magic 2 has timestamps");
        assert_eq!((max.offset, max.timestamp), (at(1), TimestampMs(NOW.0 + 2)));
    }
}

#[test]
fn sequence_numbers_wrap_to_zero() {
    assert_eq!(increment_sequence(i32::MAX, 1), 0);
    assert_eq!(increment_sequence(i32::MAX - 1, 3), 1);
    assert_eq!(decrement_sequence(0, 1), i32::MAX);
    assert_eq!(decrement_sequence(5, 3), 2);
}
