//! Heartbeats, step by step. Error texts are in each broker's own words and left out.

use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse, CreatePartitionsRequest, DeleteGroupsRequest, DescribeGroupsRequest,
    FindCoordinatorRequest, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
    ListGroupsRequest, OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest, SyncGroupRequest,
};
use uuid::Uuid;

use crate::asking::{Conversation, group, sorted, text, topic, wait_until_groups_are_loaded};
use crate::records;
use crate::support::process::PATIENCE;

/// A topic that the group coordinator knows, and a coordinator.
fn prepare(talk: &mut Conversation, name: &str, partitions: i32) -> Uuid {
    talk.create_wide(name, partitions, &[]);
    let id = talk.metadata(&[name]).topics[0].topic_id;
    talk.hide(&id.to_string(), &format!("ID-{name}"));
    wait_until_planned(talk, name, partitions);
    id
}

/// A group of its own asks for the topic until the coordinator gives it all of it.
fn wait_until_planned(talk: &mut Conversation, name: &str, partitions: i32) {
    let probe = format!("probe-{name}-{partitions}");
    let find = FindCoordinatorRequest::default().with_key(text(&probe));
    let deadline = Instant::now() + PATIENCE;
    while talk.prepare(3, &find).error_code != 0 {
        assert!(Instant::now() < deadline, "no coordinator");
        std::thread::park_timeout(Duration::from_millis(20));
    }
    wait_until_groups_are_loaded(talk);
    let all = |answer: &ConsumerGroupHeartbeatResponse| {
        let topics = answer.assignment.iter().flat_map(|assignment| &assignment.topic_partitions);
        topics.map(|topic| topic.partitions.len()).sum::<usize>() == usize::try_from(partitions).expect("few")
    };
    // Whoever comes again tells everything and is told everything.
    let mut attempt = 0;
    let deadline = Instant::now() + PATIENCE;
    loop {
        attempt += 1;
        let member = format!("probe-{attempt}");
        let answer = talk.prepare(0, &joining(&probe, &member, &[name]));
        if answer.error_code == 0 && all(&answer) {
            return;
        }
        let _ = talk.prepare(0, &beating(&probe, &member, -1));
        assert!(Instant::now() < deadline, "{name} is not planned: {answer:?}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

pub(crate) fn beating(name: &str, member: &str, epoch: i32) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest::default()
        .with_group_id(group(name))
        .with_member_id(text(member))
        .with_member_epoch(epoch)
        .with_rebalance_timeout_ms(-1)
        .with_topic_partitions(None)
}

pub(crate) fn joining(name: &str, member: &str, topics: &[&str]) -> ConsumerGroupHeartbeatRequest {
    beating(name, member, 0)
        .with_rebalance_timeout_ms(60_000)
        .with_subscribed_topic_names(Some(topics.iter().map(|name| topic(name)).collect()))
        .with_topic_partitions(Some(Vec::new()))
}

fn owning(
    request: ConsumerGroupHeartbeatRequest,
    id: Uuid,
    partitions: &[i32],
) -> ConsumerGroupHeartbeatRequest {
    let owned = TopicPartitions::default().with_topic_id(id).with_partitions(partitions.to_vec());
    request.with_topic_partitions(Some(if partitions.is_empty() { Vec::new() } else { vec![owned] }))
}

fn beat(talk: &mut Conversation, question: &str, request: &ConsumerGroupHeartbeatRequest) {
    let generated = request.member_id.is_empty();
    talk.ask_for(question, 0, request, |answer| {
        let assignment = answer.assignment.as_ref().map(|assignment| {
            sorted(assignment.topic_partitions.iter().map(|it| {
                let mut partitions = it.partitions.clone();
                partitions.sort_unstable();
                format!("{}: {partitions:?}", it.topic_id)
            }))
        });
        let member =
            if generated && answer.member_id.is_some() { Some("SOME") } else { answer.member_id.as_deref() };
        format!(
            "error {} member {member:?} epoch {} every {} ms has {assignment:?}",
            answer.error_code, answer.member_epoch, answer.heartbeat_interval_ms
        )
    });
}

fn describe(talk: &mut Conversation, name: &str) {
    // One at a time: Apache 3.9.1 repeats all of them for every partition of the offsets topic that is asked.
    let request = |name: &str| ConsumerGroupDescribeRequest::default().with_group_ids(vec![group(name)]);
    talk.ask_for("described", 0, &request(name), shown);
    talk.ask_for("no such group described", 0, &request("no such"), shown);
    let listed = ListGroupsRequest::default().with_types_filter(vec![text("Consumer")]);
    list(talk, &listed, name);
    let request = DescribeGroupsRequest::default().with_groups(vec![group(name)]);
    talk.ask("described as a classic group", 5, &request);
}

fn list(talk: &mut Conversation, request: &ListGroupsRequest, name: &str) {
    talk.ask_for("listed", 5, request, |answer| {
        let groups = answer.groups.iter().filter(|it| it.group_id.as_str() == name);
        sorted(groups.map(|it| format!("{it:?}")))
    });
}

fn shown(answer: &ConsumerGroupDescribeResponse) -> String {
    let assignment = |it: &kafka_protocol::messages::consumer_group_describe_response::Assignment| {
        sorted(it.topic_partitions.iter().map(|it| {
            let mut partitions = it.partitions.clone();
            partitions.sort_unstable();
            format!("{} {} {partitions:?}", it.topic_name.as_str(), it.topic_id)
        }))
    };
    sorted(answer.groups.iter().map(|it| {
        let members = sorted(it.members.iter().map(|member| {
            let mut topics: Vec<&str> = member.subscribed_topic_names.iter().map(|it| it.as_str()).collect();
            topics.sort_unstable();
            format!(
                "{} {:?} {:?} epoch {} {} {} {topics:?} {:?} has {} shall have {}",
                member.member_id,
                member.instance_id,
                member.rack_id,
                member.member_epoch,
                member.client_id,
                member.client_host,
                member.subscribed_topic_regex,
                assignment(&member.assignment),
                assignment(&member.target_assignment)
            )
        }));
        format!(
            "error {} {} {} epoch {} plan {} {} {} [{members}]",
            it.error_code,
            it.group_id.as_str(),
            it.group_state,
            it.group_epoch,
            it.assignment_epoch,
            it.assignor_name,
            it.authorized_operations
        )
    }))
}

pub(crate) fn members(talk: &mut Conversation) {
    let id = prepare(talk, "walked", 4);
    let g = "walk";
    beat(talk, "the first member", &joining(g, "a", &["walked", "not there yet"]));
    beat(talk, "it is alive", &beating(g, "a", 1));
    describe(talk, g);
    beat(talk, "the second member", &joining(g, "b", &["walked", "not there yet"]));
    describe(talk, g);
    beat(talk, "the first learns that it has to give up", &owning(beating(g, "a", 1), id, &[0, 1, 2, 3]));
    beat(talk, "it says nothing of what it has", &beating(g, "a", 1));
    beat(talk, "the second waits", &owning(beating(g, "b", 2), id, &[]));
    beat(talk, "the first has given up", &owning(beating(g, "a", 1), id, &[0, 1]));
    describe(talk, g);
    beat(talk, "the second gets it", &beating(g, "b", 2));
    beat(talk, "the answer got lost", &owning(beating(g, "b", 0), id, &[]));
    beat(talk, "an epoch before", &owning(beating(g, "a", 1), id, &[0]));
    beat(talk, "an epoch before, with too much", &owning(beating(g, "a", 1), id, &[0, 3]));
    beat(talk, "an epoch from the future", &beating(g, "a", 7));
    beat(talk, "a stranger", &beating(g, "c", 2));
    beat(talk, "nobody", &joining("alone", "", &["walked"]).with_server_assignor(Some(text("range"))));
    let grown =
        CreatePartitionsTopic::default().with_name(topic("walked")).with_count(7).with_assignments(None);
    let answer =
        talk.prepare(3, &CreatePartitionsRequest::default().with_topics(vec![grown]).with_timeout_ms(30_000));
    assert_eq!(answer.results[0].error_code, 0, "{answer:?}");
    wait_until_planned(talk, "walked", 7);
    beat(talk, "the topic has grown", &beating(g, "b", 2));
    beat(talk, "a wish for another plan", &beating(g, "b", 3).with_server_assignor(Some(text("range"))));
    beat(
        talk,
        "another subscription",
        &beating(g, "b", 3).with_subscribed_topic_names(Some(vec![topic("other")])),
    );
    beat(talk, "the first leaves", &beating(g, "a", -1));
    beat(talk, "and again", &beating(g, "a", -1));
    let filtered = ListGroupsRequest::default().with_states_filter(vec![text("assigning"), text("Stable")]);
    list(talk, &filtered, g);
    records::note(talk, g, &[(id.as_bytes(), "topic")]);
}

pub(crate) fn refusals(talk: &mut Conversation) {
    prepare(talk, "refused", 2);
    let g = "refusing";
    beat(talk, "no group", &joining("", "a", &["refused"]));
    beat(talk, "a blank group", &joining("  ", "a", &["refused"]));
    beat(talk, "an empty instance id", &joining(g, "a", &["refused"]).with_instance_id(Some(text(""))));
    beat(talk, "an empty rack", &joining(g, "a", &["refused"]).with_rack_id(Some(text(" "))));
    beat(talk, "no member id", &beating(g, "", 3));
    beat(talk, "no rebalance timeout", &joining(g, "a", &["refused"]).with_rebalance_timeout_ms(-1));
    beat(talk, "no partitions told", &joining(g, "a", &["refused"]).with_topic_partitions(None));
    let id = talk.metadata(&["refused"]).topics[0].topic_id;
    beat(talk, "partitions at the start", &owning(joining(g, "a", &["refused"]), id, &[0]));
    beat(talk, "no topics", &joining(g, "a", &[]));
    beat(talk, "topics not told", &joining(g, "a", &[]).with_subscribed_topic_names(None));
    beat(talk, "an epoch that is none", &beating(g, "a", -3));
    beat(talk, "away without an instance id", &beating(g, "a", -2));
    beat(
        talk,
        "an unknown assignor",
        &joining(g, "a", &["refused"]).with_server_assignor(Some(text("sticky"))),
    );
    beat(talk, "no such group", &beating(g, "a", 1));
    beat(talk, "no such group to leave", &beating(g, "a", -1));
    beat(talk, "a topic that is not there", &joining(g, "a", &["nowhere"]));
    beat(talk, "no such member", &beating(g, "b", 1));
    beat(talk, "no such member to leave", &beating(g, "b", -1));
    beat(talk, "no such static member", &beating(g, "b", 1).with_instance_id(Some(text("i"))));
    describe(talk, g);
    records::note(talk, g, &[(id.as_bytes(), "topic")]);
}

pub(crate) fn static_members(talk: &mut Conversation) {
    let id = prepare(talk, "fixed", 3);
    let g = "static";
    let named = |request: ConsumerGroupHeartbeatRequest, instance: &str| {
        request.with_instance_id(Some(text(instance)))
    };
    beat(talk, "the first", &named(joining(g, "a", &["fixed"]), "i"));
    beat(talk, "its instance id is taken", &named(joining(g, "b", &["fixed"]), "i"));
    beat(talk, "with another member id", &named(beating(g, "b", 1), "i"));
    beat(talk, "another instance", &named(joining(g, "b", &["fixed"]), "j"));
    beat(talk, "the first gives up", &named(owning(beating(g, "a", 1), id, &[0, 1, 2]), "i"));
    beat(talk, "the first has given up", &named(owning(beating(g, "a", 1), id, &[0, 1]), "i"));
    beat(talk, "the first is away", &named(beating(g, "a", -2), "i"));
    describe(talk, g);
    beat(talk, "its place is kept", &named(beating(g, "b", 2), "j"));
    beat(talk, "it comes back with another id", &named(joining(g, "c", &["fixed"]), "i"));
    describe(talk, g);
    beat(talk, "the old id is gone", &named(beating(g, "a", 2), "i"));
    beat(talk, "it leaves by another's instance id", &named(beating(g, "c", -1), "j"));
    beat(talk, "it leaves", &named(beating(g, "c", -1), "i"));
    beat(talk, "the other gets everything", &named(owning(beating(g, "b", 2), id, &[2]), "j"));
    describe(talk, g);
    records::note(talk, g, &[(id.as_bytes(), "topic")]);
}

pub(crate) fn committing(name: &str, member: &str, epoch: i32, of: &str) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition::default().with_committed_offset(5);
    let of = OffsetCommitRequestTopic::default().with_name(topic(of)).with_partitions(vec![partition]);
    OffsetCommitRequest::default()
        .with_group_id(group(name))
        .with_member_id(text(member))
        .with_generation_id_or_member_epoch(epoch)
        .with_topics(vec![of])
}

pub(crate) fn fetching(name: &str, member: Option<&str>, epoch: i32, of: &str) -> OffsetFetchRequest {
    let of = OffsetFetchRequestTopics::default().with_name(topic(of)).with_partition_indexes(vec![0]);
    let asked = OffsetFetchRequestGroup::default()
        .with_group_id(group(name))
        .with_member_id(member.map(text))
        .with_member_epoch(epoch)
        .with_topics(Some(vec![of]));
    OffsetFetchRequest::default().with_groups(vec![asked])
}

pub(crate) fn offsets(talk: &mut Conversation) {
    let id = prepare(talk, "committed", 2);
    talk.create("left", &[]);
    let g = "committing";
    beat(talk, "a member", &joining(g, "a", &["committed"]));
    talk.ask("in its epoch", 9, &committing(g, "a", 1, "committed"));
    talk.ask("in an old version", 8, &committing(g, "a", 1, "committed"));
    talk.ask("in another epoch", 9, &committing(g, "a", 0, "committed"));
    talk.ask("a stranger", 9, &committing(g, "b", 1, "committed"));
    talk.ask("nobody", 9, &committing(g, "", -1, "committed"));
    talk.ask("of another topic", 9, &committing(g, "a", 1, "left"));
    talk.ask("fetched in its epoch", 9, &fetching(g, Some("a"), 1, "committed"));
    talk.ask("fetched in another", 9, &fetching(g, Some("a"), 2, "committed"));
    talk.ask("fetched by a stranger", 9, &fetching(g, Some("b"), 1, "committed"));
    talk.ask("fetched by nobody", 9, &fetching(g, None, -1, "committed"));
    talk.ask("fetched in an old version", 8, &fetching(g, None, -1, "committed"));
    let deleting = |of: &str| {
        let partition = OffsetDeleteRequestPartition::default().with_partition_index(0);
        let of = OffsetDeleteRequestTopic::default().with_name(topic(of)).with_partitions(vec![partition]);
        OffsetDeleteRequest::default().with_group_id(group(g)).with_topics(vec![of])
    };
    talk.ask("deleted while subscribed", 0, &deleting("committed"));
    talk.ask("deleted", 0, &deleting("left"));
    let delete = DeleteGroupsRequest::default().with_groups_names(vec![group(g)]);
    talk.ask("the group is in use", 2, &delete);
    beat(talk, "the member leaves", &beating(g, "a", -1));
    describe(talk, g);
    talk.ask("nobody commits to an empty group", 9, &committing(g, "", -1, "committed"));
    talk.ask("the group is deleted", 2, &delete);
    talk.ask("there is no such group any more", 2, &delete);
    describe(talk, g);
    records::note(talk, g, &[(id.as_bytes(), "topic")]);
}

/// ConsumerProtocolSubscription version 1.
fn subscription(name: &str, owned: &[i32]) -> Bytes {
    let mut out = BytesMut::new();
    let text = |out: &mut BytesMut, text: &str| {
        out.put_i16(i16::try_from(text.len()).expect("short"));
        out.put_slice(text.as_bytes());
    };
    out.put_i16(1);
    out.put_i32(1);
    text(&mut out, name);
    out.put_i32(-1);
    out.put_i32(i32::from(!owned.is_empty()));
    if !owned.is_empty() {
        text(&mut out, name);
        out.put_i32(i32::try_from(owned.len()).expect("few"));
        owned.iter().for_each(|partition| out.put_i32(*partition));
    }
    out.freeze()
}

/// ConsumerProtocolAssignment version 1.
fn assignment(name: &str, partitions: &[i32]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_i16(1);
    out.put_i32(1);
    out.put_i16(i16::try_from(name.len()).expect("short"));
    out.put_slice(name.as_bytes());
    out.put_i32(i32::try_from(partitions.len()).expect("few"));
    partitions.iter().for_each(|partition| out.put_i32(*partition));
    out.put_i32(-1);
    out.freeze()
}

fn classic(name: &str, member: &str, of: &str, owned: &[i32]) -> JoinGroupRequest {
    let protocol =
        JoinGroupRequestProtocol::default().with_name(text("range")).with_metadata(subscription(of, owned));
    JoinGroupRequest::default()
        .with_group_id(group(name))
        .with_session_timeout_ms(300_000)
        .with_rebalance_timeout_ms(300_000)
        .with_member_id(text(member))
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol])
}

