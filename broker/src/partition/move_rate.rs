//! The rate of copies between log directories (`replica.alter.log.dirs.io.max.bytes.per.second`), of all moves together.

use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use crate::config::MoveWindow;

/// Bytes per second that all moves may copy.
pub(crate) struct MoveRate {
    state: Mutex<RateState>,
}

struct RateState {
    window: MoveWindow,
    /// Unit: bytes per second. `None`: no limit.
    limit: Option<u64>,
    since: Instant,
    bytes: u64,
}

impl MoveRate {
    pub(crate) fn new(window: MoveWindow, limit: Option<u64>) -> MoveRate {
        MoveRate { state: Mutex::new(RateState { window, limit, since: Instant::now(), bytes: 0 }) }
    }

    /// Counts from now on.
    pub(crate) fn set_limit(&self, limit: Option<u64>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.limit != limit {
            *state = RateState { limit, since: Instant::now(), bytes: 0, ..*state };
        }
    }

    pub(crate) fn record(&self, bytes: usize) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.bytes = state.bytes.saturating_add(bytes as u64);
    }

    pub(crate) fn is_exceeded(&self) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(limit) = state.limit else { return false };
        let elapsed = state.since.elapsed();
        let exceeded =
            u128::from(state.bytes) * 1000 > u128::from(limit) * elapsed.max(state.window.sample).as_millis();
        if !exceeded && elapsed >= state.window.whole {
            (state.since, state.bytes) = (Instant::now(), 0);
        }
        exceeded
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_beyond_the_rate_is_waited_for() {
        let rate = MoveRate::new(
            MoveWindow { sample: Duration::from_secs(1), whole: Duration::from_secs(11) },
            Some(1000),
        );
        assert!(!rate.is_exceeded());
        rate.record(5000);
        assert!(rate.is_exceeded());
        tokio::time::advance(Duration::from_millis(4900)).await;
        assert!(rate.is_exceeded());
        tokio::time::advance(Duration::from_millis(200)).await;
        assert!(!rate.is_exceeded());

        rate.record(1 << 30);
        assert!(rate.is_exceeded());
        rate.set_limit(None);
        assert!(!rate.is_exceeded());
    }
}
