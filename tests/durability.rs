//! What we promise about records that were acknowledged: a killed broker has them all when it is back, in order and
//! once, and it is back soon, whatever lies in its logs. Those that went bad on the disk are never taken for records.

mod support;

use std::fs;
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::alter_partition_reassignments_request::{
    ReassignablePartition, ReassignableTopic,
};
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::{
    AlterPartitionReassignmentsRequest, BrokerId, CreateTopicsRequest, DeleteTopicsRequest,
    DescribeLogDirsRequest, InitProducerIdRequest, ProducerId, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use storage::batch::{Located, headers};
use support::cluster::Cluster;
use support::ensemble::Ensemble;
use support::records::Batch;
use support::seat::{Broker, Kind};
use support::wire::Connection;
use support::{requests, stock, talk, until};

const TOPIC: &str = "kept";

/// What recovery has read and checked, as the log says when it is through. Unit: bytes.
fn checked_bytes(broker: &Broker) -> u64 {
    support::until("all logs to be opened", || broker.whole_log().contains("logs opened in"));
    let log = broker.whole_log();
    let found = log.rsplit("checked_bytes=").next().unwrap_or_default();
    let digits: String = found.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_else(|_| panic!("no checked_bytes= in\n{log}"))
}

/// What the broker has read so far: files, and requests. Unit: bytes.
fn read_bytes(broker: &Broker) -> u64 {
    let io = fs::read_to_string(format!("/proc/{}/io", broker.pid())).expect("the broker runs");
    let line = io.lines().find_map(|line| line.strip_prefix("rchar: ")).expect("rchar");
    line.parse().expect("a number")
}

fn fill(broker: &Broker, batches: usize) {
    fill_one(&mut broker.connect(), 0, batches);
}

/// Batches of 16 KB.
fn fill_one(connection: &mut Connection, partition: i32, batches: usize) {
    let value = "x".repeat(4000);
    for _ in 0..batches {
        let batch = Batch::of(&[value.as_str(); 4]).encode();
        // Right after a start a broker may lead a partition before it has heard of the topic.
        support::until("the partition takes records", || {
            let error = talk::produce(connection, TOPIC, partition, &batch, 1).0;
            assert!(matches!(error, 0 | 3 | 5 | 6), "refused with {error}");
            error == 0
        });
    }
}

#[test]
fn after_a_kill_the_ends_of_logs_are_checked_and_after_a_power_cut_all_that_was_not_flushed() {
    let mut broker = Broker::start_with(Kind::Ours, &[]);
    talk::create_topic(&broker, TOPIC, 1, &[]);
    fill(&broker, 300);
    let written = 300 * 16_000;
    let end = talk::end_offset(&mut broker.connect(), TOPIC, 0);

    broker.kill();
    broker.restart();

    assert!(broker.whole_log().contains("the last broker here was killed"), "{}", broker.log());
    let checked = checked_bytes(&broker);
    assert!(checked > 0 && checked < written / 3, "{checked} of {written} bytes");
    assert_eq!(talk::end_offset(&mut broker.connect(), TOPIC, 0), end);
    fill(&broker, 3);

    broker.kill();
    let mark = broker.log_dir().join(".lock");
    let line = fs::read_to_string(&mark).expect("a line");
    fs::write(&mark, line.replace("boot=", "boot=0")).expect("as if it were another boot");
    broker.restart();

    assert!(broker.whole_log().contains("not a kill within this boot"), "{}", broker.log());
    let checked = checked_bytes(&broker);
    assert!(checked > written, "{checked} of {written} bytes");
    assert_eq!(talk::end_offset(&mut broker.connect(), TOPIC, 0), end + 12);

    broker.stop();
    assert_eq!(fs::read(&mark).expect("read"), b"", "as Apache leaves it");
    broker.restart();
    assert_eq!(checked_bytes(&broker), 0);
}

#[test]
fn a_start_after_a_kill_reads_as_much_as_there_are_partitions_whatever_lies_in_them() {
    const PARTITIONS: i32 = 16;
    /// What is looked at of each: no more than its last segment. Unit: bytes.
    const SEGMENT: u64 = 200_000;
    let settings = [("log.segment.bytes", "200000")];
    let mut broker = Broker::start_with(Kind::Ours, &settings);
    talk::create_topic(&broker, TOPIC, PARTITIONS, &[]);
    let mut read_at_start = Vec::new();
    for batches in [20, 40, 100] {
        let mut connection = broker.connect();
        for partition in 0..PARTITIONS {
            fill_one(&mut connection, partition, batches);
        }
        broker.kill();
        broker.restart();
        let mut connection = broker.connect();
        for partition in 0..PARTITIONS {
            talk::end_offset(&mut connection, TOPIC, partition);
        }
        assert!(broker.whole_log().contains("the last broker here was killed"), "{}", broker.log());
        read_at_start.push(read_bytes(&broker));
    }
    let (first, last) = (read_at_start[0], read_at_start[2]);
    let (more_written, allowed) = (140 * 16_000 * PARTITIONS as u64, SEGMENT * PARTITIONS as u64);
    assert!(
        last < first + allowed,
        "read {read_at_start:?} bytes at the starts, {more_written} came between"
    );
}

/// Keeps everybody else from opening a file, for as long as a lease may last (`fs.lease-break-time`, 45 s).
struct Held(fs::File);

impl Held {
    fn of(path: &std::path::Path) -> Held {
        let file = fs::File::options().read(true).write(true).open(path).expect("a file nobody has open");
        // SAFETY: the kernel tells of the other's wish with this signal, which would end the test.
        unsafe { libc::signal(libc::SIGIO, libc::SIG_IGN) };
        // SAFETY: the descriptor is open.
        let leased = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK) };
        assert_eq!(leased, 0, "{}", std::io::Error::last_os_error());
        Held(file)
    }

    fn release(self) {
        drop(self.0);
    }
}

