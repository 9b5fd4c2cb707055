//! Consumer groups of one partition of `__consumer_offsets`: who is in them, and how far they have read.
//!
//! Behaves as Apache 3.9.1's coordinator: in ZooKeeper mode for the classic protocol (KIP-62, 134, 345, 394, 447,
//! 814), in KRaft mode for the new one (KIP-848, see `consumer`), and writes its records, so that either can take
//! over the other's partition. Offsets and the groups' generations
//! change only by records; sessions, parked requests and rebalances under way are notes and end with the leadership.
//! Knows no other partition, no topic's existence, no permission and no clock.
//!
//! Reading order: `command` (the words), `record` (what is durable), `group`, `roster` (its classic members), `draft`
//! (the steps of a rebalance), `join` and `session` (the requests of members), `commit` and `offsets`; then `consumer`.

mod command;
mod commit;
mod config;
pub mod consumer;
mod dispatch;
mod draft;
mod group;
mod join;
mod offsets;
mod record;
mod refusal;
mod roster;
mod session;
mod subscription;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use storage::types::{Offset, ProducerId, TopicPartition};

pub use self::command::{
    Command, Commit, GroupDescription, GroupListing, Handshake, Heartbeat, Join, JoinRefused, Joined,
    JoinedMember, Leave, LeavingMember, MemberDescription, PartitionResults, Reply, SkipAssignment, Sync,
    Synced,
};
pub use self::config::GroupConfig;
use self::consumer::{ClusterTopics, ConsumerDescription, ConsumerNote, Desk};
use self::draft::Draft;
use self::group::{AllGroups, Group, Membership};
pub use self::record::{
    GroupId, GroupMetadata, MemberId, MemberMetadata, OffsetCommit, Record, TransactionalProducer,
};
pub use self::refusal::GroupError;
pub use self::roster::Roster;
use crate::machine::{AppendFailure, Decision, Machine, Ticket};
use crate::time::{Monotonic, Now};
pub use crate::wire::WireError;

/// What changes without a record.
#[derive(Clone, Debug)]
pub enum Note {
    /// The group's members and rebalance are now these.
    Roster(GroupId, Box<Roster>),
    /// A member is alive; the next sign of life is due by then.
    Heard { group: GroupId, member_id: MemberId, until: Option<Monotonic> },
    /// The group has ended.
    Gone(GroupId),
    /// Of a group of the new protocol.
    Consumer(GroupId, ConsumerNote),
    /// The topics of the cluster are now these; an older state than the one known is passed over.
    Topics(ClusterTopics),
    /// Where the search for expired offsets goes on, and when.
    Cleanup(Cleanup),
}

/// A walk through all groups, one at a time.
#[derive(Clone, Debug, Default)]
pub struct Cleanup {
    /// `None` until the partition is loaded.
    at: Option<Monotonic>,
    /// The groups up to this one are done.
    after: Option<GroupId>,
}

/// All groups of one partition of the offsets topic.
pub struct Groups {
    config: GroupConfig,
    groups: AllGroups,
    topics: ClusterTopics,
    /// When a group has something due. A deadline that moves back leaves its entry where it is: looking once too
    /// early is cheaper than moving it with every heartbeat.
    timers: BTreeSet<(Monotonic, GroupId)>,
    /// Which groups wait for the end of a producer's transaction.
    open_transactions: BTreeMap<ProducerId, BTreeSet<GroupId>>,
    cleanup: Cleanup,
}

impl Groups {
    pub fn new(config: GroupConfig) -> Groups {
        Groups {
            config,
            groups: AllGroups::new(),
            topics: ClusterTopics::default(),
            timers: BTreeSet::new(),
            open_transactions: BTreeMap::new(),
            cleanup: Cleanup::default(),
        }
    }

    /// `None` where there is no such group, or it is of the new protocol.
    pub fn describe(&self, group: &str) -> Option<GroupDescription> {
        Some(self.groups.get(group)?.roster()?.describe())
    }

