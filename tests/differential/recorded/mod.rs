//! What a cluster of three of Apache's brokers answered once to each of 278 questions, asked again.
//!
//! `answers.tsv` was written down from Apache Kafka 3.9.1: request, version, condition, codes and messages. Every row is
//! asked here, or stands in `NOT_ASKED` with the reason. The brokers are 0, 1 and 2; topic `pt` is on 1, its leader,
//! and 2.

mod cluster;
mod groups;
mod records;
mod security;
mod topics;
mod transactions;

use std::collections::BTreeMap;
use std::time::Duration;

use kafka_protocol::messages::{ApiKey, FindCoordinatorRequest, RequestHeader};
use kafka_protocol::protocol::{Encodable, Request};
use tempfile::TempDir;

use crate::asking::text;
use crate::support::ensemble::Server;
use crate::support::ports::free_port;
use crate::support::requests::metadata;
use crate::support::seat::{Broker, Kind};
use crate::support::until;
use crate::support::wire::{Connection, framed};

const ANSWERS: &str = include_str!("answers.tsv");

/// How long an answer that never comes is waited for.
const SILENCE: Duration = Duration::from_secs(3);

/// Rows by request and condition, and why they are not asked.
const NOT_ASKED: &[(&str, &str, &str)] = &[(
    "EndTxn",
    "commit again after the commit (answer may be 51 while completing)",
    "51 while the markers are written and 0 afterwards: either is right, and looked at where it is waited for",
)];

/// Rows that are answered otherwise, and why.
const OTHERWISE: &[(&str, &str, &str)] =
    &[("Produce", "null records", "a Java exception there, after which nobody answers; here an error")];

/// Request, version and condition: what a row is found by.
type Row = (String, String, String);

/// Three brokers and their ZooKeeper.
struct Stage {
    brokers: Vec<Broker>,
    controller: i32,
    // After `brokers`: dropped last.
    #[expect(dead_code, reason = "held, so that it runs")]
    zookeeper: (Server, TempDir),
}

impl Stage {
    #[track_caller]
    fn start(kind: Kind) -> Stage {
        let folder = tempfile::tempdir().expect("a folder");
        let port = free_port();
        let server = Server::standalone(folder.path(), port, "", "");
        let connect = format!("127.0.0.1:{port}");
        let mut brokers: Vec<Broker> = (0..3).map(|id| Broker::join(kind, id, &connect, &[])).collect();
        brokers.iter_mut().for_each(Broker::wait_until_it_answers);
        let mut controller = -1;
        until("every broker to know every broker", || {
            brokers.iter().all(|broker| {
                let answer = metadata(&mut broker.connect(), "nothing").expect("metadata");
                controller = answer.controller_id.0;
                answer.brokers.len() == 3 && controller >= 0
            })
        });
        Stage { brokers, controller, zookeeper: (server, folder) }
    }
}

/// Asks the three of them, and keeps what was answered to which row.
struct Asker<'a> {
    stage: &'a Stage,
    /// The broker that is asked.
    at: i32,
    connections: BTreeMap<i32, Connection>,
    answers: BTreeMap<Row, String>,
}

impl<'a> Asker<'a> {
    fn of(stage: &'a Stage) -> Asker<'a> {
        Asker { stage, at: 1, connections: BTreeMap::new(), answers: BTreeMap::new() }
    }

    fn connection(&mut self) -> &mut Connection {
        let broker = &self.stage.brokers[usize::try_from(self.at).expect("a broker")];
        self.connections.entry(self.at).or_insert_with(|| broker.connect())
    }

    fn controller(&mut self) -> &mut Self {
        self.at(self.stage.controller)
    }

    /// The next broker after the controller.
    fn not_the_controller(&mut self) -> &mut Self {
        self.at((self.stage.controller + 1) % 3)
    }

    fn at(&mut self, broker: i32) -> &mut Self {
        self.at = broker;
        self
    }

    fn keep(&mut self, request: &str, version: &str, condition: &str, answer: String) {
        let row = (request.to_owned(), version.to_owned(), condition.to_owned());
        assert!(self.answers.insert(row.clone(), answer).is_none(), "{row:?} was asked before");
    }

    fn ask<R: Request>(&mut self, version: i16, condition: &str, request: &R) -> Option<R::Response>
    where
        R::Response: std::fmt::Debug,
    {
        let answer = self.connection().try_request(version, request);
        let shown = match &answer {
            Ok(answer) => format!("{answer:?}"),
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => "connection closed".to_owned(),
            Err(e) => format!("no answer: {e}"),
        };
        if answer.is_err() {
            self.connections.remove(&self.at);
        }
        let name = format!("{:?}", ApiKey::try_from(R::KEY).expect("a known key"));
        self.keep(&name, &version.to_string(), condition, shown);
        answer.ok()
    }

    /// Asks without keeping the answer: to prepare the next question.
    #[track_caller]
    fn prepare<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        self.connection().request(version, request)
    }

