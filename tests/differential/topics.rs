//! ApiVersions, Metadata, and the life of topics.

use kafka_protocol::messages::create_partitions_request::{
    CreatePartitionsAssignment, CreatePartitionsTopic,
};
use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    ApiVersionsRequest, BrokerId, CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest,
    DescribeClusterRequest, DescribeLogDirsRequest, DescribeLogDirsResponse, MetadataRequest,
};
use uuid::Uuid;

use crate::asking::{Conversation, new_topic, sorted, text, topic};
use crate::support::records::Batch;

pub(crate) fn api_versions(talk: &mut Conversation) {
    for version in 0..=4 {
        let request = ApiVersionsRequest::default()
            .with_client_software_name(text("promise"))
            .with_client_software_version(text("1"));
        talk.ask_for("the menu", version, &request, |answer| {
            let menu = answer
                .api_keys
                .iter()
                .map(|api| format!("{} {}-{}", api.api_key, api.min_version, api.max_version));
            format!(
                "error {} throttle {} {}",
                answer.error_code,
                answer.throttle_time_ms,
                menu.collect::<Vec<_>>().join(", ")
            )
        });
    }
    let nameless = ApiVersionsRequest::default()
        .with_client_software_name(text(""))
        .with_client_software_version(text(""));
    talk.ask_for("a client without a name", 3, &nameless, |answer| format!("error {}", answer.error_code));
    let odd = ApiVersionsRequest::default()
        .with_client_software_name(text("a b"))
        .with_client_software_version(text("1"));
    talk.ask_for("a client with a space in its name", 3, &odd, |answer| {
        format!("error {}", answer.error_code)
    });
}

fn named(name: &str) -> MetadataRequestTopic {
    MetadataRequestTopic::default().with_name(Some(topic(name)))
}

/// Asks, with partitions in order: Apache's come in the order of a hash table, which changes with every copy of it.
fn ask_metadata(talk: &mut Conversation, question: &str, version: i16, request: &MetadataRequest) {
    talk.ask_for(question, version, request, |answer| {
        let mut answer = answer.clone();
        for topic in &mut answer.topics {
            topic.partitions.sort_by_key(|partition| partition.partition_index);
        }
        format!("{answer:?}")
    });
}

pub(crate) fn metadata(talk: &mut Conversation) {
    talk.create_wide("told", 3, &[]);
    for version in 0..=12 {
        let auto = version < 4;
        let asked = MetadataRequest::default()
            .with_topics(Some(vec![named("told")]))
            .with_allow_auto_topic_creation(auto);
        ask_metadata(talk, "a known topic", version, &asked);
        if version > 0 {
            let nothing =
                MetadataRequest::default().with_topics(Some(vec![])).with_allow_auto_topic_creation(auto);
            ask_metadata(talk, "no topic", version, &nothing);
        }
    }
    for version in [4, 9, 12] {
        let asked = |name| {
            MetadataRequest::default()
                .with_topics(Some(vec![named(name)]))
                .with_allow_auto_topic_creation(false)
        };
        ask_metadata(talk, "an unknown topic", version, &asked("nosuch"));
        ask_metadata(talk, "an invalid name", version, &asked("no such"));
        ask_metadata(talk, "an empty name", version, &asked(""));
        ask_metadata(talk, "a name of 250 characters", version, &asked(&"x".repeat(250)));
    }
    let mut twice = asked_once("told");
    twice.topics = Some(vec![named("told"), named("told")]);
    ask_metadata(talk, "the same topic twice", 9, &twice);
    let by_id = |id| {
        MetadataRequest::default()
            .with_topics(Some(vec![MetadataRequestTopic::default().with_name(None).with_topic_id(id)]))
            .with_allow_auto_topic_creation(false)
    };
    let id = talk.metadata(&["told"]).topics[0].topic_id;
    ask_metadata(talk, "a known id", 12, &by_id(id));
    ask_metadata(talk, "an unknown id", 12, &by_id(Uuid::from_u128(42)));
    ask_metadata(talk, "the zero id", 12, &by_id(Uuid::nil()));
    let allowed = MetadataRequest::default()
        .with_topics(Some(vec![named("told")]))
        .with_allow_auto_topic_creation(false)
        .with_include_cluster_authorized_operations(true)
        .with_include_topic_authorized_operations(true);
    ask_metadata(talk, "authorized operations", 8, &allowed);
    let mut created = asked_once("made-by-asking");
    created.allow_auto_topic_creation = true;
    ask_metadata(talk, "auto creation, first ask", 12, &created);
    talk.wait_for_leaders("made-by-asking");
    ask_metadata(talk, "auto creation, a moment later", 12, &created);
    let mut invalid = asked_once("made by asking");
    invalid.allow_auto_topic_creation = true;
    ask_metadata(talk, "auto creation of an invalid name", 12, &invalid);
}

