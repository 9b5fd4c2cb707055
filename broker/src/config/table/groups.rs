//! Consumer groups and committed offsets.

use super::reasons::{ASSIGNORS, LINGER, LOADING, NEW_GROUPS, ONE_COORDINATOR, SHARE_GROUPS, THREADS};
use crate::config::key::{Key, keys};

#[rustfmt::skip]
pub(super) const KEYS: &[Key] = keys! {
    "group.min.session.timeout.ms": Int = Some("6000"), Any, Medium, ReadOnly => Honoured,
        "Shortest session timeout a group member may ask for, in ms.";
    "group.max.session.timeout.ms": Int = Some("1800000"), Any, Medium, ReadOnly => Honoured,
        "Longest session timeout a group member may ask for, in ms.";
    "group.initial.rebalance.delay.ms": Int = Some("3000"), Any, Medium, ReadOnly => Honoured,
        "How long an empty group waits for more members before its first rebalance, in ms.";
    "group.max.size": Int = Some("2147483647"), AtLeast(1.0), Medium, ReadOnly => Honoured,
        "Members a group may have.";
    "offset.metadata.max.bytes": Int = Some("4096"), Any, High, ReadOnly => Honoured,
        "Longest note a client may commit with an offset, in bytes.";
    "offsets.commit.required.acks": Short = Some("-1"), Any, High, ReadOnly => Honoured,
        "Deprecated: acknowledgements an offset commit waits for; -1 is all.";
    "offsets.commit.timeout.ms": Int = Some("5000"), AtLeast(1.0), High, ReadOnly => Honoured,
        "How long an offset commit waits for its replicas, in ms.";
    "offsets.load.buffer.size": Int = Some("5242880"), AtLeast(1.0), High, ReadOnly => NoEffect(LOADING),
        "Bytes read at once when offsets are loaded.";
    "offsets.retention.minutes": Int = Some("10080"), AtLeast(1.0), High, ReadOnly => Honoured,
        "How long offsets of a group without members are kept, in minutes.";
    "offsets.retention.check.interval.ms": Long = Some("600000"), AtLeast(1.0), High, ReadOnly => Honoured,
        "How often expired offsets are looked for, in ms.";
    "offsets.topic.compression.codec": Int = Some("0"), Any, High, ReadOnly => Honoured,
        "Codec of the offsets topic: 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd.";
    "offsets.topic.num.partitions": Int = Some("50"), AtLeast(1.0), High, ReadOnly => Honoured,
        "Partitions of the offsets topic when it is created.";
    "offsets.topic.replication.factor": Short = Some("3"), AtLeast(1.0), High, ReadOnly => Honoured,
        "Replicas of the offsets topic when it is created.";
    "offsets.topic.segment.bytes": Int = Some("104857600"), AtLeast(1.0), High, ReadOnly => Honoured,
        "Segment size of the offsets topic, in bytes.";
    "group.coordinator.rebalance.protocols": List =
        Some("classic"), EachOneOf(&["consumer", "classic", "share", "unknown"]), Medium, ReadOnly
        => Only(&["classic,consumer", "consumer,classic"], NEW_GROUPS),
        "Group protocols offered to clients; without zookeeper.connect, consumer (KIP-848) is offered by default.";
    [Internal] "group.coordinator.new.enable": Boolean = Some("false"), Any, Medium, ReadOnly
        => NoEffect(ONE_COORDINATOR),
        "Whether Kafka's new group coordinator is used.";
    "group.coordinator.append.linger.ms": Int = Some("10"), AtLeast(0.0), Medium, ReadOnly => NoEffect(LINGER),
        "Of Kafka's new group coordinator.";
    "group.coordinator.threads": Int = Some("1"), AtLeast(1.0), Medium, ReadOnly => NoEffect(THREADS),
        "Of Kafka's new group coordinator.";
    "group.consumer.assignors": List =
        Some("org.apache.kafka.coordinator.group.assignor.UniformAssignor,org.apache.kafka.coordinator.group.assignor.RangeAssignor"), Any, Medium, ReadOnly
        => Only(&[
            "org.apache.kafka.coordinator.group.assignor.RangeAssignor,org.apache.kafka.coordinator.group.assignor.UniformAssignor",
            "org.apache.kafka.coordinator.group.assignor.UniformAssignor",
            "org.apache.kafka.coordinator.group.assignor.RangeAssignor",
        ], ASSIGNORS),
        "Who plans for consumer groups (KIP-848); the first one where a member asks for none.";
    "group.consumer.heartbeat.interval.ms": Int = Some("5000"), AtLeast(1.0), Medium, ReadOnly => Honoured,
        "How often members of consumer groups (KIP-848) shall send a heartbeat, in ms.";
    "group.consumer.max.heartbeat.interval.ms": Int = Some("15000"), AtLeast(1.0), Medium, ReadOnly
        => Honoured,
        "The largest group.consumer.heartbeat.interval.ms, in ms.";
    "group.consumer.max.session.timeout.ms": Int = Some("60000"), AtLeast(1.0), Medium, ReadOnly => Honoured,
        "The largest group.consumer.session.timeout.ms, in ms.";
    "group.consumer.max.size": Int = Some("2147483647"), AtLeast(1.0), Medium, ReadOnly => Honoured,
        "Members a consumer group (KIP-848) may have.";
    [Internal] "group.consumer.migration.policy": Text =
        Some("disabled"), OneOfIgnoringCase(&["DISABLED", "DOWNGRADE", "UPGRADE", "BIDIRECTIONAL"]), Medium, ReadOnly
        => Honoured,
        "Which groups change between the classic protocol and KIP-848 while they have members.";
    "group.consumer.min.heartbeat.interval.ms": Int = Some("5000"), AtLeast(1.0), Medium, ReadOnly
        => Honoured,
        "The smallest group.consumer.heartbeat.interval.ms, in ms.";
    "group.consumer.min.session.timeout.ms": Int = Some("45000"), AtLeast(1.0), Medium, ReadOnly => Honoured,
        "The smallest group.consumer.session.timeout.ms, in ms.";
    "group.consumer.session.timeout.ms": Int = Some("45000"), AtLeast(1.0), Medium, ReadOnly => Honoured,
        "How long a member of a consumer group (KIP-848) may be silent before it is out, in ms.";
    [Internal] "group.share.enable": Boolean = Some("false"), Any, Medium, ReadOnly => OnlyDefault(SHARE_GROUPS),
        "Whether share groups are offered.";
    "group.share.delivery.count.limit": Int = Some("5"), Between(2.0, 10.0), Medium, ReadOnly
        => NoEffect(SHARE_GROUPS),
        "Of share groups (KIP-932).";
    "group.share.heartbeat.interval.ms": Int = Some("5000"), AtLeast(1.0), Medium, ReadOnly => NoEffect(SHARE_GROUPS),
        "Of share groups (KIP-932).";
    "group.share.max.groups": Short = Some("10"), Between(1.0, 100.0), Medium, ReadOnly => NoEffect(SHARE_GROUPS),
        "Of share groups (KIP-932).";
    "group.share.max.heartbeat.interval.ms": Int = Some("15000"), AtLeast(1.0), Medium, ReadOnly
        => NoEffect(SHARE_GROUPS),
        "Of share groups (KIP-932).";
    "group.share.max.record.lock.duration.ms": Int = Some("60000"), Between(30000.0, 3600000.0), Medium, ReadOnly
        => NoEffect(SHARE_GROUPS),
        "Of share groups (KIP-932).";
    "group.share.max.session.timeout.ms": Int = Some("60000"), AtLeast(1.0), Medium, ReadOnly
        => NoEffect(SHARE_GROUPS),
        "Of share groups (KIP-932).";
    "group.share.max.size": Short = Some("200"), Between(10.0, 1000.0), Medium, ReadOnly => NoEffect(SHARE_GROUPS),
        "Of share groups (KIP-932).";
    "group.share.min.heartbeat.interval.ms": Int = Some("5000"), AtLeast(1.0), Medium, ReadOnly
        => NoEffect(SHARE_GROUPS),
        "Of share groups (KIP-932).";
    "group.share.min.record.lock.duration.ms": Int = Some("15000"), Between(1000.0, 30000.0), Medium, ReadOnly
        => NoEffect(SHARE_GROUPS),
        "Of share groups (KIP-932).";
    "group.share.min.session.timeout.ms": Int = Some("45000"), AtLeast(1.0), Medium, ReadOnly
        => NoEffect(SHARE_GROUPS),
        "Of share groups (KIP-932).";
    "group.share.partition.max.record.locks": Int = Some("200"), Between(100.0, 10000.0), Medium, ReadOnly
        => NoEffect(SHARE_GROUPS),
        "Of share groups (KIP-932).";
    "group.share.record.lock.duration.ms": Int = Some("30000"), Between(1000.0, 60000.0), Medium, ReadOnly
        => NoEffect(SHARE_GROUPS),
        "Of share groups (KIP-932).";
    "group.share.session.timeout.ms": Int = Some("45000"), AtLeast(1.0), Medium, ReadOnly => NoEffect(SHARE_GROUPS),
        "Of share groups (KIP-932).";
};
