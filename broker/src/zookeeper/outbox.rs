//! What waits to be sent on one connection, counted, so that a client that does not read cannot fill memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::sync::{Notify, mpsc};

/// A connection with more unsent than this is closed. Unit: bytes.
const UNSENT_MAX: usize = 64 << 20;

/// While more than this is unsent, no further request is read. Unit: bytes.
const UNSENT_BEFORE_PAUSE: usize = 1 << 20;

/// The core's end.
#[derive(Debug, Clone)]
pub(super) struct Outbox {
    frames: mpsc::UnboundedSender<Bytes>,
    level: Arc<Level>,
}

/// The connection's end. Ends when every [`Outbox`] is dropped and all frames are taken.
#[derive(Debug)]
pub(super) struct Unsent {
    frames: mpsc::UnboundedReceiver<Bytes>,
    level: Arc<Level>,
}

#[derive(Debug, Default)]
pub(super) struct Level {
    bytes: AtomicUsize,
    fell: Notify,
}

pub(super) fn outbox() -> (Outbox, Unsent) {
    // Bounded by UNSENT_MAX bytes, not by frames.
    let (sender, receiver) = mpsc::unbounded_channel();
    let level = Arc::new(Level::default());
    (Outbox { frames: sender, level: Arc::clone(&level) }, Unsent { frames: receiver, level })
}

impl Outbox {
    /// False where the connection is gone or has too much unsent: it must be closed then.
    pub(super) fn send(&self, frame: Bytes) -> bool {
        let before = self.level.bytes.fetch_add(frame.len(), Ordering::Relaxed);
        before <= UNSENT_MAX && self.frames.send(frame).is_ok()
    }
}

impl Unsent {
    pub(super) async fn next(&mut self, frames: &mut Vec<Bytes>) -> usize {
        self.frames.recv_many(frames, 64).await
    }

    pub(super) fn sent(&self, bytes: usize) {
        self.level.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.level.fell.notify_one();
    }

    pub(super) fn level(&self) -> Arc<Level> {
        Arc::clone(&self.level)
    }
}

impl Level {
    /// Waits until little enough is unsent to read another request. For one waiter.
    pub(super) async fn low(&self) {
        while self.bytes.load(Ordering::Relaxed) > UNSENT_BEFORE_PAUSE {
            self.fell.notified().await;
        }
    }
}
