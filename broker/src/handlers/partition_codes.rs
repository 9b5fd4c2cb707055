//! The error codes of single partitions of a request about a group's offsets, and how Kafka arranges them in its answer.

use std::collections::{BTreeMap, BTreeSet};

use coordinator::groups::GroupError;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::TopicName;
use storage::types::TopicPartition;

use crate::errors::WireError;
use crate::handlers::group_words::code;
use crate::metadata::MetadataSnapshot;

#[derive(Default)]
pub(super) struct Codes {
    codes: BTreeMap<TopicPartition, i16>,
}

/// What becomes of a partition that exists and was named twice.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeats {
    Answered,
    Dropped,
}

/// The answer for one topic: partitions and their codes.
pub(super) type TopicCodes = (TopicName, Vec<(i32, i16)>);

impl Codes {
    pub(super) fn set(&mut self, partition: TopicPartition, code: i16) {
        self.codes.insert(partition, code);
    }

    pub(super) fn set_all(&mut self, results: Vec<(TopicPartition, Result<(), GroupError>)>) {
        self.codes.extend(results.into_iter().map(|(partition, result)| (partition, code(result))));
    }

    /// What is asked of partitions that exist; the others have their code with that.
    pub(super) fn of_known<T>(
        &mut self,
        metadata: &MetadataSnapshot,
        asked: impl Iterator<Item = (TopicPartition, T)>,
    ) -> Vec<(TopicPartition, T)> {
        let mut known = Vec::new();
        for (id, what) in asked {
            match metadata.partition(&id.topic, id.partition) {
                Some(_) => known.push((id, what)),
                None => self.set(id, ResponseError::UnknownTopicOrPartition.code()),
            }
        }
        known
    }

    /// First the partitions that do not exist, then the others, and every topic once.
    pub(super) fn arranged<'a>(
        &self,
        asked: impl Iterator<Item = (&'a TopicName, i32)> + Clone,
        repeats: Repeats,
    ) -> Vec<TopicCodes> {
        let mut topics: Vec<TopicCodes> = Vec::new();
        let mut place: BTreeMap<&TopicName, usize> = BTreeMap::new();
        let mut answered = BTreeSet::new();
        for unknown in [true, false] {
            for (topic, partition) in asked.clone() {
                let code = self.get(topic, partition);
                if (code == ResponseError::UnknownTopicOrPartition.code()) != unknown {
                    continue;
                }
                if !unknown && repeats == Repeats::Dropped && !answered.insert((topic, partition)) {
                    continue;
                }
                let at = *place.entry(topic).or_insert_with(|| {
                    topics.push((topic.clone(), Vec::new()));
                    topics.len() - 1
                });
                topics[at].1.push((partition, code));
            }
        }
        topics
    }

    /// Without a word about a partition the request did not get through.
    fn get(&self, topic: &TopicName, partition: i32) -> i16 {
        let unanswered = || GroupError::CoordinatorNotAvailable.wire().code();
        self.codes.get(&TopicPartition::new(&*topic.0, partition)).copied().unwrap_or_else(unanswered)
    }
}
