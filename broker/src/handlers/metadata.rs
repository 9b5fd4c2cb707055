//! Metadata: brokers, topics and leaders as this broker knows them, and the creation of topics on first use.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{MetadataRequest, MetadataResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use storage::types::{BrokerId, TopicId};
use uuid::Uuid;

use crate::handlers::{Context, first_use, operations, topics};
use crate::house::House;
use crate::metadata::{MetadataSnapshot, PartitionMetadata, TopicMetadata};

/// From this version on topics can be asked for by id.
const TOPIC_IDS_SINCE: i16 = 12;
const TOPIC_OPERATIONS_SINCE: i16 = 8;

pub(crate) async fn handle(
    house: &Arc<House>,
    context: &Context,
    request: MetadataRequest,
) -> MetadataResponse {
    let version = context.version;
    let wanted = match Wanted::of(&request, version) {
        Ok(wanted) => wanted,
        Err(error) => return refused(&request, error),
    };
    house.metadata.first_topics(|| !house.partitions.all().is_empty()).await;
    let metadata = house.metadata.snapshot();
    let view = View { metadata: &metadata, listener: &context.connection.listener, version };
    let (mut topics, missing) = view.topics(&wanted);
    let may_create = house.config.topics.auto_create && request.allow_auto_topic_creation;
    let begun = match may_create && wanted != Wanted::All {
        true => {
            first_use::create(
                house,
                context,
                missing.iter().filter(|name| can_begin(name)).cloned().collect(),
            )
            .await
        }
        false => BTreeMap::new(),
    };
    topics.extend(missing.iter().map(|name| {
        let error = begun.get(name).copied();
        unknown(name, error.unwrap_or_else(|| not_there(name)))
    }));
    if version >= TOPIC_OPERATIONS_SINCE && request.include_topic_authorized_operations {
        for topic in topics.iter_mut().filter(|topic| topic.name.is_some()) {
            topic.topic_authorized_operations = operations::ON_TOPIC;
        }
    }
    let response = MetadataResponse::default()
        .with_brokers(view.brokers())
        .with_cluster_id(Some(StrBytes::from_string(house.cluster_id.to_string())))
        .with_controller_id(metadata.controller().unwrap_or(BrokerId::NONE).0.into())
        .with_topics(topics);
    match request.include_cluster_authorized_operations && (8..=10).contains(&version) {
        true => response.with_cluster_authorized_operations(operations::ON_CLUSTER),
        false => response,
    }
}

/// The topics a request asks for, each once, in its order.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    All,
    Names(Vec<String>),
    Ids(Vec<TopicId>),
}

impl Wanted {
    fn of(request: &MetadataRequest, version: i16) -> Result<Wanted, ResponseError> {
        let Some(topics) = &request.topics else { return Ok(Wanted::All) };
        if version == 0 && topics.is_empty() {
            return Ok(Wanted::All);
        }
        if version < TOPIC_IDS_SINCE
            && topics.iter().any(|topic| topic.name.is_none() || !topic.topic_id.is_nil())
        {
            return Err(ResponseError::InvalidRequest);
        }
        let ids = topics.iter().filter(|topic| !topic.topic_id.is_nil());
        let ids = once(ids.map(|topic| TopicId(topic.topic_id.into_bytes())));
        if !ids.is_empty() {
            return Ok(Wanted::Ids(ids));
        }
        let names: Option<Vec<String>> =
            topics.iter().map(|topic| topic.name.as_ref().map(|name| name.to_string())).collect();
        // Neither an id nor a name.
        let names = names.ok_or(ResponseError::UnknownServerError)?;
        Ok(Wanted::Names(once(names.into_iter())))
    }
}

fn once<T: Clone + Eq + std::hash::Hash>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut seen = HashSet::new();
    values.filter(|value| seen.insert(value.clone())).collect()
}

/// One state of the cluster, as a client of one listener sees it.
struct View<'a> {
    metadata: &'a MetadataSnapshot,
    listener: &'a str,
    version: i16,
}

