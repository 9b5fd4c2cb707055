//! Partitions on their way to other replicas (KIP-455).
//!
//! Always true here: the topic's node says what is going on before anybody is told of it, so that the next controller can
//! go on from there. Original replicas stay until all targets are in sync; then leadership moves if it must, and the
//! removed replicas are stopped and deleted. A later wish takes the place of an earlier one.

use std::collections::{BTreeMap, BTreeSet};

use storage::types::{BrokerId, LeaderEpoch, TopicPartition};

use super::controller::{Controller, Pending, Strategy, Task, Then};
use super::image::{ReplicaPhase, Replicas};
use super::plan::{Operation, Outcome, ReassignRefusal, Reply, Ticket};
use super::types::{Assignment, Leadership};

/// One partition and where it goes.
#[derive(Clone, Debug)]
pub(super) struct Move {
    pub(super) partition: TopicPartition,
    pub(super) assignment: Assignment,
}

/// What an operator may ask for.
impl Controller {
    /// Wishes through the API: a list of replicas, or `None` to take an earlier wish back.
    pub(super) fn alter_reassignments(
        &mut self,
        ticket: Ticket,
        wanted: BTreeMap<TopicPartition, Option<Vec<BrokerId>>>,
    ) {
        let (mut moves, mut results) = (Vec::new(), BTreeMap::new());
        for (partition, target) in wanted {
            let refusal = target.as_deref().and_then(|target| self.judge_target(&partition, target));
            match refusal.map_or_else(|| self.plan_move(&partition, target), Err) {
                Ok(assignment) => {
                    moves.push(Move { partition: partition.clone(), assignment });
                    results.insert(partition, None);
                }
                Err(refusal) => {
                    results.insert(partition, Some(refusal));
                }
            }
        }
        // The latest wish goes before what an old tool wrote.
        let superseded = moves.iter().map(|one| (one.partition.clone(), None)).collect();
        let known = moves.into_iter().filter(|one| {
            let exists = self.may_move(&one.partition);
            if !exists {
                results.insert(one.partition.clone(), Some(ReassignRefusal::UnknownPartition));
            }
            exists
        });
        let mut tasks = vec![Task::Do(Operation::DropReassignments(superseded))];
        tasks.extend(known.map(Task::Reassign).collect::<Vec<_>>());
        tasks.push(Task::ReplyReassignments(ticket, results));
        self.first(tasks);
    }

    /// Wishes that an old tool wrote into ZooKeeper; they stay there until they are fulfilled.
    pub(super) fn reassign_requested(&mut self, wanted: BTreeMap<TopicPartition, Vec<BrokerId>>) {
        let (mut tasks, mut failed) = (Vec::new(), Vec::new());
        for (partition, target) in wanted {
            if self.may_move(&partition)
                && let Ok(assignment) = self.plan_move(&partition, Some(target))
            {
                tasks.push(Task::Reassign(Move { partition, assignment }));
            } else {
                self.note(format!("{partition} is not reassigned: it does not exist, or is being deleted"));
                failed.push((partition, None));
            }
        }
        if !failed.is_empty() {
            tasks.push(Task::Do(Operation::DropReassignments(failed)));
        }
        self.first(tasks);
    }

    /// Goes on with what is under way where `concerned`.
    pub(super) fn resume_reassignments(&mut self, concerned: impl Fn(&TopicPartition, &Assignment) -> bool) {
        let moves: Vec<Task> = self
            .image
            .partitions()
            .filter(|(name, partition)| {
                partition.assignment.is_being_reassigned() && concerned(name, &partition.assignment)
            })
            .map(|(partition, found)| {
                Task::Reassign(Move { partition, assignment: found.assignment.clone() })
            })
            .collect();
        self.first(moves);
    }

    /// After in-sync sets changed: what has its last replica in sync now is brought to its end.
    pub(super) fn complete_reassignments(&mut self, changed: &BTreeSet<TopicPartition>) {
        let through: BTreeSet<&TopicPartition> =
            changed.iter().filter(|partition| self.is_through(partition)).collect();
        let moves: Vec<Task> = through
            .into_iter()
            .filter_map(|partition| {
                let assignment = self.image.partition(partition)?.assignment.clone();
                let moving = assignment.is_being_reassigned();
                moving.then(|| Task::Reassign(Move { partition: partition.clone(), assignment }))
            })
            .collect();
        self.first(moves);
    }

    fn judge_target(&self, partition: &TopicPartition, target: &[BrokerId]) -> Option<ReassignRefusal> {
        let distinct: BTreeSet<&BrokerId> = target.iter().collect();
        let sentence = if target.is_empty() {
            "Empty replica list specified in partition reassignment.".to_owned()
        } else if distinct.len() != target.len() {
            format!("Duplicate replica ids in partition reassignment replica list: {}", buffer(target))
        } else if target.iter().any(|id| id.0 < 0) {
            format!("Invalid broker id in replica list: {}", buffer(target))
        } else {
            let adding = self.assignment(partition).reassigned_to(target).adding;
            if adding.iter().all(|id| self.image.is_live(*id)) {
                return None;
            }
            let live = self.image.brokers.keys().filter(|id| self.image.is_live(**id));
            let live: Vec<String> = live.map(ToString::to_string).collect();
            format!(
                "Replica assignment has brokers that are not alive. Replica list: {}, live broker list: Set({})",
                buffer(&adding),
                live.join(", ")
            )
        };
        Some(ReassignRefusal::InvalidReplicas(sentence))
    }

