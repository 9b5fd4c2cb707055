//! Fetches from before Kafka 0.11.

use super::*;

/// The whole messages at the front; what fills the rest is never whole.
fn whole(set: Vec<u8>) -> Bytes {
    let set = Bytes::from(set);
    let mut walk = headers(&set);
    while walk.next().transpose().expect("good headers").is_some() {}
    let end = walk.position();
    set.slice(..end)
}

#[test]
fn compressed_batches_become_wrappers_with_relative_offsets() {
    for codec in &ALL_CODECS[..4] {
        let bytes =
            batch(BatchOptions { base_offset: at(40), compression: *codec, ..BatchOptions::default() });
        for magic in [0, 1] {
            let set = whole(down_convert(&bytes, magic, at(41)).expect("a good batch"));
            let expected: &[i64] =
                if *codec == TargetCompression::Uncompressed { &[41, 42] } else { &[40, 41, 42] };
            assert_eq!(offsets(&decode(&set)), expected, "{codec:?} {magic}");
        }
    }
}

#[test]
fn zstd_is_refused_at_the_front_and_ends_the_set_later() {
    let zstd = batch(BatchOptions {
        base_offset: at(3),
        compression: TargetCompression::Zstd { level: 3 },
        ..BatchOptions::default()
    });
    assert_eq!(down_convert(&zstd, 1, at(3)), Err(BatchError::NotInOldFormats));
    let mixed: Bytes = [&in_codec(TargetCompression::Uncompressed)[..], &zstd[..]].concat().into();
    let set = down_convert(&mixed, 1, at(0)).expect("the first batch converts");
    assert_eq!(set.len(), mixed.len());
    assert_eq!(offsets(&decode(&whole(set))), [0, 1, 2]);
}

#[test]
fn markers_are_dropped_and_leave_something_to_stumble_over() {
    let marker = batch(BatchOptions { is_control: true, ..BatchOptions::default() });
    let set = down_convert(&marker, 1, at(0)).expect("good");
    assert_eq!(set, [255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 61]);
    assert_eq!(down_convert(&Bytes::new(), 1, at(0)), Ok(Vec::new()));
}

#[test]
fn append_time_is_kept() {
    let append_time = TimestampMs(NOW.0 + 77);
    let bytes = batch(BatchOptions {
        log_append_time: Some(append_time),
        compression: TargetCompression::Gzip { level: -1 },
        ..BatchOptions::default()
    });
    let set = whole(down_convert(&bytes, 1, at(0)).expect("good"));
    let wrapper = headers(&set).next().expect("an entry").expect("good").batch;
    assert_eq!(wrapper.timestamp_type(), Some(TimestampType::LogAppendTime));
    assert!(decode(&set).iter().all(|record| record.timestamp == append_time));
}
