//! Quotas set and removed for an administrator (KIP-546): checked as Kafka checks them, written, announced. They hold once the
//! notice arrives, on every broker.
//!
//! Sentences are Kafka's, word for word.

use coordinator::quotas::{Named, QuotaEntity};
use tracing::info;

use super::describe::{CLIENT_ID, IP, USER};
use super::stored::{self, Subject};
use crate::cluster::client::ZooKeeper;
use crate::cluster::entities::{self, ConfigsError};
use crate::config::key::Kind;
use crate::config::operations::Entries;
use crate::config::properties::Properties;
use crate::config::table::entities::{Entity as Keys, EntityError};
use crate::config::value::Value;

/// How far a value may be from a whole number where there must be one.
const EPSILON: f64 = 1e-6;

/// One key, and the value it gets; `None` removes it.
pub(crate) type QuotaOperation = (String, Option<f64>);

#[derive(Debug, thiserror::Error)]
pub(crate) enum AlterQuotasError {
    #[error("Invalid empty client quota entity")]
    NoEntity,
    #[error("Unhandled client quota entity type: {0}")]
    UnknownType(String),
    #[error("Empty {0} not supported")]
    EmptyName(String),
    #[error("{0} is not a valid IP or resolvable host.")]
    UnknownHost(String),
    #[error("Invalid quota entity combination, IP entity should not be used with user/client ID entity.")]
    IpWithOthers,
    #[error("Invalid configuration key {0}")]
    UnknownKey(String),
    #[error("Configuration {key} must be a {kind} value")]
    NotWhole { key: String, kind: &'static str },
    #[error("{0} is no quota")]
    NoQuota(String),
    #[error(transparent)]
    Invalid(#[from] EntityError),
    #[error(transparent)]
    Store(#[from] ConfigsError),
}

/// `entity`: types and names, each type once; without a name it is the default.
pub(crate) async fn alter(
    zookeeper: &ZooKeeper,
    entity: &[(String, Option<String>)],
    operations: &[QuotaOperation],
    validate_only: bool,
) -> Result<(), AlterQuotasError> {
    let subject = subject(entity)?;
    if let Subject::Ip(Named::One(_)) = &subject {
        check_host(&subject).await?;
    }
    let place = subject.entity();
    let mut entries = entities::read(zookeeper, &place).await?.entries;
    apply(&mut entries, settable(&subject), operations)?;
    if validate_only {
        return Ok(());
    }
    let proposed: Properties = entries.iter().cloned().collect();
    stored_keys(&subject).check(&proposed)?;
    let keys: Vec<&str> = operations.iter().map(|(key, _)| key.as_str()).collect();
    info!("a client changes quotas of {subject:?}: {}", keys.join(", "));
    entities::overwrite(zookeeper, &place, &entries).await?;
    Ok(())
}

fn subject(entity: &[(String, Option<String>)]) -> Result<Subject, AlterQuotasError> {
    if entity.is_empty() {
        return Err(AlterQuotasError::NoEntity);
    }
    let (mut user, mut client, mut ip) = (None, None, None);
    for (entity_type, name) in entity {
        let part = match entity_type.as_str() {
            USER => &mut user,
            CLIENT_ID => &mut client,
            IP => &mut ip,
            unknown => return Err(AlterQuotasError::UnknownType(unknown.to_owned())),
        };
        *part = Some(match name.as_deref() {
            None => Named::Default,
            Some("") => return Err(AlterQuotasError::EmptyName(entity_type.clone())),
            Some(name) => Named::One(name.into()),
        });
    }
    match (user, client, ip) {
        (Some(user), Some(client), None) => Ok(Subject::Client(QuotaEntity::UserClient(user, client))),
        (Some(user), None, None) => Ok(Subject::Client(QuotaEntity::User(user))),
        (None, Some(client), None) => Ok(Subject::Client(QuotaEntity::Client(client))),
        (None, None, Some(ip)) => Ok(Subject::Ip(ip)),
        (_, _, Some(_)) => Err(AlterQuotasError::IpWithOthers),
        (None, None, None) => Err(AlterQuotasError::NoEntity),
    }
}

/// The node's name has to be a host: Apache's brokers resolve it as it is. So an IPv6 address, which is spelled with `%3A`,
/// is refused.
async fn check_host(subject: &Subject) -> Result<(), AlterQuotasError> {
    let Subject::Ip(ip) = subject else { return Ok(()) };
    let node = stored::node(ip);
    match stored::resolve(&node).await {
        Some(_) => Ok(()),
        None => Err(AlterQuotasError::UnknownHost(node)),
    }
}

/// Keys that this request may set for the subject.
fn settable(subject: &Subject) -> Keys {
    match subject {
        Subject::Client(QuotaEntity::User(_) | QuotaEntity::UserClient(..)) => Keys::User,
        Subject::Client(QuotaEntity::Client(_)) => Keys::Client,
        Subject::Ip(_) => Keys::Ip,
    }
}

/// Keys that may be stored for the subject: only a user with a name has credentials.
fn stored_keys(subject: &Subject) -> Keys {
    match subject {
        Subject::Client(QuotaEntity::User(Named::One(_))) => Keys::User,
        Subject::Client(_) => Keys::Client,
        Subject::Ip(_) => Keys::Ip,
    }
}

fn apply(entries: &mut Entries, keys: Keys, operations: &[QuotaOperation]) -> Result<(), AlterQuotasError> {
    for (name, value) in operations {
        let Some(value) = value else {
            entries.retain(|(known, _)| known != name);
            continue;
        };
        let key = keys.keys().find(|key| key.name == name);
        let kind = key.map(|key| key.kind).ok_or_else(|| AlterQuotasError::UnknownKey(name.clone()))?;
        let text = text(name, kind, *value)?;
        match entries.iter_mut().find(|(known, _)| known == name) {
            Some((_, former)) => *former = text,
            None => entries.push((name.clone(), text)),
        }
    }
    Ok(())
}

/// As the value is stored.
#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "casts saturate, as in Java")]
fn text(key: &str, kind: Kind, value: f64) -> Result<String, AlterQuotasError> {
    let (whole, kind) = match kind {
        Kind::Double => return Ok(Value::Double(value).to_config_string().unwrap_or_default()),
        Kind::Long => ((value + EPSILON) as i64, "LONG"),
        Kind::Int => (i64::from((value + EPSILON) as i32), "INT"),
        _ => return Err(AlterQuotasError::NoQuota(key.to_owned())),
    };
    if (whole as f64 - value).abs() > EPSILON {
        return Err(AlterQuotasError::NotWhole { key: key.to_owned(), kind });
    }
    Ok(whole.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_their_keys_have_them() {
        let set = |name: &str, value: f64| {
            let mut entries = Vec::new();
            apply(&mut entries, Keys::Client, &[(name.to_owned(), Some(value))]).map(|()| entries)
        };
        let written = |name: &str, value| set(name, value).expect("a value")[0].1.clone();
        assert_eq!(written("producer_byte_rate", 1024.0), "1024");
        assert_eq!(written("producer_byte_rate", 1_023.999_999_5), "1024");
        assert_eq!(written("request_percentage", 50.0), "50.0");
        assert_eq!(written("controller_mutation_rate", 2.147_483_647E9), "2.147483647E9");
        let refused = set("producer_byte_rate", 1.5).expect_err("not whole");
        assert_eq!(refused.to_string(), "Configuration producer_byte_rate must be a LONG value");
        assert!(set("no.such", 1.0).is_err());
    }

    #[test]
    fn a_key_is_set_over_and_removed_and_removing_what_is_not_there_is_no_mistake() {
        let mut entries = vec![("producer_byte_rate".to_owned(), "1".to_owned())];
        let operations = [
            ("producer_byte_rate".to_owned(), Some(2.0)),
            ("consumer_byte_rate".to_owned(), Some(3.0)),
            ("no.such".to_owned(), None),
        ];
        apply(&mut entries, Keys::User, &operations).expect("applied");
        assert_eq!(entries.iter().map(|(_, value)| value.as_str()).collect::<Vec<_>>(), ["2", "3"]);
        apply(&mut entries, Keys::User, &[("producer_byte_rate".to_owned(), None)]).expect("applied");
        assert_eq!(entries.len(), 1);
    }
}
