//! Everything a handler may reach, in one place.

use std::sync::Arc;
use std::sync::OnceLock;

use coordinator::replication::is_for_former_life;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{
    LeaderAndIsrRequest, LeaderAndIsrResponse, StopReplicaRequest, StopReplicaResponse,
    UpdateMetadataRequest, UpdateMetadataResponse,
};
use storage::types::BrokerId;
use tokio::task::spawn_blocking;

use crate::cluster::admin::Admin;
use crate::cluster::client::ZooKeeper;
use crate::cluster::controller::{ControllerHandle, ReplicaSide};
use crate::cluster::in_sync::IsrChanges;
use crate::cluster::to_controller::{ControllerChannel, ToController};
use crate::colleagues::Colleagues;
use crate::config::BrokerConfig;
use crate::fetching::FetchSessions;
use crate::live::LiveConfig;
use crate::machines::group_room::{GroupRoom, OFFSETS_TOPIC};
use crate::machines::partition_journal::PartitionJournal;
use crate::machines::transaction_room::{TRANSACTION_TOPIC, TakenSeats, TransactionRoom};
use crate::metadata::MetadataCache;
use crate::partition::{Acks, Partitions, RoleChange};
use crate::producer_ids::ProducerIds;
use crate::quota::Quotas;
use crate::replication::{Fetchers, Replicating};

/// What the broker's way to the controller makes possible.
struct Office {
    to_controller: Arc<ToController>,
    isr_changes: Arc<IsrChanges>,
}

/// The rooms of a running broker.
pub(crate) struct House {
    pub(crate) me: BrokerId,
    pub(crate) cluster_id: Arc<str>,
    /// As this broker started. What may change while it runs is in `live`.
    pub(crate) config: Arc<BrokerConfig>,
    pub(crate) live: LiveConfig,
    pub(crate) metadata: Arc<MetadataCache>,
    pub(crate) partitions: Arc<Partitions>,
    pub(crate) fetch_sessions: FetchSessions,
    pub(crate) groups: GroupRoom<PartitionJournal>,
    pub(crate) transactions: TransactionRoom<PartitionJournal>,
    pub(crate) colleagues: Colleagues,
    pub(crate) producer_ids: ProducerIds,
    pub(crate) zookeeper: Arc<ZooKeeper>,
    pub(crate) replication: Arc<Replicating>,
    pub(crate) fetchers: Fetchers,
    pub(crate) quotas: Quotas,
    /// Set before the first request is taken.
    office: OnceLock<Office>,
}

impl House {
    /// A broker that is not registered yet, and the seats of its transaction coordinator as they are taken, for
    /// [`crate::transactions::attend`].
    pub(crate) fn new(
        me: BrokerId,
        cluster_id: &str,
        live: LiveConfig,
        partitions: Arc<Partitions>,
        zookeeper: &Arc<ZooKeeper>,
    ) -> (House, TakenSeats<PartitionJournal>) {
        let config = live.current();
        let (transactions, taken) = TransactionRoom::new(&config.transactions);
        let replication = Replicating::new(&partitions, &config);
        let groups = GroupRoom::new(&config.groups, &partitions.around().metadata);
        let colleagues = Colleagues::new(me, &config, &partitions.around().metadata);
        let house = House {
            me,
            cluster_id: cluster_id.into(),
            live,
            metadata: Arc::clone(&partitions.around().metadata),
            partitions,
            quotas: Quotas::new(config.quotas),
            fetch_sessions: FetchSessions::new(config.fetch.session_slots),
            groups,
            transactions,
            colleagues,
            producer_ids: ProducerIds::default(),
            zookeeper: Arc::clone(zookeeper),
            config,
            fetchers: Fetchers::new(Arc::clone(&replication)),
            replication,
            office: OnceLock::new(),
        };
        (house, taken)
    }

    /// Whether a controller's request was meant for an earlier life of this broker (KIP-380).
    pub(crate) fn is_stale(&self, broker_epoch: i64) -> bool {
        is_for_former_life(broker_epoch, self.partitions.around().broker_epoch())
    }

    /// Whether this broker is the controller, as far as ZooKeeper told.
    pub(crate) fn is_controller(&self) -> bool {
        *self.to_controller().here().current().borrow() == Some(self.me)
    }

