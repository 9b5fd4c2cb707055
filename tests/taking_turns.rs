//! What we promise of log directories that change hands: Apache Kafka 2.8.2, we and Apache Kafka 3.9.1 take turns on them,
//! after clean stops and after kills, and each finds all that the others left.
//!
//! Two log directories go through a chain of owners. Whoever has them finds every record, refuses the duplicates of its
//! predecessor's producers, ends its transactions, finishes the move it was in the middle of, and leaves as much behind.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::Bytes;
use kafka_protocol::messages::alter_replica_log_dirs_request::{AlterReplicaLogDir, AlterReplicaLogDirTopic};
use kafka_protocol::messages::delete_topics_request::DeleteTopicsRequest;
use kafka_protocol::messages::{
    AlterReplicaLogDirsRequest, DescribeLogDirsRequest, MetadataRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use storage::batch::{BatchBuilder, BatchOptions, BatchProducer, TargetCompression, headers};
use storage::specimen::CODECS;
use storage::types::{ProducerId, TimestampMs};
use support::process::{PATIENCE, run};
use support::records::now_ms;
use support::requests::{OF_BROKER, OF_TOPIC, alter_config};
use support::seat::{Broker, Kind, kind};
use support::transactional::Producer;
use support::wire::Connection;
use support::{requests, stock, talk, until};

/// Every format and codec, in small segments.
const MIXED: &str = "mixed";
/// Compacted.
const LATEST: &str = "latest";
/// Written in transactions.
const ENDED: &str = "ended";
/// Always on its way from one log directory to the other.
const MOVED: &str = "moved";
/// Its first records are deleted again and again.
const CUT: &str = "cut";

/// Of the idempotent producer that all owners know.
const PRODUCER: i64 = 4000;

/// Bytes a second at which a move never ends.
const CRAWL: &str = "1000";
const RATE: &str = "replica.alter.log.dirs.io.max.bytes.per.second";

/// Some 25 KB each: more than the first steps of a move take at whatever rate.
const BATCHES_MOVED: usize = 200;

/// How an owner leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Stop,
    Kill,
}

