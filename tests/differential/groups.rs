//! Group membership and committed offsets.

use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    DeleteGroupsRequest, DescribeGroupsRequest, FindCoordinatorRequest, HeartbeatRequest, JoinGroupRequest,
    JoinGroupResponse, LeaveGroupRequest, ListGroupsRequest, OffsetCommitRequest, OffsetDeleteRequest,
    OffsetFetchRequest, OffsetFetchResponse, SyncGroupRequest,
};

use crate::asking::{Conversation, group, sorted, text, topic, wait_until_groups_are_loaded};
use crate::support::process::PATIENCE;
use crate::support::znodes::{Body, Cursor, ZnodeClient};

/// Asks for the coordinator of `name` until there is one: the first ask creates `__consumer_offsets`.
pub(crate) fn settle(talk: &mut Conversation, name: &str) {
    let request = FindCoordinatorRequest::default().with_key(text(name));
    let deadline = Instant::now() + PATIENCE;
    while talk.prepare(3, &request).error_code != 0 {
        assert!(Instant::now() < deadline, "no coordinator for {name}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
    wait_until_groups_are_loaded(talk);
}

pub(crate) fn coordinators(talk: &mut Conversation) {
    settle(talk, "found");
    for version in 0..=6 {
        let request = if version < 4 {
            FindCoordinatorRequest::default().with_key(text("found"))
        } else {
            FindCoordinatorRequest::default().with_coordinator_keys(vec![text("found"), text("other")])
        };
        talk.ask("the coordinator of a group", version, &request);
    }
    let of = |key: &str, kind| {
        FindCoordinatorRequest::default().with_coordinator_keys(vec![text(key)]).with_key_type(kind)
    };
    talk.ask("an empty key", 4, &of("", 0));
    talk.ask("an unknown kind of key", 4, &of("found", 5));
    talk.ask(
        "an unknown kind of key",
        3,
        &FindCoordinatorRequest::default().with_key(text("found")).with_key_type(5),
    );
    talk.ask("no key", 4, &FindCoordinatorRequest::default());
}

pub(crate) fn joining(name: &str, member: &str) -> JoinGroupRequest {
    let protocol =
        JoinGroupRequestProtocol::default().with_name(text("range")).with_metadata(Bytes::from_static(b"m"));
    JoinGroupRequest::default()
        .with_group_id(group(name))
        .with_session_timeout_ms(30_000)
        .with_rebalance_timeout_ms(30_000)
        .with_member_id(text(member))
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol])
}

/// Asks to join and hides the member id as `MEMBER`, whatever it is.
fn join(
    talk: &mut Conversation,
    question: &str,
    version: i16,
    request: &JoinGroupRequest,
) -> Option<JoinGroupResponse> {
    talk.ask_for(question, version, request, |answer| {
        let shown = format!("{answer:?}");
        if answer.member_id.is_empty() { shown } else { shown.replace(answer.member_id.as_str(), "MEMBER") }
    })
}

pub(crate) fn syncing(name: &str, generation: i32, member: &str) -> SyncGroupRequest {
    let assignment = SyncGroupRequestAssignment::default()
        .with_member_id(text(member))
        .with_assignment(Bytes::from_static(b"a"));
    SyncGroupRequest::default()
        .with_group_id(group(name))
        .with_generation_id(generation)
        .with_member_id(text(member))
        .with_protocol_type(Some(text("consumer")))
        .with_protocol_name(Some(text("range")))
        .with_assignments(vec![assignment])
}

pub(crate) fn beating(name: &str, generation: i32, member: &str) -> HeartbeatRequest {
    HeartbeatRequest::default()
        .with_group_id(group(name))
        .with_generation_id(generation)
        .with_member_id(text(member))
}

fn leaving(name: &str, member: &str) -> LeaveGroupRequest {
    LeaveGroupRequest::default()
        .with_group_id(group(name))
        .with_member_id(text(member))
        .with_members(vec![MemberIdentity::default().with_member_id(text(member))])
}

