//! Configs of a running broker, as they lie in ZooKeeper: what may be changed, and what a change makes of the whole.
//!
//! Requests are checked strictly, with Kafka's messages. What already lies in ZooKeeper is read leniently: a value
//! that cannot be used is passed over, told once, and the rest holds.

use std::collections::BTreeSet;

use super::key::{Key, Kind, Update, keys};
use super::layers::{Layers, listener_key};
use super::properties::Properties;
use super::rule::Invalid;
use super::table::topic::is_default_of_topics;
use super::{BrokerConfig, ConfigError, table};

/// Where a dynamic config is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// `/config/brokers/<default>`: for every broker of the cluster.
    Cluster,
    /// `/config/brokers/ID`.
    Broker,
}

/// Why a change is refused, in Kafka's words.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DynamicError {
    #[error("Cannot update these configs dynamically: Set({0})")]
    ReadOnly(String),
    #[error(
        "These security configs can be dynamically updated only per-listener using the listener prefix: HashSet({0})"
    )]
    NeedsListener(String),
    #[error("Cannot update these configs at default cluster level, broker id must be specified: Set({0})")]
    NeedsBroker(String),
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The keys may be changed and the values can be read, but the whole does not hold together.
    #[error("{}", first(.0))]
    Refused(#[from] ConfigError),
    /// The whole holds together, but there is no way to it from what holds now.
    #[error(
        "Invalid value org.apache.kafka.common.config.ConfigException: {0} for configuration Invalid dynamic configuration"
    )]
    NoWay(String),
    /// Kafka takes it, goes on listening where it did, and sends clients to the new address.
    #[error(
        "The address of listener {0} cannot be changed while this broker runs; add a listener of another name, or change \
         it in server.properties and restart the broker"
    )]
    Moved(String),
    #[error("{0} cannot be stored: passwords are not kept in ZooKeeper yet; put it into server.properties")]
    Password(String),
}

/// Keys that exist only as dynamic configs of a broker. No value is no limit.
#[rustfmt::skip]
const DYNAMIC_ONLY: &[Key] = keys! {
    "leader.replication.throttled.rate": Long = Some("9223372036854775807"), AtLeast(0.0), Medium, PerBroker => Honoured,
        "Bytes per second that a leader gives to throttled followers.";
    "follower.replication.throttled.rate": Long = Some("9223372036854775807"), AtLeast(0.0), Medium, PerBroker => Honoured,
        "Bytes per second that a throttled follower takes from leaders.";
    "replica.alter.log.dirs.io.max.bytes.per.second": Long = Some("9223372036854775807"), AtLeast(0.0), Medium, PerBroker => Honoured,
        "Bytes per second copied between log directories of a broker.";
};

/// Keys that Kafka lets be changed only for one listener.
const ONLY_FOR_A_LISTENER: [&str; 10] = [
    "ssl.key.password",
    "ssl.keystore.certificate.chain",
    "ssl.keystore.key",
    "ssl.keystore.location",
    "ssl.keystore.password",
    "ssl.keystore.type",
    "ssl.truststore.certificates",
    "ssl.truststore.location",
    "ssl.truststore.password",
    "ssl.truststore.type",
];

/// Kafka resizes these pools step by step: at most doubled, at least halved.
const POOLS: [&str; 5] = [
    "background.threads",
    "num.io.threads",
    "num.network.threads",
    "num.recovery.threads.per.data.dir",
    "num.replica.fetchers",
];

/// Where 0 would shut a listener.
const LIMITS_OF_A_LISTENER: [&str; 2] = ["max.connections", "max.connection.creation.rate"];

/// Per listener, yet for every broker.
const CLUSTER_WIDE_FOR_A_LISTENER: [&str; 3] =
    ["max.connections", "max.connection.creation.rate", "num.network.threads"];

impl BrokerConfig {
    /// What this configuration becomes with `proposed` in place of all that `level` holds now.
    pub(crate) fn with_change(
        &self,
        level: Level,
        proposed: &Properties,
    ) -> Result<BrokerConfig, DynamicError> {
        check_names(level, proposed)?;
        for (name, text) in proposed {
            check_value(name, text)?;
        }
        let layers = match level {
            Level::Cluster => Layers { cluster: proposed.clone(), ..self.layers.clone() },
            Level::Broker => Layers { broker: proposed.clone(), ..self.layers.clone() },
        };
        Ok(BrokerConfig::new(layers)?)
    }

