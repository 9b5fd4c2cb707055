//! Dynamic configuration in ZooKeeper: writing it and telling of it.
//!
//! Whoever changes a config writes the entity's node first and a notice after it; `config_changes` hears the notices.
//! Which keys are allowed is not known here.

use zookeeper_client as zk;

use super::client::{Lifetime, MultiError, Write, ZooKeeper};
use super::registration::make_path;
use super::znodes::{self, ControllerInfo, Unreadable, encode_config, encode_config_change, paths};

#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigWriteError {
    #[error("ZooKeeper: {0}")]
    ZooKeeper(#[from] zk::Error),
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// There is none, it changed meanwhile, or a KRaft controller has taken over.
    #[error("Cannot set entity configs for {entity} when there is no controller.")]
    NoController { entity: String },
}

/// Overwrites an entity's config, without a notice.
///
/// Guarded by the version of `/controller`, as Apache does since KIP-866: a KRaft controller that takes over must not miss it.
pub(crate) async fn write(
    zookeeper: &ZooKeeper,
    entity_type: &str,
    entity: &str,
    entries: &[(String, String)],
) -> Result<(), ConfigWriteError> {
    let path = paths::config(entity_type, entity);
    let no_controller = || ConfigWriteError::NoController { entity: format!("{entity_type} {entity}") };
    let guard = guard(zookeeper).await?.ok_or_else(no_controller)?;
    let data = encode_config(entries);
    let guarded = [guard, Write::Set { path: path.clone(), data: data.clone(), version: None }];
    loop {
        match zookeeper.multi(&guarded).await {
            Ok(_) => return Ok(()),
            Err(MultiError::Refused { index: 0, .. }) => return Err(no_controller()),
            Err(MultiError::Refused { source: zk::Error::NoNode, .. }) => {}
            Err(MultiError::Refused { source, .. } | MultiError::Failed(source)) => return Err(source.into()),
        }
        match create(zookeeper, &path, &data).await {
            Ok(()) => return Ok(()),
            Err(zk::Error::NodeExists) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The check that `/controller` is what it is now; `None` where there is no controller, or one of KRaft.
async fn guard(zookeeper: &ZooKeeper) -> Result<Option<Write>, ConfigWriteError> {
    let Some((controller, stat)) = zookeeper.get(paths::CONTROLLER).await? else { return Ok(None) };
    let is_of_zookeeper = ControllerInfo::decode(&controller)?.kraft_epoch <= 0;
    let path = paths::CONTROLLER.to_owned();
    Ok(is_of_zookeeper.then_some(Write::Check { path, version: stat.version }))
}

/// Creates a topic and its config, both or none: a config that was left by a topic of that name is overwritten.
/// `Ok(false)`: the topic exists.
pub(crate) async fn create_topic(
    zookeeper: &ZooKeeper,
    topic: &str,
    entries: &[(String, String)],
    assignments: Vec<u8>,
) -> Result<bool, ConfigWriteError> {
    let (path, data) = (paths::topic_config(topic), encode_config(entries));
    let no_controller = || ConfigWriteError::NoController { entity: format!("topics {topic}") };
    let guard = guard(zookeeper).await?.ok_or_else(no_controller)?;
    let creation = |path, data| Write::Create { path, data, lifetime: Lifetime::Persistent };
    let mut writes =
        [guard, creation(path.clone(), data.clone()), creation(paths::topic(topic), assignments)];
    loop {
        match zookeeper.multi(&writes).await {
            Ok(_) => return Ok(true),
            Err(MultiError::Refused { index: 0, .. }) => return Err(no_controller()),
            Err(MultiError::Refused { index: 1, source: zk::Error::NodeExists }) => {
                writes[1] = Write::Set { path: path.clone(), data: data.clone(), version: None };
            }
            // Somebody else's deletion came between.
            Err(MultiError::Refused { index: 1, source: zk::Error::NoNode })
                if matches!(writes[1], Write::Set { .. }) =>
            {
                writes[1] = creation(path.clone(), data.clone());
            }
            Err(MultiError::Refused { index: 2, source: zk::Error::NodeExists }) => return Ok(false),
            Err(MultiError::Refused { source, .. } | MultiError::Failed(source)) => return Err(source.into()),
        }
    }
}

async fn create(zookeeper: &ZooKeeper, path: &str, data: &[u8]) -> Result<(), zk::Error> {
    match zookeeper.create(path, data, Lifetime::Persistent).await {
        Err(zk::Error::NoNode) => {
            let parent = path.rfind('/').map_or("", |at| &path[..at]);
            make_path(zookeeper, parent).await?;
            zookeeper.create(path, data, Lifetime::Persistent).await.map(drop)
        }
        done => done.map(drop),
    }
}

/// Overwrites an entity's config and tells every broker.
///
/// An emptied config of a user, client or address goes with its node, unless others stand below it.
pub(crate) async fn change(
    zookeeper: &ZooKeeper,
    entity_type: &str,
    entity: &str,
    entries: &[(String, String)],
) -> Result<(), ConfigWriteError> {
    let is_quota = matches!(entity_type, "users" | "clients" | "ips");
    if !(is_quota && entries.is_empty() && remove(zookeeper, &paths::config(entity_type, entity)).await?) {
        write(zookeeper, entity_type, entity, entries).await?;
    }
    notify(zookeeper, &format!("{entity_type}/{entity}")).await?;
    Ok(())
}

/// Whether the node could go. With it goes a user's empty list of clients, and the user if it holds nothing else.
async fn remove(zookeeper: &ZooKeeper, path: &str) -> Result<bool, ConfigWriteError> {
    if zookeeper.children(path).await?.is_some_and(|below| !below.is_empty()) {
        return Ok(false);
    }
    let mut doomed = vec![path.to_owned()];
    if let Some((user, client)) =
        path.strip_prefix("/config/users/").and_then(|rest| rest.split_once("/clients/"))
    {
        let clients = format!("/config/users/{user}/clients");
        let siblings = zookeeper.children(&clients).await?.unwrap_or_default();
        if siblings.iter().all(|sibling| sibling == client) {
            doomed.push(clients);
            let path = format!("/config/users/{user}");
            let held = zookeeper.get(&path).await?;
            let is_empty = match held {
                Some((data, _)) => znodes::config(&path, &data)?.is_empty(),
                None => false,
            };
            if is_empty {
                doomed.push(path);
            }
        }
    }
    for path in doomed {
        match zookeeper.delete(&path, None).await {
            Ok(()) | Err(zk::Error::NoNode | zk::Error::NotEmpty) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

/// `entity_path`: `topics/t1`, `brokers/<default>`, `users/alice/clients/c1`.
pub(crate) async fn notify(zookeeper: &ZooKeeper, entity_path: &str) -> Result<(), zk::Error> {
    let notice = encode_config_change(entity_path);
    match zookeeper.create_sequential(paths::CONFIG_CHANGE_PREFIX, &notice).await {
        Err(zk::Error::NoNode) => {
            make_path(zookeeper, paths::CONFIG_CHANGES).await?;
            zookeeper.create_sequential(paths::CONFIG_CHANGE_PREFIX, &notice).await.map(drop)
        }
        done => done.map(drop),
    }
}