    /// `None` where there is no such group, or it is a classic one.
    pub fn describe_consumer(&self, group: &str) -> Option<ConsumerDescription> {
        Some(self.groups.get(group)?.consumer()?.describe(&self.config.consumer))
    }

    pub fn list(&self) -> impl Iterator<Item = GroupListing> {
        self.groups.iter().map(|(id, group)| group.list(id))
    }

    /// Whether a member, in its epoch, may read the offsets of its group (OffsetFetch 9 and later); anybody may who
    /// says nothing of a member.
    pub fn may_fetch(&self, group: &str, member_id: Option<&str>, epoch: i32) -> Result<(), GroupError> {
        let group = self.groups.get(group).and_then(Group::consumer);
        match (group, member_id) {
            (Some(_), None) if epoch < 0 => Ok(()),
            (Some(group), member_id) => group.validate_epoch(member_id.unwrap_or(""), epoch),
            (None, _) => Ok(()),
        }
    }

    /// All partitions the group has offsets for.
    pub fn partitions_of(&self, group: &str) -> Vec<TopicPartition> {
        self.groups.get(group).map(|group| group.offsets.partitions().cloned().collect()).unwrap_or_default()
    }

    /// The last committed offset.
    pub fn offset(&self, group: &str, partition: &TopicPartition) -> Option<&OffsetCommit> {
        self.groups.get(group)?.offsets.get(partition)
    }

    /// The last committed offset, unless a transaction that has not ended may change it.
    pub fn stable_offset(
        &self,
        group: &str,
        partition: &TopicPartition,
    ) -> Result<Option<&OffsetCommit>, GroupError> {
        self.groups.get(group).map_or(Ok(None), |group| group.offsets.get_stable(partition))
    }

    /// The groups that [`Command::ForgetPartitions`] concerns.
    pub fn groups_with_offsets_of(&self, partitions: &[TopicPartition]) -> Vec<GroupId> {
        let holds = |group: &Group| partitions.iter().any(|partition| group.offsets.get(partition).is_some());
        self.groups.iter().filter(|(_, group)| holds(group)).map(|(id, _)| Arc::clone(id)).collect()
    }

    pub fn group_count(&self) -> usize {
        self.groups.len()
    }

    /// Panics where the machine contradicts itself. For tests.
    pub fn check(&self) {
        for (id, group) in &self.groups {
            group.check();
            assert_eq!(
                group.timer.is_some(),
                group.timer.is_some_and(|at| self.timers.contains(&(at, Arc::clone(id))))
            );
            if let Some(next) = group.next_deadline() {
                assert!(group.timer.is_some_and(|at| at <= next), "no deadline is missed");
            }
        }
        assert_eq!(self.timers.len(), self.groups.values().filter(|group| group.timer.is_some()).count());
    }

    /// The durable part of a group, as the log would tell it: for comparing a replay with what lived.
    pub fn stored(&self, group: &str) -> Option<GroupMetadata> {
        let roster = self.groups.get(group)?.roster()?;
        (!roster.is_blank()).then(|| roster.to_record())
    }

    /// The same for a group of the new protocol.
    pub fn stored_consumer(&self, group: &str) -> Option<consumer::ConsumerGroup> {
        Some(self.groups.get(group)?.consumer()?.stored())
    }

