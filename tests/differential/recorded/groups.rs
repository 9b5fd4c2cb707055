//! Coordinators, membership, committed offsets.

use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest, DeleteGroupsRequest, DescribeGroupsRequest,
    FindCoordinatorRequest, HeartbeatRequest, JoinGroupRequest, OffsetCommitRequest, OffsetDeleteRequest,
    OffsetFetchRequest,
};

use super::Asker;
use crate::asking::{group, text, topic};
use crate::groups::{beating, committed, committing, joining, leave_in, syncing};

const GROUP: &str = "recorded";

/// The coordinator of [`GROUP`], and a broker that is not.
struct Places {
    here: i32,
    elsewhere: i32,
}

pub(super) fn ask(asker: &mut Asker) {
    coordinators(asker);
    asker.at(0);
    let here = loaded(asker, GROUP);
    let places = Places { here, elsewhere: (here + 1) % 3 };
    let member = joined(asker, &places);
    synced(asker, &places, &member);
    second_members(asker, &places);
    heartbeats(asker, &places, &member);
    commits(asker, &places, &member);
    fetched(asker, &places);
    described_and_deleted(asker, &places, &member);
    new_protocol(asker, &places);
}

/// Its coordinator, which knows its groups.
#[track_caller]
pub(super) fn loaded(asker: &mut Asker, name: &str) -> i32 {
    let coordinator = asker.coordinator(name, 0);
    asker.at(coordinator);
    crate::support::until("the coordinator's groups", || {
        ![14, 15, 16].contains(&asker.prepare(3, &beating(name, 0, "nobody")).error_code)
    });
    coordinator
}

/// The same of the group without a name, which has offsets and no members.
#[track_caller]
fn loaded_nameless(asker: &mut Asker) {
    let coordinator = asker.coordinator("", 0);
    asker.at(coordinator);
    crate::support::until("the coordinator's groups", || {
        ![14, 15, 16].contains(&asker.prepare(8, &fetch_of("", 0)).groups[0].error_code)
    });
}

fn coordinators(asker: &mut Asker) {
    let of = |key: &str, kind: i8| {
        FindCoordinatorRequest::default().with_coordinator_keys(vec![text(key)]).with_key_type(kind)
    };
    asker.at(1);
    asker.ask(4, "empty key, group type", &of("", 0));
    asker.ask(4, "unknown key type 5", &of("x", 5));
    asker.ask(6, "share key type 2 in v6", &of("g:AAAAAAAAAAAAAAAAAAAAAA:0", 2));
}

fn joining_with(change: impl FnOnce(&mut JoinGroupRequest)) -> JoinGroupRequest {
    let mut request = joining(GROUP, "");
    change(&mut request);
    request
}

/// The member id of the one who is in the group then.
fn joined(asker: &mut Asker, places: &Places) -> String {
    asker.at(places.elsewhere).ask(9, "not the coordinator", &joining(GROUP, ""));
    asker.at(places.here);
    asker.ask(9, "empty group id", &joining_with(|request| request.group_id = group("")));
    let short = joining_with(|request| request.session_timeout_ms = 10);
    asker.ask(9, "session timeout below group.min.session.timeout.ms (1000 here)", &short);
    let long = joining_with(|request| request.session_timeout_ms = 3_600_000);
    asker.ask(9, "session timeout above group.max.session.timeout.ms", &long);
    asker.ask(9, "unknown member id on an empty group", &joining(GROUP, "nobody"));
    asker.ask(9, "no protocols", &joining_with(|request| request.protocols.clear()));
    asker.ask(9, "empty protocol type", &joining_with(|request| request.protocol_type = text("")));
    let first = asker.ask(9, "first join without member id (v4+)", &joining(GROUP, ""));
    let member = first.expect("an answer").member_id.to_string();
    asker.ask(9, "join again with the given member id", &joining(GROUP, &member));
    let between = "heartbeat between join and sync (CompletingRebalance)";
    asker.ask(4, between, &beating(GROUP, 1, &member));
    asker.ask(8, "commit in CompletingRebalance", &commit(GROUP, 1, &member, 0));
    member
}

fn synced(asker: &mut Asker, places: &Places, member: &str) {
    asker.at(places.elsewhere).ask(5, "not the coordinator", &syncing(GROUP, 1, member));
    asker.at(places.here);
    asker.ask(5, "unknown member", &syncing(GROUP, 1, "stranger"));
    asker.ask(5, "wrong generation", &syncing(GROUP, 9, member));
    let protocol = syncing(GROUP, 1, member).with_protocol_name(Some(text("sticky")));
    asker.ask(5, "wrong protocol name", &protocol);
    let kind = syncing(GROUP, 1, member).with_protocol_type(Some(text("connect")));
    asker.ask(5, "wrong protocol type", &kind);
    asker.ask(5, "empty group id", &syncing("", 1, member));
    asker.ask(5, "good", &syncing(GROUP, 1, member));
    loaded(asker, "nosuch");
    asker.ask(5, "unknown group", &syncing("nosuch", 1, member));
}

fn second_members(asker: &mut Asker, places: &Places) {
    asker.at(places.here);
    let kind = joining_with(|request| request.protocol_type = text("connect"));
    asker.ask(9, "join of a second member with another protocol type", &kind);
    let protocol = joining_with(|request| request.protocols[0].name = text("sticky"));
    asker.ask(9, "join of a second member with no common protocol", &protocol);
    asker.ask(9, "join with a member id nobody has", &joining(GROUP, "nobody"));
}

