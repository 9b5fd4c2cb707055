//! AlterReplicaLogDirs (KIP-113): moves replicas between the log directories of this broker.

use std::sync::Arc;

use kafka_protocol::messages::alter_replica_log_dirs_response::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult,
};
use kafka_protocol::messages::{AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use storage::types::TopicPartition;
use tokio::task::spawn_blocking;
use tracing::warn;

use crate::handlers::Context;
use crate::house::House;

pub(crate) async fn handle(
    house: &Arc<House>,
    _: &Context,
    request: AlterReplicaLogDirsRequest,
) -> AlterReplicaLogDirsResponse {
    let house = Arc::clone(house);
    // Folders are made and renamed.
    let altered = spawn_blocking(move || alter(&house, &request)).await;
    AlterReplicaLogDirsResponse::default().with_results(altered.unwrap_or_default())
}

/// The last of several directories for one partition counts, as in Kafka.
fn alter(house: &House, request: &AlterReplicaLogDirsRequest) -> Vec<AlterReplicaLogDirTopicResult> {
    let mut wanted: Vec<(TopicPartition, &str)> = Vec::new();
    for directory in &request.dirs {
        for topic in &directory.topics {
            for partition in &topic.partitions {
                let id = TopicPartition::new(&*topic.name.0, *partition);
                match wanted.iter_mut().find(|(known, _)| *known == id) {
                    Some((_, path)) => *path = &directory.path,
                    None => wanted.push((id, &directory.path)),
                }
            }
        }
    }
    let mut results: Vec<AlterReplicaLogDirTopicResult> = Vec::new();
    for (id, path) in wanted {
        let code = match house.partitions.alter_directory(&id, path) {
            Ok(()) => 0,
            Err(error) => {
                warn!(partition = %id, directory = path, ?error, "a replica is not moved to another log directory");
                error.code()
            }
        };
        let result = AlterReplicaLogDirPartitionResult::default()
            .with_partition_index(id.partition)
            .with_error_code(code);
        match results.iter_mut().find(|topic| *topic.topic_name.0 == *id.topic) {
            Some(topic) => topic.partitions.push(result),
            None => results.push(
                AlterReplicaLogDirTopicResult::default()
                    .with_topic_name(TopicName(StrBytes::from_string(id.topic.to_string())))
                    .with_partitions(vec![result]),
            ),
        }
    }
    results
}
