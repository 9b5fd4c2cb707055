//! Members with different subscriptions: everybody keeps what it has, free partitions go to the member with the
//! fewest, and then partitions move from the fullest to the emptiest until nothing is gained by it. No partition moves
//! twice, so that there is an end.
//!
//! Where partitions of a topic would move between two members in both directions Kafka 3.9.1 gives up, and the
//! heartbeat fails; here they move.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use storage::types::TopicId;

use super::java_order::{compare_texts, in_hash_order, partition_hash, table_grown, topic_hash};
use super::{Assignment, Candidate, Problem};
use crate::groups::record::MemberId;

type Partition = (TopicId, i32);

pub(super) fn assign(problem: &Problem) -> BTreeMap<MemberId, Assignment> {
    let mut plan = Plan::new(problem);
    if plan.subscribers.is_empty() {
        return BTreeMap::new();
    }
    plan.keep_what_was_planned();
    plan.give_what_is_free();
    plan.balance();
    let members = plan.candidates.iter().map(|candidate| Arc::clone(&candidate.member_id));
    members.zip(plan.parts).collect()
}

/// Members go by their place in `candidates`.
struct Plan<'a> {
    problem: &'a Problem,
    candidates: Vec<&'a Candidate>,
    subscribers: BTreeMap<TopicId, Vec<usize>>,
    /// Where each member stands among all by its id.
    ranks: Vec<usize>,
    by_rank: Vec<usize>,
    sizes: Vec<usize>,
    /// All partitions of its topics.
    sizes_max: Vec<usize>,
    parts: Vec<Assignment>,
    owners: BTreeMap<Partition, usize>,
    /// Size and rank of the members that may take part in moves and could take more.
    hungry: BTreeSet<(usize, usize)>,
}

