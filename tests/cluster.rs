//! Several brokers on one ZooKeeper, ours and Apache's: whoever is controller, all know the same cluster and do what the
//! controller says.

mod support;

use kafka_protocol::messages::ElectLeadersRequest;
use support::assignments::{agreed, make_controller, reassign, seen, until_nothing_is_reassigned, whole};
use support::cluster::Cluster;
use support::ensemble::Ensemble;
use support::requests::create_topic;
use support::seat::Kind;
use support::stock;

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
    obey_each_other(&[]);
}

/// Followers name topics by name then, and the controller says less.
#[test]
fn they_obey_each_other_at_an_older_inter_broker_protocol_version() {
    obey_each_other(&[("inter.broker.protocol.version", "3.0")]);
}

#[track_caller]
fn obey_each_other(settings: &[(&str, &str)]) {
    let cluster = Cluster::start_on(Ensemble::of(1, 0), &[Kind::Ours, Kind::Ours, Kind::Apache], settings);
    let mut features = Vec::new();
    for (controller, topic) in [(3, "under-apache"), (1, "under-us")] {
        make_controller(&cluster, controller);
        features.push(told_of_features(&cluster, controller));
        create_topic(&mut cluster.broker(controller).connect(), topic, 3, 2, &[]);
        let before = agreed(&cluster, topic, "three partitions, two replicas each", whole(3));

        // Each partition moves to the broker that has none of it, and its first replica goes.
        for (partition, (_, replicas, _)) in &before {
            let added = (1..=3).find(|id| !replicas.contains(id)).expect("one of three has none");
            assert_eq!(reassign(&cluster, topic, *partition, Some(&[added, replicas[1]])), 0);
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

    assert_eq!(features[0], features[1], "kafka-features under Apache's controller, and under ours");

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

/// What `kafka-features` prints, and how it ends.
fn told_of_features(cluster: &Cluster, controller: i32) -> Vec<(i32, String)> {
    let bootstrap = cluster.broker(controller).bootstrap();
    let words: [&[&str]; 2] = [&["describe"], &["upgrade", "--feature", "metadata.version=20"]];
    let told = words.map(|words| {
        let arguments = [&["--bootstrap-server", bootstrap.as_str()], words].concat();
        let ended = stock::tool("3.9.1", "kafka-features", &arguments, "");
        (ended.code, ended.stdout + &ended.stderr)
    });
    told.to_vec()
}