impl View<'_> {
    fn brokers(&self) -> Vec<MetadataResponseBroker> {
        let nodes = self.metadata.nodes(self.listener).map(|(broker, endpoint)| {
            MetadataResponseBroker::default()
                .with_node_id(broker.id.0.into())
                .with_host(StrBytes::from_string(endpoint.host.clone()))
                .with_port(endpoint.port)
                .with_rack(broker.rack.clone().map(StrBytes::from_string))
        });
        nodes.collect()
    }

    /// The topics there are, and the names of those there are not.
    fn topics(&self, wanted: &Wanted) -> (Vec<MetadataResponseTopic>, Vec<String>) {
        match wanted {
            Wanted::All => (self.metadata.topics().map(|topic| self.topic(topic)).collect(), Vec::new()),
            Wanted::Names(names) => {
                let mut missing = Vec::new();
                let known = names.iter().filter_map(|name| {
                    let topic = self.metadata.topic(name);
                    if topic.is_none() {
                        missing.push(name.clone());
                    }
                    topic.map(|topic| self.topic(topic))
                });
                (known.collect(), missing)
            }
            Wanted::Ids(ids) => {
                let (known, unknown): (Vec<TopicId>, Vec<TopicId>) =
                    ids.iter().partition(|id| self.metadata.topic_by_id(**id).is_some());
                let unknown = unknown.iter().map(|id| {
                    MetadataResponseTopic::default()
                        .with_error_code(ResponseError::UnknownTopicId.code())
                        .with_name(None)
                        .with_topic_id(Uuid::from_bytes(id.0))
                });
                let known = known.iter().filter_map(|id| self.metadata.topic_by_id(*id));
                (unknown.chain(known.map(|topic| self.topic(topic))).collect(), Vec::new())
            }
        }
    }

    fn topic(&self, topic: &TopicMetadata) -> MetadataResponseTopic {
        MetadataResponseTopic::default()
            .with_name(Some(topic_name(&topic.name)))
            .with_topic_id(Uuid::from_bytes(topic.id.0))
            .with_is_internal(topics::is_internal(&topic.name))
            .with_partitions(topic.partitions.values().map(|state| self.partition(state)).collect())
    }

    fn partition(&self, state: &PartitionMetadata) -> MetadataResponsePartition {
        let reachable = |id: BrokerId| self.metadata.node(id, self.listener).is_some();
        // Version 0 leaves out brokers that cannot be reached, and makes an error of it.
        let visible = |ids: &[BrokerId]| -> Vec<_> {
            let shown = ids.iter().filter(|id| self.version > 0 || reachable(**id));
            shown.map(|id| id.0.into()).collect()
        };
        let (replicas, isr) = (visible(&state.replicas), visible(&state.isr));
        let complete = replicas.len() == state.replicas.len() && isr.len() == state.isr.len();
        let (leader, error) = match reachable(state.leader) {
            true if complete => (state.leader, None),
            true => (state.leader, Some(ResponseError::ReplicaNotAvailable)),
            false => (BrokerId::NONE, Some(self.no_leader(state.leader))),
        };
        MetadataResponsePartition::default()
            .with_error_code(error.map_or(0, |error| error.code()))
            .with_partition_index(state.partition)
            .with_leader_id(leader.0.into())
            .with_leader_epoch(state.leader_epoch.0)
            .with_replica_nodes(replicas)
            .with_isr_nodes(isr)
            .with_offline_replicas(state.offline_replicas.iter().map(|id| id.0.into()).collect())
    }

    fn no_leader(&self, leader: BrokerId) -> ResponseError {
        match self.metadata.is_alive(leader) && self.version >= 6 {
            true => ResponseError::ListenerNotFound,
            false => ResponseError::LeaderNotAvailable,
        }
    }
}

/// The log of transactions is made by its coordinator, which knows what it has to look like.
fn can_begin(name: &str) -> bool {
    topics::is_valid_name(name) && name != "__transaction_state"
}

fn not_there(name: &str) -> ResponseError {
    match topics::is_valid_name(name) {
        true => ResponseError::UnknownTopicOrPartition,
        false => ResponseError::InvalidTopicException,
    }
}

fn unknown(name: &str, error: ResponseError) -> MetadataResponseTopic {
    MetadataResponseTopic::default()
        .with_error_code(error.code())
        .with_name(Some(topic_name(name)))
        .with_is_internal(topics::is_internal(name))
}

fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

