//! Who is in a group, and where its rebalance stands: everything about a group except its offsets.
//!
//! Cheap to copy, however many members it has, because a decision works on a copy (see `draft`): a copy shares with its
//! original whatever neither has changed. Always true: `supported` counts the members that list a protocol, `awaiting_join`
//! those with a parked join, `static_members` maps exactly the instance ids of the members, and no member's deadline is
//! before `soonest`. Knows no time beyond the deadlines it holds, and no log.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use rpds::{RedBlackTreeMapSync as SharedMap, RedBlackTreeSetSync as SharedSet};
use storage::types::TimestampMs;

use super::command::{GroupDescription, JoinedMember, MemberDescription};
use super::record::{GroupMetadata, MemberId, MemberMetadata};
use super::subscription;
use crate::machine::Ticket;
use crate::time::Monotonic;

/// The protocol type whose metadata the coordinator can read.
pub(super) const CONSUMER_PROTOCOL: &str = "consumer";

/// Where a group is in its life. A dead group is simply not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// No members; lives on for its offsets.
    Empty,
    /// Members are asked to join again; joins are parked.
    PreparingRebalance,
    /// Joined; the leader's assignment is awaited, syncs are parked.
    CompletingRebalance,
    Stable,
}

impl State {
    pub(super) fn name(self) -> &'static str {
        match self {
            State::Empty => "Empty",
            State::PreparingRebalance => "PreparingRebalance",
            State::CompletingRebalance => "CompletingRebalance",
            State::Stable => "Stable",
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) instance_id: Option<Arc<str>>,
    pub(super) client_id: Arc<str>,
    pub(super) client_host: Arc<str>,
    pub(super) rebalance_timeout_ms: i32,
    pub(super) session_timeout_ms: i32,
    /// Preferred first. Of a loaded member only the chosen one is known.
    pub(super) protocols: Arc<[(Arc<str>, Bytes)]>,
    pub(super) assignment: Bytes,
    pub(super) parked_join: Option<Ticket>,
    pub(super) parked_sync: Option<Ticket>,
    /// Has not completed its first join: a parked join does not keep it alive for ever.
    pub(super) is_new: bool,
    /// When it is dropped unless heard of before.
    pub(super) deadline: Option<Monotonic>,
}

impl Member {
    /// A member that waits for us owes us no heartbeat.
    pub(super) fn owes_heartbeat(&self) -> bool {
        self.is_new || (self.parked_join.is_none() && self.parked_sync.is_none())
    }

    /// What it said of itself for `protocol`; empty where it does not know it.
    pub(super) fn metadata(&self, protocol: &str) -> Bytes {
        let found = self.protocols.iter().find(|(name, _)| &**name == protocol);
        found.map(|(_, metadata)| metadata.clone()).unwrap_or_default()
    }

    pub(super) fn matches(&self, protocols: &[(Arc<str>, Bytes)]) -> bool {
        *self.protocols == *protocols
    }
}

