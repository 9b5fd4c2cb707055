//! What we promise about compacted topics: the records that stay are those that Apache Kafka 3.9.1 leaves of the same
//! log, batch by batch, its tools find nothing wrong with what we have written, and it goes on where our cleaner was killed.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use storage::batch::{
    BatchBuilder, BatchOptions, BatchProducer, BatchView, Record, TargetCompression, headers, records,
};
use storage::checkpoint::OffsetCheckpoint;
use storage::compaction::{Cleaner, CleanerSettings, Outcome, Owner};
use storage::config::{Cleanup, LogConfig};
use storage::directory::LastStop;
use storage::disk::powered::PoweredDisk;
use storage::disk::{Disk, OsDisk};
use storage::error::StorageError;
use storage::log::{Log, LogOptions};
use storage::producers::ProducerSettings;
use storage::store::Store;
use storage::types::{Offset, TimestampMs, TopicPartition};
use support::offline::append_behind_a_gap;
use support::process::PATIENCE;
use support::records::now_ms;
use support::requests::{self, is_passing, outcome, produce_request, text};
use support::seat::{Broker, Kind};
use support::transactional::write_marker;
use support::wire::Connection;
use support::{stock, talk, until};

const DAY_MS: i64 = 24 * 3_600_000;

/// All records are older. Unit: ms.
const LAG_MS: i64 = 1_800_000;

/// A topic, and what it is configured with beside what all have.
#[derive(Clone, Copy)]
struct Topic {
    name: &'static str,
    delete_retention_ms: i64,
    dirty_ratio: f64,
    max_compaction_lag_ms: i64,
}

/// Cleaned as soon as anything is dirty, and what is deleted goes.
const LATEST: Topic =
    Topic { name: "latest", delete_retention_ms: 0, dirty_ratio: 0.01, max_compaction_lag_ms: i64::MAX };

/// Beside it one whose markers and tombstones stay, and one that is never so dirty that it is cleaned, but too old.
const TOPICS: [Topic; 3] = [
    LATEST,
    Topic { name: "remembered", delete_retention_ms: DAY_MS, ..LATEST },
    Topic { name: "overdue", dirty_ratio: 1.0, max_compaction_lag_ms: LAG_MS, ..LATEST },
];

/// Its partitions get what a cleaning leaves that is killed, each of another moment.
const KILLED: Topic = Topic { name: "killed", ..LATEST };

/// More than there are such moments.
const MOMENTS_MAX: i32 = 120;

impl Topic {
    /// As at Apache's.
    fn config(self) -> LogConfig {
        LogConfig {
            segment_bytes: 4000,
            index_interval_bytes: 200,
            retention_ms: None,
            delete_retention_ms: self.delete_retention_ms,
            min_cleanable_dirty_ratio: self.dirty_ratio,
            max_compaction_lag_ms: self.max_compaction_lag_ms,
            cleanup: Cleanup { delete: false, compact: true },
            ..LogConfig::default()
        }
    }

    fn create(self, connection: &mut Connection) {
        let settings = [
            ("cleanup.policy", "compact".to_string()),
            ("segment.bytes", "4000".to_string()),
            ("index.interval.bytes", "200".to_string()),
            ("delete.retention.ms", self.delete_retention_ms.to_string()),
            ("min.cleanable.dirty.ratio", self.dirty_ratio.to_string()),
            ("max.compaction.lag.ms", self.max_compaction_lag_ms.to_string()),
        ];
        let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
        requests::create_topic(connection, self.name, 1, 1, &settings);
    }
}

/// Sends one batch to each topic, again and again while the broker does not lead it yet.
fn produce(connection: &mut Connection, batch: &Bytes, transactional: bool) {
    for topic in TOPICS {
        produce_to(connection, topic.name, batch, transactional);
    }
}

fn produce_to(connection: &mut Connection, topic: &str, batch: &Bytes, transactional: bool) {
    let id = transactional.then(|| text("tx").into());
    let request = produce_request(topic, 0, -1, batch).with_transactional_id(id);
    until("the batch is taken", || match outcome(&connection.request(9, &request)).0 {
        0 => true,
        error => {
            assert!(is_passing(error), "error {error}");
            false
        }
    });
}

