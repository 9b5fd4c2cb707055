//! DescribeLogDirs (KIP-113, KIP-827): what lies in the log directories of this broker, and how much room is left.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use kafka_protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use storage::disk::{Disk, OsDisk};
use storage::types::TopicPartition;
use tokio::task::spawn_blocking;
use tracing::warn;

use crate::handlers::Context;
use crate::house::House;
use crate::partition::Partition;
use crate::partition::moving::FutureReplica;

/// The partitions asked for; `None` is all of them.
type Wanted = Option<HashMap<String, HashSet<i32>>>;

pub(crate) async fn handle(
    house: &Arc<House>,
    _: &Context,
    request: DescribeLogDirsRequest,
) -> DescribeLogDirsResponse {
    let wanted: Wanted = request.topics.map(|topics| {
        let mut wanted: HashMap<String, HashSet<i32>> = HashMap::new();
        for topic in topics {
            wanted.entry(topic.topic.to_string()).or_default().extend(topic.partitions);
        }
        wanted
    });
    let house = Arc::clone(house);
    // A file system that hangs must not hold up other requests.
    let described = spawn_blocking(move || describe(&house, &wanted)).await;
    DescribeLogDirsResponse::default().with_results(described.unwrap_or_default())
}

fn describe(house: &House, wanted: &Wanted) -> Vec<DescribeLogDirsResult> {
    let directories = house.partitions.directories();
    let described = directories.iter().enumerate().map(|(index, directory)| {
        let (path, result) = named(directory.path());
        if directory.is_offline() {
            return result.with_error_code(ResponseError::KafkaStorageError.code());
        }
        let topics = topics(house, index, wanted);
        with_space(result, &path).with_topics(topics)
    });
    let left_out = directories.left_out().iter();
    let unusable = |path: &PathBuf| named(path).1.with_error_code(ResponseError::KafkaStorageError.code());
    described.chain(left_out.map(unusable)).collect()
}

fn named(directory: &Path) -> (PathBuf, DescribeLogDirsResult) {
    let path = std::path::absolute(directory).unwrap_or_else(|_| directory.to_path_buf());
    let name = StrBytes::from_string(path.display().to_string());
    (path, DescribeLogDirsResult::default().with_log_dir(name))
}

fn with_space(result: DescribeLogDirsResult, path: &Path) -> DescribeLogDirsResult {
    let bytes = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    match OsDisk.space(path) {
        Ok(space) => result.with_total_bytes(bytes(space.total)).with_usable_bytes(bytes(space.usable)),
        Err(error) => {
            warn!(path = %path.display(), %error, "cannot ask the file system for its size; check that it is still mounted");
            result.with_error_code(ResponseError::UnknownServerError.code())
        }
    }
}

fn topics(house: &House, directory: usize, wanted: &Wanted) -> Vec<DescribeLogDirsTopic> {
    let mut topics: BTreeMap<Arc<str>, Vec<DescribeLogDirsPartition>> = BTreeMap::new();
    let asked = |id: &TopicPartition| {
        wanted.as_ref().is_none_or(|wanted| {
            wanted.get(&*id.topic).is_some_and(|partitions| partitions.contains(&id.partition))
        })
    };
    for partition in house.partitions.in_directory(directory) {
        if asked(partition.id()) {
            let topic = topics.entry(Arc::clone(&partition.id().topic)).or_default();
            topic.push(describe_partition(&partition));
        }
    }
    // Apache's broker does not answer before all its logs are checked.
    for (id, size) in house.partitions.lying_in(directory, &asked) {
        let described = DescribeLogDirsPartition::default()
            .with_partition_index(id.partition)
            .with_partition_size(i64::try_from(size).unwrap_or(i64::MAX));
        topics.entry(Arc::clone(&id.topic)).or_default().push(described);
    }
    for future in house.partitions.futures_in(directory) {
        if asked(&future.id) {
            topics.entry(Arc::clone(&future.id.topic)).or_default().push(describe_future(&future));
        }
    }
    let described = topics.into_iter().map(|(name, mut partitions)| {
        partitions.sort_by_key(|partition| partition.partition_index);
        DescribeLogDirsTopic::default()
            .with_name(TopicName(StrBytes::from_string(name.to_string())))
            .with_partitions(partitions)
    });
    described.collect()
}

fn describe_partition(partition: &Partition) -> DescribeLogDirsPartition {
    let lag = (partition.high_watermark() - partition.end_offset()).max(0);
    DescribeLogDirsPartition::default()
        .with_partition_index(partition.id().partition)
        .with_partition_size(i64::try_from(partition.size_in_bytes()).unwrap_or(i64::MAX))
        .with_offset_lag(lag)
        .with_is_future_key(false)
}

fn describe_future(future: &FutureReplica) -> DescribeLogDirsPartition {
    DescribeLogDirsPartition::default()
        .with_partition_index(future.id.partition)
        .with_partition_size(i64::try_from(future.size).unwrap_or(i64::MAX))
        .with_offset_lag(future.lag)
        .with_is_future_key(true)
}
