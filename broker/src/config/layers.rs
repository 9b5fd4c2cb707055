//! Where a value comes from: the file, dynamic configs of the whole cluster, dynamic configs of this broker.
//!
//! The later layer wins, and it wins over synonyms too: a dynamic `log.retention.ms` removes a static
//! `log.retention.hours`. As in Kafka, `broker.id` and `node.id` fill each other in.

use super::properties::Properties;

/// Everything that was given, layer by layer, as text.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layers {
    /// `server.properties` and `--override`.
    pub(crate) file: Properties,
    /// `/config/brokers/<default>`.
    pub(crate) cluster: Properties,
    /// `/config/brokers/ID`.
    pub(crate) broker: Properties,
}

impl Layers {
    pub(crate) fn from_file(mut file: Properties) -> Layers {
        for (from, to) in [("node.id", "broker.id"), ("broker.id", "node.id")] {
            if let (Some(id), false) = (file.get(from).cloned(), file.contains_key(to)) {
                file.insert(to.to_owned(), id);
            }
        }
        Layers { file, ..Layers::default() }
    }

    /// What holds after all layers.
    pub(crate) fn merged(&self) -> Properties {
        let mut merged = self.file.clone();
        for (name, value) in self.cluster.iter().chain(&self.broker) {
            for synonym in synonyms(name) {
                merged.remove(*synonym);
            }
            merged.insert(name.clone(), value.clone());
        }
        merged
    }
}

/// The keys that say the same as `name` in another unit, in order of precedence; empty where there are none.
pub(crate) fn synonyms(name: &str) -> &'static [&'static str] {
    match name {
        "log.roll.ms" | "log.roll.hours" => &["log.roll.ms", "log.roll.hours"],
        "log.roll.jitter.ms" | "log.roll.jitter.hours" => &["log.roll.jitter.ms", "log.roll.jitter.hours"],
        "log.flush.interval.ms" => &["log.flush.interval.ms", "log.flush.scheduler.interval.ms"],
        "log.retention.ms" | "log.retention.minutes" | "log.retention.hours" => {
            &["log.retention.ms", "log.retention.minutes", "log.retention.hours"]
        }
        _ => &[],
    }
}

/// `listener.name.internal.ssl.keystore.location` is `(internal, ssl.keystore.location)`.
pub(crate) fn listener_key(name: &str) -> Option<(&str, &str)> {
    name.strip_prefix("listener.name.")?.split_once('.')
}
