//! So much a second, taken over the last samples, and how long to wait until it is no more than that (Kafka's `Rate` and
//! `QuotaUtils`).

use super::samples::{Samples, Window};
use super::{ThrottleMs, whole_ms};
use crate::time::Monotonic;

#[derive(Clone, Debug, Default)]
pub struct Rate {
    samples: Samples,
}

impl Rate {
    pub fn record(&mut self, value: f64, now: Monotonic, window: Window) {
        self.samples.add(value, now, window);
    }

    /// How long until the rate is down to `limit` if nothing more comes; 0 where it is not above. Unit: ms.
    ///
    /// The rate may be brought down only by waiting for `limit` above zero. As in Kafka nobody waits for the others, unless
    /// there is a longest wait: see [`Rate::wait_at_most`].
    pub fn wait(&mut self, limit: f64, now: Monotonic, window: Window) -> ThrottleMs {
        match self.excess(limit, now, window) {
            Some(wait) if wait.is_finite() => whole_ms(wait),
            _ => 0,
        }
    }

    /// As [`Rate::wait`], and never longer than `longest`.
    pub fn wait_at_most(
        &mut self,
        longest: ThrottleMs,
        limit: f64,
        now: Monotonic,
        window: Window,
    ) -> ThrottleMs {
        self.excess(limit, now, window).map_or(0, |wait| whole_ms(wait.min(f64::from(longest))))
    }

    /// Per second.
    pub fn measure(&mut self, now: Monotonic, window: Window) -> f64 {
        self.samples.forget(now, window);
        self.samples.sum() / (self.span_ms(now, window) / 1000.0)
    }

    /// `None` where the rate is within `limit`. Unit: ms.
    fn excess(&mut self, limit: f64, now: Monotonic, window: Window) -> Option<f64> {
        let rate = self.measure(now, window);
        (rate > limit).then(|| (rate - limit) / limit * self.span_ms(now, window))
    }

    /// The time the rate is taken over: before so many samples have passed as the window has, but for one, they count as
    /// passed without an event, so that a burst at the start is not mistaken for a rate. Unit: ms.
    #[allow(clippy::cast_precision_loss, reason = "2^53 ms are longer than any broker runs")]
    fn span_ms(&self, now: Monotonic, window: Window) -> f64 {
        let elapsed = self.samples.began().map_or(0, |began| began.ms_until(now));
        let full = elapsed / window.sample_ms.max(1);
        let missing = (window.samples as u64).saturating_sub(1).saturating_sub(full);
        elapsed.saturating_add(missing.saturating_mul(window.sample_ms)).max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WINDOW: Window = Window { sample_ms: 1000, samples: 11 };
    const SECOND: ThrottleMs = 1000;

    #[test]
    fn a_burst_within_the_whole_span_is_free_and_the_next_one_waits() {
        let mut rate = Rate::default();
        for _ in 0..20 {
            rate.record(1.0, Monotonic(0), WINDOW);
            assert_eq!(rate.wait_at_most(SECOND, 2.0, Monotonic(0), WINDOW), 0);
        }
        rate.record(1.0, Monotonic(0), WINDOW);
        // 21 events in 10 seconds are 2.1 a second: 5 % too many, of 10 seconds.
        assert_eq!(rate.wait_at_most(SECOND, 2.0, Monotonic(0), WINDOW), 500);
    }

    #[test]
    fn no_wait_is_longer_than_the_longest() {
        let mut rate = Rate::default();
        rate.record(500.0, Monotonic(0), WINDOW);
        assert_eq!(rate.wait_at_most(SECOND, 2.0, Monotonic(0), WINDOW), SECOND);
        assert_eq!(rate.wait_at_most(SECOND, 0.0, Monotonic(0), WINDOW), SECOND);
        assert_eq!(rate.wait(2.0, Monotonic(0), WINDOW), 240_000);
    }

    #[test]
    fn a_limit_of_nothing_is_waited_for_only_where_there_is_a_longest_wait() {
        let mut rate = Rate::default();
        rate.record(500.0, Monotonic(0), WINDOW);
        assert_eq!(rate.wait(0.0, Monotonic(0), WINDOW), 0);
        assert_eq!(rate.wait(-1.0, Monotonic(0), WINDOW), 0);
        assert_eq!(rate.wait_at_most(SECOND, -1.0, Monotonic(0), WINDOW), 0);
    }

    #[test]
    fn a_wait_that_no_answer_can_hold_is_the_longest_it_can() {
        let mut rate = Rate::default();
        rate.record(1e18, Monotonic(0), WINDOW);
        assert_eq!(rate.wait(1.0, Monotonic(0), WINDOW), i32::MAX.unsigned_abs());
    }

    proptest! {
        /// A higher limit never means a longer wait, and who is within the limit does not wait at all.
        #[test]
        fn more_allowed_is_less_waited_for(
            events in proptest::collection::vec((0_u64..3000, 0_u32..5000), 1..60),
            limits in (1_u32..2000, 1_u32..2000),
        ) {
            let (mut rate, mut now) = (Rate::default(), Monotonic(0));
            let (low, high) = (f64::from(limits.0.min(limits.1)), f64::from(limits.0.max(limits.1)));
            for (pause, value) in events {
                now = Monotonic(now.0 + pause);
                rate.record(f64::from(value), now, WINDOW);
                prop_assert!(rate.wait(low, now, WINDOW) >= rate.wait(high, now, WINDOW));
                let within = rate.measure(now, WINDOW) <= low;
                prop_assert!(!within || rate.wait(low, now, WINDOW) == 0);
            }
        }
    }
}