/// Asks to join; the member id, whatever it is, is shown as `CLASSIC`.
fn join(talk: &mut Conversation, question: &str, request: &JoinGroupRequest) -> Option<JoinGroupResponse> {
    let answer = talk.ask_for(question, 9, request, |answer| {
        let members = answer.members.len();
        let named = if answer.member_id.is_empty() { "" } else { "CLASSIC" };
        format!(
            "error {} generation {} {:?} {:?} {named} {members} members skip {}",
            answer.error_code,
            answer.generation_id,
            answer.protocol_type,
            answer.protocol_name,
            answer.skip_assignment
        )
    });
    if let Some(answer) = &answer {
        talk.hide(&answer.member_id, "CLASSIC");
    }
    answer
}

pub(crate) fn migration(talk: &mut Conversation) {
    let id = prepare(talk, "migrated", 2);
    let g = "migrating";
    let told = join(talk, "a classic member", &classic(g, "", "migrated", &[])).expect("an answer");
    let classic_id = told.member_id.to_string();
    join(talk, "with its id", &classic(g, &classic_id, "migrated", &[]));
    let sync = |generation: i32| {
        SyncGroupRequest::default()
            .with_group_id(group(g))
            .with_generation_id(generation)
            .with_member_id(text(&classic_id))
            .with_protocol_type(Some(text("consumer")))
            .with_protocol_name(Some(text("range")))
    };
    let assign = kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment::default()
        .with_member_id(text(&classic_id))
        .with_assignment(assignment("migrated", &[0, 1]));
    talk.ask("it assigns all to itself", 5, &sync(1).with_assignments(vec![assign]));
    let alive = |generation: i32| {
        HeartbeatRequest::default()
            .with_group_id(group(g))
            .with_generation_id(generation)
            .with_member_id(text(&classic_id))
    };
    talk.ask("it is alive", 4, &alive(1));
    beat(talk, "a member of the new protocol comes", &joining(g, "b", &["migrated"]));
    describe(talk, g);
    talk.ask("the classic member has to join again", 4, &alive(1));
    talk.ask("its sync comes too late", 5, &sync(1));
    join(talk, "it joins, still having all", &classic(g, &classic_id, "migrated", &[0, 1]));
    talk.ask("it is told what it keeps", 5, &sync(1));
    talk.ask("in another generation", 5, &sync(9));
    talk.ask("with another protocol", 5, &sync(1).with_protocol_name(Some(text("sticky"))));
    describe(talk, g);
    join(talk, "it has given up the rest", &classic(g, &classic_id, "migrated", &[0]));
    talk.ask("it has what it shall have", 5, &sync(2));
    talk.ask("all is well", 4, &alive(2));
    beat(talk, "the other gets the rest", &owning(beating(g, "b", 2), id, &[]));
    describe(talk, g);
    let commit = committing(g, &classic_id, 2, "migrated");
    talk.ask("a classic member commits by its generation", 8, &commit);
    talk.ask("in another generation", 8, &committing(g, &classic_id, 1, "migrated"));
    join(talk, "a stranger with another protocol", &{
        let mut other = classic(g, "", "migrated", &[]);
        other.protocols[0].name = text("other");
        other
    });
    let leaving = |member: &str| {
        LeaveGroupRequest::default()
            .with_group_id(group(g))
            .with_members(vec![MemberIdentity::default().with_member_id(text(member))])
    };
    talk.ask("who is not classic does not leave that way", 5, &leaving("b"));
    beat(talk, "the last of the new protocol goes", &beating(g, "b", -1));
    talk.ask("the group is classic again, and rebalances", 4, &alive(2));
    list(talk, &ListGroupsRequest::default(), g);
    talk.ask("the classic member leaves", 5, &leaving(&classic_id));
    list(talk, &ListGroupsRequest::default(), g);
    beat(talk, "an empty classic group makes room", &joining(g, "b", &["migrated"]));
    list(talk, &ListGroupsRequest::default(), g);
    beat(talk, "it goes", &beating(g, "b", -1));
    list(talk, &ListGroupsRequest::default(), g);
    join(talk, "an empty consumer group makes room", &classic(g, "", "migrated", &[]));
    records::note(talk, g, &[(id.as_bytes(), "topic"), (classic_id.as_bytes(), "classic")]);
}