fn asked_once(name: &str) -> MetadataRequest {
    MetadataRequest::default().with_topics(Some(vec![named(name)])).with_allow_auto_topic_creation(false)
}

pub(crate) fn creating(topics: Vec<CreatableTopic>) -> CreateTopicsRequest {
    CreateTopicsRequest::default().with_topics(topics).with_timeout_ms(30_000)
}

fn create(talk: &mut Conversation, question: &str, version: i16, request: &CreateTopicsRequest) {
    talk.ask_for(question, version, request, |answer| {
        let topics = answer.topics.iter().map(|topic| {
            let configs = topic
                .configs
                .as_ref()
                .map(|configs| sorted(configs.iter().map(|config| format!("{config:?}"))));
            format!(
                "{:?} error {} {:?} configs error {} partitions {} factor {} zero id {} {configs:?}",
                topic.name,
                topic.error_code,
                topic.error_message,
                topic.topic_config_error_code,
                topic.num_partitions,
                topic.replication_factor,
                topic.topic_id.is_nil(),
            )
        });
        format!("throttle {} {}", answer.throttle_time_ms, sorted(topics))
    });
}

pub(crate) fn with_config(name: &str, key: &str, value: Option<&str>) -> CreatableTopic {
    new_topic(name)
        .with_configs(vec![CreatableTopicConfig::default().with_name(text(key)).with_value(value.map(text))])
}

pub(crate) fn assigned(name: &str, assignments: &[(i32, &[i32])]) -> CreatableTopic {
    let assignments = assignments.iter().map(|(partition, brokers)| {
        CreatableReplicaAssignment::default()
            .with_partition_index(*partition)
            .with_broker_ids(brokers.iter().map(|id| BrokerId(*id)).collect())
    });
    CreatableTopic::default()
        .with_name(topic(name))
        .with_num_partitions(-1)
        .with_replication_factor(-1)
        .with_assignments(assignments.collect())
}

