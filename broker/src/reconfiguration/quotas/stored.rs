//! Quotas as ZooKeeper keeps them: below `/config/users`, `/config/clients` and `/config/ips`.

use std::fmt;
use std::net::{IpAddr, ToSocketAddrs};

use coordinator::quotas::{Named, QuotaEntity};
use futures_util::future::join_all;
use tokio::task::spawn_blocking;
use tracing::warn;
use zookeeper_client as zk;

use crate::cluster::client::ZooKeeper;
use crate::cluster::entities::{self, ConfigsError, DEFAULT_ENTITY, Entity, READS_AT_ONCE};
use crate::config::operations::Entries;
use crate::quota::{IpRate, QuotaValues};
use crate::reconfiguration::names::{desanitize, sanitize};

pub(super) const PRODUCER_BYTE_RATE: &str = "producer_byte_rate";
pub(super) const CONSUMER_BYTE_RATE: &str = "consumer_byte_rate";
pub(super) const REQUEST_PERCENTAGE: &str = "request_percentage";
pub(super) const CONTROLLER_MUTATION_RATE: &str = "controller_mutation_rate";
pub(super) const CONNECTION_CREATION_RATE: &str = "connection_creation_rate";

/// For whom quotas are set: clients, by user and id, or an address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    Client(QuotaEntity),
    /// An address, or the name of a host, as it was written.
    Ip(Named),
}

impl Subject {
    /// From `users/alice/clients/c1`, as notices have it. `None`: it is no place for quotas.
    pub(crate) fn at(entity_type: &str, path: &str) -> Option<Subject> {
        Some(match (entity_type, path.split('/').collect::<Vec<_>>().as_slice()) {
            ("users", [user]) => Subject::Client(QuotaEntity::User(named(user)?)),
            ("users", [user, "clients", client]) => {
                Subject::Client(QuotaEntity::UserClient(named(user)?, named(client)?))
            }
            ("clients", [client]) => Subject::Client(QuotaEntity::Client(named(client)?)),
            ("ips", [ip]) => Subject::Ip(named(ip)?),
            _ => return None,
        })
    }

    /// Where its znode is.
    pub(super) fn entity(&self) -> Entity {
        let path = match self {
            Subject::Client(QuotaEntity::User(user)) => format!("users/{}", node(user)),
            Subject::Client(QuotaEntity::Client(client)) => format!("clients/{}", node(client)),
            Subject::Client(QuotaEntity::UserClient(user, client)) => {
                format!("users/{}/clients/{}", node(user), node(client))
            }
            Subject::Ip(ip) => format!("ips/{}", node(ip)),
        };
        Entity::Limited(path)
    }
}

pub(super) fn node(name: &Named) -> String {
    match name {
        Named::Default => DEFAULT_ENTITY.to_owned(),
        Named::One(name) => sanitize(name),
    }
}

fn named(node: &str) -> Option<Named> {
    match node {
        "" => None,
        DEFAULT_ENTITY => Some(Named::Default),
        node => Some(Named::One(desanitize(node)?.into())),
    }
}

/// What holds now for a subject.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Change {
    Client(QuotaEntity, QuotaValues),
    Ip(IpRate),
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |name: &Named| match name {
            Named::Default => DEFAULT_ENTITY.to_owned(),
            Named::One(name) => name.to_string(),
        };
        let (whose, values) = match self {
            Change::Client(QuotaEntity::User(user), values) => (format!("user {}", shown(user)), values),
            Change::Client(QuotaEntity::Client(client), values) => {
                (format!("client-id {}", shown(client)), values)
            }
            Change::Client(QuotaEntity::UserClient(user, client), values) => {
                (format!("user {}, client-id {}", shown(user), shown(client)), values)
            }
            Change::Ip(IpRate { ip, rate }) => {
                let ip = ip.map_or_else(|| DEFAULT_ENTITY.to_owned(), |ip| ip.to_string());
                let rate = rate
                    .map_or_else(|| "none".to_owned(), |rate| format!("{CONNECTION_CREATION_RATE}={rate}"));
                return write!(f, "{rate} for ip {ip}");
            }
        };
        let all = [
            (PRODUCER_BYTE_RATE, values.produced),
            (CONSUMER_BYTE_RATE, values.fetched),
            (REQUEST_PERCENTAGE, values.time),
            (CONTROLLER_MUTATION_RATE, values.changes),
        ];
        let set = all.into_iter().filter_map(|(key, value)| Some(format!("{key}={}", value?)));
        let set: Vec<String> = set.collect();
        let set = if set.is_empty() { "none".to_owned() } else { set.join(", ") };
        write!(f, "{set} for {whose}")
    }
}

/// Reads what is set for `subject`. `None`, and a line in the log, where it cannot be used.
pub(crate) async fn read(zookeeper: &ZooKeeper, subject: &Subject) -> Result<Option<Change>, zk::Error> {
    let entries = match entities::read(zookeeper, &subject.entity()).await {
        Ok(stored) => stored.entries,
        Err(ConfigsError::ZooKeeper(error)) => return Err(error),
        Err(why) => {
            warn!("quotas stay as they were; set them again: {why}");
            return Ok(None);
        }
    };
    let change = match subject {
        Subject::Client(entity) => values(&entries).map(|values| Change::Client(entity.clone(), values)),
        Subject::Ip(Named::Default) => ip_rate(&entries).map(|rate| Change::Ip(IpRate { ip: None, rate })),
        Subject::Ip(Named::One(host)) => match (resolve(host).await, ip_rate(&entries)) {
            (Some(ip), Ok(rate)) => Ok(Change::Ip(IpRate { ip: Some(ip), rate })),
            (None, _) => Err(format!("{host} cannot be resolved")),
            (_, Err(why)) => Err(why),
        },
    };
    Ok(change.inspect_err(|why| warn!("quotas of {subject:?} stay as they were; set them again: {why}")).ok())
}