/// The wait for members to join.
#[derive(Clone, Copy, Debug)]
pub(super) struct RebalanceTimer {
    pub(super) at: Monotonic,
    /// Set while a formerly empty group waits for more members to turn up.
    pub(super) initial: Option<InitialDelay>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct InitialDelay {
    /// The delay now running. Unit: ms.
    pub(super) delay_ms: i64,
    /// How much longer it may be drawn out. Unit: ms.
    pub(super) remaining_ms: i64,
}

#[derive(Clone, Debug)]
pub struct Roster {
    pub(super) state: State,
    pub(super) state_since: Option<TimestampMs>,
    pub(super) generation: i32,
    pub(super) protocol_type: Option<Arc<str>>,
    pub(super) protocol: Option<Arc<str>>,
    pub(super) leader: Option<MemberId>,
    pub(super) members: SharedMap<MemberId, Arc<Member>>,
    pub(super) static_members: SharedMap<Arc<str>, MemberId>,
    supported: BTreeMap<Arc<str>, usize>,
    pub(super) awaiting_join: usize,
    /// Ids handed out but not yet used, and when they lapse.
    pub(super) pending: SharedMap<MemberId, Monotonic>,
    /// Members that have not yet sent the SyncGroup of this generation.
    pub(super) pending_sync: SharedSet<MemberId>,
    pub(super) sync_deadline: Option<Monotonic>,
    /// No deadline of a member or of an id that was handed out is before this; it may be later, see [`Roster::settle`].
    soonest: Option<Monotonic>,
    pub(super) rebalance: Option<RebalanceTimer>,
    pub(super) new_member_added: bool,
    /// Of a consumer group whose members' metadata could be read.
    pub(super) subscribed: Option<Arc<BTreeSet<Arc<str>>>>,
}

impl Roster {
    pub(super) fn empty(state_since: Option<TimestampMs>) -> Roster {
        Roster {
            state: State::Empty,
            state_since,
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: SharedMap::new_sync(),
            static_members: SharedMap::new_sync(),
            supported: BTreeMap::new(),
            awaiting_join: 0,
            pending: SharedMap::new_sync(),
            pending_sync: SharedSet::new_sync(),
            sync_deadline: None,
            soonest: None,
            rebalance: None,
            new_member_added: false,
            subscribed: None,
        }
    }

    /// Nothing that its log would tell of: never had a member that came through a rebalance.
    pub(super) fn is_blank(&self) -> bool {
        self.state == State::Empty && self.generation == 0 && self.protocol_type.is_none()
    }

    pub(super) fn from_record(metadata: &GroupMetadata) -> Roster {
        let mut roster = Roster::empty(metadata.state_since);
        roster.generation = metadata.generation;
        roster.protocol_type.clone_from(&metadata.protocol_type);
        roster.protocol.clone_from(&metadata.protocol);
        for member in &metadata.members {
            let protocol = metadata.protocol.clone().unwrap_or_else(|| Arc::from(""));
            roster.add(
                Arc::clone(&member.member_id),
                Member {
                    instance_id: member.instance_id.clone(),
                    client_id: Arc::clone(&member.client_id),
                    client_host: Arc::clone(&member.client_host),
                    rebalance_timeout_ms: member.rebalance_timeout_ms,
                    session_timeout_ms: member.session_timeout_ms,
                    protocols: Arc::from([(protocol, member.subscription.clone())]),
                    assignment: member.assignment.clone(),
                    parked_join: None,
                    parked_sync: None,
                    is_new: false,
                    deadline: None,
                },
            );
        }
        roster.leader = metadata.leader.clone().filter(|leader| roster.members.contains_key(leader));
        if !roster.members.is_empty() {
            roster.state = State::Stable;
            roster.leader = roster.leader.or_else(|| roster.members.keys().next().cloned());
        }
        roster.subscribed = roster.subscribed_topics();
        roster
    }

    pub(super) fn to_record(&self) -> GroupMetadata {
        let members = self.members.iter().map(|(member_id, member)| MemberMetadata {
            member_id: Arc::clone(member_id),
            instance_id: member.instance_id.clone(),
            client_id: Arc::clone(&member.client_id),
            client_host: Arc::clone(&member.client_host),
            rebalance_timeout_ms: member.rebalance_timeout_ms,
            session_timeout_ms: member.session_timeout_ms,
            subscription: member.metadata(self.protocol.as_deref().unwrap_or("")),
            assignment: member.assignment.clone(),
        });
        GroupMetadata {
            protocol_type: self.protocol_type.clone(),
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            state_since: self.state_since,
            members: members.collect(),
        }
    }

    pub(super) fn member_mut(&mut self, member_id: &str) -> Option<&mut Member> {
        self.members.get_mut(member_id).map(Arc::make_mut)
    }

