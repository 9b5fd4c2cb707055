//! Every key of logs that Kafka marks as dynamic: what a topic without a word of its own does, as the key is changed for all
//! brokers while one runs. A broker that has taken a change over shows it by what it does with the next records.

use std::cell::Cell;
use std::fs;

use bytes::Bytes;
use storage::checkpoint::OffsetCheckpoint;
use storage::disk::OsDisk;
use storage::types::TopicPartition;

use crate::support::records::{Batch, now_ms};
use crate::support::requests::{fetch_request, try_fetch};
use crate::support::seat::{Broker, kind};
use crate::support::talk::{create_topic, list_offset, produce, values};
use crate::{ATTRIBUTES, alter, eventually};

const INVALID_TIMESTAMP: i16 = 32;
const UNSUPPORTED_VERSION: i16 = 35;
const INVALID_RECORD: i16 = 87;
const HOUR_MS: i64 = 3_600_000;
const CODEC: u8 = 7;
const APPEND_TIME: u8 = 8;

/// Time asks for everything at once, and nothing of what the tests ask for is so from the start.
const SETTINGS: &[(&str, &str)] = &[
    ("log.initial.task.delay.ms", "0"),
    ("log.retention.check.interval.ms", "50"),
    ("log.retention.ms", "-1"),
    ("log.segment.delete.delay.ms", "3600000"),
    ("log.flush.scheduler.interval.ms", "50"),
    ("log.flush.interval.ms", "3600000"),
    ("log.flush.offset.checkpoint.interval.ms", "50"),
    ("log.cleaner.backoff.ms", "50"),
    ("log.cleaner.min.cleanable.ratio", "1"),
    ("log.cleaner.min.compaction.lag.ms", "3600000"),
];

fn set(broker: &Broker, keys: &[(&str, &str)]) {
    let keys: Vec<_> = keys.iter().map(|(key, value)| (*key, Some(*value))).collect();
    alter(broker, "", &keys);
}

fn unset(broker: &Broker, keys: &[&str]) {
    let keys: Vec<_> = keys.iter().map(|key| (*key, None)).collect();
    alter(broker, "", &keys);
}

/// A record with a key, of so many milliseconds ago.
fn record(age_ms: i64) -> Bytes {
    keyed("the only key", Some("value"), now_ms() - age_ms)
}

fn keyed(key: &str, value: Option<&str>, timestamp: i64) -> Bytes {
    let mut batch = Batch::of(&["stands for the record"]);
    batch.base_timestamp = timestamp;
    batch.records = vec![(Some(key.into()), value.map(Into::into))];
    batch.encode()
}

/// Error code and offset.
fn put(broker: &Broker, topic: &str, batch: &Bytes) -> (i16, i64) {
    produce(&mut broker.connect(), topic, 0, batch, 1)
}

/// Sizes of the partition's files whose names end so, by name.
fn files(broker: &Broker, topic: &str, end: &str) -> Vec<u64> {
    let folder = fs::read_dir(broker.log_dir().join(format!("{topic}-0"))).expect("the partition's folder");
    let mut files: Vec<_> = folder
        .map(|entry| entry.expect("an entry"))
        .filter(|entry| entry.file_name().to_string_lossy().ends_with(end))
        // One that is gone meanwhile is not there.
        .filter_map(|entry| Some((entry.file_name(), entry.metadata().ok()?.len())))
        .collect();
    files.sort();
    files.into_iter().map(|(_, size)| size).collect()
}

/// What was stored of the batch.
fn stored(broker: &Broker, topic: &str, batch: &Bytes) -> Bytes {
    let (error, offset) = put(broker, topic, batch);
    assert_eq!(error, 0, "{topic}");
    try_fetch(&mut broker.connect(), topic, 0, offset).expect("an answer").records
}

#[test]
fn records_are_judged_and_kept_as_is_set_for_all_brokers_meanwhile() {
    let broker = Broker::start_with(kind(), SETTINGS);
    for topic in ["judged", "compressed", "flushed"] {
        create_topic(&broker, topic, 1, &[]);
    }
    timestamps(&broker);
    compression(&broker);
    formats_and_keys(&broker);
    flushes(&broker);
}

