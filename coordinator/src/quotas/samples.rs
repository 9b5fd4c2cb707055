//! Sums over stretches of time, of which the last few are remembered (Kafka's `SampledStat`).

use std::collections::VecDeque;

use crate::time::Monotonic;

/// Lengths of time, in ms, and how many of them are looked back on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// `quota.window.size.seconds` and its likes. Unit: ms. Range: `1..`.
    pub sample_ms: u64,
    /// `quota.window.num` and its likes. Range: `1..`.
    pub samples: usize,
}

impl Window {
    /// All samples together. Unit: ms.
    #[must_use]
    pub fn span_ms(self) -> u64 {
        self.sample_ms.saturating_mul(self.samples as u64)
    }
}

/// Oldest first; never more than one beyond the window's, for the one that reaches into it from before.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    samples: VecDeque<Sample>,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    began: Monotonic,
    last: Monotonic,
    sum: f64,
}

impl Samples {
    /// `value` may be below zero: something counted before is taken back.
    pub fn add(&mut self, value: f64, now: Monotonic, window: Window) {
        match self.samples.back_mut() {
            Some(newest) if newest.began.ms_until(now) < window.sample_ms => {
                newest.sum += value;
                newest.last = now;
            }
            _ => self.samples.push_back(Sample { began: now, last: now, sum: value }),
        }
        while self.samples.len() > window.samples + 1 {
            self.samples.pop_front();
        }
    }

    /// Drops what has no event within the window. A sample that has one stays whole, even where it began before.
    pub fn forget(&mut self, now: Monotonic, window: Window) {
        let span = window.span_ms();
        self.samples.retain(|sample| sample.last.ms_until(now) < span);
    }

    #[must_use]
    pub fn sum(&self) -> f64 {
        self.samples.iter().map(|sample| sample.sum).sum()
    }

    /// When the oldest of them began.
    #[must_use]
    pub fn began(&self) -> Option<Monotonic> {
        self.samples.front().map(|sample| sample.began)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Window = Window { sample_ms: 1000, samples: 3 };

    #[test]
    fn a_sample_takes_what_comes_within_its_time_and_no_more_are_kept_than_the_window_has() {
        let mut samples = Samples::default();
        for step in 0..100 {
            samples.add(1.0, Monotonic(step * 500), WINDOW);
            assert!(samples.samples.len() <= 4);
        }
        assert!((samples.sum() - 8.0).abs() < f64::EPSILON, "four samples of two");
        assert_eq!(samples.began(), Some(Monotonic(92 * 500)));
    }

    #[test]
    fn a_sample_stays_while_its_last_event_is_within_the_window() {
        let mut samples = Samples::default();
        samples.add(1.0, Monotonic(0), WINDOW);
        samples.add(1.0, Monotonic(900), WINDOW);
        samples.forget(Monotonic(3899), WINDOW);
        assert_eq!(samples.began(), Some(Monotonic(0)));
        samples.forget(Monotonic(3900), WINDOW);
        assert_eq!(samples.began(), None);
    }

    #[test]
    fn what_is_taken_back_is_as_if_it_had_never_been() {
        let mut samples = Samples::default();
        samples.add(7.0, Monotonic(0), WINDOW);
        samples.add(1_000_000.0, Monotonic(1), WINDOW);
        samples.add(-1_000_000.0, Monotonic(1), WINDOW);
        assert!((samples.sum() - 7.0).abs() < f64::EPSILON);
    }
}
