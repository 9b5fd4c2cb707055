//! Cutting at the end, letting go at the front.

use std::sync::Arc;

use super::support::*;
use crate::batch::EndTransaction;
use crate::config::LogConfig;
use crate::directory::LastStop;
use crate::error::ReadError;
use crate::log::{Log, LogOptions};
use crate::store::Store;
use crate::types::{LeaderEpoch, Offset, TimestampMs};

fn filled(place: &Place, count: i64) -> Log {
    let mut log = place.open(LastStop::Clean);
    for number in 0..count {
        append(&mut log, batch_at(options(NOBODY), NOW.0 + number, &[&format!("value {number}")]))
            .expect("appended");
    }
    log
}

#[test]
fn truncation_drops_what_lies_behind_and_keeps_the_rest() {
    for end in 0..=20 {
        let place = Place::new(small_segments(300));
        let mut log = filled(&place, 20);
        let before = values(&log);

        assert_eq!(log.truncate_to(Offset(end), NOW).expect("truncated"), end < 20);

        assert_eq!(log.end(), Offset(end));
        assert_eq!(values(&log), before[..end as usize]);
        assert_eq!(put(&mut log, &["other"]), end);
        let after = values(&log);
        drop(log);
        assert_eq!(values(&place.open(LastStop::Unclean)), after);
    }
}

#[test]
fn slices_handed_out_survive_the_truncation_of_what_they_show() {
    let place = Place::new(LogConfig::default());
    let mut log = filled(&place, 200);
    let slice = log.reader().read(Offset(0), 1 << 20, log.end(), true).expect("read");
    let copy = slice.records.bytes().to_vec();

    log.truncate_to(Offset(3), NOW).expect("truncated");
    for _ in 0..300 {
        put(&mut log, &["something else entirely"]);
    }

    assert!(*slice.records.bytes() == copy, "the slice has changed");
    assert_eq!(values(&log).len(), 303);
}

#[test]
fn truncation_reaches_mappings_that_were_let_go() {
    let place = Place::new(small_segments(200));
    let store = Store::with_open_files(place.disk.clone(), 16);
    let mut log = Log::open(&store, place.options(LastStop::Clean)).expect("opened");
    for number in 0..200 {
        put(&mut log, &[&format!("value {number}")]);
    }
    let reader = log.reader();
    let slices: Vec<_> =
        (0..200).map(|offset| reader.read(Offset(offset), 100, log.end(), true).expect("read")).collect();
    let copies: Vec<Vec<u8>> = slices.iter().map(|slice| slice.records.bytes().to_vec()).collect();

    log.truncate_to(Offset(1), NOW).expect("truncated");

    for (slice, copy) in slices.iter().zip(&copies) {
        assert_eq!(&slice.records.bytes()[..], &copy[..]);
    }
}

#[test]
fn truncation_takes_producers_and_epochs_back() {
    let place = Place::new(LogConfig::default());
    let mut log = place.open(LastStop::Clean);
    append(&mut log, batch_at(options(producer(1, 0, 0)), NOW.0, &["a"])).expect("appended");
    let batch = prepared(batch_at(options(producer(1, 0, 1)), NOW.0, &["b"]), CLIENT);
    log.append_as_leader(batch, lead(4, CLIENT)).expect("appended");

    log.truncate_to(Offset(1), NOW).expect("truncated");

    assert_eq!(log.latest_epoch(), Some(LeaderEpoch(0)));
    let again = append(&mut log, batch_at(options(producer(1, 0, 1)), NOW.0, &["b"])).expect("appended");
    assert_eq!((again.first, again.duplicate), (Offset(1), false));
}

#[test]
fn truncation_forgets_transactions_that_were_aborted_behind_it() {
    let place = Place::new(LogConfig::default());
    let mut log = place.open(LastStop::Clean);
    let transactional = crate::batch::BatchOptions { is_transactional: true, ..options(producer(1, 0, 0)) };
    append(&mut log, batch_at(transactional, NOW.0, &["x"])).expect("appended");
    mark(&mut log, producer(1, 0, -1), EndTransaction::Abort);

    log.truncate_to(Offset(1), NOW).expect("truncated");

    log.set_high_watermark(log.end());
    assert_eq!(log.last_stable(), Offset(0), "the transaction is open again");
    assert_eq!(std::fs::metadata(place.file("00000000000000000000.txnindex")).expect("a file").len(), 0);
}

#[test]
fn a_log_can_start_over_at_any_offset() {
    for offset in [0, 5, 1000] {
        let place = Place::new(small_segments(300));
        let mut log = filled(&place, 20);

        log.truncate_fully_and_start_at(Offset(offset), None, NOW).expect("truncated");

        assert_eq!((log.start(), log.end()), (Offset(offset), Offset(offset)));
        assert_eq!(log.latest_epoch(), None);
        assert_eq!(put(&mut log, &["x"]), offset);
        log.close().expect("closed");
        let log = place.open(LastStop::Clean);
        assert_eq!(contents(&log, offset), [(offset, "x".into())]);
    }
}

