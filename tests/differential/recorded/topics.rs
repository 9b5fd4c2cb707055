//! ApiVersions, Metadata, the life of topics, configs.

use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{ApiVersionsRequest, DeleteTopicsRequest, MetadataRequest};
use uuid::Uuid;

use super::Asker;
use crate::asking::{new_topic, topic};
use crate::configs::{BROKER, TOPIC, altering, describing};
use crate::topics::{assigned, creating, growing, with_config};

pub(super) fn ask(asker: &mut Asker) {
    api_versions(asker);
    asker.controller();
    // The leader of the one is in the middle, so that there is a broker without a replica too.
    asker.prepare(7, &creating(vec![assigned("pt", &[(0, &[1, 2])]), new_topic("wide")]));
    asker.prepare(
        7,
        &creating(vec![with_config("cmpt", "cleanup.policy", Some("compact")), new_topic("grow")]),
    );
    for name in ["pt", "wide", "cmpt", "grow"] {
        asker.wait_for_topic(name);
    }
    metadata(asker);
    creation(asker);
    partitions(asker);
    deletion(asker);
    described_configs(asker);
    altered_configs(asker);
}

fn api_versions(asker: &mut Asker) {
    // Answered in version 0 whatever the question, so the answer is read by hand.
    let frame = asker.connection().frame(4, &ApiVersionsRequest::default());
    let mut frame = frame.to_vec();
    frame[7] = 99;
    asker.connection().write_raw(&frame).expect("sent");
    let answer = asker.connection().read_frame().expect("answered").expect("an answer");
    let code = i16::from_be_bytes(answer[4..6].try_into().expect("2 bytes"));
    let entries = i32::from_be_bytes(answer[6..10].try_into().expect("4 bytes"));
    let words: Vec<i16> =
        answer[10..16].chunks(2).map(|word| i16::from_be_bytes(word.try_into().expect("2 bytes"))).collect();
    let shown = format!(
        "error_code: {code} answered in v0 layout, with {entries} key entries (first: key {} {}-{})",
        words[0], words[1], words[2]
    );
    asker.keep("ApiVersions", "99", "version above the maximum", shown);
}

fn asking(name: &str, create: bool) -> MetadataRequest {
    let asked = MetadataRequestTopic::default().with_name(Some(topic(name)));
    MetadataRequest::default().with_topics(Some(vec![asked])).with_allow_auto_topic_creation(create)
}

fn metadata(asker: &mut Asker) {
    asker.controller();
    asker.ask(12, "unknown topic, no auto creation", &asking("nosuch", false));
    asker.ask(12, "invalid topic name", &asking("a b", false));
    asker.ask(12, "empty topic name", &asking("", false));
    let by_id = MetadataRequestTopic::default().with_name(None).with_topic_id(Uuid::from_u128(42));
    let by_id =
        MetadataRequest::default().with_topics(Some(vec![by_id])).with_allow_auto_topic_creation(false);
    asker.ask(12, "unknown topic id", &by_id);
    asker.ask(12, "known topic", &asking("pt", false));
    asker.ask(12, "auto creation of a new topic (first ask)", &asking("made", true));
    asker.wait_for_topic("made");
    asker.ask(12, "the same topic a moment later", &asking("made", true));
    asker.ask(12, "auto creation of an invalid name", &asking("a b", true));
}

