//! All listeners of the broker: bound before it registers, accepting once it is ready, closed first when it stops.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use crate::config::Network;
use crate::config::listeners::Listener as ListenerConfig;
use crate::house::House;
use crate::net::connection::ConnectionSettings;
use crate::net::limits::ConnectionLimits;
use crate::net::listener::{Listener, SocketSettings};

/// How long open requests may take to end once the broker stops.
const DRAIN: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {listener}: {source}; change listeners, or stop what uses the port")]
pub(crate) struct BindError {
    listener: String,
    source: io::Error,
}

/// Bound sockets that do not accept yet.
pub(crate) struct Front {
    listeners: Vec<(ListenerConfig, Listener)>,
    limits: Arc<ConnectionLimits>,
}

/// Accepting sockets.
pub(crate) struct OpenFront {
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Front {
    pub(crate) fn bind(network: &Network) -> Result<Front, BindError> {
        let settings = SocketSettings {
            backlog: u32::try_from(network.backlog).unwrap_or(1),
            send_buffer: network.send_buffer,
            receive_buffer: network.receive_buffer,
            connection: ConnectionSettings {
                request_size_max: network.request_max_bytes,
                idle_max: network.connections_max_idle,
            },
        };
        let bind = |config: &ListenerConfig| {
            let bound = address(config).and_then(|address| Listener::bind(&config.name, address, settings));
            let limit = network.max_connections_of_listener.get(&config.name).copied();
            bound
                .map(|listener| (config.clone(), listener.limited_to(limit)))
                .map_err(|source| BindError { listener: config.to_string(), source })
        };
        let listeners = network.listeners.iter().map(bind).collect::<Result<Vec<_>, _>>()?;
        let limits = ConnectionLimits::new(
            network.max_connections,
            network.max_connections_per_ip,
            overrides(network),
        );
        Ok(Front { listeners, limits: Arc::new(limits) })
    }

    /// The listeners with the ports they really got.
    pub(crate) fn bound(&self) -> Vec<ListenerConfig> {
        let real = |(config, listener): &(ListenerConfig, Listener)| {
            let port = listener.local_addr().map_or(config.port, |address| address.port());
            ListenerConfig { port, ..config.clone() }
        };
        self.listeners.iter().map(real).collect()
    }

    /// Begins to serve.
    pub(crate) fn open(self, house: &Arc<House>) -> OpenFront {
        let front = OpenFront { tasks: TaskTracker::new(), stop: CancellationToken::new() };
        for (_, listener) in self.listeners {
            let (house, limits) = (Arc::clone(house), Arc::clone(&self.limits));
            front.tasks.spawn(listener.accept(house, limits, front.tasks.clone(), front.stop.clone()));
        }
        front
    }
}

impl OpenFront {
    /// Closes listeners and connections; what is being answered gets a moment to end.
    pub(crate) async fn close(self) {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(DRAIN, self.tasks.wait()).await.is_err() {
            warn!("connections still busy after {DRAIN:?} are dropped");
        }
    }
}

fn address(listener: &ListenerConfig) -> io::Result<SocketAddr> {
    let host = listener.host.as_deref().unwrap_or("0.0.0.0");
    let mut addresses = (host, listener.port).to_socket_addrs()?;
    addresses.next().ok_or_else(|| io::Error::other(format!("{host} has no address")))
}

/// A host name limits all its addresses; one that cannot be resolved limits nothing, and is said.
fn overrides(network: &Network) -> HashMap<IpAddr, usize> {
    let mut limits = HashMap::new();
    for (host, limit) in &network.max_connections_per_ip_overrides {
        match (host.as_str(), 0).to_socket_addrs() {
            Ok(addresses) => limits.extend(addresses.map(|address| (address.ip(), *limit))),
            Err(error) => {
                warn!(host, %error, "max.connections.per.ip.overrides: this host cannot be resolved")
            }
        }
    }
    limits
}
