//! Which broker leads and holds what, as the brokers of a cluster tell it, and the requests that change it.

use std::collections::BTreeMap;

use kafka_protocol::messages::alter_partition_reassignments_request::{
    ReassignablePartition, ReassignableTopic,
};
use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_protocol::messages::{
    AlterPartitionReassignmentsRequest, BrokerId, CreateTopicsRequest, ListPartitionReassignmentsRequest,
    TopicName,
};

use super::cluster::Cluster;
use super::requests::{metadata, text};
use super::seat::Broker;
use super::znodes::{Body, ZnodeClient};

/// Request code of ZooKeeper's `delete`, and the version that stands for any.
const DELETE: i32 = 2;
const ANY_VERSION: i32 = -1;

/// Leader, replicas and in-sync replicas of each partition.
pub(crate) type Seen = BTreeMap<i32, (i32, Vec<i32>, Vec<i32>)>;

/// Replicas, those being added, and those being removed, of each partition on its way.
pub(crate) type UnderWay = BTreeMap<(String, i32), [Vec<i32>; 3]>;

fn numbers(ids: &[BrokerId]) -> Vec<i32> {
    ids.iter().map(|id| id.0).collect()
}

/// The controller and the topic's partitions, as one broker tells them.
pub(crate) fn seen(broker: &Broker, topic: &str) -> Option<(i32, Seen)> {
    let answer = metadata(&mut broker.try_connect()?, topic).ok()?;
    let partitions = &answer.topics.first()?.partitions;
    let seen = partitions.iter().map(|one| {
        (one.partition_index, (one.leader_id.0, numbers(&one.replica_nodes), numbers(&one.isr_nodes)))
    });
    Some((answer.controller_id.0, seen.collect()))
}

/// Waits until all running brokers say the same, and it is as wanted.
#[track_caller]
pub(crate) fn agreed(
    cluster: &Cluster,
    topic: &str,
    what: &str,
    wanted: impl Fn(i32, &Seen) -> bool,
) -> Seen {
    cluster.await_some(&format!("all brokers agree on {topic}: {what}"), |cluster| {
        let running = cluster.brokers.iter().filter(|broker| broker.is_running());
        let mut all: Vec<(i32, Seen)> = running.map(|broker| seen(broker, topic)).collect::<Option<_>>()?;
        let (controller, first) = all.pop()?;
        let same = all.iter().all(|other| *other == (controller, first.clone()));
        (same && wanted(controller, &first)).then_some(first)
    })
}

/// Whether there are so many partitions, each led by one of its replicas, all of which are in sync.
pub(crate) fn whole(partitions: usize) -> impl Fn(i32, &Seen) -> bool {
    move |_, seen| {
        seen.len() == partitions
            && seen.values().all(|(leader, replicas, in_sync)| {
                replicas.contains(leader) && in_sync.len() == replicas.len()
            })
    }
}

/// Takes the office from whoever has it until it is `wanted`'s, and all brokers know.
#[track_caller]
pub(crate) fn make_controller(cluster: &Cluster, wanted: i32) {
    cluster.until(&format!("broker {wanted} is controller"), |cluster| {
        if cluster.controller() == wanted {
            return true;
        }
        let mut zookeeper = ZnodeClient::open(cluster.ensemble.servers()[0].address());
        let _ = zookeeper.request(DELETE, &Body::default().string("/controller").int(ANY_VERSION));
        false
    });
    cluster.until(&format!("all brokers know broker {wanted} as controller"), |cluster| {
        cluster.brokers.iter().filter(|broker| broker.is_running()).all(|broker| {
            broker.try_connect().is_some_and(|mut connection| {
                metadata(&mut connection, "none").is_ok_and(|answer| answer.controller_id.0 == wanted)
            })
        })
    });
}

/// Makes a topic with the replicas of each partition as given, and waits until all of them are in sync.
#[track_caller]
pub(crate) fn place(cluster: &Cluster, topic: &str, replicas: &[&[i32]], configs: &[(&str, &str)]) {
    let assignment = |(index, ids): (i32, &&[i32])| {
        CreatableReplicaAssignment::default()
            .with_partition_index(index)
            .with_broker_ids(ids.iter().map(|id| BrokerId(*id)).collect())
    };
    let config = |(key, value): &(&str, &str)| {
        CreatableTopicConfig::default().with_name(text(key)).with_value(Some(text(value)))
    };
    let placed = CreatableTopic::default()
        .with_name(TopicName(text(topic)))
        .with_num_partitions(-1)
        .with_replication_factor(-1)
        .with_assignments((0..).zip(replicas).map(assignment).collect())
        .with_configs(configs.iter().map(config).collect());
    let request = CreateTopicsRequest::default().with_topics(vec![placed]).with_timeout_ms(30_000);
    let answer = cluster.broker(cluster.controller()).connect().request(5, &request);
    assert_eq!(answer.topics[0].error_code, 0, "{answer:?}");
    agreed(cluster, topic, "all its replicas are in sync", whole(replicas.len()));
}

/// Asks the controller for other replicas, or takes such a wish back; the error code about the partition.
#[track_caller]
pub(crate) fn reassign(cluster: &Cluster, topic: &str, partition: i32, replicas: Option<&[i32]>) -> i16 {
    let replicas = replicas.map(|ids| ids.iter().map(|id| BrokerId(*id)).collect());
    let partition = ReassignablePartition::default().with_partition_index(partition).with_replicas(replicas);
    let topic =
        ReassignableTopic::default().with_name(TopicName(text(topic))).with_partitions(vec![partition]);
    let request =
        AlterPartitionReassignmentsRequest::default().with_timeout_ms(30_000).with_topics(vec![topic]);
    let answer = cluster.broker(cluster.controller()).connect().request(0, &request);
    assert_eq!(answer.error_code, 0, "{answer:?}");
    answer.responses[0].partitions[0].error_code
}

/// All that is being reassigned. `None` where the controller is just another one.
pub(crate) fn reassigning(cluster: &Cluster) -> Option<UnderWay> {
    let request = ListPartitionReassignmentsRequest::default().with_timeout_ms(30_000).with_topics(None);
    let answer = cluster.broker(cluster.controller()).try_connect()?.try_request(0, &request).ok()?;
    let partitions = answer.topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(|one| {
            let lists = [&one.replicas, &one.adding_replicas, &one.removing_replicas];
            ((topic.name.to_string(), one.partition_index), lists.map(|ids| numbers(ids)))
        })
    });
    (answer.error_code == 0).then(|| partitions.collect())
}

#[track_caller]
pub(crate) fn until_nothing_is_reassigned(cluster: &Cluster) {
    cluster.until("nothing is being reassigned", |cluster| {
        reassigning(cluster).is_some_and(|under_way| under_way.is_empty())
    });
}
