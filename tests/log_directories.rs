//! What we promise about log directories: Apache Kafka 3.9.1 opens ours, we open Apache's, and given the same batches
//! both have the same bytes.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use storage::batch::{
    BatchBuilder, BatchOptions, BatchProducer, Origin, TargetCompression, headers, prepare,
};
use storage::config::LogConfig;
use storage::directory::LastStop;
use storage::disk::OsDisk;
use storage::log::{Appended, LeaderAppend, Log, LogOptions};
use storage::producers::{ProducerSettings, VerificationGuard};
use storage::specimen::rules;
use storage::store::Store;
use storage::types::{LeaderEpoch, Offset, TimestampMs, TopicPartition};
use support::records::now_ms;
use support::requests::{self, is_passing, outcome, produce_request, text};
use support::seat::{Broker, Kind};
use support::transactional::write_marker;
use support::wire::Connection;
use support::{stock, talk, until};

const TOPIC: &str = "same";

/// Of the topic here and there: small segments, dense indexes.
fn config() -> LogConfig {
    LogConfig { segment_bytes: 3000, index_interval_bytes: 200, retention_ms: None, ..LogConfig::default() }
}

fn apache() -> Broker {
    let broker = Broker::start_with(
        Kind::Apache,
        &[("transaction.partition.verification.enable", "false"), ("log.initial.task.delay.ms", "3600000")],
    );
    let settings = [("segment.bytes", "3000"), ("index.interval.bytes", "200"), ("retention.ms", "-1")];
    requests::create_topic(&mut broker.connect(), TOPIC, 1, 1, &settings);
    broker
}

/// Sends one batch; yields error code and base offset.
fn produce(connection: &mut Connection, batch: &Bytes, transactional: bool) -> (i16, i64) {
    let id = transactional.then(|| text("tx").into());
    let request = produce_request(TOPIC, 0, -1, batch).with_transactional_id(id);
    outcome(&connection.request(9, &request))
}

/// Repeats a request while the broker does not lead the new topic yet.
fn produce_patiently(connection: &mut Connection, batch: &Bytes, transactional: bool) -> (i16, i64) {
    let mut answer = (-1, -1);
    until("the broker leads the topic", || {
        answer = produce(connection, batch, transactional);
        !is_passing(answer.0)
    });
    answer
}

fn end_offset(connection: &mut Connection) -> i64 {
    talk::end_offset(connection, TOPIC, 0)
}

/// Batches of all kinds, the same at every call with the same `base`: plain, idempotent, compressed, with records out
/// of order in time. Unit of `base`: ms.
fn batches(base: i64, count: i64) -> Vec<Bytes> {
    let codecs = [
        TargetCompression::Uncompressed,
        TargetCompression::Uncompressed,
        TargetCompression::Zstd { level: 3 },
        TargetCompression::Gzip { level: 6 },
    ];
    let mut sequences: BTreeMap<i64, i32> = BTreeMap::new();
    let one = |number: i64| {
        let records = 1 + number % 4;
        let mut producer = BatchProducer::NONE;
        if number % 3 == 1 {
            let id = 4000 + number % 5;
            let sequence = sequences.entry(id).or_default();
            producer =
                BatchProducer { id: storage::types::ProducerId(id), epoch: 0, base_sequence: *sequence };
            *sequence += records as i32;
        }
        let options =
            BatchOptions { compression: codecs[(number % 4) as usize], producer, ..BatchOptions::default() };
        let mut builder = BatchBuilder::new(options).expect("a builder");
        for record in 0..records {
            let timestamp = TimestampMs(base + number * 10 - (number % 7) * 100 + record);
            let value =
                format!("record {record} of batch {number} {}", "x".repeat((number * 13 % 120) as usize));
            builder.append(timestamp, Some(b"key"), Some(value.as_bytes()), &[]).expect("appended");
        }
        builder.build().expect("built")
    };
    (0..count).map(one).collect()
}

