//! Changes to a log while no broker runs on it.

use std::path::Path;
use std::sync::Arc;

use storage::batch::{BatchBuilder, BatchOptions};
use storage::config::LogConfig;
use storage::directory::LastStop;
use storage::disk::OsDisk;
use storage::log::{Log, LogOptions};
use storage::producers::ProducerSettings;
use storage::store::Store;
use storage::types::{LeaderEpoch, Offset, TimestampMs, TopicPartition};

use super::records::now_ms;

/// Appends one record at `offset`, far behind the end: as a follower does whose leader's log was compacted. The last broker
/// has stopped cleanly.
#[track_caller]
pub(crate) fn append_behind_a_gap(log_dir: &Path, topic: &str, offset: i64) {
    let options = LogOptions {
        folder: log_dir.join(format!("{topic}-0")),
        partition: TopicPartition::new(topic, 0),
        config: Arc::new(LogConfig::default()),
        recovery_point: Offset::ZERO,
        log_start: Offset::ZERO,
        last_stop: LastStop::Clean,
        topic_id: None,
        producers: ProducerSettings::default(),
        now: TimestampMs(now_ms()),
    };
    let mut log = Log::open(&Store::new(Arc::new(OsDisk)), options).expect("opened");
    let leader_epoch = log.latest_epoch().unwrap_or(LeaderEpoch(0));
    let options = BatchOptions { base_offset: Offset(offset), leader_epoch, ..BatchOptions::default() };
    let mut builder = BatchBuilder::new(options).expect("a builder");
    let (key, value) = (Some(&b"key"[..]), Some(&b"behind the gap"[..]));
    builder.append(TimestampMs(now_ms()), key, value, &[]).expect("appended");
    let batch = builder.build().expect("built");
    log.append_as_follower(&batch, leader_epoch, TimestampMs(now_ms())).expect("appended");
    log.close().expect("closed");
}
