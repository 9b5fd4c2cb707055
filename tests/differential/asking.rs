//! One conversation with one broker, and what was answered.

use std::fmt;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    BrokerId, CreateTopicsRequest, DescribeConfigsRequest, GroupId, HeartbeatRequest, MetadataRequest,
    TopicName,
};
use kafka_protocol::protocol::{Request, StrBytes};

use crate::support::process::PATIENCE;
use crate::support::seat::Broker;
use crate::support::until;
use crate::support::wire::Connection;

pub(crate) const NOBODY: BrokerId = BrokerId(-1);
const ALREADY_EXISTS: i16 = 36;

pub(crate) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_string())
}

pub(crate) fn topic(name: &str) -> TopicName {
    TopicName(text(name))
}

pub(crate) fn group(name: &str) -> GroupId {
    GroupId(text(name))
}

pub(crate) fn new_topic(name: &str) -> CreatableTopic {
    CreatableTopic::default().with_name(topic(name)).with_num_partitions(1).with_replication_factor(1)
}

pub(crate) struct Conversation {
    pub(crate) broker: &'static Broker,
    connection: Connection,
    hidden: Vec<(String, String)>,
    /// Question and answer, in order.
    pub(crate) answers: Vec<(String, String)>,
}

impl Conversation {
    pub(crate) fn with(broker: &'static Broker) -> Conversation {
        let connection = broker.connect();
        let mut conversation = Conversation { broker, connection, hidden: Vec::new(), answers: Vec::new() };
        let folder = broker.log_dir().display().to_string();
        conversation.hide(&format!("port: {}", broker.port), "port: PORT");
        conversation.hide(&folder, "LOGDIR");
        let cluster = conversation.metadata(&[]).cluster_id.unwrap_or_default();
        conversation.hide(&cluster, "CLUSTER");
        conversation
    }

    /// Shows `name` instead of `value` in all answers from now on.
    pub(crate) fn hide(&mut self, value: &str, name: &str) {
        if !value.is_empty() {
            self.hidden.push((value.to_string(), name.to_string()));
        }
    }

    /// Asks, and keeps the whole answer; a closed connection is an answer too.
    pub(crate) fn ask<R: Request>(&mut self, question: &str, version: i16, request: &R) -> Option<R::Response>
    where
        R::Response: std::fmt::Debug,
    {
        self.ask_for(question, version, request, |response| format!("{response:?}"))
    }

    /// Asks, and keeps what `shown` picks of the answer.
    pub(crate) fn ask_for<R: Request>(
        &mut self,
        question: &str,
        version: i16,
        request: &R,
        shown: impl FnOnce(&R::Response) -> String,
    ) -> Option<R::Response> {
        let response = self.connection.try_request(version, request);
        let answer = match &response {
            Ok(response) => self.masked(&shown(response)),
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => "connection closed".to_string(),
            Err(e) => format!("no answer: {e}"),
        };
        self.answers.push((format!("{question} (v{version})"), answer));
        if response.is_err() {
            self.connection = self.broker.connect();
        }
        response.ok()
    }

    /// Asks without keeping the answer: to prepare the next question.
    #[track_caller]
    pub(crate) fn prepare<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        self.connection.request(version, request)
    }

    /// Goes on over a new connection, as the client of this id.
    #[track_caller]
    pub(crate) fn connect_as(&mut self, client_id: &'static str) {
        self.connection = self.broker.connect();
        self.connection.client_id = client_id;
    }

    /// What the broker says of one of its own configs.
    #[track_caller]
    pub(crate) fn broker_value(&mut self, key: &str) -> Option<String> {
        let resource = DescribeConfigsResource::default()
            .with_resource_type(4)
            .with_resource_name(text(&self.broker.id.to_string()))
            .with_configuration_keys(Some(vec![text(key)]));
        let answer = self.prepare(4, &DescribeConfigsRequest::default().with_resources(vec![resource]));
        answer.results.first()?.configs.first()?.value.as_ref().map(ToString::to_string)
    }

    /// Keeps something else that was seen.
    pub(crate) fn note(&mut self, question: &str, seen: impl Into<String>) {
        let seen = self.masked(&seen.into());
        self.answers.push((question.to_string(), seen));
    }

    #[track_caller]
    pub(crate) fn metadata(&mut self, topics: &[&str]) -> kafka_protocol::messages::MetadataResponse {
        let topics =
            topics.iter().map(|name| MetadataRequestTopic::default().with_name(Some(topic(name)))).collect();
        let request =
            MetadataRequest::default().with_topics(Some(topics)).with_allow_auto_topic_creation(false);
        self.prepare(12, &request)
    }

    /// Creates a topic of one partition and waits until it has a leader; its id is hidden as `ID-name`.
    #[track_caller]
    pub(crate) fn create(&mut self, name: &str, configs: &[(&str, &str)]) {
        self.create_wide(name, 1, configs);
    }

    #[track_caller]
    pub(crate) fn create_wide(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) {
        let configs = configs
            .iter()
            .map(|(key, value)| {
                CreatableTopicConfig::default().with_name(text(key)).with_value(Some(text(value)))
            })
            .collect();
        let creatable = new_topic(name).with_num_partitions(partitions).with_configs(configs);
        let request = CreateTopicsRequest::default().with_topics(vec![creatable]).with_timeout_ms(30_000);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.prepare(7, &request);
            // A topic of that name may still be on its way out.
            let is_there = answer.topics[0].error_code == ALREADY_EXISTS && Instant::now() < deadline;
            if !is_there {
                assert_eq!(answer.topics[0].error_code, 0, "{answer:?}");
                break;
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
        self.wait_for_leaders(name);
    }

    #[track_caller]
    pub(crate) fn wait_for_leaders(&mut self, name: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.metadata(&[name]);
            let known = &answer.topics[0];
            if known.error_code == 0 && known.partitions.iter().all(|partition| partition.error_code == 0) {
                let id = known.topic_id.to_string();
                self.hide(&id, &format!("ID-{name}"));
                return;
            }
            assert!(Instant::now() < deadline, "{name} found no leader: {answer:?}");
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// Everything that differs between two runs of the same broker, replaced by names.
    fn masked(&self, answer: &str) -> String {
        let mut masked = answer.to_string();
        for (value, name) in &self.hidden {
            masked = masked.replace(value.as_str(), name);
        }
        without_times(&masked)
    }
}

/// Waits until the coordinator has read all its groups: found is not yet loaded, and each partition of the offsets topic is
/// read by itself.
#[track_caller]
pub(crate) fn wait_until_groups_are_loaded(talk: &mut Conversation) {
    for name in IN_EVERY_PARTITION {
        let probe = HeartbeatRequest::default().with_group_id(group(name));
        until("the coordinator to have loaded its groups", || {
            ![14, 15, 16].contains(&talk.prepare(3, &probe).error_code)
        });
    }
}

/// Keys that lie in the five partitions that internal topics have here.
pub(crate) const IN_EVERY_PARTITION: [&str; 5] = ["a", "b", "c", "d", "e"];

/// What two brokers answered to one question.
pub(crate) struct Compared {
    pub(crate) question: String,
    apache: String,
    ours: String,
}

impl Compared {
    pub(crate) fn differs(&self) -> bool {
        self.apache != self.ours
    }
}

impl fmt::Display for Compared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n    Apache: {}\n    ours:   {}", self.question, self.apache, self.ours)
    }
}