/// For versions before 3, whose layout has no list of members.
fn leaving_alone(name: &str, member: &str) -> LeaveGroupRequest {
    LeaveGroupRequest::default().with_group_id(group(name)).with_member_id(text(member))
}

pub(crate) fn leave_in(version: i16, name: &str, member: &str) -> LeaveGroupRequest {
    if version < 3 {
        leaving_alone(name, member)
    } else {
        let mut request = leaving(name, member);
        request.member_id = text("");
        request
    }
}

/// SyncGroup names its protocol since version 5.
fn sync_in(version: i16, request: SyncGroupRequest) -> SyncGroupRequest {
    if version < 5 { request.with_protocol_type(None).with_protocol_name(None) } else { request }
}

pub(crate) fn membership(talk: &mut Conversation) {
    settle(talk, "joined");
    for version in 0..=9 {
        let name = format!("joined-v{version}");
        settle(talk, &name);
        let Some(first) = join(talk, "a first join", version, &joining(&name, "")) else { continue };
        let member = first.member_id.to_string();
        talk.hide(&member, "MEMBER");
        if first.error_code == 79 {
            join(talk, "again with the given member id", version, &joining(&name, &member));
        }
        let sync_version = version.min(5);
        let heartbeat_version = version.min(4);
        talk.ask("a heartbeat before the sync", heartbeat_version, &beating(&name, 1, &member));
        let synced = sync_in(sync_version, syncing(&name, 1, &member));
        talk.ask("a sync of the leader", sync_version, &synced);
        talk.ask("a second sync", sync_version, &synced);
        talk.ask("a heartbeat", heartbeat_version, &beating(&name, 1, &member));
        talk.ask("a heartbeat of another generation", heartbeat_version, &beating(&name, 7, &member));
        talk.ask("a heartbeat of a stranger", heartbeat_version, &beating(&name, 1, "stranger"));
        let described = DescribeGroupsRequest::default().with_groups(vec![group(&name)]);
        talk.ask("the stable group described", version.min(5), &described);
        join(talk, "a join of the only member again", version, &joining(&name, &member));
        talk.ask("a heartbeat of the former generation", heartbeat_version, &beating(&name, 1, &member));
        talk.ask("a leave", version.min(5), &leave_in(version.min(5), &name, &member));
        talk.ask("a second leave", version.min(5), &leave_in(version.min(5), &name, &member));
        talk.ask("the empty group described", version.min(5), &described);
    }
    settle(talk, "refusing-members");
    let name = "refusing-members";
    let with = |change: fn(&mut JoinGroupRequest)| {
        let mut request = joining(name, "");
        change(&mut request);
        request
    };
    join(talk, "an empty group id", 9, &with(|r| r.group_id = group("")));
    join(talk, "a session timeout below the minimum", 9, &with(|r| r.session_timeout_ms = 10));
    join(talk, "a session timeout above the maximum", 9, &with(|r| r.session_timeout_ms = 3_600_000));
    join(talk, "a member id nobody has", 9, &with(|r| r.member_id = text("nobody")));
    join(talk, "no protocols", 9, &with(|r| r.protocols.clear()));
    join(talk, "an empty protocol type", 9, &with(|r| r.protocol_type = text("")));
    let member = joined(talk, name);
    join(talk, "a second member of another protocol type", 9, &with(|r| r.protocol_type = text("connect")));
    join(talk, "a second member of no common protocol", 9, &with(|r| r.protocols[0].name = text("sticky")));
    for (question, request) in [
        ("a sync of another generation", syncing(name, 9, &member)),
        ("a sync of a stranger", syncing(name, 1, "stranger")),
        ("a sync of an unknown group", syncing("nosuch", 1, &member)),
        ("a sync of an empty group id", syncing("", 1, &member)),
        ("a sync of another protocol", syncing(name, 1, &member).with_protocol_name(Some(text("sticky")))),
        (
            "a sync of another protocol type",
            syncing(name, 1, &member).with_protocol_type(Some(text("connect"))),
        ),
        ("a good sync", syncing(name, 1, &member)),
    ] {
        talk.ask(question, 5, &request);
    }
    for (question, request) in [
        ("a heartbeat of an unknown group", beating("nosuch", 1, &member)),
        ("a heartbeat of an empty group id", beating("", 1, &member)),
        (
            "a heartbeat of an unknown instance",
            beating(name, 1, &member).with_group_instance_id(Some(text("i"))),
        ),
    ] {
        talk.ask(question, 4, &request);
    }
    talk.ask("a leave of an unknown group", 5, &leave_in(5, "nosuch", &member));
    talk.ask("a leave of an empty group id", 5, &leave_in(5, "", &member));
    talk.ask("a leave of a stranger", 5, &leave_in(5, name, "stranger"));
    talk.ask("a leave of nobody", 5, &LeaveGroupRequest::default().with_group_id(group(name)));
}

