//! DescribeConfigs key by key, and the two ways to alter.

use std::time::{Duration, Instant};

use kafka_protocol::messages::alter_configs_request::{
    AlterConfigsResource as ReplacedResource, AlterableConfig as ReplacedConfig,
};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::{AlterConfigsRequest, DescribeConfigsRequest, IncrementalAlterConfigsRequest};

use crate::asking::{Conversation, text};
use crate::support::process::PATIENCE;

/// Keys of the broker that Apache does not have: they are ours, for a broker without a ZooKeeper at hand.
const OUR_KEYS: &[&str] = &["zookeeper.embedded.data.dir", "zookeeper.embedded.port"];

pub(crate) const TOPIC: i8 = 2;
pub(crate) const BROKER: i8 = 4;

/// Source of a value that is not set anywhere.
const DEFAULT: i8 = 5;

pub(crate) fn describing(kind: i8, name: &str) -> DescribeConfigsRequest {
    let resource = DescribeConfigsResource::default().with_resource_type(kind).with_resource_name(text(name));
    DescribeConfigsRequest::default().with_resources(vec![resource.with_configuration_keys(None)])
}

/// Asks for all keys of a resource and keeps each as an answer of its own.
fn describe(talk: &mut Conversation, question: &str, version: i16, request: &DescribeConfigsRequest) {
    let answer = talk.ask_for(question, version, request, |answer| {
        let results = answer.results.iter().map(|result| {
            format!("error {} {:?} {:?}", result.error_code, result.error_message, result.resource_name)
        });
        results.collect::<Vec<_>>().join(" ")
    });
    for result in answer.into_iter().flat_map(|answer| answer.results) {
        let mut keys: Vec<(String, String)> =
            result.configs.iter().map(|config| (config.name.to_string(), format!("{config:?}"))).collect();
        keys.sort();
        let names = keys.iter().map(|(name, _)| name.as_str());
        let names: Vec<&str> = names.filter(|name| !OUR_KEYS.contains(name)).collect();
        talk.note(&format!("{question}: the keys (v{version})"), names.join(" "));
        // One note for all, so that a missing key does not shift the rest.
        for name in KEYS_SHOWN.iter().filter(|_| result.resource_type == BROKER) {
            let known = keys.iter().find(|(key, _)| key == name).map_or("absent", |(_, shown)| shown);
            talk.note(&format!("{question}: {name} (v{version})"), known);
        }
        if result.resource_type == TOPIC {
            for (name, shown) in &keys {
                talk.note(&format!("{question}: {name} (v{version})"), shown.as_str());
            }
        }
    }
}

/// Keys of the broker compared with value, source, type and synonyms; the others differ by machine and ports.
const KEYS_SHOWN: &[&str] = &[
    "advertised.listeners",
    "auto.create.topics.enable",
    "auto.leader.rebalance.enable",
    "background.threads",
    "broker.id",
    "compression.type",
    "connections.max.idle.ms",
    "controlled.shutdown.enable",
    "default.replication.factor",
    "delete.topic.enable",
    "fetch.max.bytes",
    "group.initial.rebalance.delay.ms",
    "group.max.session.timeout.ms",
    "group.min.session.timeout.ms",
    "inter.broker.protocol.version",
    "leader.imbalance.check.interval.seconds",
    "listener.security.protocol.map",
    "log.cleaner.enable",
    "log.cleanup.policy",
    "log.flush.interval.messages",
    "log.index.interval.bytes",
    "log.message.format.version",
    "log.message.timestamp.type",
    "log.retention.bytes",
    "log.retention.check.interval.ms",
    "log.retention.hours",
    "log.retention.minutes",
    "log.retention.ms",
    "log.roll.hours",
    "log.roll.ms",
    "log.segment.bytes",
    "max.connections",
    "max.connections.per.ip",
    "message.max.bytes",
    "metric.reporters",
    "min.insync.replicas",
    "num.io.threads",
    "num.network.threads",
    "num.partitions",
    "offsets.retention.minutes",
    "offsets.topic.num.partitions",
    "offsets.topic.replication.factor",
    "password.encoder.secret",
    "queued.max.requests",
    "replica.lag.time.max.ms",
    "request.timeout.ms",
    "sasl.jaas.config",
    "socket.request.max.bytes",
    "ssl.keystore.password",
    "ssl.protocol",
    "unclean.leader.election.enable",
    "zookeeper.session.timeout.ms",
];

