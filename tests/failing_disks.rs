//! What we promise when disks do not do what they should: a full one costs appends until there is room and nothing else, a
//! broken one costs its own partitions.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use kafka_protocol::messages::{DescribeLogDirsRequest, MetadataRequest};
use support::mounts::Mount;
use support::records::Batch;
use support::requests::{OF_TOPIC, alter_config, delete_records};
use support::seat::{Broker, Kind};
use support::wire::Connection;
use support::{talk, until};

const TOPIC: &str = "kept";
const STORAGE_ERROR: i16 = 56;

/// Some 16 KB that differ from batch to batch.
fn batch(number: usize) -> bytes::Bytes {
    Batch::of(&[&format!("{number:06} {}", "x".repeat(16_000))]).encode()
}

fn put(connection: &mut Connection, partition: i32, number: usize) -> i16 {
    talk::produce(connection, TOPIC, partition, &batch(number), 1).0
}

fn numbers(connection: &mut Connection, partition: i32) -> Vec<usize> {
    let values = talk::values(connection, TOPIC, partition);
    values.iter().map(|(_, value)| value[..6].parse().expect("a number")).collect()
}

#[test]
fn a_full_disk_refuses_appends_until_there_is_room_and_nothing_else() {
    for mount in [Mount::tmpfs(24 << 20), Mount::ext4(40 << 20)] {
        let Some(mount) = mount else { continue };
        fill_and_make_room(&mount);
    }
}

fn fill_and_make_room(mount: &Mount) {
    let logs = mount.path().join("logs").display().to_string();
    let settings = [
        ("log.dirs", logs.as_str()),
        ("log.segment.bytes", "1000000"),
        ("log.segment.delete.delay.ms", "0"),
        ("log.initial.task.delay.ms", "100"),
        ("log.retention.check.interval.ms", "200"),
        ("replica.high.watermark.checkpoint.interval.ms", "200"),
        ("log.flush.offset.checkpoint.interval.ms", "200"),
    ];
    let ballast = mount.path().join("ballast");
    fs::write(&ballast, vec![7; 3 << 20]).expect("something else lies there");
    let mut broker = Broker::start_with(Kind::Ours, &settings);
    talk::create_topic(&broker, TOPIC, 1, &[]);
    let mut connection = broker.connect();
    let mut written = 0;
    while put(&mut connection, 0, written) == 0 {
        written += 1;
    }
    assert!(written > 100, "{written}");
    mount.fill();
    let all: Vec<usize> = (0..written).collect();

    assert_eq!(put(&mut connection, 0, written), STORAGE_ERROR);
    assert_eq!(numbers(&mut connection, 0), all, "reads go on");
    for clean in [false, true] {
        if clean {
            broker.stop();
        } else {
            broker.kill();
        }
        broker.restart();
        let mut connection = broker.connect();
        assert_eq!(numbers(&mut connection, 0), all, "it starts on a full disk");
        assert_eq!(put(&mut connection, 0, written), STORAGE_ERROR);
    }
    // As another boot: everything is checked, and what is rebuilt finds no room.
    broker.kill();
    fs::write(Path::new(&logs).join(".lock"), "").expect("emptied");
    broker.restart();
    let mut connection = broker.connect();
    assert_eq!(numbers(&mut connection, 0), all);
    assert_eq!(put(&mut connection, 0, written), STORAGE_ERROR);

    fs::remove_file(ballast).expect("removed");
    let mut more = 0;
    until("room after something else was deleted", || {
        let taken = put(&mut connection, 0, written + more) == 0;
        more += usize::from(taken);
        taken
    });
    while put(&mut connection, 0, written + more) == 0 {
        more += 1;
    }
    written += more;
    mount.fill();
    assert_eq!(put(&mut connection, 0, written), STORAGE_ERROR);

    assert_eq!(delete_records(&mut connection, TOPIC, written as i64 / 2), 0, "deletion goes on");
    until("room after records were deleted", || put(&mut connection, 0, written) == 0);
    let expected: Vec<usize> = (written / 2..=written).collect();
    assert_eq!(numbers(&mut connection, 0), expected);
    broker.stop();
    broker.restart();
    assert_eq!(numbers(&mut broker.connect(), 0), expected);
}

#[test]
fn a_broken_disk_costs_its_own_partitions_and_the_last_one_the_broker() {
    let (Some(one), Some(other)) = (Mount::ext4(40 << 20), Mount::ext4(40 << 20)) else { return };
    let folder = |mount: &Mount| mount.path().join("logs");
    let dirs = format!("{},{}", folder(&one).display(), folder(&other).display());
    let mut broker = Broker::start_with(Kind::Ours, &[("log.dirs", &dirs)]);
    talk::create_topic(&broker, TOPIC, 4, &[]);
    let mut connection = broker.connect();
    for partition in 0..4 {
        assert_eq!(put(&mut connection, partition, 0), 0);
    }
    let lie_in = |mount: &Mount| -> Vec<i32> {
        (0..4).filter(|partition| folder(mount).join(format!("{TOPIC}-{partition}")).exists()).collect()
    };
    let (lost, kept) = (lie_in(&one), lie_in(&other));
    assert_eq!((lost.len(), kept.len()), (2, 2));

    one.fail();

    until("the failure is noticed", || put(&mut connection, lost[0], 1) != 0);
    for partition in &kept {
        assert_eq!(put(&mut connection, *partition, 1), 0);
        assert_eq!(numbers(&mut connection, *partition), [0, 1]);
    }
    let described = connection.request(4, &DescribeLogDirsRequest::default().with_topics(None));
    let error_of = |mount: &Mount| {
        let path = folder(mount).display().to_string();
        described.results.iter().find(|result| *result.log_dir == *path).map(|result| result.error_code)
    };
    assert_eq!((error_of(&one), error_of(&other)), (Some(STORAGE_ERROR), Some(0)));
    until("the controller knows that nobody leads there", || {
        let answer = connection.request(9, &MetadataRequest::default().with_topics(None));
        let topic =
            answer.topics.iter().find(|topic| topic.name.as_ref().is_some_and(|name| &**name == TOPIC));
        topic.is_some_and(|topic| {
            let leaderless = topic.partitions.iter().filter(|partition| partition.leader_id.0 == -1);
            let mut found: Vec<i32> = leaderless.map(|partition| partition.partition_index).collect();
            found.sort_unstable();
            found == lost
        })
    });

    other.fail();
    let _ = talk::try_produce(&mut connection, TOPIC, kept[0], &batch(2), 1);
    let ended = broker.wait();
    assert_eq!(ended.code, 1, "{ended}");
    assert!(ended.stderr.contains("every log directory has failed"), "{ended}");
}

