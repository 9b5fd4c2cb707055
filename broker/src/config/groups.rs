//! Groups and their offsets: the classic protocol's limits, the new one's (KIP-848), and the offsets topic.

use std::time::Duration;

use coordinator::groups::consumer::assignors::Assignor;
use coordinator::groups::consumer::{ConsumerConfig, MigrationPolicy};

use super::coordinates::Coordination;
use super::settings::{Settings, millis};
use super::value::Value;

#[derive(Clone, Debug)]
pub(crate) struct Groups {
    pub(crate) min_session_timeout: Duration,
    pub(crate) max_session_timeout: Duration,
    pub(crate) initial_rebalance_delay: Duration,
    pub(crate) max_size: usize,
    /// Bytes of the note committed with an offset.
    pub(crate) offset_metadata_max_bytes: usize,
    /// -1: all replicas in sync.
    pub(crate) offsets_commit_required_acks: i16,
    pub(crate) offsets_commit_timeout: Duration,
    pub(crate) offsets_retention: Duration,
    pub(crate) offsets_retention_check_interval: Duration,
    /// Kafka's code of a codec: 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd.
    pub(crate) offsets_topic_codec: i32,
    pub(crate) offsets_topic_partitions: i32,
    pub(crate) offsets_topic_replication_factor: i16,
    pub(crate) offsets_topic_segment_bytes: i32,
    /// Whether clients may use the new group protocol (KIP-848).
    pub(crate) offers_consumer_protocol: bool,
    pub(crate) consumer: ConsumerConfig,
}

impl Groups {
    pub(super) fn new(settings: &Settings, coordination: &Coordination) -> Groups {
        Groups {
            min_session_timeout: settings.millis("group.min.session.timeout.ms"),
            max_session_timeout: settings.millis("group.max.session.timeout.ms"),
            initial_rebalance_delay: settings.millis("group.initial.rebalance.delay.ms"),
            max_size: settings.size("group.max.size"),
            offset_metadata_max_bytes: settings.size("offset.metadata.max.bytes"),
            offsets_commit_required_acks: settings.short("offsets.commit.required.acks"),
            offsets_commit_timeout: settings.millis("offsets.commit.timeout.ms"),
            offsets_retention: millis(settings.long("offsets.retention.minutes") * 60_000),
            offsets_retention_check_interval: settings.millis("offsets.retention.check.interval.ms"),
            offsets_topic_codec: settings.int("offsets.topic.compression.codec"),
            offsets_topic_partitions: settings.int("offsets.topic.num.partitions"),
            offsets_topic_replication_factor: settings.short("offsets.topic.replication.factor"),
            offsets_topic_segment_bytes: settings.int("offsets.topic.segment.bytes"),
            offers_consumer_protocol: offers_consumer_protocol(settings, coordination),
            consumer: consumer_groups(settings),
        }
    }
}

/// As told; else where nobody else can be in the cluster. Apache's brokers refuse the protocol on ZooKeeper.
fn offers_consumer_protocol(settings: &Settings, coordination: &Coordination) -> bool {
    const KEY: &str = "group.coordinator.rebalance.protocols";
    match settings.value(KEY) {
        Value::List(protocols) if settings.is_given(KEY) => protocols.iter().any(|it| it == "consumer"),
        _ => matches!(coordination, Coordination::Embedded { .. }),
    }
}

fn consumer_groups(settings: &Settings) -> ConsumerConfig {
    let policy = settings.text("group.consumer.migration.policy").unwrap_or_default().to_ascii_lowercase();
    let either = policy == "bidirectional";
    let assignors = match settings.value("group.consumer.assignors") {
        Value::List(classes) => classes.as_slice(),
        _ => &[],
    };
    let range_first = assignors.first().is_some_and(|class| class.ends_with(".RangeAssignor"));
    ConsumerConfig {
        session_timeout_ms: settings.int("group.consumer.session.timeout.ms"),
        heartbeat_interval_ms: settings.int("group.consumer.heartbeat.interval.ms"),
        size_max: settings.int("group.consumer.max.size"),
        assignors: match (assignors.len(), range_first) {
            (1, true) => &[Assignor::Range],
            (1, false) => &[Assignor::Uniform],
            (_, true) => &[Assignor::Range, Assignor::Uniform],
            (_, false) => &[Assignor::Uniform, Assignor::Range],
        },
        migration: MigrationPolicy {
            upgrade: either || policy == "upgrade",
            downgrade: either || policy == "downgrade",
        },
    }
}
