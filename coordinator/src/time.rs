//! Time as the machines see it: a value that comes in with every call.
//!
//! Two clocks, because they answer two questions. Timeouts are measured on the monotonic one, so that a changed wall
//! clock expires nobody; what is written into records and compared with them is wall-clock time. Nothing here reads a
//! clock; the runner in `broker` does, once per call.

use storage::types::TimestampMs;

/// A point on a clock that never goes back. Unit: milliseconds since an arbitrary start (the process's).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Monotonic(pub u64);

impl Monotonic {
    /// `self` moved forward by `delay_ms`; a negative delay (clients send any number) is none at all.
    #[must_use]
    pub fn after_ms(self, delay_ms: i64) -> Monotonic {
        Monotonic(self.0.saturating_add(u64::try_from(delay_ms).unwrap_or(0)))
    }

    /// How long until `later`, 0 where it has passed. Unit: milliseconds.
    #[must_use]
    pub fn ms_until(self, later: Monotonic) -> u64 {
        later.0.saturating_sub(self.0)
    }
}

/// The moment a machine is asked, on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// For deadlines.
    pub mono: Monotonic,
    /// For records.
    pub wall: TimestampMs,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_negative_delay_is_no_delay() {
        assert_eq!(Monotonic(5).after_ms(-3), Monotonic(5));
        assert_eq!(Monotonic(5).after_ms(3), Monotonic(8));
        assert_eq!(Monotonic(5).ms_until(Monotonic(2)), 0);
    }
}
