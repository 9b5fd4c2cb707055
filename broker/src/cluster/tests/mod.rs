//! The cluster room against a real ZooKeeper 3.8, one chroot a test.

mod admin;
mod ensemble;
mod in_flight;
mod membership;
mod topics;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use coordinator::cluster::{Endpoint, SecurityProtocol, Settings};
use kafka_protocol::messages::leader_and_isr_response::{LeaderAndIsrPartitionError, LeaderAndIsrTopicError};
use kafka_protocol::messages::stop_replica_response::StopReplicaPartitionError;
use kafka_protocol::messages::{
    LeaderAndIsrRequest, LeaderAndIsrResponse, StopReplicaRequest, StopReplicaResponse,
    UpdateMetadataRequest, UpdateMetadataResponse,
};
use storage::types::{BrokerId, TimestampMs};
use tokio::sync::watch;
use tokio::time::timeout;

use super::client::{Lifetime, ZooKeeper};
use super::controller::{ControllerHandle, ControllerSettings, LinkSettings, ReplicaSide, stand};
use super::registration::{OnlyTimeEndsSessions, make_persistent_paths, register};
use super::znodes::{BrokerInfo, paths};
use crate::cluster::presence::Presence;
use crate::config::setup_timeout::SetupTimeout;
use crate::config::version::KafkaVersion;
use crate::metadata::MetadataCache;
use crate::peers::PeerSettings;
use crate::peers::versions::Dialect;

const PATIENCE: Duration = Duration::from_secs(60);

/// Replicas that obey: they keep what they were told, and answer as a healthy broker does.
#[derive(Default)]
struct Obedient {
    metadata: MetadataCache,
    replicas: watch::Sender<BTreeSet<String>>,
    epoch: AtomicI64,
}

impl ReplicaSide for Obedient {
    async fn leader_and_isr(&self, request: LeaderAndIsrRequest) -> LeaderAndIsrResponse {
        let mut answer = LeaderAndIsrResponse::default();
        for topic in &request.topic_states {
            let mut errors = Vec::new();
            for state in &topic.partition_states {
                let name = format!("{}-{}", topic.topic_name.0, state.partition_index);
                self.replicas.send_modify(|replicas| {
                    replicas.insert(name);
                });
                errors
                    .push(LeaderAndIsrPartitionError::default().with_partition_index(state.partition_index));
            }
            let answered =
                LeaderAndIsrTopicError::default().with_topic_id(topic.topic_id).with_partition_errors(errors);
            answer.topics.push(answered);
        }
        answer
    }

    async fn update_metadata(&self, request: UpdateMetadataRequest) -> UpdateMetadataResponse {
        self.metadata.update(&request);
        UpdateMetadataResponse::default()
    }

    async fn stop_replica(&self, request: StopReplicaRequest) -> StopReplicaResponse {
        let mut answer = StopReplicaResponse::default();
        for topic in &request.topic_states {
            for state in &topic.partition_states {
                if state.delete_partition {
                    let name = format!("{}-{}", topic.topic_name.0, state.partition_index);
                    self.replicas.send_modify(|replicas| {
                        replicas.remove(&name);
                    });
                }
                let error = StopReplicaPartitionError::default()
                    .with_topic_name(topic.topic_name.clone())
                    .with_partition_index(state.partition_index);
                answer.partition_errors.push(error);
            }
        }
        answer
    }

    fn registered(&self, broker_epoch: i64) {
        self.epoch.store(broker_epoch, Ordering::Release);
    }
}

/// One broker as far as this room goes.
struct Member {
    zookeeper: Arc<ZooKeeper>,
    replicas: Arc<Obedient>,
    controller: ControllerHandle,
}