    /// As [`with_change`](Self::with_change), for a request to a running broker: whether it can get there from here.
    pub(crate) fn check_change(
        &self,
        level: Level,
        proposed: &Properties,
    ) -> Result<BrokerConfig, DynamicError> {
        let password = |name: &&String| {
            table::all().any(|key| {
                key.kind == Kind::Password && key.update != Update::ReadOnly && name.ends_with(key.name)
            })
        };
        let next = self.with_change(level, proposed)?;
        if let Some(name) = proposed.keys().find(password) {
            return Err(DynamicError::Password(name.clone()));
        }
        self.check_listeners(&next)?;
        for pool in POOLS {
            let (now, then) = (self.settings.int(pool), next.settings.int(pool));
            let failed = format!("Dynamic thread count update validation failed for {pool}={then}");
            resizable(now, then)
                .map_err(|why| DynamicError::NoWay(format!("{failed}, value should {why}")))?;
        }
        next.check_local_retention(self)?;
        cleaner_resizable(self.settings.int("log.cleaner.threads"), next.settings.int("log.cleaner.threads"))
            .map_err(|why| DynamicError::NoWay(format!("Log cleaner threads {why}")))?;
        Ok(next)
    }

    /// What is kept here cannot be more than what is kept at all. Asked only where a default of topics changes, as by Kafka.
    fn check_local_retention(&self, former: &BrokerConfig) -> Result<(), DynamicError> {
        if !former.difference(self).iter().any(|key| is_default_of_topics(key)) {
            return Ok(());
        }
        // -1 is without end, and the local -2 is as much as at all.
        for (local_key, key, at_all) in [
            ("log.local.retention.ms", "log.retention.ms", super::retention_ms(&self.settings)),
            ("log.local.retention.bytes", "log.retention.bytes", self.settings.long("log.retention.bytes")),
        ] {
            let local = self.settings.long(local_key);
            let refused = |why: String| {
                Err(DynamicError::NoWay(format!(
                    "Invalid value {local} for configuration {local_key}: {why}"
                )))
            };
            if at_all < 0 || local == -2 {
                continue;
            }
            if local == -1 {
                return refused(format!("Value must not be -1 as {key} value is set as {at_all}."));
            }
            if local > at_all {
                return refused(format!("Value must not be more than {key} property value: {at_all}"));
            }
        }
        Ok(())
    }

    /// The limit of a listener, as it was given: its own goes before that of all.
    fn limit_of_listener(&self, name: &str, key: &str) -> Option<&str> {
        let given = self.settings.given();
        let own = given.iter().find(|(given, _)| {
            listener_key(given)
                .is_some_and(|(listener, base)| base == key && listener.eq_ignore_ascii_case(name))
        });
        own.map(|(_, text)| text).or_else(|| given.get(key)).map(|text| text.trim())
    }

    /// A listener that stays is as it was; only its limits may change.
    fn check_listeners(&self, next: &BrokerConfig) -> Result<(), DynamicError> {
        let changed = self.difference(next);
        // Kafka looks at what is fixed only where a key of all listeners changes; the rest waits for a restart.
        let looks = changed.iter().any(|key| {
            table::find(key).is_some_and(|key| key.update == Update::PerBroker)
                || CLUSTER_WIDE_FOR_A_LISTENER.contains(&key.as_str())
        });
        for then in &next.network.listeners {
            let name = &then.name;
            for key in LIMITS_OF_A_LISTENER {
                let limit = next.limit_of_listener(name, key);
                if limit == Some("0") && limit != self.limit_of_listener(name, key) {
                    return Err(DynamicError::NoWay(format!("Invalid {key} 0")));
                }
            }
            if !looks {
                continue;
            }
            let Some(now) = self.network.listeners.iter().find(|now| now.name == *name) else { continue };
            if self.fixed_for_listener(name) != next.fixed_for_listener(name) {
                return Err(DynamicError::NoWay(format!(
                    "Configs cannot be updated dynamically for existing listener ListenerName({name}), restart \
                     broker or create a new listener for update"
                )));
            }
            if now.protocol != then.protocol {
                return Err(DynamicError::NoWay(format!(
                    "Security protocol cannot be updated for existing listener ListenerName({name})"
                )));
            }
            if (&now.host, now.port) != (&then.host, then.port) {
                return Err(DynamicError::Moved(name.clone()));
            }
        }
        Ok(())
    }

    /// What was given for one listener and cannot change while it is open.
    fn fixed_for_listener(&self, name: &str) -> Vec<(&str, &str)> {
        let given = self.settings.given().iter().filter_map(|(key, text)| {
            let (listener, base) = listener_key(key)?;
            let changes = CLUSTER_WIDE_FOR_A_LISTENER.contains(&base)
                || table::find(base).is_some_and(|key| key.update != Update::ReadOnly);
            (listener.eq_ignore_ascii_case(name) && !changes).then_some((base, text.as_str()))
        });
        given.collect()
    }