#[test]
fn partitions_are_served_while_others_are_still_being_checked() {
    const NOT_LEADER: i16 = 6;
    let settings =
        [("log.initial.task.delay.ms", "100"), ("replica.high.watermark.checkpoint.interval.ms", "200")];
    let mut broker = Broker::start_with(Kind::Ours, &settings);
    talk::create_topic(&broker, TOPIC, 3, &[]);
    let mut connection = broker.connect();
    for (partition, batches) in [(0, 3), (1, 4), (2, 40)] {
        fill_one(&mut connection, partition, batches);
    }
    let largest = broker.log_dir().join(format!("{TOPIC}-2/00000000000000000000.log"));
    let checkpoint = broker.log_dir().join("replication-offset-checkpoint");
    let line = format!("{TOPIC} 2 160\n");
    support::until("a checkpoint", || fs::read_to_string(&checkpoint).expect("there").contains(&line));
    for cleanly in [false, true] {
        broker.kill();
        fs::write(broker.log_dir().join(".lock"), "").expect("as if it were another boot");
        let held = Held::of(&largest);
        // The second time nobody looks, and the log tells.
        broker.is_watched = !cleanly;

        broker.restart();

        let mut connection = broker.connect();
        assert_eq!(talk::end_offset(&mut connection, TOPIC, 0) % 4, 0);
        assert_eq!(talk::end_offset(&mut connection, TOPIC, 1), 16);
        assert_eq!(talk::list_offset(&mut connection, TOPIC, 2, -1).0, NOT_LEADER);
        fill_one(&mut connection, 0, 1);
        assert_eq!(talk::fetch(&mut connection, TOPIC, 0, 0).0, 0);
        let error = talk::fetch(&mut connection, TOPIC, 2, 0).0;
        assert_eq!(error, NOT_LEADER, "clients come again");
        let told = |word: &str| {
            broker.whole_log().lines().any(|line| {
                let progress = "opening logs: 2 of 3, checked 0 of 0 MiB, about ";
                line.contains(progress) && line.ends_with(" s left") && line.contains(word)
            })
        };
        support::until("word of how far it is", || told(if cleanly { "INFO" } else { "\u{1b}[K" }));
        let length = fs::metadata(&largest).expect("there").len();
        assert_eq!(described_size(&mut connection, 2), Some(length as i64));
        support::until("the checkpoint goes on", || {
            let written = fs::read_to_string(&checkpoint).expect("there");
            assert!(written.contains(&line), "what it says of the others stays: {written}");
            let end = talk::end_offset(&mut connection, TOPIC, 0);
            written.contains(&format!("{TOPIC} 0 {end}\n"))
        });
        if cleanly {
            let ended = broker.stop();
            assert_eq!(ended.code, 0, "a stop does not wait for what is checked: {ended}");
            held.release();
            broker.restart();
        } else {
            held.release();
        }
        assert_eq!(talk::values(&mut broker.connect(), TOPIC, 2).len(), 160);
        assert!(broker.whole_log().contains("served as soon as each is checked"), "{}", broker.log());
    }
    checked_bytes(&broker);
    broker.kill();
    broker.restart();
    assert!(broker.whole_log().contains("the last broker here was killed"), "{}", broker.log());
}

