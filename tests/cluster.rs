//! Several brokers on one ZooKeeper, ours and Apache's: whoever is controller, all know the same cluster and do what the
//! controller says.

mod support;

use std::collections::BTreeMap;

use kafka_protocol::messages::alter_partition_reassignments_request::{
    ReassignablePartition, ReassignableTopic,
};
use kafka_protocol::messages::{
    AlterPartitionReassignmentsRequest, BrokerId, ElectLeadersRequest, ListPartitionReassignmentsRequest,
    TopicName,
};
use support::cluster::Cluster;
use support::ensemble::Ensemble;
use support::requests::{create_topic, metadata, text};
use support::seat::{Broker, Kind};
use support::stock;
use support::znodes::{Body, ZnodeClient};

/// Request code of ZooKeeper's `delete`, and the version that stands for any.
const DELETE: i32 = 2;
const ANY_VERSION: i32 = -1;

/// Leader, replicas and in-sync replicas of each partition.
type Seen = BTreeMap<i32, (i32, Vec<i32>, Vec<i32>)>;

fn seen(broker: &Broker, topic: &str) -> Option<(i32, Seen)> {
    let answer = metadata(&mut broker.try_connect()?, topic).ok()?;
    let ids = |ids: &[BrokerId]| ids.iter().map(|id| id.0).collect::<Vec<i32>>();
    let partitions = &answer.topics.first()?.partitions;
    let seen = partitions
        .iter()
        .map(|one| (one.partition_index, (one.leader_id.0, ids(&one.replica_nodes), ids(&one.isr_nodes))));
    Some((answer.controller_id.0, seen.collect()))
}

/// Waits until all running brokers say the same, and it is as wanted.
fn agreed(cluster: &Cluster, topic: &str, what: &str, wanted: impl Fn(i32, &Seen) -> bool) -> Seen {
    cluster.await_some(&format!("all brokers agree on {topic}: {what}"), |cluster| {
        let running = cluster.brokers.iter().filter(|broker| broker.is_running());
        let mut all: Vec<(i32, Seen)> = running.map(|broker| seen(broker, topic)).collect::<Option<_>>()?;
        let (controller, first) = all.pop()?;
        let same = all.iter().all(|other| *other == (controller, first.clone()));
        (same && wanted(controller, &first)).then_some(first)
    })
}

/// Whether there are so many partitions, each led by one of its replicas, all of which are in sync.
fn whole(partitions: usize) -> impl Fn(i32, &Seen) -> bool {
    move |_, seen| {
        seen.len() == partitions
            && seen.values().all(|(leader, replicas, in_sync)| {
                replicas.contains(leader) && in_sync.len() == replicas.len()
            })
    }
}

/// Takes the office from whoever has it until it is `wanted`'s.
fn make_controller(cluster: &Cluster, wanted: i32) {
    cluster.until(&format!("broker {wanted} is controller"), |cluster| {
        if cluster.controller() == wanted {
            return true;
        }
        let mut zookeeper = ZnodeClient::open(cluster.ensemble.servers()[0].address());
        let _ = zookeeper.request(DELETE, &Body::default().string("/controller").int(ANY_VERSION));
        false
    });
}

fn reassign(cluster: &Cluster, topic: &str, partition: i32, replicas: &[i32]) {
    let replicas = replicas.iter().map(|id| BrokerId(*id)).collect();
    let partition =
        ReassignablePartition::default().with_partition_index(partition).with_replicas(Some(replicas));
    let topic =
        ReassignableTopic::default().with_name(TopicName(text(topic))).with_partitions(vec![partition]);
    let request =
        AlterPartitionReassignmentsRequest::default().with_timeout_ms(30_000).with_topics(vec![topic]);
    let answer = cluster.broker(cluster.controller()).connect().request(0, &request);
    assert_eq!(answer.error_code, 0, "{answer:?}");
    assert_eq!(answer.responses[0].partitions[0].error_code, 0, "{answer:?}");
}

fn until_nothing_is_reassigned(cluster: &Cluster) {
    let request = ListPartitionReassignmentsRequest::default().with_timeout_ms(30_000).with_topics(None);
    cluster.until("nothing is being reassigned", |cluster| {
        let mut controller = cluster.broker(cluster.controller()).connect();
        let answer = controller.request(0, &request);
        answer.error_code == 0 && answer.topics.is_empty()
    });
}

