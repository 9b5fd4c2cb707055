//! What no single row can tell: keys that contradict each other, and keys this broker cannot do justice to.
//!
//! Sentences about Kafka's own rules are Kafka's, word for word; all broken rules are told at once, not only the first.

use std::collections::BTreeMap;

use super::Network;
use super::dynamic::dynamic_only;
use super::findings::{Refusal, Warning};
use super::key::{Key, Kind, Rule, Treatment, Visibility};
use super::layers::listener_key;
use super::listeners::{Listener, SecurityProtocol, is_host};
use super::settings::Settings;
use super::table;
use super::value::{Password, Value};
use super::version::KafkaVersion;

/// Values that Kafka takes and this broker does not.
pub(super) fn unsupported(settings: &Settings) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    for key in table::all().filter(|key| settings.is_given(key.name)) {
        let (others, why) = match key.treatment {
            Treatment::Honoured | Treatment::NoEffect(_) => continue,
            Treatment::OnlyDefault(why) => (&[] as &[&str], why),
            Treatment::Only(others, why) => (others, why),
        };
        let value = settings.value(key.name);
        let allowed = |other: &&str| key.parse(other).is_ok_and(|other| same(key, &other, value));
        if !means_default(key, value) && !others.iter().any(allowed) {
            refusals.push(unsupported_value(key, value, why));
        }
    }
    refusals.extend(settings.given().iter().filter_map(|(name, text)| unsupported_for_listener(name, text)));
    if settings.given().contains_key("config.providers") {
        refusals.push(Refusal::Unsupported {
            key: "config.providers".to_owned(),
            value: settings.given()["config.providers"].clone(),
            why: "Java classes cannot be loaded".to_owned(),
            allowed: "leave it out and write the values into the file".to_owned(),
        });
    }
    refusals
}

/// Every step of a release is as good as the release.
fn same(key: &Key, one: &Value, other: &Value) -> bool {
    match (key.rule, one, other) {
        (Rule::KafkaVersion, Value::Text(one), Value::Text(other)) => {
            let versions = KafkaVersion::parse(one).zip(KafkaVersion::parse(other));
            versions.is_some_and(|(one, other)| one.is_of_release(other))
        }
        _ => one == other,
    }
}

/// An empty list or text is as good as none.
fn means_default(key: &Key, value: &Value) -> bool {
    let default = key.default_value();
    let empty = match value {
        Value::Text(text) => text.is_empty(),
        Value::List(items) => items.is_empty(),
        _ => false,
    };
    *value == default || (empty && default == Value::Null)
}

fn unsupported_value(key: &Key, value: &Value, why: &str) -> Refusal {
    let shown = match value {
        Value::Password(_) => value.to_string(),
        _ => value.to_config_string().unwrap_or_default(),
    };
    Refusal::Unsupported {
        key: key.name.to_owned(),
        value: shown,
        why: why.to_owned(),
        allowed: key.allowed(),
    }
}

/// Keys that Kafka lets an operator set for one listener without security being involved.
const PER_LISTENER: [&str; 3] = ["max.connections", "max.connection.creation.rate", "num.network.threads"];

/// `listener.name.NAME.KEY`, also with a SASL mechanism between; `None` where it is harmless or not Kafka's.
fn unsupported_for_listener(name: &str, text: &str) -> Option<Refusal> {
    let (_, base) = listener_key(name)?;
    if PER_LISTENER.contains(&base) {
        let invalid = table::find(base)?.parse(text).err()?;
        return Some(Refusal::Invalid(super::rule::Invalid { key: name.to_owned(), ..invalid }));
    }
    let key = table::find(base).or_else(|| table::find(base.split_once('.')?.1))?;
    let why = match key.treatment {
        Treatment::OnlyDefault(why) | Treatment::Only(_, why) => why,
        Treatment::Honoured | Treatment::NoEffect(_) => return None,
    };
    let value = match key.kind {
        Kind::Password => Password::HIDDEN.to_owned(),
        _ => text.to_owned(),
    };
    Some(Refusal::Unsupported {
        key: name.to_owned(),
        value,
        why: why.to_owned(),
        allowed: "leave it out".to_owned(),
    })
}

/// Keys that Kafka 3 took away, with what to write instead.
const REMOVED: [(&str, &str); 7] = [
    ("host.name", "it went in Kafka 3.0, use listeners"),
    ("port", "it went in Kafka 3.0, use listeners"),
    ("advertised.host.name", "it went in Kafka 3.0, use advertised.listeners"),
    ("advertised.port", "it went in Kafka 3.0, use advertised.listeners"),
    ("quota.producer.default", "it went in Kafka 3.0, use dynamic quotas"),
    ("quota.consumer.default", "it went in Kafka 3.0, use dynamic quotas"),
    ("zookeeper.sync.time.ms", "it went in Kafka 3.0, and nothing took its place"),
];

