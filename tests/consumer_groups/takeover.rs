//! A partition of the offsets topic goes from our coordinator to Apache's on ZooKeeper and back: it passes over what it
//! does not know, serves the offsets, and gives the group back as it was.

use kafka_protocol::messages::FindCoordinatorRequest;

use crate::asking::text;
use crate::conversations::{beating, committing, fetching, joining};
use crate::support::cluster::{Cluster, Member};
use crate::support::ensemble::Ensemble;
use crate::support::requests::create_topic;
use crate::support::seat::Kind;
use crate::support::wire::Connection;

const GROUP: &str = "carried";
const TOPIC: &str = "carried-topic";
const OURS: i32 = 1;
const APACHES: i32 = 2;
const UNSUPPORTED_VERSION: i16 = 35;

const SHARED: [(&str, &str); 5] = [
    ("offsets.topic.replication.factor", "2"),
    ("offsets.topic.num.partitions", "1"),
    ("zookeeper.session.timeout.ms", "4000"),
    ("replica.fetch.backoff.ms", "200"),
    ("auto.leader.rebalance.enable", "false"),
];

/// Asks the coordinator, once `broker` is it, until it gives an answer.
#[track_caller]
fn ask<T>(cluster: &Cluster, broker: i32, what: &str, ask: impl Fn(&mut Connection) -> Option<T>) -> T {
    cluster.await_some(what, |cluster| {
        let request = FindCoordinatorRequest::default().with_key(text(GROUP));
        let mut connection = cluster.broker(broker).try_connect()?;
        let answer = connection.try_request(3, &request).ok()?;
        (answer.error_code == 0 && answer.node_id.0 == broker).then_some(())?;
        ask(&mut connection)
    })
}

/// Stops `other`, so that `broker` leads, and starts it again as a follower.
#[track_caller]
fn hand_to(cluster: &mut Cluster, broker: i32, other: i32) {
    cluster.wait_until_in_sync("__consumer_offsets", 0, 2);
    cluster.broker_mut(other).stop();
    cluster.until("the other leads the offsets topic", |cluster| {
        cluster.leadership("__consumer_offsets", 0).is_some_and(|(leader, _)| leader == broker)
    });
    cluster.broker_mut(other).restart();
    cluster.wait_until_in_sync("__consumer_offsets", 0, 2);
}

#[track_caller]
fn committed(cluster: &Cluster, broker: i32) -> i64 {
    ask(cluster, broker, "the committed offset", |connection| {
        let answer = connection.try_request(8, &fetching(GROUP, None, -1, TOPIC)).ok()?;
        let group = answer.groups.first()?;
        (group.error_code == 0).then(|| group.topics[0].partitions[0].committed_offset)
    })
}

#[track_caller]
fn commit(cluster: &Cluster, broker: i32, member: &str, epoch: i32, offset: i64) {
    ask(cluster, broker, "an offset to be committed", |connection| {
        let mut request = committing(GROUP, member, epoch, TOPIC);
        request.topics[0].partitions[0].committed_offset = offset;
        let answer = connection.try_request(9, &request).ok()?;
        (answer.topics[0].partitions[0].error_code == 0).then_some(())
    });
}

pub(crate) fn there_and_back() {
    let offered = [("group.coordinator.rebalance.protocols", "classic,consumer")];
    let ours: Vec<_> = SHARED.iter().chain(&offered).copied().collect();
    let members: [Member<'_>; 2] = [(Kind::Ours, &ours), (Kind::Apache, &SHARED)];
    let mut cluster = Cluster::start_each(Ensemble::of(1, 0), &members);
    let mut controller = cluster.broker(cluster.controller()).connect();
    create_topic(&mut controller, TOPIC, 2, 2, &[]);
    cluster.await_some("a coordinator", |cluster| {
        let request = FindCoordinatorRequest::default().with_key(text(GROUP));
        let answer = cluster.broker(OURS).try_connect()?.try_request(3, &request).ok()?;
        (answer.error_code == 0).then_some(())
    });
    if cluster.leader("__consumer_offsets", 0) != OURS {
        hand_to(&mut cluster, OURS, APACHES);
    }

    let joined = ask(&cluster, OURS, "the member to get both partitions", |connection| {
        let answer = connection.try_request(0, &joining(GROUP, "a", &[TOPIC])).ok()?;
        let all = answer.assignment.iter().flat_map(|it| &it.topic_partitions).map(|it| it.partitions.len());
        (answer.error_code == 0 && all.sum::<usize>() == 2).then_some(answer)
    });
    commit(&cluster, OURS, "a", joined.member_epoch, 5);

    hand_to(&mut cluster, APACHES, OURS);
    assert_eq!(
        committed(&cluster, APACHES),
        5,
        "Apache's coordinator has read past the records it does not know"
    );
    let refused = ask(&cluster, APACHES, "an answer to the heartbeat", |connection| {
        Some(connection.try_request(0, &beating(GROUP, "a", joined.member_epoch)).ok()?.error_code)
    });
    assert_eq!(refused, UNSUPPORTED_VERSION);
    commit(&cluster, APACHES, "", -1, 6);

    hand_to(&mut cluster, OURS, APACHES);
    assert_eq!(committed(&cluster, OURS), 6);
    let heard = ask(&cluster, OURS, "an answer to the heartbeat", |connection| {
        connection.try_request(0, &beating(GROUP, "a", joined.member_epoch)).ok()
    });
    assert_eq!(
        (heard.error_code, heard.member_epoch),
        (0, joined.member_epoch),
        "the member is where it was"
    );
}