#[track_caller]
fn timestamps(broker: &Broker) {
    let error = |age_ms: i64| put(broker, "judged", &record(age_ms)).0;
    let (past, future) = (HOUR_MS, -HOUR_MS);
    for (key, refused) in [
        ("log.message.timestamp.before.max.ms", &[past][..]),
        ("log.message.timestamp.after.max.ms", &[future]),
        ("log.message.timestamp.difference.max.ms", &[past, future]),
    ] {
        let wanted = |age: &i64| if refused.contains(age) { INVALID_TIMESTAMP } else { 0 };
        assert!([past, future].iter().all(|age| error(*age) == 0), "{key} is not set yet");
        set(broker, &[(key, "60000")]);
        eventually(broker, key, || [past, future].iter().all(|age| error(*age) == wanted(age)));
        unset(broker, &[key]);
        eventually(broker, "any time is right", || [past, future].iter().all(|age| error(*age) == 0));
    }
    let attributes = || stored(broker, "judged", &record(0))[ATTRIBUTES];
    assert_eq!(attributes() & APPEND_TIME, 0);
    set(broker, &[("log.message.timestamp.type", "LogAppendTime")]);
    eventually(broker, "records get the broker's time", || attributes() & APPEND_TIME != 0);
}

#[track_caller]
fn compression(broker: &Broker) {
    // Words without an order, so that it is worth looking for them.
    let mut number = 1_u64;
    let text: String = std::iter::repeat_with(|| {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ["one ", "two ", "three ", "seven ", "eleven ", "twelve "][(number >> 40) as usize % 6]
    })
    .take(20_000)
    .collect();
    let batch = keyed("key", Some(&text), now_ms());
    let size_in = |codec: u8| {
        let records = stored(broker, "compressed", &batch);
        (records[ATTRIBUTES] & CODEC == codec).then_some(records.len())
    };
    for (codec, name, low, high) in [(1, "gzip", "1", "9"), (3, "lz4", "1", "17"), (4, "zstd", "-50", "15")] {
        let level = format!("compression.{name}.level");
        set(broker, &[("compression.type", name), (&level, low)]);
        eventually(broker, name, || size_in(codec).is_some());
        let large = size_in(codec).expect("compressed");
        set(broker, &[(&level, high)]);
        eventually(broker, &level, || size_in(codec).is_some_and(|size| size < large));
        unset(broker, &["compression.type", &level]);
    }
}

#[track_caller]
fn formats_and_keys(broker: &Broker) {
    let old = |topic: &str| {
        let request = fetch_request(topic, 0, 0).with_max_wait_ms(0);
        broker.connect().request(2, &request).responses[0].partitions[0].error_code
    };
    eventually(broker, "old clients are served", || old("judged") == 0);
    set(broker, &[("log.message.downconversion.enable", "false")]);
    eventually(broker, "nothing is converted", || old("judged") == UNSUPPORTED_VERSION);

    let nameless = Batch::of(&["without a key"]).encode();
    assert_eq!(put(broker, "judged", &nameless).0, 0);
    set(broker, &[("log.cleanup.policy", "compact")]);
    eventually(broker, "records need keys", || put(broker, "judged", &nameless).0 == INVALID_RECORD);
    unset(broker, &["log.cleanup.policy"]);
    eventually(broker, "records need none", || put(broker, "judged", &nameless).0 == 0);
}

#[track_caller]
fn flushes(broker: &Broker) {
    let flushed = || {
        let points = OffsetCheckpoint::RecoveryPoints.read(&OsDisk, &broker.log_dir());
        points.ok().and_then(|points| points.get(&TopicPartition::new("flushed", 0)).map(|point| point.0))
    };
    let end = Cell::new(0);
    let write = || end.set(put(broker, "flushed", &record(0)).1 + 1);
    write();
    set(broker, &[("log.flush.interval.messages", "1")]);
    eventually(broker, "each record is flushed", || {
        write();
        flushed() == Some(end.get())
    });
    unset(broker, &["log.flush.interval.messages"]);
    eventually(broker, "records are not flushed", || {
        write();
        // What is flushed is told a little later.
        flushed() < Some(end.get() - 50)
    });
    set(broker, &[("log.flush.interval.ms", "20")]);
    eventually(broker, "records are flushed after a while", || flushed() == Some(end.get()));
}

