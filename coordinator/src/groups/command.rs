//! What a group is asked, and what it answers: the words between the handlers of `broker` and the machine.
//!
//! Texts and bytes here are copies: they outlive the request they came with. An empty member id is "not known yet".

use std::sync::Arc;

use bytes::Bytes;
use storage::types::TopicPartition;

use super::consumer::{ConsumerHeartbeat, Heard, HeartbeatRefused};
use super::record::{GroupId, MemberId, OffsetCommit, TransactionalProducer};
use super::refusal::GroupError;

/// Whatever may change a group. Questions that change nothing are methods of [`super::Groups`].
#[derive(Clone, Debug)]
pub enum Command {
    Join(Join),
    Sync(Sync),
    Heartbeat(Heartbeat),
    ConsumerHeartbeat(ConsumerHeartbeat),
    Leave(Leave),
    Commit(Commit),
    DeleteGroup(GroupId),
    /// An administrator's: refused for topics that a member subscribes to.
    DeleteOffsets(GroupId, Vec<TopicPartition>),
    /// Partitions that no longer exist; see [`super::Groups::groups_with_offsets_of`].
    ForgetPartitions(GroupId, Vec<TopicPartition>),
}

#[derive(Clone, Debug)]
pub struct Join {
    pub group: GroupId,
    pub member_id: MemberId,
    pub instance_id: Option<Arc<str>>,
    pub client_id: Arc<str>,
    /// As Kafka writes it: `/` and the address.
    pub client_host: Arc<str>,
    /// Unit: ms.
    pub rebalance_timeout_ms: i32,
    /// Unit: ms. Range: the two `group.*.session.timeout.ms`.
    pub session_timeout_ms: i32,
    pub protocol_type: Arc<str>,
    /// Name and metadata, the preferred one first.
    pub protocols: Vec<(Arc<str>, Bytes)>,
    /// JoinGroup 4 and later, dynamic members only: a new member is told its id first and joins with it (KIP-394).
    pub handshake: Handshake,
    /// JoinGroup 9 and later (KIP-814).
    pub skip_assignment: SkipAssignment,
    /// Randomness for the id of a new member.
    pub fresh_id: [u8; 16],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handshake {
    IdFirst,
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkipAssignment {
    Understood,
    Unknown,
}

#[derive(Clone, Debug)]
pub struct Sync {
    pub group: GroupId,
    pub member_id: MemberId,
    pub instance_id: Option<Arc<str>>,
    pub generation: i32,
    /// SyncGroup 5 and later.
    pub protocol_type: Option<Arc<str>>,
    pub protocol: Option<Arc<str>>,
    /// The leader's work; empty from all others.
    pub assignments: Vec<(MemberId, Bytes)>,
}

#[derive(Clone, Debug)]
pub struct Heartbeat {
    pub group: GroupId,
    pub member_id: MemberId,
    pub instance_id: Option<Arc<str>>,
    pub generation: i32,
}

#[derive(Clone, Debug)]
pub struct Leave {
    pub group: GroupId,
    pub members: Vec<LeavingMember>,
}

/// An administrator removes static members by instance id alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeavingMember {
    pub member_id: MemberId,
    pub instance_id: Option<Arc<str>>,
}

#[derive(Clone, Debug)]
pub struct Commit {
    pub group: GroupId,
    pub member_id: MemberId,
    pub instance_id: Option<Arc<str>>,
    /// Negative: not from a member but from an administrator or a consumer without group management.
    pub generation: i32,
    /// Whether the request can tell member epochs: OffsetCommit 9 and later, TxnOffsetCommit.
    pub knows_epochs: bool,
    /// TxnOffsetCommit: the offsets wait for the end of the transaction.
    pub producer: Option<TransactionalProducer>,
    pub offsets: Vec<(TopicPartition, OffsetCommit)>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    Join(Result<Joined, JoinRefused>),
    Sync(Result<Synced, GroupError>),
    Heartbeat(Result<(), GroupError>),
    ConsumerHeartbeat(Result<Heard, HeartbeatRefused>),
    Leave(Vec<(LeavingMember, Result<(), GroupError>)>),
    /// Each partition once, in order.
    Commit(PartitionResults),
    DeleteGroup(Result<(), GroupError>),
    DeleteOffsets(Result<PartitionResults, GroupError>),
    Forgotten,
}

/// How each partition of a request fared.
pub type PartitionResults = Vec<(TopicPartition, Result<(), GroupError>)>;

#[derive(Clone, Debug, PartialEq)]
pub struct Joined {
    pub member_id: MemberId,
    pub generation: i32,
    pub protocol_type: Option<Arc<str>>,
    pub protocol: Option<Arc<str>>,
    pub leader: MemberId,
    /// The leader shall take its role, but not assign anything (KIP-814).
    pub skip_assignment: bool,
    /// For the leader only: what there is to assign to.
    pub members: Vec<JoinedMember>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct JoinedMember {
    pub member_id: MemberId,
    pub instance_id: Option<Arc<str>>,
    pub metadata: Bytes,
}

/// A join that failed; the id is what the client shall use next.
#[derive(Clone, Debug, PartialEq)]
pub struct JoinRefused {
    pub member_id: MemberId,
    pub error: GroupError,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Synced {
    pub protocol_type: Option<Arc<str>>,
    pub protocol: Option<Arc<str>>,
    pub assignment: Bytes,
}

/// A group as DescribeGroups shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupDescription {
    pub state: &'static str,
    /// Empty where there is none, like the next.
    pub protocol_type: Arc<str>,
    /// Only told of a stable group.
    pub protocol: Arc<str>,
    pub members: Vec<MemberDescription>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct MemberDescription {
    pub member_id: MemberId,
    pub instance_id: Option<Arc<str>>,
    pub client_id: Arc<str>,
    pub client_host: Arc<str>,
    /// Empty unless the group is stable, like the next.
    pub metadata: Bytes,
    pub assignment: Bytes,
}

/// A group as ListGroups shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupListing {
    pub group: GroupId,
    /// `classic` or `consumer`.
    pub kind: &'static str,
    pub protocol_type: Arc<str>,
    pub state: &'static str,
}
