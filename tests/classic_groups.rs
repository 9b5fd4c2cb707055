//! Groups of the classic protocol against their limits and timers, with stock consumers that give partitions up one by one, and
//! carried from one coordinator to another. The same with Apache Kafka 3.9.1 (`ODRADEK_SEAT=apache`).

mod support;

#[path = "classic_groups/carried.rs"]
mod carried;

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use bytes::{BufMut as _, Bytes, BytesMut};
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    DescribeGroupsRequest, FindCoordinatorRequest, GroupId, HeartbeatRequest, JoinGroupRequest,
    JoinGroupResponse, LeaveGroupRequest, OffsetCommitRequest, SyncGroupRequest, TopicName,
};
use support::process::Process;
use support::requests::{text, try_committed};
use support::seat::{Broker, kind};
use support::stock;
use support::talk::create_topic;
use support::until;
use support::wire::Connection;

const NONE: i16 = 0;
const OFFSET_METADATA_TOO_LARGE: i16 = 12;
const UNKNOWN_MEMBER_ID: i16 = 25;
const REBALANCE_IN_PROGRESS: i16 = 27;
const MEMBER_ID_REQUIRED: i16 = 79;
const GROUP_MAX_SIZE_REACHED: i16 = 81;

/// How long the first members of a group are waited for.
const DELAY: Duration = Duration::from_millis(2500);
/// Coordinators count whole milliseconds.
const ROUNDING: Duration = Duration::from_millis(5);

static BROKER: LazyLock<Broker> = LazyLock::new(|| {
    let broker = Broker::start_with(
        kind(),
        &[
            ("group.initial.rebalance.delay.ms", "2500"),
            ("group.max.size", "2"),
            ("offset.metadata.max.bytes", "10"),
            ("offsets.retention.check.interval.ms", "200"),
        ],
    );
    create_topic(&broker, TOPIC, 2, &[]);
    create_topic(&broker, "another", 1, &[]);
    broker
});

const TOPIC: &str = "grouped";

fn group(name: &str) -> GroupId {
    GroupId(text(name))
}

/// A connection to the broker once it coordinates the group.
#[track_caller]
fn coordinator(name: &str) -> Connection {
    let mut connection = BROKER.connect();
    until(&format!("a coordinator of {name}"), || {
        let found = connection.request(3, &FindCoordinatorRequest::default().with_key(text(name)));
        found.error_code == NONE && is_loaded(&mut connection, name)
    });
    connection
}

/// Whether the coordinator has read its groups. A heartbeat would not tell: until then every one is right.
fn is_loaded(connection: &mut Connection, name: &str) -> bool {
    let request = DescribeGroupsRequest::default().with_groups(vec![group(name)]);
    connection.try_request(3, &request).is_ok_and(|answer| answer.groups[0].error_code == NONE)
}

/// Subscribes to [`TOPIC`], in the words of Kafka's consumer protocol.
fn subscription() -> Bytes {
    let mut words = BytesMut::new();
    words.put_i16(0);
    words.put_i32(1);
    words.put_i16(i16::try_from(TOPIC.len()).expect("short"));
    words.put_slice(TOPIC.as_bytes());
    words.put_i32(-1);
    words.freeze()
}

fn joining(name: &str, member: &str, session: Duration) -> JoinGroupRequest {
    let protocol = JoinGroupRequestProtocol::default().with_name(text("range")).with_metadata(subscription());
    JoinGroupRequest::default()
        .with_group_id(group(name))
        .with_session_timeout_ms(i32::try_from(session.as_millis()).expect("short"))
        .with_rebalance_timeout_ms(10_000)
        .with_member_id(text(member))
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol])
}

/// The id that the coordinator gives a member before it joins (KIP-394).
#[track_caller]
fn given_id(connection: &mut Connection, name: &str, session: Duration) -> String {
    let answer = connection.request(7, &joining(name, "", session));
    assert_eq!(answer.error_code, MEMBER_ID_REQUIRED, "{answer:?}");
    answer.member_id.to_string()
}

#[track_caller]
fn join(connection: &mut Connection, name: &str, session: Duration) -> JoinGroupResponse {
    let member = given_id(connection, name, session);
    connection.request(7, &joining(name, &member, session))
}

fn sync(connection: &mut Connection, name: &str, generation: i32, member: &str, all: &[&str]) -> i16 {
    let assignments = all.iter().map(|member| {
        SyncGroupRequestAssignment::default()
            .with_member_id(text(member))
            .with_assignment(Bytes::from_static(b"yours"))
    });
    let request = SyncGroupRequest::default()
        .with_group_id(group(name))
        .with_generation_id(generation)
        .with_member_id(text(member))
        .with_protocol_type(None)
        .with_protocol_name(None)
        .with_assignments(assignments.collect());
    connection.request(3, &request).error_code
}