/// The directories, who has them, and what must be in them.
struct Estate {
    broker: Broker,
    directories: [PathBuf; 2],
    _folder: tempfile::TempDir,
    /// Counts owners.
    turn: usize,
    /// Numbers every record.
    written: usize,
    mixed: Vec<(i64, String)>,
    latest: BTreeMap<String, String>,
    ended: Vec<String>,
    cut: i64,
    /// Last batch of the idempotent producer, its offset, and the sequence that comes next.
    last: Option<(Bytes, i64)>,
    sequence: i32,
    /// Where the move goes that was left unfinished.
    moving_to: Option<PathBuf>,
    /// Folders that nobody serves and their files.
    strays: BTreeMap<PathBuf, Vec<u8>>,
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn name(topic: &str) -> TopicName {
    TopicName(text(topic))
}

/// All records of partition 0 of `topic` as `print` formats them, as a consumer that shares no code with us reads them.
fn consumed(broker: &Broker, topic: &str, print: &str) -> Vec<String> {
    let mut command = Command::new("kcat");
    command.args(["-b", &broker.bootstrap(), "-C", "-t", topic, "-p", "0", "-o", "beginning", "-e", "-q"]);
    command.args(["-f", print, "-X", "check.crcs=true", "-X", "isolation.level=read_committed"]);
    let printed = run(format!("kcat {topic} (apt-get install kcat)"), command, b"", PATIENCE).success();
    printed.lines().map(str::to_owned).collect()
}

/// Directory of each replica of MOVED, the one that is being filled last.
fn places_of_moved(broker: &Broker) -> Vec<(PathBuf, bool)> {
    let answer = broker.connect().request(1, &DescribeLogDirsRequest::default().with_topics(None));
    let mut found = Vec::new();
    for result in &answer.results {
        assert_eq!(result.error_code, 0);
        for topic in result.topics.iter().filter(|topic| topic.name.0.as_str() == MOVED) {
            let replicas = topic.partitions.iter();
            found.extend(replicas.map(|one| (PathBuf::from(result.log_dir.as_str()), one.is_future_key)));
        }
    }
    found.sort_by_key(|(_, is_future)| *is_future);
    found
}

fn files_of(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}

impl Estate {
    /// Founded by Apache Kafka 2.8.2, in the message formats of 0.9, 0.10 and 0.11 one after another.
    fn found() -> Estate {
        let folder = tempfile::tempdir().expect("a folder");
        let directories = ["a", "b"].map(|one| folder.path().join(one));
        let log_dirs = format!("{},{}", directories[0].display(), directories[1].display());
        let settings = [
            ("log.dirs", log_dirs.as_str()),
            ("log.cleaner.backoff.ms", "100"),
            // What is marked for deletion stays through the whole chain.
            ("log.segment.delete.delay.ms", "3600000"),
            ("log.initial.task.delay.ms", "500"),
            ("log.flush.offset.checkpoint.interval.ms", "500"),
            ("replica.high.watermark.checkpoint.interval.ms", "500"),
            ("log.flush.start.offset.checkpoint.interval.ms", "500"),
        ];
        let broker = Broker::start_version(Kind::Apache, "2.8.2", &settings);
        let small = [("segment.bytes", "3000"), ("index.interval.bytes", "200")];
        talk::create_topic(&broker, MIXED, 1, &[&small[..], &[("message.format.version", "0.9.0")]].concat());
        let compacted = [("cleanup.policy", "compact"), ("min.cleanable.dirty.ratio", "0.01")];
        talk::create_topic(&broker, LATEST, 1, &[&small[..], &compacted].concat());
        talk::create_topic(&broker, ENDED, 1, &small);
        talk::create_topic(&broker, MOVED, 1, &[("segment.bytes", "500000")]);
        talk::create_topic(&broker, CUT, 1, &small);
        let mut estate = Estate {
            broker,
            directories,
            _folder: folder,
            turn: 0,
            written: 0,
            mixed: Vec::new(),
            latest: BTreeMap::new(),
            ended: Vec::new(),
            cut: 0,
            last: None,
            sequence: 0,
            moving_to: None,
            strays: BTreeMap::new(),
        };
        let mut connection = estate.broker.connect();
        for (format, magic) in [("0.9.0", 0), ("0.10.2", 1), ("2.8", 2)] {
            alter_config(
                &mut estate.broker.connect(),
                OF_TOPIC,
                MIXED,
                "message.format.version",
                Some(format),
            );
            until(format, || estate.write_mixed(&mut connection, TargetCompression::Uncompressed) == magic);
            for codec in CODECS {
                // Messages of magic 0 and 1 know no zstd.
                if magic == 2 || codec != CODECS[4] {
                    for _ in 0..3 {
                        assert_eq!(estate.write_mixed(&mut connection, codec), magic);
                    }
                }
            }
        }
        for _ in 0..BATCHES_MOVED {
            let batch = batch(TargetCompression::Uncompressed, BatchProducer::NONE, &["x".repeat(25_000)]);
            assert_eq!(talk::produce(&mut connection, MOVED, 0, &batch, -1).0, 0);
        }
        estate
    }

    fn value(&mut self) -> String {
        self.written += 1;
        let filling = "x".repeat(self.written * 37 % 150);
        format!("{} in turn {} {filling}", self.written, self.turn)
    }

    /// A batch of MIXED; yields the magic it is stored with. Two records where they are compressed: of several messages
    /// of magic 0 or 1 in one request Kafka 2.8 itself writes index entries that its tool complains of.
    fn write_mixed(&mut self, connection: &mut Connection, codec: TargetCompression) -> i8 {
        let count = if codec == TargetCompression::Uncompressed { 1 } else { 2 };
        let values: Vec<String> = (0..count).map(|_| self.value()).collect();
        let batch = batch(codec, BatchProducer::NONE, &values);
        let (error, offset) = talk::produce(connection, MIXED, 0, &batch, -1);
        assert_eq!(error, 0, "{codec:?}");
        self.mixed.extend((offset..).zip(values));
        let (error, stored) = talk::fetch(connection, MIXED, 0, offset);
        assert_eq!(error, 0);
        headers(&stored).next().expect("what was written").expect("a batch").batch.magic()
    }

