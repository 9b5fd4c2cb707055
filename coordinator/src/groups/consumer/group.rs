//! One consumer group: what its records say, and the clocks of its members.
//!
//! Reads records in any order that compaction leaves: a record about a member that is not known yet makes it known,
//! one that takes back what is not there changes nothing. Always true: `subscribed` counts the members that subscribe
//! to a topic, `planned` and `owners` say the same as the members' plans and assignments.

use std::collections::BTreeMap;
use std::sync::Arc;

use storage::types::TopicId;

use super::assignors::{Assignment, Assignor, in_hash_order, table_grown, text_hash};
use super::command::{ConsumerDescription, ConsumerMemberDescription};
use super::config::ConsumerConfig;
use super::record::{ConsumerRecord, Current, MemberState, Subscription};
use super::topics::TopicInfo;
use crate::groups::record::MemberId;
use crate::groups::refusal::GroupError;
use crate::time::Monotonic;

/// The epoch of a member that leaves.
pub(super) const LEAVES: i32 = -1;
/// The epoch of a static member that leaves and will be back.
pub(super) const WILL_BE_BACK: i32 = -2;

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Member {
    pub(super) subscription: Arc<Subscription>,
    pub(super) current: Current,
}

impl Member {
    /// Has all that the plan of `epoch` gives it.
    pub(super) fn has_arrived_at(&self, epoch: i32) -> bool {
        self.current.state == MemberState::Stable && self.current.epoch == epoch
    }

    pub(super) fn is_classic(&self) -> bool {
        self.subscription.classic.is_some()
    }
}

/// By when a member has to have done what is expected of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// To be heard of.
    pub(super) session: Option<Monotonic>,
    /// To have given up what was revoked, and so to have left this epoch.
    pub(super) revocation: Option<(Monotonic, i32)>,
    /// A classic member: to have joined again.
    pub(super) join: Option<Monotonic>,
    /// A classic member: to have asked for its assignment.
    pub(super) sync: Option<Monotonic>,
}

impl Clock {
    pub(super) fn next(&self) -> Option<Monotonic> {
        let revocation = self.revocation.map(|(at, _)| at);
        [self.session, revocation, self.join, self.sync].into_iter().flatten().min()
    }

    /// Whatever is due before `at` waits until then.
    fn postpone(&mut self, until: Monotonic) {
        let later = |at: &mut Monotonic| *at = (*at).max(until);
        self.session.iter_mut().for_each(later);
        self.join.iter_mut().for_each(later);
        self.sync.iter_mut().for_each(later);
        self.revocation.iter_mut().for_each(|(at, _)| later(at));
    }
}

/// What changes in a group without a record.
#[derive(Clone, Debug)]
pub enum ConsumerNote {
    Clock(MemberId, Clock),
    /// The subscribed topics are as of this state of the cluster.
    Seen(u64),
    /// Nothing was due after all, or could not be written down: look again then.
    LookAgain(Monotonic),
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConsumerGroup {
    pub(super) epoch: i32,
    pub(super) plan_epoch: i32,
    pub(super) members: BTreeMap<MemberId, Arc<Member>>,
    pub(super) static_members: BTreeMap<Arc<str>, MemberId>,
    pub(super) subscribed: BTreeMap<Arc<str>, usize>,
    pub(super) topics: BTreeMap<Arc<str>, TopicInfo>,
    pub(super) plan: BTreeMap<MemberId, Arc<Assignment>>,
    pub(super) planned: BTreeMap<(TopicId, i32), MemberId>,
    pub(super) owners: BTreeMap<(TopicId, i32), MemberId>,
    pub(super) clocks: BTreeMap<MemberId, Clock>,
    pub(super) seen: Option<u64>,
}

impl ConsumerGroup {
    pub(in crate::groups) fn apply(&mut self, record: &ConsumerRecord) {
        match record {
            ConsumerRecord::Epoch(epoch) => self.epoch = epoch.unwrap_or(0),
            ConsumerRecord::Topics(topics) => self.topics = topics.clone().unwrap_or_default(),
            ConsumerRecord::PlanEpoch(epoch) => self.plan_epoch = epoch.unwrap_or(LEAVES),
            ConsumerRecord::Member(member_id, Some(subscription)) => {
                self.subscribe(member_id, subscription);
            }
            ConsumerRecord::Member(member_id, None) => self.remove(member_id),
            ConsumerRecord::Plan(member_id, plan) => self.set_plan(member_id, plan.as_ref()),
            ConsumerRecord::Current(member_id, Some(current)) => self.set_current(member_id, current),
            ConsumerRecord::Current(member_id, None) => {
                if self.members.contains_key(member_id) {
                    let gone = Current { epoch: LEAVES, previous_epoch: LEAVES, ..Current::default() };
                    self.set_current(member_id, &gone);
                }
            }
        }
    }

