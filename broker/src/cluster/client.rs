//! The only door to ZooKeeper: the `zookeeper-client` crate with the rules Kafka lives by.
//!
//! The crate declares a session expired by itself when the ensemble was away for 7/5 of the timeout; Kafka does so only
//! when a server says it. So a client that gave up is replaced by one that re-attaches to the same session, and only a
//! refused re-attachment begins a new one. Every call has a deadline, but those of a start; a lost connection is waited out
//! within it.
//! Nothing here knows what a znode means.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{info, warn};
use zookeeper_client as zk;

pub(crate) use zk::Stat;

use super::security::{AclPolicy, Security};
use crate::config::coordinates::ConnectString;

/// Pause between two attempts to reach the ensemble.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// The deadline of calls without one.
const WITHOUT_END: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// How long a clean stop waits for the session to be closed.
const CLOSE_MAX: Duration = Duration::from_secs(2);

#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error(
        "cannot reach ZooKeeper at {servers} within {timeout:?} (zookeeper.connection.timeout.ms): {source}. Check that it \
         runs and that zookeeper.connect names it; to run this broker without ZooKeeper, leave zookeeper.connect out and \
         it starts its own coordinator"
    )]
    Unreachable { servers: String, timeout: Duration, source: zk::Error },
    #[error(
        "cannot reach ZooKeeper at {servers} over TLS within {timeout:?} (zookeeper.connection.timeout.ms): {source}. \
         Check that these are its secureClientPort, that zookeeper.ssl.truststore.location trusts its certificate, that \
         the certificate names these hosts, and whether it asks for a client certificate (zookeeper.ssl.keystore.location)"
    )]
    UnreachableOverTls { servers: String, timeout: Duration, source: zk::Error },
    #[error("ZooKeeper at {servers} refused the login of the login file: {source}")]
    Login { servers: String, source: zk::Error },
    #[error("cannot create the chroot {chroot} of zookeeper.connect: {source}")]
    Chroot { chroot: String, source: zk::Error },
}

/// What happened to our session, as a value that only grows. Compare with an earlier one to see what changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SessionView {
    /// Sessions so far. A change means that the former one expired: ephemeral znodes are gone, register again.
    pub(crate) number: u64,
    /// Clients so far. A change means that watches of the former one are gone: read again.
    pub(crate) attachment: u64,
}

/// One write of a multi.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Write {
    Check { path: String, version: i32 },
    Create { path: String, data: Vec<u8>, lifetime: Lifetime },
    Set { path: String, data: Vec<u8>, version: Option<i32> },
    Delete { path: String, version: Option<i32> },
}

/// What a write of a multi resulted in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    Checked,
    Created(Stat),
    Set(Stat),
    Deleted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lifetime {
    Persistent,
    /// Until our session ends.
    Ephemeral,
}

/// Nothing of a multi was done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MultiError {
    #[error("write {index} was refused: {source}")]
    Refused { index: usize, source: zk::Error },
    #[error(transparent)]
    Failed(#[from] zk::Error),
}

/// What is asked of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) session_timeout: Duration,
    /// How long the first connection may take.
    pub(crate) connection_timeout: Duration,
    /// Requests under way at once; at least 1.
    pub(crate) in_flight_max: usize,
    pub(crate) security: Security,
}

/// A connected client. Cheap to share; all of it is one session.
pub(crate) struct ZooKeeper {
    connector: Reconnect,
    in_flight: Semaphore,
    /// `None` once closed.
    current: RwLock<Option<zk::Client>>,
    session: watch::Sender<SessionView>,
    /// Bound of each call. The session timeout: after it nothing can be relied upon anyway.
    call_max: Duration,
    /// Calls have no bound.
    is_patient: AtomicBool,
}

/// All that is needed to connect once more.
struct Reconnect {
    servers: String,
    chroot: Option<String>,
    session_timeout: Duration,
    security: Security,
}

impl Reconnect {
    async fn connect(&self, session: Option<zk::SessionInfo>) -> Result<zk::Client, zk::Error> {
        let connector =
            zk::Client::connector().with_session_timeout(self.session_timeout).with_fail_eagerly();
        let connector = match session {
            Some(session) => connector.with_session(session),
            None => connector,
        };
        let connector = self.security.apply(connector);
        let client = match self.security.is_encrypted() {
            true => connector.secure_connect(&self.servers).await?,
            false => connector.connect(&self.servers).await?,
        };
        Ok(match &self.chroot {
            Some(chroot) => client.chroot(chroot.clone()).unwrap_or_else(|client| client),
            None => client,
        })
    }