    /// All that the predecessors have left is there.
    fn take_stock(&mut self) {
        let broker = &self.broker;
        let mut connection = broker.connect();
        for topic in [MIXED, LATEST, ENDED, MOVED, CUT] {
            talk::end_offset(&mut connection, topic, 0);
            until(&format!("all brokers' knowledge of {topic}"), || {
                let known = requests::metadata(&mut connection, topic).expect("an answer");
                known.topics.iter().all(|topic| topic.error_code == 0)
            });
        }
        let mixed: Vec<String> =
            self.mixed.iter().map(|(offset, value)| format!("{offset} {value}")).collect();
        assert_eq!(consumed(broker, MIXED, "%o %s\n"), mixed);
        if let Some((batch, offset)) = &self.last {
            let end = talk::end_offset(&mut connection, MIXED, 0);
            assert_eq!(talk::produce(&mut connection, MIXED, 0, batch, -1), (0, *offset), "a duplicate");
            assert_eq!(talk::end_offset(&mut connection, MIXED, 0), end);
        }
        let mut latest = BTreeMap::new();
        for line in consumed(broker, LATEST, "%k %s\n") {
            let (key, value) = line.split_once(' ').expect("key and value");
            latest.insert(key.to_owned(), value.to_owned());
        }
        assert_eq!(latest, self.latest);
        assert_eq!(consumed(broker, ENDED, "%s\n"), self.ended, "nothing of an open transaction");
        assert_eq!(talk::list_offset(&mut connection, CUT, 0, -2), (0, self.cut));
        let topics = connection.request(9, &MetadataRequest::default().with_topics(None)).topics;
        let doomed = |topic: &str| topic.starts_with("doomed");
        assert!(!topics.iter().any(|topic| topic.name.as_ref().is_some_and(|name| doomed(name.0.as_str()))));
        assert_eq!(self.folders("doomed", "-delete").len(), self.turn, "they wait for their time");
        for (path, content) in &self.strays {
            assert_eq!(&fs::read(path).expect("a stray file"), content, "{}", path.display());
        }
        self.finish_move();
    }

    fn finish_move(&mut self) {
        let Some(to) = self.moving_to.take() else { return };
        let places = places_of_moved(&self.broker);
        // A stock broker that has just started may have finished it before it knew its rate.
        assert_eq!(places.last().map(|(place, _)| place), Some(&to), "the move goes on");
        alter_config(&mut self.broker.connect(), OF_BROKER, "0", RATE, None);
        until("the end of the move", || places_of_moved(&self.broker) == [(to.clone(), false)]);
        let values = talk::values(&mut self.broker.connect(), MOVED, 0);
        assert_eq!(values.len(), BATCHES_MOVED);
        assert!(values.iter().all(|(_, value)| value.len() == 25_000));
    }

    /// As much of everything as the predecessors have left.
    fn leave_traces(&mut self) {
        let mut connection = self.broker.connect();
        for codec in CODECS {
            assert_eq!(self.write_mixed(&mut connection, codec), 2);
            let value = self.value();
            let producer = BatchProducer { id: ProducerId(PRODUCER), epoch: 0, base_sequence: self.sequence };
            let batch = batch(codec, producer, std::slice::from_ref(&value));
            let (error, offset) = talk::produce(&mut connection, MIXED, 0, &batch, -1);
            assert_eq!(error, 0);
            self.sequence += 1;
            self.mixed.push((offset, value));
            self.last = Some((batch, offset));
        }
        self.write_latest(&mut connection);
        self.write_transactions();
        for _ in 0..30 {
            let batch = batch(TargetCompression::Uncompressed, BatchProducer::NONE, &[self.value()]);
            assert_eq!(talk::produce(&mut connection, CUT, 0, &batch, -1).0, 0);
        }
        self.delete_a_topic(&mut connection);
        self.begin_move();
    }

    fn delete_records(&mut self) {
        self.cut += 20;
        assert_eq!(requests::delete_records(&mut self.broker.connect(), CUT, self.cut), 0);
    }

    /// The same keys again, until the cleaner has been there.
    fn write_latest(&mut self, connection: &mut Connection) {
        let cleaned = |estate: &Estate| estate.checkpoint("cleaner-offset-checkpoint", LATEST);
        let before = cleaned(self);
        for round in 0..60 {
            let (key, value) = (format!("key-{}", round % 11), self.value());
            let codec = CODECS[round % CODECS.len()];
            let mut builder =
                BatchBuilder::new(BatchOptions { compression: codec, ..BatchOptions::default() })
                    .expect("a builder");
            builder
                .append(TimestampMs(now_ms()), Some(key.as_bytes()), Some(value.as_bytes()), &[])
                .expect("appended");
            let batch = builder.build().expect("built");
            assert_eq!(talk::produce(connection, LATEST, 0, &batch, -1).0, 0);
            self.latest.insert(key, value);
        }
        until("the cleaner", || cleaned(self) > before);
    }

    /// What the checkpoints of this name say of partition 0 of the topic.
    fn checkpoint(&self, file: &str, topic: &str) -> Option<i64> {
        let read = |directory: &PathBuf| fs::read_to_string(directory.join(file)).ok();
        let texts: Vec<String> = self.directories.iter().filter_map(read).collect();
        let lines = texts.iter().flat_map(|text| text.lines());
        let prefix = format!("{topic} 0 ");
        lines.filter_map(|line| line.strip_prefix(&prefix)?.parse().ok()).max()
    }