    /// Takes in a member; of the first one the group takes the protocol type from the caller.
    pub(super) fn add(&mut self, member_id: MemberId, member: Member) {
        if let Some(instance_id) = &member.instance_id {
            self.static_members.insert_mut(Arc::clone(instance_id), Arc::clone(&member_id));
        }
        self.leader.get_or_insert_with(|| Arc::clone(&member_id));
        self.pending.remove_mut(&member_id);
        self.count_protocols(&member.protocols);
        self.awaiting_join += usize::from(member.parked_join.is_some());
        self.members.insert_mut(member_id, Arc::new(member));
    }

    /// Takes out a member, pending or not. The caller answers what it had parked.
    pub(super) fn remove(&mut self, member_id: &str) -> Option<Arc<Member>> {
        self.pending.remove_mut(member_id);
        self.pending_sync.remove_mut(member_id);
        let member = self.members.get(member_id).cloned()?;
        self.members.remove_mut(member_id);
        self.uncount_protocols(&member.protocols);
        self.awaiting_join -= usize::from(member.parked_join.is_some());
        if let Some(instance_id) = &member.instance_id {
            self.static_members.remove_mut(instance_id);
        }
        if self.leader.as_deref() == Some(member_id) {
            self.leader = self.members.keys().next().cloned();
        }
        Some(member)
    }

    /// Gives a static member its new id; everything else of it stays. The caller answers what it had parked.
    pub(super) fn rename(&mut self, instance_id: &Arc<str>, old: &str, new: &MemberId) {
        let Some(member) = self.members.get(old).cloned() else { return };
        self.members.remove_mut(old);
        self.members.insert_mut(Arc::clone(new), member);
        if self.leader.as_deref() == Some(old) {
            self.leader = Some(Arc::clone(new));
        }
        if self.pending_sync.remove_mut(old) {
            self.pending_sync.insert_mut(Arc::clone(new));
        }
        self.static_members.insert_mut(Arc::clone(instance_id), Arc::clone(new));
    }

    pub(super) fn set_protocols(&mut self, member_id: &str, protocols: &[(Arc<str>, Bytes)]) {
        let Some(member) = self.members.get(member_id) else { return };
        let old = Arc::clone(&member.protocols);
        self.uncount_protocols(&old);
        self.count_protocols(protocols);
        if let Some(member) = self.member_mut(member_id) {
            member.protocols = Arc::from(protocols);
        }
    }

    /// Parks a join; the ticket that waited before, if any, comes back.
    pub(super) fn park_join(&mut self, member_id: &str, ticket: Ticket) -> Option<Ticket> {
        let before = self.member_mut(member_id)?.parked_join.replace(ticket);
        self.awaiting_join += usize::from(before.is_none());
        before
    }

    pub(super) fn unpark_join(&mut self, member_id: &str) -> Option<Ticket> {
        let ticket = self.member_mut(member_id)?.parked_join.take();
        self.awaiting_join -= usize::from(ticket.is_some());
        ticket
    }

    fn count_protocols(&mut self, protocols: &[(Arc<str>, Bytes)]) {
        for name in distinct(protocols) {
            *self.supported.entry(Arc::clone(name)).or_default() += 1;
        }
    }

    fn uncount_protocols(&mut self, protocols: &[(Arc<str>, Bytes)]) {
        for name in distinct(protocols) {
            if let Some(count) = self.supported.get_mut(name) {
                *count -= 1;
                if *count == 0 {
                    self.supported.remove(name);
                }
            }
        }
    }