    fn unreachable(self, timeout: Duration, source: zk::Error) -> ConnectError {
        let servers = self.servers;
        match self.security.is_encrypted() {
            true => ConnectError::UnreachableOverTls { servers, timeout, source },
            false => ConnectError::Unreachable { servers, timeout, source },
        }
    }
}

impl ZooKeeper {
    /// Connects, makes the chroot where it is missing, and keeps the session from then on.
    pub(crate) async fn connect(
        connect: &ConnectString,
        terms: Terms,
    ) -> Result<Arc<ZooKeeper>, ConnectError> {
        let Terms { session_timeout, connection_timeout, in_flight_max, security } = terms;
        let deadline = Instant::now() + connection_timeout;
        let mut connector = Reconnect { servers: servers(connect), chroot: None, session_timeout, security };
        let client = loop {
            let attempt = timeout_at(deadline, connector.connect(None)).await;
            let source = match attempt {
                Ok(Ok(client)) => break client,
                Ok(Err(source @ zk::Error::AuthFailed)) => {
                    return Err(ConnectError::Login { servers: connector.servers, source });
                }
                Ok(Err(error)) => error,
                Err(_) => zk::Error::Timeout,
            };
            if Instant::now() + RETRY_PAUSE >= deadline {
                return Err(connector.unreachable(connection_timeout, source));
            }
            sleep(RETRY_PAUSE).await;
        };
        connector.chroot = connect.chroot.clone();
        let client = enter_chroot(client, connect.chroot.as_deref(), connector.security.acls).await?;
        let zookeeper = Arc::new(ZooKeeper {
            connector,
            in_flight: Semaphore::new(in_flight_max.max(1)),
            current: RwLock::new(Some(client)),
            session: watch::Sender::new(SessionView { number: 1, attachment: 1 }),
            call_max: session_timeout,
            is_patient: AtomicBool::new(false),
        });
        tokio::spawn(keep_session(Arc::downgrade(&zookeeper)));
        Ok(zookeeper)
    }

    /// Whether calls from here on are answered however long ZooKeeper is silent, instead of failing after a session's time. As in
    /// Kafka's broker that is for a start: nothing rests on a session yet.
    pub(crate) fn be_patient(&self, patient: bool) {
        self.is_patient.store(patient, Ordering::Relaxed);
    }

    /// The id of the current session, as ZooKeeper shows it in `ephemeralOwner`.
    /// 0 once closed.
    pub(crate) fn session_id(&self) -> i64 {
        self.client().map_or(0, |client| client.session_id().0)
    }

    /// As the server granted it.
    pub(crate) fn session_timeout(&self) -> Duration {
        self.client().map_or(self.connector.session_timeout, |client| client.session_timeout())
    }

    /// Changes when watches or ephemeral znodes were lost.
    pub(crate) fn session(&self) -> watch::Receiver<SessionView> {
        self.session.subscribe()
    }

    /// `None` where there is no such znode.
    pub(crate) async fn get(&self, path: &str) -> Result<Option<(Vec<u8>, Stat)>, zk::Error> {
        absent_is_none(self.persist(|client| async move { client.get_data(path).await }).await)
    }

    /// The znode and a watcher for its next change; where there is none, a watcher for its creation.
    pub(crate) async fn get_and_watch(
        &self,
        path: &str,
    ) -> Result<(Option<(Vec<u8>, Stat)>, zk::OneshotWatcher), zk::Error> {
        self.persist(|client| async move {
            loop {
                match client.get_and_watch_data(path).await {
                    Ok((data, stat, watcher)) => return Ok((Some((data, stat)), watcher)),
                    Err(zk::Error::NoNode) => match client.check_and_watch_stat(path).await? {
                        (None, watcher) => return Ok((None, watcher)),
                        // Created in between: read it.
                        (Some(_), watcher) => drop(watcher),
                    },
                    Err(error) => return Err(error),
                }
            }
        })
        .await
    }

    /// `None` where there is no such znode.
    pub(crate) async fn children(&self, path: &str) -> Result<Option<Vec<String>>, zk::Error> {
        absent_is_none(self.persist(|client| async move { client.list_children(path).await }).await)
    }

    /// The names below a znode that exists, and a watcher for their next change.
    pub(crate) async fn children_and_watch(
        &self,
        path: &str,
    ) -> Result<(Vec<String>, zk::OneshotWatcher), zk::Error> {
        self.persist(|client| async move { client.list_and_watch_children(path).await }).await
    }