fn transactional(base: i64, producer: i64, sequence: i32) -> Bytes {
    let producer =
        BatchProducer { id: storage::types::ProducerId(producer), epoch: 0, base_sequence: sequence };
    let options = BatchOptions { producer, is_transactional: true, ..BatchOptions::default() };
    let mut builder = BatchBuilder::new(options).expect("a builder");
    builder.append(TimestampMs(base), None, Some(&[b'v'; 150]), &[]).expect("appended");
    builder.build().expect("built")
}

fn open(folder: &Path, last_stop: LastStop) -> Log {
    let options = LogOptions {
        folder: folder.to_path_buf(),
        partition: TopicPartition::new(TOPIC, 0),
        config: Arc::new(config()),
        recovery_point: Offset::ZERO,
        log_start: Offset::ZERO,
        last_stop,
        topic_id: None,
        producers: ProducerSettings { verify_transactions: false, ..ProducerSettings::default() },
        now: TimestampMs(now_ms()),
    };
    Log::open(&Store::new(Arc::new(OsDisk)), options).expect("opened")
}

fn append(log: &mut Log, batch: &Bytes) -> Appended {
    let origin = Origin::Client { produce_version: 9 };
    let rules = rules(&TopicPartition::new(TOPIC, 0), origin);
    let now = TimestampMs(now_ms());
    let prepared = prepare(batch.clone(), &rules, now).expect("accepted").expect("a batch");
    let how = LeaderAppend { origin, epoch: LeaderEpoch(0), verification: VerificationGuard::NONE, now };
    log.append_as_leader(prepared, how).expect("appended")
}

/// Name and content of every file but the topic id.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("listed") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if name != "partition.metadata" {
            files.insert(name, fs::read(&path).expect("read"));
        }
    }
    files
}

fn assert_same_files(apaches: &Path, ours: &Path) {
    let (apaches, ours) = (files(apaches), files(ours));
    assert_eq!(ours.keys().collect::<Vec<_>>(), apaches.keys().collect::<Vec<_>>());
    for (name, content) in &apaches {
        assert_eq!(&ours[name], content, "{name}");
    }
}

/// `DumpLogSegments --deep-iteration` of all files in `folder`; fails where it finds something wrong.
fn dump(folder: &Path) -> String {
    let wanted = [".log", ".index", ".timeindex", ".txnindex", ".snapshot"];
    let mut paths: Vec<String> = files(folder)
        .keys()
        .filter(|name| wanted.iter().any(|suffix| name.ends_with(suffix)))
        .map(|name| folder.join(name).display().to_string())
        .collect();
    paths.sort();
    let joined = paths.join(",");
    let arguments = ["--deep-iteration", "--print-data-log", "--files", &joined];
    let output = stock::tool("3.9.1", "kafka-dump-log", &arguments, "").success();
    for complaint in
        ["isvalid: false", "Mismatches", "out of order", "Non-consecutive", "invalid bytes", "Could not"]
    {
        assert!(!output.contains(complaint), "{complaint}\n{output}");
    }
    output
}

fn record_count(dump: &str) -> usize {
    dump.lines().filter(|line| line.starts_with("| offset:") && line.contains("payload:")).count()
}

#[test]
fn the_same_batches_make_the_same_files_as_apaches() {
    let base = now_ms() - 3_600_000;
    let batches = batches(base, 120);
    let mut broker = apache();
    let mut connection = broker.connect();
    for batch in &batches {
        assert_eq!(produce_patiently(&mut connection, batch, false).0, 0);
    }
    broker.stop();

    let folder = tempfile::tempdir().expect("a folder");
    let ours = folder.path().join("same-0");
    let mut log = open(&ours, LastStop::Clean);
    for batch in &batches {
        append(&mut log, batch);
    }
    assert!(log.segment_count() > 5);
    log.close().expect("closed");

    assert_same_files(&broker.log_dir().join("same-0"), &ours);
    dump(&ours);
}

