//! What a fuzzer does with bytes that were found on a disk or came from a socket: it hands them to each parser of this
//! crate. Nothing may panic, hang or take memory that the input does not justify; what holds beyond that is asserted.
//!
//! Driven by `tests/fuzz.rs` in every run, and by libFuzzer (`storage/fuzz/README.md`) for as long as one likes.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use storage::batch::{
    BatchError, Origin, ProduceRules, TargetCompression, TimestampType, down_convert, find_by_timestamp,
    find_max_timestamp, headers, prepare, records,
};
use storage::contents::{self, RecordFile};
use storage::directory::LastStop;
use storage::disk::OsDisk;
use storage::specimen::{self, NOW};
use storage::types::{Offset, TimestampMs, TopicId, TopicPartition};

const RECORDS: &str = "00000000000000000000.log";

/// A name and what is done with an input.
type Target = (&'static str, fn(&[u8]));

pub(crate) const TARGETS: [Target; 10] = [
    ("batch", batch),
    ("record_file", record_file),
    ("offset_index", offset_index),
    ("time_index", time_index),
    ("transaction_index", transaction_index),
    ("snapshot", snapshot),
    ("leader_epochs", leader_epochs),
    ("checkpoint", checkpoint),
    ("properties", properties),
    ("folder", folder),
];

/// The files of a small partition with everything in it, by name. Inputs begin as one of them.
pub(crate) fn partition() -> Vec<(String, Vec<u8>)> {
    let place = tempfile::tempdir().expect("a folder");
    let path = place.path().join("t-0");
    specimen::write(&path, &id(), TopicId([7; 16]));
    specimen::files(&path).into_iter().collect()
}

fn id() -> TopicPartition {
    TopicPartition::new("t", 0)
}

fn rules(origin: Origin, variant: u8) -> ProduceRules {
    let compression = match variant % 4 {
        0 => TargetCompression::Producer,
        1 => TargetCompression::Uncompressed,
        2 => TargetCompression::Lz4 { level: 1 },
        _ => TargetCompression::Zstd { level: 1 },
    };
    let append_time = variant & 4 != 0;
    ProduceRules {
        compression,
        timestamp_type: if append_time { TimestampType::LogAppendTime } else { TimestampType::CreateTime },
        compacted: variant & 8 != 0,
        ..specimen::rules(&id(), origin)
    }
}

/// The first byte says how the rest is to be stored.
fn batch(data: &[u8]) {
    let Some((variant, bytes)) = data.split_first() else { return };
    let mut bytes = bytes.to_vec();
    if variant & 16 != 0 {
        forge_checksums(&mut bytes);
    }
    let bytes = Bytes::from(bytes);
    for located in headers(&bytes).map_while(Result::ok) {
        let entry = bytes.slice(located.position..located.position + located.size);
        let _ = (located.batch.check_crc(&entry), located.batch.next_offset(), located.batch.producer());
        if let Ok(records) = records(&entry) {
            records.take(10_000).for_each(drop);
        }
        let _ = find_by_timestamp(&entry, NOW, Offset::ZERO);
        let _ = find_max_timestamp(&entry);
    }
    let _ = (down_convert(&bytes, 0, Offset(1)), down_convert(&bytes, 1, Offset(1)));
    let origin = if variant & 32 != 0 {
        Origin::Coordinator
    } else {
        Origin::Client { produce_version: i16::from(variant >> 6) * 3 }
    };
    let _ = prepare(bytes, &rules(origin, *variant), NOW);
}

/// Makes all checksums right, so that what comes behind them sees the rest.
fn forge_checksums(bytes: &mut [u8]) {
    let mut wrong = Vec::new();
    for located in headers(bytes).map_while(Result::ok) {
        let entry = &bytes[located.position..located.position + located.size];
        if let Err(BatchError::WrongCrc { computed, .. }) = located.batch.check_crc(entry) {
            wrong.push((located.position + if located.batch.magic() == 2 { 17 } else { 12 }, computed));
        }
    }
    for (place, computed) in wrong {
        bytes[place..place + 4].copy_from_slice(&computed.to_be_bytes());
    }
}

/// `data` as a file in a folder of its own.
fn with_file(name: &str, data: &[u8], look: impl FnOnce(&Path)) {
    thread_local! {
        static FOLDER: tempfile::TempDir = tempfile::tempdir().expect("a folder");
    }
    FOLDER.with(|folder| {
        let path = folder.path().join(name);
        std::fs::write(&path, data).expect("written");
        look(&path);
    });
}

fn record_file(data: &[u8]) {
    with_file(RECORDS, data, |path| {
        let file = RecordFile::open(&OsDisk, path).expect("opened");
        let mut walk = file.walk();
        while let Ok(Some(entry)) = walk.next_entry() {
            let bytes = file.entry(&entry).expect("read").expect("not larger than the file");
            assert_eq!(entry.damage.is_none(), entry.batch.check_crc(&bytes).is_ok());
        }
        assert!(walk.position() <= file.size());
    });
}

fn offset_index(data: &[u8]) {
    with_file("00000000000000000000.index", data, |path| {
        let mut index = contents::offset_index(&OsDisk, path, Offset::ZERO).expect("opened");
        let mut entries = 0;
        while let Ok(Some(_)) = index.next_entry() {
            entries += 1;
        }
        assert!(entries <= data.len() / 8);
    });
}

fn time_index(data: &[u8]) {
    with_file("00000000000000000000.timeindex", data, |path| {
        let mut index = contents::time_index(&OsDisk, path, Offset::ZERO).expect("opened");
        let mut entries = 0;
        while let Ok(Some(_)) = index.next_entry() {
            entries += 1;
        }
        assert!(entries <= data.len() / 12);
    });
}

fn transaction_index(data: &[u8]) {
    with_file("00000000000000000000.txnindex", data, |path| {
        drop(contents::aborted_transactions(&OsDisk, path));
    });
}

/// Once as it is and once with a right checksum.
fn snapshot(data: &[u8]) {
    const BODY: usize = 6;
    let mut forged = data.to_vec();
    if let Some(body) = data.get(BODY..) {
        forged[2..BODY].copy_from_slice(&crc32c::crc32c(body).to_be_bytes());
    }
    for content in [data, &forged] {
        with_file("00000000000000000009.snapshot", content, |path| {
            let producers = contents::producers(&OsDisk, path).unwrap_or_default();
            assert!(producers.len() <= content.len());
        });
    }
}

fn leader_epochs(data: &[u8]) {
    with_file("leader-epoch-checkpoint", data, |path| drop(contents::leader_epochs(&OsDisk, path)));
}

fn checkpoint(data: &[u8]) {
    with_file("recovery-point-offset-checkpoint", data, |path| drop(contents::offsets(&OsDisk, path)));
}

/// Both files that are written like Java's properties.
fn properties(data: &[u8]) {
    with_file("meta.properties", data, |path| drop(contents::meta_properties(&OsDisk, path)));
    with_file("partition.metadata", data, |path| drop(contents::topic_id(&OsDisk, path)));
}

/// A whole partition of which one file has another content: it opens and serves what has its checksum, or it says why not.
///
/// The first byte names the file, the second how the broker before stopped.
fn folder(data: &[u8]) {
    thread_local! {
        static WHOLE: Vec<(String, Vec<u8>)> = partition();
    }
    let [which, how, content @ ..] = data else { return };
    let place = tempfile::tempdir().expect("a folder");
    let path: PathBuf = place.path().join("t-0");
    std::fs::create_dir(&path).expect("created");
    WHOLE.with(|files| {
        let spoilt = usize::from(*which) % files.len();
        for (index, (name, good)) in files.iter().enumerate() {
            let content = if index == spoilt { content } else { good };
            std::fs::write(path.join(name), content).expect("written");
        }
    });
    let last_stop = [LastStop::Clean, LastStop::Killed, LastStop::Unclean][usize::from(*how) % 3];
    let Ok(mut log) = specimen::open(&path, &id(), last_stop) else { return };
    log.set_high_watermark(log.end());
    let reader = log.reader();
    let mut from = log.start();
    while from < log.end() {
        let Ok(slice) = reader.read(from, 1 << 20, log.end(), true) else { break };
        let _ = reader.aborted_transactions(from, &slice);
        let before = from;
        for located in headers(slice.records.bytes()).map_while(Result::ok) {
            let entry = slice.records.bytes().slice(located.position..located.position + located.size);
            located.batch.check_crc(&entry).expect("served with its checksum");
            from = from.max(located.batch.next_offset());
        }
        if from == before {
            break;
        }
    }
    let _ = reader.offset_for_timestamp(TimestampMs(NOW.0 + 5000));
    let _ = reader.offset_of_max_timestamp();
    drop(log.close());
}