/// What DescribeLogDirs says of a partition. Unit: bytes.
fn described_size(connection: &mut Connection, partition: i32) -> Option<i64> {
    let answer = connection.request(4, &DescribeLogDirsRequest::default().with_topics(None));
    let topics = answer.results.iter().flat_map(|directory| &directory.topics);
    let ours = topics.filter(|topic| topic.name.as_str() == TOPIC).flat_map(|topic| &topic.partitions);
    let sizes: Vec<i64> =
        ours.filter(|found| found.partition_index == partition).map(|found| found.partition_size).collect();
    assert!(sizes.len() < 2, "told of twice");
    sizes.first().copied()
}

/// Names of the topic's folders, with and without a mark of deletion.
fn folders(broker: &Broker) -> (Vec<String>, Vec<String>) {
    let entries = fs::read_dir(broker.log_dir()).expect("listed");
    let names = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| name.starts_with(TOPIC)).collect();
    names.sort();
    names.into_iter().partition(|name| name.ends_with("-delete"))
}

fn delete_topic(connection: &mut Connection) {
    let request = DeleteTopicsRequest::default()
        .with_topic_names(vec![TopicName(StrBytes::from_static_str(TOPIC))])
        .with_timeout_ms(30_000);
    assert_eq!(connection.request(4, &request).responses[0].error_code, 0);
}

/// With three partitions, as soon as the controller is through with a former topic of that name.
fn make_again(broker: &Broker) {
    let topic = CreatableTopic::default()
        .with_name(TopicName(StrBytes::from_static_str(TOPIC)))
        .with_num_partitions(3)
        .with_replication_factor(1);
    let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(30_000);
    let mut connection = broker.connect();
    support::until("the topic to be made", || connection.request(5, &request).topics[0].error_code == 0);
    for partition in 0..3 {
        talk::end_offset(&mut connection, TOPIC, partition);
    }
}

#[test]
fn a_partition_that_is_deleted_while_its_log_is_checked_is_gone_at_once_and_for_good() {
    let mut broker = Broker::start_with(Kind::Ours, &[]);
    let largest = broker.log_dir().join(format!("{TOPIC}-2/00000000000000000000.log"));
    for is_made_anew in [false, true] {
        make_again(&broker);
        let mut connection = broker.connect();
        for (partition, batches) in [(0, 1), (1, 1), (2, 10)] {
            fill_one(&mut connection, partition, batches);
        }
        let deleted_before = folders(&broker).0.len();
        broker.kill();
        fs::write(broker.log_dir().join(".lock"), "").expect("as if it were another boot");
        let held = Held::of(&largest);
        broker.restart();
        let mut connection = broker.connect();
        // Served, so the one that is held is being opened.
        for partition in [0, 1] {
            assert!(talk::end_offset(&mut connection, TOPIC, partition) > 0);
        }
        assert!(described_size(&mut connection, 2) > Some(100_000));

        delete_topic(&mut connection);

        support::until("all folders to be marked", || folders(&broker).1.is_empty());
        assert_eq!(folders(&broker).0.len(), deleted_before + 3);
        assert_eq!(described_size(&mut connection, 2), None);
        if is_made_anew {
            std::thread::scope(|scope| {
                let topic = scope.spawn(|| make_again(&broker));
                assert_eq!(talk::end_offset(&mut connection, TOPIC, 1), 0);
                held.release();
                topic.join().expect("all partitions are led");
            });
            assert_eq!(talk::end_offset(&mut connection, TOPIC, 2), 0, "nothing of the former");
        }
        broker.kill();
        broker.restart();
        let expected: &[&str] = if is_made_anew { &["kept-0", "kept-1", "kept-2"] } else { &[] };
        support::until("what is left to be as it should", || folders(&broker).1 == expected);
    }
    assert_eq!(talk::end_offset(&mut broker.connect(), TOPIC, 2), 0);
}