fn beat(connection: &mut Connection, name: &str, generation: i32, member: &str) -> i16 {
    let request = HeartbeatRequest::default()
        .with_group_id(group(name))
        .with_generation_id(generation)
        .with_member_id(text(member));
    connection.request(3, &request).error_code
}

fn leave(connection: &mut Connection, name: &str, member: &str) {
    let identity = MemberIdentity::default().with_member_id(text(member));
    let request = LeaveGroupRequest::default().with_group_id(group(name)).with_members(vec![identity]);
    connection.request(4, &request);
}

/// Of a member, or with generation -1 of nobody. `retention_ms`: -1 for the broker's.
fn committing(
    name: &str,
    topic: &str,
    generation: i32,
    member: &str,
    retention_ms: i64,
) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition::default()
        .with_committed_offset(5)
        .with_committed_metadata(Some(text("")));
    let topic = OffsetCommitRequestTopic::default()
        .with_name(TopicName(text(topic)))
        .with_partitions(vec![partition]);
    OffsetCommitRequest::default()
        .with_group_id(group(name))
        .with_generation_id_or_member_epoch(generation)
        .with_member_id(text(member))
        .with_retention_time_ms(retention_ms)
        .with_topics(vec![topic])
}

fn state(connection: &mut Connection, name: &str) -> String {
    let request = DescribeGroupsRequest::default().with_groups(vec![group(name)]);
    connection.request(3, &request).groups[0].group_state.to_string()
}

#[test]
fn a_new_group_waits_for_its_members_and_longer_while_they_come() {
    const SESSION: Duration = Duration::from_secs(10);
    let name = "delayed";
    let (mut one, mut other) = (coordinator(name), coordinator(name));
    let first = given_id(&mut one, name, SESSION);
    let second = given_id(&mut other, name, SESSION);
    let began = Instant::now();
    one.send(7, &joining(name, &first, SESSION)).expect("sent");
    until("the first to have joined", || state(&mut other, name) == "PreparingRebalance");
    // Before the time is over somebody else comes, and both wait for the whole time again.
    let seen = other.request(7, &joining(name, &second, SESSION));
    let waited = began.elapsed();
    let leader = one.receive::<JoinGroupRequest>(7).expect("an answer");
    assert_eq!((seen.error_code, seen.generation_id), (NONE, 1));
    assert_eq!((leader.error_code, leader.generation_id, leader.members.len()), (NONE, 1, 2), "{leader:?}");
    assert!(waited + ROUNDING >= DELAY * 2, "{waited:?}");

    // A group that is no longer new does not wait for strangers.
    assert_eq!(sync(&mut one, name, 1, &first, &[&first, &second]), NONE);
    assert_eq!(sync(&mut other, name, 1, &second, &[]), NONE);
    leave(&mut other, name, &second);
    let mut generation = 1;
    // However busy the machine is, one of several answers comes sooner than any would that waits.
    until("a member that is alone to be answered without a wait", || {
        let again = Instant::now();
        let alone = one.request(7, &joining(name, &first, SESSION));
        let took = again.elapsed();
        generation += 1;
        assert_eq!((alone.error_code, alone.generation_id), (NONE, generation));
        assert_eq!(sync(&mut one, name, generation, &first, &[&first]), NONE);
        took < DELAY
    });
}

#[test]
fn a_full_group_takes_nobody_until_somebody_goes() {
    const SESSION: Duration = Duration::from_secs(10);
    let name = "full";
    let (mut one, mut other) = (coordinator(name), coordinator(name));
    let first = given_id(&mut one, name, SESSION);
    let second = given_id(&mut other, name, SESSION);
    one.send(7, &joining(name, &first, SESSION)).expect("sent");
    let joined = other.request(7, &joining(name, &second, SESSION));
    one.receive::<JoinGroupRequest>(7).expect("an answer");
    assert_eq!(joined.error_code, NONE);
    let mut third = coordinator(name);
    let refused = third.request(7, &joining(name, "", SESSION));
    let refused = match refused.error_code {
        // Who got an id is refused with it.
        MEMBER_ID_REQUIRED => third.request(7, &joining(name, &refused.member_id, SESSION)),
        _ => refused,
    };
    assert_eq!(refused.error_code, GROUP_MAX_SIZE_REACHED);
    leave(&mut other, name, &second);
    let mut fourth = coordinator(name);
    let id = given_id(&mut fourth, name, SESSION);
    fourth.send(7, &joining(name, &id, SESSION)).expect("sent");
    until("the first to hear of it", || {
        beat(&mut one, name, joined.generation_id, &first) == REBALANCE_IN_PROGRESS
    });
    let leader = one.request(7, &joining(name, &first, SESSION));
    assert_eq!((leader.error_code, leader.members.len()), (NONE, 2), "{leader:?}");
}