    fn draft(&self, now: Now, group: &GroupId) -> Draft<'_> {
        Draft::new(&self.config, now, group, self.groups.get(group).and_then(Group::roster))
    }

    fn desk<'a>(&'a self, now: Now, id: &'a GroupId, group: &'a consumer::ConsumerGroup) -> Desk<'a> {
        Desk::new(&self.config, &self.topics, now, id, group)
    }

    fn entry(&mut self, id: &GroupId) -> &mut Group {
        self.groups.entry(Arc::clone(id)).or_insert_with(Group::blank)
    }

    fn set_roster(&mut self, id: &GroupId, roster: Roster) {
        let at = roster.next_deadline();
        self.entry(id).members = Membership::Classic(roster);
        self.set_timer(id, at);
    }

    fn set_timer(&mut self, id: &GroupId, at: Option<Monotonic>) {
        let Some(group) = self.groups.get_mut(id).filter(|group| group.timer != at) else { return };
        if let Some(before) = std::mem::replace(&mut group.timer, at) {
            self.timers.remove(&(before, Arc::clone(id)));
        }
        self.timers.extend(at.map(|at| (at, Arc::clone(id))));
    }

    fn remove_group(&mut self, id: &GroupId) {
        self.set_timer(id, None);
        self.groups.remove(id);
    }

    /// A group that only ever held offsets is gone with the last of them.
    fn remove_if_blank(&mut self, id: &GroupId) {
        if self.groups.get(id).is_some_and(Group::is_blank) {
            self.remove_group(id);
        }
    }

    fn end_transaction(&mut self, producer: ProducerId, committed: bool) {
        for id in self.open_transactions.remove(&producer).unwrap_or_default() {
            if let Some(group) = self.groups.get_mut(&id) {
                group.offsets.end_transaction(producer, committed);
            }
        }
    }

    fn forget_pending(&mut self, id: &GroupId, producer: ProducerId, partition: &TopicPartition) {
        let Some(group) = self.groups.get_mut(id) else { return };
        group.offsets.remove_pending(producer, partition);
        if group.offsets.has_pending_of(producer) {
            return;
        }
        if let Some(open) = self.open_transactions.get_mut(&producer) {
            open.remove(id);
            if open.is_empty() {
                self.open_transactions.remove(&producer);
            }
        }
    }

    /// The next step of the walk for expired offsets.
    fn clean(&self, now: Now) -> Decision<Groups> {
        let from = self.cleanup.after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        for (id, group) in self.groups.range::<GroupId, _>((from, Bound::Unbounded)) {
            let Some(mut decision) = commit::clean(&self.config, now.wall, id, group) else { continue };
            // Not yet past this group: it may have more than one batch of them.
            let after = self
                .groups
                .range::<GroupId, _>(..Arc::clone(id))
                .next_back()
                .map(|(before, _)| before.clone());
            decision.notes.push(Note::Cleanup(Cleanup { at: self.cleanup.at, after }));
            return decision;
        }
        let mut decision = Decision::nothing();
        decision.notes.push(self.next_cleanup(now));
        decision
    }

    fn next_cleanup(&self, now: Now) -> Note {
        let at = now.mono.after_ms(self.config.offsets_retention_check_interval_ms.max(1));
        Note::Cleanup(Cleanup { at: Some(at), after: None })
    }
}

impl Machine for Groups {
    type Command = Command;
    type Record = Record;
    type Note = Note;
    type Reply = Reply;

    fn decide(&self, now: Now, ticket: Ticket, command: Command) -> Decision<Groups> {
        match command {
            Command::Join(join) => self.join(now, ticket, &join),
            Command::Sync(sync) => self.sync(now, ticket, sync),
            Command::Heartbeat(heartbeat) => self.heartbeat(now, ticket, &heartbeat),
            Command::ConsumerHeartbeat(heartbeat) => self.consumer_heartbeat(now, ticket, &heartbeat),
            Command::Leave(leave) => self.leave(now, ticket, leave),
            Command::Commit(commit) => {
                let group = self.groups.get(&commit.group);
                commit::commit(&self.config, now, ticket, commit, group)
            }
            Command::DeleteGroup(group) => commit::delete_group(ticket, &group, self.groups.get(&group)),
            Command::DeleteOffsets(group, partitions) => {
                commit::delete_offsets(ticket, &group, self.groups.get(&group), &partitions)
            }
            Command::ForgetPartitions(group, partitions) => {
                commit::forget(ticket, &group, self.groups.get(&group), &partitions)
            }
        }
    }

