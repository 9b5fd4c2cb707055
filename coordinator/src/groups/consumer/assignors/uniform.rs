//! The same number of partitions for every member, where all subscribe to the same topics: everybody keeps what it
//! has within its quota, and what is free then fills the others up.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use storage::types::TopicId;

use super::java_order::{in_hash_order, table_copied, table_grown, topic_hash};
use super::{Assignment, Candidate, Problem};
use crate::groups::record::MemberId;

pub(super) fn assign(problem: &Problem) -> BTreeMap<MemberId, Assignment> {
    let candidates = problem.candidates_in_order();
    let Some(first) = candidates.first() else { return BTreeMap::new() };
    let topics = in_hash_order(first.topics.iter().copied(), topic_hash, table_copied(first.names));
    if topics.is_empty() {
        return BTreeMap::new();
    }
    let all = |topic: TopicId| (0..problem.partitions_of(topic)).map(move |partition| (topic, partition));
    let total: usize = topics.iter().map(|topic| all(*topic).count()).sum();
    let mut free: Vec<(TopicId, i32)> =
        topics.iter().flat_map(|topic| all(*topic)).filter(|it| !problem.taken.contains(it)).collect();

    let (least, extra) = (total / candidates.len(), total % candidates.len());
    let mut kept: Vec<(MemberId, Assignment, usize)> = Vec::with_capacity(candidates.len());
    for (index, candidate) in candidates.iter().enumerate() {
        let quota = least + usize::from(index < extra);
        let (assignment, left) = keep(candidate, quota, &first.topics, &mut free);
        kept.push((Arc::clone(&candidate.member_id), assignment, left));
    }
    let mut free = free.into_iter();
    let filled = kept.into_iter().map(|(member_id, mut assignment, left)| {
        for (topic, partition) in free.by_ref().take(left) {
            assignment.entry(topic).or_default().insert(partition);
        }
        (member_id, assignment)
    });
    filled.collect()
}

/// What a member keeps of its plan within `quota`, and how much of the quota is left; the rest becomes free.
fn keep(
    candidate: &Candidate,
    quota: usize,
    subscribed: &BTreeSet<TopicId>,
    free: &mut Vec<(TopicId, i32)>,
) -> (Assignment, usize) {
    let mut left = quota;
    let mut kept = Assignment::new();
    let table = table_grown(candidate.planned.len());
    for (topic, partitions) in in_hash_order(&candidate.planned, |(topic, _)| topic_hash(topic), table) {
        if !subscribed.contains(topic) {
            continue;
        }
        let in_order = in_hash_order(partitions.iter().copied(), |it| *it, table_copied(partitions.len()));
        let (keeps, gives) = in_order.split_at(left.min(in_order.len()));
        left -= keeps.len();
        free.extend(gives.iter().map(|partition| (*topic, *partition)));
        if !keeps.is_empty() {
            kept.insert(*topic, keeps.iter().copied().collect());
        }
    }
    (kept, left)
}