#[test]
fn a_silent_member_is_given_up_after_its_session_and_a_talking_one_is_not() {
    let name = "silent";
    let (mut one, mut other) = (coordinator(name), coordinator(name));
    let (long, short) = (Duration::from_secs(30), Duration::from_secs(4));
    let first = given_id(&mut one, name, long);
    let second = given_id(&mut other, name, short);
    one.send(7, &joining(name, &first, long)).expect("sent");
    let joined = other.request(7, &joining(name, &second, short));
    one.receive::<JoinGroupRequest>(7).expect("an answer");
    let generation = joined.generation_id;
    let all = [first.as_str(), second.as_str()];
    let leader = *joined.leader == *second;
    let mut synced = [(&mut one, &first, !leader), (&mut other, &second, leader)];
    // The leader first: the other's answer waits for it.
    synced.sort_by_key(|(_, _, leads)| !leads);
    for (connection, member, leads) in synced {
        let all = if leads { &all[..] } else { &[] };
        assert_eq!(sync(connection, name, generation, member, all), NONE);
    }
    let began = Instant::now();
    // For longer than its session it is heard, then no more.
    let mut last = began;
    while began.elapsed() < short * 3 / 2 {
        last = Instant::now();
        assert_eq!(beat(&mut other, name, generation, &second), NONE);
        std::thread::park_timeout(Duration::from_millis(100));
    }
    until("the first to be told to join again", || {
        beat(&mut one, name, generation, &first) == REBALANCE_IN_PROGRESS
    });
    assert!(last.elapsed() + ROUNDING >= short, "{:?}", last.elapsed());
    let alone = one.request(7, &joining(name, &first, long));
    assert_eq!((alone.error_code, alone.members.len()), (NONE, 1), "{alone:?}");
    assert_eq!(beat(&mut other, name, generation, &second), UNKNOWN_MEMBER_ID);
}

#[test]
fn metadata_of_an_offset_has_a_limit_in_characters() {
    let name = "talkative";
    let mut connection = coordinator(name);
    // Java counts in halves of the last one.
    for (metadata, expected) in [
        ("0123456789", NONE),
        ("0123456789a", OFFSET_METADATA_TOO_LARGE),
        ("éééééé", NONE),
        ("😀😀😀😀😀", NONE),
        ("😀😀😀😀😀😀", OFFSET_METADATA_TOO_LARGE),
    ] {
        let mut request = committing(name, TOPIC, -1, "", -1);
        request.topics[0].partitions[0].committed_metadata = Some(text(metadata));
        let answer = connection.request(8, &request);
        assert_eq!(answer.topics[0].partitions[0].error_code, expected, "{metadata}");
    }
}

/// KIP-211; a retention that the client asks for counts from the commit.
#[test]
fn offsets_expire_where_nobody_needs_them_and_groups_with_their_last_one() {
    const SESSION: Duration = Duration::from_secs(30);
    let (simple, live) = ("expiring-simple", "expiring-live");
    let mut connection = coordinator(simple);
    let commit = |name: &str, topic: &str, generation: i32, member: &str, retention: i64| {
        let answer = BROKER.connect().request(3, &committing(name, topic, generation, member, retention));
        assert_eq!(answer.topics[0].partitions[0].error_code, NONE);
    };
    commit(simple, TOPIC, -1, "", 5000);
    assert_eq!(try_committed(&mut connection, simple, TOPIC, &[0]), Some(vec![5]));
    let mut member = coordinator(live);
    let joined = join(&mut member, live, SESSION);
    let id = joined.member_id.to_string();
    assert_eq!(sync(&mut member, live, joined.generation_id, &id, &[&id]), NONE);
    commit(live, TOPIC, joined.generation_id, &id, 300);
    commit(live, "another", joined.generation_id, &id, 300);

    until("the offset that nobody needs to expire, and the group with it", || {
        try_committed(&mut connection, simple, TOPIC, &[0]) == Some(vec![-1])
            && state(&mut connection, simple) == "Dead"
    });
    until("the offset of a topic that the members do not read", || {
        try_committed(&mut connection, live, "another", &[0]) == Some(vec![-1])
    });
    let kept = try_committed(&mut connection, live, TOPIC, &[0]);
    assert_eq!(kept, Some(vec![5]), "what members read is kept, whatever was asked for");
    assert_eq!(beat(&mut member, live, joined.generation_id, &id), NONE);
    leave(&mut member, live, &id);
    until("what is left of the group, once it is empty", || {
        try_committed(&mut connection, live, TOPIC, &[0]) == Some(vec![-1])
            && state(&mut connection, live) == "Dead"
    });
}