    /// `None` where there is no such znode.
    pub(crate) async fn stat(&self, path: &str) -> Result<Option<Stat>, zk::Error> {
        self.persist(|client| async move { client.check_stat(path).await }).await
    }

    pub(crate) async fn create(
        &self,
        path: &str,
        data: &[u8],
        lifetime: Lifetime,
    ) -> Result<Stat, zk::Error> {
        let options = &options(lifetime, self.acls(path));
        let (stat, _) =
            self.persist(|client| async move { client.create(path, data, options).await }).await?;
        Ok(stat)
    }

    /// Creates the znode `prefix` + ten digits and returns its number.
    pub(crate) async fn create_sequential(&self, prefix: &str, data: &[u8]) -> Result<i64, zk::Error> {
        let mode = &zk::CreateMode::PersistentSequential.with_acls(self.acls(prefix));
        let created = self.persist(|client| async move { client.create(prefix, data, mode).await });
        Ok(created.await?.1.into_i64())
    }

    /// `None` sets whatever the version is.
    pub(crate) async fn set(&self, path: &str, data: &[u8], version: Option<i32>) -> Result<Stat, zk::Error> {
        self.persist(|client| async move { client.set_data(path, data, version).await }).await
    }

    /// `None` deletes whatever the version is.
    pub(crate) async fn delete(&self, path: &str, version: Option<i32>) -> Result<(), zk::Error> {
        self.persist(|client| async move { client.delete(path, version).await }).await
    }

    /// All of the writes or none. After a lost connection it is sent again, so a write that had succeeded may be
    /// refused the second time; version checks and the caller's next read tell.
    pub(crate) async fn multi(&self, writes: &[Write]) -> Result<Vec<Written>, MultiError> {
        let acls = self.connector.security.acls;
        let outcome = self
            .persist(|client| async move {
                match commit(&client, writes, acls).await {
                    Ok(written) => Ok(Ok(written)),
                    Err(zk::MultiWriteError::OperationFailed { index, source }) => Ok(Err((index, source))),
                    Err(zk::MultiWriteError::RequestFailed { source }) => Err(source),
                }
            })
            .await?;
        outcome.map_err(|(index, source)| MultiError::Refused { index, source })
    }

    /// Ends the session so that our ephemeral znodes go at once. Later calls fail.
    pub(crate) async fn close(&self) {
        let client = self.current.write().unwrap_or_else(PoisonError::into_inner).take();
        let Some(client) = client else { return };
        let mut state = client.state_watcher();
        // The last client that goes ends the session; calls under way hold theirs until they are done.
        drop(client);
        let closed = async { while !state.changed().await.is_terminated() {} };
        if tokio::time::timeout(CLOSE_MAX, closed).await.is_err() {
            warn!("ZooKeeper did not confirm the end of the session; it ends by its timeout");
        }
    }

    /// `None` once closed.
    fn client(&self) -> Option<zk::Client> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn acls(&self, path: &str) -> zk::Acls<'static> {
        self.connector.security.acls.of(path)
    }

    /// Repeats `call` after lost connections until the deadline, on whatever client is current. Waits for its turn
    /// where enough calls are under way.
    async fn persist<T, F, Fut>(&self, call: F) -> Result<T, zk::Error>
    where
        F: Fn(zk::Client) -> Fut,
        Fut: Future<Output = Result<T, zk::Error>>,
    {
        let call_max = if self.is_patient.load(Ordering::Relaxed) { WITHOUT_END } else { self.call_max };
        let deadline = Instant::now() + call_max;
        loop {
            let client = self.client().ok_or(zk::Error::ClientClosed)?;
            // Held for one attempt: while ZooKeeper is away, nobody's pause takes another one's turn.
            let turn =
                timeout_at(deadline, self.in_flight.acquire()).await.map_err(|_| zk::Error::Timeout)?;
            let result = timeout_at(deadline, call(client)).await.unwrap_or(Err(zk::Error::Timeout));
            drop(turn);
            match result {
                Err(error) if is_passing(&error) && Instant::now() + RETRY_PAUSE < deadline => {
                    sleep(RETRY_PAUSE).await;
                }
                result => return result,
            }
        }
    }

    fn replace(&self, client: zk::Client, same_session: bool) {
        match &mut *self.current.write().unwrap_or_else(PoisonError::into_inner) {
            Some(current) => *current = client,
            None => return,
        }
        self.session.send_modify(|view| {
            view.attachment += 1;
            if !same_session {
                view.number += 1;
            }
        });
    }
}