/// Joins `name` as its only member and hides the member id.
fn joined(talk: &mut Conversation, name: &str) -> String {
    settle(talk, name);
    let member = talk.prepare(9, &joining(name, "")).member_id.to_string();
    talk.hide(&member, "MEMBER");
    let answer = talk.prepare(9, &joining(name, &member));
    assert_eq!(answer.error_code, 0, "{answer:?}");
    member
}

pub(crate) fn static_membership(talk: &mut Conversation) {
    settle(talk, "static");
    let instance = |member: &str| joining("static", member).with_group_instance_id(Some(text("one")));
    let Some(first) = join(talk, "a static member", 9, &instance("")) else { return };
    let former = first.member_id.to_string();
    talk.hide(&former, "FORMER");
    talk.ask("its sync", 5, &syncing("static", 1, &former).with_group_instance_id(Some(text("one"))));
    let Some(second) = join(talk, "the same instance, restarted", 9, &instance("")) else { return };
    let member = second.member_id.to_string();
    talk.hide(&member, "MEMBER");
    talk.ask(
        "a heartbeat of the former self",
        4,
        &beating("static", 1, &former).with_group_instance_id(Some(text("one"))),
    );
    join(talk, "a join of the former self", 9, &instance(&former));
    let described = DescribeGroupsRequest::default().with_groups(vec![group("static")]);
    talk.ask("the group described", 5, &described);
    let leave = |id: &str| {
        let identity =
            MemberIdentity::default().with_member_id(text("")).with_group_instance_id(Some(text(id)));
        LeaveGroupRequest::default().with_group_id(group("static")).with_members(vec![identity])
    };
    talk.ask("an unknown instance leaves", 5, &leave("two"));
    talk.ask("the instance leaves", 5, &leave("one"));
}

pub(crate) fn committing(
    name: &str,
    generation: i32,
    member: &str,
    partition: i32,
    offset: i64,
) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition::default()
        .with_partition_index(partition)
        .with_committed_offset(offset)
        .with_committed_leader_epoch(-1)
        .with_committed_metadata(Some(text("note")));
    let asked =
        OffsetCommitRequestTopic::default().with_name(topic("committed")).with_partitions(vec![partition]);
    OffsetCommitRequest::default()
        .with_group_id(group(name))
        .with_generation_id_or_member_epoch(generation)
        .with_member_id(text(member))
        .with_topics(vec![asked])
}