    /// Asks what is never answered.
    fn ask_in_vain<R: Request>(&mut self, version: i16, condition: &str, request: &R) {
        let broker = &self.stage.brokers[usize::try_from(self.at).expect("a broker")];
        let mut connection = Connection::try_open_within(broker.port, SILENCE).expect("connected");
        let answer = match connection.try_request(version, request) {
            Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                "no answer".to_owned()
            }
            Err(e) => format!("{e}"),
            Ok(_) => "an answer".to_owned(),
        };
        let name = format!("{:?}", ApiKey::try_from(R::KEY).expect("a known key"));
        self.keep(&name, &version.to_string(), condition, answer);
    }

    /// Sends bytes on a connection of their own.
    fn send(&mut self, request: &str, version: &str, condition: &str, bytes: &[u8]) {
        let broker = &self.stage.brokers[usize::try_from(self.at).expect("a broker")];
        let mut connection = broker.connect();
        connection.write_raw(bytes).expect("sent");
        let answer = match connection.read_frame() {
            Ok(None) => "connection closed".to_owned(),
            other => format!("{other:?}"),
        };
        self.keep(request, version, condition, answer);
    }

    /// Who coordinates the group (kind 0) or the transactional id (kind 1), once it is loaded.
    #[track_caller]
    fn coordinator(&mut self, key: &str, kind: i8) -> i32 {
        let request = FindCoordinatorRequest::default().with_key(text(key)).with_key_type(kind);
        let mut found = -1;
        until("a coordinator", || {
            let answer = self.prepare(3, &request);
            found = answer.node_id.0;
            answer.error_code == 0
        });
        found
    }

    #[track_caller]
    fn wait_for_topic(&mut self, name: &str) {
        for broker in 0..3 {
            self.at(broker);
            until(&format!("{name} at broker {broker}"), || {
                let answer = metadata(self.connection(), name).expect("metadata");
                answer.topics.iter().all(|topic| {
                    topic.error_code == 0
                        && !topic.partitions.is_empty()
                        && topic.partitions.iter().all(|partition| partition.error_code == 0)
                })
            });
        }
    }
}

/// A frame of the API and version with nothing in it.
fn bare_frame(key: i16, version: i16) -> Vec<u8> {
    let header = RequestHeader::default().with_request_api_key(key).with_request_api_version(version);
    let mut body = bytes::BytesMut::new();
    header.encode(&mut body, 1).expect("a header encodes");
    framed(&body).to_vec()
}

fn frames(asker: &mut Asker) {
    let unknown = "API key or version the broker does not serve";
    for (key, version) in [(3, 99), (200, 0), (0, 99), (55, 0), (76, 0), (52, 0)] {
        asker.send(&format!("(key {key})"), &version.to_string(), unknown, &bare_frame(key, version));
    }
    let above = "length prefix above socket.request.max.bytes (104857600)";
    asker.send("(frame)", "", above, &104_857_601_i32.to_be_bytes());
    asker.send("(frame)", "", "negative length prefix", &(-1_i32).to_be_bytes());
}

/// All codes that are no success, sorted.
fn codes(answer: &str) -> Vec<i16> {
    let mut codes = Vec::new();
    for (at, name) in answer.match_indices("error_code: ") {
        // Says whether the configs are told, and is never anything else where the topic was made.
        if answer[..at].ends_with("topic_config_") {
            continue;
        }
        let rest = &answer[at + name.len()..];
        let end = rest.find(|c: char| c != '-' && !c.is_ascii_digit()).unwrap_or(rest.len());
        codes.push(rest[..end].parse().expect("a code"));
    }
    codes.retain(|code| *code != 0);
    codes.sort_unstable();
    codes
}

