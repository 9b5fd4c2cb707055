//! The few requests that most promises need, as a client would send them.

use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    BrokerId, CreateTopicsRequest, DeleteRecordsRequest, FetchRequest, GroupId,
    IncrementalAlterConfigsRequest, MetadataRequest, MetadataResponse, OffsetFetchRequest, ProduceRequest,
    ProduceResponse, TopicName, TransactionalId,
};
use kafka_protocol::protocol::StrBytes;

use super::process::PATIENCE;
use super::wire::Connection;

/// The answers of a cluster that is still settling, or in which a leader has just gone.
const PASSING: &[i16] = &[3, 5, 6, 7, 8, 13, 15, 16, 19, 20, 41, 74, 75, 76, 78, 100];

pub(crate) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

pub(crate) fn name(topic: &str) -> TopicName {
    TopicName(text(topic))
}

/// Makes a topic, as soon as there is a controller; one that is there already is as good.
#[track_caller]
pub(crate) fn create_topic(
    connection: &mut Connection,
    topic: &str,
    partitions: i32,
    replicas: i16,
    configs: &[(&str, &str)],
) {
    const ALREADY_EXISTS: i16 = 36;
    let config = |(key, value): &(&str, &str)| {
        CreatableTopicConfig::default().with_name(text(key)).with_value(Some(text(value)))
    };
    let topic = CreatableTopic::default()
        .with_name(name(topic))
        .with_num_partitions(partitions)
        .with_replication_factor(replicas)
        .with_configs(configs.iter().map(config).collect());
    let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(30_000);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = connection.request(5, &request);
        match answer.topics[0].error_code {
            0 | ALREADY_EXISTS => return,
            error if is_passing(error) && Instant::now() < deadline => {
                std::thread::park_timeout(Duration::from_millis(50));
            }
            error => panic!("creating a topic: error {error}, {:?}", answer.topics[0].error_message),
        }
    }
}

/// Of a resource that has configs.
pub(crate) const OF_TOPIC: i8 = 2;
pub(crate) const OF_BROKER: i8 = 4;

/// Sets or, with `None`, takes away one config.
#[track_caller]
pub(crate) fn alter_config(
    connection: &mut Connection,
    kind: i8,
    resource: &str,
    key: &str,
    value: Option<&str>,
) {
    alter_configs(connection, kind, resource, &[(key, value)]);
}

/// Several at once. A broker without a name is all of them.
#[track_caller]
pub(crate) fn alter_configs(
    connection: &mut Connection,
    kind: i8,
    resource: &str,
    keys: &[(&str, Option<&str>)],
) {
    const SET: i8 = 0;
    const DELETE: i8 = 1;
    let configs = keys.iter().map(|(key, value)| {
        AlterableConfig::default()
            .with_name(text(key))
            .with_config_operation(if value.is_some() { SET } else { DELETE })
            .with_value(value.map(text))
    });
    let resource = AlterConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(resource))
        .with_configs(configs.collect());
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let answer = connection.request(1, &request);
    assert_eq!(answer.responses[0].error_code, 0, "{keys:?}: {:?}", answer.responses[0].error_message);
}

/// Deletes the records of partition 0 below an offset; yields the code.
pub(crate) fn delete_records(connection: &mut Connection, topic: &str, below: i64) -> i16 {
    let partition = DeleteRecordsPartition::default().with_partition_index(0).with_offset(below);
    let topic = DeleteRecordsTopic::default().with_name(name(topic)).with_partitions(vec![partition]);
    let request = DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(30_000);
    connection.request(2, &request).topics[0].partitions[0].error_code
}

pub(crate) fn metadata(connection: &mut Connection, topic: &str) -> std::io::Result<MetadataResponse> {
    let topic = MetadataRequestTopic::default().with_name(Some(name(topic)));
    let request =
        MetadataRequest::default().with_topics(Some(vec![topic])).with_allow_auto_topic_creation(false);
    connection.try_request(9, &request)
}

/// One batch for one partition.
pub(crate) fn produce_request(topic: &str, partition: i32, acks: i16, batch: &Bytes) -> ProduceRequest {
    let data = PartitionProduceData::default().with_index(partition).with_records(Some(batch.clone()));
    let topic = TopicProduceData::default().with_name(name(topic)).with_partition_data(vec![data]);
    ProduceRequest::default().with_acks(acks).with_timeout_ms(30_000).with_topic_data(vec![topic])
}

/// Error code and base offset of the one partition.
pub(crate) fn outcome(answer: &ProduceResponse) -> (i16, i64) {
    let partition = &answer.responses[0].partition_responses[0];
    (partition.error_code, partition.base_offset)
}

