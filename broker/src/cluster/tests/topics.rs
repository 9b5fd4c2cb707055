//! Topics made, grown and deleted through ZooKeeper, as the 2.8 tools do.

use super::*;
use crate::cluster::znodes;

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_of_the_old_tool_gets_an_id_states_and_replicas() {
    let member = Member::join("topic-create", 0).await;

    member.create_topic("old", r#"{"0":[0],"1":[0]}"#).await;

    member.has_replicas(&["old-0", "old-1"]).await;
    let text = member.data("/brokers/topics/old").await.expect("the topic");
    let record = znodes::topic("old", text.as_bytes()).expect("readable");
    let id = record.id.expect("an id");
    assert_eq!(
        text,
        format!(
            r#"{{"partitions":{{"0":[0],"1":[0]}},"topic_id":"{id}","adding_replicas":{{}},"removing_replicas":{{}},"version":3}}"#
        )
    );
    let state = member.data("/brokers/topics/old/partitions/1/state").await.expect("a state");
    assert_eq!(state, r#"{"controller_epoch":1,"leader":0,"version":1,"leader_epoch":0,"isr":[0]}"#);
    member.knows(|cluster| cluster.topic_by_id(id).is_some_and(|topic| topic.partitions.len() == 2)).await;
    let cluster = member.replicas.metadata.snapshot();
    assert_eq!(cluster.controller(), Some(BrokerId(0)));
    assert_eq!(cluster.node(BrokerId(0), "PLAINTEXT").map(|node| node.port), Some(9092));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_grows_when_its_assignment_does() {
    let member = Member::join("topic-grow", 0).await;
    member.create_topic("t", r#"{"0":[0]}"#).await;
    member.has_replicas(&["t-0"]).await;

    let grown = r#"{"partitions":{"0":[0],"1":[0]},"topic_id":"b3GjRiPyReiK4wMiubZheQ","adding_replicas":{},"removing_replicas":{},"version":3}"#;
    member.zookeeper.set("/brokers/topics/t", grown.as_bytes(), None).await.expect("written");

    member.has_replicas(&["t-0", "t-1"]).await;
    assert!(member.data("/brokers/topics/t/partitions/1/state").await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_topic_leaves_nothing_behind_and_may_come_again() {
    let member = Member::join("topic-delete", 0).await;
    member.create_topic("t", r#"{"0":[0],"1":[0]}"#).await;
    member.has_replicas(&["t-0", "t-1"]).await;

    member.create("/admin/delete_topics/t", "").await;
    member.create("/admin/delete_topics/unknown", "").await;

    for path in
        ["/admin/delete_topics/t", "/admin/delete_topics/unknown", "/brokers/topics/t", "/config/topics/t"]
    {
        member.is_gone(path).await;
    }
    member.has_replicas(&[]).await;
    member.knows(|cluster| cluster.topic("t").is_none()).await;

    member.create_topic("t", r#"{"0":[0]}"#).await;
    member.has_replicas(&["t-0"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_made_while_there_was_no_controller_are_found_by_the_next_one() {
    let first = Member::join("topic-found", 0).await;
    first.create_topic("before", r#"{"0":[0]}"#).await;
    first.has_replicas(&["before-0"]).await;
    first.zookeeper.close().await;
    let tool = ensemble::connect("topic-found", Duration::from_secs(6)).await;
    let data = br#"{"partitions":{"0":[0]},"adding_replicas":{},"removing_replicas":{},"version":3}"#;
    tool.create("/brokers/topics/meanwhile", data, Lifetime::Persistent).await.expect("created");

    let next = Member::join("topic-found", 0).await;

    next.has_replicas(&["before-0", "meanwhile-0"]).await;
    assert_eq!(next.data("/controller_epoch").await.as_deref(), Some("2"));
}