fn heartbeats(asker: &mut Asker, places: &Places, member: &str) {
    let instance = |request: HeartbeatRequest| request.with_group_instance_id(Some(text("unknown")));
    asker.at(places.elsewhere).ask(4, "not the coordinator", &beating(GROUP, 1, member));
    asker.at(places.here);
    asker.ask(4, "good", &beating(GROUP, 1, member));
    asker.ask(4, "unknown member", &beating(GROUP, 1, "stranger"));
    asker.ask(4, "wrong generation", &beating(GROUP, 9, member));
    asker.ask(4, "empty group id", &beating("", 1, member));
    asker.ask(4, "unknown group instance id", &instance(beating(GROUP, 1, member)));
    loaded(asker, "nosuch");
    asker.ask(4, "unknown group", &beating("nosuch", 1, member));
}

/// Of `pt`, which is there.
fn commit(name: &str, generation: i32, member: &str, partition: i32) -> OffsetCommitRequest {
    let mut request = committing(name, generation, member, partition, 5);
    request.topics[0].name = topic("pt");
    request
}

fn commits(asker: &mut Asker, places: &Places, member: &str) {
    asker.at(places.elsewhere).ask(9, "not the coordinator", &commit(GROUP, 1, member, 0));
    asker.at(places.here);
    asker.ask(9, "good", &commit(GROUP, 1, member, 0));
    asker.ask(9, "wrong generation", &commit(GROUP, 9, member, 0));
    asker.ask(9, "unknown member", &commit(GROUP, 1, "stranger", 0));
    asker.ask(9, "simple commit (generation -1) into a live group", &commit(GROUP, -1, "", 0));
    asker.ask(8, "simple commit (generation -1) into a live group, v8", &commit(GROUP, -1, "", 0));
    let mut long = commit(GROUP, 1, member, 0);
    long.topics[0].partitions[0].committed_metadata = Some(text(&"x".repeat(5000)));
    asker.ask(9, "metadata above offset.metadata.max.bytes (4096)", &long);
    let mut unknown = commit(GROUP, 1, member, 0);
    unknown.topics[0].name = topic("nosuch");
    asker.ask(9, "unknown topic", &unknown);
    asker.ask(9, "unknown partition", &commit(GROUP, 1, member, 7));
    loaded(asker, "nosuch");
    asker.ask(9, "generation given, group does not exist", &commit("nosuch", 1, member, 0));
    loaded_nameless(asker);
    asker.ask(9, "empty group id", &commit("", -1, "", 0));
}

fn fetch_of(name: &str, partition: i32) -> OffsetFetchRequest {
    let mut request = committed(8, name, &[partition]);
    for topics in request.groups[0].topics.iter_mut().flatten() {
        topics.name = topic("pt");
    }
    request
}

fn fetched(asker: &mut Asker, places: &Places) {
    asker.at(places.elsewhere).ask(8, "not the coordinator", &fetch_of(GROUP, 0));
    asker.at(places.here);
    asker.ask(8, "good", &fetch_of(GROUP, 0));
    asker.ask(8, "partition without a commit", &fetch_of(GROUP, 1));
    let mut all = fetch_of(GROUP, 0);
    all.groups[0].topics = None;
    asker.ask(8, "all topics (null)", &all);
    loaded(asker, "nosuch");
    asker.ask(8, "unknown group", &fetch_of("nosuch", 0));
    loaded_nameless(asker);
    asker.ask(8, "empty group id", &fetch_of("", 0));
}

fn described_and_deleted(asker: &mut Asker, places: &Places, member: &str) {
    let deleting = |name: &str| DeleteGroupsRequest::default().with_groups_names(vec![group(name)]);
    let describing = |name: &str| DescribeGroupsRequest::default().with_groups(vec![group(name)]);
    let dropping = |name: &str| OffsetDeleteRequest::default().with_group_id(group(name));
    asker.at(places.elsewhere);
    asker.ask(2, "not the coordinator", &deleting(GROUP));
    asker.ask(5, "not the coordinator", &describing(GROUP));
    asker.at(places.here);
    asker.ask(2, "non-empty group", &deleting(GROUP));
    asker.ask(0, "known group, empty topic list", &dropping(GROUP));
    loaded(asker, "nosuch");
    asker.ask(2, "unknown group", &deleting("nosuch"));
    asker.ask(5, "unknown group (the answer says state Dead, no error)", &describing("nosuch"));
    asker.ask(0, "unknown group", &dropping("nosuch"));
    asker.at(places.here);
    asker.ask(5, "unknown member", &leave_in(5, GROUP, "stranger"));
    asker.ask(5, "good", &leave_in(5, GROUP, member));
}

/// Apache's brokers do not have it on ZooKeeper, so ours do not offer it there unless they are told to.
fn new_protocol(asker: &mut Asker, places: &Places) {
    asker.at(places.here);
    let joining = ConsumerGroupHeartbeatRequest::default()
        .with_group_id(group(GROUP))
        .with_member_id(text("a"))
        .with_rebalance_timeout_ms(60_000)
        .with_subscribed_topic_names(Some(vec![topic("pt")]))
        .with_topic_partitions(Some(Vec::new()));
    asker.ask(0, "new-protocol heartbeat in ZooKeeper mode", &joining);
    let describing = ConsumerGroupDescribeRequest::default().with_group_ids(vec![group(GROUP)]);
    asker.ask(0, "new-protocol describe in ZooKeeper mode", &describing);
}