/// Where Kafka took a key away, what to write instead; else the key that was probably meant.
fn advice(name: &str) -> Option<String> {
    if let Some((_, advice)) = REMOVED.iter().find(|(removed, _)| *removed == name) {
        return Some((*advice).to_owned());
    }
    let close = |key: &Key| strsim::osa_distance(key.name, name);
    let nearest = table::all().min_by_key(|key| close(key)).filter(|key| close(key) <= 2)?;
    Some(format!("is {} meant?", nearest.name))
}

pub(super) fn warnings(settings: &Settings) -> Vec<Warning> {
    let mut without_effect: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
    let mut warnings = Vec::new();
    for name in settings.given().keys() {
        let base = listener_key(name).map_or(name.as_str(), |(_, base)| base);
        match table::find(base).or_else(|| dynamic_only(base)).map(|key| key.treatment) {
            Some(Treatment::NoEffect(why)) => without_effect.entry(why).or_default().push(name.clone()),
            Some(_) => {}
            None => {
                warnings.push(Warning::Unknown { key: name.clone(), advice: advice(name) });
            }
        }
    }
    warnings.extend(without_effect.into_iter().map(|(why, keys)| Warning::NoEffect { keys, why }));
    let ours = table::all().filter(|key| key.visibility == Visibility::Ours);
    if settings.text("zookeeper.connect").is_some() {
        let idle: Vec<&str> = ours.map(|key| key.name).filter(|name| settings.is_given(name)).collect();
        if !idle.is_empty() {
            warnings.push(Warning::Note(format!(
                "{} has no effect: zookeeper.connect names a ZooKeeper to use",
                idle.join(", ")
            )));
        }
    }
    if settings.is_given("offsets.commit.required.acks") {
        let note = "offsets.commit.required.acks is deprecated and it will be removed in Apache Kafka 4.0.";
        warnings.push(Warning::Note(note.to_owned()));
    }
    warnings
}

/// Rules about numbers, and about what belongs together.
pub(super) fn rules(settings: &Settings) -> Vec<Refusal> {
    let mut broken = Broken(Vec::new());
    identity(settings, &mut broken);
    logs(settings, &mut broken);
    replication(settings, &mut broken);
    groups(settings, &mut broken);
    connections(settings, &mut broken);
    broken.0.into_iter().map(Refusal::Rule).collect()
}

struct Broken(Vec<String>);

impl Broken {
    fn unless(&mut self, holds: bool, sentence: &str) {
        if !holds {
            self.0.push(sentence.to_owned());
        }
    }
}

fn identity(settings: &Settings, broken: &mut Broken) {
    let id = settings.int("broker.id");
    broken.unless(id == settings.int("node.id"), "You must set `node.id` to the same value as `broker.id`.");
    if settings.boolean("broker.id.generation.enable") {
        broken.unless(
            id >= -1 && id <= settings.int("reserved.broker.max.id"),
            "broker.id must be greater than or equal to -1 and not greater than reserved.broker.max.id",
        );
    } else {
        broken.unless(id >= 0, "broker.id must be greater than or equal to 0");
    }
}

fn logs(settings: &Settings, broken: &mut Broken) {
    let roll = settings.integer_or_null("log.roll.ms");
    broken.unless(roll.is_none_or(|ms| ms >= 1), "log.roll.ms must be greater than or equal to 1");
    let jitter = settings.integer_or_null("log.roll.jitter.ms");
    broken.unless(jitter.is_none_or(|ms| ms >= 0), "log.roll.jitter.ms must be greater than or equal to 0");
    let retention = super::retention_ms(settings);
    broken.unless(
        retention >= 1 || retention == -1,
        "log.retention.ms must be unlimited (-1) or, greater than or equal to 1",
    );
    let dirs = super::log_dirs(settings);
    broken.unless(!dirs.is_empty(), "At least one log directory must be defined via log.dirs or log.dir.");
    let again = dirs.iter().enumerate().find(|(at, dir)| dirs[..*at].contains(dir));
    if let Some((_, dir)) = again {
        broken
            .0
            .push(format!("Duplicate log directory found: {}; name each once in log.dirs", dir.display()));
    }
    // Kafka divides by zero where there are no cleaner threads, and stops with that.
    let threads = settings.long("log.cleaner.threads");
    let buffer = settings.long("log.cleaner.dedupe.buffer.size");
    broken.unless(
        threads > 0 && buffer / threads > 1024 * 1024,
        "log.cleaner.dedupe.buffer.size must be at least 1MB per cleaner thread.",
    );
    let min_lag = settings.long("log.cleaner.min.compaction.lag.ms");
    let max_lag = settings.long("log.cleaner.max.compaction.lag.ms");
    broken.unless(
        min_lag <= max_lag,
        &format!(
            "conflict topic config setting min.compaction.lag.ms ({min_lag}) > max.compaction.lag.ms ({max_lag})"
        ),
    );
}

