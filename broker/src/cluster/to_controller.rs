//! This broker's way to the controller, wherever it is.
//!
//! Always true here: one request at a time is under way, over a connection that is made anew when another broker becomes
//! the controller; where the controller is in this very process, nothing goes over a socket. An answer that comes from
//! somebody who is not the controller never reaches the asker.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use storage::types::BrokerId;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tracing::info;

use super::controller::{ControllerHandle, ForController};
use crate::metadata::MetadataCache;
use crate::peers::{Address, Peer, PeerError, PeerSettings};

/// Pause before the controller is looked for again (`NodeToControllerRequestThread`).
pub(crate) const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Why there is no answer yet.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoAnswer {
    #[error("no controller is known")]
    Nobody,
    #[error("the controller, broker {0}, is not known to be reachable through listener {1}")]
    NoAddress(BrokerId, Arc<str>),
    #[error("the controller, which is in this process, did not come to it within {0:?}")]
    Busy(Duration),
    #[error("broker {0} is not the controller")]
    Elsewhere(BrokerId),
    #[error(transparent)]
    Failed(#[from] PeerError),
}

/// What this broker needs to speak to the controller.
pub(crate) struct ToController {
    me: BrokerId,
    here: ControllerHandle,
    metadata: Arc<MetadataCache>,
    /// `inter.broker.listener.name`.
    listener: Arc<str>,
    settings: PeerSettings,
    /// How long one attempt may take.
    timeout: Duration,
    broker_epoch: Arc<AtomicI64>,
    /// Held while a request is under way: there is one connection, and it carries one at a time.
    connection: Mutex<Option<Peer>>,
}

/// How the controller is reached.
#[derive(Clone, Debug)]
pub(crate) struct ControllerChannel {
    /// `inter.broker.listener.name`.
    pub(crate) listener: Arc<str>,
    pub(crate) peer: PeerSettings,
    /// `controller.socket.timeout.ms`: how long one attempt may take.
    pub(crate) timeout: Duration,
}

impl ToController {
    /// `here` is the candidate of this process, `broker_epoch` the epoch of the present registration.
    pub(crate) fn new(
        me: BrokerId,
        here: ControllerHandle,
        metadata: Arc<MetadataCache>,
        channel: ControllerChannel,
        broker_epoch: Arc<AtomicI64>,
    ) -> ToController {
        let ControllerChannel { listener, peer: settings, timeout } = channel;
        let connection = Mutex::new(None);
        ToController { me, here, metadata, listener, settings, timeout, broker_epoch, connection }
    }

    /// The candidate of this process, in office or not.
    pub(crate) fn here(&self) -> &ControllerHandle {
        &self.here
    }

    pub(crate) fn me(&self) -> BrokerId {
        self.me
    }

    /// What every request to the controller names, so that it knows this life of the broker from the former.
    pub(crate) fn broker_epoch(&self) -> i64 {
        self.broker_epoch.load(Ordering::Acquire)
    }

    /// Asks once. The asker pauses and asks again where it must have an answer.
    pub(crate) async fn ask<Q: ForController + Clone + Sync>(
        &self,
        request: &Q,
        version: i16,
    ) -> Result<Q::Response, NoAnswer> {
        let cluster = self.metadata.snapshot();
        let controller = cluster.controller().ok_or(NoAnswer::Nobody)?;
        let answer = if controller == self.me {
            let answering = request.clone().answer(version, &self.here);
            timeout(self.timeout, answering).await.map_err(|_| NoAnswer::Busy(self.timeout))?
        } else {
            let address = Address::of(&cluster, controller, &self.listener)
                .ok_or_else(|| NoAnswer::NoAddress(controller, Arc::clone(&self.listener)))?;
            drop(cluster);
            self.call(controller, address, request, version).await?
        };
        if Q::is_from_elsewhere(&answer) { Err(NoAnswer::Elsewhere(controller)) } else { Ok(answer) }
    }

    async fn call<Q: ForController + Sync>(
        &self,
        controller: BrokerId,
        address: Address,
        request: &Q,
        version: i16,
    ) -> Result<Q::Response, NoAnswer> {
        let mut connection = self.connection.lock().await;
        let peer = match &mut *connection {
            Some(peer) if *peer.address() == address => peer,
            other => {
                info!(%controller, %address, "the controller is asked there from now on");
                other.insert(Peer::new(address, self.settings.clone()))
            }
        };
        Ok(peer.call(request, version, self.timeout).await?)
    }
}
