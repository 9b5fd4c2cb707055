//! TxnOffsetCommit: how far a group has read, to be known when a transaction commits (KIP-98, KIP-447).

use std::sync::Arc;

use coordinator::groups::{Command, Commit, GroupError, OffsetCommit, Reply, TransactionalProducer};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::txn_offset_commit_request::TxnOffsetCommitRequestPartition;
use kafka_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use kafka_protocol::messages::{TxnOffsetCommitRequest, TxnOffsetCommitResponse};
use storage::producers::VerificationGuard;
use storage::types::{LeaderEpoch, Offset, ProducerId, TimestampMs, TopicPartition};

use crate::clock;
use crate::colleagues::Question;
use crate::errors::WireError;
use crate::handlers::Context;
use crate::handlers::group_words::{GroupRunner, coordinator_of, copied, copied_if, offsets_partitions};
use crate::handlers::partition_codes::{Codes, Repeats};
use crate::handlers::transaction_words::identity;
use crate::house::House;
use crate::machines::group_room::{self, EmptyGroupId, OFFSETS_TOPIC, partition_for};
use crate::transactions::verification::{self, Asker};

const LOADING_SINCE: i16 = 2;
const ABORTABLE_SINCE: i16 = 4;

/// Offsets have no sequence that a partition could check.
const NO_SEQUENCE: i32 = -1;

pub(crate) async fn handle(
    house: &Arc<House>,
    context: &Context,
    request: TxnOffsetCommitRequest,
) -> TxnOffsetCommitResponse {
    let mut codes = Codes::default();
    let offsets = codes.of_known(&house.metadata.snapshot(), asked(&request));
    if !offsets.is_empty() {
        let partitions: Vec<TopicPartition> =
            offsets.iter().map(|(partition, _)| partition.clone()).collect();
        match commit(house, context, &request, offsets).await {
            Ok(results) => codes.set_all(results),
            Err(error) => {
                let error = match error {
                    // Older producers could not cope with it (KAFKA-7296).
                    ResponseError::CoordinatorLoadInProgress if context.version < LOADING_SINCE => {
                        ResponseError::CoordinatorNotAvailable
                    }
                    error => error,
                };
                partitions.into_iter().for_each(|partition| codes.set(partition, error.code()));
            }
        }
    }
    answer(&request, &codes)
}

/// What is asked of each partition.
fn asked(request: &TxnOffsetCommitRequest) -> impl Iterator<Item = (TopicPartition, OffsetCommit)> {
    let now = clock::wall();
    request.topics.iter().flat_map(move |topic| {
        let name = copied(&topic.name.0);
        topic.partitions.iter().map(move |partition| {
            let id = TopicPartition::new(Arc::clone(&name), partition.partition_index);
            (id, offset_commit(partition, now))
        })
    })
}

fn answer(request: &TxnOffsetCommitRequest, codes: &Codes) -> TxnOffsetCommitResponse {
    let asked = request
        .topics
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(|partition| (&topic.name, partition.partition_index)));
    let topics = codes.arranged(asked, Repeats::Dropped).into_iter().map(|(name, partitions)| {
        let partitions = partitions.into_iter().map(|(partition, code)| {
            TxnOffsetCommitResponsePartition::default().with_partition_index(partition).with_error_code(code)
        });
        TxnOffsetCommitResponseTopic::default().with_name(name).with_partitions(partitions.collect())
    });
    TxnOffsetCommitResponse::default().with_topics(topics.collect())
}

fn offset_commit(partition: &TxnOffsetCommitRequestPartition, now: TimestampMs) -> OffsetCommit {
    OffsetCommit {
        offset: Offset(partition.committed_offset),
        leader_epoch: LeaderEpoch(partition.committed_leader_epoch),
        metadata: copied(partition.committed_metadata.as_deref().unwrap_or_default()),
        committed_at: now,
        expires_at: None,
    }
}

async fn commit(
    house: &House,
    context: &Context,
    request: &TxnOffsetCommitRequest,
    offsets: Vec<(TopicPartition, OffsetCommit)>,
) -> Result<coordinator::groups::PartitionResults, ResponseError> {
    let runner =
        coordinator_of(house, &request.group_id.0, EmptyGroupId::Allowed).map_err(|error| error.wire())?;
    let asker = if context.version >= ABORTABLE_SINCE { Asker::Recent } else { Asker::Old };
    verify(house, request, asker).await?;
    commit_verified(runner, request, offsets).await.map_err(|error| error.wire())
}

/// Whether the offsets of the group were added to the transaction, if the log does not know that already.
async fn verify(house: &House, request: &TxnOffsetCommitRequest, asker: Asker) -> Result<(), ResponseError> {
    if !house.live.current().transactions.verification {
        return Ok(());
    }
    let seat = partition_for(&request.group_id.0, offsets_partitions(house));
    let id = TopicPartition::new(OFFSETS_TOPIC, seat);
    let partition = house.partitions.find_by_id(&house.metadata, &id).map_err(told)?;
    let producer = ProducerId(request.producer_id.0);
    let guard = partition.start_verification(producer, request.producer_epoch, NO_SEQUENCE).map_err(told)?;
    if guard == VerificationGuard::NONE {
        return Ok(());
    }
    let question = Question {
        transactional_id: &request.transactional_id.0,
        identity: identity(request.producer_id, request.producer_epoch),
        partitions: std::slice::from_ref(&id),
    };
    match verification::verify(house, &question, asker).await.remove(&id) {
        Some(error) => Err(told(error)),
        None => {
            partition.confirm_verification(producer, guard);
            Ok(())
        }
    }
}

/// A failed verification as a producer expects it of a group coordinator.
fn told(error: ResponseError) -> ResponseError {
    match error {
        ResponseError::NetworkException => ResponseError::CoordinatorLoadInProgress,
        ResponseError::UnknownTopicOrPartition => ResponseError::CoordinatorNotAvailable,
        ResponseError::NotLeaderOrFollower | ResponseError::KafkaStorageError => {
            ResponseError::NotCoordinator
        }
        error => error,
    }
}

async fn commit_verified(
    runner: GroupRunner,
    request: &TxnOffsetCommitRequest,
    offsets: Vec<(TopicPartition, OffsetCommit)>,
) -> Result<coordinator::groups::PartitionResults, GroupError> {
    let id = ProducerId(request.producer_id.0);
    let producer = TransactionalProducer { id, epoch: request.producer_epoch };
    let command = Command::Commit(Commit {
        group: copied(&request.group_id.0),
        member_id: copied(&request.member_id),
        instance_id: copied_if(request.group_instance_id.as_ref()),
        generation: request.generation_id,
        knows_epochs: true,
        producer: (id != ProducerId::NONE).then_some(producer),
        offsets,
    });
    match group_room::ask(Ok(runner), command).await? {
        Reply::Commit(results) => Ok(results),
        _ => Err(GroupError::Unknown),
    }
}
