//! What a leader knows of one follower.

use storage::types::Offset;

use crate::time::Monotonic;

/// How far a follower is. Offsets are unknown (`Offset::NONE`) until its first fetch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    pub(super) log_end: Offset,
    pub(super) log_start: Offset,
    /// Identity of the life of the broker that fetched last (czxid of its registration); `-1` where fetches do not tell.
    pub(super) broker_epoch: i64,
    /// The leader's log end when the last fetch came.
    leader_end: Offset,
    /// `None` before the first fetch.
    last_fetch: Option<Monotonic>,
    /// The latest time at which it is known to have had all that the leader had. `None`: never in this leadership.
    caught_up: Option<Monotonic>,
}

/// `broker_epoch` of a fetch that does not tell.
pub(super) const NO_BROKER_EPOCH: i64 = -1;

impl Progress {
    /// A leadership begins: followers in the in-sync set get the benefit of the doubt, for `replica.lag.time.max.ms`.
    pub(super) fn unknown(in_sync: bool, now: Monotonic) -> Progress {
        Progress {
            log_end: Offset::NONE,
            log_start: Offset::NONE,
            broker_epoch: NO_BROKER_EPOCH,
            leader_end: Offset::NONE,
            last_fetch: None,
            caught_up: in_sync.then_some(now),
        }
    }

    /// The same leader begins another epoch. A follower out of sync must fetch again before it counts as caught up.
    pub(super) fn renew(&mut self, in_sync: bool, leader_end: Offset, now: Monotonic) {
        self.leader_end = leader_end;
        self.last_fetch = in_sync.then_some(now);
        self.caught_up = in_sync.then_some(now);
    }

    /// It asked for records from `log_end` when the leader's log ended at `leader_end`.
    ///
    /// A follower that reached where the leader was at its previous fetch was caught up then, even if records that come
    /// in a steady stream keep it from ever reaching the end.
    pub(super) fn on_fetch(
        &mut self,
        log_end: Offset,
        log_start: Offset,
        leader_end: Offset,
        now: Monotonic,
    ) {
        if log_end >= leader_end {
            self.caught_up = self.caught_up.max(Some(now));
        } else if log_end >= self.leader_end {
            self.caught_up = self.caught_up.max(self.last_fetch);
        }
        self.log_end = log_end;
        self.log_start = log_start;
        self.leader_end = self.leader_end.max(leader_end);
        self.last_fetch = Some(now);
    }

    pub(super) fn caught_up(&self) -> Option<Monotonic> {
        self.caught_up
    }

    /// At the leader's end, or there within the last `lag_max_ms`.
    pub(super) fn is_caught_up(&self, leader_end: Offset, now: Monotonic, lag_max_ms: u64) -> bool {
        self.log_end == leader_end || self.caught_up.is_some_and(|when| when.ms_until(now) <= lag_max_ms)
    }
}