/// A producer of one partition that never stops: value after value, the same again until it is acknowledged.
struct Writer {
    /// Offset and number of each acknowledged value.
    acknowledged: Arc<Mutex<Vec<(i64, usize)>>>,
    refused: Arc<AtomicUsize>,
    thread: JoinHandle<()>,
}

fn write(port: u16, partition: i32, stop: &Arc<AtomicBool>) -> Writer {
    let acknowledged: Arc<Mutex<Vec<(i64, usize)>>> = Arc::default();
    let refused = Arc::new(AtomicUsize::new(0));
    let (stop, known, refusals) = (Arc::clone(stop), Arc::clone(&acknowledged), Arc::clone(&refused));
    let thread = std::thread::spawn(move || {
        let mut connection = Connection::try_open(port).expect("a connection");
        let mut number = 0;
        while !stop.load(Ordering::Relaxed) {
            match talk::produce(&mut connection, TOPIC, partition, &batch(number), -1) {
                (0, offset) => {
                    known.lock().expect("known").push((offset, number));
                    number += 1;
                }
                (error, _) => {
                    assert_eq!(error, STORAGE_ERROR);
                    refusals.fetch_add(1, Ordering::Relaxed);
                    std::thread::park_timeout(Duration::from_millis(5));
                }
            }
        }
    });
    Writer { acknowledged, refused, thread }
}

#[test]
fn a_disk_that_fills_under_load_takes_records_again_when_retention_has_made_room() {
    for mount in [Mount::tmpfs(24 << 20), Mount::ext4(40 << 20)] {
        let Some(mount) = mount else { continue };
        fill_under_load(&mount);
    }
}

fn fill_under_load(mount: &Mount) {
    const PARTITIONS: i32 = 4;
    let logs = mount.path().join("logs").display().to_string();
    let settings = [
        ("log.dirs", logs.as_str()),
        ("log.segment.bytes", "500000"),
        ("log.segment.delete.delay.ms", "0"),
        ("log.initial.task.delay.ms", "100"),
        ("log.retention.check.interval.ms", "200"),
        ("replica.high.watermark.checkpoint.interval.ms", "200"),
        ("log.flush.offset.checkpoint.interval.ms", "200"),
    ];
    let mut broker = Broker::start_with(Kind::Ours, &settings);
    talk::create_topic(&broker, TOPIC, PARTITIONS, &[]);
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<Writer> =
        (0..PARTITIONS).map(|partition| write(broker.port, partition, &stop)).collect();
    let taken = || -> Vec<usize> {
        writers.iter().map(|one| one.acknowledged.lock().expect("known").len()).collect()
    };
    let refused = |more: usize| writers.iter().all(|one| one.refused.load(Ordering::Relaxed) >= more);
    until("the disk is full", || refused(1));
    mount.fill();
    let before: Vec<usize> = writers.iter().map(|one| one.refused.load(Ordering::Relaxed)).collect();
    until("all are refused for a while", || {
        let now = writers.iter().map(|one| one.refused.load(Ordering::Relaxed));
        now.zip(&before).all(|(now, before)| now > before + 10)
    });
    let full = taken();
    let mut connection = broker.connect();
    for partition in 0..PARTITIONS {
        assert!(!numbers(&mut connection, partition).is_empty(), "reads go on");
    }

    alter_config(&mut connection, OF_TOPIC, TOPIC, "retention.bytes", Some("1000000"));

    until("every producer goes on, without a restart", || {
        taken().iter().zip(&full).all(|(now, then)| *now > then + 5)
    });
    stop.store(true, Ordering::Relaxed);
    let mut known = Vec::new();
    for writer in writers {
        writer.thread.join().expect("a producer that was refused for want of space only");
        known.push(writer.acknowledged.lock().expect("known").clone());
    }
    for restarts in 0..2 {
        for (partition, known) in (0..).zip(&known) {
            let mut connection = broker.connect();
            let values: BTreeMap<i64, String> =
                talk::values(&mut connection, TOPIC, partition).into_iter().collect();
            // Asked afterwards: retention goes on meanwhile, and what it removes need not be read.
            let start = talk::list_offset(&mut connection, TOPIC, partition, -2).1;
            assert!(values.range(start..).next().is_some(), "partition {partition} has something");
            for (offset, number) in known.iter().filter(|(offset, _)| *offset >= start) {
                let found = values.get(offset).map(|value| value[..6].parse::<usize>().expect("a number"));
                assert_eq!(
                    found,
                    Some(*number),
                    "partition {partition} at {offset} after {restarts} restarts"
                );
            }
        }
        broker.kill();
        broker.restart();
    }
}
