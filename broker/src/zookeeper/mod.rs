//! **The embedded coordinator's front**: a standalone server of the ZooKeeper 3.8 client protocol in this process.
//!
//! For one machine that has no ZooKeeper. One thread owns the tree, the sessions and the journal ([`self::core`]);
//! connections only move frames.
//! Nothing is answered, read or told to a watcher before it is on disk. It is not replicated and never becomes so.

mod connection;
mod core;
mod counters;
mod journal;
mod jute;
mod outbox;
mod recovery;
mod reply;
mod request;
mod requests;
mod sessions;
mod words;

#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use coordinator::znodes::SessionId;
use storage::disk::{Disk, OsDisk};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use self::core::{Command, Core, Shared};
pub(crate) use journal::{JournalError, SnapshotPolicy};

/// Commands the core may have in its queue; connections wait while it is full.
const QUEUE: usize = 1024;

/// How the embedded coordinator is set up.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// `zookeeper.embedded.port` on 127.0.0.1. Default: 2181. 0: any free port.
    pub(crate) listen: SocketAddr,
    /// `zookeeper.embedded.data.dir`. Never inside a log directory.
    pub(crate) data_directory: PathBuf,
    /// Sessions ask for a timeout; it is moved into this range. Default: 4 s. ZooKeeper: 2 ticks of 2 s.
    pub(crate) session_timeout_min: Duration,
    /// Default: 40 s. ZooKeeper: 20 ticks of 2 s.
    pub(crate) session_timeout_max: Duration,
    /// Connections from one address. Default: 60, ZooKeeper's `maxClientCnxns`.
    pub(crate) connections_max: usize,
    pub(crate) snapshots: SnapshotPolicy,
    /// How often abandoned containers are looked for. Default: 60 s, ZooKeeper's `znode.container.checkIntervalMs`.
    pub(crate) sweep_interval: Duration,
}

impl Settings {
    pub(crate) fn new(port: u16, data_directory: PathBuf) -> Settings {
        Settings {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            data_directory,
            session_timeout_min: Duration::from_secs(4),
            session_timeout_max: Duration::from_secs(40),
            connections_max: 60,
            snapshots: SnapshotPolicy::default(),
            sweep_interval: Duration::from_secs(60),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("the embedded coordinator cannot use its data: {0}")]
    Journal(#[from] JournalError),
    #[error(
        "the embedded coordinator cannot listen on {address}: {source}; another ZooKeeper may be running there \
         (then set zookeeper.connect), or set zookeeper.embedded.port"
    )]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("the embedded coordinator cannot start its thread: {0}")]
    Thread(std::io::Error),
}

/// A running server. Dropping it stops it without a last snapshot; nothing acknowledged is lost by that.
pub(crate) struct EmbeddedServer {
    address: SocketAddr,
    commands: mpsc::Sender<Command>,
    acceptor: JoinHandle<()>,
    stopping: Arc<AtomicBool>,
    /// Turns true when the core has ended, whatever the reason.
    ended: watch::Receiver<bool>,
}

impl EmbeddedServer {
    /// Recovers the tree and starts to listen.
    pub(crate) async fn start(settings: Settings) -> Result<EmbeddedServer, StartError> {
        EmbeddedServer::start_on(Arc::new(OsDisk), settings).await
    }

    pub(crate) async fn start_on(
        disk: Arc<dyn Disk>,
        settings: Settings,
    ) -> Result<EmbeddedServer, StartError> {
        // First the port: who cannot have it must not touch the data of the one who has.
        let listen_error = |source| StartError::Listen { address: settings.listen, source };
        let listener = TcpListener::bind(settings.listen).await.map_err(listen_error)?;
        let address = listener.local_addr().map_err(listen_error)?;
        let (commands, queue) = mpsc::channel(QUEUE);
        let (end, ended) = watch::channel(false);
        let (opened, opening) = oneshot::channel();
        let (core_settings, shared) = (settings.clone(), Shared::default());
        let Shared { stopping, unsent, traffic } = shared.clone();
        std::thread::Builder::new()
            .name("zookeeper".into())
            .spawn(move || {
                match Core::open(disk, core_settings, address, shared) {
                    Ok(core) => {
                        let _ = opened.send(Ok(()));
                        core.run(queue);
                    }
                    Err(error) => {
                        let _ = opened.send(Err(error));
                    }
                }
                let _ = end.send(true);
            })
            .map_err(StartError::Thread)?;
        match opening.await {
            Ok(result) => result?,
            Err(_) => return Err(StartError::Thread(std::io::Error::other("it ended at once"))),
        }
        let connections_max = settings.connections_max;
        let acceptor = connection::Acceptor::new(listener, &commands, connections_max, unsent, traffic);
        let acceptor = tokio::spawn(acceptor.run(ended.clone()));
        Ok(EmbeddedServer { address, commands, acceptor, stopping, ended })
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Ends when the server has stopped by itself, which it does where its disk fails; the reason is in the log.
    pub(crate) async fn stopped(&self) {
        let mut ended = self.ended.clone();
        let _ = ended.wait_for(|ended| *ended).await;
    }

    /// Ends a session that no connection is attached to, as if its timeout had passed; false if there is none such.
    ///
    /// For the owner of this server only: the session of its own run before a crash need not be waited for, while one
    /// that somebody uses is somebody's.
    pub(crate) async fn expire_abandoned_session(&self, session: SessionId) -> bool {
        self.ask(|reply| Command::ExpireAbandoned { session, reply }).await.unwrap_or(false)
    }

    /// Closes all connections, writes a snapshot and stops. Sessions live on and are there after the next start.
    pub(crate) async fn shutdown(self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.acceptor.abort();
        let _ = self.ask(|reply| Command::Shutdown { reply }).await;
        self.stopped().await;
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.ok()?;
        answer.await.ok()
    }
}

impl Drop for EmbeddedServer {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.acceptor.abort();
    }
}
