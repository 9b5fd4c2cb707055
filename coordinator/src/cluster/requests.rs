//! What brokers and operators ask of the controller: in-sync sets, shutdowns, elections, balance.

use std::collections::{BTreeMap, BTreeSet};

use storage::types::{BrokerId, TopicPartition};

use super::controller::{Controller, Pending, Strategy, Task, Then};
use super::image::Replicas;
use super::plan::{
    AlterRefusal, ElectionKind, ElectionRefusal, IsrChange, Operation, Outcome, Reply, ShutdownRefusal,
    Ticket,
};
use super::types::{Leadership, LiveBroker, Recovery};
use crate::replication::{InSyncMember, UNKNOWN_BROKER_EPOCH, is_for_former_life};

/// In-sync sets, as their leaders want them.
impl Controller {
    pub(super) fn alter_partitions(
        &mut self,
        ticket: Ticket,
        broker: BrokerId,
        broker_epoch: i64,
        changes: Vec<IsrChange>,
    ) {
        let known = self.image.brokers.get(&broker).map(|known| known.epoch);
        if known != Some(broker_epoch) {
            return self.reply(ticket, Reply::StaleBrokerEpoch);
        }
        let (mut work, mut results) = (Vec::new(), BTreeMap::new());
        for change in changes {
            let partition = change.partition.clone();
            match self.judge(broker, change) {
                Judgement::Already(leadership) => {
                    results.insert(partition, Ok(leadership));
                }
                Judgement::Refused(refusal) => {
                    results.insert(partition, Err(refusal));
                }
                Judgement::Write(next) => {
                    let operation = Operation::SetState(partition.clone(), next.clone());
                    work.push((operation, Pending::Altered(partition, next)));
                }
            }
        }
        if work.is_empty() {
            self.reply_altered(ticket, results);
        } else {
            self.execute(work, Then::Alter(ticket, results));
        }
    }

    fn judge(&self, broker: BrokerId, change: IsrChange) -> Judgement {
        let Some(current) = self.image.leadership(&change.partition) else {
            return Judgement::Refused(AlterRefusal::UnknownPartition);
        };
        let isr: Vec<BrokerId> = change.isr.iter().map(|member| member.broker).collect();
        let is_current = current.leader == broker
            && current.leader_epoch == change.leader_epoch
            && current.isr == isr
            && current.recovery == change.recovery;
        let recovers = change.recovery == Recovery::Recovering;
        if change.version > current.version || change.leader_epoch > current.leader_epoch {
            Judgement::Refused(AlterRefusal::NotController)
        } else if change.leader_epoch < current.leader_epoch {
            Judgement::Refused(AlterRefusal::FencedLeaderEpoch)
        } else if is_current {
            // Before the version is judged, so that a repeated request succeeds.
            Judgement::Already(current.clone())
        } else if change.version < current.version {
            Judgement::Refused(AlterRefusal::InvalidUpdateVersion)
        } else if recovers && (isr.len() > 1 || current.recovery == Recovery::Recovered) {
            Judgement::Refused(AlterRefusal::InvalidRecovery)
        } else if !change.isr.iter().all(|member| self.is_eligible(member)) {
            Judgement::Refused(AlterRefusal::IneligibleReplica)
        } else {
            Judgement::Write(Leadership {
                leader: broker,
                leader_epoch: change.leader_epoch,
                isr,
                recovery: change.recovery,
                controller_epoch: self.epoch,
                version: change.version,
            })
        }
    }

    /// Whether a broker may be in an in-sync set. One that restarted since the leader saw it there may have lost the end
    /// of its log with its machine's power.
    fn is_eligible(&self, member: &InSyncMember) -> bool {
        let told = member.broker_epoch;
        let is_same_life = |broker: &LiveBroker| told == UNKNOWN_BROKER_EPOCH || told == broker.epoch;
        self.image.is_live(member.broker) && self.image.brokers.get(&member.broker).is_some_and(is_same_life)
    }

    pub(super) fn settle_alteration(
        &mut self,
        partition: TopicPartition,
        leadership: Leadership,
        outcome: Outcome,
        then: &mut Then,
    ) {
        let result = match outcome {
            Outcome::Written(version) => {
                let leadership = Leadership { version, ..leadership };
                self.image.set_leadership(&partition, leadership.clone());
                Ok(leadership)
            }
            Outcome::Conflict(current) => {
                if let Some(current) = current {
                    self.image.set_leadership(&partition, current);
                }
                Err(AlterRefusal::InvalidUpdateVersion)
            }
            other => {
                self.note(format!("the in-sync set of {partition} was not changed: {other:?}"));
                Err(AlterRefusal::Failed)
            }
        };
        if let Then::Alter(_, results) = then {
            results.insert(partition, result);
        }
    }

    pub(super) fn reply_altered(
        &mut self,
        ticket: Ticket,
        results: BTreeMap<TopicPartition, Result<Leadership, AlterRefusal>>,
    ) {
        self.batch.announce(&self.image, self.image.brokers.keys().copied(), results.keys());
        self.flush();
        let agreed =
            results.iter().filter(|(_, result)| result.is_ok()).map(|(partition, _)| partition.clone());
        let agreed = agreed.collect();
        self.reply(ticket, Reply::AlterPartition(results));
        self.complete_reassignments(&agreed);
    }
}

enum Judgement {
    Already(Leadership),
    Refused(AlterRefusal),
    Write(Leadership),
}

