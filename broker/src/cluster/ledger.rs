//! The controller's hand in ZooKeeper: each write guarded by the version of `/controller_epoch`.
//!
//! A write either happens while this broker is the controller or not at all. What another controller's epoch stops is
//! reported as `Lost`, and the term is over.

use std::sync::Arc;
use std::time::Duration;

use coordinator::cluster::{Leadership, Operation, Outcome};
use storage::types::{BrokerId, TopicPartition};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tracing::warn;
use zookeeper_client as zk;

use super::client::{Lifetime, MultiError, Write, Written, ZooKeeper};
use super::znodes::{self, encode_state, encode_topic, paths};

/// Pause before a call that ZooKeeper did not answer is made again.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// States of partitions that are written in one transaction. A thousand of them would still fit into what ZooKeeper takes
/// at once (`jute.maxbuffer`, 1 MiB).
const BUNDLE: usize = 64;

/// Why a controller's term ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Lost {
    #[error("another controller was elected")]
    Moved,
    #[error("the ZooKeeper session expired")]
    Expired,
    #[error("{0}")]
    Broken(String),
}

impl From<znodes::Unreadable> for Lost {
    fn from(error: znodes::Unreadable) -> Lost {
        Lost::Broken(error.to_string())
    }
}

/// ZooKeeper during one term of office.
#[derive(Clone)]
pub(super) struct Ledger {
    pub(super) zookeeper: Arc<ZooKeeper>,
    /// Number of the session that holds the broker's entry and its office.
    session: u64,
    /// Version of `/controller_epoch` that this term's election wrote.
    fence: i32,
    in_flight: Arc<Semaphore>,
}

impl Ledger {
    pub(super) fn new(zookeeper: Arc<ZooKeeper>, session: u64, fence: i32, in_flight_max: usize) -> Ledger {
        let in_flight = Arc::new(Semaphore::new(in_flight_max.max(1)));
        Ledger { zookeeper, session, fence, in_flight }
    }

    /// Whether the term belongs to session `number`.
    pub(super) fn is_of(&self, number: u64) -> bool {
        self.session == number
    }

    /// The outcomes in the order of the operations. Few are written in one transaction, all that a new topic needs; of more,
    /// neighbours of one kind at the same time, those of partitions many in one transaction.
    pub(super) async fn execute(&self, operations: &[Operation]) -> Result<Vec<Outcome>, Lost> {
        if operations.len() <= BUNDLE
            && let Some(outcomes) = self.perform_at_once(operations).await?
        {
            return Ok(outcomes);
        }
        let mut outcomes = Vec::with_capacity(operations.len());
        for alike in
            operations.chunk_by(|one, next| std::mem::discriminant(one) == std::mem::discriminant(next))
        {
            let bundle =
                if alike.first().is_some_and(|one| single_write(one).is_some()) { BUNDLE } else { 1 };
            let bundles: Vec<Vec<Operation>> = alike.chunks(bundle).map(<[_]>::to_vec).collect();
            let written = self
                .together(&bundles, |ledger, bundle| async move { ledger.perform_all(&bundle).await })
                .await?;
            outcomes.extend(written.into_iter().flatten());
        }
        Ok(outcomes)
    }

    /// In one transaction where they are several; one by one where that is refused, so that each has an outcome of its own.
    async fn perform_all(&self, operations: &[Operation]) -> Result<Vec<Outcome>, Lost> {
        if let Some(outcomes) = self.perform_at_once(operations).await? {
            return Ok(outcomes);
        }
        let mut outcomes = Vec::with_capacity(operations.len());
        for operation in operations {
            outcomes.push(self.perform(operation).await?);
        }
        Ok(outcomes)
    }

    /// In one transaction; `None` where they are not of that kind, are not several, or where ZooKeeper refused it.
    async fn perform_at_once(&self, operations: &[Operation]) -> Result<Option<Vec<Outcome>>, Lost> {
        let writes: Option<Vec<Write>> = operations.iter().map(single_write).collect();
        let Some(writes) = writes.filter(|writes| writes.len() > 1) else { return Ok(None) };
        let written = self.write_all(writes).await?;
        Ok(written.ok().map(|versions| versions.into_iter().map(Outcome::Written).collect()))
    }

    /// Does `work` for each item at the same time, as far as the limit on requests in flight allows.
    pub(super) async fn together<T, R, F, W>(&self, items: &[T], work: F) -> Result<Vec<R>, Lost>
    where
        T: Clone + Send + 'static,
        R: Send + 'static,
        F: Fn(Ledger, T) -> W,
        W: Future<Output = Result<R, Lost>> + Send + 'static,
    {
        let mut tasks = JoinSet::new();
        for (index, item) in items.iter().cloned().enumerate() {
            let permit = Arc::clone(&self.in_flight).acquire_owned().await;
            let done = work(self.clone(), item);
            tasks.spawn(async move {
                let result = done.await;
                drop(permit);
                (index, result)
            });
        }
        let mut results: Vec<Option<R>> = items.iter().map(|_| None).collect();
        while let Some(done) = tasks.join_next().await {
            let (index, result) = done.map_err(|error| Lost::Broken(error.to_string()))?;
            if let Some(slot) = results.get_mut(index) {
                *slot = Some(result?);
            }
        }
        results.into_iter().map(|result| result.ok_or(Lost::Moved)).collect()
    }