/// A member whose place is kept for so long when it is silent.
fn cooperative(broker: &Broker, version: &str, client_id: &str, session_ms: u32) -> Process {
    let bootstrap = broker.bootstrap();
    let assignor = "org.apache.kafka.clients.consumer.CooperativeStickyAssignor";
    let properties = [
        format!("partition.assignment.strategy={assignor}"),
        format!("client.id={client_id}"),
        format!("group.instance.id={client_id}"),
        "auto.offset.reset=earliest".to_owned(),
        format!("session.timeout.ms={session_ms}"),
        "heartbeat.interval.ms=500".to_owned(),
        "metadata.max.age.ms=1000".to_owned(),
    ];
    let mut arguments =
        vec!["--bootstrap-server", &bootstrap, "--topic", "cooperated", "--group", "cooperating"];
    properties.iter().for_each(|property| arguments.extend(["--consumer-property", property]));
    stock::start(version, "kafka-console-consumer", &arguments)
}

/// Partitions of each member, by its client id, as the group's leader has shared them out.
fn shares(connection: &mut Connection) -> Vec<(String, usize)> {
    let request = DescribeGroupsRequest::default().with_groups(vec![group("cooperating")]);
    let described = &connection.request(5, &request).groups[0];
    if described.group_state != text("Stable") || described.protocol_data != text("cooperative-sticky") {
        return Vec::new();
    }
    let mut shares: Vec<(String, usize)> = described
        .members
        .iter()
        .map(|member| {
            // Version, number of topics, and of one topic its name and partitions.
            let words = &member.member_assignment;
            let count = words.get(6..8).map_or(0, |length| {
                let at = 8 + usize::from(u16::from_be_bytes([length[0], length[1]]));
                words.get(at..at + 4).map_or(0, |count| u32::from_be_bytes(count.try_into().expect("four")))
            });
            (member.client_id.to_string(), usize::try_from(count).expect("few"))
        })
        .collect();
    shares.sort();
    shares
}

#[test]
fn stock_consumers_give_partitions_up_one_by_one_and_a_static_one_takes_its_own_again() {
    let broker = Broker::start_with(kind(), &[]);
    create_topic(&broker, "cooperated", 4, &[]);
    let mut connection = broker.connect();
    let held = |shares: &[(&str, usize)]| -> Vec<(String, usize)> {
        shares.iter().map(|(client, count)| ((*client).to_owned(), *count)).collect()
    };
    // Long enough for a Java machine to come back in, however busy this one is.
    const PATIENT_MS: u32 = 60_000;
    let first = cooperative(&broker, "2.8.2", "first", PATIENT_MS);
    until("the first to have all", || shares(&mut connection) == held(&[("first", 4)]));
    let second = cooperative(&broker, "4.1.0", "second", PATIENT_MS);
    until("both to have a half", || shares(&mut connection) == held(&[("first", 2), ("second", 2)]));
    let produce = |count: usize, from: usize| {
        for number in from..from + count {
            let batch = support::records::Batch::of(&[&format!("line {number}")]).encode();
            let partition = i32::try_from(number % 4).expect("small");
            support::talk::produce(&mut broker.connect(), "cooperated", partition, &batch, 1);
        }
    };
    produce(8, 0);
    // Lines of the first round, and of the second.
    let read = |process: &Process| {
        let numbers = process.stdout();
        let numbers = numbers.lines().filter_map(|line| line.strip_prefix("line ")?.parse::<usize>().ok());
        let (first, second): (Vec<usize>, Vec<usize>) = numbers.partition(|number| *number < 8);
        (first.len(), second.len())
    };
    until("both to have read their halves", || read(&first) == (4, 0) && read(&second) == (4, 0));

    // kill -9, and back under the same name before its session is over: it finds its partitions again.
    drop(second);
    let second = cooperative(&broker, "4.1.0", "second", 6_000);
    produce(8, 8);
    until("the second to read what was its own", || read(&second).1 == 4);
    until("the first to read its own", || read(&first) == (4, 4));
    assert_eq!(shares(&mut connection), held(&[("first", 2), ("second", 2)]));

    drop(second);
    until("the first to have all again", || shares(&mut connection) == held(&[("first", 4)]));
}
