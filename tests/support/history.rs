//! What producers and consumers saw of a topic, held against what the topic has in the end.
//!
//! The rules are those of idempotent producers at acks=all that send one batch at a time, and of consumers that may see a
//! record twice but never another one in its place. Pure, so that it can be shown to fail.

use std::collections::{BTreeMap, BTreeSet};

/// A record as somebody knows it. Its value names its producer and its place: `producer/number`, from 0.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Seen {
    pub(crate) partition: i32,
    /// `None`: acknowledged as a duplicate, without its offset.
    pub(crate) offset: Option<i64>,
    pub(crate) value: String,
}

impl Seen {
    pub(crate) fn new(partition: i32, offset: i64, value: impl Into<String>) -> Seen {
        Seen { partition, offset: Some(offset), value: value.into() }
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    pub(crate) acknowledged: Vec<Seen>,
    pub(crate) read: Vec<Seen>,
    /// Everything below the high watermarks in the end, in the order of the log.
    pub(crate) log: Vec<Seen>,
}

/// Violations shown of each rule.
const SHOWN_MAX: usize = 5;

impl History {
    /// One sentence for each broken rule and record; empty where all is well.
    pub(crate) fn violations(&self) -> Vec<String> {
        let mut found = self.order_of_the_log();
        let at: BTreeMap<(i32, i64), &str> = self
            .log
            .iter()
            .filter_map(|one| Some(((one.partition, one.offset?), one.value.as_str())))
            .collect();
        let anywhere: BTreeSet<(i32, &str)> =
            self.log.iter().map(|one| (one.partition, one.value.as_str())).collect();
        let lost = self.acknowledged.iter().filter_map(|one| {
            let kept = match one.offset {
                Some(offset) => at.get(&(one.partition, offset)) == Some(&one.value.as_str()),
                None => anywhere.contains(&(one.partition, one.value.as_str())),
            };
            (!kept).then(|| {
                let instead = one.offset.and_then(|offset| at.get(&(one.partition, offset)));
                format!("acknowledged and lost: {one:?}; there is {instead:?}")
            })
        });
        found.extend(lost.take(SHOWN_MAX));
        let false_reads = self.read.iter().filter_map(|one| {
            let there = at.get(&(one.partition, one.offset?));
            (there != Some(&one.value.as_str()))
                .then(|| format!("read and not there: {one:?}; there is {there:?}"))
        });
        found.extend(false_reads.take(SHOWN_MAX));
        let read: BTreeSet<(i32, &str)> =
            self.read.iter().map(|one| (one.partition, one.value.as_str())).collect();
        let unread =
            self.acknowledged.iter().filter(|one| !read.contains(&(one.partition, one.value.as_str())));
        found.extend(unread.take(SHOWN_MAX).map(|one| format!("acknowledged and never read: {one:?}")));
        found
    }

    /// Offsets ascend, no value comes twice, and each producer's numbers come without a gap.
    fn order_of_the_log(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut last: BTreeMap<i32, i64> = BTreeMap::new();
        let mut next: BTreeMap<(i32, &str), u64> = BTreeMap::new();
        for one in &self.log {
            let offset = one.offset.expect("a record of a log has an offset");
            if last.insert(one.partition, offset).is_some_and(|last| offset <= last) {
                found.push(format!("offsets do not ascend at {one:?}"));
            }
            let (producer, number) = one.value.split_once('/').expect("producer/number");
            let number: u64 = number.parse().expect("a number");
            let next = next.entry((one.partition, producer)).or_default();
            if number < *next {
                found.push(format!("written twice: {one:?}"));
            } else if number > *next {
                found.push(format!("records before it are missing: {one:?}, expected {producer}/{next}"));
            }
            *next = (*next).max(number + 1);
            if found.len() >= SHOWN_MAX {
                break;
            }
        }
        found
    }
}