/// Holds each of `talks` with both, at the same time.
#[track_caller]
pub(crate) fn answers_of_both(
    apache: &'static LazyLock<Broker>,
    ours: &'static LazyLock<Broker>,
    talks: &[fn(&mut Conversation)],
) -> Vec<Compared> {
    let hold = |broker: &'static Broker| {
        let mut answers = Vec::new();
        for talk in talks {
            let mut conversation = Conversation::with(broker);
            talk(&mut conversation);
            answers.append(&mut conversation.answers);
        }
        answers
    };
    let (apaches, ours) = std::thread::scope(|scope| {
        let apaches = scope.spawn(|| hold(apache));
        let ours = hold(ours);
        (apaches.join().expect("the conversation with Apache"), ours)
    });
    if std::env::var_os("ODRADEK_TRANSCRIPT").is_some() {
        for (question, answer) in &apaches {
            println!("{question}\n    {answer}");
        }
    }
    assert_eq!(apaches.len(), ours.len(), "the conversation took another turn");
    let pairs = apaches.into_iter().zip(ours).map(|((question, apache), (asked, ours))| {
        assert_eq!(question, asked, "the conversation took another turn");
        Compared { question, apache, ours }
    });
    pairs.collect()
}

/// Fails with all of `breaches`, of so many answers.
#[track_caller]
pub(crate) fn assert_none(breaches: impl Iterator<Item = String>, answers: usize) {
    let breaches: Vec<String> = breaches.collect();
    assert!(
        breaches.is_empty(),
        "{} of {answers} answers differ\n\n{}",
        breaches.len(),
        breaches.join("\n\n")
    );
}

/// Replaces numbers of 13 digits, milliseconds since 1970, by `TIME`.
fn without_times(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut digits = String::new();
    for c in text.chars().chain(['\0']) {
        if c.is_ascii_digit() {
            digits.push(c);
            continue;
        }
        if digits.len() == 13 {
            shown.push_str("TIME");
        } else {
            shown.push_str(&digits);
        }
        digits.clear();
        shown.push(c);
    }
    shown.pop();
    shown
}

/// One line an entry, in a fixed order: for answers whose order comes from a hash map.
pub(crate) fn sorted(lines: impl IntoIterator<Item = String>) -> String {
    let mut lines: Vec<String> = lines.into_iter().collect();
    lines.sort();
    lines.join("\n            ")
}

/// Record bytes without what the broker stamps: shown as base offset, magic, last offset delta and count.
pub(crate) fn batches(records: &Option<Bytes>) -> String {
    let Some(records) = records else { return "null".to_string() };
    let mut rest = &records[..];
    let mut shown = Vec::new();
    while rest.len() >= 61 && rest[16] == 2 {
        let number =
            |range: std::ops::Range<usize>| i32::from_be_bytes(rest[range].try_into().expect("4 bytes"));
        let base = i64::from_be_bytes(rest[..8].try_into().expect("8 bytes"));
        let length = 12 + usize::try_from(number(8..12)).expect("a length");
        shown.push(format!(
            "{base}+{} epoch {} attributes {} count {}{}",
            number(23..27),
            number(12..16),
            rest[22],
            number(57..61),
            if rest.len() < length { " (cut)" } else { "" }
        ));
        rest = rest.get(length..).unwrap_or_default();
    }
    if !rest.is_empty() {
        shown.push(format!("{} bytes of something else", rest.len()));
    }
    format!("[{}]", shown.join(", "))
}
