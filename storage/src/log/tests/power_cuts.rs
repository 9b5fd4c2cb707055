//! Power cuts at every operation of a cleaning, of a truncation and of a checkpoint: the old or the new is there, and
//! never something between.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::{Arc, Mutex};

use super::compacting::{
    Survivors, check_either, cleaner, commit_all, crowded, keyed, roll, survivors, three_segments, try_clean,
};
use super::support::*;
use crate::checkpoint::OffsetCheckpoint;
use crate::compaction::Owner;
use crate::config::LogConfig;
use crate::directory::LastStop;
use crate::disk::OsDisk;
use crate::disk::powered::{Dice, PoweredDisk, first_seed};
use crate::log::{Log, LogOptions};
use crate::store::Store;
use crate::types::{Offset, TopicPartition};

/// Of what a power cut may keep, how many samples are looked at where the cut itself is no matter of chance.
const SAMPLES: usize = 2;

/// What is left of the folder of `place` when the power is back, on a disk that works.
fn salvage(place: &Place, disk: &PoweredDisk, dice: &mut Dice) -> Place {
    let after = Place { disk: Arc::new(OsDisk), ..Place::new(place.config.clone()) };
    fs::create_dir_all(after.folder()).expect("created");
    disk.salvage(&place.folder(), &after.folder(), dice);
    after
}

fn open_at(place: &Place, recovery_point: i64, context: &str) -> Log {
    let options = LogOptions { recovery_point: Offset(recovery_point), ..place.options(LastStop::Unclean) };
    Log::open(&Store::new(place.disk.clone()), options).unwrap_or_else(|error| panic!("{context}: {error}"))
}

fn nothing_is_left_over(place: &Place, context: &str) {
    let leftover = |name: &String| [".cleaned", ".swap", ".deleted"].iter().any(|end| name.ends_with(end));
    assert!(!place.names().iter().any(leftover), "{context}: {:?}", place.names());
}

#[test]
fn a_power_cut_at_every_operation_of_a_cleaning_leaves_the_old_or_the_new_records() {
    let seed = first_seed();
    let mut outcomes = BTreeSet::new();
    for cut in 0.. {
        let disk = PoweredDisk::default();
        let place = Place::on(Arc::new(disk.clone()), crowded());
        let log = three_segments(&place);
        log.with(|log| log.flush().run().expect("flushed"));
        let old = survivors(&log);
        let end = log.with(|log| log.recovery_point().0);
        disk.fail_after(cut);
        let done = try_clean(&log, &mut cleaner(), NOW).is_ok() && !disk.has_failed();
        drop(log);
        for sample in 0..SAMPLES as u64 {
            let seed = seed + cut as u64 * 64 + sample;
            // Whatever the checkpoint says: cleaned records were synced before they took their place.
            for recovery_point in [0, end] {
                let context = format!("cut at {cut}, seed {seed}, recovery point {recovery_point}");
                let after = salvage(&place, &disk, &mut Dice(seed));
                let log = Mutex::new(open_at(&after, recovery_point, &context));
                nothing_is_left_over(&after, &context);
                let present = survivors(&log);
                check_either(&present, &context);
                outcomes.insert(present.len());
                assert!(present.iter().all(|record| old.contains(record)), "{context}: {present:?}");
                log.with(|log| log.close().expect("closed"));
                let again = Mutex::new(after.open(LastStop::Clean));
                assert_eq!(survivors(&again), present, "{context}");
                commit_all(&again);
                try_clean(&again, &mut cleaner(), NOW).expect("cleaned");
            }
        }
        if done {
            assert!(cut > 60, "{cut} operations");
            break;
        }
    }
    assert!(outcomes.len() > 1, "both outcomes happen: {outcomes:?}");
}

/// Random keys, flushes, rolls and cleanings until the power fails.
fn cleaning(seed: u64) {
    let mut dice = Dice(seed);
    let disk = PoweredDisk::default();
    let config = LogConfig { segment_bytes: 600, ..crowded() };
    let place = Place::on(Arc::new(disk.clone()), config);
    let log = Mutex::new(place.open(LastStop::Clean));
    let mut written: Survivors = Vec::new();
    let mut checkpoints = vec![0];
    disk.fail_after(dice.roll(1500));
    for _ in 0..dice.roll(150) {
        let went = match dice.roll(10) {
            0..=6 => {
                let offset = log.with(|log| log.end().0);
                let (key, value) = (format!("key {}", dice.roll(5)), format!("value {offset}"));
                let value = (dice.roll(8) > 0).then_some(value);
                let batch = keyed(options(NOBODY), NOW.0, &[(key.as_str(), value.as_deref())]);
                written.push((offset, key, value));
                log.with(|log| append(log, batch).is_ok())
            }
            7 => log.with(|log| {
                let flushed = log.flush().run().is_ok();
                if flushed {
                    checkpoints.push(log.recovery_point().0);
                }
                flushed
            }),
            8 => log.with(|log| log.roll(NOW).is_ok()),
            _ => {
                commit_all(&log);
                try_clean(&log, &mut cleaner(), NOW).is_ok() && log.with(|log| log.remove_due(NOW).is_ok())
            }
        };
        if !went {
            assert!(disk.has_failed(), "seed {seed}: a step failed while there was power");
            break;
        }
    }
    drop(log);

    let flushed = checkpoints.last().copied().unwrap_or(0);
    let context = format!("seed {seed}");
    let after = salvage(&place, &disk, &mut dice);
    let checkpoint = checkpoints[dice.roll(checkpoints.len())];
    let log = Mutex::new(open_at(&after, checkpoint, &context));
    nothing_is_left_over(&after, &context);
    let present = survivors(&log);
    assert!(present.is_sorted_by(|a, b| a.0 < b.0), "{context}: {present:?}");
    assert!(present.iter().all(|record| written.contains(record)), "{context}: {present:?}");
    let mut newest: BTreeMap<&str, i64> = BTreeMap::new();
    for (offset, key, _) in written.iter().filter(|(offset, _, _)| *offset < flushed) {
        newest.insert(key, *offset);
    }
    for (key, offset) in newest {
        let kept = present.iter().any(|(there, of, _)| of == key && *there >= offset);
        assert!(kept, "{context}: {key} at {offset} was flushed\n{present:?}");
    }
    assert!(log.with(|log| log.end().0) >= flushed, "{context}");
    roll(&log);
    try_clean(&log, &mut cleaner(), NOW).expect("cleaned");
    let keys: Vec<String> = survivors(&log).into_iter().map(|(_, key, _)| key).collect();
    assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len(), "{context}: one record a key");
}

