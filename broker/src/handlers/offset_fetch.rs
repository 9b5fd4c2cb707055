//! OffsetFetch: how far groups have read. Version 0 asks what is in ZooKeeper.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use coordinator::groups::{GroupError, Groups, OffsetCommit};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{OffsetFetchRequest, OffsetFetchResponse, TopicName};
use storage::types::TopicPartition;

use crate::cluster::consumer_offsets;
use crate::errors::WireError;
use crate::handlers::Context;
use crate::handlers::group_words::{coordinator_of, wire};
use crate::house::House;
use crate::machines::group_room::{EmptyGroupId, read_failure};

const SEVERAL_GROUPS_SINCE: i16 = 8;
const TOP_LEVEL_ERROR_SINCE: i16 = 2;

pub(crate) async fn handle(
    house: &Arc<House>,
    context: &Context,
    request: OffsetFetchRequest,
) -> OffsetFetchResponse {
    let stable = request.require_stable;
    if context.version >= SEVERAL_GROUPS_SINCE {
        let mut groups = Vec::with_capacity(request.groups.len().min(1_024));
        for group in &request.groups {
            groups.push(fetch(house, group, stable).await);
        }
        return OffsetFetchResponse::default().with_groups(groups);
    }
    let group = the_one_group(request);
    let answer = match context.version {
        0 => fetch_from_zookeeper(house, &group).await,
        _ => fetch(house, &group, stable).await,
    };
    in_old_words(context.version, &group, answer)
}

fn the_one_group(request: OffsetFetchRequest) -> OffsetFetchRequestGroup {
    let topics = request.topics.map(|topics| {
        let renamed = topics.into_iter().map(|topic| {
            OffsetFetchRequestTopics::default()
                .with_name(topic.name)
                .with_partition_indexes(topic.partition_indexes)
        });
        renamed.collect()
    });
    OffsetFetchRequestGroup::default().with_group_id(request.group_id).with_topics(topics)
}

async fn fetch(house: &House, group: &OffsetFetchRequestGroup, stable: bool) -> OffsetFetchResponseGroup {
    let answer = OffsetFetchResponseGroup::default().with_group_id(group.group_id.clone());
    let member_id = group.member_id.as_deref();
    let look = |groups: &Groups| {
        groups.may_fetch(&group.group_id.0, member_id, group.member_epoch)?;
        Ok(find(groups, group, stable))
    };
    let found = match coordinator_of(house, &group.group_id.0, EmptyGroupId::Allowed) {
        Ok(runner) => runner.read(look).await.map_err(read_failure).flatten(),
        Err(error) => Err(error),
    };
    match found {
        Ok(topics) => answer.with_topics(topics),
        Err(error) => answer.with_error_code(error.wire().code()),
    }
}

