//! Keys of KRaft mode, which this broker does not run.

use super::reasons::{KRAFT, KRAFT_MODE};
use crate::config::key::{Key, keys};

#[rustfmt::skip]
pub(super) const KEYS: &[Key] = keys! {
    "process.roles": List = Some(""), EachOneOf(&["broker", "controller"]), High, ReadOnly => OnlyDefault(KRAFT_MODE),
        "Roles of a KRaft server.";
    "controller.listener.names": Text = None, Any, High, ReadOnly => OnlyDefault(KRAFT_MODE),
        "Listeners of the KRaft controller.";
    "controller.quorum.voters": List = Some(""), Any, High, ReadOnly => OnlyDefault(KRAFT_MODE),
        "Voters of the KRaft quorum.";
    "controller.quorum.bootstrap.servers": List = Some(""), Any, High, ReadOnly => OnlyDefault(KRAFT_MODE),
        "Where the KRaft quorum is found.";
    "controller.quorum.append.linger.ms": Int = Some("25"), Any, Medium, ReadOnly => NoEffect(KRAFT),
        "Of the KRaft quorum.";
    "controller.quorum.election.backoff.max.ms": Int = Some("1000"), Any, High, ReadOnly => NoEffect(KRAFT),
        "Of the KRaft quorum.";
    "controller.quorum.election.timeout.ms": Int = Some("1000"), Any, High, ReadOnly => NoEffect(KRAFT),
        "Of the KRaft quorum.";
    "controller.quorum.fetch.timeout.ms": Int = Some("2000"), Any, High, ReadOnly => NoEffect(KRAFT),
        "Of the KRaft quorum.";
    "controller.quorum.request.timeout.ms": Int = Some("2000"), Any, Medium, ReadOnly => NoEffect(KRAFT),
        "Of the KRaft quorum.";
    "controller.quorum.retry.backoff.ms": Int = Some("20"), Any, Low, ReadOnly => NoEffect(KRAFT),
        "Of the KRaft quorum.";
    "metadata.log.dir": Text = None, Any, High, ReadOnly => NoEffect(KRAFT),
        "Of the KRaft metadata log.";
    "metadata.log.max.record.bytes.between.snapshots": Long = Some("20971520"), AtLeast(1.0), High, ReadOnly
        => NoEffect(KRAFT),
        "Of the KRaft metadata log.";
    "metadata.log.max.snapshot.interval.ms": Long = Some("3600000"), AtLeast(0.0), High, ReadOnly => NoEffect(KRAFT),
        "Of the KRaft metadata log.";
    "metadata.log.segment.bytes": Int = Some("1073741824"), AtLeast(12.0), High, ReadOnly => NoEffect(KRAFT),
        "Of the KRaft metadata log.";
    [Internal] "metadata.log.segment.min.bytes": Int = Some("8388608"), AtLeast(12.0), High, ReadOnly
        => NoEffect(KRAFT),
        "Of the KRaft metadata log.";
    "metadata.log.segment.ms": Long = Some("604800000"), Any, High, ReadOnly => NoEffect(KRAFT),
        "Of the KRaft metadata log.";
    "metadata.max.idle.interval.ms": Int = Some("500"), AtLeast(0.0), Low, ReadOnly => NoEffect(KRAFT),
        "Of the KRaft metadata log.";
    "metadata.max.retention.bytes": Long = Some("104857600"), Any, High, ReadOnly => NoEffect(KRAFT),
        "Of the KRaft metadata log.";
    "metadata.max.retention.ms": Long = Some("604800000"), Any, High, ReadOnly => NoEffect(KRAFT),
        "Of the KRaft metadata log.";
    "broker.heartbeat.interval.ms": Int = Some("2000"), Any, Medium, ReadOnly => NoEffect(KRAFT),
        "How often a broker reports to the KRaft controller, in ms.";
    "broker.session.timeout.ms": Int = Some("9000"), Any, Medium, ReadOnly => NoEffect(KRAFT),
        "How long the KRaft controller waits for a broker's report, in ms.";
    "initial.broker.registration.timeout.ms": Int = Some("60000"), Any, Medium, ReadOnly => NoEffect(KRAFT),
        "How long a broker tries to register with the KRaft controller, in ms.";
    "early.start.listeners": Text = None, Any, High, ReadOnly => NoEffect(KRAFT),
        "Listeners that a KRaft server opens first.";
    "eligible.leader.replicas.enable": Boolean = Some("false"), Any, High, ReadOnly => NoEffect(KRAFT),
        "Whether KRaft keeps eligible leader replicas (KIP-966).";
    [Internal] "server.max.startup.time.ms": Long = Some("9223372036854775807"), AtLeast(0.0), Medium, ReadOnly
        => NoEffect(KRAFT),
        "Longest start of a KRaft server, in ms.";
};
