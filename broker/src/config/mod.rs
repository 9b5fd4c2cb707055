//! `server.properties`, understood: every key of Kafka 3.9.1 with its type, default and range, and what this broker
//! does with it.
//!
//! [`BrokerConfig`] is what the rest of the broker reads: typed, checked, in units. A value that Kafka would refuse,
//! or that this broker cannot do justice to, never gets that far. Nothing here opens a socket or a log.

mod checks;
pub(crate) mod coordinates;
pub(crate) mod describe;
pub(crate) mod dynamic;
pub(crate) mod findings;
mod groups;
pub(crate) mod key;
pub(crate) mod layers;
pub(crate) mod listeners;
pub(crate) mod listing;
pub(crate) mod operations;
pub(crate) mod properties;
mod quotas;
pub(crate) mod replication;
mod rule;
mod settings;
pub(crate) mod setup_timeout;
pub(crate) mod table;
pub(crate) mod topic;
mod transactions;
pub(crate) mod value;
pub(crate) mod version;
pub(crate) mod zookeeper;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use coordinator::quotas::Window;
use storage::types::BrokerId;
use thiserror::Error;

use coordinates::Coordination;
use findings::{Refusal, Warning};
pub(crate) use groups::Groups;
use layers::Layers;
use listeners::{Listener, Ports, SecurityProtocol};
use properties::{Properties, PropertiesError};
pub(crate) use quotas::QuotaWindows;
use replication::Replication;
use settings::Settings;
use setup_timeout::SetupTimeout;
use topic::TopicConfig;
pub(crate) use transactions::Transactions;
use version::KafkaVersion;
use zookeeper::ZooKeeperKeys;

/// How patiently leaderships are given to others before the broker stops.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HandOver {
    /// `controlled.shutdown.max.retries`: attempts, the first one included.
    pub(crate) attempts: u32,
    /// `controlled.shutdown.retry.backoff.ms`: between two attempts.
    pub(crate) pause: Duration,
}

/// Everything the operator decided, ready to be used.
#[derive(Clone, Debug)]
pub(crate) struct BrokerConfig {
    pub(crate) identity: Identity,
    pub(crate) coordination: Coordination,
    /// Session timeout asked of ZooKeeper. Default: 18 s.
    pub(crate) zookeeper_session_timeout: Duration,
    /// How long the start waits for ZooKeeper. Default: the session timeout.
    pub(crate) zookeeper_connection_timeout: Duration,
    /// Requests to ZooKeeper under way at once. Default: 10. At least 1.
    pub(crate) zookeeper_in_flight_max: usize,
    pub(crate) zookeeper_keys: ZooKeeperKeys,
    pub(crate) network: Network,
    pub(crate) logs: Logs,
    pub(crate) topics: Topics,
    pub(crate) fetch: Fetch,
    pub(crate) groups: Groups,
    pub(crate) controller: Controller,
    pub(crate) between_brokers: BetweenBrokers,
    pub(crate) transactions: Transactions,
    pub(crate) replication: Replication,
    pub(crate) quotas: QuotaWindows,
    /// What to tell the operator at the start, each once.
    pub(crate) warnings: Vec<Warning>,
    settings: Settings,
    layers: Layers,
}

#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// `None`: the id in `meta.properties`, else a generated one.
    pub(crate) broker_id: Option<BrokerId>,
    /// Whether an id may be generated.
    pub(crate) generation_enabled: bool,
    /// Generated ids begin above it.
    pub(crate) reserved_max: i32,
    pub(crate) rack: Option<String>,
}

