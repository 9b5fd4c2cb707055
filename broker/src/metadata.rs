//! What the controller told this broker about the cluster: live brokers, topics, leaders.
//!
//! Always true here: a snapshot is immutable, an update replaces it whole, and a reader that takes one `snapshot()` sees
//! one state. This room knows no wire version and no authorisation; it does not check controller epochs (the receiver of
//! the request does).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use coordinator::groups::consumer::{TopicInfo, Topics};
use coordinator::replication::is_old_news;
use kafka_protocol::messages::update_metadata_request::{
    UpdateMetadataBroker, UpdateMetadataPartitionState, UpdateMetadataRequest,
};
use storage::types::{BrokerId, LeaderEpoch, TopicId, TopicPartition};
use tokio::time::{Instant, timeout_at};
use tracing::debug;

/// The leader of a partition whose topic is being deleted, as the controller announces it.
const LEADER_DURING_DELETE: i32 = -2;
/// The first topics are told milliseconds after the start where there is a controller.
const FIRST_WORD_MAX: Duration = Duration::from_secs(2);

/// Where clients of one listener reach a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) listener: String,
    pub(crate) host: String,
    /// Range: `0..=65535` from well-behaved controllers; kept as the wire has it.
    pub(crate) port: i32,
    /// Kafka's id of the security protocol: 0 PLAINTEXT, 1 SSL, 2 SASL_PLAINTEXT, 3 SASL_SSL.
    pub(crate) security_protocol: i16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AliveBroker {
    pub(crate) id: BrokerId,
    pub(crate) rack: Option<String>,
    pub(crate) endpoints: Vec<Endpoint>,
}

