//! Apache's administration tools, typed as operators type them, and what they print.

mod support;

#[path = "admin_tools/beside_apache.rs"]
mod beside_apache;

use std::sync::LazyLock;

use support::process::Ended;
use support::seat::Broker;
use support::stock;

static BROKER: LazyLock<Broker> = LazyLock::new(Broker::start);

/// A tool of 3.9.1 with `--bootstrap-server`. The one for groups gives up after five seconds unless told otherwise.
#[track_caller]
fn tool(name: &str, arguments: &[&str]) -> Ended {
    let patience: &[&str] = if name == "kafka-consumer-groups" { &["--timeout", "60000"] } else { &[] };
    let bootstrap = BROKER.bootstrap();
    stock::tool("3.9.1", name, &[arguments, &["--bootstrap-server", &bootstrap], patience].concat(), "")
}

/// What was printed, runs of blanks as one: the tools pad their columns.
fn words(text: &str) -> Vec<String> {
    text.lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|line| !line.is_empty())
        .collect()
}

#[track_caller]
fn create_topic(topic: &str, partitions: &str) {
    tool("kafka-topics", &["--create", "--topic", topic, "--partitions", partitions]).success();
}

#[track_caller]
fn produce(topic: &str, count: usize) {
    let input: String = (0..count).map(|i| format!("line {i}\n")).collect();
    let bootstrap = BROKER.bootstrap();
    let arguments = ["--bootstrap-server", &bootstrap, "--topic", topic];
    stock::tool("3.9.1", "kafka-console-producer", &arguments, &input).success();
}

#[test]
fn mistakes_with_topics_are_answered_in_kafkas_words() {
    create_topic("mistaken", "2");
    create_topic("a.b", "1");
    let refused = "Error while executing topic command : ";
    for (arguments, told) in [
        (&["--create", "--topic", "mistaken"][..], "Topic 'mistaken' already exists."),
        (&["--create", "--topic", "a_b"], "Topic 'a_b' collides with existing topics: a.b"),
        (
            &["--create", "--topic", "toolarge", "--replication-factor", "5"],
            "Replication factor: 5 larger than available brokers: 1.",
        ),
        (
            &["--create", "--topic", "bad topic!"],
            "Topic name is invalid: 'bad topic!' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'",
        ),
        (
            &["--alter", "--topic", "mistaken", "--partitions", "1"],
            "Topic currently has 2 partitions, which is higher than the requested 1.",
        ),
        (&["--describe", "--topic", "nosuch"], "Topic 'Optional[nosuch]' does not exist as expected"),
        (&["--delete", "--topic", "nosuch"], "Topic 'Optional[nosuch]' does not exist as expected"),
    ] {
        let ended = tool("kafka-topics", arguments);
        assert_eq!(ended.code, 1, "{ended}");
        assert_eq!(ended.stdout.lines().last(), Some(format!("{refused}{told}").as_str()), "{ended}");
    }
}

#[test]
fn consumer_groups_are_listed_described_reset_and_deleted() {
    create_topic("grouped", "1");
    produce("grouped", 10);
    let bootstrap = BROKER.bootstrap();
    let arguments =
        ["--bootstrap-server", &bootstrap, "--topic", "grouped", "--from-beginning", "--group", "readers"];
    let more = ["--max-messages", "4", "--timeout-ms", "60000"];
    stock::tool("3.9.1", "kafka-console-consumer", &[&arguments[..], &more].concat(), "").success();

    let listed = tool("kafka-consumer-groups", &["--list", "--state"]).success();
    assert!(words(&listed).contains(&"readers Empty".to_string()), "{listed}");

    let described = ["--describe", "--group", "readers"];
    let shown = tool("kafka-consumer-groups", &described).success();
    let header = "GROUP TOPIC PARTITION CURRENT-OFFSET LOG-END-OFFSET LAG CONSUMER-ID HOST CLIENT-ID";
    assert_eq!(words(&shown), [header, "readers grouped 0 4 10 6 - - -"]);
    let older = stock::tool(
        "2.8.2",
        "kafka-consumer-groups",
        &[&described[..], &["--bootstrap-server", &bootstrap, "--timeout", "60000"]].concat(),
        "",
    );
    assert_eq!(words(&older.success()).last().map(String::as_str), Some("readers grouped 0 4 10 6 - - -"));

    let reset =
        ["--reset-offsets", "--group", "readers", "--topic", "grouped", "--shift-by", "3", "--execute"];
    let shown = tool("kafka-consumer-groups", &reset).success();
    assert_eq!(words(&shown).join(" "), "GROUP TOPIC PARTITION NEW-OFFSET readers grouped 0 7");
    let dropped = ["--delete-offsets", "--group", "readers", "--topic", "grouped"];
    let shown = tool("kafka-consumer-groups", &dropped).success();
    assert!(words(&shown).join(" ").contains("grouped 0 Successful"), "{shown}");

    let shown = tool("kafka-consumer-groups", &["--delete", "--group", "readers"]);
    // The last offset is gone, so the group may be gone with it.
    assert!(shown.stdout.contains("readers"), "{shown}");
    let listed = tool("kafka-consumer-groups", &["--list"]).success();
    assert!(!listed.contains("readers"), "{listed}");
}

