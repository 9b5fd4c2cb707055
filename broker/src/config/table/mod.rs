//! Every broker key of Kafka 3.9.1 in ZooKeeper mode, and the few that are ours.
//!
//! One table, written in rooms. A row is `Honoured` only where code reads it; the rest say why not, and that
//! sentence is what the operator sees.

pub(crate) mod entities;
mod groups;
mod kraft;
mod log;
mod network;
mod reasons;
mod remote;
mod replication;
mod security;
mod server;
pub(crate) mod topic;
mod transactions;
mod zookeeper;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::key::Key;

const ROOMS: [&[Key]; 10] = [
    zookeeper::KEYS,
    server::KEYS,
    network::KEYS,
    log::KEYS,
    replication::KEYS,
    groups::KEYS,
    transactions::KEYS,
    security::KEYS,
    kraft::KEYS,
    remote::KEYS,
];

static BY_NAME: LazyLock<BTreeMap<&'static str, &'static Key>> =
    LazyLock::new(|| ROOMS.iter().copied().flatten().map(|key| (key.name, key)).collect());

/// All rows, by name.
pub(crate) fn all() -> impl Iterator<Item = &'static Key> {
    BY_NAME.values().copied()
}

pub(crate) fn find(name: &str) -> Option<&'static Key> {
    BY_NAME.get(name).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::key::Visibility;

    #[test]
    fn the_table_has_every_key_of_kafka_once() {
        let rows: usize = ROOMS.iter().map(|room| room.len()).sum();
        let ours = all().filter(|key| key.visibility == Visibility::Ours).count();
        assert_eq!((all().count(), rows, ours), (330, 330, 2));
    }

    #[test]
    fn every_default_is_a_value_of_its_key() {
        for key in all() {
            let Some(default) = key.default else { continue };
            let value = key.parse(default).unwrap_or_else(|why| panic!("{why}"));
            assert_eq!(value.to_config_string().as_deref(), Some(default), "{}", key.name);
        }
    }
}
