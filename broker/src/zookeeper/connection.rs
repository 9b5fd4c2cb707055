//! Frames in, frames out. Decides nothing: what a frame means is the core's.
//!
//! Bounded: frame size, requests in flight, unsent bytes, connections an address, time until the first frame.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use coordinator::znodes::WatcherId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

use super::core::Command;
use super::outbox::{Level, Total, Unsent, outbox};
use super::request::{Envelope, Hello};
use super::words::Word;

/// `jute.maxbuffer`. Unit: bytes.
const FRAME_MAX: usize = 0xf_ffff;

/// Requests of one connection between socket and core's answer.
const REQUESTS_IN_FLIGHT_MAX: usize = 256;

/// Request bytes of all connections that the core has not taken yet.
const QUEUED_BYTES_MAX: usize = 64 << 20;

/// How long a connection may take to say hello (`zookeeper.nio.sessionlessCnxnTimeout`).
const HELLO_PATIENCE: Duration = Duration::from_secs(10);

/// A pause after `accept` fails, which it does while the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Keeps a request's share of the limits until it is answered.
#[derive(Debug)]
pub(super) struct Permit {
    _in_flight: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

pub(super) struct Acceptor {
    listener: TcpListener,
    /// Weak, so that the core ends when its owner lets go of it, whoever is connected.
    commands: mpsc::WeakSender<Command>,
    connections_max: usize,
    bytes: Arc<Semaphore>,
    unsent: Total,
    traffic: Arc<Traffic>,
    by_address: Arc<Mutex<BTreeMap<IpAddr, usize>>>,
}

/// What the four-letter words tell of connections.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    /// Connections taken, and turned away because their address had too many.
    pub(super) accepted: AtomicU64,
    pub(super) rejected: AtomicU64,
    /// Ended before they had said hello.
    pub(super) speechless: AtomicU64,
    /// Frames with their lengths. Unit: bytes.
    pub(super) received_bytes: AtomicU64,
}

impl Acceptor {
    pub(super) fn new(
        listener: TcpListener,
        commands: &mpsc::Sender<Command>,
        connections_max: usize,
        unsent: Total,
        traffic: Arc<Traffic>,
    ) -> Acceptor {
        let bytes = Arc::new(Semaphore::new(QUEUED_BYTES_MAX));
        let commands = commands.downgrade();
        Acceptor { listener, commands, connections_max, bytes, unsent, traffic, by_address: Arc::default() }
    }

    /// Accepts until the core has ended.
    pub(super) async fn run(self, mut ended: watch::Receiver<bool>) {
        let mut next_id = 0;
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                _ = ended.wait_for(|ended| *ended) => return,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "the embedded coordinator cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Some(seat) = Seat::take(&self.by_address, peer.ip(), self.connections_max) else {
                self.traffic.rejected.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(%peer, limit = self.connections_max, "too many connections from one address");
                continue;
            };
            self.traffic.accepted.fetch_add(1, Ordering::Relaxed);
            next_id += 1;
            let connection = Connection {
                id: WatcherId(next_id),
                peer,
                commands: self.commands.clone(),
                bytes: Arc::clone(&self.bytes),
                unsent: self.unsent.clone(),
                traffic: Arc::clone(&self.traffic),
                in_flight: Arc::new(Semaphore::new(REQUESTS_IN_FLIGHT_MAX)),
            };
            tokio::spawn(async move {
                connection.serve(stream).await;
                drop(seat);
            });
        }
    }
}

/// One of the connections an address may have.
struct Seat {
    by_address: Arc<Mutex<BTreeMap<IpAddr, usize>>>,
    address: IpAddr,
}

impl Seat {
    fn take(by_address: &Arc<Mutex<BTreeMap<IpAddr, usize>>>, address: IpAddr, limit: usize) -> Option<Seat> {
        let mut taken = by_address.lock().expect("nothing panics under this lock");
        let count = taken.entry(address).or_default();
        if limit > 0 && *count >= limit {
            return None;
        }
        *count += 1;
        drop(taken);
        Some(Seat { by_address: Arc::clone(by_address), address })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.by_address.lock().expect("nothing panics under this lock");
        if let Some(count) = taken.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.address);
            }
        }
    }
}

struct Connection {
    id: WatcherId,
    peer: SocketAddr,
    commands: mpsc::WeakSender<Command>,
    bytes: Arc<Semaphore>,
    unsent: Total,
    traffic: Arc<Traffic>,
    in_flight: Arc<Semaphore>,
}