    fn plan_move(
        &self,
        partition: &TopicPartition,
        target: Option<Vec<BrokerId>>,
    ) -> Result<Assignment, ReassignRefusal> {
        let current = self.assignment(partition);
        match target {
            Some(target) => Ok(current.reassigned_to(&target)),
            None if current.is_being_reassigned() => {
                let origin: Vec<BrokerId> = current.origin().collect();
                Ok(current.reassigned_to(&origin))
            }
            None => Err(ReassignRefusal::NotInProgress),
        }
    }

    fn assignment(&self, partition: &TopicPartition) -> Assignment {
        self.image.partition(partition).map(|found| found.assignment.clone()).unwrap_or_default()
    }

    fn may_move(&self, partition: &TopicPartition) -> bool {
        !self.image.is_queued_for_deletion(&partition.topic)
            && self.image.partition(partition).is_some_and(|found| !found.assignment.replicas.is_empty())
    }
}

/// The steps of one partition.
impl Controller {
    /// Writes the assignment down where it is new, and goes on.
    pub(super) fn reassign(&mut self, one: Move) {
        if let Some(deletion) = self.image.deletions.get_mut(&one.partition.topic) {
            deletion.ineligible = true;
        }
        let current = self.assignment(&one.partition);
        if current == one.assignment {
            return self.continue_reassignment(one);
        }
        let unneeded: Vec<BrokerId> = current.replicas_outside(&one.assignment.replicas).collect();
        let Some(operation) = self.record_with(&one) else { return };
        let pending = Pending::Reassigned(one.clone());
        self.first([Task::RemoveReplicas(one.partition.clone(), unneeded), Task::ContinueReassignment(one)]);
        self.execute(vec![(operation, pending)], Then::NextTask);
    }

    /// Waits for the targets to get in sync, or brings the reassignment to its end.
    pub(super) fn continue_reassignment(&mut self, one: Move) {
        if self.assignment(&one.partition) != one.assignment {
            // It could not be written, or another took its place.
            return;
        }
        let Move { partition, assignment } = one;
        if !self.is_through(&partition) {
            self.first([Task::BumpEpoch(partition.clone()), Task::StartAdded(partition, assignment.adding)]);
            return;
        }
        let target = Assignment::of(assignment.target().collect());
        let mut added = Replicas::default();
        assignment.adding.iter().for_each(|id| added.insert(*id, partition.clone()));
        self.first([
            Task::Online(added),
            Task::SettleLeader(Move { partition: partition.clone(), assignment: target.clone() }),
            Task::RemoveReplicas(partition.clone(), assignment.removing),
            Task::WriteAssignment(partition.clone()),
            Task::Do(Operation::DropReassignments(vec![(partition.clone(), Some(target.replicas))])),
            Task::AnnounceReassigned(partition),
            Task::ResumeDeletions,
        ]);
    }

    /// Whether every target is in sync, or nothing is under way.
    fn is_through(&self, partition: &TopicPartition) -> bool {
        let Some(found) = self.image.partition(partition) else { return false };
        let in_sync =
            |id: BrokerId| found.leadership.as_ref().is_some_and(|leadership| leadership.isr.contains(&id));
        !found.assignment.is_being_reassigned() || found.assignment.target().all(in_sync)
    }

    /// The same leader and set in a new epoch, so that all replicas hear of the assignment.
    pub(super) fn bump_epoch(&mut self, partition: TopicPartition) {
        let Some(current) = self.image.leadership(&partition) else {
            return self.note(format!("{partition} was never led: its new replicas wait"));
        };
        if let Err(reason) = self.check_epoch(current) {
            return self
                .note(format!("the replicas of {partition} do not hear of the reassignment: {reason}"));
        }
        let next = Leadership {
            leader_epoch: LeaderEpoch(current.leader_epoch.0.saturating_add(1)),
            controller_epoch: self.epoch,
            ..current.clone()
        };
        let operation = Operation::SetState(partition.clone(), next.clone());
        self.execute(vec![(operation, Pending::Bumped(partition, next))], Then::NextTask);
    }

    pub(super) fn settle_bump(&mut self, partition: TopicPartition, next: Leadership, outcome: Outcome) {
        match outcome {
            Outcome::Written(version) => {
                self.image.set_leadership(&partition, Leadership { version, ..next });
                let assignment = self.assignment(&partition);
                let origin: Vec<BrokerId> = assignment.origin().collect();
                self.batch.lead(&self.image, &origin, &partition, false);
                self.batch.lead(&self.image, &assignment.adding, &partition, true);
                self.flush();
            }
            Outcome::Conflict(Some(current)) => {
                self.image.set_leadership(&partition, current);
                self.first([Task::BumpEpoch(partition)]);
            }
            other => {
                self.note(format!("the replicas of {partition} do not hear of the reassignment: {other:?}"));
            }
        }
    }