#[derive(Clone, Debug)]
pub(crate) struct Network {
    /// Never empty; all PLAINTEXT so far.
    pub(crate) listeners: Vec<Listener>,
    /// Never empty. A missing host is this machine's name, port 0 is the port that the listener of that name got.
    pub(crate) advertised: Vec<Listener>,
    /// One of the advertised names.
    pub(crate) inter_broker_listener: String,
    /// Bytes of SO_SNDBUF; `None` leaves the system's default.
    pub(crate) send_buffer: Option<usize>,
    /// Bytes of SO_RCVBUF; `None` leaves the system's default.
    pub(crate) receive_buffer: Option<usize>,
    /// Largest request, in bytes without the length field. Range: 1..=2147483647.
    pub(crate) request_max_bytes: usize,
    /// Bytes of requests that may be in memory at once; `None` is no limit. At least `request_max_bytes`.
    pub(crate) queued_request_bytes_max: Option<i64>,
    /// Connections that may wait to be accepted. Range: 1..=2147483647.
    pub(crate) backlog: i32,
    pub(crate) max_connections: usize,
    /// Limits of single listeners, by name in capitals (`listener.name.NAME.max.connections`).
    pub(crate) max_connections_of_listener: BTreeMap<String, usize>,
    pub(crate) max_connections_per_ip: usize,
    /// New connections per second.
    pub(crate) max_creation_rate: u32,
    /// By name in capitals (`listener.name.NAME.max.connection.creation.rate`).
    pub(crate) max_creation_rate_of_listener: BTreeMap<String, u32>,
    /// Over which rates of new connections are taken.
    pub(crate) rate_window: Window,
    /// By host as written: a name or an address.
    pub(crate) max_connections_per_ip_overrides: BTreeMap<String, usize>,
    /// `None`: idle connections stay.
    pub(crate) connections_max_idle: Option<Duration>,
}

/// The work on all logs; what differs by topic is in [`TopicConfig`].
#[derive(Clone, Debug)]
pub(crate) struct Logs {
    /// Never empty, as written.
    pub(crate) dirs: Vec<PathBuf>,
    pub(crate) retention_check_interval: Duration,
    /// `None`: never.
    pub(crate) flush_scheduler_interval: Option<Duration>,
    pub(crate) recovery_checkpoint_interval: Duration,
    pub(crate) start_offset_checkpoint_interval: Duration,
    pub(crate) high_watermark_checkpoint_interval: Duration,
    /// Pause before the periodic work begins.
    pub(crate) initial_task_delay: Duration,
    pub(crate) producer_id_expiration: Duration,
    pub(crate) producer_id_expiration_check_interval: Duration,
    /// `None`: compacted topics are not compacted.
    pub(crate) cleaners: Option<Cleaners>,
    /// How many take the steps of moves between directories. Range: `1..`.
    pub(crate) movers: usize,
    /// `alter.log.dirs.replication.quota.window.*`: one sample, and all of them.
    pub(crate) move_window: MoveWindow,
    /// Of all moves between directories together. `None`: no limit. Dynamic.
    pub(crate) move_bytes_per_second: Option<u64>,
}

/// What the rate of moves between directories is taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MoveWindow {
    /// A rate over less says nothing.
    pub(crate) sample: Duration,
    pub(crate) whole: Duration,
}

/// The cleaners of compacted topics.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Cleaners {
    /// Range: 1.. .
    pub(crate) threads: usize,
    /// Pause after nothing was to be done.
    pub(crate) backoff: Duration,
    /// Of all cleaners together. Unit: bytes.
    pub(crate) map_bytes: u64,
    /// How full a map may get. Range: above 0.0.
    pub(crate) load_factor: f64,
    /// Of all cleaners together.
    pub(crate) bytes_per_second: f64,
}

#[derive(Clone, Debug)]
pub(crate) struct Topics {
    pub(crate) auto_create: bool,
    pub(crate) delete_enabled: bool,
    /// Range: 1..=2147483647.
    pub(crate) default_partitions: i32,
    pub(crate) default_replication_factor: i32,
    /// What a topic without overrides has.
    pub(crate) defaults: TopicConfig,
}

#[derive(Clone, Debug)]
pub(crate) struct Fetch {
    /// Most bytes of records in one answer. Range: 1024..=2147483647.
    pub(crate) max_bytes: usize,
    /// Fetch sessions kept at once; 0 turns them off.
    pub(crate) session_slots: usize,
}

/// What this broker does while it is the controller.
#[derive(Clone, Debug)]
pub(crate) struct Controller {
    /// Unit: percent of the partitions a broker is the preferred leader of.
    pub(crate) imbalance_percent: u32,
    /// `None`: leadership is not moved back to preferred replicas by itself.
    pub(crate) balance_interval: Option<Duration>,
    /// Requests to ZooKeeper that may be under way at once. Range: `1..`.
    pub(crate) in_flight_max: usize,
}