/// For whom something is set in the cluster.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// In no particular order.
    pub(crate) subjects: Vec<Subject>,
    /// Znodes that are nobody's name.
    pub(crate) strangers: Vec<String>,
}

impl Found {
    fn add(&mut self, kind: &str, paths: impl IntoIterator<Item = String>) {
        for path in paths {
            match Subject::at(kind, &path) {
                Some(subject) => self.subjects.push(subject),
                None => self.strangers.push(format!("/config/{kind}/{path}")),
            }
        }
    }
}

pub(crate) async fn all(zookeeper: &ZooKeeper) -> Result<Found, zk::Error> {
    let mut found = Found::default();
    for kind in ["clients", "ips"] {
        found.add(kind, zookeeper.children(&format!("/config/{kind}")).await?.unwrap_or_default());
    }
    let users = zookeeper.children("/config/users").await?.unwrap_or_default();
    for some in users.chunks(READS_AT_ONCE) {
        let paths: Vec<String> = some.iter().map(|user| format!("/config/users/{user}/clients")).collect();
        let reads = join_all(paths.iter().map(|path| zookeeper.children(path))).await;
        for (user, clients) in some.iter().zip(reads) {
            let clients = clients?.unwrap_or_default();
            found.add("users", clients.into_iter().map(|client| format!("{user}/clients/{client}")));
        }
    }
    found.add("users", users);
    Ok(found)
}

/// Everything that is set in the cluster and can be used; the rest is told.
pub(crate) async fn read_all(zookeeper: &ZooKeeper) -> Result<Vec<Change>, zk::Error> {
    let found = all(zookeeper).await?;
    for path in found.strangers {
        warn!("{path} is nobody's name, so its quotas have no effect; remove it");
    }
    let mut changes = Vec::new();
    for some in found.subjects.chunks(READS_AT_ONCE) {
        for read in join_all(some.iter().map(|subject| read(zookeeper, subject))).await {
            changes.extend(read?);
        }
    }
    Ok(changes)
}

fn values(entries: &Entries) -> Result<QuotaValues, String> {
    // Kafka reads bytes as whole numbers.
    let whole = |key: &str| {
        let rate = number::<i64>(entries, key)?;
        #[allow(clippy::cast_precision_loss, reason = "Kafka compares rates as doubles, too")]
        Ok::<_, String>(rate.map(|rate| rate as f64))
    };
    Ok(QuotaValues {
        produced: whole(PRODUCER_BYTE_RATE)?,
        fetched: whole(CONSUMER_BYTE_RATE)?,
        time: number(entries, REQUEST_PERCENTAGE)?,
        changes: number(entries, CONTROLLER_MUTATION_RATE)?,
    })
}

fn ip_rate(entries: &Entries) -> Result<Option<u32>, String> {
    let rate = number::<i32>(entries, CONNECTION_CREATION_RATE)?;
    // The largest int is no limit.
    Ok(rate.filter(|rate| *rate != i32::MAX).map(|rate| u32::try_from(rate).unwrap_or(0)))
}

fn number<N: std::str::FromStr>(entries: &Entries, key: &str) -> Result<Option<N>, String> {
    let Some((_, text)) = entries.iter().find(|(name, _)| name == key) else { return Ok(None) };
    text.trim().parse().map(Some).map_err(|_| format!("{key}: {text} is not a number"))
}

/// The first address of a host.
pub(super) async fn resolve(host: &str) -> Option<IpAddr> {
    let host = host.to_owned();
    let addresses = spawn_blocking(move || (host.as_str(), 0).to_socket_addrs()).await.ok()?;
    addresses.ok()?.next().map(|address| address.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_where_kafka_keeps_them() {
        for path in [
            "users/<default>",
            "users/CN%3DBob%20Smith%2CO%3Dx%20y",
            "users/alice/clients/<default>",
            "users/<default>/clients/c1",
            "clients/%3Cdefault%3E",
            "ips/127.0.0.9",
            "ips/<default>",
        ] {
            let (kind, rest) = path.split_once('/').expect("a path");
            let subject = Subject::at(kind, rest).expect("a subject");
            assert_eq!(subject.entity(), Entity::Limited(path.to_owned()), "{subject:?}");
        }
        for (kind, path) in
            [("users", "a/b/c"), ("users", "a/clients"), ("topics", "t"), ("clients", "%"), ("ips", "")]
        {
            assert_eq!(Subject::at(kind, path), None, "{kind}/{path}");
        }
    }

    #[test]
    fn values_are_read_as_kafka_writes_them() {
        let entries = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect::<Entries>()
        };
        let read = values(&entries(&[
            (PRODUCER_BYTE_RATE, "1024000"),
            (REQUEST_PERCENTAGE, "50.0"),
            ("SCRAM-SHA-512", "salt=x"),
        ]));
        let expected =
            QuotaValues { produced: Some(1_024_000.0), time: Some(50.0), ..QuotaValues::default() };
        assert_eq!(read, Ok(expected));
        assert!(values(&entries(&[(PRODUCER_BYTE_RATE, "fast")])).is_err());
        assert_eq!(ip_rate(&entries(&[(CONNECTION_CREATION_RATE, "50")])), Ok(Some(50)));
        assert_eq!(ip_rate(&entries(&[(CONNECTION_CREATION_RATE, "2147483647")])), Ok(None));
    }
}
