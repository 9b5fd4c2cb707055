//! A connection that is not read from for a while, because its client took more than it may.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use coordinator::quotas::ThrottleMs;
use coordinator::time::Monotonic;

use crate::clock;

/// Until when. Set while requests are served, read by the connection before it takes the next one.
#[derive(Debug, Default)]
pub(crate) struct Mute {
    until: AtomicU64,
}

impl Mute {
    /// Mutes for `wait` from `now` on, unless it is muted for longer. Hands `wait` back.
    pub(crate) fn begin(&self, now: Monotonic, wait: ThrottleMs) -> ThrottleMs {
        if wait > 0 {
            self.until.fetch_max(now.after_ms(i64::from(wait)).0, Ordering::Relaxed);
        }
        wait
    }

    /// What is left of it; `None` where it is over.
    pub(crate) fn left(&self) -> Option<Duration> {
        let until = self.until.load(Ordering::Relaxed);
        if until == 0 {
            return None;
        }
        let left = clock::now().mono.ms_until(Monotonic(until));
        if left == 0 {
            self.until.store(0, Ordering::Relaxed);
            return None;
        }
        Some(Duration::from_millis(left))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_of_two_waits_counts_and_none_is_none() {
        let mute = Mute::default();
        let now = clock::now().mono;
        assert_eq!(mute.begin(now, 0), 0);
        assert_eq!(mute.left(), None);
        assert_eq!((mute.begin(now, 60_000), mute.begin(now, 10)), (60_000, 10));
        assert!(mute.left().expect("muted") > Duration::from_secs(30));
        let past = Mute::default();
        past.begin(Monotonic(0), 1);
        while clock::now().mono <= Monotonic(1) {
            std::thread::yield_now();
        }
        assert_eq!(past.left(), None);
    }
}
