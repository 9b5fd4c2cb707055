//! Those who take the steps of moves between log directories: `num.replica.alter.log.dirs.threads` of them, within
//! `replica.alter.log.dirs.io.max.bytes.per.second` together.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use crate::config::MoveWindow;
use crate::partition::Partitions;
use crate::partition::moving::Step;

/// After a step that could do nothing. `replica.fetch.backoff.ms` by default.
const BACKOFF: Duration = Duration::from_secs(1);

/// While nothing but the end of a cleaning is waited for, and while a rate is: it may be changed.
const NAP: Duration = Duration::from_millis(100);

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

    fn record(&self, bytes: usize) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.bytes = state.bytes.saturating_add(bytes as u64);
    }

    fn is_exceeded(&self) -> bool {
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

/// One of them: step after step, each of another partition in turn.
pub(crate) async fn carry(partitions: Arc<Partitions>) {
    loop {
        let id = partitions.moves().next().await;
        while partitions.move_rate().is_exceeded() {
            sleep(NAP).await;
        }
        let step = {
            let (partitions, id) = (Arc::clone(&partitions), id.clone());
            spawn_blocking(move || partitions.move_on(&id)).await
        };
        match step {
            Ok(Step::Copied(bytes)) => {
                partitions.move_rate().record(bytes);
                partitions.moves().again(id);
            }
            Ok(Step::Wait) => {
                let partitions = Arc::clone(&partitions);
                // The others of the queue do not wait with it.
                tokio::spawn(async move {
                    sleep(BACKOFF).await;
                    partitions.moves().again(id);
                });
            }
            // A panic in there was reported by the hook.
            Ok(Step::Done) | Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
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
