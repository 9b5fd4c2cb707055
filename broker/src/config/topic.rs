//! The settings of one topic: its overrides over the broker's defaults.
//!
//! Requests are checked strictly ([`BrokerConfig::check_topic`]), with Kafka's messages. What already lies in
//! ZooKeeper is read leniently ([`BrokerConfig::topic`]): one bad value there must not take a topic down.

use std::collections::BTreeMap;
use std::sync::Arc;

use storage::batch::{TargetCompression, TimestampType};
use storage::config::{Cleanup, LogConfig};
use thiserror::Error;

use super::BrokerConfig;
use super::properties::Properties;
use super::replication::ThrottledReplicas;
use super::rule::Invalid;
use super::settings::Settings;
use super::table::topic;
use super::value::Value;

/// One topic's settings, typed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TopicConfig {
    /// What its logs need to know; they share it.
    pub(crate) log: Arc<LogConfig>,
    /// Bytes of a batch with its header. Range: 0..=2147483647.
    pub(crate) max_message_bytes: usize,
    pub(crate) compression: TargetCompression,
    pub(crate) timestamp_type: TimestampType,
    /// Unit: ms. Default: `i64::MAX`.
    pub(crate) timestamp_before_max_ms: i64,
    /// Unit: ms. Default: `i64::MAX`.
    pub(crate) timestamp_after_max_ms: i64,
    /// Range: 1..=2147483647.
    pub(crate) min_insync_replicas: i32,
    /// Whether old clients get records converted to their message format.
    pub(crate) downconversion: bool,
    pub(crate) unclean_leader_election: bool,
    /// Replicas whose copying is throttled where they are copied from, and to.
    pub(crate) leader_throttled: ThrottledReplicas,
    pub(crate) follower_throttled: ThrottledReplicas,
}

/// Why a request's topic configs are refused, in Kafka's words. All are INVALID_CONFIG on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum TopicConfigError {
    #[error("Unknown topic config name: {0}")]
    Unknown(String),
    #[error(transparent)]
    Invalid(#[from] Invalid),
    #[error("{0}")]
    Rule(String),
    #[error(
        "Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote log storage."
    )]
    NoTieredStorage,
}

/// A value for every topic key.
pub(super) type TopicValues = BTreeMap<&'static str, Value>;

impl BrokerConfig {
    /// Strict: names, types, ranges, and what belongs together.
    pub(crate) fn check_topic(&self, overrides: &Properties) -> Result<TopicConfig, TopicConfigError> {
        if let Some(stranger) = overrides.keys().find(|name| topic::find(name).is_none()) {
            return Err(TopicConfigError::Unknown(stranger.clone()));
        }
        let mut values = broker_defaults(&self.settings);
        for key in topic::KEYS {
            if let Some(text) = overrides.get(key.name) {
                values.insert(key.name, key.parse(text)?);
            }
        }
        rules(&values)?;
        Ok(TopicConfig::from_values(&values))
    }

    /// Lenient: unknown names are passed over, and for a value that cannot be read the broker's default stands in.
    pub(crate) fn topic(&self, overrides: &Properties) -> (TopicConfig, Vec<Invalid>) {
        let (values, invalid) = self.topic_values(overrides);
        (TopicConfig::from_values(&values), invalid)
    }

    pub(super) fn topic_values(&self, overrides: &Properties) -> (TopicValues, Vec<Invalid>) {
        let mut values = broker_defaults(&self.settings);
        let mut invalid = Vec::new();
        for key in topic::KEYS {
            match overrides.get(key.name).map(|text| key.parse(text)) {
                Some(Ok(value)) => drop(values.insert(key.name, value)),
                Some(Err(why)) => invalid.push(why),
                None => {}
            }
        }
        (values, invalid)
    }
}

impl TopicConfig {
    /// What a topic without overrides has.
    pub(super) fn of_broker(settings: &Settings) -> TopicConfig {
        TopicConfig::from_values(&broker_defaults(settings))
    }

