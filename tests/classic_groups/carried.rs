//! The partition of the offsets topic goes from one broker to another and back while a group lives: its member, generation,
//! assignment and offsets go with it, and what was deleted stays so. One of the brokers is Apache's.

use std::time::Duration;

use kafka_protocol::messages::elect_leaders_request::TopicPartitions;
use kafka_protocol::messages::{
    DeleteGroupsRequest, DescribeGroupsRequest, ElectLeadersRequest, FindCoordinatorRequest,
    JoinGroupRequest, TopicName,
};

use crate::support::assignments::{agreed, place, reassign, until_nothing_is_reassigned, whole};
use crate::support::cluster::{Cluster, Member};
use crate::support::ensemble::Ensemble;
use crate::support::requests::{text, try_committed};
use crate::support::seat::{Kind, kind};
use crate::support::wire::Connection;
use crate::{NONE, beat, committing, given_id, group, is_loaded, joining, leave, sync};

const OFFSETS_TOPIC: &str = "__consumer_offsets";
const TOPIC: &str = "carried-topic";
const GROUP: &str = "carried";
/// Holds offsets only, and is deleted on the way.
const DOOMED: &str = "doomed";
const NOT_COORDINATOR: i16 = 16;
const SESSION: Duration = Duration::from_secs(30);

const SHARED: [(&str, &str); 3] = [
    ("offsets.topic.replication.factor", "2"),
    ("offsets.topic.num.partitions", "1"),
    ("auto.leader.rebalance.enable", "false"),
];

/// A connection to `broker` once it coordinates and has loaded the groups.
#[track_caller]
fn coordinator(cluster: &Cluster, broker: i32) -> Connection {
    cluster.await_some(&format!("broker {broker} coordinates"), |cluster| {
        let mut connection = cluster.broker(broker).try_connect()?;
        let request = FindCoordinatorRequest::default().with_key(text(GROUP));
        let found = connection.try_request(3, &request).ok()?;
        (found.error_code == NONE && found.node_id.0 == broker && is_loaded(&mut connection, GROUP))
            .then_some(connection)
    })
}

/// Makes `broker` the leader of the offsets topic, by a reassignment and an election.
#[track_caller]
fn hand_to(cluster: &Cluster, broker: i32, other: i32) -> Connection {
    assert_eq!(reassign(cluster, OFFSETS_TOPIC, 0, Some(&[broker, other])), NONE);
    until_nothing_is_reassigned(cluster);
    let partitions = TopicPartitions::default().with_topic(TopicName(text(OFFSETS_TOPIC)));
    let request = ElectLeadersRequest::default()
        .with_topic_partitions(Some(vec![partitions.with_partitions(vec![0])]))
        .with_timeout_ms(30_000);
    cluster.broker(cluster.controller()).connect().request(2, &request);
    agreed(cluster, OFFSETS_TOPIC, "led by another", |_, seen| seen[&0].0 == broker);
    coordinator(cluster, broker)
}

/// State, and of each member its id and assignment, by id.
fn described(connection: &mut Connection, name: &str) -> (String, Vec<(String, Vec<u8>)>) {
    let request = DescribeGroupsRequest::default().with_groups(vec![group(name)]);
    let answer = connection.request(4, &request);
    let told = &answer.groups[0];
    let members = told.members.iter();
    let members = members.map(|member| (member.member_id.to_string(), member.member_assignment.to_vec()));
    let mut members: Vec<(String, Vec<u8>)> = members.collect();
    members.sort();
    (told.group_state.to_string(), members)
}

#[track_caller]
fn commit(connection: &mut Connection, name: &str, generation: i32, member: &str, offset: i64) {
    let mut request = committing(name, TOPIC, generation, member, -1);
    request.topics[0].partitions[0].committed_offset = offset;
    let answer = connection.request(8, &request);
    assert_eq!(answer.topics[0].partitions[0].error_code, NONE, "{answer:?}");
}

