//! The controller's machine: an agenda of tasks that stops whenever ZooKeeper must answer first.
//!
//! Always true here: one event is worked off before the next begins, and the image holds only what was written. The
//! machine never waits; it hands out a `Step` and is told the outcomes by `done`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use storage::types::{BrokerId, TopicId, TopicPartition};

use super::batch::Batch;
use super::brokers::Restarts;
use super::election::Elected;
use super::image::{Deletion, Image, PartitionPhase, ReplicaPhase, Replicas};
use super::plan::{
    AlterRefusal, ElectionRefusal, Event, Loaded, Operation, Outcome, ReassignRefusal, Reply, Settings, Step,
    Ticket,
};
use super::reassignment::Move;
use super::types::{Leadership, LiveBroker};

/// How a leader is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strategy {
    /// `unclean`: whatever the topic's config says.
    Offline {
        unclean: bool,
    },
    Preferred,
    ControlledShutdown,
    /// Among the targets of a reassignment.
    Reassignment,
}

/// One piece of work. A task may put others in front of the rest of the agenda.
#[derive(Clone, Debug)]
pub(super) enum Task {
    Event(Event),
    BrokersUp(Vec<LiveBroker>),
    BrokersGone(BTreeSet<BrokerId>),
    ReplicasGone(Replicas),
    /// After `ReplicasGone`: brokers hear of it even if nothing was elected.
    AnnounceIfQuiet,
    StartPartitions(Vec<TopicPartition>),
    /// Members of in-sync sets that restarted while nobody watched lose their place, before anyone hears of it.
    Renew(Restarts),
    /// The phases of a freshly loaded image, once dead replicas left the in-sync sets.
    InitialPhases,
    Elect(Vec<TopicPartition>, Strategy),
    /// Elects for all new and offline partitions, of one topic or of all.
    ElectMissing(Option<Arc<str>>),
    Online(Replicas),
    Offline(Replicas),
    Stop(Replicas),
    ResumeDeletions,
    StartDeletion(BTreeSet<Arc<str>>),
    DeleteReplicas(Replicas),
    FailDeletion(Replicas),
    CompleteDeletion(Replicas),
    Do(Operation),
    Reassign(Move),
    ContinueReassignment(Move),
    BumpEpoch(TopicPartition),
    StartAdded(TopicPartition, Vec<BrokerId>),
    SettleLeader(Move),
    RemoveReplicas(TopicPartition, Vec<BrokerId>),
    ForgetReplicas(Replicas),
    WriteAssignment(TopicPartition),
    AnnounceReassigned(TopicPartition),
    /// Those that are under way, but for these, which just began.
    ResumeReassignments(BTreeSet<TopicPartition>),
    /// Those whose targets are on brokers that came back.
    ResumeReassignmentsTo(BTreeSet<BrokerId>),
    ReplyReassignments(Ticket, BTreeMap<TopicPartition, Option<ReassignRefusal>>),
    ReplyElection(Ticket, BTreeMap<TopicPartition, Result<BrokerId, ElectionRefusal>>),
    ReplyShutdown(Ticket, BrokerId),
}

/// What an operation in flight means to the machine.
#[derive(Clone, Debug)]
pub(super) enum Pending {
    /// Only a failure is of interest.
    Plain,
    Started(TopicPartition, Leadership),
    Elected(TopicPartition, Elected),
    Left(BrokerId, TopicPartition, Leadership),
    Altered(TopicPartition, Leadership),
    Reassigned(Move),
    Bumped(TopicPartition, Leadership),
    UncleanElection(Arc<str>),
    TopicId(Arc<str>, TopicId),
    Deleted(Arc<str>),
}

/// How the work goes on after the outcomes.
#[derive(Clone, Debug)]
pub(super) enum Then {
    NextTask,
    /// With the partitions whose state another hand had changed.
    Elections(Strategy, Vec<TopicPartition>),
    Leave(Replicas),
    Alter(Ticket, BTreeMap<TopicPartition, Result<Leadership, AlterRefusal>>),
}

#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub(super) pending: Vec<Pending>,
    pub(super) then: Then,
}