    /// Topics made, grown and deleted.
    pub(crate) fn admin(&self) -> Admin<'_> {
        Admin { zookeeper: &self.zookeeper, metadata: &self.metadata, topic_ids: true }
    }

    /// Opens the way to the controller; once, before the first request is taken.
    pub(crate) fn open_office(&self, controller: ControllerHandle, channel: ControllerChannel) {
        let metadata = Arc::clone(&self.metadata);
        let epoch = Arc::clone(self.partitions.around().broker_epoch_cell());
        let to_controller = Arc::new(ToController::new(self.me, controller, metadata, channel, epoch));
        let isr_changes = Arc::new(IsrChanges::start(Arc::clone(&to_controller)));
        let opened = self.office.set(Office { to_controller, isr_changes });
        assert!(opened.is_ok(), "the way to the controller is opened once");
    }

    /// The way to the controller.
    pub(crate) fn to_controller(&self) -> &Arc<ToController> {
        &self.office().to_controller
    }

    /// Where leaders ask for other in-sync sets.
    pub(crate) fn isr_changes(&self) -> &Arc<IsrChanges> {
        &self.office().isr_changes
    }

    fn office(&self) -> &Office {
        self.office.get().expect("opened before the first request is taken")
    }

    /// The broker registered (again).
    pub(crate) fn set_broker_epoch(&self, epoch: i64) {
        self.partitions.around().set_broker_epoch(epoch);
    }

    pub(crate) async fn leader_and_isr(&self, request: LeaderAndIsrRequest) -> LeaderAndIsrResponse {
        // A log is made with its topic's configs, so they have to be known before.
        let topics = self.partitions.topics_to_come(&request);
        self.live.load_topics(&self.zookeeper, self.partitions.configs(), topics).await;
        let partitions = Arc::clone(&self.partitions);
        let done = spawn_blocking(move || partitions.leader_and_isr(&request)).await;
        let (response, changes) = done.expect("roles are taken without panicking");
        self.follow_roles(&changes);
        response
    }

    pub(crate) async fn stop_replica(&self, request: StopReplicaRequest) -> StopReplicaResponse {
        let partitions = Arc::clone(&self.partitions);
        let done = spawn_blocking(move || partitions.stop_replica(&request)).await;
        let (response, changes) = done.expect("replicas are stopped without panicking");
        self.follow_roles(&changes);
        response
    }

    pub(crate) async fn update_metadata(&self, request: UpdateMetadataRequest) -> UpdateMetadataResponse {
        let (partitions, metadata) = (Arc::clone(&self.partitions), Arc::clone(&self.metadata));
        let updating =
            move || partitions.under_controller(request.controller_epoch, || metadata.update(&request));
        let done = spawn_blocking(updating).await;
        let Some(deleted) = done.expect("the metadata is updated without panicking") else {
            return UpdateMetadataResponse::default()
                .with_error_code(ResponseError::StaleControllerEpoch.code());
        };
        self.groups.follow_cluster();
        if !deleted.is_empty() {
            self.groups.forget(&deleted).await;
        }
        UpdateMetadataResponse::default()
    }

    /// The replicas in a directory that failed give up their roles. Yields how many there were.
    pub(crate) fn leave_directory(&self, index: usize) -> usize {
        let changes = self.partitions.retire_all_in(index);
        self.follow_roles(&changes);
        changes.len()
    }

    /// Replicas that follow are copied; internal topics have rooms of their own that go where the leader is.
    pub(crate) fn follow_roles(&self, changes: &[RoleChange]) {
        self.fetchers.apply(changes);
        for RoleChange(id) in changes {
            let seat = id.partition;
            // As it is by now: a later change may have been applied before this one.
            let led = self.partitions.get(id).and_then(|partition| Some((partition.led()?, partition)));
            match (&*id.topic, led) {
                (OFFSETS_TOPIC, Some((epoch, partition))) => {
                    // Deprecated in Kafka 3.8, and still obeyed.
                    let acks = Acks::from_wire(self.config.groups.offsets_commit_required_acks);
                    let journal = PartitionJournal { partition, acks: acks.unwrap_or(Acks::All) };
                    self.groups.seats().lead(seat, epoch, journal);
                }
                (OFFSETS_TOPIC, None) => self.groups.seats().resign(seat),
                (TRANSACTION_TOPIC, Some((epoch, partition))) => {
                    let journal = PartitionJournal { partition, acks: Acks::All };
                    self.transactions.seats().lead(seat, epoch, journal);
                }
                (TRANSACTION_TOPIC, None) => self.transactions.seats().resign(seat),
                _ => {}
            }
        }
    }
}

impl ReplicaSide for House {
    async fn leader_and_isr(&self, request: LeaderAndIsrRequest) -> LeaderAndIsrResponse {
        House::leader_and_isr(self, request).await
    }

    async fn update_metadata(&self, request: UpdateMetadataRequest) -> UpdateMetadataResponse {
        House::update_metadata(self, request).await
    }

    async fn stop_replica(&self, request: StopReplicaRequest) -> StopReplicaResponse {
        House::stop_replica(self, request).await
    }

    fn registered(&self, broker_epoch: i64) {
        self.set_broker_epoch(broker_epoch);
    }
}