pub(crate) fn committed(version: i16, name: &str, partitions: &[i32]) -> OffsetFetchRequest {
    if version < 8 {
        let asked = OffsetFetchRequestTopic::default()
            .with_name(topic("committed"))
            .with_partition_indexes(partitions.to_vec());
        return OffsetFetchRequest::default().with_group_id(group(name)).with_topics(Some(vec![asked]));
    }
    let asked = OffsetFetchRequestTopics::default()
        .with_name(topic("committed"))
        .with_partition_indexes(partitions.to_vec());
    let of = OffsetFetchRequestGroup::default()
        .with_group_id(group(name))
        .with_member_epoch(-1)
        .with_topics(Some(vec![asked]));
    OffsetFetchRequest::default().with_groups(vec![of])
}

pub(crate) fn offsets(talk: &mut Conversation) {
    talk.create_wide("committed", 2, &[]);
    settle(talk, "committing");
    // Version 0 keeps its offsets in ZooKeeper; it is compared on its own below.
    for version in 1..=9 {
        let name = format!("committing-v{version}");
        settle(talk, &name);
        talk.ask("a simple commit", version, &committing(&name, -1, "", 0, 40 + i64::from(version)));
        for fetch_version in 1..=9 {
            talk.ask("the committed offset", fetch_version, &committed(fetch_version, &name, &[0]));
        }
        talk.ask("a commit of an unknown partition", version, &committing(&name, -1, "", 7, 1));
        talk.ask(
            "a commit with a generation and no group",
            version,
            &committing(&format!("{name}-nosuch"), 3, "m", 0, 1),
        );
    }
    let name = "committing-v9";
    for version in 1..=9 {
        talk.ask("a partition without a commit", version, &committed(version, name, &[1]));
        talk.ask("an unknown partition", version, &committed(version, name, &[9]));
        talk.ask("an unknown group", version, &committed(version, "nosuch", &[0]));
        talk.ask("an empty group id", version, &committed(version, "", &[0]));
    }
    for version in 2..=9 {
        let mut all = committed(version, name, &[]);
        all.topics = if version < 8 { None } else { Some(vec![]) };
        for asked in &mut all.groups {
            asked.topics = None;
        }
        talk.ask("all offsets of a group", version, &all);
    }
    let stable = committed(9, name, &[0]).with_require_stable(true);
    talk.ask("stable offsets only", 9, &stable);
    let mut long = committing(name, -1, "", 0, 1);
    long.topics[0].partitions[0].committed_metadata = Some(text(&"x".repeat(5000)));
    talk.ask("metadata above offset.metadata.max.bytes", 9, &long);
    long.topics[0].partitions[0].committed_metadata = None;
    talk.ask("no metadata", 9, &long);
    let mut unknown = committing(name, -1, "", 0, 1);
    unknown.topics[0].name = topic("nosuch");
    talk.ask("a commit for an unknown topic", 9, &unknown);
    talk.ask("a negative offset", 9, &committing(name, -1, "", 1, -4));
    talk.ask("a commit for an empty group id", 9, &committing("", -1, "", 0, 1));

    let member = joined(talk, "committing-live");
    let name = "committing-live";
    talk.ask("a commit between join and sync", 9, &committing(name, 1, &member, 0, 5));
    talk.prepare(5, &syncing(name, 1, &member));
    talk.ask("a commit of a member", 9, &committing(name, 1, &member, 0, 6));
    talk.ask("a commit of another generation", 9, &committing(name, 4, &member, 0, 7));
    talk.ask("a commit of a stranger", 9, &committing(name, 1, "stranger", 0, 8));
    talk.ask("a simple commit into a live group", 9, &committing(name, -1, "", 0, 9));
    talk.ask("what was committed", 8, &committed(8, name, &[0]));
    talk.prepare(5, &leave_in(5, name, &member));
}

/// A znode's data as text, with another client's eyes.
fn znode(client: &mut ZnodeClient, path: &str) -> String {
    const GET_DATA: i32 = 4;
    let reply = client.request(GET_DATA, &Body::default().string(path).bool(false)).expect("an answer");
    if reply.error != 0 {
        return format!("error {}", reply.error);
    }
    String::from_utf8_lossy(&Cursor(&reply.body).buffer().unwrap_or_default()).into_owned()
}

