//! Quotas: set, removed, described and refused, and the waits that answers tell.

use std::time::{Duration, Instant};

use kafka_protocol::messages::alter_client_quotas_request::{EntityData, EntryData, OpData};
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_client_quotas_request::ComponentData;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    AlterClientQuotasRequest, CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest,
    DescribeClientQuotasRequest, DescribeClientQuotasResponse, FetchRequest, IncrementalAlterConfigsRequest,
    MetadataRequest, ProduceRequest,
};

use crate::asking::{Conversation, NOBODY, new_topic, sorted, text, topic};
use crate::support::process::PATIENCE;
use crate::support::records::Batch;

/// Type and name of a part of an entity; without a name the default.
type Part<'a> = (&'a str, Option<&'a str>);

/// Key and value; `None` removes it.
type Op<'a> = (&'a str, Option<f64>);

fn altering(entity: &[Part], ops: &[Op]) -> AlterClientQuotasRequest {
    let entity = entity.iter().map(|(entity_type, name)| {
        EntityData::default().with_entity_type(text(entity_type)).with_entity_name(name.map(text))
    });
    let ops = ops.iter().map(|(key, value)| {
        OpData::default()
            .with_key(text(key))
            .with_value(value.unwrap_or_default())
            .with_remove(value.is_none())
    });
    let entry = EntryData::default().with_entity(entity.collect()).with_ops(ops.collect());
    AlterClientQuotasRequest::default().with_entries(vec![entry])
}

/// Parts of entities come in the order of a hash map.
fn alter(talk: &mut Conversation, question: &str, version: i16, request: &AlterClientQuotasRequest) {
    talk.ask_for(question, version, request, |answer| {
        let entries = answer.entries.iter().map(|entry| {
            let parts = entry.entity.iter().map(|part| format!("{part:?}"));
            format!("{} {:?} {}", entry.error_code, entry.error_message, sorted(parts))
        });
        format!("throttled {} {}", answer.throttle_time_ms, sorted(entries))
    });
}

fn set(talk: &mut Conversation, entity: &[Part], ops: &[Op]) {
    let answer = talk.prepare(1, &altering(entity, ops));
    assert_eq!(answer.entries[0].error_code, 0, "{answer:?}");
}

/// Type, kind of match and name.
type Component<'a> = (&'a str, i8, Option<&'a str>);

const EXACT: i8 = 0;
const DEFAULT: i8 = 1;
const ANY: i8 = 2;

fn describing(components: &[Component], strict: bool) -> DescribeClientQuotasRequest {
    let components = components.iter().map(|(entity_type, kind, name)| {
        ComponentData::default()
            .with_entity_type(text(entity_type))
            .with_match_type(*kind)
            .with_match(name.map(text))
    });
    DescribeClientQuotasRequest::default().with_components(components.collect()).with_strict(strict)
}

fn shown(answer: &DescribeClientQuotasResponse) -> String {
    let entries = answer.entries.iter().flatten().map(|entry| {
        let parts = entry.entity.iter().map(|part| format!("{}={:?}", &*part.entity_type, part.entity_name));
        let values = entry.values.iter().map(|value| format!("{}={}", &*value.key, value.value));
        format!("{} : {}", sorted(parts), sorted(values))
    });
    let entries = if answer.entries.is_none() { "none".to_string() } else { sorted(entries) };
    format!("{} {:?} {entries}", answer.error_code, answer.error_message)
}

fn describe(talk: &mut Conversation, question: &str, version: i16, request: &DescribeClientQuotasRequest) {
    talk.ask_for(question, version, request, shown);
}

const USER: &str = "user";
const CLIENT: &str = "client-id";
const IP: &str = "ip";
const PRODUCED: &str = "producer_byte_rate";
const FETCHED: &str = "consumer_byte_rate";
const TIME: &str = "request_percentage";
const CHANGES: &str = "controller_mutation_rate";
const CONNECTIONS: &str = "connection_creation_rate";

/// So much that nobody else on the same broker notices.
const PLENTY: f64 = 1e15;

