//! What we promise of several log directories: new replicas go where there are fewest, a replica moves to another
//! directory while it is written, within its rate, and goes on after a kill.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use kafka_protocol::messages::alter_replica_log_dirs_request::{AlterReplicaLogDir, AlterReplicaLogDirTopic};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::{
    AlterReplicaLogDirsRequest, DescribeConfigsRequest, DescribeLogDirsRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use support::records::Batch;
use support::requests::{OF_BROKER, alter_config, delete_records};
use support::seat::{Broker, kind};
use support::wire::Connection;
use support::{stock, talk, until};

const TOPIC: &str = "moved";
const RATE: &str = "replica.alter.log.dirs.io.max.bytes.per.second";
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const LOG_DIR_NOT_FOUND: i16 = 57;
const STORAGE_ERROR: i16 = 56;

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// Asks for a replica to be moved; yields the code.
fn move_to(broker: &Broker, topic: &str, partition: i32, directory: &Path) -> i16 {
    let topic =
        AlterReplicaLogDirTopic::default().with_name(TopicName(text(topic))).with_partitions(vec![partition]);
    let directory = AlterReplicaLogDir::default()
        .with_path(text(&directory.display().to_string()))
        .with_topics(vec![topic]);
    let request = AlterReplicaLogDirsRequest::default().with_dirs(vec![directory]);
    broker.connect().request(2, &request).results[0].partitions[0].error_code
}

/// Directory, whether it is a copy, and how far behind, of every replica of the partition.
fn replicas(broker: &Broker, partition: i32) -> Vec<(PathBuf, bool, i64)> {
    let answer = broker.connect().request(4, &DescribeLogDirsRequest::default().with_topics(None));
    let mut found = Vec::new();
    for result in &answer.results {
        assert_eq!(result.error_code, 0);
        for topic in result.topics.iter().filter(|topic| topic.name.0.as_str() == TOPIC) {
            for one in topic.partitions.iter().filter(|one| one.partition_index == partition) {
                found.push((PathBuf::from(result.log_dir.as_str()), one.is_future_key, one.offset_lag));
            }
        }
    }
    found.sort_by_key(|(_, is_future, _)| *is_future);
    found
}

/// Sets the rate of moves, or takes it away.
fn set_rate(broker: &Broker, bytes_per_second: Option<&str>) {
    alter_config(&mut broker.connect(), OF_BROKER, "0", RATE, bytes_per_second);
    let resource = DescribeConfigsResource::default()
        .with_resource_type(OF_BROKER)
        .with_resource_name(text("0"))
        .with_configuration_keys(Some(vec![text(RATE)]));
    let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
    until("the rate", || {
        let answer = broker.connect().request(1, &request);
        let told = answer.results[0].configs.iter().find(|config| config.name.as_str() == RATE);
        told.and_then(|config| config.value.as_deref()) == bytes_per_second
    });
}

/// Appends a batch; waits while the broker does not lead the partition yet.
fn put(connection: &mut Connection, batch: &Bytes) -> i64 {
    const NOT_YET: [i16; 2] = [3, 6];
    let mut answered = (0, 0);
    until("the leader", || {
        answered = talk::produce(connection, TOPIC, 0, batch, -1);
        !NOT_YET.contains(&answered.0)
    });
    assert_eq!(answered.0, 0);
    answered.1
}

struct Directories {
    _folder: tempfile::TempDir,
    a: PathBuf,
    b: PathBuf,
}

impl Directories {
    fn new() -> Directories {
        let folder = tempfile::tempdir().expect("a folder");
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        Directories { _folder: folder, a, b }
    }

    fn setting(&self) -> String {
        format!("{},{}", self.a.display(), self.b.display())
    }

    fn other(&self, than: &Path) -> &Path {
        if than == self.a { &self.b } else { &self.a }
    }
}

/// What people give to `kafka-reassign-partitions`: partition 0 is to lie in a log directory.
struct Plan(tempfile::NamedTempFile);