#[test]
fn a_power_cut_at_any_moment_of_a_compacted_log_costs_no_key_its_newest_record() {
    let first = first_seed();
    for seed in first..first + if soak() { 20_000 } else { 100 } {
        cleaning(seed);
    }
}

/// A follower whose leaders change: appends, flushes, and truncations to where the next leader's log parts from its own.
fn truncating(seed: u64) {
    let mut dice = Dice(seed);
    let disk = PoweredDisk::default();
    let config = LogConfig {
        segment_bytes: 900,
        index_interval_bytes: 200,
        segment_index_bytes: 240,
        ..LogConfig::default()
    };
    let place = Place::on(Arc::new(disk.clone()), config);
    let mut log = place.open(LastStop::Clean);
    let mut current: BTreeMap<i64, String> = BTreeMap::new();
    let mut histories = Vec::new();
    let (mut epoch, mut flushed) = (0, 0);
    disk.fail_after(dice.roll(900));
    for _ in 0..dice.roll(120) {
        let end = log.end().0;
        let went = match dice.roll(10) {
            0..=6 => {
                let value = format!("{end} in epoch {epoch} {}", "v".repeat(dice.roll(200)));
                let batch = batch_at(options(NOBODY), NOW.0 + end, &[&value]);
                current.insert(end, value);
                log.append_as_leader(prepared(batch, CLIENT), lead(epoch, CLIENT)).is_ok()
            }
            7 | 8 => {
                let done = log.flush().run().is_ok();
                flushed = if done { log.recovery_point().0 } else { flushed };
                done
            }
            _ => {
                let to = end - dice.roll(8).min(end as usize) as i64;
                histories.push(current.clone());
                current.split_off(&to);
                (epoch, flushed) = (epoch + 1, flushed.min(to));
                log.truncate_to(Offset(to), NOW).is_ok()
            }
        };
        if !went {
            assert!(disk.has_failed(), "seed {seed}: a step failed while there was power");
            break;
        }
    }
    drop(log);
    histories.push(current);

    let after = salvage(&place, &disk, &mut dice);
    let log = open_at(&after, [0, flushed][dice.roll(2)], &format!("seed {seed}"));
    let there = contents(&log, 0);
    let is_of = |history: &BTreeMap<i64, String>| {
        there.iter().all(|(offset, value)| history.get(offset) == Some(value))
    };
    assert!(histories.iter().any(is_of), "seed {seed}: no leader ever had all of {there:?}");
    let current = histories.last().expect("one");
    for (offset, value) in current.range(..flushed) {
        assert!(there.contains(&(*offset, value.clone())), "seed {seed}: {offset} was flushed");
    }
}

#[test]
fn a_power_cut_after_a_truncation_never_mixes_what_was_cut_with_what_came_instead() {
    let first = first_seed();
    for seed in first..first + if soak() { 20_000 } else { 150 } {
        truncating(seed);
    }
}

#[test]
fn a_power_cut_at_every_operation_of_a_checkpoint_leaves_the_old_or_the_new_one() {
    let seed = first_seed();
    let entries = |offset: i64| {
        let entry = |partition| (TopicPartition::new("t", partition), Offset(offset + i64::from(partition)));
        (0..20).map(entry).collect::<BTreeMap<_, _>>()
    };
    let (old, new) = (entries(5), entries(70_000));
    for kind in OffsetCheckpoint::ALL {
        for cut in 0.. {
            let disk = PoweredDisk::default();
            let place = Place::on(Arc::new(disk.clone()), LogConfig::default());
            fs::create_dir_all(place.folder()).expect("created");
            kind.write(&disk, &place.folder(), &old, || ()).expect("written");
            disk.fail_after(cut);
            let done = kind.write(&disk, &place.folder(), &new, || ()).is_ok();
            for sample in 0..20 {
                let seed = seed + cut as u64 * 64 + sample;
                let after = salvage(&place, &disk, &mut Dice(seed));
                let found = kind.read(&OsDisk, &after.folder()).expect("one of them");
                assert!(found == new || (found == old && !done), "cut at {cut}, seed {seed}: {found:?}");
            }
            if done && !disk.has_failed() {
                break;
            }
        }
    }
}
