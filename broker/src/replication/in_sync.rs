//! Who is in sync, between the leaders here and the controller.
//!
//! Always true: one question is open for a partition, the newest; an older one is taken back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use coordinator::replication::{Proposal, Verdict};
use kafka_protocol::error::ResponseError;
use storage::types::TopicPartition;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tracing::debug;

use super::Replicating;
use crate::cluster::in_sync::{AgreedIsr, IsrChanges, WantedIsr};
use crate::partition::{Partition, Partitions};

/// Pause after an answer that settles nothing.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// Codes that the library does not name.
const INELIGIBLE_REPLICA: i16 = 107;
const NEW_LEADER_ELECTED: i16 = 108;

/// Takes what leaders propose to the controller, and its verdicts back, until it is dropped.
pub(crate) async fn propose(partitions: Arc<Partitions>, changes: Arc<IsrChanges>) {
    let around = Arc::clone(partitions.around());
    let mut asking: JoinSet<TopicPartition> = JoinSet::new();
    let mut open: BTreeMap<TopicPartition, AbortHandle> = BTreeMap::new();
    loop {
        tokio::select! {
            proposals = around.proposals.next() => {
                for (id, proposal) in proposals {
                    if let Some(former) = open.remove(&id) {
                        former.abort();
                    }
                    let asked = asking.spawn(ask(Arc::clone(&partitions), Arc::clone(&changes), id.clone(), proposal));
                    open.insert(id, asked);
                }
            }
            Some(done) = asking.join_next() => {
                if let Ok(id) = done
                    && open.get(&id).is_some_and(AbortHandle::is_finished)
                {
                    open.remove(&id);
                }
            }
        }
    }
}

/// Looks for followers that have not kept up, until it is dropped.
pub(crate) async fn watch(shared: Arc<Replicating>) {
    let mut ticks = interval((shared.settings.lag_max / 2).max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        for partition in shared.partitions.all() {
            partition.shrink_in_sync();
        }
    }
}

async fn ask(
    partitions: Arc<Partitions>,
    changes: Arc<IsrChanges>,
    id: TopicPartition,
    proposal: Proposal,
) -> TopicPartition {
    while let Some(partition) = partitions.get(&id).filter(|one| one.awaits_verdict(&proposal)) {
        let verdict = verdict(changes.ask(wanted(&partition, &proposal)).await);
        debug!(partition = %id, ?proposal, ?verdict, "the controller has answered");
        if !partition.on_verdict(&proposal, verdict) {
            break;
        }
        sleep(RETRY_PAUSE).await;
    }
    id
}

fn wanted(partition: &Partition, proposal: &Proposal) -> WantedIsr {
    WantedIsr {
        partition: partition.id().clone(),
        topic_id: partition.topic_id(),
        leader_epoch: proposal.leader_epoch,
        partition_epoch: proposal.partition_epoch,
        isr: proposal.isr.iter().map(|one| (one.broker, one.broker_epoch)).collect(),
    }
}

fn verdict(answer: Result<AgreedIsr, ResponseError>) -> Verdict {
    match answer {
        Ok(agreed) => Verdict::Altered {
            leader_epoch: agreed.leader_epoch,
            partition_epoch: agreed.partition_epoch,
            isr: agreed.isr.into_iter().collect(),
        },
        Err(ResponseError::OperationNotAttempted | ResponseError::Unknown(INELIGIBLE_REPLICA)) => {
            Verdict::NotApplied
        }
        Err(
            ResponseError::UnknownTopicOrPartition
            | ResponseError::UnknownTopicId
            | ResponseError::FencedLeaderEpoch
            | ResponseError::InvalidUpdateVersion
            | ResponseError::InvalidRequest
            | ResponseError::Unknown(NEW_LEADER_ELECTED),
        ) => Verdict::Outdated,
        Err(_) => Verdict::Unclear,
    }
}
