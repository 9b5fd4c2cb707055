//! Consecutive partitions of each topic for each of its subscribers, in the order of their ids.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::java_order::compare_texts;
use super::{Assignment, Candidate, Problem};
use crate::groups::record::MemberId;

/// Static members come first, by instance id.
fn order(one: &Candidate, other: &Candidate) -> Ordering {
    match (&one.instance_id, &other.instance_id) {
        (Some(one), Some(other)) => compare_texts(one, other),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => compare_texts(&one.member_id, &other.member_id),
    }
}

pub(super) fn assign(problem: &Problem) -> BTreeMap<MemberId, Assignment> {
    let mut candidates: Vec<&Candidate> = problem.candidates.iter().collect();
    candidates.sort_by(|one, other| order(one, other));
    let mut plan: BTreeMap<MemberId, Assignment> = BTreeMap::new();
    for (topic, count) in &problem.partitions {
        let subscribers: Vec<&&Candidate> =
            candidates.iter().filter(|candidate| candidate.topics.contains(topic)).collect();
        let Ok(number) = i32::try_from(subscribers.len()) else { continue };
        if number == 0 {
            continue;
        }
        let (each, mut extra) = (count / number, count % number);
        let mut next = 0;
        for subscriber in subscribers {
            let end = next + each + i32::from(extra > 0);
            extra -= 1;
            if next < end {
                let part: BTreeSet<i32> = (next..end).collect();
                plan.entry(Arc::clone(&subscriber.member_id)).or_default().insert(*topic, part);
            }
            next = end;
        }
    }
    plan
}
