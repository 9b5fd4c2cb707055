//! The runbook: Apache's console tools of 2.8.2, 3.9.1 and 4.1.0, typed as operators type them.

mod support;

use std::sync::LazyLock;

use support::process::PATIENCE;
use support::seat::{Broker, Kind};
use support::stock::{self, VERSIONS};

/// One broker for all tests of this file but those that stop it: every test has its own topics.
static BROKER: LazyLock<Broker> = LazyLock::new(Broker::start);

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

/// 2.8.2 is typed with `--broker-list`, as the runbook has it; 4.0 dropped that name.
fn producer_address(version: &str) -> &'static str {
    if version == "4.1.0" { "--bootstrap-server" } else { "--broker-list" }
}

#[track_caller]
fn create_topic(broker: &Broker, topic: &str, partitions: &str) {
    let zookeeper = broker.zookeeper();
    let arguments =
        ["--create", "--partitions", partitions, "--replication-factor", "1", "--zookeeper", &zookeeper];
    let created = stock::tool("2.8.2", "kafka-topics", &[&arguments[..], &["--topic", topic]].concat(), "");
    assert_eq!(created.success(), format!("Created topic {topic}.\n"));
}

#[track_caller]
fn produce(broker: &Broker, version: &str, topic: &str, more: &[&str], lines: &[String]) {
    let bootstrap = broker.bootstrap();
    let arguments = [producer_address(version), bootstrap.as_str(), "--topic", topic];
    let input: String = lines.iter().map(|line| format!("{line}\n")).collect();
    stock::tool(version, "kafka-console-producer", &[&arguments[..], more].concat(), &input).success();
}

/// What a console consumer prints before it has seen `count` messages or waited a minute.
#[track_caller]
fn consume(broker: &Broker, version: &str, topic: &str, more: &[&str], count: usize) -> Vec<String> {
    let (bootstrap, count) = (broker.bootstrap(), count.to_string());
    let arguments = ["--bootstrap-server", &bootstrap, "--topic", topic, "--max-messages", &count];
    let arguments = [&arguments[..], &["--timeout-ms", "60000"], more].concat();
    let ended = stock::tool(version, "kafka-console-consumer", &arguments, "");
    ended.success().lines().map(str::to_string).collect()
}

fn numbered(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|i| format!("{prefix} {i}")).collect()
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

#[test]
fn the_runbook_creates_lists_describes_grows_and_deletes_a_topic_through_zookeeper() {
    let zookeeper = BROKER.zookeeper();
    let topics = |arguments: &[&str]| {
        stock::tool("2.8.2", "kafka-topics", &[arguments, &["--zookeeper", &zookeeper]].concat(), "")
    };
    create_topic(&BROKER, "mymsg", "2");
    let listed = topics(&["--list"]).success();
    assert!(listed.lines().any(|line| line == "mymsg"), "{listed}");

    let described = topics(&["--describe", "--topic", "mymsg"]).success();
    let id = described.split_whitespace().nth(3).expect("Topic: mymsg TopicId: id").to_string();
    assert_eq!(id.len(), 22, "{described}");
    assert_eq!(
        described,
        format!(
            "Topic: mymsg\tTopicId: {id}\tPartitionCount: 2\tReplicationFactor: 1\tConfigs: \n\
             \tTopic: mymsg\tPartition: 0\tLeader: 0\tReplicas: 0\tIsr: 0\n\
             \tTopic: mymsg\tPartition: 1\tLeader: 0\tReplicas: 0\tIsr: 0\n"
        )
    );

    let again = topics(&["--create", "--topic", "mymsg", "--partitions", "2", "--replication-factor", "1"]);
    assert_eq!(again.code, 1, "{again}");
    assert!(again.stdout.contains("Topic 'mymsg' already exists."), "{again}");

    topics(&["--alter", "--topic", "mymsg", "--partitions", "4"]).success();
    produce(&BROKER, "3.9.1", "mymsg", &[], &numbered("after growing", 8));
    let seen = consume(&BROKER, "3.9.1", "mymsg", &["--from-beginning"], 8);
    assert_eq!(sorted(seen), numbered("after growing", 8));
    let grown = stock::tool(
        "3.9.1",
        "kafka-topics",
        &["--describe", "--topic", "mymsg", "--bootstrap-server", &BROKER.bootstrap()],
        "",
    )
    .success();
    assert!(grown.starts_with(&format!("Topic: mymsg\tTopicId: {id}\tPartitionCount: 4\t")), "{grown}");

    topics(&["--delete", "--topic", "mymsg"]).success();
    let listed = topics(&["--list"]).success();
    assert!(!listed.lines().any(|line| line.starts_with("mymsg")), "{listed}");
}

#[test]
fn every_producer_version_with_every_codec_reaches_every_consumer_version() {
    create_topic(&BROKER, "pairings", "2");
    let mut expected = Vec::new();
    for version in VERSIONS {
        for codec in CODECS {
            let lines = numbered(&format!("{version} {codec}"), 3);
            produce(&BROKER, version, "pairings", &["--compression-codec", codec], &lines);
            expected.extend(lines);
        }
    }
    let expected = sorted(expected);
    for version in VERSIONS {
        let seen = consume(&BROKER, version, "pairings", &["--from-beginning"], expected.len());
        assert_eq!(sorted(seen), expected, "{version} without a named group");
        let group = format!("pairings-{version}");
        let seen =
            consume(&BROKER, version, "pairings", &["--from-beginning", "--group", &group], expected.len());
        assert_eq!(sorted(seen), expected, "{version} in a group");
    }
}