/// A controller in office. Lives for one epoch.
#[derive(Clone, Debug)]
pub struct Controller {
    pub(super) epoch: i32,
    pub(super) settings: Settings,
    pub(super) image: Image,
    pub(super) batch: Batch,
    /// Results of the elections since the last one who cares began.
    pub(super) elections: BTreeMap<TopicPartition, Result<BrokerId, ElectionRefusal>>,
    /// What topics say about unclean elections, as read for the current event.
    pub(super) unclean: BTreeMap<Arc<str>, bool>,
    pub(super) step: Step,
    agenda: VecDeque<Task>,
    waiting: Option<Waiting>,
}

impl Controller {
    /// Takes office with the cluster as it was read after the epoch was won.
    #[must_use]
    pub fn start(epoch: i32, settings: Settings, loaded: Loaded) -> (Controller, Step) {
        let mut controller = Controller {
            epoch,
            settings,
            image: Image::default(),
            batch: Batch::default(),
            elections: BTreeMap::new(),
            unclean: BTreeMap::new(),
            step: Step::default(),
            agenda: VecDeque::new(),
            waiting: None,
        };
        controller.load(loaded);
        let step = controller.work();
        (controller, step)
    }

    #[must_use]
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// Of `/controller_epoch`.
    #[must_use]
    pub fn epoch(&self) -> i32 {
        self.epoch
    }

    /// Whether outcomes are due.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// Begins with an event, or keeps it until the ones before are through.
    #[must_use]
    pub fn handle(&mut self, event: Event) -> Step {
        self.agenda.push_back(Task::Event(event));
        self.work()
    }

    /// The outcomes of the operations of the last step, in their order.
    #[must_use]
    pub fn done(&mut self, outcomes: Vec<Outcome>) -> Step {
        let Some(Waiting { pending, then }) = self.waiting.take() else { return Step::default() };
        let missing = std::iter::repeat_with(|| Outcome::Failed("no outcome was reported".to_owned()));
        let mut then = then;
        for (pending, outcome) in pending.into_iter().zip(outcomes.into_iter().chain(missing)) {
            self.settle(pending, outcome, &mut then);
        }
        match then {
            Then::NextTask => {}
            Then::Elections(_, retry) if retry.is_empty() => self.flush(),
            Then::Elections(strategy, retry) => self.first([Task::Elect(retry, strategy)]),
            Then::Leave(rest) => self.first([Task::Offline(rest)]),
            Then::Alter(ticket, results) => self.reply_altered(ticket, results),
        }
        self.work()
    }

    fn work(&mut self) -> Step {
        while self.waiting.is_none() {
            let Some(task) = self.agenda.pop_front() else { break };
            self.perform(task);
        }
        std::mem::take(&mut self.step)
    }

    fn perform(&mut self, task: Task) {
        match task {
            Task::Event(event) => self.begin(event),
            Task::BrokersUp(brokers) => self.brokers_up(brokers),
            Task::BrokersGone(brokers) => self.brokers_gone(&brokers),
            Task::ReplicasGone(replicas) => self.replicas_gone(replicas),
            Task::AnnounceIfQuiet => self.announce_if_quiet(),
            Task::StartPartitions(partitions) => self.start_partitions(partitions),
            Task::Renew(restarts) => self.renew(restarts),
            Task::InitialPhases => self.set_initial_phases(),
            Task::Elect(partitions, strategy) => self.elect(partitions, strategy),
            Task::ElectMissing(topic) => self.elect_missing(topic.as_deref()),
            Task::Online(replicas) => self.bring_online(&replicas),
            Task::Offline(replicas) => self.take_offline(replicas),
            Task::Stop(replicas) => self.stop(&replicas),
            Task::ResumeDeletions => self.resume_deletions(),
            Task::StartDeletion(topics) => self.start_deletion(&topics),
            Task::DeleteReplicas(replicas) => self.delete_replicas(&replicas),
            Task::FailDeletion(replicas) => self.fail_deletion(replicas),
            Task::CompleteDeletion(replicas) => self.complete_deletion(replicas),
            Task::Do(operation) => self.execute(vec![(operation, Pending::Plain)], Then::NextTask),
            Task::Reassign(one) => self.reassign(one),
            Task::ContinueReassignment(one) => self.continue_reassignment(one),
            Task::BumpEpoch(partition) => self.bump_epoch(partition),
            Task::StartAdded(partition, added) => self.start_added(&partition, &added),
            Task::SettleLeader(one) => self.settle_leader(one),
            Task::RemoveReplicas(partition, removed) => self.remove_replicas(&partition, &removed),
            Task::ForgetReplicas(replicas) => self.forget_replicas(&replicas),
            Task::WriteAssignment(partition) => self.write_assignment(&partition),
            Task::AnnounceReassigned(partition) => self.announce_reassigned(&partition),
            Task::ResumeReassignments(begun) => {
                self.resume_reassignments(|name, _| !begun.contains(name));
            }
            Task::ResumeReassignmentsTo(brokers) => {
                self.resume_reassignments(|_, assignment| {
                    assignment.target().any(|id| brokers.contains(&id))
                });
            }
            Task::ReplyReassignments(ticket, results) => self.reply_reassignments(ticket, results),
            Task::ReplyElection(ticket, known) => self.reply_election(ticket, known),
            Task::ReplyShutdown(ticket, broker) => self.reply_shutdown(ticket, broker),
        }
    }

