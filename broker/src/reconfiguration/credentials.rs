//! SCRAM credentials of users, set, removed and listed for an administrator (KIP-554). They are kept among the configs of the
//! user, where every broker of the cluster with a SASL listener finds them.
//!
//! Sentences are Kafka's, word for word.

use std::collections::{BTreeMap, BTreeSet};

use tracing::{info, warn};

use super::names::{desanitize, sanitize};
use crate::cluster::client::ZooKeeper;
use crate::cluster::entities::{self, ConfigsError, Entity, READS_AT_ONCE};
use crate::config::operations::Entries;
use crate::config::properties::Properties;
use crate::config::table::entities::Entity as Keys;
use crate::security::scram::{self, ITERATIONS_MAX, ITERATIONS_MIN, Mechanism, SaltedPassword};

/// Why the credentials of a user are not changed, or not told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CredentialError {
    #[error("Username must not be empty")]
    NoName,
    /// The same, where credentials are only listed.
    #[error("Username must not be empty")]
    NoNameAsked,
    #[error("Unknown SCRAM mechanism")]
    UnknownMechanism,
    #[error("Too few iterations")]
    TooFewIterations,
    #[error("Too many iterations")]
    TooManyIterations,
    #[error("A user credential cannot be altered twice in the same request")]
    AlteredTwice,
    #[error("Attempt to delete a user credential that does not exist")]
    NothingToDelete,
    #[error("Attempt to describe a user credential that does not exist: {0}")]
    Unknown(String),
    #[error("Cannot describe SCRAM credentials for the same user twice in a single request: {0}")]
    AskedTwice(String),
    /// On this side; the log says what.
    #[error("The server experienced an unexpected error when processing the request.")]
    Failed,
}

/// One credential that an administrator wants otherwise. The mechanism is what came on the wire.
#[derive(Clone, Debug)]
pub(crate) struct Alteration {
    pub(crate) user: String,
    pub(crate) mechanism: i8,
    /// `None`: the credential goes.
    pub(crate) password: Option<SaltedPassword>,
}

/// What became of each user that the request names.
pub(crate) type Outcomes = BTreeMap<String, Result<(), CredentialError>>;

/// A user, and how often the password of each mechanism is hashed.
pub(crate) type Described = Result<Vec<(Mechanism, i32)>, CredentialError>;

/// Changes what can be changed, all credentials of a user or none.
pub(crate) async fn alter(zookeeper: &ZooKeeper, alterations: &[Alteration]) -> Outcomes {
    let mut outcomes: Outcomes =
        refused(alterations).into_iter().map(|(user, why)| (user, Err(why))).collect();
    let mut of_users: BTreeMap<&str, Vec<&Alteration>> = BTreeMap::new();
    for alteration in alterations.iter().filter(|alteration| !outcomes.contains_key(&alteration.user)) {
        of_users.entry(&alteration.user).or_default().push(alteration);
    }
    let mut changes = Vec::new();
    for (user, wanted) in of_users {
        match proposed(zookeeper, user, &wanted).await {
            Ok(entries) => changes.push((user, entries)),
            Err(why) => {
                outcomes.insert(user.to_owned(), Err(why));
            }
        }
    }
    for (user, entries) in changes {
        let outcome = store(zookeeper, user, &entries).await;
        outcomes.insert(user.to_owned(), outcome);
    }
    outcomes
}

/// Users whose credentials stay as they are, by what the request alone says. Where there is more than one reason, what is
/// wrong with a new credential comes before what is wrong with one that goes.
fn refused(alterations: &[Alteration]) -> BTreeMap<String, CredentialError> {
    let mut refused = BTreeMap::new();
    let (sets, removals): (Vec<_>, Vec<_>) = alterations.iter().partition(|one| one.password.is_some());
    for alteration in removals.into_iter().chain(sets) {
        if let Err(why) = check(alteration) {
            refused.insert(alteration.user.clone(), why);
        }
    }
    let mut seen = BTreeSet::new();
    for alteration in alterations {
        let is_second = !seen.insert((&alteration.user, alteration.mechanism));
        if is_second && !refused.contains_key(&alteration.user) {
            refused.insert(alteration.user.clone(), CredentialError::AlteredTwice);
        }
    }
    refused
}

fn check(alteration: &Alteration) -> Result<Mechanism, CredentialError> {
    if alteration.user.is_empty() {
        return Err(CredentialError::NoName);
    }
    let mechanism = Mechanism::from_wire(alteration.mechanism).ok_or(CredentialError::UnknownMechanism)?;
    match alteration.password.as_ref().map(|password| password.iterations) {
        Some(iterations) if iterations > ITERATIONS_MAX => Err(CredentialError::TooManyIterations),
        Some(iterations) if iterations < ITERATIONS_MIN => Err(CredentialError::TooFewIterations),
        _ => Ok(mechanism),
    }
}

/// The configs of the user as they are to be.
async fn proposed(
    zookeeper: &ZooKeeper,
    user: &str,
    wanted: &[&Alteration],
) -> Result<Entries, CredentialError> {
    let stored = entities::read(zookeeper, &place(user)).await.map_err(|why| failed(user, &why))?;
    let mut entries = stored.entries;
    for alteration in wanted {
        let mechanism = check(alteration)?;
        let place = entries.iter().position(|(name, _)| name == mechanism.key());
        let Some(password) = &alteration.password else {
            entries.remove(place.ok_or(CredentialError::NothingToDelete)?);
            continue;
        };
        let credential = scram::credential(mechanism, password)
            .ok_or_else(|| failed(user, &"the client sent an empty password"))?;
        match place {
            Some(place) => entries[place].1 = credential,
            None => entries.push((mechanism.key().to_owned(), credential)),
        }
    }
    Ok(entries)
}

