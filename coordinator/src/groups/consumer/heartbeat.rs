//! ConsumerGroupHeartbeat: a member comes, is alive, tells what has changed, learns what it shall have, and goes; and
//! what happens to those that are not heard of in time.

use std::sync::Arc;

use storage::types::TopicId;

use super::command::{ConsumerHeartbeat, Heard, HeartbeatRefused};
use super::config::ConsumerConfig;
use super::desk::{Desk, Strangers};
use super::group::{Clock, ConsumerNote, LEAVES, Member, WILL_BE_BACK};
use super::migration;
use super::record::{ConsumerRecord, Current, MemberState, Subscription};
use crate::groups::Groups;
use crate::groups::command::Reply;
use crate::groups::record::MemberId;
use crate::groups::refusal::GroupError;
use crate::machine::{Decision, Ticket};

/// Whether the request makes sense at all.
pub(in crate::groups) fn validate(
    config: &ConsumerConfig,
    request: &ConsumerHeartbeat,
) -> Result<(), HeartbeatRefused> {
    let invalid = |what: &'static str| Err(GroupError::InvalidRequest(what).into());
    let blank = |text: &str| text.trim().is_empty();
    let blank_if_told = |text: &Option<Arc<str>>| text.as_deref().is_some_and(blank);
    if blank(&request.group) {
        return invalid("a group id is needed");
    }
    if blank_if_told(&request.instance_id) || blank_if_told(&request.rack_id) {
        return invalid("an instance id or rack id that is told must not be empty");
    }
    match request.epoch {
        0 if request.rebalance_timeout_ms.is_none() => {
            return invalid("a member that joins tells its rebalance timeout");
        }
        0 if request.owned.as_ref().is_none_or(|owned| !owned.is_empty()) => {
            return invalid("a member that joins has no partitions yet and says so");
        }
        0 if request.topics.as_ref().is_none_or(|topics| topics.is_empty()) => {
            return invalid("a member that joins subscribes to topics");
        }
        0 => {}
        ..WILL_BE_BACK => return invalid("the member epoch is none"),
        _ if blank(&request.member_id) => return invalid("a member id is needed"),
        WILL_BE_BACK if request.instance_id.is_none() => {
            return invalid("only a static member can be away for a while, and tells its instance id");
        }
        _ => {}
    }
    let wanted = request.assignor.as_deref().filter(|name| config.assignor(name).is_none());
    if let Some(name) = wanted {
        let offered: Vec<&str> = config.assignors.iter().map(|assignor| assignor.name()).collect();
        let text = format!("there is no assignor {name}; offered are {}", offered.join(", "));
        return Err(HeartbeatRefused { error: GroupError::UnsupportedAssignor, text });
    }
    Ok(())
}

/// Decides a heartbeat in the group as the desk shows it; on a refusal nothing that the desk holds is to be done.
pub(in crate::groups) fn heartbeat(
    desk: Desk<'_>,
    ticket: Ticket,
    request: &ConsumerHeartbeat,
) -> Result<Decision<Groups>, GroupError> {
    match request.epoch {
        LEAVES | WILL_BE_BACK => leave(desk, ticket, request),
        _ => stay(desk, ticket, request),
    }
}

fn stay(
    mut desk: Desk<'_>,
    ticket: Ticket,
    request: &ConsumerHeartbeat,
) -> Result<Decision<Groups>, GroupError> {
    let joins = request.epoch == 0;
    desk.has_room_for(&request.member_id)?;
    let member_id = match &*request.member_id {
        "" => fresh_member_id(request.fresh_id),
        _ => Arc::clone(&request.member_id),
    };
    let strangers = if joins { Strangers::Welcome } else { Strangers::Refused };
    let epoch = Some((request.epoch, request.owned.as_ref()));
    let asker = match &request.instance_id {
        None => desk.dynamic_member(&member_id, strangers, epoch)?,
        Some(instance_id) => desk.static_member(&member_id, instance_id, strangers, epoch)?,
    };
    let subscription = told(&asker.before.subscription, request);
    let next = desk.bring_up_to_date(&asker, &subscription, request.owned.as_ref())?;
    let current = next.as_ref().unwrap_or(&asker.before.current);

    let mut clock = desk.clock_so_far(&member_id);
    clock.session = Some(desk.now.mono.after_ms(i64::from(desk.consumer().session_timeout_ms)));
    (clock.join, clock.sync) = (None, None);
    desk.note(ConsumerNote::Clock(Arc::clone(&member_id), clock));
    let tells_all = joins
        || (request.rebalance_timeout_ms.is_some() && request.topics.is_some() && request.owned.is_some());
    let changed = current.assigned != asker.before.current.assigned;
    let heard = Heard {
        member_id,
        epoch: current.epoch,
        heartbeat_interval_ms: desk.consumer().heartbeat_interval_ms,
        assignment: (tells_all || changed).then(|| current.assigned.clone()),
    };
    Ok(desk.finish(vec![(ticket, Reply::ConsumerHeartbeat(Ok(heard)))]))
}

/// Any text that nobody else has; written like a topic id.
pub(super) fn fresh_member_id(random: [u8; 16]) -> MemberId {
    Arc::from(TopicId(random).to_string())
}

