//! One group: its members, by one protocol or the other, and its offsets, which both have in common.

use std::collections::BTreeMap;
use std::sync::Arc;

use storage::types::{TimestampMs, TopicPartition};

use super::command::GroupListing;
use super::config::TOMBSTONES_MAX;
use super::consumer::ConsumerGroup;
use super::offsets::Offsets;
use super::record::{GroupId, OffsetCommit};
use super::roster::{CONSUMER_PROTOCOL, Roster, State};
use crate::time::Monotonic;

pub(super) struct Group {
    pub(super) members: Membership,
    pub(super) offsets: Offsets,
    /// The group's entry in `Groups::timers`; not after the first of its deadlines.
    pub(super) timer: Option<Monotonic>,
}

pub(super) enum Membership {
    Classic(Roster),
    Consumer(ConsumerGroup),
}

impl Group {
    /// Nothing is known of it.
    pub(super) fn blank() -> Group {
        let members = Membership::Classic(Roster::empty(None));
        Group { members, offsets: Offsets::default(), timer: None }
    }

    pub(super) fn roster(&self) -> Option<&Roster> {
        match &self.members {
            Membership::Classic(roster) => Some(roster),
            Membership::Consumer(_) => None,
        }
    }

    pub(super) fn consumer(&self) -> Option<&ConsumerGroup> {
        match &self.members {
            Membership::Classic(_) => None,
            Membership::Consumer(group) => Some(group),
        }
    }

    /// What `record`s of a consumer group are applied to: the group becomes one, if it was none.
    pub(super) fn consumer_mut(&mut self) -> Option<&mut ConsumerGroup> {
        if let Membership::Classic(_) = self.members {
            self.members = Membership::Consumer(ConsumerGroup::default());
        }
        match &mut self.members {
            Membership::Classic(_) => None,
            Membership::Consumer(group) => Some(group),
        }
    }

    /// Without members.
    pub(super) fn is_empty(&self) -> bool {
        match &self.members {
            Membership::Classic(roster) => roster.state == State::Empty,
            Membership::Consumer(group) => group.is_empty(),
        }
    }

    /// A group that only ever held offsets, and holds none any more.
    pub(super) fn is_blank(&self) -> bool {
        self.roster().is_some_and(Roster::is_blank) && self.offsets.is_empty()
    }

    /// Whether its members say which topics they subscribe to.
    pub(super) fn tells_subscriptions(&self) -> bool {
        self.roster().is_none_or(Roster::is_consumer_group)
    }

    pub(super) fn is_subscribed_to(&self, topic: &str) -> bool {
        match &self.members {
            Membership::Classic(roster) => roster.state != State::Empty && roster.is_subscribed_to(topic),
            Membership::Consumer(group) => group.is_subscribed_to(topic),
        }
    }

    pub(super) fn list(&self, id: &GroupId) -> GroupListing {
        let (kind, protocol_type, state) = match &self.members {
            Membership::Classic(roster) => {
                let protocol_type = roster.protocol_type.clone().unwrap_or_else(|| Arc::from(""));
                ("classic", protocol_type, roster.state.name())
            }
            Membership::Consumer(group) => ("consumer", Arc::from(CONSUMER_PROTOCOL), group.state()),
        };
        GroupListing { group: Arc::clone(id), kind, protocol_type, state }
    }

    /// When something is due, at the earliest.
    pub(super) fn next_deadline(&self) -> Option<Monotonic> {
        match &self.members {
            Membership::Classic(roster) => roster.next_deadline(),
            Membership::Consumer(group) => group.next_deadline(),
        }
    }

    /// The offsets whose retention is over, [`TOMBSTONES_MAX`] at most.
    ///
    /// Counted from the commit for consumer groups, which keep what they subscribe to.
    pub(super) fn expired_offsets(&self, wall: TimestampMs, retention_ms: i64) -> Vec<TopicPartition> {
        match &self.members {
            Membership::Classic(roster) => self.offsets.expired(roster, wall, retention_ms, TOMBSTONES_MAX),
            Membership::Consumer(group) => {
                let over = |commit: &OffsetCommit| match commit.expires_at {
                    Some(at) => wall >= at,
                    None => wall.0.saturating_sub(commit.committed_at.0) >= retention_ms,
                };
                let expired = self.offsets.committed().filter(|(partition, commit)| {
                    !group.is_subscribed_to(&partition.topic)
                        && over(commit)
                        && !self.offsets.is_pending(partition)
                });
                expired.map(|(partition, _)| partition.clone()).take(TOMBSTONES_MAX).collect()
            }
        }
    }

    /// Panics where the group contradicts itself. For tests.
    pub(super) fn check(&self) {
        match &self.members {
            Membership::Classic(roster) => roster.check(),
            Membership::Consumer(group) => group.check(),
        }
    }
}

pub(super) type AllGroups = BTreeMap<GroupId, Group>;
