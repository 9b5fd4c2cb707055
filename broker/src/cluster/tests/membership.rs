//! Registration, election and sessions.

use coordinator::cluster::{IsrChange, Recovery, Reply};
use coordinator::replication::InSyncMember;
use storage::types::{LeaderEpoch, TopicPartition};

use super::*;
use crate::cluster::controller::{NotController, Question};
use crate::cluster::registration::RegistrationError;

#[tokio::test(flavor = "multi_thread")]
async fn the_tree_of_a_first_broker_is_the_captured_one() {
    let member = Member::join("tree", 0).await;
    member.knows(|cluster| cluster.controller() == Some(BrokerId(0))).await;

    let mut found = Vec::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        let path = if folder.is_empty() { "/" } else { &folder };
        let children = member.zookeeper.children(path).await.expect("listed").unwrap_or_default();
        folders.extend(children.iter().map(|child| format!("{folder}/{child}")));
        found.extend(children.iter().map(|child| format!("{folder}/{child}")));
    }
    found.sort_unstable();
    assert_eq!(
        found,
        [
            "/admin",
            "/admin/delete_topics",
            "/brokers",
            "/brokers/ids",
            "/brokers/ids/0",
            "/brokers/seqid",
            "/brokers/topics",
            "/config",
            "/config/brokers",
            "/config/changes",
            "/config/clients",
            "/config/ips",
            "/config/topics",
            "/config/users",
            "/consumers",
            "/controller",
            "/controller_epoch",
            "/feature",
            "/isr_change_notification",
            "/log_dir_event_notification",
        ]
    );
    assert_eq!(
        member.data("/brokers/ids/0").await.expect("registered"),
        r#"{"features":{},"listener_security_protocol_map":{"PLAINTEXT":"PLAINTEXT"},"endpoints":["PLAINTEXT://127.0.0.1:9092"],"jmx_port":-1,"port":9092,"host":"127.0.0.1","version":5,"timestamp":"1"}"#
    );
    assert_eq!(member.data("/controller_epoch").await.as_deref(), Some("1"));
    assert_eq!(member.data("/feature").await.as_deref(), Some(r#"{"features":{},"version":2,"status":1}"#));
    let stat = member.zookeeper.stat("/brokers/ids/0").await.expect("stat").expect("registered");
    assert_eq!((stat.version, stat.czxid), (1, member.replicas.epoch.load(Ordering::Acquire)));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_broker_takes_over_when_the_controller_goes() {
    let first = Member::join("failover", 1).await;
    first.knows(|cluster| cluster.controller() == Some(BrokerId(1))).await;
    let second = Member::join("failover", 2).await;
    let mut current = second.controller.current();
    let sees = |id| move |current: &Option<BrokerId>| *current == Some(BrokerId(id));
    timeout(PATIENCE, current.wait_for(sees(1))).await.expect("in time").expect("alive");
    let question = Question::ControlledShutdown { broker: BrokerId(2), broker_epoch: -1 };
    assert_eq!(second.controller.ask(question).await, Err(NotController));

    first.zookeeper.close().await;

    timeout(PATIENCE, current.wait_for(sees(2))).await.expect("in time").expect("alive");
    second.knows(|cluster| cluster.controller() == Some(BrokerId(2)) && cluster.brokers().len() == 1).await;
    assert_eq!(second.data("/controller_epoch").await.as_deref(), Some("2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_deletes_the_controllers_node_forces_an_election() {
    let member = Member::join("forced", 0).await;
    member.knows(|cluster| cluster.controller() == Some(BrokerId(0))).await;
    member.create_topic("t", r#"{"0":[0]}"#).await;
    member.has_replicas(&["t-0"]).await;

    member.zookeeper.delete(paths::CONTROLLER, None).await.expect("deleted");
    member.create_topic("u", r#"{"0":[0]}"#).await;

    member.has_replicas(&["t-0", "u-0"]).await;
    member.holds("/controller_epoch", "2").await;
    member.knows(|cluster| cluster.topic("u").is_some()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_broker_id_is_waited_for_and_then_refused() {
    let member = Member::join("taken", 0).await;
    let other = ensemble::connect("taken", Duration::from_secs(6)).await;
    let patience = Duration::from_millis(200);
    let refused = register(&other, &info(0), &OnlyTimeEndsSessions, patience, TimestampMs(2)).await;
    assert!(matches!(refused, Err(RegistrationError::Taken { id: BrokerId(0) })));

    let zookeeper = Arc::clone(&other);
    let waiting = tokio::spawn(async move {
        register(&zookeeper, &info(0), &OnlyTimeEndsSessions, PATIENCE, TimestampMs(3)).await
    });
    member.zookeeper.close().await;
    let epoch = waiting.await.expect("no panic").expect("registered once the other is gone");
    let stat = other.stat("/brokers/ids/0").await.expect("stat").expect("registered");
    assert_eq!(stat.czxid, epoch);
}

#[tokio::test(flavor = "multi_thread")]
async fn handlers_get_the_plans_answers() {
    let member = Member::join("questions", 0).await;
    member.create_topic("t", r#"{"0":[0]}"#).await;
    member.has_replicas(&["t-0"]).await;
    let broker_epoch = member.replicas.epoch.load(Ordering::Acquire);
    let change = IsrChange {
        partition: TopicPartition::new("t", 0),
        leader_epoch: LeaderEpoch(0),
        isr: vec![InSyncMember { broker: BrokerId(0), broker_epoch }],
        recovery: Recovery::Recovered,
        version: 0,
    };
    let question = Question::AlterPartition { broker: BrokerId(0), broker_epoch, changes: vec![change] };
    let Ok(Reply::AlterPartition(results)) = member.controller.ask(question).await else {
        panic!("no answer to AlterPartition");
    };
    assert!(results[&TopicPartition::new("t", 0)].is_ok());

    let ids = |epoch| member.controller.allocate_producer_ids(BrokerId(0), epoch);
    let first = ids(broker_epoch).await.expect("a block");
    let second = ids(broker_epoch).await.expect("a block");
    assert_eq!((first.first, first.last, second.first), (0, 999, 1000));
    assert!(ids(broker_epoch - 1).await.is_err());
    assert_eq!(
        member.data("/latest_producer_id_block").await.as_deref(),
        Some(r#"{"version":1,"broker":0,"block_start":"1000","block_end":"1999"}"#)
    );
}
