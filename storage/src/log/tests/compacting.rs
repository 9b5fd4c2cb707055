//! Which records compaction leaves, and that nothing that fails on the way loses any.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::support::*;
use crate::batch::{
    BatchBuilder, BatchHeader, BatchOptions, BatchView, EndTransaction, Record, TargetCompression, headers,
    records,
};
use crate::compaction::{Cleaner, CleanerSettings, Outcome, Owner, Summary};
use crate::config::{Cleanup, LogConfig};
use crate::directory::LastStop;
use crate::disk::faulty::{FaultyDisk, Operation};
use crate::error::StorageError;
use crate::log::Log;
use crate::types::{Offset, TimestampMs};

const HOUR_MS: i64 = 3_600_000;

fn compacted(segment_bytes: u32) -> LogConfig {
    LogConfig {
        segment_bytes,
        index_interval_bytes: 100,
        segment_index_bytes: 1200,
        cleanup: Cleanup { delete: false, compact: true },
        delete_retention_ms: HOUR_MS,
        min_cleanable_dirty_ratio: 0.0,
        file_delete_delay_ms: 0,
        ..LogConfig::default()
    }
}

/// Key, and value or none.
pub(super) type Pair<'a> = (&'a str, Option<&'a str>);

pub(super) fn keyed(options: BatchOptions, timestamp: i64, pairs: &[Pair<'_>]) -> Bytes {
    let mut builder = BatchBuilder::new(options).expect("a builder");
    for (index, (key, value)) in pairs.iter().enumerate() {
        let timestamp = TimestampMs(timestamp + index as i64);
        builder.append(timestamp, Some(key.as_bytes()), value.map(str::as_bytes), &[]).expect("appended");
    }
    builder.build().expect("built")
}

fn put_pairs(log: &Mutex<Log>, options: BatchOptions, pairs: &[Pair<'_>]) {
    log.with(|log| append(log, keyed(options, NOW.0, pairs)).expect("appended"));
}

pub(super) fn commit_all(log: &Mutex<Log>) {
    log.with(|log| log.set_high_watermark(log.end()));
}

pub(super) fn roll(log: &Mutex<Log>) {
    log.with(|log| log.roll(NOW).expect("rolled"));
    commit_all(log);
}

pub(super) fn cleaner() -> Cleaner {
    Cleaner::new(CleanerSettings { map_bytes: 24 * 10_000, load_factor: 0.9 }).expect("room for keys")
}

pub(super) fn try_clean(
    log: &Mutex<Log>,
    cleaner: &mut Cleaner,
    now: TimestampMs,
) -> Result<Option<Summary>, StorageError> {
    let Some(cleanable) = log.with(|log| log.cleanable(now))? else { return Ok(None) };
    if cleanable.first_dirty >= cleanable.first_uncleanable {
        return Ok(None);
    }
    match cleaner.clean(log, &cleanable, now, &mut |_| ControlFlow::Continue(()))? {
        Outcome::Cleaned(summary) => Ok(Some(summary)),
        Outcome::Interrupted => panic!("nobody interrupted it"),
    }
}

fn clean(log: &Mutex<Log>, now: TimestampMs) -> Option<Summary> {
    try_clean(log, &mut cleaner(), now).expect("cleaned")
}

/// Every batch with its records, from the first segment on.
fn batches(log: &Log) -> Vec<(BatchView, Vec<Record>)> {
    let mut found = Vec::new();
    for info in log.reader().segments() {
        let content = Bytes::from(std::fs::read(&info.path).expect("read")).slice(..info.size as usize);
        for located in headers(&content) {
            let located = located.expect("a batch");
            let entry = content.slice(located.position..located.position + located.size);
            located.batch.check_crc(&entry).expect("a good checksum");
            let records = records(&entry).expect("records").map(|record| record.expect("a record")).collect();
            found.push((located.batch, records));
        }
    }
    found
}

/// Offset, key and value of all records that are no markers.
pub(super) fn survivors(log: &Mutex<Log>) -> Vec<(i64, String, Option<String>)> {
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    log.with(|log| {
        let data = batches(log).into_iter().filter(|(batch, _)| !batch.is_control());
        data.flat_map(|(_, records)| records)
            .map(|record| {
                (
                    record.offset.0,
                    record.key.as_ref().map(text).unwrap_or_default(),
                    record.value.as_ref().map(text),
                )
            })
            .collect()
    })
}

fn offsets(log: &Mutex<Log>) -> Vec<i64> {
    survivors(log).into_iter().map(|(offset, _, _)| offset).collect()
}

#[test]
fn of_every_key_the_newest_record_stays_at_its_offset() {
    let place = Place::new(compacted(1 << 20));
    let log = Mutex::new(place.open(LastStop::Clean));
    put_pairs(&log, options(NOBODY), &[("a", Some("1")), ("b", Some("1")), ("a", Some("2"))]);
    put_pairs(&log, options(NOBODY), &[("a", Some("3"))]);
    roll(&log);
    put_pairs(&log, options(NOBODY), &[("b", Some("2"))]);
    roll(&log);
    put_pairs(&log, options(NOBODY), &[("a", Some("active"))]);

    let summary = clean(&log, NOW).expect("cleaned");

    assert_eq!(summary.upto, Offset(5));
    assert_eq!((summary.records_read, summary.records_written), (5, 2));
    assert_eq!(offsets(&log), [3, 4, 5]);
    assert_eq!(log.with(|log| log.segment_count()), 2, "two segments became one");
    assert_eq!(log.with(|log| log.cleaned()), Some(Offset(5)));
    assert_eq!(log.with(|log| contents(log, 0)).len(), 3, "readers find them too");
    assert!(clean(&log, NOW).is_none(), "nothing is dirty");
    log.with(|log| log.close().expect("closed"));
    let log = Mutex::new(place.open(LastStop::Clean));
    assert_eq!(offsets(&log), [3, 4, 5]);
    drop(log);
    assert_eq!(offsets(&Mutex::new(place.open(LastStop::Unclean))), [3, 4, 5]);
}

#[test]
fn a_tombstone_stays_until_its_delete_horizon_has_passed() {
    let place = Place::new(compacted(1 << 20));
    let log = Mutex::new(place.open(LastStop::Clean));
    let compression = TargetCompression::Zstd { level: 3 };
    let zstd = BatchOptions { compression, ..BatchOptions::default() };
    put_pairs(&log, zstd, &[("a", Some("1")), ("a", None)]);
    let original = log.with(|log| batches(log)[0].1[1].clone());
    roll(&log);

    clean(&log, NOW);
    let (batch, records) = log.with(|log| batches(log).remove(0));
    let BatchView::V2(header) = batch else { panic!("magic 2") };
    assert_eq!(header.delete_horizon(), Some(TimestampMs(NOW.0 + HOUR_MS)));
    assert_eq!((header.base_offset, header.last_offset(), header.count), (Offset(0), Offset(1), 1));
    assert_eq!(header.max_timestamp, original.timestamp);
    assert_eq!(header.compression(), Ok(crate::batch::Compression::Zstd));
    assert_eq!(records, [original]);

    for (later, left) in [(HOUR_MS - 1, 1), (HOUR_MS, 0)] {
        put_pairs(&log, options(NOBODY), &[("other", Some("x"))]);
        roll(&log);
        clean(&log, TimestampMs(NOW.0 + later));
        let tombstones = survivors(&log).into_iter().filter(|(_, key, _)| key == "a").count();
        assert_eq!(tombstones, left);
    }
}

#[test]
fn an_idempotent_producers_last_batch_stays_even_if_it_is_empty() {
    let place = Place::new(compacted(1 << 20));
    let log = Mutex::new(place.open(LastStop::Clean));
    put_pairs(&log, options(producer(7, 0, 0)), &[("a", Some("1")), ("a", Some("2"))]);
    put_pairs(&log, options(producer(7, 0, 2)), &[("a", Some("3")), ("b", Some("3"))]);
    put_pairs(&log, options(NOBODY), &[("a", Some("4")), ("b", Some("4"))]);
    roll(&log);

    clean(&log, NOW);

    let left: Vec<BatchHeader> = log.with(|log| {
        let view = |(batch, _)| if let BatchView::V2(header) = batch { header } else { panic!("magic 2") };
        batches(log).into_iter().map(view).collect()
    });
    assert_eq!(left.len(), 2);
    assert_eq!((left[0].base_offset, left[0].last_offset(), left[0].count), (Offset(2), Offset(3), 0));
    assert_eq!((left[0].base_sequence, left[0].last_sequence()), (2, 3));
    assert_eq!(left[0].base_timestamp, TimestampMs::NONE);
    drop(log);
    for name in place.names().into_iter().filter(|name| name.ends_with(".snapshot")) {
        std::fs::remove_file(place.file(&name)).expect("removed");
    }
    let log = place.open(LastStop::Unclean);
    let last = log.producers().next().expect("known from the empty batch").last_sequence();
    assert_eq!(last, 3);
}

#[test]
fn aborted_records_go_at_once_and_their_marker_when_its_horizon_has_passed() {
    let place = Place::new(compacted(1 << 20));
    let log = Mutex::new(place.open(LastStop::Clean));
    let transactional =
        |id, sequence| BatchOptions { is_transactional: true, ..options(producer(id, 0, sequence)) };
    put_pairs(&log, transactional(1, 0), &[("a", Some("aborted"))]);
    log.with(|log| mark(log, producer(1, 0, -1), EndTransaction::Abort));
    put_pairs(&log, transactional(1, 1), &[("b", Some("committed"))]);
    log.with(|log| mark(log, producer(1, 0, -1), EndTransaction::Commit));
    put_pairs(&log, transactional(1, 2), &[("c", Some("later"))]);
    log.with(|log| mark(log, producer(1, 0, -1), EndTransaction::Commit));
    roll(&log);
    let markers = |log: &Mutex<Log>| {
        let control = |log: &mut Log| batches(log).into_iter().filter(|(batch, _)| batch.is_control());
        log.with(|log| control(log).map(|(batch, _)| batch.last_offset().0).collect::<Vec<_>>())
    };

    clean(&log, NOW);
    assert_eq!(offsets(&log), [2, 4]);
    assert_eq!(markers(&log), [1, 3, 5], "readers may be in the middle of the transaction");

    for (later, left) in [(1, vec![1, 3, 5]), (HOUR_MS, vec![1, 3, 5]), (2 * HOUR_MS + 2, vec![3, 5])] {
        put_pairs(&log, options(NOBODY), &[("other", Some("x"))]);
        roll(&log);
        clean(&log, TimestampMs(NOW.0 + later));
        assert_eq!(markers(&log), left, "{later} ms later");
    }
}

#[test]
fn nothing_behind_the_last_stable_offset_or_within_the_lag_is_cleaned() {
    let config = LogConfig { min_compaction_lag_ms: HOUR_MS, ..compacted(1 << 20) };
    let place = Place::new(config);
    let log = Mutex::new(place.open(LastStop::Clean));
    let write = |value: &str| {
        put_pairs(&log, options(NOBODY), &[("a", Some(value))]);
        log.with(|log| log.roll(NOW).expect("rolled"));
    };
    write("1");
    write("2");
    write("3");
    let later = TimestampMs(NOW.0 + HOUR_MS + 1);
    let bound =
        |now| log.with(|log| log.cleanable(now)).expect("judged").map(|found| found.first_uncleanable.0);
    assert_eq!(bound(later), None, "nothing is committed");
    log.with(|log| log.set_high_watermark(Offset(2)));
    assert_eq!(bound(later), Some(2));
    commit_all(&log);
    assert_eq!(bound(later), Some(3));
    assert_eq!(bound(TimestampMs(NOW.0 + HOUR_MS - 1)), None);
}

#[test]
fn a_log_is_due_by_its_dirty_share_or_by_its_oldest_dirty_record() {
    let config =
        LogConfig { max_compaction_lag_ms: HOUR_MS, min_cleanable_dirty_ratio: 0.5, ..compacted(1 << 20) };
    let place = Place::new(config.clone());
    let log = Mutex::new(place.open(LastStop::Clean));
    let is_due = |now| {
        let found = log.with(|log| log.cleanable(now)).expect("judged");
        found.is_some_and(|found| found.is_due(&config))
    };
    put_pairs(&log, options(NOBODY), &[("a", Some("1")), ("b", Some("1")), ("c", Some("1"))]);
    assert!(!is_due(NOW), "all is in the active segment");
    roll(&log);
    assert!(is_due(NOW), "all is dirty");
    clean(&log, NOW);
    assert!(!is_due(TimestampMs(NOW.0 + 2 * HOUR_MS)), "nothing is dirty, however old");
    put_pairs(&log, options(NOBODY), &[("a", Some("2"))]);
    roll(&log);
    assert!(!is_due(NOW));
    assert!(is_due(TimestampMs(NOW.0 + HOUR_MS + 1)));
}

#[test]
fn a_full_map_cleans_as_far_as_it_goes_and_the_next_pass_goes_on() {
    let place = Place::new(compacted(1 << 20));
    let log = Mutex::new(place.open(LastStop::Clean));
    for round in ["1", "2"] {
        for key in ["a", "b", "c", "d", "e"] {
            put_pairs(&log, options(NOBODY), &[(key, Some(round))]);
        }
    }
    roll(&log);
    let mut small = Cleaner::new(CleanerSettings { map_bytes: 24 * 4, load_factor: 0.9 }).expect("3 keys");

    let mut ends = Vec::new();
    while let Some(summary) = try_clean(&log, &mut small, NOW).expect("cleaned") {
        ends.push(summary.upto.0);
    }

    assert_eq!(ends, [3, 6, 9, 10]);
    assert_eq!(offsets(&log), [5, 6, 7, 8, 9]);
    assert!(Cleaner::new(CleanerSettings { map_bytes: 24, load_factor: 0.9 }).is_none());
}

#[test]
fn truncation_during_a_cleaning_wins() {
    let place = Place::new(compacted(1 << 20));
    let log = Mutex::new(place.open(LastStop::Clean));
    put_pairs(&log, options(NOBODY), &[("a", Some("1"))]);
    put_pairs(&log, options(NOBODY), &[("a", Some("2"))]);
    roll(&log);
    put_pairs(&log, options(NOBODY), &[("a", Some("3"))]);
    roll(&log);
    let cleanable = log.with(|log| log.cleanable(NOW)).expect("judged").expect("dirty");
    let mut stretches = 0;
    let outcome = cleaner().clean(&log, &cleanable, NOW, &mut |_| {
        stretches += 1;
        if stretches == 3 {
            log.with(|log| log.truncate_to(Offset(1), NOW).expect("truncated"));
        }
        ControlFlow::Continue(())
    });
    assert_eq!(outcome.expect("no failure"), Outcome::Interrupted);
    assert_eq!(offsets(&log), [0]);
    assert_eq!(log.with(|log| log.cleaned()), None);
    assert!(place.names().iter().all(|name| !name.contains("cleaned") && !name.contains("swap")));

    put_pairs(&log, options(NOBODY), &[("a", Some("4"))]);
    roll(&log);
    clean(&log, NOW);
    assert_eq!(offsets(&log), [1]);
    log.with(|log| log.truncate_to(Offset(0), NOW).expect("truncated"));
    assert_eq!(log.with(|log| log.cleaned()), Some(Offset(0)));
}

#[test]
fn told_to_stop_a_cleaning_leaves_no_trace() {
    let place = Place::new(compacted(1 << 20));
    let log = Mutex::new(place.open(LastStop::Clean));
    put_pairs(&log, options(NOBODY), &[("a", Some("1")), ("a", Some("2"))]);
    roll(&log);
    let names = place.names();
    let cleanable = log.with(|log| log.cleanable(NOW)).expect("judged").expect("dirty");
    for stop_at in 1..=3 {
        let mut stretches = 0;
        let outcome = cleaner().clean(&log, &cleanable, NOW, &mut |_| {
            stretches += 1;
            if stretches == stop_at { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert_eq!(outcome.expect("no failure"), Outcome::Interrupted);
        assert_eq!(place.names(), names);
        assert_eq!(offsets(&log), [0, 1]);
    }
}

#[test]
fn a_damaged_batch_is_named_and_never_given_a_new_checksum() {
    let place = Place::new(compacted(1 << 20));
    let log = Mutex::new(place.open(LastStop::Clean));
    put_pairs(&log, options(NOBODY), &[("a", Some("1")), ("a", Some("2"))]);
    roll(&log);
    let path = place.file("00000000000000000000.log");
    let mut bytes = std::fs::read(&path).expect("read");
    *bytes.last_mut().expect("bytes") ^= 1;
    std::fs::write(&path, &bytes).expect("written");

    let error = try_clean(&log, &mut cleaner(), NOW).expect_err("damaged");

    assert!(matches!(error, StorageError::Corrupt { position: 0, .. }), "{error}");
    assert_eq!(std::fs::read(&path).expect("read"), bytes);
}

/// Three segments that become one, with nothing left of the last two.
pub(super) fn three_segments(place: &Place) -> Mutex<Log> {
    let log = Mutex::new(place.open(LastStop::Clean));
    put_pairs(&log, options(NOBODY), &[("x", Some("only")), ("a", Some("1")), ("b", Some("1"))]);
    roll(&log);
    put_pairs(&log, options(NOBODY), &[("a", Some("2")), ("b", Some("2"))]);
    roll(&log);
    put_pairs(&log, options(NOBODY), &[("a", Some("3")), ("b", Some("3"))]);
    roll(&log);
    put_pairs(&log, options(NOBODY), &[("a", Some("4")), ("b", Some("4"))]);
    log.with(|log| log.roll(NOW).expect("rolled"));
    commit_all(&log);
    log
}

/// With the last dirty segment left out of the group by its size, so that the group's last segments become empty.
pub(super) fn crowded() -> LogConfig {
    LogConfig { segment_bytes: 300, ..compacted(300) }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("created");
    for entry in std::fs::read_dir(from).expect("listed") {
        let path = entry.expect("an entry").path();
        std::fs::copy(&path, to.join(path.file_name().expect("a name"))).expect("copied");
    }
}

#[test]
fn whatever_step_of_the_swap_fails_the_log_reopens_with_the_old_or_the_new_records() {
    let steps = [
        (Operation::Open, ".cleaned"),
        (Operation::Write, ".cleaned"),
        (Operation::SetLength, ".cleaned"),
        (Operation::Sync, ".cleaned"),
        (Operation::Rename, ".cleaned"),
        (Operation::SyncDirectory, "t-0"),
        (Operation::Rename, ".log"),
        (Operation::Rename, ".index"),
        (Operation::Rename, ".timeindex"),
        (Operation::Rename, ".snapshot"),
        (Operation::Rename, ".swap"),
        (Operation::Remove, ".swap"),
    ];
    let (mut failures, mut both) = (0, BTreeSet::new());
    for (operation, suffix) in steps {
        for error in [libc::EIO, libc::ENOSPC] {
            for after in 0.. {
                let disk = FaultyDisk::new();
                let place = Place::on(Arc::new(disk.clone()), crowded());
                let log = three_segments(&place);
                let old = survivors(&log);
                disk.fail_once(operation, suffix, after, error);
                let result = try_clean(&log, &mut cleaner(), NOW);
                let struck = disk.is_spent();
                disk.heal();
                if result.is_err() {
                    failures += 1;
                    let present = survivors_of_copy(&place, LastStop::Unclean);
                    both.insert(present == old);
                    check_either(&present, (operation, suffix, after));
                    assert_eq!(survivors_of_copy(&place, LastStop::Clean), present);
                }
                // What can go on does; what cannot is told so by every write.
                if try_clean(&log, &mut cleaner(), NOW).is_ok() {
                    assert_eq!(offsets(&log), [0, 7, 8]);
                } else {
                    log.with(|log| {
                        append(log, keyed(options(NOBODY), 0, &[("a", None)])).expect_err("refused")
                    });
                }
                drop(log);
                if !struck {
                    break;
                }
            }
        }
    }
    assert!(failures > 30, "{failures}");
    assert_eq!(both.len(), 2, "both outcomes happen");
}

pub(super) type Survivors = Vec<(i64, String, Option<String>)>;

fn survivors_of_copy(place: &Place, last_stop: LastStop) -> Survivors {
    let again = Place::new(crowded());
    copy(&place.folder(), &again.folder());
    let log = Mutex::new(again.open(last_stop));
    let leftover = |name: &String| [".cleaned", ".swap", ".deleted"].iter().any(|end| name.ends_with(end));
    assert!(!again.names().iter().any(leftover), "{:?}", again.names());
    survivors(&log)
}

/// Group by group either all old or all new: a swap happens for each of them.
pub(super) fn check_either(present: &Survivors, step: impl std::fmt::Debug) {
    let keep = |range: std::ops::Range<i64>, of: &Survivors| -> Vec<i64> {
        of.iter().map(|(offset, _, _)| *offset).filter(|offset| range.contains(offset)).collect()
    };
    let groups = [(0..5, vec![0, 1, 2, 3, 4], vec![0]), (5..9, vec![5, 6, 7, 8], vec![7, 8])];
    for (range, before, after) in groups {
        let found = keep(range, present);
        assert!(found == before || found == after, "{step:?} left {found:?}");
    }
}