#[test]
fn consumers_without_a_group_read_one_partition_in_order() {
    create_topic(&BROKER, "in-order", "1");
    let lines = numbered("line", 200);
    produce(&BROKER, "2.8.2", "in-order", &["--batch-size", "16"], &lines);
    for version in VERSIONS {
        let seen = consume(&BROKER, version, "in-order", &["--partition", "0", "--offset", "earliest"], 200);
        assert_eq!(seen, lines, "{version} from the beginning");
    }
    let seen = consume(&BROKER, "3.9.1", "in-order", &["--partition", "0", "--offset", "150"], 50);
    assert_eq!(seen, lines[150..], "from an offset");
}

#[test]
fn a_waiting_consumer_sees_a_line_as_soon_as_it_is_typed() {
    create_topic(&BROKER, "live", "2");
    let bootstrap = BROKER.bootstrap();
    let arguments =
        ["--bootstrap-server", &bootstrap, "--topic", "live", "--from-beginning", "--group", "live"];
    let consumer = stock::start("4.1.0", "kafka-console-consumer", &arguments);
    let mut producer =
        stock::start("2.8.2", "kafka-console-producer", &["--broker-list", &bootstrap, "--topic", "live"]);
    for line in ["one", "two", "three"] {
        producer.write(format!("{line}\n").as_bytes());
        consumer.wait_for_line(PATIENCE, |seen| seen == line);
    }
    producer.close_stdin();
    producer.wait(PATIENCE).success();
}

#[test]
fn idempotent_producers_leave_their_id_in_the_log() {
    create_topic(&BROKER, "idempotent", "1");
    let property = ["--producer-property", "enable.idempotence=true", "--request-required-acks", "-1"];
    for version in VERSIONS {
        produce(&BROKER, version, "idempotent", &property, &numbered(version, 3));
    }
    let expected: Vec<String> = VERSIONS.iter().flat_map(|version| numbered(version, 3)).collect();
    assert_eq!(consume(&BROKER, "2.8.2", "idempotent", &["--from-beginning"], 9), expected);

    let segment = BROKER.log_dir().join("idempotent-0/00000000000000000000.log").display().to_string();
    let dump = stock::tool("3.9.1", "kafka-dump-log", &["--files", &segment], "").success();
    let producers: Vec<&str> =
        dump.lines().filter_map(|line| line.split("producerId: ").nth(1)?.split(' ').next()).collect();
    assert!(producers.len() >= 3 && !producers.contains(&"-1"), "{dump}");
    assert!(dump.lines().all(|line| !line.contains("isvalid: false")), "{dump}");
}

#[test]
fn keys_and_headers_arrive_as_they_were_typed() {
    create_topic(&BROKER, "keyed", "3");
    let lines: Vec<String> = (0..12).map(|i| format!("h:{i}\tkey-{i}|value {i}")).collect();
    let more =
        ["--property", "parse.key=true", "--property", "key.separator=|", "--property", "parse.headers=true"];
    produce(&BROKER, "3.9.1", "keyed", &more, &lines);
    for version in VERSIONS {
        let shown = [
            "--property",
            "print.key=true",
            "--property",
            "key.separator=|",
            "--property",
            "print.headers=true",
        ];
        let seen = consume(&BROKER, version, "keyed", &[&["--from-beginning"], &shown[..]].concat(), 12);
        let expected: Vec<String> = (0..12).map(|i| format!("h:{i}|key-{i}|value {i}")).collect();
        assert_eq!(sorted(seen), sorted(expected), "{version}");
    }
}

#[test]
fn data_and_committed_offsets_survive_sigterm_and_kill_9() {
    let mut broker = Broker::start();
    create_topic(&broker, "durable", "1");
    let lines = numbered("kept", 30);
    produce(&broker, "2.8.2", "durable", &[], &lines[..10]);
    let group = ["--from-beginning", "--group", "survivors"];
    assert_eq!(consume(&broker, "3.9.1", "durable", &group, 4), lines[..4]);

    let ended = broker.stop();
    let expected = if broker.kind == Kind::Apache { 143 } else { 0 };
    assert_eq!(ended.code, expected, "{ended}");
    broker.restart();
    assert_eq!(consume(&broker, "3.9.1", "durable", &group, 3), lines[4..7], "after SIGTERM");

    produce(&broker, "3.9.1", "durable", &[], &lines[10..20]);
    broker.kill();
    broker.restart();
    assert_eq!(consume(&broker, "4.1.0", "durable", &group, 13), lines[7..20], "after kill -9");

    // A second crash straight after: what was recovered once is recovered again.
    broker.kill();
    broker.restart();
    produce(&broker, "4.1.0", "durable", &[], &lines[20..]);
    assert_eq!(consume(&broker, "2.8.2", "durable", &group, 10), lines[20..], "after another kill -9");
    assert_eq!(
        consume(&broker, "2.8.2", "durable", &["--from-beginning"], 30),
        lines,
        "everything is still there"
    );
}

#[test]
fn a_consumer_that_finds_nothing_ends_after_its_timeout() {
    create_topic(&BROKER, "empty", "1");
    let bootstrap = BROKER.bootstrap();
    let arguments =
        ["--bootstrap-server", &bootstrap, "--topic", "empty", "--from-beginning", "--timeout-ms", "3000"];
    let ended = support::process::run(
        "a consumer of nothing",
        {
            let mut command = std::process::Command::new(stock::checkout().join("scripts/kafka-tools"));
            command.args(["3.9.1", "kafka-console-consumer"]).args(arguments);
            command
        },
        b"",
        PATIENCE,
    );
    assert!(ended.stderr.contains("Processed a total of 0 messages"), "{ended}");
}