impl Member {
    async fn join(chroot: &str, id: i32) -> Member {
        let zookeeper = ensemble::connect(chroot, Duration::from_secs(6)).await;
        make_persistent_paths(&zookeeper).await.expect("paths");
        let broker = info(id);
        let epoch = register(&zookeeper, &broker, &OnlyTimeEndsSessions, PATIENCE, TimestampMs(1)).await;
        let replicas = Arc::new(Obedient::default());
        replicas.registered(epoch.expect("registered"));
        let settings = ControllerSettings {
            plan: Settings {
                topic_ids: true,
                leader_recovery: true,
                delete_topics: true,
                unclean_election: false,
                imbalance_percent: 10,
            },
            listener: Arc::from("PLAINTEXT"),
            feature: (2, true),
            balance_interval: None,
            in_flight_max: 10,
            links: links(id),
        };
        let presence = Arc::new(Presence::new(broker));
        let (controller, _) = stand(Arc::clone(&zookeeper), settings, presence, Arc::clone(&replicas));
        Member { zookeeper, replicas, controller }
    }

    /// Waits until the metadata cache agrees.
    async fn knows(&self, what: impl Fn(&crate::metadata::MetadataSnapshot) -> bool) {
        let mut changes = self.replicas.metadata.changes();
        let known = async {
            while !what(&self.replicas.metadata.snapshot()) {
                changes.changed().await.expect("the cache lives");
            }
        };
        timeout(PATIENCE, known).await.expect("the controller tells it in time");
    }

    async fn has_replicas(&self, expected: &[&str]) {
        let expected: BTreeSet<String> = expected.iter().map(|name| (*name).to_owned()).collect();
        let mut replicas = self.replicas.replicas.subscribe();
        let reached = timeout(PATIENCE, replicas.wait_for(|replicas| *replicas == expected)).await;
        assert!(reached.is_ok(), "expected {expected:?}, has {:?}", self.replicas.replicas.borrow());
    }

    async fn data(&self, path: &str) -> Option<String> {
        let found = self.zookeeper.get(path).await.expect("ZooKeeper answers");
        found.map(|(data, _)| String::from_utf8(data).expect("text"))
    }

    async fn create(&self, path: &str, data: &str) {
        self.zookeeper.create(path, data.as_bytes(), Lifetime::Persistent).await.expect("created");
    }

    /// Waits until there is no such node.
    async fn is_gone(&self, path: &str) {
        self.becomes(path, None).await;
    }

    /// Waits until the node holds this.
    async fn holds(&self, path: &str, data: &str) {
        self.becomes(path, Some(data)).await;
    }

    async fn becomes(&self, path: &str, data: Option<&str>) {
        let reached = async {
            loop {
                let (found, watcher) = self.zookeeper.get_and_watch(path).await.expect("ZooKeeper answers");
                if found.as_ref().map(|(found, _)| found.as_slice()) == data.map(str::as_bytes) {
                    return;
                }
                watcher.changed().await;
            }
        };
        timeout(PATIENCE, reached).await.unwrap_or_else(|_| panic!("{path} does not become {data:?}"));
    }

    /// What the 2.8 tool writes.
    async fn create_topic(&self, name: &str, partitions: &str) {
        self.create(&paths::topic_config(name), r#"{"version":1,"config":{}}"#).await;
        let data = format!(
            r#"{{"partitions":{partitions},"adding_replicas":{{}},"removing_replicas":{{}},"version":3}}"#
        );
        self.create(&paths::topic(name), &data).await;
    }
}

fn links(id: i32) -> LinkSettings {
    let peer = PeerSettings {
        client_id: id.to_string().into(),
        response_max: 1 << 20,
        setup_timeout: SetupTimeout::constant(PATIENCE),
        reconnect_backoff: Duration::from_millis(10),
        receive_buffer: None,
    };
    LinkSettings { peer, speaks: Dialect::of(KafkaVersion::V3_9), request_timeout: PATIENCE }
}

fn info(id: i32) -> BrokerInfo {
    BrokerInfo {
        id: BrokerId(id),
        rack: None,
        endpoints: vec![Endpoint {
            listener: "PLAINTEXT".to_owned(),
            host: "127.0.0.1".to_owned(),
            port: 9092 + id,
            protocol: SecurityProtocol::Plaintext,
        }],
        jmx_port: -1,
    }
}
