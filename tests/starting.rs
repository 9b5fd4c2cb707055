//! What decides whether a broker starts, and what it does first: whose directories these are, who coordinates it, whether
//! its former self is still registered, and what was decided while it was away.

mod support;

use std::fs;
use std::net::TcpListener;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use support::ensemble::{Ensemble, exists};
use support::ports::free_port;
use support::process::{Ended, PATIENCE, run};
use support::records::Batch;
use support::requests::{create_topic, metadata, produce};
use support::seat::{Broker, Kind, kind};
use support::stock::checkout;
use support::until;
use support::znodes::{Body, ZnodeClient};

/// Request code of `create`.
const CREATE: i32 = 1;

#[test]
fn a_start_ends_with_one_line_that_says_all_and_a_signal_ends_the_broker_with_0() {
    let mut broker = Broker::start_with(Kind::Ours, &[]);
    for signal in [libc::SIGTERM, libc::SIGINT] {
        if !broker.is_running() {
            broker.restart();
        }
        // It serves a moment before it says so.
        let mut line = None;
        until("the line of a start", || {
            line = broker.whole_log().lines().find(|line| line.contains("started in")).map(str::to_owned);
            line.is_some()
        });
        let line = line.expect("found");
        for told in [
            &format!("listening on PLAINTEXT://127.0.0.1:{}", broker.port),
            &format!("coordinated by the embedded coordinator on 127.0.0.1:{}", broker.zookeeper_port),
            &format!("log.dirs {}", broker.log_dir().display()),
            " ms:",
        ] {
            assert!(line.contains(told), "{told}: {line}");
        }
        let ended = broker.stop_by(signal);
        assert_eq!(ended.code, 0, "{ended}");
        assert!(broker.log_dir().join(".kafka_cleanshutdown").exists(), "a clean stop");
    }
}

#[test]
fn the_scripts_of_an_operators_habit_start_a_daemon_and_stop_that_one_only() {
    let other = Broker::start_with(Kind::Ours, &[]);
    let mut broker = Broker::start_with(Kind::Ours, &[]);
    broker.stop();
    let folder = tempfile::tempdir().expect("a folder");
    let script = |name: &str, arguments: &[&str]| {
        let mut command = Command::new(checkout().join("scripts").join(name));
        command.args(arguments).env("LOG_DIR", folder.path()).env("BROKER", env!("CARGO_BIN_EXE_broker"));
        run(name, command, b"", PATIENCE)
    };
    let answers = || broker.try_connect().is_some();
    script("kafka-server-start.sh", &["-daemon", &broker.properties().display().to_string()]).success();
    // Whatever fails from here on: no daemon is left behind.
    let told = || fs::read_to_string(folder.path().join("kafkaServer.out")).unwrap_or_default();
    let came_up = catch_unwind(AssertUnwindSafe(|| {
        until("the daemon is up", || answers() && told().contains("started in"))
    }));
    let stopped = script("kafka-server-stop.sh", &["--pid", "--wait"]);

    assert!(came_up.is_ok() && stopped.code == 0, "{stopped}");
    assert!(!answers());
    let log = told();
    assert!(log.trim_end().ends_with("stopped"), "{log}");
    other.connect();
    let again = script("kafka-server-stop.sh", &["--pid"]);
    assert_eq!((again.code, again.stderr.as_str()), (1, "No kafka server to stop\n"));
}

/// Standard output and error together: the log of Apache's broker goes to the one, ours to the other.
fn told(ended: &Ended) -> String {
    format!("{}{}", ended.stdout, ended.stderr)
}

/// A stopped broker whose `meta.properties` now has `line` where it had one for `key`; how its next start ends.
#[track_caller]
fn start_with_meta_line(key: &str, line: &str) -> Ended {
    let mut broker = Broker::start();
    broker.stop();
    let file = broker.log_dir().join("meta.properties");
    let text = fs::read_to_string(&file).expect("written at the first start");
    let changed: String = text
        .lines()
        .map(|old| if old.starts_with(key) { line } else { old })
        .map(|l| format!("{l}\n"))
        .collect();
    assert_ne!(changed, text, "nothing begins with {key}");
    fs::write(&file, changed).expect("written");
    broker.spawn();
    broker.wait()
}

