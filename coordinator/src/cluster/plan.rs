//! What goes into the cluster plan and what comes out of it.
//!
//! Values only. An `Operation` is done in ZooKeeper, guarded by the controller's epoch; a `Request` goes to a broker; a
//! `Reply` answers whoever asked. They know neither paths nor wire formats.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use storage::types::{BrokerId, LeaderEpoch, TopicId, TopicPartition};

use crate::replication::InSyncMember;

use super::types::{Assignment, Leadership, LiveBroker, Recovery, TopicRecord};

/// Names one question so that its answer finds back to the asker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// What of the configuration the plan depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Topics get ids (inter-broker protocol 2.8 and above).
    pub topic_ids: bool,
    /// A leader elected out of sync is marked as recovering (3.2 and above).
    pub leader_recovery: bool,
    /// `delete.topic.enable`.
    pub delete_topics: bool,
    /// `unclean.leader.election.enable`: for topics that don't say otherwise.
    pub unclean_election: bool,
    /// `leader.imbalance.per.broker.percentage`. Unit: percent.
    pub imbalance_percent: u32,
}

/// The cluster as a new controller reads it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    pub brokers: Vec<LiveBroker>,
    pub topics: Vec<TopicRecord>,
    /// A partition without one was never started.
    pub leaderships: BTreeMap<TopicPartition, Leadership>,
    /// When those were last written, in ZooKeeper's order (`mzxid`). A broker with a later epoch has restarted since.
    pub written: BTreeMap<TopicPartition, i64>,
    /// Topics under `/admin/delete_topics`.
    pub deletions: BTreeSet<Arc<str>>,
    /// Partitions in `/admin/preferred_replica_election`.
    pub preferred_elections: BTreeSet<TopicPartition>,
    /// Partitions in `/admin/reassign_partitions`, and where they shall go.
    pub reassignments: BTreeMap<TopicPartition, Vec<BrokerId>>,
    /// Random ids for topics that have none; the plan takes as many as it needs.
    pub fresh_ids: Vec<TopicId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElectionKind {
    /// The first replica of the assignment.
    Preferred,
    /// Any live replica, in sync or not.
    Unclean,
}

/// One partition of an AlterPartition request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IsrChange {
    pub partition: TopicPartition,
    pub leader_epoch: LeaderEpoch,
    /// With the lives of the members that the leader saw in sync (KIP-903); `-1` where it does not tell.
    pub isr: Vec<InSyncMember>,
    pub recovery: Recovery,
    /// The partition epoch the leader knows.
    pub version: i32,
}

/// Something that happened to the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// All brokers registered now.
    Brokers(Vec<LiveBroker>),
    /// A registered broker changed its endpoints.
    BrokerModified(LiveBroker),
    /// All topics that exist now; the ones the image lacks with their records, and ids for those without.
    Topics { all: BTreeSet<Arc<str>>, new: Vec<TopicRecord>, fresh_ids: Vec<TopicId> },
    /// The assignment of a topic changed.
    TopicModified(TopicRecord),
    /// All topics that someone wants deleted.
    Deletions(BTreeSet<Arc<str>>),
    /// A broker says which of its replicas it could open. A request-level error changes nothing and is not sent here.
    ReplicasAnswered { broker: BrokerId, online: BTreeSet<TopicPartition>, offline: BTreeSet<TopicPartition> },
    /// A broker says which replicas it deleted.
    DeletionAnswered { broker: BrokerId, deleted: BTreeSet<TopicPartition>, failed: BTreeSet<TopicPartition> },
    /// A leader wants another in-sync set.
    AlterPartition { ticket: Ticket, broker: BrokerId, broker_epoch: i64, changes: Vec<IsrChange> },
    /// A broker wants to go. Epoch -1: it does not know its own.
    ControlledShutdown { ticket: Ticket, broker: BrokerId, broker_epoch: i64 },
    /// An operator wants elections; `None`: for every partition.
    ElectLeaders { ticket: Ticket, kind: ElectionKind, partitions: Option<BTreeSet<TopicPartition>> },
    /// An old tool wrote the partitions into ZooKeeper.
    PreferredElectionRequested(BTreeSet<TopicPartition>),
    /// An operator wants partitions on other replicas; `None` takes such a wish back.
    AlterReassignments { ticket: Ticket, wanted: BTreeMap<TopicPartition, Option<Vec<BrokerId>>> },
    /// An old tool wrote the partitions and their replicas into ZooKeeper.
    ReassignmentsRequested(BTreeMap<TopicPartition, Vec<BrokerId>>),
    /// Leaders of an older inter-broker protocol wrote in-sync sets, and told of it by these notices.
    IsrChanged { states: BTreeMap<TopicPartition, Leadership>, notices: Vec<String> },
    /// Time to look whether leaders sit where they should.
    BalanceLeaders,
    /// Elections out of sync became allowed for one topic.
    UncleanElectionEnabled(Arc<str>),
    /// Whether elections out of sync are allowed where a topic does not say.
    UncleanElectionByDefault(bool),
    /// Brokers tell of failed log directories, by these notices.
    LogDirsFailed { brokers: BTreeSet<BrokerId>, notices: Vec<String> },
}

