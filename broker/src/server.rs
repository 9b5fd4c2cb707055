//! The broker from start to stop, in the order in which it happens.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use coordinator::znodes::SessionId;
use storage::directory::{LogDirectory, MetaProperties};
use storage::disk::OsDisk;
use storage::error::StorageError;
use storage::store::Store;
use storage::types::BrokerId;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info, warn};

use crate::clock;
use crate::cluster::client::{ConnectError, Terms, ZooKeeper};
use crate::cluster::config_changes::{self, Bookmark};
use crate::cluster::controller::{self, ControllerHandle, ControllerSettings, LinkSettings};
use crate::cluster::entities::{self, ConfigsError};
use crate::cluster::identity::{self, IdentityError};
use crate::cluster::presence::{self, Presence};
use crate::cluster::registration::{self, FormerSessions, RegistrationError};
use crate::cluster::security::{Security, SecurityError};
use crate::cluster::to_controller::ControllerChannel;
use crate::cluster::znodes::BrokerInfo;
use crate::config::BrokerConfig;
use crate::config::coordinates::{ConnectString, Coordination};
use crate::config::listeners::Listener;
use crate::failures;
use crate::following;
use crate::house::House;
use crate::housekeeping;
use crate::live::LiveConfig;
use crate::net::front::{BindError, Front};
use crate::partition::directories::Directories;
use crate::partition::registry::{LogSettings, TopicConfigs, producer_settings};
use crate::partition::surroundings::Surroundings;
use crate::partition::{Backlog, MoveRate, Partitions};
use crate::peers::PeerSettings;
use crate::peers::versions::Dialect;
use crate::replication;
use crate::security::java_options::JavaOptions;
use crate::transactions;
use crate::zookeeper::{EmbeddedServer, Settings as EmbeddedSettings, StartError};

/// `/feature` of inter.broker.protocol.version 2.7 and above: version 2, status enabled.
const FEATURES_ON: (i32, bool) = (2, true);

/// Largest answer of a broker to its controller, and of the controller to a broker. Unit: bytes.
const CONTROL_RESPONSE_MAX: usize = 100 << 20;
/// Pause of the controller after a broker could not be reached (`RequestSendThread.backoff`).
const CONTROLLER_BACKOFF: Duration = Duration::from_millis(100);