    fn expire(&self, now: Now) -> Decision<Groups> {
        if let Some((_, id)) = self.timers.first().filter(|(at, _)| *at <= now.mono) {
            return match self.members_of(id) {
                Some(Membership::Consumer(group)) => consumer::expire(self.desk(now, id, group)),
                _ => session::expire(self.draft(now, id)),
            };
        }
        if self.cleanup.at.is_some_and(|at| at <= now.mono) {
            return self.clean(now);
        }
        Decision::nothing()
    }

    fn next_deadline(&self) -> Option<Monotonic> {
        let timer = self.timers.first().map(|(at, _)| *at);
        timer.into_iter().chain(self.cleanup.at).min()
    }

    fn loaded(&self, now: Now) -> Decision<Groups> {
        let mut decision = Decision::nothing();
        let size_max = usize::try_from(self.config.size_max).unwrap_or(0);
        for (id, group) in self.groups.iter().filter(|(_, group)| !group.is_empty()) {
            let mut started = match &group.members {
                Membership::Classic(roster) => {
                    let mut draft = self.draft(now, id);
                    if roster.members.size() > size_max {
                        draft.prepare_rebalance();
                    }
                    for member_id in roster.members.keys() {
                        draft.await_heartbeat(member_id);
                    }
                    draft.finish()
                }
                Membership::Consumer(group) => consumer::loaded(self.desk(now, id, group)),
            };
            decision.records.append(&mut started.records);
            decision.notes.append(&mut started.notes);
        }
        decision.notes.push(self.next_cleanup(now));
        decision
    }

    fn refuse(&self, now: Now, decision: Decision<Groups>, failure: AppendFailure) -> Decision<Groups> {
        let Decision { records, notes, replies } = decision;
        let mut failed: Vec<_> =
            replies.into_iter().map(|(ticket, reply)| (ticket, Self::failed(reply, failure))).collect();
        let notes = match records.first() {
            // An empty group is empty whether the log knows it or not; the worst is that its members are awaited
            // once more after a load.
            Some(Record::Group(_, metadata)) if metadata.members.is_empty() => notes,
            Some(Record::Group(id, _)) if failed.iter().any(|(_, reply)| matches!(reply, Reply::Sync(_))) => {
                // Whoever waits for the assignment has just been told that there is none: all have to join again.
                let mut draft = self.draft(now, id);
                draft.fail_syncs(GroupError::storing_group(failure));
                draft.rebalance_unless_preparing();
                let mut again = draft.finish();
                again.replies.retain(|(ticket, _)| failed.iter().all(|(told, _)| told != ticket));
                failed.append(&mut again.replies);
                again.notes
            }
            Some(Record::Consumer(id, _)) if failed.is_empty() => {
                let again = now.mono.after_ms(consumer::RETRY_MS);
                let mut notes = vec![Note::Consumer(Arc::clone(id), ConsumerNote::LookAgain(again))];
                // Without members it was to be taken away by the walk for expired offsets.
                notes.extend(self.groups.get(id).filter(|it| it.is_empty()).map(|_| self.next_cleanup(now)));
                notes
            }
            Some(Record::OffsetGone { .. } | Record::GroupGone(_)) if failed.is_empty() => {
                vec![self.next_cleanup(now)]
            }
            _ => Vec::new(),
        };
        Decision { records: Vec::new(), notes, replies: failed }
    }

    fn rests_on_log(reply: &Reply) -> bool {
        matches!(reply, Reply::Sync(Ok(_)) | Reply::ConsumerHeartbeat(Ok(_)))
    }

