//! What the cluster looks like to a group: which topics there are, under which ids, with how many partitions.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use storage::types::TopicId;

/// One topic, as a plan depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    pub id: TopicId,
    pub partitions: i32,
    /// Where the replicas of a partition are, as far as their brokers tell a rack.
    pub racks: BTreeMap<i32, BTreeSet<Arc<str>>>,
}

/// The topics of a cluster at one moment.
pub trait Topics: Send + Sync {
    /// `None` where there is no such topic, or it has no id.
    fn topic(&self, name: &str) -> Option<TopicInfo>;
    fn id(&self, name: &str) -> Option<TopicId>;
    fn name(&self, id: TopicId) -> Option<Arc<str>>;
}

/// A state of the cluster; a later one has a higher number.
#[derive(Clone)]
pub struct ClusterTopics {
    pub version: u64,
    pub topics: Arc<dyn Topics>,
}

impl fmt::Debug for ClusterTopics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClusterTopics(version {})", self.version)
    }
}

impl Default for ClusterTopics {
    /// A cluster without topics, older than any other.
    fn default() -> Self {
        ClusterTopics { version: 0, topics: Arc::new(NoTopics) }
    }
}

struct NoTopics;

impl Topics for NoTopics {
    fn topic(&self, _: &str) -> Option<TopicInfo> {
        None
    }

    fn id(&self, _: &str) -> Option<TopicId> {
        None
    }

    fn name(&self, _: TopicId) -> Option<Arc<str>> {
        None
    }
}
