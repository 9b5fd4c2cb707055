//! A bucket of tokens that fills up at the rate of the limit, and holds as many as the whole window lets in (KIP-599).
//!
//! What is asked for is taken even where there are fewer: then the next one waits until the bucket is out of debt.

use super::samples::Window;
use super::{ThrottleMs, whole_ms};
use crate::time::Monotonic;

#[derive(Clone, Copy, Debug)]
pub struct TokenBucket {
    tokens: f64,
    filled: Option<Monotonic>,
}

impl Default for TokenBucket {
    /// Full, whatever the limit.
    fn default() -> Self {
        TokenBucket { tokens: f64::INFINITY, filled: None }
    }
}

impl TokenBucket {
    /// Tokens there are at `now`; below zero is a debt.
    pub fn measure(&mut self, limit: f64, now: Monotonic, window: Window) -> f64 {
        let elapsed = self.filled.map_or(0.0, |filled| seconds(filled.ms_until(now)));
        self.tokens = burst(limit, window).min(self.tokens + limit * elapsed);
        self.filled = Some(now);
        self.tokens
    }

    pub fn take(&mut self, tokens: f64, limit: f64, now: Monotonic, window: Window) {
        let held = self.measure(limit, now, window);
        self.tokens = burst(limit, window).min(held - tokens);
    }

    /// How long until the bucket is out of debt; 0 where it is in none. Unit: ms.
    pub fn wait(&mut self, limit: f64, now: Monotonic, window: Window) -> ThrottleMs {
        let tokens = self.measure(limit, now, window);
        if tokens < 0.0 { whole_ms(-tokens / limit * 1000.0) } else { 0 }
    }
}

fn burst(limit: f64, window: Window) -> f64 {
    limit * seconds(window.span_ms())
}

#[allow(clippy::cast_precision_loss, reason = "2^53 ms are longer than any broker runs")]
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Window = Window { sample_ms: 1000, samples: 10 };

    #[test]
    fn a_full_bucket_is_emptied_at_once_and_its_debt_is_waited_for() {
        let mut bucket = TokenBucket::default();
        bucket.take(20.0, 2.0, Monotonic(0), WINDOW);
        assert_eq!(bucket.wait(2.0, Monotonic(0), WINDOW), 0, "nothing left, and no debt");
        bucket.take(3.0, 2.0, Monotonic(0), WINDOW);
        assert_eq!(bucket.wait(2.0, Monotonic(0), WINDOW), 1500);
        assert_eq!(bucket.wait(2.0, Monotonic(1000), WINDOW), 500);
        assert_eq!(bucket.wait(2.0, Monotonic(1500), WINDOW), 0);
    }

    #[test]
    fn it_never_holds_more_than_the_window_lets_in() {
        let mut bucket = TokenBucket::default();
        assert!((bucket.measure(2.0, Monotonic(1_000_000), WINDOW) - 20.0).abs() < f64::EPSILON);
        assert!((bucket.measure(1.0, Monotonic(2_000_000), WINDOW) - 10.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_limit_of_nothing_is_never_out_of_debt() {
        let mut bucket = TokenBucket::default();
        assert_eq!(bucket.wait(0.0, Monotonic(0), WINDOW), 0);
        bucket.take(1.0, 0.0, Monotonic(0), WINDOW);
        assert_eq!(bucket.wait(0.0, Monotonic(1_000_000), WINDOW), i32::MAX.unsigned_abs());
    }
}