    fn failed(reply: Reply, failure: AppendFailure) -> Reply {
        let group = GroupError::storing_group(failure);
        let offsets = GroupError::storing_offsets(failure);
        match reply {
            Reply::Sync(Ok(_)) => Reply::Sync(Err(group)),
            // Only a static member's return is written down at the join; it has to come as a stranger again.
            Reply::Join(Ok(_)) => Reply::Join(Err(JoinRefused { member_id: Arc::from(""), error: group })),
            Reply::ConsumerHeartbeat(Ok(_)) => Reply::ConsumerHeartbeat(Err(group.into())),
            Reply::Commit(results) => Reply::Commit(
                results.into_iter().map(|(partition, it)| (partition, it.and(Err(offsets)))).collect(),
            ),
            Reply::DeleteGroup(Ok(())) => Reply::DeleteGroup(Err(offsets)),
            Reply::DeleteOffsets(Ok(_)) => Reply::DeleteOffsets(Err(offsets)),
            other => other,
        }
    }

    fn apply(&mut self, at: Offset, record: &Record) {
        match record {
            Record::Group(id, metadata) => self.set_roster(id, Roster::from_record(metadata)),
            Record::GroupGone(id) => {
                if self.groups.get(id).is_some_and(|group| group.roster().is_some()) {
                    self.set_roster(id, Roster::empty(None));
                    self.remove_if_blank(id);
                }
            }
            Record::Consumer(id, record) => self.apply_consumer(id, record),
            Record::Offset { group, partition, commit, producer: None } => {
                self.entry(group).offsets.set(at, partition, commit);
            }
            Record::Offset { group, partition, commit, producer: Some(producer) } => {
                self.entry(group).offsets.set_pending(at, producer.id, partition, commit);
                self.open_transactions.entry(producer.id).or_default().insert(Arc::clone(group));
            }
            Record::OffsetGone { group, partition, producer: None } => {
                if let Some(known) = self.groups.get_mut(group) {
                    known.offsets.remove(partition);
                }
                self.remove_if_blank(group);
            }
            Record::OffsetGone { group, partition, producer: Some(producer) } => {
                self.forget_pending(group, *producer, partition);
                self.remove_if_blank(group);
            }
            Record::TransactionEnd { producer, committed } => self.end_transaction(*producer, *committed),
        }
    }

    fn note(&mut self, note: Note) {
        match note {
            Note::Roster(id, roster) => self.set_roster(&id, *roster),
            Note::Heard { group: id, member_id, until } => {
                let Some(group) = self.groups.get_mut(&id) else { return };
                let Membership::Classic(roster) = &mut group.members else { return };
                roster.set_deadline(&member_id, until);
                if until.is_some_and(|until| group.timer.is_none_or(|at| until < at)) {
                    self.set_timer(&id, until);
                }
            }
            Note::Gone(id) => {
                let nothing_left = |group: &Group| group.offsets.is_empty();
                match self.groups.get(&id).is_none_or(nothing_left) {
                    true => self.remove_group(&id),
                    false => self.set_roster(&id, Roster::empty(None)),
                }
            }
            Note::Consumer(id, note) => self.note_consumer(&id, note),
            Note::Topics(topics) if topics.version < self.topics.version => {}
            Note::Topics(topics) => self.topics = topics,
            Note::Cleanup(cleanup) => self.cleanup = cleanup,
        }
    }
}

/// The member exists; where it has an instance id, both belong together.
fn validate_member(
    roster: &Roster,
    member_id: &str,
    instance_id: Option<&Arc<str>>,
) -> Result<(), GroupError> {
    if let Some(instance_id) = instance_id {
        return match roster.static_members.get(instance_id) {
            Some(current) if &**current == member_id => Ok(()),
            Some(_) => Err(GroupError::FencedInstance),
            None => Err(GroupError::UnknownMember),
        };
    }
    if roster.members.contains_key(member_id) { Ok(()) } else { Err(GroupError::UnknownMember) }
}

fn validate_generation(roster: &Roster, generation: i32) -> Result<(), GroupError> {
    if generation == roster.generation { Ok(()) } else { Err(GroupError::IllegalGeneration) }
}