/// What one producer of the loop knows: values `0..sent`, and which of them at which offset were acknowledged.
#[derive(Default)]
struct Known {
    acknowledged: Vec<(i64, u64)>,
}

/// Never repeats: a value may be lost only if nobody acknowledged it.
fn write_once(port: u16, partition: i32, acks: i16, stop: &AtomicBool, known: &Mutex<Known>) {
    let mut next = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut connection) = Connection::try_open(port) else {
            std::thread::park_timeout(Duration::from_millis(5));
            continue;
        };
        while !stop.load(Ordering::Relaxed) {
            let batch = Batch::of(&[&next.to_string()]).encode();
            let value = next;
            next += 1;
            match talk::try_produce(&mut connection, TOPIC, partition, &batch, acks) {
                Ok((0, offset)) => known.lock().expect("known").acknowledged.push((offset, value)),
                Ok(_) => {}
                Err(_) => break,
            }
        }
    }
}

/// Partition 1, acks=all, idempotent, several on their way; repeats until each is acknowledged.
fn write_idempotently(port: u16, producer: i64, stop: &AtomicBool, known: &Mutex<Known>) {
    const IN_FLIGHT: usize = 4;
    let batch_of = |value: u64| -> Bytes {
        Batch::of(&[&value.to_string()]).by_producer(producer, 0, i32::try_from(value).expect("few")).encode()
    };
    let mut first_unanswered = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut connection) = Connection::try_open(port) else {
            std::thread::park_timeout(Duration::from_millis(5));
            continue;
        };
        while !stop.load(Ordering::Relaxed) {
            let values: Vec<u64> = (first_unanswered..).take(IN_FLIGHT).collect();
            let batches: Vec<Bytes> = values.iter().map(|value| batch_of(*value)).collect();
            let Ok(answers) = talk::produce_pipelined(&mut connection, TOPIC, 1, &batches, -1) else { break };
            for (value, (error, offset)) in values.into_iter().zip(&answers) {
                if *error != 0 {
                    assert!(matches!(error, 3 | 5 | 6), "value {value} was refused with {error}");
                    break;
                }
                known.lock().expect("known").acknowledged.push((*offset, value));
                first_unanswered = value + 1;
            }
            if answers.len() < IN_FLIGHT {
                break;
            }
        }
    }
}

fn check(broker: &Broker, partition: i32, known: &Known, each_once: bool) {
    let there = talk::values(&mut broker.connect(), TOPIC, partition);
    let there: Vec<(i64, u64)> =
        there.into_iter().map(|(offset, value)| (offset, value.parse().expect("a number"))).collect();
    assert!(
        there.iter().enumerate().all(|(index, (offset, _))| *offset == index as i64),
        "offsets have gaps"
    );
    assert!(there.is_sorted_by_key(|(_, value)| *value), "partition {partition} is out of order");
    if each_once {
        let exact = there.iter().enumerate().all(|(index, (_, value))| *value == index as u64);
        assert!(exact, "partition {partition} has a record twice or not at all");
    }
    for (offset, value) in &known.acknowledged {
        let found = usize::try_from(*offset).ok().and_then(|index| there.get(index));
        assert_eq!(found, Some(&(*offset, *value)), "partition {partition}: an acknowledged record");
    }
}