#[test]
fn deleted_records_are_not_shown_and_their_segments_go_later() {
    let place = Place::new(small_segments(300));
    let mut log = filled(&place, 20);
    let segments = log.segment_count();
    log.set_high_watermark(Offset(15));
    assert!(matches!(log.delete_records(Offset(16)), Err(ReadError::OutOfRange { .. })));

    assert_eq!(log.delete_records(Offset(10)).expect("deleted"), Offset(10));

    assert!(matches!(log.reader().read(Offset(9), 1, Offset(20), true), Err(ReadError::OutOfRange { .. })));
    assert_eq!(log.segment_count(), segments);
    assert!(log.first_segment() < Offset(10));
    let deleted = log.expire(NOW).expect("expired");
    assert!(deleted > 1);
    assert!(log.first_segment() <= Offset(10));
    assert_eq!(contents(&log, 10).first().map(|(offset, _)| *offset), Some(10));

    let marked = || place.names().iter().filter(|name| name.ends_with(".deleted")).count();
    assert!(marked() >= deleted * 3);
    let due = TimestampMs(NOW.0 + 60_000);
    assert_eq!(log.remove_due(NOW).expect("nothing due"), Some(due));
    assert_eq!(log.remove_due(due).expect("removed"), None);
    assert_eq!(marked(), 0);
}

#[test]
fn a_shortened_delay_does_not_wait_for_files_of_the_longer_one() {
    let place = Place::new(small_segments(300));
    let mut log = filled(&place, 20);
    log.set_high_watermark(log.end());
    let marked = || place.names().iter().filter(|name| name.ends_with(".deleted")).count();
    log.delete_records(Offset(10)).expect("deleted");
    log.expire(NOW).expect("expired");
    let slow = marked();
    assert!(slow > 0);

    log.update_config(Arc::new(LogConfig { file_delete_delay_ms: 1, ..small_segments(300) }));
    log.delete_records(Offset(20)).expect("deleted");
    log.expire(NOW).expect("expired");
    assert!(marked() > slow);

    let due = TimestampMs(NOW.0 + 60_000);
    assert_eq!(log.remove_due(TimestampMs(NOW.0 + 1)).expect("removed"), Some(due));
    assert_eq!(marked(), slow);
}

#[test]
fn retention_by_time_empties_an_idle_log_and_keeps_its_end() {
    let place = Place::new(LogConfig { retention_ms: Some(1000), ..small_segments(300) });
    let mut log = filled(&place, 20);
    log.set_high_watermark(log.end());

    assert_eq!(log.expire(TimestampMs(NOW.0 + 1000)).expect("checked"), 0);
    log.expire(TimestampMs(NOW.0 + 5000)).expect("expired");

    assert_eq!((log.start(), log.end(), log.segment_count()), (Offset(20), Offset(20), 1));
    assert_eq!(put(&mut log, &["x"]), 20);
    log.close().expect("closed");
    let options = LogOptions { log_start: Offset(20), ..place.options(LastStop::Clean) };
    let log = Log::open(&Store::new(place.disk.clone()), options).expect("opened");
    assert_eq!(contents(&log, 20), [(20, "x".into())]);
    assert!(!place.names().iter().any(|name| name.ends_with(".deleted")), "opening removes what is left");
}

#[test]
fn readers_of_deleted_segments_keep_what_they_have() {
    let place = Place::new(LogConfig { retention_bytes: Some(0), ..small_segments(300) });
    let mut log = filled(&place, 20);
    log.set_high_watermark(log.end());
    let slice = log.reader().read(Offset(0), 1000, log.end(), true).expect("read");
    let copy = slice.records.bytes().to_vec();

    log.expire(NOW).expect("expired");
    log.remove_due(TimestampMs(i64::MAX)).expect("removed");

    assert_eq!(&slice.records.bytes()[..], &copy[..]);
    assert!(matches!(log.reader().read(Offset(0), 1, Offset(20), true), Err(ReadError::OutOfRange { .. })));
}

#[test]
fn a_renamed_log_is_still_read_and_written() {
    let place = Place::new(small_segments(300));
    let mut log = filled(&place, 20);
    let reader = log.reader();

    log.rename("t-0.0123-delete").expect("renamed");

    assert!(log.folder().ends_with("t-0.0123-delete"));
    assert!(!place.folder().exists());
    assert!(!reader.read(Offset(0), 1000, Offset(20), true).expect("read").records.is_empty());
    put(&mut log, &["x"]);
    log.close().expect("closed");
}

#[test]
fn segments_roll_by_time_counted_from_their_first_batch() {
    let place = Place::new(LogConfig { segment_ms: 1000, ..LogConfig::default() });
    let mut log = place.open(LastStop::Clean);
    let mut put_at =
        |timestamp| append(&mut log, batch_at(options(NOBODY), timestamp, &["x"])).expect("appended").rolled;
    assert_eq!([5000, 6000, 6001, 7001, 7002].map(&mut put_at), [false, false, true, false, true]);
}

#[test]
fn a_full_index_begins_a_new_segment() {
    let config = LogConfig { segment_index_bytes: 48, index_interval_bytes: 0, ..LogConfig::default() };
    let place = Place::new(config);
    let mut log = filled(&place, 30);
    assert!(log.segment_count() > 5);
    assert_eq!(values(&log).len(), 30);
    log.set_high_watermark(log.end());
}

#[test]
fn flushing_moves_the_recovery_point_and_flush_messages_does_it_by_itself() {
    let place = Place::new(LogConfig { flush_messages: 10, ..small_segments(300) });
    let mut log = filled(&place, 9);
    assert_eq!(log.recovery_point(), Offset(0));
    log.flush_inactive().run().expect("flushed");
    let inactive = log.recovery_point();
    assert!(inactive > Offset(0) && inactive < Offset(9));
    log.flush().run().expect("flushed");
    assert_eq!(log.recovery_point(), Offset(9));

    for _ in 0..10 {
        put(&mut log, &["x"]);
    }
    assert_eq!(log.recovery_point(), Offset(19));
    log.truncate_to(Offset(5), NOW).expect("truncated");
    assert_eq!(log.recovery_point(), Offset(5));
}
