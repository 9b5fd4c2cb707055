//! Requests of every API in every version, made from Kafka's own schemas and then damaged: whatever arrives, nothing panics,
//! memory stays bounded, and others are served.
//!
//! `ODRADEK_SEED` chooses other damage than usual; `ODRADEK_SOAK=1` does it fifty times as often.

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest};
use support::process::PATIENCE;
use support::records::Batch;
use support::requests::{create_topic, produced};
use support::schemas::{Dice, Schemas, Words};
use support::seat::{Broker, Kind, kind};
use support::wire::framed;

/// Resident memory our broker never exceeds, in a test build. Unit: bytes.
const RESIDENT_BYTES_MAX: u64 = 400 << 20;

/// Damaged requests of each version of each API in an ordinary run.
const DAMAGED: usize = 16;

/// Connections at once.
const CHUNK: usize = 32;

/// What brokers and controllers ask of each other: heard, they change who leads what, so nobody else can be served afterwards.
const BETWEEN_BROKERS: &[ApiKey] = &[
    ApiKey::LeaderAndIsr,
    ApiKey::StopReplica,
    ApiKey::UpdateMetadata,
    ApiKey::ControlledShutdown,
    ApiKey::AlterPartition,
    ApiKey::WriteTxnMarkers,
];

/// These may wait as long as they say.
const PATIENT: &[ApiKey] = &[
    ApiKey::Produce,
    ApiKey::Fetch,
    ApiKey::JoinGroup,
    ApiKey::SyncGroup,
    ApiKey::CreateTopics,
    ApiKey::CreatePartitions,
    ApiKey::DeleteTopics,
    ApiKey::DeleteRecords,
    ApiKey::ElectLeaders,
    ApiKey::AlterPartitionReassignments,
    ApiKey::OffsetCommit,
    ApiKey::TxnOffsetCommit,
    ApiKey::UpdateFeatures,
];

fn header(key: i16, version: i16, header_version: i16) -> BytesMut {
    let mut header = BytesMut::new();
    header.put_i16(key);
    header.put_i16(version);
    header.put_i32(7);
    if header_version >= 1 {
        header.put_i16(1);
        header.put_slice(b"c");
    }
    if header_version >= 2 {
        header.put_u8(0);
    }
    header
}

/// Spoils a request in one to three places; key, version and the length prefix stay.
fn damage(frame: &BytesMut, dice: &mut Dice) -> BytesMut {
    let mut damaged = frame.clone();
    for _ in 0..=dice.below(3) {
        let at = 4 + dice.below(damaged.len().saturating_sub(4));
        match dice.below(9) {
            0 if at < damaged.len() => damaged[at] ^= 1 << dice.below(8),
            1 if at < damaged.len() => damaged[at] = *dice.pick(&[0, 1, 0x7f, 0x80, 0xff]),
            2 => damaged.truncate(at),
            3 => damaged.put_bytes(*dice.pick(&[0, 0xff, 1]), 1 + dice.below(40)),
            4 if at + 4 <= damaged.len() => {
                let number = *dice.pick(&[-1, i32::MAX, i32::MIN, 0x00ff_ffff, 65_536, -2]);
                damaged[at..at + 4].copy_from_slice(&number.to_be_bytes());
            }
            5 if at + 8 <= damaged.len() => {
                let number = *dice.pick(&[-1, i64::MAX, i64::MIN, 1 << 40]);
                damaged[at..at + 8].copy_from_slice(&number.to_be_bytes());
            }
            6 => {
                // A piece comes twice.
                let piece = damaged.split_off(at.min(damaged.len()));
                let twice = piece.len().min(1 + dice.below(30));
                damaged.extend_from_slice(&piece[..twice]);
                damaged.extend_from_slice(&piece);
            }
            7 => {
                // A piece is missing.
                let mut rest = damaged.split_off(at.min(damaged.len()));
                let gone = rest.len().min(1 + dice.below(12));
                damaged.extend_from_slice(&rest.split_off(gone));
            }
            _ => {
                let rest = damaged.split_off(at.min(damaged.len()));
                damaged.put_slice(&[0xff, 0xff, 0xff, 0xff, 0x07]);
                damaged.extend_from_slice(&rest);
            }
        }
    }
    damaged
}

