//! Kafka Connect and MirrorMaker 2, Apache's 3.9.1: what they carry arrives, and goes on after a worker is killed.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use support::http;
use support::kcat::{all_committed, kcat, read_in_group};
use support::ports::free_port;
use support::process::Process;
use support::requests::{self, try_committed};
use support::seat::{Broker, Kind};
use support::stock::{start, tool};
use support::talk::{create_topic, values};
use support::until;

const VERSION: &str = "connect-3.9.1";

/// What all workers are told.
const WORKER: &[(&str, &str)] = &[
    ("key.converter", "org.apache.kafka.connect.storage.StringConverter"),
    ("value.converter", "org.apache.kafka.connect.storage.StringConverter"),
    ("offset.flush.interval.ms", "200"),
    // Looks into the services of the jars instead of into every class: half of the start.
    ("plugin.discovery", "service_load"),
];

fn write_properties(path: &Path, settings: &[(&str, &str)]) {
    let text: String = settings.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
    fs::write(path, text).expect("properties are written");
}

fn numbered(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|number| format!("line {number:04}")).collect()
}

/// A file that is read into a topic, and one that the topic is written into.
struct Files {
    folder: TempDir,
}

impl Files {
    fn new() -> Files {
        Files { folder: tempfile::tempdir().expect("a folder") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn shown(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn append(&self, lines: &[String]) {
        let mut file =
            fs::OpenOptions::new().create(true).append(true).open(self.path("in.txt")).expect("a file");
        file.write_all((lines.join("\n") + "\n").as_bytes()).expect("lines are written");
    }

    fn written(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("out.txt")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Whether the worker has kept on disk that it read the whole file.
    fn position_is_kept(&self) -> bool {
        let length = fs::metadata(self.path("in.txt")).expect("a file").len();
        let kept = fs::read(self.path("offsets")).unwrap_or_default();
        String::from_utf8_lossy(&kept).contains(&format!("\"position\":{length}}}"))
    }

    /// A worker that keeps its offsets in a file, with a source and a sink.
    fn standalone_worker(&self, broker: &Broker) -> Process {
        let bootstrap = broker.bootstrap();
        let listener = format!("http://127.0.0.1:{}", free_port());
        let (input, output, offsets) = (self.shown("in.txt"), self.shown("out.txt"), self.shown("offsets"));
        let mut worker = WORKER.to_vec();
        worker.extend([("bootstrap.servers", &*bootstrap), ("listeners", &listener)]);
        worker.push(("offset.storage.file.filename", &offsets));
        write_properties(&self.path("worker.properties"), &worker);
        let source = [("name", "source"), ("connector.class", "FileStreamSource"), ("topic", "lines")];
        write_properties(
            &self.path("source.properties"),
            &[&source[..], &[("tasks.max", "1"), ("file", &input)]].concat(),
        );
        let sink = [("name", "sink"), ("connector.class", "FileStreamSink"), ("topics", "lines")];
        write_properties(
            &self.path("sink.properties"),
            &[&sink[..], &[("tasks.max", "1"), ("file", &output)]].concat(),
        );
        let files = ["worker", "source", "sink"].map(|name| self.shown(&format!("{name}.properties")));
        start(VERSION, "connect-standalone", &files.each_ref().map(String::as_str))
    }
}

#[test]
fn a_standalone_worker_carries_lines_through_a_topic_and_goes_on_after_it_is_killed() {
    let broker = Broker::start();
    create_topic(&broker, "lines", 1, &[]);
    let files = Files::new();
    files.append(&numbered(0..100));

    let worker = files.standalone_worker(&broker);
    until("the first lines", || files.written() == numbered(0..100));
    until("what is read and written to be kept", || {
        let read = try_committed(&mut broker.connect(), "connect-sink", "lines", &[0]);
        read == Some(vec![100]) && files.position_is_kept()
    });
    drop(worker);
    files.append(&numbered(100..200));
    let worker = files.standalone_worker(&broker);

    until("the lines since", || files.written().len() >= 200);
    drop(worker);
    assert_eq!(files.written(), numbered(0..200), "each once");
    let stored = values(&mut broker.connect(), "lines", 0);
    let expected: Vec<(i64, String)> = (0..).zip(numbered(0..200)).collect();
    assert_eq!(stored, expected);
}

/// One of the workers that share their connectors and keep everything in topics.
struct Worker {
    port: u16,
    #[expect(dead_code, reason = "held, so that it runs")]
    process: Process,
}

impl Worker {
    fn start(broker: &Broker, files: &Files) -> Worker {
        let port = free_port();
        let (bootstrap, listener) = (broker.bootstrap(), format!("http://127.0.0.1:{port}"));
        let mut settings = WORKER.to_vec();
        settings.extend([("bootstrap.servers", &*bootstrap), ("listeners", &listener)]);
        settings.extend([
            ("group.id", "connect"),
            ("config.storage.topic", "connect-configs"),
            ("config.storage.replication.factor", "1"),
            ("offset.storage.topic", "connect-offsets"),
            ("offset.storage.partitions", "3"),
            ("offset.storage.replication.factor", "1"),
            ("status.storage.topic", "connect-status"),
            ("status.storage.partitions", "2"),
            ("status.storage.replication.factor", "1"),
            ("exactly.once.source.support", "enabled"),
            ("session.timeout.ms", "6000"),
            ("heartbeat.interval.ms", "500"),
            ("scheduled.rebalance.max.delay.ms", "500"),
        ]);
        let path = files.path(&format!("worker-{port}.properties"));
        write_properties(&path, &settings);
        let process = start(VERSION, "connect-distributed", &[&path.display().to_string()]);
        Worker { port, process }
    }

    /// `None` while the worker cannot say.
    fn ask(&self, method: &str, path: &str, body: &str) -> Option<Value> {
        let (status, answer) = http::request(self.port, method, path, body)?;
        if status < 300 { serde_json::from_str(&answer).ok() } else { None }
    }

    /// Starts a connector, as soon as the worker takes orders.
    #[track_caller]
    fn run(&self, name: &str, settings: &Value) {
        until("the worker to take a connector", || {
            self.ask("PUT", &format!("/connectors/{name}/config"), &settings.to_string()).is_some()
        });
    }

    /// The port of the worker that runs each task of both connectors; empty unless all of them run.
    fn running_tasks(&self) -> Vec<String> {
        let mut places = Vec::new();
        for (name, tasks) in [("source", 1), ("sink", 2)] {
            let Some(status) = self.ask("GET", &format!("/connectors/{name}/status"), "") else {
                return Vec::new();
            };
            let running = status["tasks"].as_array().into_iter().flatten();
            let running: Vec<_> = running.filter(|task| task["state"] == "RUNNING").collect();
            if running.len() != tasks {
                return Vec::new();
            }
            places.extend(running.iter().map(|task| task["worker_id"].as_str().unwrap_or("").to_owned()));
        }
        places
    }

    fn name(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

#[test]
fn distributed_workers_share_their_tasks_and_one_takes_over_exactly_once_when_the_other_is_killed() {
    let broker = Broker::start();
    create_topic(&broker, "lines", 4, &[]);
    let files = Files::new();
    files.append(&numbered(0..100));
    let seen = |upto: usize| {
        let written: BTreeSet<String> = files.written().into_iter().collect();
        written == numbered(0..upto).into_iter().collect()
    };

    let first = Worker::start(&broker, &files);
    let source = json!({"connector.class": "FileStreamSource", "tasks.max": "1", "topic": "lines",
        "file": files.shown("in.txt"), "exactly.once.support": "required"});
    let sink = json!({"connector.class": "FileStreamSink", "tasks.max": "2", "topics": "lines",
        "file": files.shown("out.txt"), "consumer.override.isolation.level": "read_committed"});
    first.run("source", &source);
    first.run("sink", &sink);
    until("the first lines", || seen(100));

    let second = Worker::start(&broker, &files);
    until("both workers to have tasks", || {
        let places: BTreeSet<String> = first.running_tasks().into_iter().collect();
        places == BTreeSet::from([first.name(), second.name()])
    });
    files.append(&numbered(100..200));
    until("lines by two workers", || seen(200));

    // The one that reads the file is killed, its transaction open or not.
    let reads = first.running_tasks().first().cloned();
    let (killed, left) = if reads == Some(first.name()) { (first, second) } else { (second, first) };
    files.append(&numbered(200..250));
    drop(killed);
    files.append(&numbered(250..300));
    until("the lines that the worker left over carries", || seen(300));
    until("all tasks at the worker left over", || {
        let places = left.running_tasks();
        !places.is_empty() && places.iter().all(|place| *place == left.name())
    });

    assert_eq!(all_committed(&broker, "lines", "%s"), numbered(0..300), "each once");
    let bootstrap = broker.bootstrap();
    let described = tool("3.9.1", "kafka-topics", &["--describe", "--bootstrap-server", &bootstrap], "");
    let described = described.success();
    for (topic, partitions) in [("connect-configs", 1), ("connect-offsets", 3), ("connect-status", 2)] {
        let line = described.lines().find(|line| line.starts_with(&format!("Topic: {topic}\t")));
        let line = line.unwrap_or_else(|| panic!("no {topic} in\n{described}"));
        assert!(line.contains(&format!("PartitionCount: {partitions}\t")), "{line}");
        assert!(line.contains("cleanup.policy=compact"), "{line}");
    }
}

/// Keys and values with everything that a mirror has to carry.
fn write(broker: &Broker, topic: &str, numbers: std::ops::Range<usize>) {
    let lines: String = numbers.map(|number| format!("key {number}:value {number:04}\n")).collect();
    kcat(broker, &["-P", "-t", topic, "-K:", "-H", "origin=here", "-p", "-1"], &lines).success();
}

/// Place, key, value, headers and time of every record.
fn everything(broker: &Broker, topic: &str) -> Vec<String> {
    all_committed(broker, topic, "%p %o %k %s %h %T")
}

fn committed(broker: &Broker, group: &str, topic: &str) -> i64 {
    let offsets = try_committed(&mut broker.connect(), group, topic, &[0, 1]);
    offsets.map_or(-1, |offsets| offsets.iter().sum())
}

/// MirrorMaker 2 between `apache` and `ours`, in both directions.
fn mirror(folder: &Path, apache: &Broker, ours: &Broker) -> Process {
    let (there, here) = (apache.bootstrap(), ours.bootstrap());
    let path = folder.join("mm2.properties");
    write_properties(
        &path,
        &[
            ("clusters", "apache,ours"),
            ("apache.bootstrap.servers", &there),
            ("ours.bootstrap.servers", &here),
            ("apache->ours.enabled", "true"),
            ("apache->ours.topics", "orders"),
            ("ours->apache.enabled", "true"),
            ("ours->apache.topics", "returns"),
            ("replication.factor", "1"),
            ("checkpoints.topic.replication.factor", "1"),
            ("heartbeats.topic.replication.factor", "1"),
            ("offset-syncs.topic.replication.factor", "1"),
            ("config.storage.replication.factor", "1"),
            ("offset.storage.replication.factor", "1"),
            ("status.storage.replication.factor", "1"),
            ("offset.storage.partitions", "2"),
            ("status.storage.partitions", "1"),
            ("refresh.topics.interval.seconds", "1"),
            ("refresh.groups.interval.seconds", "1"),
            ("sync.topic.configs.interval.seconds", "1"),
            ("emit.checkpoints.interval.seconds", "1"),
            ("sync.group.offsets.enabled", "true"),
            ("sync.group.offsets.interval.seconds", "1"),
            ("offset.lag.max", "0"),
            ("offset.flush.interval.ms", "500"),
            ("plugin.discovery", "service_load"),
        ],
    );
    start(VERSION, "connect-mirror-maker", &[&path.display().to_string()])
}

#[test]
fn mirror_maker_2_carries_all_from_apaches_broker_to_ours_and_back_though_ours_is_killed() {
    let apache = Broker::start_with(Kind::Apache, &[]);
    let mut ours = Broker::start();
    create_topic(&apache, "orders", 2, &[("retention.ms", "7200000")]);
    create_topic(&ours, "returns", 2, &[("max.message.bytes", "70000")]);
    write(&apache, "orders", 0..100);
    write(&ours, "returns", 0..50);
    assert_eq!(read_in_group(&apache, "buyers", "orders").len(), 100);
    assert_eq!(read_in_group(&ours, "sellers", "returns").len(), 50);

    let folder = tempfile::tempdir().expect("a folder");
    let _mirror = mirror(folder.path(), &apache, &ours);
    let there_and_here =
        [(&apache, "orders", &ours, "apache.orders"), (&ours, "returns", &apache, "ours.returns")];
    for (from, topic, to, copy) in there_and_here {
        until(&format!("the copy {copy}"), || requests::has_topic(&mut to.connect(), copy));
        until(&format!("all records in {copy}"), || {
            everything(to, copy).len() >= everything(from, topic).len()
        });
        assert_eq!(everything(to, copy), everything(from, topic), "{copy}");
    }
    until("the groups on the other side", || {
        committed(&ours, "buyers", "apache.orders") == 100
            && committed(&apache, "sellers", "ours.returns") == 50
    });

    // Ours is killed while there is something to carry into it and out of it. What was on its way may come twice.
    write(&apache, "orders", 100..110);
    write(&ours, "returns", 50..55);
    ours.kill();
    ours.restart();
    write(&apache, "orders", 110..120);
    write(&ours, "returns", 55..60);
    let later = |numbers: std::ops::Range<usize>| -> Vec<String> {
        numbers.map(|number| format!("value {number:04}")).collect()
    };
    let once = |mut lines: Vec<String>| {
        lines.dedup();
        lines
    };
    until("the later records", || {
        once(all_committed(&ours, "apache.orders", "%s")) == later(0..120)
            && once(all_committed(&apache, "ours.returns", "%s")) == later(0..60)
    });
    // Who moves to the other cluster goes on where it was.
    assert_eq!(once(read_in_group(&ours, "buyers", "apache.orders")), later(100..120));
    assert_eq!(once(read_in_group(&apache, "sellers", "ours.returns")), later(50..60));

    for (broker, topic, config) in [
        (&ours, "apache.orders", "retention.ms=7200000"),
        (&apache, "ours.returns", "max.message.bytes=70000"),
    ] {
        let bootstrap = broker.bootstrap();
        let arguments = ["--describe", "--topic", topic, "--bootstrap-server", &bootstrap];
        let described = tool("3.9.1", "kafka-topics", &arguments, "").success();
        assert!(described.contains("PartitionCount: 2") && described.contains(config), "{described}");
    }
}
