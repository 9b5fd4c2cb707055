//! The periodic work on logs, each at its configured interval, on threads that may block.

use std::sync::Arc;
use std::time::Duration;

use storage::checkpoint::OffsetCheckpoint;
use storage::compaction::{Cleaner, CleanerSettings};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval_at, sleep};
use tracing::error;

use crate::clock;
use crate::config::{Cleaners, Logs};
use crate::moving;
use crate::partition::Partitions;
use crate::partition::compaction::Cleaning;

/// How often files whose deletion is due are looked for.
const REMOVAL_INTERVAL: Duration = Duration::from_secs(5);

/// The periodic work; dropping it ends it.
pub(crate) struct Housekeeping {
    work: JoinSet<()>,
    cleaning: Option<Arc<Cleaning>>,
}

impl Housekeeping {
    /// Adds a task that ends with the rest.
    pub(crate) fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.work.spawn(task);
    }
}

impl Drop for Housekeeping {
    fn drop(&mut self) {
        if let Some(cleaning) = &self.cleaning {
            cleaning.stop();
        }
    }
}

/// Starts all of it.
pub(crate) fn start(partitions: &Arc<Partitions>, logs: &Logs) -> Housekeeping {
    let mut work = JoinSet::new();
    let cleaning = logs.cleaners.as_ref().map(|cleaners| {
        let cleaning = Arc::new(Cleaning::new(cleaners.bytes_per_second));
        for _ in 0..cleaners.threads {
            work.spawn(clean(Arc::clone(partitions), Arc::clone(&cleaning), cleaners.clone()));
        }
        cleaning
    });
    for _ in 0..logs.movers {
        work.spawn(moving::carry(Arc::clone(partitions)));
    }
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
        partitions.checkpoint_high_watermarks();
    });
    every(logs.producer_id_expiration_check_interval, |partitions| {
        partitions.expire_producers(clock::wall())
    });
    every(REMOVAL_INTERVAL, |partitions| partitions.remove_condemned(clock::wall()));
    if let Some(interval) = logs.flush_scheduler_interval {
        every(interval, |partitions| partitions.flush_overdue(clock::wall()));
    }
    Housekeeping { work, cleaning }
}

/// One cleaner: log after log as long as there are filthy ones, then a pause.
async fn clean(partitions: Arc<Partitions>, cleaning: Arc<Cleaning>, settings: Cleaners) {
    let of_one = CleanerSettings {
        map_bytes: settings.map_bytes / settings.threads as u64,
        load_factor: settings.load_factor,
    };
    let Some(cleaner) = Cleaner::new(of_one) else {
        error!(
            "logs are not compacted: log.cleaner.dedupe.buffer.size has no room for a single key; raise it or log.cleaner.io.buffer.load.factor"
        );
        return;
    };
    let mut idle = Some(cleaner);
    while let Some(mut cleaner) = idle.take() {
        let (partitions, cleaning) = (Arc::clone(&partitions), Arc::clone(&cleaning));
        let pass = spawn_blocking(move || {
            let cleaned = partitions.clean_filthiest(&mut cleaner, &cleaning, clock::wall());
            (cleaner, cleaned)
        });
        // A panic in there was reported by the hook; a new map is all that is needed to go on.
        let (cleaner, cleaned) = match pass.await {
            Ok((cleaner, cleaned)) => (Some(cleaner), cleaned),
            Err(_) => (Cleaner::new(of_one), false),
        };
        idle = cleaner;
        if !cleaned {
            sleep(settings.backoff).await;
        }
    }
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