fn replication(settings: &Settings, broken: &mut Broken) {
    let wait = settings.long("replica.fetch.wait.max.ms");
    broken.unless(
        wait <= settings.long("replica.socket.timeout.ms"),
        "replica.socket.timeout.ms should always be at least replica.fetch.wait.max.ms to prevent unnecessary \
         socket timeouts",
    );
    broken.unless(
        wait <= settings.long("replica.lag.time.max.ms"),
        "replica.fetch.wait.max.ms should always be less than or equal to replica.lag.time.max.ms to prevent \
         frequent changes in ISR",
    );
}

fn groups(settings: &Settings, broken: &mut Broken) {
    let acks = i32::from(settings.short("offsets.commit.required.acks"));
    let replicas = i32::from(settings.short("offsets.topic.replication.factor"));
    broken.unless(
        (-1..=replicas).contains(&acks),
        "offsets.commit.required.acks must be greater or equal to -1 and less or equal to \
         offsets.topic.replication.factor",
    );
    let codec = settings.int("offsets.topic.compression.codec");
    broken.unless((0..=4).contains(&codec), &format!("Unknown compression type id: {codec}"));
    for prefix in ["group.consumer", "group.share"] {
        for what in ["heartbeat.interval.ms", "session.timeout.ms"] {
            let (low, high) = (format!("{prefix}.min.{what}"), format!("{prefix}.max.{what}"));
            let mid = format!("{prefix}.{what}");
            let value = |name: &str| settings.long(name);
            broken.unless(
                value(&high) >= value(&low),
                &format!("{high} must be greater than or equals to {low}"),
            );
            broken.unless(
                value(&mid) >= value(&low),
                &format!("{mid} must be greater than or equals to {low}"),
            );
            broken
                .unless(value(&mid) <= value(&high), &format!("{mid} must be less than or equals to {high}"));
        }
    }
}

fn connections(settings: &Settings, broken: &mut Broken) {
    let queued = settings.long("queued.max.request.bytes");
    broken.unless(
        queued <= 0 || queued >= settings.long("socket.request.max.bytes"),
        "queued.max.request.bytes must be larger or equal to socket.request.max.bytes",
    );
    let idle = settings.long("connections.max.idle.ms");
    let delay = settings.long("connection.failed.authentication.delay.ms");
    broken.unless(
        idle < 0 || delay < idle,
        &format!(
            "connection.failed.authentication.delay.ms={delay} should always be less than \
             connections.max.idle.ms={idle} to prevent failed authentication responses from timing out"
        ),
    );
    // Where they cannot be read, the listeners' part of the configuration says so.
    let Ok(overrides) = super::connection_overrides(settings) else { return };
    broken.unless(
        settings.int("max.connections.per.ip") != 0 || !overrides.is_empty(),
        "max.connections.per.ip can be set to zero only if max.connections.per.ip.overrides property is set.",
    );
    let strangers: Vec<&str> = overrides.keys().map(String::as_str).filter(|host| !is_host(host)).collect();
    broken.unless(
        strangers.is_empty(),
        &format!("max.connections.per.ip.overrides contains invalid addresses : {}", strangers.join(",")),
    );
}

/// Rules about the listeners, once they could be read.
pub(super) fn listener_rules(network: &Network) -> Vec<Refusal> {
    let mut broken = Broken(Vec::new());
    let names = |listeners: &[Listener]| -> Vec<String> {
        listeners.iter().map(|listener| listener.name.clone()).collect()
    };
    let (bound, advertised) = (names(&network.listeners), names(&network.advertised));
    let inter_broker = &network.inter_broker_listener;
    broken.unless(!advertised.is_empty(), "There must be at least one broker advertised listener.");
    broken.unless(
        advertised.contains(inter_broker),
        &format!(
            "inter.broker.listener.name must be a listener name defined in advertised.listeners. The valid options \
             based on currently configured listeners are {}",
            advertised.join(",")
        ),
    );
    broken.unless(
        advertised.iter().all(|name| bound.contains(name)),
        &format!(
            "advertised.listeners listener names must be equal to or a subset of the ones defined in listeners. \
             Found {}. The valid options based on the current configuration are {}",
            advertised.join(","),
            bound.join(",")
        ),
    );
    let nowhere = network.advertised.iter().any(|listener| listener.host.as_deref() == Some("0.0.0.0"));
    broken.unless(
        !nowhere,
        "advertised.listeners cannot use the nonroutable meta-address 0.0.0.0. Use a routable IP address.",
    );
    let mut refusals: Vec<Refusal> = broken.0.into_iter().map(Refusal::Rule).collect();
    for listener in &network.listeners {
        if listener.protocol != SecurityProtocol::Plaintext {
            refusals.push(Refusal::Unsupported {
                key: "listeners".to_owned(),
                value: listener.to_string(),
                why: format!(
                    "listeners of security protocol {} are not supported yet",
                    listener.protocol.name()
                ),
                allowed: "listeners of security protocol PLAINTEXT".to_owned(),
            });
        }
    }
    refusals
}