#[test]
fn a_broker_that_is_killed_again_and_again_loses_repeats_and_reorders_nothing() {
    let rounds = if std::env::var_os("ODRADEK_SOAK").is_some() { 100 } else { 4 };
    // Where a start is killed too: before and while it opens logs, and right after.
    let stages = ["", "the last broker here was killed", "logs opened in"];
    let settings = [("log.segment.bytes", "30000"), ("log.index.interval.bytes", "256")];
    let mut broker = Broker::start_with(Kind::Ours, &settings);
    talk::create_topic(&broker, TOPIC, 3, &[]);
    let request = InitProducerIdRequest::default()
        .with_transactional_id(None)
        .with_transaction_timeout_ms(60_000)
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1);
    let producer = broker.connect().request(4, &request);
    assert_eq!(producer.error_code, 0);
    let producer = producer.producer_id.0;
    let stop = Arc::new(AtomicBool::new(false));
    let (once, idempotent) = (Arc::<Mutex<Known>>::default(), Arc::<Mutex<Known>>::default());
    let once_by_all = Arc::<Mutex<Known>>::default();
    let port = broker.port;
    let writers = [
        std::thread::spawn({
            let (stop, known) = (stop.clone(), once.clone());
            move || write_once(port, 0, 1, &stop, &known)
        }),
        std::thread::spawn({
            let (stop, known) = (stop.clone(), once_by_all.clone());
            move || write_once(port, 2, -1, &stop, &known)
        }),
        std::thread::spawn({
            let (stop, known) = (stop.clone(), idempotent.clone());
            move || write_idempotently(port, producer, &stop, &known)
        }),
    ];
    for round in 0..rounds {
        let progress = || {
            let count = |known: &Mutex<Known>| known.lock().expect("known").acknowledged.len();
            (count(&once), count(&idempotent), count(&once_by_all))
        };
        let before = progress();
        // Somewhere in the next batches, never at the same place.
        let wanted = 20 + 37 * (round % 11);
        support::until(&format!("{wanted} more answers in round {round}"), || {
            assert!(writers.iter().all(|writer| !writer.is_finished()), "a producer gave up");
            let now = progress();
            now.0 >= before.0 + wanted && now.1 >= before.1 + wanted && now.2 >= before.2 + wanted
        });
        broker.kill();
        let stage = stages.get(round % (stages.len() + 1));
        if let Some(stage) = stage {
            broker.spawn();
            support::until(stage, || broker.whole_log().contains(stage));
            broker.kill();
        }
        broker.restart();
        let known = stage.is_some() || broker.whole_log().contains("the last broker here was killed");
        assert!(known, "{}", broker.log());
        check(&broker, 0, &once.lock().expect("known"), false);
        check(&broker, 1, &idempotent.lock().expect("known"), true);
        check(&broker, 2, &once_by_all.lock().expect("known"), false);
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.join().expect("a producer that did not give up");
    }
    broker.stop();
    broker.restart();
    check(&broker, 0, &once.lock().expect("known"), false);
    check(&broker, 1, &idempotent.lock().expect("known"), true);
    check(&broker, 2, &once_by_all.lock().expect("known"), false);
}

/// Flips a bit in the records of the batch in the middle; yields where that lies, and the whole file as it was.
fn spoil(path: &Path) -> (Located, Vec<u8>) {
    let whole = fs::read(path).expect("read");
    let count = headers(&whole).count();
    let bad = headers(&whole).nth(count / 2).expect("one in the middle").expect("a batch");
    let mut content = whole.clone();
    content[bad.position + bad.size - 2] ^= 4;
    fs::write(path, content).expect("written");
    (bad, whole)
}

