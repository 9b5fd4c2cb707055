//! From what was read to a Fetch response of the request's version, older message formats included.

use std::collections::BTreeMap;

use bytes::Bytes;
use coordinator::fetching::{Answered, SessionError};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::fetch_response::{
    AbortedTransaction, EpochEndOffset, FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint, PartitionData,
};
use kafka_protocol::messages::{FetchResponse, TopicName};
use kafka_protocol::protocol::{Encodable as _, StrBytes};
use storage::batch::{BatchError, TargetCompression, down_convert};
use storage::disk::FileBytes;
use storage::types::{BrokerId, LeaderEpoch, Offset};
use uuid::Uuid;

use super::asked::{Asked, TOPIC_IDS_SINCE};
use super::sessions::Settled;
use crate::partition::reading::Seen;

/// From this version on an answer tells a lost reader where the leader is (KIP-951).
const LEADERS_SINCE: i16 = 16;
/// From this version on consumers know zstd (KIP-110).
const ZSTD_SINCE: i16 = 10;
/// From this version on consumers know KAFKA_STORAGE_ERROR.
const STORAGE_ERROR_SINCE: i16 = 6;

/// Unit: bytes.
const LENGTH_PREFIX: usize = 4;

/// One partition's part of an answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) asked: Asked,
    pub(crate) outcome: Result<Seen, ResponseError>,
}

impl Answer {
    /// What its session has to know of it.
    pub(super) fn answered(&self) -> Answered {
        match &self.outcome {
            Ok(seen) => Answered {
                has_records: !seen.records.is_empty(),
                failed: false,
                redirected: seen.diverging.is_some() || seen.preferred.is_some(),
                high_watermark: seen.high_watermark,
                log_start: seen.log_start,
            },
            Err(_) => Answered {
                has_records: false,
                failed: true,
                redirected: false,
                high_watermark: Offset::NONE,
                log_start: Offset::NONE,
            },
        }
    }
}

/// What a topic's configuration says about handing out its records.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TopicStyle {
    pub(crate) compression: TargetCompression,
    pub(crate) down_conversion: bool,
}

/// Where the leader of a partition is, as far as this broker knows.
#[derive(Clone, Debug)]
pub(crate) struct LeaderHint {
    pub(crate) leader: BrokerId,
    pub(crate) epoch: LeaderEpoch,
    /// `None` where clients of this listener cannot reach it.
    pub(crate) endpoint: Option<NodeEndpoint>,
}

/// What the answer needs to know besides what was read.
pub(crate) trait Style {
    /// `None` where the partition is not here.
    fn topic(&self, asked: &Asked) -> Option<TopicStyle>;
    fn leader(&self, asked: &Asked) -> LeaderHint;
}

/// The response, and the records in it that may be referred to instead of copied.
pub(crate) fn respond<S: Style>(
    style: &S,
    version: i16,
    follower: bool,
    settled: Settled,
    answers: Vec<Answer>,
) -> (FetchResponse, Vec<FileBytes>) {
    let mut composer = Composer { style, version, follower, records: Vec::new(), endpoints: BTreeMap::new() };
    let answered = answers.into_iter().map(|answer| {
        let partition = composer.partition(&answer.asked, answer.outcome);
        (answer.asked, partition)
    });
    let topics = by_topic(version, answered);
    let response =
        empty(settled).with_responses(topics).with_node_endpoints(composer.endpoints.into_values().collect());
    (response, composer.records)
}

/// A response that tells of the session and of nothing else.
pub(crate) fn empty(settled: Settled) -> FetchResponse {
    FetchResponse::default()
        .with_error_code(settled.error.map_or(0, |error| session_error(error).code()))
        .with_session_id(settled.session_id)
}

/// Bytes of the response that sends those of `answers` that are `sent`, as the log has their records: no older format is
/// made for this.
pub(crate) fn size(version: i16, answers: &[Answer], sent: &[bool]) -> usize {
    let sent = answers.iter().zip(sent).filter(|(_, sent)| **sent).map(|(answer, _)| {
        let partition = PartitionData::default();
        let partition = match &answer.outcome {
            Ok(seen) => with_seen(partition, seen).with_records(Some(seen.records.bytes().clone())),
            Err(_) => partition.with_records(None),
        };
        (answer.asked.clone(), partition)
    });
    let response = FetchResponse::default().with_responses(by_topic(version, sent));
    // Kafka counts the length prefix.
    LENGTH_PREFIX + response.compute_size(version).unwrap_or(0)
}

