//! Who leads a partition next.
//!
//! One function a strategy, over one partition. They only choose; the new epoch is written by whoever asks.

use std::collections::BTreeSet;

use storage::types::{BrokerId, LeaderEpoch};

use super::types::{Assignment, Leadership, Recovery};

/// What an election may look at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidates<'a> {
    pub(super) assignment: &'a Assignment,
    pub(super) current: &'a Leadership,
    /// Replicas whose broker and disk are up, brokers that are shutting down left out.
    pub(super) live: &'a [BrokerId],
    /// Replicas whose broker and disk are up, brokers that are shutting down included.
    pub(super) running: &'a [BrokerId],
}

/// A decided election: the new state, and the replicas that shall hear of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Elected {
    pub(super) leadership: Leadership,
    pub(super) recipients: Vec<BrokerId>,
}

impl Candidates<'_> {
    fn first(&self, wanted: impl Fn(&BrokerId) -> bool) -> Option<BrokerId> {
        self.assignment.replicas.iter().copied().find(wanted)
    }

    fn is_live_in_sync(&self, replica: &BrokerId) -> bool {
        self.live.contains(replica) && self.current.isr.contains(replica)
    }

    /// The leader is gone: the first live one in sync, or with `unclean` the first live one at all.
    pub(super) fn offline(&self, unclean: bool, leader_recovery: bool) -> Option<Elected> {
        if let Some(leader) = self.first(|replica| self.is_live_in_sync(replica)) {
            let isr = self.current.isr.iter().copied().filter(|id| self.live.contains(id)).collect();
            return Some(self.elected(leader, isr, self.current.recovery, self.live));
        }
        let leader = self.first(|replica| unclean && self.live.contains(replica))?;
        let recovery = if leader_recovery { Recovery::Recovering } else { self.current.recovery };
        Some(self.elected(leader, vec![leader], recovery, self.live))
    }

    /// Back to the first replica, if it is live and in sync.
    pub(super) fn preferred(&self) -> Option<Elected> {
        let leader =
            self.assignment.replicas.first().copied().filter(|replica| self.is_live_in_sync(replica))?;
        let isr = self.current.isr.clone();
        Some(self.elected(leader, isr, self.current.recovery, &self.assignment.replicas))
    }

    /// To the first target of a reassignment that is live and in sync.
    pub(super) fn reassignment(&self) -> Option<Elected> {
        let targets: Vec<BrokerId> = self.assignment.target().collect();
        let leader = targets.iter().copied().find(|replica| self.is_live_in_sync(replica))?;
        Some(self.elected(leader, self.current.isr.clone(), self.current.recovery, &targets))
    }

    /// A new epoch without the `distrusted` in the in-sync set. The leader stays if it can.
    pub(super) fn without(&self, distrusted: &BTreeSet<BrokerId>) -> Option<Elected> {
        let stays = |replica: &BrokerId| self.is_live_in_sync(replica) && !distrusted.contains(replica);
        let leader = Some(self.current.leader).filter(stays).or_else(|| self.first(stays))?;
        let isr = self.current.isr.iter().copied().filter(|id| !distrusted.contains(id)).collect();
        Some(self.elected(leader, isr, self.current.recovery, self.live))
    }

    /// Away from the brokers that are `leaving`, which also leave the in-sync set.
    pub(super) fn controlled_shutdown(&self, leaving: &[BrokerId]) -> Option<Elected> {
        let stays = |replica: &BrokerId| !leaving.contains(replica);
        let leader = self.first(|replica| {
            self.running.contains(replica) && self.current.isr.contains(replica) && stays(replica)
        })?;
        let isr = self.current.isr.iter().copied().filter(stays).collect();
        Some(self.elected(leader, isr, self.current.recovery, self.running))
    }

    fn elected(
        &self,
        leader: BrokerId,
        isr: Vec<BrokerId>,
        recovery: Recovery,
        recipients: &[BrokerId],
    ) -> Elected {
        let leadership = Leadership {
            leader,
            leader_epoch: LeaderEpoch(self.current.leader_epoch.0.saturating_add(1)),
            isr,
            recovery,
            ..*self.current
        };
        Elected { leadership, recipients: recipients.to_vec() }
    }
}

