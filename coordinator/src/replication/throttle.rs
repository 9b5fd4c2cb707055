//! A rate of bytes that replication may not exceed for the replicas it is meant for (KIP-73).
//!
//! Bytes are counted when they have passed, so a rate may be exceeded once and is then waited for; what a limit counts is
//! the mean over the last [`ThrottleWindow`], as Kafka's `replication.quota.window.num` times `.size.seconds` has it.

use std::collections::VecDeque;

use crate::time::Monotonic;

/// Lengths of time, in ms, and how many of them are looked back on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThrottleWindow {
    /// `replication.quota.window.size.seconds`. Unit: ms. Range: `1..`.
    pub sample_ms: u64,
    /// `replication.quota.window.num`. Range: `1..`.
    pub samples: usize,
}

/// Bytes of one direction, and the limit.
#[derive(Clone, Debug)]
pub struct Throttle {
    window: ThrottleWindow,
    /// Unit: bytes per second. `None`: no limit.
    limit: Option<u64>,
    /// Begin of each sample and its bytes, oldest first.
    samples: VecDeque<(Monotonic, u64)>,
}

impl Throttle {
    #[must_use]
    pub fn new(window: ThrottleWindow, limit: Option<u64>) -> Throttle {
        Throttle { window, limit, samples: VecDeque::new() }
    }

    pub fn set_limit(&mut self, limit: Option<u64>) {
        self.limit = limit;
    }

    /// So many bytes have passed.
    pub fn record(&mut self, bytes: u64, now: Monotonic) {
        self.forget(now);
        match self.samples.back_mut() {
            Some((begin, sum)) if begin.ms_until(now) < self.window.sample_ms => *sum += bytes,
            _ => self.samples.push_back((now, bytes)),
        }
    }

    /// Whether more has to wait.
    pub fn is_exceeded(&mut self, now: Monotonic) -> bool {
        let Some(limit) = self.limit else { return false };
        self.forget(now);
        let Some((begin, _)) = self.samples.front() else { return false };
        let bytes: u64 = self.samples.iter().map(|(_, sum)| sum).sum();
        // A rate over less than a sample says nothing.
        let elapsed_ms = begin.ms_until(now).max(self.window.sample_ms);
        u128::from(bytes) * 1000 > u128::from(limit) * u128::from(elapsed_ms)
    }

    fn forget(&mut self, now: Monotonic) {
        let span = self.window.sample_ms.saturating_mul(self.window.samples as u64);
        while self.samples.front().is_some_and(|(begin, _)| begin.ms_until(now) >= span) {
            self.samples.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: ThrottleWindow = ThrottleWindow { sample_ms: 1000, samples: 11 };

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
