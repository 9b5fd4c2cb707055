//! SyncGroup, Heartbeat, LeaveGroup, and what happens to those that are not heard of in time.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::command::{Heartbeat, Leave, LeavingMember, Reply, Sync};
use super::draft::Draft;
use super::record::MemberId;
use super::refusal::GroupError;
use super::roster::{Roster, State};
use super::{Groups, Note, validate_generation, validate_member};
use crate::machine::{Decision, Ticket};
use crate::time::Now;

pub(super) fn sync(draft: Draft<'_>, ticket: Ticket, sync: Sync) -> Decision<Groups> {
    let mut draft = draft;
    match validate_sync(&draft.roster, &sync) {
        Err(error) => return Decision::reply(ticket, Reply::Sync(Err(error))),
        Ok(()) => confirm_sync(&mut draft, &sync.member_id),
    }
    if draft.roster.state == State::Stable {
        let member = draft.roster.members.get(&sync.member_id);
        let assignment = member.map(|member| member.assignment.clone()).unwrap_or_default();
        let synced = draft.synced(assignment);
        draft.reply(ticket, Reply::Sync(Ok(synced)));
        draft.await_heartbeat(&sync.member_id);
        return draft.finish();
    }
    draft.park_sync(&sync.member_id, ticket);
    if draft.roster.is_leader(&sync.member_id) {
        let assignments: BTreeMap<MemberId, Bytes> = sync.assignments.into_iter().collect();
        draft.assign(&assignments);
    }
    draft.finish()
}

fn validate_sync(roster: &Roster, sync: &Sync) -> Result<(), GroupError> {
    validate_member(roster, &sync.member_id, sync.instance_id.as_ref())?;
    validate_generation(roster, sync.generation)?;
    let contradicts = |told: &Option<Arc<str>>, ours: &Option<Arc<str>>| told.is_some() && told != ours;
    if contradicts(&sync.protocol_type, &roster.protocol_type)
        || contradicts(&sync.protocol, &roster.protocol)
    {
        return Err(GroupError::InconsistentProtocol);
    }
    match roster.state {
        State::Empty => Err(GroupError::UnknownMember),
        State::PreparingRebalance => Err(GroupError::RebalanceInProgress),
        State::CompletingRebalance | State::Stable => Ok(()),
    }
}

fn confirm_sync(draft: &mut Draft<'_>, member_id: &str) {
    draft.roster.pending_sync.remove_mut(member_id);
    if draft.roster.pending_sync.is_empty() {
        draft.roster.sync_deadline = None;
    }
}

/// The most frequent request of all: no copy of the roster.
pub(super) fn heartbeat(
    now: Now,
    ticket: Ticket,
    heartbeat: &Heartbeat,
    roster: &Roster,
) -> Decision<Groups> {
    let checked = validate_member(roster, &heartbeat.member_id, heartbeat.instance_id.as_ref())
        .and_then(|()| validate_generation(roster, heartbeat.generation));
    if let Err(error) = checked {
        return Decision::reply(ticket, Reply::Heartbeat(Err(error)));
    }
    let answer = match roster.state {
        State::Empty => return Decision::reply(ticket, Reply::Heartbeat(Err(GroupError::UnknownMember))),
        State::PreparingRebalance => Err(GroupError::RebalanceInProgress),
        State::CompletingRebalance | State::Stable => Ok(()),
    };
    let mut decision = Decision::reply(ticket, Reply::Heartbeat(answer));
    decision.notes.extend(heard(now, &heartbeat.group, &heartbeat.member_id, roster));
    decision
}

/// The member is alive: its session starts anew.
pub(super) fn heard(now: Now, group: &Arc<str>, member_id: &MemberId, roster: &Roster) -> Option<Note> {
    let member = roster.members.get(member_id)?;
    let until = now.mono.after_ms(i64::from(member.session_timeout_ms));
    let until = Some(until).filter(|_| member.owes_heartbeat());
    Some(Note::Heard { group: Arc::clone(group), member_id: Arc::clone(member_id), until })
}

pub(super) fn leave(mut draft: Draft<'_>, ticket: Ticket, leave: Leave) -> Decision<Groups> {
    let mut results = Vec::with_capacity(leave.members.len());
    for leaving in leave.members {
        let result = leave_one(&mut draft, &leaving);
        results.push((leaving, result));
    }
    draft.reply(ticket, Reply::Leave(results));
    draft.finish()
}

fn leave_one(draft: &mut Draft<'_>, leaving: &LeavingMember) -> Result<(), GroupError> {
    if leaving.member_id.is_empty() {
        let instance_id = leaving.instance_id.as_ref().ok_or(GroupError::UnknownMember)?;
        let member_id =
            draft.roster.static_members.get(instance_id).cloned().ok_or(GroupError::UnknownMember)?;
        draft.remove_and_rebalance(&member_id);
        return Ok(());
    }
    if !draft.roster.pending.contains_key(&leaving.member_id) {
        validate_member(&draft.roster, &leaving.member_id, leaving.instance_id.as_ref())?;
        draft.remove_and_rebalance(&leaving.member_id);
        return Ok(());
    }
    draft.roster.remove(&leaving.member_id);
    draft.try_complete_join();
    Ok(())
}

/// Settles everything in the group that is due.
pub(super) fn expire(mut draft: Draft<'_>) -> Decision<Groups> {
    let now = draft.now.mono;
    let lapsed: Vec<MemberId> = due(draft.roster.pending.iter().map(|(id, at)| (id, Some(*at))), now);
    for member_id in lapsed {
        draft.roster.remove(&member_id);
        draft.try_complete_join();
    }
    let silent: Vec<MemberId> =
        due(draft.roster.members.iter().map(|(id, member)| (id, member.deadline)), now);
    for member_id in silent {
        // An earlier one may have ended the wait of this one and started its session anew.
        let Some(member) = draft.roster.members.get(&member_id).map(Arc::clone) else { continue };
        if member.deadline.is_none_or(|deadline| deadline > now) {
            continue;
        }
        draft.roster.set_deadline(&member_id, None);
        if member.owes_heartbeat() {
            draft.remove_and_rebalance(&member_id);
        }
    }
    if draft.roster.rebalance.is_some_and(|timer| timer.at <= now) {
        draft.rebalance_timer_expired();
    }
    if draft.roster.sync_deadline.is_some_and(|at| at <= now) {
        draft.sync_timer_expired();
    }
    draft.roster.settle();
    draft.finish()
}

fn due<'a>(
    deadlines: impl Iterator<Item = (&'a MemberId, Option<crate::time::Monotonic>)>,
    now: crate::time::Monotonic,
) -> Vec<MemberId> {
    deadlines.filter(|(_, at)| at.is_some_and(|at| at <= now)).map(|(id, _)| Arc::clone(id)).collect()
}