#[test]
fn a_directory_of_another_cluster_stops_the_start() {
    let ended = start_with_meta_line("cluster.id=", "cluster.id=AnotherClustersOwnId00");
    assert_eq!(ended.code, 1, "{ended}");
    let told = told(&ended);
    assert!(told.contains("AnotherClustersOwnId00") && told.contains("meta.properties"), "{ended}");
    let (ours, apaches) = ("this broker would join the wrong cluster", "Invalid cluster.id in");
    assert!(told.contains(if kind() == Kind::Apache { apaches } else { ours }), "{ended}");
}

#[test]
fn a_directory_of_another_broker_stops_the_start() {
    let ended = start_with_meta_line("broker.id=", "broker.id=7");
    assert_eq!(ended.code, 1, "{ended}");
    let told = told(&ended);
    // Apache's sentence first, ours second: the configured id, the stored one, and where it stands.
    let apaches = told.contains("Stored node id 7 doesn't match previous node id 0 in");
    let ours = told.contains("broker.id=0 does not match broker.id=7 in meta.properties of");
    assert!(if kind() == Kind::Apache { apaches } else { ours }, "{ended}");
    assert!(told.contains("If you moved your data"), "{ended}");
}

/// A member whose session outlasts a quick restart.
fn member(ensemble: &Ensemble, settings: &[(&str, &str)]) -> Broker {
    let mut broker = Broker::join(kind(), 1, &ensemble.connect_string(), settings);
    broker.wait_until_it_answers();
    broker
}

#[test]
fn a_broker_that_was_killed_waits_its_former_session_out_and_serves() {
    let ensemble = Ensemble::of(1, 0);
    let mut broker = member(&ensemble, &[("zookeeper.session.timeout.ms", "9000")]);
    create_topic(&mut broker.connect(), "kept", 1, 1, &[]);
    produce(&mut broker.connect(), "kept", 0, &Batch::of(&["one"]).encode());
    let (_, before) = ensemble.read("/brokers/ids/1").expect("registered");

    broker.kill();
    broker.spawn();

    if kind() == Kind::Apache {
        let ended = broker.wait();
        assert_eq!(ended.code, 1, "{ended}");
        assert!(told(&ended).contains("NodeExists"), "{ended}");
        return;
    }
    broker.wait_until_it_answers();
    let log = broker.whole_log();
    assert!(log.contains("former session still holds /brokers/ids/1; waiting for it to expire"), "{log}");
    let (_, after) = ensemble.read("/brokers/ids/1").expect("registered again");
    assert!(after.owner != before.owner && after.czxid > before.czxid, "{before:?} {after:?}");
    assert_eq!(produce(&mut broker.connect(), "kept", 0, &Batch::of(&["two"]).encode()), 1);
}

#[test]
fn on_its_own_coordinator_a_killed_broker_is_back_without_waiting() {
    // Only ours has one: Apache's ends with NodeExists, see above.
    let mut broker = Broker::start_with(Kind::Ours, &[("zookeeper.session.timeout.ms", "40000")]);
    create_topic(&mut broker.connect(), "kept", 1, 1, &[]);
    produce(&mut broker.connect(), "kept", 0, &Batch::of(&["one"]).encode());

    broker.kill();
    let killed = Instant::now();
    broker.spawn();
    let mut first = None;
    until("it listens", || {
        first = broker.try_connect();
        first.is_some()
    });
    let told = metadata(&mut first.expect("a connection"), "kept").expect("an answer");
    assert_ne!(told.topics[0].error_code, UNKNOWN_TOPIC_OR_PARTITION, "however early somebody asks");
    broker.wait_until_it_answers();

    let took = killed.elapsed();
    let log = broker.whole_log();
    assert!(log.contains("ended the session of this broker's former run"), "{log}");
    assert!(!log.contains("waiting for it to expire"), "{log}");
    assert!(took < Duration::from_secs(40), "as long as the session would have lasted: {took:?}");
    assert_eq!(produce(&mut broker.connect(), "kept", 0, &Batch::of(&["two"]).encode()), 1);
}