pub(crate) fn of_topics(talk: &mut Conversation) {
    talk.create("described", &[("retention.ms", "1000000"), ("cleanup.policy", "compact,delete")]);
    for version in 0..=4 {
        let synonyms = version > 0;
        let request = describing(TOPIC, "described").with_include_synonyms(synonyms);
        describe(talk, "a topic", version, &request);
    }
    let mut two = describing(TOPIC, "described");
    two.resources[0].configuration_keys =
        Some(vec![text("retention.ms"), text("no.such"), text("segment.bytes")]);
    describe(talk, "two known keys and an unknown one", 4, &two);
    two.resources[0].configuration_keys = Some(vec![]);
    describe(talk, "no keys", 4, &two);
    describe(talk, "an unknown topic", 4, &describing(TOPIC, "nosuch"));
    describe(talk, "an invalid name", 4, &describing(TOPIC, "a b"));
    describe(talk, "an empty name", 4, &describing(TOPIC, ""));
}

pub(crate) fn of_the_broker(talk: &mut Conversation) {
    for version in [0, 1, 4] {
        let request = describing(BROKER, "0").with_include_synonyms(version > 0);
        describe(talk, "this broker", version, &request);
    }
    describe(talk, "all brokers", 4, &describing(BROKER, ""));
    talk.ask("another broker", 4, &describing(BROKER, "2"));
    talk.ask("a broker that is no number", 4, &describing(BROKER, "abc"));
    talk.ask("kind ANY", 4, &describing(1, "x"));
    talk.ask("kind UNKNOWN", 4, &describing(0, "x"));
    talk.ask("kind 77", 4, &describing(77, "x"));
    talk.ask("client metrics", 4, &describing(16, "x"));
}

/// Key, operation (0 set, 1 delete, 2 append, 3 subtract) and value.
pub(crate) type Wish<'a> = (&'a str, i8, Option<&'a str>);

pub(crate) fn altering(kind: i8, name: &str, configs: &[Wish]) -> IncrementalAlterConfigsRequest {
    let configs = configs.iter().map(|(key, operation, value)| {
        AlterableConfig::default()
            .with_name(text(key))
            .with_config_operation(*operation)
            .with_value(value.map(text))
    });
    let resource = AlterConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configs(configs.collect());
    IncrementalAlterConfigsRequest::default().with_resources(vec![resource])
}

