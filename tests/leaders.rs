//! Who leads a partition and who holds it: what operators ask for and what the controller does by itself, on our
//! brokers, on Apache's, and on both together.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kafka_protocol::messages::alter_partition_request::{BrokerState, PartitionData, TopicData};
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    AlterPartitionRequest, ControlledShutdownRequest, CreatePartitionsRequest, MetadataRequest,
    ProduceRequest, TopicName,
};
use support::assignments::{
    Seen, agreed, make_controller, place, reassign, reassigning, seen, until_nothing_is_reassigned, whole,
};
use support::cluster::Cluster;
use support::ensemble::Ensemble;
use support::mounts::Mount;
use support::process::PATIENCE;
use support::records::Batch;
use support::requests::{OF_BROKER, alter_config, create_topic, produce, text, try_produce};
use support::seat::{Kind, kind};
use support::stock;
use support::until;
use tempfile::TempDir;

const NOT_ENOUGH_REPLICAS: i16 = 19;
const REQUEST_TIMED_OUT: i16 = 7;
const NO_REASSIGNMENT_IN_PROGRESS: i16 = 85;

/// What `kafka-reassign-partitions` reads.
fn plan(folder: &TempDir, moves: &[(&str, i32, &[i32])]) -> String {
    let partitions: Vec<serde_json::Value> = moves
        .iter()
        .map(|(topic, partition, replicas)| {
            serde_json::json!({"topic": topic, "partition": partition, "replicas": replicas})
        })
        .collect();
    let path = folder.path().join("moves.json");
    fs::write(&path, serde_json::json!({"version": 1, "partitions": partitions}).to_string())
        .expect("written");
    path.display().to_string()
}

/// Unit: bytes.
fn log_size(log_dir: &Path, partition: &str) -> u64 {
    let Ok(entries) = fs::read_dir(log_dir.join(partition)) else { return 0 };
    let logs =
        entries.filter_map(Result::ok).filter(|one| one.path().extension().is_some_and(|e| e == "log"));
    logs.filter_map(|one| Some(one.metadata().ok()?.len())).sum()
}

/// Fills partition 0 with about a megabyte at a time.
#[track_caller]
fn fill(cluster: &Cluster, topic: &str, megabytes: usize) {
    let mut leader = cluster.broker(cluster.leader(topic, 0)).connect();
    let batch = Batch::of(&[&"x".repeat(950_000)]).encode();
    for _ in 0..megabytes {
        produce(&mut leader, topic, 0, &batch);
    }
}

#[test]
fn partitions_move_by_tools_of_both_versions_within_the_throttle_and_back_when_the_wish_is_taken_back() {
    let settings = [("auto.leader.rebalance.enable", "false"), ("replication.quota.window.num", "2")];
    let kinds = [kind(), kind(), Kind::Apache];
    let cluster = Cluster::start_on(Ensemble::of(1, 0), &kinds, &settings);
    for (controller, [stays, leaves, frozen]) in [(3, [3, 1, 2]), (1, [1, 2, 3])] {
        make_controller(&cluster, controller);
        take_back(&cluster, controller, [stays, leaves, frozen]);
    }
    let folder = TempDir::new().expect("a folder");
    move_by_the_old_tool(&cluster, &folder);
    move_throttled(&cluster, &folder);
}