/// Brokers that want to go.
impl Controller {
    pub(super) fn shut_down(&mut self, ticket: Ticket, broker: BrokerId, broker_epoch: i64) {
        let refusal = match self.image.brokers.get(&broker) {
            None => Some(ShutdownRefusal::UnknownBroker),
            Some(known) if is_for_former_life(broker_epoch, known.epoch) => {
                Some(ShutdownRefusal::StaleBrokerEpoch)
            }
            Some(_) => None,
        };
        if let Some(refusal) = refusal {
            return self.reply(ticket, Reply::ControlledShutdown(Err(refusal)));
        }
        self.image.shutting_down.insert(broker);
        let (mut led, mut followed) = (Vec::new(), Replicas::default());
        for (name, partition) in self.image.partitions() {
            let replicas = &partition.assignment.replicas;
            let Some(leadership) = &partition.leadership else { continue };
            let concerned = replicas.len() > 1 && replicas.contains(&broker);
            if !concerned || self.image.is_queued_for_deletion(&name.topic) {
                continue;
            }
            if leadership.leader == broker {
                led.push(name);
            } else {
                followed.insert(broker, name);
            }
        }
        self.first([
            Task::Elect(led, Strategy::ControlledShutdown),
            Task::Stop(followed.clone()),
            Task::Offline(followed),
            Task::ReplyShutdown(ticket, broker),
        ]);
    }

    /// Partitions with other replicas that the broker still leads; with one replica there is nobody to take over.
    pub(super) fn reply_shutdown(&mut self, ticket: Ticket, broker: BrokerId) {
        let remaining = self
            .image
            .partitions()
            .filter(|(name, partition)| {
                partition.assignment.replicas.len() > 1
                    && partition.leadership.as_ref().is_some_and(|state| state.leader == broker)
                    && !self.image.is_queued_for_deletion(&name.topic)
            })
            .map(|(name, _)| name)
            .collect();
        self.reply(ticket, Reply::ControlledShutdown(Ok(remaining)));
    }
}

/// Elections that someone asks for.
impl Controller {
    pub(super) fn elect_leaders(
        &mut self,
        ticket: Ticket,
        kind: ElectionKind,
        partitions: Option<BTreeSet<TopicPartition>>,
    ) {
        let wanted = partitions.unwrap_or_else(|| self.image.partitions().map(|(name, _)| name).collect());
        let mut known = BTreeMap::new();
        let mut electable = Vec::new();
        for name in wanted {
            match self.judge_election(&name, kind) {
                Some(refusal) => {
                    known.insert(name, Err(refusal));
                }
                None => electable.push(name),
            }
        }
        let strategy = match kind {
            ElectionKind::Preferred => Strategy::Preferred,
            ElectionKind::Unclean => Strategy::Offline { unclean: true },
        };
        self.elections.clear();
        self.first([Task::Elect(electable, strategy), Task::ReplyElection(ticket, known)]);
    }

    /// Why there is nothing to elect; `None` if there is.
    fn judge_election(&self, name: &TopicPartition, kind: ElectionKind) -> Option<ElectionRefusal> {
        let Some(partition) = self.image.partition(name) else {
            return Some(ElectionRefusal::UnknownPartition);
        };
        if self.image.is_queued_for_deletion(&name.topic) {
            return Some(ElectionRefusal::TopicBeingDeleted);
        }
        let leader = partition.leadership.as_ref().map_or(BrokerId::NONE, |state| state.leader);
        let needed = match kind {
            ElectionKind::Preferred => partition.assignment.replicas.first() != Some(&leader),
            ElectionKind::Unclean => !self.image.is_live(leader),
        };
        (!needed).then_some(ElectionRefusal::NotNeeded)
    }

    pub(super) fn reply_election(
        &mut self,
        ticket: Ticket,
        mut known: BTreeMap<TopicPartition, Result<BrokerId, ElectionRefusal>>,
    ) {
        known.append(&mut self.elections);
        self.reply(ticket, Reply::ElectLeaders(known));
    }

    /// What an old tool wrote into ZooKeeper; the node goes when it is through.
    pub(super) fn elect_requested(&mut self, partitions: BTreeSet<TopicPartition>) {
        let electable = partitions
            .into_iter()
            .filter(|name| self.judge_election(name, ElectionKind::Preferred).is_none())
            .collect();
        self.first([Task::Elect(electable, Strategy::Preferred), Task::Do(Operation::DropPreferredElection)]);
    }

    /// Gives partitions back to brokers that lead too few of those they are preferred for.
    pub(super) fn balance_leaders(&mut self) {
        let mut preferred: BTreeMap<BrokerId, (usize, Vec<TopicPartition>)> = BTreeMap::new();
        for (name, partition) in self.image.partitions() {
            let Some(first) = partition.assignment.replicas.first() else { continue };
            if self.image.is_queued_for_deletion(&name.topic) {
                continue;
            }
            let (count, misplaced) = preferred.entry(*first).or_default();
            *count += 1;
            let Some(leadership) = &partition.leadership else { continue };
            if leadership.leader != *first {
                misplaced.push(name);
            }
        }
        let percent = u64::from(self.settings.imbalance_percent);
        let mut tasks = Vec::new();
        for (broker, (count, misplaced)) in preferred {
            let (count, away) = (count as u64, misplaced.len() as u64);
            if away * 100 <= count * percent {
                continue;
            }
            let can_lead = |name: &TopicPartition| {
                self.image.is_replica_online(broker, name)
                    && self.image.leadership(name).is_some_and(|state| state.isr.contains(&broker))
            };
            let electable: Vec<TopicPartition> = misplaced.into_iter().filter(can_lead).collect();
            if !electable.is_empty() {
                tasks.push(Task::Elect(electable, Strategy::Preferred));
            }
        }
        self.first(tasks);
    }
}
