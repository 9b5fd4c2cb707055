//! `broker cluster status`: what a cluster says of itself, asked by an operator from outside.
//!
//! A client like any other: it works with Apache's brokers too, changes nothing, and needs no running broker of this
//! machine. What is counted as a problem is decided in `report`, which knows no network.

mod asking;
mod report;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use crate::args::{Bootstrap, StatusArguments};
use crate::cluster::client::{ConnectError, Terms, ZooKeeper};
use crate::cluster::security::{Security, SecurityError};
use crate::cluster::znodes::{BrokerInfo, Unreadable, paths};
use crate::config::coordinates::{ConnectString, Coordination};
use crate::config::layers::Layers;
use crate::config::listeners::SecurityProtocol;
use crate::config::zookeeper::ZooKeeperKeys;
use crate::config::{BrokerConfig, ConfigError, read_properties};
use crate::peers::{Address, PeerError};
use crate::security::java_options::JavaOptions;

/// Session asked of ZooKeeper where brokers are looked up there.
const SESSION: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
enum StatusError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("--zookeeper: {0}")]
    Connect(String),
    #[error(transparent)]
    Security(#[from] SecurityError),
    #[error(transparent)]
    ZooKeeper(#[from] ConnectError),
    #[error("ZooKeeper: {0}")]
    Reading(#[from] zookeeper_client::Error),
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    #[error("no broker is registered in ZooKeeper at {0}")]
    Nobody(String),
    #[error("{0} is not an address. Write host:port, separated by commas")]
    NoAddress(String),
    #[error("no broker answers. The last one tried: {0}")]
    Unreachable(PeerError),
    #[error("{0} does not tell who is in the cluster")]
    Mute(Address),
}

/// Prints the status. 1 where a partition or a broker is offline, or nobody answers.
pub(crate) fn run(arguments: &StatusArguments) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(why) => return failed(&why),
    };
    let report = match runtime.block_on(report(arguments)) {
        Ok(report) => report,
        Err(why) => return failed(&why),
    };
    let text = if arguments.json { report.json() } else { report.table() };
    // A closed pipe (`| head`) is the reader's choice, not an error.
    let _ = std::io::stdout().write_all(text.as_bytes());
    if report.is_whole() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn failed(why: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("broker cluster status: {why}");
    ExitCode::FAILURE
}

async fn report(arguments: &StatusArguments) -> Result<report::Report, StatusError> {
    let timeout = Duration::from_millis(arguments.timeout_ms);
    let seeds = match &arguments.bootstrap {
        Bootstrap { bootstrap_server: Some(list), .. } => addresses(list)?,
        Bootstrap { zookeeper: Some(connect), .. } => {
            let connect = ConnectString::parse(connect).map_err(StatusError::Connect)?;
            registered(&connect, &ZooKeeperKeys::default(), timeout).await?
        }
        Bootstrap { config: Some(file), .. } => {
            let properties = read_properties(file, &Default::default())?;
            let config = BrokerConfig::new(Layers::from_file(properties))?;
            match &config.coordination {
                Coordination::Ensemble(connect) => {
                    registered(connect, &config.zookeeper_keys, timeout).await?
                }
                Coordination::Embedded { .. } => own_listeners(&config),
            }
        }
        _ => addresses("localhost:9092")?,
    };
    asking::ask(seeds, timeout).await
}

/// `host:port`, separated by commas.
fn addresses(list: &str) -> Result<Vec<Address>, StatusError> {
    let wrong = || StatusError::NoAddress(list.to_owned());
    let parsed = ConnectString::parse(list).map_err(|_| wrong())?;
    if parsed.chroot.is_some() || list.split(',').any(|one| !one.contains(':')) {
        return Err(wrong());
    }
    Ok(parsed.servers.into_iter().map(|(host, port)| Address { host, port }).collect())
}

/// A broker that stands alone is asked where its own file says it listens.
fn own_listeners(config: &BrokerConfig) -> Vec<Address> {
    let plain = config.network.listeners.iter().filter(|one| one.protocol == SecurityProtocol::Plaintext);
    plain
        .map(|listener| {
            let host = listener.host.clone().filter(|host| host != "0.0.0.0");
            Address { host: host.unwrap_or_else(|| "localhost".to_owned()), port: listener.port }
        })
        .collect()
}

/// Every broker that ZooKeeper has a registration of, by its listeners without TLS and SASL.
async fn registered(
    connect: &ConnectString,
    keys: &ZooKeeperKeys,
    connection_timeout: Duration,
) -> Result<Vec<Address>, StatusError> {
    let security = Security::new(keys, &JavaOptions::from_environment(), connect)?;
    let terms = Terms { session_timeout: SESSION, connection_timeout, in_flight_max: 1, security };
    let zookeeper = ZooKeeper::connect(connect, terms).await?;
    let mut found = Vec::new();
    for id in zookeeper.children(paths::BROKER_IDS).await?.unwrap_or_default() {
        let Ok(id) = id.parse().map(storage::types::BrokerId) else { continue };
        let Some((data, stat)) = zookeeper.get(&paths::broker(id)).await? else { continue };
        let broker = BrokerInfo::decode(id, &data, stat.czxid)?;
        let plain = broker
            .endpoints
            .into_iter()
            .filter(|endpoint| endpoint.protocol == coordinator::cluster::SecurityProtocol::Plaintext);
        found.extend(
            plain.filter_map(|one| Some(Address { host: one.host, port: u16::try_from(one.port).ok()? })),
        );
    }
    zookeeper.close().await;
    if found.is_empty() { Err(StatusError::Nobody(connect.to_string())) } else { Ok(found) }
}