/// How long brokers wait for each other.
#[derive(Clone, Debug)]
pub(crate) struct BetweenBrokers {
    /// `inter.broker.protocol.version`. Default: 3.9-IV0.
    pub(crate) protocol: KafkaVersion,
    /// Default: 30 s.
    pub(crate) request_timeout: Duration,
    /// Default: 10 s, up to 30 s.
    pub(crate) setup_timeout: SetupTimeout,
    /// Default: 30 s.
    pub(crate) controller_socket_timeout: Duration,
    /// `None`: a stop takes the leaderships along. Default: 3 attempts, 5 s apart.
    pub(crate) hand_over: Option<HandOver>,
}

/// Why there is no configuration to start with.
#[derive(Debug, Error)]
pub(crate) enum ConfigError {
    #[error("cannot read {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{}, {source}", path.display())]
    Malformed { path: PathBuf, source: PropertiesError },
    #[error("{}", lines(.refusals))]
    Refused { refusals: Vec<Refusal>, warnings: Vec<Warning> },
}

fn lines(refusals: &[Refusal]) -> String {
    refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Reads the file, then lets each of `overrides` replace what it says.
pub(crate) fn read_properties(path: &Path, overrides: &Properties) -> Result<Properties, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
    let malformed = |source| ConfigError::Malformed { path: path.to_owned(), source };
    let mut file = properties::parse(&std::fs::read(path).map_err(unreadable)?).map_err(malformed)?;
    file.extend(overrides.clone());
    Ok(file)
}

impl BrokerConfig {
    /// `Refused` names everything that is wrong, not only the first.
    pub(crate) fn new(layers: Layers) -> Result<BrokerConfig, ConfigError> {
        let (settings, invalid) = Settings::read(layers.merged());
        let mut refusals: Vec<Refusal> = invalid.into_iter().map(Refusal::Invalid).collect();
        refusals.extend(checks::unsupported(&settings));
        refusals.extend(checks::rules(&settings));
        let network = network(&settings);
        let coordination = coordinates::coordination(&settings, &log_dirs(&settings));
        let (network, coordination) = match (network, coordination) {
            (Ok(network), Ok(coordination)) => (network, coordination),
            (network, coordination) => {
                let sentences = network.err().into_iter().chain(coordination.err());
                refusals.extend(sentences.map(Refusal::Rule));
                return Err(ConfigError::Refused { refusals, warnings: checks::warnings(&settings) });
            }
        };
        refusals.extend(checks::listener_rules(&network));
        if !refusals.is_empty() {
            return Err(ConfigError::Refused { refusals, warnings: checks::warnings(&settings) });
        }
        let session = settings.millis("zookeeper.session.timeout.ms");
        let connection = settings.integer_or_null("zookeeper.connection.timeout.ms").map(settings::millis);
        let groups = Groups::new(&settings, &coordination);
        Ok(BrokerConfig {
            identity: identity(&settings),
            coordination,
            zookeeper_session_timeout: session,
            zookeeper_connection_timeout: connection.unwrap_or(session),
            zookeeper_in_flight_max: settings.size("zookeeper.max.in.flight.requests").max(1),
            zookeeper_keys: ZooKeeperKeys::new(&settings),
            network,
            logs: logs(&settings),
            topics: topics(&settings),
            fetch: Fetch {
                max_bytes: settings.size("fetch.max.bytes"),
                session_slots: settings.size("max.incremental.fetch.session.cache.slots"),
            },
            groups,
            controller: controller(&settings),
            between_brokers: between_brokers(&settings),
            transactions: Transactions::new(&settings),
            replication: Replication::new(&settings),
            quotas: QuotaWindows::new(&settings),
            warnings: checks::warnings(&settings),
            settings,
            layers,
        })
    }
}

fn identity(settings: &Settings) -> Identity {
    let id = settings.int("broker.id");
    Identity {
        broker_id: (id >= 0).then_some(BrokerId(id)),
        generation_enabled: settings.boolean("broker.id.generation.enable"),
        reserved_max: settings.int("reserved.broker.max.id"),
        rack: settings.text("broker.rack").map(str::to_owned),
    }
}