    fn begin(&mut self, event: Event) {
        self.unclean.clear();
        match event {
            Event::Brokers(brokers) => self.compare_brokers(brokers),
            Event::BrokerModified(broker) => self.modify_broker(broker),
            Event::Topics { all, new, fresh_ids } => self.compare_topics(&all, new, fresh_ids),
            Event::TopicModified(record) => self.modify_topic(record),
            Event::Deletions(topics) => self.queue_deletions(topics),
            Event::ReplicasAnswered { broker, online, offline } => {
                self.replicas_answered(broker, &online, offline);
            }
            Event::DeletionAnswered { broker, deleted, failed } => {
                self.deletion_answered(broker, deleted, failed);
            }
            Event::AlterPartition { ticket, broker, broker_epoch, changes } => {
                self.alter_partitions(ticket, broker, broker_epoch, changes);
            }
            Event::ControlledShutdown { ticket, broker, broker_epoch } => {
                self.shut_down(ticket, broker, broker_epoch);
            }
            Event::ElectLeaders { ticket, kind, partitions } => self.elect_leaders(ticket, kind, partitions),
            Event::PreferredElectionRequested(partitions) => self.elect_requested(partitions),
            Event::AlterReassignments { ticket, wanted } => self.alter_reassignments(ticket, wanted),
            Event::ReassignmentsRequested(wanted) => self.reassign_requested(wanted),
            Event::IsrChanged { states, notices } => self.isr_changed(states, notices),
            Event::BalanceLeaders => self.balance_leaders(),
            Event::UncleanElectionEnabled(topic) => self.first([Task::ElectMissing(Some(topic))]),
            Event::UncleanElectionByDefault(allowed) => {
                self.settings.unclean_election = allowed;
                self.first(allowed.then_some(Task::ElectMissing(None)));
            }
            Event::LogDirsFailed { brokers, notices } => {
                let replicas = self.image.replicas_on(&brokers);
                self.first([Task::Online(replicas), Task::Do(Operation::DropLogDirNotices(notices))]);
            }
        }
    }

    /// Puts tasks before the rest of the agenda, in their order.
    pub(super) fn first(&mut self, tasks: impl IntoIterator<Item = Task, IntoIter: DoubleEndedIterator>) {
        for task in tasks.into_iter().rev() {
            self.agenda.push_front(task);
        }
    }

    /// Hands out operations and waits; with none of them, goes on at once.
    pub(super) fn execute(&mut self, work: Vec<(Operation, Pending)>, then: Then) {
        let (operations, pending): (Vec<_>, Vec<_>) = work.into_iter().unzip();
        self.step.operations.extend(operations);
        self.waiting = Some(Waiting { pending, then });
    }

    /// Sends what was gathered.
    pub(super) fn flush(&mut self) {
        self.step.requests.extend(self.batch.take(&self.image));
    }

    pub(super) fn note(&mut self, text: impl Into<String>) {
        self.step.notes.push(text.into());
    }

    pub(super) fn reply(&mut self, ticket: Ticket, reply: Reply) {
        self.step.replies.push((ticket, reply));
    }

