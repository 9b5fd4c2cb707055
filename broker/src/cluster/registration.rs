//! How a broker takes its place in the cluster: the znodes every broker makes sure of, the cluster's id, a broker id
//! where none is configured, and the ephemeral registration.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::join_all;
use storage::types::{BrokerId, TimestampMs};
use tokio::time::{Instant, timeout};
use tracing::{info, warn};
use uuid::Uuid;
use zookeeper_client as zk;

use crate::cluster::client::{Lifetime, MultiError, Write, Written, ZooKeeper};
use crate::cluster::znodes::{self, BrokerInfo, Unreadable, paths};

#[derive(Debug, thiserror::Error)]
pub(crate) enum RegistrationError {
    #[error("ZooKeeper: {0}")]
    ZooKeeper(#[from] zk::Error),
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    #[error(
        "broker.id={id} is registered by another broker that is alive ({}). Give one of the two another broker.id",
        paths::broker(*.id)
    )]
    Taken { id: BrokerId },
}

impl From<MultiError> for RegistrationError {
    fn from(error: MultiError) -> Self {
        match error {
            MultiError::Refused { source, .. } | MultiError::Failed(source) => source.into(),
        }
    }
}

/// Ends a session of this broker's former life at once, where it can be told that nobody is behind it any more.
pub(crate) trait FormerSessions: Sync {
    /// True where the session was ended.
    fn end(&self, session: i64) -> impl Future<Output = bool> + Send;
}

/// With a real ensemble nobody but the ensemble can tell.
pub(crate) struct OnlyTimeEndsSessions;

impl FormerSessions for OnlyTimeEndsSessions {
    async fn end(&self, _: i64) -> bool {
        false
    }
}

/// Creates what is missing of the paths all brokers rely on.
///
/// All are asked for at once: a session's requests take effect in their order, so parents come before their children.
pub(crate) async fn make_persistent_paths(zookeeper: &ZooKeeper) -> Result<(), zk::Error> {
    let mut wanted: Vec<&str> = Vec::new();
    for path in paths::PERSISTENT {
        let parents = path.match_indices('/').skip(1).map(|(end, _)| &path[..end]);
        for path in parents.chain([path]) {
            if !wanted.contains(&path) {
                wanted.push(path);
            }
        }
    }
    let made = wanted.iter().map(|path| zookeeper.create(path, &[], Lifetime::Persistent));
    for (path, made) in wanted.iter().zip(join_all(made).await) {
        match made {
            Ok(_) | Err(zk::Error::NodeExists) => {}
            // A lost connection may have changed the order.
            Err(zk::Error::NoNode) => make_path(zookeeper, path).await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Creates `path` with empty data, parents first.
pub(crate) async fn make_path(zookeeper: &ZooKeeper, path: &str) -> Result<(), zk::Error> {
    match zookeeper.create(path, &[], Lifetime::Persistent).await {
        Ok(_) | Err(zk::Error::NodeExists) => Ok(()),
        Err(zk::Error::NoNode) => {
            let parent = path.rfind('/').map_or("", |at| &path[..at]);
            if parent.is_empty() {
                return Err(zk::Error::NoNode);
            }
            Box::pin(make_path(zookeeper, parent)).await?;
            Box::pin(make_path(zookeeper, path)).await
        }
        Err(error) => Err(error),
    }
}

/// The cluster's id: 16 random bytes as 22 characters, made by the first broker.
pub(crate) async fn cluster_id(zookeeper: &ZooKeeper) -> Result<String, RegistrationError> {
    loop {
        if let Some((data, _)) = zookeeper.get(paths::CLUSTER_ID).await? {
            return Ok(znodes::cluster_id(&data)?);
        }
        make_path(zookeeper, "/cluster").await?;
        let id = URL_SAFE_NO_PAD.encode(Uuid::new_v4().as_bytes());
        let data = znodes::encode_cluster_id(&id);
        match zookeeper.create(paths::CLUSTER_ID, &data, Lifetime::Persistent).await {
            Ok(_) => return Ok(id),
            // Another broker was first: take its.
            Err(zk::Error::NodeExists) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// A broker id that no configured one may have: the version of `/brokers/seqid` above `reserved.broker.max.id`.
pub(crate) async fn generate_broker_id(
    zookeeper: &ZooKeeper,
    reserved_max: i32,
) -> Result<BrokerId, RegistrationError> {
    make_path(zookeeper, paths::BROKER_SEQUENCE).await?;
    let stat = zookeeper.set(paths::BROKER_SEQUENCE, &[], None).await?;
    Ok(BrokerId(reserved_max.saturating_add(stat.version)))
}

/// Registers the broker and returns its epoch, the `czxid` of its znode (KIP-380).
///
/// Where a session of this broker's former life still holds the znode, it is waited out: Apache's broker gives up here
/// and has to be started again. `former_max` bounds the wait.
pub(crate) async fn register(
    zookeeper: &ZooKeeper,
    broker: &BrokerInfo,
    former: &impl FormerSessions,
    former_max: Duration,
    now: TimestampMs,
) -> Result<i64, RegistrationError> {
    let path = paths::broker(broker.id);
    let data = broker.encode(now);
    let deadline = Instant::now() + former_max;
    let mut said = false;
    loop {
        let writes = [
            Write::Create { path: path.clone(), data: Vec::new(), lifetime: Lifetime::Ephemeral },
            Write::Set { path: path.clone(), data: data.clone(), version: None },
        ];
        match zookeeper.multi(&writes).await {
            Ok(written) => return created_epoch(zookeeper, &path, &written).await,
            Err(MultiError::Refused { source: zk::Error::NodeExists, .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let (held, gone) = zookeeper.get_and_watch(&path).await?;
        let Some((_, stat)) = held else { continue };
        if stat.ephemeral_owner == zookeeper.session_id() {
            return Ok(stat.czxid);
        }
        if former.end(stat.ephemeral_owner).await {
            info!(broker = %broker.id, "ended the session of this broker's former run");
            continue;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(RegistrationError::Taken { id: broker.id });
        }
        if !std::mem::replace(&mut said, true) {
            warn!(
                broker = %broker.id,
                seconds = left.as_secs(),
                "this broker's former session still holds {path}; waiting for it to expire"
            );
        }
        // Whatever the outcome, the next round looks again.
        let _ = timeout(left, gone.changed()).await;
    }
}

/// The multi's own answer tells it, but for servers that leave the stat of a created node out (ZOOKEEPER-4026).
async fn created_epoch(
    zookeeper: &ZooKeeper,
    path: &str,
    written: &[Written],
) -> Result<i64, RegistrationError> {
    let told = written.iter().find_map(|one| match one {
        Written::Created(stat) | Written::Set(stat) if stat.czxid > 0 => Some(stat.czxid),
        _ => None,
    });
    match told {
        Some(epoch) => Ok(epoch),
        None => Ok(zookeeper.stat(path).await?.ok_or(zk::Error::NoNode)?.czxid),
    }
}