/// The same of a row: `0 NONE x2`, or `0 NONE, 3 UNKNOWN_TOPIC_OR_PARTITION`.
fn recorded_codes(answer: &str) -> Vec<i16> {
    let mut codes = Vec::new();
    for one in answer.split(", ") {
        let mut words = one.split(' ');
        let Some(code) = words.next().and_then(|word| word.parse::<i16>().ok()) else { continue };
        let times = words.next_back().and_then(|word| word.strip_prefix('x')).and_then(|n| n.parse().ok());
        codes.extend(std::iter::repeat_n(code, times.unwrap_or(1)));
    }
    codes.retain(|code| *code != 0);
    codes.sort_unstable();
    codes
}

/// Numbers of 13 digits and more are times, or made of them.
fn without_times(text: &str) -> String {
    let mut shown = String::new();
    let mut digits = String::new();
    for c in text.chars().chain(['\0']) {
        if c.is_ascii_digit() {
            digits.push(c);
            continue;
        }
        shown.push_str(if digits.len() >= 13 { "TIME" } else { &digits });
        digits.clear();
        shown.push(c);
    }
    shown
}

/// What is wrong with the answer to a row, if anything.
fn breach(recorded: &str, message: &str, answer: &str) -> Option<String> {
    let right = match recorded {
        "connection closed by the broker" => answer == "connection closed",
        "no answer in 12 s" => answer == "no answer",
        "(no error field set)" => codes(answer).is_empty() && !answer.starts_with("no answer"),
        _ => {
            answer != "connection closed"
                && !answer.starts_with("no answer")
                && codes(answer) == recorded_codes(recorded)
        }
    };
    let told = without_times(&answer.replace("\\\"", "\""));
    // Cut where a quote inside of it stood when it was written down.
    let parts = message.split(" / ").filter(|part| !part.is_empty());
    let missing: Vec<&str> =
        parts.filter(|part| !told.contains(without_times(part).trim_end_matches('\0'))).collect();
    if right && missing.is_empty() { None } else { Some(format!("recorded: {recorded} {message}")) }
}

/// Asks everything of a cluster of `kind` and compares.
#[track_caller]
pub(crate) fn same_answers_as_recorded(kind: Kind) {
    let stage = Stage::start(kind);
    let mut asker = Asker::of(&stage);
    frames(&mut asker);
    topics::ask(&mut asker);
    records::ask(&mut asker);
    groups::ask(&mut asker);
    transactions::ask(&mut asker);
    cluster::ask(&mut asker);
    security::ask(&mut asker);

    let mut breaches = Vec::new();
    let mut answers = asker.answers;
    for line in ANSWERS.lines().skip(1) {
        let mut fields = line.split('\t');
        let mut field = || fields.next().unwrap_or("").to_owned();
        let row = (field(), field(), field());
        let (recorded, message) = (field(), field());
        let listed = |list: &[(&str, &str, &str)]| {
            list.iter().any(|(request, condition, _)| *request == row.0 && *condition == row.2)
        };
        match answers.remove(&row) {
            None if listed(NOT_ASKED) => {}
            None => breaches.push(format!("{row:?} was not asked")),
            Some(_) if listed(NOT_ASKED) => breaches.push(format!("{row:?} is asked; take it off NOT_ASKED")),
            Some(answer) => match breach(&recorded, &message, &answer) {
                Some(breach) if !(listed(OTHERWISE) && kind == Kind::Ours) => {
                    breaches.push(format!("{row:?}\n    {breach}\n    answered: {answer}"));
                }
                None if listed(OTHERWISE) && kind == Kind::Ours => {
                    breaches.push(format!("{row:?} is answered as recorded; take it off OTHERWISE"));
                }
                _ => {}
            },
        }
    }
    breaches.extend(answers.keys().map(|row| format!("{row:?} is no row")));
    assert!(breaches.is_empty(), "{} breaches\n\n{}", breaches.len(), breaches.join("\n\n"));
}
