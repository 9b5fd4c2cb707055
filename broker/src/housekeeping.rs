//! The periodic work on logs, each at its configured interval, on threads that may block.

use std::sync::Arc;
use std::time::Duration;

use storage::checkpoint::OffsetCheckpoint;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use crate::cleaners;
use crate::clock;
use crate::live::LiveConfig;
use crate::moving;
use crate::partition::Partitions;
use crate::partition::compaction::Cleaning;

/// How often files whose deletion is due are looked for.
const REMOVAL_INTERVAL: Duration = Duration::from_secs(5);

/// The periodic work; dropping it ends it.
pub(crate) struct Housekeeping {
    work: JoinSet<()>,
    cleaning: Arc<Cleaning>,
}

impl Housekeeping {
    /// Adds a task that ends with the rest.
    pub(crate) fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.work.spawn(task);
    }
}

impl Drop for Housekeeping {
    fn drop(&mut self) {
        self.cleaning.stop();
    }
}

/// Starts all of it.
pub(crate) fn start(partitions: &Arc<Partitions>, live: &LiveConfig) -> Housekeeping {
    let config = live.current();
    let logs = &config.logs;
    let mut work = JoinSet::new();
    let cleaning = Arc::new(Cleaning::default());
    let configs = live.watch();
    work.spawn(cleaners::keep(Arc::clone(partitions), Arc::clone(&cleaning), configs));
    for _ in 0..logs.movers {
        work.spawn(moving::carry(Arc::clone(partitions)));
    }
    let mut first_after = |delay: Duration, interval: Duration, task: fn(&Partitions)| {
        work.spawn(repeat(Arc::clone(partitions), beats(delay, interval), task));
    };
    let mut every = |interval, task: fn(&Partitions)| first_after(logs.initial_task_delay, interval, task);
    every(logs.retention_check_interval, |partitions| partitions.expire_segments(clock::wall()));
    every(logs.recovery_checkpoint_interval, |partitions| {
        partitions.checkpoint(OffsetCheckpoint::RecoveryPoints);
    });
    every(logs.start_offset_checkpoint_interval, |partitions| {
        partitions.checkpoint(OffsetCheckpoint::LogStarts);
    });
    every(REMOVAL_INTERVAL, |partitions| partitions.remove_condemned(clock::wall()));
    if let Some(interval) = logs.flush_scheduler_interval {
        every(interval, |partitions| partitions.flush_overdue(clock::wall()));
    }
    // `log.initial.task.delay.ms` is not for these, in Kafka neither.
    let mut each = |interval, task: fn(&Partitions)| first_after(interval, interval, task);
    each(logs.high_watermark_checkpoint_interval, |partitions| {
        partitions.checkpoint_high_watermarks();
    });
    each(logs.producer_id_expiration_check_interval, |partitions| partitions.expire_producers(clock::wall()));
    Housekeeping { work, cleaning }
}

/// The first after `delay`, each of the others an interval after the one before it.
fn beats(delay: Duration, interval: Duration) -> Interval {
    let mut beats = interval_at(Instant::now() + delay, interval.max(Duration::from_millis(1)));
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    beats
}

async fn repeat(partitions: Arc<Partitions>, mut beats: Interval, task: fn(&Partitions)) {
    loop {
        beats.tick().await;
        let partitions = Arc::clone(&partitions);
        // A panic in there was reported by the hook; the other work goes on.
        let _ = spawn_blocking(move || task(&partitions)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_run_comes_after_the_initial_delay_and_not_an_interval_later() {
        let (delay, interval) = (Duration::from_secs(30), Duration::from_secs(300));
        let started = Instant::now();
        let mut beats = beats(delay, interval);
        beats.tick().await;
        assert_eq!(started.elapsed(), delay);
        beats.tick().await;
        assert_eq!(started.elapsed(), delay + interval);
    }
}
