//! Accepts connections on one listener and starts a task for each.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::asker::Peer;
use crate::house::House;
use crate::net::connection::{self, ConnectionSettings};
use crate::net::limits::{Admission, ConnectionLimits, Verdict};

/// Pause after a failed accept (out of file descriptors), so that it does not spin.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Connections of one listener that are held before they are closed; further ones are closed at once. Bounds open files.
const HELD_MAX: usize = 1000;

/// How a listener's sockets are set up.
#[derive(Clone, Debug)]
pub(crate) struct SocketSettings {
    /// `socket.listen.backlog.size`.
    pub(crate) backlog: u32,
    /// `socket.send.buffer.bytes`; `None` leaves it to the kernel (-1).
    pub(crate) send_buffer: Option<usize>,
    /// `socket.receive.buffer.bytes`; `None` leaves it to the kernel (-1).
    pub(crate) receive_buffer: Option<usize>,
    pub(crate) connection: ConnectionSettings,
}

/// A bound listener that does not accept yet: clients that connect wait in its backlog until the broker is ready.
pub(crate) struct Listener {
    name: Arc<str>,
    socket: TcpListener,
    settings: SocketSettings,
    /// Places for connections that are held.
    held: Arc<Semaphore>,
}

impl Listener {
    pub(crate) fn bind(name: &str, address: SocketAddr, settings: SocketSettings) -> io::Result<Listener> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        if let Some(size) = settings.receive_buffer {
            socket.set_recv_buffer_size(u32::try_from(size).unwrap_or(u32::MAX))?;
        }
        socket.bind(address)?;
        let held = Arc::new(Semaphore::new(HELD_MAX));
        Ok(Listener { name: name.into(), socket: socket.listen(settings.backlog)?, settings, held })
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Accepts until `stop`; every connection runs as a task of `tasks`, begins to end with `stop` and is dropped with
    /// `dropped`.
    pub(crate) async fn accept(
        self,
        house: Arc<House>,
        limits: Arc<ConnectionLimits>,
        tasks: TaskTracker,
        stop: CancellationToken,
        dropped: CancellationToken,
    ) {
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = self.next(&limits) => accepted,
            };
            match accepted {
                Ok((stream, _, Verdict::Refused)) => drop(stream),
                Ok((stream, address, Verdict::Held(wait))) => self.hold(stream, address, wait, &tasks, &stop),
                Ok((stream, address, Verdict::Admitted(admission))) => {
                    let serving = self.serve(Arc::clone(&house), stream, address, admission, stop.clone());
                    let dropped = dropped.clone();
                    tasks.spawn(async move {
                        tokio::select! {
                            () = dropped.cancelled() => {}
                            () = serving => {}
                        }
                    });
                }
                Err(error) => {
                    warn!(listener = %self.name, %error, "cannot accept a connection; raise `ulimit -n` if it is about open files");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            }
        }
    }

    /// Leaves a connection open and unread for `wait`, and then closes it.
    fn hold(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        wait: Duration,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) {
        debug!(client = %address, ?wait, "connection refused: its address makes more than its quota allows");
        let Ok(place) = Arc::clone(&self.held).try_acquire_owned() else { return };
        let stop = stop.clone();
        tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(wait) => {}
            }
            drop((stream, place));
        });
    }

    async fn next(&self, limits: &Arc<ConnectionLimits>) -> io::Result<(TcpStream, SocketAddr, Verdict)> {
        let (stream, address) = self.socket.accept().await?;
        let verdict = limits.admit(&self.name, address.ip().to_canonical()).await;
        if let Verdict::Refused = verdict {
            debug!(client = %address, "connection refused: its address has as many as max.connections.per.ip allows");
            return Ok((stream, address, verdict));
        }
        stream.set_nodelay(true)?;
        let socket = SockRef::from(&stream);
        socket.set_keepalive(true)?;
        if let Some(size) = self.settings.send_buffer {
            socket.set_send_buffer_size(size)?;
        }
        Ok((stream, address, verdict))
    }

    fn serve(
        &self,
        house: Arc<House>,
        stream: TcpStream,
        address: SocketAddr,
        admission: Admission,
        stop: CancellationToken,
    ) -> impl Future<Output = ()> + Send + 'static {
        let peer = Arc::new(Peer::new(Arc::clone(&self.name), address));
        let settings = self.settings.connection.clone();
        async move {
            let (reader, writer) = stream.into_split();
            connection::run(house, peer, reader, writer, settings, admission, stop).await;
        }
    }
}
