//! Opening what a crash, an operator or an interrupted compaction left behind.

use std::fs;

use super::support::*;
use crate::config::LogConfig;
use crate::directory::LastStop;
use crate::error::StorageError;
use crate::log::Log;
use crate::store::Store;
use crate::types::{LeaderEpoch, Offset, TimestampMs, TopicId};

/// Three or more segments of single records, and what they hold.
fn written(place: &Place) -> Vec<String> {
    let mut log = place.open(LastStop::Clean);
    for number in 0..30 {
        put(&mut log, &[&format!("value {number}")]);
    }
    let all = values(&log);
    log.close().expect("closed");
    all
}

fn files(place: &Place) -> Vec<(String, Vec<u8>)> {
    place.names().into_iter().map(|name| (name.clone(), fs::read(place.file(&name)).expect("read"))).collect()
}

#[test]
fn missing_and_damaged_indexes_are_rebuilt_as_they_were() {
    let config = LogConfig { segment_bytes: 600, index_interval_bytes: 100, ..LogConfig::default() };
    let place = Place::new(config);
    let all = written(&place);
    let before = files(&place);
    let damages: [fn(&Place, &str); 3] = [
        |place, name| fs::remove_file(place.file(name)).expect("removed"),
        |place, name| fs::write(place.file(name), [7; 13]).expect("damaged"),
        |place, name| {
            let mut content = fs::read(place.file(name)).expect("read");
            content.push(0);
            fs::write(place.file(name), content).expect("damaged");
        },
    ];
    for damage in damages {
        for suffix in [".index", ".timeindex"] {
            for name in place.names().into_iter().filter(|name| name.ends_with(suffix)) {
                damage(&place, &name);
            }
            let mut log = place.open(LastStop::Clean);
            assert_eq!(values(&log), all);
            log.close().expect("closed");
            let kept = |files: Vec<(String, Vec<u8>)>| -> Vec<(String, Vec<u8>)> {
                files.into_iter().filter(|(name, _)| !name.ends_with(".snapshot")).collect()
            };
            assert_eq!(kept(files(&place)), kept(before.clone()));
        }
    }
}

#[test]
fn an_index_that_lies_is_not_believed() {
    let config = LogConfig { segment_bytes: 5000, index_interval_bytes: 100, ..LogConfig::default() };
    let place = Place::new(config);
    let all = written(&place);
    for name in place.names().into_iter().filter(|name| name.ends_with(".index")) {
        let mut content = fs::read(place.file(&name)).expect("read");
        for entry in content.chunks_exact_mut(8) {
            entry[7] ^= 0x15;
        }
        fs::write(place.file(&name), content).expect("written");
    }
    let log = place.open(LastStop::Clean);
    assert_eq!(values(&log), all);
    for offset in 0..30 {
        assert_eq!(contents(&log, offset).first().map(|(first, _)| *first), Some(offset));
    }
}

#[test]
fn a_flipped_bit_behind_the_recovery_point_cuts_the_log_there() {
    let place = Place::new(small_segments(400));
    let all = written(&place);
    let second = place.names().into_iter().filter(|name| name.ends_with(".log")).nth(1).expect("a segment");
    let first_lost: usize = second.trim_end_matches(".log").parse().expect("an offset");
    let mut content = fs::read(place.file(&second)).expect("read");
    content[70] ^= 1;
    fs::write(place.file(&second), content).expect("damaged");

    let mut log = place.open(LastStop::Unclean);

    assert_eq!(values(&log), all[..first_lost]);
    assert_eq!(put(&mut log, &["next"]), first_lost as i64);
    log.close().expect("closed");
    assert_eq!(values(&place.open(LastStop::Clean)).len(), first_lost + 1);
}

#[test]
fn recovery_looks_only_behind_the_recovery_point() {
    let place = Place::new(small_segments(400));
    let all = written(&place);
    let first = place.file("00000000000000000000.log");
    let mut content = fs::read(&first).expect("read");
    content[70] ^= 1;
    fs::write(&first, content).expect("damaged");
    let options = crate::log::LogOptions { recovery_point: Offset(30), ..place.options(LastStop::Unclean) };

    let log = Log::open(&Store::new(place.disk.clone()), options).expect("opened");

    assert_eq!(log.end(), Offset(all.len() as i64));
    assert_eq!(log.recovery_point(), Offset(30));
}

