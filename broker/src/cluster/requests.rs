//! The plan's requests in Kafka's words, and brokers' answers in the plan's.
//!
//! Written for the newest versions (LeaderAndIsr 7, UpdateMetadata 8, StopReplica 4).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use coordinator::cluster::{Event, Image, LiveBroker, MetadataNews, PartitionNews, ReplicaOrder, StopOrder};
use kafka_protocol::messages::leader_and_isr_request::{
    LeaderAndIsrLiveLeader, LeaderAndIsrPartitionState, LeaderAndIsrRequest, LeaderAndIsrTopicState,
};
use kafka_protocol::messages::stop_replica_request::{
    StopReplicaPartitionState, StopReplicaRequest, StopReplicaTopicState,
};
use kafka_protocol::messages::update_metadata_request::{
    UpdateMetadataBroker, UpdateMetadataEndpoint, UpdateMetadataPartitionState, UpdateMetadataRequest,
    UpdateMetadataTopicState,
};
use kafka_protocol::messages::{BrokerId as WireId, LeaderAndIsrResponse, StopReplicaResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use storage::types::{BrokerId, TopicId, TopicPartition};
use uuid::Uuid;

const NONE: i16 = 0;
const STALE_CONTROLLER_EPOCH: i16 = 11;
const KAFKA_STORAGE_ERROR: i16 = 56;

/// What all requests of a term carry.
#[derive(Clone, Debug)]
pub(super) struct Letterhead {
    pub(super) controller: BrokerId,
    pub(super) controller_epoch: i32,
    /// `inter.broker.listener.name`: leaders are named by their address there.
    pub(super) listener: Arc<str>,
}

pub(super) fn leader_and_isr(
    head: &Letterhead,
    broker_epoch: i64,
    partitions: &BTreeMap<TopicPartition, ReplicaOrder>,
    ids: &BTreeMap<Arc<str>, TopicId>,
    leaders: &[LiveBroker],
) -> LeaderAndIsrRequest {
    let topics = by_topic(partitions)
        .into_iter()
        .map(|(topic, partitions)| {
            let states = partitions.into_iter().map(|(index, order)| replica_order(index, order));
            LeaderAndIsrTopicState::default()
                .with_topic_name(topic_name(topic))
                .with_topic_id(topic_id(ids, topic))
                .with_partition_states(states.collect())
        })
        .collect();
    let leaders = leaders
        .iter()
        .filter_map(|broker| {
            let endpoint = broker.endpoints.iter().find(|endpoint| *endpoint.listener == *head.listener)?;
            let leader = LeaderAndIsrLiveLeader::default()
                .with_broker_id(WireId(broker.id.0))
                .with_host_name(text(&endpoint.host))
                .with_port(endpoint.port);
            Some(leader)
        })
        .collect();
    LeaderAndIsrRequest::default()
        .with_controller_id(WireId(head.controller.0))
        .with_controller_epoch(head.controller_epoch)
        .with_broker_epoch(broker_epoch)
        .with_topic_states(topics)
        .with_live_leaders(leaders)
}

/// For versions that do not know of it.
pub(super) fn leave_recovery_out(request: &mut LeaderAndIsrRequest) {
    for state in request.topic_states.iter_mut().flat_map(|topic| &mut topic.partition_states) {
        state.leader_recovery_state = 0;
    }
}

fn replica_order(index: i32, order: &ReplicaOrder) -> LeaderAndIsrPartitionState {
    let ReplicaOrder { leadership, assignment, is_new } = order;
    LeaderAndIsrPartitionState::default()
        .with_partition_index(index)
        .with_controller_epoch(leadership.controller_epoch)
        .with_leader(WireId(leadership.leader.0))
        .with_leader_epoch(leadership.leader_epoch.0)
        .with_isr(wire_ids(&leadership.isr))
        .with_partition_epoch(leadership.version)
        .with_replicas(wire_ids(&assignment.replicas))
        .with_adding_replicas(wire_ids(&assignment.adding))
        .with_removing_replicas(wire_ids(&assignment.removing))
        .with_is_new(*is_new)
        .with_leader_recovery_state(leadership.recovery.id())
}

pub(super) fn update_metadata(
    head: &Letterhead,
    broker_epoch: i64,
    news: &MetadataNews,
) -> UpdateMetadataRequest {
    let topics = by_topic(&news.partitions)
        .into_iter()
        .map(|(topic, partitions)| {
            let states = partitions.into_iter().map(|(index, news)| partition_news(index, news));
            UpdateMetadataTopicState::default()
                .with_topic_name(topic_name(topic))
                .with_topic_id(topic_id(&news.topic_ids, topic))
                .with_partition_states(states.collect())
        })
        .collect();
    UpdateMetadataRequest::default()
        .with_controller_id(WireId(head.controller.0))
        .with_controller_epoch(head.controller_epoch)
        .with_broker_epoch(broker_epoch)
        .with_topic_states(topics)
        .with_live_brokers(news.brokers.iter().map(live_broker).collect())
}

fn partition_news(index: i32, news: &PartitionNews) -> UpdateMetadataPartitionState {
    let PartitionNews { leadership, replicas, offline } = news;
    UpdateMetadataPartitionState::default()
        .with_partition_index(index)
        .with_controller_epoch(leadership.controller_epoch)
        .with_leader(WireId(leadership.leader.0))
        .with_leader_epoch(leadership.leader_epoch.0)
        .with_isr(wire_ids(&leadership.isr))
        .with_zk_version(leadership.version)
        .with_replicas(wire_ids(replicas))
        .with_offline_replicas(wire_ids(offline))
}

fn live_broker(broker: &LiveBroker) -> UpdateMetadataBroker {
    let endpoints = broker
        .endpoints
        .iter()
        .map(|endpoint| {
            UpdateMetadataEndpoint::default()
                .with_listener(text(&endpoint.listener))
                .with_host(text(&endpoint.host))
                .with_port(endpoint.port)
                .with_security_protocol(endpoint.protocol.id())
        })
        .collect();
    UpdateMetadataBroker::default()
        .with_id(WireId(broker.id.0))
        .with_endpoints(endpoints)
        .with_rack(broker.rack.as_deref().map(text))
}

pub(super) fn stop_replica(
    head: &Letterhead,
    broker_epoch: i64,
    partitions: &BTreeMap<TopicPartition, StopOrder>,
) -> StopReplicaRequest {
    let topics = by_topic(partitions)
        .into_iter()
        .map(|(topic, partitions)| {
            let states = partitions.into_iter().map(|(index, stop)| {
                StopReplicaPartitionState::default()
                    .with_partition_index(index)
                    .with_leader_epoch(stop.leader_epoch.0)
                    .with_delete_partition(stop.delete)
            });
            StopReplicaTopicState::default()
                .with_topic_name(topic_name(topic))
                .with_partition_states(states.collect())
        })
        .collect();
    StopReplicaRequest::default()
        .with_controller_id(WireId(head.controller.0))
        .with_controller_epoch(head.controller_epoch)
        .with_broker_epoch(broker_epoch)
        .with_topic_states(topics)
}

/// `None`, and a line in the log, where the broker refused the whole request.
pub(super) fn replicas_answered(
    image: &Image,
    broker: BrokerId,
    response: &LeaderAndIsrResponse,
) -> Option<Event> {
    if response.error_code != NONE {
        tracing::error!(%broker, code = response.error_code, "LeaderAndIsr was refused");
        return None;
    }
    let named = response.topics.iter().flat_map(|topic| {
        let name = image.topic_name(TopicId(topic.topic_id.into_bytes()));
        topic.partition_errors.iter().filter_map(move |error| {
            Some((TopicPartition::new(Arc::clone(name?), error.partition_index), error.error_code))
        })
    });
    let unnamed = response.partition_errors.iter().map(|error| {
        (TopicPartition::new(error.topic_name.0.as_str(), error.partition_index), error.error_code)
    });
    let (mut online, mut offline) = (BTreeSet::new(), BTreeSet::new());
    for (partition, code) in named.chain(unnamed) {
        match code {
            NONE => online.insert(partition),
            KAFKA_STORAGE_ERROR => offline.insert(partition),
            // It knows already: a new controller tells everybody.
            STALE_CONTROLLER_EPOCH => false,
            code => {
                tracing::warn!(%broker, %partition, code, "a replica did not take its role");
                false
            }
        };
    }
    Some(Event::ReplicasAnswered { broker, online, offline })
}

/// Which of the replicas to be deleted were; `None` where none was to be.
pub(super) fn deletion_answered(
    broker: BrokerId,
    asked: &BTreeMap<TopicPartition, StopOrder>,
    response: &StopReplicaResponse,
) -> Option<Event> {
    let (mut deleted, mut failed) = (BTreeSet::new(), BTreeSet::new());
    for error in &response.partition_errors {
        let partition = TopicPartition::new(error.topic_name.0.as_str(), error.partition_index);
        if !asked.get(&partition).is_some_and(|stop| stop.delete) {
            continue;
        }
        if response.error_code == NONE && error.error_code == NONE {
            deleted.insert(partition);
        } else {
            tracing::warn!(%broker, %partition, code = error.error_code, "a replica was not deleted");
            failed.insert(partition);
        }
    }
    (!deleted.is_empty() || !failed.is_empty()).then_some(Event::DeletionAnswered { broker, deleted, failed })
}

fn by_topic<V>(partitions: &BTreeMap<TopicPartition, V>) -> BTreeMap<&Arc<str>, Vec<(i32, &V)>> {
    let mut topics: BTreeMap<&Arc<str>, Vec<(i32, &V)>> = BTreeMap::new();
    for (name, value) in partitions {
        topics.entry(&name.topic).or_default().push((name.partition, value));
    }
    topics
}

fn topic_id(ids: &BTreeMap<Arc<str>, TopicId>, topic: &str) -> Uuid {
    Uuid::from_bytes(ids.get(topic).copied().unwrap_or_default().0)
}

fn wire_ids(ids: &[BrokerId]) -> Vec<WireId> {
    ids.iter().map(|id| WireId(id.0)).collect()
}

fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}
