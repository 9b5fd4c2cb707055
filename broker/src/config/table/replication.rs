//! Replication between brokers, and the balance of leaders.

use super::reasons::{BETWEEN_BROKERS, KRAFT, PURGATORY, REPLICATION_CLASS};
use crate::config::key::{Key, keys};
use crate::config::replication::{LEADER, RACK_AWARE};

#[rustfmt::skip]
pub(super) const KEYS: &[Key] = keys! {
    "inter.broker.protocol.version": Text = Some("3.9-IV0"), KafkaVersion, Medium, ReadOnly
        => Only(&["3.9", "3.8", "3.7", "3.6", "3.5", "3.4", "3.3", "3.2", "3.1", "3.0"], BETWEEN_BROKERS),
        "Version that brokers speak to each other.";
    "min.insync.replicas": Int = Some("1"), AtLeast(1.0), High, ClusterWide => Honoured,
        "Replicas that must be in sync for a write with acks=all.";
    "unclean.leader.election.enable": Boolean = Some("false"), Any, High, ClusterWide => Honoured,
        "Whether a replica out of sync may become leader, losing records.";
    [Internal] "unclean.leader.election.interval.ms": Long = Some("300000"), AtLeast(1.0), Medium, ReadOnly
        => NoEffect(KRAFT),
        "How often KRaft looks for partitions in need of an unclean election, in ms.";
    "replica.high.watermark.checkpoint.interval.ms": Long = Some("5000"), Any, High, ReadOnly => Honoured,
        "How often high watermarks are written to disk, in ms.";
    "replica.selector.class": Text = None, Any, Medium, ReadOnly => Only(&[LEADER, RACK_AWARE], REPLICATION_CLASS),
        "Java class that chooses the replica a consumer reads from.";
    "auto.leader.rebalance.enable": Boolean = Some("true"), Any, High, ReadOnly => Honoured,
        "Whether the controller gives leadership back to preferred replicas.";
    "leader.imbalance.check.interval.seconds": Long = Some("300"), AtLeast(1.0), High, ReadOnly
        => Honoured,
        "How often the balance of leaders is looked at, in seconds.";
    "leader.imbalance.per.broker.percentage": Int = Some("10"), Any, High, ReadOnly => Honoured,
        "Share of leaders away from their preferred replica that is tolerated, in percent.";
    "controller.socket.timeout.ms": Int = Some("30000"), Any, Medium, ReadOnly => Honoured,
        "How long the controller's requests wait for an answer, in ms.";
    "num.replica.fetchers": Int = Some("1"), Any, High, ClusterWide => Honoured,
        "Fetchers for each broker that replicas are copied from.";
    "replica.fetch.backoff.ms": Int = Some("1000"), AtLeast(0.0), Medium, ReadOnly => Honoured,
        "Pause of a follower after a failed fetch, in ms.";
    "replica.fetch.max.bytes": Int = Some("1048576"), AtLeast(0.0), Medium, ReadOnly => Honoured,
        "Bytes a follower asks for from each partition.";
    "replica.fetch.min.bytes": Int = Some("1"), Any, High, ReadOnly => Honoured,
        "Bytes a follower waits for.";
    "replica.fetch.response.max.bytes": Int = Some("10485760"), AtLeast(0.0), Medium, ReadOnly
        => Honoured,
        "Bytes a follower asks for in one answer.";
    "replica.fetch.wait.max.ms": Int = Some("500"), Any, High, ReadOnly => Honoured,
        "How long a follower's fetch waits for records, in ms.";
    "replica.lag.time.max.ms": Long = Some("30000"), Any, High, ReadOnly => Honoured,
        "How long a follower may lag before it leaves the in-sync set, in ms.";
    "replica.socket.receive.buffer.bytes": Int = Some("65536"), Any, High, ReadOnly => Honoured,
        "SO_RCVBUF of connections that replicas are copied over, in bytes.";
    "replica.socket.timeout.ms": Int = Some("30000"), Any, High, ReadOnly => Honoured,
        "How long a follower's fetch waits for an answer, in ms.";
    "fetch.purgatory.purge.interval.requests": Int = Some("1000"), Any, Medium, ReadOnly => NoEffect(PURGATORY),
        "Requests between two purges of waiting fetches.";
    "producer.purgatory.purge.interval.requests": Int = Some("1000"), Any, Medium, ReadOnly => NoEffect(PURGATORY),
        "Requests between two purges of waiting produces.";
    "delete.records.purgatory.purge.interval.requests": Int = Some("1"), Any, Medium, ReadOnly => NoEffect(PURGATORY),
        "Requests between two purges of waiting record deletions.";
};
