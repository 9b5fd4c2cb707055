//! The cleaners of compacted topics as tasks: so many at work as are configured, set up anew when that changes.

use std::sync::Arc;

use storage::compaction::{Cleaner, CleanerSettings};
use tokio::sync::watch;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::clock;
use crate::config::{BrokerConfig, Cleaners};
use crate::partition::Partitions;
use crate::partition::compaction::Cleaning;

/// The most that one cleaner uses of `log.cleaner.dedupe.buffer.size`, as in Kafka. Unit: bytes.
const MAP_BYTES_MAX: u64 = i32::MAX as u64;

/// Runs until it is dropped, or `configs` end. As in Kafka a cleaning that a change interrupts is begun again.
pub(crate) async fn keep(
    partitions: Arc<Partitions>,
    cleaning: Arc<Cleaning>,
    mut configs: watch::Receiver<Arc<BrokerConfig>>,
) {
    loop {
        let Some(cleaners) = configs.borrow_and_update().logs.cleaners.clone() else { return };
        cleaning.pace(cleaners.bytes_per_second);
        if cleaners.map_bytes / cleaners.threads as u64 > MAP_BYTES_MAX {
            warn!(
                "a cleaner uses at most 2 GiB of log.cleaner.dedupe.buffer.size; set it lower, or log.cleaner.threads higher"
            );
        }
        let replaced = CancellationToken::new();
        let mut at_work = JoinSet::new();
        for _ in 0..cleaners.threads {
            let (partitions, cleaning) = (Arc::clone(&partitions), Arc::clone(&cleaning));
            at_work.spawn(clean(partitions, cleaning, cleaners.clone(), replaced.clone()));
        }
        let others = |config: &Arc<BrokerConfig>| config.logs.cleaners.as_ref() != Some(&cleaners);
        if configs.wait_for(others).await.is_err() {
            return;
        }
        info!("the cleaners are set up anew: log.cleaner.* has changed");
        replaced.cancel();
        while at_work.join_next().await.is_some() {}
    }
}

/// What each of several cleaners has.
fn of_one(all: &Cleaners) -> CleanerSettings {
    let map_bytes = (all.map_bytes / all.threads as u64).min(MAP_BYTES_MAX);
    CleanerSettings { map_bytes, load_factor: all.load_factor }
}

/// One cleaner: log after log as long as there are filthy ones, then a pause.
async fn clean(
    partitions: Arc<Partitions>,
    cleaning: Arc<Cleaning>,
    settings: Cleaners,
    replaced: CancellationToken,
) {
    let of_one = of_one(&settings);
    let Some(cleaner) = Cleaner::new(of_one) else {
        error!(
            "logs are not compacted: log.cleaner.dedupe.buffer.size has no room for a single key; raise it or log.cleaner.io.buffer.load.factor"
        );
        return;
    };
    let mut idle = Some(cleaner);
    while let Some(mut cleaner) = idle.take() {
        let (partitions, cleaning, goes_on) =
            (Arc::clone(&partitions), Arc::clone(&cleaning), replaced.clone());
        let pass = spawn_blocking(move || {
            let goes_on = || !goes_on.is_cancelled();
            let cleaned = partitions.clean_filthiest(&mut cleaner, &cleaning, clock::wall(), &goes_on);
            (cleaner, cleaned)
        });
        // A panic in there was reported by the hook; a new map is all that is needed to go on.
        let (cleaner, cleaned) = match pass.await {
            Ok((cleaner, cleaned)) => (Some(cleaner), cleaned),
            Err(_) => (Cleaner::new(of_one), false),
        };
        idle = cleaner;
        if !cleaned {
            tokio::select! {
                () = replaced.cancelled() => return,
                () = sleep(settings.backoff) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_cleaner_has_its_share_of_the_buffer_and_two_gibibytes_at_most() {
        let share = |map_bytes, threads| {
            let all = Cleaners {
                threads,
                backoff: Duration::ZERO,
                map_bytes,
                load_factor: 0.9,
                bytes_per_second: f64::MAX,
            };
            of_one(&all).map_bytes
        };
        assert_eq!((share(128 << 20, 1), share(128 << 20, 4)), (128 << 20, 32 << 20));
        assert_eq!((share(64 << 30, 2), share(i64::MAX as u64, 1)), (2_147_483_647, 2_147_483_647));
    }
}
