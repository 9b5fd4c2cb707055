//! Log directories, segments, retention, flushing, compaction.

use super::reasons::{BUFFER, FORMAT, KRAFT, THREADS};
use crate::config::key::{Key, keys};

#[rustfmt::skip]
pub(super) const KEYS: &[Key] = keys! {
    "log.dir": Text = Some("/tmp/kafka-logs"), Any, High, ReadOnly => Honoured,
        "Directory of the logs, where log.dirs is not given.";
    "log.dirs": Text = None, Any, High, ReadOnly => Honoured,
        "Directories of the logs, separated by commas.";
    "log.segment.bytes": Int = Some("1073741824"), AtLeast(14.0), High, ClusterWide => Honoured,
        "Size at which a segment is full, in bytes.";
    "log.roll.ms": Long = None, Any, High, ClusterWide => Honoured,
        "Age at which a new segment is begun, in ms. Goes before log.roll.hours.";
    "log.roll.hours": Int = Some("168"), AtLeast(1.0), High, ReadOnly => Honoured,
        "Age at which a new segment is begun, in hours.";
    "log.roll.jitter.ms": Long = None, Any, High, ClusterWide => Honoured,
        "Most that is randomly taken off that age, in ms. Goes before log.roll.jitter.hours.";
    "log.roll.jitter.hours": Int = Some("0"), AtLeast(0.0), High, ReadOnly => Honoured,
        "Most that is randomly taken off that age, in hours.";
    "log.retention.ms": Long = None, Any, High, ClusterWide => Honoured,
        "How long records are kept, in ms; -1 is for ever. Goes before log.retention.minutes.";
    "log.retention.minutes": Int = None, Any, High, ReadOnly => Honoured,
        "How long records are kept, in minutes. Goes before log.retention.hours.";
    "log.retention.hours": Int = Some("168"), Any, High, ReadOnly => Honoured,
        "How long records are kept, in hours.";
    "log.retention.bytes": Long = Some("-1"), Any, High, ClusterWide => Honoured,
        "How much of a partition is kept, in bytes; -1 is no limit.";
    "log.retention.check.interval.ms": Long = Some("300000"), AtLeast(1.0), Medium, ReadOnly => Honoured,
        "How often retention looks for segments to delete, in ms.";
    "log.cleanup.policy": List = Some("delete"), EachOneOf(&["compact", "delete"]), Medium, ClusterWide => Honoured,
        "What happens to old segments: delete, compact, or both.";
    "log.index.size.max.bytes": Int = Some("10485760"), AtLeast(4.0), Medium, ClusterWide => Honoured,
        "Largest offset or time index, in bytes; a full one begins a new segment.";
    "log.index.interval.bytes": Int = Some("4096"), AtLeast(0.0), Medium, ClusterWide => Honoured,
        "Bytes of records between two index entries.";
    "log.segment.delete.delay.ms": Long = Some("60000"), AtLeast(0.0), High, ClusterWide => Honoured,
        "How long a deleted file stays on disk, in ms.";
    "log.flush.interval.messages": Long = Some("9223372036854775807"), AtLeast(1.0), High, ClusterWide => Honoured,
        "Records appended to a partition before it is forced to disk.";
    "log.flush.interval.ms": Long = None, Any, High, ClusterWide => Honoured,
        "Age of unflushed records before a partition is forced to disk, in ms. Left out, \
         log.flush.scheduler.interval.ms is used.";
    "log.flush.scheduler.interval.ms": Long = Some("9223372036854775807"), Any, High, ReadOnly => Honoured,
        "How often partitions are looked at for flushing, in ms.";
    "log.flush.offset.checkpoint.interval.ms": Int = Some("60000"), AtLeast(0.0), High, ReadOnly => Honoured,
        "How often recovery points are written, in ms.";
    "log.flush.start.offset.checkpoint.interval.ms": Int = Some("60000"), AtLeast(0.0), High, ReadOnly => Honoured,
        "How often log start offsets are written, in ms.";
    "log.preallocate": Boolean = Some("false"), Any, Medium, ClusterWide => Honoured,
        "Whether a new segment gets its full size at once.";
    [Internal] "log.initial.task.delay.ms": Long = Some("30000"), AtLeast(0.0), Low, ReadOnly => Honoured,
        "Pause after the start before the periodic work on logs begins, in ms.";
    "log.message.downconversion.enable": Boolean = Some("true"), Any, Low, ClusterWide => Honoured,
        "Whether old clients get records converted to their message format.";
    "log.message.format.version": Text = Some("3.0-IV1"), KafkaVersion, Medium, ReadOnly => NoEffect(FORMAT),
        "Message format of stored records, of old.";
    "log.message.timestamp.type": Text =
        Some("CreateTime"), OneOf(&["CreateTime", "LogAppendTime"]), Medium, ClusterWide => Honoured,
        "Whether a record's time is its creation or its append.";
    "log.message.timestamp.difference.max.ms": Long = Some("9223372036854775807"), AtLeast(0.0), Medium, ClusterWide
        => Honoured,
        "Deprecated limit in both directions, used where before.max or after.max is not given. In ms.";
    "log.message.timestamp.before.max.ms": Long = Some("9223372036854775807"), AtLeast(0.0), Medium, ClusterWide
        => Honoured,
        "How far a record's time may lie behind the broker's, in ms.";
    "log.message.timestamp.after.max.ms": Long = Some("9223372036854775807"), AtLeast(0.0), Medium, ClusterWide
        => Honoured,
        "How far a record's time may lie ahead of the broker's, in ms.";
    "log.dir.failure.timeout.ms": Long = Some("30000"), AtLeast(1.0), Low, ReadOnly => NoEffect(KRAFT),
        "How long a failed directory may stay unreported, in ms.";
    "num.recovery.threads.per.data.dir": Int = Some("1"), AtLeast(1.0), High, ClusterWide => NoEffect(THREADS),
        "Threads for loading logs of each directory.";
    "num.replica.alter.log.dirs.threads": Int = None, Any, High, ReadOnly => Honoured,
        "Threads that move replicas between log directories.";
    "log.cleaner.enable": Boolean = Some("true"), Any, Medium, ReadOnly => Honoured,
        "Whether the log cleaner runs.";
    "log.cleaner.threads": Int = Some("1"), AtLeast(0.0), Medium, ClusterWide => Honoured,
        "Threads of the log cleaner.";
    "log.cleaner.backoff.ms": Long = Some("15000"), AtLeast(0.0), Medium, ClusterWide => Honoured,
        "Pause of a cleaner that finds nothing to do, in ms.";
    "log.cleaner.dedupe.buffer.size": Long = Some("134217728"), Any, Medium, ClusterWide => Honoured,
        "Memory for the offset maps of all cleaners, in bytes.";
    "log.cleaner.io.buffer.load.factor": Double = Some("0.9"), Any, Medium, ClusterWide => Honoured,
        "Share of the offset map that may be filled.";
    "log.cleaner.io.buffer.size": Int = Some("524288"), AtLeast(0.0), Medium, ClusterWide => NoEffect(BUFFER),
        "Memory for the read and write buffers of all cleaners, in bytes.";
    "log.cleaner.io.max.bytes.per.second": Double = Some("1.7976931348623157E308"), Any, Medium, ClusterWide
        => Honoured,
        "Bytes per second that the cleaners may read and write.";
    "log.cleaner.min.cleanable.ratio": Double = Some("0.5"), Between(0.0, 1.0), Medium, ClusterWide
        => Honoured,
        "Share of uncleaned bytes at which a log is cleaned.";
    "log.cleaner.delete.retention.ms": Long = Some("86400000"), AtLeast(0.0), Medium, ClusterWide
        => Honoured,
        "How long tombstones are kept, in ms.";
    "log.cleaner.min.compaction.lag.ms": Long = Some("0"), AtLeast(0.0), Medium, ClusterWide => Honoured,
        "How long a record stays uncompacted at least, in ms.";
    "log.cleaner.max.compaction.lag.ms": Long = Some("9223372036854775807"), AtLeast(1.0), Medium, ClusterWide
        => Honoured,
        "How long a record may stay uncompacted, in ms.";
};