/// Why reading ended. Nothing to do about any but closing.
struct Closed;

impl<E: std::error::Error> From<E> for Closed {
    fn from(_: E) -> Closed {
        Closed
    }
}

impl Connection {
    async fn send(&self, command: Command) -> Result<(), Closed> {
        let commands = self.commands.upgrade().ok_or(Closed)?;
        Ok(commands.send(command).await?)
    }

    async fn serve(self, mut stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let first = tokio::time::timeout(HELLO_PATIENCE, self.first_frame(&mut stream)).await;
        let hello = match first {
            Ok(Ok(Some(hello))) => hello,
            Ok(Ok(None) | Err(Closed)) => return,
            Err(_) => {
                self.traffic.speechless.fetch_add(1, Ordering::Relaxed);
                return;
            }
        };
        let (sender, unsent) = outbox(&self.unsent);
        let connect = Command::Connect { id: self.id, peer: self.peer, hello, outbox: sender };
        if self.send(connect).await.is_err() {
            return;
        }
        let (reader, writer) = stream.into_split();
        let level = unsent.level();
        tokio::select! {
            _ = self.read(reader, &level) => {}
            () = write(writer, unsent) => {}
            // What is unsent goes with it: its client does not read.
            () = level.cut() => {}
        }
        let _ = self.send(Command::Gone { id: self.id }).await;
    }

    /// The hello, or `None` after a four-letter word was answered.
    async fn first_frame(&self, stream: &mut TcpStream) -> Result<Option<Hello>, Closed> {
        let length = stream.read_u32().await?;
        if let Some(word) = Word::known(length.to_be_bytes()) {
            let text = match word {
                Ok(word) => self.answer(word).await?,
                Err(refusal) => refusal,
            };
            stream.write_all(text.as_bytes()).await?;
            stream.shutdown().await?;
            return Ok(None);
        }
        let frame = read_body(stream, length).await?;
        self.count(length);
        Ok(Some(Hello::decode(&frame)?))
    }

    fn count(&self, length: u32) {
        self.traffic.received_bytes.fetch_add(4 + u64::from(length), Ordering::Relaxed);
    }

    async fn answer(&self, word: Word) -> Result<String, Closed> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Word { word, peer: self.peer, reply }).await?;
        Ok(answer.await?)
    }

    async fn read(&self, mut reader: OwnedReadHalf, level: &Level) -> Result<(), Closed> {
        loop {
            level.low().await;
            let in_flight = Arc::clone(&self.in_flight).acquire_owned().await?;
            let length = reader.read_u32().await?;
            let frame = read_body(&mut reader, length).await?;
            self.count(length);
            // Only whole frames take from what all share: who sends a byte a second delays nobody.
            let bytes = Arc::clone(&self.bytes).acquire_many_owned(length.max(1)).await?;
            let arrived = Instant::now();
            let envelope = Envelope::decode(&frame)?;
            drop(frame);
            let permit = Permit { _in_flight: in_flight, _bytes: bytes };
            self.send(Command::Request { id: self.id, envelope, arrived, permit }).await?;
        }
    }
}

/// A frame after its length. Memory grows with what arrives, not with what the length promises.
async fn read_body(stream: &mut (impl AsyncReadExt + Unpin), length: u32) -> Result<Vec<u8>, Closed> {
    let length = usize::try_from(length)?;
    if length > FRAME_MAX {
        return Err(Closed);
    }
    let mut frame = Vec::with_capacity(length.min(16 << 10));
    while frame.len() < length {
        let missing = u64::try_from(length - frame.len())?;
        if stream.take(missing).read_buf(&mut frame).await? == 0 {
            return Err(Closed);
        }
    }
    Ok(frame)
}

/// Sends until the core has let go of the connection and everything is sent, or the client is gone.
async fn write(mut writer: OwnedWriteHalf, mut unsent: Unsent) {
    let mut frames = Vec::new();
    let mut batch = Vec::new();
    while unsent.next(&mut frames).await > 0 {
        batch.clear();
        frames.drain(..).for_each(|frame| batch.extend_from_slice(&frame));
        if writer.write_all(&batch).await.is_err() {
            return;
        }
        batch.shrink_to(64 << 10);
        unsent.sent();
    }
    let _ = writer.shutdown().await;
}
