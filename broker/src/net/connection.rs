//! One client connection: frames in, handlers, replies out in request order.
//!
//! Requests are taken one after the other, as Kafka's broker does; only a produce request that waits for replicas lets
//! the next one in before it is answered, and its answer still leaves first.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use tokio::io::AsyncRead;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::handlers::{self, Peer, Refusal};
use crate::house::House;
use crate::net::frames::{FrameError, Frames};
use crate::net::limits::Admission;
use crate::net::outlet::{Outlet, Patient};
use crate::net::reply::{LaterPieces, Reply};

/// Produce requests of one connection that may wait at the same time. Bounds memory: their records are already in the log.
const WAITING_MAX: usize = 64;

#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the client closed the connection")]
    ByClient,
    #[error("others need its place (max.connections), and it was silent for longest")]
    Displaced,
    #[error("the broker stops, or the listener goes")]
    Stopped,
    #[error("the request has no other answer")]
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
///
/// After `stop` no request is taken any more; those that were taken are answered, except those that only wait for records.
pub(crate) async fn run<R, W>(
    house: Arc<House>,
    peer: Arc<Peer>,
    reader: R,
    writer: W,
    settings: ConnectionSettings,
    admission: Admission,
    stop: CancellationToken,
) where
    R: AsyncRead + Unpin,
    W: Outlet + Sync,
{
    let mut connection = Connection {
        frames: Frames::new(reader, settings.request_size_max).silent_for(settings.idle_max),
        writer: Patient { outlet: writer, patience: settings.idle_max },
        waiting: FuturesOrdered::new(),
        admission: &admission,
        stop: &stop,
    };
    let ended = tokio::select! {
        ended = connection.serve(&house, &peer) => ended,
        () = admission.must_leave() => Ended::Displaced,
    };
    match ended {
        Ended::ByClient
        | Ended::ByHandler
        | Ended::Stopped
        | Ended::Io(_)
        | Ended::Displaced
        | Ended::Frame(FrameError::Io(_) | FrameError::Idle(_)) => {
            debug!(client = %peer.address, reason = %ended, "connection closed");
        }
        Ended::Frame(_) | Ended::Refused(_) => {
            warn!(client = %peer.address, listener = %peer.listener, reason = %ended, "connection closed");
        }
    }
}

struct Connection<'a, R, W> {
    frames: Frames<R>,
    writer: Patient<W>,
    waiting: FuturesOrdered<LaterPieces>,
    admission: &'a Admission,
    stop: &'a CancellationToken,
}

impl<R: AsyncRead + Unpin, W: Outlet + Sync> Connection<'_, R, W> {
    async fn serve(&mut self, house: &Arc<House>, peer: &Arc<Peer>) -> Ended {
        loop {
            if let Err(ended) = self.step(house, peer).await {
                return ended;
            }
        }
    }

    async fn step(&mut self, house: &Arc<House>, peer: &Arc<Peer>) -> Result<(), Ended> {
        let room = self.waiting.len() < WAITING_MAX && !self.stop.is_cancelled();
        tokio::select! {
            biased;
            Some(answer) = self.waiting.next(), if !self.waiting.is_empty() => {
                let pieces = answer.map_err(Refusal::from)?;
                Ok(pieces.write_framed(&self.writer).await?)
            }
            () = self.stop.cancelled(), if self.waiting.is_empty() => Err(Ended::Stopped),
            frame = next(&mut self.frames, room) => {
                let Some(frame) = frame? else { return Err(Ended::ByClient) };
                self.admission.is_active();
                self.take(house, peer, frame).await
            }
        }
    }

    async fn take(&mut self, house: &Arc<House>, peer: &Arc<Peer>, frame: bytes::Bytes) -> Result<(), Ended> {
        let only_waits = handlers::only_waits(&frame);
        let reply = tokio::select! {
            biased;
            reply = handlers::serve(house, peer, frame) => reply?,
            () = self.frames.closed(), if only_waits => return Err(Ended::ByClient),
            () = self.stop.cancelled(), if only_waits => return Err(Ended::Stopped),
        };
        match reply {
            Reply::None => Ok(()),
            Reply::Close => Err(Ended::ByHandler),
            Reply::Later(answer) => {
                self.waiting.push_back(answer);
                Ok(())
            }
            Reply::Ready(pieces) => {
                while !self.waiting.is_empty() {
                    let earlier = tokio::select! {
                        biased;
                        Some(earlier) = self.waiting.next() => earlier,
                        () = self.frames.closed() => return Err(Ended::ByClient),
                    };
                    let earlier = earlier.map_err(Refusal::from)?;
                    earlier.write_framed(&self.writer).await?;
                }
                Ok(pieces.write_framed(&self.writer).await?)
            }
        }
    }
}

/// The next frame where there is room for it; else only the end of the connection, for which nobody has to wait further.
async fn next<R: AsyncRead + Unpin>(
    frames: &mut Frames<R>,
    room: bool,
) -> Result<Option<bytes::Bytes>, FrameError> {
    if room {
        return frames.next().await;
    }
    frames.closed().await;
    Ok(None)
}
