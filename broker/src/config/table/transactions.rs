//! Producer ids and transactions.

use super::reasons::LOADING;
use crate::config::key::{Key, keys};

#[rustfmt::skip]
pub(super) const KEYS: &[Key] = keys! {
    "producer.id.expiration.ms": Int = Some("86400000"), AtLeast(1.0), Low, ClusterWide => Honoured,
        "How long an idle producer id is remembered, in ms.";
    [Internal] "producer.id.expiration.check.interval.ms": Int = Some("600000"), AtLeast(1.0), Low, ReadOnly
        => Honoured,
        "How often idle producer ids are looked for, in ms.";
    "transaction.max.timeout.ms": Int = Some("900000"), AtLeast(1.0), High, ReadOnly => Honoured,
        "Longest transaction timeout a producer may ask for, in ms.";
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": Int = Some("10000"), AtLeast(1.0), Low, ReadOnly
        => Honoured,
        "How often timed-out transactions are looked for, in ms.";
    "transaction.remove.expired.transaction.cleanup.interval.ms": Int = Some("3600000"), AtLeast(1.0), Low, ReadOnly
        => Honoured,
        "How often expired transactional ids are looked for, in ms.";
    "transaction.partition.verification.enable": Boolean = Some("true"), Any, Low, ClusterWide
        => Honoured,
        "Whether a partition asks the coordinator before it takes a transactional record.";
    "transaction.state.log.load.buffer.size": Int = Some("5242880"), AtLeast(1.0), High, ReadOnly
        => NoEffect(LOADING),
        "Bytes read at once when transactions are loaded.";
    "transaction.state.log.min.isr": Int = Some("2"), AtLeast(1.0), High, ReadOnly => Honoured,
        "min.insync.replicas of the transaction topic.";
    "transaction.state.log.num.partitions": Int = Some("50"), AtLeast(1.0), High, ReadOnly => Honoured,
        "Partitions of the transaction topic when it is created.";
    "transaction.state.log.replication.factor": Short = Some("3"), AtLeast(1.0), High, ReadOnly
        => Honoured,
        "Replicas of the transaction topic when it is created.";
    "transaction.state.log.segment.bytes": Int = Some("104857600"), AtLeast(1.0), High, ReadOnly
        => Honoured,
        "Segment size of the transaction topic, in bytes.";
    "transactional.id.expiration.ms": Int = Some("604800000"), AtLeast(1.0), High, ReadOnly => Honoured,
        "How long an idle transactional id is remembered, in ms.";
};
