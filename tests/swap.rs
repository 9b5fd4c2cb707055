//! A cluster goes on while its brokers are restarted in turn, and while each of them is replaced: Apache's by ours on the
//! same `server.properties` and log directories, and back. Nothing is lost, nothing comes twice, and no producer hears
//! of more than that a leader has moved.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use support::assignments::{agreed, place, whole};
use support::cluster::Cluster;
use support::ensemble::Ensemble;
use support::process::{PATIENCE, Process, run};
use support::records::{Batch, now_ms};
use support::requests::{metadata, try_produce};
use support::seat::{Kind, kind};
use support::stock::{self, checkout};
use support::talk;
use support::trial::soak;
use support::wire::Connection;
use support::workload::Workload;

/// Leaders stay where the restarts leave them, so that every restart moves some.
const SETTINGS: &[(&str, &str)] =
    &[("auto.leader.rebalance.enable", "false"), ("zookeeper.session.timeout.ms", "4000")];
const STRICT: &[(&str, &str)] = &[("min.insync.replicas", "2")];
/// Each broker is the preferred leader of a partition.
const REPLICAS: [&[i32]; 3] = [&[1, 2, 3], &[2, 3, 1], &[3, 1, 2]];
const IDS: [i32; 3] = [1, 2, 3];
const NOT_LEADER_OR_FOLLOWER: i16 = 6;

/// `tests/clients/java/Steady.java` with the stock clients of 3.9.1. What it does about each batch is on its standard error.
fn steady(cluster: &Cluster, arguments: &[&str]) -> Process {
    let folder = checkout().join("tests/clients/java");
    let source = folder.join("Steady.java").display().to_string();
    let logging = format!("-Dlog4j.configuration=file:{}/producers.log4j.properties", folder.display());
    let bootstrap = cluster.bootstrap();
    let arguments = [&[bootstrap.as_str()], arguments].concat();
    stock::start_with("3.9.1", &source, &arguments, &[("KAFKA_LOG4J_OPTS", &logging)])
}

fn number_after(text: &str, word: &str) -> usize {
    let numbers = text.lines().filter_map(|line| line.strip_prefix(word)?.trim().parse().ok());
    numbers.max().unwrap_or(0)
}

/// Waits until the program has printed a number after `word` that is so much higher than now.
#[track_caller]
fn wait_for_more(program: &Process, word: &str, more: usize) {
    let (before, deadline) = (number_after(&program.stdout(), word), Instant::now() + PATIENCE);
    while number_after(&program.stdout(), word) < before + more {
        assert!(Instant::now() < deadline, "it stands still\n{}", program.log());
        thread::park_timeout(Duration::from_millis(20));
    }
}

/// Tells the program to come to its end; how many records it wrote, and what it said of its batches.
#[track_caller]
fn finish(mut program: Process) -> (usize, String) {
    program.close_stdin();
    let ended = program.wait(PATIENCE);
    let said = ended.stderr.clone();
    let told = ended.success();
    let failed: Vec<&str> = told.lines().filter(|line| line.starts_with("failed")).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    (number_after(&told, "done"), said)
}

/// What a reader of committed records finds, in order, as kcat's `format` has it.
#[track_caller]
fn committed(cluster: &Cluster, topic: &str, partition: i32, format: &str) -> Vec<String> {
    let mut command = Command::new("kcat");
    command.args(["-b", &cluster.bootstrap(), "-C", "-t", topic, "-o", "beginning", "-e", "-q"]);
    command.args(["-X", "isolation.level=read_committed", "-p", &partition.to_string(), "-f", format]);
    let printed = run("kcat (apt-get install kcat)", command, b"", PATIENCE).success();
    printed.lines().map(str::to_owned).collect()
}

/// Writes to every partition over the wire, one batch at a time, and counts how it was answered.
struct Probe {
    ends: Arc<AtomicBool>,
    answers: Arc<Mutex<BTreeMap<i16, u64>>>,
    acknowledged: Arc<AtomicU64>,
    threads: Vec<thread::JoinHandle<()>>,
}

/// Counted as an answer of a request that had none, because its connection was closed: it came to a broker that leads
/// nothing any more, in the instant in which that one goes.
const UNANSWERED: i16 = i16::MIN;

