//! Dynamic configs of topics and brokers: what the stock ConfigCommand is told, and what the running broker then does,
//! with ours and with Apache Kafka 3.9.1.

mod support;

#[path = "configs/logs.rs"]
mod logs;

use std::net::{IpAddr, TcpStream};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use kafka_protocol::messages::{ApiVersionsRequest, MetadataRequest};
use support::ports::free_port;
use support::process::PATIENCE;
use support::records::Batch;
use support::requests::{OF_BROKER, alter_configs, create_topic, produced, try_fetch, try_produce};
use support::seat::{Broker, Kind, kind};
use support::stock;
use support::until;
use support::wire::Connection;

static APACHE: LazyLock<Broker> = LazyLock::new(|| Broker::start_with(Kind::Apache, &[]));
/// Ours; with `ODRADEK_SEAT=apache` a second Apache.
static OURS: LazyLock<Broker> = LazyLock::new(Broker::start);

/// Does the same with both, at the same time.
fn with_both<T: Send>(play: impl Fn(&'static Broker) -> T + Sync) -> [T; 2] {
    std::thread::scope(|scope| {
        let apache = scope.spawn(|| play(&APACHE));
        let ours = play(&OURS);
        [apache.join().expect("the same with Apache"), ours]
    })
}

/// Sets the keys of this broker (`0`) or of all (empty); `None` deletes.
#[track_caller]
fn alter(broker: &Broker, name: &str, keys: &[(&str, Option<&str>)]) {
    alter_configs(&mut broker.connect(), OF_BROKER, name, keys);
}

const MESSAGE_TOO_LARGE: i16 = 10;
/// Where a batch has its attributes.
const ATTRIBUTES: usize = 22;

/// A broker hears of a change from ZooKeeper, a moment after it was answered.
#[track_caller]
fn eventually(broker: &Broker, what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{:?}: {what}\n{}", broker.kind, broker.log());
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// A connection from `source` that was served; `None` where the broker closed it or lets it wait.
fn served(source: IpAddr, port: u16) -> Option<Connection> {
    let mut connection = Connection::from_address(source, port, Duration::from_millis(700)).ok()?;
    connection.try_request(0, &ApiVersionsRequest::default()).ok()?;
    Some(connection)
}

/// The same as soon as there is room: who was here before counts until the broker has seen that it went.
#[track_caller]
fn let_in(source: IpAddr, port: u16) -> Connection {
    let mut connection = None;
    until("a connection to be let in", || {
        connection = served(source, port);
        connection.is_some()
    });
    connection.expect("let in")
}

#[test]
fn what_is_typed_is_answered_as_apache_answers_it() {
    let topic = ["--entity-type", "topics", "--entity-name", "typed"];
    let me = ["--entity-type", "brokers", "--entity-name", "0"];
    let all = ["--entity-type", "brokers", "--entity-default"];
    let typed: &[(&str, &[&str], &[&str])] = &[
        ("3.9.1", &topic, &["--alter", "--add-config", "retention.ms=600000,segment.bytes=1048576"]),
        ("3.9.1", &topic, &["--alter", "--add-config", "no.such=1"]),
        ("2.8.2", &topic, &["--alter", "--add-config", "max.message.bytes=2000"]),
        ("2.8.2", &topic, &["--alter", "--delete-config", "retention.ms"]),
        ("2.8.2", &topic, &["--describe"]),
        ("3.9.1", &all, &["--alter", "--add-config", "log.cleaner.backoff.ms=14000"]),
        ("3.9.1", &me, &["--alter", "--add-config", "max.connections.per.ip=900"]),
        ("3.9.1", &me, &["--alter", "--add-config", "broker.rack=here"]),
        ("3.9.1", &me, &["--alter", "--add-config", "listeners=PLAINTEXT://127.0.0.1:1,MORE://:2"]),
        ("3.9.1", &me, &["--alter", "--add-config", "listener.name.plaintext.max.connections=0"]),
        ("3.9.1", &me, &["--describe"]),
        ("2.8.2", &me, &["--alter", "--add-config", "log.cleaner.threads=2"]),
    ];
    let [apache, ours] = with_both(|broker| {
        create_topic(&mut broker.connect(), "typed", 1, 1, &[("cleanup.policy", "compact")]);
        let (bootstrap, zookeeper) = (broker.bootstrap(), broker.zookeeper());
        let answers = typed.iter().map(|(version, entity, what)| {
            let through = match *version {
                "2.8.2" => ["--zookeeper", &zookeeper],
                _ => ["--bootstrap-server", &bootstrap],
            };
            let ended = stock::tool(version, "kafka-configs", &[&through, *entity, *what].concat(), "");
            ended.to_string().replace(&bootstrap, "BROKER").replace(&zookeeper, "ZOOKEEPER")
        });
        answers.collect::<Vec<_>>()
    });
    let differ: Vec<String> = apache
        .iter()
        .zip(&ours)
        .filter(|(apache, ours)| apache != ours)
        .map(|(apache, ours)| format!("Apache: {apache}\nours: {ours}"))
        .collect();
    assert!(differ.is_empty(), "{}", differ.join("\n\n"));
    with_both(|broker| {
        // What the 2.8 tool wrote into ZooKeeper holds for producers.
        let value = "x".repeat(3000);
        let records = vec![(Some(b"key".to_vec()), Some(value.into_bytes()))];
        let large = Batch { records, ..Batch::of(&["stands for the record"]) };
        eventually(broker, "max.message.bytes holds", || {
            produced(&mut broker.connect(), "typed", &large.encode()) == 10
        });
        for (name, key) in [("0", "max.connections.per.ip"), ("", "log.cleaner.backoff.ms")] {
            alter(broker, name, &[(key, None)]);
        }
    });
}

#[test]
fn a_share_of_one_address_is_followed_while_the_broker_runs() {
    let source = IpAddr::from([127, 0, 0, 77]);
    with_both(|broker| {
        let key = "max.connections.per.ip.overrides";
        let many = |count: usize| -> Vec<Connection> {
            std::iter::repeat_with(|| served(source, broker.port)).take(count).flatten().collect()
        };
        eventually(broker, "nothing is limited yet", || many(6).len() == 6);
        alter(broker, "", &[(key, Some("127.0.0.77:3"))]);
        eventually(broker, "no more than three", || many(6).len() == 3);
        alter(broker, "", &[(key, Some("127.0.0.77:5"))]);
        eventually(broker, "no more than five", || many(6).len() == 5);
        alter(broker, "", &[(key, None)]);
        eventually(broker, "as many as they want", || many(6).len() == 6);
    });
}

#[test]
fn listeners_are_opened_limited_and_closed_while_the_broker_runs() {
    let here = IpAddr::from([127, 0, 0, 1]);
    with_both(|broker| {
        let port = free_port();
        let both = format!("PLAINTEXT://{},EXTRA://127.0.0.1:{port}", broker.bootstrap());
        let map = "PLAINTEXT:PLAINTEXT,EXTRA:PLAINTEXT";
        let mut keys = [
            ("listeners", Some(both.as_str())),
            ("advertised.listeners", Some(both.as_str())),
            ("listener.security.protocol.map", Some(map)),
            ("listener.name.extra.max.connections", Some("2")),
        ];
        alter(broker, "0", &keys);
        eventually(broker, "the new listener serves", || served(here, port).is_some());
        // Clients of a listener are sent to that listener.
        let advertised = || {
            let mut connection = served(here, port)?;
            let answer = connection.try_request(9, &MetadataRequest::default().with_topics(Some(vec![])));
            Some(answer.ok()?.brokers.first()?.port)
        };
        eventually(broker, "it is advertised", || advertised() == Some(i32::from(port)));
        let (first, _second) = (let_in(here, port), let_in(here, port));
        let mut third = Connection::over(
            TcpStream::connect(("127.0.0.1", port)).expect("the kernel accepts"),
            Duration::from_millis(700),
        )
        .expect("connected");
        let asked = third.try_request(0, &ApiVersionsRequest::default());
        assert!(asked.is_err(), "{:?}: the third waits", broker.kind);
        drop(first);
        third.patience(PATIENCE);
        assert!(third.receive::<ApiVersionsRequest>(0).is_ok(), "{:?}: it takes the place", broker.kind);

        keys.iter_mut().for_each(|(_, value)| *value = None);
        alter(broker, "0", &keys);
        assert!(third.is_closed_within(PATIENCE), "{:?}: so do its connections", broker.kind);
        eventually(broker, "nobody listens there", || TcpStream::connect(("127.0.0.1", port)).is_err());
        broker.connect().request(0, &ApiVersionsRequest::default());
    });
}

#[test]
fn limits_of_connections_hold_as_they_are_lowered_and_raised() {
    let here = IpAddr::from([127, 0, 0, 1]);
    let broker = Broker::start_with(kind(), &[]);
    let mut connections: Vec<Connection> =
        std::iter::repeat_with(|| let_in(here, broker.port)).take(8).collect();
    // Who asked last is idle for the shortest time; the one that alters is the ninth.
    alter(&broker, "0", &[("max.connections", Some("4"))]);
    let open = |connections: &mut Vec<Connection>| {
        connections
            .retain_mut(|connection| connection.try_request(0, &ApiVersionsRequest::default()).is_ok());
        connections.len()
    };
    let deadline = Instant::now() + PATIENCE;
    while open(&mut connections) > 4 {
        assert!(Instant::now() < deadline, "{} connections\n{}", connections.len(), broker.log());
        std::thread::park_timeout(Duration::from_millis(20));
    }
    while connections.len() < 4 {
        connections.push(let_in(here, broker.port));
    }
    assert!(served(here, broker.port).is_none(), "the fifth waits");
    // One makes room for the change, which lets all others in.
    connections.pop();
    alter(&broker, "0", &[("max.connections", None)]);
    let here = || served(here, broker.port);
    eventually(&broker, "all are let in", || {
        std::iter::repeat_with(here).take(6).flatten().collect::<Vec<_>>().len() == 6
    });

    let elsewhere = IpAddr::from([127, 0, 0, 79]);
    let many = || std::iter::repeat_with(|| served(elsewhere, broker.port)).take(9).flatten();
    alter(&broker, "", &[("max.connections.per.ip", Some("7"))]);
    eventually(&broker, "no address has more than seven", || many().collect::<Vec<_>>().len() == 7);
    alter(&broker, "", &[("max.connections.per.ip", None)]);
    eventually(&broker, "an address has as many as it wants", || many().collect::<Vec<_>>().len() == 9);
}

#[test]
fn new_connections_beyond_the_rate_wait() {
    let here = IpAddr::from([127, 0, 0, 1]);
    let broker = Broker::start_with(kind(), &[]);
    alter(&broker, "", &[("max.connection.creation.rate", Some("2"))]);
    // 2 a second over 11 seconds are 22 at once: beyond them some have to wait for their answer.
    eventually(&broker, "some wait", || (0..40).any(|_| served(here, broker.port).is_none()));
    // Whoever waits gets in.
    let stream = TcpStream::connect(("127.0.0.1", broker.port)).expect("the kernel accepts");
    let mut patient = Connection::over(stream, PATIENCE).expect("connected");
    patient.request(0, &ApiVersionsRequest::default());
}

#[test]
fn topics_without_a_word_of_their_own_follow_what_is_set_for_the_broker() {
    let broker = Broker::start_with(kind(), &[]);
    let mut connection = broker.connect();
    create_topic(&mut connection, "follows", 1, 1, &[]);
    create_topic(&mut connection, "has-its-own", 1, 1, &[("max.message.bytes", "2000")]);
    let batch = |size: usize| {
        let value = Some("x".repeat(size).into_bytes());
        Batch { records: vec![(None, value)], ..Batch::of(&["stands for the record"]) }.encode()
    };
    let send = |topic: &str, records: &bytes::Bytes| produced(&mut broker.connect(), topic, records);
    for topic in ["follows", "has-its-own"] {
        eventually(&broker, "it is led", || send(topic, &batch(500)) == 0);
    }

    alter(&broker, "", &[("message.max.bytes", Some("300"))]);
    eventually(&broker, "a large record is refused", || send("follows", &batch(500)) == MESSAGE_TOO_LARGE);
    assert_eq!(send("has-its-own", &batch(500)), 0);
    alter(&broker, "0", &[("message.max.bytes", Some("700"))]);
    eventually(&broker, "this broker's value counts more", || send("follows", &batch(500)) == 0);

    // Each record is a segment of its own now.
    let segments = || {
        let folder = std::fs::read_dir(broker.log_dir().join("follows-0")).expect("the partition's folder");
        folder
            .filter(|one| one.as_ref().is_ok_and(|one| one.file_name().to_string_lossy().ends_with(".log")))
            .count()
    };
    let before = segments();
    alter(&broker, "", &[("log.segment.bytes", Some("100"))]);
    eventually(&broker, "segments are rolled", || {
        assert_eq!(send("follows", &batch(5)), 0);
        segments() > before + 1
    });

    alter(&broker, "", &[("compression.type", Some("gzip"))]);
    eventually(&broker, "records are compressed here", || {
        const CODEC: u8 = 7;
        const GZIP: u8 = 1;
        let (error, at) = try_produce(&mut broker.connect(), "follows", 0, 1, &batch(5)).expect("an answer");
        assert_eq!(error, 0);
        let fetched = try_fetch(&mut broker.connect(), "follows", 0, at).expect("an answer").records;
        fetched.get(ATTRIBUTES).is_some_and(|attributes| attributes & CODEC == GZIP)
    });
}

#[test]
fn cleaners_are_set_up_anew_when_their_configs_change() {
    // Nobody waits for the next look at the logs: an hour later.
    let broker = Broker::start_with(kind(), &[("log.cleaner.backoff.ms", "3600000")]);
    let compacted =
        [("cleanup.policy", "compact"), ("segment.bytes", "500"), ("min.cleanable.dirty.ratio", "0.01")];
    create_topic(&mut broker.connect(), "compacted", 1, 1, &compacted);
    for number in 0..20 {
        let mut batch = Batch::of(&[&format!("value {number} {}", "x".repeat(100))]);
        batch.records[0].0 = Some(b"the only key".to_vec());
        assert_eq!(produced(&mut broker.connect(), "compacted", &batch.encode()), 0);
    }
    let cleaned = || {
        let checkpoint = broker.log_dir().join("cleaner-offset-checkpoint");
        let text = std::fs::read_to_string(checkpoint).unwrap_or_default();
        text.lines().any(|line| line.starts_with("compacted 0 ") && !line.ends_with(" 0"))
    };
    assert!(!cleaned());

    let changes = [
        ("log.cleaner.backoff.ms", Some("100")),
        ("log.cleaner.threads", Some("2")),
        ("log.cleaner.dedupe.buffer.size", Some("16777216")),
    ];
    alter(&broker, "", &changes);

    eventually(&broker, "the log is cleaned", cleaned);
}

#[test]
fn of_a_key_that_changes_without_effect_here_the_reason_is_told() {
    let broker = Broker::start_with(Kind::Ours, &[]);
    alter(&broker, "", &[("num.io.threads", Some("16"))]);
    eventually(&broker, "it is told", || {
        broker
            .whole_log()
            .contains("num.io.threads: without effect, it sizes thread pools of the Java broker")
    });
}