async fn store(zookeeper: &ZooKeeper, user: &str, entries: &Entries) -> Result<(), CredentialError> {
    let properties: Properties = entries.iter().cloned().collect();
    Keys::User.check(&properties).map_err(|why| failed(user, &why))?;
    info!(
        user,
        "a client changes SCRAM credentials; they are for brokers of the cluster that have SASL listeners"
    );
    entities::overwrite(zookeeper, &place(user), entries).await.map_err(|why| failed(user, &why))
}

fn place(user: &str) -> Entity {
    Entity::Limited(format!("users/{}", sanitize(user)))
}

fn failed(user: &str, why: &dyn std::fmt::Display) -> CredentialError {
    warn!(user, "SCRAM credentials are not changed or told for a client: {why}");
    CredentialError::Failed
}

/// The credentials of some users, in the order in which they are asked for, each once.
pub(crate) async fn describe(zookeeper: &ZooKeeper, users: &[String]) -> Vec<(String, Described)> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for user in users {
        *counts.entry(user).or_default() += 1;
    }
    let mut told = Vec::with_capacity(counts.len());
    for user in users {
        // Taken out, so that who comes again is not told of again.
        let Some(count) = counts.remove(user.as_str()) else { continue };
        let described = match count {
            _ if user.is_empty() => Err(CredentialError::NoNameAsked),
            1 => described(zookeeper, user).await,
            _ => Err(CredentialError::AskedTwice(user.clone())),
        };
        told.push((user.clone(), described));
    }
    told
}

async fn described(zookeeper: &ZooKeeper, user: &str) -> Described {
    let stored = entities::read(zookeeper, &place(user)).await.map_err(|why| failed(user, &why))?;
    credentials(user, &stored.entries).unwrap_or_else(|| Err(CredentialError::Unknown(user.to_owned())))
}

/// All users that have credentials, by name.
pub(crate) async fn describe_all(zookeeper: &ZooKeeper) -> Result<BTreeMap<String, Described>, ConfigsError> {
    let nodes = zookeeper.children("/config/users").await?.unwrap_or_default();
    let mut told = BTreeMap::new();
    for some in nodes.chunks(READS_AT_ONCE) {
        let places: Vec<Entity> = some.iter().map(|node| Entity::Limited(format!("users/{node}"))).collect();
        let reads = places.iter().map(|place| entities::read(zookeeper, place));
        for (node, read) in some.iter().zip(futures_util::future::join_all(reads).await) {
            let Some(user) = desanitize(node) else { continue };
            if let Some(described) = credentials(&user, &read?.entries) {
                told.insert(user, described);
            }
        }
    }
    Ok(told)
}

/// `None`: the user has none.
fn credentials(user: &str, entries: &Entries) -> Option<Described> {
    let mut found = Vec::new();
    for mechanism in Mechanism::ALL {
        let Some((key, text)) = entries.iter().find(|(key, _)| key == mechanism.key()) else { continue };
        let Some(iterations) = scram::iterations(text) else {
            return Some(Err(failed(user, &format_args!("{key} holds no credential"))));
        };
        found.push((mechanism, iterations));
    }
    (!found.is_empty()).then_some(Ok(found))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(user: &str, mechanism: i8, iterations: i32) -> Alteration {
        let password = SaltedPassword { salt: vec![1], hash: vec![2], iterations };
        Alteration { user: user.to_owned(), mechanism, password: Some(password) }
    }

    fn removed(user: &str, mechanism: i8) -> Alteration {
        Alteration { user: user.to_owned(), mechanism, password: None }
    }

    fn told(alterations: &[Alteration]) -> Vec<(String, String)> {
        refused(alterations).into_iter().map(|(user, why)| (user, why.to_string())).collect()
    }

    #[test]
    fn what_a_request_alone_shows_to_be_wrong_is_refused_a_user_at_a_time() {
        let one = |user: &str, why: &str| vec![(user.to_owned(), why.to_owned())];
        assert_eq!(told(&[set("a", 1, 4096), removed("a", 2), set("b", 1, 16_384)]), []);
        assert_eq!(told(&[set("", 1, 4096)]), one("", "Username must not be empty"));
        assert_eq!(told(&[set("a", 0, 1)]), one("a", "Unknown SCRAM mechanism"));
        assert_eq!(told(&[set("a", 1, 4095), removed("a", 7)]), one("a", "Too few iterations"));
        assert_eq!(told(&[set("a", 2, 16_385)]), one("a", "Too many iterations"));
        let twice = "A user credential cannot be altered twice in the same request";
        assert_eq!(told(&[set("a", 1, 4096), removed("a", 1), set("b", 1, 4096)]), one("a", twice));
    }

    #[test]
    fn only_who_has_credentials_is_listed() {
        let entries = |key: &str, value: &str| vec![(key.to_owned(), value.to_owned())];
        assert_eq!(credentials("a", &entries("producer_byte_rate", "1")), None);
        assert_eq!(credentials("a", &entries("SCRAM-SHA-256", "x")), Some(Err(CredentialError::Failed)));
        let whole = "salt=AA==,stored_key=AA==,server_key=AA==,iterations=8192";
        let found = credentials("a", &entries("SCRAM-SHA-512", whole));
        assert_eq!(found, Some(Ok(vec![(Mechanism::Sha512, 8192)])));
    }
}