impl Probe {
    fn start(cluster: &Cluster, topic: &'static str) -> Probe {
        let (ends, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let answers: Arc<Mutex<BTreeMap<i16, u64>>> = Arc::default();
        let ports: Vec<u16> = cluster.brokers.iter().map(|broker| broker.port).collect();
        let start = |partition| {
            let (ends, answers, acknowledged, ports) =
                (Arc::clone(&ends), Arc::clone(&answers), Arc::clone(&acknowledged), ports.clone());
            thread::spawn(move || {
                let batch = Batch::of(&["probe"]).encode();
                let mut leader = None;
                while !ends.load(Ordering::Acquire) {
                    let Some(mut connection) = leader.take().or_else(|| leader_of(&ports, topic, partition))
                    else {
                        thread::park_timeout(Duration::from_millis(20));
                        continue;
                    };
                    let answer = try_produce(&mut connection, topic, partition, -1, &batch);
                    let code = answer.map_or(UNANSWERED, |(code, _)| code);
                    *answers.lock().unwrap().entry(code).or_default() += 1;
                    if code == 0 {
                        acknowledged.fetch_add(1, Ordering::AcqRel);
                        leader = Some(connection);
                    }
                }
            })
        };
        let threads = (0..3).map(start).collect();
        Probe { ends, answers, acknowledged, threads }
    }

    #[track_caller]
    fn wait_for_more(&self, more: u64) {
        let (before, deadline) = (self.acknowledged.load(Ordering::Acquire), Instant::now() + PATIENCE);
        while self.acknowledged.load(Ordering::Acquire) < before + more {
            assert!(Instant::now() < deadline, "nothing is acknowledged: {:?}", self.answers.lock().unwrap());
            thread::park_timeout(Duration::from_millis(20));
        }
    }

    fn finish(self) -> BTreeMap<i16, u64> {
        self.ends.store(true, Ordering::Release);
        self.threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        self.answers.lock().unwrap().clone()
    }
}

/// A connection to the partition's leader, as the first broker that answers tells. A connection that closes is tried
/// anew by every client; what is counted is requests.
fn leader_of(ports: &[u16], topic: &str, partition: i32) -> Option<Connection> {
    ports.iter().find_map(|port| {
        let mut connection = Connection::try_open_within(*port, Duration::from_secs(20)).ok()?;
        let answer = metadata(&mut connection, topic).ok()?;
        let told = answer.topics.first()?.partitions.iter().find(|one| one.partition_index == partition)?;
        let broker = answer.brokers.iter().find(|broker| broker.node_id == told.leader_id)?;
        Connection::try_open_within(u16::try_from(broker.port).ok()?, Duration::from_secs(20)).ok()
    })
}

/// What each program writes to.
const STEADY: [&str; 3] = ["steady", "steadier", "steadiest"];

/// Brokers are restarted in turn, so often, while so many stock producers are at work, and others over the wire.
#[track_caller]
fn restart_in_turn(rounds: usize, programs: usize) {
    let steady_topics = &STEADY[..programs];
    let mut cluster = Cluster::start_on(Ensemble::of(1, 0), &[kind(); 3], SETTINGS);
    for topic in ["rolled", "probed"].iter().chain(steady_topics) {
        place(&cluster, topic, &REPLICAS, STRICT);
    }
    let brokers = cluster.brokers.iter().map(|broker| broker.address()).collect();
    let mut workload = Workload::idempotent("rolled", brokers);
    let plain: Vec<Process> = steady_topics.iter().map(|topic| steady(&cluster, &[topic])).collect();
    let probe = Probe::start(&cluster, "probed");
    plain.iter().for_each(|program| wait_for_more(program, "sent", 100));
    for round in 0..rounds {
        for id in IDS {
            let ended = cluster.broker_mut(id).stop();
            assert!([0, 143].contains(&ended.code), "{ended}");
            workload.wait_for_more(5);
            probe.wait_for_more(30);
            cluster.broker_mut(id).restart();
            for topic in ["rolled", "probed", "__consumer_offsets"].iter().chain(steady_topics) {
                for partition in 0..3 {
                    cluster.wait_until_in_sync(topic, partition, 3);
                }
            }
            println!("round {round}: broker {id} was restarted: {:?}", probe.answers.lock().unwrap());
        }
    }
    plain.iter().for_each(|program| wait_for_more(program, "sent", 100));
    let answers = probe.finish();
    let violations = workload.finish().violations();
    assert!(violations.is_empty(), "{}", violations.join("\n"));
    println!("answers: {answers:?}");
    let expected = [0, NOT_LEADER_OR_FOLLOWER, UNANSWERED];
    let failed = answers.keys().any(|code| !expected.contains(code));
    assert!(!failed, "other answers than that the leader is another one: {answers:?}");
    for (topic, program) in steady_topics.iter().zip(plain) {
        let (written, said) = finish(program);
        is_there_once(&cluster, topic, written, &said);
    }
}

/// Of the numbers below `written`, each is in one record of the topic.
#[track_caller]
fn is_there_once(cluster: &Cluster, topic: &str, written: usize, said: &str) {
    let mut places: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for partition in 0..3 {
        for line in committed(cluster, topic, partition, "%o %s\n") {
            let (offset, value) = line.split_once(' ').expect("an offset and a value");
            let place = format!("{partition} at {offset}");
            places.entry(value.parse().expect("a number")).or_default().push(place);
        }
    }
    let lost: Vec<usize> = (0..written).filter(|number| !places.contains_key(number)).collect();
    let twice: Vec<_> = places.iter().filter(|(_, places)| places.len() > 1).collect();
    let account = (!lost.is_empty() || !twice.is_empty()).then(|| account_of(cluster, topic, said));
    assert!(account.is_none(), "{topic}: lost: {lost:?}; written twice: {twice:?}; {account:?}");
}

/// A folder with what the producer and the brokers said, and the batches of each replica.
fn account_of(cluster: &Cluster, topic: &str, said: &str) -> std::io::Result<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{topic}-{}", now_ms()));
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("producer"), said)?;
    for broker in &cluster.brokers {
        fs::write(folder.join(format!("broker-{}", broker.id)), broker.printed())?;
        fs::write(
            folder.join(format!("batches-{}", broker.id)),
            dumped(cluster, broker.id, topic).join("\n"),
        )?;
    }
    Ok(folder)
}

