//! Tiered storage, which this broker does not do.

use super::reasons::{REMOTE, REMOTE_OFF};
use crate::config::key::{Key, keys};

#[rustfmt::skip]
pub(super) const KEYS: &[Key] = keys! {
    "remote.log.storage.system.enable": Boolean = Some("false"), Any, Medium, ReadOnly => OnlyDefault(REMOTE_OFF),
        "Whether old segments are moved to a tiered store.";
    "remote.fetch.max.wait.ms": Int = Some("500"), AtLeast(1.0), Medium, ClusterWide => NoEffect(REMOTE),
        "Of tiered storage.";
    "remote.log.index.file.cache.total.size.bytes": Long = Some("1073741824"), AtLeast(1.0), Low, ClusterWide
        => NoEffect(REMOTE),
        "Of tiered storage.";
    "remote.log.manager.copier.thread.pool.size": Int = Some("-1"), PoolSize, Medium, ReadOnly => NoEffect(REMOTE),
        "Of tiered storage.";
    "remote.log.manager.copy.max.bytes.per.second": Long =
        Some("9223372036854775807"), AtLeast(1.0), Medium, ClusterWide => NoEffect(REMOTE),
        "Of tiered storage.";
    "remote.log.manager.copy.quota.window.num": Int = Some("11"), AtLeast(1.0), Medium, ReadOnly => NoEffect(REMOTE),
        "Of tiered storage.";
    "remote.log.manager.copy.quota.window.size.seconds": Int = Some("1"), AtLeast(1.0), Medium, ReadOnly
        => NoEffect(REMOTE),
        "Of tiered storage.";
    "remote.log.manager.expiration.thread.pool.size": Int = Some("-1"), PoolSize, Medium, ReadOnly
        => NoEffect(REMOTE),
        "Of tiered storage.";
    "remote.log.manager.fetch.max.bytes.per.second": Long =
        Some("9223372036854775807"), AtLeast(1.0), Medium, ClusterWide => NoEffect(REMOTE),
        "Of tiered storage.";
    "remote.log.manager.fetch.quota.window.num": Int = Some("11"), AtLeast(1.0), Medium, ReadOnly => NoEffect(REMOTE),
        "Of tiered storage.";
    "remote.log.manager.fetch.quota.window.size.seconds": Int = Some("1"), AtLeast(1.0), Medium, ReadOnly
        => NoEffect(REMOTE),
        "Of tiered storage.";
    "remote.log.manager.task.interval.ms": Long = Some("30000"), AtLeast(1.0), Low, ReadOnly => NoEffect(REMOTE),
        "Of tiered storage.";
    [Internal] "remote.log.manager.task.retry.backoff.max.ms": Long = Some("30000"), AtLeast(1.0), Low, ReadOnly
        => NoEffect(REMOTE),
        "Of tiered storage.";
    [Internal] "remote.log.manager.task.retry.backoff.ms": Long = Some("500"), AtLeast(1.0), Low, ReadOnly
        => NoEffect(REMOTE),
        "Of tiered storage.";
    [Internal] "remote.log.manager.task.retry.jitter": Double = Some("0.2"), Between(0.0, 0.5), Low, ReadOnly
        => NoEffect(REMOTE),
        "Of tiered storage.";
    "remote.log.manager.thread.pool.size": Int = Some("10"), AtLeast(1.0), Medium, ReadOnly => NoEffect(REMOTE),
        "Of tiered storage.";
    "remote.log.metadata.custom.metadata.max.bytes": Int = Some("128"), AtLeast(0.0), Low, ReadOnly
        => NoEffect(REMOTE),
        "Of tiered storage.";
    "remote.log.metadata.manager.class.name": Text =
        Some("org.apache.kafka.server.log.remote.metadata.storage.TopicBasedRemoteLogMetadataManager"), NonEmpty, Medium, ReadOnly
        => NoEffect(REMOTE),
        "Of tiered storage.";
    "remote.log.metadata.manager.class.path": Text = None, Any, Medium, ReadOnly => NoEffect(REMOTE),
        "Of tiered storage.";
    "remote.log.metadata.manager.impl.prefix": Text = Some("rlmm.config."), NonEmpty, Medium, ReadOnly
        => NoEffect(REMOTE),
        "Of tiered storage.";
    "remote.log.metadata.manager.listener.name": Text = None, NonEmpty, Medium, ReadOnly => NoEffect(REMOTE),
        "Of tiered storage.";
    "remote.log.reader.max.pending.tasks": Int = Some("100"), AtLeast(1.0), Medium, ReadOnly => NoEffect(REMOTE),
        "Of tiered storage.";
    "remote.log.reader.threads": Int = Some("10"), AtLeast(1.0), Medium, ReadOnly => NoEffect(REMOTE),
        "Of tiered storage.";
    "remote.log.storage.manager.class.name": Text = None, NonEmpty, Medium, ReadOnly => NoEffect(REMOTE),
        "Of tiered storage.";
    "remote.log.storage.manager.class.path": Text = None, Any, Medium, ReadOnly => NoEffect(REMOTE),
        "Of tiered storage.";
    "remote.log.storage.manager.impl.prefix": Text = Some("rsm.config."), NonEmpty, Medium, ReadOnly
        => NoEffect(REMOTE),
        "Of tiered storage.";
    "log.local.retention.bytes": Long = Some("-2"), AtLeast(-2.0), Medium, ClusterWide => NoEffect(REMOTE),
        "Bytes kept locally where tiered storage is on; -2 follows log.retention.bytes.";
    "log.local.retention.ms": Long = Some("-2"), AtLeast(-2.0), Medium, ClusterWide => NoEffect(REMOTE),
        "How long records stay local where tiered storage is on, in ms; -2 follows log.retention.ms.";
};
