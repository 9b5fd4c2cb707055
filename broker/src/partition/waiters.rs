//! Those who wait until a partition has more to read: parked fetches.
//!
//! A wake-up only schedules; no code of the waiting side runs under the partition's lock.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// One parked request; it may wait on many partitions.
#[derive(Debug, Default)]
pub(crate) struct Waiter {
    woken: AtomicBool,
    notify: Notify,
}

impl Waiter {
    pub(crate) fn new() -> Arc<Waiter> {
        Arc::new(Waiter::default())
    }

    fn wake(&self) {
        if !self.woken.swap(true, Ordering::AcqRel) {
            self.notify.notify_one();
        }
    }

    /// Ends once any of its partitions has moved since the last call.
    pub(crate) async fn woken(&self) {
        while !self.woken.swap(false, Ordering::AcqRel) {
            self.notify.notified().await;
        }
    }
}

/// The waiters of one partition. Bounded by the connections: each has one request at a time.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    /// A std mutex: held for a push, a removal or a walk, never across `.await`.
    list: Mutex<Vec<Arc<Waiter>>>,
}

impl Waiters {
    /// Wakes `waiter` at every move until the guard is dropped.
    pub(crate) fn register(self: &Arc<Self>, waiter: &Arc<Waiter>) -> Registration {
        self.list.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(waiter));
        Registration { waiters: Arc::clone(self), waiter: Arc::clone(waiter) }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.list.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    pub(crate) fn wake_all(&self) {
        for waiter in self.list.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            waiter.wake();
        }
    }
}

/// Keeps a waiter in a partition's list.
#[must_use = "the waiter leaves the list when this is dropped"]
#[derive(Debug)]
pub(crate) struct Registration {
    waiters: Arc<Waiters>,
    waiter: Arc<Waiter>,
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut list = self.waiters.list.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = list.iter().position(|other| Arc::ptr_eq(other, &self.waiter)) {
            list.swap_remove(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_move_before_the_wait_is_not_missed() {
        let waiters = Arc::new(Waiters::default());
        let waiter = Waiter::new();
        let _registration = waiters.register(&waiter);
        waiters.wake_all();
        waiter.woken().await;
    }

    #[test]
    fn a_dropped_registration_leaves_the_list() {
        let waiters = Arc::new(Waiters::default());
        let waiter = Waiter::new();
        let first = waiters.register(&waiter);
        let second = waiters.register(&Waiter::new());
        drop(first);
        assert_eq!(waiters.list.lock().expect("list").len(), 1);
        drop(second);
        assert!(waiters.list.lock().expect("list").is_empty());
    }
}
