//! Configs of users, client ids and addresses, kept in `/config/users`, `/config/clients` and `/config/ips`.
//!
//! Kafka has no file for them: they are dynamic only.

use crate::config::key::{Key, keys};
use crate::config::properties::Properties;
use crate::config::rule::Invalid;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entity {
    User,
    Client,
    Ip,
}

/// Why configs of an entity are refused, in Kafka's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EntityError {
    #[error("Unknown Dynamic Configuration: Set({0}).")]
    Unknown(String),
    #[error(transparent)]
    Invalid(#[from] Invalid),
}

#[rustfmt::skip]
const CREDENTIALS: &[Key] = keys! {
    "SCRAM-SHA-256": Text = None, Any, Medium, ClusterWide => NoEffect("SASL is not supported yet"),
        "The user's salted password for SCRAM-SHA-256.";
    "SCRAM-SHA-512": Text = None, Any, Medium, ClusterWide => NoEffect("SASL is not supported yet"),
        "The user's salted password for SCRAM-SHA-512.";
};

#[rustfmt::skip]
const QUOTAS: &[Key] = keys! {
    "producer_byte_rate": Long = Some("9223372036854775807"), Any, Medium, ClusterWide => Honoured,
        "Bytes per second that may be produced.";
    "consumer_byte_rate": Long = Some("9223372036854775807"), Any, Medium, ClusterWide => Honoured,
        "Bytes per second that may be consumed.";
    "request_percentage": Double = Some("2.147483647E9"), Any, Medium, ClusterWide => Honoured,
        "Time of one thread that requests may take, in percent.";
    "controller_mutation_rate": Double = Some("2.147483647E9"), Any, Medium, ClusterWide => Honoured,
        "Partitions per second that may be created or deleted.";
};

#[rustfmt::skip]
const CONNECTIONS: &[Key] = keys! {
    "connection_creation_rate": Int = Some("2147483647"), AtLeast(0.0), Medium, ClusterWide => Honoured,
        "Connections per second that an address may open.";
};

/// Whether a key of a user or client is one of its quotas.
pub(crate) fn is_quota(name: &str) -> bool {
    QUOTAS.iter().any(|key| key.name == name)
}

impl Entity {
    pub(crate) fn keys(self) -> impl Iterator<Item = &'static Key> {
        let (first, second): (&[Key], &[Key]) = match self {
            Entity::User => (CREDENTIALS, QUOTAS),
            Entity::Client => (QUOTAS, &[]),
            Entity::Ip => (CONNECTIONS, &[]),
        };
        first.iter().chain(second)
    }

    /// Names, types and ranges.
    pub(crate) fn check(self, proposed: &Properties) -> Result<(), EntityError> {
        let unknown = |name: &&String| self.keys().all(|key| key.name != name.as_str());
        let strangers: Vec<&str> = proposed.keys().filter(unknown).map(String::as_str).collect();
        if !strangers.is_empty() {
            return Err(EntityError::Unknown(strangers.join(", ")));
        }
        for key in self.keys() {
            if let Some(text) = proposed.get(key.name) {
                key.parse(text)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entity_takes_only_its_own_keys() {
        let one = |name: &str, value: &str| Properties::from([(name.to_owned(), value.to_owned())]);
        assert_eq!(Entity::User.keys().count(), 6);
        assert_eq!(Entity::Client.check(&one("producer_byte_rate", "1024")), Ok(()));
        let told = Entity::Client.check(&one("SCRAM-SHA-256", "x")).expect_err("a user's key");
        assert_eq!(told.to_string(), "Unknown Dynamic Configuration: Set(SCRAM-SHA-256).");
        let told = Entity::Ip.check(&one("connection_creation_rate", "-1")).expect_err("below zero");
        assert_eq!(
            told.to_string(),
            "Invalid value -1 for configuration connection_creation_rate: Value must be at least 0"
        );
    }

    #[test]
    fn every_default_is_a_value_of_its_key() {
        for key in [Entity::User, Entity::Client, Entity::Ip].into_iter().flat_map(Entity::keys) {
            assert_eq!(key.default_value().to_config_string().as_deref(), key.default, "{}", key.name);
        }
    }
}