/// All offsets of the group where the request names no topics.
fn find(groups: &Groups, asked: &OffsetFetchRequestGroup, stable: bool) -> Vec<OffsetFetchResponseTopics> {
    let group: &str = &asked.group_id.0;
    let answer = |partition: &TopicPartition| {
        let found = match stable {
            true => groups.stable_offset(group, partition),
            false => Ok(groups.offset(group, partition)),
        };
        told(partition.partition, found)
    };
    let Some(topics) = &asked.topics else {
        let mut all: Vec<OffsetFetchResponseTopics> = Vec::new();
        for partition in groups.partitions_of(group) {
            match all.last_mut().filter(|topic| *topic.name.0 == *partition.topic) {
                Some(topic) => topic.partitions.push(answer(&partition)),
                None => all.push(
                    OffsetFetchResponseTopics::default()
                        .with_name(TopicName(wire(&partition.topic)))
                        .with_partitions(vec![answer(&partition)]),
                ),
            }
        }
        return all;
    };
    let told = topics.iter().map(|topic| {
        let name: Arc<str> = Arc::from(topic.name.0.as_str());
        let partitions = topic.partition_indexes.iter();
        let partitions = partitions.map(|index| answer(&TopicPartition::new(Arc::clone(&name), *index)));
        OffsetFetchResponseTopics::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    told.collect()
}

fn told(partition: i32, found: Result<Option<&OffsetCommit>, GroupError>) -> OffsetFetchResponsePartitions {
    match found {
        Ok(Some(commit)) => OffsetFetchResponsePartitions::default()
            .with_partition_index(partition)
            .with_committed_offset(commit.offset.0)
            .with_committed_leader_epoch(commit.leader_epoch.0)
            .with_metadata(Some(wire(&commit.metadata))),
        Ok(None) => nowhere(partition, 0),
        Err(error) => nowhere(partition, error.wire().code()),
    }
}

fn nowhere(partition: i32, code: i16) -> OffsetFetchResponsePartitions {
    OffsetFetchResponsePartitions::default()
        .with_partition_index(partition)
        .with_committed_offset(-1)
        .with_committed_leader_epoch(-1)
        .with_metadata(Some(wire("")))
        .with_error_code(code)
}

async fn fetch_from_zookeeper(house: &House, group: &OffsetFetchRequestGroup) -> OffsetFetchResponseGroup {
    let metadata = house.metadata.snapshot();
    // What is asked twice is answered once.
    let mut asked: BTreeMap<&TopicName, BTreeSet<i32>> = BTreeMap::new();
    for topic in group.topics.iter().flatten() {
        asked.entry(&topic.name).or_default().extend(&topic.partition_indexes);
    }
    let mut topics = Vec::new();
    for (topic, indexes) in asked {
        let name: Arc<str> = Arc::from(topic.0.as_str());
        let mut partitions = Vec::new();
        for index in indexes {
            if metadata.partition(&name, index).is_none() {
                partitions.push(nowhere(index, ResponseError::UnknownTopicOrPartition.code()));
                continue;
            }
            let partition = TopicPartition::new(Arc::clone(&name), index);
            partitions.push(
                match consumer_offsets::read(&house.zookeeper, &group.group_id.0, &partition).await {
                    Ok(Some(offset)) => nowhere(index, 0).with_committed_offset(offset.0),
                    Ok(None) => nowhere(index, ResponseError::UnknownTopicOrPartition.code()),
                    Err(_) => nowhere(index, ResponseError::UnknownServerError.code()),
                },
            );
        }
        topics
            .push(OffsetFetchResponseTopics::default().with_name(topic.clone()).with_partitions(partitions));
    }
    OffsetFetchResponseGroup::default().with_group_id(group.group_id.clone()).with_topics(topics)
}

/// Before version 8 the one group's answer is the response itself; before version 2 there is no error but a
/// partition's.
fn in_old_words(
    version: i16,
    asked: &OffsetFetchRequestGroup,
    answer: OffsetFetchResponseGroup,
) -> OffsetFetchResponse {
    let code = answer.error_code;
    if version < TOP_LEVEL_ERROR_SINCE && code != 0 {
        // Apache leaves the partitions out, which makes an old client believe that nothing was ever committed.
        let topics = asked.topics.iter().flatten().map(|topic| {
            let partitions = topic.partition_indexes.iter().map(|index| old_partition(nowhere(*index, code)));
            OffsetFetchResponseTopic::default()
                .with_name(topic.name.clone())
                .with_partitions(partitions.collect())
        });
        return OffsetFetchResponse::default().with_topics(topics.collect());
    }
    let topics = answer.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter().map(old_partition).collect();
        OffsetFetchResponseTopic::default().with_name(topic.name).with_partitions(partitions)
    });
    let response = OffsetFetchResponse::default().with_topics(topics.collect());
    match version {
        TOP_LEVEL_ERROR_SINCE.. => response.with_error_code(code),
        _ => response,
    }
}

fn old_partition(partition: OffsetFetchResponsePartitions) -> OffsetFetchResponsePartition {
    OffsetFetchResponsePartition::default()
        .with_partition_index(partition.partition_index)
        .with_committed_offset(partition.committed_offset)
        .with_committed_leader_epoch(partition.committed_leader_epoch)
        .with_metadata(partition.metadata)
        .with_error_code(partition.error_code)
}
