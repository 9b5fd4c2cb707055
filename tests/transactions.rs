//! Transactions as their users see them: all of one or nothing of it, each record once, in order; whatever is killed
//! meanwhile, whichever broker goes on, whoever writes the client.

mod support;

use std::process::Command;
use std::time::{Duration, Instant};

use support::ensemble::try_read;
use support::kcat::{all_committed, kcat};
use support::process::{PATIENCE, Process};
use support::records::{Batch, now_ms};
use support::requests::{self, produced};
use support::seat::{Broker, Kind, kind};
use support::stock::{checkout, start, tool};
use support::talk::create_topic;
use support::transactional::{Producer, anonymous_id, remembered_producers, wait_until_forgotten};
use support::until;
use support::znodes::ZnodeClient;

const INVALID_PRODUCER_EPOCH: i16 = 47;
const INVALID_TXN_STATE: i16 = 48;
const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;

/// `tests/clients/java/Transfer.java` against the stock clients of `version`, compiled as it starts: moves what is in
/// `from` to `to`.
fn transfer(version: &str, broker: &Broker, from: &str, to: &str) -> Process {
    let source = checkout().join("tests/clients/java/Transfer.java");
    start(version, &source.display().to_string(), &[&broker.bootstrap(), from, to, &format!("{from}-{to}")])
}

fn create(broker: &Broker, topic: &str, partitions: i32) {
    create_topic(broker, topic, partitions, &[]);
}

fn produce(broker: &Broker, topic: &str, lines: &str) {
    produce_to(broker, topic, 0, lines);
}

fn produce_to(broker: &Broker, topic: &str, partition: i32, lines: &str) {
    let place = ["-P", "-t", topic, "-p", &partition.to_string(), "-X", "enable.idempotence=true"];
    kcat(broker, &place, lines).success();
}

/// What a reader of committed records finds in partition 0, in order.
fn committed(broker: &Broker, topic: &str) -> String {
    committed_in(broker, topic, 0)
}

fn committed_in(broker: &Broker, topic: &str, partition: i32) -> String {
    let isolation = ["-X", "isolation.level=read_committed"];
    let place = ["-C", "-t", topic, "-p", &partition.to_string(), "-o", "beginning", "-e", "-q"];
    kcat(broker, &[&place[..], &isolation].concat(), "").success()
}

fn numbered(records: usize) -> String {
    (0..records).map(|number| format!("record-{number:06}\n")).collect()
}

/// Who may be killed on the way from `in` to `out`: Java moves the records into `middle`, librdkafka from there on.
struct Pipeline {
    broker: Broker,
    first: Process,
    second: Process,
}

impl Pipeline {
    fn start() -> Pipeline {
        let broker = Broker::start();
        for topic in ["in", "middle", "out"] {
            create(&broker, topic, 2);
        }
        let first = Pipeline::first(&broker);
        let second = Pipeline::second(&broker);
        Pipeline { broker, first, second }
    }

    fn first(broker: &Broker) -> Process {
        let source = checkout().join("tests/clients/java/Transfer.java").display().to_string();
        start("3.9.1", &source, &[&broker.bootstrap(), "in", "middle", "first", "forever"])
    }

    /// `tests/clients/python/transfer.py`: moves records until it is killed.
    fn second(broker: &Broker) -> Process {
        let mut command = Command::new(checkout().join("tests/clients/run"));
        command.args(["transfer", &broker.bootstrap(), "middle", "out"]);
        Process::spawn("transfer by librdkafka", command)
    }

    /// SIGKILL, whatever is going on, and another in its place.
    fn replace(&mut self, whom: u64) {
        match whom {
            0 => {
                self.broker.kill();
                self.broker.restart();
            }
            1 => self.first = Pipeline::first(&self.broker),
            _ => self.second = Pipeline::second(&self.broker),
        }
    }

    /// How many transactions those who run now have committed.
    fn commits(&self) -> u64 {
        let told = [&self.first, &self.second].map(|it| it.stdout().matches("committed").count());
        told.iter().sum::<usize>() as u64
    }