#[test]
fn a_live_member_is_shown_with_its_client() {
    create_topic("watched", "1");
    produce("watched", 1);
    let bootstrap = BROKER.bootstrap();
    let arguments =
        ["--bootstrap-server", &bootstrap, "--topic", "watched", "--from-beginning", "--group", "watchers"];
    let consumer = stock::start("4.1.0", "kafka-console-consumer", &arguments);
    consumer.wait_for_line(support::process::PATIENCE, |line| line == "line 0");
    let shown = words(
        &tool("kafka-consumer-groups", &["--describe", "--group", "watchers", "--members", "--verbose"])
            .success(),
    );
    let member = shown.last().expect("a member");
    assert!(
        member.starts_with("watchers console-consumer-")
            && member.ends_with("/127.0.0.1 console-consumer 1 (0)"),
        "{shown:?}"
    );
    let shown = tool("kafka-consumer-groups", &["--describe", "--group", "watchers", "--state"]).success();
    assert!(words(&shown).last().is_some_and(|line| line.ends_with("range Stable 1")), "{shown}");
}

#[test]
fn configs_of_topics_are_added_described_and_deleted() {
    create_topic("configured", "1");
    let of = ["--entity-type", "topics", "--entity-name", "configured"];
    let configs = |arguments: &[&str]| tool("kafka-configs", &[arguments, &of].concat());
    let added = configs(&["--alter", "--add-config", "retention.ms=1000000,cleanup.policy=[compact,delete]"]);
    assert_eq!(added.success(), "Completed updating config for topic configured.\n");
    let shown = words(&configs(&["--describe"]).success());
    assert_eq!(shown[0], "Dynamic configs for topic configured are:");
    assert!(
        shown.contains(
            &"retention.ms=1000000 sensitive=false synonyms={DYNAMIC_TOPIC_CONFIG:retention.ms=1000000}"
                .to_string()
        ),
        "{shown:?}"
    );
    configs(&["--alter", "--delete-config", "retention.ms"]).success();
    let refused = configs(&["--alter", "--add-config", "retention.ms=abc"]);
    assert_eq!(refused.code, 1, "{refused}");
    let shown = words(&configs(&["--describe"]).success());
    assert_eq!(shown.len(), 2, "cleanup.policy is left: {shown:?}");
    let all = words(&configs(&["--describe", "--all"]).success());
    assert!(all.len() > 20, "{all:?}");
}

#[test]
fn offsets_sizes_and_versions_are_told() {
    create_topic("told", "2");
    produce("told", 10);
    let ends = tool("kafka-get-offsets", &["--topic", "told"]).success();
    let total: i64 = ends.lines().filter_map(|line| line.rsplit(':').next()?.parse::<i64>().ok()).sum();
    assert_eq!(total, 10, "{ends}");

    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("offsets.json");
    let wanted = r#"{"version":1,"partitions":[{"topic":"told","partition":0,"offset":-1},{"topic":"told","partition":1,"offset":-1}]}"#;
    std::fs::write(&file, wanted).expect("written");
    let shown = tool("kafka-delete-records", &["--offset-json-file", &file.display().to_string()]).success();
    assert!(shown.contains("partition: told-0\tlow_watermark: "), "{shown}");
    let starts = tool("kafka-get-offsets", &["--topic", "told", "--time", "-2"]).success();
    assert_eq!(starts, ends, "everything is deleted");

    let dirs = tool("kafka-log-dirs", &["--describe", "--topic-list", "told"]).success();
    let json = dirs.lines().last().expect("a line of JSON");
    let json: serde_json::Value = serde_json::from_str(json).expect("JSON");
    let dir = &json["brokers"][0]["logDirs"][0];
    assert_eq!(dir["logDir"], BROKER.log_dir().display().to_string(), "{json}");
    assert_eq!(dir["partitions"].as_array().map(Vec::len), Some(2), "{json}");

    let versions = tool("kafka-broker-api-versions", &[]).success();
    assert!(versions.contains("Produce(0): 0 to 11 [usable: 11]"), "{versions}");
    assert!(versions.contains("OffsetDelete(47): 0 [usable: 0]"), "{versions}");
}

#[test]
fn zookeeper_shell_shows_what_the_broker_registered() {
    let zookeeper = BROKER.zookeeper();
    let shell = |command: &[&str]| {
        let ended = stock::tool("3.9.1", "zookeeper-shell", &[&[zookeeper.as_str()], command].concat(), "");
        ended.stdout.lines().last().unwrap_or_default().to_string()
    };
    assert_eq!(shell(&["ls", "/brokers/ids"]), "[0]");
    let registered: serde_json::Value =
        serde_json::from_str(&shell(&["get", "/brokers/ids/0"])).expect("JSON");
    assert_eq!(registered["endpoints"][0], format!("PLAINTEXT://127.0.0.1:{}", BROKER.port), "{registered}");
    let controller: serde_json::Value = serde_json::from_str(&shell(&["get", "/controller"])).expect("JSON");
    assert_eq!(controller["brokerid"], 0, "{controller}");
}
