//! Whose orders a replica obeys, and whose questions a leader answers.
//!
//! Three fences, each against another kind of the past: the epoch of a controller that was replaced, the registration of
//! a broker that has restarted since (KIP-380), the epoch of a leader that leads no more (KIP-101, KIP-320).

use std::cmp::Ordering;

use storage::types::LeaderEpoch;

/// Broker epoch of whoever does not know or tell it, and before the first registration
/// (`AbstractControlRequest.UNKNOWN_BROKER_EPOCH`).
pub const UNKNOWN_BROKER_EPOCH: i64 = -1;
/// In StopReplica, for a topic that is being deleted (`LeaderAndIsr.EpochDuringDelete`).
const EPOCH_DURING_DELETE: LeaderEpoch = LeaderEpoch(-2);

/// The controllers a broker has heard: only the newest counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Obedience {
    newest: i32,
}

/// A later controller has spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("controller epoch {newest} has spoken before")]
pub struct StaleController {
    pub newest: i32,
}

impl Obedience {
    /// The controller of `epoch` speaks.
    ///
    /// # Errors
    ///
    /// `StaleController`: nothing it says may be done.
    pub fn hear(&mut self, epoch: i32) -> Result<(), StaleController> {
        if epoch < self.newest {
            return Err(StaleController { newest: self.newest });
        }
        self.newest = epoch;
        Ok(())
    }
}

/// Whether a controller's request was meant for an earlier life of a broker whose registration is `own`.
#[must_use]
pub fn is_for_former_life(named: i64, own: i64) -> bool {
    named != UNKNOWN_BROKER_EPOCH && named < own
}

/// A role that is no news.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StaleRole {
    /// A controller that took office tells everybody what most know already.
    #[error("the role of this leader epoch is taken already")]
    Known,
    #[error("a later leader epoch is known here")]
    Former,
}

/// Whether a role is news for a replica that knows of leader epoch `known`.
///
/// # Errors
///
/// `StaleRole`: the replica stays as it is.
pub fn check_role(known: LeaderEpoch, ordered: LeaderEpoch) -> Result<(), StaleRole> {
    match ordered.cmp(&known) {
        Ordering::Greater => Ok(()),
        Ordering::Equal => Err(StaleRole::Known),
        Ordering::Less => Err(StaleRole::Former),
    }
}

/// Whether what is told of a partition comes too late: a state written after it is known. `known` and `told` are the
/// leader epoch and the partition epoch of two states of one topic; neither ever goes back while the topic exists.
#[must_use]
pub fn is_old_news(known: (LeaderEpoch, i32), told: (LeaderEpoch, i32)) -> bool {
    told < known
}

/// Whether a replica that knows of leader epoch `known` shall stop. Old controllers name no epoch.
#[must_use]
pub fn may_stop(known: LeaderEpoch, ordered: LeaderEpoch) -> bool {
    ordered == EPOCH_DURING_DELETE || ordered == LeaderEpoch::NONE || ordered >= known
}

/// Reader and leader do not mean the same leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EpochMismatch {
    /// FENCED_LEADER_EPOCH.
    #[error("the reader speaks of an earlier leader")]
    Fenced,
    /// UNKNOWN_LEADER_EPOCH.
    #[error("the reader knows a later leader")]
    Unknown,
}

/// Whether a reader who thinks that the leader is in `named` may read from one in `current`. `NONE` asks for no check.
///
/// # Errors
///
/// `EpochMismatch`: either of them is behind; nothing may be read, and nothing noted of the reader.
pub fn check_leader_epoch(named: LeaderEpoch, current: LeaderEpoch) -> Result<(), EpochMismatch> {
    match named {
        LeaderEpoch::NONE => Ok(()),
        named if named < current => Err(EpochMismatch::Fenced),
        named if named > current => Err(EpochMismatch::Unknown),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_controller_that_was_replaced_is_not_obeyed_and_the_same_one_is() {
        let mut obedience = Obedience::default();
        assert_eq!(obedience.hear(4), Ok(()));
        assert_eq!(obedience.hear(4), Ok(()));
        assert_eq!(obedience.hear(3), Err(StaleController { newest: 4 }));
        assert_eq!(obedience.hear(5), Ok(()));
    }

    #[test]
    fn what_was_meant_for_an_earlier_life_is_told_by_the_registration() {
        assert!(is_for_former_life(70, 71));
        assert!(!is_for_former_life(71, 71));
        assert!(!is_for_former_life(72, 71), "the broker has not heard of its own registration yet");
        assert!(!is_for_former_life(-1, 71));
    }

    #[test]
    fn a_role_is_taken_once_and_none_of_a_former_epoch() {
        let known = LeaderEpoch(5);
        assert_eq!(check_role(known, LeaderEpoch(6)), Ok(()));
        assert_eq!(check_role(known, known), Err(StaleRole::Known));
        assert_eq!(check_role(known, LeaderEpoch(4)), Err(StaleRole::Former));
        assert_eq!(check_role(LeaderEpoch::NONE, LeaderEpoch(0)), Ok(()));
    }

    #[test]
    fn a_state_is_old_news_by_the_leaders_epoch_then_by_the_partitions() {
        let known = (LeaderEpoch(5), 9);
        assert!(is_old_news(known, (LeaderEpoch(5), 8)));
        assert!(is_old_news(known, (LeaderEpoch(4), 10)));
        assert!(!is_old_news(known, known), "offline replicas may have changed");
        assert!(!is_old_news(known, (LeaderEpoch(6), 10)));
    }

    #[test]
    fn a_replica_stops_in_its_epoch_or_later_or_for_a_deletion() {
        let known = LeaderEpoch(5);
        assert!(!may_stop(known, LeaderEpoch(4)));
        for epoch in [5, 6, -1, -2] {
            assert!(may_stop(known, LeaderEpoch(epoch)), "{epoch}");
        }
    }

    #[test]
    fn reader_and_leader_must_mean_the_same_leader() {
        let current = LeaderEpoch(5);
        assert_eq!(check_leader_epoch(LeaderEpoch(4), current), Err(EpochMismatch::Fenced));
        assert_eq!(check_leader_epoch(LeaderEpoch(6), current), Err(EpochMismatch::Unknown));
        assert_eq!(check_leader_epoch(current, current), Ok(()));
        assert_eq!(check_leader_epoch(LeaderEpoch::NONE, current), Ok(()));
    }
}
