//! What a flipped bit can do: it is found or it is harmless. Never a panic, never a record that nobody wrote.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use proptest::prelude::*;

use super::support::*;
use crate::batch::headers;
use crate::config::LogConfig;
use crate::contents::{self, Content, RecordFile};
use crate::directory::LastStop;
use crate::disk::OsDisk;
use crate::log::Log;
use crate::specimen;
use crate::types::{Offset, TimestampMs, TopicId, TopicPartition};

/// Everything of a batch of magic 2 that its checksum covers begins here.
const COVERED_FROM: usize = 21;

/// A partition with everything in it, closed.
struct Original {
    files: BTreeMap<String, Vec<u8>>,
    /// What the checksums cover of each batch, by its first offset.
    batches: BTreeMap<i64, Bytes>,
    aborted: Vec<(i64, i64)>,
    by_time: Vec<Option<i64>>,
}

static ORIGINAL: LazyLock<Original> = LazyLock::new(|| {
    let place = Place::on(Arc::new(OsDisk), specimen::config());
    specimen::write(&place.folder(), &TopicPartition::new("t", 0), TopicId([7; 16]));
    let files = specimen::files(&place.folder());
    let mut log = place.open(LastStop::Clean);
    log.set_high_watermark(log.end());
    let batches = served(&log).expect("read").into_iter().map(|(first, batch, _)| (first, batch)).collect();
    let (aborted, by_time) = (aborted(&log).expect("read"), by_time(&log).expect("read"));
    Original { files, batches, aborted, by_time }
});

fn restored() -> Place {
    let place = Place::on(Arc::new(OsDisk), specimen::config());
    std::fs::create_dir(place.folder()).expect("created");
    for (name, content) in &ORIGINAL.files {
        std::fs::write(place.file(name), content).expect("written");
    }
    place
}

fn flip(place: &Place, name: &str, bit: usize) {
    let mut content = ORIGINAL.files[name].clone();
    content[bit / 8] ^= 1 << (bit % 8);
    std::fs::write(place.file(name), content).expect("written");
}

/// First offset, covered bytes and whether the checksum is right, of every batch a reader gets.
fn served(log: &Log) -> Result<Vec<(i64, Bytes, bool)>, String> {
    let reader = log.reader();
    let mut found = Vec::new();
    let mut from = log.start();
    while from < log.end() {
        let slice = reader.read(from, 1 << 20, log.end(), true).map_err(|error| error.to_string())?;
        let before = from;
        for located in headers(slice.records.bytes()) {
            let located = located.map_err(|error| error.to_string())?;
            let entry = slice.records.bytes().slice(located.position..located.position + located.size);
            let good = located.batch.check_crc(&entry).is_ok();
            let first = located.batch.first_or_last_offset().0;
            from = located.batch.next_offset();
            found.push((first, entry.slice(COVERED_FROM.min(entry.len())..), good));
        }
        if from <= before {
            return Err(format!("nothing can be read at {before}"));
        }
    }
    Ok(found)
}

fn aborted(log: &Log) -> Result<Vec<(i64, i64)>, String> {
    let reader = log.reader();
    let mut found = BTreeSet::new();
    let mut from = log.start();
    while from < log.end() {
        let slice = reader.read(from, 1 << 20, log.end(), true).map_err(|error| error.to_string())?;
        let aborted = reader.aborted_transactions(from, &slice).map_err(|error| error.to_string())?;
        found.extend(aborted.iter().map(|one| (one.producer.0, one.first.0)));
        let last = headers(slice.records.bytes()).filter_map(Result::ok).last();
        let next = last.map(|last| last.batch.next_offset()).filter(|next| *next > from);
        from = next.ok_or("nothing can be read")?;
    }
    Ok(found.into_iter().collect())
}

fn by_time(log: &Log) -> Result<Vec<Option<i64>>, String> {
    let times = (0..42).map(|number| TimestampMs(NOW.0 + number * 1000 - 500));
    let found = times.map(|time| log.reader().offset_for_timestamp(time));
    found
        .map(|found| found.map(|found| found.map(|found| found.offset.0)))
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())
}

/// Looks at every file as `broker log` does.
fn look(place: &Place) {
    for name in place.names() {
        let path = place.file(&name);
        let Some(file) = contents::file_name(&name) else { continue };
        let base = file.base.unwrap_or_default();
        match file.content {
            Content::Records => {
                let records = RecordFile::open(&OsDisk, &path).expect("opened");
                let mut walk = records.walk();
                while let Ok(Some(entry)) = walk.next_entry() {
                    let bytes = records.entry(&entry).expect("read").expect("small");
                    if let Ok(records) = crate::batch::records(&bytes) {
                        records.for_each(drop);
                    }
                }
                assert!(walk.position() <= records.size());
            }
            Content::OffsetIndex => {
                let mut index = contents::offset_index(&OsDisk, &path, base).expect("opened");
                while index.next_entry().expect("read").is_some() {}
            }
            Content::TimeIndex => {
                let mut index = contents::time_index(&OsDisk, &path, base).expect("opened");
                while index.next_entry().expect("read").is_some() {}
            }
            Content::TransactionIndex => drop(contents::aborted_transactions(&OsDisk, &path)),
            Content::Producers => drop(contents::producers(&OsDisk, &path)),
            Content::LeaderEpochs => drop(contents::leader_epochs(&OsDisk, &path)),
            Content::TopicId => drop(contents::topic_id(&OsDisk, &path)),
            other => panic!("{other:?} in the folder of a partition"),
        }
    }
}

