//! Clients that share no code with Apache's: librdkafka (kcat), kafka-python, kafkajs, franz-go; of ZooKeeper's protocol, kazoo.

mod support;

use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use support::process::{Ended, PATIENCE, run};
use support::seat::Broker;
use support::stock::checkout;

static BROKER: LazyLock<Broker> = LazyLock::new(Broker::start);

/// Fetching a library for the first time may be slow.
const FIRST_TIME: Duration = Duration::from_secs(300);

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
    let mut command = Command::new("kcat");
    command.args(["-b", &BROKER.bootstrap()]).args(arguments);
    run(format!("kcat {} (apt-get install kcat)", arguments.join(" ")), command, input.as_bytes(), PATIENCE)
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
