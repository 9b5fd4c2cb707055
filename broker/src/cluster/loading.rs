//! Reading the cluster: what a new controller needs to know, and what changed since.
//!
//! Reads are pipelined. A node that disappears between listing and reading is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use coordinator::cluster::{Leadership, LiveBroker, Loaded, TopicRecord};
use storage::types::{BrokerId, TopicId, TopicPartition};

use super::admin::AdminError;
use super::client::ZooKeeper;
use super::ledger::{Ledger, Lost};
use super::znodes::{self, BrokerInfo, paths};

/// A topic with the version of its node.
pub(super) type Versioned<T> = (T, i32);

/// The cluster, and the versions at which its nodes were read.
pub(super) struct Reading {
    pub(super) loaded: Loaded,
    pub(super) broker_versions: BTreeMap<BrokerId, i32>,
    pub(super) topic_versions: BTreeMap<Arc<str>, i32>,
    /// czxid of the list that old tools write; `None` where there is none.
    pub(super) reassignment_list: Option<i64>,
}

impl Ledger {
    /// All a new controller needs. Notices left by its predecessor are dropped: it reads everything anew.
    pub(super) async fn load(&self) -> Result<Reading, Lost> {
        let brokers = self.brokers().await?;
        let names = self.names(paths::TOPICS).await?;
        let topics = self.topics(&names).await?;
        let partitions: Vec<TopicPartition> = topics
            .iter()
            .flat_map(|(record, _)| {
                let name = &record.name;
                record.assignments.keys().map(|index| TopicPartition::new(Arc::clone(name), *index))
            })
            .collect();
        let states = self
            .together(&partitions, |ledger, name| async move {
                Ok(ledger.state_and_zxid(&name).await?.map(|(state, zxid)| (name, state, zxid)))
            })
            .await?;
        let (mut leaderships, mut written) = (BTreeMap::new(), BTreeMap::new());
        for (name, state, zxid) in states.into_iter().flatten() {
            written.insert(name.clone(), zxid);
            leaderships.insert(name, state);
        }
        let preferred_elections = self.preferred_elections().await?;
        let (reassignments, reassignment_list) = self.reassignments().await?;
        let without_id = topics.iter().filter(|(record, _)| record.id.is_none()).count();
        let loaded = Loaded {
            brokers: brokers.iter().map(|(broker, _)| broker.clone()).collect(),
            topics: topics.iter().map(|(record, _)| record.clone()).collect(),
            leaderships,
            written,
            deletions: self.names(paths::DELETE_TOPICS).await?.into_iter().collect(),
            preferred_elections,
            reassignments,
            fresh_ids: fresh_ids(without_id),
        };
        Ok(Reading {
            loaded,
            broker_versions: brokers.into_iter().map(|(broker, version)| (broker.id, version)).collect(),
            topic_versions: topics.into_iter().map(|(record, version)| (record.name, version)).collect(),
            reassignment_list,
        })
    }

    /// All registered brokers.
    pub(super) async fn brokers(&self) -> Result<Vec<Versioned<LiveBroker>>, Lost> {
        let names = self.names(paths::BROKER_IDS).await?;
        let ids: Vec<BrokerId> = names.iter().filter_map(|name| name.parse().ok()).map(BrokerId).collect();
        let found = self.together(&ids, |ledger, id| async move { ledger.broker(id).await }).await?;
        Ok(found.into_iter().flatten().collect())
    }

    pub(super) async fn broker(&self, id: BrokerId) -> Result<Option<Versioned<LiveBroker>>, Lost> {
        match self.get(&paths::broker(id)).await? {
            Some((data, stat)) => Ok(Some((BrokerInfo::decode(id, &data, stat.czxid)?, stat.version))),
            None => Ok(None),
        }
    }

