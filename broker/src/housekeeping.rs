//! The periodic work on logs, each at its configured interval, on threads that may block.

use std::sync::Arc;
use std::time::Duration;

use storage::checkpoint::OffsetCheckpoint;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval_at, sleep};

use crate::clock;
use crate::config::Logs;
use crate::partition::Partitions;

/// How often files whose deletion is due are looked for.
const REMOVAL_INTERVAL: Duration = Duration::from_secs(30);

/// Starts all of it; dropping the set ends it.
pub(crate) fn start(partitions: &Arc<Partitions>, logs: &Logs) -> JoinSet<()> {
    let mut work = JoinSet::new();
    let mut every = |interval: Duration, task: fn(&Partitions)| {
        work.spawn(repeat(Arc::clone(partitions), logs.initial_task_delay, interval, task));
    };
    every(logs.retention_check_interval, |partitions| partitions.expire_segments(clock::wall()));
    every(logs.recovery_checkpoint_interval, |partitions| {
        partitions.checkpoint(OffsetCheckpoint::RecoveryPoints);
    });
    every(logs.start_offset_checkpoint_interval, |partitions| {
        partitions.checkpoint(OffsetCheckpoint::LogStarts);
    });
    every(logs.high_watermark_checkpoint_interval, |partitions| {
        partitions.checkpoint(OffsetCheckpoint::HighWatermarks);
    });
    every(logs.producer_id_expiration_check_interval, |partitions| {
        partitions.expire_producers(clock::wall())
    });
    every(REMOVAL_INTERVAL, |partitions| partitions.remove_condemned(clock::wall()));
    if let Some(interval) = logs.flush_scheduler_interval {
        every(interval, |partitions| partitions.flush_overdue(clock::wall()));
    }
    work
}

async fn repeat(partitions: Arc<Partitions>, delay: Duration, interval: Duration, task: fn(&Partitions)) {
    sleep(delay).await;
    let mut ticks =
        interval_at(tokio::time::Instant::now() + interval, interval.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let partitions = Arc::clone(&partitions);
        // A panic in there was reported by the hook; the other work goes on.
        let _ = spawn_blocking(move || task(&partitions)).await;
    }
}
