//! Memory of requests: how many bytes of them may be here at once, over all connections (`queued.max.request.bytes`).
//!
//! As in Kafka a request is let in while anything is left, so that one of `socket.request.max.bytes` comes in at any limit: that
//! is by how much it may be exceeded. Who is not let in is not read from meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio::sync::Notify;

/// The bytes that are left, shared by all connections.
#[derive(Debug)]
pub(crate) struct RequestMemory {
    /// Unit: bytes. Below 0 while the last one let in was larger than what was left.
    left: AtomicI64,
    freed: Notify,
}

/// Bytes of one request; dropping them gives them back.
#[derive(Debug)]
pub(crate) struct Held {
    memory: Arc<RequestMemory>,
    bytes: i64,
}

impl RequestMemory {
    pub(crate) fn new(bytes_max: i64) -> Arc<RequestMemory> {
        Arc::new(RequestMemory { left: AtomicI64::new(bytes_max), freed: Notify::new() })
    }

    /// Waits until a request of `bytes` is let in. Cancel safe.
    pub(crate) async fn admit(self: &Arc<Self>, bytes: usize) -> Held {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            // Before the look: what is given back after it wakes us.
            freed.as_mut().enable();
            let take = |left: i64| (left > 0).then(|| left.saturating_sub(bytes));
            if self.left.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).is_ok() {
                return Held { memory: Arc::clone(self), bytes };
            }
            freed.await;
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.memory.left.fetch_add(self.bytes, Ordering::AcqRel);
        self.memory.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn a_request_is_let_in_while_anything_is_left_and_the_next_one_waits() {
        let memory = RequestMemory::new(100);
        let first = memory.admit(60).now_or_never().expect("all is left");
        let second = memory.admit(90).now_or_never().expect("40 are left");
        assert!(memory.admit(1).now_or_never().is_none());
        drop(first);
        assert!(memory.admit(1).now_or_never().is_some(), "10 are left again");
        drop(second);
        assert_eq!(memory.left.load(Ordering::Relaxed), 100);
    }

    #[tokio::test]
    async fn who_waits_is_woken_by_who_gives_back() {
        let memory = RequestMemory::new(1);
        let first = memory.admit(1).await;
        let waiting = tokio::spawn({
            let memory = Arc::clone(&memory);
            async move { memory.admit(5).await }
        });
        tokio::task::yield_now().await;
        drop(first);
        waiting.await.expect("no panic");
    }
}