#[test]
fn no_producer_fails_while_brokers_are_stopped_and_started_in_turn() {
    restart_in_turn(2, 1);
}

#[test]
fn nothing_comes_twice_however_often_brokers_are_restarted_in_turn() {
    if soak() {
        restart_in_turn(12, 3);
    }
}

/// So that nobody takes the frozen broker for gone.
const PATIENT: &[(&str, &str)] = &[
    ("auto.leader.rebalance.enable", "false"),
    ("zookeeper.session.timeout.ms", "60000"),
    ("replica.lag.time.max.ms", "60000"),
];
const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;

/// A producer may have five batches on their way to a leader and, once it knows of the next leader, send that one new ones
/// before the former has answered. The next leader can tell a repetition by the last five batches only.
#[test]
fn the_next_leader_takes_nothing_new_before_what_its_predecessor_left_unanswered_is_repeated() {
    let mut cluster = Cluster::start_on(Ensemble::of(1, 0), &[kind(); 3], PATIENT);
    let next = cluster.controller();
    let others: Vec<i32> = IDS.into_iter().filter(|id| *id != next).collect();
    let (leader, frozen) = (others[0], others[1]);
    place(&cluster, "pipelined", &[&[leader, next, frozen]], &[]);
    let batch = |sequence: i32| Batch::of(&[&sequence.to_string()]).by_producer(7_000, 0, sequence).encode();
    let mut producer = cluster.broker(leader).connect();
    assert_eq!(talk::produce(&mut producer, "pipelined", 0, &batch(0), -1), (0, 0));

    cluster.broker(frozen).pause();
    for sequence in 1..=5 {
        talk::send_batch(&mut producer, "pipelined", 0, &batch(sequence), -1).expect("sent");
    }
    let size = |id: i32| {
        let file = cluster.broker(id).log_dir().join("pipelined-0/00000000000000000000.log");
        fs::metadata(file).map_or(0, |file| file.len())
    };
    let one = u64::try_from(batch(0).len()).expect("a small batch");
    cluster.until("a follower has all that the leader has", |_| {
        size(leader) > one && size(next) == size(leader)
    });
    let ended = cluster.broker_mut(leader).stop();
    assert!([0, 143].contains(&ended.code), "{ended}");

    let mut producer = cluster.await_some("the other one leads", |cluster| {
        let mut connection = cluster.broker(next).try_connect()?;
        let told = talk::produce(&mut connection, "pipelined", 0, &batch(6), 1).0;
        (told != NOT_LEADER_OR_FOLLOWER).then(|| {
            assert_eq!(told, OUT_OF_ORDER_SEQUENCE_NUMBER, "taken before the batches that it follows");
            connection
        })
    });
    for sequence in 1..=6 {
        let told = talk::produce(&mut producer, "pipelined", 0, &batch(sequence), 1);
        assert_eq!(told, (0, i64::from(sequence)), "batch {sequence}");
    }
    cluster.broker(frozen).resume();
    cluster.until("all is committed", |_| {
        talk::end_offset(&mut cluster.broker(next).connect(), "pipelined", 0) == 7
    });
    let all: Vec<(i64, String)> = (0..7).map(|number| (number, number.to_string())).collect();
    assert_eq!(talk::values(&mut producer, "pipelined", 0), all);
}

