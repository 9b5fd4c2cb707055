//! Every key of a broker, with values of all sorts, as a dynamic config of one broker and of all: taken or refused, and in what
//! words. Nothing is changed by that.

use crate::asking::Conversation;
use crate::configs::{BROKER, Wish, altering, describing};

/// Types of configs on the wire.
const BOOLEAN: i8 = 1;
const STRING: i8 = 2;
const INT: i8 = 3;
const SHORT: i8 = 4;
const LONG: i8 = 5;
const DOUBLE: i8 = 6;
const LIST: i8 = 7;

/// Keys that one key alone is not enough for, and values that mean something to one key only.
const TOGETHER: &[&[(&str, &str)]] = &[
    &[("log.retention.ms", "1000"), ("log.local.retention.ms", "2000")],
    &[("log.retention.ms", "1000"), ("log.local.retention.ms", "-1")],
    &[("log.retention.bytes", "1000"), ("log.local.retention.bytes", "2000")],
    &[("log.roll.ms", "1000"), ("log.roll.jitter.ms", "2000")],
    &[("log.cleanup.policy", "compact"), ("log.cleaner.min.compaction.lag.ms", "5")],
    &[("log.cleaner.min.compaction.lag.ms", "5"), ("log.cleaner.max.compaction.lag.ms", "4")],
    &[("compression.type", "gzip"), ("compression.gzip.level", "9")],
    &[("compression.type", "uncompressed")],
    &[("compression.type", "none")],
    &[("compression.zstd.level", "22"), ("compression.lz4.level", "17")],
    &[("compression.lz4.level", "18")],
    &[("log.message.timestamp.type", "LogAppendTime"), ("log.message.timestamp.before.max.ms", "1000")],
    &[("log.message.timestamp.type", "logappendtime")],
    &[("log.message.format.version", "2.8")],
    &[("num.io.threads", "16"), ("num.network.threads", "6"), ("background.threads", "5")],
    &[("num.io.threads", "17")],
    &[("num.io.threads", "3")],
    &[("num.network.threads", "7")],
    &[("num.replica.fetchers", "2"), ("num.recovery.threads.per.data.dir", "2")],
    &[("num.replica.fetchers", "3")],
    &[("log.cleaner.threads", "2"), ("log.cleaner.dedupe.buffer.size", "100000")],
    &[("log.cleaner.threads", "3")],
    &[("max.connections.per.ip.overrides", "127.0.0.1:5,localhost:7")],
    &[("max.connections.per.ip.overrides", "127.0.0.1")],
    &[("max.connections.per.ip.overrides", "127.0.0.1:many")],
    &[("max.connections.per.ip", "0"), ("max.connections.per.ip.overrides", "127.0.0.1:5")],
    &[("max.connections.per.ip", "0")],
    &[("listener.name.plaintext.max.connections", "7")],
    &[("listener.name.plaintext.max.connections", "0")],
    &[("listener.name.plaintext.max.connection.creation.rate", "-1")],
    &[("listener.name.plaintext.num.network.threads", "4")],
    &[("listener.name.plaintext.socket.send.buffer.bytes", "1000")],
    &[("listener.name.other.max.connections", "7")],
    &[("no.such.key", "anything"), ("retention.ms", "5")],
    &[("listener.name.plaintext.no.such.key", "anything")],
    &[("leader.replication.throttled.rate", "5"), ("follower.replication.throttled.rate", "-1")],
    &[("replica.alter.log.dirs.io.max.bytes.per.second", "abc")],
    &[("broker.rack", "a"), ("log.retention.ms", "5")],
    &[("log.retention.minutes", "5")],
    &[("log.roll.hours", "5")],
];

/// The keys, each with its type.
fn keys(talk: &mut Conversation) -> Vec<(String, i8, bool)> {
    let answer = talk.prepare(4, &describing(BROKER, "0"));
    let mut keys: Vec<(String, i8, bool)> = answer.results[0]
        .configs
        .iter()
        .filter(|config| !config.name.starts_with("zookeeper.embedded."))
        .map(|config| (config.name.to_string(), config.config_type, config.read_only))
        .collect();
    keys.sort();
    keys
}

/// Passwords and classes are security, which the last test of this kind is about.
fn values(kind: i8) -> &'static [&'static str] {
    match kind {
        BOOLEAN => &["true", "FALSE", " true ", "yes", ""],
        INT | SHORT | LONG => &[
            "-3",
            "-2",
            "-1",
            "0",
            "1",
            "3",
            "4",
            "13",
            "14",
            " 7 ",
            "+7",
            "40000",
            "2147483648",
            "9223372036854775807",
            "9223372036854775808",
            "1.5",
            "1e3",
            "abc",
            "",
        ],
        DOUBLE => &["-1", "0", "0.5", "1", "1.1", "1e3", "abc", ""],
        STRING => &["", "nonsense"],
        LIST => &["", "delete", "compact, delete", "delete,delete", "nonsense"],
        _ => &[],
    }
}

/// What is meant for clients that log in; see `security`.
fn is_security(key: &str) -> bool {
    ["ssl.", "sasl.", "principal.builder.class", "password", "zookeeper.ssl"]
        .iter()
        .any(|part| key.contains(part))
}

