//! How this broker presents itself: what lies in `/brokers/ids/N`, now and after a lost session.
//!
//! One value for the start, for registering again and for a change of the advertised listeners.

use std::net::Ipv4Addr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use coordinator::cluster::{Endpoint, SecurityProtocol};

use super::znodes::BrokerInfo;
use crate::config::BrokerConfig;
use crate::config::listeners::Listener;

/// What the broker's entry says whenever it is written.
pub(crate) struct Presence {
    /// A std mutex: held for a copy.
    info: Mutex<BrokerInfo>,
}

impl Presence {
    pub(crate) fn new(info: BrokerInfo) -> Presence {
        Presence { info: Mutex::new(info) }
    }

    pub(crate) fn info(&self) -> BrokerInfo {
        self.lock().clone()
    }

    /// The new entry, if it differs from the one before.
    pub(crate) fn advertise(&self, endpoints: Vec<Endpoint>) -> Option<BrokerInfo> {
        let mut info = self.lock();
        if info.endpoints == endpoints {
            return None;
        }
        info.endpoints = endpoints;
        Some(info.clone())
    }

    fn lock(&self) -> MutexGuard<'_, BrokerInfo> {
        self.info.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What clients are told: `advertised.listeners` as far as they are open, completed by this machine's name and the
/// ports really bound.
pub(crate) fn advertised(config: &BrokerConfig, bound: &[Listener]) -> Vec<Endpoint> {
    let complete = |listener: &Listener| {
        let door = bound.iter().find(|other| other.name == listener.name)?;
        let port = if listener.port == 0 { door.port } else { listener.port };
        Some(Endpoint {
            listener: listener.name.clone(),
            host: listener.host.clone().unwrap_or_else(host_name),
            port: i32::from(port),
            protocol: SecurityProtocol::parse(listener.protocol.name())
                .unwrap_or(SecurityProtocol::Plaintext),
        })
    };
    config.network.advertised.iter().filter_map(complete).collect()
}

/// This machine's own name, as Kafka advertises it where a listener names no host.
fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if name.is_empty() { Ipv4Addr::LOCALHOST.to_string() } else { name }
}
