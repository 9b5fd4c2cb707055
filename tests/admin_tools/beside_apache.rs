//! Tools of 3.9.1, typed at Apache's broker and at ours: the same words come back, and the same exit codes.
//!
//! What differs from run to run (ports, ids, times) is masked; where a tool measures, its numbers are.

use std::sync::LazyLock;

use crate::BROKER;
use crate::support::records::Batch;
use crate::support::requests::{create_topic, produced};
use crate::support::seat::{Broker, Kind};
use crate::support::stock;

static APACHE: LazyLock<Broker> = LazyLock::new(|| Broker::start_with(Kind::Apache, &[]));

/// Whether the numbers in what a tool prints are measured.
#[derive(Clone, Copy, PartialEq)]
enum Numbers {
    Told,
    Measured,
}

/// A tool and what follows it; `BROKER` stands for the broker's address.
type Typed<'a> = (&'a str, Vec<&'a str>, Numbers);

/// Where everything else is busy, five seconds are not enough for it.
fn groups<'a>(arguments: &[&'a str]) -> Typed<'a> {
    told("kafka-consumer-groups", &[arguments, &["--timeout", "60000"]].concat())
}

fn told<'a>(tool: &'a str, arguments: &[&'a str]) -> Typed<'a> {
    (tool, [arguments, &["--bootstrap-server", "BROKER"]].concat(), Numbers::Told)
}

fn reassign<'a>(arguments: &[&'a str]) -> Typed<'a> {
    told("kafka-reassign-partitions", arguments)
}

fn elect<'a>(arguments: &[&'a str]) -> Typed<'a> {
    told("kafka-leader-election", arguments)
}

/// This one has the broker's address first.
fn features<'a>(arguments: &[&'a str]) -> Typed<'a> {
    ("kafka-features", [&["--bootstrap-server", "BROKER"], arguments].concat(), Numbers::Told)
}

fn measured<'a>(tool: &'a str, arguments: &[&'a str]) -> Typed<'a> {
    (tool, arguments.to_vec(), Numbers::Measured)
}

fn type_in(broker: &Broker, (tool, arguments, numbers): &Typed) -> String {
    let address = broker.bootstrap();
    let arguments: Vec<String> = arguments.iter().map(|word| word.replace("BROKER", &address)).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let ended = stock::tool("3.9.1", tool, &words, "");
    let printed = format!("{}\n{}", ended.stdout, ended.stderr);
    let printed = printed.replace(&broker.port.to_string(), "PORT");
    let printed = printed.replace(&broker.log_dir().display().to_string(), "LOGDIR");
    // Where in its code a tool was when it failed is its own affair, and so is what kafka-producer-perf-test says after every
    // five seconds of the clock.
    let lines = printed.lines().filter(|line| {
        !line.trim_start().starts_with("at ")
            && !line.contains("... ")
            && !line.trim_end().ends_with("ms max latency.")
    });
    let lines = lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    let lines = lines.filter(|line| !line.is_empty()).map(|line| masked(&line, *numbers));
    format!("{}: {}", ended.code, lines.collect::<Vec<_>>().join("\n"))
}

/// Numbers of 13 digits are times; words of 22 letters are ids of the cluster or of topics.
fn masked(line: &str, numbers: Numbers) -> String {
    let mut shown = String::new();
    let mut word = String::new();
    for c in line.chars().chain(['\0']) {
        if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') {
            word.push(c);
            continue;
        }
        let is_number = word.chars().all(|c| c.is_ascii_digit());
        match word.len() {
            13 if is_number => shown.push_str("TIME"),
            22 if word.chars().any(|c| c.is_ascii_uppercase()) => shown.push_str("ID"),
            _ if numbers == Numbers::Measured => shown.push_str(&without_numbers(&word)),
            _ => shown.push_str(&word),
        }
        word.clear();
        shown.push(c);
    }
    shown.pop();
    shown
}

fn without_numbers(word: &str) -> String {
    let mut shown = String::new();
    for c in word.chars() {
        match c {
            '0'..='9' if shown.ends_with('N') => {}
            '0'..='9' => shown.push('N'),
            c => shown.push(c),
        }
    }
    shown
}