/// The order of topics and partitions in an answer to OffsetFetch v0 comes from a hash map.
fn offsets_told(answer: &OffsetFetchResponse) -> String {
    let topics = answer.topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(|partition| format!("{:?} {partition:?}", topic.name.0))
    });
    sorted(topics)
}

/// After [`offsets`], which makes the topic.
pub(crate) fn offsets_in_zookeeper(talk: &mut Conversation) {
    const SET_DATA: i32 = 5;
    talk.create_wide("elsewhere", 1, &[]);
    let mut eyes = ZnodeClient::open(talk.broker.zookeeper().parse().expect("one server"));
    let at = |name: &str, partition: i32| format!("/consumers/{name}/offsets/committed/{partition}");
    let fetch = |talk: &mut Conversation, question: &str, request: &OffsetFetchRequest| {
        talk.ask_for(question, 0, request, offsets_told);
    };

    let name = "kept-in-zookeeper";
    fetch(talk, "before anything is committed", &committed(0, name, &[0, 1, 9]));
    for offset in [17, 18, 0, -1, -5, i64::MAX, i64::MIN] {
        talk.ask(&format!("a commit of {offset}"), 0, &committing(name, 4, "anybody", 0, offset));
        fetch(talk, "which is told", &committed(0, name, &[0, 1]));
        let seen = znode(&mut eyes, &at(name, 0));
        talk.note("and kept as text", seen);
    }
    talk.ask("it is no commit of the coordinator's", 1, &committed(1, name, &[0]));

    // Existing and unknown ones of several topics, one of them twice.
    let mut mixed = committing(name, -1, "", 1, 5);
    let partition = mixed.topics[0].partitions[0].clone();
    mixed.topics[0].partitions =
        [0, 9, 1, -1, 0].map(|index| partition.clone().with_partition_index(index)).to_vec();
    for other in ["nosuch", "elsewhere", "committed"] {
        let partitions = vec![partition.clone().with_partition_index(0)];
        mixed
            .topics
            .push(OffsetCommitRequestTopic::default().with_name(topic(other)).with_partitions(partitions));
    }
    talk.ask("a commit of known and unknown partitions", 0, &mixed);
    talk.ask("the same into the coordinator", 9, &mixed.clone().with_group_id(group("mixed")));
    let mut several = committed(0, name, &[0, 1, 9, 0, -1]);
    let other = OffsetFetchRequestTopic::default().with_name(topic("nosuch")).with_partition_indexes(vec![0]);
    let asked = several.topics.as_mut().expect("topics");
    asked.push(other.clone());
    asked.push(other.with_name(topic("elsewhere")));
    asked.push(asked[0].clone());
    fetch(talk, "known and unknown partitions, some twice", &several);
    talk.ask("a commit of nothing", 0, &committing(name, -1, "", 0, 1).with_topics(vec![]));
    fetch(talk, "no topic", &committed(0, name, &[]).with_topics(Some(vec![])));

    for (number, length) in [0, 4096, 4097].into_iter().enumerate() {
        let mut noted = committing("noted", -1, "", 0, 100 + number as i64);
        noted.topics[0].partitions[0].committed_metadata = Some(text(&"ü".repeat(length)));
        talk.ask(&format!("{length} characters of metadata"), 0, &noted);
        fetch(talk, "of which nothing is told", &committed(0, "noted", &[0]));
    }
    let mut silent = committing("noted", -1, "", 1, 7);
    silent.topics[0].partitions[0].committed_metadata = None;
    talk.ask("no metadata", 0, &silent);

    for odd in [
        "",
        ".",
        "..",
        "a/b",
        "a//b",
        "/a",
        "a/",
        "a/../b",
        "a/.",
        "with space",
        "ünïcode",
        "\u{1}",
        "\u{7f}",
        "…",
    ] {
        talk.ask(&format!("a commit by {odd:?}"), 0, &committing(odd, -1, "", 0, 3));
        fetch(talk, &format!("what {odd:?} committed"), &committed(0, odd, &[0]));
    }
    let seen = znode(&mut eyes, &at("a/b", 0));
    talk.note("where a group with a slash has its offset", seen);

    for data in ["", "x", "12x", "+12", " 12", "9223372036854775808", "-0", "1.0"] {
        let body = Body::default().string(&at(name, 0)).buffer(Some(data.as_bytes())).int(-1);
        assert_eq!(eyes.request(SET_DATA, &body).expect("an answer").error, 0);
        fetch(talk, &format!("an offset of another's hand: {data:?}"), &committed(0, name, &[0]));
    }
    talk.ask("a commit over it", 0, &committing(name, -1, "", 0, 8));
    fetch(talk, "which is told again", &committed(0, name, &[0]));
}

