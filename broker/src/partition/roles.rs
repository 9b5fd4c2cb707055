//! What the controller asks of this broker's replicas: LeaderAndIsr and StopReplica.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, MutexGuard, PoisonError};

use coordinator::replication::{Obedience, StaleRole, Standing, check_role, may_stop};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::leader_and_isr_request::LeaderAndIsrPartitionState;
use kafka_protocol::messages::leader_and_isr_response::{LeaderAndIsrPartitionError, LeaderAndIsrTopicError};
use kafka_protocol::messages::stop_replica_response::StopReplicaPartitionError;
use kafka_protocol::messages::{
    LeaderAndIsrRequest, LeaderAndIsrResponse, StopReplicaRequest, StopReplicaResponse,
};
use storage::directory::{self, Folder, FolderKind};
use storage::error::StorageError;
use storage::types::{BrokerId, LeaderEpoch, TopicId, TopicPartition};
use tracing::{info, warn};
use uuid::Uuid;

use crate::errors::WireError;
use crate::partition::Partition;
use crate::partition::awaited::{Arrived, Word};
use crate::partition::hosting::Hosted;
use crate::partition::parallel::{self, waiting_for_disk};
use crate::partition::registry::Partitions;

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
        let orders = orders(request);
        let mut seen = HashSet::with_capacity(orders.len());
        // One partition has one role at a time, whatever a request says.
        let once = orders.iter().all(|order| seen.insert(&order.id));
        let threads = if once { waiting_for_disk(orders.len()) } else { 1 };
        let assumed =
            parallel::map(threads, &orders, |order| self.assume(&order.id, order.topic_id, order.state));
        let changed = orders.iter().zip(&assumed).filter(|(_, taken)| taken.is_ok());
        let changes = changed.map(|(order, _)| RoleChange(order.id.clone())).collect();
        let repeated = assumed.iter().filter(|taken| is_repetition(taken)).count();
        if repeated > 0 {
            info!(partitions = repeated, "the controller repeats roles that were taken before");
        }
        let mut answers = orders.iter().zip(&assumed).map(|(order, taken)| order.answer(taken));
        let topics = request.topic_states.iter().map(|topic| {
            let errors = answers.by_ref().take(topic.partition_states.len()).collect();
            LeaderAndIsrTopicError::default().with_topic_id(topic.topic_id).with_partition_errors(errors)
        });
        let topics = topics.collect();
        let named = request.ungrouped_partition_states.iter().zip(answers);
        let ungrouped = named.map(|(state, answer)| answer.with_topic_name(state.topic_name.clone()));
        let ungrouped = ungrouped.collect();
        (LeaderAndIsrResponse::default().with_topics(topics).with_partition_errors(ungrouped), changes)
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
        if hosted.is_none()
            && let Some(heard) = self.awaited().hear_role(id, topic_id, state)
        {
            return Ok(heard?);
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

    /// A log that was awaited is open: it is served from now on, in the role it has by now. Yields its change.
    pub(super) fn arrive(&self, folder: &Folder, hosted: Hosted) -> Result<Option<RoleChange>, StorageError> {
        let _roles = self.obey();
        if self.is_closing() {
            return Ok(None);
        }
        let id = &folder.partition;
        let arrived = if self.awaited().is_condemned(&folder.path) {
            self.awaited().pass_over(id, hosted.directory)
        } else {
            self.awaited().arrive(id, hosted, |one, other| self.settle_twins(one, other))?
        };
        Ok(arrived.and_then(|arrived| self.settle_in(arrived)))
    }

    /// The same for a log that was deleted before it was open.
    pub(super) fn pass_over(&self, folder: &Folder, directory: usize) -> Option<RoleChange> {
        let _roles = self.obey();
        if self.is_closing() || folder.kind != FolderKind::Current {
            return None;
        }
        let arrived = self.awaited().pass_over(&folder.partition, directory)?;
        self.settle_in(arrived)
    }

    /// Nothing more comes from a directory. Yields the changes of those that lie in another one too.
    pub(super) fn give_up_awaited(&self, directory: usize) -> Vec<RoleChange> {
        let _roles = self.obey();
        let left = self.awaited().give_up(directory);
        left.into_iter().filter_map(|arrived| self.settle_in(arrived)).collect()
    }

    fn settle_in(&self, Arrived { id, hosted, words }: Arrived) -> Option<RoleChange> {
        if let Some(hosted) = hosted {
            let partition = Arc::clone(&hosted.partition);
            self.hosted.write().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), hosted);
            // They may have changed while the log was being opened.
            let config = self.configs.of(&id.topic);
            if !Arc::ptr_eq(&config, &partition.config()) {
                partition.set_config(config);
            }
            partition.set_producer_settings(self.producer_settings());
        }
        let told = !words.is_empty();
        for word in words {
            match word {
                Word::Role { topic_id, state } => {
                    if let Err(why) = self.assume(&id, topic_id, &state) {
                        warn!(partition = %id, "the role given while the log was checked is not taken: {why}");
                    }
                }
                Word::Stop { epoch, delete } => {
                    if let Err(error) = self.stop(&id, epoch, delete) {
                        warn!(partition = %id, ?error, "not stopped, as asked for while the log was checked");
                    }
                }
            }
        }
        told.then_some(RoleChange(id))
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
        let stops = stops(request);
        let threads = waiting_for_disk(stops.len());
        let stopped = parallel::map(threads, &stops, |(id, epoch, delete)| self.stop(id, *epoch, *delete));
        let (mut changes, mut errors) = (Vec::new(), Vec::with_capacity(stops.len()));
        for ((id, ..), result) in stops.into_iter().zip(stopped) {
            let answer = StopReplicaPartitionError::default()
                .with_topic_name(kafka_protocol::messages::TopicName(id.topic.to_string().into()))
                .with_partition_index(id.partition);
            errors.push(match result {
                Ok(()) => answer,
                Err(error) => answer.with_error_code(error.code()),
            });
            if result.is_ok() {
                changes.push(RoleChange(id));
            }
        }
        (StopReplicaResponse::default().with_partition_errors(errors), changes)
    }

    fn stop(&self, id: &TopicPartition, epoch: LeaderEpoch, delete: bool) -> Result<(), ResponseError> {
        if delete {
            self.give_up_move(id);
        }
        let Some(hosted) = self.hosted(id) else {
            if !self.awaited().hear_stop(id, epoch, delete) {
                return Err(ResponseError::FencedLeaderEpoch);
            }
            return if delete { self.delete_unopened(id) } else { Ok(()) };
        };
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
        self.delete_unopened(id)?;
        self.hosted.write().unwrap_or_else(PoisonError::into_inner).remove(id);
        self.directories.note_watermark();
        self.delete_hosted(id, &hosted)
    }

    fn delete_hosted(&self, id: &TopicPartition, hosted: &Hosted) -> Result<(), ResponseError> {
        let name = directory::delete_name(id, Uuid::new_v4().as_u128());
        let folder = match hosted.partition.rename_folder(&name) {
            Err(error) if error.is_out_of_space() => {
                let folder = hosted.partition.lock().log.folder();
                return self.delete_at_once(id, hosted.directory, &folder);
            }
            renamed => renamed.map_err(|error| self.refused_by(hosted.directory, &error))?,
        };
        info!(partition = %id, "replica deleted; its files go after file.delete.delay.ms");
        self.condemn(hosted.directory, folder, hosted.partition.config().log.file_delete_delay_ms);
        Ok(())
    }

    /// On a disk that is too full for the name of a deleted folder: no deletion waits for the room that it makes.
    fn delete_at_once(
        &self,
        id: &TopicPartition,
        directory: usize,
        folder: &Path,
    ) -> Result<(), ResponseError> {
        let removed = self.directories[directory].directory.remove_folder(folder);
        removed.map_err(|error| self.refused_by(directory, &error))?;
        info!(partition = %id, "replica deleted with its files: the disk is full");
        Ok(())
    }

    fn refused_by(&self, directory: usize, error: &StorageError) -> ResponseError {
        self.report(directory, error);
        error.wire()
    }

    /// Deletes what of a partition is not open yet, or on its way to be. Its folders have another name when this returns:
    /// the controller forgets a deletion that was answered, and after a crash nobody would delete them.
    fn delete_unopened(&self, id: &TopicPartition) -> Result<(), ResponseError> {
        let open = self.awaited().take_open(id);
        if let Some(open) = open {
            self.delete_hosted(id, &open)?;
        }
        let unopened = self.awaited().condemn(id);
        for (directory, folder) in unopened {
            let name = directory::delete_name(id, Uuid::new_v4().as_u128());
            let state = &self.directories[directory];
            let renamed = match state.directory.rename_folder(&folder, &name) {
                Err(error) if error.is_out_of_space() => {
                    self.delete_at_once(id, directory, &folder)?;
                    false
                }
                renamed => renamed.map_err(|error| self.refused_by(directory, &error))?,
            };
            if renamed {
                info!(partition = %id, "replica deleted while its log was checked; its files go after file.delete.delay.ms");
                let delay = self.configs.of(&id.topic).log.file_delete_delay_ms;
                self.condemn(directory, state.path().join(name), delay);
            }
        }
        Ok(())
    }
}

