//! Which rules a member's request meets: those of the protocol of the group that it finds; and where that protocol's
//! records go.
//!
//! Members of the classic protocol may be in a group of the new one; a member of the new one makes a classic group
//! change, where that is allowed. An empty group of either protocol makes room for the other.

use std::sync::Arc;

use super::command::{Heartbeat, Join, Leave, Reply, Sync};
use super::consumer::{self, ConsumerHeartbeat, ConsumerNote, ConsumerRecord, HeartbeatRefused};
use super::group::Membership;
use super::record::{GroupId, Record};
use super::refusal::GroupError;
use super::roster::Roster;
use super::{Groups, join, session};
use crate::machine::{Decision, Ticket};
use crate::time::Now;

impl Groups {
    /// `None` where there is no such group.
    pub(super) fn members_of(&self, group: &str) -> Option<&Membership> {
        self.groups.get(group).map(|group| &group.members)
    }

    pub(super) fn join(&self, now: Now, ticket: Ticket, join: &Join) -> Decision<Groups> {
        match self.members_of(&join.group) {
            Some(Membership::Consumer(group)) if !group.is_empty() => {
                consumer::classic_join(self.desk(now, &join.group, group), ticket, join)
            }
            Some(Membership::Consumer(group)) => {
                // An empty group makes room for one of the other protocol.
                let mut decision = join::decide(&self.config, now, ticket, join, None);
                if !decision.notes.is_empty() {
                    let gone = group.tombstones().into_iter();
                    let gone = gone.map(|record| Record::Consumer(Arc::clone(&join.group), record));
                    decision.records = gone.chain(decision.records).collect();
                }
                decision
            }
            Some(Membership::Classic(roster)) => join::decide(&self.config, now, ticket, join, Some(roster)),
            None => join::decide(&self.config, now, ticket, join, None),
        }
    }

    pub(super) fn consumer_heartbeat(
        &self,
        now: Now,
        ticket: Ticket,
        request: &ConsumerHeartbeat,
    ) -> Decision<Groups> {
        let refuse =
            |refused: HeartbeatRefused| Decision::reply(ticket, Reply::ConsumerHeartbeat(Err(refused)));
        if let Err(refused) = consumer::validate(&self.config.consumer, request) {
            return refuse(refused);
        }
        let blank = consumer::ConsumerGroup::default();
        let decided = match self.members_of(&request.group) {
            Some(Membership::Consumer(group)) => {
                consumer::heartbeat(self.desk(now, &request.group, group), ticket, request)
            }
            _ if request.epoch != 0 => Err(GroupError::GroupNotFound),
            Some(Membership::Classic(roster)) => self.upgrade(now, ticket, request, roster),
            None => consumer::heartbeat(self.desk(now, &request.group, &blank), ticket, request),
        };
        decided.unwrap_or_else(|error| refuse(error.into()))
    }

    /// A member of the new protocol comes to a classic group.
    pub(super) fn upgrade(
        &self,
        now: Now,
        ticket: Ticket,
        request: &ConsumerHeartbeat,
        roster: &Roster,
    ) -> Result<Decision<Groups>, GroupError> {
        let upgrade = consumer::upgrade(&self.config, &self.topics, now, &request.group, roster)?;
        let mut decision =
            consumer::heartbeat(self.desk(now, &request.group, &upgrade.group), ticket, request)?;
        decision.records = upgrade.records.into_iter().chain(decision.records).collect();
        decision.notes = upgrade.notes.into_iter().chain(decision.notes).collect();
        decision.replies = upgrade.replies.into_iter().chain(decision.replies).collect();
        Ok(decision)
    }

    pub(super) fn sync(&self, now: Now, ticket: Ticket, sync: Sync) -> Decision<Groups> {
        match self.members_of(&sync.group) {
            Some(Membership::Classic(_)) => session::sync(self.draft(now, &sync.group), ticket, sync),
            Some(Membership::Consumer(group)) => {
                consumer::classic_sync(self.desk(now, &sync.group, group), ticket, &sync)
            }
            None => Decision::reply(ticket, Reply::Sync(Err(GroupError::UnknownMember))),
        }
    }

    pub(super) fn heartbeat(&self, now: Now, ticket: Ticket, heartbeat: &Heartbeat) -> Decision<Groups> {
        match self.members_of(&heartbeat.group) {
            Some(Membership::Classic(roster)) => session::heartbeat(now, ticket, heartbeat, roster),
            Some(Membership::Consumer(group)) => {
                consumer::classic_heartbeat(self.desk(now, &heartbeat.group, group), ticket, heartbeat)
            }
            None => Decision::reply(ticket, Reply::Heartbeat(Err(GroupError::UnknownMember))),
        }
    }

    pub(super) fn leave(&self, now: Now, ticket: Ticket, leave: Leave) -> Decision<Groups> {
        let id = Arc::clone(&leave.group);
        match self.members_of(&id) {
            Some(Membership::Classic(_)) => session::leave(self.draft(now, &id), ticket, leave),
            Some(Membership::Consumer(group)) => {
                consumer::classic_leave(self.desk(now, &id, group), ticket, leave)
            }
            None => {
                let unknown = |member| (member, Err(GroupError::UnknownMember));
                let results = leave.members.into_iter().map(unknown).collect();
                Decision::reply(ticket, Reply::Leave(results))
            }
        }
    }

    pub(super) fn apply_consumer(&mut self, id: &GroupId, record: &ConsumerRecord) {
        if matches!(record, ConsumerRecord::Epoch(None)) {
            if self.groups.get(id).is_some_and(|group| group.consumer().is_some()) {
                self.set_roster(id, Roster::empty(None));
                self.remove_if_blank(id);
            }
            return;
        }
        if record.takes_back() && self.groups.get(id).is_none_or(|group| group.consumer().is_none()) {
            return;
        }
        if let Some(group) = self.entry(id).consumer_mut() {
            group.apply(record);
        }
    }

    pub(super) fn note_consumer(&mut self, id: &GroupId, note: ConsumerNote) {
        let Some(group) = self.groups.get_mut(id) else { return };
        let timer = group.timer;
        let Membership::Consumer(consumer) = &mut group.members else { return };
        let at = match &note {
            ConsumerNote::Clock(member_id, clock) => {
                let (member_id, clock) = (Arc::clone(member_id), *clock);
                consumer.note(ConsumerNote::Clock(Arc::clone(&member_id), clock));
                // A deadline that moves back leaves the entry where it is.
                let next = consumer.deadline_of(&member_id);
                [timer, next].into_iter().flatten().min()
            }
            ConsumerNote::Seen(_) | ConsumerNote::LookAgain(_) => {
                consumer.note(note);
                consumer.next_deadline()
            }
        };
        if at != timer {
            self.set_timer(id, at);
        }
    }
}