/// One thing to do in ZooKeeper. Those of one step may be pipelined; they take effect in the order given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// The parent of a topic's partitions. It may exist.
    CreateTopicDirectory(Arc<str>),
    /// The parent of a partition's state. It may exist.
    CreatePartitionDirectory(TopicPartition),
    /// Answered by `Written`, or `Exists`.
    CreateState(TopicPartition, Leadership),
    /// Only over the version that `leadership.version` names. Answered by `Written` or `Conflict`.
    SetState(TopicPartition, Leadership),
    /// Assignment and id of a topic.
    SetTopic(TopicRecord),
    /// The topic, all below it, its config, and the wish to delete it, in this order.
    DeleteTopic(Arc<str>),
    /// A wish to delete that will not be fulfilled.
    DropDeletion(Arc<str>),
    DropPreferredElection,
    DropLogDirNotices(Vec<String>),
    DropIsrNotices(Vec<String>),
    /// Out of the list that old tools write; with replicas, only where they are the ones asked for. The list goes with
    /// its last entry.
    DropReassignments(Vec<(TopicPartition, Option<Vec<BrokerId>>)>),
    /// Whether the topic's own config allows unclean elections. Answered by `UncleanElection`.
    ReadUncleanElection(Arc<str>),
}

/// How an operation went. A controller that lost its epoch gets no answer: it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done; the node has this version now.
    Written(i32),
    /// The node was there before.
    Exists,
    /// Another version stands there: what it holds, `None` if the node is gone.
    Conflict(Option<Leadership>),
    /// `None`: the topic does not say.
    UncleanElection(Option<bool>),
    /// Not done, for a reason in the operator's words.
    Failed(String),
}

/// A replica told who leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaOrder {
    pub leadership: Leadership,
    pub assignment: Assignment,
    /// The replica may be created; otherwise a missing one means a failed disk.
    pub is_new: bool,
}

/// A replica told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StopOrder {
    /// -2 where the topic is being deleted, -1 where there was no leader yet.
    pub leader_epoch: LeaderEpoch,
    pub delete: bool,
}

/// What everyone shall know of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionNews {
    /// Leader -2: being deleted.
    pub leadership: Leadership,
    pub replicas: Vec<BrokerId>,
    pub offline: Vec<BrokerId>,
}

/// A message to one broker. `broker_epoch` lets a restarted broker refuse what was meant for its former self.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub to: BrokerId,
    pub broker_epoch: i64,
    pub body: RequestBody,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestBody {
    LeaderAndIsr {
        partitions: BTreeMap<TopicPartition, ReplicaOrder>,
        topic_ids: BTreeMap<Arc<str>, TopicId>,
        /// The live ones among the leaders.
        leaders: Vec<LiveBroker>,
    },
    UpdateMetadata(Arc<MetadataNews>),
    StopReplica(BTreeMap<TopicPartition, StopOrder>),
}

/// The same for every broker, hence shared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetadataNews {
    pub partitions: BTreeMap<TopicPartition, PartitionNews>,
    pub topic_ids: BTreeMap<Arc<str>, TopicId>,
    pub brokers: Vec<LiveBroker>,
}

/// Why a leader does not get its in-sync set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlterRefusal {
    UnknownPartition,
    /// The leader knows more than this controller.
    NotController,
    FencedLeaderEpoch,
    InvalidUpdateVersion,
    InvalidRecovery,
    /// The new set holds brokers that are not alive, are shutting down, or have restarted since they were in sync.
    IneligibleReplica,
    /// ZooKeeper refused.
    Failed,
}

/// Why a broker may not go yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShutdownRefusal {
    StaleBrokerEpoch,
    UnknownBroker,
}

/// Why no leader was elected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ElectionRefusal {
    NotNeeded,
    TopicBeingDeleted,
    UnknownPartition,
    NoEligibleLeader(String),
    Failed(String),
}

/// Why a partition is not reassigned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReassignRefusal {
    /// In Kafka's words.
    InvalidReplicas(String),
    NotInProgress,
    UnknownPartition,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    AlterPartition(BTreeMap<TopicPartition, Result<Leadership, AlterRefusal>>),
    /// The asking broker is unknown or not the one registered now.
    StaleBrokerEpoch,
    /// Partitions the broker still leads.
    ControlledShutdown(Result<BTreeSet<TopicPartition>, ShutdownRefusal>),
    ElectLeaders(BTreeMap<TopicPartition, Result<BrokerId, ElectionRefusal>>),
    /// `None`: under way, or done.
    Reassignments(BTreeMap<TopicPartition, Option<ReassignRefusal>>),
}

/// What to do now. With operations in it, the plan waits for their outcomes before it says more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// To be sent in this order, at once.
    pub requests: Vec<Request>,
    pub replies: Vec<(Ticket, Reply)>,
    pub operations: Vec<Operation>,
    /// For the log: what went wrong, in the operator's words.
    pub notes: Vec<String>,
}
