//! One decision about one consumer group in the making: what is looked at, and what comes out.
//!
//! The group itself is not touched; what shall change is written as records and notes. The steps here are those that
//! members of both protocols share: to be known, to subscribe, to get a plan and to walk towards it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::assignors::{self, Assignment, Candidate, Problem};
use super::command::OwnedPartitions;
use super::config::ConsumerConfig;
use super::group::{Clock, ConsumerGroup, ConsumerNote, Member, WILL_BE_BACK};
use super::reconciliation::{Step, validate_epoch};
use super::record::{ConsumerRecord, Current, MemberState, Subscription};
use super::topics::{ClusterTopics, TopicInfo};
use crate::groups::command::Reply;
use crate::groups::config::GroupConfig;
use crate::groups::record::{GroupId, MemberId, Record};
use crate::groups::refusal::GroupError;
use crate::groups::{Groups, Note};
use crate::machine::{Decision, Ticket};
use crate::time::Now;

pub(in crate::groups) struct Desk<'a> {
    pub(in crate::groups) config: &'a GroupConfig,
    pub(in crate::groups) topics: &'a ClusterTopics,
    pub(in crate::groups) now: Now,
    pub(in crate::groups) id: &'a GroupId,
    pub(in crate::groups) group: &'a ConsumerGroup,
    records: Vec<ConsumerRecord>,
    notes: Vec<ConsumerNote>,
}

/// Who asks: a member as it was before, under the id it has from now on.
pub(super) struct Asker {
    pub(super) member_id: MemberId,
    pub(super) before: Arc<Member>,
}

/// How a member without id, or with one that is not known, is to be treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strangers {
    Welcome,
    Refused,
}

impl<'a> Desk<'a> {
    pub(in crate::groups) fn new(
        config: &'a GroupConfig,
        topics: &'a ClusterTopics,
        now: Now,
        id: &'a GroupId,
        group: &'a ConsumerGroup,
    ) -> Self {
        Desk { config, topics, now, id, group, records: Vec::new(), notes: Vec::new() }
    }