    /// What this configuration becomes with all that lies in ZooKeeper, without what cannot be used; a sentence for
    /// each value that was passed over.
    pub(crate) fn with_stored(
        &self,
        cluster: &Properties,
        broker: &Properties,
    ) -> (BrokerConfig, Vec<String>) {
        let mut config = self.clone();
        let mut told = Vec::new();
        for (level, stored) in [(Level::Cluster, cluster), (Level::Broker, broker)] {
            // Together first: keys may need each other.
            if let Ok(all) = config.with_change(level, stored) {
                config = all;
                continue;
            }
            let mut kept = Properties::new();
            // One by one, so that a bad value costs only itself.
            for (name, text) in stored {
                kept.insert(name.clone(), text.clone());
                match config.with_change(level, &kept) {
                    Ok(better) => config = better,
                    Err(why) => {
                        kept.remove(name);
                        told.push(format!("dynamic config {name} is ignored: {why}"));
                    }
                }
            }
            if kept.is_empty() {
                config = config.with_change(level, &kept).unwrap_or(config);
            }
        }
        (config, told)
    }
}

impl BrokerConfig {
    /// What of `stored` can be used at `level`.
    pub(crate) fn usable(&self, level: Level, stored: &Properties) -> Properties {
        let none = Properties::new();
        let (config, _) = match level {
            Level::Cluster => self.with_stored(stored, &none),
            Level::Broker => self.with_stored(&none, stored),
        };
        match level {
            Level::Cluster => config.layers.cluster,
            Level::Broker => config.layers.broker,
        }
    }

    /// The keys whose values differ in `other`.
    pub(crate) fn difference(&self, other: &BrokerConfig) -> Vec<String> {
        let (mine, others) = (self.settings.given(), other.settings.given());
        let names: BTreeSet<&String> = mine.keys().chain(others.keys()).collect();
        let differ = names.into_iter().filter(|name| mine.get(*name) != others.get(*name));
        differ.cloned().collect()
    }
}

/// Kafka stops at the first thing that it does not like.
fn first(refused: &ConfigError) -> String {
    match refused {
        ConfigError::Refused { refusals, .. } => {
            refusals.first().map(ToString::to_string).unwrap_or_default()
        }
        other => other.to_string(),
    }
}

fn resizable(now: i32, then: i32) -> Result<(), String> {
    if then == now {
        Ok(())
    } else if then <= 0 {
        Err("be at least 1".to_owned())
    } else if then < now / 2 {
        Err(format!("be at least half the current value {now}"))
    } else if then > now.saturating_mul(2) {
        Err(format!("not be greater than double the current value {now}"))
    } else {
        Ok(())
    }
}

fn cleaner_resizable(now: i32, then: i32) -> Result<(), String> {
    if then < 1 {
        Err("should be at least 1".to_owned())
    } else if then < now / 2 {
        Err(format!("cannot be reduced to less than half the current value {now}"))
    } else if then > now.saturating_mul(2) {
        Err(format!("cannot be increased to more than double the current value {now}"))
    } else {
        Ok(())
    }
}

fn check_names(level: Level, proposed: &Properties) -> Result<(), DynamicError> {
    let named = |wanted: &dyn Fn(&str) -> bool| {
        let names: Vec<&str> = proposed.keys().map(String::as_str).filter(|name| wanted(name)).collect();
        if names.is_empty() { None } else { Some(names.join(", ")) }
    };
    let update = |name: &str| table::find(name).map(|key| key.update);
    if let Some(names) = named(&|name| update(name) == Some(Update::ReadOnly)) {
        return Err(DynamicError::ReadOnly(names));
    }
    if let Some(names) = named(&|name| ONLY_FOR_A_LISTENER.contains(&name)) {
        return Err(DynamicError::NeedsListener(names));
    }
    let needs_broker = |name: &str| match listener_key(name) {
        Some((_, base)) => !CLUSTER_WIDE_FOR_A_LISTENER.contains(&base),
        None => update(name) == Some(Update::PerBroker),
    };
    match named(&needs_broker) {
        Some(names) if level == Level::Cluster => Err(DynamicError::NeedsBroker(names)),
        _ => Ok(()),
    }
}

/// Type and range; keys that nobody knows may hold anything.
fn check_value(name: &str, text: &str) -> Result<(), Invalid> {
    let base = listener_key(name).map_or(name, |(_, base)| base);
    let known = table::find(base).filter(|key| key.update != Update::ReadOnly);
    match known.or_else(|| dynamic_only(base)) {
        Some(key) => key.parse(text).map(drop),
        None => Ok(()),
    }
}

pub(super) fn dynamic_only(name: &str) -> Option<&'static Key> {
    DYNAMIC_ONLY.iter().find(|key| key.name == name)
}