impl Plan {
    fn new(to: &Path) -> Plan {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let replica = serde_json::json!({
            "topic": TOPIC, "partition": 0, "replicas": [0], "log_dirs": [to.display().to_string()],
        });
        let plan = serde_json::json!({ "version": 1, "partitions": [replica] });
        fs::write(file.path(), plan.to_string()).expect("written");
        Plan(file)
    }

    #[track_caller]
    fn tell(&self, broker: &Broker, more: &[&str]) -> String {
        let (bootstrap, file) = (broker.bootstrap(), self.0.path().display().to_string());
        let arguments = ["--bootstrap-server", &bootstrap, "--reassignment-json-file", &file];
        stock::tool("3.9.1", "kafka-reassign-partitions", &[&arguments[..], more].concat(), "").success()
    }
}

fn folders(directory: &Path, end: &str) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("listed");
    let names = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with(TOPIC) && name.ends_with(end)).collect()
}

/// Nothing wrong for Apache's tool.
fn assert_well_formed(folder: &Path) {
    let wanted = [".log", ".index", ".timeindex", ".txnindex", ".snapshot"];
    let paths = fs::read_dir(folder).expect("listed").map(|entry| entry.expect("an entry").path());
    let mut names: Vec<String> = paths.map(|path| path.display().to_string()).collect();
    names.retain(|name| wanted.iter().any(|suffix| name.ends_with(suffix)));
    names.sort();
    let arguments = ["--deep-iteration", "--files", &names.join(",")];
    let ended = stock::tool("3.9.1", "kafka-dump-log", &arguments, "");
    let output = format!("{}{}", ended.stdout, ended.stderr);
    for complaint in
        ["isvalid: false", "Mismatches", "mismatch", "out of order", "Non-consecutive", "invalid bytes"]
    {
        assert!(!output.contains(complaint), "{complaint}\n{output}");
    }
}

#[test]
fn a_replica_moves_while_it_is_written_and_goes_on_after_a_kill() {
    let directories = Directories::new();
    let mut broker = Broker::start_with(kind(), &[("log.dirs", &directories.setting())]);
    let configs = [("segment.bytes", "50000"), ("index.interval.bytes", "500")];
    talk::create_topic(&broker, TOPIC, 4, &configs);
    let counts = [&directories.a, &directories.b].map(|directory| folders(directory, "").len());
    assert_eq!(counts.iter().sum::<usize>(), 4);
    assert_eq!(counts[0], 2, "replicas go where there are fewest");

    let mut connection = broker.connect();
    let mut written = Vec::new();
    let mut number = 0;
    let mut write = |connection: &mut Connection, written: &mut Vec<String>, count: usize| {
        for _ in 0..count {
            let value = format!("value {number} {}", "x".repeat(2000));
            let batch = Batch::of(&[&value]).by_producer(77, 0, number).encode();
            put(connection, &batch);
            written.push(value);
            number += 1;
        }
    };
    // At that rate more than what the tools take on a busy machine.
    write(&mut connection, &mut written, 300);
    let from = replicas(&broker, 0)[0].0.clone();
    let to = directories.other(&from).to_path_buf();

    let plan = Plan::new(&to);
    let told = plan.tell(&broker, &["--execute", "--replica-alter-log-dirs-throttle", "5000"]);
    assert!(
        told.contains(&format!(
            "Successfully started moving log directory to {} for replica {TOPIC}-0",
            to.display()
        )),
        "{told}"
    );
    assert_eq!(move_to(&broker, TOPIC, 0, &to), 0, "asking twice is asking once");
    until("the copy", || replicas(&broker, 0).len() == 2);
    let seen = replicas(&broker, 0);
    assert_eq!((&seen[0].0, seen[0].1), (&from, false));
    assert_eq!((&seen[1].0, seen[1].1), (&to, true));
    write(&mut connection, &mut written, 20);
    assert!(replicas(&broker, 0)[1].2 > 0, "within its rate it lags behind");
    assert_eq!(folders(&to, "-future").len(), 1);
    let tool = stock::tool(
        "3.9.1",
        "kafka-log-dirs",
        &["--bootstrap-server", &broker.bootstrap(), "--describe", "--topic-list", TOPIC],
        "",
    );
    assert!(tool.success().contains("\"isFuture\":true"));
    let told = plan.tell(&broker, &["--verify", "--preserve-throttles"]);
    assert!(told.contains(&format!("Reassignment of replica {TOPIC}-0-0 is still in progress.")), "{told}");

    broker.kill();
    broker.restart();
    let mut connection = broker.connect();
    assert_eq!(talk::end_offset(&mut connection, TOPIC, 0), written.len() as i64);
    assert_eq!(replicas(&broker, 0).len(), 2, "the move goes on");
    write(&mut connection, &mut written, 20);
    set_rate(&broker, None);
    let mut rounds = 0;
    until("the end of the move", || {
        rounds += 1;
        if rounds < 50 {
            write(&mut connection, &mut written, 1);
        }
        matches!(replicas(&broker, 0).as_slice(), [(place, false, _)] if *place == to)
    });

    let told = plan.tell(&broker, &["--verify"]);
    assert!(told.contains(&format!("Reassignment of replica {TOPIC}-0-0 completed successfully.")), "{told}");

    write(&mut connection, &mut written, 3);
    let repeated = Batch::of(&["again"]).by_producer(77, 0, written.len() as i32 - 1).encode();
    let offset = put(&mut connection, &repeated);
    assert_eq!(offset, written.len() as i64 - 1, "producers moved with their records");
    let read: Vec<String> =
        talk::values(&mut connection, TOPIC, 0).into_iter().map(|(_, value)| value).collect();
    assert_eq!(read, written);
    assert_eq!(folders(&from, "-delete").len(), 1);
    assert_eq!(folders(&to, "-future").len(), 0);
    broker.stop();
    assert_well_formed(&to.join(format!("{TOPIC}-0")));

    broker.restart();
    let mut connection = broker.connect();
    assert_eq!(talk::end_offset(&mut connection, TOPIC, 0), written.len() as i64);
    assert_eq!(replicas(&broker, 0)[0].0, to);
}

