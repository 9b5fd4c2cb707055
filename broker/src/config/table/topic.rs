//! Every topic key of Kafka 3.9.1, in the order in which Kafka checks them, and the broker keys they default to.

use crate::config::key::{Key, keys};

#[rustfmt::skip]
pub(crate) const KEYS: &[Key] = keys! {
    "segment.bytes": Int = Some("1073741824"), AtLeast(14.0), Medium, ClusterWide => Honoured,
        "Size at which a segment is full, in bytes.";
    "segment.ms": Long = Some("604800000"), AtLeast(1.0), Medium, ClusterWide => Honoured,
        "Age at which a new segment is begun, in ms.";
    "segment.jitter.ms": Long = Some("0"), AtLeast(0.0), Medium, ClusterWide => Honoured,
        "Most that is randomly taken off that age, in ms.";
    "segment.index.bytes": Int = Some("10485760"), AtLeast(4.0), Medium, ClusterWide => Honoured,
        "Largest offset or time index, in bytes; a full one begins a new segment.";
    "flush.messages": Long = Some("9223372036854775807"), AtLeast(1.0), Medium, ClusterWide => Honoured,
        "Records appended to a partition before it is forced to disk.";
    "flush.ms": Long = Some("9223372036854775807"), AtLeast(0.0), Medium, ClusterWide => Honoured,
        "Age of unflushed records before a partition is forced to disk, in ms.";
    "retention.bytes": Long = Some("-1"), Any, Medium, ClusterWide => Honoured,
        "How much of a partition is kept, in bytes; -1 is no limit.";
    "retention.ms": Long = Some("604800000"), AtLeast(-1.0), Medium, ClusterWide => Honoured,
        "How long records are kept, in ms; -1 is for ever.";
    "max.message.bytes": Int = Some("1048588"), AtLeast(0.0), Medium, ClusterWide => Honoured,
        "Largest record batch accepted, in bytes, after compression.";
    "index.interval.bytes": Int = Some("4096"), AtLeast(0.0), Medium, ClusterWide => Honoured,
        "Bytes of records between two index entries.";
    "delete.retention.ms": Long = Some("86400000"), AtLeast(0.0), Medium, ClusterWide => Honoured,
        "How long tombstones of a compacted topic are kept, in ms.";
    "min.compaction.lag.ms": Long = Some("0"), AtLeast(0.0), Medium, ClusterWide => Honoured,
        "How long a record stays uncompacted at least, in ms.";
    "max.compaction.lag.ms": Long = Some("9223372036854775807"), AtLeast(1.0), Medium, ClusterWide => Honoured,
        "How long a record may stay uncompacted, in ms.";
    "file.delete.delay.ms": Long = Some("60000"), AtLeast(0.0), Medium, ClusterWide => Honoured,
        "How long a deleted file stays on disk, in ms.";
    "min.cleanable.dirty.ratio": Double = Some("0.5"), Between(0.0, 1.0), Medium, ClusterWide => Honoured,
        "Share of uncleaned bytes at which a log is cleaned.";
    "cleanup.policy": List = Some("delete"), EachOneOf(&["compact", "delete"]), Medium, ClusterWide => Honoured,
        "What happens to old segments: delete, compact, or both.";
    "unclean.leader.election.enable": Boolean = Some("false"), Any, Medium, ClusterWide => Honoured,
        "Whether a replica out of sync may become leader, losing records.";
    "min.insync.replicas": Int = Some("1"), AtLeast(1.0), Medium, ClusterWide => Honoured,
        "Replicas that must be in sync for a write with acks=all.";
    "compression.type": Text =
        Some("producer"), OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]), Medium, ClusterWide => Honoured,
        "How batches are stored: producer keeps the producer's codec, uncompressed stores without, any other \
         recompresses.";
    "compression.gzip.level": Int = Some("-1"), GzipLevel, Medium, ClusterWide => Honoured,
        "Level used where compression.type is gzip.";
    "compression.lz4.level": Int = Some("9"), Between(1.0, 17.0), Medium, ClusterWide => Honoured,
        "Level used where compression.type is lz4.";
    "compression.zstd.level": Int = Some("3"), Between(-131072.0, 22.0), Medium, ClusterWide => Honoured,
        "Level used where compression.type is zstd.";
    "preallocate": Boolean = Some("false"), Any, Medium, ClusterWide => Honoured,
        "Whether a new segment gets its full size at once.";
    "message.format.version": Text = Some("3.0-IV1"), KafkaVersion, Medium, ClusterWide => Honoured,
        "Message format of stored records, of old. Ignored, as by Kafka, since inter.broker.protocol.version \
         is 3.0 or above.";
    "message.timestamp.type": Text =
        Some("CreateTime"), OneOf(&["CreateTime", "LogAppendTime"]), Medium, ClusterWide => Honoured,
        "Whether a record's time is its creation or its append.";
    "message.timestamp.difference.max.ms": Long =
        Some("9223372036854775807"), AtLeast(0.0), Medium, ClusterWide => Honoured,
        "Deprecated limit in both directions, used where before.max or after.max is not given. In ms.";
    "message.timestamp.before.max.ms": Long =
        Some("9223372036854775807"), AtLeast(0.0), Medium, ClusterWide => Honoured,
        "How far a record's time may lie behind the broker's, in ms.";
    "message.timestamp.after.max.ms": Long =
        Some("9223372036854775807"), AtLeast(0.0), Medium, ClusterWide => Honoured,
        "How far a record's time may lie ahead of the broker's, in ms.";
    "leader.replication.throttled.replicas": List = Some(""), ThrottledReplicas, Medium, ClusterWide => Honoured,
        "Replicas whose copying is throttled on the leader: partition:broker separated by commas, or *.";
    "follower.replication.throttled.replicas": List = Some(""), ThrottledReplicas, Medium, ClusterWide => Honoured,
        "Replicas whose copying is throttled on the follower: partition:broker separated by commas, or *.";
    "message.downconversion.enable": Boolean = Some("true"), Any, Low, ClusterWide => Honoured,
        "Whether old clients get records converted to their message format.";
    "remote.storage.enable": Boolean = Some("false"), Any, Medium, ClusterWide => Honoured,
        "Whether old segments are moved to a tiered store; not available.";
    "local.retention.ms": Long = Some("-2"), AtLeast(-2.0), Medium, ClusterWide => Honoured,
        "How long records stay local with tiered storage, in ms.";
    "local.retention.bytes": Long = Some("-2"), AtLeast(-2.0), Medium, ClusterWide => Honoured,
        "Bytes kept locally with tiered storage.";
    "remote.log.copy.disable": Boolean = Some("false"), Any, Medium, ClusterWide => Honoured,
        "Whether copying to the tiered store is paused; not available.";
    "remote.log.delete.on.disable": Boolean = Some("false"), Any, Medium, ClusterWide => Honoured,
        "Whether the tiered store is emptied when it is turned off; not available.";
};

