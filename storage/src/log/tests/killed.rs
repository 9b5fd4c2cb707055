//! Opening after our own process was killed: what was written is there, and little of it is read again.

use std::fs;

use super::support::*;
use crate::batch::EndTransaction;
use crate::config::LogConfig;
use crate::directory::LastStop;
use crate::log::{LeaderAppend, Log};
use crate::store::Store;
use crate::types::{Offset, TimestampMs};

fn dense() -> LogConfig {
    LogConfig { segment_bytes: 60_000, index_interval_bytes: 100, ..LogConfig::default() }
}

/// Single records of some 100 bytes, without a stop in order.
fn killed_after(place: &Place, records: i64) -> Vec<String> {
    let mut log = place.open(LastStop::Clean);
    for number in 0..records {
        let value = format!("value {number} {}", "x".repeat(50));
        append(&mut log, batch_at(options(NOBODY), NOW.0 + number, &[&value])).expect("appended");
    }
    values(&log)
}

fn reopened(place: &Place) -> (Log, u64) {
    let store = Store::new(place.disk.clone());
    let log = Log::open(&store, place.options(LastStop::Killed)).expect("opened");
    (log, store.checked())
}

#[test]
fn only_what_the_indexes_do_not_know_is_read_again() {
    let place = Place::new(dense());
    let all = killed_after(&place, 2000);

    let (mut log, checked) = reopened(&place);

    assert!(checked > 0 && checked < 20_000, "{checked} bytes of some 260,000");
    assert_eq!(values(&log), all);
    log.close().expect("closed");
}

#[test]
fn indexes_are_those_that_a_clean_stop_leaves() {
    let (clean, killed) = (Place::new(dense()), Place::new(dense()));
    for records in [1, 63, 64, 65, 66, 130, 400, 1500] {
        let content = |place: &Place, stop| {
            let _ = fs::remove_dir_all(place.folder());
            killed_after(place, records);
            place.open(stop).close().expect("closed");
            let all =
                place.names().into_iter().map(|name| (fs::read(place.file(&name)).expect("read"), name));
            all.collect::<Vec<_>>()
        };
        assert_eq!(
            content(&killed, LastStop::Killed),
            content(&clean, LastStop::Unclean),
            "{records} records"
        );
    }
}

#[test]
fn what_was_being_written_is_cut_off() {
    for records in [3, 70, 200] {
        let place = Place::new(dense());
        let all = killed_after(&place, records);
        let last = place.names().into_iter().rfind(|name| name.ends_with(".log")).expect("a segment");
        let whole = fs::read(place.file(&last)).expect("read");
        for torn in [1, 12, 60, 61, 100] {
            let mut content = whole.clone();
            content.extend_from_slice(&whole[..torn]);
            fs::write(place.file(&last), &content).expect("torn");

            let (mut log, _) = reopened(&place);

            assert_eq!((values(&log), log.end()), (all.clone(), Offset(records)), "{torn} bytes");
            assert_eq!(put(&mut log, &["next"]), records);
            drop(log);
            fs::write(place.file(&last), &whole).expect("restored");
        }
    }
}

#[test]
fn an_index_that_lies_costs_a_check_of_its_segment() {
    let place = Place::new(LogConfig { segment_bytes: 1 << 20, ..dense() });
    let all = killed_after(&place, 300);
    let name = "00000000000000000000.index";
    let mut content = fs::read(place.file(name)).expect("read");
    for entry in content.chunks_exact_mut(8).take_while(|entry| entry[4..] != [0; 4]) {
        entry[7] ^= 0x15;
    }
    fs::write(place.file(name), content).expect("written");

    let (log, checked) = reopened(&place);

    assert_eq!(values(&log), all);
    assert!(checked > 20_000, "{checked}");
}

#[test]
fn indexes_of_a_closed_segment_that_were_being_rebuilt_are_rebuilt() {
    let place = Place::new(LogConfig { segment_index_bytes: 4096, ..dense() });
    let all = killed_after(&place, 1500);
    let second = place.names().into_iter().filter(|name| name.ends_with(".index")).nth(1).expect("one");
    let whole = fs::read(place.file(&second)).expect("read");
    let mut half = whole[..whole.len() / 16 * 8].to_vec();
    half.resize(4096, 0);
    fs::write(place.file(&second), half).expect("written");

    let (log, _) = reopened(&place);

    assert_eq!(values(&log), all);
    assert_eq!(fs::read(place.file(&second)).expect("read"), whole);
}

#[test]
fn an_abort_that_was_not_noted_yet_is_noted() {
    for noted in [true, false] {
        let place = Place::new(dense());
        let mut log = place.open(LastStop::Clean);
        for sequence in 0..3 {
            let producer = producer(7, 0, sequence);
            let transactional = crate::batch::BatchOptions { is_transactional: true, ..options(producer) };
            append(&mut log, batch_at(transactional, NOW.0, &["x"])).expect("appended");
            mark(&mut log, producer, EndTransaction::Abort);
        }
        drop(log);
        let index = place.file("00000000000000000000.txnindex");
        let whole = fs::read(&index).expect("read");
        if !noted {
            fs::write(&index, &whole[..34 * 2 + 5]).expect("torn");
        }

        drop(reopened(&place));

        assert_eq!(fs::read(&index).expect("read"), whole);
    }
}

#[test]
fn producers_are_replayed_from_a_snapshot_not_much_older_than_a_minute() {
    let place = Place::new(LogConfig::default());
    let mut log = place.open(LastStop::Clean);
    let value = "v".repeat(500_000);
    let at = |log: &mut Log, sequence: i32, now: i64| {
        let batch = prepared(batch_at(options(producer(7, 0, sequence)), NOW.0, &[&value]), CLIENT);
        let how = LeaderAppend { now: TimestampMs(now), ..lead(0, CLIENT) };
        log.append_as_leader(batch, how).expect("appended")
    };
    for sequence in 0..10 {
        at(&mut log, sequence, NOW.0 + i64::from(sequence));
    }
    let snapshots =
        || place.names().into_iter().filter(|name| name.ends_with(".snapshot")).collect::<Vec<_>>();
    assert!(snapshots().is_empty(), "it is too young: the last five batches may be repeated yet");
    for sequence in 10..20 {
        at(&mut log, sequence, NOW.0 + 60_000 + i64::from(sequence));
    }
    assert_eq!(snapshots(), ["00000000000000000009.snapshot"]);
    log.pass_snapshot(TimestampMs(NOW.0 + 130_000));
    assert_eq!(snapshots(), ["00000000000000000018.snapshot"]);
    drop(log);

    let (mut log, _) = reopened(&place);

    assert!(at(&mut log, 18, NOW.0 + 140_000).duplicate);
    assert!(!at(&mut log, 20, NOW.0 + 140_000).duplicate);
    log.close().expect("closed");
    assert_eq!(snapshots(), ["00000000000000000021.snapshot"]);
}