fn network(settings: &Settings) -> Result<Network, String> {
    let map = listeners::protocol_map(settings.text("listener.security.protocol.map").unwrap_or_default())?;
    let listeners = listeners::parse(settings.text("listeners").unwrap_or_default(), &map, Ports::Distinct)?;
    let advertised = match settings.text("advertised.listeners") {
        Some(list) => listeners::parse(list, &map, Ports::Any)?,
        None => listeners.clone(),
    };
    let buffer = |name: &str| usize::try_from(settings.int(name)).ok();
    let idle_ms = settings.long("connections.max.idle.ms");
    Ok(Network {
        inter_broker_listener: inter_broker_listener(settings, &map)?,
        listeners,
        advertised,
        send_buffer: buffer("socket.send.buffer.bytes"),
        receive_buffer: buffer("socket.receive.buffer.bytes"),
        request_max_bytes: settings.size("socket.request.max.bytes"),
        queued_request_bytes_max: Some(settings.long("queued.max.request.bytes")).filter(|bytes| *bytes > 0),
        backlog: settings.int("socket.listen.backlog.size"),
        max_connections: settings.size("max.connections"),
        max_connections_of_listener: of_listeners(settings, "max.connections"),
        max_connections_per_ip: settings.size("max.connections.per.ip"),
        max_connections_per_ip_overrides: connection_overrides(settings)?,
        max_creation_rate: settings.count("max.connection.creation.rate"),
        max_creation_rate_of_listener: of_listeners(settings, "max.connection.creation.rate"),
        rate_window: QuotaWindows::new(settings).clients,
        connections_max_idle: (idle_ms >= 0).then(|| settings::millis(idle_ms)),
    })
}

/// `listener.name.NAME.KEY` of every listener, by name in capitals.
fn of_listeners<T: std::str::FromStr>(settings: &Settings, key: &str) -> BTreeMap<String, T> {
    let given = settings.given().iter().filter_map(|(name, text)| {
        let (listener, base) = layers::listener_key(name)?;
        let limit = if base == key { text.trim().parse().ok()? } else { return None };
        Some((listener.to_ascii_uppercase(), limit))
    });
    given.collect()
}

fn inter_broker_listener(settings: &Settings, map: &listeners::ProtocolMap) -> Result<String, String> {
    let Some(name) = settings.text("inter.broker.listener.name") else {
        let protocol = settings.text("security.inter.broker.protocol").and_then(SecurityProtocol::parse);
        return Ok(protocol.unwrap_or(SecurityProtocol::Plaintext).name().to_owned());
    };
    if settings.is_given("security.inter.broker.protocol") {
        return Err(
            "Only one of inter.broker.listener.name and security.inter.broker.protocol should be set.".into(),
        );
    }
    let name = name.to_ascii_uppercase();
    if map.contains_key(&name) {
        Ok(name)
    } else {
        Err(format!(
            "Listener with name {name} defined in inter.broker.listener.name not found in \
             listener.security.protocol.map."
        ))
    }
}

fn connection_overrides(settings: &Settings) -> Result<BTreeMap<String, usize>, String> {
    const KEY: &str = "max.connections.per.ip.overrides";
    let pairs = listeners::pairs(KEY, settings.text(KEY).unwrap_or_default())?;
    let read = |(host, limit): (String, String)| match limit.parse() {
        Ok(limit) => Ok((host, limit)),
        Err(_) => Err(format!(
            "Error parsing configuration property '{KEY}': {limit} is not a number of connections"
        )),
    };
    pairs.into_iter().map(read).collect()
}

/// Empty only where the operator wrote an empty list.
fn log_dirs(settings: &Settings) -> Vec<PathBuf> {
    let list = settings.text("log.dirs").or_else(|| settings.text("log.dir")).unwrap_or_default();
    list.split(',').map(str::trim).filter(|dir| !dir.is_empty()).map(PathBuf::from).collect()
}

fn logs(settings: &Settings) -> Logs {
    let flush = settings.long("log.flush.scheduler.interval.ms");
    Logs {
        dirs: log_dirs(settings),
        retention_check_interval: settings.millis("log.retention.check.interval.ms"),
        flush_scheduler_interval: (flush != i64::MAX).then(|| settings::millis(flush)),
        recovery_checkpoint_interval: settings.millis("log.flush.offset.checkpoint.interval.ms"),
        start_offset_checkpoint_interval: settings.millis("log.flush.start.offset.checkpoint.interval.ms"),
        high_watermark_checkpoint_interval: settings.millis("replica.high.watermark.checkpoint.interval.ms"),
        initial_task_delay: settings.millis("log.initial.task.delay.ms"),
        producer_id_expiration: settings.millis("producer.id.expiration.ms"),
        producer_id_expiration_check_interval: settings.millis("producer.id.expiration.check.interval.ms"),
        cleaners: settings.boolean("log.cleaner.enable").then(|| cleaners(settings)),
        movers: movers(settings),
        move_window: move_window(settings),
        move_bytes_per_second: move_rate(settings),
    }
}

