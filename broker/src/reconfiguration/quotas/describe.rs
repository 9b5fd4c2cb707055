//! Which quotas are set, as an administrator asks for them (KIP-546).
//!
//! Sentences are Kafka's, word for word.

use coordinator::quotas::{Named, QuotaEntity};
use futures_util::future::join_all;

use super::stored::{self, Subject};
use crate::cluster::client::ZooKeeper;
use crate::cluster::entities::{self, ConfigsError, READS_AT_ONCE};
use crate::config::key::Kind;
use crate::config::table::entities::is_quota;
use crate::config::value::Value;

pub(crate) const USER: &str = "user";
pub(crate) const CLIENT_ID: &str = "client-id";
pub(crate) const IP: &str = "ip";

/// What is wanted of one part of an entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Match {
    Exactly(Named),
    /// Any name, and the default.
    Any,
}

/// A part of an entity that has to be there, and how. Without one that part need not be there, and must not where the
/// filter is strict.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    user: Option<Match>,
    client: Option<Match>,
    ip: Option<Match>,
    strict: bool,
}

/// What is set for one entity.
pub(crate) struct Described {
    pub(crate) subject: Subject,
    /// Never empty.
    pub(crate) values: Vec<(String, f64)>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum DescribeQuotasError {
    #[error("Duplicate {0} filter component entity type")]
    Twice(&'static str),
    #[error("Unexpected empty filter component entity type")]
    EmptyType,
    #[error("Custom entity type '{0}' not supported")]
    CustomType(String),
    #[error(
        "Invalid entity filter component combination, IP filter component should not be used with user or clientId \
         filter component."
    )]
    IpWithOthers,
    #[error("unexpected match type {0}, or a name that is not there")]
    NoMatch(i8),
    #[error("unexpected client quota configuration value: {key} -> {value}")]
    NoNumber { key: String, value: String },
    #[error(transparent)]
    Store(#[from] ConfigsError),
}

impl Match {
    /// Kinds of matches on the wire.
    pub(crate) fn from_wire(kind: i8, name: Option<&str>) -> Result<Match, DescribeQuotasError> {
        match (kind, name) {
            (0, Some(name)) => Ok(Match::Exactly(Named::One(name.into()))),
            (1, _) => Ok(Match::Exactly(Named::Default)),
            (2, _) => Ok(Match::Any),
            _ => Err(DescribeQuotasError::NoMatch(kind)),
        }
    }
}

impl Filter {
    pub(crate) fn new(components: Vec<(&str, Match)>, strict: bool) -> Result<Filter, DescribeQuotasError> {
        let mut filter = Filter { strict, ..Filter::default() };
        for (entity_type, wanted) in components {
            let (part, word) = match entity_type {
                USER => (&mut filter.user, "user"),
                CLIENT_ID => (&mut filter.client, "client"),
                IP => (&mut filter.ip, "ip"),
                "" => return Err(DescribeQuotasError::EmptyType),
                custom => return Err(DescribeQuotasError::CustomType(custom.to_owned())),
            };
            if part.replace(wanted).is_some() {
                return Err(DescribeQuotasError::Twice(word));
            }
        }
        if filter.ip.is_some() && (filter.user.is_some() || filter.client.is_some()) {
            return Err(DescribeQuotasError::IpWithOthers);
        }
        Ok(filter)
    }

    fn takes(&self, subject: &Subject) -> bool {
        let (user, client, ip) = match subject {
            Subject::Client(QuotaEntity::User(user)) => (Some(user), None, None),
            Subject::Client(QuotaEntity::Client(client)) => (None, Some(client), None),
            Subject::Client(QuotaEntity::UserClient(user, client)) => (Some(user), Some(client), None),
            Subject::Ip(ip) => (None, None, Some(ip)),
        };
        self.takes_part(self.user.as_ref(), user)
            && self.takes_part(self.client.as_ref(), client)
            && self.takes_part(self.ip.as_ref(), ip)
    }

    fn takes_part(&self, wanted: Option<&Match>, name: Option<&Named>) -> bool {
        match (wanted, name) {
            (Some(Match::Exactly(wanted)), Some(name)) => wanted == name,
            (Some(Match::Any), Some(_)) | (None, None) => true,
            (Some(_), None) => false,
            (None, Some(_)) => !self.strict,
        }
    }
}

pub(crate) async fn describe(
    zookeeper: &ZooKeeper,
    filter: &Filter,
) -> Result<Vec<Described>, DescribeQuotasError> {
    let stored = stored::all(zookeeper).await.map_err(ConfigsError::from)?;
    let subjects: Vec<Subject> =
        stored.subjects.into_iter().filter(|subject| filter.takes(subject)).collect();
    let mut described = Vec::with_capacity(subjects.len());
    for some in subjects.chunks(READS_AT_ONCE) {
        let places: Vec<_> = some.iter().map(Subject::entity).collect();
        let reads = join_all(places.iter().map(|place| entities::read(zookeeper, place))).await;
        for (subject, read) in some.iter().zip(reads) {
            let values = values(subject, read?.entries)?;
            if !values.is_empty() {
                described.push(Described { subject: subject.clone(), values });
            }
        }
    }
    Ok(described)
}

fn values(
    subject: &Subject,
    entries: Vec<(String, String)>,
) -> Result<Vec<(String, f64)>, DescribeQuotasError> {
    let is_wanted = |key: &str| match subject {
        Subject::Client(_) => is_quota(key),
        Subject::Ip(_) => key == stored::CONNECTION_CREATION_RATE,
    };
    let wanted = entries.into_iter().filter(|(key, _)| is_wanted(key));
    wanted
        .map(|(key, value)| match Value::parse(Kind::Double, &value) {
            Ok(Value::Double(number)) => Ok((key, number)),
            _ => Err(DescribeQuotasError::NoNumber { key, value }),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str) -> Named {
        Named::One(name.into())
    }

    fn subjects() -> [Subject; 5] {
        [
            Subject::Client(QuotaEntity::User(one("u"))),
            Subject::Client(QuotaEntity::User(Named::Default)),
            Subject::Client(QuotaEntity::UserClient(one("u"), one("c"))),
            Subject::Client(QuotaEntity::Client(one("c"))),
            Subject::Ip(one("127.0.0.1")),
        ]
    }

    fn taken(components: Vec<(&str, Match)>, strict: bool) -> Vec<usize> {
        let filter = Filter::new(components, strict).expect("a filter");
        let all = subjects();
        (0..all.len()).filter(|index| filter.takes(&all[*index])).collect()
    }

    #[test]
    fn a_strict_filter_wants_nothing_beside_what_it_names() {
        let u = || (USER, Match::Exactly(one("u")));
        assert_eq!(taken(vec![u()], false), [0, 2]);
        assert_eq!(taken(vec![u()], true), [0]);
        assert_eq!(taken(vec![(USER, Match::Any)], true), [0, 1]);
        assert_eq!(taken(vec![u(), (CLIENT_ID, Match::Any)], true), [2]);
        assert_eq!(taken(vec![(USER, Match::Exactly(Named::Default))], false), [1]);
        assert_eq!(taken(vec![(IP, Match::Any)], true), [4]);
        assert_eq!(taken(vec![], false), [0, 1, 2, 3, 4]);
        assert_eq!(taken(vec![], true), [0_usize; 0]);
    }
}
