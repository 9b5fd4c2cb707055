//! One client connection: frames in, handlers, replies out in request order.
//!
//! One request is taken at a time, and the next when its answer is sent, as in Kafka's broker. Idempotent producers rely on it:
//! see docs/decisions/producing.md. Who took more than its quotas allow is not read from for a while.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::io::AsyncRead;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::asker::{Context, Peer, Stopwatch};
use crate::handlers::{self, Refusal};
use crate::house::House;
use crate::net::limits::Admission;
use crate::wire::frames::{FrameError, Frames};
use crate::wire::memory::RequestMemory;
use crate::wire::outlet::{Outlet, Patient};
use crate::wire::reply::{EncodeError, Reply};
use crate::wire::scatter::Pieces;

#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the client closed the connection")]
    ByClient,
    #[error(
        "others need its place or its memory (max.connections, answers not taken), and it was silent for longest"
    )]
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
    Io(#[from] io::Error),
}

/// What bounds a connection.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionSettings {
    /// `socket.request.max.bytes`.
    pub(crate) request_size_max: usize,
    /// `connections.max.idle.ms`; `None` is for ever.
    pub(crate) idle_max: Option<Duration>,
    /// `queued.max.request.bytes`, shared by all connections; `None` is no limit.
    pub(crate) request_memory: Option<Arc<RequestMemory>>,
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
    let frames = Frames::new(reader, settings.request_size_max).silent_for(settings.idle_max);
    let progress = || admission.is_active();
    let mut connection = Connection {
        house: &house,
        peer: &peer,
        frames: frames.within(settings.request_memory),
        writer: Patient { outlet: writer, patience: settings.idle_max, progress },
        admission: &admission,
        stop: &stop,
    };
    let ended = tokio::select! {
        ended = connection.serve() => ended,
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

/// What is to be sent, and whose time that is.
type Answer = (Result<Pieces, EncodeError>, Option<Context>);

struct Connection<'a, R, W> {
    house: &'a Arc<House>,
    peer: &'a Arc<Peer>,
    frames: Frames<R>,
    writer: W,
    admission: &'a Admission,
    stop: &'a CancellationToken,
}

impl<R: AsyncRead + Unpin, W: Outlet + Sync> Connection<'_, R, W> {
    async fn serve(&mut self) -> Ended {
        loop {
            if let Err(ended) = self.step().await {
                return ended;
            }
        }
    }

    async fn step(&mut self) -> Result<(), Ended> {
        if let Some(muted) = self.peer.mute.left() {
            return self.sit_out(muted).await;
        }
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(Ended::Stopped),
            frame = self.frames.next() => {
                let Some(frame) = frame? else { return Err(Ended::ByClient) };
                self.admission.is_active();
                self.take(frame).await
            }
        }
    }

    /// No request is taken for so long. One that came before the client closed is taken afterwards.
    async fn sit_out(&mut self, muted: Duration) -> Result<(), Ended> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(Ended::Stopped),
            () = tokio::time::sleep(muted) => Ok(()),
            () = self.frames.closed() => {
                if self.frames.is_empty() {
                    return Err(Ended::ByClient);
                }
                tokio::select! {
                    () = self.stop.cancelled() => Err(Ended::Stopped),
                    () = tokio::time::sleep(muted) => Ok(()),
                }
            }
        }
    }

    async fn take(&mut self, frame: bytes::Bytes) -> Result<(), Ended> {
        let only_waits = handlers::only_waits(&frame);
        if only_waits {
            // Nothing of it is kept but what it asks for.
            self.frames.done();
        }
        let (reply, context) = tokio::select! {
            biased;
            reply = handlers::serve(self.house, self.peer, frame) => reply?,
            () = self.frames.closed(), if only_waits => return Err(Ended::ByClient),
            () = self.stop.cancelled(), if only_waits => return Err(Ended::Stopped),
        };
        self.frames.done();
        let out = (&self.writer, self.admission);
        match reply {
            Reply::None => Ok(()),
            Reply::Close => Err(Ended::ByHandler),
            Reply::Ready(pieces) => send(self.house, out, (Ok(pieces), context)).await,
            Reply::Later(answer) => {
                let pieces = tokio::select! {
                    biased;
                    pieces = answer => pieces,
                    () = self.frames.closed() => return Err(Ended::ByClient),
                };
                send(self.house, out, (pieces, context)).await
            }
        }
    }
}

/// Sends an answer, and counts the time that it takes where it counts for somebody.
async fn send<W: Outlet + Sync>(
    house: &House,
    (writer, admission): (&W, &Admission),
    (pieces, context): Answer,
) -> Result<(), Ended> {
    let pieces = pieces.map_err(Refusal::from)?;
    let writing = write(writer, admission, pieces);
    let Some(context) = context else { return Ok(writing.await?) };
    let stopwatch = Stopwatch::new();
    stopwatch.measure(writing).await?;
    house.quotas.sent(&context, stopwatch.spent_ns());
    Ok(())
}

/// What the socket does not take at once is counted, so that all who do not read cannot fill memory together.
async fn write<W: Outlet>(writer: &W, admission: &Admission, pieces: Pieces) -> io::Result<()> {
    let size = pieces.bytes_in_memory();
    let mut writing = std::pin::pin!(pieces.write_framed(writer));
    if let Some(written) = writing.as_mut().now_or_never() {
        return written;
    }
    let _unsent = admission.keeps(size);
    writing.await
}