/// As many as there are directories, unless said otherwise.
fn movers(settings: &Settings) -> usize {
    let given = settings.integer_or_null("num.replica.alter.log.dirs.threads");
    let given = given.and_then(|threads| usize::try_from(threads).ok());
    given.unwrap_or_else(|| log_dirs(settings).len()).max(1)
}

fn move_window(settings: &Settings) -> MoveWindow {
    let seconds = settings.int("alter.log.dirs.replication.quota.window.size.seconds");
    let sample = Duration::from_secs(u64::try_from(seconds).unwrap_or(1));
    let samples = settings.int("alter.log.dirs.replication.quota.window.num");
    MoveWindow { sample, whole: sample.saturating_mul(u32::try_from(samples).unwrap_or(1)) }
}

/// A key that exists as a dynamic config only.
fn move_rate(settings: &Settings) -> Option<u64> {
    let given = settings.given().get("replica.alter.log.dirs.io.max.bytes.per.second")?;
    let limit = given.trim().parse::<i64>().ok().filter(|limit| *limit != i64::MAX)?;
    u64::try_from(limit).ok()
}

fn cleaners(settings: &Settings) -> Cleaners {
    Cleaners {
        threads: settings.size("log.cleaner.threads").max(1),
        backoff: settings.millis("log.cleaner.backoff.ms"),
        map_bytes: u64::try_from(settings.long("log.cleaner.dedupe.buffer.size")).unwrap_or(0),
        load_factor: settings.number("log.cleaner.io.buffer.load.factor"),
        bytes_per_second: settings.number("log.cleaner.io.max.bytes.per.second"),
    }
}

fn topics(settings: &Settings) -> Topics {
    Topics {
        auto_create: settings.boolean("auto.create.topics.enable"),
        delete_enabled: settings.boolean("delete.topic.enable"),
        default_partitions: settings.int("num.partitions"),
        default_replication_factor: settings.int("default.replication.factor"),
        defaults: TopicConfig::of_broker(settings),
    }
}

fn controller(settings: &Settings) -> Controller {
    let balance = settings.boolean("auto.leader.rebalance.enable");
    let seconds = settings.size("leader.imbalance.check.interval.seconds");
    Controller {
        imbalance_percent: u32::try_from(settings.int("leader.imbalance.per.broker.percentage")).unwrap_or(0),
        balance_interval: balance.then(|| Duration::from_secs(seconds as u64)),
        in_flight_max: settings.size("zookeeper.max.in.flight.requests").max(1),
    }
}

fn between_brokers(settings: &Settings) -> BetweenBrokers {
    let protocol = settings.text("inter.broker.protocol.version").and_then(KafkaVersion::parse);
    BetweenBrokers {
        protocol: protocol.unwrap_or(KafkaVersion::V3_9),
        request_timeout: settings.millis("request.timeout.ms"),
        setup_timeout: SetupTimeout {
            first: settings.millis("socket.connection.setup.timeout.ms"),
            max: settings.millis("socket.connection.setup.timeout.max.ms"),
        },
        controller_socket_timeout: settings.millis("controller.socket.timeout.ms"),
        hand_over: settings.boolean("controlled.shutdown.enable").then(|| HandOver {
            attempts: u32::try_from(settings.int("controlled.shutdown.max.retries")).unwrap_or(0),
            pause: settings.millis("controlled.shutdown.retry.backoff.ms"),
        }),
    }
}

/// -1 is for ever. The key in ms goes before the one in minutes, which goes before the one in hours.
fn retention_ms(settings: &Settings) -> i64 {
    let minutes = || settings.integer_or_null("log.retention.minutes").map(|minutes| minutes * 60_000);
    let ms = settings.integer_or_null("log.retention.ms").or_else(minutes);
    let ms = ms.unwrap_or_else(|| settings.long("log.retention.hours") * 3_600_000);
    if ms < 0 { -1 } else { ms }
}

#[cfg(test)]
mod tests;
