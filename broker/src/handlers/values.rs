//! The bytes of a request, from which only so many values can be taken.
//!
//! An element of an array may be a byte long on the wire and a hundred in memory, so a frame of `socket.request.max.bytes`
//! could unfold to gigabytes. Here every number, text and blob counts, and after the last one allowed the bytes are at their
//! end: the decoding fails as it does on a request that was cut. Kafka has no such limit but its heap.

use bytes::{Buf, Bytes};
use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::buf::ByteBuf;

/// 100,000 partitions, each of a topic of its own, in any request: a commit, a fetch, a list of offsets.
const OF_ONE_REQUEST_MAX: usize = 1_250_000;

/// What a controller and its brokers say at once about all partitions of a cluster: 250,000 with three replicas each.
const OF_A_CLUSTER_MAX: usize = 6_000_000;

pub(super) struct Values {
    bytes: Bytes,
    left: usize,
    max: usize,
}

impl Values {
    pub(super) fn of(api: ApiKey, bytes: Bytes) -> Values {
        let max = match api {
            ApiKey::LeaderAndIsr | ApiKey::StopReplica | ApiKey::UpdateMetadata | ApiKey::AlterPartition => {
                OF_A_CLUSTER_MAX
            }
            _ => OF_ONE_REQUEST_MAX,
        };
        Values { bytes, left: max, max }
    }

    /// How many may be taken, where more were wanted.
    pub(super) fn exceeded(&self) -> Option<usize> {
        (self.left == 0).then_some(self.max)
    }
}

impl Buf for Values {
    fn remaining(&self) -> usize {
        if self.left == 0 { 0 } else { self.bytes.remaining() }
    }

    fn chunk(&self) -> &[u8] {
        if self.left == 0 { &[] } else { &self.bytes }
    }

    fn advance(&mut self, count: usize) {
        self.left = self.left.saturating_sub(1);
        self.bytes.advance(count);
    }
}

impl ByteBuf for Values {
    fn peek_bytes(&mut self, range: std::ops::Range<usize>) -> Bytes {
        self.bytes.slice(range)
    }

    fn get_bytes(&mut self, size: usize) -> Bytes {
        self.left = self.left.saturating_sub(1);
        self.bytes.split_to(size)
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
    use kafka_protocol::messages::leader_and_isr_request::{
        LeaderAndIsrPartitionState, LeaderAndIsrTopicState,
    };
    use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
    use kafka_protocol::messages::offset_commit_request::{
        OffsetCommitRequestPartition, OffsetCommitRequestTopic,
    };
    use kafka_protocol::messages::update_metadata_request::{
        UpdateMetadataPartitionState, UpdateMetadataTopicState,
    };
    use kafka_protocol::messages::{
        FetchRequest, LeaderAndIsrRequest, MetadataRequest, OffsetCommitRequest, TopicName,
        UpdateMetadataRequest,
    };
    use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};

    use super::*;

    fn metadata_of(topics: usize) -> Values {
        let mut request = i32::try_from(topics).expect("few").to_be_bytes().to_vec();
        request.resize(4 + 2 * topics, 0);
        Values::of(ApiKey::Metadata, request.into())
    }

    fn topic(number: i32) -> TopicName {
        TopicName(StrBytes::from_string(format!("a topic among many, {number}")))
    }

    #[track_caller]
    fn passes<T: Encodable + Decodable + PartialEq + std::fmt::Debug>(
        api: ApiKey,
        version: i16,
        request: &T,
    ) {
        let mut bytes = BytesMut::new();
        request.encode(&mut bytes, version).expect("encoded");
        let mut values = Values::of(api, bytes.freeze());
        let read = T::decode(&mut values, version).expect("as many as may be");
        assert!(read == *request, "{api:?} v{version} says something else");
        assert!(!values.has_remaining());
    }

    #[test]
    fn a_request_of_as_many_values_as_may_be_is_read_and_a_larger_one_is_not() {
        let mut fits = metadata_of(OF_ONE_REQUEST_MAX / 2 - 1);
        let topics = MetadataRequest::decode(&mut fits, 1).expect("read").topics.expect("a list");
        assert_eq!((topics.len(), fits.exceeded()), (OF_ONE_REQUEST_MAX / 2 - 1, None));
        let mut too_many = metadata_of(OF_ONE_REQUEST_MAX);
        assert!(MetadataRequest::decode(&mut too_many, 1).is_err());
        assert_eq!(too_many.exceeded(), Some(OF_ONE_REQUEST_MAX));
    }

    #[test]
    fn clients_may_ask_about_a_hundred_thousand_topics_at_once() {
        let all = || 0..100_000;
        let topics = all().map(|number| MetadataRequestTopic::default().with_name(Some(topic(number))));
        passes(ApiKey::Metadata, 12, &MetadataRequest::default().with_topics(Some(topics.collect())));

        let committed = all().map(|number| {
            let offset = OffsetCommitRequestPartition::default().with_committed_offset(i64::from(number));
            OffsetCommitRequestTopic::default().with_name(topic(number)).with_partitions(vec![offset])
        });
        passes(ApiKey::OffsetCommit, 9, &OffsetCommitRequest::default().with_topics(committed.collect()));

        let fetched = all().map(|number| {
            let partition = FetchPartition::default().with_fetch_offset(i64::from(number));
            FetchTopic::default().with_topic_id(uuid::Uuid::from_u128(1)).with_partitions(vec![partition])
        });
        passes(ApiKey::Fetch, 17, &FetchRequest::default().with_topics(fetched.collect()));
    }

    #[test]
    fn a_controller_may_tell_of_a_hundred_thousand_topics_at_once() {
        let replicas = || vec![1.into(), 2.into(), 3.into()];
        let all = || 0..100_000;
        let states = all().map(|number| {
            let state = LeaderAndIsrPartitionState::default().with_replicas(replicas()).with_isr(replicas());
            LeaderAndIsrTopicState::default()
                .with_topic_name(topic(number))
                .with_partition_states(vec![state])
        });
        let request = LeaderAndIsrRequest::default().with_topic_states(states.collect());
        passes(ApiKey::LeaderAndIsr, 7, &request);

        let states = all().map(|number| {
            let state =
                UpdateMetadataPartitionState::default().with_replicas(replicas()).with_isr(replicas());
            UpdateMetadataTopicState::default()
                .with_topic_name(topic(number))
                .with_partition_states(vec![state])
        });
        let request = UpdateMetadataRequest::default().with_topic_states(states.collect());
        passes(ApiKey::UpdateMetadata, 8, &request);
    }
}
