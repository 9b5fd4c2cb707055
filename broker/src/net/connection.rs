//! One client connection: frames in, handlers, replies out in request order.
//!
//! Requests are taken one after the other, as Kafka's broker does; only a produce request that waits for replicas lets
//! the next one in before it is answered, and its answer still leaves first.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use tokio::io::AsyncRead;
use tokio::time::{Instant, timeout_at};
use tracing::{debug, warn};

use crate::handlers::{self, Peer, Refusal};
use crate::house::House;
use crate::net::frames::{FrameError, Frames};
use crate::net::outlet::Outlet;
use crate::net::reply::{LaterPieces, Reply};

/// Produce requests of one connection that may wait at the same time. Bounds memory: their records are already in the log.
const WAITING_MAX: usize = 64;

#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the client closed the connection")]
    ByClient,
    #[error("no request for {0:?} (connections.max.idle.ms)")]
    Idle(Duration),
    #[error("a failed request with acks=0 has no other answer")]
    ByHandler,
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// What bounds a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectionSettings {
    /// `socket.request.max.bytes`.
    pub(crate) request_size_max: usize,
    /// `connections.max.idle.ms`; `None` is for ever.
    pub(crate) idle_max: Option<Duration>,
}

/// Serves the connection until it ends; why it ended is logged here and nowhere else.
pub(crate) async fn run<R, W>(
    house: Arc<House>,
    peer: Arc<Peer>,
    reader: R,
    writer: W,
    settings: ConnectionSettings,
) where
    R: AsyncRead + Unpin,
    W: Outlet,
{
    let mut connection = Connection {
        frames: Frames::new(reader, settings.request_size_max),
        writer,
        waiting: FuturesOrdered::new(),
        idle_max: settings.idle_max,
    };
    let ended = connection.serve(&house, &peer).await;
    match ended {
        Ended::ByClient
        | Ended::ByHandler
        | Ended::Io(_)
        | Ended::Idle(_)
        | Ended::Frame(FrameError::Io(_)) => {
            debug!(client = %peer.address, reason = %ended, "connection closed");
        }
        Ended::Frame(_) | Ended::Refused(_) => {
            warn!(client = %peer.address, listener = %peer.listener, reason = %ended, "connection closed");
        }
    }
}

struct Connection<R, W> {
    frames: Frames<R>,
    writer: W,
    waiting: FuturesOrdered<LaterPieces>,
    idle_max: Option<Duration>,
}

impl<R: AsyncRead + Unpin, W: Outlet> Connection<R, W> {
    async fn serve(&mut self, house: &Arc<House>, peer: &Arc<Peer>) -> Ended {
        loop {
            if let Err(ended) = self.step(house, peer).await {
                return ended;
            }
        }
    }

    async fn step(&mut self, house: &Arc<House>, peer: &Arc<Peer>) -> Result<(), Ended> {
        let deadline = self.idle_max.map(|idle| Instant::now() + idle);
        tokio::select! {
            biased;
            Some(answer) = self.waiting.next(), if !self.waiting.is_empty() => {
                let pieces = answer.map_err(Refusal::from)?;
                Ok(pieces.write_framed(&self.writer).await?)
            }
            frame = next_before(&mut self.frames, deadline, self.idle_max), if self.waiting.len() < WAITING_MAX => {
                let Some(frame) = frame? else { return Err(Ended::ByClient) };
                self.take(house, peer, frame).await
            }
        }
    }

    async fn take(&mut self, house: &Arc<House>, peer: &Arc<Peer>, frame: bytes::Bytes) -> Result<(), Ended> {
        let reply = handlers::serve(house, peer, frame).await?;
        match reply {
            Reply::None => Ok(()),
            Reply::Close => Err(Ended::ByHandler),
            Reply::Later(answer) => {
                self.waiting.push_back(answer);
                Ok(())
            }
            Reply::Ready(pieces) => {
                while let Some(earlier) = self.waiting.next().await {
                    earlier.map_err(Refusal::from)?.write_framed(&self.writer).await?;
                }
                Ok(pieces.write_framed(&self.writer).await?)
            }
        }
    }
}

/// The next frame, unless none came for `idle_max`.
async fn next_before<R: AsyncRead + Unpin>(
    frames: &mut Frames<R>,
    deadline: Option<Instant>,
    idle_max: Option<Duration>,
) -> Result<Option<bytes::Bytes>, Ended> {
    match (deadline, idle_max) {
        (Some(deadline), Some(idle)) => match timeout_at(deadline, frames.next()).await {
            Ok(frame) => Ok(frame?),
            Err(_) => Err(Ended::Idle(idle)),
        },
        _ => Ok(frames.next().await?),
    }
}
