//! All listeners of the broker: bound before it registers, accepting once it is ready, closed first when it stops.
//!
//! Listeners come and go, and limits change, while the broker runs (`listeners` and `max.connections.*` as dynamic configs).

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::config::Network;
use crate::config::listeners::Listener as ListenerConfig;
use crate::house::House;
use crate::net::connection::ConnectionSettings;
use crate::net::limits::{ConnectionLimits, Limits};
use crate::net::listener::{Listener, SocketSettings};
use crate::quota::IpRate;
use crate::wire::memory::RequestMemory;

/// How long open requests may take to end once the broker stops.
const DRAIN: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {listener}: {source}; change listeners, or stop what uses the port")]
pub(crate) struct BindError {
    listener: String,
    source: io::Error,
}

/// The sockets clients come through.
pub(crate) struct Front {
    limits: Arc<ConnectionLimits>,
    request_memory: Option<Arc<RequestMemory>>,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// Of connections that are still busy when they had their moment.
    dropped: CancellationToken,
    /// A std mutex: held for a look-up or a change, never across `.await`.
    doors: Mutex<Vec<Door>>,
}

struct Door {
    /// With the port it really got.
    config: ListenerConfig,
    /// Until it accepts.
    bound: Option<Listener>,
    /// Closes this listener and the connections that came through it.
    stop: CancellationToken,
}

impl Front {
    /// Binds every listener; none accepts yet.
    pub(crate) fn bind(network: &Network) -> Result<Front, BindError> {
        let stop = CancellationToken::new();
        let request_memory = network.queued_request_bytes_max.map(RequestMemory::new);
        let settings = SocketSettings::new(network, request_memory.as_ref());
        let bind = |config: &ListenerConfig| Door::bind(config, settings.clone(), stop.child_token());
        let doors = network.listeners.iter().map(bind).collect::<Result<Vec<_>, _>>()?;
        Ok(Front {
            limits: ConnectionLimits::new(limits(network)),
            request_memory,
            tasks: TaskTracker::new(),
            stop,
            dropped: CancellationToken::new(),
            doors: Mutex::new(doors),
        })
    }

    /// The listeners with the ports they really got.
    pub(crate) fn bound(&self) -> Vec<ListenerConfig> {
        self.doors().iter().map(|door| door.config.clone()).collect()
    }

    /// Begins to serve on every listener that does not yet.
    pub(crate) fn open(&self, house: &Arc<House>) {
        for door in self.doors().iter_mut() {
            let Some(listener) = door.bound.take() else { continue };
            let (house, limits) = (Arc::clone(house), Arc::clone(&self.limits));
            let (stop, dropped) = (door.stop.clone(), self.dropped.clone());
            self.tasks.spawn(listener.accept(house, limits, self.tasks.clone(), stop, dropped));
        }
    }

    /// The quota of an address, or of all without one, is this from now on.
    pub(crate) fn set_ip_rate(&self, rate: IpRate) {
        self.limits.set_ip_rate(rate);
    }

    /// No address has a quota any more.
    pub(crate) fn clear_ip_rates(&self) {
        self.limits.clear_ip_rates();
    }

    /// Takes over the limits and the listeners of a changed configuration: one that is no longer named is closed with
    /// its connections, a new one is opened. As in Kafka the name tells which is which.
    ///
    /// May wait for the resolution of host names. One that cannot be bound is told and left out.
    pub(crate) fn follow(&self, network: &Network, house: &Arc<House>) {
        self.limits.change(limits(network));
        let named = |door: &Door| network.listeners.iter().any(|listener| listener.name == door.config.name);
        let (kept, closed): (Vec<Door>, Vec<Door>) =
            std::mem::take(&mut *self.doors()).into_iter().partition(named);
        for door in closed {
            info!("closes {} and its connections: it is no longer among the listeners", door.config);
            door.stop.cancel();
        }
        let is_new = |config: &&ListenerConfig| kept.iter().all(|door| door.config.name != config.name);
        let mut added = Vec::new();
        let settings = SocketSettings::new(network, self.request_memory.as_ref());
        for config in network.listeners.iter().filter(is_new) {
            match Door::bind(config, settings.clone(), self.stop.child_token()) {
                Ok(door) => {
                    info!("listens on {}, too", door.config);
                    added.push(door);
                }
                Err(error) => warn!("{error}"),
            }
        }
        self.doors().extend(kept.into_iter().chain(added));
        self.open(house);
    }

    /// Closes listeners and connections; what is being answered gets a moment to end.
    pub(crate) async fn close(&self) {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(DRAIN, self.tasks.wait()).await.is_err() {
            warn!("connections still busy after {DRAIN:?} are dropped");
            self.dropped.cancel();
            self.tasks.wait().await;
        }
    }

    fn doors(&self) -> MutexGuard<'_, Vec<Door>> {
        self.doors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Door {
    fn bind(
        config: &ListenerConfig,
        settings: SocketSettings,
        stop: CancellationToken,
    ) -> Result<Door, BindError> {
        let bound = address(config)
            .and_then(|address| Listener::bind(&config.name, address, settings))
            .map_err(|source| BindError { listener: config.to_string(), source })?;
        let port = bound.local_addr().map_or(config.port, |address| address.port());
        Ok(Door { config: ListenerConfig { port, ..config.clone() }, bound: Some(bound), stop })
    }
}

impl SocketSettings {
    fn new(network: &Network, request_memory: Option<&Arc<RequestMemory>>) -> SocketSettings {
        SocketSettings {
            backlog: u32::try_from(network.backlog).unwrap_or(1),
            send_buffer: network.send_buffer,
            receive_buffer: network.receive_buffer,
            connection: ConnectionSettings {
                request_size_max: network.request_max_bytes,
                idle_max: network.connections_max_idle,
                request_memory: request_memory.cloned(),
            },
        }
    }
}

fn address(listener: &ListenerConfig) -> io::Result<SocketAddr> {
    let host = listener.host.as_deref().unwrap_or("0.0.0.0");
    let mut addresses = (host, listener.port).to_socket_addrs()?;
    addresses.next().ok_or_else(|| io::Error::other(format!("{host} has no address")))
}

fn limits(network: &Network) -> Limits {
    let several = network.listeners.len() > 1;
    Limits {
        total: network.max_connections,
        of_listener: network.max_connections_of_listener.clone(),
        per_ip: network.max_connections_per_ip,
        per_ip_overrides: overrides(&network.max_connections_per_ip_overrides),
        rate: network.max_creation_rate,
        rate_of_listener: network.max_creation_rate_of_listener.clone(),
        window: network.rate_window,
        protected: several.then(|| network.inter_broker_listener.clone()),
    }
}

/// A host name limits all its addresses; one that cannot be resolved limits nothing, and is said.
fn overrides(of_hosts: &BTreeMap<String, usize>) -> HashMap<IpAddr, usize> {
    let mut limits = HashMap::new();
    for (host, limit) in of_hosts {
        match (host.as_str(), 0).to_socket_addrs() {
            Ok(addresses) => limits.extend(addresses.map(|address| (address.ip(), *limit))),
            Err(error) => {
                warn!(host, %error, "max.connections.per.ip.overrides: this host cannot be resolved")
            }
        }
    }
    limits
}