/// Partitions that follow each other in one topic are answered together.
fn by_topic(
    version: i16,
    answered: impl Iterator<Item = (Asked, PartitionData)>,
) -> Vec<FetchableTopicResponse> {
    let mut topics: Vec<FetchableTopicResponse> = Vec::new();
    let mut last: Option<Asked> = None;
    for (asked, partition) in answered {
        let same = last.as_ref().is_some_and(|last| last.topic == asked.topic);
        match topics.last_mut() {
            Some(topic) if same => topic.partitions.push(partition),
            _ => topics.push(topic_response(version, &asked).with_partitions(vec![partition])),
        }
        last = Some(asked);
    }
    topics
}

/// What was seen of a partition besides records.
fn with_seen(partition: PartitionData, seen: &Seen) -> PartitionData {
    let partition = partition
        .with_high_watermark(seen.high_watermark.0)
        .with_last_stable_offset(seen.last_stable_offset.0)
        .with_log_start_offset(seen.log_start.0)
        .with_aborted_transactions(seen.aborted.as_ref().map(|aborted| {
            aborted
                .iter()
                .map(|(producer, first)| {
                    AbortedTransaction::default()
                        .with_producer_id(producer.0.into())
                        .with_first_offset(first.0)
                })
                .collect()
        }))
        .with_preferred_read_replica(seen.preferred.unwrap_or(BrokerId::NONE).0.into());
    match seen.diverging {
        Some((epoch, end)) => partition
            .with_diverging_epoch(EpochEndOffset::default().with_epoch(epoch.0).with_end_offset(end.0)),
        None => partition,
    }
}

/// The code of a request that does not fit its session.
fn session_error(error: SessionError) -> ResponseError {
    match error {
        SessionError::NotFound => ResponseError::FetchSessionIdNotFound,
        SessionError::WrongEpoch => ResponseError::InvalidFetchSessionEpoch,
        SessionError::OtherNaming => ResponseError::FetchSessionTopicIdError,
    }
}

fn topic_response(version: i16, asked: &Asked) -> FetchableTopicResponse {
    if version >= TOPIC_IDS_SINCE {
        return FetchableTopicResponse::default().with_topic_id(Uuid::from_bytes(asked.topic.id.0));
    }
    let name = asked.topic.name.as_deref().unwrap_or_default();
    FetchableTopicResponse::default().with_topic(TopicName(StrBytes::from_string(name.to_owned())))
}

/// What partition responses have in common.
struct Composer<'a, S> {
    style: &'a S,
    version: i16,
    follower: bool,
    records: Vec<FileBytes>,
    endpoints: BTreeMap<BrokerId, NodeEndpoint>,
}