#[test]
fn a_crash_leaves_indexes_as_a_clean_stop_would() {
    let config = LogConfig { segment_bytes: 3000, index_interval_bytes: 100, ..LogConfig::default() };
    let (clean, crashed) = (Place::new(config.clone()), Place::new(config));
    written(&clean);
    let mut log = crashed.open(LastStop::Clean);
    for number in 0..30 {
        put(&mut log, &[&format!("value {number}")]);
    }
    drop(log);

    crashed.open(LastStop::Unclean).close().expect("closed");

    assert_eq!(files(&crashed), files(&clean));
}

#[test]
fn a_damaged_snapshot_is_replaced_by_what_the_records_say() {
    let place = Place::new(LogConfig::default());
    let mut log = place.open(LastStop::Clean);
    append(&mut log, batch_at(options(producer(5, 0, 0)), NOW.0, &["x"])).expect("appended");
    log.close().expect("closed");
    fs::write(place.file("00000000000000000001.snapshot"), b"rubbish").expect("damaged");

    let mut log = place.open(LastStop::Clean);

    let repeated = append(&mut log, batch_at(options(producer(5, 0, 0)), NOW.0, &["x"])).expect("known");
    assert!(repeated.duplicate);
}

#[test]
fn leftovers_of_deletion_and_compaction_are_dealt_with() {
    let place = Place::new(small_segments(400));
    let all = written(&place);
    let logs: Vec<String> = place.names().into_iter().filter(|name| name.ends_with(".log")).collect();
    // A finished compaction that has not replaced its two sources yet: here their plain concatenation.
    let joined: Vec<u8> =
        logs[..2].iter().flat_map(|name| fs::read(place.file(name)).expect("read")).collect();
    fs::write(place.file("00000000000000000000.log.swap"), joined).expect("written");
    fs::write(place.file("00000000000000000000.index.swap"), b"").expect("written");
    fs::write(place.file("00000000000000000000.timeindex.swap"), b"").expect("written");
    // An unfinished one of later segments, and a deletion that was due.
    fs::write(place.file(&format!("{}.cleaned", logs[3])), b"half").expect("written");
    fs::write(place.file(&format!("{}.swap", logs[4])), b"not to be trusted").expect("written");
    fs::write(place.file("00000000000000000077.log.deleted"), b"old").expect("written");
    // An index whose records are gone.
    fs::write(place.file("00000000000000000099.index"), b"").expect("written");

    let log = place.open(LastStop::Clean);

    assert_eq!(values(&log), all);
    assert_eq!(log.segment_count(), logs.len() - 1);
    let odd: Vec<String> = place
        .names()
        .into_iter()
        .filter(|name| {
            ["swap", "cleaned", "deleted"].iter().any(|mark| name.contains(mark)) || name.contains("099")
        })
        .collect();
    assert!(odd.is_empty(), "{odd:?}");
}

#[test]
fn a_log_that_ends_below_its_start_begins_anew_there() {
    let place = Place::new(small_segments(400));
    written(&place);
    let options = crate::log::LogOptions { log_start: Offset(100), ..place.options(LastStop::Unclean) };

    let mut log = Log::open(&Store::new(place.disk.clone()), options).expect("opened");

    assert_eq!((log.start(), log.end(), log.segment_count()), (Offset(100), Offset(100), 1));
    assert_eq!(put(&mut log, &["x"]), 100);
}

#[test]
fn leader_epochs_are_read_back_from_the_records() {
    let place = Place::new(LogConfig::default());
    let mut log = place.open(LastStop::Clean);
    for epoch in [2, 2, 5] {
        let batch = prepared(batch_at(options(NOBODY), NOW.0, &["x"]), CLIENT);
        log.append_as_leader(batch, lead(epoch, CLIENT)).expect("appended");
    }
    drop(log);
    fs::write(place.file("leader-epoch-checkpoint"), b"").expect("lost");

    let log = place.open(LastStop::Unclean);

    assert_eq!(log.end_offset_for(LeaderEpoch(2)), Some((LeaderEpoch(2), Offset(2))));
    assert_eq!(log.latest_epoch(), Some(LeaderEpoch(5)));
}

