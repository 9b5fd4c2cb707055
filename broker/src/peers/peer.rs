//! A broker that is called again and again: connects when needed, and anew after a failure.

use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::protocol::Request;
use tokio::time::Instant;

use super::connection::Connection;
use super::{Address, PeerError};
use crate::config::setup_timeout::SetupTimeout;

/// How connections to other brokers are made.
#[derive(Clone, Debug)]
pub(crate) struct PeerSettings {
    /// `client.id` of the requests: the broker's id, or what names the fetcher.
    pub(crate) client_id: Arc<str>,
    /// Largest answer. Unit: bytes, without the length in front. Memory grows with what arrives, not with this.
    pub(crate) response_max: usize,
    /// How long making a connection may take.
    pub(crate) setup_timeout: SetupTimeout,
    /// Least time from a failure to the next connection.
    pub(crate) reconnect_backoff: Duration,
    /// SO_RCVBUF; `None` leaves it to the system. Unit: bytes.
    pub(crate) receive_buffer: Option<usize>,
}

/// One broker at one address. Dropping it closes the connection.
pub(crate) struct Peer {
    address: Address,
    settings: PeerSettings,
    connection: Option<Connection>,
    /// No connection is made earlier.
    not_before: Option<Instant>,
    /// Connections that could not be made, in a row.
    failures: u32,
}

impl Peer {
    /// Connects with the first call.
    pub(crate) fn new(address: Address, settings: PeerSettings) -> Peer {
        Peer { address, settings, connection: None, not_before: None, failures: 0 }
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Sends `request` and waits at most `within` for its answer; making a connection has its own limit.
    ///
    /// Records in the answer (`Fetch`) are slices of what was received. After `Err` the connection is closed and the
    /// next call makes a new one, no earlier than `reconnect_backoff` from now. A call that is dropped midway closes
    /// the connection.
    pub(crate) async fn call<Q: Request>(
        &mut self,
        request: &Q,
        version: i16,
        within: Duration,
    ) -> Result<Q::Response, PeerError> {
        let mut connection = self.connect().await?;
        let answer = connection.call(request, version, within).await;
        match answer {
            Ok(answer) => {
                self.connection = Some(connection);
                Ok(answer)
            }
            Err(error) => {
                self.back_off();
                Err(error)
            }
        }
    }

    async fn connect(&mut self) -> Result<Connection, PeerError> {
        if let Some(mut connection) = self.connection.take()
            && !connection.is_over()
        {
            return Ok(connection);
        }
        if let Some(due) = self.not_before {
            tokio::time::sleep_until(due).await;
        }
        let patience = self.settings.setup_timeout.after(self.failures);
        let opened = Connection::open(&self.address, &self.settings, patience).await;
        self.not_before = None;
        if opened.is_ok() {
            self.failures = 0;
        } else {
            self.failures = self.failures.saturating_add(1);
            self.back_off();
        }
        opened
    }

    fn back_off(&mut self) {
        self.not_before = Some(Instant::now() + self.settings.reconnect_backoff);
    }
}

#[cfg(test)]
mod tests;
