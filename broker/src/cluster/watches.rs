//! Watches of one term of office, turned into signals.
//!
//! A signal says where to look, never what is there: it may come twice, and it comes after a watch may have been lost.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use storage::types::BrokerId;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use zookeeper_client as zk;

use super::client::ZooKeeper;
use super::znodes::paths;

/// Signals that wait to be worked off. A full queue holds the watches back, it loses nothing.
const QUEUE_LENGTH: usize = 1024;
/// Pause before a watch that ZooKeeper did not take is set again.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    Brokers,
    Broker(BrokerId),
    Topics,
    Topic(Arc<str>),
    Deletions,
    LogDirs,
    PreferredElection,
    Reassignments,
    IsrChanges,
    /// `/controller` was written or deleted.
    Controller,
}

/// Ends all of its watches when it is dropped.
pub(super) struct Watches {
    zookeeper: Arc<ZooKeeper>,
    signals: mpsc::Sender<Signal>,
    tasks: JoinSet<()>,
    topics: BTreeMap<Arc<str>, AbortHandle>,
    brokers: BTreeMap<BrokerId, AbortHandle>,
}

impl Watches {
    /// Watches what every controller must; each signals once when it is set.
    pub(super) fn begin(zookeeper: Arc<ZooKeeper>) -> (Watches, mpsc::Receiver<Signal>) {
        let (signals, received) = mpsc::channel(QUEUE_LENGTH);
        let tasks = JoinSet::new();
        let (topics, brokers) = (BTreeMap::new(), BTreeMap::new());
        let mut watches = Watches { zookeeper, signals, tasks, topics, brokers };
        for (path, signal) in [
            (paths::BROKER_IDS, Signal::Brokers),
            (paths::TOPICS, Signal::Topics),
            (paths::DELETE_TOPICS, Signal::Deletions),
            (paths::LOG_DIR_EVENTS, Signal::LogDirs),
            (paths::ISR_CHANGES, Signal::IsrChanges),
        ] {
            let zookeeper = Arc::clone(&watches.zookeeper);
            watches.tasks.spawn(watch_children(zookeeper, path, watches.signals.clone(), signal));
        }
        watches.watch_node(paths::CONTROLLER.to_owned(), None, Signal::Controller, true);
        watches.watch_node(paths::PREFERRED_ELECTION.to_owned(), None, Signal::PreferredElection, true);
        watches.watch_node(paths::REASSIGN_PARTITIONS.to_owned(), None, Signal::Reassignments, true);
        (watches, received)
    }

    /// Watches exactly these topics; `known` are the versions at which they were read.
    pub(super) fn follow_topics<'a>(
        &mut self,
        topics: impl Iterator<Item = &'a Arc<str>>,
        known: &BTreeMap<Arc<str>, i32>,
    ) {
        let mut former = std::mem::take(&mut self.topics);
        for name in topics {
            let task = former.remove(name).filter(|task| !task.is_finished()).unwrap_or_else(|| {
                let signal = Signal::Topic(Arc::clone(name));
                self.watch_node(paths::topic(name), known.get(name).copied(), signal, false)
            });
            self.topics.insert(Arc::clone(name), task);
        }
        former.values().for_each(AbortHandle::abort);
    }

    /// Watches exactly these brokers; `known` are the versions at which they were read.
    pub(super) fn follow_brokers(
        &mut self,
        brokers: impl Iterator<Item = BrokerId>,
        known: &BTreeMap<BrokerId, i32>,
    ) {
        let mut former = std::mem::take(&mut self.brokers);
        for id in brokers {
            let task = former.remove(&id).filter(|task| !task.is_finished()).unwrap_or_else(|| {
                self.watch_node(paths::broker(id), known.get(&id).copied(), Signal::Broker(id), false)
            });
            self.brokers.insert(id, task);
        }
        former.values().for_each(AbortHandle::abort);
        // Ended tasks would pile up otherwise.
        while self.tasks.try_join_next().is_some() {}
    }

    fn watch_node(
        &mut self,
        path: String,
        known: Option<i32>,
        signal: Signal,
        survives_deletion: bool,
    ) -> AbortHandle {
        let zookeeper = Arc::clone(&self.zookeeper);
        self.tasks.spawn(watch_data(zookeeper, path, known, survives_deletion, self.signals.clone(), signal))
    }
}

async fn watch_children(
    zookeeper: Arc<ZooKeeper>,
    path: &'static str,
    signals: mpsc::Sender<Signal>,
    signal: Signal,
) {
    loop {
        let watcher = match zookeeper.children_and_watch(path).await {
            Ok((_, watcher)) => watcher,
            Err(zk::Error::ClientClosed) => return,
            Err(error) => {
                tracing::debug!(path, "the watch could not be set: {error}");
                tokio::time::sleep(RETRY_PAUSE).await;
                continue;
            }
        };
        if signals.send(signal.clone()).await.is_err() {
            return;
        }
        watcher.changed().await;
    }
}

/// Signals each version but `known`. Ends with the node unless it `survives_deletion`.
async fn watch_data(
    zookeeper: Arc<ZooKeeper>,
    path: String,
    mut known: Option<i32>,
    survives_deletion: bool,
    signals: mpsc::Sender<Signal>,
    signal: Signal,
) {
    loop {
        let (found, watcher) = match zookeeper.get_and_watch(&path).await {
            Ok(found) => found,
            Err(zk::Error::ClientClosed) => return,
            Err(error) => {
                tracing::debug!(path, "the watch could not be set: {error}");
                tokio::time::sleep(RETRY_PAUSE).await;
                continue;
            }
        };
        let version = found.map(|(_, stat)| stat.version);
        if version.is_none() && !survives_deletion {
            return;
        }
        if (survives_deletion || version != known) && signals.send(signal.clone()).await.is_err() {
            return;
        }
        known = version;
        watcher.changed().await;
    }
}
