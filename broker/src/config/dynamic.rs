//! Configs of a running broker, as they lie in ZooKeeper: what may be changed, and what a change makes of the whole.
//!
//! Requests are checked strictly, with Kafka's messages. What already lies in ZooKeeper is read leniently: a value
//! that cannot be used is passed over, told once, and the rest holds.

use super::key::{Key, Update, keys};
use super::layers::{Layers, listener_key};
use super::properties::Properties;
use super::rule::Invalid;
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
    #[error(transparent)]
    Refused(#[from] ConfigError),
}

const NOT_YET: &str = "replicas are not copied yet";

/// Keys that exist only as dynamic configs of a broker. No value is no limit.
#[rustfmt::skip]
const DYNAMIC_ONLY: &[Key] = keys! {
    "leader.replication.throttled.rate": Long = Some("9223372036854775807"), AtLeast(0.0), Medium, PerBroker => NoEffect(NOT_YET),
        "Bytes per second that a leader gives to throttled followers.";
    "follower.replication.throttled.rate": Long = Some("9223372036854775807"), AtLeast(0.0), Medium, PerBroker => NoEffect(NOT_YET),
        "Bytes per second that a throttled follower takes from leaders.";
    "replica.alter.log.dirs.io.max.bytes.per.second": Long = Some("9223372036854775807"), AtLeast(0.0), Medium, PerBroker => NoEffect(NOT_YET),
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