/// All kinds of entities that there are; the same list removes them.
const ENTITIES: &[&[Part]] = &[
    &[(USER, Some("alice"))],
    &[(USER, Some("CN=Bob Smith,O=x y"))],
    &[(USER, None)],
    &[(CLIENT, Some("c1"))],
    &[(CLIENT, Some("<default>"))],
    &[(CLIENT, Some("a/b*c~d+e%f é"))],
    &[(CLIENT, None)],
    &[(USER, Some("alice")), (CLIENT, Some("c1"))],
    &[(CLIENT, None), (USER, Some("alice"))],
    &[(USER, None), (CLIENT, Some("c1"))],
    &[(USER, None), (CLIENT, None)],
];

pub(crate) fn entities(talk: &mut Conversation) {
    for version in 0..=1 {
        for entity in ENTITIES {
            alter(talk, "set", version, &altering(entity, &[(PRODUCED, Some(PLENTY)), (TIME, Some(1e9))]));
            alter(talk, "set another", version, &altering(entity, &[(CHANGES, Some(1e9)), (TIME, None)]));
        }
        for ip in [Some("127.0.0.9"), Some("localhost"), None] {
            alter(talk, "set", version, &altering(&[(IP, ip)], &[(CONNECTIONS, Some(2e9))]));
        }
        let filters: &[(&str, &[Component])] = &[
            ("all", &[]),
            ("a user", &[(USER, EXACT, Some("alice"))]),
            ("an unknown user", &[(USER, EXACT, Some("nobody"))]),
            ("the default user", &[(USER, DEFAULT, None)]),
            ("any user", &[(USER, ANY, None)]),
            ("a client", &[(CLIENT, EXACT, Some("c1"))]),
            ("a client named as the default", &[(CLIENT, EXACT, Some("<default>"))]),
            ("the default client", &[(CLIENT, DEFAULT, None)]),
            ("a client of a user", &[(USER, EXACT, Some("alice")), (CLIENT, EXACT, Some("c1"))]),
            ("any client of a user", &[(USER, EXACT, Some("alice")), (CLIENT, ANY, None)]),
            ("any client of any user", &[(USER, ANY, None), (CLIENT, ANY, None)]),
            ("an address", &[(IP, EXACT, Some("127.0.0.9"))]),
            ("the default address", &[(IP, DEFAULT, None)]),
            ("any address", &[(IP, ANY, None)]),
        ];
        for (question, components) in filters {
            describe(talk, question, version, &describing(components, false));
            describe(talk, &format!("only {question}"), version, &describing(components, true));
        }
        for entity in ENTITIES {
            alter(talk, "remove", version, &altering(entity, &[(PRODUCED, None), (CHANGES, None)]));
        }
        for ip in [Some("127.0.0.9"), Some("localhost"), None] {
            alter(talk, "remove", version, &altering(&[(IP, ip)], &[(CONNECTIONS, None)]));
        }
        describe(talk, "what is left", version, &describing(&[(USER, ANY, None)], false));
        describe(talk, "what is left", version, &describing(&[(IP, ANY, None)], false));
    }
}