/// Watches over the session until its owner is gone.
async fn keep_session(zookeeper: std::sync::Weak<ZooKeeper>) {
    loop {
        let Some((mut state, session)) = zookeeper
            .upgrade()
            .and_then(|zookeeper| zookeeper.client())
            .map(|client| (client.state_watcher(), client.session().clone()))
        else {
            return;
        };
        // The watcher may have been made after the end, which is then its present state.
        let mut now = state.peek_state();
        while !now.is_terminated() {
            now = state.changed().await;
            match now {
                zk::SessionState::Disconnected => {
                    warn!("connection to ZooKeeper lost; looking for another server")
                }
                zk::SessionState::SyncConnected => info!("connected to ZooKeeper again"),
                _ => {}
            }
        }
        let Some(zookeeper) = zookeeper.upgrade() else { return };
        if zookeeper.client().is_none() {
            // The broker has closed its session: nothing was lost.
            return;
        }
        attach_again(&zookeeper, session).await;
    }
}

/// Tries for as long as it takes: first the same session, and a new one once a server says that it expired.
async fn attach_again(zookeeper: &ZooKeeper, session: zk::SessionInfo) {
    let mut session = Some(session);
    loop {
        match zookeeper.connector.connect(session.clone()).await {
            Ok(client) => {
                let same = session.is_some();
                info!(session = client.session_id().0, same, "attached to ZooKeeper");
                zookeeper.replace(client, same);
                return;
            }
            Err(zk::Error::SessionExpired | zk::Error::SessionMoved) if session.is_some() => {
                warn!("the ZooKeeper session expired; starting a new one");
                session = None;
            }
            Err(_) => sleep(RETRY_PAUSE).await,
        }
    }
}

/// Failures that a moment later may be none.
fn is_passing(error: &zk::Error) -> bool {
    matches!(
        error,
        zk::Error::ConnectionLoss
            | zk::Error::SessionExpired
            | zk::Error::SessionMoved
            | zk::Error::ClientClosed
            | zk::Error::Throttled
            // The connection's own errors: reset, no response.
            | zk::Error::Custom(_)
    )
}

async fn enter_chroot(
    client: zk::Client,
    chroot: Option<&str>,
    acls: AclPolicy,
) -> Result<zk::Client, ConnectError> {
    let Some(chroot) = chroot else { return Ok(client) };
    let mode = zk::CreateMode::Persistent.with_acls(acls.of(chroot));
    match client.mkdir(chroot, &mode).await {
        Ok(()) | Err(zk::Error::NodeExists) => {
            Ok(client.chroot(chroot.to_owned()).unwrap_or_else(|client| client))
        }
        Err(source) => Err(ConnectError::Chroot { chroot: chroot.to_owned(), source }),
    }
}

async fn commit(
    client: &zk::Client,
    writes: &[Write],
    acls: AclPolicy,
) -> Result<Vec<Written>, zk::MultiWriteError> {
    let mut writer = client.new_multi_writer();
    for write in writes {
        match write {
            Write::Check { path, version } => writer.add_check_version(path, *version)?,
            Write::Create { path, data, lifetime } => {
                writer.add_create(path, data, &options(*lifetime, acls.of(path)))?;
            }
            Write::Set { path, data, version } => writer.add_set_data(path, data, *version)?,
            Write::Delete { path, version } => writer.add_delete(path, *version)?,
        }
    }
    let written = writer.commit().await?;
    Ok(written
        .into_iter()
        .map(|result| match result {
            zk::MultiWriteResult::Create { stat, .. } => Written::Created(stat),
            zk::MultiWriteResult::SetData { stat } => Written::Set(stat),
            zk::MultiWriteResult::Delete => Written::Deleted,
            _ => Written::Checked,
        })
        .collect())
}

fn options(lifetime: Lifetime, acls: zk::Acls<'static>) -> zk::CreateOptions<'static> {
    let mode = match lifetime {
        Lifetime::Persistent => zk::CreateMode::Persistent,
        Lifetime::Ephemeral => zk::CreateMode::Ephemeral,
    };
    mode.with_acls(acls)
}

fn absent_is_none<T>(result: Result<T, zk::Error>) -> Result<Option<T>, zk::Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(zk::Error::NoNode) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The servers without the chroot, as the crate wants them.
fn servers(connect: &ConnectString) -> String {
    let one = |(host, port): &(String, u16)| {
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    };
    connect.servers.iter().map(one).collect::<Vec<_>>().join(",")
}
