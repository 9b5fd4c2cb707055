//! One member's next step from what it has to what it shall have: first it gives up, then it takes the new epoch and
//! what nobody else has any more, then it waits for the rest.

use std::collections::BTreeSet;
use std::sync::Arc;

use storage::types::TopicId;

use super::assignors::Assignment;
use super::command::OwnedPartitions;
use super::group::Member;
use super::record::{Current, MemberState};
use crate::groups::refusal::GroupError;

/// What a member's step depends on, besides the member.
pub(super) struct Step<'a> {
    pub(super) plan_epoch: i32,
    pub(super) plan: &'a Assignment,
    /// Whether anybody has the partition.
    pub(super) is_owned: &'a dyn Fn(TopicId, i32) -> bool,
    /// What the member says that it has; `None` where it says nothing.
    pub(super) owned: Option<&'a OwnedPartitions>,
}

impl Step<'_> {
    /// What the member has after it; `None` where nothing changes.
    pub(super) fn next(&self, member: &Member) -> Result<Option<Current>, GroupError> {
        let current = &member.current;
        let next = match current.state {
            MemberState::Stable if current.epoch == self.plan_epoch => return Ok(None),
            MemberState::Unrevoked if self.still_has(&current.revoked) => return Ok(None),
            // It has just confirmed the epoch that it was told to give up partitions for.
            MemberState::Unrevoked => self.towards_plan(current, current.epoch.wrapping_add(1)),
            MemberState::Stable | MemberState::Unreleased => self.towards_plan(current, current.epoch),
            MemberState::Unknown if self.owned.is_none_or(|owned| !owned.is_empty()) => {
                return Err(GroupError::FencedMemberEpoch);
            }
            MemberState::Unknown => self.towards_plan(current, self.plan_epoch),
        };
        Ok(Some(next).filter(|next| next != current))
    }

    /// A member that does not say what it has still has everything.
    fn still_has(&self, revoked: &Assignment) -> bool {
        self.owned.is_none_or(|owned| {
            let still = |(topic, partitions): &(TopicId, Vec<i32>)| {
                revoked.get(topic).is_some_and(|revoked| partitions.iter().any(|it| revoked.contains(it)))
            };
            owned.iter().any(still)
        })
    }

    fn towards_plan(&self, current: &Current, epoch: i32) -> Current {
        let (mut kept, mut revoked, mut fresh) = (Assignment::new(), Assignment::new(), Assignment::new());
        let mut unreleased = false;
        let topics: BTreeSet<&TopicId> = self.plan.keys().chain(current.assigned.keys()).collect();
        let none = BTreeSet::new();
        for topic in topics {
            let planned = self.plan.get(topic).unwrap_or(&none);
            let has = current.assigned.get(topic).unwrap_or(&none);
            let (free, owned): (Vec<i32>, Vec<i32>) =
                planned.difference(has).partition(|partition| !(self.is_owned)(*topic, **partition));
            unreleased |= !owned.is_empty();
            insert(&mut kept, *topic, has.intersection(planned).copied());
            insert(&mut revoked, *topic, has.difference(planned).copied());
            insert(&mut fresh, *topic, free);
        }
        if !revoked.is_empty() && self.still_has(&revoked) {
            let (state, previous_epoch) = (MemberState::Unrevoked, current.epoch);
            return Current { epoch, previous_epoch, state, assigned: kept, revoked };
        }
        for (topic, partitions) in fresh {
            kept.entry(topic).or_default().extend(partitions);
        }
        Current {
            epoch: self.plan_epoch,
            previous_epoch: current.epoch,
            state: if unreleased { MemberState::Unreleased } else { MemberState::Stable },
            assigned: kept,
            revoked: Assignment::new(),
        }
    }
}

fn insert(assignment: &mut Assignment, topic: TopicId, partitions: impl IntoIterator<Item = i32>) {
    let partitions: BTreeSet<i32> = partitions.into_iter().collect();
    if !partitions.is_empty() {
        assignment.insert(topic, partitions);
    }
}

/// Whether a member in `epoch` is the one we know; one that missed our last answer may repeat itself, as long as it has
/// nothing that it was not told to have.
pub(super) fn validate_epoch(
    member: &Member,
    epoch: i32,
    owned: Option<&OwnedPartitions>,
) -> Result<(), GroupError> {
    let current = &member.current;
    let repeats = || {
        let within = |(topic, partitions): &(TopicId, Vec<i32>)| {
            let assigned = current.assigned.get(topic);
            assigned.is_some_and(|assigned| partitions.iter().all(|it| assigned.contains(it)))
        };
        epoch == current.previous_epoch && owned.is_some_and(|owned| owned.iter().all(within))
    };
    match epoch == current.epoch || (epoch < current.epoch && repeats()) {
        true => Ok(()),
        false => Err(GroupError::FencedMemberEpoch),
    }
}

/// What is owned, by name, in the ids of topics that exist.
pub(super) fn by_id(owned: &[(Arc<str>, Vec<i32>)], id: impl Fn(&str) -> Option<TopicId>) -> OwnedPartitions {
    owned.iter().filter_map(|(topic, partitions)| Some((id(topic)?, partitions.clone()))).collect()
}
