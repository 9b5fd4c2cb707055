//! What producers and consumers saw of a topic, held against what the topic has in the end.
//!
//! The rules are those of idempotent producers at acks=all that send one batch at a time, of transactional producers, and
//! of consumers that may see a record twice but never another one in its place. Pure, so that it can be shown to fail.

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

/// How a transaction ended, as its producer knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Committed,
    Aborted,
    /// The producer was told to commit, and fenced before it was answered.
    Unknown,
}

#[derive(Clone, Debug)]
pub(crate) struct Transaction {
    pub(crate) outcome: Outcome,
    /// Its records in the order in which they were written, without offsets. No value comes twice in a test.
    pub(crate) records: Vec<Seen>,
}

/// What transactional producers and consumers of `read_committed` saw of a topic.
#[derive(Clone, Debug, Default)]
pub(crate) struct Transactions {
    pub(crate) ended: Vec<Transaction>,
    pub(crate) read: Vec<Seen>,
    /// Everything that `read_committed` shows in the end, each partition in the order of its log.
    pub(crate) log: Vec<Seen>,
}

impl Transactions {
    /// One sentence for each broken rule and record; empty where all is well.
    pub(crate) fn violations(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut times: BTreeMap<(i32, &str), usize> = BTreeMap::new();
        for one in &self.log {
            *times.entry((one.partition, one.value.as_str())).or_default() += 1;
        }
        let twice = times.iter().filter(|(_, times)| **times > 1);
        found.extend(twice.take(SHOWN_MAX).map(|(one, _)| format!("committed twice: {one:?}")));
        let there = |one: &&Seen| times.contains_key(&(one.partition, one.value.as_str()));
        for Transaction { outcome, records } in &self.ended {
            let shown = records.iter().filter(there).count();
            let told = match outcome {
                Outcome::Committed if shown < records.len() => "committed and lost",
                Outcome::Aborted if shown > 0 => "aborted and there",
                Outcome::Unknown if shown > 0 && shown < records.len() => "half a transaction",
                _ => continue,
            };
            found.push(format!("{told}: {shown} of {records:?}"));
        }
        found.truncate(2 * SHOWN_MAX);
        found.extend(self.disorder());
        found.extend(false_reads(&self.read, &places(&self.log)));
        let read: BTreeSet<(i32, &str)> =
            self.read.iter().map(|one| (one.partition, one.value.as_str())).collect();
        let unread = self.log.iter().filter(|one| !read.contains(&(one.partition, one.value.as_str())));
        found.extend(unread.take(SHOWN_MAX).map(|one| format!("committed and never read: {one:?}")));
        found
    }

    /// The log has each partition's records in the order in which their producer wrote them.
    fn disorder(&self) -> Option<String> {
        let written = self.ended.iter().flat_map(|one| &one.records).zip(0u64..);
        let order: BTreeMap<(i32, &str), u64> =
            written.map(|(one, number)| ((one.partition, one.value.as_str()), number)).collect();
        let mut last: BTreeMap<(i32, &str), (i64, u64)> = BTreeMap::new();
        self.log.iter().find_map(|one| {
            let producer = one.value.split('/').next().unwrap_or_default();
            let Some(number) = order.get(&(one.partition, one.value.as_str())) else {
                return Some(format!("there and never written: {one:?}"));
            };
            let offset = one.offset.expect("a record of a log has an offset");
            let before = last.insert((one.partition, producer), (offset, *number));
            before
                .is_some_and(|(at, before)| offset <= at || *number <= before)
                .then(|| format!("out of order: {one:?}"))
        })
    }
}

/// Who has what offset.
fn places(log: &[Seen]) -> BTreeMap<(i32, i64), &str> {
    log.iter().filter_map(|one| Some(((one.partition, one.offset?), one.value.as_str()))).collect()
}

fn false_reads(read: &[Seen], at: &BTreeMap<(i32, i64), &str>) -> Vec<String> {
    let wrong = read.iter().filter_map(|one| {
        let there = at.get(&(one.partition, one.offset?));
        (there != Some(&one.value.as_str()))
            .then(|| format!("read and not there: {one:?}; there is {there:?}"))
    });
    wrong.take(SHOWN_MAX).collect()
}

/// Violations shown of each rule.
const SHOWN_MAX: usize = 5;

impl History {
    /// One sentence for each broken rule and record; empty where all is well.
    pub(crate) fn violations(&self) -> Vec<String> {
        let mut found = self.order_of_the_log();
        let at = places(&self.log);
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
        found.extend(false_reads(&self.read, &at));
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