/// Numbers that look random and are the same every time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// What the producers have come to.
struct Writing {
    dice: Dice,
    sequences: BTreeMap<i64, i32>,
    base: i64,
}

impl Writing {
    fn batch(&mut self, producer: Option<i64>, transactional: bool) -> Bytes {
        let codecs = [
            TargetCompression::Uncompressed,
            TargetCompression::Uncompressed,
            TargetCompression::Gzip { level: 6 },
            TargetCompression::Snappy,
            TargetCompression::Lz4 { level: 9 },
            TargetCompression::Zstd { level: 3 },
        ];
        let count = 1 + self.dice.roll(6);
        let producer = producer.map_or(BatchProducer::NONE, |id| {
            let sequence = self.sequences.entry(id).or_default();
            let base_sequence = *sequence;
            *sequence += count as i32;
            BatchProducer { id: storage::types::ProducerId(id), epoch: 0, base_sequence }
        });
        let compression = codecs[self.dice.roll(codecs.len() as u64) as usize];
        let options = BatchOptions {
            compression,
            producer,
            is_transactional: transactional,
            ..BatchOptions::default()
        };
        let mut builder = BatchBuilder::new(options).expect("a builder");
        for _ in 0..count {
            self.base += 1;
            let key = format!("key {}", self.dice.roll(40));
            let value = "v".repeat(self.dice.roll(60) as usize);
            let value = (self.dice.roll(6) > 0).then_some(value.as_bytes());
            let timestamp = TimestampMs(self.base - self.dice.roll(50) as i64);
            builder.append(timestamp, Some(key.as_bytes()), value, &[]).expect("appended");
        }
        builder.build().expect("built")
    }

    /// Plain, idempotent and transactional batches; every fourth transaction or so is aborted.
    fn write(&mut self, connection: &mut Connection, rounds: usize) {
        for _ in 0..rounds {
            match self.dice.roll(4) {
                0 => {
                    let producer = 5000 + self.dice.roll(6) as i64;
                    let batch = self.batch(Some(producer), false);
                    produce(connection, &batch, false);
                }
                1 => {
                    let producer = 6000 + self.dice.roll(8) as i64;
                    for _ in 0..1 + self.dice.roll(2) {
                        let batch = self.batch(Some(producer), true);
                        produce(connection, &batch, true);
                    }
                    let commit = self.dice.roll(4) > 0;
                    for topic in TOPICS {
                        write_marker(connection, topic.name, producer, commit);
                    }
                }
                _ => {
                    let batch = self.batch(None, false);
                    produce(connection, &batch, false);
                }
            }
        }
    }
}

/// Turns Apache's cleaner on or off for the next start.
fn set_cleaner(broker: &Broker, on: bool) {
    let text = fs::read_to_string(broker.properties()).expect("read");
    let lines = text.lines().filter(|line| !line.starts_with("log.cleaner.enable="));
    let mut text: String = lines.map(|line| format!("{line}\n")).collect();
    text.push_str(&format!("log.cleaner.enable={on}\n"));
    fs::write(broker.properties(), text).expect("written");
}

fn checkpoint(directory: &Path, topic: Topic) -> Option<Offset> {
    let all = OffsetCheckpoint::Cleaner.read(&OsDisk, directory).unwrap_or_default();
    all.get(&TopicPartition::new(topic.name, 0)).copied()
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("created");
    for entry in fs::read_dir(from).expect("listed") {
        let path = entry.expect("an entry").path();
        fs::copy(&path, to.join(path.file_name().expect("a name"))).expect("copied");
    }
}

fn open(disk: Arc<dyn Disk>, folder: &Path, topic: Topic) -> Log {
    let options = LogOptions {
        folder: folder.to_path_buf(),
        partition: TopicPartition::new(topic.name, 0),
        config: Arc::new(topic.config()),
        recovery_point: Offset::ZERO,
        log_start: Offset::ZERO,
        last_stop: LastStop::Clean,
        topic_id: None,
        producers: ProducerSettings { verify_transactions: false, ..ProducerSettings::default() },
        now: TimestampMs(now_ms()),
    };
    let mut log = Log::open(&Store::new(disk), options).expect("opened");
    log.set_high_watermark(log.end());
    log
}

