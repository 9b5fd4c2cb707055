//! Partitions and replicas moving from one phase to the next.
//!
//! Elections, and replicas going online and offline. Whatever changes a leader or an in-sync set is written first and
//! told to the brokers afterwards.

use std::collections::BTreeSet;
use std::sync::Arc;

use storage::types::{BrokerId, LeaderEpoch, TopicPartition};

use super::controller::{Controller, Pending, Strategy, Task, Then};
use super::election::{Candidates, Elected, without_replica};
use super::image::{PartitionPhase, ReplicaPhase, Replicas};
use super::plan::{ElectionRefusal, Operation, Outcome};
use super::types::{Leadership, Recovery};

impl Controller {
    /// First leaders for new partitions, next leaders for the others.
    pub(super) fn elect(&mut self, partitions: Vec<TopicPartition>, strategy: Strategy) {
        let unread = self.unread_configs(&partitions, strategy);
        if !unread.is_empty() {
            let read = unread
                .into_iter()
                .map(|topic| {
                    (Operation::ReadUncleanElection(Arc::clone(&topic)), Pending::UncleanElection(topic))
                })
                .collect();
            self.first([Task::Elect(partitions, strategy)]);
            self.execute(read, Then::NextTask);
            return;
        }
        let mut work = Vec::new();
        let mut directories = BTreeSet::new();
        let mut states = Vec::new();
        for partition in partitions {
            let is_new = self.image.partition(&partition).map(|found| found.phase == PartitionPhase::New);
            match is_new {
                Some(true) => {
                    let Some(leadership) = self.first_leadership(&partition) else { continue };
                    directories.insert(Arc::clone(&partition.topic));
                    let operation = Operation::CreatePartitionDirectory(partition.clone());
                    work.push((operation, Pending::Plain));
                    let operation = Operation::CreateState(partition.clone(), leadership.clone());
                    states.push((operation, Pending::Started(partition, leadership)));
                }
                Some(false) => match self.next_leadership(&partition, strategy) {
                    Ok(elected) => {
                        let operation = Operation::SetState(partition.clone(), elected.leadership.clone());
                        states.push((operation, Pending::Elected(partition, elected)));
                    }
                    Err(refusal) => self.refuse_election(partition, refusal),
                },
                None => self.refuse_election(partition, ElectionRefusal::UnknownPartition),
            }
        }
        let parents =
            directories.into_iter().map(|topic| (Operation::CreateTopicDirectory(topic), Pending::Plain));
        work.splice(0..0, parents);
        work.extend(states);
        if work.is_empty() {
            self.flush();
        } else {
            self.execute(work, Then::Elections(strategy, Vec::new()));
        }
    }

    /// Topics whose word on unclean elections decides and is not known yet.
    fn unread_configs(&self, partitions: &[TopicPartition], strategy: Strategy) -> BTreeSet<Arc<str>> {
        if strategy != (Strategy::Offline { unclean: false }) {
            return BTreeSet::new();
        }
        partitions
            .iter()
            .filter(|name| !self.unclean.contains_key(&name.topic))
            .filter(|name| {
                let Some(partition) = self.image.partition(name) else { return false };
                let Some(current) = &partition.leadership else { return false };
                let live = self.image.live_replicas(name);
                // Without any live replica the config makes no difference.
                partition.phase != PartitionPhase::New
                    && !live.is_empty()
                    && !current.isr.iter().any(|replica| live.contains(replica))
            })
            .map(|name| Arc::clone(&name.topic))
            .collect()
    }

    /// The first live replica leads, all live ones are in sync. `None`, and a note, where none is live.
    fn first_leadership(&mut self, partition: &TopicPartition) -> Option<Leadership> {
        let live = self.image.live_replicas(partition);
        let Some(leader) = live.first().copied() else {
            let reason = "no assigned replica is alive".to_owned();
            self.refuse_election(partition.clone(), ElectionRefusal::NoEligibleLeader(reason));
            return None;
        };
        Some(Leadership {
            leader,
            leader_epoch: LeaderEpoch(0),
            isr: live,
            recovery: Recovery::Recovered,
            controller_epoch: self.epoch,
            version: 0,
        })
    }

