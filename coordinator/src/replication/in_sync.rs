//! The in-sync set, and a change of it that is on its way through the controller (AlterPartition, KIP-497, KIP-903).
//!
//! Always true: at most one change is under way; until it is decided, whoever is or may be in the set counts.

use std::collections::BTreeSet;

use storage::types::{BrokerId, LeaderEpoch};

/// A member of a proposed in-sync set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InSyncMember {
    pub broker: BrokerId,
    /// The life of the broker that the leader saw fetching (czxid of its registration). `-1` where it did not tell, and
    /// for the leader itself: the sender knows its own.
    pub broker_epoch: i64,
}

/// What a leader asks the controller for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    pub leader_epoch: LeaderEpoch,
    /// Of the state that the proposal replaces.
    pub partition_epoch: i32,
    /// The whole new set, by broker id.
    pub isr: Vec<InSyncMember>,
}

/// What the controller made of a proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It stands like this now.
    Altered { leader_epoch: LeaderEpoch, partition_epoch: i32, isr: BTreeSet<BrokerId> },
    /// Certainly not applied, by any controller (OPERATION_NOT_ATTEMPTED, INELIGIBLE_REPLICA).
    NotApplied,
    /// The leader is behind what the controller knows; a LeaderAndIsr request is to come (FENCED_LEADER_EPOCH,
    /// INVALID_UPDATE_VERSION, UNKNOWN_TOPIC_OR_PARTITION, UNKNOWN_TOPIC_ID, INVALID_REQUEST).
    Outdated,
    /// Anything else: it may have been applied or not. To be asked again.
    Unclear,
}

/// A change under way.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) proposal: Proposal,
    /// The replica that joins; `None` where some leave.
    joining: Option<BrokerId>,
}

/// The in-sync set as it was last committed, and the change under way.
#[derive(Clone, Debug)]
pub(super) struct InSync {
    pub(super) pending: Option<Pending>,
}

impl InSync {
    pub(super) fn settled() -> InSync {
        InSync { pending: None }
    }

    /// A joining member counts at once: that is stricter, so a refusal does no harm. A leaving one counts until its
    /// leave is committed.
    pub(super) fn counts(&self, committed: &BTreeSet<BrokerId>, broker: BrokerId) -> bool {
        committed.contains(&broker) || self.joining() == Some(broker)
    }

    /// How many count, see [`InSync::counts`].
    pub(super) fn size(&self, committed: &BTreeSet<BrokerId>) -> usize {
        committed.len() + usize::from(self.joining().is_some())
    }

    pub(super) fn begin(&mut self, proposal: Proposal, joining: Option<BrokerId>) {
        self.pending = Some(Pending { proposal, joining });
    }

    /// Whether this very proposal is still waited for.
    pub(super) fn awaits(&self, proposal: &Proposal) -> bool {
        self.pending.as_ref().is_some_and(|pending| pending.proposal == *proposal)
    }

    fn joining(&self) -> Option<BrokerId> {
        self.pending.as_ref().and_then(|pending| pending.joining)
    }
}
