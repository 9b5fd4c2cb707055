//! Other brokers, as this one speaks to them: requests of Kafka's own protocol, sent over TCP, answered in order.
//!
//! Always true here: a connection carries one request at a time, and one that failed in any way is never used again, so
//! an answer cannot be taken for another's. This room knows no controller and no replica; who calls decides what a
//! failure means and whether to try again.

mod connection;
mod peer;
#[cfg(test)]
pub(crate) mod scripted;
pub(crate) mod versions;

use std::fmt;
use std::io;
use std::time::Duration;

use kafka_protocol::messages::ApiKey;
use storage::types::BrokerId;

use crate::metadata::MetadataSnapshot;
use crate::wire::frames::FrameError;

pub(crate) use peer::{Peer, PeerSettings};

/// Where a broker listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Address {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Address {
    /// Where `broker` is reached through `listener` (`inter.broker.listener.name`).
    ///
    /// `None` while it is not alive, or has no such listener, or advertises a port that is none.
    pub(crate) fn of(cluster: &MetadataSnapshot, broker: BrokerId, listener: &str) -> Option<Address> {
        let endpoint = cluster.node(broker, listener)?;
        let port = u16::try_from(endpoint.port).ok().filter(|port| *port != 0)?;
        Some(Address { host: endpoint.host.clone(), port })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Why a request got no answer. Whether the other broker carried it out is not known, except for the first two.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PeerError {
    #[error("cannot connect to {address}: {source}")]
    Unreachable { address: Address, source: io::Error },
    #[error("{api:?} cannot be put into version {version}: {reason}")]
    Unwritable { api: ApiKey, version: i16, reason: String },
    #[error("{address} gave no answer to {api:?} within {after:?}")]
    Silent { address: Address, api: ApiKey, after: Duration },
    #[error("{address} closed the connection instead of answering {api:?} v{version}")]
    Closed { address: Address, api: ApiKey, version: i16 },
    #[error("the connection to {address} broke: {source}")]
    Broken { address: Address, source: FrameError },
    #[error("the answer of {address} to {api:?} v{version} cannot be read: {reason}")]
    Unreadable { address: Address, api: ApiKey, version: i16, reason: String },
}
