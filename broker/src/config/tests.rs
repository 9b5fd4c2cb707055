//! A configuration as a whole: what is taken, refused, warned of and described.

use std::path::Path;
use std::time::Duration;

use storage::batch::TargetCompression;

use super::coordinates::Coordination;
use super::describe::{Described, Source};
use super::dynamic::Level;
use super::layers::Layers;
use super::*;

fn properties(text: &str) -> Properties {
    properties::parse(text.as_bytes()).expect("well-formed")
}

fn config(text: &str) -> BrokerConfig {
    BrokerConfig::new(Layers::from_file(properties(text))).unwrap_or_else(|why| panic!("{why}"))
}

fn refused(text: &str) -> Vec<String> {
    match BrokerConfig::new(Layers::from_file(properties(text))) {
        Err(ConfigError::Refused { refusals, .. }) => refusals.iter().map(ToString::to_string).collect(),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("taken: {text}"),
    }
}

fn warned(text: &str) -> Vec<String> {
    config(text).warnings.iter().map(ToString::to_string).collect()
}

fn one(described: Vec<Described>, name: &str) -> Described {
    described.into_iter().find(|one| one.name == name).unwrap_or_else(|| panic!("{name} is not described"))
}

#[test]
fn an_empty_file_gives_kafkas_defaults_and_an_embedded_coordinator() {
    let config = config("");
    assert_eq!(config.identity.broker_id, None);
    assert_eq!(config.logs.dirs, [Path::new("/tmp/kafka-logs")]);
    assert_eq!(config.network.listeners[0].to_string(), "PLAINTEXT://:9092");
    assert_eq!(config.network.inter_broker_listener, "PLAINTEXT");
    let data_dir = "/tmp/kafka-logs-zookeeper".into();
    assert_eq!(config.coordination, Coordination::Embedded { port: 2181, data_dir });
    assert_eq!(*config.topics.defaults.log, storage::config::LogConfig::default());
    assert_eq!(config.topics.defaults.max_message_bytes, 1_048_588);
    assert_eq!(config.warnings, []);
}

#[test]
fn a_value_out_of_range_or_of_another_type_is_refused_in_kafkas_words() {
    assert_eq!(
        refused("num.io.threads=abc"),
        ["Invalid value abc for configuration num.io.threads: Not a number of type INT"]
    );
    assert_eq!(
        refused("num.io.threads=0"),
        ["Invalid value 0 for configuration num.io.threads: Value must be at least 1"]
    );
    assert_eq!(
        refused("compression.type=none"),
        [
            "Invalid value none for configuration compression.type: String must be one of: uncompressed, zstd, lz4, \
          snappy, gzip, producer"
        ]
    );
    assert_eq!(
        refused("log.cleanup.policy=delete,shred"),
        ["Invalid value shred for configuration log.cleanup.policy: String must be one of: compact, delete"]
    );
    assert_eq!(
        refused("compression.gzip.level=0"),
        [
            "Invalid value 0 for configuration compression.gzip.level: Value must be between 1 and 9 or equal to -1"
        ]
    );
    assert_eq!(
        refused("delete.topic.enable=yes"),
        [
            "Invalid value yes for configuration delete.topic.enable: Expected value to be either true or false"
        ]
    );
}

#[test]
fn everything_wrong_is_told_at_once() {
    let told = refused("num.partitions=0\nlog.roll.ms=0\nssl.keystore.password=hunter2\nlisteners=X://:1");
    assert_eq!(told.len(), 4, "{told:?}");
    assert!(told.iter().all(|line| !line.contains("hunter2")), "{told:?}");
}

#[test]
fn a_security_setting_that_cannot_be_honoured_stops_the_start() {
    assert_eq!(
        refused("authorizer.class.name=kafka.security.authorizer.AclAuthorizer"),
        [
            "authorizer.class.name=kafka.security.authorizer.AclAuthorizer is not supported: authorization is not \
          supported yet. Allowed: leave it out"
        ]
    );
    for line in [
        "listeners=SSL://:9093\nsecurity.inter.broker.protocol=SSL",
        "listeners=PLAINTEXT://:9092,SASL_PLAINTEXT://:9093",
        "ssl.client.auth=required",
        "sasl.enabled.mechanisms=PLAIN",
        "delegation.token.secret.key=abc",
        "zookeeper.ssl.crl.enable=true",
        "listener.name.internal.ssl.keystore.location=/x",
        "listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config=x",
        "process.roles=broker",
        "remote.log.storage.system.enable=true",
        "create.topic.policy.class.name=com.example.Policy",
        "metric.reporters=com.example.Reporter",
        "inter.broker.protocol.version=2.8",
        "config.providers=file",
    ] {
        assert!(
            refused(line).iter().any(|told| told.contains("is not supported")),
            "{line}: {:?}",
            refused(line)
        );
    }
}