    async fn perform(&self, operation: &Operation) -> Result<Outcome, Lost> {
        match operation {
            Operation::CreateTopicDirectory(topic) => {
                self.create(paths::topic_partitions(topic), Vec::new()).await
            }
            Operation::CreatePartitionDirectory(name) => {
                self.create(paths::partition(name), Vec::new()).await
            }
            Operation::CreateState(name, leadership) => self.create_state(name, leadership).await,
            Operation::SetState(name, leadership) => self.set_state(name, leadership).await,
            Operation::SetTopic(record) => {
                self.set(paths::topic(&record.name), encode_topic(record), None).await
            }
            Operation::DeleteTopic(topic) => {
                self.delete_tree(paths::topic(topic)).await?;
                self.delete(paths::topic_config(topic)).await?;
                self.delete(paths::deletion(topic)).await
            }
            Operation::DropDeletion(topic) => self.delete(paths::deletion(topic)).await,
            Operation::DropPreferredElection => self.delete(paths::PREFERRED_ELECTION.to_owned()).await,
            Operation::DropLogDirNotices(names) => self.delete_all(paths::LOG_DIR_EVENTS, names).await,
            Operation::DropIsrNotices(names) => self.delete_all(paths::ISR_CHANGES, names).await,
            Operation::DropReassignments(partitions) => self.drop_reassignments(partitions).await,
            Operation::ReadUncleanElection(topic) => self.read_unclean_election(topic).await,
        }
    }

    async fn create(&self, path: String, data: Vec<u8>) -> Result<Outcome, Lost> {
        self.write(creation(path, data)).await
    }

    async fn set(&self, path: String, data: Vec<u8>, version: Option<i32>) -> Result<Outcome, Lost> {
        self.write(Write::Set { path, data, version }).await
    }

    /// What is not there counts as deleted.
    async fn delete(&self, path: String) -> Result<Outcome, Lost> {
        self.write(Write::Delete { path, version: None }).await
    }

    async fn delete_all(&self, parent: &str, names: &[String]) -> Result<Outcome, Lost> {
        for name in names {
            self.delete(format!("{parent}/{name}")).await?;
        }
        Ok(Outcome::Written(0))
    }

    async fn drop_reassignments(
        &self,
        partitions: &[(TopicPartition, Option<Vec<BrokerId>>)],
    ) -> Result<Outcome, Lost> {
        let path = paths::REASSIGN_PARTITIONS;
        if partitions.is_empty() || self.get(path).await?.is_none() {
            return Ok(Outcome::Written(0));
        }
        let (mut list, _) = self.reassignments().await?;
        let before = list.len();
        for (partition, target) in partitions {
            if target.is_none() || list.get(partition) == target.as_ref() {
                list.remove(partition);
            }
        }
        if list.is_empty() {
            self.delete(path.to_owned()).await
        } else if list.len() < before {
            self.set(path.to_owned(), znodes::encode_reassignment(&list), None).await
        } else {
            Ok(Outcome::Written(0))
        }
    }

    async fn create_state(&self, name: &TopicPartition, leadership: &Leadership) -> Result<Outcome, Lost> {
        let outcome = self.create(paths::partition_state(name), encode_state(leadership)).await?;
        if outcome != Outcome::Exists {
            return Ok(outcome);
        }
        // It may be the own one, written before a connection broke.
        match self.state(name).await? {
            Some(found) if Leadership { version: 0, ..leadership.clone() } == found => {
                Ok(Outcome::Written(0))
            }
            _ => Ok(Outcome::Exists),
        }
    }

    async fn set_state(&self, name: &TopicPartition, leadership: &Leadership) -> Result<Outcome, Lost> {
        let version = leadership.version;
        let path = paths::partition_state(name);
        let outcome = self.set(path, encode_state(leadership), Some(version)).await?;
        if !matches!(outcome, Outcome::Conflict(_)) {
            return Ok(outcome);
        }
        let found = self.state(name).await?;
        let own = Leadership { version: version.wrapping_add(1), ..leadership.clone() };
        if found.as_ref() == Some(&own) {
            Ok(Outcome::Written(own.version))
        } else {
            Ok(Outcome::Conflict(found))
        }
    }

    /// `None` where the partition was never started.
    pub(super) async fn state(&self, name: &TopicPartition) -> Result<Option<Leadership>, Lost> {
        Ok(self.state_and_zxid(name).await?.map(|(state, _)| state))
    }

    /// With the position of its last write in ZooKeeper's order (`mzxid`).
    pub(super) async fn state_and_zxid(
        &self,
        name: &TopicPartition,
    ) -> Result<Option<(Leadership, i64)>, Lost> {
        let path = paths::partition_state(name);
        match self.get(&path).await? {
            Some((data, stat)) => Ok(Some((znodes::state(name, &data, stat.version)?, stat.mzxid))),
            None => Ok(None),
        }
    }

