//! Being a candidate: waits until there is no controller, tries to become it, serves, and starts over.
//!
//! Always true here: a term begins with `/controller` and `/controller_epoch` written in one transaction, and ends when
//! either changes hands or the session expires. Idle costs nothing: everything waits for a watch, a question or an answer.

mod desk;
mod links;
mod term;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use coordinator::cluster::{Assignment, ElectionKind, Event, IsrChange, Reply, Settings};
use kafka_protocol::messages::{
    LeaderAndIsrRequest, LeaderAndIsrResponse, StopReplicaRequest, StopReplicaResponse,
    UpdateMetadataRequest, UpdateMetadataResponse,
};
use storage::types::{BrokerId, TimestampMs, TopicId, TopicPartition};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tracing::{info, warn};
use zookeeper_client as zk;

use super::client::{Lifetime, MultiError, Write, Written, ZooKeeper};
use super::ledger::{Ledger, Lost};
use super::producer_ids::ProducerIdError;
use super::registration::{OnlyTimeEndsSessions, register};
use super::znodes::{ControllerInfo, ProducerIdBlock, controller_epoch, encode_controller_epoch, paths};
use crate::cluster::presence::Presence;
pub(crate) use desk::ForController;
pub(crate) use links::LinkSettings;
use term::Term;

/// NOT_CONTROLLER in Kafka's words.
pub(crate) const NOT_CONTROLLER: &str = "This is not the correct controller for this cluster.";
/// Questions that wait for the controller. Those who ask wait for room.
const QUESTIONS_MAX: usize = 1024;
/// Pause before ZooKeeper is asked again after a failure.
const RETRY_PAUSE: Duration = Duration::from_millis(250);
/// How much longer than its timeout a dead session may hold the broker's entry: servers look at whole ticks.
const EXPIRY_GRACE: Duration = Duration::from_secs(5);

/// What the controller needs to know of the configuration.
#[derive(Clone, Debug)]
pub(crate) struct ControllerSettings {
    pub(crate) plan: Settings,
    /// `inter.broker.listener.name`.
    pub(crate) listener: Arc<str>,
    /// What `/feature` shall say: its version, and whether features are on.
    pub(crate) feature: (i32, bool),
    /// `leader.imbalance.check.interval.seconds`; `None` without `auto.leader.rebalance.enable`.
    pub(crate) balance_interval: Option<Duration>,
    /// `zookeeper.max.in.flight.requests`. Range: 1 and above.
    pub(crate) in_flight_max: usize,
    pub(crate) links: LinkSettings,
}

/// The broker's own replicas: what a controller tells it. In-process, like the requests of any other controller.
pub(crate) trait ReplicaSide: Send + Sync + 'static {
    fn leader_and_isr(
        &self,
        request: LeaderAndIsrRequest,
    ) -> impl Future<Output = LeaderAndIsrResponse> + Send;
    fn update_metadata(
        &self,
        request: UpdateMetadataRequest,
    ) -> impl Future<Output = UpdateMetadataResponse> + Send;
    fn stop_replica(&self, request: StopReplicaRequest) -> impl Future<Output = StopReplicaResponse> + Send;
    /// The broker registered anew after its session expired, with this epoch.
    fn registered(&self, broker_epoch: i64);
}

/// What handlers ask the controller.
#[derive(Clone, Debug)]
pub(crate) enum Question {
    AlterPartition {
        broker: BrokerId,
        broker_epoch: i64,
        changes: Vec<IsrChange>,
    },
    ControlledShutdown {
        broker: BrokerId,
        broker_epoch: i64,
    },
    ElectLeaders {
        kind: ElectionKind,
        partitions: Option<BTreeSet<TopicPartition>>,
    },
    /// `None` takes an earlier wish back.
    AlterReassignments {
        wanted: BTreeMap<TopicPartition, Option<Vec<BrokerId>>>,
    },
}

/// This broker is not the controller (any more): ask the one that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this broker is not the controller")]
pub(crate) struct NotController;

