//! What a fetch request asks for, partition by partition, whatever way it names topics.

use std::sync::Arc;

use coordinator::fetching::{Slot, TopicRef, Wanted};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchRequest};
use storage::types::{LeaderEpoch, Offset, TopicId};

use crate::metadata::MetadataSnapshot;

/// From this version on topics are named by id (KIP-516).
pub(super) const TOPIC_IDS_SINCE: i16 = 13;

/// One partition to read.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// Where its session keeps it; `None` outside of sessions.
    pub(super) slot: Option<Slot>,
    pub(crate) topic: TopicRef,
    pub(crate) partition: i32,
    pub(crate) wanted: Wanted,
}

/// The partitions a request names, each once: where one is named twice the last word counts, at the first place.
pub(crate) fn asked_by(request: &FetchRequest, version: i16, metadata: &MetadataSnapshot) -> Vec<Asked> {
    let count = request.topics.iter().map(|topic| topic.partitions.len()).sum();
    let mut asked = Vec::with_capacity(count);
    for topic in &request.topics {
        let named = topic_ref(&topic.topic, topic.topic_id, version, metadata);
        asked.extend(topic.partitions.iter().map(|partition| Asked {
            slot: None,
            topic: named.clone(),
            partition: partition.partition,
            wanted: wanted(partition),
        }));
    }
    drop_duplicates(&mut asked);
    asked
}

/// The partitions a request takes out of its session.
pub(crate) fn forgotten_by<'a>(
    request: &'a FetchRequest,
    version: i16,
    metadata: &'a MetadataSnapshot,
) -> impl Iterator<Item = (TopicRef, i32)> + 'a {
    request.forgotten_topics_data.iter().flat_map(move |topic| {
        let named = topic_ref(&topic.topic, topic.topic_id, version, metadata);
        topic.partitions.iter().map(move |partition| (named.clone(), *partition))
    })
}

/// Takes the name from the metadata where it is known there, so that nothing points into the request's buffer.
fn topic_ref(name: &str, id: uuid::Uuid, version: i16, metadata: &MetadataSnapshot) -> TopicRef {
    if version >= TOPIC_IDS_SINCE {
        let id = TopicId(id.into_bytes());
        return TopicRef { name: metadata.topic_name(id).cloned(), id };
    }
    let name = metadata.topic(name).map_or_else(|| Arc::from(name), |topic| Arc::clone(&topic.name));
    TopicRef { name: Some(name), id: TopicId::ZERO }
}

fn wanted(partition: &FetchPartition) -> Wanted {
    let epoch = |epoch: i32| if epoch < 0 { LeaderEpoch::NONE } else { LeaderEpoch(epoch) };
    Wanted {
        offset: Offset(partition.fetch_offset),
        log_start: Offset(partition.log_start_offset),
        max_bytes: partition.partition_max_bytes,
        current_leader_epoch: epoch(partition.current_leader_epoch),
        last_fetched_epoch: epoch(partition.last_fetched_epoch),
    }
}

fn drop_duplicates(asked: &mut Vec<Asked>) {
    if asked.len() < 2 {
        return;
    }
    let key = |index: &usize| {
        let Asked { topic, partition, .. } = &asked[*index];
        (topic.id.0, topic.name.as_deref(), *partition)
    };
    let mut order: Vec<usize> = (0..asked.len()).collect();
    order.sort_by(|a, b| key(a).cmp(&key(b)));
    let same = |a: &usize, b: &usize| key(a) == key(b);
    if !order.windows(2).any(|pair| same(&pair[0], &pair[1])) {
        return;
    }
    // The sort is stable: within a group of equals the first place comes first, the last word last.
    let groups: Vec<(usize, usize)> =
        order.chunk_by(same).map(|group| (group[0], group[group.len() - 1])).collect();
    let mut keep = vec![false; asked.len()];
    for (first, last) in groups {
        keep[first] = true;
        asked[first].wanted = asked[last].wanted;
    }
    let mut kept = keep.into_iter();
    asked.retain(|_| kept.next().unwrap_or(false));
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::TopicName;
    use kafka_protocol::messages::fetch_request::FetchTopic;
    use kafka_protocol::protocol::StrBytes;

    use super::*;

    fn request(partitions: &[(&'static str, i32, i64)]) -> FetchRequest {
        let topics = partitions.iter().map(|(topic, partition, offset)| {
            FetchTopic::default().with_topic(TopicName(StrBytes::from_static_str(topic))).with_partitions(
                vec![FetchPartition::default().with_partition(*partition).with_fetch_offset(*offset)],
            )
        });
        FetchRequest::default().with_topics(topics.collect())
    }

    #[test]
    fn a_partition_named_twice_is_read_once_at_its_first_place_with_its_last_words() {
        let request = request(&[("b", 0, 1), ("a", 0, 2), ("b", 0, 3), ("b", 1, 4), ("a", 0, 5)]);
        let asked = asked_by(&request, 12, &MetadataSnapshot::default());
        let read: Vec<_> = asked
            .iter()
            .map(|asked| {
                (asked.topic.name.as_deref().expect("named"), asked.partition, asked.wanted.offset.0)
            })
            .collect();
        assert_eq!(read, [("b", 0, 3), ("a", 0, 5), ("b", 1, 4)]);
    }

    #[test]
    fn negative_epochs_all_mean_none() {
        let mut request = request(&[("a", 0, 0)]);
        request.topics[0].partitions[0].current_leader_epoch = -7;
        let asked = asked_by(&request, 12, &MetadataSnapshot::default());
        assert_eq!(asked[0].wanted.current_leader_epoch, LeaderEpoch::NONE);
    }
}
