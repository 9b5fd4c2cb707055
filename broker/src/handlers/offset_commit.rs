//! OffsetCommit: how far a group has read. Version 0 keeps it in ZooKeeper, where the clients of 0.8 look for it.

use std::sync::Arc;

use coordinator::groups::{Command, Commit, GroupError, OffsetCommit, Reply};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::offset_commit_request::OffsetCommitRequestPartition;
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};
use storage::types::{LeaderEpoch, Offset, TimestampMs, TopicPartition};

use crate::clock;
use crate::cluster::consumer_offsets;
use crate::errors::WireError;
use crate::handlers::Context;
use crate::handlers::group_words::{coordinator_of, copied, copied_if};
use crate::handlers::partition_codes::{Codes, Repeats};
use crate::house::House;
use crate::machines::group_room::{self, EmptyGroupId};

const MEMBER_EPOCHS_SINCE: i16 = 9;

pub(crate) async fn handle(
    house: &Arc<House>,
    context: &Context,
    request: OffsetCommitRequest,
) -> OffsetCommitResponse {
    let mut codes = Codes::default();
    let offsets = codes.of_known(&house.metadata.snapshot(), asked(&request));
    if !offsets.is_empty() {
        match context.version {
            0 => commit_to_zookeeper(house, &request, offsets, &mut codes).await,
            _ => commit(house, context, &request, offsets, &mut codes).await,
        }
    }
    let repeats = if context.version == 0 { Repeats::Answered } else { Repeats::Dropped };
    answer(&request, &codes, repeats)
}

/// What is asked of each partition.
fn asked(request: &OffsetCommitRequest) -> impl Iterator<Item = (TopicPartition, OffsetCommit)> {
    let now = clock::wall();
    request.topics.iter().flat_map(move |topic| {
        let name = copied(&topic.name.0);
        topic.partitions.iter().map(move |partition| {
            let id = TopicPartition::new(Arc::clone(&name), partition.partition_index);
            (id, offset_commit(partition, request.retention_time_ms, now))
        })
    })
}

fn answer(request: &OffsetCommitRequest, codes: &Codes, repeats: Repeats) -> OffsetCommitResponse {
    let asked = request
        .topics
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(|partition| (&topic.name, partition.partition_index)));
    let topics = codes.arranged(asked, repeats).into_iter().map(|(name, partitions)| {
        let partitions = partitions.into_iter().map(|(partition, code)| {
            OffsetCommitResponsePartition::default().with_partition_index(partition).with_error_code(code)
        });
        OffsetCommitResponseTopic::default().with_name(name).with_partitions(partitions.collect())
    });
    OffsetCommitResponse::default().with_topics(topics.collect())
}

fn offset_commit(
    partition: &OffsetCommitRequestPartition,
    retention_ms: i64,
    now: TimestampMs,
) -> OffsetCommit {
    let own = |time: i64| (time != -1).then_some(time);
    OffsetCommit {
        offset: Offset(partition.committed_offset),
        leader_epoch: LeaderEpoch(partition.committed_leader_epoch),
        metadata: copied(partition.committed_metadata.as_deref().unwrap_or_default()),
        // Only version 1 tells a time of its own, only versions 2 to 4 a retention.
        committed_at: own(partition.commit_timestamp).map_or(now, TimestampMs),
        expires_at: own(retention_ms).map(|ms| TimestampMs(now.0.saturating_add(ms))),
    }
}

async fn commit(
    house: &House,
    context: &Context,
    request: &OffsetCommitRequest,
    offsets: Vec<(TopicPartition, OffsetCommit)>,
    codes: &mut Codes,
) {
    let partitions: Vec<TopicPartition> = offsets.iter().map(|(partition, _)| partition.clone()).collect();
    let runner = coordinator_of(house, &request.group_id.0, EmptyGroupId::Allowed);
    let command = Command::Commit(Commit {
        group: copied(&request.group_id.0),
        member_id: copied(&request.member_id),
        instance_id: copied_if(request.group_instance_id.as_ref()),
        generation: request.generation_id_or_member_epoch,
        knows_epochs: context.version >= MEMBER_EPOCHS_SINCE,
        producer: None,
        offsets,
    });
    let error = match group_room::ask(runner, command).await {
        Ok(Reply::Commit(results)) => return codes.set_all(results),
        Ok(_) => GroupError::Unknown,
        Err(error) => error,
    };
    codes.set_all(partitions.into_iter().map(|partition| (partition, Err(error))).collect());
}

async fn commit_to_zookeeper(
    house: &House,
    request: &OffsetCommitRequest,
    offsets: Vec<(TopicPartition, OffsetCommit)>,
    codes: &mut Codes,
) {
    let metadata_max = house.config.groups.offset_metadata_max_bytes;
    for (partition, commit) in offsets {
        let code = if commit.metadata.encode_utf16().count() > metadata_max {
            GroupError::OffsetMetadataTooLarge.wire().code()
        } else {
            let written =
                consumer_offsets::write(&house.zookeeper, &request.group_id.0, &partition, commit.offset);
            written.await.err().map_or(0, |_| ResponseError::UnknownServerError.code())
        };
        codes.set(partition, code);
    }
}