    /// One committed, one aborted, one left open, which the next owner aborts by the same id.
    fn write_transactions(&mut self) {
        for end in [Some(true), Some(false), None] {
            let mut producer = Producer::start(&self.broker, "turns", 600_000);
            producer.add(&self.broker, ENDED, &[0]);
            let values = [self.value(), self.value()];
            for value in &values {
                producer.write(&self.broker, ENDED, 0, value);
            }
            let Some(commit) = end else { break };
            producer.end(&self.broker, commit);
            if commit {
                self.ended.extend(values);
            }
            let broker = &self.broker;
            until("the marker", || {
                let mut connection = broker.connect();
                let high = talk::list_offset(&mut connection, ENDED, 0, -1);
                high.0 == 0 && talk::last_stable(&mut connection, ENDED, 0) == high
            });
        }
        assert_eq!(consumed(&self.broker, ENDED, "%s\n"), self.ended);
    }

    fn delete_a_topic(&mut self, connection: &mut Connection) {
        let topic = format!("doomed{}", self.turn);
        talk::create_topic(&self.broker, &topic, 1, &[]);
        let batch = batch(TargetCompression::Uncompressed, BatchProducer::NONE, &["gone".to_owned()]);
        assert_eq!(talk::produce(connection, &topic, 0, &batch, -1).0, 0);
        let request =
            DeleteTopicsRequest::default().with_topic_names(vec![name(&topic)]).with_timeout_ms(30_000);
        assert_eq!(connection.request(3, &request).responses[0].error_code, 0);
        until("the folder's new name", || self.folders(&topic, "-delete").len() == 1);
    }

    fn begin_move(&mut self) {
        let from = places_of_moved(&self.broker)[0].0.clone();
        let to = self.directories.iter().find(|directory| **directory != from).expect("the other").clone();
        alter_config(&mut self.broker.connect(), OF_BROKER, "0", RATE, Some(CRAWL));
        let topic = AlterReplicaLogDirTopic::default().with_name(name(MOVED)).with_partitions(vec![0]);
        let directory =
            AlterReplicaLogDir::default().with_path(text(&to.display().to_string())).with_topics(vec![topic]);
        let request = AlterReplicaLogDirsRequest::default().with_dirs(vec![directory]);
        assert_eq!(self.broker.connect().request(1, &request).results[0].partitions[0].error_code, 0);
        until("the beginning of the move", || {
            let folders = self.folders(MOVED, "-future");
            let files = folders.iter().flat_map(|folder| files_of(folder));
            files
                .filter(|path| path.extension().is_some_and(|end| end == "log"))
                .any(|path| fs::metadata(path).is_ok_and(|metadata| metadata.len() > 0))
        });
        self.moving_to = Some(to);
    }

    fn folders(&self, begin: &str, end: &str) -> Vec<PathBuf> {
        let all = self.directories.iter().flat_map(|directory| files_of(directory));
        let named = |path: &PathBuf| {
            let name = path.file_name().expect("a name").to_string_lossy();
            name.starts_with(begin) && name.ends_with(end)
        };
        all.filter(named).collect()
    }

    fn leave(&mut self, end: End) {
        match end {
            End::Stop => drop(self.broker.stop()),
            End::Kill => self.broker.kill(),
        }
        if self.broker.kind == Kind::Ours {
            // What our next broker goes by after a kill. Apache's is not disturbed by it, and takes the file away when it stops.
            for directory in &self.directories {
                let line = fs::read(directory.join(".lock")).expect("read");
                assert_eq!(line.is_empty(), end == End::Stop, "{}", directory.display());
            }
        }
        self.verify();
        if end == End::Stop {
            self.dump();
        }
    }

    /// `broker log verify` finds nothing wrong, whoever wrote last.
    fn verify(&self) {
        for directory in &self.directories {
            let mut command = Command::new(env!("CARGO_BIN_EXE_broker"));
            command
                .args(["log", "verify", "--json", &directory.display().to_string()])
                .env_remove("RUST_LOG");
            run(format!("broker log verify after {:?}", self.broker.kind), command, b"", PATIENCE).success();
        }
    }

