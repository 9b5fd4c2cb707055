//! What we promise about where segments begin, when they reach the disk and when they go: at the settings that Kafka has for
//! it, and at the records at which Apache Kafka 3.9.1 begins and ends one.

mod support;

use std::fs;

use bytes::Bytes;
use storage::checkpoint::OffsetCheckpoint;
use storage::disk::OsDisk;
use storage::types::TopicPartition;
use support::offline::append_behind_a_gap;
use support::records::{Batch, now_ms};
use support::requests::{OF_TOPIC, alter_config, delete_records};
use support::seat::{Broker, kind};
use support::talk::{create_topic, end_offset, fetch, list_offset, produce, values};
use support::until;
use support::wire::Connection;

const HOUR_MS: i64 = 3_600_000;
const POLICY_VIOLATION: i16 = 44;

/// Enough that some of them roll early and some do not, whatever chance says.
const PARTITIONS: i32 = 30;

/// Names in the folder of a partition, sorted.
fn names(broker: &Broker, topic: &str, partition: i32) -> Vec<String> {
    let folder = broker.log_dir().join(format!("{topic}-{partition}"));
    let names = fs::read_dir(folder).expect("listed").map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Base offsets of the segments of a partition.
fn bases(broker: &Broker, topic: &str, partition: i32) -> Vec<i64> {
    let names = names(broker, topic, partition);
    names.iter().filter_map(|name| name.strip_suffix(".log")?.parse().ok()).collect()
}

/// A record that takes as many bytes whatever its time.
fn batch(timestamp: i64) -> Bytes {
    let mut batch = Batch::of(&["x"]);
    batch.base_timestamp = timestamp;
    batch.records[0].0 = Some(b"key".to_vec());
    batch.encode()
}

#[track_caller]
fn put(connection: &mut Connection, topic: &str, partition: i32, timestamp: i64) -> i64 {
    let batch = batch(timestamp);
    let mut offset = -1;
    // Right after a start a broker may lead a partition before it has heard of the topic.
    until(&format!("{topic}-{partition} to take records"), || {
        let (error, at) = produce(connection, topic, partition, &batch, -1);
        assert!(matches!(error, 0 | 3 | 5 | 6), "{topic}-{partition} refused with {error}");
        offset = at;
        error == 0
    });
    offset
}

#[test]
fn a_segment_ends_when_its_records_are_segment_ms_apart_and_by_chance_up_to_the_jitter_earlier() {
    let broker = Broker::start_with(
        kind(),
        &[
            ("log.roll.ms", "100000"),
            ("log.roll.jitter.ms", "50000"),
            ("log.cleaner.enable", "false"),
            ("log.initial.task.delay.ms", "3600000"),
        ],
    );
    let lag = [("cleanup.policy", "compact"), ("max.compaction.lag.ms", "50000"), ("segment.jitter.ms", "0")];
    create_topic(&broker, "exact", 1, &[("segment.ms", "80000"), ("segment.jitter.ms", "0")]);
    create_topic(&broker, "soon-compacted", 1, &lag);
    create_topic(&broker, "own", PARTITIONS, &[("segment.ms", "90000"), ("segment.jitter.ms", "40000")]);
    create_topic(&broker, "defaults", PARTITIONS, &[]);
    let mut connection = broker.connect();
    let begin = now_ms() - HOUR_MS;

    for (topic, limit) in [("exact", 80_000), ("soon-compacted", 50_000)] {
        for (timestamp, expected) in [(0, vec![0]), (limit, vec![0]), (limit + 1, vec![0, 2])] {
            put(&mut connection, topic, 0, begin + timestamp);
            assert_eq!(bases(&broker, topic, 0), expected, "{topic} after {timestamp} ms");
        }
    }
    for (topic, limit) in [("own", 90_000), ("defaults", 100_000)] {
        let mut segments = |after: i64| -> Vec<usize> {
            (0..PARTITIONS)
                .map(|partition| {
                    put(&mut connection, topic, partition, begin + after);
                    bases(&broker, topic, partition).len()
                })
                .collect()
        };
        segments(0);
        assert_eq!(segments(50_000), vec![1; PARTITIONS as usize], "the jitter of {topic} is no longer");
        let rolled = segments(limit - 25_000).into_iter().filter(|count| *count == 2).count();
        assert!((1..PARTITIONS as usize).contains(&rolled), "{rolled} of {PARTITIONS} rolled early");
        assert_eq!(segments(limit + 1), vec![2; PARTITIONS as usize], "at the latest");
    }
}

#[test]
fn a_segment_ends_when_one_of_its_indexes_is_full() {
    let broker = Broker::start();
    let index = [("segment.index.bytes", "120"), ("index.interval.bytes", "0")];
    create_topic(&broker, "offsets", 1, &index);
    create_topic(&broker, "times", 1, &index);
    let mut connection = broker.connect();
    let begin = now_ms();
    for number in 0..50 {
        put(&mut connection, "offsets", 0, begin);
        put(&mut connection, "times", 0, begin + number);
    }

    // 15 entries of 8 bytes, and 10 of 12, of which one is kept for the end; the first batch has none.
    assert_eq!(bases(&broker, "offsets", 0), [0, 16, 32, 48]);
    assert_eq!(bases(&broker, "times", 0), [0, 10, 20, 30, 40]);
}

#[test]
fn a_segment_ends_before_its_offsets_are_too_far_apart_for_its_indexes() {
    let far = i64::from(i32::MAX);
    let mut broker = Broker::start();
    create_topic(&broker, "far", 1, &[]);
    put(&mut broker.connect(), "far", 0, now_ms());
    broker.stop();
    append_behind_a_gap(&broker.log_dir(), "far", far - 1);
    broker.restart();

    let mut connection = broker.connect();
    assert_eq!(end_offset(&mut connection, "far", 0), far);
    assert_eq!(put(&mut connection, "far", 0, now_ms()), far);
    assert_eq!(bases(&broker, "far", 0), [0], "this one can still be found");
    assert_eq!(put(&mut connection, "far", 0, now_ms()), far + 1);
    assert_eq!(bases(&broker, "far", 0), [0, far + 1]);

    let expected = [(0, "x"), (far - 1, "behind the gap"), (far, "x"), (far + 1, "x")];
    let expected = expected.map(|(offset, value)| (offset, value.to_string()));
    assert_eq!(values(&mut connection, "far", 0), expected);
    for (asked, found) in [(1, far - 1), (far / 2, far - 1), (far, far), (far + 1, far + 1)] {
        assert_eq!(first_offset(&fetch(&mut connection, "far", 0, asked).1), found, "asked for {asked}");
    }
    drop(connection);
    broker.kill();
    broker.restart();
    assert_eq!(end_offset(&mut broker.connect(), "far", 0), far + 2);
    assert_eq!(values(&mut broker.connect(), "far", 0), expected);
}

fn first_offset(records: &Bytes) -> i64 {
    let first = storage::batch::headers(records).next().expect("one").expect("a batch");
    first.batch.base_offset().expect("known").0
}

#[test]
fn records_reach_the_disk_after_flush_messages_or_flush_ms() {
    let broker = Broker::start_with(
        kind(),
        &[
            ("log.flush.scheduler.interval.ms", "50"),
            ("log.flush.offset.checkpoint.interval.ms", "50"),
            ("log.initial.task.delay.ms", "0"),
        ],
    );
    create_topic(&broker, "counted", 1, &[("flush.messages", "3"), ("flush.ms", "3600000")]);
    create_topic(&broker, "timed", 1, &[("flush.ms", "100")]);
    create_topic(&broker, "kept", 1, &[("flush.ms", "3600000")]);
    let mut connection = broker.connect();
    // What the recovery point says is on the disk.
    let flushed = |topic: &str| {
        let points = OffsetCheckpoint::RecoveryPoints.read(&OsDisk, &broker.log_dir());
        points.ok().and_then(|points| points.get(&TopicPartition::new(topic, 0)).map(|point| point.0))
    };
    for topic in ["kept", "counted", "counted", "timed"] {
        put(&mut connection, topic, 0, now_ms());
    }

    until("the flush by time", || flushed("timed") == Some(1));
    assert_eq!((flushed("counted"), flushed("kept")), (Some(0), Some(0)));
    put(&mut connection, "counted", 0, now_ms());
    until("the flush by number", || flushed("counted") == Some(3));
    assert_eq!(flushed("kept"), Some(0));
}

/// A topic, the ages of its segments (see [`fill`]), a config that is set then and its value, and the segments that stay.
type Limit<'a> = (&'a str, [i64; 5], &'a str, &'a str, &'a [i64]);

/// Five segments of three records, each so many hours old.
#[track_caller]
fn fill(connection: &mut Connection, topic: &str, hours: [i64; 5]) {
    for age in hours {
        for _ in 0..3 {
            put(connection, topic, 0, now_ms() - age * HOUR_MS);
        }
    }
}

#[test]
fn segments_go_by_age_by_size_and_below_the_start_and_their_files_after_a_delay() {
    let broker = Broker::start_with(
        kind(),
        &[
            ("log.retention.check.interval.ms", "100"),
            ("log.initial.task.delay.ms", "100"),
            ("log.cleaner.backoff.ms", "100"),
        ],
    );
    let size = batch(0).len();
    let (segment, surplus_of_two) = ((3 * size).to_string(), (9 * size).to_string());
    let mut connection = broker.connect();
    let limits: [Limit<'_>; 5] = [
        // A young one keeps what is behind it.
        ("aged", [3, 2, 0, 2, 2], "retention.ms", "3600000", &[6, 9, 12]),
        ("outdated", [5, 4, 3, 2, 2], "retention.ms", "3600000", &[15]),
        ("large", [0; 5], "retention.bytes", &surplus_of_two, &[6, 9, 12]),
        ("both", [3, 2, 0, 0, 0], "retention.ms", "3600000", &[6, 9, 12]),
        // Retention is not for these.
        ("compacted", [3, 2, 2, 2, 2], "retention.ms", "3600000", &[0, 3, 6, 9, 12]),
    ];
    for (topic, hours, ..) in &limits {
        let policy = match *topic {
            "both" => "compact,delete",
            "compacted" => "compact",
            _ => "delete",
        };
        let settings = [
            ("segment.bytes", segment.as_str()),
            ("retention.ms", "-1"),
            ("cleanup.policy", policy),
            // Never so dirty that anything is compacted.
            ("min.cleanable.dirty.ratio", "1"),
            ("file.delete.delay.ms", if *topic == "aged" { "3600000" } else { "0" }),
        ];
        create_topic(&broker, topic, 1, &settings);
        fill(&mut connection, topic, *hours);
        assert_eq!(bases(&broker, topic, 0), [0, 3, 6, 9, 12], "{topic}");
    }

    for (topic, _, key, value, _) in &limits {
        alter_config(&mut connection, OF_TOPIC, topic, key, Some(value));
    }

    for (topic, .., left) in &limits {
        until(&format!("what is left of {topic}"), || bases(&broker, topic, 0) == *left);
        assert_eq!(list_offset(&mut connection, topic, 0, -2), (0, left[0]), "{topic}");
        assert_eq!(end_offset(&mut connection, topic, 0), 15, "{topic}");
    }
    let waiting = |topic: &str| {
        let names = names(&broker, topic, 0).into_iter();
        names.filter_map(|name| Some(name.strip_suffix(".deleted")?.to_owned())).collect::<Vec<_>>()
    };
    let of_aged = ["0.index", "0.log", "0.timeindex", "3.index", "3.log", "3.snapshot", "3.timeindex"];
    until("the names of what waits", || {
        waiting("aged") == of_aged.map(|name| format!("0000000000000000000{name}"))
    });
    until("the files of the others to be gone", || {
        limits[1..].iter().all(|(topic, ..)| waiting(topic).is_empty())
    });

    assert_eq!(delete_records(&mut connection, "compacted", 7), POLICY_VIOLATION);
    alter_config(&mut connection, OF_TOPIC, "large", "retention.bytes", Some("-1"));
    assert_eq!(delete_records(&mut connection, "large", 10), 0);
    until("what lies below the start to go", || bases(&broker, "large", 0) == [9, 12]);
    assert_eq!(list_offset(&mut connection, "large", 0, -2), (0, 10));
    let offsets: Vec<i64> =
        values(&mut connection, "large", 0).into_iter().map(|(offset, _)| offset).collect();
    assert_eq!(offsets, [10, 11, 12, 13, 14]);
}