/// Yields up to where the log is clean; `Err` where its disk fails.
fn try_clean(log: &Mutex<Log>, topic: Topic) -> Result<Offset, StorageError> {
    let mut cleaner = Cleaner::new(CleanerSettings { map_bytes: 1 << 20, load_factor: 0.9 }).expect("room");
    let now = TimestampMs(now_ms());
    let cleanable = log.with(|log| log.cleanable(now))?;
    let cleanable = cleanable.unwrap_or_else(|| panic!("nothing of {} is dirty", topic.name));
    assert!(cleanable.is_due(&topic.config()), "{}", topic.name);
    match cleaner.clean(log, &cleanable, now, &mut |_| ControlFlow::Continue(()))? {
        Outcome::Cleaned(summary) => Ok(summary.upto),
        Outcome::Interrupted => panic!("nobody interrupted it"),
    }
}

fn clean(folder: &Path, topic: Topic, cleaned: Option<Offset>) -> Offset {
    let mut log = open(Arc::new(OsDisk), folder, topic);
    log.set_cleaned(cleaned);
    let log = Mutex::new(log);
    let upto = try_clean(&log, topic).expect("cleaned");
    log.with(|log| log.remove_due(TimestampMs(i64::MAX)).expect("removed"));
    log.with(|log| log.close().expect("closed"));
    upto
}

/// Every batch by segment: the header without what depends on the time of cleaning, and the records.
fn batches(folder: &Path) -> BTreeMap<String, Vec<(String, Vec<Record>)>> {
    let mut segments = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("listed") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if !name.ends_with(".log") {
            continue;
        }
        let content = Bytes::from(fs::read(&path).expect("read"));
        let mut found = Vec::new();
        for located in headers(&content) {
            let located = located.expect("a batch");
            let entry = content.slice(located.position..located.position + located.size);
            located.batch.check_crc(&entry).expect("a good checksum");
            let BatchView::V2(mut header) = located.batch else { panic!("magic 2") };
            let records: Vec<Record> =
                records(&entry).expect("records").map(|record| record.expect("a record")).collect();
            if header.delete_horizon().is_some() {
                // The horizon, and the timestamps that count from it, are set by the clock.
                (header.base_timestamp, header.length, header.crc) = (TimestampMs::NONE, 0, 0);
            }
            if header.attributes.is_compressed() {
                // Zlib, lz4 and zstd come in many versions; what they hold is compared.
                (header.length, header.crc) = (0, 0);
            }
            found.push((format!("{header:?}"), records));
        }
        segments.insert(name, found);
    }
    segments
}

fn transaction_indexes(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let paths = fs::read_dir(folder).expect("listed").map(|entry| entry.expect("an entry").path());
    let indexes = paths.filter(|path| path.extension().is_some_and(|extension| extension == "txnindex"));
    indexes
        .map(|path| {
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            (name, fs::read(path).expect("read"))
        })
        .filter(|(_, content)| !content.is_empty())
        .collect()
}

/// Offset, key and value of every record that is no marker.
type Survivors = BTreeSet<(i64, Option<Bytes>, Option<Bytes>)>;

fn survivors(folder: &Path) -> Survivors {
    let records = batches(folder).into_values().flatten().flat_map(|(_, records)| records);
    let all: Vec<_> = records.map(|record| (record.offset.0, record.key, record.value)).collect();
    assert!(all.is_sorted_by(|(one, ..), (next, ..)| one < next), "{}: {all:?}", folder.display());
    // The keys of markers are numbers.
    let is_data = |key: &Option<Bytes>| key.as_ref().is_some_and(|key| key.is_ascii() && key[0] != 0);
    all.into_iter().filter(|(_, key, _)| is_data(key)).collect()
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).expect("listed").map(|entry| entry.expect("an entry").file_name());
    entries.map(|name| name.to_string_lossy().into_owned()).collect()
}

