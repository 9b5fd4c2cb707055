//! Stock console consumers, one after the other killed, that take their group from the classic protocol to the new one as they
//! go on; and what the stock tools tell.

use kafka_protocol::messages::ConsumerGroupDescribeRequest;
use kafka_protocol::messages::consumer_group_describe_response::DescribedGroup;

use crate::asking::group;
use crate::seat;
use crate::support::process::Process;
use crate::support::requests::try_committed;
use crate::support::seat::Broker;
use crate::support::stock;
use crate::support::talk::create_topic;
use crate::support::until;

const TOPIC: &str = "shared";
const GROUP: &str = "sharing";

/// Members are given up quickly: some of them are killed.
const SETTINGS: &[(&str, &str)] = &[
    ("group.coordinator.rebalance.protocols", "classic,consumer"),
    ("group.consumer.migration.policy", "upgrade"),
    ("group.consumer.min.session.timeout.ms", "1000"),
    ("group.consumer.session.timeout.ms", "8000"),
    ("group.consumer.min.heartbeat.interval.ms", "200"),
    ("group.consumer.heartbeat.interval.ms", "500"),
];

const NEW: &[&str] = &["group.protocol=consumer"];
/// Members of the new protocol have their times from the broker.
const CLASSIC: &[&str] = &["session.timeout.ms=8000", "heartbeat.interval.ms=500"];

fn consumer(broker: &Broker, version: &str, protocol: &[&str], client_id: &str) -> Process {
    let (bootstrap, client_id) = (broker.bootstrap(), format!("client.id={client_id}"));
    let mut arguments = vec!["--bootstrap-server", &bootstrap, "--topic", TOPIC, "--group", GROUP];
    for property in ["auto.offset.reset=earliest", &client_id].iter().chain(protocol) {
        arguments.extend(["--consumer-property", property]);
    }
    stock::start(version, "kafka-console-consumer", &arguments)
}

fn groups(broker: &Broker, version: &str, arguments: &[&str]) -> String {
    let bootstrap = broker.bootstrap();
    let arguments = [&["--bootstrap-server", &bootstrap, "--timeout", "60000"], arguments].concat();
    stock::tool(version, "kafka-consumer-groups", &arguments, "").success()
}

/// How many partitions each member has, by its client id, as the stock tool tells.
fn told_members(broker: &Broker) -> Vec<(String, usize)> {
    let told = groups(broker, "3.9.1", &["--describe", "--group", GROUP, "--members"]);
    let rows = told.lines().filter(|line| line.starts_with(GROUP));
    let mut members: Vec<(String, usize)> = rows
        .map(|row| {
            let words: Vec<&str> = row.split_whitespace().collect();
            (words[3].to_string(), words[4].parse().unwrap_or_else(|_| panic!("{told}")))
        })
        .collect();
    members.sort();
    members
}

fn described(broker: &Broker) -> DescribedGroup {
    let request = ConsumerGroupDescribeRequest::default().with_group_ids(vec![group(GROUP)]);
    broker.connect().request(0, &request).groups.remove(0)
}

/// The same as its coordinator tells; nobody while the group is a classic one.
fn members(broker: &Broker) -> Vec<(String, usize)> {
    let members = described(broker).members;
    let mut members: Vec<(String, usize)> = members
        .iter()
        .map(|member| {
            let topics = member.assignment.topic_partitions.iter();
            (member.client_id.to_string(), topics.map(|topic| topic.partitions.len()).sum())
        })
        .collect();
    members.sort();
    members
}

fn produce(broker: &Broker, round: usize) {
    let bootstrap = broker.bootstrap();
    let input: String = (0..40).map(|number| format!("{number}:round-{round}-{number}\n")).collect();
    let arguments = ["--bootstrap-server", &bootstrap, "--topic", TOPIC];
    let keys = ["--property", "parse.key=true", "--property", "key.separator=:"];
    stock::tool("3.9.1", "kafka-console-producer", &[&arguments[..], &keys].concat(), &input).success();
}

fn lines(process: &Process, round: usize) -> usize {
    let prefix = format!("round-{round}-");
    process.log().lines().filter(|line| line.trim().starts_with(&prefix)).count()
}

pub(crate) fn consumers() {
    let mut broker = Broker::start_with(seat(), SETTINGS);
    create_topic(&broker, TOPIC, 4, &[]);
    produce(&broker, 1);
    let first = consumer(&broker, "3.9.1", CLASSIC, "first");
    until("one member to read all of the first round", || lines(&first, 1) == 40);
    assert_eq!(told_members(&broker), [("first".to_string(), 4)]);

    let second = consumer(&broker, "4.1.0", NEW, "second");
    let shared = [("first".to_string(), 2), ("second".to_string(), 2)];
    until("two members with two partitions each", || members(&broker) == shared);
    until("the stock tool to tell the same", || told_members(&broker) == shared);
    produce(&broker, 2);
    until("both to read the second round", || lines(&first, 2) + lines(&second, 2) == 40);
    assert!(lines(&first, 2) > 0 && lines(&second, 2) > 0, "both have a part of it");
    let listed = groups(&broker, "4.1.0", &["--list", "--type", "consumer", "--state", "stable"]);
    assert!(listed.lines().any(|line| line.starts_with(GROUP)), "{listed}");
    let state = groups(&broker, "3.9.1", &["--describe", "--group", GROUP, "--state"]);
    assert!(state.contains("uniform") && state.contains("Stable"), "{state}");

    // kill -9: nobody says goodbye.
    drop(first);
    until("the second to have all partitions", || members(&broker) == [("second".to_string(), 4)]);
    produce(&broker, 3);
    until("the second to read all of the third round", || lines(&second, 3) == 40);

    let third = consumer(&broker, "3.9.1", NEW, "third");
    let shared = [("second".to_string(), 2), ("third".to_string(), 2)];
    until("two members of the new protocol with two partitions each", || members(&broker) == shared);
    broker.kill();
    broker.restart();
    produce(&broker, 4);
    until("both to read on after the broker was killed", || lines(&second, 4) + lines(&third, 4) == 40);
    until("all offsets to be committed", || {
        let committed = try_committed(&mut broker.connect(), GROUP, TOPIC, &[0, 1, 2, 3]);
        committed.is_some_and(|offsets| offsets.iter().sum::<i64>() == 160)
    });
    let told = groups(&broker, "4.1.0", &["--describe", "--group", GROUP]);
    let lags = told.lines().filter(|line| line.starts_with(GROUP));
    let lags: Vec<&str> = lags.filter_map(|row| row.split_whitespace().nth(5)).collect();
    assert_eq!(lags, ["0"; 4], "{told}");
    drop((second, third));
    until("the group to be empty", || described(&broker).group_state.as_str() == "Empty");
    let deleted = groups(&broker, "3.9.1", &["--delete", "--group", GROUP]);
    assert!(deleted.contains("was successful"), "{deleted}");
}