pub(crate) fn refusals(talk: &mut Conversation) {
    let c1: &[Part] = &[(CLIENT, Some("refused"))];
    let cases: &[(&str, &[Part], &[Op])] = &[
        ("no entity", &[], &[(PRODUCED, Some(1.0))]),
        ("an unknown type", &[("group", Some("g"))], &[(PRODUCED, Some(1.0))]),
        ("an empty type", &[("", Some("g"))], &[(PRODUCED, Some(1.0))]),
        ("an empty user", &[(USER, Some(""))], &[(PRODUCED, Some(1.0))]),
        ("an empty client", &[(CLIENT, Some(""))], &[(PRODUCED, Some(1.0))]),
        ("an empty address", &[(IP, Some(""))], &[(CONNECTIONS, Some(1.0))]),
        ("an address and a user", &[(IP, Some("127.0.0.1")), (USER, Some("u"))], &[(PRODUCED, Some(1.0))]),
        ("a host there is not", &[(IP, Some("no such host"))], &[(CONNECTIONS, Some(1.0))]),
        ("an IPv6 address", &[(IP, Some("::1"))], &[(CONNECTIONS, Some(1e9))]),
        ("the same type twice", &[(CLIENT, Some("a")), (CLIENT, Some("b"))], &[(PRODUCED, None)]),
        ("an unknown key", c1, &[("no.such", Some(1.0))]),
        ("an empty key", c1, &[("", Some(1.0))]),
        ("an unknown key removed", c1, &[("no.such", None)]),
        ("no keys", c1, &[]),
        ("a key of addresses", c1, &[(CONNECTIONS, Some(1.0))]),
        ("a key of clients", &[(IP, Some("127.0.0.1"))], &[(PRODUCED, Some(1.0))]),
        ("a password as a quota", &[(USER, Some("u"))], &[("SCRAM-SHA-256", Some(1.0))]),
        ("a rate that is not whole", c1, &[(PRODUCED, Some(1.5))]),
        ("an int that is not whole", &[(IP, Some("127.0.0.1"))], &[(CONNECTIONS, Some(1.5))]),
        ("an int that is too large", &[(IP, Some("127.0.0.1"))], &[(CONNECTIONS, Some(3e9))]),
        ("a number of connections below zero", &[(IP, Some("127.0.0.1"))], &[(CONNECTIONS, Some(-1.0))]),
        ("a rate that is no number", c1, &[(TIME, Some(f64::NAN))]),
        ("an endless rate", c1, &[(TIME, Some(f64::INFINITY))]),
        ("a rate below zero", c1, &[(FETCHED, Some(-2.0))]),
        ("the same key twice", c1, &[(FETCHED, Some(1e12)), (FETCHED, Some(2e12))]),
    ];
    for (question, entity, ops) in cases {
        alter(talk, question, 1, &altering(entity, ops));
        alter(talk, &format!("{question}, only checked"), 1, &altering(entity, ops).with_validate_only(true));
    }
    describe(talk, "what was set all the same", 1, &describing(&[(CLIENT, EXACT, Some("refused"))], false));
    alter(talk, "removed", 1, &altering(c1, &[(FETCHED, None), (TIME, None)]));
    let mut two = altering(c1, &[(PRODUCED, Some(PLENTY))]);
    two.entries.extend(altering(&[(CLIENT, Some("refused too"))], &[("no.such", Some(1.0))]).entries);
    alter(talk, "one good and one bad", 1, &two);
    let mut twice = altering(c1, &[("no.such", Some(1.0))]);
    twice.entries.extend(altering(c1, &[(PRODUCED, None)]).entries);
    alter(talk, "the same entity twice", 1, &twice);
    alter(talk, "nothing", 1, &AlterClientQuotasRequest::default());

    let filters: &[(&str, &[Component])] = &[
        ("an unknown type", &[("group", ANY, None)]),
        ("an empty type", &[("", ANY, None)]),
        ("a user twice", &[(USER, ANY, None), (USER, DEFAULT, None)]),
        ("a client twice", &[(CLIENT, ANY, None), (CLIENT, DEFAULT, None)]),
        ("an address twice", &[(IP, ANY, None), (IP, DEFAULT, None)]),
        ("an address and a client", &[(IP, ANY, None), (CLIENT, DEFAULT, None)]),
        ("an unknown match", &[(USER, 7, None)]),
        ("an exact match without a name", &[(USER, EXACT, None)]),
        ("a default with a name", &[(USER, DEFAULT, Some("alice"))]),
    ];
    for (question, components) in filters {
        describe(talk, question, 1, &describing(components, false));
    }
}

/// A config that is of no consequence to anybody here.
const MARK: &str = "log.cleaner.max.compaction.lag.ms";