/// Small segments with the same keys again and again, so that of most of them nothing stays; a key that comes once, and a
/// transaction that is aborted.
fn write_killed(connection: &mut Connection) {
    let settings = [
        ("cleanup.policy", "compact"),
        ("segment.bytes", "1500"),
        ("index.interval.bytes", "200"),
        ("delete.retention.ms", "0"),
        ("min.cleanable.dirty.ratio", "0.01"),
    ];
    requests::create_topic(connection, KILLED.name, MOMENTS_MAX, 1, &settings);
    let batch = |round: usize, options: BatchOptions| {
        let mut builder = BatchBuilder::new(options).expect("a builder");
        let keys = (0..8).map(|key| format!("key {key}"));
        for key in keys.chain((round == 0).then(|| "once".to_owned())) {
            let value = format!("value of round {round}");
            let (key, value) = (Some(key.as_bytes()), Some(value.as_bytes()));
            builder.append(TimestampMs(now_ms()), key, value, &[]).expect("appended");
        }
        builder.build().expect("built")
    };
    for round in 0..24 {
        produce_to(connection, KILLED.name, &batch(round, BatchOptions::default()), false);
        if round == 2 {
            let producer = BatchProducer { id: storage::types::ProducerId(7000), epoch: 0, base_sequence: 0 };
            let options = BatchOptions { producer, is_transactional: true, ..BatchOptions::default() };
            produce_to(connection, KILLED.name, &batch(round, options), true);
            write_marker(connection, KILLED.name, 7000, false);
        }
    }
}

/// What a kill of our cleaner leaves of a partition, at each moment that can be told by the names of its files.
fn moments(folder: &Path) -> Vec<tempfile::TempDir> {
    let mut moments: Vec<tempfile::TempDir> = Vec::new();
    let mut before = BTreeSet::new();
    for changes in 0.. {
        let left = tempfile::tempdir().expect("a folder");
        copy_folder(folder, left.path());
        let disk = PoweredDisk::default();
        let log = Mutex::new(open(Arc::new(disk.clone()), left.path(), KILLED));
        disk.fail_after(changes);
        let is_done = try_clean(&log, KILLED).is_ok();
        drop(log);
        let names = names(left.path());
        if names != before {
            before = names;
            moments.push(left);
        }
        if is_done {
            break;
        }
    }
    moments
}

/// Of each key the newest record.
fn newest(survivors: &Survivors) -> BTreeMap<&Bytes, i64> {
    survivors.iter().filter_map(|(offset, key, _)| Some((key.as_ref()?, *offset))).collect()
}

/// Apache's broker starts with what kills of our cleaner have left, and has the old records or the new.
fn hand_over_what_was_killed(broker: &mut Broker, original: &Survivors, moments: &[tempfile::TempDir]) {
    assert!((20..MOMENTS_MAX as usize).contains(&moments.len()), "{}", moments.len());
    let folder = |partition| broker.log_dir().join(format!("{}-{partition}", KILLED.name));
    let folders: Vec<PathBuf> = (0..moments.len()).map(folder).collect();
    for (folder, left) in folders.iter().zip(moments) {
        for name in names(folder).iter().filter(|name| *name != "partition.metadata") {
            fs::remove_file(folder.join(name)).expect("removed");
        }
        for name in names(left.path()).iter().filter(|name| *name != "partition.metadata") {
            fs::copy(left.path().join(name), folder.join(name)).expect("copied");
        }
    }
    fs::remove_file(broker.log_dir().join(".kafka_cleanshutdown")).expect("a kill leaves none");

    broker.restart();

    let mut connection = broker.connect();
    let mut sizes = BTreeSet::new();
    for (partition, folder) in folders.iter().enumerate() {
        let case = format!("{partition}: {:?}", names(moments[partition].path()));
        let end = talk::end_offset(&mut connection, KILLED.name, partition as i32);
        assert_eq!(Some(end - 1), original.last().map(|(offset, ..)| *offset), "{case}");
        let left = survivors(folder);
        assert!(left.is_subset(original), "{case}: {left:?}");
        assert_eq!(newest(&left), newest(original), "{case}");
        let unfinished = |name: &String| name.ends_with(".swap") || name.ends_with(".cleaned");
        assert!(!names(folder).iter().any(unfinished), "{case}: {:?}", names(folder));
        sizes.insert(left.len());
    }
    assert!(sizes.len() > 2, "old records, new ones, and each group by itself: {sizes:?}");
    drop(connection);
}