/// Types the same at both, command by command, and compares.
#[track_caller]
fn same_words(prepare: impl Fn(&Broker) + Sync, typed: &[Typed]) {
    let play = |broker: &Broker| {
        prepare(broker);
        typed.iter().map(|typed| type_in(broker, typed)).collect::<Vec<_>>()
    };
    let (apache, ours) = std::thread::scope(|scope| {
        let apache = scope.spawn(|| play(&APACHE));
        let ours = play(&BROKER);
        (apache.join().expect("the same with Apache"), ours)
    });
    if std::env::var_os("ODRADEK_TRANSCRIPT").is_some() {
        typed.iter().zip(&apache).for_each(|((tool, arguments, _), told)| {
            println!("$ {tool} {}\n{told}\n", arguments.join(" "));
        });
    }
    let pairs = typed.iter().zip(apache.iter().zip(&ours)).filter(|(_, (apache, ours))| apache != ours);
    let differ: Vec<String> = pairs
        .map(|((tool, arguments, _), (apache, ours))| {
            format!("{tool} {}\nApache {apache}\nours {ours}", arguments.join(" "))
        })
        .collect();
    assert!(differ.is_empty(), "{}", differ.join("\n\n"));
}

/// A topic of two partitions with `count` records in the first, a second apart from 2023-11-14T22:13:20Z on.
fn topic_with_records(broker: &Broker, topic: &str, count: i64) {
    let mut connection = broker.connect();
    create_topic(&mut connection, topic, 2, 1, &[("retention.ms", "-1")]);
    for second in 0..count {
        let mut batch = Batch::of(&["a record"]);
        batch.base_timestamp = 1_700_000_000_000 + 1000 * second;
        assert_eq!(produced(&mut connection, topic, &batch.encode()), 0);
    }
}

#[test]
fn offsets_are_told_and_those_of_groups_reset_in_every_way() {
    let folder = tempfile::tempdir().expect("a folder");
    let plan = folder.path().join("offsets.csv");
    std::fs::write(&plan, "\"reset\",0,2\n\"reset\",1,0\n").expect("written");
    let plan = plan.display().to_string();
    let reset = |how: &[&'static str]| {
        let of = ["--group", "resetters", "--reset-offsets", "--topic", "reset"];
        groups(&[&of[..], how].concat())
    };
    let offsets = |of: &[&'static str]| told("kafka-get-offsets", of);
    let from_file = ["--group", "resetters", "--reset-offsets", "--from-file", &plan, "--execute"];
    same_words(
        |broker| topic_with_records(broker, "reset", 10),
        &[
            offsets(&["--topic-partitions", "reset:0,reset:1"]),
            offsets(&["--topic", "reset", "--time", "1700000004500"]),
            offsets(&["--topic", "reset", "--time", "max-timestamp", "--partitions", "0"]),
            offsets(&["--topic", "res.*", "--time", "earliest-local", "--exclude-internal-topics"]),
            offsets(&["--topic", "nosuch"]),
            reset(&["--to-earliest", "--execute"]),
            reset(&["--to-offset", "3", "--execute"]),
            reset(&["--shift-by", "4", "--execute"]),
            reset(&["--to-current", "--export"]),
            reset(&["--to-datetime", "2023-11-14T22:13:25.000", "--dry-run"]),
            reset(&["--by-duration", "P1D", "--execute"]),
            groups(&from_file),
            groups(&["--describe", "--group", "resetters", "--offsets"]),
            groups(&["--describe", "--group", "nobody"]),
        ],
    );
}

#[test]
fn leaders_reassignments_features_and_ids_are_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.display().to_string()
    };
    let topics = file("topics.json", r#"{"version":1,"topics":[{"topic":"moved"}]}"#);
    let plan = file(
        "plan.json",
        r#"{"version":1,"partitions":[{"topic":"moved","partition":0,"replicas":[0]},{"topic":"moved","partition":1,"replicas":[0]}]}"#,
    );
    let missing = file(
        "missing.json",
        r#"{"version":1,"partitions":[{"topic":"moved","partition":0,"replicas":[7]}]}"#,
    );
    same_words(
        |broker| topic_with_records(broker, "moved", 1),
        &[
            elect(&["--election-type", "preferred", "--topic", "moved", "--partition", "0"]),
            elect(&["--election-type", "unclean", "--topic", "moved", "--partition", "1"]),
            elect(&["--election-type", "unclean", "--topic", "nosuch", "--partition", "0"]),
            reassign(&["--generate", "--broker-list", "0", "--topics-to-move-json-file", &topics]),
            reassign(&["--execute", "--reassignment-json-file", &plan]),
            reassign(&["--verify", "--reassignment-json-file", &plan]),
            reassign(&["--cancel", "--reassignment-json-file", &plan]),
            reassign(&["--execute", "--reassignment-json-file", &missing]),
            reassign(&["--list"]),
            features(&["describe"]),
            features(&["upgrade", "--feature", "group.version=1"]),
            features(&["disable", "--feature", "nosuch"]),
            told("kafka-cluster", &["cluster-id"]),
            told("kafka-cluster", &["unregister", "--id", "7"]),
        ],
    );
}

