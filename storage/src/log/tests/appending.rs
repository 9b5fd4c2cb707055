//! Appending, reading, rolling, restarting.

use super::support::*;
use crate::config::LogConfig;
use crate::directory::LastStop;
use crate::error::{AppendError, ReadError};
use crate::types::{LeaderEpoch, Offset};

#[test]
fn what_is_appended_is_read_with_its_offsets() {
    let place = Place::new(LogConfig::default());
    let mut log = place.open(LastStop::Clean);

    assert_eq!(put(&mut log, &["a", "b"]), 0);
    assert_eq!(put(&mut log, &["c"]), 2);

    assert_eq!(log.end(), Offset(3));
    assert_eq!(contents(&log, 0), [(0, "a".into()), (1, "b".into()), (2, "c".into())]);
    assert_eq!(contents(&log, 2), [(2, "c".into())]);
    assert_eq!(log.latest_epoch(), Some(LeaderEpoch(0)));
}

#[test]
fn a_clean_restart_goes_on_where_it_stopped() {
    let place = Place::new(small_segments(300));
    let mut log = place.open(LastStop::Clean);
    for number in 0..10 {
        put(&mut log, &[&format!("value {number}")]);
    }
    let before = values(&log);
    assert!(log.segment_count() > 2);
    assert_eq!(log.close().expect("closed"), Offset(10));

    let mut log = place.open(LastStop::Clean);

    assert_eq!(values(&log), before);
    assert_eq!(log.recovery_point(), Offset(10));
    assert_eq!(put(&mut log, &["next"]), 10);
}

#[test]
fn indexes_have_their_full_size_while_active_and_their_entries_after() {
    let config = LogConfig { segment_bytes: 4000, index_interval_bytes: 200, ..LogConfig::default() };
    let place = Place::new(config);
    let mut log = place.open(LastStop::Clean);
    put(&mut log, &["x"]);
    let size = |name: &str| std::fs::metadata(place.file(name)).expect("a file").len();
    assert_eq!(size("00000000000000000000.index"), 10_485_760);
    assert_eq!(size("00000000000000000000.timeindex"), 10_485_756);

    while log.segment_count() == 1 {
        put(&mut log, &["x"]);
    }

    let (offsets, times) = (size("00000000000000000000.index"), size("00000000000000000000.timeindex"));
    assert!(offsets > 0 && offsets < 400 && offsets.is_multiple_of(8), "{offsets}");
    assert_eq!(times, 12, "all records have the same timestamp");
}

#[test]
fn reads_stop_at_the_bound_and_at_the_limit() {
    let place = Place::new(LogConfig::default());
    let mut log = place.open(LastStop::Clean);
    for value in ["a", "b", "c", "d"] {
        put(&mut log, &[value]);
    }
    let reader = log.reader();
    let batch = reader.read(Offset(0), 1 << 20, Offset(1), false).expect("read").records.len();

    let read = |from, max, upto, at_least_one| {
        let slice = reader.read(Offset(from), max, Offset(upto), at_least_one).expect("read");
        (slice.records.len(), slice.begin.position, slice.first_incomplete)
    };
    assert_eq!(read(1, 1 << 20, 3, false), (2 * batch, batch as u64, false));
    assert_eq!(read(1, batch + 5, 4, false), (batch + 5, batch as u64, false));
    assert_eq!(read(1, 5, 4, false), (5, batch as u64, true));
    assert_eq!(read(1, 5, 4, true), (batch, batch as u64, false));
    assert_eq!(read(3, 1 << 20, 2, true), (0, 3 * batch as u64, false));
    assert_eq!(read(4, 1 << 20, 4, true), (0, 4 * batch as u64, false));
    assert!(matches!(
        reader.read(Offset(5), 1, Offset(9), true),
        Err(ReadError::OutOfRange { requested: Offset(5), start: Offset(0), end: Offset(4) })
    ));
}

#[test]
fn a_read_from_within_a_batch_yields_the_whole_batch() {
    let place = Place::new(LogConfig::default());
    let mut log = place.open(LastStop::Clean);
    put(&mut log, &["a", "b", "c"]);

    assert_eq!(contents(&log, 1).len(), 3);
}

