//! How long cleaners must pause so that they do not take the disk from everybody else.

use std::time::Duration;

/// Bytes are counted this long before the rate is judged, as in Kafka.
const PERIOD: Duration = Duration::from_millis(300);

/// `log.cleaner.io.max.bytes.per.second`, for all cleaners together. Does not sleep itself.
#[derive(Clone, Debug)]
pub struct Throttle {
    bytes_per_second: f64,
    since: Duration,
    bytes: u64,
}

impl Throttle {
    /// `now` is any clock that never goes back.
    #[must_use]
    pub fn new(bytes_per_second: f64, now: Duration) -> Throttle {
        Throttle { bytes_per_second, since: now, bytes: 0 }
    }

    /// Notes bytes that were read or written; yields how long to pause.
    #[must_use]
    pub fn pass(&mut self, bytes: u64, now: Duration) -> Duration {
        self.bytes = self.bytes.saturating_add(bytes);
        let elapsed = now.saturating_sub(self.since);
        if elapsed < PERIOD {
            return Duration::ZERO;
        }
        let due = Duration::try_from_secs_f64(self.bytes as f64 / self.bytes_per_second);
        let pause = due.unwrap_or(Duration::ZERO).saturating_sub(elapsed);
        (self.since, self.bytes) = (now + pause, 0);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_throttle_pauses_for_what_is_beyond_the_rate() {
        let seconds = Duration::from_secs_f64;
        let mut throttle = Throttle::new(1000.0, seconds(10.0));
        assert_eq!(throttle.pass(5000, seconds(10.1)), Duration::ZERO, "too early to judge");
        assert_eq!(throttle.pass(0, seconds(11.0)), seconds(4.0));
        assert_eq!(throttle.pass(1000, seconds(16.0)), Duration::ZERO);
    }

    #[test]
    fn without_a_limit_nobody_pauses() {
        let mut throttle = Throttle::new(f64::MAX, Duration::ZERO);
        assert_eq!(throttle.pass(u64::MAX, Duration::from_secs(1)), Duration::ZERO);
    }
}
