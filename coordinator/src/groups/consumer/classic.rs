//! Members of the classic protocol in a consumer group: their JoinGroup is a step towards the plan, their SyncGroup
//! asks for what they have, their Heartbeat tells when the next step can be taken. There is no leader among them.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::desk::{Desk, Strangers};
use super::embedded::{read_subscription, write_assignment};
use super::group::{ConsumerGroup, ConsumerNote, Member};
use super::heartbeat::{fresh_member_id, write_departure};
use super::reconciliation::by_id;
use super::record::{ClassicSubscription, MemberState, Subscription};
use crate::groups::Groups;
use crate::groups::command::{
    Handshake, Heartbeat, Join, JoinRefused, Joined, Leave, LeavingMember, Reply, Sync, Synced,
};
use crate::groups::record::MemberId;
use crate::groups::refusal::GroupError;
use crate::groups::roster::CONSUMER_PROTOCOL;
use crate::machine::{Decision, Ticket};

pub(in crate::groups) fn join(desk: Desk<'_>, ticket: Ticket, join: &Join) -> Decision<Groups> {
    let known = !join.member_id.is_empty();
    let member_id = if known { Arc::clone(&join.member_id) } else { fresh_member_id(join.fresh_id) };
    let refuse = |member_id: &MemberId, error| {
        let refused = JoinRefused { member_id: Arc::clone(member_id), error };
        Decision::reply(ticket, Reply::Join(Err(refused)))
    };
    if let Err(error) = desk.has_room_for(&member_id).and_then(|()| supports(desk.group, join)) {
        return refuse(&Arc::from(""), error);
    }
    if !known && join.handshake == Handshake::IdFirst {
        return refuse(&member_id, GroupError::MemberIdRequired);
    }
    match take_step(desk, ticket, join, &member_id) {
        Ok(decision) => decision,
        Err(error) => refuse(&Arc::from(""), error),
    }
}

/// Whether the member speaks a protocol that all classic members speak.
fn supports(group: &ConsumerGroup, join: &Join) -> Result<(), GroupError> {
    if &*join.protocol_type != CONSUMER_PROTOCOL || join.protocols.is_empty() {
        return Err(GroupError::InconsistentProtocol);
    }
    let mut classic = 0;
    let mut counts: BTreeMap<&Arc<str>, usize> = BTreeMap::new();
    for member in group.members.values().filter_map(|member| member.subscription.classic.as_ref()) {
        classic += 1;
        for (name, _) in &member.protocols {
            *counts.entry(name).or_default() += 1;
        }
    }
    let common = |(name, _): &(Arc<str>, Bytes)| counts.get(name).copied().unwrap_or(0) == classic;
    match join.protocols.iter().any(common) {
        true => Ok(()),
        false => Err(GroupError::InconsistentProtocol),
    }
}