#[test]
fn a_harmless_spelling_of_the_default_is_taken() {
    config(
        "authorizer.class.name=\nssl.client.auth=none\nsasl.enabled.mechanisms=GSSAPI\nssl.keystore.location=",
    );
    config(
        "metric.reporters=org.apache.kafka.common.metrics.JmxReporter\ninter.broker.protocol.version=3.9.1",
    );
    config(
        "principal.builder.class=org.apache.kafka.common.security.authenticator.DefaultKafkaPrincipalBuilder",
    );
}

#[test]
fn unknown_keys_and_keys_without_effect_are_warned_of_once_each() {
    assert_eq!(
        warned("num.partition=3"),
        ["num.partition: unknown key, its value is ignored; is num.partitions meant?"]
    );
    let warned = warned("port=9093\nmy.key=1\nnum.io.threads=8\nbackground.threads=9");
    assert_eq!(
        warned,
        [
            "my.key: unknown key, its value is ignored; Kafka 3.9 does not know it either",
            "port: unknown key, its value is ignored; it went in Kafka 3.0, use listeners",
            "background.threads, num.io.threads: without effect, it sizes thread pools of the Java broker, and this one \
             sizes its own",
        ]
    );
}

#[test]
fn the_key_in_the_smaller_unit_wins() {
    let retention = |text| config(text).topics.defaults.log.retention_ms;
    assert_eq!(retention("log.retention.hours=1"), Some(3_600_000));
    assert_eq!(retention("log.retention.hours=1\nlog.retention.minutes=2"), Some(120_000));
    assert_eq!(retention("log.retention.hours=1\nlog.retention.minutes=2\nlog.retention.ms=3"), Some(3));
    assert_eq!(retention("log.retention.ms=-1"), None);
    assert_eq!(retention("log.retention.hours=-1"), None);
    let log = config("log.roll.hours=2\nlog.roll.jitter.ms=5\nlog.flush.scheduler.interval.ms=7")
        .topics
        .defaults
        .log;
    assert_eq!((log.segment_ms, log.segment_jitter_ms, log.flush_ms), (7_200_000, 5, 7));
    assert_eq!(config("log.dir=/a\nlog.dirs=/b , /c").logs.dirs, [Path::new("/b"), Path::new("/c")]);
}

#[test]
fn broker_id_and_node_id_are_one() {
    assert_eq!(config("node.id=7").identity.broker_id, Some(BrokerId(7)));
    assert_eq!(config("broker.id=7\nnode.id=7").identity.broker_id, Some(BrokerId(7)));
    assert_eq!(
        refused("broker.id=7\nnode.id=8"),
        ["You must set `node.id` to the same value as `broker.id`."]
    );
    assert_eq!(refused("broker.id=1001").len(), 1);
    assert_eq!(
        refused("broker.id.generation.enable=false"),
        ["broker.id must be greater than or equal to 0"]
    );
}

#[test]
fn listeners_that_do_not_fit_together_are_refused() {
    assert_eq!(
        refused("listeners=PLAINTEXT://0.0.0.0:9092"),
        ["advertised.listeners cannot use the nonroutable meta-address 0.0.0.0. Use a routable IP address."]
    );
    assert_eq!(
        refused("listeners=A://:1\nlistener.security.protocol.map=A:PLAINTEXT"),
        [
            "inter.broker.listener.name must be a listener name defined in advertised.listeners. The valid options \
          based on currently configured listeners are A"
        ]
    );
    config("listeners=A://:1\nlistener.security.protocol.map=A:PLAINTEXT\ninter.broker.listener.name=a");
}

#[test]
fn embedded_data_inside_a_log_directory_is_refused() {
    let told = refused("log.dirs=/data/kafka\nzookeeper.embedded.data.dir=/data/x/../kafka/zookeeper");
    assert!(told[0].contains("lies in the log directory /data/kafka"), "{told:?}");
}

#[test]
fn zookeeper_connect_names_an_ensemble() {
    let config = config("zookeeper.connect=a:1,b/kafka\nzookeeper.session.timeout.ms=6000");
    assert_eq!(config.coordination.to_string(), "ZooKeeper at a:1,b:2181/kafka");
    assert_eq!(config.zookeeper_connection_timeout, Duration::from_secs(6));
}