/// What the member says of itself now; the same allocation where that is nothing new.
fn told(before: &Arc<Subscription>, request: &ConsumerHeartbeat) -> Arc<Subscription> {
    let same = |new: &Option<Arc<str>>, old: &Option<Arc<str>>| new.is_none() || new == old;
    let unchanged = same(&request.instance_id, &before.instance_id)
        && same(&request.rack_id, &before.rack_id)
        && same(&request.assignor, &before.assignor)
        && request.rebalance_timeout_ms.is_none_or(|ms| ms == before.rebalance_timeout_ms)
        && request.topics.as_ref().is_none_or(|topics| *topics == before.topics)
        && request.client_id == before.client_id
        && request.client_host == before.client_host
        && before.classic.is_none();
    if unchanged {
        return Arc::clone(before);
    }
    Arc::new(Subscription {
        instance_id: request.instance_id.clone().or_else(|| before.instance_id.clone()),
        rack_id: request.rack_id.clone().or_else(|| before.rack_id.clone()),
        client_id: Arc::clone(&request.client_id),
        client_host: Arc::clone(&request.client_host),
        topics: request.topics.clone().unwrap_or_else(|| before.topics.clone()),
        regex: before.regex.clone(),
        rebalance_timeout_ms: request.rebalance_timeout_ms.unwrap_or(before.rebalance_timeout_ms),
        assignor: request.assignor.clone().or_else(|| before.assignor.clone()),
        classic: None,
    })
}

fn leave(
    mut desk: Desk<'_>,
    ticket: Ticket,
    request: &ConsumerHeartbeat,
) -> Result<Decision<Groups>, GroupError> {
    let group = desk.group;
    let member = match &request.instance_id {
        None => group.member(&request.member_id)?,
        Some(instance_id) => {
            let (member_id, member) = group.static_member(instance_id).ok_or(GroupError::UnknownMember)?;
            if *member_id != request.member_id {
                return Err(GroupError::FencedInstance);
            }
            member
        }
    };
    let heard = Heard {
        member_id: Arc::clone(&request.member_id),
        epoch: request.epoch,
        heartbeat_interval_ms: 0,
        assignment: None,
    };
    let replies = vec![(ticket, Reply::ConsumerHeartbeat(Ok(heard)))];
    if request.epoch == WILL_BE_BACK && request.instance_id.is_some() {
        let revoked = super::assignors::Assignment::new();
        let away = Current { epoch: WILL_BE_BACK, revoked, ..member.current.clone() };
        desk.write(ConsumerRecord::Current(Arc::clone(&request.member_id), Some(away)));
        return Ok(desk.finish(replies));
    }
    let (member_id, member) = (Arc::clone(&request.member_id), Arc::clone(member));
    Ok(dismiss(desk, &member_id, &member, replies))
}

/// A member is out: the group goes on without it, or becomes a classic one where only classic members are left.
fn dismiss(
    mut desk: Desk<'_>,
    member_id: &MemberId,
    member: &Arc<Member>,
    replies: Vec<(Ticket, Reply)>,
) -> Decision<Groups> {
    if let Some(mut downgraded) = migration::downgrade(&desk, member_id) {
        downgraded.replies.extend(replies);
        return downgraded;
    }
    desk.write_removal(member_id);
    write_departure(&mut desk, std::slice::from_ref(&member.subscription));
    desk.finish(replies)
}

/// The group without `left`: other topics, perhaps, and a new epoch. The plan is made when the next member is heard of.
pub(super) fn write_departure(desk: &mut Desk<'_>, left: &[Arc<Subscription>]) {
    let subscribed = desk.subscribed(left, None);
    let topics = desk.known_topics(subscribed.keys());
    if topics != desk.group.topics {
        desk.write(ConsumerRecord::Topics(Some(topics)));
    }
    desk.write(ConsumerRecord::Epoch(Some(desk.group.epoch.wrapping_add(1))));
}

/// Settles one thing that is due.
pub(in crate::groups) fn expire(mut desk: Desk<'_>) -> Decision<Groups> {
    let now = desk.now.mono;
    let due = desk.group.clocks.iter().find(|(_, clock)| clock.next().is_some_and(|at| at <= now));
    let member = due.and_then(|(id, clock)| Some((id, *clock, desk.group.members.get(id)?)));
    let Some((member_id, clock, member)) = member else {
        desk.note(ConsumerNote::LookAgain(now));
        return desk.finish(Vec::new());
    };
    let (member_id, member) = (Arc::clone(member_id), Arc::clone(member));
    let others = [clock.session, clock.join, clock.sync].into_iter().flatten().any(|at| at <= now);
    let revocation = clock.revocation.filter(|(at, _)| *at <= now);
    let stuck = revocation.is_some_and(|(_, epoch)| epoch == member.current.epoch);
    if others || stuck {
        return dismiss(desk, &member_id, &member, Vec::new());
    }
    // It has left the epoch that it was given time for.
    desk.note(ConsumerNote::Clock(member_id, Clock { revocation: None, ..clock }));
    desk.finish(Vec::new())
}

/// The group has been read from the log: from now on its members are waited for.
pub(in crate::groups) fn loaded(mut desk: Desk<'_>) -> Decision<Groups> {
    for (member_id, member) in &desk.group.members {
        let session = desk.now.mono.after_ms(i64::from(desk.consumer().session_timeout_ms));
        let timeout_ms = i64::from(member.subscription.rebalance_timeout_ms);
        let revokes = member.current.state == MemberState::Unrevoked;
        let revocation = revokes.then(|| (desk.now.mono.after_ms(timeout_ms), member.current.epoch));
        let clock = Clock { session: Some(session), revocation, ..Clock::default() };
        desk.note(ConsumerNote::Clock(Arc::clone(member_id), clock));
    }
    desk.finish(Vec::new())
}