/// Whether `bit` of a record file lies in a part of a batch that no checksum covers and no reader can check: the first
/// offset and the leader's epoch.
fn is_unprotected(name: &str, bit: usize) -> bool {
    let content = Bytes::from(ORIGINAL.files[name].clone());
    let byte = bit / 8;
    headers(&content).filter_map(Result::ok).any(|located| {
        let within = byte.wrapping_sub(located.position);
        within < 8 || (12..16).contains(&within)
    })
}

fn check(name: &str, bit: usize, last_stop: LastStop) {
    let place = restored();
    flip(&place, name, bit);
    look(&place);
    let Ok(mut log) = place.try_open(last_stop) else { return };
    log.set_high_watermark(log.end());
    let case = format!("bit {bit} of {name}, {last_stop:?}");
    let unprotected = name.ends_with(".log") && is_unprotected(name, bit);
    let Ok(found) = served(&log) else { return };
    let mut next = log.start().0;
    for (first, covered, good) in &found {
        assert!(*good, "{case}: served with a wrong checksum");
        if !unprotected {
            assert_eq!(ORIGINAL.batches.get(first), Some(covered), "{case}: nobody wrote this");
        }
        assert!(*first >= next || unprotected, "{case}: {first} follows {next}");
        next = first + 1;
    }
    if !name.ends_with(".log") {
        assert_eq!(found.len(), ORIGINAL.batches.len(), "{case}: records are missing");
        // An entry of this index has no checksum; what its order does not betray, `broker log verify` finds.
        let can_hide = name.ends_with(".txnindex") && last_stop == LastStop::Clean;
        if let Some(aborted) = aborted(&log).ok().filter(|_| !can_hide) {
            assert_eq!(aborted, ORIGINAL.aborted, "{case}");
        }
        if let Ok(by_time) = by_time(&log) {
            assert_eq!(by_time, ORIGINAL.by_time, "{case}");
        }
        put(&mut log, &["goes on"]);
    }
    drop(log.close());
}

fn places() -> impl Strategy<Value = (String, usize)> {
    let files: Vec<(String, usize)> = ORIGINAL
        .files
        .iter()
        .filter(|(_, content)| !content.is_empty())
        .map(|(name, content)| (name.clone(), content.len() * 8))
        .collect();
    proptest::sample::select(files).prop_flat_map(|(name, bits)| (Just(name), 0..bits))
}

proptest! {
    #[test]
    fn a_flipped_bit_is_found_or_harmless((name, bit) in places(), clean: bool) {
        check(&name, bit, if clean { LastStop::Clean } else { LastStop::Unclean });
    }

    #[test]
    fn a_file_cut_off_anywhere_is_no_end_of_the_world((name, bit) in places(), clean: bool) {
        let place = restored();
        std::fs::write(place.file(&name), &ORIGINAL.files[&name][..bit / 8]).expect("written");
        look(&place);
        let last_stop = if clean { LastStop::Clean } else { LastStop::Unclean };
        if let Ok(log) = place.try_open(last_stop) {
            for (first, covered, good) in served(&log).unwrap_or_default() {
                prop_assert!(good);
                prop_assert_eq!(ORIGINAL.batches.get(&first), Some(&covered));
            }
        }
    }
}

#[test]
fn a_batch_with_a_wrong_checksum_is_never_served_and_those_around_it_are() {
    const FILE: &str = "00000000000000000000.log";
    let all: Vec<_> = headers(&ORIGINAL.files[FILE]).map(|located| located.expect("a batch")).collect();
    let bad = &all[3];
    let (first, next) = (bad.batch.first_or_last_offset(), bad.batch.next_offset());
    for last_stop in [LastStop::Clean, LastStop::Killed] {
        // One in the records, one in the length: then nothing tells where the next batch begins.
        for (byte, behind_is_known) in [(bad.position + 70, true), (bad.position + 8, false)] {
            let place = restored();
            flip(&place, FILE, byte * 8);
            let mut log = place.open(last_stop);
            log.set_high_watermark(log.end());
            let reader = log.reader();
            let case = format!("byte {byte} after {last_stop:?}");

            let before = reader.read(Offset(0), 1 << 20, log.end(), true).expect("read");
            assert_eq!(before.records.len(), bad.position, "{case}: what comes before is served");
            for _ in 0..2 {
                let error = reader.read(first, 1 << 20, log.end(), true).expect_err("refused");
                let place = format!("{FILE} is damaged at byte {}", bad.position);
                assert!(error.to_string().contains(&place), "{case}: {error}");
            }
            if behind_is_known {
                let behind = reader.read(next, 1 << 20, log.end(), true).expect("read");
                assert_eq!(behind.begin.position, (bad.position + bad.size) as u64, "{case}");
                assert!(!behind.records.is_empty(), "{case}: what comes behind is served");
            }
        }
    }
}

