//! What a consumer group is asked, and what it answers.

use std::collections::BTreeSet;
use std::sync::Arc;

use storage::types::TopicId;

use super::assignors::Assignment;
use crate::groups::record::{GroupId, MemberId};
use crate::groups::refusal::GroupError;

/// Partitions a member says that it has, as it listed them.
pub type OwnedPartitions = Vec<(TopicId, Vec<i32>)>;

/// ConsumerGroupHeartbeat. `None` where the member says nothing new.
#[derive(Clone, Debug)]
pub struct ConsumerHeartbeat {
    pub group: GroupId,
    /// Empty where the coordinator shall choose one.
    pub member_id: MemberId,
    /// 0 joins; -1 leaves; -2 is a static member that will come back.
    pub epoch: i32,
    pub instance_id: Option<Arc<str>>,
    pub rack_id: Option<Arc<str>>,
    /// Unit: ms.
    pub rebalance_timeout_ms: Option<i32>,
    pub client_id: Arc<str>,
    /// As Kafka writes it: `/` and the address.
    pub client_host: Arc<str>,
    pub topics: Option<BTreeSet<Arc<str>>>,
    pub assignor: Option<Arc<str>>,
    pub owned: Option<OwnedPartitions>,
    /// Randomness for the id of a new member.
    pub fresh_id: [u8; 16],
}

/// The answer to a member that is in the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    pub member_id: MemberId,
    pub epoch: i32,
    /// Unit: ms. 0 for one that leaves.
    pub heartbeat_interval_ms: i32,
    /// Told where it changed, and to whoever tells everything about itself.
    pub assignment: Option<Assignment>,
}

/// Why a heartbeat is refused; the text is for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeartbeatRefused {
    pub error: GroupError,
    pub text: String,
}

impl From<GroupError> for HeartbeatRefused {
    fn from(error: GroupError) -> Self {
        HeartbeatRefused { error, text: error.to_string() }
    }
}

/// A group as ConsumerGroupDescribe shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerDescription {
    pub state: &'static str,
    pub epoch: i32,
    pub plan_epoch: i32,
    pub assignor: Arc<str>,
    pub members: Vec<ConsumerMemberDescription>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerMemberDescription {
    pub member_id: MemberId,
    pub instance_id: Option<Arc<str>>,
    pub rack_id: Option<Arc<str>>,
    pub epoch: i32,
    pub client_id: Arc<str>,
    pub client_host: Arc<str>,
    pub topics: BTreeSet<Arc<str>>,
    pub regex: Option<Arc<str>>,
    pub assigned: Assignment,
    pub planned: Assignment,
}
