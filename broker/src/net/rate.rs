//! How many connections a second there are, measured as Kafka measures it, and how long the next one waits.
//!
//! Pure: time comes in as an argument. A rate is taken over `samples` windows; before so many have passed, they count as
//! passed without an event, so that a burst at the start is not mistaken for a rate.

use std::collections::VecDeque;
use std::time::Duration;

/// `quota.window.num` and `quota.window.size.seconds`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RateSettings {
    /// Range: 1.. .
    pub(crate) samples: u32,
    /// Range: above zero. Also the longest pause.
    pub(crate) window: Duration,
}

impl Default for RateSettings {
    fn default() -> Self {
        RateSettings { samples: 11, window: Duration::from_secs(1) }
    }
}

/// Events of the last windows.
#[derive(Debug, Default)]
pub(crate) struct CreationRate {
    /// Oldest first; never more than `samples` + 1.
    samples: VecDeque<Sample>,
}

#[derive(Debug)]
struct Sample {
    began: Duration,
    last: Duration,
    events: u32,
}

impl CreationRate {
    /// Counts one event at `now` (since any fixed moment); how long it must be held back so that no more than `max` a
    /// second come through.
    pub(crate) fn record(&mut self, now: Duration, max: u32, settings: RateSettings) -> Duration {
        let monitored = settings.window * settings.samples;
        self.samples.retain(|sample| now.saturating_sub(sample.last) < monitored);
        match self.samples.back_mut() {
            Some(newest) if now.saturating_sub(newest.began) < settings.window => {
                newest.events = newest.events.saturating_add(1);
                newest.last = now;
            }
            _ => self.samples.push_back(Sample { began: now, last: now, events: 1 }),
        }
        while self.samples.len() > settings.samples as usize + 1 {
            self.samples.pop_front();
        }
        let span = self.span(now, settings).as_secs_f64();
        let events: f64 = self.samples.iter().map(|sample| f64::from(sample.events)).sum();
        let (rate, max) = (events / span, f64::from(max));
        if rate <= max {
            return Duration::ZERO;
        }
        Duration::try_from_secs_f64((rate - max) / max * span).unwrap_or(settings.window).min(settings.window)
    }

    /// The time over which the rate is taken.
    fn span(&self, now: Duration, settings: RateSettings) -> Duration {
        let oldest = self.samples.front().map_or(now, |sample| sample.began);
        let elapsed = now.saturating_sub(oldest);
        let full = elapsed.as_nanos() / settings.window.as_nanos().max(1);
        let missing = u128::from(settings.samples.saturating_sub(1)).saturating_sub(full);
        let missing = settings.window * u32::try_from(missing).unwrap_or(u32::MAX);
        (elapsed + missing).max(Duration::from_millis(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: RateSettings = RateSettings { samples: 11, window: Duration::from_secs(1) };

    #[test]
    fn a_burst_within_the_whole_span_is_free_and_the_next_one_waits() {
        let mut rate = CreationRate::default();
        for _ in 0..20 {
            assert_eq!(rate.record(Duration::ZERO, 2, SETTINGS), Duration::ZERO);
        }
        // 21 events in 10 seconds are 2.1 a second: 5 % too many, of 10 seconds.
        let pause = rate.record(Duration::ZERO, 2, SETTINGS);
        assert!(pause.abs_diff(Duration::from_millis(500)) < Duration::from_millis(1), "{pause:?}");
    }

    #[test]
    fn no_pause_is_longer_than_a_window() {
        let mut rate = CreationRate::default();
        let longest = (0..500).map(|_| rate.record(Duration::ZERO, 2, SETTINGS)).max();
        assert_eq!(longest, Some(SETTINGS.window));
        assert_eq!(rate.record(Duration::ZERO, 0, SETTINGS), SETTINGS.window);
    }

    #[test]
    fn what_is_older_than_all_windows_no_longer_counts() {
        let mut rate = CreationRate::default();
        for _ in 0..500 {
            rate.record(Duration::ZERO, 2, SETTINGS);
        }
        assert_eq!(rate.record(Duration::from_secs(12), 2, SETTINGS), Duration::ZERO);
    }

    #[test]
    fn a_steady_rate_below_the_limit_never_waits() {
        let mut rate = CreationRate::default();
        for half_second in 0..100 {
            assert_eq!(rate.record(Duration::from_millis(500 * half_second), 3, SETTINGS), Duration::ZERO);
        }
        assert!(rate.samples.len() <= 12);
    }
}