#[test]
fn the_time_of_a_damaged_record_is_not_told() {
    const FILE: &str = "00000000000000000000.log";
    let bad = headers(&ORIGINAL.files[FILE]).nth(3).expect("many").expect("a batch");
    let place = restored();
    flip(&place, FILE, (bad.position + 70) * 8);
    let log = place.open(LastStop::Clean);

    let error = log.reader().offset_for_timestamp(bad.batch.max_timestamp()).expect_err("refused");

    assert!(error.to_string().contains(&format!("damaged at byte {}", bad.position)), "{error}");
}

#[test]
fn what_this_process_has_written_or_checked_is_not_checked_again() {
    let place = Place::on(Arc::new(OsDisk), LogConfig::default());
    let mut log = place.open(LastStop::Clean);
    let spoil = |record: usize| {
        let path = place.file("00000000000000000000.log");
        let mut content = std::fs::read(&path).expect("read");
        let position = headers(&content).nth(record).expect("there").expect("a batch").position;
        content[position + 65] ^= 1;
        std::fs::write(&path, &content).expect("written");
    };
    for number in 0..200 {
        put(&mut log, &[&format!("record {number}")]);
    }
    let read = |log: &Log, from: i64| log.reader().read(Offset(from), 1 << 20, log.end(), true);
    spoil(0);
    assert!(read(&log, 0).is_ok(), "just written");
    log.close().expect("closed");

    spoil(0);
    let mut log = place.open(LastStop::Clean);
    let whole = read(&log, 0).expect("read").records.len();
    spoil(100);
    let rest = read(&log, 50).expect("read");
    assert_eq!(rest.records.len() + rest.begin.position as usize, whole, "checked before");
    put(&mut log, &["more"]);
    spoil(200);
    assert!(read(&log, 200).is_ok(), "just written");
    drop(log);
    assert!(read(&place.open(LastStop::Clean), 100).is_err(), "found by the next process");
}

#[test]
fn every_file_of_a_partition_says_what_it_holds() {
    let place = restored();
    let kinds: BTreeSet<String> = place
        .names()
        .iter()
        .map(|name| format!("{:?}", contents::file_name(name).expect("Kafka's name").content))
        .collect();
    let expected =
        ["LeaderEpochs", "OffsetIndex", "Producers", "Records", "TimeIndex", "TopicId", "TransactionIndex"];
    assert_eq!(kinds.iter().map(String::as_str).collect::<Vec<_>>(), expected);
    let records = RecordFile::open(&OsDisk, &place.file("00000000000000000000.log")).expect("opened");
    let mut walk = records.walk();
    let mut index = contents::offset_index(&OsDisk, &place.file("00000000000000000000.index"), Offset(0))
        .expect("opened");
    let mut places = Vec::new();
    while let Some((_, place)) = index.next_entry().expect("read") {
        places.push((place.position, place.offset));
    }
    let mut batches = BTreeMap::new();
    while let Some(entry) = walk.next_entry().expect("read") {
        assert_eq!(entry.damage, None);
        batches.insert(entry.position as u32, entry.batch.last_offset());
    }
    assert!(places.len() > 2);
    assert!(places.iter().all(|(position, offset)| batches[position] == *offset));
    assert_eq!(walk.position(), records.size());
    assert_eq!(
        contents::file_name("meta.properties").map(|file| file.content),
        Some(Content::MetaProperties)
    );
    assert_eq!(
        contents::file_name("00000000000000000007.log.deleted").map(|file| file.suffix),
        Some(".deleted")
    );
    assert_eq!(contents::file_name("notes.txt"), None);
}

#[test]
fn a_batch_with_a_wrong_checksum_is_shown_and_so_is_what_follows() {
    let place = restored();
    let content = &ORIGINAL.files["00000000000000000000.log"];
    let all: Vec<_> = headers(content).map(|located| located.expect("a batch")).collect();
    flip(&place, "00000000000000000000.log", (all[2].position + 70) * 8);

    let records = RecordFile::open(&OsDisk, &place.file("00000000000000000000.log")).expect("opened");
    let mut walk = records.walk();
    let mut damaged = Vec::new();
    let mut count = 0;
    while let Some(entry) = walk.next_entry().expect("read") {
        count += 1;
        damaged.extend(entry.damage.map(|why| (entry.position, why)));
    }

    assert_eq!(count, all.len());
    assert_eq!(damaged.len(), 1);
    assert_eq!(damaged[0].0, all[2].position as u64);
    assert!(damaged[0].1.contains("crc"), "{}", damaged[0].1);
}
