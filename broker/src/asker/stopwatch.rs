//! The time of threads that a request takes: while it waits for something it takes none.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

/// Shared between whoever drives a request and whoever answers it; both are on the same task.
#[derive(Debug)]
pub(crate) struct Stopwatch {
    made: Instant,
    /// Time of the turns that are over. Unit: ns.
    spent: AtomicU64,
    /// When the turn that goes on began, plus one; 0 where none does. Unit: ns since it was made.
    began: AtomicU64,
    /// Nobody is charged for the time.
    free: AtomicBool,
}

impl Stopwatch {
    pub(crate) fn new() -> Stopwatch {
        Stopwatch {
            made: Instant::now(),
            spent: AtomicU64::new(0),
            began: AtomicU64::new(0),
            free: AtomicBool::new(false),
        }
    }

    /// The request turned out to be one that brokers make among themselves.
    pub(crate) fn charge_nobody(&self) {
        self.free.store(true, Ordering::Relaxed);
    }

    pub(crate) fn charges_nobody(&self) -> bool {
        self.free.load(Ordering::Relaxed)
    }

    /// Runs `work`, and measures each of its turns on a thread.
    pub(crate) async fn measure<F: Future>(&self, work: F) -> F::Output {
        let mut work = pin!(work);
        std::future::poll_fn(|context| {
            self.began.store(self.now() + 1, Ordering::Relaxed);
            let polled = work.as_mut().poll(context);
            self.spent.store(self.spent_ns(), Ordering::Relaxed);
            self.began.store(0, Ordering::Relaxed);
            polled
        })
        .await
    }

    /// So far, with what the turn that goes on has taken. Unit: ns.
    pub(crate) fn spent_ns(&self) -> u64 {
        let turn = match self.began.load(Ordering::Relaxed) {
            0 => 0,
            began => self.now().saturating_sub(began - 1),
        };
        self.spent.load(Ordering::Relaxed) + turn
    }

    fn now(&self) -> u64 {
        u64::try_from(self.made.elapsed().as_nanos()).unwrap_or(u64::MAX - 1)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn waiting_takes_no_time_and_working_does() {
        let stopwatch = Stopwatch::new();
        stopwatch.measure(tokio::time::sleep(Duration::from_millis(300))).await;
        let waited = stopwatch.spent_ns();
        assert!(waited < 150_000_000, "{waited} ns for a wait of 300 ms");
        let within = stopwatch
            .measure(async {
                let began = Instant::now();
                while began.elapsed() < Duration::from_millis(5) {
                    std::hint::spin_loop();
                }
                stopwatch.spent_ns()
            })
            .await;
        assert!(within >= waited + 5_000_000, "{within} ns after 5 ms of work");
        assert!(stopwatch.spent_ns() >= within);
    }
}