impl AliveBroker {
    /// `None` where the broker has no listener of that name.
    pub(crate) fn endpoint(&self, listener: &str) -> Option<&Endpoint> {
        // The last one wins, as in Kafka's map of listeners.
        self.endpoints.iter().rev().find(|endpoint| endpoint.listener == listener)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PartitionMetadata {
    pub(crate) partition: i32,
    pub(crate) controller_epoch: i32,
    /// `BrokerId::NONE` while there is none.
    pub(crate) leader: BrokerId,
    pub(crate) leader_epoch: LeaderEpoch,
    /// Version of the partition's state znode.
    pub(crate) partition_epoch: i32,
    pub(crate) isr: Vec<BrokerId>,
    pub(crate) replicas: Vec<BrokerId>,
    pub(crate) offline_replicas: Vec<BrokerId>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TopicMetadata {
    pub(crate) name: Arc<str>,
    /// `TopicId::ZERO` for a topic of a cluster that has no topic ids (inter-broker protocol below 2.8).
    pub(crate) id: TopicId,
    /// By partition index. Never empty in a snapshot.
    pub(crate) partitions: BTreeMap<i32, Arc<PartitionMetadata>>,
}

/// The cluster at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct MetadataSnapshot {
    brokers: BTreeMap<BrokerId, Arc<AliveBroker>>,
    topics: BTreeMap<Arc<str>, Arc<TopicMetadata>>,
    names: HashMap<TopicId, Arc<str>>,
    controller: Option<BrokerId>,
    /// Goes up with every update.
    version: u64,
}

impl MetadataSnapshot {
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// `None` until a controller has spoken.
    pub(crate) fn controller(&self) -> Option<BrokerId> {
        self.controller
    }

    /// In the order of their ids.
    pub(crate) fn brokers(&self) -> impl ExactSizeIterator<Item = &Arc<AliveBroker>> {
        self.brokers.values()
    }

    pub(crate) fn broker(&self, id: BrokerId) -> Option<&Arc<AliveBroker>> {
        self.brokers.get(&id)
    }

    pub(crate) fn is_alive(&self, id: BrokerId) -> bool {
        self.brokers.contains_key(&id)
    }

    /// The brokers that clients of `listener` can reach.
    pub(crate) fn nodes<'a>(
        &'a self,
        listener: &'a str,
    ) -> impl Iterator<Item = (&'a Arc<AliveBroker>, &'a Endpoint)> {
        self.brokers.values().filter_map(move |broker| Some((broker, broker.endpoint(listener)?)))
    }

    /// `None` where the broker is not alive or has no such listener.
    pub(crate) fn node(&self, id: BrokerId, listener: &str) -> Option<&Endpoint> {
        self.brokers.get(&id)?.endpoint(listener)
    }

    /// In the order of their names.
    pub(crate) fn topics(&self) -> impl ExactSizeIterator<Item = &Arc<TopicMetadata>> {
        self.topics.values()
    }

    pub(crate) fn topic(&self, name: &str) -> Option<&Arc<TopicMetadata>> {
        self.topics.get(name)
    }

    pub(crate) fn topic_by_id(&self, id: TopicId) -> Option<&Arc<TopicMetadata>> {
        self.topics.get(self.names.get(&id)?)
    }

    /// `TopicId::ZERO` where the topic is unknown or has no id.
    pub(crate) fn topic_id(&self, name: &str) -> TopicId {
        self.topics.get(name).map_or(TopicId::ZERO, |topic| topic.id)
    }

    pub(crate) fn topic_name(&self, id: TopicId) -> Option<&Arc<str>> {
        self.names.get(&id)
    }

    pub(crate) fn partition(&self, topic: &str, partition: i32) -> Option<&Arc<PartitionMetadata>> {
        self.topics.get(topic)?.partitions.get(&partition)
    }

    /// A topic with another id, or none, may have begun anew.
    fn is_old_news(&self, name: &str, id: Option<TopicId>, state: &UpdateMetadataPartitionState) -> bool {
        let Some(known) = self.partition(name, state.partition_index) else { return false };
        let told = (LeaderEpoch(state.leader_epoch), state.zk_version);
        id.is_some_and(|id| !id.is_zero() && self.topic_id(name) == id)
            && is_old_news((known.leader_epoch, known.partition_epoch), told)
    }

    fn set_brokers(&mut self, brokers: &[UpdateMetadataBroker]) {
        self.brokers =
            brokers.iter().map(|broker| (BrokerId(broker.id.0), Arc::new(alive_broker(broker)))).collect();
    }

    /// A topic announced with the zero id loses the id it had; one announced with an id gets it.
    fn set_topic_id(&mut self, name: &str, id: TopicId) {
        let Some(topic) = self.topics.get_mut(name) else { return };
        if topic.id == id {
            return;
        }
        if !topic.id.is_zero() {
            self.names.remove(&topic.id);
        }
        Arc::make_mut(topic).id = id;
        if !id.is_zero() {
            self.names.insert(id, Arc::clone(&topic.name));
        }
    }

    fn set_partition(&mut self, name: &str, id: TopicId, state: PartitionMetadata) {
        let topic = self.topics.entry(Arc::from(name)).or_insert_with_key(|name| {
            Arc::new(TopicMetadata { name: Arc::clone(name), id: TopicId::ZERO, partitions: BTreeMap::new() })
        });
        Arc::make_mut(topic).partitions.insert(state.partition, Arc::new(state));
        self.set_topic_id(name, id);
    }

    /// The topic goes with its last partition.
    fn remove_partition(&mut self, name: &str, partition: i32) {
        let Some(topic) = self.topics.get_mut(name) else { return };
        let topic = Arc::make_mut(topic);
        topic.partitions.remove(&partition);
        if topic.partitions.is_empty() {
            let id = topic.id;
            self.names.remove(&id);
            self.topics.remove(name);
        }
    }
}

/// What consumer groups want to know of the cluster.
impl Topics for MetadataSnapshot {
    fn topic(&self, name: &str) -> Option<TopicInfo> {
        let topic = self.topic(name).filter(|topic| !topic.id.is_zero())?;
        let rack = |id: &BrokerId| self.broker(*id)?.rack.as_deref().map(Arc::from);
        let racks = topic.partitions.values().map(|partition| {
            let racks: BTreeSet<Arc<str>> = partition.replicas.iter().filter_map(rack).collect();
            (partition.partition, racks)
        });
        Some(TopicInfo {
            id: topic.id,
            partitions: i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX),
            racks: racks.filter(|(_, racks)| !racks.is_empty()).collect(),
        })
    }

    fn id(&self, name: &str) -> Option<TopicId> {
        Some(self.topic_id(name)).filter(|id| !id.is_zero())
    }

    fn name(&self, id: TopicId) -> Option<Arc<str>> {
        self.topic_name(id).cloned()
    }
}

/// Answers "who leads what, and where do I find them" for every handler.
pub(crate) struct MetadataCache {
    /// Held for a pointer copy only, so that readers never wait for an update being built.
    current: RwLock<Arc<MetadataSnapshot>>,
    /// One update at a time: each is built upon the one before.
    updating: Mutex<()>,
    changed: tokio::sync::watch::Sender<()>,
    /// When somebody first asked for topics and none were known.
    first_asked: OnceLock<Instant>,
}