    pub(super) fn settle_reassignment(&mut self, one: Move, outcome: Outcome) {
        match outcome {
            Outcome::Written(_) => self.set_assignment(&one.partition, one.assignment),
            other => self.note(format!("the reassignment of {} was not written: {other:?}", one.partition)),
        }
    }

    /// Added replicas that were never started are; the others know their leader already.
    pub(super) fn start_added(&mut self, partition: &TopicPartition, added: &[BrokerId]) {
        for replica in added {
            let leads = self.image.leadership(partition).is_some_and(|state| state.leader == *replica);
            if leads || self.image.replica_phase(*replica, partition).is_some() {
                continue;
            }
            self.batch.lead(&self.image, &[*replica], partition, true);
            self.image.set_replica_phase(*replica, partition, ReplicaPhase::New);
        }
        self.flush();
    }

    /// The removed replicas no longer count; a leader among them is replaced.
    pub(super) fn settle_leader(&mut self, one: Move) {
        let Move { partition, assignment } = one;
        self.set_assignment(&partition, assignment.clone());
        let stays = self.image.leadership(&partition).is_some_and(|state| {
            assignment.replicas.contains(&state.leader)
                && self.image.is_replica_online(state.leader, &partition)
        });
        self.first([if stays {
            Task::BumpEpoch(partition)
        } else {
            Task::Elect(vec![partition], Strategy::Reassignment)
        }]);
    }

    pub(super) fn remove_replicas(&mut self, partition: &TopicPartition, removed: &[BrokerId]) {
        let mut replicas = Replicas::default();
        removed.iter().for_each(|id| replicas.insert(*id, partition.clone()));
        if !replicas.is_empty() {
            self.first([
                Task::Offline(replicas.clone()),
                Task::DeleteReplicas(replicas.clone()),
                Task::ForgetReplicas(replicas),
            ]);
        }
    }

    /// Their deletion is not waited for: a broker that is away is told to delete them when it hears of the topic next.
    pub(super) fn forget_replicas(&mut self, replicas: &Replicas) {
        for (replica, name) in replicas.iter() {
            if let Some(partition) = self.image.partition_mut(name) {
                partition.replicas.remove(&replica);
                partition.assignment = partition.assignment.without(replica);
            }
        }
    }

    /// The assignment as it is known here.
    pub(super) fn write_assignment(&mut self, partition: &TopicPartition) {
        if let Some(record) = self.image.record(&partition.topic) {
            self.execute(vec![(Operation::SetTopic(record), Pending::Plain)], Then::NextTask);
        }
    }

    pub(super) fn announce_reassigned(&mut self, partition: &TopicPartition) {
        self.batch.announce(&self.image, self.image.brokers.keys().copied(), [partition]);
        self.flush();
        if let Some(deletion) = self.image.deletions.get_mut(&partition.topic) {
            deletion.ineligible = false;
        }
    }

    pub(super) fn reply_reassignments(
        &mut self,
        ticket: Ticket,
        results: BTreeMap<TopicPartition, Option<ReassignRefusal>>,
    ) {
        self.reply(ticket, Reply::Reassignments(results));
    }

    fn record_with(&self, one: &Move) -> Option<Operation> {
        let mut record = self.image.record(&one.partition.topic)?;
        record.assignments.insert(one.partition.partition, one.assignment.clone());
        Some(Operation::SetTopic(record))
    }

    fn set_assignment(&mut self, partition: &TopicPartition, assignment: Assignment) {
        if let Some(found) = self.image.partition_mut(partition) {
            found.assignment = assignment;
        }
    }
}

/// In-sync sets that leaders of an older inter-broker protocol wrote themselves, and told of by a notice.
impl Controller {
    pub(super) fn isr_changed(&mut self, states: BTreeMap<TopicPartition, Leadership>, notices: Vec<String>) {
        let mut changed = BTreeSet::new();
        for (partition, leadership) in states {
            if self.image.partition(&partition).is_some() {
                self.image.set_leadership(&partition, leadership);
                changed.insert(partition);
            }
        }
        if !changed.is_empty() {
            self.batch.announce(&self.image, self.image.brokers.keys().copied(), &changed);
            self.flush();
        }
        self.first([Task::Do(Operation::DropIsrNotices(notices))]);
        self.complete_reassignments(&changed);
    }
}

/// As Apache's controller shows a list.
fn buffer(ids: &[BrokerId]) -> String {
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    format!("ArrayBuffer({})", ids.join(", "))
}

/// Partitions that are being reassigned.
impl super::Image {
    /// All of them, or those of `partitions` that are.
    #[must_use]
    pub fn reassignments(
        &self,
        partitions: Option<&BTreeSet<TopicPartition>>,
    ) -> BTreeMap<TopicPartition, Assignment> {
        self.partitions()
            .filter(|(name, partition)| {
                partition.assignment.is_being_reassigned()
                    && partitions.is_none_or(|wanted| wanted.contains(name))
            })
            .map(|(name, partition)| (name, partition.assignment.clone()))
            .collect()
    }
}