/// `(topic key, broker key that holds its default)`. Five topic keys have none.
const BROKER_KEYS: [(&str, &str); 31] = [
    ("segment.bytes", "log.segment.bytes"),
    ("segment.ms", "log.roll.ms"),
    ("segment.jitter.ms", "log.roll.jitter.ms"),
    ("segment.index.bytes", "log.index.size.max.bytes"),
    ("flush.messages", "log.flush.interval.messages"),
    ("flush.ms", "log.flush.interval.ms"),
    ("retention.bytes", "log.retention.bytes"),
    ("retention.ms", "log.retention.ms"),
    ("max.message.bytes", "message.max.bytes"),
    ("index.interval.bytes", "log.index.interval.bytes"),
    ("delete.retention.ms", "log.cleaner.delete.retention.ms"),
    ("min.compaction.lag.ms", "log.cleaner.min.compaction.lag.ms"),
    ("max.compaction.lag.ms", "log.cleaner.max.compaction.lag.ms"),
    ("file.delete.delay.ms", "log.segment.delete.delay.ms"),
    ("min.cleanable.dirty.ratio", "log.cleaner.min.cleanable.ratio"),
    ("cleanup.policy", "log.cleanup.policy"),
    ("unclean.leader.election.enable", "unclean.leader.election.enable"),
    ("min.insync.replicas", "min.insync.replicas"),
    ("compression.type", "compression.type"),
    ("compression.gzip.level", "compression.gzip.level"),
    ("compression.lz4.level", "compression.lz4.level"),
    ("compression.zstd.level", "compression.zstd.level"),
    ("preallocate", "log.preallocate"),
    ("message.format.version", "log.message.format.version"),
    ("message.timestamp.type", "log.message.timestamp.type"),
    ("message.timestamp.difference.max.ms", "log.message.timestamp.difference.max.ms"),
    ("message.timestamp.before.max.ms", "log.message.timestamp.before.max.ms"),
    ("message.timestamp.after.max.ms", "log.message.timestamp.after.max.ms"),
    ("message.downconversion.enable", "log.message.downconversion.enable"),
    ("local.retention.ms", "log.local.retention.ms"),
    ("local.retention.bytes", "log.local.retention.bytes"),
];

pub(crate) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// Whether a key of the broker holds the default of one of topics.
pub(crate) fn is_default_of_topics(name: &str) -> bool {
    BROKER_KEYS.iter().any(|(_, broker)| *broker == name)
}

/// Other broker keys may say the same in another unit: see `layers::synonyms`.
pub(crate) fn broker_key(name: &str) -> Option<&'static str> {
    BROKER_KEYS.iter().find(|(topic, _)| *topic == name).map(|(_, broker)| *broker)
}