#[test]
fn what_measures_and_verifies_runs_to_its_end() {
    let at = ["--bootstrap-server", "BROKER", "--topic", "verified"];
    same_words(
        |broker| {
            create_topic(&mut broker.connect(), "verified", 1, 1, &[]);
            create_topic(&mut broker.connect(), "measured", 1, 1, &[]);
        },
        &[
            measured(
                "kafka-verifiable-producer",
                &[&at[..], &["--max-messages", "3", "--value-prefix", "7"]].concat(),
            ),
            measured(
                "kafka-verifiable-consumer",
                &[&at[..], &["--group-id", "verifiers", "--max-messages", "3"]].concat(),
            ),
            measured(
                "kafka-producer-perf-test",
                &[
                    &["--topic", "verified", "--num-records", "100", "--record-size", "50"][..],
                    &["--throughput", "-1", "--producer-props", "bootstrap.servers=BROKER"],
                ]
                .concat(),
            ),
            measured(
                "kafka-consumer-perf-test",
                &[&at[..], &["--messages", "100", "--hide-header", "--timeout", "60000"]].concat(),
            ),
            measured("kafka-e2e-latency", &["BROKER", "measured", "5", "1", "20"]),
            told(
                "org.apache.kafka.tools.StreamsResetter",
                &["--application-id", "streamers", "--input-topics", "verified", "--force"],
            ),
            groups(&["--describe", "--group", "streamers"]),
        ],
    );
}

#[test]
fn who_asks_for_security_that_is_not_there_is_told_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let nothing = folder.path().join("client.properties");
    std::fs::write(&nothing, "").expect("written");
    let nothing = nothing.display().to_string();
    let alice = ["--entity-type", "users", "--entity-name", "alice"];
    let configs = |what: &[&'static str]| told("kafka-configs", &[what, &alice[..]].concat());
    same_words(
        |_| (),
        &[
            told("kafka-acls", &["--list"]),
            told(
                "kafka-acls",
                &["--add", "--allow-principal", "User:alice", "--operation", "Read", "--topic", "t"],
            ),
            told("kafka-acls", &["--remove", "--force", "--topic", "t"]),
            told("kafka-delegation-tokens", &["--describe", "--command-config", &nothing]),
            told(
                "kafka-delegation-tokens",
                &["--create", "--max-life-time-period", "-1", "--command-config", &nothing],
            ),
            configs(&["--alter", "--add-config", "SCRAM-SHA-256=[iterations=8192,password=secret]"]),
            configs(&["--alter", "--add-config", "SCRAM-SHA-512=[iterations=1,password=secret]"]),
            told("kafka-configs", &["--entity-type", "users", "--describe"]),
            configs(&["--describe"]),
            configs(&["--alter", "--delete-config", "SCRAM-SHA-256"]),
            configs(&["--alter", "--delete-config", "SCRAM-SHA-256"]),
        ],
    );
}
