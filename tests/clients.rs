//! Clients of many languages: librdkafka (kcat, confluent-kafka), kafka-python, aiokafka, kafkajs, franz-go, sarama,
//! kafka-go and Apache's own of three versions; of ZooKeeper's protocol, kazoo.

mod support;

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use support::process::{Ended, PATIENCE, Process, run};
use support::requests::try_committed;
use support::seat::Broker;
use support::stock::{checkout, tool};
use support::talk::create_topic;
use support::until;

static BROKER: LazyLock<Broker> = LazyLock::new(Broker::start);

/// Fetching a library for the first time may be slow.
const FIRST_TIME: Duration = Duration::from_secs(600);

#[track_caller]
fn client_program(language: &str, program: &str) {
    client(language, &[&BROKER.bootstrap(), &format!("{program}-from-{language}"), program]);
}

#[track_caller]
fn client(language: &str, arguments: &[&str]) {
    let mut command = Command::new(checkout().join("tests/clients/run"));
    command.arg(language).args(arguments);
    let ended = run(language, command, b"", FIRST_TIME);
    assert!(ended.code == 0 && ended.stdout.ends_with("ok\n"), "{ended}\n{}", BROKER.log());
}

#[track_caller]
fn kcat(arguments: &[&str], input: &str) -> Ended {
    support::kcat::kcat(&BROKER, arguments, input)
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn kcat_exchanges_records_with_every_codec_and_resumes_a_group() {
    let mut expected = String::new();
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let lines: String = (0..20).map(|i| format!("{codec}-{i}:value {i}\n")).collect();
        let more = ["-P", "-t", "from-kcat", "-K:", "-z", codec, "-H", "origin=kcat"];
        kcat(&more, &lines).success();
        expected.push_str(&lines);
    }
    let lines = "idempotent:value\n";
    kcat(&["-P", "-t", "from-kcat", "-K:", "-X", "enable.idempotence=true"], lines).success();
    expected.push_str(lines);

    let seen = kcat(&["-C", "-t", "from-kcat", "-o", "beginning", "-e", "-q", "-f", "%k:%s\n"], "").success();
    assert_eq!(sorted(&seen), sorted(&expected), "without a group");

    let group =
        ["-q", "-e", "-X", "auto.offset.reset=earliest", "-f", "%k:%s\n", "-G", "kcat-group", "from-kcat"];
    let seen = kcat(&group, "").success();
    assert_eq!(sorted(&seen), sorted(&expected), "in a group");

    kcat(&["-P", "-t", "from-kcat", "-K:"], "later:value\n").success();
    assert_eq!(kcat(&group, "").success(), "later:value\n", "after the commit");
}

#[test]
fn kcat_lists_the_cluster_and_asks_for_offsets_by_time() {
    kcat(&["-P", "-t", "listed", "-p", "0"], "one\ntwo\n").success();
    let cluster = kcat(&["-L", "-J", "-t", "listed"], "").success();
    let cluster: serde_json::Value = serde_json::from_str(&cluster).expect("JSON");
    assert_eq!(cluster["brokers"][0]["name"], BROKER.bootstrap(), "{cluster}");
    assert_eq!(cluster["controllerid"], 0, "{cluster}");
    assert_eq!(cluster["topics"][0]["partitions"][0]["leader"], 0, "{cluster}");

    let asked = kcat(&["-Q", "-t", "listed:0:-1", "-t", "listed:0:-2"], "").success();
    assert!(asked.contains("listed [0] offset 2") || asked.contains("listed [0] offset 0"), "{asked}");
    let asked = kcat(&["-Q", "-t", "listed:0:-1"], "").success();
    assert_eq!(asked, "listed [0] offset 2\n");
    let asked = kcat(&["-Q", "-t", "listed:0:1000"], "").success();
    assert_eq!(asked, "listed [0] offset 0\n", "the first record after 1970");
}

