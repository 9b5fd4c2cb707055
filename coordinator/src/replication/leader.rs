//! What the leader of a partition knows of its followers, and the high watermark that follows from it.
//!
//! Always true: the high watermark never goes back within a leader epoch and never passes the leader's log end.

use std::collections::{BTreeMap, BTreeSet};

use storage::types::{BrokerId, LeaderEpoch, Offset};

use crate::time::Monotonic;

/// What the controller decided about a partition (LeaderAndIsr, `/brokers/topics/T/partitions/P/state`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub leader_epoch: LeaderEpoch,
    /// Version of the partition's state znode.
    pub partition_epoch: i32,
    pub replicas: Vec<BrokerId>,
    pub isr: BTreeSet<BrokerId>,
}

/// How far a follower is. Unknown until its first fetch of this leader epoch.
#[derive(Clone, Copy, Debug)]
struct Follower {
    log_end: Offset,
    /// The last time it had everything that the leader had when it asked.
    caught_up: Monotonic,
}

/// The leader's view of one partition.
#[derive(Clone, Debug)]
pub struct Leader {
    me: BrokerId,
    standing: Standing,
    /// Where this leader epoch began.
    epoch_start: Offset,
    log_end: Offset,
    high_watermark: Offset,
    followers: BTreeMap<BrokerId, Follower>,
}

impl Leader {
    /// Leadership begins with the log as it is; `high_watermark` is the last one known here.
    pub fn new(me: BrokerId, standing: Standing, log_end: Offset, high_watermark: Offset) -> Leader {
        let high_watermark = high_watermark.min(log_end);
        let mut leader = Leader {
            me,
            standing,
            epoch_start: log_end,
            log_end,
            high_watermark,
            followers: BTreeMap::new(),
        };
        leader.settle();
        leader
    }

    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Everything before it is on all in-sync replicas. Exclusive end.
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// True after an election until the followers have confirmed what the former leader had: the end that consumers
    /// may see is not yet known to be the latest (KIP-207).
    pub fn watermark_lags(&self) -> bool {
        self.epoch_start > self.high_watermark
    }

    /// The controller changed replicas or the in-sync set without a new leader epoch.
    pub fn update(&mut self, standing: Standing) -> Offset {
        assert_eq!(standing.leader_epoch, self.standing.leader_epoch, "a new epoch makes a new Leader");
        self.followers.retain(|id, _| standing.replicas.contains(id));
        self.standing = standing;
        self.settle()
    }

    /// The leader's log grew; returns the high watermark that follows.
    pub fn on_append(&mut self, log_end: Offset) -> Offset {
        assert!(log_end >= self.log_end, "the log never shrinks under a leader");
        self.log_end = log_end;
        self.settle()
    }

    /// A follower asked for records from `offset`, so it has everything before it; returns the high watermark that
    /// follows. A broker that is no replica changes nothing.
    pub fn on_follower_fetch(&mut self, id: BrokerId, offset: Offset, now: Monotonic) -> Offset {
        if id == self.me || !self.standing.replicas.contains(&id) {
            return self.high_watermark;
        }
        let caught_up = offset >= self.log_end;
        let follower = self.followers.entry(id).or_insert(Follower { log_end: offset, caught_up: now });
        follower.log_end = offset;
        if caught_up {
            follower.caught_up = now;
        }
        self.settle()
    }

    /// Whether a write with acks=all may be taken at all (`min.insync.replicas`, clipped to the number of replicas).
    pub fn has_enough_in_sync(&self, min_insync_replicas: usize) -> bool {
        self.standing.isr.len() >= min_insync_replicas.min(self.standing.replicas.len())
    }

    fn settle(&mut self) -> Offset {
        let slowest = self
            .standing
            .isr
            .iter()
            .map(|id| match self.followers.get(id) {
                _ if *id == self.me => self.log_end,
                Some(follower) => follower.log_end,
                None => Offset::NONE,
            })
            .min()
            .unwrap_or(self.log_end);
        self.high_watermark = self.high_watermark.max(slowest.min(self.log_end));
        self.high_watermark
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: BrokerId = BrokerId(1);

    fn leader_with_isr(others: &[i32]) -> Leader {
        let replicas: Vec<BrokerId> =
            std::iter::once(ME).chain(others.iter().map(|id| BrokerId(*id))).collect();
        let isr = replicas.iter().copied().collect();
        let standing = Standing { leader_epoch: LeaderEpoch(0), partition_epoch: 0, replicas, isr };
        Leader::new(ME, standing, Offset(0), Offset(0))
    }

    #[test]
    fn alone_the_leaders_own_append_is_committed_at_once() {
        let mut leader = leader_with_isr(&[]);
        assert_eq!(leader.on_append(Offset(10)), Offset(10));
    }

    #[test]
    fn high_watermark_waits_for_the_slowest_in_sync_replica() {
        let mut leader = leader_with_isr(&[2, 3]);
        assert_eq!(leader.on_append(Offset(10)), Offset(0));
        assert_eq!(leader.on_follower_fetch(BrokerId(2), Offset(10), Monotonic(0)), Offset(0));
        assert_eq!(leader.on_follower_fetch(BrokerId(3), Offset(4), Monotonic(0)), Offset(4));
    }

    #[test]
    fn a_follower_that_starts_over_does_not_take_the_high_watermark_back() {
        let mut leader = leader_with_isr(&[2]);
        leader.on_append(Offset(10));
        assert_eq!(leader.on_follower_fetch(BrokerId(2), Offset(8), Monotonic(0)), Offset(8));
        assert_eq!(leader.on_follower_fetch(BrokerId(2), Offset(3), Monotonic(0)), Offset(8));
    }

    #[test]
    fn a_broker_that_is_no_replica_moves_nothing() {
        let mut leader = leader_with_isr(&[2]);
        leader.on_append(Offset(10));
        assert_eq!(leader.on_follower_fetch(BrokerId(9), Offset(10), Monotonic(0)), Offset(0));
    }

    #[test]
    fn min_insync_replicas_is_clipped_to_the_number_of_replicas() {
        assert!(leader_with_isr(&[]).has_enough_in_sync(3));
        let mut leader = leader_with_isr(&[2, 3]);
        let mut standing = leader.standing().clone();
        standing.isr = [ME].into();
        leader.update(standing);
        assert!(!leader.has_enough_in_sync(2));
    }
}