    pub(super) async fn topics(&self, names: &[Arc<str>]) -> Result<Vec<Versioned<TopicRecord>>, Lost> {
        let found = self.together(names, |ledger, name| async move { ledger.topic(&name).await }).await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// A topic whose node cannot be read is left alone, loudly: the others must not suffer for it.
    pub(super) async fn topic(&self, name: &str) -> Result<Option<Versioned<TopicRecord>>, Lost> {
        let Some((data, stat)) = self.get(&paths::topic(name)).await? else { return Ok(None) };
        match znodes::topic(name, &data) {
            Ok(record) => Ok(Some((record, stat.version))),
            Err(error) => {
                tracing::error!("the controller leaves topic {name} alone: {error}");
                Ok(None)
            }
        }
    }

    /// The names below a node, none where it does not exist.
    pub(super) async fn names(&self, path: &str) -> Result<Vec<Arc<str>>, Lost> {
        let children = self.children(path).await?.unwrap_or_default();
        Ok(children.into_iter().map(Arc::from).collect())
    }

    /// What an old tool asks for; nothing where it did not ask.
    pub(super) async fn preferred_elections(&self) -> Result<BTreeSet<TopicPartition>, Lost> {
        let path = paths::PREFERRED_ELECTION;
        let Some((data, _)) = self.get(path).await? else { return Ok(BTreeSet::new()) };
        match znodes::partition_list(path, &data) {
            Ok(partitions) => Ok(partitions.into_iter().collect()),
            Err(error) => {
                tracing::warn!("{error}");
                Ok(BTreeSet::new())
            }
        }
    }

    /// What an old tool wants reassigned, and the czxid of its list.
    pub(super) async fn reassignments(
        &self,
    ) -> Result<(BTreeMap<TopicPartition, Vec<BrokerId>>, Option<i64>), Lost> {
        let Some((data, stat)) = self.get(paths::REASSIGN_PARTITIONS).await? else {
            return Ok((BTreeMap::new(), None));
        };
        let list = znodes::reassignment(&data).unwrap_or_else(|error| {
            tracing::warn!("{error}");
            Vec::new()
        });
        Ok((list.into_iter().collect(), Some(stat.czxid)))
    }

    /// The states that leaders of an older inter-broker protocol wrote themselves, and their notices.
    pub(super) async fn isr_notices(
        &self,
    ) -> Result<(BTreeMap<TopicPartition, Leadership>, Vec<String>), Lost> {
        let mut notices = self.children(paths::ISR_CHANGES).await?.unwrap_or_default();
        notices.sort_unstable();
        let mut partitions = BTreeSet::new();
        for notice in &notices {
            let path = format!("{}/{notice}", paths::ISR_CHANGES);
            let Some((data, _)) = self.get(&path).await? else { continue };
            match znodes::partition_list(&path, &data) {
                Ok(named) => partitions.extend(named),
                Err(error) => tracing::warn!("{error}"),
            }
        }
        let partitions: Vec<TopicPartition> = partitions.into_iter().collect();
        let states = self
            .together(&partitions, |ledger, name| async move {
                Ok(ledger.state(&name).await?.map(|state| (name, state)))
            })
            .await?;
        Ok((states.into_iter().flatten().collect(), notices))
    }

    /// The brokers that tell of failed log directories, and their notices.
    pub(super) async fn log_dir_notices(&self) -> Result<(BTreeSet<BrokerId>, Vec<String>), Lost> {
        let mut notices = self.children(paths::LOG_DIR_EVENTS).await?.unwrap_or_default();
        notices.sort_unstable();
        let mut brokers = BTreeSet::new();
        for notice in &notices {
            let path = format!("{}/{notice}", paths::LOG_DIR_EVENTS);
            let Some((data, _)) = self.get(&path).await? else { continue };
            match znodes::log_dir_event(&path, &data) {
                Ok(broker) => {
                    brokers.insert(broker);
                }
                Err(error) => tracing::warn!("{error}"),
            }
        }
        Ok((brokers, notices))
    }
}

/// All registered brokers by id, read outside of any term.
pub(super) async fn all_brokers(zookeeper: &ZooKeeper) -> Result<Vec<LiveBroker>, AdminError> {
    let names = zookeeper.children(paths::BROKER_IDS).await?.unwrap_or_default();
    let mut ids: Vec<BrokerId> = names.iter().filter_map(|name| name.parse().ok()).map(BrokerId).collect();
    ids.sort_unstable();
    let mut brokers = Vec::with_capacity(ids.len());
    for id in ids {
        if let Some((data, stat)) = zookeeper.get(&paths::broker(id)).await? {
            brokers.push(BrokerInfo::decode(id, &data, stat.czxid)?);
        }
    }
    Ok(brokers)
}

/// Random topic ids (version 4), never zero.
pub(super) fn fresh_ids(count: usize) -> Vec<TopicId> {
    (0..count).map(|_| TopicId(uuid::Uuid::new_v4().into_bytes())).collect()
}