pub(crate) fn deletion(talk: &mut Conversation) {
    talk.create("deletable", &[]);
    let live = joined(talk, "deleting-live");
    talk.prepare(5, &syncing("deleting-live", 1, &live));
    settle(talk, "deleting");
    let deleting = |names: &[&str]| {
        DeleteGroupsRequest::default().with_groups_names(names.iter().map(|n| group(n)).collect())
    };
    for version in 0..=2 {
        let mut commit = committing("deleting", -1, "", 0, 5);
        commit.topics[0].name = topic("deletable");
        talk.prepare(8, &commit);
        talk.ask("a live group", version, &deleting(&["deleting-live"]));
        talk.ask("an unknown group", version, &deleting(&["nosuch"]));
        talk.ask("an empty group id", version, &deleting(&[""]));
        talk.ask("a group", version, &deleting(&["deleting"]));
        talk.ask("which is then gone", version, &deleting(&["deleting"]));
    }
    let mut commit = committing("deleting", -1, "", 0, 5);
    commit.topics[0].name = topic("deletable");
    talk.prepare(8, &commit);
    for version in 0..=5 {
        let described =
            DescribeGroupsRequest::default().with_groups(vec![group("deleting"), group("nosuch")]);
        talk.ask("groups described", version, &described);
        let listed = ListGroupsRequest::default();
        talk.ask_for("groups listed", version, &listed, |answer| {
            let groups = answer.groups.iter().filter(|known| known.group_id.starts_with("deleting"));
            format!("error {} {}", answer.error_code, sorted(groups.map(|known| format!("{known:?}"))))
        });
        if version >= 4 {
            let listed = ListGroupsRequest::default().with_states_filter(vec![text("Stable")]);
            talk.ask_for("stable groups listed", version, &listed, |answer| {
                let groups = answer.groups.iter().filter(|known| known.group_id.starts_with("deleting"));
                format!("error {} {}", answer.error_code, sorted(groups.map(|known| format!("{known:?}"))))
            });
        }
    }
    let dropping = |name: &str, of: &str, partition: i32| {
        let partition = OffsetDeleteRequestPartition::default().with_partition_index(partition);
        let asked = OffsetDeleteRequestTopic::default().with_name(topic(of)).with_partitions(vec![partition]);
        OffsetDeleteRequest::default().with_group_id(group(name)).with_topics(vec![asked])
    };
    talk.ask("an offset of an unknown topic deleted", 0, &dropping("deleting", "nosuch", 0));
    talk.ask("an offset of an unknown partition deleted", 0, &dropping("deleting", "deletable", 7));
    talk.ask("an offset of an unknown group deleted", 0, &dropping("nosuch", "deletable", 0));
    talk.ask("an offset deleted", 0, &dropping("deleting", "deletable", 0));
    talk.ask("an offset of a live group deleted", 0, &dropping("deleting-live", "deletable", 0));
    talk.prepare(5, &leave_in(5, "deleting-live", &live));
}