pub(crate) fn creation(talk: &mut Conversation) {
    for version in 0..=7 {
        let name = format!("created-v{version}");
        create(talk, "a good topic", version, &creating(vec![new_topic(&name).with_num_partitions(2)]));
        create(talk, "which then exists", version, &creating(vec![new_topic(&name)]));
        if version > 0 {
            let validated = creating(vec![new_topic("only-validated")]).with_validate_only(true);
            create(talk, "validated only", version, &validated);
        }
    }
    for name in ["a b", "", ".", "..", &"x".repeat(250), "ünïcode", "a/b"] {
        create(talk, &format!("the name {name:.10?}"), 7, &creating(vec![new_topic(name)]));
    }
    let counts = [(0, 1), (-2, 1), (1, 0), (1, -2), (1, 5), (-1, -1), (2, -1), (-1, 1)];
    for (partitions, factor) in counts {
        let asked = new_topic(&format!("counts{partitions}{factor}"))
            .with_num_partitions(partitions)
            .with_replication_factor(factor);
        create(talk, &format!("{partitions} partitions, factor {factor}"), 7, &creating(vec![asked]));
    }
    let defaults = new_topic("defaults-v3").with_num_partitions(-1).with_replication_factor(-1);
    create(talk, "defaults before v4", 3, &creating(vec![defaults]));
    create(talk, "an assignment", 7, &creating(vec![assigned("assigned", &[(0, &[0]), (1, &[0])])]));
    create(
        talk,
        "an assignment with a broker twice",
        7,
        &creating(vec![assigned("assigned-twice", &[(0, &[0, 0])])]),
    );
    create(
        talk,
        "an assignment that starts at 1",
        7,
        &creating(vec![assigned("assigned-from-1", &[(1, &[0])])]),
    );
    let mut both = assigned("assigned-and-counted", &[(0, &[0])]);
    both.num_partitions = 1;
    create(talk, "an assignment and a count", 7, &creating(vec![both]));
    let configs = [
        ("no.such", Some("1")),
        ("retention.ms", Some("abc")),
        ("retention.ms", None),
        ("min.insync.replicas", Some("0")),
        ("cleanup.policy", Some("shred")),
        ("compression.type", Some("rar")),
        ("segment.bytes", Some("1")),
        ("remote.storage.enable", Some("true")),
        ("max.message.bytes", Some("-1")),
        ("retention.ms", Some("-1")),
        ("message.timestamp.type", Some("Never")),
        ("cleanup.policy", Some("compact,delete")),
        ("cleanup.policy", Some("")),
    ];
    for (number, (key, value)) in configs.into_iter().enumerate() {
        let asked = with_config(&format!("configured-{number}"), key, value);
        create(talk, &format!("{key}={value:?}"), 7, &creating(vec![asked]));
    }
    create(talk, "a name with a dot", 7, &creating(vec![new_topic("a.b")]));
    create(talk, "which collides with an underscore", 7, &creating(vec![new_topic("a_b")]));
    create(talk, "the same name twice", 7, &creating(vec![new_topic("twins"), new_topic("twins")]));
    create(talk, "one good, one bad", 7, &creating(vec![new_topic("good-one"), new_topic("bad one")]));
    create(talk, "no topics at all", 7, &creating(vec![]));
    create(
        talk,
        "__consumer_offsets by hand",
        7,
        &creating(vec![new_topic("__consumer_offsets").with_num_partitions(5)]).with_validate_only(true),
    );
}

pub(crate) fn growing(name: &str, count: i32, brokers: Option<&[&[i32]]>) -> CreatePartitionsRequest {
    let assignments = brokers.map(|assignments| {
        assignments
            .iter()
            .map(|brokers| {
                CreatePartitionsAssignment::default()
                    .with_broker_ids(brokers.iter().map(|id| BrokerId(*id)).collect())
            })
            .collect()
    });
    let grown = CreatePartitionsTopic::default()
        .with_name(topic(name))
        .with_count(count)
        .with_assignments(assignments);
    CreatePartitionsRequest::default().with_topics(vec![grown]).with_timeout_ms(30_000)
}

pub(crate) fn partitions(talk: &mut Conversation) {
    talk.create("growing", &[]);
    for (version, count) in [(0, 2), (1, 3), (2, 4), (3, 5)] {
        talk.ask("one more", version, &growing("growing", count, None));
        talk.wait_for_leaders("growing");
    }
    talk.ask("only validated", 3, &growing("growing", 9, None).with_validate_only(true));
    talk.ask("fewer than now", 3, &growing("growing", 0, None));
    talk.ask("a negative count", 3, &growing("growing", -3, None));
    talk.ask("the same count", 3, &growing("growing", 5, None));
    talk.ask("of an unknown topic", 3, &growing("nosuch", 5, None));
    talk.ask("of an invalid name", 3, &growing("no such", 5, None));
    talk.ask("with an assignment of the wrong length", 3, &growing("growing", 7, Some(&[&[0]])));
    talk.ask("assigned to an unknown broker", 3, &growing("growing", 6, Some(&[&[9]])));
    talk.ask("assigned to a broker twice", 3, &growing("growing", 6, Some(&[&[0, 0]])));
    talk.ask("assigned to nobody", 3, &growing("growing", 6, Some(&[&[]])));
    talk.ask("well assigned", 3, &growing("growing", 6, Some(&[&[0]])));
    let mut twice = growing("growing", 7, None);
    twice.topics.push(twice.topics[0].clone());
    talk.ask("the same topic twice", 3, &twice);
}