impl<S: Style> Composer<'_, S> {
    fn partition(&mut self, asked: &Asked, outcome: Result<Seen, ResponseError>) -> PartitionData {
        let converted = match &outcome {
            _ if self.version >= ZSTD_SINCE => Ok(None),
            Ok(seen) => self.for_old_consumers(asked, seen.records.bytes()),
            Err(_) => self.for_old_consumers(asked, &Bytes::new()),
        };
        match (outcome, converted) {
            (_, Err(refusal)) => without_records(asked, refusal),
            (Ok(seen), Ok(converted)) => self.seen(asked, seen, converted),
            (Err(error), Ok(_)) => self.failed(asked, error),
        }
    }

    fn seen(&mut self, asked: &Asked, seen: Seen, converted: Option<Bytes>) -> PartitionData {
        let partition = with_seen(PartitionData::default().with_partition_index(asked.partition), &seen);
        let records = match converted {
            Some(converted) => converted.into(),
            None => seen.records,
        };
        if !records.is_empty() {
            self.records.push(records.clone());
        }
        partition.with_records(Some(records.into_bytes()))
    }

    fn failed(&mut self, asked: &Asked, error: ResponseError) -> PartitionData {
        let told = match error {
            ResponseError::KafkaStorageError if self.version < STORAGE_ERROR_SINCE => {
                ResponseError::NotLeaderOrFollower
            }
            error => error,
        };
        // Kafka sends an empty list for what it never tried to read, and none for a read that failed.
        let untried = matches!(error, ResponseError::UnknownTopicId | ResponseError::UnknownTopicOrPartition);
        let partition = PartitionData::default()
            .with_partition_index(asked.partition)
            .with_error_code(told.code())
            .with_high_watermark(-1)
            .with_aborted_transactions(untried.then(Vec::new));
        let lost = matches!(error, ResponseError::NotLeaderOrFollower | ResponseError::FencedLeaderEpoch);
        if !lost || self.version < LEADERS_SINCE {
            return partition;
        }
        let hint = self.style.leader(asked);
        if let Some(endpoint) = hint.endpoint {
            self.endpoints.insert(hint.leader, endpoint);
        }
        partition.with_current_leader(
            LeaderIdAndEpoch::default().with_leader_id(hint.leader.0.into()).with_leader_epoch(hint.epoch.0),
        )
    }

    /// Records in a format that consumers of the version know; `Ok(None)` where that is the log's.
    fn for_old_consumers(&self, asked: &Asked, records: &Bytes) -> Result<Option<Bytes>, ResponseError> {
        let Some(style) = self.style.topic(asked) else { return Ok(None) };
        if matches!(style.compression, TargetCompression::Zstd { .. }) {
            return Err(ResponseError::UnsupportedCompressionType);
        }
        let magic = match self.version {
            ..=1 => 0,
            2..=3 => 1,
            _ => return Ok(None),
        };
        if !self.follower && !style.down_conversion {
            return Err(ResponseError::UnsupportedVersion);
        }
        match down_convert(records, magic, asked.wanted.offset) {
            Ok(converted) => Ok(Some(converted.into())),
            Err(BatchError::NotInOldFormats) => Err(ResponseError::UnsupportedCompressionType),
            Err(_) => Err(ResponseError::CorruptMessage),
        }
    }
}

fn without_records(asked: &Asked, error: ResponseError) -> PartitionData {
    PartitionData::default()
        .with_partition_index(asked.partition)
        .with_error_code(error.code())
        .with_high_watermark(-1)
        .with_records(None)
}

#[cfg(test)]
mod tests {
    use coordinator::fetching::{TopicRef, Wanted};
    use kafka_protocol::protocol::{Decodable, Encodable};
    use storage::batch::{BatchBuilder, BatchOptions, headers};
    use storage::types::{ProducerId, TimestampMs, TopicId};

    use super::*;

    /// Every topic is like this, and broker 2 leads everything.
    struct House(TopicStyle);

    const PLAIN: House =
        House(TopicStyle { compression: TargetCompression::Producer, down_conversion: true });
    const STUBBORN: House =
        House(TopicStyle { compression: TargetCompression::Producer, down_conversion: false });
    const ZSTD: House =
        House(TopicStyle { compression: TargetCompression::Zstd { level: 3 }, down_conversion: true });

    impl Style for House {
        fn topic(&self, _: &Asked) -> Option<TopicStyle> {
            Some(self.0)
        }

        fn leader(&self, _: &Asked) -> LeaderHint {
            let endpoint = NodeEndpoint::default()
                .with_node_id(2.into())
                .with_host(StrBytes::from_static_str("two"))
                .with_port(9092);
            LeaderHint { leader: BrokerId(2), epoch: LeaderEpoch(7), endpoint: Some(endpoint) }
        }
    }

    fn asked(topic: u8, partition: i32) -> Asked {
        Asked {
            slot: None,
            topic: TopicRef { name: Some(format!("t{topic}").into()), id: TopicId([topic; 16]) },
            partition,
            wanted: Wanted {
                offset: Offset(0),
                log_start: Offset::NONE,
                max_bytes: 100,
                current_leader_epoch: LeaderEpoch::NONE,
                last_fetched_epoch: LeaderEpoch::NONE,
            },
        }
    }

    fn seen(records: Bytes) -> Seen {
        Seen {
            records: records.into(),
            first_incomplete: false,
            older_segment: false,
            high_watermark: Offset(9),
            last_stable_offset: Offset(8),
            log_start: Offset(1),
            log_end: Offset(9),
            aborted: Some(vec![(ProducerId(4), Offset(5))]),
            diverging: Some((LeaderEpoch(3), Offset(2))),
            preferred: None,
        }
    }

    fn batch() -> Bytes {
        let mut builder = BatchBuilder::new(BatchOptions::default()).expect("no codec");
        builder.append(TimestampMs(1), Some(b"k"), Some(b"v"), &[]).expect("a small record");
        builder.build().expect("a small batch")
    }