    /// Nor does Apache's tool. Folders that are marked for deletion or strays were left as their logs were at that moment.
    fn dump(&self) {
        let wanted = [".log", ".index", ".timeindex", ".txnindex", ".snapshot"];
        let folders = self.directories.iter().flat_map(|directory| files_of(directory));
        let folders = folders.filter(|folder| {
            let name = folder.file_name().expect("a name").to_string_lossy();
            !name.ends_with("-delete") && !name.ends_with("-stray")
        });
        let paths = folders.flat_map(|folder| files_of(&folder)).map(|path| path.display().to_string());
        let paths: Vec<String> =
            paths.filter(|path| wanted.iter().any(|suffix| path.ends_with(suffix))).collect();
        let arguments = ["--deep-iteration", "--files", &paths.join(",")];
        let ended = stock::tool("3.9.1", "kafka-dump-log", &arguments, "");
        let output = format!("{}{}", ended.stdout, ended.stderr);
        let complaints = [
            "isvalid: false",
            "Mismatch",
            "mismatch",
            "out of order",
            "Non-consecutive",
            "invalid bytes",
            "Could not",
        ];
        for complaint in complaints {
            assert!(!output.contains(complaint), "{complaint}\n{output}");
        }
        ended.success();
    }

    /// A copy of a partition's folder under a name that says that nobody claims it, as Kafka's migration leaves them.
    fn set_out_a_stray(&mut self) {
        let from = self.folders(CUT, "-0").remove(0);
        let to = from.with_file_name(format!("lost-0.{:032x}-stray", 7));
        fs::create_dir(&to).expect("created");
        for path in files_of(&from) {
            let copy = to.join(path.file_name().expect("a name"));
            fs::copy(&path, &copy).expect("copied");
            if copy.extension().is_some_and(|end| end == "log") {
                self.strays.insert(copy.clone(), fs::read(&copy).expect("read"));
            }
        }
    }

    fn hand_over(&mut self, to: Kind) {
        self.turn += 1;
        (self.broker.kind, self.broker.version) = (to, "3.9.1");
        self.broker.restart();
    }

    /// With no delay for deletion: nothing that was marked is left.
    fn clear_out(&mut self) {
        let properties = fs::read_to_string(self.broker.properties()).expect("read");
        let properties = properties.replace("delete.delay.ms=3600000", "delete.delay.ms=0");
        fs::write(self.broker.properties(), properties).expect("written");
        self.hand_over(kind());
        self.turn -= 1;
        until("the removal of deleted topics", || self.folders("doomed", "-delete").is_empty());
    }
}

fn batch(codec: TargetCompression, producer: BatchProducer, values: &[String]) -> Bytes {
    let options = BatchOptions { compression: codec, producer, ..BatchOptions::default() };
    let mut builder = BatchBuilder::new(options).expect("a builder");
    for value in values {
        builder.append(TimestampMs(now_ms()), Some(b"key"), Some(value.as_bytes()), &[]).expect("appended");
    }
    builder.build().expect("built")
}

/// Apache Kafka 2.8.2 leaves as `first` says, then each of `owners`, who is us or Apache Kafka 3.9.1.
fn take_turns(first: End, owners: &[(Kind, End)]) {
    let mut estate = Estate::found();
    estate.leave_traces();
    if first == End::Stop {
        // When killed, Kafka 2.8 knows the new start only if it was up for half a minute.
        estate.delete_records();
    }
    estate.leave(first);
    estate.set_out_a_stray();
    let mut left = first;
    for (owner, end) in owners {
        estate.hand_over(*owner);
        if *owner == Kind::Ours && left == End::Kill {
            // Whatever line an earlier broker of ours has left in `.lock`: Apache's was here since.
            let log = estate.broker.whole_log();
            assert!(log.contains("not a kill within this boot"), "{log}");
        }
        left = *end;
        estate.take_stock();
        estate.leave_traces();
        estate.delete_records();
        let checkpoint = |estate: &Estate| estate.checkpoint("log-start-offset-checkpoint", CUT);
        until("the checkpoint of log starts", || checkpoint(&estate) == Some(estate.cut));
        estate.leave(*end);
    }
    estate.clear_out();
    let arguments = ["--bootstrap-server", &estate.broker.bootstrap(), "--topic", MIXED, "--from-beginning"];
    let more = ["--max-messages", &estate.mixed.len().to_string(), "--timeout-ms", "60000"];
    let seen =
        stock::tool("3.9.1", "kafka-console-consumer", &[&arguments[..], &more].concat(), "").success();
    let expected: Vec<&str> = estate.mixed.iter().map(|(_, value)| value.as_str()).collect();
    assert_eq!(seen.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn nothing_is_lost_when_owners_change_after_clean_stops() {
    take_turns(End::Stop, &[(kind(), End::Stop), (Kind::Apache, End::Stop), (kind(), End::Stop)]);
}

#[test]
fn nothing_is_lost_when_owners_change_after_kills() {
    let owners =
        [(kind(), End::Kill), (Kind::Apache, End::Kill), (kind(), End::Kill), (Kind::Apache, End::Stop)];
    take_turns(End::Kill, &owners);
}