#[test]
fn segments_begin_and_go_as_is_set_for_all_brokers_meanwhile() {
    let broker = Broker::start_with(kind(), SETTINGS);
    for topic in ["indexed", "timed", "by-chance", "full", "large", "aged"] {
        create_topic(&broker, topic, 1, &[]);
    }
    indexes(&broker);
    times(&broker);
    preallocation(&broker);
    retention(&broker);
}

/// The same of segments that have ended.
fn ended(broker: &Broker, topic: &str, end: &str) -> Vec<u64> {
    let mut files = files(broker, topic, end);
    files.pop();
    files
}

#[track_caller]
fn indexes(broker: &Broker) {
    // The first segment has a large index, so it is the bytes that end it.
    let dense = [("log.index.interval.bytes", "0"), ("log.index.size.max.bytes", "48")];
    set(broker, &[&dense[..], &[("log.segment.bytes", "5000")]].concat());
    eventually(broker, "a segment ends because of its index", || {
        put(broker, "full", &record(0));
        ended(broker, "full", ".log").iter().skip(1).any(|size| *size < 1000)
    });
    unset(broker, &dense.map(|(key, _)| key));

    // Two entries of the offset index; at the interval of the start a short segment has one at most.
    let is_dense = || ended(broker, "indexed", ".index").iter().any(|size| *size >= 16);
    set(broker, &[("log.segment.bytes", "500")]);
    eventually(broker, "short segments", || {
        put(broker, "indexed", &record(0));
        ended(broker, "indexed", ".log").len() > 2
    });
    assert!(!is_dense());
    set(broker, &[("log.index.interval.bytes", "0")]);
    eventually(broker, "an entry for every batch", || {
        put(broker, "indexed", &record(0));
        is_dense()
    });
    unset(broker, &["log.segment.bytes", "log.index.interval.bytes"]);
}

#[track_caller]
fn times(broker: &Broker) {
    let segments = |topic: &str| files(broker, topic, ".log").len();
    let time = Cell::new(now_ms() - 1000 * HOUR_MS);
    let put_after = |topic: &str, pause_ms: i64| {
        time.set(time.get() + pause_ms);
        assert_eq!(put(broker, topic, &keyed("the only key", Some("value"), time.get())).0, 0);
    };
    put_after("timed", 0);
    put_after("timed", HOUR_MS);
    assert_eq!(segments("timed"), 1);
    set(broker, &[("log.roll.ms", &(HOUR_MS / 2).to_string())]);
    eventually(broker, "an hour is too long for a segment", || {
        put_after("timed", HOUR_MS);
        segments("timed") > 1
    });

    set(broker, &[("log.roll.ms", &HOUR_MS.to_string()), ("log.roll.jitter.ms", &HOUR_MS.to_string())]);
    put_after("by-chance", 0);
    // Each time one segment ends for good reason, and now and then another by chance.
    let reasons = Cell::new(0);
    eventually(broker, "some segments end early", || {
        put_after("by-chance", 3 * HOUR_MS / 2);
        put_after("by-chance", HOUR_MS / 2);
        reasons.set(reasons.get() + 1);
        segments("by-chance") > reasons.get() + 1
    });
    unset(broker, &["log.roll.ms", "log.roll.jitter.ms"]);
}