    pub(in crate::groups) fn note(&mut self, note: ConsumerNote) {
        match note {
            ConsumerNote::Clock(member_id, clock) => {
                if self.members.contains_key(&member_id) {
                    self.clocks.insert(member_id, clock);
                }
            }
            ConsumerNote::Seen(version) => self.seen = Some(version),
            ConsumerNote::LookAgain(at) => self.clocks.values_mut().for_each(|clock| clock.postpone(at)),
        }
    }

    fn subscribe(&mut self, member_id: &MemberId, subscription: &Arc<Subscription>) {
        let member = self.members.entry(Arc::clone(member_id)).or_default();
        let before = Arc::clone(&member.subscription);
        Arc::make_mut(member).subscription = Arc::clone(subscription);
        self.uncount(&before);
        for topic in &subscription.topics {
            *self.subscribed.entry(Arc::clone(topic)).or_default() += 1;
        }
        if let Some(instance_id) = &subscription.instance_id {
            self.static_members.insert(Arc::clone(instance_id), Arc::clone(member_id));
        }
    }

    fn uncount(&mut self, subscription: &Subscription) {
        for topic in &subscription.topics {
            if let Some(count) = self.subscribed.get_mut(topic) {
                *count -= 1;
                if *count == 0 {
                    self.subscribed.remove(topic);
                }
            }
        }
    }

    fn remove(&mut self, member_id: &MemberId) {
        let Some(member) = self.members.remove(member_id) else { return };
        self.uncount(&member.subscription);
        self.release(member_id, &member.current);
        self.clocks.remove(member_id);
        if let Some(instance_id) = &member.subscription.instance_id
            && self.static_members.get(instance_id) == Some(member_id)
        {
            self.static_members.remove(instance_id);
        }
    }

    fn set_current(&mut self, member_id: &MemberId, current: &Current) {
        let member = self.members.entry(Arc::clone(member_id)).or_default();
        let before = std::mem::replace(&mut Arc::make_mut(member).current, current.clone());
        self.release(member_id, &before);
        for partition in partitions(&current.assigned).chain(partitions(&current.revoked)) {
            self.owners.insert(partition, Arc::clone(member_id));
        }
    }

    /// Another may have the partition by now, where compaction has left the records in that order.
    fn release(&mut self, member_id: &MemberId, current: &Current) {
        for partition in partitions(&current.assigned).chain(partitions(&current.revoked)) {
            if self.owners.get(&partition) == Some(member_id) {
                self.owners.remove(&partition);
            }
        }
    }

    fn set_plan(&mut self, member_id: &MemberId, plan: Option<&Arc<Assignment>>) {
        let before = match plan {
            Some(plan) => self.plan.insert(Arc::clone(member_id), Arc::clone(plan)),
            None => self.plan.remove(member_id),
        };
        for partition in before.iter().flat_map(|before| partitions(before)) {
            if self.planned.get(&partition) == Some(member_id) {
                self.planned.remove(&partition);
            }
        }
        for partition in plan.into_iter().flat_map(|plan| partitions(plan)) {
            self.planned.insert(partition, Arc::clone(member_id));
        }
    }

    pub(in crate::groups) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub(in crate::groups) fn is_subscribed_to(&self, topic: &str) -> bool {
        self.subscribed.contains_key(topic)
    }

    pub(in crate::groups) fn state(&self) -> &'static str {
        if self.members.is_empty() {
            "Empty"
        } else if self.epoch > self.plan_epoch {
            "Assigning"
        } else if self.members.values().any(|member| !member.has_arrived_at(self.plan_epoch)) {
            "Reconciling"
        } else {
            "Stable"
        }
    }

    pub(super) fn member(&self, member_id: &str) -> Result<&Arc<Member>, GroupError> {
        self.members.get(member_id).ok_or(GroupError::UnknownMember)
    }

    pub(super) fn static_member(&self, instance_id: &str) -> Option<(&MemberId, &Arc<Member>)> {
        let member_id = self.static_members.get(instance_id)?;
        Some((member_id, self.members.get(member_id)?))
    }

    /// The id a static member has now is the one whose plan counts.
    pub(super) fn plan_of(&self, member_id: &str, instance_id: Option<&Arc<str>>) -> Arc<Assignment> {
        let known = match instance_id {
            None => Some(member_id),
            Some(instance_id) => self.static_members.get(instance_id).map(|member_id| &**member_id),
        };
        known.and_then(|member_id| self.plan.get(member_id)).cloned().unwrap_or_default()
    }

    /// The assignor most members ask for; `changed` counts as asking for what is said there.
    pub(super) fn assignor(
        &self,
        config: &ConsumerConfig,
        changed: Option<(&MemberId, &Subscription)>,
    ) -> Assignor {
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        let others = self.members.iter().filter(|(id, _)| changed.is_none_or(|(changed, _)| changed != *id));
        let others = others.filter_map(|(_, member)| member.subscription.assignor.as_deref());
        for name in others.chain(changed.and_then(|(_, subscription)| subscription.assignor.as_deref())) {
            *votes.entry(name).or_default() += 1;
        }
        let most = votes.values().copied().max();
        // Between equals the order of Kafka's table decides.
        let table = table_grown(votes.len());
        let mut named = in_hash_order(votes, |(name, _)| text_hash(name), table).into_iter();
        let winner = named.find(|(_, count)| Some(*count) == most);
        winner.and_then(|(name, _)| config.assignor(name)).unwrap_or_else(|| config.default_assignor())
    }

