//! Power cuts at any moment and failures of any single operation: what was flushed is there, what is there was written, and
//! no offset ever has two values.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Arc;

use super::support::*;
use crate::config::LogConfig;
use crate::directory::LastStop;
use crate::disk::OsDisk;
use crate::disk::faulty::{FaultyDisk, Operation};
use crate::disk::powered::{Dice, PoweredDisk, first_seed};
use crate::log::{Log, LogOptions};
use crate::store::Store;
use crate::types::{Offset, TimestampMs};

/// What a run has done to its log, and what was promised about it.
#[derive(Default)]
struct History {
    /// What each offset was given; the last may not have been acknowledged.
    written: BTreeMap<i64, String>,
    acknowledged: i64,
    /// Everything below is promised to be on the disk.
    flushed: i64,
    /// Recovery points that a checkpoint may hold.
    checkpoints: Vec<i64>,
    start: i64,
    sequence: i32,
    last_of_producer: Option<(i32, i64)>,
}

fn crowded() -> LogConfig {
    LogConfig {
        segment_bytes: 1500,
        index_interval_bytes: 200,
        segment_index_bytes: 240,
        retention_bytes: Some(6000),
        file_delete_delay_ms: 0,
        ..LogConfig::default()
    }
}

/// One random step; false where it failed.
fn step(log: &mut Log, history: &mut History, dice: &mut Dice) -> bool {
    match dice.roll(12) {
        0..=5 => {
            let offset = log.end().0;
            let value = format!("{offset} {}", "v".repeat(dice.roll(300)));
            history.written.insert(offset, value.clone());
            let appended = append(log, batch_at(options(NOBODY), NOW.0 + offset, &[&value]));
            history.acknowledged += i64::from(appended.is_ok());
            appended.is_ok()
        }
        6 | 7 => {
            let (offset, sequence) = (log.end().0, history.sequence);
            let value = format!("{offset} by 7");
            history.written.insert(offset, value.clone());
            let batch = batch_at(options(producer(7, 0, sequence)), NOW.0 + offset, &[&value]);
            let Ok(appended) = append(log, batch) else { return false };
            assert_eq!(appended.first.0, offset);
            (history.sequence, history.last_of_producer) = (sequence + 1, Some((sequence, offset)));
            history.acknowledged += 1;
            true
        }
        8 | 9 => {
            let flushed = if dice.roll(2) == 0 { log.flush().run() } else { log.flush_inactive().run() };
            if flushed.is_ok() {
                history.flushed = history.flushed.max(log.recovery_point().0);
                history.checkpoints.push(log.recovery_point().0);
            }
            flushed.is_ok()
        }
        10 => log.roll(NOW).is_ok(),
        _ => {
            log.set_high_watermark(log.end());
            let start = log.start().0 + dice.roll(5) as i64;
            // It may have moved before what followed failed.
            history.start = history.start.max(start.min(log.end().0));
            let deleted = log.delete_records(Offset(start.min(log.end().0))).is_ok();
            let expired = log.expire(NOW);
            history.start = history.start.max(log.start().0);
            deleted && expired.is_ok() && log.remove_due(TimestampMs(NOW.0 + 1)).is_ok()
        }
    }
}

/// What must hold of the log that was opened after the run.
fn check(log: &mut Log, history: &History, context: &str) {
    let start = log.start().0;
    let there = contents(log, start);
    for (offset, value) in &there {
        assert_eq!(history.written.get(offset), Some(value), "{context}: offset {offset} has another value");
    }
    assert!(there.is_sorted_by(|a, b| a.0 < b.0), "{context}");
    // Of what was not flushed, a segment may be lost and the next one there.
    let offsets: BTreeSet<i64> = there.iter().map(|(offset, _)| *offset).collect();
    let promised = if context.contains("Killed") { log.end().0 } else { history.flushed };
    let lost = (start.max(history.start)..promised).find(|offset| !offsets.contains(offset));
    assert_eq!(lost, None, "{context}: {promised} was promised");
    if history.flushed > history.start {
        assert!(
            log.end().0 >= history.flushed,
            "{context}: {} was flushed, ends at {}",
            history.flushed,
            log.end()
        );
        assert!(start <= history.start, "{context}: starts at {start}, behind {}", history.start);
    }
    if let Some((sequence, offset)) = history.last_of_producer
        && offsets.contains(&offset)
    {
        let value = &history.written[&offset];
        let again = batch_at(options(producer(7, 0, sequence)), NOW.0 + offset, &[value]);
        let again = append(log, again).expect("known");
        assert!(again.duplicate && again.first.0 == offset, "{context}: producer forgotten");
    }
    let end = log.end().0;
    assert_eq!(put(log, &["next"]), end, "{context}");
    assert_eq!(contents(log, end).len(), 1, "{context}");
}