/// Why the broker could not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerError {
    #[error(transparent)]
    Embedded(#[from] StartError),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Security(#[from] SecurityError),
    #[error(transparent)]
    Registration(#[from] RegistrationError),
    #[error("ZooKeeper: {0}")]
    ZooKeeper(#[from] zookeeper_client::Error),
    #[error(transparent)]
    Configs(#[from] ConfigsError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error("cannot listen for signals: {0}")]
    Signals(std::io::Error),
    #[error("every log directory has failed, and the broker with them; repair the disks and start it again")]
    NothingLeft,
    #[error(
        "the embedded coordinator has ended, for the reason above, and no broker can go on without one. What was \
         acknowledged is on disk: mend the cause and start again"
    )]
    CoordinatorEnded,
}

impl ServerError {
    /// Whether it ended a broker that was up.
    pub(crate) fn ended_a_run(&self) -> bool {
        matches!(self, ServerError::NothingLeft | ServerError::CoordinatorEnded)
    }
}

/// Runs until SIGTERM or SIGINT. `Err` before the broker was up, when no log directory is left, and when its own
/// coordinator has ended.
pub(crate) async fn run(config: BrokerConfig) -> Result<(), ServerError> {
    let began = Instant::now();
    let mut stop = StopSignals::listen().map_err(ServerError::Signals)?;
    let config = Arc::new(config);
    let coordination = Coordinates::begin(&config).await?;
    let broker = tokio::select! {
        started = Broker::start(&config, &coordination) => started?,
        () = stop.next() => return Ok(()),
        () = coordination.lost() => return Err(ServerError::CoordinatorEnded),
    };
    info!(
        "broker {} started in {} ms: listening on {}; coordinated by {}; log.dirs {}",
        broker.house.me,
        began.elapsed().as_millis(),
        list(&broker.listeners),
        coordination.description(&config),
        list(config.logs.dirs.iter().map(|dir| dir.display())),
    );
    let directories = broker.house.partitions.directories();
    let (all, mut failed) = (directories.len(), directories.failed());
    let ended = tokio::select! {
        () = stop.next() => Ok(()),
        () = coordination.lost() => Err(ServerError::CoordinatorEnded),
        _ = failed.wait_for(|failed| *failed == all) => return Err(ServerError::NothingLeft),
    };
    info!("stopping");
    broker.stop(&config).await;
    coordination.end().await;
    info!("stopped");
    ended
}

/// What coordinates the broker: a connected client, and the server behind it where that is our own.
struct Coordinates {
    zookeeper: Arc<ZooKeeper>,
    embedded: Option<EmbeddedServer>,
}

impl Coordinates {
    async fn begin(config: &BrokerConfig) -> Result<Coordinates, ServerError> {
        let (connect, embedded) = match &config.coordination {
            Coordination::Ensemble(connect) => (connect.clone(), None),
            Coordination::Embedded { port, data_dir } => {
                let server = EmbeddedServer::start(EmbeddedSettings::new(*port, data_dir.clone())).await?;
                let address = server.local_addr();
                let servers = vec![(address.ip().to_string(), address.port())];
                (ConnectString { servers, chroot: None }, Some(server))
            }
        };
        let terms = Terms {
            session_timeout: config.zookeeper_session_timeout,
            connection_timeout: config.zookeeper_connection_timeout,
            in_flight_max: config.zookeeper_in_flight_max,
            security: Security::new(&config.zookeeper_keys, &JavaOptions::from_environment(), &connect)?,
        };
        let zookeeper = ZooKeeper::connect(&connect, terms).await?;
        Ok(Coordinates { zookeeper, embedded })
    }

    fn description(&self, config: &BrokerConfig) -> String {
        match &self.embedded {
            Some(server) => format!("the embedded coordinator on {}", server.local_addr()),
            None => config.coordination.to_string(),
        }
    }

    /// Ends when the embedded coordinator has ended by itself.
    async fn lost(&self) {
        match &self.embedded {
            Some(server) => server.stopped().await,
            None => std::future::pending().await,
        }
    }

    async fn end(self) {
        self.zookeeper.close().await;
        if let Some(server) = self.embedded {
            server.shutdown().await;
        }
    }
}

impl FormerSessions for Coordinates {
    /// Our own server knows that nobody is connected with the session any more.
    async fn end(&self, session: i64) -> bool {
        match &self.embedded {
            Some(server) => server.expire_abandoned_session(SessionId(session)).await,
            None => false,
        }
    }
}

/// A broker that serves.
struct Broker {
    house: Arc<House>,
    front: Arc<Front>,
    housekeeping: housekeeping::Housekeeping,
    #[allow(dead_code, reason = "held, not read: without a handle the controller leaves office")]
    controller: ControllerHandle,
    listeners: Vec<Listener>,
}

impl Broker {
    async fn start(config: &Arc<BrokerConfig>, coordination: &Coordinates) -> Result<Broker, ServerError> {
        let zookeeper = &coordination.zookeeper;
        zookeeper.be_patient(true);
        registration::make_persistent_paths(zookeeper).await?;
        let cluster_id = registration::cluster_id(zookeeper).await?;
        let opened = open_directories(config)?;
        let me = identify(config, zookeeper, &cluster_id, &opened).await?;
        let bookmark = Bookmark::set(zookeeper).await?;
        let live = LiveConfig::begin(BrokerConfig::clone(config), zookeeper, me).await?;
        let config = &live.current();
        let opened = open_partitions(config, zookeeper, me, directories(config, opened));
        let (partitions, backlog) = opened.await?;
        let partitions = Arc::new(partitions);
        let front = Arc::new(Front::bind(&config.network)?);
        let listeners = front.bound();
        let (house, taken_seats) = House::new(me, &cluster_id, live, Arc::clone(&partitions), zookeeper);
        let house = Arc::new(house);
        let broker = BrokerInfo {
            id: me,
            rack: config.identity.rack.clone(),
            endpoints: presence::advertised(config, &listeners),
            jmx_port: -1,
        };
        let former_max = config.zookeeper_session_timeout * 2;
        let epoch =
            registration::register(zookeeper, &broker, coordination, former_max, clock::wall()).await?;
        house.set_broker_epoch(epoch);
        zookeeper.be_patient(false);
        let mut housekeeping = housekeeping::start(&partitions, &house.live);
        let settings = controller_settings(config, me);
        let presence = Arc::new(Presence::new(broker));
        // The candidate ends with the client of ZooKeeper.
        let (controller, _) =
            controller::stand(Arc::clone(zookeeper), settings, Arc::clone(&presence), Arc::clone(&house));
        house.open_office(controller.clone(), controller_channel(config, me));
        let changes = config_changes::follow(Arc::clone(zookeeper), bookmark);
        housekeeping.spawn(failures::follow(Arc::clone(&house)));
        let running = following::Running {
            house: Arc::clone(&house),
            controller: controller.clone(),
            front: Arc::clone(&front),
            presence,
        };
        following::load_quotas(&running).await?;
        housekeeping.spawn(following::follow(running, changes));
        housekeeping.spawn(transactions::attend(Arc::clone(&house), taken_seats));
        housekeeping
            .spawn(replication::propose(Arc::clone(&house.partitions), Arc::clone(house.isr_changes())));
        housekeeping.spawn(replication::watch(Arc::clone(&house.replication)));
        front.open(&house);
        if !backlog.is_empty() {
            work_off(&house, backlog);
        }
        Ok(Broker { house, front, housekeeping, controller, listeners })
    }

    async fn stop(self, config: &BrokerConfig) {
        if let Some(hand_over) = config.between_brokers.hand_over {
            hand_over.run(self.house.to_controller()).await;
        }
        self.house.groups.close();
        self.house.transactions.close();
        self.house.fetchers.close();
        self.front.close().await;
        drop(self.housekeeping);
        let partitions = Arc::clone(&self.house.partitions);
        if tokio::task::spawn_blocking(move || partitions.close()).await.is_err() {
            error!("the logs were not closed; the next start checks them");
        }
    }
}

fn controller_settings(config: &BrokerConfig, me: BrokerId) -> ControllerSettings {
    ControllerSettings {
        plan: coordinator::cluster::Settings {
            topic_ids: true,
            leader_recovery: config.between_brokers.protocol.has_reached("3.2-IV0"),
            delete_topics: config.topics.delete_enabled,
            unclean_election: config.topics.defaults.unclean_leader_election,
            imbalance_percent: config.controller.imbalance_percent,
        },
        listener: config.network.inter_broker_listener.as_str().into(),
        feature: FEATURES_ON,
        balance_interval: config.controller.balance_interval,
        in_flight_max: config.controller.in_flight_max,
        links: link_settings(config, me),
    }
}

/// As Apache's `RequestSendThread` connects.
fn link_settings(config: &BrokerConfig, me: BrokerId) -> LinkSettings {
    LinkSettings {
        peer: control_connections(config, me),
        speaks: Dialect::of(config.between_brokers.protocol),
        request_timeout: config.between_brokers.request_timeout,
    }
}

/// As Apache's `NodeToControllerRequestThread` connects.
fn controller_channel(config: &BrokerConfig, me: BrokerId) -> ControllerChannel {
    ControllerChannel {
        listener: config.network.inter_broker_listener.as_str().into(),
        peer: control_connections(config, me),
        timeout: config.between_brokers.controller_socket_timeout,
    }
}

fn control_connections(config: &BrokerConfig, me: BrokerId) -> PeerSettings {
    let between = &config.between_brokers;
    PeerSettings {
        client_id: me.to_string().into(),
        response_max: CONTROL_RESPONSE_MAX,
        setup_timeout: between.setup_timeout.at_most(between.controller_socket_timeout),
        reconnect_backoff: CONTROLLER_BACKOFF,
        receive_buffer: None,
    }
}

/// Opens and locks every log directory. One that cannot be used is left out while others can.
fn open_directories(config: &BrokerConfig) -> Result<Vec<LogDirectory>, StorageError> {
    let mut opened = Vec::new();
    let mut failure = None;
    for path in &config.logs.dirs {
        match LogDirectory::open(Arc::new(OsDisk), path).and_then(readable) {
            Ok(directory) => opened.push(directory),
            // Two brokers on one directory: no other directory makes that right.
            Err(error @ StorageError::Locked { .. }) => return Err(error),
            Err(error) => {
                warn!(path = %path.display(), %error, "log directory left out");
                failure = Some(error);
            }
        }
    }
    match failure {
        Some(error) if opened.is_empty() => Err(error),
        _ => Ok(opened),
    }
}

/// One whose disk cannot be read fails here, not the start. What it says that cannot be understood stops that.
fn readable(directory: LogDirectory) -> Result<LogDirectory, StorageError> {
    match directory.meta_properties() {
        Err(error @ StorageError::Io { .. }) => Err(error),
        _ => Ok(directory),
    }
}

fn directories(config: &BrokerConfig, opened: Vec<LogDirectory>) -> Directories {
    let is_left_out = |path: &&PathBuf| opened.iter().all(|directory| directory.path() != **path);
    let left_out = config.logs.dirs.iter().filter(is_left_out).cloned().collect();
    Directories::new(opened, left_out)
}

/// Settles the broker id and writes down, in directories that did not know, whose they are.
async fn identify(
    config: &BrokerConfig,
    zookeeper: &ZooKeeper,
    cluster_id: &str,
    directories: &[LogDirectory],
) -> Result<BrokerId, ServerError> {
    let mut remembered: Vec<(String, MetaProperties)> = Vec::new();
    let mut blank = Vec::new();
    for directory in directories {
        match directory.meta_properties()? {
            Some(meta) => remembered.push((directory.path().display().to_string(), meta)),
            None => blank.push(directory),
        }
    }
    let remembered: Vec<_> = remembered.iter().map(|(path, meta)| (path.as_str(), meta)).collect();
    identity::check_cluster(cluster_id, &remembered)?;
    let known =
        identity::broker_id(config.identity.broker_id, config.identity.generation_enabled, &remembered)?;
    let me = match known {
        Some(id) => id,
        None => registration::generate_broker_id(zookeeper, config.identity.reserved_max).await?,
    };
    for directory in blank {
        let meta = MetaProperties {
            broker_id: Some(me.0),
            cluster_id: Some(cluster_id.to_owned()),
            ..MetaProperties::default()
        };
        directory.write_meta_properties(&meta, clock::wall())?;
    }
    Ok(me)
}

async fn open_partitions(
    config: &Arc<BrokerConfig>,
    zookeeper: &ZooKeeper,
    me: BrokerId,
    directories: Directories,
) -> Result<(Partitions, Backlog), ServerError> {
    let topics = TopicConfigs::new(Arc::clone(config));
    for (topic, overrides) in entities::of_all_topics(zookeeper).await? {
        topics.set(&topic, overrides);
    }
    let settings = LogSettings {
        producers: producer_settings(config),
        move_rate: MoveRate::new(config.logs.move_window, config.logs.move_bytes_per_second),
        recovery_threads: std::thread::available_parallelism().map_or(1, usize::from),
    };
    let store = Store::new(Arc::new(OsDisk));
    let around = Surroundings::new(me, config);
    let opening = move || Partitions::open(around, store, directories, topics, settings);
    let opened = tokio::task::spawn_blocking(opening).await;
    Ok(opened.expect("logs are opened without panicking")?)
}

/// Opens logs that have to be checked while the broker serves the others. On threads of its own: a stop does not wait
/// until they are through.
fn work_off(house: &Arc<House>, backlog: Backlog) {
    info!(logs = backlog.len(), "served as soon as each is checked; all other partitions are served now");
    let (house, runtime) = (Arc::clone(house), tokio::runtime::Handle::current());
    let work = move || {
        house.partitions.work_off(&backlog, &|change| {
            let _inside = runtime.enter();
            house.follow_roles(&[change]);
        });
    };
    if let Err(error) = std::thread::Builder::new().name("log-checking".to_owned()).spawn(work) {
        error!(%error, "no thread to check logs with: their partitions are not served; allow the process more threads and restart");
    }
}

fn list(items: impl IntoIterator<Item = impl std::fmt::Display>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}

/// SIGTERM and SIGINT.
struct StopSignals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl StopSignals {
    fn listen() -> std::io::Result<StopSignals> {
        Ok(StopSignals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