/// What LeaderAndIsr says of one partition.
struct RoleOrder<'a> {
    id: TopicPartition,
    topic_id: TopicId,
    state: &'a LeaderAndIsrPartitionState,
}

impl RoleOrder<'_> {
    fn answer(&self, taken: &Result<(), NotTaken>) -> LeaderAndIsrPartitionError {
        let answer = LeaderAndIsrPartitionError::default().with_partition_index(self.state.partition_index);
        let Err(why) = taken else { return answer };
        if !is_repetition(taken) {
            warn!(partition = %self.id, epoch = self.state.leader_epoch, "role not taken: {why}");
        }
        answer.with_error_code(why.wire().code())
    }
}

/// A new controller tells everybody everything.
fn is_repetition(taken: &Result<(), NotTaken>) -> bool {
    matches!(taken, Err(NotTaken::Stale(StaleRole::Known)))
}

/// In the order of the request: those that it groups by topic first.
fn orders(request: &LeaderAndIsrRequest) -> Vec<RoleOrder<'_>> {
    let grouped = request.topic_states.iter().flat_map(|topic| {
        let (name, topic_id) = (Arc::<str>::from(&*topic.topic_name.0), TopicId(topic.topic_id.into_bytes()));
        topic.partition_states.iter().map(move |state| (Arc::clone(&name), topic_id, state))
    });
    let ungrouped = request
        .ungrouped_partition_states
        .iter()
        .map(|state| (Arc::from(&*state.topic_name.0), TopicId::ZERO, state));
    let all = grouped.chain(ungrouped);
    all.map(|(name, topic_id, state)| RoleOrder {
        id: TopicPartition::new(name, state.partition_index),
        topic_id,
        state,
    })
    .collect()
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

#[cfg(test)]
mod tests {
    use storage::disk::faulty::{FaultyDisk, Operation};

    use super::*;
    use crate::partition::specimen::{append, delete, folders, id, lead, open};

    #[test]
    fn a_replica_is_deleted_where_the_disk_is_too_full_for_the_name_of_a_deleted_folder() {
        let root = tempfile::tempdir().expect("a folder");
        let disk = FaultyDisk::new();
        let partitions = open(Arc::new(disk.clone()), root.path()).expect("opened");
        assert!(append(&lead(&partitions), "something"));
        disk.fail(Operation::Rename, "", libc::ENOSPC);

        assert_eq!(delete(&partitions), 0);

        assert!(folders(root.path()).is_empty());
        assert!(partitions.get(&id()).is_none());
        disk.heal();
        assert!(append(&lead(&partitions), "of a topic of the same name"));
    }
}