/// Batches of every replica, as DumpLogSegments prints them, without where they lie in their files.
fn dumped(cluster: &Cluster, id: i32, topic: &str) -> Vec<String> {
    let log_dir = cluster.broker(id).log_dir();
    let files: Vec<String> = (0..3)
        .map(|partition| {
            log_dir.join(format!("{topic}-{partition}/00000000000000000000.log")).display().to_string()
        })
        .collect();
    let arguments = ["--deep-iteration", "--print-data-log", "--files", &files.join(",")];
    let dump = stock::tool("3.9.1", "kafka-dump-log", &arguments, "").success();
    let told = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let at = words.iter().position(|word| *word == "position:").map_or(words.len(), |at| at);
        let file = line.strip_prefix("Dumping ").and_then(|path| path.rsplit('/').nth(1));
        file.map_or_else(
            || [&words[..at], words.get(at + 2..).unwrap_or(&[])].concat().join(" "),
            str::to_owned,
        )
    };
    dump.lines().map(told).collect()
}

#[test]
fn every_broker_is_replaced_under_load_apaches_by_ours_and_back() {
    let mut cluster = Cluster::start_on(Ensemble::of(1, 0), &[Kind::Apache; 3], SETTINGS);
    for topic in ["swapped", "transacted"] {
        place(&cluster, topic, &REPLICAS, STRICT);
    }
    let brokers = cluster.brokers.iter().map(|broker| broker.address()).collect();
    let mut workload = Workload::idempotent("swapped", brokers);
    let mut transacting = steady(&cluster, &["transacted", "steady"]);
    wait_for_more(&transacting, "committed", 3);
    workload.wait_for_more(5);

    let (mut opened, mut expected) = (0, Vec::new());
    for into in [Kind::Ours, Kind::Apache] {
        for id in IDS {
            opened += 1;
            transacting.write(b"open\n");
            transacting.wait_for_line(PATIENCE, |line| line == format!("open {opened}"));
            // The second of each three goes without a word.
            if id == 2 {
                cluster.broker_mut(id).kill();
            } else {
                let ended = cluster.broker_mut(id).stop();
                assert!([0, 143].contains(&ended.code), "{ended}");
            }
            workload.wait_for_more(5);
            cluster.broker_mut(id).kind = into;
            cluster.broker_mut(id).restart();
            for (topic, partitions) in
                [("swapped", 3), ("transacted", 3), ("__consumer_offsets", 5), ("__transaction_state", 5)]
            {
                for partition in 0..partitions {
                    cluster.wait_until_in_sync(topic, partition, 3);
                }
            }
            let end = if opened % 3 == 0 { "abort" } else { "commit" };
            transacting.write(format!("{end}\n").as_bytes());
            transacting.wait_for_line(PATIENCE, |line| line.starts_with(&format!("{end} {opened}")));
            if end == "commit" {
                expected.extend([format!("{opened} first"), format!("{opened} commit")]);
            }
            workload.wait_for_more(5);
            wait_for_more(&transacting, "committed", 3);
            println!("broker {id} is {into:?} now");
        }
    }

    let (written, _) = finish(transacting);
    let violations = workload.finish().violations();
    assert!(violations.is_empty(), "{}", violations.join("\n"));
    let numbers: Vec<String> = (0..written).map(|number| number.to_string()).collect();
    assert_eq!(committed(&cluster, "transacted", 0, "%s\n"), numbers);
    assert_eq!(committed(&cluster, "transacted", 1, "%s\n"), expected);
    let bootstrap = cluster.bootstrap();
    let of_group = ["--describe", "--group", "steady-group", "--timeout", "60000"];
    let offsets = [&["--bootstrap-server", &bootstrap][..], &of_group].concat();
    let offsets = stock::tool("3.9.1", "kafka-consumer-groups", &offsets, "").success();
    let words = offsets.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains(&format!("steady-group transacted 0 {written} ")), "{offsets}");

    for topic in ["swapped", "transacted"] {
        agreed(&cluster, topic, "all its replicas are in sync", whole(3));
        cluster.until(&format!("the replicas of {topic} are equal"), |cluster| {
            let dumps = IDS.map(|id| dumped(cluster, id, topic));
            dumps[0] == dumps[1] && dumps[1] == dumps[2]
        });
    }
}
