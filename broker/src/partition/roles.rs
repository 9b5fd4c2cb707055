//! What the controller asks of this broker's replicas: LeaderAndIsr and StopReplica.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, MutexGuard, PoisonError};

use coordinator::replication::{Obedience, StaleRole, Standing, check_role, may_stop};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::leader_and_isr_request::LeaderAndIsrPartitionState;
use kafka_protocol::messages::leader_and_isr_response::{LeaderAndIsrPartitionError, LeaderAndIsrTopicError};
use kafka_protocol::messages::stop_replica_response::StopReplicaPartitionError;
use kafka_protocol::messages::{
    LeaderAndIsrRequest, LeaderAndIsrResponse, StopReplicaRequest, StopReplicaResponse,
};
use storage::directory;
use storage::error::StorageError;
use storage::types::{BrokerId, LeaderEpoch, TimestampMs, TopicId, TopicPartition};
use tracing::{info, warn};
use uuid::Uuid;

use crate::clock;
use crate::errors::WireError;
use crate::partition::Partition;
use crate::partition::registry::{Condemned, Hosted, Partitions};

/// Why a replica stays in the role it has.
#[derive(Debug, thiserror::Error)]
enum NotTaken {
    #[error(transparent)]
    Stale(#[from] StaleRole),
    #[error("this broker is not among the replicas")]
    NotAReplica,
    #[error("its log directory is out of service")]
    Offline,
    #[error("it may lie in a log directory that is out of service")]
    MaybeOffline,
    #[error("what lies here belongs to the topic with the id {}", Uuid::from_bytes(known.0))]
    OtherTopic { known: TopicId },
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl WireError for NotTaken {
    fn wire(&self) -> ResponseError {
        match self {
            // Not the controller's epoch is stale, but Kafka has this code for it.
            NotTaken::Stale(_) => ResponseError::StaleControllerEpoch,
            NotTaken::NotAReplica => ResponseError::UnknownTopicOrPartition,
            NotTaken::Offline | NotTaken::MaybeOffline => ResponseError::KafkaStorageError,
            NotTaken::OtherTopic { .. } => ResponseError::InconsistentTopicId,
            NotTaken::Storage(error) => error.wire(),
        }
    }
}

/// A replica whose role changed, for the rooms that follow the leaders of internal topics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RoleChange(pub(crate) TopicPartition);

impl Partitions {
    /// Takes over the roles that the controller gave to this broker's replicas.
    pub(crate) fn leader_and_isr(
        &self,
        request: &LeaderAndIsrRequest,
    ) -> (LeaderAndIsrResponse, Vec<RoleChange>) {
        let taken = self.under_controller(request.controller_epoch, || self.take_roles(request));
        taken.unwrap_or_else(|| (refuse_all(request, ResponseError::StaleControllerEpoch), Vec::new()))
    }

    fn take_roles(&self, request: &LeaderAndIsrRequest) -> (LeaderAndIsrResponse, Vec<RoleChange>) {
        let mut changes = Vec::new();
        let mut grouped: Vec<LeaderAndIsrTopicError> = Vec::new();
        for topic in &request.topic_states {
            let id = TopicId(topic.topic_id.into_bytes());
            let errors = topic.partition_states.iter().map(|state| {
                let name: &str = &topic.topic_name;
                self.assume(TopicPartition::new(name, state.partition_index), id, state, &mut changes)
            });
            let errors = errors.collect();
            grouped.push(
                LeaderAndIsrTopicError::default().with_topic_id(topic.topic_id).with_partition_errors(errors),
            );
        }
        let ungrouped = request.ungrouped_partition_states.iter().map(|state| {
            let id = TopicPartition::new(&*state.topic_name.0, state.partition_index);
            self.assume(id, TopicId::ZERO, state, &mut changes).with_topic_name(state.topic_name.clone())
        });
        let ungrouped = ungrouped.collect();
        (LeaderAndIsrResponse::default().with_topics(grouped).with_partition_errors(ungrouped), changes)
    }

    /// Does `work` for a controller, unless a later one has spoken: then `None`. No other controller's word is heard
    /// while it lasts.
    pub(crate) fn under_controller<T>(&self, epoch: i32, work: impl FnOnce() -> T) -> Option<T> {
        let mut obedience = self.obey();
        if let Err(stale) = obedience.hear(epoch) {
            warn!(epoch, newest = stale.newest, "ignoring a controller that was replaced");
            return None;
        }
        Some(work())
    }

    /// Whom this broker obeys. Roles stay as they are while this is held.
    pub(super) fn obey(&self) -> MutexGuard<'_, Obedience> {
        self.obedience.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Topics in `request` that get a first log here, or a further one.
    pub(crate) fn topics_to_come(&self, request: &LeaderAndIsrRequest) -> BTreeSet<String> {
        let is_new = |topic: &str, state: &LeaderAndIsrPartitionState| {
            state.replicas.contains(&self.around.me.0.into())
                && self.hosted(&TopicPartition::new(topic, state.partition_index)).is_none()
        };
        let grouped = request
            .topic_states
            .iter()
            .filter(|topic| topic.partition_states.iter().any(|state| is_new(&topic.topic_name, state)));
        let ungrouped =
            request.ungrouped_partition_states.iter().filter(|state| is_new(&state.topic_name, state));
        let grouped = grouped.map(|topic| topic.topic_name.to_string());
        grouped.chain(ungrouped.map(|state| state.topic_name.to_string())).collect()
    }

    fn assume(
        &self,
        id: TopicPartition,
        topic_id: TopicId,
        state: &LeaderAndIsrPartitionState,
        changes: &mut Vec<RoleChange>,
    ) -> LeaderAndIsrPartitionError {
        let answer = LeaderAndIsrPartitionError::default().with_partition_index(state.partition_index);
        match self.try_assume(&id, topic_id, state) {
            Ok(()) => {
                changes.push(RoleChange(id));
                answer
            }
            Err(why) => {
                let epoch = state.leader_epoch;
                match &why {
                    NotTaken::Stale(StaleRole::Known) => {
                        info!(partition = %id, epoch, "role not taken: {why}")
                    }
                    _ => warn!(partition = %id, epoch, "role not taken: {why}"),
                }
                answer.with_error_code(why.wire().code())
            }
        }
    }

    fn try_assume(
        &self,
        id: &TopicPartition,
        topic_id: TopicId,
        state: &LeaderAndIsrPartitionState,
    ) -> Result<(), NotTaken> {
        let hosted = self.hosted(id);
        if let Some(hosted) = &hosted {
            self.check(hosted, topic_id, state)?;
        }
        let standing = standing(state);
        if !standing.replicas.contains(&self.around.me) {
            return Err(NotTaken::NotAReplica);
        }
        let hosted = match hosted {
            Some(hosted) => hosted,
            None => {
                let topic_id = (!topic_id.is_zero()).then_some(topic_id);
                // It may lie in a directory that is out of service; an empty one would take its place.
                if !state.is_new && self.directories.is_any_missing() {
                    return Err(NotTaken::MaybeOffline);
                }
                self.create(id, topic_id)?
            }
        };
        if state.leader.0 == self.around.me.0 {
            hosted.partition.lead(standing).inspect_err(|error| self.report(hosted.directory, error))?;
            return Ok(());
        }
        hosted.partition.follow(BrokerId(state.leader.0), standing);
        Ok(())
    }

    /// Whether this is news, about the same topic, for a directory in service.
    fn check(
        &self,
        hosted: &Hosted,
        topic_id: TopicId,
        state: &LeaderAndIsrPartitionState,
    ) -> Result<(), NotTaken> {
        if self.directories[hosted.directory].is_offline() {
            return Err(NotTaken::Offline);
        }
        let known = hosted.partition.topic_id();
        if !known.is_zero() && !topic_id.is_zero() && known != topic_id {
            return Err(NotTaken::OtherTopic { known });
        }
        let stale = check_role(hosted.partition.leader_epoch(), LeaderEpoch(state.leader_epoch));
        if known.is_zero() && !topic_id.is_zero() {
            let partition = &hosted.partition;
            partition.assign_topic_id(topic_id).inspect_err(|error| self.report(hosted.directory, error))?;
            if stale == Err(StaleRole::Known) {
                return Ok(());
            }
        }
        Ok(stale?)
    }

    /// A directory failed, and its replicas lead nothing any more.
    pub(crate) fn retire_all_in(&self, directory: usize) -> Vec<RoleChange> {
        let _roles = self.obey();
        let retire = |partition: Arc<Partition>| {
            partition.retire();
            RoleChange(partition.id().clone())
        };
        self.in_directory(directory).into_iter().map(retire).collect()
    }

    /// Stops replicas, and deletes those whose deletion is asked for.
    pub(crate) fn stop_replica(
        &self,
        request: &StopReplicaRequest,
    ) -> (StopReplicaResponse, Vec<RoleChange>) {
        let stopped = self.under_controller(request.controller_epoch, || self.stop_all(request));
        stopped.unwrap_or_else(|| {
            let stale = ResponseError::StaleControllerEpoch.code();
            (StopReplicaResponse::default().with_error_code(stale), Vec::new())
        })
    }

    fn stop_all(&self, request: &StopReplicaRequest) -> (StopReplicaResponse, Vec<RoleChange>) {
        let mut changes = Vec::new();
        let errors = stops(request).into_iter().map(|(id, epoch, delete)| {
            let answer = StopReplicaPartitionError::default()
                .with_topic_name(kafka_protocol::messages::TopicName(id.topic.to_string().into()))
                .with_partition_index(id.partition);
            match self.stop(&id, epoch, delete) {
                Ok(()) => {
                    changes.push(RoleChange(id));
                    answer
                }
                Err(error) => answer.with_error_code(error.code()),
            }
        });
        let errors = errors.collect();
        (StopReplicaResponse::default().with_partition_errors(errors), changes)
    }

    fn stop(&self, id: &TopicPartition, epoch: LeaderEpoch, delete: bool) -> Result<(), ResponseError> {
        if delete {
            self.give_up_move(id);
        }
        let Some(hosted) = self.hosted(id) else { return Ok(()) };
        if self.directories[hosted.directory].is_offline() {
            return Err(ResponseError::KafkaStorageError);
        }
        if !may_stop(hosted.partition.leader_epoch(), epoch) {
            return Err(ResponseError::FencedLeaderEpoch);
        }
        hosted.partition.retire();
        if !delete {
            return Ok(());
        }
        self.hosted.write().unwrap_or_else(PoisonError::into_inner).remove(id);
        let name = directory::delete_name(id, Uuid::new_v4().as_u128());
        let renamed = hosted.partition.rename_folder(&name);
        let folder = renamed.map_err(|error| {
            self.report(hosted.directory, &error);
            error.wire()
        })?;
        info!(partition = %id, "replica deleted; its files go after file.delete.delay.ms");
        let delay = hosted.partition.config().log.file_delete_delay_ms;
        let due = TimestampMs(clock::wall().0.saturating_add(delay));
        let condemned = Condemned { directory: hosted.directory, folder, due };
        self.condemned.lock().unwrap_or_else(PoisonError::into_inner).push(condemned);
        Ok(())
    }
}

fn standing(state: &LeaderAndIsrPartitionState) -> Standing {
    Standing {
        leader_epoch: LeaderEpoch(state.leader_epoch),
        partition_epoch: state.partition_epoch,
        replicas: state.replicas.iter().map(|id| BrokerId(id.0)).collect(),
        isr: state.isr.iter().map(|id| BrokerId(id.0)).collect(),
    }
}

/// The answer to a request that is refused as a whole.
pub(crate) fn refuse_all(request: &LeaderAndIsrRequest, error: ResponseError) -> LeaderAndIsrResponse {
    let one = |partition: i32| {
        LeaderAndIsrPartitionError::default().with_partition_index(partition).with_error_code(error.code())
    };
    let topics = request.topic_states.iter().map(|topic| {
        LeaderAndIsrTopicError::default().with_topic_id(topic.topic_id).with_partition_errors(
            topic.partition_states.iter().map(|state| one(state.partition_index)).collect(),
        )
    });
    let ungrouped = request
        .ungrouped_partition_states
        .iter()
        .map(|state| one(state.partition_index).with_topic_name(state.topic_name.clone()));
    LeaderAndIsrResponse::default()
        .with_error_code(error.code())
        .with_topics(topics.collect())
        .with_partition_errors(ungrouped.collect())
}

/// Partition, leader epoch and whether to delete, from any version of the request.
fn stops(request: &StopReplicaRequest) -> Vec<(TopicPartition, LeaderEpoch, bool)> {
    let mut stops: HashMap<TopicPartition, (LeaderEpoch, bool)> = HashMap::new();
    for topic in &request.topic_states {
        for state in &topic.partition_states {
            let id = TopicPartition::new(&*topic.topic_name.0, state.partition_index);
            stops.insert(id, (LeaderEpoch(state.leader_epoch), state.delete_partition));
        }
    }
    for topic in &request.topics {
        for partition in &topic.partition_indexes {
            let id = TopicPartition::new(&*topic.name.0, *partition);
            stops.insert(id, (LeaderEpoch::NONE, request.delete_partitions));
        }
    }
    for one in &request.ungrouped_partitions {
        let id = TopicPartition::new(&*one.topic_name.0, one.partition_index);
        stops.insert(id, (LeaderEpoch::NONE, request.delete_partitions));
    }
    stops.into_iter().map(|(id, (epoch, delete))| (id, epoch, delete)).collect()
}
