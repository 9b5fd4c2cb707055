//! Which broker of which cluster this is: what is configured, what ZooKeeper says, and what the log directories
//! remember (`meta.properties`) have to agree. Knows no file; the caller reads and writes them.

use storage::directory::MetaProperties;
use storage::types::BrokerId;
use thiserror::Error;

/// Why the broker must not start on these directories.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum IdentityError {
    #[error(
        "the cluster id is {cluster}, but meta.properties in {directory} says {stored}: this broker would join the wrong \
         cluster. Check zookeeper.connect and log.dirs"
    )]
    OtherCluster { cluster: String, stored: String, directory: String },
    #[error(
        "broker.id={configured} does not match broker.id={stored} in meta.properties of {directory}. If you moved your \
         data, configure broker.id={stored}; for a new broker, remove all data in its log directories"
    )]
    OtherBroker { configured: i32, stored: i32, directory: String },
    #[error(
        "meta.properties of {first} says broker.id={one}, that of {second} says {other}: log.dirs mixes the directories of \
         different brokers"
    )]
    MixedBrokers { first: String, one: i32, second: String, other: i32 },
    #[error(
        "broker.id is not configured and broker.id.generation.enable=false: set broker.id to a number from 0"
    )]
    NoId,
    #[error(
        "meta.properties of {directory} has version {version}: it belongs to a KRaft node. This broker works with \
         ZooKeeper (version 0)"
    )]
    KRaft { directory: String, version: i32 },
}

/// A directory's `meta.properties`, by the directory's path.
pub(crate) type Remembered<'a> = (&'a str, &'a MetaProperties);

/// The broker id to use; `None` asks for a generated one.
pub(crate) fn broker_id(
    configured: Option<BrokerId>,
    generation_enabled: bool,
    directories: &[Remembered<'_>],
) -> Result<Option<BrokerId>, IdentityError> {
    let ids = directories.iter().filter_map(|(directory, meta)| Some((*directory, meta.broker_id?)));
    let mut first: Option<(&str, i32)> = None;
    for (directory, stored) in ids {
        match (configured, first) {
            (Some(BrokerId(configured)), _) if configured != stored => {
                return Err(IdentityError::OtherBroker { configured, stored, directory: directory.into() });
            }
            (_, Some((earlier, one))) if one != stored => {
                return Err(IdentityError::MixedBrokers {
                    first: earlier.into(),
                    one,
                    second: directory.into(),
                    other: stored,
                });
            }
            _ => first = Some((directory, stored)),
        }
    }
    match (configured, first) {
        (Some(id), _) => Ok(Some(id)),
        (None, Some((_, id))) => Ok(Some(BrokerId(id))),
        (None, None) if generation_enabled => Ok(None),
        (None, None) => Err(IdentityError::NoId),
    }
}

/// Whether the directories belong to the cluster.
pub(crate) fn check_cluster(cluster: &str, directories: &[Remembered<'_>]) -> Result<(), IdentityError> {
    for (directory, meta) in directories {
        if meta.version != 0 {
            return Err(IdentityError::KRaft { directory: (*directory).into(), version: meta.version });
        }
        if let Some(stored) = meta.cluster_id.as_deref().filter(|stored| *stored != cluster) {
            return Err(IdentityError::OtherCluster {
                cluster: cluster.into(),
                stored: stored.into(),
                directory: (*directory).into(),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(broker: i32, cluster: &str) -> MetaProperties {
        MetaProperties {
            broker_id: Some(broker),
            cluster_id: Some(cluster.into()),
            ..MetaProperties::default()
        }
    }

    #[test]
    fn the_stored_id_serves_where_none_is_configured() {
        assert_eq!(broker_id(None, true, &[("/a", &meta(7, "c"))]), Ok(Some(BrokerId(7))));
        assert_eq!(broker_id(None, true, &[]), Ok(None));
        assert_eq!(broker_id(None, false, &[]), Err(IdentityError::NoId));
    }

    #[test]
    fn another_broker_s_directory_is_refused() {
        let refused = broker_id(Some(BrokerId(1)), true, &[("/a", &meta(7, "c"))]);
        assert!(matches!(refused, Err(IdentityError::OtherBroker { configured: 1, stored: 7, .. })));
        let mixed = broker_id(None, true, &[("/a", &meta(7, "c")), ("/b", &meta(8, "c"))]);
        assert!(matches!(mixed, Err(IdentityError::MixedBrokers { one: 7, other: 8, .. })));
    }

    #[test]
    fn another_cluster_s_directory_is_refused() {
        assert_eq!(check_cluster("c", &[("/a", &meta(7, "c"))]), Ok(()));
        assert!(matches!(
            check_cluster("d", &[("/a", &meta(7, "c"))]),
            Err(IdentityError::OtherCluster { .. })
        ));
    }
}