#[test]
fn topic_configs_are_checked_in_kafkas_words() {
    let config = config("compression.type=gzip\ncompression.gzip.level=3");
    let told = |text: &str| config.check_topic(&properties(text)).expect_err(text).to_string();
    assert_eq!(
        told("retention.ms=abc"),
        "Invalid value abc for configuration retention.ms: Not a number of type LONG"
    );
    assert_eq!(told("no.such.config=1"), "Unknown topic config name: no.such.config");
    assert_eq!(
        told("min.compaction.lag.ms=5\nmax.compaction.lag.ms=4"),
        "conflict topic config setting min.compaction.lag.ms (5) > max.compaction.lag.ms (4)"
    );
    assert_eq!(
        told("leader.replication.throttled.replicas=0:1,x"),
        "Invalid value [0:1, x] for configuration leader.replication.throttled.replicas: \
         leader.replication.throttled.replicas must be the literal '*' or a list of replicas in the following \
         format: [partitionId]:[brokerId],[partitionId]:[brokerId],..."
    );
    let taken = config.check_topic(&properties("retention.ms=5\ncleanup.policy=compact")).expect("taken");
    assert_eq!(taken.log.retention_ms, Some(5));
    assert!(taken.log.cleanup.compact && !taken.log.cleanup.delete);
    assert_eq!(taken.compression, TargetCompression::Gzip { level: 3 });
}

#[test]
fn a_stored_topic_config_that_cannot_be_read_leaves_the_rest_standing() {
    let (topic, invalid) = config("").topic(&properties("retention.ms=5\nsegment.ms=x\nsomething.old=1"));
    assert_eq!((topic.log.retention_ms, topic.log.segment_ms), (Some(5), 604_800_000));
    assert_eq!(invalid.len(), 1);
}

#[test]
fn a_described_value_tells_where_it_comes_from() {
    let config = config("log.retention.hours=1\nmy.key=secret");
    let hours = one(config.describe_broker(), "log.retention.hours");
    assert_eq!((hours.value.as_deref(), hours.source, hours.read_only), (Some("1"), Source::Static, true));
    assert_eq!(hours.synonyms.len(), 2);
    let ms = one(config.describe_broker(), "log.retention.ms");
    assert_eq!((ms.value, ms.source, ms.read_only), (None, Source::Default, false));
    let stranger = one(config.describe_broker(), "my.key");
    assert_eq!((stranger.value, stranger.sensitive, stranger.source), (None, true, Source::Static));

    let topic = config.describe_topic(&properties("retention.ms=5"));
    assert_eq!(one(topic.clone(), "retention.ms").source, Source::Topic);
    let segment = one(topic, "segment.bytes");
    assert_eq!((segment.value.as_deref(), segment.source), (Some("1073741824"), Source::Default));
    assert_eq!(segment.synonyms[0].name, "log.segment.bytes");
}

#[test]
fn dynamic_layers_win_over_the_file_and_over_synonyms() {
    let mut layers = Layers::from_file(properties("log.retention.hours=1\nlog.retention.ms=9"));
    layers.cluster = properties("log.retention.ms=7");
    let config = BrokerConfig::new(layers).expect("taken");
    assert_eq!(config.topics.defaults.log.retention_ms, Some(7));
    let ms = one(config.describe_broker(), "log.retention.ms");
    assert_eq!(ms.source, Source::DynamicCluster);
    assert_eq!(one(config.describe_cluster(), "log.retention.ms").value.as_deref(), Some("7"));
}

#[test]
fn a_change_of_a_running_broker_is_checked_in_kafkas_words() {
    let config = config("");
    let told = |level, text: &str| {
        config.with_change(level, &properties(text)).map(drop).expect_err(text).to_string()
    };
    assert_eq!(told(Level::Broker, "log.dirs=/x"), "Cannot update these configs dynamically: Set(log.dirs)");
    assert_eq!(
        told(Level::Broker, "ssl.keystore.location=/x"),
        "These security configs can be dynamically updated only per-listener using the listener prefix: \
         HashSet(ssl.keystore.location)"
    );
    assert_eq!(
        told(Level::Cluster, "listeners=PLAINTEXT://:1"),
        "Cannot update these configs at default cluster level, broker id must be specified: Set(listeners)"
    );
    assert_eq!(
        told(Level::Broker, "leader.replication.throttled.rate=-1"),
        "Invalid value -1 for configuration leader.replication.throttled.rate: Value must be at least 0"
    );
    assert_eq!(
        told(Level::Broker, "listener.name.a.max.connections=x"),
        "Invalid value x for configuration max.connections: Not a number of type INT"
    );
    assert!(told(Level::Broker, "listener.name.a.ssl.keystore.location=/x").contains("is not supported"));
    let changed =
        config.with_change(Level::Cluster, &properties("log.retention.ms=7\nmy.key=1")).expect("taken");
    assert_eq!(changed.topics.defaults.log.retention_ms, Some(7));
}

