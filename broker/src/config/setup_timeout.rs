//! How long making a connection to another broker may take: longer after every attempt that failed.

use std::time::Duration;

use uuid::Uuid;

/// `socket.connection.setup.timeout.ms` and its `.max.ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SetupTimeout {
    /// Of the first attempt.
    pub(crate) first: Duration,
    /// Of any attempt. At or below `first` every attempt is given this.
    pub(crate) max: Duration,
}

impl SetupTimeout {
    /// The same for every attempt.
    pub(crate) fn constant(timeout: Duration) -> SetupTimeout {
        SetupTimeout { first: timeout, max: timeout }
    }

    /// None is longer than `limit`.
    pub(crate) fn at_most(self, limit: Duration) -> SetupTimeout {
        SetupTimeout { first: self.first.min(limit), max: self.max.min(limit) }
    }

    /// For the attempt after so many that failed in a row, a fifth longer or shorter by chance.
    pub(crate) fn after(&self, failures: u32) -> Duration {
        self.with_chance(failures, chance())
    }

    /// As in Kafka: twice as long after each failure, and `chance` (0 to 1) spreads brokers that lost the same one.
    fn with_chance(&self, failures: u32, chance: f64) -> Duration {
        if self.max <= self.first {
            return self.max;
        }
        let doubled = self.first.saturating_mul(1_u32.checked_shl(failures).unwrap_or(u32::MAX));
        doubled.min(self.max).mul_f64(0.8 + 0.4 * chance).min(self.max)
    }
}

/// A number from 0 to 1.
fn chance() -> f64 {
    f64::from(Uuid::new_v4().as_fields().0) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KAFKAS: SetupTimeout =
        SetupTimeout { first: Duration::from_secs(10), max: Duration::from_secs(30) };

    #[test]
    fn every_failure_doubles_it_up_to_the_longest() {
        let given = |failures| KAFKAS.with_chance(failures, 0.5).as_secs();
        assert_eq!([0, 1, 2, 3, 40, u32::MAX].map(given), [10, 20, 30, 30, 30, 30]);
    }

    #[test]
    fn chance_makes_it_a_fifth_longer_or_shorter_and_never_longer_than_the_longest() {
        let given = |failures, chance| KAFKAS.with_chance(failures, chance).as_secs();
        assert_eq!([given(0, 0.0), given(0, 1.0), given(2, 0.0), given(2, 1.0)], [8, 12, 24, 30]);
        for _ in 0..100 {
            assert!((8..=12).contains(&KAFKAS.after(0).as_secs()));
        }
    }

    #[test]
    fn where_the_longest_is_the_shortest_every_attempt_is_given_it() {
        let short = SetupTimeout { max: Duration::from_secs(5), ..KAFKAS };
        assert_eq!([0, 1, 9].map(|failures| short.after(failures).as_secs()), [5, 5, 5]);
        assert_eq!(KAFKAS.at_most(Duration::from_secs(7)).after(3).as_secs(), 7);
    }
}