/// Sends each on a connection of its own. Who may not wait must be answered or closed.
#[track_caller]
fn send_all(broker: &Broker, requests: &[(String, ApiKey, Bytes)]) {
    for chunk in requests.chunks(CHUNK) {
        let mut open = Vec::new();
        for (name, key, request) in chunk {
            let mut stream = TcpStream::connect(("127.0.0.1", broker.port))
                .unwrap_or_else(|e| panic!("before {name}: {e}\n{}", broker.log()));
            stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
            // The broker may close before it has read everything.
            let _ = stream.write_all(request);
            let _ = stream.shutdown(Shutdown::Write);
            open.push((name, key, stream));
        }
        for (name, key, mut stream) in open {
            if PATIENT.contains(key) {
                continue;
            }
            match stream.read(&mut [0; 4]) {
                Ok(_) => {}
                Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => {}
                Err(e) => panic!("{name}: neither answered nor closed: {e}\n{}", broker.log()),
            }
        }
        nothing_broke(broker, &chunk[0].0);
    }
}

#[track_caller]
fn nothing_broke(broker: &Broker, near: &str) {
    assert_eq!(broker.sudden_end(), None, "near {near}");
    if kind() == Kind::Apache {
        return;
    }
    let log = broker.whole_log();
    let panic = log.lines().position(|line| line.contains("panicked"));
    if let Some(at) = panic {
        let lines: Vec<&str> = log.lines().skip(at).take(6).collect();
        panic!("near {near}: {}", lines.join("\n"));
    }
    let resident = broker.resident_bytes();
    assert!(resident < RESIDENT_BYTES_MAX, "near {near}: {} MiB are resident", resident >> 20);
}

/// Valid and damaged requests of every advertised version of the APIs that are `wanted`.
fn requests(broker: &Broker, wanted: impl Fn(ApiKey) -> bool) -> Vec<(String, ApiKey, Bytes)> {
    let seed = std::env::var("ODRADEK_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(2026);
    let soak = if std::env::var_os("ODRADEK_SOAK").is_some() { 50 } else { 1 };
    let schemas = Schemas::load();
    let records = Batch::of(&["one", "two"]).encode();
    let words = Words { topic: "mutated", records: &records };
    let mut dice = Dice::new(seed);
    let mut requests = Vec::new();
    for api in broker.connect().request(0, &ApiVersionsRequest::default()).api_keys {
        let key = ApiKey::try_from(api.api_key).expect("an API of Kafka 3.9");
        if !wanted(key) {
            continue;
        }
        for version in api.min_version..=api.max_version {
            let mut make = |number: usize, damaged: bool| {
                let body = schemas.body(api.api_key, version, &words, &mut dice).expect("a schema");
                let mut frame = header(api.api_key, version, key.request_header_version(version));
                frame.extend_from_slice(&body);
                let frame = if damaged { damage(&frame, &mut dice) } else { frame };
                requests.push((format!("seed {seed}: {key:?} v{version} #{number}"), key, framed(&frame)));
            };
            for number in 0..3 {
                make(number, false);
            }
            for number in 0..DAMAGED * soak {
                make(number, true);
            }
        }
    }
    assert!(requests.len() > 50, "{}", requests.len());
    requests
}

#[test]
fn damaged_requests_of_clients_break_nothing() {
    let broker = Broker::start_with(kind(), &[("socket.listen.backlog.size", "4096")]);
    create_topic(&mut broker.connect(), "mutated", 1, 1, &[]);
    create_topic(&mut broker.connect(), "bystander", 1, 1, &[]);
    send_all(&broker, &requests(&broker, |key| !BETWEEN_BROKERS.contains(&key)));
    let mut decent = broker.connect();
    decent.patience(Duration::from_secs(60));
    assert_eq!(produced(&mut decent, "bystander", &Batch::of(&["still here"]).encode()), 0);
    nothing_broke(&broker, "the end");
}

#[test]
fn damaged_requests_between_brokers_break_nothing() {
    let broker = Broker::start_with(kind(), &[("socket.listen.backlog.size", "4096")]);
    create_topic(&mut broker.connect(), "mutated", 1, 1, &[]);
    send_all(&broker, &requests(&broker, |key| BETWEEN_BROKERS.contains(&key)));
    // Whatever it was told of the cluster: it is there and answers.
    broker.connect().request(0, &ApiVersionsRequest::default());
    nothing_broke(&broker, "the end");
}