#[test]
fn reads_find_every_offset_through_the_indexes() {
    let config = LogConfig { segment_bytes: 60_000, index_interval_bytes: 100, ..LogConfig::default() };
    let place = Place::new(config);
    let mut log = place.open(LastStop::Clean);
    for number in 0..2000 {
        put(&mut log, &[&format!("{number}")]);
    }
    log.close().expect("closed");
    let log = place.open(LastStop::Clean);
    assert!(log.segment_count() > 2);

    for offset in (0..2000).step_by(7) {
        let slice = log.reader().read(Offset(offset), 1, Offset(2000), true).expect("read");
        let located = crate::batch::headers(slice.records.bytes()).next().expect("one").expect("good");
        assert_eq!(located.batch.base_offset(), Some(Offset(offset)));
    }
}

#[test]
fn batches_that_do_not_fit_a_segment_are_refused() {
    let place = Place::new(small_segments(100));
    let mut log = place.open(LastStop::Clean);

    let refused = append(&mut log, batch_at(options(NOBODY), NOW.0, &["x".repeat(100).as_str()]));

    assert!(matches!(refused, Err(AppendError::LargerThanSegment { limit: 100, .. })));
    assert_eq!(log.end(), Offset(0));
}

#[test]
fn a_follower_has_the_same_bytes_as_its_leader() {
    let (left, right) = (Place::new(small_segments(500)), Place::new(small_segments(500)));
    let (mut leader, mut follower) = (left.open(LastStop::Clean), right.open(LastStop::Clean));
    for number in 0..30 {
        put(&mut leader, &[&format!("value {number}")]);
    }

    while follower.end() < leader.end() {
        let slice = leader.reader().read(follower.end(), 300, leader.end(), true).expect("read");
        follower.append_as_follower(slice.records.bytes(), LeaderEpoch(0), NOW).expect("appended");
    }

    leader.close().expect("closed");
    follower.close().expect("closed");
    assert_eq!(left.names(), right.names());
    for name in left.names() {
        let read = |place: &Place| std::fs::read(place.file(&name)).expect("read");
        assert_eq!(read(&left), read(&right), "{name}");
    }
}

#[test]
fn a_follower_refuses_what_does_not_continue_its_log() {
    let place = Place::new(LogConfig::default());
    let mut log = place.open(LastStop::Clean);
    put(&mut log, &["a", "b"]);
    let batch = |base| {
        let options = crate::batch::BatchOptions {
            base_offset: Offset(base),
            leader_epoch: LeaderEpoch(3),
            ..options(NOBODY)
        };
        batch_at(options, NOW.0, &["x"])
    };

    let refused = log.append_as_follower(&batch(1), LeaderEpoch(3), NOW);
    assert!(matches!(refused, Err(AppendError::UnexpectedOffset { next: Offset(2), .. })));

    let mut corrupt = batch(2).to_vec();
    corrupt[65] ^= 1;
    let refused = log.append_as_follower(&corrupt.into(), LeaderEpoch(3), NOW);
    assert!(matches!(refused, Err(AppendError::Corrupt { .. })));

    assert_eq!(log.append_as_follower(&batch(2), LeaderEpoch(2), NOW).expect("left out"), None);
    assert_eq!(log.end(), Offset(2));

    log.append_as_follower(&batch(5), LeaderEpoch(3), NOW).expect("a gap is fine");
    assert_eq!(log.end(), Offset(6));
    assert_eq!(log.end_offset_for(LeaderEpoch(0)), Some((LeaderEpoch(0), Offset(5))));
    assert_eq!(contents(&log, 3), [(5, "x".into())]);
}

#[test]
fn readers_go_on_while_the_log_is_written_and_rolled() {
    let place = Place::new(small_segments(2000));
    let mut log = place.open(LastStop::Clean);
    put(&mut log, &["first"]);
    let reader = log.reader();
    let watcher = std::thread::spawn(move || {
        let mut from = Offset::ZERO;
        while from < Offset(500) {
            let end = reader.end().offset;
            let slice = reader.read(from, 700, end, true).expect("read");
            for located in crate::batch::headers(slice.records.bytes()) {
                let located = located.expect("a batch");
                assert_eq!(located.batch.base_offset(), Some(from));
                from = located.batch.next_offset();
            }
        }
    });
    while log.end() < Offset(500) {
        put(&mut log, &["more"]);
    }
    watcher.join().expect("every record in its place");
}