impl Default for MetadataCache {
    fn default() -> Self {
        MetadataCache {
            current: RwLock::default(),
            updating: Mutex::default(),
            changed: tokio::sync::watch::Sender::new(()),
            first_asked: OnceLock::new(),
        }
    }
}

impl MetadataCache {
    /// One consistent state. Take it once per request.
    pub(crate) fn snapshot(&self) -> Arc<MetadataSnapshot> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until topics are known where there are logs of some, `FIRST_WORD_MAX` after the first time at most. A broker
    /// that was restarted serves before the controller has told it of any, and clients that hear of none give up.
    pub(crate) async fn first_topics(&self, has_logs: impl FnOnce() -> bool) {
        let knows = || self.snapshot().topics().len() > 0;
        if knows() || !has_logs() {
            return;
        }
        let deadline = *self.first_asked.get_or_init(Instant::now) + FIRST_WORD_MAX;
        let mut changes = self.changes();
        let heard = async { while !knows() && changes.changed().await.is_ok() {} };
        let _without_a_controller = timeout_at(deadline, heard).await;
    }

    /// Wakes after each update, for those that wait until a topic appears or has a leader.
    pub(crate) fn changes(&self) -> tokio::sync::watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Takes over what the controller says and returns the partitions it says are being deleted.
    ///
    /// Live brokers and the controller are replaced whole; partitions that are not named stay as they are, and so do
    /// those of which a later state is known: a copy of the request that was given up may come last.
    pub(crate) fn update(&self, request: &UpdateMetadataRequest) -> Vec<TopicPartition> {
        let _one_at_a_time = self.updating.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = MetadataSnapshot::clone(&self.snapshot());
        next.version += 1;
        next.controller = (request.controller_id.0 >= 0).then_some(BrokerId(request.controller_id.0));
        next.set_brokers(&request.live_brokers);
        let mut deleted = Vec::new();
        for (name, id, state) in partition_states(request) {
            if state.leader.0 == LEADER_DURING_DELETE {
                next.remove_partition(name, state.partition_index);
                deleted.push(TopicPartition::new(name, state.partition_index));
            } else {
                // Versions below 5 carry no topic ids: what is known stays.
                if next.is_old_news(name, id, state) {
                    debug!(topic = name, partition = state.partition_index, "a later state is known");
                    continue;
                }
                let id = id.unwrap_or_else(|| next.topic_id(name));
                next.set_partition(name, id, partition_metadata(state));
            }
        }
        for topic in request.topic_states.iter().filter(|topic| topic.partition_states.is_empty()) {
            next.set_topic_id(&topic.topic_name.0, TopicId(topic.topic_id.into_bytes()));
        }
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
        self.changed.send_replace(());
        deleted
    }
}

/// All partition states of a request: grouped by topic (versions 5 and above) or not.
fn partition_states(
    request: &UpdateMetadataRequest,
) -> impl Iterator<Item = (&str, Option<TopicId>, &UpdateMetadataPartitionState)> {
    let grouped = request.topic_states.iter().flat_map(|topic| {
        let id = TopicId(topic.topic_id.into_bytes());
        topic.partition_states.iter().map(move |state| (topic.topic_name.0.as_str(), Some(id), state))
    });
    let ungrouped =
        request.ungrouped_partition_states.iter().map(|state| (state.topic_name.0.as_str(), None, state));
    grouped.chain(ungrouped)
}

fn alive_broker(broker: &UpdateMetadataBroker) -> AliveBroker {
    let mut endpoints: Vec<Endpoint> = broker
        .endpoints
        .iter()
        .map(|endpoint| Endpoint {
            // Versions 1 and 2 name no listener: it is called like its protocol.
            listener: match endpoint.listener.as_str() {
                "" => protocol_name(endpoint.security_protocol).to_owned(),
                named => named.to_owned(),
            },
            host: endpoint.host.to_string(),
            port: endpoint.port,
            security_protocol: endpoint.security_protocol,
        })
        .collect();
    if endpoints.is_empty() && !broker.v0_host.is_empty() {
        endpoints.push(Endpoint {
            listener: protocol_name(0).to_owned(),
            host: broker.v0_host.to_string(),
            port: broker.v0_port,
            security_protocol: 0,
        });
    }
    AliveBroker { id: BrokerId(broker.id.0), rack: broker.rack.as_ref().map(ToString::to_string), endpoints }
}