    async fn delete_tree(&self, path: String) -> Result<(), Lost> {
        let children = self.children(&path).await?.unwrap_or_default();
        let below: Vec<String> = children.iter().map(|child| format!("{path}/{child}")).collect();
        for child in below {
            Box::pin(self.delete_tree(child)).await?;
        }
        self.delete(path).await.map(drop)
    }

    async fn read_unclean_election(&self, topic: &str) -> Result<Outcome, Lost> {
        let path = paths::topic_config(topic);
        let Some((data, _)) = self.get(&path).await? else { return Ok(Outcome::UncleanElection(None)) };
        Ok(match znodes::config(&path, &data) {
            Ok(config) => {
                let said = config.iter().find(|(key, _)| key == "unclean.leader.election.enable");
                Outcome::UncleanElection(said.map(|(_, value)| value.trim().eq_ignore_ascii_case("true")))
            }
            Err(error) => Outcome::Failed(error.to_string()),
        })
    }

    /// One write, fenced. A node that is gone, or not there to be deleted, is no failure of the fence.
    async fn write(&self, write: Write) -> Result<Outcome, Lost> {
        let is_delete = matches!(write, Write::Delete { .. });
        Ok(match self.write_all(vec![write]).await? {
            Ok(versions) => Outcome::Written(versions.first().copied().unwrap_or(0)),
            Err(zk::Error::NodeExists) => Outcome::Exists,
            Err(zk::Error::NoNode) if is_delete => Outcome::Written(0),
            Err(zk::Error::BadVersion | zk::Error::NoNode) => Outcome::Conflict(None),
            Err(other) => Outcome::Failed(other.to_string()),
        })
    }

    /// All of the writes or none, fenced: the versions they have now, or why the first of them was refused.
    async fn write_all(&self, mut writes: Vec<Write>) -> Result<Result<Vec<i32>, zk::Error>, Lost> {
        writes.insert(0, Write::Check { path: paths::CONTROLLER_EPOCH.to_owned(), version: self.fence });
        loop {
            match self.zookeeper.multi(&writes).await {
                Ok(written) => return Ok(Ok(written.iter().skip(1).map(version).collect())),
                Err(MultiError::Refused { index: 0, source: zk::Error::BadVersion | zk::Error::NoNode }) => {
                    return Err(Lost::Moved);
                }
                Err(MultiError::Refused { source, .. }) => return Ok(Err(source)),
                Err(MultiError::Failed(error)) => self.wait_out(&error).await?,
            }
        }
    }

    /// Reads until ZooKeeper answers; `None` where there is no such node.
    pub(super) async fn get(&self, path: &str) -> Result<Option<(Vec<u8>, zk::Stat)>, Lost> {
        loop {
            match self.zookeeper.get(path).await {
                Ok(found) => return Ok(found),
                Err(error) => self.wait_out(&error).await?,
            }
        }
    }

    /// Lists until ZooKeeper answers; `None` where there is no such node.
    pub(super) async fn children(&self, path: &str) -> Result<Option<Vec<String>>, Lost> {
        loop {
            match self.zookeeper.children(path).await {
                Ok(found) => return Ok(found),
                Err(error) => self.wait_out(&error).await?,
            }
        }
    }

    /// An ensemble that is away ends no term; an expired session does.
    async fn wait_out(&self, error: &zk::Error) -> Result<(), Lost> {
        if self.zookeeper.session().borrow().number != self.session {
            return Err(Lost::Expired);
        }
        match error {
            zk::Error::ConnectionLoss
            | zk::Error::Timeout
            | zk::Error::SessionExpired
            | zk::Error::SessionMoved
            | zk::Error::Throttled
            | zk::Error::Custom(_) => {
                warn!("ZooKeeper does not answer ({error}); the controller waits for it");
                tokio::time::sleep(RETRY_PAUSE).await;
                Ok(())
            }
            other => Err(Lost::Broken(format!("ZooKeeper: {other}"))),
        }
    }
}

/// What is a write of one znode, and may share a transaction with others.
fn single_write(operation: &Operation) -> Option<Write> {
    match operation {
        Operation::CreateTopicDirectory(topic) => Some(creation(paths::topic_partitions(topic), Vec::new())),
        Operation::CreatePartitionDirectory(name) => Some(creation(paths::partition(name), Vec::new())),
        Operation::CreateState(name, leadership) => {
            Some(creation(paths::partition_state(name), encode_state(leadership)))
        }
        Operation::SetState(name, leadership) => Some(Write::Set {
            path: paths::partition_state(name),
            data: encode_state(leadership),
            version: Some(leadership.version),
        }),
        _ => None,
    }
}

fn creation(path: String, data: Vec<u8>) -> Write {
    Write::Create { path, data, lifetime: Lifetime::Persistent }
}

fn version(written: &Written) -> i32 {
    match written {
        Written::Set(stat) => stat.version,
        Written::Checked | Written::Created(_) | Written::Deleted => 0,
    }
}
