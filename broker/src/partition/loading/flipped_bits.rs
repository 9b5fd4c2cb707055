//! A flipped bit in a file at the top of a log directory: it is found or it is harmless.
//!
//! No checksum guards these files, in Kafka's format. What a number that was changed to another says is believed where
//! nothing contradicts it: a log starts there, and more or less of it is checked. A record is served as it was written or
//! not at all.

use std::fs;
use std::path::Path;

use storage::contents;
use storage::directory::MetaProperties;
use storage::disk::OsDisk;
use storage::disk::powered::{Dice, first_seed};
use storage::types::TimestampMs;

use super::*;
use crate::partition::specimen::{append, flush, folders, id, lead, open, values};

/// How many records the partition was given, and below which of them they were deleted.
const WRITTEN: i64 = 12;
const START: i64 = 3;

/// Flips that are tried in one run.
const FLIPS: u64 = 150;

const LOG_STARTS: &str = "log-start-offset-checkpoint";

/// A log directory with every file in it, as a clean stop leaves it.
fn original() -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("a folder");
    let partitions = open(Arc::new(OsDisk), root.path()).expect("opened");
    let partition = lead(&partitions);
    assert!((0..WRITTEN).all(|number| append(&partition, &number.to_string())) && flush(&partition));
    {
        let mut inner = partition.lock();
        inner.log.delete_records(Offset(START)).expect("deleted");
        inner.log.set_cleaned(Some(Offset(START + 1)));
    }
    let meta = MetaProperties {
        broker_id: Some(7),
        cluster_id: Some("obCn5KkTRGCD2gYq89WQ8g".into()),
        ..MetaProperties::default()
    };
    let now = TimestampMs(1_700_000_000_000);
    partitions.directories[0].directory.write_meta_properties(&meta, now).expect("written");
    partitions.close();
    assert_eq!(folders(root.path()), ["a/t-0"]);
    root
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("created");
    for entry in fs::read_dir(from).expect("listed") {
        let path = entry.expect("an entry").path();
        let to = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy(&path, &to);
        } else {
            fs::copy(&path, &to).expect("copied");
        }
    }
}

/// Files at the top, with something in them.
fn files(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("listed").map(|entry| entry.expect("an entry"));
    let files =
        entries.filter(|entry| entry.metadata().is_ok_and(|found| found.is_file() && found.len() > 0));
    let mut names: Vec<String> =
        files.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// What a broker finds there: where the log starts, and the values from there on.
#[track_caller]
fn found(partitions: &Partitions, case: &str) -> (i64, Vec<String>) {
    let partition = partitions.get(&id()).unwrap_or_else(|| panic!("{case}: gone"));
    let (start, high, end) = {
        let inner = partition.lock();
        (inner.log.start(), inner.log.high_watermark(), inner.log.end())
    };
    assert!(start <= high && high <= end, "{case}: {start} {high} {end}");
    (start.0, values(&partition))
}

fn flipped(original: &Path, name: &str, bit: usize, is_clean: bool) {
    let case = format!("bit {bit} of {name}, clean stop: {is_clean}");
    let root = tempfile::tempdir().expect("a folder");
    copy(original, root.path());
    let directory = root.path().join("a");
    let path = directory.join(name);
    let mut content = fs::read(&path).expect("read");
    content[bit / 8] ^= 1 << (bit % 8);
    fs::write(&path, content).expect("written");
    if !is_clean {
        fs::remove_file(directory.join(".kafka_cleanshutdown")).expect("removed");
    }
    let _ = (contents::offsets(&OsDisk, &path), contents::meta_properties(&OsDisk, &path));

    let partitions = open(Arc::new(OsDisk), root.path()).unwrap_or_else(|why| panic!("{case}: {why}"));
    let _ = partitions.directories[0].directory.meta_properties();
    let (start, there) = found(&partitions, &case);
    let expected = |start: i64| (start..WRITTEN).map(|number| number.to_string()).collect::<Vec<_>>();
    if name != LOG_STARTS {
        // Without a word of where the log starts it does with its first segment.
        assert!(start == START || start == 0, "{case}: {start}");
    }
    if name != LOG_STARTS || is_clean {
        assert!(start <= WRITTEN, "{case}: {start}");
    }
    assert_eq!(there, expected(start), "{case}");

    let partition = lead(&partitions);
    assert!(append(&partition, "next"), "{case}");
    drop(partition);
    partitions.close();
    drop(partitions);
    let again = open(Arc::new(OsDisk), root.path()).unwrap_or_else(|why| panic!("{case}, again: {why}"));
    let next = [expected(start), vec!["next".to_owned()]].concat();
    assert_eq!(found(&again, &case), (start, next), "{case}, again");
}

#[test]
fn a_flipped_bit_in_a_file_of_a_log_directory_is_found_or_harmless() {
    let original = original();
    let names = files(&original.path().join("a"));
    let expected = [
        ".kafka_cleanshutdown",
        "cleaner-offset-checkpoint",
        LOG_STARTS,
        "meta.properties",
        "recovery-point-offset-checkpoint",
        "replication-offset-checkpoint",
    ];
    assert_eq!(names, expected);
    let first = first_seed();
    for seed in first..first + FLIPS {
        let mut dice = Dice(seed);
        let name = &names[dice.roll(names.len())];
        let length = fs::read(original.path().join("a").join(name)).expect("read").len();
        flipped(original.path(), name, dice.roll(length * 8), dice.roll(2) == 0);
    }
}

#[test]
fn a_start_behind_the_end_after_a_clean_stop_costs_no_record() {
    let root = original();
    let path = root.path().join("a").join(LOG_STARTS);
    fs::write(&path, "0\n1\nt 0 700\n").expect("written");

    let partitions = open(Arc::new(OsDisk), root.path()).expect("opened");

    let (start, there) = found(&partitions, "the start is 700");
    assert_eq!((start, there.len()), (0, WRITTEN as usize));
}