fn assert_nothing_is_wrong(folder: &Path) {
    let wanted = [".log", ".index", ".timeindex", ".txnindex"];
    let paths = fs::read_dir(folder).expect("listed").map(|entry| entry.expect("an entry").path());
    let mut names: Vec<String> = paths.map(|path| path.display().to_string()).collect();
    names.retain(|name| wanted.iter().any(|suffix| name.ends_with(suffix)));
    names.sort();
    let arguments = ["--deep-iteration", "--files", &names.join(",")];
    let output = stock::tool("3.9.1", "kafka-dump-log", &arguments, "").success();
    for complaint in ["isvalid: false", "Mismatches", "out of order", "invalid bytes", "Could not"] {
        assert!(!output.contains(complaint), "{complaint}\n{output}");
    }
}

#[test]
fn what_stays_of_a_log_is_what_apaches_cleaner_leaves_and_it_goes_on_where_ours_was_killed() {
    let mut broker = Broker::start_with(
        Kind::Apache,
        &[
            ("transaction.partition.verification.enable", "false"),
            ("log.cleaner.enable", "false"),
            ("log.cleaner.backoff.ms", "100"),
            ("log.initial.task.delay.ms", "3600000"),
        ],
    );
    for topic in TOPICS {
        topic.create(&mut broker.connect());
    }
    let mut writing = Writing { dice: Dice(39), sequences: BTreeMap::new(), base: now_ms() - 2 * LAG_MS };
    let directory = broker.log_dir();
    let apaches = |topic: Topic| directory.join(format!("{}-0", topic.name));
    // The first pass sets delete horizons, the second finds them passed, the third meets markers without transactions.
    for pass in 0..3 {
        writing.write(&mut broker.connect(), 150);
        if pass == 2 {
            write_killed(&mut broker.connect());
        }
        broker.stop();
        let killed = (pass == 2).then(|| apaches(KILLED)).map(|path| (survivors(&path), moments(&path)));
        if pass == 1 {
            // Segments on both sides of the gap cannot become one: their offsets are too far apart for its indexes.
            append_behind_a_gap(&directory, LATEST.name, 3 << 31);
        }
        let folder = tempfile::tempdir().expect("a folder");
        let cleaned = TOPICS.map(|topic| {
            let (cleaned, ours) = (checkpoint(&directory, topic), folder.path().join(topic.name));
            copy_folder(&apaches(topic), &ours);
            let before = batches(&ours);
            let upto = clean(&ours, topic, cleaned);
            (topic, cleaned, upto, ours, before)
        });

        set_cleaner(&broker, true);
        broker.restart();
        let deadline = Instant::now() + PATIENCE;
        let all_done = || cleaned.iter().all(|(topic, before, ..)| checkpoint(&directory, *topic) != *before);
        while !all_done() {
            assert!(Instant::now() < deadline, "Apache's cleaner did nothing\n{}", broker.log());
            std::thread::park_timeout(Duration::from_millis(20));
        }
        broker.stop();
        for (topic, _, upto, ours, before) in cleaned {
            let place = format!("{} in pass {pass}", topic.name);
            assert_eq!(checkpoint(&directory, topic), Some(upto), "{place}");
            let (theirs, found) = (batches(&apaches(topic)), batches(&ours));
            assert_eq!(found.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>(), "{place}");
            for (name, segment) in &theirs {
                assert_eq!(&found[name], segment, "{name} of {place}");
            }
            assert!(theirs.values().flatten().count() < before.values().flatten().count(), "{place}");
            assert_eq!(transaction_indexes(&ours), transaction_indexes(&apaches(topic)), "{place}");
            assert_nothing_is_wrong(&ours);
        }
        set_cleaner(&broker, false);
        match killed {
            Some((original, moments)) => hand_over_what_was_killed(&mut broker, &original, &moments),
            None => broker.restart(),
        }
    }
}