    fn next_leadership(&self, name: &TopicPartition, strategy: Strategy) -> Result<Elected, ElectionRefusal> {
        let partition = self.image.partition(name).ok_or(ElectionRefusal::UnknownPartition)?;
        let missing = || ElectionRefusal::Failed("the partition has no state to elect upon".to_owned());
        let current = partition.leadership.as_ref().ok_or_else(missing)?;
        if partition.phase == PartitionPhase::NonExistent {
            return Err(ElectionRefusal::TopicBeingDeleted);
        }
        self.check_epoch(current).map_err(ElectionRefusal::Failed)?;
        let candidates = Candidates {
            assignment: &partition.assignment,
            current,
            live: &self.image.live_replicas(name),
            running: &self.image.running_replicas(name),
        };
        let elected = match strategy {
            Strategy::Offline { unclean } => {
                let topic_allows = || self.unclean.get(&name.topic).copied().unwrap_or(false);
                candidates.offline(unclean || topic_allows(), self.settings.leader_recovery)
            }
            Strategy::Preferred => candidates.preferred(),
            Strategy::Reassignment => candidates.reassignment(),
            Strategy::ControlledShutdown => {
                let leaving: Vec<BrokerId> = self.image.shutting_down.iter().copied().collect();
                candidates.controlled_shutdown(&leaving)
            }
        };
        let mut elected = elected.ok_or_else(|| {
            ElectionRefusal::NoEligibleLeader(format!("no eligible replica of {name} is alive and in sync"))
        })?;
        elected.leadership.controller_epoch = self.epoch;
        Ok(elected)
    }

    /// A newer controller wrote here: this one is on its way out and must not touch it.
    pub(super) fn check_epoch(&self, current: &Leadership) -> Result<(), String> {
        if current.controller_epoch > self.epoch {
            return Err(format!("a controller with epoch {} wrote the state", current.controller_epoch));
        }
        Ok(())
    }

    fn refuse_election(&mut self, partition: TopicPartition, refusal: ElectionRefusal) {
        self.note(format!("no leader was elected for {partition}: {refusal:?}"));
        self.elections.insert(partition, Err(refusal));
    }

    pub(super) fn settle_start(
        &mut self,
        partition: &TopicPartition,
        leadership: Leadership,
        outcome: Outcome,
    ) {
        match outcome {
            Outcome::Written(version) => {
                let isr = leadership.isr.clone();
                self.lead(partition, Leadership { version, ..leadership });
                self.batch.lead(&self.image, &isr, partition, true);
            }
            other => self.note(format!("partition {partition} was not started: {other:?}")),
        }
    }

    pub(super) fn settle_election(
        &mut self,
        partition: TopicPartition,
        elected: Elected,
        outcome: Outcome,
        then: &mut Then,
    ) {
        match outcome {
            Outcome::Written(version) => {
                self.lead(&partition, Leadership { version, ..elected.leadership });
                self.batch.lead(&self.image, &elected.recipients, &partition, false);
            }
            Outcome::Conflict(Some(current)) => {
                self.image.set_leadership(&partition, current);
                if let Then::Elections(_, retry) = then {
                    retry.push(partition);
                }
            }
            other => self.refuse_election(partition, ElectionRefusal::Failed(format!("{other:?}"))),
        }
    }

    fn lead(&mut self, name: &TopicPartition, leadership: Leadership) {
        self.elections.insert(name.clone(), Ok(leadership.leader));
        if let Some(partition) = self.image.partition_mut(name) {
            partition.leadership = Some(leadership);
            partition.phase = PartitionPhase::Online;
        }
    }