#[track_caller]
fn preallocation(broker: &Broker) {
    const SIZE: u64 = 1 << 20;
    set(
        broker,
        &[("log.preallocate", "true"), ("log.segment.bytes", &SIZE.to_string()), ("log.roll.ms", "1")],
    );
    let age = Cell::new(HOUR_MS);
    eventually(broker, "a segment that is large before it is full", || {
        age.set(age.get() - 10);
        assert_eq!(put(broker, "large", &record(age.get())).0, 0);
        files(broker, "large", ".log").last() == Some(&SIZE)
    });
    unset(broker, &["log.preallocate", "log.segment.bytes", "log.roll.ms"]);
}

#[track_caller]
fn retention(broker: &Broker) {
    let start = || list_offset(&mut broker.connect(), "aged", 0, -2).1;
    let end = || list_offset(&mut broker.connect(), "aged", 0, -1).1;
    let deleted = || files(broker, "aged", ".deleted").len();
    set(broker, &[("log.segment.bytes", "300")]);
    eventually(broker, "some segments", || {
        put(broker, "aged", &record(HOUR_MS));
        files(broker, "aged", ".log").len() > 3
    });
    assert_eq!(start(), 0);
    set(broker, &[("log.retention.bytes", "400")]);
    eventually(broker, "the oldest segments go", || start() > 0);
    unset(broker, &["log.retention.bytes"]);
    assert!(start() < end());
    set(broker, &[("log.retention.ms", "60000")]);
    eventually(broker, "all that is old goes", || start() == end());
    let kept = deleted();
    assert!(kept > 0, "the files stay for an hour");

    set(broker, &[("log.segment.delete.delay.ms", "1")]);
    let before = Cell::new(kept);
    eventually(broker, "files do not stay", || {
        put(broker, "aged", &record(HOUR_MS));
        let now = deleted();
        now < before.replace(now)
    });
}

#[test]
fn cleaners_take_and_leave_what_is_set_for_all_brokers_meanwhile() {
    let broker = Broker::start_with(kind(), SETTINGS);
    let compacted = [("cleanup.policy", "compact"), ("segment.bytes", "500")];
    let at_once = [&compacted[..], &[("min.compaction.lag.ms", "0")]].concat();
    create_topic(&broker, "at-once", 1, &at_once);
    for topic in ["lagging", "overdue", "buried"] {
        create_topic(&broker, topic, 1, &compacted);
    }
    let fill = |topic: &str| {
        for _ in 0..20 {
            assert_eq!(put(&broker, topic, &record(0)).0, 0);
        }
    };
    let cleaned = |topic: &str| {
        let cleaned = OffsetCheckpoint::Cleaner.read(&OsDisk, &broker.log_dir());
        cleaned.is_ok_and(|cleaned| {
            cleaned.get(&TopicPartition::new(topic, 0)).is_some_and(|offset| offset.0 > 0)
        })
    };
    ["at-once", "lagging"].iter().for_each(|topic| fill(topic));
    assert!(!cleaned("at-once"));
    set(&broker, &[("log.cleaner.min.cleanable.ratio", "0.01")]);
    eventually(&broker, "logs are filthy enough", || cleaned("at-once"));
    assert!(!cleaned("lagging"), "its records are too young");
    set(&broker, &[("log.cleaner.min.compaction.lag.ms", "0")]);
    eventually(&broker, "records are old enough", || cleaned("lagging"));

    unset(&broker, &["log.cleaner.min.cleanable.ratio"]);
    fill("overdue");
    set(&broker, &[("log.cleaner.max.compaction.lag.ms", "1")]);
    eventually(&broker, "records wait for a millisecond at most", || cleaned("overdue"));

    set(&broker, &[("log.cleaner.delete.retention.ms", "1")]);
    let tombstones = || {
        let all = values(&mut broker.connect(), "buried", 0);
        all.iter().filter(|(_, value)| value.is_empty()).count()
    };
    let buried = Cell::new(0);
    // A new one each time: how long one stays is settled when it is first seen, and the first may have been seen before the change.
    eventually(&broker, "tombstones go", || {
        put(&broker, "buried", &keyed(&format!("buried {}", buried.get()), None, now_ms()));
        put(&broker, "buried", &record(0));
        buried.set(buried.get() + 1);
        tombstones() < buried.get()
    });
}