fn take_step(
    mut desk: Desk<'_>,
    ticket: Ticket,
    join: &Join,
    member_id: &MemberId,
) -> Result<Decision<Groups>, GroupError> {
    let asker = match &join.instance_id {
        None => desk.dynamic_member(member_id, Strangers::Welcome, None)?,
        Some(instance_id) => {
            let strangers = if join.member_id.is_empty() { Strangers::Welcome } else { Strangers::Refused };
            desk.static_member(member_id, instance_id, strangers, None)?
        }
    };
    let (protocol, metadata) = join.protocols.first().ok_or(GroupError::InconsistentProtocol)?;
    let told = read_subscription(metadata).map_err(|_| GroupError::Unknown)?;
    let before = &asker.before.subscription;
    let timeout = Some(join.rebalance_timeout_ms).filter(|ms| *ms != -1);
    let subscription = Arc::new(Subscription {
        instance_id: join.instance_id.clone().or_else(|| before.instance_id.clone()),
        rack_id: told.rack_id.or_else(|| before.rack_id.clone()),
        client_id: Arc::clone(&join.client_id),
        client_host: Arc::clone(&join.client_host),
        topics: told.topics,
        regex: before.regex.clone(),
        rebalance_timeout_ms: timeout.unwrap_or(before.rebalance_timeout_ms),
        assignor: before.assignor.clone(),
        classic: Some(ClassicSubscription {
            session_timeout_ms: join.session_timeout_ms,
            protocols: join.protocols.clone(),
        }),
    });
    let owned = by_id(&told.owned, |name| desk.topics.topics.id(name));
    let next = desk.bring_up_to_date(&asker, &subscription, Some(&owned))?;
    let epoch = next.as_ref().unwrap_or(&asker.before.current).epoch;

    let mut clock = desk.clock_so_far(member_id);
    clock.join = None;
    clock.session = Some(desk.now.mono.after_ms(i64::from(join.session_timeout_ms)));
    clock.sync = Some(desk.now.mono.after_ms(i64::from(join.rebalance_timeout_ms)));
    desk.note(ConsumerNote::Clock(Arc::clone(member_id), clock));
    let joined = Joined {
        member_id: Arc::clone(member_id),
        generation: epoch,
        protocol_type: Some(Arc::from(CONSUMER_PROTOCOL)),
        protocol: Some(Arc::clone(protocol)),
        leader: Arc::from(""),
        skip_assignment: false,
        members: Vec::new(),
    };
    Ok(desk.finish(vec![(ticket, Reply::Join(Ok(joined)))]))
}

/// The classic member that speaks, in the epoch that it tells.
fn find<'a>(
    group: &'a ConsumerGroup,
    member_id: &str,
    instance_id: Option<&Arc<str>>,
) -> Result<(&'a Arc<Member>, &'a ClassicSubscription), GroupError> {
    let member = match instance_id {
        None => group.member(member_id)?,
        Some(instance_id) => {
            let (current, member) = group.static_member(instance_id).ok_or(GroupError::UnknownMember)?;
            if &**current != member_id {
                return Err(GroupError::FencedInstance);
            }
            member
        }
    };
    Ok((member, member.subscription.classic.as_ref().ok_or(GroupError::UnknownMember)?))
}

pub(in crate::groups) fn sync(mut desk: Desk<'_>, ticket: Ticket, sync: &Sync) -> Decision<Groups> {
    let synced = answer_sync(&mut desk, sync);
    desk.finish(vec![(ticket, Reply::Sync(synced))])
}

fn answer_sync(desk: &mut Desk<'_>, sync: &Sync) -> Result<Synced, GroupError> {
    let (member, classic) = find(desk.group, &sync.member_id, sync.instance_id.as_ref())?;
    if member.current.epoch != sync.generation {
        return Err(GroupError::IllegalGeneration);
    }
    let (protocol, metadata) = classic.protocols.first().ok_or(GroupError::Unknown)?;
    let other_type = sync.protocol_type.as_deref().is_some_and(|told| told != CONSUMER_PROTOCOL);
    if other_type || sync.protocol.as_ref().is_some_and(|told| told != protocol) {
        return Err(GroupError::InconsistentProtocol);
    }
    if desk.group.epoch > member.current.epoch && member.current.state != MemberState::Unrevoked {
        expect_join(desk, &sync.member_id, member);
        return Err(GroupError::RebalanceInProgress);
    }
    let version = read_subscription(metadata).map_err(|_| GroupError::Unknown)?.version;
    let assignment = write_assignment(version, &member.current.assigned, &*desk.topics.topics);
    let mut clock = desk.clock_so_far(&sync.member_id);
    clock.sync = None;
    clock.session = Some(desk.now.mono.after_ms(i64::from(classic.session_timeout_ms)));
    desk.note(ConsumerNote::Clock(Arc::clone(&sync.member_id), clock));
    let (protocol_type, protocol) = (sync.protocol_type.clone(), sync.protocol.clone());
    Ok(Synced { protocol_type, protocol, assignment })
}