/// The answer to a request that makes no sense as a whole.
fn refused(request: &MetadataRequest, error: ResponseError) -> MetadataResponse {
    let topics = request.topics.iter().flatten().map(|topic| {
        MetadataResponseTopic::default()
            .with_error_code(error.code())
            .with_name(Some(topic.name.clone().unwrap_or_default()))
            .with_topic_id(topic.topic_id)
    });
    MetadataResponse::default().with_topics(topics.collect())
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::UpdateMetadataRequest;
    use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
    use kafka_protocol::messages::update_metadata_request::{
        UpdateMetadataBroker, UpdateMetadataEndpoint, UpdateMetadataPartitionState, UpdateMetadataTopicState,
    };

    use super::*;
    use crate::metadata::MetadataCache;

    const ID: TopicId = TopicId([7; 16]);

    fn broker(id: i32, listeners: &[&'static str]) -> UpdateMetadataBroker {
        let endpoints = listeners.iter().map(|listener| {
            UpdateMetadataEndpoint::default()
                .with_listener(StrBytes::from_static_str(listener))
                .with_host(StrBytes::from_static_str("127.0.0.1"))
                .with_port(9000 + id)
        });
        UpdateMetadataBroker::default().with_id(id.into()).with_endpoints(endpoints.collect())
    }

    /// `orders` with one partition on brokers 1 to 3; broker 1 has both listeners, 2 only OUTSIDE, 3 is down.
    fn snapshot(leader: i32) -> Arc<MetadataSnapshot> {
        let state = UpdateMetadataPartitionState::default()
            .with_leader(leader.into())
            .with_leader_epoch(4)
            .with_replicas(vec![1.into(), 2.into(), 3.into()])
            .with_isr(vec![1.into(), 2.into()])
            .with_offline_replicas(vec![3.into()]);
        let topic = UpdateMetadataTopicState::default()
            .with_topic_name(topic_name("orders"))
            .with_topic_id(Uuid::from_bytes(ID.0))
            .with_partition_states(vec![state]);
        let cache = MetadataCache::default();
        cache.update(
            &UpdateMetadataRequest::default()
                .with_live_brokers(vec![broker(1, &["INSIDE", "OUTSIDE"]), broker(2, &["OUTSIDE"])])
                .with_topic_states(vec![topic]),
        );
        cache.snapshot()
    }

    fn partition(leader: i32, listener: &str, version: i16) -> MetadataResponsePartition {
        let metadata = snapshot(leader);
        let view = View { metadata: &metadata, listener, version };
        let (mut topics, missing) = view.topics(&Wanted::Names(vec!["orders".into()]));
        assert!(missing.is_empty());
        topics.remove(0).partitions.remove(0)
    }

    #[test]
    fn a_reachable_leader_is_named_with_all_replicas() {
        let partition = partition(1, "OUTSIDE", 12);
        assert_eq!((partition.error_code, partition.leader_id.0, partition.leader_epoch), (0, 1, 4));
        assert_eq!(partition.replica_nodes.len(), 3);
        assert_eq!(partition.offline_replicas, [3]);
    }

    #[test]
    fn a_leader_without_the_clients_listener_cannot_be_named() {
        let code = |version| partition(2, "INSIDE", version).error_code;
        assert_eq!(code(6), ResponseError::ListenerNotFound.code());
        assert_eq!(code(5), ResponseError::LeaderNotAvailable.code());
        assert_eq!(partition(2, "INSIDE", 6).leader_id.0, -1);
    }

    #[test]
    fn a_dead_leader_is_no_leader() {
        assert_eq!(partition(3, "OUTSIDE", 12).error_code, ResponseError::LeaderNotAvailable.code());
        assert_eq!(partition(-1, "OUTSIDE", 12).error_code, ResponseError::LeaderNotAvailable.code());
    }

    #[test]
    fn version_0_leaves_out_replicas_that_cannot_be_reached() {
        let partition = partition(1, "OUTSIDE", 0);
        assert_eq!(partition.error_code, ResponseError::ReplicaNotAvailable.code());
        assert_eq!(partition.replica_nodes, [1, 2]);
    }

    #[test]
    fn only_brokers_with_the_clients_listener_are_listed() {
        let metadata = snapshot(1);
        let brokers = |listener| View { metadata: &metadata, listener, version: 12 }.brokers().len();
        assert_eq!((brokers("OUTSIDE"), brokers("INSIDE"), brokers("NOWHERE")), (2, 1, 0));
    }

    #[test]
    fn topics_are_found_by_id_and_unknown_ids_have_no_name() {
        let metadata = snapshot(1);
        let view = View { metadata: &metadata, listener: "OUTSIDE", version: 12 };
        let (topics, _) = view.topics(&Wanted::Ids(vec![ID, TopicId([9; 16])]));
        assert_eq!(topics[0].error_code, ResponseError::UnknownTopicId.code());
        assert_eq!(topics[0].name, None);
        assert_eq!(topics[1].name, Some(topic_name("orders")));
    }

    fn named(names: &[&'static str]) -> Vec<MetadataRequestTopic> {
        let topic = |name: &&'static str| MetadataRequestTopic::default().with_name(Some(topic_name(name)));
        names.iter().map(topic).collect()
    }

    #[test]
    fn no_list_means_all_and_an_empty_one_none_except_in_version_0() {
        let empty = MetadataRequest::default().with_topics(Some(Vec::new()));
        assert_eq!(Wanted::of(&empty, 0), Ok(Wanted::All));
        assert_eq!(Wanted::of(&empty, 1), Ok(Wanted::Names(Vec::new())));
        assert_eq!(Wanted::of(&MetadataRequest::default().with_topics(None), 12), Ok(Wanted::All));
    }

    #[test]
    fn a_topic_asked_for_twice_is_answered_once() {
        let request = MetadataRequest::default().with_topics(Some(named(&["a", "b", "a"])));
        assert_eq!(Wanted::of(&request, 12), Ok(Wanted::Names(vec!["a".into(), "b".into()])));
    }

    #[test]
    fn ids_before_version_12_and_topics_without_any_name_are_refused() {
        let by_id = MetadataRequestTopic::default().with_topic_id(Uuid::from_bytes(ID.0));
        let request = MetadataRequest::default().with_topics(Some(vec![by_id]));
        assert_eq!(Wanted::of(&request, 11), Err(ResponseError::InvalidRequest));
        assert_eq!(Wanted::of(&request, 12), Ok(Wanted::Ids(vec![ID])));
        let nameless = MetadataRequestTopic::default().with_name(None);
        let request = MetadataRequest::default().with_topics(Some(vec![nameless]));
        assert_eq!(Wanted::of(&request, 12), Err(ResponseError::UnknownServerError));
    }
}