/// Why no producer ids were given.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProducerIdRefusal {
    #[error(transparent)]
    NotController(#[from] NotController),
    #[error("broker {0} is not registered")]
    UnknownBroker(BrokerId),
    #[error("the broker epoch is not the registered one")]
    StaleBrokerEpoch,
    #[error(transparent)]
    Failed(#[from] ProducerIdError),
}

/// Why finalised features stay.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FeaturesKept {
    #[error(transparent)]
    NotController(#[from] NotController),
    #[error("{0}")]
    Failed(String),
}

enum Command {
    Ask(Question, oneshot::Sender<Reply>),
    ProducerIds {
        broker: BrokerId,
        broker_epoch: i64,
        answer: oneshot::Sender<Result<ProducerIdBlock, ProducerIdRefusal>>,
    },
    DropFeatures(BTreeSet<String>, oneshot::Sender<Result<(), FeaturesKept>>),
    Reassignments(Option<BTreeSet<TopicPartition>>, oneshot::Sender<BTreeMap<TopicPartition, Assignment>>),
    TopicNames(BTreeSet<TopicId>, oneshot::Sender<BTreeMap<TopicId, Arc<str>>>),
    Tell(Event),
}

/// Speaks to the controller of this process, be it in office or not.
#[derive(Clone)]
pub(crate) struct ControllerHandle {
    commands: mpsc::Sender<Command>,
    current: watch::Receiver<Option<BrokerId>>,
    /// What the next term begins with.
    unclean_election: Arc<AtomicBool>,
}

impl ControllerHandle {
    /// Of a candidate that does not exist.
    #[cfg(test)]
    pub(crate) fn of_nobody() -> ControllerHandle {
        let (commands, _) = mpsc::channel(1);
        let current = watch::Sender::new(None).subscribe();
        ControllerHandle { commands, current, unclean_election: Arc::default() }
    }

    /// Who is controller, as far as ZooKeeper told; wakes at each change.
    pub(crate) fn current(&self) -> watch::Receiver<Option<BrokerId>> {
        self.current.clone()
    }

    pub(crate) async fn ask(&self, question: Question) -> Result<Reply, NotController> {
        let (answer, answered) = oneshot::channel();
        self.commands.send(Command::Ask(question, answer)).await.map_err(|_| NotController)?;
        answered.await.map_err(|_| NotController)
    }

    /// The names of topics as the controller knows them; those it does not know are left out.
    pub(crate) async fn topic_names(
        &self,
        ids: BTreeSet<TopicId>,
    ) -> Result<BTreeMap<TopicId, Arc<str>>, NotController> {
        let (answer, answered) = oneshot::channel();
        self.commands.send(Command::TopicNames(ids, answer)).await.map_err(|_| NotController)?;
        answered.await.map_err(|_| NotController)
    }

    /// Takes finalised features out of `/feature`.
    pub(crate) async fn drop_features(&self, names: BTreeSet<String>) -> Result<(), FeaturesKept> {
        let (answer, answered) = oneshot::channel();
        let lost = |_| FeaturesKept::NotController(NotController);
        self.commands.send(Command::DropFeatures(names, answer)).await.map_err(|_| NotController)?;
        answered.await.map_err(lost)?
    }

    /// What is being reassigned: all of it, or of these.
    pub(crate) async fn reassignments(
        &self,
        partitions: Option<BTreeSet<TopicPartition>>,
    ) -> Result<BTreeMap<TopicPartition, Assignment>, NotController> {
        let (answer, answered) = oneshot::channel();
        self.commands.send(Command::Reassignments(partitions, answer)).await.map_err(|_| NotController)?;
        answered.await.map_err(|_| NotController)
    }

    /// The next block of producer ids for `broker`.
    pub(crate) async fn allocate_producer_ids(
        &self,
        broker: BrokerId,
        broker_epoch: i64,
    ) -> Result<ProducerIdBlock, ProducerIdRefusal> {
        let (answer, answered) = oneshot::channel();
        let command = Command::ProducerIds { broker, broker_epoch, answer };
        self.commands.send(command).await.map_err(|_| NotController)?;
        answered.await.map_err(|_| NotController)?
    }

    /// `unclean.leader.election.enable` is now this, for topics that do not say otherwise.
    pub(crate) async fn unclean_election_by_default(&self, allowed: bool) {
        // Before the present term hears of it: one that begins meanwhile has read it, or hears of it.
        self.unclean_election.store(allowed, Ordering::Release);
        let _ = self.commands.send(Command::Tell(Event::UncleanElectionByDefault(allowed))).await;
    }

    /// `unclean.leader.election.enable` became true for a topic.
    pub(crate) async fn unclean_election_enabled(&self, topic: Arc<str>) {
        // Without a controller in this process somebody else's notices it.
        let _ = self.commands.send(Command::Tell(Event::UncleanElectionEnabled(topic))).await;
    }
}

/// Starts to stand for election. The broker must be registered in the present session.
///
/// Ends when ZooKeeper is closed; `JoinHandle` tells when.
pub(crate) fn stand<R: ReplicaSide>(
    zookeeper: Arc<ZooKeeper>,
    settings: ControllerSettings,
    presence: Arc<Presence>,
    replicas: Arc<R>,
) -> (ControllerHandle, JoinHandle<()>) {
    let (commands, received) = mpsc::channel(QUESTIONS_MAX);
    let current = watch::Sender::new(None);
    let unclean_election = Arc::new(AtomicBool::new(settings.plan.unclean_election));
    let handle = ControllerHandle {
        commands,
        current: current.subscribe(),
        unclean_election: Arc::clone(&unclean_election),
    };
    let registered_in = zookeeper.session().borrow().number;
    let me = presence.info().id;
    let candidate = Candidate {
        zookeeper,
        settings,
        unclean_election,
        me,
        presence,
        replicas,
        commands: received,
        current,
        registered_in,
    };
    (handle, tokio::spawn(candidate.run()))
}

struct Candidate<R> {
    zookeeper: Arc<ZooKeeper>,
    settings: ControllerSettings,
    /// In place of what the settings say of it, which is as of the start.
    unclean_election: Arc<AtomicBool>,
    me: BrokerId,
    presence: Arc<Presence>,
    replicas: Arc<R>,
    commands: mpsc::Receiver<Command>,
    current: watch::Sender<Option<BrokerId>>,
    /// Number of the session that holds the broker's entry.
    registered_in: u64,
}

impl<R: ReplicaSide> Candidate<R> {
    async fn run(mut self) {
        loop {
            match self.next_round().await {
                Ok(()) => {}
                Err(zk::Error::ClientClosed) => break,
                Err(error) => {
                    warn!("the election of a controller waits for ZooKeeper: {error}");
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        }
        self.set_current(None);
    }

    /// Waits for the present controller to go, or tries to be the next one.
    async fn next_round(&mut self) -> Result<(), zk::Error> {
        // From before the look at it: a session that ends from here on is noticed below.
        let mut session = self.zookeeper.session();
        self.register_again().await?;
        let (found, watcher) = self.zookeeper.get_and_watch(paths::CONTROLLER).await?;
        let Some((data, stat)) = found else {
            self.set_current(None);
            // The look may have waited until there was another session, in which this broker is nobody yet.
            if self.is_registered()
                && let Some((epoch, fence)) = self.elect().await?
            {
                self.serve(epoch, fence).await;
            }
            return Ok(());
        };
        if stat.ephemeral_owner == self.zookeeper.session_id() {
            // A term of this broker broke off: make room, for this one or another.
            return absent_is_fine(self.zookeeper.delete(paths::CONTROLLER, Some(stat.version)).await);
        }
        match ControllerInfo::decode(&data) {
            Ok(controller) => self.set_current(Some(controller.broker)),
            Err(error) => warn!("{error}"),
        }
        let mut changed = std::pin::pin!(watcher.changed());
        loop {
            tokio::select! {
                _ = &mut changed => return Ok(()),
                // The watch may have gone with the client that set it, and with an expired session the broker's entry.
                _ = session.changed() => return Ok(()),
                // Dropped unanswered: the asker hears that this is not the controller.
                Some(command) = self.commands.recv() => drop(command),
            }
        }
    }

    fn is_registered(&self) -> bool {
        self.zookeeper.session().borrow().number == self.registered_in
    }

    /// After an expired session the broker's entry is gone.
    async fn register_again(&mut self) -> Result<(), zk::Error> {
        if self.is_registered() {
            return Ok(());
        }
        let session = self.zookeeper.session().borrow().number;
        let patience = self.zookeeper.session_timeout() + EXPIRY_GRACE;
        let broker = self.presence.info();
        match register(&self.zookeeper, &broker, &OnlyTimeEndsSessions, patience, now()).await {
            Ok(epoch) => {
                info!(broker = %self.me, epoch, "registered again after the session expired");
                self.replicas.registered(epoch);
                self.registered_in = session;
                Ok(())
            }
            Err(error) => {
                warn!("registering again failed, trying further: {error}");
                Err(zk::Error::ConnectionLoss)
            }
        }
    }

    /// Epoch and fence of a new term; `None` where another candidate was faster.
    async fn elect(&self) -> Result<Option<(i32, i32)>, zk::Error> {
        let (former, version) = self.epoch().await?;
        let epoch = former + 1;
        let writes = [
            Write::Create {
                path: paths::CONTROLLER.to_owned(),
                data: ControllerInfo::encode(self.me, now()),
                lifetime: Lifetime::Ephemeral,
            },
            Write::Set {
                path: paths::CONTROLLER_EPOCH.to_owned(),
                data: encode_controller_epoch(epoch),
                version: Some(version),
            },
        ];
        match self.zookeeper.multi(&writes).await {
            Ok(written) => Ok(written.iter().find_map(set_version).map(|fence| (epoch, fence))),
            Err(MultiError::Refused { source: zk::Error::NodeExists | zk::Error::BadVersion, .. }) => {
                self.elected_before(epoch).await
            }
            Err(MultiError::Refused { source, .. } | MultiError::Failed(source)) => Err(source),
        }
    }

    /// Whether an attempt succeeded whose answer was lost with a connection.
    async fn elected_before(&self, epoch: i32) -> Result<Option<(i32, i32)>, zk::Error> {
        let holder = self.zookeeper.stat(paths::CONTROLLER).await?;
        if holder.is_none_or(|stat| stat.ephemeral_owner != self.zookeeper.session_id()) {
            return Ok(None);
        }
        let (found, version) = self.epoch().await?;
        Ok((found == epoch).then_some((epoch, version)))
    }

    /// The last epoch and the version of its node, which the first candidate creates.
    async fn epoch(&self) -> Result<(i32, i32), zk::Error> {
        loop {
            if let Some((data, stat)) = self.zookeeper.get(paths::CONTROLLER_EPOCH).await? {
                let epoch =
                    controller_epoch(&data).map_err(|error| zk::Error::UnexpectedError(error.to_string()))?;
                return Ok((epoch, stat.version));
            }
            let first = encode_controller_epoch(0);
            match self.zookeeper.create(paths::CONTROLLER_EPOCH, &first, Lifetime::Persistent).await {
                Ok(_) | Err(zk::Error::NodeExists) => {}
                Err(error) => return Err(error),
            }
        }
    }

    async fn serve(&mut self, epoch: i32, fence: i32) {
        info!(epoch, "elected as controller");
        self.set_current(Some(self.me));
        self.settings.plan.unclean_election = self.unclean_election.load(Ordering::Acquire);
        // Of the session that holds the entry: elected in a later one, the broker gives the office up and registers first.
        let zookeeper = Arc::clone(&self.zookeeper);
        let ledger = Ledger::new(zookeeper, self.registered_in, fence, self.settings.in_flight_max);
        let begun = Term::begin(epoch, self.me, &self.settings, ledger, Arc::clone(&self.replicas));
        let lost = match begun.await {
            Ok(term) => term.serve(&mut self.commands).await,
            Err(lost) => lost,
        };
        self.set_current(None);
        match lost {
            Lost::Moved | Lost::Expired => info!(epoch, "no longer controller: {lost}"),
            Lost::Broken(reason) => {
                warn!(epoch, "gives the controller's office up: {reason}");
                // A mistake that returns at once must not spin.
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
    }

    fn set_current(&self, broker: Option<BrokerId>) {
        self.current.send_if_modified(|current| std::mem::replace(current, broker) != broker);
    }
}

fn set_version(written: &Written) -> Option<i32> {
    match written {
        Written::Set(stat) => Some(stat.version),
        _ => None,
    }
}

fn absent_is_fine(done: Result<(), zk::Error>) -> Result<(), zk::Error> {
    match done {
        Err(zk::Error::NoNode | zk::Error::BadVersion) => Ok(()),
        done => done,
    }
}

fn now() -> TimestampMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    TimestampMs(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
