//! OffsetCommit, TxnOffsetCommit, and everything that takes offsets and groups away again.

use std::collections::BTreeMap;
use std::sync::Arc;

use storage::types::{ProducerId, TimestampMs, TopicPartition};

use super::command::{Commit, Reply};
use super::config::GroupConfig;
use super::consumer::ConsumerGroup;
use super::group::{Group, Membership};
use super::record::{GroupId, OffsetCommit, Record};
use super::refusal::GroupError;
use super::roster::{Roster, State};
use super::{Groups, Note, session, validate_generation, validate_member};
use crate::machine::{Decision, Ticket};
use crate::time::Now;

pub(super) fn commit(
    config: &GroupConfig,
    now: Now,
    ticket: Ticket,
    commit: Commit,
    group: Option<&Group>,
) -> Decision<Groups> {
    // The last word on a partition counts, where a request names it twice.
    let offsets: BTreeMap<TopicPartition, OffsetCommit> = commit.offsets.iter().cloned().collect();
    let mut decision = Decision::nothing();
    let checked = match group.map(|group| &group.members) {
        Some(Membership::Classic(roster)) => validate(roster, &commit),
        Some(Membership::Consumer(group)) => validate_epoch(group, &commit),
        None if commit.producer.is_none() && commit.generation >= 0 => Err(GroupError::IllegalGeneration),
        None => {
            // A group without members comes into being by its first commit, even a refused one.
            let roster = Roster::empty(Some(now.wall));
            let checked = validate(&roster, &commit);
            decision.notes.push(Note::Roster(Arc::clone(&commit.group), Box::new(roster)));
            checked
        }
    };
    let fits = |offset: &OffsetCommit| java_length_is_within(&offset.metadata, config.offset_metadata_max);
    let result = |offset: &OffsetCommit| match checked {
        Err(error) => Err(error),
        Ok(()) if fits(offset) => Ok(()),
        Ok(()) => Err(GroupError::OffsetMetadataTooLarge),
    };
    let results = offsets.iter().map(|(partition, offset)| (partition.clone(), result(offset))).collect();
    decision.replies.push((ticket, Reply::Commit(results)));
    if checked.is_err() {
        return decision;
    }
    let roster = group.and_then(Group::roster);
    if let Some(roster) = roster.filter(|roster| commit.producer.is_none() && roster.state != State::Empty) {
        decision.notes.extend(session::heard(now, &commit.group, &commit.member_id, roster));
    }
    for (partition, offset) in offsets.into_iter().filter(|(_, offset)| fits(offset)) {
        let group = Arc::clone(&commit.group);
        decision.records.push(Record::Offset { group, partition, commit: offset, producer: commit.producer });
    }
    decision
}

fn validate(roster: &Roster, commit: &Commit) -> Result<(), GroupError> {
    let from_member = commit.generation >= 0 || !commit.member_id.is_empty() || commit.instance_id.is_some();
    if commit.generation < 0 && roster.state == State::Empty {
        return Ok(());
    }
    if from_member {
        validate_member(roster, &commit.member_id, commit.instance_id.as_ref())?;
        validate_generation(roster, commit.generation)?;
    } else if commit.producer.is_none() {
        return Err(GroupError::UnknownMember);
    }
    match roster.state {
        State::CompletingRebalance if commit.producer.is_none() => Err(GroupError::RebalanceInProgress),
        _ => Ok(()),
    }
}

/// Members of the new protocol commit in their epoch.
fn validate_epoch(group: &ConsumerGroup, commit: &Commit) -> Result<(), GroupError> {
    if commit.generation < 0 && group.is_empty() {
        return Ok(());
    }
    if commit.producer.is_none() && !commit.knows_epochs && group.needs_epochs(&commit.member_id) {
        return Err(GroupError::UnsupportedVersion);
    }
    group.validate_epoch(&commit.member_id, commit.generation).map_err(|error| match error {
        // A producer knows generations only.
        GroupError::StaleMemberEpoch if commit.producer.is_some() => GroupError::IllegalGeneration,
        error => error,
    })
}

/// Kafka measures metadata in Java characters, which are UTF-16 code units.
fn java_length_is_within(metadata: &str, max: usize) -> bool {
    metadata.len() <= max || metadata.encode_utf16().count() <= max
}