#[test]
fn a_follower_of_apache_has_apaches_files() {
    let base = now_ms() - 3_600_000;
    let mut broker = apache();
    let mut connection = broker.connect();
    for (number, batch) in batches(base, 60).iter().enumerate() {
        assert_eq!(produce_patiently(&mut connection, batch, false).0, 0);
        if number % 4 == 0 {
            let (producer, sequence) = (9000 + number as i64 % 3, number as i32 / 12);
            assert_eq!(produce(&mut connection, &transactional(base, producer, sequence), true).0, 0);
            write_marker(&mut connection, TOPIC, producer, number % 8 == 0);
        }
    }
    assert_eq!(produce(&mut connection, &transactional(base, 9100, 0), true).0, 0);
    broker.stop();
    let apaches = broker.log_dir().join("same-0");

    let folder = tempfile::tempdir().expect("a folder");
    let ours = folder.path().join("same-0");
    let mut log = open(&ours, LastStop::Clean);
    let mut records: Vec<PathBuf> = fs::read_dir(&apaches)
        .expect("listed")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    records.sort();
    for path in &records {
        let content = Bytes::from(fs::read(path).expect("read"));
        for located in headers(&content) {
            let located = located.expect("a batch");
            let entry = content.slice(located.position..located.position + located.size);
            log.append_as_follower(&entry, LeaderEpoch(0), TimestampMs(now_ms())).expect("appended");
        }
    }
    log.set_high_watermark(log.end());
    assert!(log.last_stable() < log.end(), "one transaction is open");
    log.close().expect("closed");

    assert_same_files(&apaches, &ours);
    assert!(ours.join("00000000000000000000.txnindex").exists());
}

#[test]
fn a_partition_goes_from_apache_to_us_and_back() {
    for last_stop in [LastStop::Clean, LastStop::Unclean] {
        swap_there_and_back(last_stop);
    }
}

fn swap_there_and_back(last_stop: LastStop) {
    let base = now_ms() - 3_600_000;
    let all = batches(base, 90);
    let (first, rest) = all.split_at(40);
    let (second, third) = rest.split_at(40);
    let mut broker = apache();
    let mut connection = broker.connect();
    for batch in first {
        assert_eq!(produce_patiently(&mut connection, batch, false).0, 0);
    }
    let end = end_offset(&mut connection);
    match last_stop {
        LastStop::Clean => drop(broker.stop()),
        LastStop::Killed | LastStop::Unclean => broker.kill(),
    }

    let folder = broker.log_dir().join("same-0");
    let mut log = open(&folder, last_stop);
    assert_eq!(log.end(), Offset(end));
    assert!(log.topic_id().is_some());
    let repeated = append(&mut log, &first[37]);
    assert!(repeated.duplicate, "Apache's producers are known");
    for batch in second {
        append(&mut log, batch);
    }
    let (end, repeated) = (log.end().0, append(&mut log, &second[39]));
    assert!(repeated.duplicate);
    match last_stop {
        LastStop::Clean => drop(log.close().expect("closed")),
        LastStop::Killed | LastStop::Unclean => {
            drop(log);
            let marker = broker.log_dir().join(".kafka_cleanshutdown");
            assert!(!marker.exists());
        }
    }
    if last_stop == LastStop::Clean {
        dump(&folder);
    }

    broker.restart();
    let mut connection = broker.connect();
    while end_offset(&mut connection) < 0 {
        std::thread::park_timeout(std::time::Duration::from_millis(20));
    }
    let (error, offset) = produce_patiently(&mut connection, &second[39], false);
    assert_eq!((error, Offset(offset)), (0, repeated.first), "our producers are known");
    assert_eq!(end_offset(&mut connection), end);
    for batch in third {
        assert_eq!(produce(&mut connection, batch, false).0, 0);
    }
    let end = end_offset(&mut connection);
    broker.stop();

    let mut log = open(&folder, LastStop::Clean);
    assert_eq!(log.end(), Offset(end));
    log.close().expect("closed");
    let expected: i64 = (0..90).map(|number| 1 + number % 4).sum();
    assert_eq!(record_count(&dump(&folder)) as i64, expected);
}