/// Sends one batch once. `Ok`: error code and base offset; `Err`: nobody knows what became of it.
pub(crate) fn try_produce(
    connection: &mut Connection,
    topic: &str,
    partition: i32,
    acks: i16,
    batch: &Bytes,
) -> std::io::Result<(i16, i64)> {
    try_produce_as(connection, None, topic, partition, acks, batch, Duration::from_secs(10))
}

/// The same, perhaps under a transactional id; the leader waits for followers for at most `timeout`.
pub(crate) fn try_produce_as(
    connection: &mut Connection,
    id: Option<&str>,
    topic: &str,
    partition: i32,
    acks: i16,
    batch: &Bytes,
    timeout: Duration,
) -> std::io::Result<(i16, i64)> {
    let request = produce_request(topic, partition, acks, batch)
        .with_transactional_id(id.map(|id| TransactionalId(text(id))))
        .with_timeout_ms(i32::try_from(timeout.as_millis()).expect("a short wait"));
    connection.try_request(9, &request).map(|answer| outcome(&answer))
}

/// Sends one batch at acks=all, again and again while the broker does not lead the partition yet; its base offset.
#[track_caller]
pub(crate) fn produce(connection: &mut Connection, topic: &str, partition: i32, batch: &Bytes) -> i64 {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match try_produce(connection, topic, partition, -1, batch).expect("the broker answers") {
            (0, offset) => return offset,
            (error, _) if is_passing(error) && Instant::now() < deadline => {
                std::thread::park_timeout(Duration::from_millis(50));
            }
            (error, _) => panic!("producing to {topic}-{partition}: error {error}"),
        }
    }
}

/// Whether the error may be gone a moment later.
pub(crate) fn is_passing(error: i16) -> bool {
    PASSING.contains(&error)
}

/// What one partition answers to a consumer.
pub(crate) struct Fetched {
    pub(crate) error: i16,
    pub(crate) high_watermark: i64,
    pub(crate) records: Bytes,
}

/// For up to 1 MiB of one partition.
pub(crate) fn fetch_request(topic: &str, partition: i32, offset: i64) -> FetchRequest {
    let partition = FetchPartition::default()
        .with_partition(partition)
        .with_fetch_offset(offset)
        .with_partition_max_bytes(1 << 20);
    let topic = FetchTopic::default().with_topic(name(topic)).with_partitions(vec![partition]);
    FetchRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic])
}

pub(crate) fn try_fetch(
    connection: &mut Connection,
    topic: &str,
    partition: i32,
    offset: i64,
) -> std::io::Result<Fetched> {
    let request = fetch_request(topic, partition, offset).with_max_wait_ms(500).with_min_bytes(1);
    let answer = connection.try_request(11, &request)?;
    let Some(partition) = answer.responses.first().and_then(|topic| topic.partitions.first()) else {
        return Ok(Fetched { error: answer.error_code, high_watermark: -1, records: Bytes::new() });
    };
    Ok(Fetched {
        error: partition.error_code,
        high_watermark: partition.high_watermark,
        records: partition.records.clone().unwrap_or_default(),
    })
}

/// The error code of producing `records` once to partition 0, at acks=1.
#[track_caller]
pub(crate) fn produced(connection: &mut Connection, topic: &str, records: &Bytes) -> i16 {
    try_produce(connection, topic, 0, 1, records).expect("the broker answers").0
}

/// What the group has committed of each of `partitions`, -1 for nothing; `None` where the broker cannot say just now.
pub(crate) fn try_committed(
    connection: &mut Connection,
    group: &str,
    topic: &str,
    partitions: &[i32],
) -> Option<Vec<i64>> {
    let topic =
        OffsetFetchRequestTopic::default().with_name(name(topic)).with_partition_indexes(partitions.to_vec());
    let request =
        OffsetFetchRequest::default().with_group_id(GroupId(text(group))).with_topics(Some(vec![topic]));
    let answer = connection.try_request(5, &request).ok()?;
    let told = &answer.topics.first()?.partitions;
    let known = answer.error_code == 0 && told.iter().all(|partition| partition.error_code == 0);
    known.then(|| told.iter().map(|partition| partition.committed_offset).collect())
}

/// Whether all partitions of the topic have a leader.
pub(crate) fn has_topic(connection: &mut Connection, topic: &str) -> bool {
    metadata(connection, topic).is_ok_and(|answer| {
        answer.topics.iter().all(|topic| {
            topic.error_code == 0
                && !topic.partitions.is_empty()
                && topic.partitions.iter().all(|partition| partition.error_code == 0)
        })
    })
}