const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;

/// Entries of the log directory that belong to partitions of the topic, those marked for deletion too.
fn folders(log_dir: &Path, topic: &str) -> Vec<String> {
    let names =
        fs::read_dir(log_dir).expect("the log directory").map(|entry| entry.expect("an entry").file_name());
    let prefix = format!("{topic}-");
    names.filter_map(|name| name.into_string().ok()).filter(|name| name.starts_with(&prefix)).collect()
}

#[test]
fn a_topic_that_was_deleted_while_its_broker_was_away_is_gone_once_it_is_back() {
    let ensemble = Ensemble::of(1, 0);
    let soon = [("log.segment.delete.delay.ms", "500"), ("log.initial.task.delay.ms", "500")];
    let mut broker = member(&ensemble, &soon);
    for topic in ["doomed", "kept"] {
        create_topic(&mut broker.connect(), topic, 3, 1, &[("retention.ms", "86400000")]);
        produce(&mut broker.connect(), topic, 2, &Batch::of(&["one"]).encode());
    }
    broker.stop();
    assert_eq!(folders(&broker.log_dir(), "doomed").len(), 3);

    let mut tool = ZnodeClient::open(ensemble.servers()[0].address());
    // What kafka-topics --delete --zookeeper writes.
    let request = Body::default().string("/admin/delete_topics/doomed").buffer(Some(b""));
    let reply = tool.request(CREATE, &request.acl(&[(31, "world", "anyone")]).int(0)).expect("an answer");
    assert_eq!(reply.error, 0);
    broker.restart();

    for znode in ["/brokers/topics/doomed", "/config/topics/doomed", "/admin/delete_topics/doomed"] {
        until(&format!("{znode} is gone"), || !exists(&mut tool, znode));
    }
    until("the folders are gone", || folders(&broker.log_dir(), "doomed").is_empty());
    let unknown = metadata(&mut broker.connect(), "doomed").expect("an answer").topics[0].error_code;
    assert_eq!(unknown, 3, "UNKNOWN_TOPIC_OR_PARTITION");
    assert_eq!(produce(&mut broker.connect(), "kept", 2, &Batch::of(&["two"]).encode()), 1);
    assert_eq!(folders(&broker.log_dir(), "kept").len(), 3);
}

/// How the start of one of ours ends on a ZooKeeper that gives no session, with two seconds of patience.
#[track_caller]
fn start_without_zookeeper(connect: &str) -> Ended {
    let patience = [("zookeeper.connection.timeout.ms", "2000")];
    let began = Instant::now();
    let ended = Broker::join(Kind::Ours, 1, connect, &patience).wait();
    // Two seconds and what a busy machine adds; far below any retry of the system for a host that is silent.
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}: {ended}", began.elapsed());
    assert_eq!(ended.code, 1, "{ended}");
    assert!(ended.stderr.contains("within 2s (zookeeper.connection.timeout.ms)"), "{ended}");
    assert!(
        ended.stderr.contains("leave zookeeper.connect out and it starts its own coordinator"),
        "{ended}"
    );
    ended
}

#[test]
fn a_zookeeper_that_is_not_there_ends_the_start_and_the_message_names_the_embedded_one() {
    let connect = format!("127.0.0.1:{}", free_port());
    let ended = start_without_zookeeper(&connect);
    assert!(ended.stderr.contains(&format!("cannot reach ZooKeeper at {connect}")), "{ended}");
}

#[test]
fn a_zookeeper_that_accepts_and_never_answers_ends_the_start_all_the_same() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let connect = silent.local_addr().expect("bound").to_string();
    // The kernel accepts; nobody reads.
    let ended = start_without_zookeeper(&connect);
    assert!(ended.stderr.contains(&format!("cannot reach ZooKeeper at {connect}")), "{ended}");
}

#[test]
fn a_zookeeper_whose_host_has_no_address_ends_the_start_all_the_same() {
    let ended = start_without_zookeeper("zookeeper.invalid:2181");
    assert!(ended.stderr.contains("cannot reach ZooKeeper at zookeeper.invalid:2181"), "{ended}");
}