    /// Whether a member with these protocols can be in the group.
    pub(super) fn supports(&self, protocol_type: &str, protocols: &[(Arc<str>, Bytes)]) -> bool {
        if self.state == State::Empty {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        self.protocol_type.as_deref() == Some(protocol_type)
            && protocols
                .iter()
                .any(|(name, _)| self.supported.get(name).copied().unwrap_or(0) == self.members.size())
    }

    /// Each member votes for the first of its protocols that all know; the most votes win, then the first name.
    pub(super) fn select_protocol(&self) -> Option<Arc<str>> {
        let mut votes: BTreeMap<&Arc<str>, usize> = BTreeMap::new();
        for member in self.members.values() {
            let common = |name: &Arc<str>| self.supported.get(name) == Some(&self.members.size());
            if let Some((name, _)) = member.protocols.iter().find(|(name, _)| common(name)) {
                *votes.entry(name).or_default() += 1;
            }
        }
        let most = votes.values().copied().max()?;
        votes.into_iter().find(|(_, count)| *count == most).map(|(name, _)| Arc::clone(name))
    }

    pub(super) fn is_leader(&self, member_id: &str) -> bool {
        self.leader.as_deref() == Some(member_id)
    }

    pub(super) fn all_joined(&self) -> bool {
        self.members.size() == self.awaiting_join && self.pending.is_empty()
    }

    /// The longest any member asked for. Unit: ms.
    pub(super) fn rebalance_timeout_ms(&self) -> i64 {
        let longest = self.members.values().map(|member| member.rebalance_timeout_ms).max();
        i64::from(longest.unwrap_or(0).max(0))
    }

    pub(super) fn is_subscribed_to(&self, topic: &str) -> bool {
        self.subscribed.as_ref().is_none_or(|topics| topics.contains(topic))
    }

    pub(super) fn is_consumer_group(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER_PROTOCOL)
    }

    pub(super) fn subscribed_topics(&self) -> Option<Arc<BTreeSet<Arc<str>>>> {
        if !self.is_consumer_group() {
            return None;
        }
        if self.members.is_empty() {
            return Some(Arc::default());
        }
        let protocol = self.protocol.as_deref()?;
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            topics.extend(subscription::topics(&member.metadata(protocol)).ok()?);
        }
        Some(Arc::new(topics))
    }

    /// What the leader is told of all members.
    pub(super) fn joined_members(&self) -> Vec<JoinedMember> {
        let protocol = self.protocol.as_deref().unwrap_or("");
        let told = self.members.iter().map(|(member_id, member)| JoinedMember {
            member_id: Arc::clone(member_id),
            instance_id: member.instance_id.clone(),
            metadata: member.metadata(protocol),
        });
        told.collect()
    }

    pub(super) fn describe(&self) -> GroupDescription {
        let stable = self.state == State::Stable;
        let protocol = self.protocol.as_ref().filter(|_| stable);
        let members = self.members.iter().map(|(member_id, member)| MemberDescription {
            member_id: Arc::clone(member_id),
            instance_id: member.instance_id.clone(),
            client_id: Arc::clone(&member.client_id),
            client_host: Arc::clone(&member.client_host),
            metadata: protocol.map(|protocol| member.metadata(protocol)).unwrap_or_default(),
            assignment: if stable { member.assignment.clone() } else { Bytes::new() },
        });
        GroupDescription {
            state: self.state.name(),
            protocol_type: self.protocol_type.clone().unwrap_or_else(|| Arc::from("")),
            protocol: protocol.cloned().unwrap_or_else(|| Arc::from("")),
            members: members.collect(),
        }
    }

    /// The member is dropped then unless it is heard of before; `None`: it owes no sign of life.
    pub(super) fn set_deadline(&mut self, member_id: &str, at: Option<Monotonic>) {
        if let Some(member) = self.member_mut(member_id) {
            member.deadline = at;
            self.soonest = [self.soonest, at].into_iter().flatten().min();
        }
    }

    /// Hands out an id that lapses unless it is used before.
    pub(super) fn reserve(&mut self, member_id: MemberId, lapses: Monotonic) {
        self.pending.insert_mut(member_id, lapses);
        self.soonest = [self.soonest, Some(lapses)].into_iter().flatten().min();
    }

    /// Looks at all deadlines, as nothing else does: those that have moved back meanwhile are noticed here.
    pub(super) fn settle(&mut self) {
        let members = self.members.values().filter_map(|member| member.deadline);
        self.soonest = members.chain(self.pending.values().copied()).min();
    }