    fn settle(&mut self, pending: Pending, outcome: Outcome, then: &mut Then) {
        match pending {
            Pending::Plain => {
                if let Outcome::Failed(reason) = outcome {
                    self.note(reason);
                }
            }
            Pending::Started(partition, leadership) => self.settle_start(&partition, leadership, outcome),
            Pending::Elected(partition, elected) => self.settle_election(partition, elected, outcome, then),
            Pending::Left(replica, partition, leadership) => {
                self.settle_leave(replica, partition, leadership, outcome, then);
            }
            Pending::Altered(partition, leadership) => {
                self.settle_alteration(partition, leadership, outcome, then);
            }
            Pending::Reassigned(one) => self.settle_reassignment(one, outcome),
            Pending::Bumped(partition, next) => self.settle_bump(partition, next, outcome),
            Pending::UncleanElection(topic) => {
                let allowed = match outcome {
                    Outcome::UncleanElection(said) => said.unwrap_or(self.settings.unclean_election),
                    other => {
                        self.note(format!("the config of topic {topic} could not be read: {other:?}"));
                        false
                    }
                };
                self.unclean.insert(topic, allowed);
            }
            Pending::TopicId(name, id) => match outcome {
                Outcome::Written(_) => self.image.set_topic_id(&name, id),
                other => self.note(format!("topic {name} stays without an id: {other:?}")),
            },
            Pending::Deleted(topic) => match outcome {
                Outcome::Written(_) => self.image.remove_topic(&topic),
                other => self.note(format!("topic {topic} could not be deleted: {other:?}")),
            },
        }
    }
}

/// Taking office.
impl Controller {
    fn load(&mut self, loaded: Loaded) {
        self.image.brokers = loaded.brokers.into_iter().map(|broker| (broker.id, broker)).collect();
        let mut ids = loaded.fresh_ids.into_iter();
        let mut without_id = Vec::new();
        for record in loaded.topics {
            if record.id.is_none() && self.settings.topic_ids {
                without_id.push(Arc::clone(&record.name));
            }
            self.image.add_topic(record);
        }
        for (partition, leadership) in loaded.leaderships {
            self.image.set_leadership(&partition, leadership);
        }
        let all: BTreeSet<Arc<str>> = self.image.topics.keys().cloned().collect();
        let (online, offline) =
            self.image.replicas_of(&all).split(|id, partition| self.image.is_replica_online(id, partition));
        for (replica, partition) in online.iter() {
            self.image.set_replica_phase(replica, partition, ReplicaPhase::Online);
        }
        for (replica, partition) in offline.iter() {
            self.image.set_replica_phase(replica, partition, ReplicaPhase::DeletionIneligible);
        }
        let mut tasks = Vec::new();
        if self.settings.delete_topics {
            let offline = offline.topics();
            for topic in loaded.deletions {
                let ineligible = offline.contains(&topic) || self.image.is_being_reassigned(&topic);
                self.image.deletions.insert(topic, Deletion { started: false, ineligible });
            }
        } else {
            tasks.extend(loaded.deletions.into_iter().map(|topic| Task::Do(Operation::DropDeletion(topic))));
        }
        // Brokers must know each other before they are told whom to follow.
        self.batch.announce(&self.image, self.image.brokers.keys().copied(), []);
        self.flush();
        tasks.push(Task::Renew(self.image.restarts(&loaded.written)));
        tasks.extend([Task::Online(online), Task::Offline(offline), Task::InitialPhases]);
        tasks.push(Task::ElectMissing(None));
        let requested: BTreeSet<TopicPartition> = loaded.reassignments.keys().cloned().collect();
        if !requested.is_empty() {
            tasks.push(Task::Event(Event::ReassignmentsRequested(loaded.reassignments)));
        }
        tasks.extend([Task::ResumeReassignments(requested), Task::ResumeDeletions]);
        if !loaded.preferred_elections.is_empty() {
            let requested = Event::PreferredElectionRequested(loaded.preferred_elections);
            tasks.push(Task::Event(requested));
        }
        self.first(tasks);
        self.give_ids(without_id, &mut ids);
    }

    fn set_initial_phases(&mut self) {
        let phases: Vec<(TopicPartition, PartitionPhase)> = self
            .image
            .partitions()
            .map(|(name, partition)| {
                let phase = match &partition.leadership {
                    None => PartitionPhase::New,
                    Some(state) if self.image.is_replica_online(state.leader, &name) => {
                        PartitionPhase::Online
                    }
                    Some(_) => PartitionPhase::Offline,
                };
                (name, phase)
            })
            .collect();
        for (name, phase) in phases {
            if let Some(partition) = self.image.partition_mut(&name) {
                partition.phase = phase;
            }
        }
    }
}