pub(super) fn delete_group(ticket: Ticket, id: &GroupId, group: Option<&Group>) -> Decision<Groups> {
    let Some(group) = group else {
        return Decision::reply(ticket, Reply::DeleteGroup(Err(GroupError::GroupNotFound)));
    };
    if !group.is_empty() {
        return Decision::reply(ticket, Reply::DeleteGroup(Err(GroupError::NonEmptyGroup)));
    }
    let partitions: Vec<TopicPartition> = group.offsets.partitions().cloned().collect();
    let mut decision = remove_offsets(id, group, &partitions);
    if decision.notes.is_empty() {
        decision.bury(id, group);
    }
    decision.replies.push((ticket, Reply::DeleteGroup(Ok(()))));
    decision
}

pub(super) fn delete_offsets(
    ticket: Ticket,
    id: &GroupId,
    group: Option<&Group>,
    partitions: &[TopicPartition],
) -> Decision<Groups> {
    let refuse = |error| Decision::reply(ticket, Reply::DeleteOffsets(Err(error)));
    let Some(group) = group else { return refuse(GroupError::GroupNotFound) };
    if !group.is_empty() && !group.tells_subscriptions() {
        return refuse(GroupError::NonEmptyGroup);
    }
    let subscribed = |partition: &TopicPartition| group.is_subscribed_to(&partition.topic);
    let result = |partition: &TopicPartition| match subscribed(partition) {
        true => Err(GroupError::SubscribedToTopic),
        false => Ok(()),
    };
    let results = partitions.iter().map(|partition| (partition.clone(), result(partition))).collect();
    let free: Vec<TopicPartition> =
        partitions.iter().filter(|partition| !subscribed(partition)).cloned().collect();
    let mut decision = if free.is_empty() { Decision::nothing() } else { remove_offsets(id, group, &free) };
    decision.replies.push((ticket, Reply::DeleteOffsets(Ok(results))));
    decision
}

pub(super) fn forget(
    ticket: Ticket,
    id: &GroupId,
    group: Option<&Group>,
    partitions: &[TopicPartition],
) -> Decision<Groups> {
    let mut decision = group.map_or_else(Decision::nothing, |group| remove_offsets(id, group, partitions));
    decision.replies.push((ticket, Reply::Forgotten));
    decision
}

/// What time has come for in one group: offsets, and the group itself if it is empty without them.
/// `None` where that is nothing.
pub(super) fn clean(
    config: &GroupConfig,
    wall: TimestampMs,
    id: &GroupId,
    group: &Group,
) -> Option<Decision<Groups>> {
    let expired = group.expired_offsets(wall, config.offsets_retention_ms);
    let decision = remove_offsets(id, group, &expired);
    (!decision.records.is_empty() || !decision.notes.is_empty()).then_some(decision)
}

/// Takes committed offsets away, and with the last one an empty group. Offsets that wait for a transaction stay:
/// its end comes later in the log than the tombstones.
fn remove_offsets(id: &GroupId, group: &Group, partitions: &[TopicPartition]) -> Decision<Groups> {
    let mut decision = Decision::nothing();
    let mut left = group.offsets.len();
    for partition in partitions.iter().filter(|partition| group.offsets.get(partition).is_some()) {
        let (group, partition, producer) = (Arc::clone(id), partition.clone(), None::<ProducerId>);
        decision.records.push(Record::OffsetGone { group, partition, producer });
        left -= 1;
    }
    if left == 0 && !group.offsets.has_pending() && group.is_empty() {
        decision.bury(id, group);
    }
    decision
}

impl Decision<Groups> {
    /// The group ends. One that never came through a rebalance has left nothing in the log to take back.
    fn bury(&mut self, id: &GroupId, group: &Group) {
        match &group.members {
            Membership::Classic(roster) if roster.generation > 0 => {
                self.records.push(Record::GroupGone(Arc::clone(id)));
            }
            Membership::Classic(_) => {}
            Membership::Consumer(group) => {
                let gone = group.tombstones().into_iter();
                self.records.extend(gone.map(|record| Record::Consumer(Arc::clone(id), record)));
            }
        }
        self.notes.push(Note::Gone(Arc::clone(id)));
    }
}