    fn out(&self) -> [String; 2] {
        [0, 1].map(|partition| committed_in(&self.broker, "out", partition))
    }
}

/// Numbers of a seed: splitmix64.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

#[test]
fn what_is_consumed_transformed_and_produced_arrives_once_and_in_order_whoever_is_killed() {
    const SHARE: usize = 200;
    let kills: usize = if std::env::var_os("ODRADEK_SOAK").is_some() { 60 } else { 4 };
    let seed = std::env::var("ODRADEK_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| now_ms().unsigned_abs());
    println!("ODRADEK_SEED={seed}");
    let mut chance = Chance(seed);
    let mut pipeline = Pipeline::start();
    let all = numbered((kills + 1) * SHARE);
    let lines: Vec<&str> = all.split_inclusive('\n').collect();

    for (round, share) in lines.chunks(SHARE).enumerate() {
        let before = pipeline.commits();
        for partition in [0, 1] {
            produce_to(&pipeline.broker, "in", partition, &share.concat());
        }
        // The shares of both partitions are twenty transactions of twenty records for each of the two.
        let more = 1 + chance.below(16);
        until("commits", || pipeline.commits() >= before + more);
        if round < kills {
            // Each in turn, or now and then the next: where in its work it is, is chance.
            pipeline.replace((round as u64 + chance.below(2)) % 3);
        }
    }

    until("all records", || {
        std::thread::park_timeout(Duration::from_millis(200));
        pipeline.out().iter().all(|partition| partition.len() >= all.len())
    });
    for partition in pipeline.out() {
        assert_eq!(partition, all, "ODRADEK_SEED={seed}\n{}", pipeline.broker.log());
    }
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
            ("transactional.id.expiration.ms", "5000"),
            ("transaction.remove.expired.transaction.cleanup.interval.ms", "100"),
        ],
    );
    create(&broker, "late", 1);
    let mut slow = Producer::start(&broker, "slow", 4000);
    slow.add(&broker, "late", &[0]);
    slow.write(&broker, "late", 0, "too late");

    slow.wait_for(&broker, "CompleteAbort");

    assert_eq!(slow.try_write(&broker, "late", 0, &slow.batch("too")), INVALID_PRODUCER_EPOCH);
    assert_eq!(committed(&broker, "late"), "");
    wait_until_forgotten(&broker, "slow");
    let next = Producer::start(&broker, "slow", 60_000);
    assert_ne!(next.producer, slow.producer, "nothing is known of the first one");
}

#[test]
fn a_partition_forgets_producers_that_were_silent_for_long_and_none_that_is_in_a_transaction() {
    let broker = Broker::start_with(kind(), &[("producer.id.expiration.check.interval.ms", "100")]);
    create(&broker, "remembering", 1);
    let mut open = Producer::start(&broker, "open", 600_000);
    open.add(&broker, "remembering", &[0]);
    open.write(&broker, "remembering", 0, "in a transaction");
    let id = anonymous_id(&broker);
    let batch = |sequence: i32| Batch::of(&["once"]).by_producer(id, 0, sequence).encode();
    let mut connection = broker.connect();
    assert_eq!(produced(&mut connection, "remembering", &batch(0)), 0);
    assert_eq!(produced(&mut connection, "remembering", &batch(2)), OUT_OF_ORDER_SEQUENCE_NUMBER);
    let mut both = vec![open.producer, id];
    both.sort_unstable();
    assert_eq!(remembered_producers(&broker, "remembering"), both, "a day is not over");

    // The whole cluster's, while it runs.
    let bootstrap = broker.bootstrap();
    let everywhere = ["--bootstrap-server", &bootstrap, "--entity-type", "brokers", "--entity-default"];
    let alter = ["--alter", "--add-config", "producer.id.expiration.ms=300"];
    tool("3.9.1", "kafka-configs", &[&everywhere[..], &alter].concat(), "").success();

    until("the silent producer to be forgotten", || {
        remembered_producers(&broker, "remembering") == [open.producer]
    });
    assert_eq!(produced(&mut connection, "remembering", &batch(2)), 0, "nothing is known of its sequence");
    open.end(&broker, true);
    until("the other, once its transaction has ended", || {
        remembered_producers(&broker, "remembering").is_empty()
    });
}