#[test]
fn a_batch_with_a_wrong_checksum_is_told_of_once_and_never_served() {
    const CORRUPT_MESSAGE: i16 = 2;
    let mut broker = Broker::start_with(Kind::Ours, &[]);
    talk::create_topic(&broker, TOPIC, 1, &[]);
    fill(&broker, 40);
    broker.stop();
    let path = broker.log_dir().join(format!("{TOPIC}-0/00000000000000000000.log"));
    let (bad, whole) = spoil(&path);
    let (first, next) = (bad.batch.first_or_last_offset().0, bad.batch.next_offset().0);
    broker.restart();
    let mut connection = broker.connect();
    let end = talk::end_offset(&mut connection, TOPIC, 0);

    for _ in 0..3 {
        let (error, before) = talk::fetch(&mut connection, TOPIC, 0, 0);
        assert_eq!((error, &before[..]), (0, &whole[..bad.position]));
        assert_eq!(talk::fetch(&mut connection, TOPIC, 0, first).0, CORRUPT_MESSAGE);
        let (error, behind) = talk::fetch(&mut connection, TOPIC, 0, next);
        assert_eq!((error, &behind[..]), (0, &whole[bad.position + bad.size..]));
    }

    let place = format!("{} is damaged at byte {}", path.display(), bad.position);
    assert_eq!(broker.whole_log().matches(&place).count(), 1, "{}", broker.log());
    let arguments = ["--bootstrap-server", &broker.bootstrap(), "--topic", TOPIC, "--from-beginning"];
    // Its consumer throws, and the tool ends without having been told how many records to wait for.
    let consumer = stock::tool("3.9.1", "kafka-console-consumer", &arguments, "");
    let words = format!("Processed a total of {first} messages");
    assert!(format!("{}{}", consumer.stdout, consumer.stderr).contains(&words), "{consumer}");
    let (from, count) = (next.to_string(), (end - next).to_string());
    let more = ["--offset", &from, "--partition", "0", "--timeout-ms", "60000", "--max-messages", &count];
    let arguments = [&arguments[..4], &more].concat();
    stock::tool("3.9.1", "kafka-console-consumer", &arguments, "").success();
}

#[test]
fn followers_do_not_copy_a_batch_with_a_wrong_checksum() {
    let kinds = [Kind::Ours, Kind::Ours, Kind::Apache];
    let mut cluster = Cluster::start_on(Ensemble::of(1, 0), &kinds, &[]);
    let controller = cluster.controller();
    requests::create_topic(&mut cluster.broker(controller).connect(), TOPIC, 2, 1, &[]);
    let ours = |cluster: &Cluster| (0..2).find(|partition| cluster.leader(TOPIC, *partition) != 3);
    let partition = ours(&cluster).expect("two partitions on three brokers");
    let leader = cluster.leader(TOPIC, partition);
    let mut connection = cluster.broker(leader).connect();
    for number in 0..40 {
        let batch = Batch::of(&[&format!("{number} {}", "x".repeat(2000))]).encode();
        requests::produce(&mut connection, TOPIC, partition, &batch);
    }
    cluster.broker_mut(leader).stop();
    let file = format!("{TOPIC}-{partition}/00000000000000000000.log");
    let (bad, whole) = spoil(&cluster.broker(leader).log_dir().join(&file));
    cluster.broker_mut(leader).restart();
    cluster.wait_until_all_are_known();

    let all = [1, 2, 3].map(BrokerId).into();
    let moved = ReassignablePartition::default().with_partition_index(partition).with_replicas(Some(all));
    let topic = ReassignableTopic::default()
        .with_name(TopicName(StrBytes::from_static_str(TOPIC)))
        .with_partitions(vec![moved]);
    let request =
        AlterPartitionReassignmentsRequest::default().with_timeout_ms(30_000).with_topics(vec![topic]);
    let answer = cluster.broker(cluster.controller()).connect().request(0, &request);
    assert_eq!(answer.responses[0].partitions[0].error_code, 0, "{answer:?}");

    let followers: Vec<&Broker> = cluster.brokers.iter().filter(|broker| broker.id != leader).collect();
    for follower in &followers {
        let copied = || fs::read(follower.log_dir().join(&file)).unwrap_or_default();
        until("the copy of what is good", || copied().starts_with(&whole[..bad.position]));
    }
    let told = || cluster.broker(leader).whole_log().contains(&format!("damaged at byte {}", bad.position));
    until("the damage to be met", told);
    for follower in followers {
        let copied = fs::read(follower.log_dir().join(&file)).expect("read");
        assert_eq!(copied, &whole[..bad.position], "the copy of broker {}", follower.id);
    }
    assert_eq!(cluster.leadership(TOPIC, partition), Some((leader, vec![leader])));
}