#[test]
fn topics_of_old_tools_are_led_on_when_the_controller_is_killed_and_handed_over_when_it_stops() {
    let mut cluster = Cluster::start_on(Ensemble::of(1, 0), &[Kind::Ours; 3], &[]);
    let connect = cluster.ensemble.connect_string();
    let create = ["--zookeeper", &connect, "--create", "--topic", "old"];
    let size = ["--partitions", "3", "--replication-factor", "2"];
    stock::tool("2.8.2", "kafka-topics", &[create.as_slice(), &size].concat(), "").success();
    agreed(&cluster, "old", "three partitions, two replicas each", whole(3));

    let killed = cluster.controller();
    cluster.broker_mut(killed).kill();
    agreed(&cluster, "old", "led by others, and another controller", |controller, seen| {
        controller != killed
            && seen.len() == 3
            && seen.values().all(|(leader, ..)| ![killed, -1].contains(leader))
    });
    cluster.broker_mut(killed).restart();
    agreed(&cluster, "old", "the killed one is back in sync", whole(3));

    let stopped = cluster.controller();
    let ended = cluster.broker_mut(stopped).stop();
    assert_eq!(ended.code, 0, "{ended}");
    assert!(ended.stderr.contains("leads nothing any more"), "{ended}");
    agreed(&cluster, "old", "led by others, and another controller", |controller, seen| {
        controller != stopped
            && seen.len() == 3
            && seen.values().all(|(leader, ..)| ![stopped, -1].contains(leader))
    });
}

#[test]
fn apaches_broker_obeys_ours_and_ours_obey_apaches() {
    let cluster = Cluster::start_on(Ensemble::of(1, 0), &[Kind::Ours, Kind::Ours, Kind::Apache], &[]);
    for (controller, topic) in [(3, "under-apache"), (1, "under-us")] {
        make_controller(&cluster, controller);
        agreed_on_controller(&cluster, controller);
        create_topic(&mut cluster.broker(controller).connect(), topic, 3, 2, &[]);
        let before = agreed(&cluster, topic, "three partitions, two replicas each", whole(3));

        // Each partition moves to the broker that has none of it, and its first replica goes.
        for (partition, (_, replicas, _)) in &before {
            let added = (1..=3).find(|id| !replicas.contains(id)).expect("one of three has none");
            reassign(&cluster, topic, *partition, &[added, replicas[1]]);
        }
        until_nothing_is_reassigned(&cluster);
        let after = agreed(&cluster, topic, "moved", |_, seen| {
            whole(3)(0, seen) && before.iter().all(|(partition, (_, old, _))| seen[partition].1 != *old)
        });
        for (partition, (_, replicas, _)) in &after {
            assert!(!replicas.contains(&before[partition].1[0]), "{before:?} became {after:?}");
        }

        let elect = ElectLeadersRequest::default().with_topic_partitions(None).with_timeout_ms(30_000);
        let elected = cluster.broker(controller).connect().request(2, &elect);
        assert_eq!(elected.error_code, 0, "{elected:?}");
        agreed(&cluster, topic, "preferred replicas lead", |_, seen| {
            seen.values().all(|(leader, replicas, _)| replicas.first() == Some(leader))
        });
    }

    // What is left on disk is what the assignment says.
    cluster.until("removed replicas are gone from disk", |cluster| {
        cluster.brokers.iter().all(|broker| {
            ["under-apache", "under-us"].iter().all(|topic| {
                let Some((_, seen)) = seen(broker, topic) else { return false };
                seen.iter().all(|(partition, (_, replicas, _))| {
                    broker.log_dir().join(format!("{topic}-{partition}")).exists()
                        == replicas.contains(&broker.id)
                })
            })
        })
    });
}

fn agreed_on_controller(cluster: &Cluster, wanted: i32) {
    cluster.until(&format!("all brokers know broker {wanted} as controller"), |cluster| {
        cluster.brokers.iter().all(|broker| {
            broker.try_connect().is_some_and(|mut connection| {
                metadata(&mut connection, "none").is_ok_and(|answer| answer.controller_id.0 == wanted)
            })
        })
    });
}
