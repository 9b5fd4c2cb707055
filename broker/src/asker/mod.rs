//! Who asks, and how: what is known of a request's connection and header where it is served and measured.

mod mute;
mod stopwatch;

use std::net::SocketAddr;
use std::sync::Arc;

use kafka_protocol::messages::ApiKey;

pub(crate) use mute::Mute;
pub(crate) use stopwatch::Stopwatch;

/// Who asks, and how: what a handler may know of the connection and the request's header.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) connection: Arc<Peer>,
    pub(crate) api: ApiKey,
    pub(crate) version: i16,
    pub(crate) correlation_id: i32,
    /// `client.id` as sent; empty where the client sent none.
    pub(crate) client_id: Arc<str>,
    /// The whole request without its length prefix. Unit: bytes.
    pub(crate) size: usize,
    /// Measures the request; `None` while no quota asks for it.
    pub(crate) stopwatch: Option<Arc<Stopwatch>>,
}

/// The other end of a connection.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Name of the listener it came through (`listeners`), e.g. `PLAINTEXT`.
    pub(crate) listener: Arc<str>,
    pub(crate) address: SocketAddr,
    /// Name of the principal, for quotas.
    pub(crate) user: Arc<str>,
    pub(crate) mute: Mute,
}

impl Peer {
    /// One that has not logged in.
    pub(crate) fn new(listener: Arc<str>, address: SocketAddr) -> Peer {
        Peer { listener, address, user: anonymous(), mute: Mute::default() }
    }
}

/// Whose requests come without a login.
fn anonymous() -> Arc<str> {
    "ANONYMOUS".into()
}