#[test]
fn producer_ids_come_from_blocks_in_zookeeper_and_none_is_given_twice() {
    let mut broker = Broker::start();
    let block = |broker: &Broker| -> serde_json::Value {
        let mut client = ZnodeClient::open(broker.zookeeper().parse().expect("an address"));
        let (data, _) =
            try_read(&mut client, "/latest_producer_id_block").expect("an answer").expect("a znode");
        serde_json::from_slice(&data).expect("JSON")
    };
    let number = |block: &serde_json::Value, key: &str| -> i64 {
        block[key].as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{key} in {block}"))
    };

    let first: Vec<i64> = (0..3).map(|_| anonymous_id(&broker)).collect();
    assert!(first.windows(2).all(|pair| pair[0] < pair[1]), "{first:?}");
    let taken = block(&broker);
    assert_eq!((taken["version"].as_i64(), taken["broker"].as_i64()), (Some(1), Some(0)), "{taken}");
    let (start, end) = (number(&taken, "block_start"), number(&taken, "block_end"));
    assert_eq!(end - start, 999, "{taken}");
    assert!(first.iter().all(|id| (0..=end).contains(id)), "{first:?} of {taken}");

    broker.kill();
    broker.restart();
    let second = anonymous_id(&broker);
    assert!(first.iter().all(|id| *id < second), "{second} after {first:?}");
    let next = block(&broker);
    assert!(
        number(&next, "block_start") > start && number(&next, "block_end") >= second,
        "{second} of {next}"
    );
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
    let broker = Broker::start();
    create(&broker, "stuck", 1);
    let mut regular = Producer::start(&broker, "regular", 60_000);
    regular.add(&broker, "stuck", &[0]);
    regular.write(&broker, "stuck", 0, "regular");
    let lost = Producer::start(&broker, "lost", 60_000);
    // Late, and to a partition that its coordinator knows nothing of.
    let batch = Batch { base_timestamp: now_ms() - 3_600_000, ..lost.batch("lost") };
    until("its coordinator to be asked", || lost.try_write(&broker, "stuck", 0, &batch) == INVALID_TXN_STATE);
    let verification = "transaction.partition.verification.enable";
    requests::alter_config(&mut broker.connect(), requests::OF_BROKER, "", verification, Some("false"));
    until("what nobody asks about to be taken", || lost.try_write(&broker, "stuck", 0, &batch) == 0);
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
    let offsets =
        ["--timeout", "60000", "--bootstrap-server", &broker.bootstrap(), "--describe", "--group", "moved"];
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

#[test]
fn transactions_span_apaches_broker_and_ours_whichever_coordinates() {
    const RECORDS: usize = 600;
    let apache = Broker::start_with(Kind::Apache, &[]);
    let zookeeper = apache.zookeeper();
    let mut ours = Broker::start_with(Kind::Ours, &[("broker.id", "1"), ("zookeeper.connect", &zookeeper)]);
    for topic in ["here", "there", "back"] {
        requests::create_topic(&mut apache.connect(), topic, 4, 1, &[]);
        until(&format!("leaders of {topic}"), || requests::has_topic(&mut apache.connect(), topic));
    }
    kcat(&apache, &["-P", "-t", "here", "-p", "-1"], &numbered(RECORDS)).success();

    // The two ids belong to neighbouring partitions of __transaction_state, which are led by one broker each.
    for (from, to) in [("here", "there"), ("there", "back")] {
        let moving = transfer("3.9.1", &apache, from, to);
        wait_for_commits(&moving, 2);
        ours.kill();
        ours.restart();
        let ended = moving.wait(PATIENCE * 2);
        assert!(ended.stdout.ends_with("done\n"), "{ended}\n{}", ours.log());
        let expected: Vec<String> = numbered(RECORDS).to_uppercase().lines().map(str::to_owned).collect();
        assert_eq!(all_committed(&ours, to, "%s"), expected, "{to}\n{}", ours.log());
    }
}