    pub(super) fn consumer(&self) -> &'a ConsumerConfig {
        &self.config.consumer
    }

    pub(super) fn write(&mut self, record: ConsumerRecord) {
        self.records.push(record);
    }

    pub(super) fn note(&mut self, note: ConsumerNote) {
        self.notes.push(note);
    }

    pub(super) fn has_written(&self) -> bool {
        !self.records.is_empty()
    }

    pub(in crate::groups) fn finish(self, replies: Vec<(Ticket, Reply)>) -> Decision<Groups> {
        let id = self.id;
        let records = self.records.into_iter().map(|record| Record::Consumer(Arc::clone(id), record));
        let notes = self.notes.into_iter().map(|note| Note::Consumer(Arc::clone(id), note));
        Decision { records: records.collect(), notes: notes.collect(), replies }
    }

    pub(super) fn clock(&self, member_id: &str) -> Clock {
        self.group.clocks.get(member_id).copied().unwrap_or_default()
    }

    /// `group.consumer.max.size`; a member is not shut out of its own group.
    pub(super) fn has_room_for(&self, member_id: &str) -> Result<(), GroupError> {
        let max = usize::try_from(self.consumer().size_max).unwrap_or(0);
        match self.group.members.len() < max || self.group.members.contains_key(member_id) {
            true => Ok(()),
            false => Err(GroupError::GroupMaxSizeReached),
        }
    }

    /// A member without an instance id. Classic members tell no epoch.
    pub(super) fn dynamic_member(
        &self,
        member_id: &MemberId,
        strangers: Strangers,
        epoch: Option<(i32, Option<&OwnedPartitions>)>,
    ) -> Result<Asker, GroupError> {
        let before = match (self.group.members.get(member_id), strangers) {
            (Some(member), _) => Arc::clone(member),
            (None, Strangers::Welcome) => Arc::default(),
            (None, Strangers::Refused) => return Err(GroupError::UnknownMember),
        };
        if let Some((epoch, owned)) = epoch {
            validate_epoch(&before, epoch, owned)?;
        }
        Ok(Asker { member_id: Arc::clone(member_id), before })
    }

    /// A member with an instance id: it may take the place of its former self, which is written down at once.
    pub(super) fn static_member(
        &mut self,
        member_id: &MemberId,
        instance_id: &str,
        strangers: Strangers,
        epoch: Option<(i32, Option<&OwnedPartitions>)>,
    ) -> Result<Asker, GroupError> {
        let former = self.group.static_member(instance_id);
        if strangers == Strangers::Refused {
            let (former_id, former) = former.ok_or(GroupError::UnknownMember)?;
            if former_id != member_id {
                return Err(GroupError::FencedInstance);
            }
            if let Some((epoch, owned)) = epoch {
                validate_epoch(former, epoch, owned)?;
            }
            return Ok(Asker { member_id: Arc::clone(member_id), before: Arc::clone(former) });
        }
        let Some((former_id, former)) = former else {
            return self.dynamic_member(member_id, Strangers::Welcome, None);
        };
        if epoch.is_some() && former.current.epoch != WILL_BE_BACK {
            return Err(GroupError::UnreleasedInstance);
        }
        let current = Current { epoch: 0, previous_epoch: 0, ..former.current.clone() };
        let member = Member { subscription: Arc::clone(&former.subscription), current };
        let plan = self.group.plan.get(former_id).cloned().unwrap_or_default();
        self.write_removal(former_id);
        self.write(ConsumerRecord::Member(Arc::clone(member_id), Some(Arc::clone(&member.subscription))));
        self.write(ConsumerRecord::Plan(Arc::clone(member_id), Some(plan)));
        self.write(ConsumerRecord::Current(Arc::clone(member_id), Some(member.current.clone())));
        Ok(Asker { member_id: Arc::clone(member_id), before: Arc::new(member) })
    }

    pub(super) fn write_removal(&mut self, member_id: &MemberId) {
        self.write(ConsumerRecord::Current(Arc::clone(member_id), None));
        self.write(ConsumerRecord::Plan(Arc::clone(member_id), None));
        self.write(ConsumerRecord::Member(Arc::clone(member_id), None));
    }

    /// Takes down what a member says of itself, makes a new plan where that or the topics changed, and lets the member
    /// take its next step. Yields what it has then, where that is something new.
    pub(super) fn bring_up_to_date(
        &mut self,
        asker: &Asker,
        subscription: &Arc<Subscription>,
        owned: Option<&OwnedPartitions>,
    ) -> Result<Option<Current>, GroupError> {
        let before = &asker.before.subscription;
        let mut changed = false;
        if !Arc::ptr_eq(before, subscription) && before != subscription {
            self.write(ConsumerRecord::Member(Arc::clone(&asker.member_id), Some(Arc::clone(subscription))));
            changed = before.topics != subscription.topics || before.regex != subscription.regex;
        }
        let (mut epoch, mut topics) = (self.group.epoch, None);
        if changed || self.group.seen != Some(self.topics.version) {
            let subscribed = self.subscribed(std::slice::from_ref(before), Some(subscription));
            let known = self.known_topics(subscribed.keys());
            if known != self.group.topics {
                self.write(ConsumerRecord::Topics(Some(known.clone())));
                changed = true;
            }
            if changed {
                epoch = epoch.wrapping_add(1);
                self.write(ConsumerRecord::Epoch(Some(epoch)));
            }
            self.note(ConsumerNote::Seen(self.topics.version));
            topics = Some(known);
        }
        let (plan_epoch, plan) = if epoch > self.group.plan_epoch {
            (epoch, self.make_plan(epoch, asker, subscription, topics.as_ref()))
        } else {
            let plan = self.group.plan_of(&asker.member_id, subscription.instance_id.as_ref());
            (self.group.plan_epoch, plan)
        };
        self.take_a_step(asker, subscription, (plan_epoch, &plan), owned)
    }

    /// How many members subscribe to each topic once `left` do not and `come` does.
    pub(super) fn subscribed(
        &self,
        left: &[Arc<Subscription>],
        come: Option<&Arc<Subscription>>,
    ) -> BTreeMap<Arc<str>, usize> {
        let mut subscribed = self.group.subscribed.clone();
        for topic in left.iter().flat_map(|left| &left.topics) {
            if let Some(count) = subscribed.get_mut(topic) {
                *count -= 1;
            }
        }
        for topic in come.iter().flat_map(|come| &come.topics) {
            *subscribed.entry(Arc::clone(topic)).or_default() += 1;
        }
        subscribed.retain(|_, count| *count > 0);
        subscribed
    }

    /// Those of `names` that exist.
    pub(super) fn known_topics<'n>(
        &self,
        names: impl Iterator<Item = &'n Arc<str>>,
    ) -> BTreeMap<Arc<str>, TopicInfo> {
        names.filter_map(|name| Some((Arc::clone(name), self.topics.topics.topic(name)?))).collect()
    }

    /// A plan for `epoch`, written down. Yields what it gives to the asker.
    fn make_plan(
        &mut self,
        epoch: i32,
        asker: &Asker,
        subscription: &Arc<Subscription>,
        topics: Option<&BTreeMap<Arc<str>, TopicInfo>>,
    ) -> Arc<Assignment> {
        let topics = topics.unwrap_or(&self.group.topics);
        let problem = self.problem(asker, subscription, topics);
        let assignor = self.group.assignor(self.consumer(), Some((&asker.member_id, subscription)));
        let mut plan = assignors::assign(assignor, &problem);
        let mut of_asker = Arc::default();
        for candidate in problem.candidates {
            let part = Arc::new(plan.remove(&candidate.member_id).unwrap_or_default());
            if candidate.member_id == asker.member_id {
                of_asker = Arc::clone(&part);
            }
            if self.group.plan.get(&candidate.member_id) != Some(&part) {
                self.write(ConsumerRecord::Plan(candidate.member_id, Some(part)));
            }
        }
        self.write(ConsumerRecord::PlanEpoch(Some(epoch)));
        of_asker
    }

    /// Everybody as of now, with the asker as it has just told.
    fn problem(
        &self,
        asker: &Asker,
        subscription: &Arc<Subscription>,
        topics: &BTreeMap<Arc<str>, TopicInfo>,
    ) -> Problem {
        let former = subscription.instance_id.as_ref().and_then(|id| self.group.static_members.get(id));
        let replaced = |id: &MemberId| *id == asker.member_id || Some(id) == former;
        let planned =
            |id: &MemberId| self.group.plan.get(id).map(|plan| (**plan).clone()).unwrap_or_default();
        let candidate = |id: &MemberId, subscription: &Subscription, planned: Assignment| Candidate {
            member_id: Arc::clone(id),
            instance_id: subscription.instance_id.clone(),
            topics: subscription.topics.iter().filter_map(|name| Some(topics.get(name)?.id)).collect(),
            names: subscription.topics.len(),
            planned,
        };
        let others = || self.group.members.iter().filter(|(id, _)| !replaced(id));
        let homogeneous = others().all(|(_, member)| member.subscription.topics == subscription.topics);
        let mut candidates: Vec<Candidate> =
            others().map(|(id, member)| candidate(id, &member.subscription, planned(id))).collect();
        let asks = candidate(&asker.member_id, subscription, planned(former.unwrap_or(&asker.member_id)));
        let place = candidates.partition_point(|other| other.member_id < asks.member_id);
        candidates.insert(place, asks);
        Problem {
            homogeneous,
            candidates,
            partitions: topics.values().map(|topic| (topic.id, topic.partitions)).collect(),
            taken: self.group.planned.keys().copied().collect(),
        }
    }

    fn take_a_step(
        &mut self,
        asker: &Asker,
        subscription: &Arc<Subscription>,
        (plan_epoch, plan): (i32, &Assignment),
        owned: Option<&OwnedPartitions>,
    ) -> Result<Option<Current>, GroupError> {
        let is_owned = |topic, partition| self.group.owners.contains_key(&(topic, partition));
        let step = Step { plan_epoch, plan, is_owned: &is_owned, owned };
        let Some(next) = step.next(&asker.before)? else { return Ok(None) };
        self.write(ConsumerRecord::Current(Arc::clone(&asker.member_id), Some(next.clone())));
        if subscription.classic.is_none() {
            let until = self.now.mono.after_ms(i64::from(subscription.rebalance_timeout_ms));
            let mut clock = self.clock(&asker.member_id);
            clock.revocation = (next.state == MemberState::Unrevoked).then_some((until, next.epoch));
            self.note(ConsumerNote::Clock(Arc::clone(&asker.member_id), clock));
        }
        Ok(Some(next))
    }

    /// What was last said about the clock of a member here, or what it is.
    pub(super) fn clock_so_far(&self, member_id: &MemberId) -> Clock {
        let told = self.notes.iter().rev().find_map(|note| match note {
            ConsumerNote::Clock(id, clock) if id == member_id => Some(*clock),
            _ => None,
        });
        told.unwrap_or_else(|| self.clock(member_id))
    }
}