#[test]
fn members_of_kcat_share_a_topic_and_take_over_from_one_another() {
    let topic = "shared-by-kcat";
    create_topic(&BROKER, topic, 4, &[]);
    let join = || {
        let mut command = Command::new("kcat");
        command.args(["-b", &BROKER.bootstrap(), "-u", "-X", "auto.offset.reset=earliest"]);
        command.args(["-X", "session.timeout.ms=30000", "-X", "heartbeat.interval.ms=300"]);
        command.args(["-X", "auto.commit.interval.ms=100", "-f", "%s\n", "-G", "kcat-members", topic]);
        Process::spawn("a member", command)
    };
    // kcat tells on standard error what it was given and what it gave back.
    let holds = |member: &Process| {
        let told = member.stderr();
        let last = told.lines().rfind(|line| line.contains("rebalanced"));
        last.filter(|line| line.contains("assigned")).map_or(0, |line| line.matches(topic).count())
    };
    let write = |numbers: std::ops::Range<usize>| {
        let lines: String = numbers.map(|number| format!("value {number:03}\n")).collect();
        kcat(&["-P", "-t", topic, "-p", "-1"], &lines).success();
    };
    let all_seen = |members: &[&Process], count: usize| {
        let seen: BTreeSet<String> = members
            .iter()
            .flat_map(|member| member.stdout().lines().map(str::to_owned).collect::<Vec<_>>())
            .collect();
        seen == (0..count).map(|number| format!("value {number:03}")).collect()
    };

    write(0..100);
    let one = join();
    until("the first records", || all_seen(&[&one], 100));
    let two = join();
    until("two members", || holds(&one) == 2 && holds(&two) == 2);
    write(100..200);
    until("records of two members", || all_seen(&[&one, &two], 200));
    two.signal(libc::SIGTERM);
    let left = two.wait(PATIENCE);
    until("one member", || holds(&one) == 4);
    write(200..300);
    until("the last records", || {
        let first: BTreeSet<String> = one.stdout().lines().map(str::to_owned).collect();
        first.union(&left.stdout.lines().map(str::to_owned).collect()).count() == 300
    });
    until("the last commit", || {
        let committed = try_committed(&mut BROKER.connect(), "kcat-members", topic, &[0, 1, 2, 3]);
        committed.is_some_and(|offsets| offsets.iter().sum::<i64>() == 300)
    });
}

#[test]
fn confluent_kafka_administers_and_shares_a_topic_between_members() {
    client_program("python", "everyday_confluent");
}

#[test]
fn kafka_python_administers_and_shares_a_topic_between_members() {
    client_program("python", "everyday_kafka_python");
}

#[test]
fn aiokafka_administers_shares_a_topic_between_members_and_transacts() {
    client_program("python", "everyday_aiokafka");
}

#[test]
fn kafkajs_administers_and_shares_a_topic_between_members() {
    client_program("node", "everyday");
}

#[test]
fn franz_go_administers_and_shares_a_topic_between_members() {
    client_program("go", "everyday");
}

#[test]
fn sarama_administers_and_shares_a_topic_between_members() {
    client_program("go", "everyday_sarama");
}

#[test]
fn sarama_commits_aborts_and_fences_transactions() {
    client_program("go", "transactions_sarama");
}

#[test]
fn kafka_go_administers_and_shares_a_topic_between_members() {
    client_program("go", "everyday_kafkago");
}

/// Single-file programs, compiled as they start.
#[track_caller]
fn java_client(version: &str) {
    let source = checkout().join("tests/clients/java/Everyday.java").display().to_string();
    let topic = format!("everyday-{version}");
    let ended = tool(version, &source, &[&BROKER.bootstrap(), &topic], "");
    assert!(ended.code == 0 && ended.stdout.ends_with("ok\n"), "{ended}\n{}", BROKER.log());
}

#[test]
fn the_java_client_of_2_8_administers_and_shares_a_topic_between_members() {
    java_client("2.8.2");
}

#[test]
fn the_java_client_of_3_9_administers_and_shares_a_topic_between_members() {
    java_client("3.9.1");
}

#[test]
fn the_java_client_of_4_1_administers_and_shares_a_topic_between_members() {
    java_client("4.1.0");
}

#[test]
fn kafka_python_exchanges_records() {
    client_program("python", "roundtrip");
}

#[test]
fn kafkajs_exchanges_records() {
    client_program("node", "roundtrip");
}

#[test]
fn franz_go_exchanges_records() {
    client_program("go", "roundtrip");
}

#[test]
fn librdkafka_commits_aborts_and_fences_transactions() {
    client_program("python", "transactions");
}

#[test]
fn kafka_python_commits_aborts_and_fences_transactions() {
    client_program("python", "transactions_kafka_python");
}

#[test]
fn kafkajs_commits_aborts_and_fences_transactions() {
    client_program("node", "transactions");
}

#[test]
fn franz_go_commits_aborts_and_fences_transactions() {
    client_program("go", "transactions");
}

#[test]
fn kazoo_uses_znodes_watches_transactions_and_locks() {
    client("kazoo", &[&BROKER.zookeeper()]);
}