#[test]
fn a_bad_value_in_zookeeper_costs_only_itself() {
    let cluster = properties("log.retention.ms=x\nlog.segment.bytes=100\nbroker.id=3");
    let broker = properties("log.segment.bytes=200\nmin.insync.replicas=2");
    let (config, told) = config("").with_stored(&cluster, &broker);
    assert_eq!(config.topics.defaults.log.segment_bytes, 200);
    assert_eq!(config.topics.defaults.min_insync_replicas, 2);
    assert_eq!(told.len(), 2, "{told:?}");
    let (config, _) = config.with_stored(&cluster, &Properties::new());
    assert_eq!(config.topics.defaults.log.segment_bytes, 100);
    assert_eq!(config.topics.defaults.min_insync_replicas, 1);
}

/// Kafka's own sentences, printed by `KafkaConfig.fromProps` of 3.9.1 for the same lines; keys divided by `|` here.
#[test]
fn keys_that_contradict_each_other_are_refused_in_kafkas_words() {
    let cases = [
        (
            "broker.id=-2",
            "broker.id must be greater than or equal to -1 and not greater than reserved.broker.max.id",
        ),
        ("log.roll.ms=0", "log.roll.ms must be greater than or equal to 1"),
        ("log.roll.jitter.ms=-1", "log.roll.jitter.ms must be greater than or equal to 0"),
        ("log.retention.hours=0", "log.retention.ms must be unlimited (-1) or, greater than or equal to 1"),
        ("log.dirs=/a,/b, /a", "Duplicate log directory found: /a; name each once in log.dirs"),
        ("log.dirs=,", "At least one log directory must be defined via log.dirs or log.dir."),
        (
            "log.cleaner.dedupe.buffer.size=100",
            "log.cleaner.dedupe.buffer.size must be at least 1MB per cleaner thread.",
        ),
        (
            "replica.fetch.wait.max.ms=30001|replica.socket.timeout.ms=40000",
            "replica.fetch.wait.max.ms should always be less than or equal to replica.lag.time.max.ms to prevent \
             frequent changes in ISR",
        ),
        (
            "inter.broker.listener.name=PLAINTEXT|security.inter.broker.protocol=PLAINTEXT",
            "Only one of inter.broker.listener.name and security.inter.broker.protocol should be set.",
        ),
        (
            "listener.security.protocol.map=",
            "Error creating broker listeners from 'PLAINTEXT://:9092': No security protocol defined for listener \
             PLAINTEXT",
        ),
        (
            "listeners=PLAINTEXT://:9092|advertised.listeners=PLAINTEXT://:9092,SSL://x:1",
            "advertised.listeners listener names must be equal to or a subset of the ones defined in listeners. \
             Found PLAINTEXT,SSL. The valid options based on the current configuration are PLAINTEXT",
        ),
        (
            "queued.max.request.bytes=5",
            "queued.max.request.bytes must be larger or equal to socket.request.max.bytes",
        ),
        (
            "max.connections.per.ip=0",
            "max.connections.per.ip can be set to zero only if max.connections.per.ip.overrides property is set.",
        ),
        (
            "max.connections.per.ip.overrides=a b:3",
            "max.connections.per.ip.overrides contains invalid addresses : a b",
        ),
        (
            "connections.max.idle.ms=50",
            "connection.failed.authentication.delay.ms=100 should always be less than connections.max.idle.ms=50 to \
             prevent failed authentication responses from timing out",
        ),
        (
            "offsets.commit.required.acks=4",
            "offsets.commit.required.acks must be greater or equal to -1 and less or equal to \
             offsets.topic.replication.factor",
        ),
        ("offsets.topic.compression.codec=7", "Unknown compression type id: 7"),
        (
            "group.consumer.session.timeout.ms=1000",
            "group.consumer.session.timeout.ms must be greater than or equals to \
             group.consumer.min.session.timeout.ms",
        ),
    ];
    for (lines, sentence) in cases {
        assert_eq!(refused(&lines.replace('|', "\n")), [sentence], "{lines}");
    }
    for lines in
        ["log.retention.ms=-5", "connections.max.idle.ms=-1", "listeners=plaintext://localhost:9092,"]
    {
        config(lines);
    }
}