    fn answer(style: &House, version: i16, answers: Vec<Answer>) -> FetchResponse {
        let session_id = if version >= 7 { 5 } else { 0 };
        let (response, _) = respond(style, version, false, Settled { session_id, error: None }, answers);
        let mut bytes = bytes::BytesMut::new();
        response.encode(&mut bytes, version).unwrap_or_else(|error| panic!("version {version}: {error}"));
        FetchResponse::decode(&mut bytes.freeze(), version).expect("what was encoded")
    }

    fn one(style: &House, version: i16, outcome: Result<Seen, ResponseError>) -> PartitionData {
        answer(style, version, vec![Answer { asked: asked(1, 0), outcome }])
            .responses
            .remove(0)
            .partitions
            .remove(0)
    }

    #[test]
    fn every_version_can_say_all_that_was_seen() {
        for version in 0..=17 {
            let partition = one(&PLAIN, version, Ok(seen(batch())));
            assert_eq!(partition.high_watermark, 9);
            let failed = one(&PLAIN, version, Err(ResponseError::NotLeaderOrFollower));
            assert_eq!(failed.error_code, 6);
        }
    }

    #[test]
    fn neighbours_of_one_topic_share_its_place_and_the_order_is_kept() {
        let parts = [(1, 0), (1, 1), (2, 0), (1, 2)];
        let answers = parts.map(|(topic, partition)| Answer {
            asked: asked(topic, partition),
            outcome: Ok(seen(Bytes::new())),
        });
        let response = answer(&PLAIN, 12, answers.into());
        let names: Vec<_> = response
            .responses
            .iter()
            .map(|topic| (topic.topic.to_string(), topic.partitions.len()))
            .collect();
        assert_eq!(names, [("t1".into(), 2), ("t2".into(), 1), ("t1".into(), 1)]);
    }

    #[test]
    fn consumers_of_old_formats_get_their_format() {
        for (version, magic) in [(0, 0), (1, 0), (2, 1), (3, 1), (4, 2)] {
            let partition = one(&PLAIN, version, Ok(seen(batch())));
            let records = partition.records.expect("records");
            let first = headers(&records).next().expect("one").expect("readable");
            assert_eq!(first.batch.magic(), magic, "version {version}");
        }
    }

    #[test]
    fn what_old_consumers_cannot_have_is_an_error_without_records() {
        let code = |style: &House, version| {
            let partition = one(style, version, Ok(seen(batch())));
            assert_eq!(partition.records.is_none(), partition.error_code != 0);
            partition.error_code
        };
        assert_eq!(code(&STUBBORN, 3), ResponseError::UnsupportedVersion.code());
        assert_eq!(code(&STUBBORN, 4), 0);
        assert_eq!(code(&ZSTD, 9), ResponseError::UnsupportedCompressionType.code());
        assert_eq!(code(&ZSTD, 10), 0);
    }

    #[test]
    fn a_failed_disk_is_no_leader_for_clients_that_do_not_know_the_error() {
        assert_eq!(one(&PLAIN, 5, Err(ResponseError::KafkaStorageError)).error_code, 6);
        assert_eq!(one(&PLAIN, 6, Err(ResponseError::KafkaStorageError)).error_code, 56);
    }

    #[test]
    fn a_lost_reader_is_told_where_the_leader_is() {
        let lost = || vec![Answer { asked: asked(1, 0), outcome: Err(ResponseError::FencedLeaderEpoch) }];
        assert!(answer(&PLAIN, 15, lost()).node_endpoints.is_empty());
        let response = answer(&PLAIN, 16, lost());
        assert_eq!(response.node_endpoints[0].port, 9092);
        let leader = &response.responses[0].partitions[0].current_leader;
        assert_eq!((leader.leader_id.0, leader.leader_epoch), (2, 7));
    }

    #[test]
    fn records_are_referred_to_not_copied() {
        let records = batch();
        let answers = vec![Answer { asked: asked(1, 0), outcome: Ok(seen(records.clone())) }];
        let settled = Settled { session_id: 0, error: None };
        let (_, kept) = respond(&PLAIN, 17, false, settled, answers);
        assert_eq!(kept[0].bytes().as_ptr(), records.as_ptr());
    }
}