    /// Whether an offset may be committed, or read by a member, in `epoch`.
    pub(in crate::groups) fn validate_epoch(&self, member_id: &str, epoch: i32) -> Result<(), GroupError> {
        let member = self.member(member_id)?;
        match member.current.epoch == epoch {
            true => Ok(()),
            false if member.is_classic() => Err(GroupError::IllegalGeneration),
            false => Err(GroupError::StaleMemberEpoch),
        }
    }

    /// Whether OffsetCommit before version 9, which knows no member epochs, is too old for the member.
    pub(in crate::groups) fn needs_epochs(&self, member_id: &str) -> bool {
        self.members.get(member_id).is_some_and(|member| !member.is_classic())
    }

    pub(in crate::groups) fn describe(&self, config: &ConsumerConfig) -> ConsumerDescription {
        let members = self.members.iter().map(|(member_id, member)| ConsumerMemberDescription {
            member_id: Arc::clone(member_id),
            instance_id: member.subscription.instance_id.clone(),
            rack_id: member.subscription.rack_id.clone(),
            epoch: member.current.epoch,
            client_id: Arc::clone(&member.subscription.client_id),
            client_host: Arc::clone(&member.subscription.client_host),
            topics: member.subscription.topics.clone(),
            regex: member.subscription.regex.clone(),
            assigned: member.current.assigned.clone(),
            planned: self.plan.get(member_id).map(|plan| (**plan).clone()).unwrap_or_default(),
        });
        ConsumerDescription {
            state: self.state(),
            epoch: self.epoch,
            plan_epoch: self.plan_epoch,
            assignor: Arc::from(self.assignor(config, None).name()),
            members: members.collect(),
        }
    }

    /// What takes the whole group back, in Kafka's order.
    pub(in crate::groups) fn tombstones(&self) -> Vec<ConsumerRecord> {
        let ids = || self.members.keys().map(Arc::clone);
        let mut records: Vec<ConsumerRecord> = Vec::with_capacity(self.members.len() * 3 + 3);
        records.extend(ids().map(|member_id| ConsumerRecord::Current(member_id, None)));
        records.extend(ids().map(|member_id| ConsumerRecord::Plan(member_id, None)));
        records.push(ConsumerRecord::PlanEpoch(None));
        records.extend(ids().map(|member_id| ConsumerRecord::Member(member_id, None)));
        records.extend([ConsumerRecord::Topics(None), ConsumerRecord::Epoch(None)]);
        records
    }

    /// When something is due, at the earliest.
    pub(in crate::groups) fn next_deadline(&self) -> Option<Monotonic> {
        self.clocks.values().filter_map(Clock::next).min()
    }

    /// When a member has something due, at the earliest.
    pub(in crate::groups) fn deadline_of(&self, member_id: &str) -> Option<Monotonic> {
        self.clocks.get(member_id)?.next()
    }

    /// All of it that the log would tell, for comparing a replay with what lived.
    pub(in crate::groups) fn stored(&self) -> ConsumerGroup {
        ConsumerGroup { clocks: BTreeMap::new(), seen: None, ..self.clone() }
    }

    /// Panics where the group contradicts itself. For tests.
    pub(in crate::groups) fn check(&self) {
        let mut owners = BTreeMap::new();
        for (member_id, member) in &self.members {
            let current = &member.current;
            for partition in partitions(&current.assigned).chain(partitions(&current.revoked)) {
                assert!(owners.insert(partition, member_id).is_none(), "{partition:?} has one owner");
                assert_eq!(self.owners.get(&partition), Some(member_id));
            }
            assert!(current.epoch <= self.plan_epoch, "no member is ahead of the plan");
            assert!(self.clocks.contains_key(member_id), "every member is waited for");
        }
        assert_eq!(owners.len(), self.owners.len(), "nobody else owns anything");
        assert!(self.plan_epoch <= self.epoch, "a plan is made for an epoch of the group");
        let subscriptions = self.members.values().map(|member| member.subscription.topics.len());
        assert_eq!(self.subscribed.values().sum::<usize>(), subscriptions.sum(), "subscribers are counted");
        assert!(self.plan.keys().all(|member_id| self.members.contains_key(member_id)));
        let planned: usize = self.plan.values().map(|plan| partitions(plan).count()).sum();
        assert_eq!(planned, self.planned.len(), "a partition is planned for one member");
    }
}

pub(super) fn partitions(assignment: &Assignment) -> impl Iterator<Item = (TopicId, i32)> {
    assignment.iter().flat_map(|(topic, partitions)| partitions.iter().map(|partition| (*topic, *partition)))
}