/// Sets the mark, or removes it, and waits until it is seen. Brokers act on notices in their order: once a later one has had
/// its effect, so have those before.
fn wait_for_effect(talk: &mut Conversation, mark: Option<&str>) {
    let config = AlterableConfig::default()
        .with_name(text(MARK))
        .with_config_operation(i8::from(mark.is_none()))
        .with_value(mark.map(text));
    let resource = AlterConfigsResource::default().with_resource_type(4).with_resource_name(text("0"));
    let resource = resource.with_configs(vec![config]);
    let answer = talk.prepare(1, &IncrementalAlterConfigsRequest::default().with_resources(vec![resource]));
    assert_eq!(answer.responses[0].error_code, 0, "{answer:?}");
    let default = i64::MAX.to_string();
    let deadline = Instant::now() + PATIENCE;
    while talk.broker_value(MARK).as_deref() != Some(mark.unwrap_or(&default)) {
        assert!(Instant::now() < deadline, "notices of configs arrive");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

fn producing(name: &str, bytes: usize, acks: i16) -> ProduceRequest {
    let mut batch = Batch::of(&["x".repeat(bytes).as_str()]);
    batch.base_timestamp = 1_700_000_000_000;
    let data = PartitionProduceData::default().with_index(0).with_records(Some(batch.encode()));
    let data = TopicProduceData::default().with_name(topic(name)).with_partition_data(vec![data]);
    ProduceRequest::default().with_acks(acks).with_timeout_ms(30_000).with_topic_data(vec![data])
}

fn fetching(name: &str, max_wait_ms: i32) -> FetchRequest {
    let partition = FetchPartition::default().with_partition(0).with_partition_max_bytes(1 << 20);
    let wanted = FetchTopic::default().with_topic(topic(name)).with_partitions(vec![partition]);
    FetchRequest::default()
        .with_replica_id(NOBODY)
        .with_max_wait_ms(max_wait_ms)
        .with_min_bytes(1)
        .with_max_bytes(8 << 20)
        .with_session_epoch(-1)
        .with_topics(vec![wanted])
}

/// Versions of Fetch, each asked by a client of its own that has taken nothing yet.
const FETCHING: &[(i16, &str)] = &[(4, "waits-fetch-4"), (11, "waits-fetch-11"), (12, "waits-fetch-12")];

/// A client that has taken nothing yet is told exactly how long to wait for what it takes at once.
pub(crate) fn waits(talk: &mut Conversation) {
    talk.create("waited", &[]);
    let fetching_clients = FETCHING.iter().map(|(_, client)| *client);
    for client in ["waits-produce", "waits-acks"].into_iter().chain(fetching_clients.clone()) {
        set(talk, &[(CLIENT, Some(client))], &[(PRODUCED, Some(1000.0)), (FETCHED, Some(1000.0))]);
    }
    set(talk, &[(CLIENT, Some("waits-nothing"))], &[(PRODUCED, Some(0.0))]);
    set(talk, &[(CLIENT, Some("waits-time"))], &[(TIME, Some(0.000_001))]);
    wait_for_effect(talk, Some("86400001"));

    talk.connect_as("waits-produce");
    talk.ask("as much as the window lets in", 9, &producing("waited", 5_000, 1));
    talk.connect_as("waits-produce");
    talk.ask_for("half as much again", 9, &producing("waited", 10_000, 1), |answer| {
        rough(answer.throttle_time_ms)
    });
    talk.connect_as("waits-acks");
    talk.ask("15000 bytes at once, acks=all", 9, &producing("waited", 15_000, -1));
    talk.connect_as("waits-nothing");
    talk.ask("a rate of zero", 9, &producing("waited", 15_000, 1));

    for (version, client) in FETCHING {
        talk.connect_as(client);
        talk.ask("a fetch of more than the window lets in", *version, &fetching("waited", 0));
    }
    talk.connect_as("waits-time");
    talk.ask_for(
        "any request is too much time",
        9,
        &MetadataRequest::default().with_topics(Some(vec![])),
        |answer| answer.throttle_time_ms.to_string(),
    );
    talk.connect_as("promise");
    let others = ["waits-produce", "waits-acks", "waits-nothing", "waits-time"];
    for client in others.into_iter().chain(fetching_clients) {
        let none = [(PRODUCED, None), (FETCHED, None), (TIME, None)];
        set(talk, &[(CLIENT, Some(client))], &none);
    }
    wait_for_effect(talk, None);
}

/// Whether both of two requests count: how long the wait is depends on how fast they followed each other.
fn rough(ms: i32) -> String {
    if (500..6000).contains(&ms) { "some seconds".to_owned() } else { format!("{ms} ms") }
}

pub(crate) fn changes(talk: &mut Conversation) {
    // Eleven at once, then one a second.
    set(talk, &[(CLIENT, Some("changes"))], &[(CHANGES, Some(1.0))]);
    wait_for_effect(talk, Some("86400002"));
    let creating = |name: &str, partitions: i32| {
        let wanted = new_topic(name).with_num_partitions(partitions);
        CreateTopicsRequest::default().with_topics(vec![wanted]).with_timeout_ms(30_000)
    };
    let growing = |name: &str, count: i32| {
        let wanted =
            CreatePartitionsTopic::default().with_name(topic(name)).with_count(count).with_assignments(None);
        CreatePartitionsRequest::default().with_topics(vec![wanted]).with_timeout_ms(30_000)
    };
    let deleting = |name: &str| {
        DeleteTopicsRequest::default().with_topic_names(vec![topic(name)]).with_timeout_ms(30_000)
    };
    let deleting_6 = |name: &str| {
        let wanted = DeleteTopicState::default().with_name(Some(topic(name)));
        DeleteTopicsRequest::default().with_topics(vec![wanted]).with_timeout_ms(30_000)
    };
    let throttled = |ms: i32| if ms > 0 { "throttled" } else { "free" };

    talk.connect_as("changes");
    let create = |talk: &mut Conversation, version, request: &CreateTopicsRequest, question: &str| {
        talk.ask_for(question, version, request, |answer| {
            let topics =
                answer.topics.iter().map(|one| format!("{} {:?}", one.error_code, one.error_message));
            format!("{} {}", sorted(topics), throttled(answer.throttle_time_ms))
        });
    };
    create(talk, 7, &creating("changed", 1).with_validate_only(true), "only checked");
    create(talk, 7, &creating("changed", 1), "within the quota");
    create(talk, 7, &creating("changed", 40), "there already");
    create(talk, 7, &creating("wide", 40), "more than is left, once");
    talk.connect_as("changes");
    create(talk, 7, &creating("refused", 1), "beyond the quota");
    talk.connect_as("changes");
    create(talk, 6, &creating("refused", 1), "beyond the quota");
    talk.connect_as("changes");
    create(talk, 7, &creating("refused", 1).with_validate_only(true), "beyond the quota, only checked");
    create(talk, 5, &creating("accepted", 1), "beyond the quota");
    // That client is not heard for half a minute now.
    talk.connect_as("promise");
    talk.wait_for_leaders("changed");
    talk.wait_for_leaders("wide");
    for version in [3, 2] {
        talk.connect_as("changes");
        talk.ask_for("grown beyond the quota", version, &growing("changed", 3), |answer| {
            let results =
                answer.results.iter().map(|one| format!("{} {:?}", one.error_code, one.error_message));
            format!("{} {}", sorted(results), throttled(answer.throttle_time_ms))
        });
    }
    talk.connect_as("changes");
    talk.ask_for("deleted beyond the quota", 6, &deleting_6("wide"), |answer| {
        let results =
            answer.responses.iter().map(|one| format!("{} {:?}", one.error_code, one.error_message));
        format!("{} {}", sorted(results), throttled(answer.throttle_time_ms))
    });
    for version in [5, 4] {
        talk.connect_as("changes");
        talk.ask_for("deleted beyond the quota", version, &deleting("accepted"), |answer| {
            let results = answer.responses.iter().map(|one| one.error_code.to_string());
            format!("{} {}", sorted(results), throttled(answer.throttle_time_ms))
        });
    }
    talk.connect_as("promise");
    set(talk, &[(CLIENT, Some("changes"))], &[(CHANGES, None)]);
    for name in ["changed", "wide"] {
        talk.prepare(6, &deleting_6(name));
    }
    wait_for_effect(talk, None);
}
