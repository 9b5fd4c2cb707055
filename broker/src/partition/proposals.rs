//! Changes of in-sync sets that wait for the controller.
//!
//! Always true: one per partition, the newest; so there are never more than there are partitions.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use coordinator::replication::Proposal;
use storage::types::TopicPartition;
use tokio::sync::Notify;

#[derive(Debug, Default)]
pub(crate) struct Proposals {
    /// Held for an insertion or to take all, never across `.await`.
    waiting: Mutex<BTreeMap<TopicPartition, Proposal>>,
    more: Notify,
}

impl Proposals {
    pub(crate) fn submit(&self, partition: TopicPartition, proposal: Proposal) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(partition, proposal);
        self.more.notify_one();
    }

    /// All that waits, as soon as anything does.
    pub(crate) async fn next(&self) -> BTreeMap<TopicPartition, Proposal> {
        loop {
            let waiting = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
            if !waiting.is_empty() {
                return waiting;
            }
            self.more.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use storage::types::LeaderEpoch;

    use super::*;

    fn proposal(partition_epoch: i32) -> Proposal {
        Proposal { leader_epoch: LeaderEpoch(0), partition_epoch, isr: Vec::new() }
    }

    #[tokio::test]
    async fn of_one_partition_only_the_newest_waits() {
        let proposals = Proposals::default();
        let (one, two) = (TopicPartition::new("t", 1), TopicPartition::new("t", 2));
        proposals.submit(one.clone(), proposal(1));
        proposals.submit(two, proposal(2));
        proposals.submit(one, proposal(3));
        let epochs: Vec<i32> = proposals.next().await.values().map(|one| one.partition_epoch).collect();
        assert_eq!(epochs, [3, 2]);
    }
}
