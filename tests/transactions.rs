//! Transactions as their users see them: all of one or nothing of it, each record once, in order; whatever is killed
//! meanwhile, whichever broker goes on, whoever writes the client.

mod support;

use std::process::Command;
use std::time::{Duration, Instant};

use support::process::{PATIENCE, Process};
use support::records::{Batch, now_ms};
use support::seat::{Broker, Kind, kind};
use support::stock::{checkout, start, tool};
use support::transactional::{Producer, wait_until_forgotten};

const INVALID_PRODUCER_EPOCH: i16 = 47;

/// `tests/clients/java/Transfer.java` against the stock clients of `version`, compiled as it starts: moves what is in
/// `from` to `to`.
fn transfer(version: &str, broker: &Broker, from: &str, to: &str) -> Process {
    let source = checkout().join("tests/clients/java/Transfer.java");
    start(version, &source.display().to_string(), &[&broker.bootstrap(), from, to, &format!("{from}-{to}")])
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
    let mut broker = Broker::start();
    create(&broker, "in", 1);
    create(&broker, "out", 1);
    produce(&broker, "in", &numbered(records));

    let mut moving = transfer("3.9.1", &broker, "in", "out");
    for round in 0..rounds {
        wait_for_commits(&moving, 3);
        if round % 2 == 0 {
            broker.kill();
            broker.restart();
        } else {
            drop(moving);
            moving = transfer("3.9.1", &broker, "in", "out");
        }
    }
    let ended = moving.wait(if soak { PATIENCE * 10 } else { PATIENCE * 2 });
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

#[test]
fn the_java_clients_of_the_first_and_the_last_version_transact() {
    let broker = Broker::start();
    create(&broker, "one", 1);
    create(&broker, "two", 1);
    create(&broker, "three", 1);
    produce(&broker, "one", &numbered(50));
    for (version, from, to) in [("2.8.2", "one", "two"), ("4.1.0", "two", "three")] {
        let ended = transfer(version, &broker, from, to).wait(PATIENCE);
        assert!(ended.stdout.ends_with("done\n"), "{ended}\n{}", broker.log());
        assert_eq!(committed(&broker, to), numbered(50).to_uppercase(), "{version}");
    }
}

#[test]
fn a_transaction_that_is_open_for_too_long_is_aborted_and_an_idle_id_forgotten() {
    let broker = Broker::start_with(
        kind(),
        &[
            ("transaction.abort.timed.out.transaction.cleanup.interval.ms", "100"),
            ("transactional.id.expiration.ms", "2000"),
            ("transaction.remove.expired.transaction.cleanup.interval.ms", "100"),
        ],
    );
    create(&broker, "late", 1);
    let mut slow = Producer::start(&broker, "slow", 700);
    slow.add(&broker, "late", &[0]);
    slow.write(&broker, "late", 0, "too late");

    slow.wait_for(&broker, "CompleteAbort");

    assert_eq!(slow.try_write(&broker, "late", 0, &slow.batch("too")), INVALID_PRODUCER_EPOCH);
    assert_eq!(committed(&broker, "late"), "");
    wait_until_forgotten(&broker, "slow");
    let next = Producer::start(&broker, "slow", 60_000);
    assert_ne!(next.producer, slow.producer, "nothing is known of the first one");
}

/// `kafka-transactions` of 3.9.1; what it prints, runs of blanks as one.
#[track_caller]
fn transactions_tool(broker: &Broker, arguments: &[&str]) -> String {
    let bootstrap = broker.bootstrap();
    let arguments = [&["--bootstrap-server", &bootstrap], arguments].concat();
    let printed = tool("3.9.1", "kafka-transactions", &arguments, "").success();
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    printed.lines().map(words).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_hanging_transaction_is_found_and_aborted_by_the_stock_tool() {
    let broker = Broker::start_with(kind(), &[("transaction.partition.verification.enable", "false")]);
    create(&broker, "stuck", 1);
    let mut regular = Producer::start(&broker, "regular", 60_000);
    regular.add(&broker, "stuck", &[0]);
    regular.write(&broker, "stuck", 0, "regular");
    let lost = Producer::start(&broker, "lost", 60_000);
    // Late, and to a partition that its coordinator knows nothing of.
    let batch = Batch { base_timestamp: now_ms() - 3_600_000, ..lost.batch("lost") };
    assert_eq!(lost.try_write(&broker, "stuck", 0, &batch), 0);
    regular.end(&broker, true);
    regular.wait_for(&broker, "CompleteCommit");
    assert_eq!(committed(&broker, "stuck"), "regular\n", "readers wait before the hanging one");

    let listed = transactions_tool(&broker, &["list"]);
    assert!(listed.contains(&format!("regular 0 {} CompleteCommit", regular.producer)), "{listed}");
    let described = transactions_tool(&broker, &["describe", "--transactional-id", "lost"]);
    assert!(described.contains(&format!("0 lost {} 0 Empty 60000", lost.producer)), "{described}");
    let place = ["--topic", "stuck", "--partition", "0"];
    let producers = transactions_tool(&broker, &[&["describe-producers"], &place[..]].concat());
    assert!(
        producers.contains(&format!("{} 0 -1 0 {} 1", lost.producer, batch.base_timestamp)),
        "{producers}"
    );

    let found = transactions_tool(&broker, &["find-hanging", "--broker-id", "0"]);
    assert!(
        found.contains(&format!("stuck 0 {} 0 -1 1 {} ", lost.producer, batch.base_timestamp)),
        "{found}"
    );
    transactions_tool(&broker, &[&["abort"], &place[..], &["--start-offset", "1"]].concat());

    let found = transactions_tool(&broker, &["find-hanging", "--broker-id", "0"]);
    assert!(!found.contains("stuck"), "{found}");
    produce(&broker, "stuck", "plain\n");
    assert_eq!(committed(&broker, "stuck"), "regular\nplain\n");
}

/// What `kafka-dump-log` reads in the segments of our `__transaction_state`.
#[track_caller]
fn decoded_transaction_log(broker: &Broker) -> String {
    let folders = std::fs::read_dir(broker.log_dir()).expect("the log directory");
    let names = folders.map(|folder| folder.expect("an entry").path());
    let segments = names
        .filter(|path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("__transaction_state"))
        })
        .map(|path| path.join("00000000000000000000.log").display().to_string());
    let segments = segments.collect::<Vec<_>>().join(",");
    tool("3.9.1", "kafka-dump-log", &["--transaction-log-decoder", "--files", &segments], "").success()
}