/// The one that is to get the partition does not answer, so that the move is under way until it is taken back.
#[track_caller]
fn take_back(cluster: &Cluster, controller: i32, [stays, leaves, frozen]: [i32; 3]) {
    let topic = format!("kept-by-{controller}");
    let replicas = [stays, leaves];
    place(cluster, &topic, &[&replicas], &[]);
    assert_eq!(reassign(cluster, &topic, 0, None), NO_REASSIGNMENT_IN_PROGRESS);

    cluster.broker(frozen).pause();
    assert_eq!(reassign(cluster, &topic, 0, Some(&[frozen, stays])), 0);
    let under_way = reassigning(cluster).expect("the controller answers");
    let expected = [vec![frozen, stays, leaves], vec![frozen], vec![leaves]];
    assert_eq!(under_way, BTreeMap::from([((topic.clone(), 0), expected)]));
    assert_eq!(reassign(cluster, &topic, 0, None), 0);
    until_nothing_is_reassigned(cluster);
    cluster.broker(frozen).resume();

    agreed(cluster, &topic, "as it was", |_, seen| {
        let (leader, now, in_sync) = &seen[&0];
        *leader == stays && *now == replicas && in_sync.len() == 2
    });
    cluster.until("nothing is left of the move", |cluster| {
        !cluster.broker(frozen).log_dir().join(format!("{topic}-0")).exists()
    });
    let after = Batch::of(&["after"]).encode();
    assert_eq!(produce(&mut cluster.broker(stays).connect(), &topic, 0, &after), 0);
}

/// Kafka 2.8's tool writes the wish into ZooKeeper, and looks there whether it was fulfilled.
#[track_caller]
fn move_by_the_old_tool(cluster: &Cluster, folder: &TempDir) {
    place(cluster, "old", &[&[1, 2], &[2, 3]], &[]);
    let connect = cluster.ensemble.connect_string();
    let file = plan(folder, &[("old", 0, &[3, 2]), ("old", 1, &[1, 3])]);
    let tool = |action: &str| {
        let arguments = ["--zookeeper", &connect, "--reassignment-json-file", &file, action];
        stock::tool("2.8.2", "kafka-reassign-partitions", &arguments, "").success()
    };
    let told = tool("--execute");
    assert!(told.contains("Successfully started partition reassignments for old-0,old-1"), "{told}");
    agreed(cluster, "old", "moved", |_, seen| {
        whole(2)(0, seen) && seen[&0].1 == [3, 2] && seen[&1].1 == [1, 3]
    });
    cluster.until("the list of wishes is gone", |cluster| {
        !cluster.ensemble.exists("/admin/reassign_partitions")
    });
    let told = tool("--verify");
    for partition in ["old-0", "old-1"] {
        assert!(told.contains(&format!("Reassignment of partition {partition} is complete.")), "{told}");
    }
}