impl<'a> Plan<'a> {
    fn new(problem: &'a Problem) -> Plan<'a> {
        let candidates = problem.candidates_in_order();
        let mut subscribers: BTreeMap<TopicId, Vec<usize>> = BTreeMap::new();
        for (member, candidate) in candidates.iter().enumerate() {
            for topic in &candidate.topics {
                subscribers.entry(*topic).or_default().push(member);
            }
        }
        let mut by_rank: Vec<usize> = (0..candidates.len()).collect();
        by_rank
            .sort_by(|one, other| compare_texts(&candidates[*one].member_id, &candidates[*other].member_id));
        let mut ranks = vec![0; candidates.len()];
        for (rank, member) in by_rank.iter().enumerate() {
            ranks[*member] = rank;
        }
        let count = |topic: &TopicId| usize::try_from(problem.partitions_of(*topic)).unwrap_or(0);
        let sizes_max: Vec<usize> =
            candidates.iter().map(|candidate| candidate.topics.iter().map(count).sum()).collect();
        let could_take = |member: &usize| sizes_max[*member] > 0;
        let hungry = (0..candidates.len()).filter(could_take).map(|member| (0, ranks[member])).collect();
        Plan {
            problem,
            sizes: vec![0; candidates.len()],
            parts: vec![Assignment::new(); candidates.len()],
            owners: BTreeMap::new(),
            candidates,
            subscribers,
            ranks,
            by_rank,
            sizes_max,
            hungry,
        }
    }

    fn keep_what_was_planned(&mut self) {
        for member in 0..self.candidates.len() {
            let candidate = self.candidates[member];
            for (topic, partitions) in &candidate.planned {
                if candidate.topics.contains(topic) {
                    for partition in partitions {
                        self.give((*topic, *partition), member);
                    }
                }
            }
        }
    }

    fn give_what_is_free(&mut self) {
        let mut free = self.all_partitions();
        free.retain(|partition| !self.owners.contains_key(partition));
        self.sort(&mut free);
        for partition in free {
            let could_take = |member: &&usize| self.sizes[**member] < self.sizes_max[**member];
            let fewest = |member: &&usize| (self.sizes[**member], self.ranks[**member]);
            let subscribers = self.subscribers.get(&partition.0).into_iter().flatten();
            if let Some(member) = subscribers.filter(could_take).min_by_key(fewest).copied() {
                self.give(partition, member);
            }
        }
    }

    fn balance(&mut self) {
        let shared = |topic: &TopicId| self.subscribers.get(topic).is_some_and(|members| members.len() > 1);
        let takes_part = |member: usize| {
            self.sizes[member] < self.sizes_max[member] || self.parts[member].keys().any(shared)
        };
        let stay: Vec<bool> = (0..self.candidates.len()).map(takes_part).collect();
        let mut movable = self.all_partitions();
        movable.retain(|(topic, _)| shared(topic));
        self.hungry.retain(|(_, rank)| stay[self.by_rank[*rank]]);
        self.sort(&mut movable);
        loop {
            let before = movable.len();
            if self.is_balanced_by_moving(&mut movable) || movable.len() == before {
                return;
            }
        }
    }

    /// One walk over all that may move; who has moved is not among them any more.
    fn is_balanced_by_moving(&mut self, movable: &mut Vec<Partition>) -> bool {
        let mut just_moved = false;
        for partition in std::mem::take(movable) {
            if just_moved && self.is_balanced() {
                return true;
            }
            just_moved = false;
            let Some(owner) = self.owners.get(&partition).copied() else { continue };
            let fuller = |other: usize| self.sizes[owner] > self.sizes[other] + 1;
            let subscribes = |member: &usize| self.candidates[*member].topics.contains(&partition.0);
            let emptiest = self.hungry.iter().map(|(_, rank)| self.by_rank[*rank]).find(subscribes);
            match emptiest.filter(|other| fuller(*other)) {
                Some(emptiest) => {
                    self.take(partition, owner);
                    self.give(partition, emptiest);
                    just_moved = true;
                }
                None => movable.push(partition),
            }
        }
        false
    }

    fn is_balanced(&self) -> bool {
        let sizes = self.hungry.first().zip(self.hungry.last());
        if sizes.is_none_or(|(fewest, most)| fewest.0 + 1 >= most.0) {
            return true;
        }
        let could_have_more = |(size, rank): &(usize, usize)| {
            let member = self.by_rank[*rank];
            let foreign = |partition: &Partition| self.owners.get(partition).copied().unwrap_or(member);
            let mut all = self.candidates[member].topics.iter().flat_map(|topic| {
                (0..self.problem.partitions_of(*topic)).map(move |partition| (*topic, partition))
            });
            *size != self.sizes_max[member] && all.any(|it| size + 1 < self.sizes[foreign(&it)])
        };
        !self.hungry.iter().any(could_have_more)
    }

    fn give(&mut self, partition: Partition, member: usize) {
        self.parts[member].entry(partition.0).or_default().insert(partition.1);
        self.owners.insert(partition, member);
        self.resize(member, self.sizes[member] + 1);
    }

    fn take(&mut self, partition: Partition, member: usize) {
        if let Some(partitions) = self.parts[member].get_mut(&partition.0) {
            partitions.remove(&partition.1);
            if partitions.is_empty() {
                self.parts[member].remove(&partition.0);
            }
        }
        self.owners.remove(&partition);
        self.resize(member, self.sizes[member].saturating_sub(1));
    }

    fn resize(&mut self, member: usize, size: usize) {
        let rank = self.ranks[member];
        self.hungry.remove(&(self.sizes[member], rank));
        self.sizes[member] = size;
        if size < self.sizes_max[member] {
            self.hungry.insert((size, rank));
        }
    }

    /// In the order of Kafka's table of partitions, in which equals stay when they are sorted.
    fn all_partitions(&self) -> Vec<Partition> {
        let topics = self.subscribers.keys().copied();
        let topics = in_hash_order(topics, topic_hash, table_grown(self.subscribers.len()));
        let partitions = topics.into_iter().flat_map(|topic| {
            (0..self.problem.partitions_of(topic)).map(move |partition| (topic, partition))
        });
        let partitions: Vec<Partition> = partitions.collect();
        let table = table_grown(partitions.len());
        in_hash_order(partitions, partition_hash, table)
    }

    /// Topics with most partitions for a subscriber first, then those with fewer subscribers, then by partition.
    fn sort(&self, partitions: &mut [Partition]) {
        let subscribers = |topic: &TopicId| self.subscribers.get(topic).map_or(1, Vec::len);
        let share = |topic: &TopicId| {
            let (count, subscribers) = (self.problem.partitions_of(*topic), subscribers(topic));
            f64::from(count) / f64::from(u32::try_from(subscribers).unwrap_or(u32::MAX))
        };
        partitions.sort_by(|one, other| {
            let by_share = share(&other.0).total_cmp(&share(&one.0));
            by_share.then(subscribers(&one.0).cmp(&subscribers(&other.0))).then(one.1.cmp(&other.1))
        });
    }
}
