//! JoinGroup: how a member comes into a group, comes back to it, or takes the seat of its former self.
//!
//! Source of the rules: KIP-62 (rebalance timeout), KIP-345 (static members), KIP-394 (ids handed out first),
//! KIP-814 (static leaders skip the assignment), and Kafka 3.9's coordinator where they are silent.

use std::sync::Arc;

use super::command::{Handshake, Join, Joined, Reply, SkipAssignment};
use super::config::{GroupConfig, NEW_MEMBER_JOIN_TIMEOUT_MS, PENDING_MEMBERS_MAX};
use super::draft::Draft;
use super::record::MemberId;
use super::refusal::GroupError;
use super::roster::{Member, Roster, State};
use super::{Groups, validate_member};
use crate::machine::{Decision, Ticket};
use crate::time::Now;

/// Decides a join into the group as `roster` shows it; `None` is a group that does not exist.
pub(super) fn decide(
    config: &GroupConfig,
    now: Now,
    ticket: Ticket,
    join: &Join,
    roster: Option<&Roster>,
) -> Decision<Groups> {
    let mut draft = Draft::new(config, now, &join.group, roster);
    let allowed = config.session_timeout_min_ms..=config.session_timeout_max_ms;
    let refused = if !allowed.contains(&join.session_timeout_ms) {
        Some(GroupError::InvalidSessionTimeout)
    } else if roster.is_none() && !join.member_id.is_empty() {
        Some(GroupError::UnknownMember)
    } else {
        None
    };
    if let Some(error) = refused {
        draft.refuse_join(ticket, &join.member_id, error);
        return Decision { notes: Vec::new(), ..draft.finish() };
    }

    if !accepts(config, &draft.roster, &join.member_id) {
        draft.remove(&join.member_id);
        draft.refuse_join(ticket, &unknown(), GroupError::GroupMaxSizeReached);
    } else if join.member_id.is_empty() {
        join_as_stranger(&mut draft, ticket, join);
    } else {
        join_as_member(&mut draft, ticket, join);
    }
    draft.try_complete_join();
    draft.finish()
}

fn unknown() -> MemberId {
    Arc::from("")
}

/// Whether `group.max.size` leaves room. During a rebalance those who have joined count, so that the last ones to
/// come back are left out.
fn accepts(config: &GroupConfig, roster: &Roster, member_id: &str) -> bool {
    let max = usize::try_from(config.size_max).unwrap_or(0);
    let member = roster.members.get(member_id);
    match roster.state {
        State::Empty => true,
        State::PreparingRebalance => {
            member.is_some_and(|member| member.parked_join.is_some()) || roster.awaiting_join < max
        }
        State::CompletingRebalance | State::Stable => member.is_some() || roster.members.size() < max,
    }
}

fn join_as_stranger(draft: &mut Draft<'_>, ticket: Ticket, join: &Join) {
    if !draft.roster.supports(&join.protocol_type, &join.protocols) {
        return draft.refuse_join(ticket, &unknown(), GroupError::InconsistentProtocol);
    }
    let member_id = new_member_id(join);
    if let Some(instance_id) = &join.instance_id {
        return match draft.roster.static_members.get(instance_id).cloned() {
            Some(former) => take_seat(draft, ticket, join, &former, &member_id),
            None => add_member(draft, ticket, join, &member_id),
        };
    }
    if join.handshake == Handshake::None {
        return add_member(draft, ticket, join, &member_id);
    }
    if draft.roster.pending.size() >= PENDING_MEMBERS_MAX {
        return draft.refuse_join(ticket, &unknown(), GroupError::GroupMaxSizeReached);
    }
    let lapses = draft.now.mono.after_ms(i64::from(join.session_timeout_ms));
    draft.roster.reserve(Arc::clone(&member_id), lapses);
    draft.refuse_join(ticket, &member_id, GroupError::MemberIdRequired);
}

fn join_as_member(draft: &mut Draft<'_>, ticket: Ticket, join: &Join) {
    let member_id = &join.member_id;
    if !draft.roster.supports(&join.protocol_type, &join.protocols) {
        return draft.refuse_join(ticket, member_id, GroupError::InconsistentProtocol);
    }
    if draft.roster.pending.contains_key(member_id) && join.instance_id.is_none() {
        return add_member(draft, ticket, join, member_id);
    }
    if let Err(error) = validate_member(&draft.roster, member_id, join.instance_id.as_ref()) {
        return draft.refuse_join(ticket, member_id, error);
    }
    let unchanged = draft.roster.members.get(member_id).is_some_and(|member| member.matches(&join.protocols));
    let leads = draft.roster.is_leader(member_id);
    match draft.roster.state {
        State::Empty => draft.refuse_join(ticket, member_id, GroupError::UnknownMember),
        // The answer to its join got lost, or it follows in a stable group: it learns what it should know already.
        State::CompletingRebalance if unchanged => {
            let joined = draft.joined(member_id);
            draft.reply(ticket, Reply::Join(Ok(joined)));
        }
        State::Stable if unchanged && !leads => {
            let joined = draft.joined(member_id);
            draft.reply(ticket, Reply::Join(Ok(joined)));
        }
        // Changed metadata, or a leader that saw a change which is not in its metadata: all have to come again.
        State::PreparingRebalance | State::CompletingRebalance | State::Stable => {
            rejoin(draft, ticket, join, member_id);
            draft.rebalance_unless_preparing();
        }
    }
}

