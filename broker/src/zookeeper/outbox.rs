//! What waits to be sent, counted by connection and in all, so that clients that do not read cannot fill memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

/// A connection with more unsent than this is closed. Unit: bytes.
const UNSENT_MAX: usize = 64 << 20;

/// All connections together; beyond it those with most unsent are closed. Unit: bytes.
const UNSENT_IN_ALL_MAX: usize = 128 << 20;

/// While more than this is unsent, no further request is read. Unit: bytes.
const UNSENT_BEFORE_PAUSE: usize = 1 << 20;

/// How long a client may take to read what is left for it once its connection is at its end.
const PARTING_PATIENCE: Duration = Duration::from_secs(10);

/// What is unsent on all connections.
#[derive(Debug, Clone, Default)]
pub(super) struct Total(Arc<AtomicUsize>);

impl Total {
    pub(super) fn is_too_much(&self) -> bool {
        self.0.load(Ordering::Relaxed) > UNSENT_IN_ALL_MAX
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// The core's end.
#[derive(Debug)]
pub(super) struct Outbox {
    frames: mpsc::UnboundedSender<Bytes>,
    level: Arc<Level>,
}

/// The connection's end. Ends when the [`Outbox`] is dropped and all frames are taken.
#[derive(Debug)]
pub(super) struct Unsent {
    frames: mpsc::UnboundedReceiver<Bytes>,
    level: Arc<Level>,
    /// Taken and not reported as sent yet. Unit: bytes.
    in_hand: usize,
}

#[derive(Debug)]
pub(super) struct Level {
    bytes: AtomicUsize,
    total: Total,
    fell: Notify,
    /// The core has let go of the connection.
    parted: CancellationToken,
    cut: CancellationToken,
}

pub(super) fn outbox(total: &Total) -> (Outbox, Unsent) {
    // Bounded by UNSENT_MAX bytes, not by frames.
    let (sender, receiver) = mpsc::unbounded_channel();
    let level = Arc::new(Level {
        bytes: AtomicUsize::new(0),
        total: total.clone(),
        fell: Notify::new(),
        parted: CancellationToken::new(),
        cut: CancellationToken::new(),
    });
    (Outbox { frames: sender, level: Arc::clone(&level) }, Unsent { frames: receiver, level, in_hand: 0 })
}

impl Outbox {
    /// False where the connection is gone or has too much unsent: it must be cut off then.
    pub(super) fn send(&self, frame: Bytes) -> bool {
        let length = frame.len();
        let before = self.level.add(length);
        let sent = before <= UNSENT_MAX && self.frames.send(frame).is_ok();
        if !sent {
            self.level.subtract(length);
        }
        sent
    }

    /// Unit: bytes.
    pub(super) fn unsent(&self) -> usize {
        self.level.bytes.load(Ordering::Relaxed)
    }

    /// Ends the connection with all that is unsent, which counts no more.
    pub(super) fn cut(&self) {
        self.level.subtract(usize::MAX);
        self.level.cut.cancel();
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.level.parted.cancel();
    }
}

impl Unsent {
    pub(super) async fn next(&mut self, frames: &mut Vec<Bytes>) -> usize {
        let taken = self.frames.recv_many(frames, 64).await;
        self.in_hand = frames.iter().map(Bytes::len).sum();
        taken
    }

    /// What was taken last is sent.
    pub(super) fn sent(&mut self) {
        self.level.subtract(std::mem::take(&mut self.in_hand));
        self.level.fell.notify_one();
    }

    pub(super) fn level(&self) -> Arc<Level> {
        Arc::clone(&self.level)
    }
}

impl Drop for Unsent {
    fn drop(&mut self) {
        self.frames.close();
        let mut left = self.in_hand;
        while let Ok(frame) = self.frames.try_recv() {
            left += frame.len();
        }
        self.level.subtract(left);
    }
}

impl Level {
    /// Waits until little enough is unsent to read another request. For one waiter.
    pub(super) async fn low(&self) {
        while self.bytes.load(Ordering::Relaxed) > UNSENT_BEFORE_PAUSE {
            self.fell.notified().await;
        }
    }

    /// Ends when the connection is cut off, or its client takes too long to read the rest.
    pub(super) async fn cut(&self) {
        let overdue = async {
            self.parted.cancelled().await;
            tokio::time::sleep(PARTING_PATIENCE).await;
        };
        tokio::select! {
            () = self.cut.cancelled() => {}
            () = overdue => {}
        }
    }

    /// What was there before.
    fn add(&self, bytes: usize) -> usize {
        self.total.0.fetch_add(bytes, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed)
    }

    /// Never below zero: a connection that was cut off counts for nothing already.
    fn subtract(&self, bytes: usize) {
        let taken = |before: usize| Some(before.saturating_sub(bytes));
        let before = self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).unwrap_or(0);
        self.total.0.fetch_sub(before.min(bytes), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(size: usize) -> Bytes {
        Bytes::from(vec![0; size])
    }

    #[tokio::test]
    async fn what_is_unsent_counts_until_it_is_sent_or_nobody_will_send_it() {
        let total = Total::default();
        let ((one, mut first), (two, second)) = (outbox(&total), outbox(&total));
        assert!(one.send(frame(10)) && one.send(frame(20)) && two.send(frame(5)));
        assert_eq!((one.unsent(), two.unsent(), total.bytes()), (30, 5, 35));
        first.next(&mut Vec::new()).await;
        assert_eq!(total.bytes(), 35, "taken is not sent");
        first.sent();
        assert_eq!(total.bytes(), 5);
        drop(second);
        assert_eq!(total.bytes(), 0);
        assert!(!two.send(frame(7)), "the connection is gone");
        assert_eq!(total.bytes(), 0);
        assert!(one.send(frame(3)));
        first.next(&mut Vec::new()).await;
        drop(first);
        assert_eq!(total.bytes(), 0);
    }

    #[tokio::test]
    async fn a_connection_that_is_cut_off_counts_for_nothing_at_once() {
        let total = Total::default();
        let (one, mut unsent) = outbox(&total);
        assert!(one.send(frame(10)));
        unsent.next(&mut Vec::new()).await;
        one.cut();
        assert_eq!(total.bytes(), 0);
        unsent.level().cut().await;
        drop(unsent);
        assert_eq!(total.bytes(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_read_the_rest_is_left_after_a_while() {
        let (one, unsent) = outbox(&Total::default());
        assert!(one.send(frame(10)));
        drop(one);
        unsent.level().cut().await;
    }

    #[test]
    fn a_connection_with_too_much_unsent_takes_nothing_more() {
        let total = Total::default();
        let (one, _unsent) = outbox(&total);
        let mut sent = 0;
        while one.send(frame(1 << 20)) {
            sent += 1;
        }
        assert_eq!(sent, 1 + (UNSENT_MAX >> 20));
        assert_eq!(total.bytes(), sent << 20);
    }
}