fn power_cut(seed: u64) {
    println!("seed {seed}");
    let mut dice = Dice(seed);
    let disk = PoweredDisk::default();
    let place = Place::on(Arc::new(disk.clone()), crowded());
    let mut history = History::default();
    let mut log = place.open(LastStop::Clean);
    disk.fail_after(dice.roll(600));
    for _ in 0..dice.roll(120) {
        if !step(&mut log, &mut history, &mut dice) {
            assert!(disk.has_failed(), "seed {seed}: a step failed while there was power");
            break;
        }
    }
    drop(log);

    let after = Place { disk: Arc::new(OsDisk), ..Place::new(crowded()) };
    fs::create_dir_all(after.folder()).expect("created");
    disk.salvage(&place.folder(), &after.folder(), &mut dice);
    let known = history.checkpoints.len();
    let checkpoint = if known > 0 { history.checkpoints[dice.roll(known)] } else { 0 };
    let options = LogOptions { recovery_point: Offset(checkpoint), ..after.options(LastStop::Unclean) };
    let mut log = Log::open(&Store::new(after.disk.clone()), options)
        .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    check(&mut log, &history, &format!("seed {seed}"));
    let all = values(&log);
    log.close().expect("closed");
    assert_eq!(values(&after.open(LastStop::Clean)), all, "seed {seed}");
}

#[test]
fn a_power_cut_at_any_moment_loses_nothing_that_was_flushed() {
    let first = first_seed();
    for seed in first..first + if soak() { 20_000 } else { 200 } {
        power_cut(seed);
    }
}

#[test]
fn a_segment_without_indexes_does_not_have_those_before_it_walked_unchecked() {
    power_cut(1_882_642_241_814_533);
}

#[test]
fn deleted_segments_that_come_back_are_not_taken_for_flushed() {
    power_cut(1_882_642_663_342_176);
}

/// A run with one failing operation: what was acknowledged is there after a kill, what was flushed after a power cut of a
/// disk that keeps everything.
fn one_failure(operation: Operation, error: i32, after: usize) -> bool {
    let context = format!("{operation:?} number {after} fails with {error}");
    let disk = FaultyDisk::new();
    let place = Place::on(Arc::new(disk.clone()), crowded());
    let mut history = History::default();
    let mut log = place.open(LastStop::Clean);
    disk.fail_once(operation, "", after, error);
    let mut dice = Dice(4711);
    for _ in 0..70 {
        step(&mut log, &mut history, &mut dice);
    }
    let struck = disk.is_spent();
    disk.heal();
    let poisoned = append(&mut log, batch_at(options(NOBODY), NOW.0, &["probe"])).is_err();
    if !poisoned {
        history.written.insert(log.end().0 - 1, "probe".to_string());
    } else {
        let failed_sync = matches!(operation, Operation::Sync | Operation::SyncDirectory);
        assert!(error == libc::EIO || failed_sync, "{context}: no space is no failure");
    }
    let end = log.end().0;
    drop(log);
    for stop in [LastStop::Killed, LastStop::Unclean] {
        let again = Place::new(crowded());
        fs::create_dir_all(again.folder()).expect("created");
        for name in place.names() {
            fs::copy(place.file(&name), again.file(&name)).expect("copied");
        }
        let mut log = again.try_open(stop).unwrap_or_else(|error| panic!("{context}, {stop:?}: {error}"));
        assert_eq!(log.end().0, end, "{context}, {stop:?}");
        check(&mut log, &history, &format!("{context}, {stop:?}"));
    }
    struck
}

#[test]
fn whatever_single_operation_fails_the_log_goes_on_or_says_that_it_does_not() {
    use Operation::{Open, Read, Remove, Rename, SetLength, Sync, SyncDirectory, Write};
    let mut struck = 0;
    for operation in [Open, Read, Write, SetLength, Sync, SyncDirectory, Rename, Remove] {
        for error in [libc::EIO, libc::ENOSPC] {
            for after in (0..).step_by(if soak() { 1 } else { 7 }) {
                if !one_failure(operation, error, after) {
                    break;
                }
                struck += 1;
            }
        }
    }
    assert!(struck > 60, "{struck}");
}