    /// When something is due, at the earliest. It may then turn out to be nothing.
    pub(super) fn next_deadline(&self) -> Option<Monotonic> {
        let rebalance = self.rebalance.map(|timer| timer.at);
        self.soonest.into_iter().chain(rebalance).chain(self.sync_deadline).min()
    }

    /// Panics where what the module's header promises is broken. For tests.
    pub fn check(&self) {
        let awaiting = self.members.values().filter(|member| member.parked_join.is_some()).count();
        assert_eq!(self.awaiting_join, awaiting, "parked joins are counted");
        let statics = self.members.values().filter(|member| member.instance_id.is_some()).count();
        assert_eq!(self.static_members.size(), statics, "static members are mapped");
        assert!(self.static_members.values().all(|member| self.members.contains_key(member)));
        assert!(
            self.leader.as_ref().is_none_or(|leader| self.members.contains_key(leader)),
            "the leader is a member"
        );
        let deadlines = self.members.values().filter_map(|member| member.deadline);
        let mut deadlines = deadlines.chain(self.pending.values().copied());
        assert!(
            deadlines.all(|at| self.soonest.is_some_and(|soonest| soonest <= at)),
            "no deadline is missed"
        );
        assert!(self.pending_sync.iter().all(|member| self.members.contains_key(member)));
        assert!(self.pending.keys().all(|member| !self.members.contains_key(member)));
        assert_eq!(
            self.rebalance.is_some(),
            self.state == State::PreparingRebalance,
            "a rebalance has its timer"
        );
        match self.state {
            State::Empty => assert!(self.members.is_empty()),
            State::Stable | State::CompletingRebalance => assert!(!self.members.is_empty() && awaiting == 0),
            State::PreparingRebalance => {}
        }
        let synced = self.members.values().all(|member| member.parked_sync.is_none());
        assert!(synced || self.state == State::CompletingRebalance, "syncs wait only for the leader");
    }
}

fn distinct(protocols: &[(Arc<str>, Bytes)]) -> BTreeSet<&Arc<str>> {
    protocols.iter().map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member() -> Member {
        Member {
            instance_id: None,
            client_id: Arc::from("client"),
            client_host: Arc::from("/127.0.0.1"),
            rebalance_timeout_ms: 60_000,
            session_timeout_ms: 45_000,
            protocols: Arc::from([(Arc::from("range"), Bytes::new())]),
            assignment: Bytes::new(),
            parked_join: None,
            parked_sync: None,
            is_new: false,
            deadline: None,
        }
    }

    fn group_of(members: usize) -> Roster {
        let mut roster = Roster { state: State::Stable, ..Roster::empty(None) };
        for number in 0..members {
            roster.add(Arc::from(format!("member-{number}")), member());
        }
        roster
    }

    #[test]
    fn a_copy_in_which_one_member_has_changed_shares_all_others() {
        let original = group_of(1_000);
        let mut copy = original.clone();
        copy.park_join("member-17", Ticket(1));
        let pairs = || original.members.values().zip(copy.members.values());
        assert_eq!(pairs().filter(|(before, after)| Arc::ptr_eq(before, after)).count(), 999);
        assert_eq!((original.awaiting_join, copy.awaiting_join), (0, 1));
        original.check();
    }

    #[test]
    fn a_deadline_that_moved_back_is_noticed_when_all_are_looked_at() {
        let at = |ms| Some(Monotonic(ms));
        let mut roster = group_of(2);
        roster.set_deadline("member-0", at(10));
        roster.set_deadline("member-1", at(30));
        roster.set_deadline("member-0", at(40));
        assert_eq!(roster.next_deadline(), at(10), "looking too early costs less than looking each time");
        roster.settle();
        assert_eq!(roster.next_deadline(), at(30));
        roster.set_deadline("member-1", None);
        roster.settle();
        assert_eq!(roster.next_deadline(), at(40));
    }
}