fn creation(asker: &mut Asker) {
    let of = |name: &str| creating(vec![new_topic(name)]);
    let counted = |name: &str, partitions: i32, factor: i16| {
        creating(vec![new_topic(name).with_num_partitions(partitions).with_replication_factor(factor)])
    };
    let set = |name: &str, key: &str, value: Option<&str>| creating(vec![with_config(name, key, value)]);
    asker.not_the_controller().ask(7, "at a broker that is not the controller", &of("elsewhere"));
    asker.controller();
    asker.ask(7, "exists", &of("pt"));
    asker.ask(7, "validate only, good", &of("checked").with_validate_only(true));
    asker.ask(7, "validate only, exists", &of("pt").with_validate_only(true));
    asker.ask(7, "name with a space", &of("a b"));
    asker.ask(7, "empty name", &of(""));
    asker.ask(7, "name '.'", &of("."));
    asker.ask(7, "name of 250 characters", &of(&"x".repeat(250)));
    asker.ask(7, "0 partitions", &counted("none", 0, 1));
    asker.ask(7, "-2 partitions", &counted("none", -2, 1));
    asker.ask(7, "replication factor 0", &counted("none", 1, 0));
    asker.ask(7, "replication factor 5 of 3 brokers", &counted("none", 1, 5));
    asker.ask(7, "-1/-1 (defaults) v7", &counted("defaults-7", -1, -1));
    asker.ask(3, "-1/-1 in v3 (defaults need v4)", &counted("defaults-3", -1, -1));
    let unknown = creating(vec![assigned("unknown-broker", &[(0, &[9])])]).with_timeout_ms(1_000);
    asker.ask(7, "assignment with unknown broker 9", &unknown);
    let twice = creating(vec![assigned("twice", &[(0, &[1, 1])])]);
    asker.ask(7, "assignment with a broker twice", &twice);
    let late = creating(vec![assigned("late", &[(1, &[1])])]);
    asker.ask(7, "assignment starting at partition 1", &late);
    let empty = creating(vec![assigned("empty", &[(0, &[])])]).with_timeout_ms(1_000);
    asker.ask(7, "assignment empty", &empty);
    let mut both = assigned("both", &[(0, &[1])]);
    both.num_partitions = 1;
    asker.ask(7, "assignment and a partition count", &creating(vec![both]));
    asker.ask(7, "unknown config", &set("odd", "no.such", Some("1")));
    asker.ask(7, "bad config value", &set("odd", "retention.ms", Some("abc")));
    asker.ask(7, "null config value", &set("odd", "retention.ms", None));
    asker.ask(7, "min.insync.replicas=0", &set("odd", "min.insync.replicas", Some("0")));
    let tiered = set("odd", "remote.storage.enable", Some("true"));
    asker.ask(7, "remote.storage.enable=true (not enabled on the broker)", &tiered);
    asker.prepare(7, &of("a.b"));
    asker.ask(7, "a.b again (exists)", &of("a.b"));
    asker.ask(7, "a_b after a.b exists (collision)", &of("a_b"));
    let twins = creating(vec![new_topic("twins"), new_topic("twins")]);
    asker.ask(7, "same name twice in one request", &twins);
    asker.coordinator("any", 0);
    asker.controller();
    asker.ask(7, "__consumer_offsets (exists or not)", &of("__consumer_offsets"));
    asker.ask(7, "no topics at all", &creating(vec![]));
    asker.ask(7, "timeout 0", &of("hurried").with_timeout_ms(0));
}

fn partitions(asker: &mut Asker) {
    asker.not_the_controller().ask(3, "not the controller", &growing("grow", 2, None));
    asker.controller();
    asker.ask(3, "fewer than now", &growing("grow", 0, None));
    asker.ask(3, "same count", &growing("grow", 1, None));
    asker.ask(3, "unknown topic", &growing("nosuch", 2, None));
    asker.ask(3, "assignment of the wrong length", &growing("grow", 3, Some(&[&[1]])));
    asker.ask(3, "assignment with an unknown broker", &growing("grow", 2, Some(&[&[9]])));
    let wider = growing("grow", 2, Some(&[&[1, 2]]));
    asker.ask(3, "assignment with another replication factor", &wider);
    asker.ask(3, "good", &growing("grow", 2, None));
    asker.ask(3, "invalid topic name", &growing("a b", 2, None));
}