#[test]
fn open_transactions_outlive_a_change_from_apaches_broker_to_ours_and_back() {
    let mut broker = Broker::start_with(Kind::Apache, &[]);
    create(&broker, "there", 1);
    create(&broker, "back", 1);
    let mut first = Producer::start(&broker, "first", 600_000);
    first.add(&broker, "there", &[0]);
    first.write(&broker, "there", 0, "by Apache");
    first.commit_offset(&broker, "moved", "there", 7);
    let mut second = Producer::start(&broker, "second", 600_000);
    second.add(&broker, "back", &[0]);
    second.write(&broker, "back", 0, "by Apache");

    broker.stop();
    broker.kind = Kind::Ours;
    broker.restart();
    first.write(&broker, "there", 0, "by ours");
    second.write(&broker, "back", 0, "by ours");
    assert_eq!(committed(&broker, "there"), "");
    first.end(&broker, true);
    first.wait_for(&broker, "CompleteCommit");
    assert_eq!(committed(&broker, "there"), "by Apache\nby ours\n");
    let mut third = Producer::start(&broker, "third", 600_000);
    third.add(&broker, "back", &[0]);
    third.write(&broker, "back", 0, "never");
    broker.stop();

    let decoded = decoded_transaction_log(&broker);
    for (id, state, partitions) in [
        ("first", "PrepareCommit", "there-0"),
        ("first", "CompleteCommit", "[]"),
        ("second", "Ongoing", "[back-0]"),
        ("third", "Ongoing", "[back-0]"),
    ] {
        let says = |line: &&str| {
            line.contains(&format!("transactionalId={id} "))
                && line.contains(&format!("state={state}"))
                && line.contains(partitions)
        };
        assert!(decoded.lines().any(|line| says(&line)), "{id} {state} {partitions}\n{decoded}");
    }

    broker.kind = Kind::Apache;
    broker.restart();
    let offsets = ["--bootstrap-server", &broker.bootstrap(), "--describe", "--group", "moved"];
    let offsets = tool("3.9.1", "kafka-consumer-groups", &offsets, "").success();
    assert!(
        offsets.split_whitespace().collect::<Vec<_>>().join(" ").contains("moved there 0 7"),
        "{offsets}"
    );
    second.write(&broker, "back", 0, "by Apache again");
    third.end(&broker, false);
    third.wait_for(&broker, "CompleteAbort");
    second.end(&broker, true);
    second.wait_for(&broker, "CompleteCommit");
    assert_eq!(committed(&broker, "back"), "by Apache\nby ours\nby Apache again\n");
}

/// All partitions, sorted.
fn committed_anywhere(broker: &Broker, topic: &str) -> Vec<String> {
    let mut command = Command::new("kcat");
    command.args(["-b", &broker.bootstrap(), "-C", "-t", topic, "-o", "beginning", "-e", "-q"]);
    command.args(["-X", "isolation.level=read_committed"]);
    let printed = support::process::run("kcat (apt-get install kcat)", command, b"", PATIENCE).success();
    let mut lines: Vec<String> = printed.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn transactions_span_apaches_broker_and_ours_whichever_coordinates() {
    const RECORDS: usize = 600;
    let apache = Broker::start_with(Kind::Apache, &[]);
    let zookeeper = apache.zookeeper();
    let mut ours = Broker::start_with(Kind::Ours, &[("broker.id", "1"), ("zookeeper.connect", &zookeeper)]);
    for topic in ["here", "there", "back"] {
        create(&apache, topic, 4);
    }
    let mut command = Command::new("kcat");
    command.args(["-b", &apache.bootstrap(), "-P", "-t", "here", "-p", "-1"]);
    let input = numbered(RECORDS);
    support::process::run("kcat (apt-get install kcat)", command, input.as_bytes(), PATIENCE).success();

    // The two ids belong to neighbouring partitions of __transaction_state, which are led by one broker each.
    for (from, to) in [("here", "there"), ("there", "back")] {
        let moving = transfer("3.9.1", &apache, from, to);
        wait_for_commits(&moving, 2);
        ours.kill();
        ours.restart();
        let ended = moving.wait(PATIENCE * 2);
        assert!(ended.stdout.ends_with("done\n"), "{ended}\n{}", ours.log());
        let expected: Vec<String> = numbered(RECORDS).to_uppercase().lines().map(str::to_owned).collect();
        assert_eq!(committed_anywhere(&ours, to), expected, "{to}\n{}", ours.log());
    }
}
