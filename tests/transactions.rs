//! Transactions as their users see them: all of one or nothing of it, each record once, in order; whatever is killed
//! meanwhile, whichever broker goes on, whoever writes the client.

mod support;

use std::process::Command;
use std::time::{Duration, Instant};

use support::process::{PATIENCE, Process};
use support::seat::Broker;
use support::stock::{checkout, start, tool};

/// The Java program `name` of `tests/clients/java` against the stock clients, compiled as it starts.
fn java(name: &str, arguments: &[&str]) -> Process {
    let source = checkout().join("tests/clients/java").join(format!("{name}.java"));
    start("3.9.1", &source.display().to_string(), arguments)
}

fn create(broker: &Broker, topic: &str, partitions: u32) {
    let partitions = partitions.to_string();
    let arguments = [
        "--bootstrap-server",
        &broker.bootstrap(),
        "--create",
        "--topic",
        topic,
        "--partitions",
        &partitions,
    ];
    tool("3.9.1", "kafka-topics", &arguments, "").success();
}

fn produce(broker: &Broker, topic: &str, lines: &str) {
    let mut command = Command::new("kcat");
    command.args(["-b", &broker.bootstrap(), "-P", "-t", topic, "-p", "0", "-X", "enable.idempotence=true"]);
    support::process::run("kcat (apt-get install kcat)", command, lines.as_bytes(), PATIENCE).success();
}

/// What a reader of committed records finds in partition 0, in order.
fn committed(broker: &Broker, topic: &str) -> String {
    let mut command = Command::new("kcat");
    let isolation = "isolation.level=read_committed";
    command.args(["-b", &broker.bootstrap(), "-C", "-t", topic, "-p", "0", "-o", "beginning", "-e", "-q"]);
    command.args(["-X", isolation]);
    support::process::run("kcat (apt-get install kcat)", command, b"", PATIENCE).success()
}

fn numbered(records: usize) -> String {
    (0..records).map(|number| format!("record-{number:06}\n")).collect()
}

#[test]
fn what_is_consumed_transformed_and_produced_arrives_once_whoever_is_killed() {
    let soak = std::env::var_os("ODRADEK_SOAK").is_some();
    let (records, rounds) = if soak { (20_000, 12) } else { (2_000, 2) };
    let mut broker = Broker::start_with(support::seat::kind(), &[]);
    create(&broker, "in", 1);
    create(&broker, "out", 1);
    produce(&broker, "in", &numbered(records));

    let arguments = [broker.bootstrap(), "in".to_owned(), "out".to_owned(), "transfer".to_owned()];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut transfer = java("Transfer", &arguments);
    for round in 0..rounds {
        wait_for_commits(&transfer, 3);
        if round % 2 == 0 {
            broker.kill();
            broker.restart();
        } else {
            drop(transfer);
            transfer = java("Transfer", &arguments);
        }
    }
    let ended = transfer.wait(if soak { PATIENCE * 10 } else { PATIENCE * 2 });
    assert!(ended.stdout.ends_with("done\n"), "{ended}\n{}", broker.log());

    assert_eq!(committed(&broker, "out"), numbered(records).to_uppercase(), "{}", broker.log());
}

/// Waits until the program has committed so many transactions more.
#[track_caller]
fn wait_for_commits(transfer: &Process, more: usize) {
    let commits = || transfer.stdout().matches("committed").count();
    let (before, deadline) = (commits(), Instant::now() + PATIENCE);
    while commits() < before + more {
        assert!(Instant::now() < deadline, "no commits\n{}", transfer.log());
        std::thread::park_timeout(Duration::from_millis(20));
    }
}