/// From now on the member has its rebalance timeout to join again.
fn expect_join(desk: &mut Desk<'_>, member_id: &MemberId, member: &Member) {
    let mut clock = desk.clock_so_far(member_id);
    let timeout_ms = i64::from(member.subscription.rebalance_timeout_ms);
    clock.join.get_or_insert(desk.now.mono.after_ms(timeout_ms));
    desk.note(ConsumerNote::Clock(Arc::clone(member_id), clock));
}

pub(in crate::groups) fn heartbeat(
    mut desk: Desk<'_>,
    ticket: Ticket,
    heartbeat: &Heartbeat,
) -> Decision<Groups> {
    let answer = answer_heartbeat(&mut desk, heartbeat);
    desk.finish(vec![(ticket, Reply::Heartbeat(answer))])
}

fn answer_heartbeat(desk: &mut Desk<'_>, heartbeat: &Heartbeat) -> Result<(), GroupError> {
    let (member, classic) = find(desk.group, &heartbeat.member_id, heartbeat.instance_id.as_ref())?;
    let current = &member.current;
    if current.epoch != heartbeat.generation {
        return Err(GroupError::IllegalGeneration);
    }
    let mut clock = desk.clock_so_far(&heartbeat.member_id);
    clock.session = Some(desk.now.mono.after_ms(i64::from(classic.session_timeout_ms)));
    desk.note(ConsumerNote::Clock(Arc::clone(&heartbeat.member_id), clock));
    let step_waits = match current.state {
        MemberState::Unrevoked => true,
        MemberState::Unreleased => !waits_for_others(desk.group, &heartbeat.member_id, member),
        MemberState::Stable | MemberState::Unknown => false,
    };
    if current.epoch < desk.group.epoch || step_waits {
        expect_join(desk, &heartbeat.member_id, member);
        return Err(GroupError::RebalanceInProgress);
    }
    Ok(())
}

/// Whether something it shall have is still somebody's.
fn waits_for_others(group: &ConsumerGroup, member_id: &str, member: &Member) -> bool {
    let plan = group.plan.get(member_id);
    let mut planned = plan.iter().flat_map(|plan| super::group::partitions(plan));
    planned.any(|(topic, partition)| {
        let has = member.current.assigned.get(&topic).is_some_and(|it| it.contains(&partition));
        !has && group.owners.contains_key(&(topic, partition))
    })
}

pub(in crate::groups) fn leave(mut desk: Desk<'_>, ticket: Ticket, leave: Leave) -> Decision<Groups> {
    let mut left: BTreeMap<MemberId, Arc<Subscription>> = BTreeMap::new();
    let mut results = Vec::with_capacity(leave.members.len());
    for leaving in leave.members {
        let result = leaves(desk.group, &leaving).map(|(member_id, member)| {
            if left.insert(Arc::clone(member_id), Arc::clone(&member.subscription)).is_none() {
                desk.write_removal(member_id);
            }
            Arc::clone(member_id)
        });
        // A static member that was named by its instance id alone is told its member id, as by Kafka.
        let told = match &result {
            Ok(member_id) => LeavingMember { member_id: Arc::clone(member_id), ..leaving },
            Err(_) => leaving,
        };
        results.push((told, result.map(|_| ())));
    }
    if desk.has_written() {
        let left: Vec<Arc<Subscription>> = left.into_values().collect();
        write_departure(&mut desk, &left);
    }
    desk.finish(vec![(ticket, Reply::Leave(results))])
}

fn leaves<'a>(
    group: &'a ConsumerGroup,
    leaving: &LeavingMember,
) -> Result<(&'a MemberId, &'a Arc<Member>), GroupError> {
    let (member_id, member) = match &leaving.instance_id {
        None => group.members.get_key_value(&leaving.member_id).ok_or(GroupError::UnknownMember)?,
        Some(instance_id) => {
            let (member_id, member) = group.static_member(instance_id).ok_or(GroupError::UnknownMember)?;
            if !leaving.member_id.is_empty() && *member_id != leaving.member_id {
                return Err(GroupError::FencedInstance);
            }
            (member_id, member)
        }
    };
    match member.is_classic() {
        true => Ok((member_id, member)),
        false => Err(GroupError::UnknownMember),
    }
}