#[test]
fn a_group_goes_with_its_partition_to_apaches_broker_and_back() {
    const OURS: i32 = 1;
    const APACHES: i32 = 2;
    let members: [Member<'_>; 2] = [(kind(), &SHARED), (Kind::Apache, &SHARED)];
    let cluster = Cluster::start_each(Ensemble::of(1, 0), &members);
    place(&cluster, TOPIC, &[&[OURS, APACHES]], &[]);
    cluster.await_some("a coordinator", |cluster| {
        let request = FindCoordinatorRequest::default().with_key(text(GROUP));
        let answer = cluster.broker(OURS).try_connect()?.try_request(3, &request).ok()?;
        (answer.error_code == NONE).then_some(())
    });
    agreed(&cluster, OFFSETS_TOPIC, "there", whole(1));
    let mut ours = hand_to(&cluster, OURS, APACHES);
    let member = given_id(&mut ours, GROUP, SESSION);
    let joined = ours.request(7, &joining(GROUP, &member, SESSION));
    assert_eq!((joined.error_code, joined.generation_id), (NONE, 1));
    assert_eq!(sync(&mut ours, GROUP, 1, &member, &[&member]), NONE);
    commit(&mut ours, GROUP, 1, &member, 5);
    commit(&mut ours, DOOMED, -1, "", 7);
    let seen = described(&mut ours, GROUP);
    assert_eq!(seen, ("Stable".to_owned(), vec![(member.clone(), b"yours".to_vec())]));

    let mut apaches = hand_to(&cluster, APACHES, OURS);
    assert_eq!(beat(&mut ours, GROUP, 1, &member), NOT_COORDINATOR);
    assert_eq!(beat(&mut apaches, GROUP, 1, &member), NONE, "the member is where it was");
    assert_eq!(described(&mut apaches, GROUP), seen);
    assert_eq!(try_committed(&mut apaches, GROUP, TOPIC, &[0]), Some(vec![5]));
    commit(&mut apaches, GROUP, 1, &member, 6);
    let deleting = DeleteGroupsRequest::default().with_groups_names(vec![group(DOOMED)]);
    assert_eq!(apaches.request(1, &deleting).results[0].error_code, NONE);
    // A rebalance under the other coordinator: the second member waits for the first.
    let second = given_id(&mut apaches, GROUP, SESSION);
    let mut waiting = coordinator(&cluster, APACHES);
    waiting.send(7, &joining(GROUP, &second, SESSION)).expect("sent");
    cluster.until("the first to hear of it", |_| {
        described(&mut coordinator(&cluster, APACHES), GROUP).0 != "Stable"
    });
    let again = apaches.request(7, &joining(GROUP, &member, SESSION));
    assert_eq!((again.error_code, again.generation_id, again.members.len()), (NONE, 2, 2));
    assert_eq!(sync(&mut apaches, GROUP, 2, &member, &[&member, &second]), NONE);
    // Who does not ask for its part is put out after a while.
    assert_eq!(waiting.receive::<JoinGroupRequest>(7).expect("an answer").error_code, NONE);
    assert_eq!(sync(&mut waiting, GROUP, 2, &second, &[]), NONE);
    let seen = described(&mut apaches, GROUP);

    let mut back = hand_to(&cluster, OURS, APACHES);
    assert_eq!(beat(&mut apaches, GROUP, 2, &member), NOT_COORDINATOR);
    for one in [&member, &second] {
        assert_eq!(beat(&mut back, GROUP, 2, one), NONE);
    }
    assert_eq!(described(&mut back, GROUP), seen);
    assert_eq!(try_committed(&mut back, GROUP, TOPIC, &[0]), Some(vec![6]));
    assert_eq!(described(&mut back, DOOMED).0, "Dead", "its tombstones are obeyed");
    assert_eq!(try_committed(&mut back, DOOMED, TOPIC, &[0]), Some(vec![-1]));
    for one in [&member, &second] {
        leave(&mut back, GROUP, one);
    }
    assert_eq!(described(&mut back, GROUP), ("Empty".to_owned(), Vec::new()));
}
