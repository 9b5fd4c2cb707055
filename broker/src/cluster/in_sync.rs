//! Changes of in-sync sets on their way through the controller (AlterPartition, KIP-497).
//!
//! Always true here: at most one change a partition waits, and at most one request is under way; it carries all that
//! wait. Nothing is given up before the controller has answered: an unanswered request is repeated, until the leader
//! that asked no longer wants to know.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::alter_partition_request::{BrokerState, PartitionData, TopicData};
use kafka_protocol::messages::alter_partition_response::PartitionData as Answered;
use kafka_protocol::messages::{AlterPartitionRequest, AlterPartitionResponse};
use storage::types::{BrokerId, LeaderEpoch, TopicId, TopicPartition};
use tokio::sync::{Notify, oneshot};
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, warn};
use uuid::Uuid;

use super::to_controller::{NoAnswer, RETRY_PAUSE, ToController};
use crate::peers::versions;

/// What a leader wants the in-sync set of its partition to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WantedIsr {
    pub(crate) partition: TopicPartition,
    /// The zero id where the topic has none; a controller finds nothing under it.
    pub(crate) topic_id: TopicId,
    pub(crate) leader_epoch: LeaderEpoch,
    /// Of the state that is to be replaced.
    pub(crate) partition_epoch: i32,
    /// The whole new set, each member with the epoch of the registration that was seen to be in sync; -1 is unknown,
    /// and stands for the leader's own.
    pub(crate) isr: Vec<(BrokerId, i64)>,
}

/// How things stand after the controller agreed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AgreedIsr {
    pub(crate) leader: BrokerId,
    pub(crate) leader_epoch: LeaderEpoch,
    pub(crate) isr: Vec<BrokerId>,
    pub(crate) partition_epoch: i32,
}

struct Waiting {
    wanted: WantedIsr,
    answer: oneshot::Sender<Result<AgreedIsr, ResponseError>>,
}

#[derive(Default)]
struct Desk {
    /// A std mutex: held for one look-up, never across `.await`.
    waiting: Mutex<BTreeMap<TopicPartition, Waiting>>,
    more: Notify,
}

/// Asks the controller for other in-sync sets. Ends, and leaves what waits unanswered, when dropped.
pub(crate) struct IsrChanges {
    desk: Arc<Desk>,
    _sending: AbortOnDropHandle<()>,
}

impl IsrChanges {
    pub(crate) fn start(to_controller: Arc<ToController>) -> IsrChanges {
        let desk = Arc::new(Desk::default());
        let sending = tokio::spawn(send(Arc::clone(&desk), to_controller));
        IsrChanges { desk, _sending: AbortOnDropHandle::new(sending) }
    }

    /// Waits until the controller has decided. `OperationNotAttempted` at once where a change of the partition waits
    /// already; every other `Err` is the controller's word on the partition.
    ///
    /// A leader that stops waiting (a newer LeaderAndIsr came) takes its wish back, unless it is under way already.
    pub(crate) async fn ask(&self, wanted: WantedIsr) -> Result<AgreedIsr, ResponseError> {
        let (answer, answered) = oneshot::channel();
        {
            let mut waiting = self.desk.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let known = waiting.get(&wanted.partition);
            if known.is_some_and(|earlier| !earlier.answer.is_closed()) {
                return Err(ResponseError::OperationNotAttempted);
            }
            waiting.insert(wanted.partition.clone(), Waiting { wanted, answer });
        }
        self.desk.more.notify_one();
        answered.await.unwrap_or(Err(ResponseError::UnknownServerError))
    }
}

impl Desk {
    /// All that wait. Those that nobody waits for any more are gone.
    fn wanted(&self) -> Vec<WantedIsr> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|_, one| !one.answer.is_closed());
        waiting.values().map(|one| one.wanted.clone()).collect()
    }

    fn answer(&self, wanted: &WantedIsr, result: Result<AgreedIsr, ResponseError>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        // A later leader epoch may have taken the place meanwhile: this answer is not for it.
        if waiting.get(&wanted.partition).is_some_and(|one| one.wanted == *wanted)
            && let Some(one) = waiting.remove(&wanted.partition)
        {
            // Whoever asked may have gone.
            let _ = one.answer.send(result);
        }
    }
}

async fn send(desk: Arc<Desk>, to_controller: Arc<ToController>) {
    let mut said = false;
    loop {
        let wanted = desk.wanted();
        if wanted.is_empty() {
            desk.more.notified().await;
            continue;
        }
        let request = request(&wanted, to_controller.me(), to_controller.broker_epoch());
        match to_controller.ask(&request, versions::ALTER_PARTITION).await {
            Ok(response) if response.error_code == 0 => {
                said = false;
                if deal_out(&desk, &wanted, &response) {
                    continue;
                }
            }
            Ok(response) => {
                let error = ResponseError::try_from_code(response.error_code);
                debug!(?error, "the controller refused a request for in-sync sets; it is sent again");
            }
            Err(NoAnswer::Elsewhere(broker)) => debug!(%broker, "not the controller any more"),
            Err(error) => {
                if !std::mem::replace(&mut said, true) {
                    warn!("in-sync sets stay as they are until the controller answers: {error}");
                }
            }
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

/// Whether every one got an answer.
fn deal_out(desk: &Desk, wanted: &[WantedIsr], response: &AlterPartitionResponse) -> bool {
    let mut answers: BTreeMap<(TopicId, i32), &Answered> = BTreeMap::new();
    for topic in &response.topics {
        let id = TopicId(topic.topic_id.into_bytes());
        answers.extend(topic.partitions.iter().map(|one| ((id, one.partition_index), one)));
    }
    let mut all = true;
    for one in wanted {
        let Some(answer) = answers.get(&(one.topic_id, one.partition.partition)) else {
            warn!(partition = %one.partition, "the controller left a partition unanswered; it is asked again");
            all = false;
            continue;
        };
        let result = match ResponseError::try_from_code(answer.error_code) {
            Some(error) => Err(error),
            None => Ok(AgreedIsr {
                leader: BrokerId(answer.leader_id.0),
                leader_epoch: LeaderEpoch(answer.leader_epoch),
                isr: answer.isr.iter().map(|id| BrokerId(id.0)).collect(),
                partition_epoch: answer.partition_epoch,
            }),
        };
        desk.answer(one, result);
    }
    all
}

fn request(wanted: &[WantedIsr], me: BrokerId, broker_epoch: i64) -> AlterPartitionRequest {
    let mut topics: BTreeMap<TopicId, Vec<PartitionData>> = BTreeMap::new();
    for one in wanted {
        let isr = one.isr.iter().map(|(id, epoch)| {
            let epoch = if *id == me && *epoch < 0 { broker_epoch } else { *epoch };
            BrokerState::default().with_broker_id(id.0.into()).with_broker_epoch(epoch)
        });
        let partition = PartitionData::default()
            .with_partition_index(one.partition.partition)
            .with_leader_epoch(one.leader_epoch.0)
            .with_partition_epoch(one.partition_epoch)
            .with_new_isr_with_epochs(isr.collect());
        topics.entry(one.topic_id).or_default().push(partition);
    }
    let topics = topics.into_iter().map(|(id, partitions)| {
        TopicData::default().with_topic_id(Uuid::from_bytes(id.0)).with_partitions(partitions)
    });
    AlterPartitionRequest::default()
        .with_broker_id(me.0.into())
        .with_broker_epoch(broker_epoch)
        .with_topics(topics.collect())
}

#[cfg(test)]
mod tests;
