//! Requests of every API in every version, made from Kafka's own schemas and then damaged: whatever arrives, nothing panics,
//! memory stays bounded, and others are served.
//!
//! `ODRADEK_SEED` chooses other damage than usual; `ODRADEK_SOAK=1` does it fifty times as often.

mod support;

use std::io::{ErrorKind, Read, Write};
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

const CORRELATION_ID: i32 = 7;

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

/// A request made by chance may mean nothing, and then its connection is closed: access control lists about an unknown kind of
/// thing. An Envelope never means anything here.
const PERHAPS_NONSENSE: &[ApiKey] =
    &[ApiKey::DescribeAcls, ApiKey::CreateAcls, ApiKey::DeleteAcls, ApiKey::Envelope];

/// Whether nobody waits for the answer. Apache's broker never answers who asks for the offsets of no group, or about no
/// transaction.
fn may_be_silent(key: ApiKey) -> bool {
    let silent_there = [ApiKey::OffsetFetch, ApiKey::AddPartitionsToTxn].contains(&key);
    PATIENT.contains(&key) || kind() == Kind::Apache && silent_there
}

/// Whether a whole request may be refused by a close. Apache's broker does not go on past a security protocol that it does not
/// know, where its place in UpdateMetadata needs no such look.
fn may_be_nonsense(key: ApiKey) -> bool {
    PERHAPS_NONSENSE.contains(&key) || kind() == Kind::Apache && key == ApiKey::UpdateMetadata
}

fn header(key: i16, version: i16, header_version: i16) -> BytesMut {
    let mut header = BytesMut::new();
    header.put_i16(key);
    header.put_i16(version);
    header.put_i32(CORRELATION_ID);
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

/// A request, ready to be sent.
struct Ready {
    /// To find it again.
    name: String,
    key: ApiKey,
    is_damaged: bool,
    frame: Bytes,
}

/// Sends each on a connection of its own. Who may not wait must be answered; where it is damaged, the connection may be
/// closed instead.
#[track_caller]
fn send_all(broker: &Broker, requests: &[Ready]) {
    let mut unanswered = Vec::new();
    for chunk in requests.chunks(CHUNK) {
        let mut open = Vec::new();
        for request in chunk {
            let name = &request.name;
            let mut stream = TcpStream::connect(("127.0.0.1", broker.port))
                .unwrap_or_else(|e| panic!("before {name}: {e}\n{}", broker.log()));
            stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
            // The broker may close before it has read everything.
            let _ = stream.write_all(&request.frame);
            let _ = stream.shutdown(Shutdown::Write);
            open.push((request, stream));
        }
        for (Ready { name, key, is_damaged, .. }, mut stream) in open {
            if may_be_silent(*key) {
                continue;
            }
            let mut start = [0; 8];
            match stream.read_exact(&mut start) {
                Ok(()) if *is_damaged => {}
                Ok(()) => assert_eq!(start[4..], CORRELATION_ID.to_be_bytes(), "{name}: not its answer"),
                Err(e) if is_closed(&e) => {
                    if !is_damaged && !may_be_nonsense(*key) {
                        unanswered.push(name);
                    }
                }
                Err(e) => panic!("{name}: not answered: {e}\n{}", broker.log()),
            }
        }
        nothing_broke(broker, &chunk[0].name);
    }
    assert!(unanswered.is_empty(), "closed instead of answered: {unanswered:#?}");
}

fn is_closed(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof)
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
fn requests(broker: &Broker, wanted: impl Fn(ApiKey) -> bool) -> Vec<Ready> {
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
            let mut make = |number: usize, is_damaged: bool| {
                let body = schemas.body(api.api_key, version, &words, &mut dice).expect("a schema");
                let mut frame = header(api.api_key, version, key.request_header_version(version));
                frame.extend_from_slice(&body);
                let frame = if is_damaged { damage(&frame, &mut dice) } else { frame };
                let kind = if is_damaged { "damaged" } else { "whole" };
                let name = format!("seed {seed}: {key:?} v{version}, {kind}, number {number}");
                requests.push(Ready { name, key, is_damaged, frame: framed(&frame) });
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