pub(crate) fn altered(talk: &mut Conversation) {
    talk.create("altered", &[]);
    let cases: &[(&str, i8, &str, &[Wish])] = &[
        ("set", TOPIC, "altered", &[("retention.ms", 0, Some("5000"))]),
        (
            "set several",
            TOPIC,
            "altered",
            &[("segment.bytes", 0, Some("100000")), ("min.insync.replicas", 0, Some("1"))],
        ),
        ("delete", TOPIC, "altered", &[("segment.bytes", 1, None)]),
        ("delete what is not set", TOPIC, "altered", &[("segment.bytes", 1, None)]),
        ("append to a list", TOPIC, "altered", &[("cleanup.policy", 2, Some("compact"))]),
        ("append what is there", TOPIC, "altered", &[("cleanup.policy", 2, Some("compact"))]),
        ("subtract from a list", TOPIC, "altered", &[("cleanup.policy", 3, Some("delete"))]),
        ("append to what is no list", TOPIC, "altered", &[("retention.ms", 2, Some("1"))]),
        ("subtract from what is no list", TOPIC, "altered", &[("retention.ms", 3, Some("1"))]),
        ("an unknown operation", TOPIC, "altered", &[("retention.ms", 9, Some("1"))]),
        ("an unknown key", TOPIC, "altered", &[("no.such", 0, Some("1"))]),
        ("set to null", TOPIC, "altered", &[("retention.ms", 0, None)]),
        (
            "the same key twice",
            TOPIC,
            "altered",
            &[("retention.ms", 0, Some("1")), ("retention.ms", 0, Some("2"))],
        ),
        ("no configs", TOPIC, "altered", &[]),
        ("an unknown topic", TOPIC, "nosuch", &[("retention.ms", 0, Some("1"))]),
        ("an invalid name", TOPIC, "no such", &[("retention.ms", 0, Some("1"))]),
        ("an empty name", TOPIC, "", &[("retention.ms", 0, Some("1"))]),
        ("a read-only key of a broker", BROKER, "0", &[("broker.id", 0, Some("7"))]),
        ("an unknown key of a broker", BROKER, "0", &[("no.such", 0, Some("7"))]),
        ("a bad value on a broker", BROKER, "0", &[("log.cleaner.threads", 0, Some("abc"))]),
        ("a per-broker key on all brokers", BROKER, "", &[("listeners", 0, Some("PLAINTEXT://:1"))]),
        ("another broker", BROKER, "2", &[("log.retention.ms", 0, Some("1"))]),
        ("a good key of a broker", BROKER, "0", &[("log.retention.ms", 0, Some("777777"))]),
        ("a good key of all brokers", BROKER, "", &[("message.max.bytes", 0, Some("1048577"))]),
        ("client metrics", 16, "x", &[("metrics", 0, Some("1"))]),
    ];
    for version in 0..=1 {
        for (question, kind, name, configs) in cases {
            talk.ask(question, version, &altering(*kind, name, configs));
        }
        let validated =
            altering(TOPIC, "altered", &[("retention.ms", 0, Some("9999"))]).with_validate_only(true);
        talk.ask("only validated", version, &validated);
    }
    wait_for_value(talk, "log.retention.ms", Some("777777"));
    wait_for_value(talk, "message.max.bytes", Some("1048577"));
    // Only that it is refused, and how: the message prints the request as Java objects.
    for value in ["abc", "-7"] {
        let request = altering(TOPIC, "altered", &[("retention.ms", 0, Some(value))]);
        talk.ask_for(&format!("retention.ms={value}"), 1, &request, |answer| {
            format!("error {}", answer.responses[0].error_code)
        });
    }
    describe(talk, "the altered topic", 4, &describing(TOPIC, "altered").with_include_synonyms(true));
    for (name, key) in [("0", "log.retention.ms"), ("", "message.max.bytes")] {
        talk.prepare(1, &altering(BROKER, name, &[(key, 1, None)]));
        wait_for_value(talk, key, None);
    }
}

/// A broker hears of its own changes from ZooKeeper, a moment after it has answered. `None`: nothing is set any more.
#[track_caller]
fn wait_for_value(talk: &mut Conversation, key: &str, value: Option<&str>) {
    let mut request = describing(BROKER, "0");
    request.resources[0].configuration_keys = Some(vec![text(key)]);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = talk.prepare(4, &request);
        let config = &answer.results[0].configs[0];
        let set = if config.config_source == DEFAULT { None } else { config.value.as_deref() };
        if set == value {
            return;
        }
        assert!(Instant::now() < deadline, "{key} did not become {value:?}: {config:?}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

pub(crate) fn replaced(talk: &mut Conversation) {
    talk.create("replaced", &[("retention.ms", "1000")]);
    let replacing = |kind: i8, name: &str, configs: &[(&str, Option<&str>)]| {
        let configs = configs
            .iter()
            .map(|(key, value)| ReplacedConfig::default().with_name(text(key)).with_value(value.map(text)));
        let resource = ReplacedResource::default()
            .with_resource_type(kind)
            .with_resource_name(text(name))
            .with_configs(configs.collect());
        AlterConfigsRequest::default().with_resources(vec![resource])
    };
    for version in 0..=2 {
        talk.ask(
            "all configs replaced",
            version,
            &replacing(TOPIC, "replaced", &[("segment.bytes", Some("100000"))]),
        );
        talk.ask("an unknown key", version, &replacing(TOPIC, "replaced", &[("no.such", Some("1"))]));
        talk.ask("a null value", version, &replacing(TOPIC, "replaced", &[("retention.ms", None)]));
        talk.ask("an unknown topic", version, &replacing(TOPIC, "nosuch", &[("retention.ms", Some("1"))]));
        talk.ask(
            "a read-only key of a broker",
            version,
            &replacing(BROKER, "0", &[("broker.id", Some("7"))]),
        );
    }
    describe(talk, "the replaced topic", 4, &describing(TOPIC, "replaced"));
}