fn deletion(asker: &mut Asker) {
    let named = |names: &[&str]| {
        let names = names.iter().map(|name| topic(name)).collect();
        DeleteTopicsRequest::default().with_topic_names(names).with_timeout_ms(30_000)
    };
    let by = |state: DeleteTopicState| {
        DeleteTopicsRequest::default().with_topics(vec![state]).with_timeout_ms(30_000)
    };
    let state = DeleteTopicState::default;
    asker.not_the_controller().ask(5, "not the controller", &named(&["pt"]));
    asker.controller();
    asker.ask(5, "unknown name", &named(&["nosuch"]));
    asker.ask(6, "unknown name v6", &by(state().with_name(Some(topic("nosuch")))));
    asker.ask(6, "unknown topic id", &by(state().with_name(None).with_topic_id(Uuid::from_u128(42))));
    let both = state().with_name(Some(topic("pt"))).with_topic_id(Uuid::from_u128(42));
    asker.ask(6, "both name and id", &by(both));
    asker.ask(5, "good", &named(&["grow"]));
    asker.ask(5, "same name twice", &named(&["made", "made"]));
}

fn described_configs(asker: &mut Asker) {
    const ANY: i8 = 1;
    const LOGGER: i8 = 8;
    const CLIENT_METRICS: i8 = 16;
    asker.at(1);
    asker.ask(4, "unknown topic", &describing(TOPIC, "nosuch"));
    asker.ask(4, "invalid topic name", &describing(TOPIC, "a b"));
    asker.ask(4, "broker, empty name (cluster default)", &describing(BROKER, ""));
    asker.ask(4, "broker id of another broker", &describing(BROKER, "2"));
    asker.ask(4, "broker name not a number", &describing(BROKER, "abc"));
    asker.ask(4, "resource type 1 (ANY)", &describing(ANY, "x"));
    asker.ask(4, "resource type 77", &describing(77, "x"));
    asker.ask(4, "client metrics (16)", &describing(CLIENT_METRICS, "x"));
    asker.ask(4, "broker logger (8) of this broker", &describing(LOGGER, "1"));
    asker.ask(4, "broker logger of another broker", &describing(LOGGER, "2"));
}

fn altered_configs(asker: &mut Asker) {
    let (set, append, subtract) = (0, 2, 3);
    let one = |key, operation, value| altering(TOPIC, "pt", &[(key, operation, value)]);
    asker.not_the_controller();
    asker.ask(1, "at a broker that is not the controller", &one("retention.ms", set, Some("700000")));
    asker.at(1);
    asker.ask(1, "unknown topic", &altering(TOPIC, "nosuch", &[("retention.ms", set, Some("1"))]));
    asker.ask(1, "unknown config", &one("no.such", set, Some("1")));
    asker.ask(1, "bad value", &one("retention.ms", set, Some("abc")));
    asker.ask(1, "null value with SET", &one("retention.ms", set, None));
    let no_list = one("retention.ms", append, Some("1"));
    asker.ask(1, "APPEND to a config that is no list", &no_list);
    asker.ask(1, "APPEND to a list", &one("cleanup.policy", append, Some("compact")));
    asker.ask(1, "SUBTRACT", &one("cleanup.policy", subtract, Some("compact")));
    asker.ask(1, "unknown operation 9", &one("retention.ms", 9, Some("1")));
    let twice = altering(TOPIC, "pt", &[("retention.ms", set, Some("1")), ("retention.ms", set, Some("2"))]);
    asker.ask(1, "same key twice", &twice);
    let on_broker = |name, key, value| altering(BROKER, name, &[(key, set, Some(value))]);
    asker.ask(1, "read-only broker config", &on_broker("1", "broker.id", "7"));
    asker.ask(1, "unknown broker config", &on_broker("1", "no.such", "7"));
    let everywhere = on_broker("", "listeners", "PLAINTEXT://:1");
    asker.ask(1, "per-broker config on the cluster default", &everywhere);
    asker.ask(1, "another broker's config", &on_broker("2", "log.retention.ms", "1"));
    asker.ask(1, "bad value on a broker", &on_broker("1", "log.cleaner.threads", "abc"));
    asker.ask(1, "more than double threads at once", &on_broker("1", "num.io.threads", "100"));
    let empty = altering(TOPIC, "", &[("retention.ms", set, Some("1"))]);
    asker.ask(1, "empty topic name", &empty);
    let metrics = altering(16, "x", &[("metrics", set, Some("1"))]);
    asker.ask(1, "client metrics (16) in ZooKeeper mode", &metrics);
}