fn protocol_name(id: i16) -> &'static str {
    match id {
        1 => "SSL",
        2 => "SASL_PLAINTEXT",
        3 => "SASL_SSL",
        _ => "PLAINTEXT",
    }
}

fn partition_metadata(state: &UpdateMetadataPartitionState) -> PartitionMetadata {
    let ids = |ids: &[kafka_protocol::messages::BrokerId]| ids.iter().map(|id| BrokerId(id.0)).collect();
    PartitionMetadata {
        partition: state.partition_index,
        controller_epoch: state.controller_epoch,
        leader: BrokerId(state.leader.0),
        leader_epoch: LeaderEpoch(state.leader_epoch),
        partition_epoch: state.zk_version,
        isr: ids(&state.isr),
        replicas: ids(&state.replicas),
        offline_replicas: ids(&state.offline_replicas),
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::update_metadata_request::{
        UpdateMetadataEndpoint, UpdateMetadataTopicState,
    };
    use kafka_protocol::protocol::StrBytes;

    use super::*;

    const ID: TopicId = TopicId([7; 16]);

    fn text(text: &str) -> StrBytes {
        StrBytes::from_string(text.to_owned())
    }

    fn broker(id: i32, listeners: &[(&str, i32)]) -> UpdateMetadataBroker {
        UpdateMetadataBroker::default().with_id(id.into()).with_rack(Some(text("r1"))).with_endpoints(
            listeners
                .iter()
                .map(|(listener, port)| {
                    UpdateMetadataEndpoint::default()
                        .with_listener(text(listener))
                        .with_host(text("127.0.0.1"))
                        .with_port(*port)
                })
                .collect(),
        )
    }

    fn partition(index: i32, leader: i32) -> UpdateMetadataPartitionState {
        UpdateMetadataPartitionState::default()
            .with_partition_index(index)
            .with_leader(leader.into())
            .with_leader_epoch(3)
            .with_isr(vec![1.into()])
            .with_replicas(vec![1.into(), 2.into()])
            .with_offline_replicas(vec![2.into()])
    }

    fn topic(
        name: &str,
        id: TopicId,
        partitions: Vec<UpdateMetadataPartitionState>,
    ) -> UpdateMetadataTopicState {
        UpdateMetadataTopicState::default()
            .with_topic_name(text(name).into())
            .with_topic_id(uuid::Uuid::from_bytes(id.0))
            .with_partition_states(partitions)
    }

    fn request(topics: Vec<UpdateMetadataTopicState>) -> UpdateMetadataRequest {
        UpdateMetadataRequest::default()
            .with_controller_id(1.into())
            .with_live_brokers(vec![broker(1, &[("PLAINTEXT", 9092), ("INSIDE", 9093)])])
            .with_topic_states(topics)
    }

    #[test]
    fn what_the_controller_says_can_be_looked_up_by_name_and_by_id() {
        let cache = MetadataCache::default();
        assert_eq!(cache.snapshot().controller(), None);

        let deleted =
            cache.update(&request(vec![topic("orders", ID, vec![partition(0, 1), partition(1, -1)])]));

        let snapshot = cache.snapshot();
        assert_eq!(deleted, []);
        assert_eq!(snapshot.controller(), Some(BrokerId(1)));
        assert_eq!(snapshot.topic_by_id(ID).map(|topic| &*topic.name), Some("orders"));
        let state = snapshot.partition("orders", 0).expect("partition 0");
        assert_eq!((state.leader, state.leader_epoch), (BrokerId(1), LeaderEpoch(3)));
        assert_eq!(state.offline_replicas, [BrokerId(2)]);
        assert_eq!(snapshot.partition("orders", 1).expect("partition 1").leader, BrokerId::NONE);
        assert_eq!(snapshot.node(BrokerId(1), "INSIDE").map(|endpoint| endpoint.port), Some(9093));
        assert_eq!(snapshot.node(BrokerId(1), "OUTSIDE"), None);
        assert_eq!(snapshot.node(BrokerId(2), "INSIDE"), None);
    }

    #[test]
    fn an_update_leaves_the_partitions_it_does_not_name() {
        let cache = MetadataCache::default();
        cache.update(&request(vec![topic("orders", ID, vec![partition(0, 1), partition(1, 1)])]));

        cache.update(&request(vec![topic("orders", ID, vec![partition(1, 2)])]));

        let snapshot = cache.snapshot();
        assert_eq!(snapshot.partition("orders", 0).expect("still there").leader, BrokerId(1));
        assert_eq!(snapshot.partition("orders", 1).expect("updated").leader, BrokerId(2));
    }

    #[test]
    fn the_copy_of_an_update_that_comes_late_takes_no_partition_back() {
        let cache = MetadataCache::default();
        let written = |version: i32, epoch: i32, leader: i32| {
            let state = partition(0, leader).with_leader_epoch(epoch).with_zk_version(version);
            request(vec![topic("orders", ID, vec![state])])
        };
        cache.update(&written(4, 3, 1));
        cache.update(&written(5, 4, 2));
        let leader = || cache.snapshot().partition("orders", 0).expect("known").leader;

        cache.update(&written(4, 3, 1));
        assert_eq!(leader(), BrokerId(2));

        let mut again = written(0, 0, 1);
        again.topic_states[0].topic_id = uuid::Uuid::from_bytes([8; 16]);
        cache.update(&again);
        assert_eq!(leader(), BrokerId(1), "a topic of the same name that was created since");
    }

    #[test]
    fn a_topic_goes_with_its_last_deleted_partition() {
        let cache = MetadataCache::default();
        cache.update(&request(vec![topic("orders", ID, vec![partition(0, 1), partition(1, 1)])]));

        let first = cache.update(&request(vec![topic("orders", ID, vec![partition(0, -2)])]));
        assert_eq!(first, [TopicPartition::new("orders", 0)]);
        assert!(cache.snapshot().topic("orders").is_some());

        cache.update(&request(vec![topic("orders", ID, vec![partition(1, -2)])]));
        assert!(cache.snapshot().topic("orders").is_none());
        assert_eq!(cache.snapshot().topic_name(ID), None);
    }

    #[test]
    fn a_recreated_topic_answers_to_its_new_id_only() {
        let cache = MetadataCache::default();
        cache.update(&request(vec![topic("orders", ID, vec![partition(0, 1)])]));
        let new = TopicId([8; 16]);

        cache.update(&request(vec![topic("orders", new, vec![partition(0, 1)])]));

        assert_eq!(cache.snapshot().topic_name(ID), None);
        assert_eq!(cache.snapshot().topic_id("orders"), new);
    }

    #[test]
    fn requests_of_old_controllers_keep_the_ids_and_name_listeners_after_their_protocol() {
        let cache = MetadataCache::default();
        cache.update(&request(vec![topic("orders", ID, vec![partition(0, 1)])]));

        cache.update(
            &UpdateMetadataRequest::default()
                .with_controller_id(1.into())
                .with_live_brokers(vec![broker(1, &[("", 9092)])])
                .with_ungrouped_partition_states(vec![
                    partition(0, 2).with_topic_name(text("orders").into()),
                ]),
        );

        let snapshot = cache.snapshot();
        assert_eq!(snapshot.topic_id("orders"), ID);
        assert_eq!(snapshot.partition("orders", 0).expect("partition 0").leader, BrokerId(2));
        assert_eq!(snapshot.node(BrokerId(1), "PLAINTEXT").map(|endpoint| endpoint.port), Some(9092));
    }

    #[tokio::test(start_paused = true)]
    async fn where_there_are_logs_the_first_topics_are_waited_for_though_once_and_not_for_ever() {
        let cache = MetadataCache::default();
        let began = Instant::now();
        cache.first_topics(|| false).await;
        assert_eq!(
            began.elapsed(),
            Duration::ZERO,
            "a broker without logs knows that there is nothing to wait for"
        );

        let told = async {
            cache.update(&request(vec![]));
            tokio::task::yield_now().await;
            cache.update(&request(vec![topic("orders", ID, vec![partition(0, 1)])]));
        };
        let asked = async {
            cache.first_topics(|| true).await;
            cache.snapshot().topic("orders").is_some()
        };
        assert!(tokio::join!(asked, told).0);
        assert_eq!(began.elapsed(), Duration::ZERO);

        let cache = MetadataCache::default();
        for _ in 0..2 {
            cache.first_topics(|| true).await;
            assert_eq!(began.elapsed(), FIRST_WORD_MAX);
        }
    }

    #[test]
    fn those_who_wait_wake_after_an_update() {
        let cache = MetadataCache::default();
        let changes = cache.changes();
        cache.update(&request(vec![]));
        assert_eq!(changes.has_changed().ok(), Some(true));
    }
}
