//! The broker as a whole: identity, topics, codecs, metrics, quotas.

use super::reasons::{CLASS, JMX, KRAFT, METRICS, THREADS, UNSTABLE};
use crate::config::key::{Key, keys};

#[rustfmt::skip]
pub(super) const KEYS: &[Key] = keys! {
    "broker.id": Int = Some("-1"), Any, High, ReadOnly => Honoured,
        "Identity of this broker in its cluster. -1 takes the one in meta.properties, else a generated one \
         above reserved.broker.max.id.";
    "node.id": Int = Some("-1"), Any, High, ReadOnly => Honoured,
        "KRaft's name for broker.id; either may be given, and if both are they must be equal.";
    "broker.id.generation.enable": Boolean = Some("true"), Any, Medium, ReadOnly => Honoured,
        "Whether an id is generated where broker.id is -1.";
    "reserved.broker.max.id": Int = Some("1000"), AtLeast(0.0), Medium, ReadOnly => Honoured,
        "Highest id an operator may give; generated ids begin above it.";
    "broker.rack": Text = None, Any, Medium, ReadOnly => Honoured,
        "Where this broker stands, for placing replicas apart.";
    "background.threads": Int = Some("10"), AtLeast(1.0), High, ClusterWide => NoEffect(THREADS),
        "Threads for background work.";
    "num.io.threads": Int = Some("8"), AtLeast(1.0), High, ClusterWide => NoEffect(THREADS),
        "Threads that carry out requests.";
    "message.max.bytes": Int = Some("1048588"), AtLeast(0.0), High, ClusterWide => Honoured,
        "Largest record batch accepted, in bytes, after compression. Topics may override it with max.message.bytes.";
    "request.timeout.ms": Int = Some("30000"), Any, High, ReadOnly => Honoured,
        "How long requests to other brokers wait for an answer, in ms.";
    "auto.create.topics.enable": Boolean = Some("true"), Any, High, ReadOnly => Honoured,
        "Whether asking for a topic that does not exist creates it.";
    "delete.topic.enable": Boolean = Some("true"), Any, High, ReadOnly => Honoured,
        "Whether topics may be deleted.";
    "num.partitions": Int = Some("1"), AtLeast(1.0), Medium, ReadOnly => Honoured,
        "Partitions of a topic that is created without saying how many.";
    "default.replication.factor": Int = Some("1"), Any, Medium, ReadOnly => Honoured,
        "Replicas of a topic that is created without saying how many.";
    "compression.type": Text =
        Some("producer"), OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]), High, ClusterWide
        => Honoured,
        "How batches are stored: producer keeps the producer's codec, uncompressed stores without, any other \
         recompresses.";
    "compression.gzip.level": Int = Some("-1"), GzipLevel, Medium, ClusterWide => Honoured,
        "Level used where compression.type is gzip.";
    "compression.lz4.level": Int = Some("9"), Between(1.0, 17.0), Medium, ClusterWide => Honoured,
        "Level used where compression.type is lz4.";
    "compression.zstd.level": Int = Some("3"), Between(-131072.0, 22.0), Medium, ClusterWide => Honoured,
        "Level used where compression.type is zstd.";
    "create.topic.policy.class.name": Class = None, Any, Low, ReadOnly => OnlyDefault(CLASS),
        "Java class that may veto the creation of topics.";
    "alter.config.policy.class.name": Class = None, Any, Low, ReadOnly => OnlyDefault(CLASS),
        "Java class that may veto changes of configs.";
    "controlled.shutdown.enable": Boolean = Some("true"), Any, Medium, ReadOnly => Honoured,
        "Whether leadership is handed over before the broker stops.";
    "controlled.shutdown.max.retries": Int = Some("3"), Any, Medium, ReadOnly => Honoured,
        "How often a controlled shutdown is tried.";
    "controlled.shutdown.retry.backoff.ms": Long = Some("5000"), Any, Medium, ReadOnly => Honoured,
        "Pause between those tries, in ms.";
    "fetch.max.bytes": Int = Some("57671680"), AtLeast(1024.0), Medium, ReadOnly => Honoured,
        "Most bytes of records in one fetch answer. Bounds memory for each request.";
    "max.incremental.fetch.session.cache.slots": Int = Some("1000"), AtLeast(0.0), Medium, ReadOnly => Honoured,
        "Fetch sessions kept at once.";
    "max.request.partition.size.limit": Int = Some("2000"), AtLeast(1.0), Medium, ReadOnly => NoEffect(KRAFT),
        "Most partitions in one answer to DescribeTopicPartitions.";
    [Internal] "unstable.api.versions.enable": Boolean = Some("false"), Any, High, ReadOnly => OnlyDefault(UNSTABLE),
        "Whether unreleased versions of requests are offered.";
    [Internal] "unstable.feature.versions.enable": Boolean = Some("false"), Any, High, ReadOnly
        => OnlyDefault(UNSTABLE),
        "Whether unreleased feature levels are offered.";
    "metric.reporters": List = Some(""), Any, Low, ClusterWide
        => Only(&["org.apache.kafka.common.metrics.JmxReporter"], METRICS),
        "Java classes that receive metrics.";
    "auto.include.jmx.reporter": Boolean = Some("true"), Any, Low, ReadOnly => NoEffect(JMX),
        "Whether metrics go to JMX without being asked for.";
    "kafka.metrics.reporters": List = Some(""), Any, Low, ReadOnly => OnlyDefault(CLASS),
        "Java classes that receive the server's own metrics.";
    "kafka.metrics.polling.interval.secs": Int = Some("10"), AtLeast(1.0), Low, ReadOnly => NoEffect(JMX),
        "How often those classes are polled, in seconds.";
    "metrics.num.samples": Int = Some("2"), AtLeast(1.0), Low, ReadOnly => NoEffect(JMX),
        "Samples a metric is computed from.";
    "metrics.recording.level": Text = Some("INFO"), Any, Low, ReadOnly => NoEffect(JMX),
        "Detail at which metrics are recorded.";
    "metrics.sample.window.ms": Long = Some("30000"), AtLeast(1.0), Low, ReadOnly => NoEffect(JMX),
        "Length of one sample, in ms.";
    "telemetry.max.bytes": Int = Some("1048576"), AtLeast(1.0), Low, ReadOnly => NoEffect(KRAFT),
        "Largest metrics push taken from a client, in bytes.";
    "client.quota.callback.class": Class = None, Any, Low, ReadOnly => OnlyDefault(CLASS),
        "Java class that decides on client quotas.";
    "quota.window.num": Int = Some("11"), AtLeast(1.0), Low, ReadOnly => Honoured,
        "Samples kept for the rate of new connections and for client quotas.";
    "quota.window.size.seconds": Int = Some("1"), AtLeast(1.0), Low, ReadOnly => Honoured,
        "Length of each of those samples, in seconds.";
    "controller.quota.window.num": Int = Some("11"), AtLeast(1.0), Low, ReadOnly => Honoured,
        "Samples kept for the quota of controller mutations.";
    "controller.quota.window.size.seconds": Int = Some("1"), AtLeast(1.0), Low, ReadOnly => Honoured,
        "Length of each of those samples, in seconds.";
    "replication.quota.window.num": Int = Some("11"), AtLeast(1.0), Low, ReadOnly => Honoured,
        "Samples kept for replication quotas.";
    "replication.quota.window.size.seconds": Int = Some("1"), AtLeast(1.0), Low, ReadOnly => Honoured,
        "Length of each of those samples, in seconds.";
    "alter.log.dirs.replication.quota.window.num": Int = Some("11"), AtLeast(1.0), Low, ReadOnly => Honoured,
        "Samples kept for the quota of moves between log directories.";
    "alter.log.dirs.replication.quota.window.size.seconds": Int = Some("1"), AtLeast(1.0), Low, ReadOnly
        => Honoured,
        "Length of each of those samples, in seconds.";
};