/// The in-sync set and the leader after `replica` went away. The last member stays, so that it can lead again.
pub(super) fn without_replica(current: &Leadership, replica: BrokerId) -> Leadership {
    let leader = if current.leader == replica { BrokerId::NONE } else { current.leader };
    let isr = if current.isr.len() == 1 {
        current.isr.clone()
    } else {
        current.isr.iter().copied().filter(|id| *id != replica).collect()
    };
    let leader_epoch = LeaderEpoch(current.leader_epoch.0.saturating_add(1));
    Leadership { leader, leader_epoch, isr, ..*current }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ids: &[i32]) -> Vec<BrokerId> {
        ids.iter().copied().map(BrokerId).collect()
    }

    fn current(leader: i32, isr: &[i32]) -> Leadership {
        Leadership {
            leader: BrokerId(leader),
            leader_epoch: LeaderEpoch(4),
            isr: ids(isr),
            recovery: Recovery::Recovered,
            controller_epoch: 1,
            version: 9,
        }
    }

    fn elect<T>(
        replicas: &[i32],
        current: &Leadership,
        live: &[i32],
        choose: impl FnOnce(&Candidates<'_>) -> T,
    ) -> T {
        let (assignment, live) = (Assignment::of(ids(replicas)), ids(live));
        choose(&Candidates { assignment: &assignment, current, live: &live, running: &live })
    }

    #[test]
    fn the_first_live_in_sync_replica_takes_over_and_dead_ones_leave_the_set() {
        let elected = elect(&[1, 2, 3], &current(1, &[3, 1, 2]), &[2, 3], |c| c.offline(false, true));
        let leadership = elected.expect("2 is in sync").leadership;
        assert_eq!((leadership.leader, leadership.leader_epoch), (BrokerId(2), LeaderEpoch(5)));
        assert_eq!(leadership.isr, ids(&[3, 2]));
        assert_eq!(leadership.version, 9);
    }

    #[test]
    fn without_a_live_in_sync_replica_only_an_unclean_election_finds_a_leader_and_marks_it() {
        let state = current(1, &[1]);
        assert_eq!(elect(&[1, 2], &state, &[2], |c| c.offline(false, true)), None);
        let leadership = elect(&[1, 2], &state, &[2], |c| c.offline(true, true)).expect("allowed").leadership;
        assert_eq!((leadership.leader, leadership.isr), (BrokerId(2), ids(&[2])));
        assert_eq!(leadership.recovery, Recovery::Recovering);
        let old = elect(&[1, 2], &state, &[2], |c| c.offline(true, false)).expect("allowed");
        assert_eq!(old.leadership.recovery, Recovery::Recovered);
    }

    #[test]
    fn the_preferred_replica_must_be_in_sync() {
        assert_eq!(elect(&[1, 2], &current(2, &[2]), &[1, 2], |c| c.preferred()), None);
        let elected = elect(&[1, 2], &current(2, &[2, 1]), &[1, 2], |c| c.preferred()).expect("in sync");
        assert_eq!((elected.leadership.leader, elected.leadership.isr), (BrokerId(1), ids(&[2, 1])));
    }

    #[test]
    fn a_leaving_broker_gives_up_leadership_and_its_place_in_the_set() {
        let state = current(1, &[1, 2]);
        let elected = elect(&[1, 2], &state, &[1, 2], |c| c.controlled_shutdown(&ids(&[1])));
        let leadership = elected.expect("2 stays").leadership;
        assert_eq!((leadership.leader, leadership.isr), (BrokerId(2), ids(&[2])));
        assert_eq!(elect(&[1, 2], &state, &[1, 2], |c| c.controlled_shutdown(&ids(&[1, 2]))), None);
    }

    #[test]
    fn the_last_in_sync_replica_stays_in_the_set() {
        let gone = without_replica(&current(1, &[1]), BrokerId(1));
        assert_eq!((gone.leader, gone.isr), (BrokerId::NONE, ids(&[1])));
        let smaller = without_replica(&current(1, &[1, 2]), BrokerId(2));
        assert_eq!((smaller.leader, smaller.isr), (BrokerId(1), ids(&[1])));
        assert_eq!(smaller.leader_epoch, LeaderEpoch(5));
    }
}
