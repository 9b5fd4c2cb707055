//! Requests being gathered, so that a broker gets one of a kind for a whole decision.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use storage::types::{BrokerId, LeaderEpoch, TopicPartition};

use super::image::Image;
use super::plan::{MetadataNews, PartitionNews, ReplicaOrder, Request, RequestBody, StopOrder};
use super::types::Leadership;

/// Leader of a partition whose topic is being deleted.
const LEADER_DURING_DELETE: BrokerId = BrokerId(-2);
/// Epoch of such a partition in a StopReplica request: overrides any other.
const EPOCH_DURING_DELETE: LeaderEpoch = LeaderEpoch(-2);

#[derive(Clone, Debug, Default)]
pub(super) struct Batch {
    orders: BTreeMap<BrokerId, BTreeMap<TopicPartition, ReplicaOrder>>,
    stops: BTreeMap<BrokerId, BTreeMap<TopicPartition, StopOrder>>,
    news: BTreeMap<TopicPartition, PartitionNews>,
    listeners: BTreeSet<BrokerId>,
}

impl Batch {
    /// Tells `replicas` who leads the partition, and every broker.
    pub(super) fn lead(
        &mut self,
        image: &Image,
        replicas: &[BrokerId],
        partition: &TopicPartition,
        is_new: bool,
    ) {
        let Some(found) = image.partition(partition) else { return };
        let Some(leadership) = &found.leadership else { return };
        for replica in replicas.iter().filter(|replica| replica.0 >= 0) {
            let orders = self.orders.entry(*replica).or_default();
            let already_new = orders.get(partition).is_some_and(|order| order.is_new);
            let order = ReplicaOrder {
                leadership: leadership.clone(),
                assignment: found.assignment.clone(),
                is_new: is_new || already_new,
            };
            orders.insert(partition.clone(), order);
        }
        self.announce(image, image.brokers.keys().copied(), [partition]);
    }

    /// Tells a replica to stop, and to delete its log if `delete`.
    pub(super) fn stop(
        &mut self,
        image: &Image,
        replica: BrokerId,
        partition: &TopicPartition,
        delete: bool,
    ) {
        if replica.0 < 0 {
            return;
        }
        let leader_epoch = if image.is_queued_for_deletion(&partition.topic) {
            EPOCH_DURING_DELETE
        } else {
            image.leadership(partition).map_or(LeaderEpoch::NONE, |leadership| leadership.leader_epoch)
        };
        let stops = self.stops.entry(replica).or_default();
        let already = stops.get(partition).is_some_and(|stop| stop.delete);
        stops.insert(partition.clone(), StopOrder { leader_epoch, delete: delete || already });
    }

    /// Tells brokers who is alive, and the state of these partitions. Without a first leader there is nothing to tell.
    pub(super) fn announce<'a>(
        &mut self,
        image: &Image,
        brokers: impl IntoIterator<Item = BrokerId>,
        partitions: impl IntoIterator<Item = &'a TopicPartition>,
    ) {
        self.listeners.extend(brokers);
        for partition in partitions {
            let Some(found) = image.partition(partition) else { continue };
            let Some(leadership) = &found.leadership else { continue };
            let leadership = if image.is_queued_for_deletion(&partition.topic) {
                during_delete(leadership)
            } else {
                leadership.clone()
            };
            let replicas = found.assignment.replicas.clone();
            let offline = replicas
                .iter()
                .copied()
                .filter(|replica| !image.is_replica_online(*replica, partition))
                .collect();
            self.news.insert(partition.clone(), PartitionNews { leadership, replicas, offline });
        }
    }

    /// All that was gathered: to each broker LeaderAndIsr first, then the news, then what to stop.
    pub(super) fn take(&mut self, image: &Image) -> Vec<Request> {
        let batch = std::mem::take(self);
        let mut requests = Vec::new();
        let mut send = |to: BrokerId, body: RequestBody| {
            if let Some(broker) = image.brokers.get(&to) {
                requests.push(Request { to, broker_epoch: broker.epoch, body });
            }
        };
        for (to, partitions) in batch.orders {
            let leading: BTreeSet<BrokerId> =
                partitions.values().map(|order| order.leadership.leader).collect();
            let leaders = image.brokers.values().filter(|broker| leading.contains(&broker.id)).cloned();
            let leaders = leaders.collect();
            let topic_ids = topic_ids(image, partitions.keys());
            send(to, RequestBody::LeaderAndIsr { partitions, topic_ids, leaders });
        }
        let news = Arc::new(MetadataNews {
            topic_ids: topic_ids(image, batch.news.keys()),
            partitions: batch.news,
            brokers: image.brokers.values().cloned().collect(),
        });
        for to in batch.listeners {
            send(to, RequestBody::UpdateMetadata(Arc::clone(&news)));
        }
        for (to, partitions) in batch.stops {
            send(to, RequestBody::StopReplica(partitions));
        }
        requests
    }
}

fn during_delete(leadership: &Leadership) -> Leadership {
    Leadership {
        leader: LEADER_DURING_DELETE,
        leader_epoch: LeaderEpoch(0),
        version: 0,
        recovery: super::types::Recovery::Recovered,
        ..leadership.clone()
    }
}

fn topic_ids<'a>(
    image: &Image,
    partitions: impl Iterator<Item = &'a TopicPartition>,
) -> BTreeMap<Arc<str>, storage::types::TopicId> {
    partitions
        .filter_map(|partition| {
            let id = image.topics.get(&partition.topic)?.id?;
            Some((Arc::clone(&partition.topic), id))
        })
        .collect()
}
