//! What an administrator asks of the cluster: topics made, grown and deleted.
//!
//! A request is checked as Kafka checks it, in Kafka's order and words, then written where the controller watches; whoever
//! asked waits until the metadata cache shows it, or for as long as the request allows.

mod create;
mod delete;
mod grow;
mod names;

use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::error::ResponseError;
use storage::types::BrokerId;
use tokio::time::{Instant, timeout_at};
use zookeeper_client as zk;

pub(crate) use create::{CreatedTopic, NewTopic};
pub(crate) use grow::MorePartitions;
pub(crate) use names::name_fault;
use names::{collide, has_collision_characters, invalid_topic_name};

use super::client::ZooKeeper;
use super::configs::ConfigWriteError;
use super::znodes::Unreadable;
use crate::metadata::{MetadataCache, MetadataSnapshot};
use crate::quota::TooManyChanges;
use coordinator::cluster::AssignmentError;

/// A refusal as the client gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AdminError {
    pub(crate) error: ResponseError,
    pub(crate) message: Option<String>,
}

impl AdminError {
    fn new(error: ResponseError, message: impl Into<String>) -> AdminError {
        AdminError { error, message: Some(message.into()) }
    }

    /// Begun, but not seen to be through in time.
    fn timed_out() -> AdminError {
        AdminError { error: ResponseError::RequestTimedOut, message: None }
    }
}

impl From<zk::Error> for AdminError {
    fn from(error: zk::Error) -> AdminError {
        AdminError::new(ResponseError::UnknownServerError, format!("ZooKeeper: {error}"))
    }
}

impl From<Unreadable> for AdminError {
    fn from(error: Unreadable) -> AdminError {
        AdminError::new(ResponseError::UnknownServerError, error.to_string())
    }
}

impl From<ConfigWriteError> for AdminError {
    fn from(error: ConfigWriteError) -> AdminError {
        let code = match &error {
            ConfigWriteError::NoController { .. } => ResponseError::NotController,
            ConfigWriteError::ZooKeeper(_) | ConfigWriteError::Unreadable(_) => {
                ResponseError::UnknownServerError
            }
        };
        AdminError::new(code, error.to_string())
    }
}

impl From<TooManyChanges> for AdminError {
    /// The code has no other words than its own, and Kafka leaves those out.
    fn from(TooManyChanges: TooManyChanges) -> AdminError {
        AdminError { error: ResponseError::ThrottlingQuotaExceeded, message: None }
    }
}

impl From<AssignmentError> for AdminError {
    fn from(error: AssignmentError) -> AdminError {
        let code = match error {
            AssignmentError::NoPartitions | AssignmentError::TooManyPartitions => {
                ResponseError::InvalidPartitions
            }
            AssignmentError::NoReplicas | AssignmentError::TooFewBrokers { .. } => {
                ResponseError::InvalidReplicationFactor
            }
            AssignmentError::RackMissing => ResponseError::UnknownServerError,
        };
        AdminError::new(code, error.to_string())
    }
}

/// The administrator's hand. Only the controller's broker should use it: others answer NOT_CONTROLLER.
pub(crate) struct Admin<'a> {
    pub(crate) zookeeper: &'a Arc<ZooKeeper>,
    pub(crate) metadata: &'a MetadataCache,
    /// Topics get ids (inter-broker protocol 2.8 and above).
    pub(crate) topic_ids: bool,
}

impl Admin<'_> {
    /// Waits until the cluster looks as wanted. False when the time is over.
    async fn see(&self, deadline: Instant, wanted: impl Fn(&MetadataSnapshot) -> bool) -> bool {
        let mut changes = self.metadata.changes();
        let seen = async {
            while !wanted(&self.metadata.snapshot()) {
                if changes.changed().await.is_err() {
                    std::future::pending().await
                }
            }
        };
        timeout_at(deadline, seen).await.is_ok() || wanted(&self.metadata.snapshot())
    }

    async fn topic_exists(&self, path: &str) -> Result<bool, AdminError> {
        Ok(self.zookeeper.stat(path).await?.is_some())
    }
}

/// When a request that came now and allows `timeout_ms` is over; `None` where it does not wait.
fn deadline(timeout_ms: i32) -> Option<Instant> {
    let timeout = u64::try_from(timeout_ms).ok().filter(|ms| *ms > 0)?;
    Some(Instant::now() + Duration::from_millis(timeout))
}

/// Whether each of these partitions has a leader.
fn all_led(cluster: &MetadataSnapshot, topic: &str, partitions: &[i32]) -> bool {
    partitions.iter().all(|partition| {
        cluster.partition(topic, *partition).is_some_and(|state| state.leader != BrokerId::NONE)
    })
}

/// `a, b, c`
fn list(ids: &[BrokerId]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
