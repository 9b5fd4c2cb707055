//! A rate of bytes that replication may not exceed for the replicas it is meant for (KIP-73).
//!
//! Bytes are counted when they have passed, so a rate may be exceeded once and is then waited for; what a limit counts is
//! the mean over the last [`Window`], as Kafka's `replication.quota.window.num` times `.size.seconds` has it.

use crate::quotas::{Samples, Window};
use crate::time::Monotonic;

/// Bytes of one direction, and the limit.
#[derive(Clone, Debug)]
pub struct Throttle {
    window: Window,
    /// Unit: bytes per second. `None`: no limit.
    limit: Option<u64>,
    samples: Samples,
}

impl Throttle {
    #[must_use]
    pub fn new(window: Window, limit: Option<u64>) -> Throttle {
        Throttle { window, limit, samples: Samples::default() }
    }

    pub fn set_limit(&mut self, limit: Option<u64>) {
        self.limit = limit;
    }

    /// So many bytes have passed.
    #[allow(clippy::cast_precision_loss, reason = "a rate need not be exact")]
    pub fn record(&mut self, bytes: u64, now: Monotonic) {
        self.samples.add(bytes as f64, now, self.window);
    }

    /// Whether more has to wait.
    #[allow(clippy::cast_precision_loss, reason = "a rate need not be exact")]
    pub fn is_exceeded(&mut self, now: Monotonic) -> bool {
        let Some(limit) = self.limit else { return false };
        self.samples.forget(now, self.window);
        let Some(began) = self.samples.began() else { return false };
        // A rate over less than a sample says nothing.
        let elapsed_ms = began.ms_until(now).max(self.window.sample_ms);
        self.samples.sum() * 1000.0 > limit as f64 * elapsed_ms as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Window = Window { sample_ms: 1000, samples: 11 };

    #[test]
    fn without_a_limit_nothing_is_too_much() {
        let mut throttle = Throttle::new(WINDOW, None);
        throttle.record(u64::MAX, Monotonic(0));
        assert!(!throttle.is_exceeded(Monotonic(0)));
    }

    #[test]
    fn what_was_too_much_is_waited_for() {
        let mut throttle = Throttle::new(WINDOW, Some(100));
        throttle.record(350, Monotonic(5000));
        assert!(throttle.is_exceeded(Monotonic(5000)));
        assert!(throttle.is_exceeded(Monotonic(8499)));
        assert!(!throttle.is_exceeded(Monotonic(8500)));
    }

    #[test]
    fn a_limit_of_nothing_lets_nothing_more_pass_once_something_has() {
        let mut throttle = Throttle::new(WINDOW, Some(0));
        assert!(!throttle.is_exceeded(Monotonic(0)));
        throttle.record(1, Monotonic(0));
        assert!(throttle.is_exceeded(Monotonic(10_999)));
        assert!(!throttle.is_exceeded(Monotonic(11_000)));
    }

    #[test]
    fn a_steady_stream_within_the_limit_is_never_stopped() {
        let mut throttle = Throttle::new(WINDOW, Some(1200));
        for step in 0..1000 {
            throttle.record(100, Monotonic(step * 100));
            assert!(!throttle.is_exceeded(Monotonic(step * 100 + 99)), "at step {step}");
        }
    }
}
