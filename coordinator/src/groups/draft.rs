//! One decision about one group in the making: a copy of its roster that may be changed freely, and what comes out.
//!
//! The steps here are those that several commands share: parked requests answered, heartbeats awaited, a rebalance
//! prepared and completed. Always true at the end: every ticket that is no longer parked has been answered. The
//! group itself is not touched; `finish` says how it shall look.

use std::sync::Arc;

use bytes::Bytes;
use rpds::RedBlackTreeSetSync as SharedSet;

use super::command::{JoinRefused, Joined, Reply, Synced};
use super::config::{GroupConfig, REJOIN_WAIT_MIN_MS};
use super::record::{GroupId, MemberId, Record};
use super::refusal::GroupError;
use super::roster::{InitialDelay, Member, RebalanceTimer, Roster, State};
use super::{Groups, Note};
use crate::machine::{Decision, Ticket};
use crate::time::Now;

pub(super) struct Draft<'a> {
    pub(super) config: &'a GroupConfig,
    pub(super) now: Now,
    group: GroupId,
    pub(super) roster: Roster,
    records: Vec<Record>,
    replies: Vec<(Ticket, Reply)>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(config: &'a GroupConfig, now: Now, group: &GroupId, roster: Option<&Roster>) -> Self {
        let roster = roster.cloned().unwrap_or_else(|| Roster::empty(Some(now.wall)));
        Draft { config, now, group: Arc::clone(group), roster, records: Vec::new(), replies: Vec::new() }
    }

    pub(super) fn finish(self) -> Decision<Groups> {
        let notes = vec![Note::Roster(self.group, Box::new(self.roster))];
        Decision { records: self.records, notes, replies: self.replies }
    }

    pub(super) fn reply(&mut self, ticket: Ticket, reply: Reply) {
        self.replies.push((ticket, reply));
    }

    pub(super) fn refuse_join(&mut self, ticket: Ticket, member_id: &MemberId, error: GroupError) {
        let member_id = Arc::clone(member_id);
        self.reply(ticket, Reply::Join(Err(JoinRefused { member_id, error })));
    }

    /// Asks for the group as it now is to be written down.
    pub(super) fn store(&mut self) {
        self.records.push(Record::Group(Arc::clone(&self.group), self.roster.to_record()));
    }

    fn enter(&mut self, state: State) {
        self.roster.state = state;
        self.roster.state_since = Some(self.now.wall);
    }

    /// Expects the next heartbeat within `timeout_ms`; a member that waits for us is not expected to send one.
    pub(super) fn await_heartbeat_for(&mut self, member_id: &str, timeout_ms: i64) {
        let deadline = self.now.mono.after_ms(timeout_ms);
        if let Some(member) = self.roster.members.get(member_id) {
            let deadline = Some(deadline).filter(|_| member.owes_heartbeat());
            self.roster.set_deadline(member_id, deadline);
        }
    }

    pub(super) fn await_heartbeat(&mut self, member_id: &str) {
        if let Some(member) = self.roster.members.get(member_id) {
            let timeout_ms = i64::from(member.session_timeout_ms);
            self.await_heartbeat_for(member_id, timeout_ms);
        }
    }

    /// Parks a join until the rebalance completes.
    ///
    /// A join of the same member that is still parked came over a connection the client has given up; it is told to
    /// try again. (Apache never answers it.)
    pub(super) fn park_join(&mut self, member_id: &MemberId, ticket: Ticket) {
        if let Some(superseded) = self.roster.park_join(member_id, ticket) {
            self.refuse_join(superseded, member_id, GroupError::RebalanceInProgress);
        }
    }

    /// Parks a sync until the leader's assignment is there; like [`Draft::park_join`] for one that is parked already.
    pub(super) fn park_sync(&mut self, member_id: &str, ticket: Ticket) {
        let superseded =
            self.roster.member_mut(member_id).and_then(|member| member.parked_sync.replace(ticket));
        if let Some(superseded) = superseded {
            self.reply(superseded, Reply::Sync(Err(GroupError::RebalanceInProgress)));
        }
    }

    /// What a member of the current generation is told when its join is answered.
    pub(super) fn joined(&self, member_id: &MemberId) -> Joined {
        let leads = self.roster.is_leader(member_id);
        Joined {
            member_id: Arc::clone(member_id),
            generation: self.roster.generation,
            protocol_type: self.roster.protocol_type.clone(),
            protocol: self.roster.protocol.clone(),
            leader: self.roster.leader.clone().unwrap_or_else(|| Arc::from("")),
            skip_assignment: false,
            members: if leads { self.roster.joined_members() } else { Vec::new() },
        }
    }

    /// Takes a member out without further consequences; what it had parked is answered as from a stranger.
    pub(super) fn remove(&mut self, member_id: &str) {
        if let Some(member) = self.roster.remove(member_id) {
            self.dismiss(&member, &Arc::from(""), GroupError::UnknownMember);
        }
    }

    /// Answers whatever `member` has parked. The caller has taken it out, or clears what it had parked.
    pub(super) fn dismiss(&mut self, member: &Member, told_id: &MemberId, error: GroupError) {
        if let Some(ticket) = member.parked_join {
            self.refuse_join(ticket, told_id, error);
        }
        if let Some(ticket) = member.parked_sync {
            self.reply(ticket, Reply::Sync(Err(error)));
        }
    }

    /// A member has left or failed: the others rebalance.
    pub(super) fn remove_and_rebalance(&mut self, member_id: &str) {
        self.remove(member_id);
        match self.roster.state {
            State::Empty => {}
            State::Stable | State::CompletingRebalance => self.prepare_rebalance(),
            State::PreparingRebalance => self.try_complete_join(),
        }
    }

    /// Asks all members to join again, unless they are being asked already.
    pub(super) fn rebalance_unless_preparing(&mut self) {
        if self.roster.state != State::PreparingRebalance {
            self.prepare_rebalance();
        }
    }

    pub(super) fn prepare_rebalance(&mut self) {
        if self.roster.state == State::CompletingRebalance {
            self.fail_syncs(GroupError::RebalanceInProgress);
        }
        self.roster.pending_sync = SharedSet::new_sync();
        self.roster.sync_deadline = None;

        let timeout_ms = self.roster.rebalance_timeout_ms();
        let delay_ms = i64::from(self.config.initial_rebalance_delay_ms);
        self.roster.rebalance = Some(if self.roster.state == State::Empty {
            let remaining_ms = (timeout_ms - delay_ms).max(0);
            let initial = Some(InitialDelay { delay_ms, remaining_ms });
            RebalanceTimer { at: self.now.mono.after_ms(delay_ms), initial }
        } else {
            RebalanceTimer { at: self.now.mono.after_ms(timeout_ms), initial: None }
        });
        self.enter(State::PreparingRebalance);
        self.try_complete_join();
    }

    /// Completes the rebalance if nobody is missing; the wait of a formerly empty group is never cut short.
    pub(super) fn try_complete_join(&mut self) {
        let waits_for_members = self.roster.rebalance.is_some_and(|timer| timer.initial.is_none());
        if self.roster.state == State::PreparingRebalance && waits_for_members && self.roster.all_joined() {
            self.complete_join();
        }
    }

    /// The rebalance timer has run out.
    pub(super) fn rebalance_timer_expired(&mut self) {
        let initial = self.roster.rebalance.and_then(|timer| timer.initial);
        match initial {
            Some(initial) if self.roster.new_member_added && initial.remaining_ms != 0 => {
                self.roster.new_member_added = false;
                let delay_ms = i64::from(self.config.initial_rebalance_delay_ms).min(initial.remaining_ms);
                let remaining_ms = (initial.remaining_ms - initial.delay_ms).max(0);
                self.roster.rebalance = Some(RebalanceTimer {
                    at: self.now.mono.after_ms(delay_ms),
                    initial: Some(InitialDelay { delay_ms, remaining_ms }),
                });
            }
            _ => self.complete_join(),
        }
    }

    /// Goes on to the next generation with those who have joined; static members stay even if they have not.
    fn complete_join(&mut self) {
        let gone = |member: &Member| member.parked_join.is_none() && member.instance_id.is_none();
        let missing: Vec<MemberId> =
            self.roster.members.iter().filter(|(_, m)| gone(m)).map(|(id, _)| id.clone()).collect();
        for member_id in missing {
            self.remove(&member_id);
        }
        if self.roster.members.is_empty() {
            return self.become_empty();
        }
        if !self.elect_joined_leader() {
            let wait_ms = self.roster.rebalance_timeout_ms().max(REJOIN_WAIT_MIN_MS);
            self.roster.rebalance =
                Some(RebalanceTimer { at: self.now.mono.after_ms(wait_ms), initial: None });
            return;
        }
        self.start_generation();
        let members: Vec<MemberId> = self.roster.members.keys().cloned().collect();
        for member_id in &members {
            if let Some(ticket) = self.roster.unpark_join(member_id) {
                let joined = self.joined(member_id);
                self.reply(ticket, Reply::Join(Ok(joined)));
            }
            self.await_heartbeat(member_id);
            if let Some(member) = self.roster.member_mut(member_id) {
                member.is_new = false;
            }
        }
        self.roster.pending_sync = members.into_iter().collect();
        self.roster.sync_deadline = Some(self.now.mono.after_ms(self.roster.rebalance_timeout_ms()));
    }

    /// Keeps the leader if it has joined, else takes the first that has; `false` where nobody has.
    fn elect_joined_leader(&mut self) -> bool {
        let has_joined = |member: &Arc<Member>| member.parked_join.is_some();
        let leader = self.roster.leader.as_ref().and_then(|leader| self.roster.members.get(leader));
        if leader.is_some_and(has_joined) {
            return true;
        }
        let elected =
            self.roster.members.iter().find(|(_, member)| has_joined(member)).map(|(id, _)| Arc::clone(id));
        let found = elected.is_some();
        self.roster.leader = elected.or_else(|| self.roster.leader.take());
        found
    }

    fn start_generation(&mut self) {
        self.roster.rebalance = None;
        self.roster.generation = self.roster.generation.wrapping_add(1);
        self.roster.protocol = self.roster.select_protocol();
        self.roster.subscribed = self.roster.subscribed_topics();
        self.enter(State::CompletingRebalance);
    }

    fn become_empty(&mut self) {
        self.roster.rebalance = None;
        self.roster.generation = self.roster.generation.wrapping_add(1);
        self.roster.protocol = None;
        self.roster.subscribed = self.roster.subscribed_topics();
        self.roster.pending_sync = SharedSet::new_sync();
        self.enter(State::Empty);
        self.store();
    }

    /// The leader has spoken: every member gets its part, and the group is stable once that is written down.
    pub(super) fn assign(&mut self, assignments: &std::collections::BTreeMap<MemberId, Bytes>) {
        let members: Vec<MemberId> = self.roster.members.keys().cloned().collect();
        for member_id in &members {
            let assignment = assignments.get(member_id).cloned().unwrap_or_default();
            if let Some(member) = self.roster.member_mut(member_id) {
                member.assignment = assignment;
            }
        }
        self.store();
        for member_id in &members {
            self.answer_sync(member_id, None);
        }
        self.enter(State::Stable);
    }

    /// Answers every parked sync with `error`; nobody has an assignment then.
    pub(super) fn fail_syncs(&mut self, error: GroupError) {
        let members: Vec<MemberId> = self.roster.members.keys().cloned().collect();
        for member_id in &members {
            if let Some(member) = self.roster.member_mut(member_id) {
                member.assignment = Bytes::new();
            }
            self.answer_sync(member_id, Some(error));
        }
    }

    fn answer_sync(&mut self, member_id: &str, error: Option<GroupError>) {
        let Some(member) = self.roster.member_mut(member_id) else { return };
        let Some(ticket) = member.parked_sync.take() else { return };
        let assignment = member.assignment.clone();
        let reply = match error {
            Some(error) => Err(error),
            None => Ok(self.synced(assignment)),
        };
        self.reply(ticket, Reply::Sync(reply));
        self.await_heartbeat(member_id);
    }

    pub(super) fn synced(&self, assignment: Bytes) -> Synced {
        let (protocol_type, protocol) = (self.roster.protocol_type.clone(), self.roster.protocol.clone());
        Synced { protocol_type, protocol, assignment }
    }

    /// Members that have not sent their SyncGroup in time are out.
    pub(super) fn sync_timer_expired(&mut self) {
        self.roster.sync_deadline = None;
        let late = std::mem::replace(&mut self.roster.pending_sync, SharedSet::new_sync());
        if late.is_empty() {
            return;
        }
        for member_id in late.iter() {
            self.remove(member_id);
        }
        self.rebalance_unless_preparing();
    }
}