#[test]
fn what_cannot_be_moved_is_refused_and_a_move_can_be_taken_back() {
    let directories = Directories::new();
    let broker = Broker::start_with(kind(), &[("log.dirs", &directories.setting())]);
    assert_eq!(move_to(&broker, "nobody", 0, &directories.a), UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(move_to(&broker, TOPIC, 1, &directories.b), UNKNOWN_TOPIC_OR_PARTITION);
    talk::create_topic(&broker, TOPIC, 2, &[]);
    assert_eq!(replicas(&broker, 1)[0].0, directories.b, "it was asked for before it was there");
    assert_eq!(move_to(&broker, TOPIC, 7, &directories.b), UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(move_to(&broker, TOPIC, 0, Path::new("/nowhere")), LOG_DIR_NOT_FOUND);

    let mut connection = broker.connect();
    for _ in 0..100 {
        let batch = Batch::of(&[&"x".repeat(25_000)]).encode();
        put(&mut connection, &batch);
    }
    let from = replicas(&broker, 0)[0].0.clone();
    let to = directories.other(&from).to_path_buf();
    assert_eq!(move_to(&broker, TOPIC, 0, &from), 0, "it is there already");
    set_rate(&broker, Some("1000"));
    assert_eq!(move_to(&broker, TOPIC, 0, &to), 0);
    until("the copy", || replicas(&broker, 0).len() == 2);
    assert_eq!(move_to(&broker, TOPIC, 0, &from), 0);
    until("the end of the copy", || replicas(&broker, 0).len() == 1);
    assert_eq!(replicas(&broker, 0)[0].0, from);
    assert_eq!(folders(&to, "-future").len(), 0);
}

/// Its copy is told of a leader's epoch by no record.
#[test]
fn a_replica_moves_though_all_of_it_was_deleted_or_nothing_was_written_since_its_leader_began_again() {
    let directories = Directories::new();
    let mut broker = Broker::start_with(kind(), &[("log.dirs", &directories.setting())]);
    talk::create_topic(&broker, TOPIC, 2, &[]);
    let batch = Batch::of(&["one"]).encode();
    let mut connection = broker.connect();
    for _ in 0..3 {
        put(&mut connection, &batch);
    }
    until("the leader of the other", || talk::produce(&mut connection, TOPIC, 1, &batch, -1).0 == 0);
    assert_eq!(delete_records(&mut connection, TOPIC, -1), 0);
    let move_away = |broker: &Broker, partition: i32| {
        let to = directories.other(&replicas(broker, partition)[0].0).to_path_buf();
        assert_eq!(move_to(broker, TOPIC, partition, &to), 0);
        until(
            "the end of the move",
            || matches!(replicas(broker, partition).as_slice(), [(place, false, _)] if *place == to),
        );
    };
    move_away(&broker, 0);
    assert_eq!(put(&mut connection, &batch), 3);

    broker.stop();
    broker.restart();
    let mut connection = broker.connect();
    until("the leaders", || {
        (0..2).all(|partition| talk::list_offset(&mut connection, TOPIC, partition, -1).0 == 0)
    });
    (0..2).for_each(|partition| move_away(&broker, partition));
    assert_eq!(put(&mut connection, &batch), 4);
    assert_eq!(talk::end_offset(&mut connection, TOPIC, 1), 1);
}

#[test]
fn a_directory_that_cannot_be_read_is_left_out_of_the_start_and_the_others_are_served() {
    let directories = Directories::new();
    let mut broker = Broker::start_with(kind(), &[("log.dirs", &directories.setting())]);
    talk::create_topic(&broker, TOPIC, 4, &[]);
    let mut connection = broker.connect();
    for partition in 0..4 {
        let batch = Batch::of(&["kept"]).encode();
        assert_eq!(talk::produce(&mut connection, TOPIC, partition, &batch, -1).0, 0);
    }
    let lie_in = |directory: &Path| -> Vec<i32> {
        let names = folders(directory, "");
        names
            .iter()
            .map(|name| name.rsplit('-').next().expect("a number").parse().expect("a number"))
            .collect()
    };
    let (kept, lost) = (lie_in(&directories.a), lie_in(&directories.b));
    assert_eq!((kept.len(), lost.len()), (2, 2));
    broker.stop();
    let meta = directories.b.join("meta.properties");
    let content = fs::read(&meta).expect("read");
    fs::remove_file(&meta).and_then(|()| fs::create_dir(&meta)).expect("what cannot be read as a file");

    broker.restart();

    let mut connection = broker.connect();
    for partition in &kept {
        assert_eq!(talk::end_offset(&mut connection, TOPIC, *partition), 1);
    }
    let batch = Batch::of(&["refused"]).encode();
    for partition in &lost {
        until("word that nobody leads it", || {
            talk::produce(&mut connection, TOPIC, *partition, &batch, -1).0 == STORAGE_ERROR
        });
        assert_eq!(talk::list_offset(&mut connection, TOPIC, *partition, -1).0, STORAGE_ERROR);
    }
    let described = connection.request(4, &DescribeLogDirsRequest::default().with_topics(None));
    let mut told: Vec<(String, i16)> =
        described.results.iter().map(|one| (one.log_dir.to_string(), one.error_code)).collect();
    told.sort();
    let path = |directory: &Path| directory.display().to_string();
    assert_eq!(told, [(path(&directories.a), 0), (path(&directories.b), STORAGE_ERROR)]);
    assert_eq!(move_to(&broker, TOPIC, kept[0], &directories.b), STORAGE_ERROR);
    assert_eq!(move_to(&broker, TOPIC, lost[0], &directories.a), STORAGE_ERROR);

    broker.stop();
    fs::remove_dir(&meta).and_then(|()| fs::write(&meta, content)).expect("repaired");
    broker.restart();
    let mut connection = broker.connect();
    for partition in 0..4 {
        assert_eq!(talk::end_offset(&mut connection, TOPIC, partition), 1);
    }
}