#[test]
fn a_folder_of_another_topic_is_refused() {
    let place = Place::new(LogConfig::default());
    let mut log = place.open(LastStop::Clean);
    log.assign_topic_id(TopicId([1; 16])).expect("assigned");
    assert!(matches!(log.assign_topic_id(TopicId([2; 16])), Err(StorageError::TopicId { .. })));
    log.close().expect("closed");

    let options =
        crate::log::LogOptions { topic_id: Some(TopicId([2; 16])), ..place.options(LastStop::Clean) };
    let refused = Log::open(&Store::new(place.disk.clone()), options);

    assert!(matches!(refused, Err(StorageError::TopicId { .. })));
    assert_eq!(place.open(LastStop::Clean).topic_id(), Some(TopicId([1; 16])));
}

#[test]
fn timestamps_are_found_after_a_restart_too() {
    let config = LogConfig { segment_bytes: 1000, index_interval_bytes: 100, ..LogConfig::default() };
    let place = Place::new(config);
    let mut log = place.open(LastStop::Clean);
    for number in 0..40 {
        append(&mut log, batch_at(options(NOBODY), 1000 + number * 10, &["x", "y"])).expect("appended");
    }
    let check = |log: &Log| {
        let reader = log.reader();
        let find = |timestamp| {
            let found = reader.offset_for_timestamp(TimestampMs(timestamp)).expect("searched");
            found.map(|found| (found.offset.0, found.timestamp.0))
        };
        assert_eq!(find(0), Some((0, 1000)));
        assert_eq!(find(1001), Some((1, 1001)));
        assert_eq!(find(1002), Some((2, 1010)));
        assert_eq!(find(1391), Some((79, 1391)));
        assert_eq!(find(1392), None);
        let youngest = reader.offset_of_max_timestamp().expect("searched").expect("found");
        assert_eq!((youngest.offset, youngest.timestamp), (Offset(79), TimestampMs(1391)));
    };
    check(&log);
    log.close().expect("closed");
    check(&place.open(LastStop::Clean));
}

#[test]
fn arbitrary_files_of_a_partition_never_panic() {
    use proptest::prelude::*;
    use proptest::test_runner::TestRunner;

    let place = Place::new(small_segments(500));
    written(&place);
    let pristine = files(&place);
    let names: Vec<String> = pristine.iter().map(|(name, _)| name.clone()).collect();
    let damage =
        (0..names.len(), any::<u16>(), any::<u8>(), proptest::option::of(any::<u16>()), any::<bool>());
    let config = ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() };
    TestRunner::new(config)
        .run(&damage, |(file, position, flip, cut, clean)| {
            for (name, content) in &pristine {
                fs::write(place.file(name), content).expect("restored");
            }
            let mut content = pristine[file].1.clone();
            let position = usize::from(position) % content.len().max(1);
            if let Some(byte) = content.get_mut(position) {
                *byte ^= flip;
            }
            if let Some(cut) = cut {
                content.truncate(usize::from(cut) % (content.len() + 1));
            }
            fs::write(place.file(&names[file]), content).expect("damaged");
            let stop = if clean { LastStop::Clean } else { LastStop::Unclean };
            if let Ok(mut log) = place.try_open(stop) {
                let reader = log.reader();
                for offset in 0..35 {
                    let _ = reader.read(Offset(offset), 500, log.end(), true);
                }
                let _ = reader.offset_for_timestamp(NOW);
                let _ = reader.offset_of_max_timestamp();
                let end = log.end();
                put(&mut log, &["still works"]);
                assert_eq!(contents(&log, end.0).len(), 1);
                let _ = log.close();
            }
            for name in place.names() {
                fs::remove_file(place.file(&name)).expect("removed");
            }
            Ok(())
        })
        .expect("no panic");
}
