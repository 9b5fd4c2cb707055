//! Who shall have which partitions: the server-side assignors of Kafka 3.9, with its results to the partition.
//!
//! Equal results matter where a group goes from Apache's coordinator to ours and back: another plan would move
//! partitions for nothing. Kafka's plans depend on the order in which its hash tables hand out their keys, so that
//! order is rebuilt here (`java_order`). Pure functions; an assignment names only topics that exist.

mod heterogeneous;
mod java_order;
mod range;
mod uniform;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use storage::types::TopicId;

pub(super) use self::java_order::{in_hash_order, table_grown, text_hash};
use super::super::record::MemberId;

/// Partitions by topic. No topic is here without a partition.
pub type Assignment = BTreeMap<TopicId, BTreeSet<i32>>;

/// A server-side assignor (`group.consumer.assignors`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assignor {
    /// The same number of partitions for everybody, as few moves as possible.
    Uniform,
    /// Consecutive partitions of each topic, so that partitions of the same number stay together.
    Range,
}

impl Assignor {
    /// As clients ask for it.
    pub fn name(self) -> &'static str {
        match self {
            Assignor::Uniform => "uniform",
            Assignor::Range => "range",
        }
    }
}

/// A member that wants partitions.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub member_id: MemberId,
    pub instance_id: Option<Arc<str>>,
    /// The topics it subscribes to and that exist.
    pub topics: BTreeSet<TopicId>,
    /// How many names it subscribes to, existing or not.
    pub names: usize,
    /// What it shall have by the plan that is being replaced.
    pub planned: Assignment,
}

/// What an assignor is asked.
#[derive(Clone, Debug)]
pub struct Problem {
    pub candidates: Vec<Candidate>,
    /// How many partitions the topics have that somebody subscribes to.
    pub partitions: BTreeMap<TopicId, i32>,
    /// Whether all members subscribe to the same topics.
    pub homogeneous: bool,
    /// What the plan that is being replaced gave to anybody, those included who have another id by now.
    pub taken: BTreeSet<(TopicId, i32)>,
}

impl Problem {
    fn partitions_of(&self, topic: TopicId) -> i32 {
        self.partitions.get(&topic).copied().unwrap_or(0)
    }

    /// In the order of Kafka's table of members.
    fn candidates_in_order(&self) -> Vec<&Candidate> {
        let table = table_grown(self.candidates.len());
        in_hash_order(self.candidates.iter(), |candidate| text_hash(&candidate.member_id), table)
    }
}

/// The part of every candidate; who is missing gets nothing.
pub fn assign(assignor: Assignor, problem: &Problem) -> BTreeMap<MemberId, Assignment> {
    match (assignor, problem.homogeneous) {
        (Assignor::Range, _) => range::assign(problem),
        (Assignor::Uniform, true) => uniform::assign(problem),
        (Assignor::Uniform, false) => heterogeneous::assign(problem),
    }
}

#[cfg(test)]
mod tests;
