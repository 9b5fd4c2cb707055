//! A group changes its protocol while it has members (`group.consumer.migration.policy`): a classic one becomes a
//! consumer group when the first member of the new protocol comes, and goes back when the last of them goes.

use std::sync::Arc;

use super::assignors::Assignment;
use super::desk::Desk;
use super::embedded::{read_assignment, read_subscription, write_assignment};
use super::group::{ConsumerGroup, ConsumerNote};
use super::record::{ClassicSubscription, ConsumerRecord, Current, MemberState, Subscription};
use super::topics::ClusterTopics;
use crate::groups::command::Reply;
use crate::groups::config::GroupConfig;
use crate::groups::draft::Draft;
use crate::groups::record::{GroupId, MemberId, Record};
use crate::groups::refusal::GroupError;
use crate::groups::roster::{Member as ClassicMember, Roster, State};
use crate::groups::{Groups, Note};
use crate::machine::{Decision, Ticket};
use crate::time::Now;

/// A classic group in the words of a consumer group.
pub(in crate::groups) struct Upgrade {
    pub(in crate::groups) group: ConsumerGroup,
    pub(in crate::groups) records: Vec<Record>,
    pub(in crate::groups) notes: Vec<Note>,
    /// Whoever waited for the classic group has to come again.
    pub(in crate::groups) replies: Vec<(Ticket, Reply)>,
}

/// What becomes of a classic group that a member of the new protocol wants to join. An empty one makes room.
pub(in crate::groups) fn upgrade(
    config: &GroupConfig,
    topics: &ClusterTopics,
    now: Now,
    id: &GroupId,
    roster: &Roster,
) -> Result<Upgrade, GroupError> {
    let mut upgrade = Upgrade {
        group: ConsumerGroup::default(),
        records: vec![Record::GroupGone(Arc::clone(id))],
        notes: Vec::new(),
        replies: Vec::new(),
    };
    if roster.state == State::Empty {
        return Ok(upgrade);
    }
    let size_max = usize::try_from(config.consumer.size_max).unwrap_or(0);
    let allowed =
        config.consumer.migration.upgrade && roster.is_consumer_group() && roster.members.size() <= size_max;
    if !allowed {
        return Err(GroupError::GroupNotFound);
    }
    for record in in_new_words(topics, roster)? {
        upgrade.group.apply(&record);
        upgrade.records.push(Record::Consumer(Arc::clone(id), record));
    }
    for (member_id, member) in &roster.members {
        let session = Some(now.mono.after_ms(i64::from(member.session_timeout_ms)));
        let clock = super::group::Clock { session, ..Default::default() };
        let note = ConsumerNote::Clock(Arc::clone(member_id), clock);
        upgrade.group.note(note.clone());
        upgrade.notes.push(Note::Consumer(Arc::clone(id), note));
    }
    upgrade.replies = answers_to_waiting(config, now, id, roster);
    Ok(upgrade)
}

fn answers_to_waiting(config: &GroupConfig, now: Now, id: &GroupId, roster: &Roster) -> Vec<(Ticket, Reply)> {
    let mut draft = Draft::new(config, now, id, Some(roster));
    for (member_id, member) in &roster.members {
        draft.dismiss(member, member_id, GroupError::RebalanceInProgress);
    }
    draft.finish().replies
}