/// One partition from Apache's broker to ours and one the other way, not faster than allowed.
#[track_caller]
fn move_throttled(cluster: &Cluster, folder: &TempDir) {
    const MEGABYTES: usize = 12;
    const RATE: u64 = 2_000_000;
    let topics = ["to-ours", "to-apaches"];
    place(cluster, topics[0], &[&[3]], &[]);
    place(cluster, topics[1], &[&[2]], &[]);
    topics.iter().for_each(|topic| fill(cluster, topic, MEGABYTES));
    let file = plan(folder, &[(topics[0], 0, &[1]), (topics[1], 0, &[3])]);
    let bootstrap = cluster.bootstrap();
    let tool = |more: &[&str]| {
        let arguments = ["--bootstrap-server", &bootstrap, "--reassignment-json-file", &file];
        stock::tool("3.9.1", "kafka-reassign-partitions", &[&arguments, more].concat(), "").success()
    };
    let began = Instant::now();
    let told = tool(&["--execute", "--throttle", &RATE.to_string()]);
    assert!(told.contains("The inter-broker throttle limit was set to 2000000 B/s"), "{told}");

    let targets = [(1, "to-ours-0"), (3, "to-apaches-0")];
    let copied = |(id, partition): &(i32, &str)| log_size(&cluster.broker(*id).log_dir(), partition);
    let whole = (MEGABYTES * 950_000) as u64;
    let mut times: [Option<Duration>; 2] = [None; 2];
    while times.contains(&None) {
        assert!(began.elapsed() < PATIENCE, "copied so far: {:?}", targets.each_ref().map(copied));
        for (target, time) in targets.iter().zip(&mut times) {
            if time.is_none() && copied(target) >= whole {
                *time = Some(began.elapsed());
            }
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
    // Quotas look back over two windows of a second, and an answer that was begun is finished.
    let least = Duration::from_secs((whole - 2 * 1_048_576) / RATE - 1);
    for (target, time) in targets.iter().zip(times) {
        let time = time.expect("copied");
        println!("{target:?}: {whole} bytes in {time:?} at {RATE} bytes a second");
        assert!(time >= least, "{target:?}: {whole} bytes in {time:?} at {RATE} bytes a second");
    }
    until_nothing_is_reassigned(cluster);
    let told = tool(&["--verify"]);
    assert!(told.contains("Clearing broker-level throttles on brokers 1,2,3"), "{told}");
    for topic in topics {
        let (config, _) = cluster.ensemble.read(&format!("/config/topics/{topic}")).expect("its configs");
        let config = String::from_utf8_lossy(&config).into_owned();
        assert!(!config.contains("throttled"), "{config}");
    }
}

/// A broker is in every second rack.
const RACKS: [&str; 3] = ["east", "west", "east"];

#[test]
fn leaders_are_where_they_should_be_and_nobody_out_of_sync_leads_unless_it_is_allowed() {
    let settings = RACKS.map(|rack| {
        [
            ("broker.rack", rack),
            ("leader.imbalance.check.interval.seconds", "1"),
            ("leader.imbalance.per.broker.percentage", "20"),
            ("controlled.shutdown.max.retries", "4"),
            ("controlled.shutdown.retry.backoff.ms", "100"),
        ]
    });
    let each: Vec<_> = settings.iter().map(|settings| (kind(), settings.as_slice())).collect();
    let mut cluster = Cluster::start_each(Ensemble::of(1, 0), &each);
    replicas_are_in_both_racks(&cluster);
    in_sync_sets_change_in_the_words_of_every_version(&cluster);
    fetchers_are_more_and_fewer(&cluster);
    too_few_in_sync(&cluster);
    leaders_come_back(&mut cluster);
    unclean_elections(&mut cluster);
}

#[track_caller]
fn replicas_are_in_both_racks(cluster: &Cluster) {
    let in_both = |_: i32, seen: &Seen| {
        seen.values().all(|(_, replicas, _)| replicas.len() == 2 && replicas.contains(&2))
    };
    let mut controller = cluster.broker(cluster.controller()).connect();
    create_topic(&mut controller, "spread", 6, 2, &[]);
    agreed(cluster, "spread", "in both racks", |controller, seen| {
        whole(6)(controller, seen) && in_both(controller, seen)
    });
    let grown = CreatePartitionsTopic::default()
        .with_name(TopicName(text("spread")))
        .with_count(12)
        .with_assignments(None);
    let grow = CreatePartitionsRequest::default().with_topics(vec![grown]).with_timeout_ms(30_000);
    let answer = controller.request(3, &grow);
    assert_eq!(answer.results[0].error_code, 0, "{answer:?}");
    let all = agreed(cluster, "spread", "the new ones as well", |controller, seen| {
        whole(12)(controller, seen) && in_both(controller, seen)
    });
    let preferred = |id: i32| all.values().filter(|(_, replicas, _)| replicas[0] == id).count();
    assert!((1..=3).all(|id| preferred(id) > 0), "everybody is to lead something: {all:?}");
}

/// The test speaks for the leader; AlterPartition.
#[track_caller]
fn in_sync_sets_change_in_the_words_of_every_version(cluster: &Cluster) {
    place(cluster, "altered", &[&[1, 2]], &[]);
    let epoch_of =
        |id: i32| cluster.ensemble.read(&format!("/brokers/ids/{id}")).expect("registered").1.czxid;
    let mut controller = cluster.broker(cluster.controller()).connect();
    let named = MetadataRequestTopic::default().with_name(Some(TopicName(text("altered"))));
    let asked = MetadataRequest::default().with_topics(Some(vec![named]));
    let id = controller.request(12, &asked).topics[0].topic_id;
    for (version, in_sync) in (0..=3).flat_map(|version| [(version, vec![1]), (version, vec![1, 2])]) {
        let (_, state) =
            cluster.ensemble.read("/brokers/topics/altered/partitions/0/state").expect("it has a leader");
        let partition = PartitionData::default().with_leader_epoch(0).with_partition_epoch(state.version);
        let partition = match version {
            3 => {
                let member = |id: &i32| {
                    BrokerState::default().with_broker_id((*id).into()).with_broker_epoch(epoch_of(*id))
                };
                partition.with_new_isr_with_epochs(in_sync.iter().map(member).collect())
            }
            _ => partition.with_new_isr(in_sync.iter().map(|id| (*id).into()).collect()),
        };
        let topic = match version {
            0 | 1 => TopicData::default().with_topic_name(TopicName(text("altered"))),
            _ => TopicData::default().with_topic_id(id),
        };
        let request = AlterPartitionRequest::default()
            .with_broker_id(1.into())
            .with_broker_epoch(epoch_of(1))
            .with_topics(vec![topic.with_partitions(vec![partition])]);
        let answer = controller.request(version, &request);
        assert_eq!(answer.error_code, 0, "version {version}: {answer:?}");
        let altered = &answer.topics[0].partitions[0];
        assert_eq!(altered.error_code, 0, "version {version}: {answer:?}");
        assert_eq!(altered.partition_epoch, state.version + 1, "version {version}: {answer:?}");
        assert_eq!(cluster.decided("altered", 0), Some((1, in_sync)), "version {version}");
    }
}

/// num.replica.fetchers of a broker, while it runs; each has a connection.
#[track_caller]
fn fetchers_are_more_and_fewer(cluster: &Cluster) {
    place(cluster, "fetched", &[&[1, 2], &[1, 2]], &[]);
    let connections = || cluster.broker(2).connections_to(cluster.broker(1).port);
    let before = connections();
    assert!(before > 0);
    let alter = |count: Option<&str>| {
        alter_config(&mut cluster.broker(2).connect(), OF_BROKER, "2", "num.replica.fetchers", count);
    };
    alter(Some("2"));
    cluster.until("one fetcher more", |_| connections() == before + 1);
    alter(None);
    cluster.until("one fetcher less", |_| connections() == before);
    let batch = Batch::of(&["copied after all"]).encode();
    for partition in 0..2 {
        produce(&mut cluster.broker(1).connect(), "fetched", partition, &batch);
    }
}

/// A write that waits for a follower which then falls out, and one that comes after.
#[track_caller]
fn too_few_in_sync(cluster: &Cluster) {
    place(cluster, "strict", &[&[1, 2]], &[("min.insync.replicas", "2")]);
    let mut leader = cluster.broker(1).connect();
    let data = PartitionProduceData::default().with_records(Some(Batch::of(&["waits"]).encode()));
    let data =
        TopicProduceData::default().with_name(TopicName(text("strict"))).with_partition_data(vec![data]);
    let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(15_000).with_topic_data(vec![data]);
    cluster.broker(2).pause();
    leader.send(9, &request).expect("sent");
    let waited = leader.receive::<ProduceRequest>(9).expect("an answer");
    assert_eq!(waited.responses[0].partition_responses[0].error_code, REQUEST_TIMED_OUT, "{waited:?}");
    until("the follower to have fallen out", || cluster.decided("strict", 0) == Some((1, vec![1])));
    until("the leader to have heard of it", || {
        let after = try_produce(&mut leader, "strict", 0, -1, &Batch::of(&["comes after"]).encode());
        let error = after.expect("an answer").0;
        assert!([NOT_ENOUGH_REPLICAS, REQUEST_TIMED_OUT].contains(&error), "error {error}");
        error == NOT_ENOUGH_REPLICAS
    });
    let at_one = try_produce(&mut leader, "strict", 0, 1, &Batch::of(&["for one"]).encode());
    assert_eq!(at_one.expect("an answer").0, 0, "min.insync.replicas is for acks=all");
    cluster.broker(2).resume();
    agreed(cluster, "strict", "both are in sync again", whole(1));
}

/// Whoever was away gets its leaderships back by itself.
#[track_caller]
fn leaders_come_back(cluster: &mut Cluster) {
    let away = (1..=3).find(|id| *id != cluster.controller()).expect("one of three");
    let mut controller = cluster.broker(cluster.controller()).connect();
    // In the words of every version, and then in its own.
    for version in 0..=3 {
        let leave = ControlledShutdownRequest::default().with_broker_id(away.into());
        let leave = if version < 2 { leave } else { leave.with_broker_epoch(-1) };
        let answer = controller.request(version, &leave);
        assert_eq!((answer.error_code, answer.remaining_partitions.len()), (0, 0), "{answer:?}");
        agreed(cluster, "spread", "handed over to the others", |_, seen| {
            seen.values().all(|(leader, ..)| ![away, -1].contains(leader))
        });
    }
    cluster.broker_mut(away).stop();
    agreed(cluster, "spread", "led by the others", |_, seen| {
        seen.values().all(|(leader, replicas, _)| ![away, -1].contains(leader) && replicas.contains(leader))
    });
    cluster.broker_mut(away).restart();
    agreed(cluster, "spread", "led by the preferred ones", |controller, seen| {
        whole(12)(controller, seen) && seen.values().all(|(leader, replicas, _)| *leader == replicas[0])
    });
}

/// min.insync.replicas of all brokers, while they run; only one of two is in sync.
#[track_caller]
fn too_few_by_default(cluster: &Cluster, leader: i32, topic: &str) {
    let one = Batch::of(&["taken only where one is enough"]).encode();
    let outcome = || {
        let answer = try_produce(&mut cluster.broker(leader).connect(), topic, 0, -1, &one);
        answer.expect("an answer").0
    };
    for (least, expected) in [(Some("2"), NOT_ENOUGH_REPLICAS), (None, 0)] {
        alter_config(&mut cluster.broker(leader).connect(), OF_BROKER, "", "min.insync.replicas", least);
        cluster.until("the leader has heard of it", |_| outcome() == expected);
    }
}

#[track_caller]
fn unclean_elections(cluster: &mut Cluster) {
    let controller = cluster.controller();
    let others: Vec<i32> = (1..=3).filter(|id| *id != controller).collect();
    let (first, second) = (others[0], others[1]);
    let topics = ["by-config", "by-tool", "by-default"];
    topics.iter().for_each(|topic| place(cluster, topic, &[&[first, second]], &[]));
    cluster.broker_mut(second).kill();
    for topic in topics {
        let one = Batch::of(&["only the first has it"]).encode();
        produce(&mut cluster.broker(first).connect(), topic, 0, &one);
        cluster.until("only the first is in sync", |cluster| {
            cluster.leadership(topic, 0).is_some_and(|(_, in_sync)| in_sync == [first])
        });
    }
    too_few_by_default(cluster, first, topics[0]);
    let attempts = |cluster: &Cluster| {
        let told = cluster.broker(first).printed();
        let in_vain = ["some leaderships could not be handed over yet", "partitions remaining to move"];
        in_vain.iter().map(|words| told.matches(words).count()).sum::<usize>()
    };
    let before = attempts(cluster);
    let ended = cluster.broker_mut(first).stop();
    assert!([0, 143].contains(&ended.code), "{ended}");
    assert_eq!(attempts(cluster) - before, 4, "controlled.shutdown.max.retries: only it has all records");
    cluster.broker_mut(second).restart();
    for topic in topics {
        agreed(cluster, topic, "nobody leads", |_, seen| seen[&0] == (-1, vec![first, second], vec![first]));
    }

    let bootstrap = cluster.broker(controller).bootstrap();
    let entity = ["--bootstrap-server", &bootstrap, "--entity-type", "topics", "--entity-name", topics[0]];
    let change = ["--alter", "--add-config", "unclean.leader.election.enable=true"];
    stock::tool("3.9.1", "kafka-configs", &[&entity[..], &change].concat(), "").success();
    let election = ["--bootstrap-server", &bootstrap, "--election-type", "unclean"];
    let of = ["--topic", topics[1], "--partition", "0"];
    let told = stock::tool("3.9.1", "kafka-leader-election", &[&election[..], &of].concat(), "").success();
    assert!(told.contains("Successfully completed leader election (UNCLEAN)"), "{told}");
    // Of all brokers: the controller does not ask what it was started with.
    let unclean = "unclean.leader.election.enable";
    alter_config(&mut cluster.broker(controller).connect(), OF_BROKER, "", unclean, Some("true"));
    for topic in topics {
        agreed(cluster, topic, "led by who was out of sync", |_, seen| {
            seen[&0].0 == second && seen[&0].2 == [second]
        });
        let another = Batch::of(&["another"]).encode();
        assert_eq!(
            produce(&mut cluster.broker(second).connect(), topic, 0, &another),
            0,
            "the first's is gone"
        );
    }
    cluster.broker_mut(first).restart();
    for topic in topics {
        cluster.wait_until_in_sync(topic, 0, 2);
    }
}

#[test]
fn who_loses_a_log_directory_goes_on_with_the_other_and_its_leaderships_are_taken_away() {
    let (Some(one), Some(other)) = (Mount::ext4(40 << 20), Mount::ext4(40 << 20)) else { return };
    let kept = TempDir::new().expect("a folder");
    let dirs = |mount: &Mount, id: i32| -> String {
        let folders: [PathBuf; 2] = [mount.path().join("logs"), kept.path().join(id.to_string())];
        folders.map(|folder| folder.display().to_string()).join(",")
    };
    let (ours, apaches) = (dirs(&one, 1), dirs(&other, 2));
    let settings =
        |dirs| [("log.dirs", dirs), ("auto.leader.rebalance.enable", "false"), ("num.replica.fetchers", "1")];
    let third = [("auto.leader.rebalance.enable", "false")];
    let cluster = Cluster::start_each(
        Ensemble::of(1, 0),
        &[(kind(), &settings(&ours)), (Kind::Apache, &settings(&apaches)), (kind(), &third)],
    );
    // Two partitions a broker: one in each of its directories.
    place(&cluster, "of-one", &[&[1, 3], &[1, 3]], &[]);
    place(&cluster, "of-two", &[&[2, 3], &[2, 3]], &[]);
    for (controller, failing, mount, topic) in [(2, 1, &one, "of-one"), (3, 2, &other, "of-two")] {
        make_controller(&cluster, controller);
        let lost = (0..2).find(|at| mount.path().join(format!("logs/{topic}-{at}")).exists());
        let lost = lost.expect("one of the partitions lies on the disk that fails");
        mount.fail();
        cluster.until("the failure is noticed, and another leads", |cluster| {
            let mut leader = cluster.broker(failing).connect();
            let _ = try_produce(&mut leader, topic, lost, 1, &Batch::of(&["nowhere to go"]).encode());
            seen(cluster.broker(3), topic).is_some_and(|(_, seen)| seen[&lost].0 == 3 && seen[&lost].2 == [3])
        });
        let after = agreed(&cluster, topic, "the other partition stays", |_, seen| {
            seen[&lost].0 == 3 && seen[&(1 - lost)] == (failing, vec![failing, 3], vec![failing, 3])
        });
        let more = Batch::of(&["more"]).encode();
        for partition in 0..2 {
            produce(&mut cluster.broker(after[&partition].0).connect(), topic, partition, &more);
        }
        cluster.until("the notice is taken", |cluster| {
            !cluster.ensemble.exists("/log_dir_event_notification/log_dir_event_0000000000")
        });
    }
}