/// Questions of which only the code is compared, by how they begin, and why.
const OTHER_WORDS: &[(&str, &str)] = &[
    ("metric.reporters=", "a Java class cannot be loaded here, and we say so"),
    ("max.connections.per.ip.overrides=nonsense", "Apache repeats what Java says of indexes"),
    (r#"[("max.connections.per.ip.overrides", "127.0.0.1")]"#, "Apache repeats what Java says of indexes"),
    (
        r#"[("max.connections.per.ip.overrides", "127.0.0.1:many")]"#,
        "Apache repeats what Java says of numbers",
    ),
    ("a map of nonsense", "Apache repeats what Java says of indexes"),
    ("another protocol", "TLS is not supported, and we say so"),
    ("log.cleaner.threads=0", "a division by zero there"),
];

/// Keys as in a set, which has no order; and without what Scala's `require` puts before a sentence.
fn told(message: Option<&str>) -> String {
    let Some(message) = message else { return "nothing".to_owned() };
    let message = message.trim_start_matches("requirement failed: ");
    let Some((before, keys)) = message.split_once("Set(") else { return message.to_owned() };
    let (keys, after) = keys.split_once(')').unwrap_or((keys, ""));
    let mut keys: Vec<&str> = keys.split(", ").collect();
    keys.sort_unstable();
    format!("{before}Set({}){after}", keys.join(", "))
}

fn ask(talk: &mut Conversation, question: &str, configs: &[(&str, &str)]) {
    let other_words = OTHER_WORDS.iter().any(|(begin, _)| question.starts_with(begin));
    for (whose, name) in [("this broker", "0"), ("all brokers", "")] {
        let wishes: Vec<Wish> = configs.iter().map(|(key, value)| (*key, 0, Some(*value))).collect();
        let request = altering(BROKER, name, &wishes).with_validate_only(true);
        talk.ask_for(&format!("{question} for {whose}"), 1, &request, |answer| {
            let (code, message) = (answer.responses[0].error_code, &answer.responses[0].error_message);
            if other_words { code.to_string() } else { format!("{code} {}", told(message.as_deref())) }
        });
    }
}

pub(crate) fn every_key(talk: &mut Conversation) {
    let keys = keys(talk);
    let names = |read_only: bool| {
        let names = keys.iter().filter(|key| key.2 == read_only).map(|key| key.0.as_str());
        names.collect::<Vec<_>>().join(" ")
    };
    talk.note("keys that change", names(false));
    talk.note("keys that do not", names(true));
    for (key, kind, read_only) in &keys {
        if *read_only {
            ask(talk, &format!("{key}=1"), &[(key, "1")]);
            continue;
        }
        let listeners = ["listeners", "advertised.listeners", "listener.security.protocol.map"];
        if is_security(key) || listeners.contains(&key.as_str()) {
            continue;
        }
        for value in values(*kind) {
            ask(talk, &format!("{key}={value}"), &[(key, value)]);
        }
    }
    for configs in TOGETHER {
        ask(talk, &format!("{configs:?}"), configs);
    }
}

/// What listeners may become.
pub(crate) fn listeners(talk: &mut Conversation) {
    let mine = talk.broker.bootstrap();
    talk.hide(&mine, "MINE");
    for (question, configs) in [
        ("the same", vec![("listeners", "PLAINTEXT://MINE")]),
        ("one more without a protocol", vec![("listeners", "PLAINTEXT://MINE,MORE://127.0.0.1:1")]),
        ("none", vec![("listeners", "")]),
        ("no address", vec![("listeners", "PLAINTEXT")]),
        ("the same port twice", vec![("listeners", "PLAINTEXT://MINE,SSL://MINE")]),
        ("the same name twice", vec![("listeners", "PLAINTEXT://MINE,PLAINTEXT://127.0.0.1:1")]),
        (
            "another name",
            vec![("listeners", "OTHER://MINE"), ("listener.security.protocol.map", "OTHER:PLAINTEXT")],
        ),
        (
            "one more",
            vec![
                ("listeners", "PLAINTEXT://MINE,MORE://127.0.0.1:1"),
                ("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,MORE:PLAINTEXT"),
            ],
        ),
        (
            "one more with settings of its own",
            vec![
                ("listeners", "PLAINTEXT://MINE,MORE://127.0.0.1:1"),
                ("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,MORE:PLAINTEXT"),
                ("listener.name.more.max.connections", "5"),
                ("listener.name.more.socket.send.buffer.bytes", "5000"),
            ],
        ),
        ("a map without what is there", vec![("listener.security.protocol.map", "MORE:PLAINTEXT")]),
        ("a map of nonsense", vec![("listener.security.protocol.map", "PLAINTEXT")]),
        ("an unknown protocol", vec![("listener.security.protocol.map", "PLAINTEXT:NONSENSE")]),
        ("another protocol", vec![("listener.security.protocol.map", "PLAINTEXT:SSL")]),
        ("advertised elsewhere", vec![("advertised.listeners", "PLAINTEXT://elsewhere.example:9092")]),
        ("advertised nowhere", vec![("advertised.listeners", "")]),
        ("advertised under another name", vec![("advertised.listeners", "MORE://127.0.0.1:1")]),
        ("advertised at every address", vec![("advertised.listeners", "PLAINTEXT://0.0.0.0:1")]),
        ("advertised twice", vec![("advertised.listeners", "PLAINTEXT://MINE,PLAINTEXT://127.0.0.1:1")]),
    ] {
        let configs: Vec<(&str, String)> =
            configs.into_iter().map(|(key, value)| (key, value.replace("MINE", &mine))).collect();
        let configs: Vec<(&str, &str)> = configs.iter().map(|(key, value)| (*key, value.as_str())).collect();
        ask(talk, question, &configs);
    }
}