    fn from_values(values: &TopicValues) -> TopicConfig {
        let long = |name: &str| match values.get(name) {
            Some(Value::Long(value)) => *value,
            Some(Value::Int(value)) => i64::from(*value),
            other => panic!("{name} is {other:?}, not a whole number"),
        };
        let int = |name: &str| i32::try_from(long(name)).unwrap_or(i32::MAX);
        let size = |name: &str| u32::try_from(long(name)).unwrap_or(0);
        let is_true = |name: &str| values.get(name) == Some(&Value::Boolean(true));
        let text = |name: &str| match values.get(name) {
            Some(Value::Text(value)) => value.as_str(),
            other => panic!("{name} is {other:?}, not a text"),
        };
        let policy = |wanted: &str| match values.get("cleanup.policy") {
            Some(Value::List(policies)) => policies.iter().any(|policy| policy == wanted),
            _ => false,
        };
        let dirty_ratio = values.get("min.cleanable.dirty.ratio").and_then(Value::as_number);
        // The deprecated limit holds where the newer one is at its default.
        let timestamp_limit = |name: &str| match long(name) {
            i64::MAX => long("message.timestamp.difference.max.ms"),
            limit => limit,
        };
        TopicConfig {
            log: Arc::new(LogConfig {
                segment_bytes: size("segment.bytes"),
                segment_ms: long("segment.ms"),
                segment_jitter_ms: long("segment.jitter.ms"),
                segment_index_bytes: size("segment.index.bytes"),
                index_interval_bytes: size("index.interval.bytes"),
                flush_messages: long("flush.messages"),
                flush_ms: long("flush.ms"),
                retention_bytes: u64::try_from(long("retention.bytes")).ok(),
                retention_ms: Some(long("retention.ms")).filter(|ms| *ms >= 0),
                file_delete_delay_ms: long("file.delete.delay.ms"),
                cleanup: Cleanup { delete: policy("delete"), compact: policy("compact") },
                delete_retention_ms: long("delete.retention.ms"),
                min_compaction_lag_ms: long("min.compaction.lag.ms"),
                max_compaction_lag_ms: long("max.compaction.lag.ms"),
                min_cleanable_dirty_ratio: dirty_ratio.unwrap_or(0.5),
                preallocate: is_true("preallocate"),
            }),
            max_message_bytes: usize::try_from(long("max.message.bytes")).unwrap_or(0),
            compression: match text("compression.type") {
                "uncompressed" => TargetCompression::Uncompressed,
                "gzip" => TargetCompression::Gzip { level: int("compression.gzip.level") },
                "snappy" => TargetCompression::Snappy,
                "lz4" => TargetCompression::Lz4 { level: int("compression.lz4.level") },
                "zstd" => TargetCompression::Zstd { level: int("compression.zstd.level") },
                _ => TargetCompression::Producer,
            },
            timestamp_type: match text("message.timestamp.type") {
                "LogAppendTime" => TimestampType::LogAppendTime,
                _ => TimestampType::CreateTime,
            },
            timestamp_before_max_ms: timestamp_limit("message.timestamp.before.max.ms"),
            timestamp_after_max_ms: timestamp_limit("message.timestamp.after.max.ms"),
            min_insync_replicas: int("min.insync.replicas"),
            downconversion: is_true("message.downconversion.enable"),
            unclean_leader_election: is_true("unclean.leader.election.enable"),
            leader_throttled: ThrottledReplicas::new(values.get("leader.replication.throttled.replicas")),
            follower_throttled: ThrottledReplicas::new(values.get("follower.replication.throttled.replicas")),
        }
    }
}

/// Units differ for three keys: topics count in ms, a broker may be told minutes or hours.
fn broker_defaults(settings: &Settings) -> TopicValues {
    let hours = |ms: &str, hours: &str| {
        settings.integer_or_null(ms).unwrap_or_else(|| settings.long(hours) * 3_600_000)
    };
    let of_broker = |name: &'static str| match name {
        "retention.ms" => Value::Long(super::retention_ms(settings)),
        "segment.ms" => Value::Long(hours("log.roll.ms", "log.roll.hours")),
        "segment.jitter.ms" => Value::Long(hours("log.roll.jitter.ms", "log.roll.jitter.hours")),
        "flush.ms" => {
            let own = settings.integer_or_null("log.flush.interval.ms");
            Value::Long(own.unwrap_or_else(|| settings.long("log.flush.scheduler.interval.ms")))
        }
        // The broker's key is ignored, as in Kafka from inter.broker.protocol.version 3.0 on.
        "message.format.version" => Value::Text("3.0-IV1".to_owned()),
        "message.timestamp.before.max.ms" | "message.timestamp.after.max.ms" => {
            let own = topic::broker_key(name).map_or(i64::MAX, |key| settings.long(key));
            let deprecated = settings.long("log.message.timestamp.difference.max.ms");
            Value::Long(if own == i64::MAX { deprecated } else { own })
        }
        _ => match topic::broker_key(name) {
            Some(key) => settings.value(key).clone(),
            None => topic::find(name).map_or(Value::Null, super::key::Key::default_value),
        },
    };
    topic::KEYS.iter().map(|key| (key.name, of_broker(key.name))).collect()
}

fn rules(values: &TopicValues) -> Result<(), TopicConfigError> {
    let refuse = |sentence: &str| Err(TopicConfigError::Rule(sentence.to_owned()));
    let is_true = |name: &str| values.get(name) == Some(&Value::Boolean(true));
    let (min, max) = (&values["min.compaction.lag.ms"], &values["max.compaction.lag.ms"]);
    if let (Value::Long(min), Value::Long(max)) = (min, max)
        && min > max
    {
        return refuse(&format!(
            "conflict topic config setting min.compaction.lag.ms ({min}) > max.compaction.lag.ms ({max})"
        ));
    }
    if is_true("remote.log.delete.on.disable") || is_true("remote.log.copy.disable") {
        return refuse(
            "It is invalid to set `remote.log.delete.on.disable` or `remote.log.copy.disable` under Zookeeper's mode.",
        );
    }
    if is_true("remote.storage.enable") {
        return Err(TopicConfigError::NoTieredStorage);
    }
    Ok(())
}
