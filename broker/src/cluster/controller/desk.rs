//! What brokers ask the controller alone, put before the plan and answered in Kafka's words.
//!
//! Always true here: who is not in office says so in the way the request has for it, and the asker looks for the one
//! that is. Both doors lead here: requests over TCP, and those of this process's own broker.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use coordinator::cluster::{AlterRefusal, IsrChange, Leadership, Recovery, Reply, ShutdownRefusal};
use coordinator::replication::{InSyncMember, UNKNOWN_BROKER_EPOCH};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::alter_partition_request::PartitionData as Proposed;
use kafka_protocol::messages::alter_partition_response::{PartitionData, TopicData};
use kafka_protocol::messages::controlled_shutdown_response::RemainingPartition;
use kafka_protocol::messages::{
    AllocateProducerIdsRequest, AllocateProducerIdsResponse, AlterPartitionRequest, AlterPartitionResponse,
    ControlledShutdownRequest, ControlledShutdownResponse, ProducerId, TopicName,
};
use kafka_protocol::protocol::{Request, StrBytes};
use storage::types::{BrokerId, LeaderEpoch, TopicId, TopicPartition};
use uuid::Uuid;

use super::{ControllerHandle, NotController, ProducerIdRefusal, Question};
use crate::errors::WireError;

/// From this version on AlterPartition names topics by their ids.
const TOPIC_IDS_SINCE: i16 = 2;
/// From this version on AlterPartition tells the epochs of the brokers in the new set.
const BROKER_EPOCHS_SINCE: i16 = 3;
/// INELIGIBLE_REPLICA, which the protocol library does not name.
const INELIGIBLE_REPLICA: ResponseError = ResponseError::Unknown(107);

/// A request that only the controller answers.
pub(crate) trait ForController: Request {
    /// As the controller answers it, or refuses where it is not in office.
    fn answer(
        self,
        version: i16,
        controller: &ControllerHandle,
    ) -> impl Future<Output = Self::Response> + Send;

    /// Whether whoever answered was not, or not quite, the controller: another one is to be asked.
    fn is_from_elsewhere(response: &Self::Response) -> bool;
}

impl ForController for AlterPartitionRequest {
    async fn answer(self, version: i16, controller: &ControllerHandle) -> AlterPartitionResponse {
        alter_partition(self, version, controller).await.unwrap_or_else(|NotController| {
            AlterPartitionResponse::default().with_error_code(ResponseError::NotController.code())
        })
    }

    fn is_from_elsewhere(response: &AlterPartitionResponse) -> bool {
        let not_controller = ResponseError::NotController.code();
        let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
        response.error_code == not_controller
            || partitions.into_iter().any(|partition| partition.error_code == not_controller)
    }
}

async fn alter_partition(
    request: AlterPartitionRequest,
    version: i16,
    controller: &ControllerHandle,
) -> Result<AlterPartitionResponse, NotController> {
    let with_ids = version >= TOPIC_IDS_SINCE;
    let ids = request.topics.iter().map(|topic| TopicId(topic.topic_id.into_bytes()));
    let names = if with_ids { controller.topic_names(ids.collect()).await? } else { BTreeMap::new() };
    let mut response = AlterPartitionResponse::default();
    let mut changes = Vec::new();
    for topic in &request.topics {
        let name: Option<Arc<str>> = if with_ids {
            names.get(&TopicId(topic.topic_id.into_bytes())).cloned()
        } else {
            Some(Arc::from(topic.topic_name.0.as_str()))
        };
        let Some(name) = name else {
            let refused = |one: &Proposed| refused(one.partition_index, ResponseError::UnknownTopicId);
            let partitions = topic.partitions.iter().map(refused).collect();
            response
                .topics
                .push(TopicData::default().with_topic_id(topic.topic_id).with_partitions(partitions));
            continue;
        };
        for one in &topic.partitions {
            let Some(change) = isr_change(Arc::clone(&name), one, version) else {
                let error = ResponseError::UnknownServerError.code();
                return Ok(AlterPartitionResponse::default().with_error_code(error));
            };
            changes.push(change);
        }
    }
    let question = Question::AlterPartition {
        broker: BrokerId(request.broker_id.0),
        broker_epoch: request.broker_epoch,
        changes,
    };
    let Reply::AlterPartition(results) = controller.ask(question).await? else {
        let stale = ResponseError::StaleBrokerEpoch.code();
        return Ok(AlterPartitionResponse::default().with_error_code(stale));
    };
    let ids: BTreeMap<&Arc<str>, TopicId> = names.iter().map(|(id, name)| (name, *id)).collect();
    let mut topics: BTreeMap<Arc<str>, Vec<PartitionData>> = BTreeMap::new();
    for (partition, result) in results {
        let answer = match result {
            Ok(leadership) => agreed(partition.partition, &leadership),
            Err(refusal) => refused(partition.partition, alter_error(refusal, version)),
        };
        topics.entry(partition.topic).or_default().push(answer);
    }
    response.topics.extend(topics.into_iter().map(|(name, partitions)| {
        let topic = TopicData::default().with_partitions(partitions);
        if with_ids {
            topic.with_topic_id(Uuid::from_bytes(ids.get(&name).copied().unwrap_or_default().0))
        } else {
            topic.with_topic_name(topic_name(&name))
        }
    }));
    Ok(response)
}

