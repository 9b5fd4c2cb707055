//! Between the follower's rules and the words of the wire.

use coordinator::fetching::{Ask, Named, Wanted};
use coordinator::replication::{EpochEnd, LeaderAnswer, LeaderError, Question};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic, ReplicaState};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::list_offsets_response::ListOffsetsPartitionResponse;
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::offset_for_leader_epoch_response;
use kafka_protocol::messages::{FetchRequest, ListOffsetsRequest, OffsetForLeaderEpochRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use storage::types::{BrokerId, LeaderEpoch, Offset, TopicPartition};
use uuid::Uuid;

use crate::config::replication::Replication;
use crate::peers::versions::{Dialect, FETCH_BY_ID, FETCH_WITH_REPLICA_STATE};

/// The last version that names topics by name, for those that have no id.
const FETCH_BY_NAME: i16 = FETCH_BY_ID - 1;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Me {
    pub(super) id: BrokerId,
    pub(super) broker_epoch: i64,
}

/// A Fetch and its version.
pub(super) fn fetch(
    ask: Ask,
    by_id: bool,
    me: Me,
    (settings, speaks): (&Replication, Dialect),
) -> (FetchRequest, i16) {
    let request = FetchRequest::default()
        .with_max_wait_ms(i32::try_from(settings.fetch_wait_max.as_millis()).unwrap_or(i32::MAX))
        .with_min_bytes(settings.fetch_min_bytes)
        .with_max_bytes(settings.fetch_response_max_bytes)
        .with_session_id(ask.session_id)
        .with_session_epoch(ask.epoch)
        .with_topics(by_topic(ask.wanted, |first, partitions| {
            let partitions = partitions.iter().map(|one| fetch_partition(one, settings));
            let topic = FetchTopic::default().with_partitions(partitions.collect());
            match by_id {
                true => topic.with_topic_id(Uuid::from_bytes(first.topic_id.0)),
                false => topic.with_topic(topic_name(&first.partition)),
            }
        }))
        .with_forgotten_topics_data(by_topic(ask.forgotten, |first, partitions| {
            let partitions = partitions.iter().map(|one| one.partition.partition);
            let topic = ForgottenTopic::default().with_partitions(partitions.collect());
            match by_id {
                true => topic.with_topic_id(Uuid::from_bytes(first.topic_id.0)),
                false => topic.with_topic(topic_name(&first.partition)),
            }
        }));
    let version = if by_id { speaks.fetch } else { FETCH_BY_NAME };
    let request = if version >= FETCH_WITH_REPLICA_STATE {
        let replica =
            ReplicaState::default().with_replica_id(me.id.0.into()).with_replica_epoch(me.broker_epoch);
        request.with_replica_state(replica)
    } else {
        request.with_replica_id(me.id.0.into())
    };
    (request, version)
}

fn fetch_partition(one: &Named<Wanted>, settings: &Replication) -> FetchPartition {
    FetchPartition::default()
        .with_partition(one.partition.partition)
        .with_current_leader_epoch(one.what.current_leader_epoch.0)
        .with_fetch_offset(one.what.offset.0)
        .with_last_fetched_epoch(one.what.last_fetched_epoch.0)
        .with_log_start_offset(one.what.log_start.0)
        .with_partition_max_bytes(settings.fetch_max_bytes)
}

/// Neighbours of one topic share its place.
fn by_topic<T, R>(named: Vec<Named<T>>, mut one: impl FnMut(&Named<T>, &[Named<T>]) -> R) -> Vec<R> {
    let groups = named.chunk_by(|a, b| a.topic_id == b.topic_id && a.partition.topic == b.partition.topic);
    groups.filter_map(|group| Some(one(group.first()?, group))).collect()
}

fn topic_name(partition: &TopicPartition) -> TopicName {
    TopicName(StrBytes::from_string(partition.topic.to_string()))
}

/// What `wanted` asked, as the rules put it.
pub(super) fn records_question(wanted: &Wanted) -> Question {
    Question::Records {
        leader_epoch: wanted.current_leader_epoch,
        offset: wanted.offset,
        last_fetched_epoch: wanted.last_fetched_epoch,
        log_start: wanted.log_start,
    }
}

/// `None` for questions that are no Fetch.
pub(super) fn wanted(question: &Question, settings: &Replication) -> Option<Wanted> {
    let Question::Records { leader_epoch, offset, last_fetched_epoch, log_start } = *question else {
        return None;
    };
    Some(Wanted {
        offset,
        log_start,
        max_bytes: settings.fetch_max_bytes,
        current_leader_epoch: leader_epoch,
        last_fetched_epoch,
    })
}

pub(super) fn fetched(data: &PartitionData) -> LeaderAnswer {
    match error(data.error_code) {
        Some(error) => LeaderAnswer::Error(error),
        None if data.diverging_epoch.epoch >= 0 => LeaderAnswer::Diverging(EpochEnd {
            epoch: LeaderEpoch(data.diverging_epoch.epoch),
            end: Offset(data.diverging_epoch.end_offset),
        }),
        None => LeaderAnswer::Records,
    }
}

/// One end of the leader's log, for each of `questions`; others than about ends are passed over.
pub(super) fn list_offsets(me: Me, questions: &[(TopicPartition, Question)]) -> ListOffsetsRequest {
    let topics = questions.iter().filter_map(|(partition, question)| {
        let (leader_epoch, timestamp) = match question {
            Question::LogEnd { leader_epoch } => (leader_epoch, LATEST),
            Question::LogStart { leader_epoch } => (leader_epoch, EARLIEST),
            Question::Records { .. } | Question::EpochEnd { .. } => return None,
        };
        let asked = ListOffsetsPartition::default()
            .with_partition_index(partition.partition)
            .with_current_leader_epoch(leader_epoch.0)
            .with_timestamp(timestamp);
        Some(ListOffsetsTopic::default().with_name(topic_name(partition)).with_partitions(vec![asked]))
    });
    ListOffsetsRequest::default().with_replica_id(me.id.0.into()).with_topics(topics.collect())
}

pub(super) fn offset(found: &ListOffsetsPartitionResponse) -> LeaderAnswer {
    match error(found.error_code) {
        Some(error) => LeaderAnswer::Error(error),
        None => LeaderAnswer::Offset(Offset(found.offset)),
    }
}

/// Where epochs end, for each of `questions`; others are passed over.
pub(super) fn offset_for_leader_epoch(
    me: Me,
    questions: &[(TopicPartition, Question)],
) -> OffsetForLeaderEpochRequest {
    let topics = questions.iter().filter_map(|(partition, question)| {
        let Question::EpochEnd { leader_epoch, epoch } = question else { return None };
        let asked = OffsetForLeaderPartition::default()
            .with_partition(partition.partition)
            .with_current_leader_epoch(leader_epoch.0)
            .with_leader_epoch(epoch.0);
        Some(OffsetForLeaderTopic::default().with_topic(topic_name(partition)).with_partitions(vec![asked]))
    });
    OffsetForLeaderEpochRequest::default().with_replica_id(me.id.0.into()).with_topics(topics.collect())
}

pub(super) fn epoch_end(found: &offset_for_leader_epoch_response::EpochEndOffset) -> LeaderAnswer {
    match error(found.error_code) {
        Some(error) => LeaderAnswer::Error(error),
        None => LeaderAnswer::EpochEnd(EpochEnd {
            epoch: LeaderEpoch(found.leader_epoch),
            end: Offset(found.end_offset),
        }),
    }
}

fn error(code: i16) -> Option<LeaderError> {
    match ResponseError::try_from_code(code) {
        None if code == 0 => None,
        Some(ResponseError::OffsetOutOfRange) => Some(LeaderError::OutOfRange),
        Some(ResponseError::FencedLeaderEpoch) => Some(LeaderError::Fenced),
        _ => Some(LeaderError::Other),
    }
}