    pub(super) fn elect_missing(&mut self, topic: Option<&str>) {
        let missing: Vec<TopicPartition> = self
            .image
            .partitions()
            .filter(|(name, _)| topic.is_none_or(|topic| *name.topic == *topic))
            .filter(|(name, partition)| {
                matches!(partition.phase, PartitionPhase::New | PartitionPhase::Offline)
                    && !self.image.is_queued_for_deletion(&name.topic)
            })
            .map(|(name, _)| name)
            .collect();
        if !missing.is_empty() {
            self.first([Task::Elect(missing, Strategy::Offline { unclean: false })]);
        }
    }

    /// Tells replicas that are back who leads. New ones were told when their partition started.
    pub(super) fn bring_online(&mut self, replicas: &Replicas) {
        for (replica, partition) in replicas.iter() {
            match self.image.replica_phase(replica, partition) {
                Some(ReplicaPhase::New) => {}
                Some(phase) if phase.may_become(ReplicaPhase::Online) => {
                    self.batch.lead(&self.image, &[replica], partition, false);
                }
                _ => continue,
            }
            self.image.set_replica_phase(replica, partition, ReplicaPhase::Online);
        }
        self.flush();
    }

    /// Stops replicas and takes them out of the in-sync sets, broker by broker.
    pub(super) fn take_offline(&mut self, mut replicas: Replicas) {
        while let Some((replica, partitions)) = replicas.0.pop_first() {
            let mut work = Vec::new();
            for partition in partitions {
                let phase = self.image.replica_phase(replica, &partition);
                if !phase.is_some_and(|phase| phase.may_become(ReplicaPhase::Offline)) {
                    continue;
                }
                self.batch.stop(&self.image, replica, &partition, false);
                work.extend(self.leave(replica, partition));
            }
            if !work.is_empty() {
                self.execute(work, Then::Leave(replicas));
                return;
            }
        }
        self.flush();
    }

    fn leave(&mut self, replica: BrokerId, partition: TopicPartition) -> Option<(Operation, Pending)> {
        let Some(current) = self.image.leadership(&partition) else {
            self.batch.announce(&self.image, self.image.brokers.keys().copied(), [&partition]);
            self.image.set_replica_phase(replica, &partition, ReplicaPhase::Offline);
            return None;
        };
        if let Err(reason) = self.check_epoch(current) {
            self.note(format!("replica {replica} of {partition} stays where it is: {reason}"));
            return None;
        }
        if current.isr.contains(&replica) {
            let next = Leadership { controller_epoch: self.epoch, ..without_replica(current, replica) };
            let operation = Operation::SetState(partition.clone(), next.clone());
            return Some((operation, Pending::Left(replica, partition, next)));
        }
        let next = Leadership { controller_epoch: self.epoch, ..current.clone() };
        self.left(replica, &partition, next);
        None
    }

    fn left(&mut self, replica: BrokerId, partition: &TopicPartition, leadership: Leadership) {
        self.image.set_leadership(partition, leadership);
        if !self.image.is_queued_for_deletion(&partition.topic) {
            let others: Vec<BrokerId> = self
                .image
                .partition(partition)
                .map(|found| found.assignment.replicas.iter().copied().filter(|id| *id != replica).collect())
                .unwrap_or_default();
            self.batch.lead(&self.image, &others, partition, false);
        }
        self.image.set_replica_phase(replica, partition, ReplicaPhase::Offline);
    }

    pub(super) fn settle_leave(
        &mut self,
        replica: BrokerId,
        partition: TopicPartition,
        leadership: Leadership,
        outcome: Outcome,
        then: &mut Then,
    ) {
        match outcome {
            Outcome::Written(version) => {
                self.left(replica, &partition, Leadership { version, ..leadership });
            }
            Outcome::Conflict(Some(current)) => {
                self.image.set_leadership(&partition, current);
                if let Then::Leave(rest) = then {
                    rest.insert(replica, partition);
                }
            }
            other => self.note(format!("replica {replica} of {partition} did not leave: {other:?}")),
        }
    }

    /// Tells replicas to stop; their logs stay.
    pub(super) fn stop(&mut self, replicas: &Replicas) {
        for (replica, partition) in replicas.iter() {
            self.batch.stop(&self.image, replica, partition, false);
        }
        self.flush();
    }
}
