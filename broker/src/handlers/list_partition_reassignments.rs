//! ListPartitionReassignments: which partitions are on their way to other replicas.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::list_partition_reassignments_response::{
    OngoingPartitionReassignment, OngoingTopicReassignment,
};
use kafka_protocol::messages::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use storage::types::{BrokerId, TopicPartition};

use crate::cluster::controller::NOT_CONTROLLER;
use crate::handlers::Context;
use crate::house::House;

pub(crate) async fn handle(
    house: &Arc<House>,
    _: &Context,
    request: ListPartitionReassignmentsRequest,
) -> ListPartitionReassignmentsResponse {
    let asked = request.topics.as_ref().map(|topics| {
        let named = topics.iter().flat_map(|topic| {
            let name: Arc<str> = topic.name.0.as_str().into();
            topic.partition_indexes.iter().map(move |index| TopicPartition::new(Arc::clone(&name), *index))
        });
        named.collect::<BTreeSet<_>>()
    });
    let Ok(moving) = house.to_controller().here().reassignments(asked).await else {
        return ListPartitionReassignmentsResponse::default()
            .with_error_code(ResponseError::NotController.code())
            .with_error_message(Some(StrBytes::from_static_str(NOT_CONTROLLER)));
    };
    let ids = |ids: &[BrokerId]| ids.iter().map(|id| id.0.into()).collect();
    let mut topics: BTreeMap<Arc<str>, Vec<OngoingPartitionReassignment>> = BTreeMap::new();
    for (partition, assignment) in moving {
        let one = OngoingPartitionReassignment::default()
            .with_partition_index(partition.partition)
            .with_replicas(ids(&assignment.replicas))
            .with_adding_replicas(ids(&assignment.adding))
            .with_removing_replicas(ids(&assignment.removing));
        topics.entry(partition.topic).or_default().push(one);
    }
    let topics = topics.into_iter().map(|(name, partitions)| {
        OngoingTopicReassignment::default()
            .with_name(TopicName(StrBytes::from_string(name.to_string())))
            .with_partitions(partitions)
    });
    ListPartitionReassignmentsResponse::default().with_error_message(None).with_topics(topics.collect())
}