pub(crate) fn deletion(talk: &mut Conversation) {
    for version in 0..=6 {
        let name = format!("deleted-v{version}");
        talk.create(&name, &[]);
        let (names, states) = if version < 6 {
            (vec![topic(&name)], vec![])
        } else {
            (vec![], vec![DeleteTopicState::default().with_name(Some(topic(&name)))])
        };
        let request = DeleteTopicsRequest::default()
            .with_topic_names(names)
            .with_topics(states)
            .with_timeout_ms(30_000);
        talk.ask("a topic", version, &request);
        talk.ask("which is then gone", version, &request);
        let known = talk.metadata(&[&name]).topics[0].error_code;
        talk.note(&format!("metadata of {name} after its deletion"), format!("{known}"));
    }
    talk.create("deleted-by-id", &[]);
    let id = talk.metadata(&["deleted-by-id"]).topics[0].topic_id;
    let by = |states: Vec<DeleteTopicState>| {
        DeleteTopicsRequest::default().with_topics(states).with_timeout_ms(30_000)
    };
    let state = DeleteTopicState::default;
    talk.ask(
        "by name and id",
        6,
        &by(vec![state().with_name(Some(topic("deleted-by-id"))).with_topic_id(id)]),
    );
    talk.ask("by id", 6, &by(vec![state().with_name(None).with_topic_id(id)]));
    talk.ask("by an unknown id", 6, &by(vec![state().with_name(None).with_topic_id(Uuid::from_u128(42))]));
    talk.ask("by nothing", 6, &by(vec![state().with_name(None)]));
    talk.ask("nothing", 6, &by(vec![]));
    talk.create("deleted-twice", &[]);
    let names = vec![topic("deleted-twice"), topic("deleted-twice")];
    talk.ask(
        "the same name twice",
        5,
        &DeleteTopicsRequest::default().with_topic_names(names).with_timeout_ms(30_000),
    );
    // The same name, another topic: nothing of the former may be left.
    talk.create("deleted-v5", &[]);
    super::produce::produce(talk, "into the topic created again", 9, "deleted-v5", &Batch::of(&["first"]));
}

pub(crate) fn cluster(talk: &mut Conversation) {
    for version in 0..=1 {
        talk.ask("the cluster", version, &DescribeClusterRequest::default());
        let allowed = DescribeClusterRequest::default().with_include_cluster_authorized_operations(true);
        talk.ask("the cluster, with operations", version, &allowed);
    }
    talk.ask("the controllers", 1, &DescribeClusterRequest::default().with_endpoint_type(2));
    talk.ask("an unknown kind of endpoint", 1, &DescribeClusterRequest::default().with_endpoint_type(9));
    talk.create_wide("weighed", 2, &[]);
    super::produce::produce(talk, "something to weigh", 9, "weighed", &Batch::of(&["one", "two"]));
    for version in 0..=4 {
        for (question, request) in [
            ("the weight of two partitions", log_dirs_of("weighed", vec![0, 1])),
            ("the weight of an unknown partition", log_dirs_of("weighed", vec![7])),
            ("the weight of an unknown topic", log_dirs_of("nosuch", vec![0])),
        ] {
            talk.ask_for(question, version, &request, sizes);
        }
    }
}

pub(crate) fn log_dirs_of(name: &str, partitions: Vec<i32>) -> DescribeLogDirsRequest {
    let topic = DescribableLogDirTopic::default().with_topic(topic(name)).with_partitions(partitions);
    DescribeLogDirsRequest::default().with_topics(Some(vec![topic]))
}

/// Directories with the partitions in them, in a fixed order.
pub(crate) fn sizes(answer: &DescribeLogDirsResponse) -> String {
    let dirs = answer.results.iter().map(|dir| {
        let sizes =
            dir.topics.iter().flat_map(|topic| &topic.partitions).map(|partition| format!("{partition:?}"));
        format!(
            "error {} {:?} {} sizes known {}",
            dir.error_code,
            dir.log_dir,
            sorted(sizes),
            dir.total_bytes > 0
        )
    });
    format!("error {} {}", answer.error_code, sorted(dirs))
}