/// `None` where the state of the leader's recovery is none that exists.
fn isr_change(topic: Arc<str>, one: &Proposed, version: i16) -> Option<IsrChange> {
    let member = |id, broker_epoch| InSyncMember { broker: BrokerId(id), broker_epoch };
    let isr = if version >= BROKER_EPOCHS_SINCE {
        one.new_isr_with_epochs.iter().map(|one| member(one.broker_id.0, one.broker_epoch)).collect()
    } else {
        one.new_isr.iter().map(|id| member(id.0, UNKNOWN_BROKER_EPOCH)).collect()
    };
    let recovery = match one.leader_recovery_state {
        0 => Recovery::Recovered,
        1 => Recovery::Recovering,
        _ => return None,
    };
    Some(IsrChange {
        partition: TopicPartition::new(topic, one.partition_index),
        leader_epoch: LeaderEpoch(one.leader_epoch),
        isr,
        recovery,
        version: one.partition_epoch,
    })
}

fn agreed(partition: i32, leadership: &Leadership) -> PartitionData {
    PartitionData::default()
        .with_partition_index(partition)
        .with_leader_id(leadership.leader.0.into())
        .with_leader_epoch(leadership.leader_epoch.0)
        .with_isr(leadership.isr.iter().map(|id| id.0.into()).collect())
        .with_leader_recovery_state(leadership.recovery.id())
        .with_partition_epoch(leadership.version)
}

fn refused(partition: i32, error: ResponseError) -> PartitionData {
    PartitionData::default().with_partition_index(partition).with_error_code(error.code())
}

fn alter_error(refusal: AlterRefusal, version: i16) -> ResponseError {
    match refusal {
        AlterRefusal::UnknownPartition => ResponseError::UnknownTopicOrPartition,
        AlterRefusal::NotController => ResponseError::NotController,
        AlterRefusal::FencedLeaderEpoch => ResponseError::FencedLeaderEpoch,
        AlterRefusal::InvalidUpdateVersion => ResponseError::InvalidUpdateVersion,
        AlterRefusal::InvalidRecovery => ResponseError::InvalidRequest,
        AlterRefusal::IneligibleReplica if version >= TOPIC_IDS_SINCE => INELIGIBLE_REPLICA,
        AlterRefusal::IneligibleReplica => ResponseError::OperationNotAttempted,
        AlterRefusal::Failed => ResponseError::UnknownServerError,
    }
}

impl ForController for ControlledShutdownRequest {
    async fn answer(self, _: i16, controller: &ControllerHandle) -> ControlledShutdownResponse {
        let question = Question::ControlledShutdown {
            broker: BrokerId(self.broker_id.0),
            broker_epoch: self.broker_epoch,
        };
        let answered = match controller.ask(question).await {
            Ok(Reply::ControlledShutdown(answered)) => answered,
            Ok(_) => Err(ShutdownRefusal::StaleBrokerEpoch),
            Err(NotController) => return shutdown_refused(ResponseError::StaleControllerEpoch),
        };
        match answered {
            Ok(remaining) => {
                ControlledShutdownResponse::default().with_remaining_partitions(still_led(remaining))
            }
            Err(ShutdownRefusal::StaleBrokerEpoch) => shutdown_refused(ResponseError::StaleBrokerEpoch),
            // Apache's controller looks the epoch of such a broker up and finds none, unless it is not to.
            Err(ShutdownRefusal::UnknownBroker) if self.broker_epoch >= 0 => {
                shutdown_refused(ResponseError::UnknownServerError)
            }
            Err(ShutdownRefusal::UnknownBroker) => shutdown_refused(ResponseError::BrokerNotAvailable),
        }
    }

    fn is_from_elsewhere(response: &ControlledShutdownResponse) -> bool {
        let elsewhere = [ResponseError::NotController, ResponseError::StaleControllerEpoch];
        elsewhere.iter().any(|error| error.code() == response.error_code)
    }
}

fn shutdown_refused(error: ResponseError) -> ControlledShutdownResponse {
    ControlledShutdownResponse::default().with_error_code(error.code())
}

fn still_led(partitions: BTreeSet<TopicPartition>) -> Vec<RemainingPartition> {
    let one = |partition: TopicPartition| {
        RemainingPartition::default()
            .with_topic_name(topic_name(&partition.topic))
            .with_partition_index(partition.partition)
    };
    partitions.into_iter().map(one).collect()
}

impl ForController for AllocateProducerIdsRequest {
    async fn answer(self, _: i16, controller: &ControllerHandle) -> AllocateProducerIdsResponse {
        match controller.allocate_producer_ids(BrokerId(self.broker_id.0), self.broker_epoch).await {
            Ok(block) => AllocateProducerIdsResponse::default()
                .with_producer_id_start(ProducerId(block.first))
                .with_producer_id_len(i32::try_from(block.last - block.first + 1).unwrap_or(i32::MAX)),
            Err(refusal) => {
                let error = match refusal {
                    ProducerIdRefusal::NotController(_) => ResponseError::NotController,
                    ProducerIdRefusal::UnknownBroker(_) => ResponseError::BrokerIdNotRegistered,
                    ProducerIdRefusal::StaleBrokerEpoch => ResponseError::StaleBrokerEpoch,
                    ProducerIdRefusal::Failed(error) => error.wire(),
                };
                AllocateProducerIdsResponse::default().with_error_code(error.code())
            }
        }
    }

    fn is_from_elsewhere(response: &AllocateProducerIdsResponse) -> bool {
        response.error_code == ResponseError::NotController.code()
    }
}

fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}
