//! AlterPartitionReassignments: an administrator wants partitions on other replicas, or no longer (KIP-455).

use std::collections::BTreeMap;
use std::sync::Arc;

use coordinator::cluster::{ReassignRefusal, Reply};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::alter_partition_reassignments_response::{
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use kafka_protocol::messages::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use storage::types::{BrokerId, TopicPartition};

use crate::cluster::controller::{NOT_CONTROLLER, Question};
use crate::handlers::Context;
use crate::house::House;

pub(crate) async fn handle(
    house: &Arc<House>,
    _: &Context,
    request: AlterPartitionReassignmentsRequest,
) -> AlterPartitionReassignmentsResponse {
    let mut wanted = BTreeMap::new();
    for topic in &request.topics {
        let name: Arc<str> = topic.name.0.as_str().into();
        for one in &topic.partitions {
            let target = one.replicas.as_ref().map(|ids| ids.iter().map(|id| BrokerId(id.0)).collect());
            wanted.insert(TopicPartition::new(Arc::clone(&name), one.partition_index), target);
        }
    }
    let question = Question::AlterReassignments { wanted };
    let Ok(Reply::Reassignments(results)) = house.to_controller().here().ask(question).await else {
        return AlterPartitionReassignmentsResponse::default()
            .with_error_code(ResponseError::NotController.code())
            .with_error_message(Some(StrBytes::from_static_str(NOT_CONTROLLER)));
    };
    let mut topics: BTreeMap<Arc<str>, Vec<ReassignablePartitionResponse>> = BTreeMap::new();
    for (partition, refusal) in results {
        let (code, message) = refusal.map_or((0, None), |refusal| {
            let (error, message) = words(refusal);
            (error.code(), Some(StrBytes::from_string(message)))
        });
        let answer = ReassignablePartitionResponse::default()
            .with_partition_index(partition.partition)
            .with_error_code(code)
            .with_error_message(message);
        topics.entry(partition.topic).or_default().push(answer);
    }
    let responses = topics.into_iter().map(|(name, partitions)| {
        ReassignableTopicResponse::default()
            .with_name(TopicName(StrBytes::from_string(name.to_string())))
            .with_partitions(partitions)
    });
    AlterPartitionReassignmentsResponse::default()
        .with_error_message(None)
        .with_responses(responses.collect())
}

fn words(refusal: ReassignRefusal) -> (ResponseError, String) {
    match refusal {
        ReassignRefusal::InvalidReplicas(sentence) => (ResponseError::InvalidReplicaAssignment, sentence),
        ReassignRefusal::NotInProgress => {
            (ResponseError::NoReassignmentInProgress, "No partition reassignment is in progress.".to_owned())
        }
        ReassignRefusal::UnknownPartition => {
            (ResponseError::UnknownTopicOrPartition, "The partition does not exist.".to_owned())
        }
    }
}