/// In Kafka's order: who they are, the group, the plan, and what they have.
fn in_new_words(topics: &ClusterTopics, roster: &Roster) -> Result<Vec<ConsumerRecord>, GroupError> {
    let mut members: Vec<(MemberId, Subscription, Arc<Assignment>)> = Vec::new();
    let mut owned = std::collections::BTreeSet::new();
    for (member_id, member) in &roster.members {
        let protocol = roster.protocol.as_deref().ok_or(GroupError::GroupNotFound)?;
        // What cannot be read cannot be carried over.
        let assignment = read_assignment(&member.assignment, &*topics.topics);
        let assignment = assignment.map_err(|_| GroupError::GroupNotFound)?;
        let told = read_subscription(&member.metadata(protocol)).map_err(|_| GroupError::GroupNotFound)?;
        if !super::group::partitions(&assignment).all(|partition| owned.insert(partition)) {
            return Err(GroupError::Unknown);
        }
        let subscription = Subscription {
            instance_id: member.instance_id.clone(),
            rack_id: told.rack_id,
            client_id: Arc::clone(&member.client_id),
            client_host: Arc::clone(&member.client_host),
            topics: told.topics,
            rebalance_timeout_ms: member.rebalance_timeout_ms,
            classic: Some(ClassicSubscription {
                session_timeout_ms: member.session_timeout_ms,
                protocols: member.protocols.to_vec(),
            }),
            ..Subscription::default()
        };
        members.push((Arc::clone(member_id), subscription, Arc::new(assignment)));
    }
    let epoch = roster.generation;
    let mut records = Vec::with_capacity(members.len() * 3 + 2);
    for (member_id, subscription, _) in &members {
        let told = Some(Arc::new(subscription.clone()));
        records.push(ConsumerRecord::Member(Arc::clone(member_id), told));
    }
    records.push(ConsumerRecord::Epoch(Some(epoch)));
    for (member_id, _, plan) in &members {
        records.push(ConsumerRecord::Plan(Arc::clone(member_id), Some(Arc::clone(plan))));
    }
    records.push(ConsumerRecord::PlanEpoch(Some(epoch)));
    for (member_id, _, plan) in members {
        let current = Current {
            epoch,
            previous_epoch: epoch,
            state: MemberState::Stable,
            assigned: (*plan).clone(),
            revoked: Assignment::new(),
        };
        records.push(ConsumerRecord::Current(member_id, Some(current)));
    }
    Ok(records)
}

/// The group without `leaving` as a classic one that rebalances; `None` where it stays as it is.
pub(super) fn downgrade(desk: &Desk<'_>, leaving: &MemberId) -> Option<Decision<Groups>> {
    let group = desk.group;
    let leaver_is_classic = group.members.get(leaving)?.is_classic();
    let mut others = group.members.iter().filter(|(member_id, _)| *member_id != leaving);
    let size_max = usize::try_from(desk.config.size_max).unwrap_or(0);
    let allowed = desk.consumer().migration.downgrade
        && !leaver_is_classic
        && (2..=size_max.saturating_add(1)).contains(&group.members.len())
        && others.all(|(_, member)| member.is_classic());
    if !allowed {
        return None;
    }
    let mut roster = Roster::empty(Some(desk.now.wall));
    roster.generation = group.epoch;
    roster.protocol_type = Some(Arc::from(crate::groups::roster::CONSUMER_PROTOCOL));
    roster.state = State::Stable;
    for (member_id, member) in group.members.iter().filter(|(member_id, _)| *member_id != leaving) {
        let (told, classic) = (&member.subscription, member.subscription.classic.as_ref()?);
        let plan = group.plan.get(member_id).cloned().unwrap_or_default();
        let version = classic.protocols.first().and_then(|(_, metadata)| read_subscription(metadata).ok());
        let assignment = write_assignment(version?.version, &plan, &*desk.topics.topics);
        let classic = ClassicMember {
            instance_id: told.instance_id.clone(),
            client_id: Arc::clone(&told.client_id),
            client_host: Arc::clone(&told.client_host),
            rebalance_timeout_ms: told.rebalance_timeout_ms,
            session_timeout_ms: classic.session_timeout_ms,
            protocols: Arc::from(classic.protocols.as_slice()),
            assignment,
            parked_join: None,
            parked_sync: None,
            is_new: false,
            deadline: None,
        };
        roster.add(Arc::clone(member_id), classic);
    }
    roster.protocol = Some(roster.select_protocol()?);
    roster.subscribed = roster.subscribed_topics();
    let mut draft = Draft::new(desk.config, desk.now, desk.id, Some(&roster));
    draft.store();
    for member_id in roster.members.keys() {
        draft.await_heartbeat(member_id);
    }
    draft.prepare_rebalance();
    let mut decision = draft.finish();
    let gone = group.tombstones().into_iter().map(|record| Record::Consumer(Arc::clone(desk.id), record));
    decision.records = gone.chain(decision.records).collect();
    Some(decision)
}