/// Brings a member up to date and parks its join.
fn rejoin(draft: &mut Draft<'_>, ticket: Ticket, join: &Join, member_id: &MemberId) {
    update(draft, join, member_id);
    draft.park_join(member_id, ticket);
}

fn update(draft: &mut Draft<'_>, join: &Join, member_id: &str) {
    draft.roster.set_protocols(member_id, &join.protocols);
    if let Some(member) = draft.roster.member_mut(member_id) {
        member.rebalance_timeout_ms = join.rebalance_timeout_ms;
        member.session_timeout_ms = join.session_timeout_ms;
    }
}

fn add_member(draft: &mut Draft<'_>, ticket: Ticket, join: &Join, member_id: &MemberId) {
    // A member that turns up while a new group still waits draws the wait out.
    if draft.roster.state == State::PreparingRebalance && draft.roster.generation == 0 {
        draft.roster.new_member_added = true;
    }
    if draft.roster.members.is_empty() {
        draft.roster.protocol_type = Some(Arc::clone(&join.protocol_type));
    }
    let member = Member {
        instance_id: join.instance_id.clone(),
        client_id: Arc::clone(&join.client_id),
        client_host: Arc::clone(&join.client_host),
        rebalance_timeout_ms: join.rebalance_timeout_ms,
        session_timeout_ms: join.session_timeout_ms,
        protocols: Arc::from(join.protocols.as_slice()),
        assignment: bytes::Bytes::new(),
        parked_join: Some(ticket),
        parked_sync: None,
        is_new: true,
        deadline: None,
    };
    draft.roster.add(Arc::clone(member_id), member);
    draft.await_heartbeat_for(member_id, NEW_MEMBER_JOIN_TIMEOUT_MS);
    draft.rebalance_unless_preparing();
}

/// A static member comes back without its id: it gets a new one, and whoever still uses the old one is fenced.
fn take_seat(draft: &mut Draft<'_>, ticket: Ticket, join: &Join, former: &MemberId, member_id: &MemberId) {
    let Some(instance_id) = &join.instance_id else { return };
    let leader_before = draft.roster.leader.clone();
    if let Some(member) = draft.roster.members.get(former).map(Arc::clone) {
        draft.dismiss(&member, former, GroupError::FencedInstance);
        draft.roster.unpark_join(former);
        if let Some(member) = draft.roster.member_mut(former) {
            member.parked_sync = None;
        }
    }
    draft.roster.rename(instance_id, former, member_id);
    draft.await_heartbeat(member_id);

    match draft.roster.state {
        State::Stable => {
            update(draft, join, member_id);
            if draft.roster.protocol.is_some() && draft.roster.select_protocol() == draft.roster.protocol {
                draft.store();
                let joined = seated(draft, join, member_id, leader_before);
                draft.reply(ticket, Reply::Join(Ok(joined)));
            } else {
                draft.park_join(member_id, ticket);
                draft.prepare_rebalance();
            }
        }
        // The leader may be assigning to the former id right now.
        State::CompletingRebalance => {
            rejoin(draft, ticket, join, member_id);
            draft.prepare_rebalance();
        }
        State::PreparingRebalance => rejoin(draft, ticket, join, member_id),
        State::Empty => draft.refuse_join(ticket, &unknown(), GroupError::UnknownMember),
    }
}

/// What a static member hears that came back into a stable group, where nothing is to be assigned.
///
/// A client that cannot skip the assignment is shown the former leader's id, so that it does not take itself for it.
fn seated(draft: &Draft<'_>, join: &Join, member_id: &MemberId, leader_before: Option<MemberId>) -> Joined {
    let joined = draft.joined(member_id);
    match join.skip_assignment {
        SkipAssignment::Understood => Joined { skip_assignment: draft.roster.is_leader(member_id), ..joined },
        SkipAssignment::Unknown => {
            Joined { members: Vec::new(), leader: leader_before.unwrap_or_else(unknown), ..joined }
        }
    }
}

/// Client id or instance id, and the randomness of the request written as a version 4 UUID.
fn new_member_id(join: &Join) -> MemberId {
    let mut id = u128::from_be_bytes(join.fresh_id);
    id = (id & !(0xf << 76)) | (0x4 << 76);
    id = (id & !(0x3 << 62)) | (0x2 << 62);
    let hex = format!("{id:032x}");
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or("");
    let name = join.instance_id.as_ref().unwrap_or(&join.client_id);
    let (a, b, c, d, e) = (part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32));
    Arc::from(format!("{name}-{a}-{b}-{c}-{d}-{e}"))
}
