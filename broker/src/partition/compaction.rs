//! Cleaners at work: which log is the filthiest, and one cleaning of it.
//!
//! No log is cleaned by two at a time. A log with a batch that cannot be read is left alone until the next start.
//! What cleaners read and write counts against one common rate.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use storage::checkpoint::OffsetCheckpoint;
use storage::compaction::{Cleanable, Cleaner, Outcome, Owner, Summary, Throttle};
use storage::error::StorageError;
use storage::log::Log;
use storage::types::{TimestampMs, TopicPartition};
use tracing::{debug, error, info};

use crate::partition::hosting::Hosted;
use crate::partition::{Partition, Partitions};

/// A pause passes in pieces, so that a partition that is deleted is not kept waiting. A stop ends it at once.
const NAP: Duration = Duration::from_millis(100);

/// What all cleaners share.
pub(crate) struct Cleaning {
    state: Mutex<State>,
    /// Set as soon as cleaners are at work.
    throttle: Mutex<Option<Throttle>>,
    started: Instant,
    stopping: Mutex<bool>,
    stop: Condvar,
}

#[derive(Default)]
struct State {
    /// Being cleaned right now.
    busy: BTreeSet<TopicPartition>,
    /// With a batch that cannot be read.
    uncleanable: BTreeSet<TopicPartition>,
}

impl Default for Cleaning {
    fn default() -> Cleaning {
        Cleaning {
            state: Mutex::default(),
            throttle: Mutex::default(),
            started: Instant::now(),
            stopping: Mutex::new(false),
            stop: Condvar::new(),
        }
    }
}

impl Cleaning {
    /// From now on all cleaners together read and write so much (`log.cleaner.io.max.bytes.per.second`).
    pub(crate) fn pace(&self, bytes_per_second: f64) {
        let throttle = Throttle::new(bytes_per_second, self.started.elapsed());
        *self.throttle.lock().unwrap_or_else(PoisonError::into_inner) = Some(throttle);
    }

    /// Cleanings end at their next batch, without a trace of the segment they were at.
    pub(crate) fn stop(&self) {
        *self.stopping.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.notify_all();
    }

    fn is_stopping(&self) -> bool {
        *self.stopping.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits as long as the bytes demand.
    fn pass(&self, bytes: u64, goes_on: impl Fn() -> bool) -> ControlFlow<()> {
        let mut throttle = self.throttle.lock().unwrap_or_else(PoisonError::into_inner);
        let pass = |throttle: &mut Throttle| throttle.pass(bytes, self.started.elapsed());
        let mut pause = throttle.as_mut().map(pass).unwrap_or_default();
        drop(throttle);
        loop {
            if !goes_on() || self.is_stopping() {
                return ControlFlow::Break(());
            }
            if pause.is_zero() {
                return ControlFlow::Continue(());
            }
            let nap = pause.min(NAP);
            let stopping = self.stopping.lock().unwrap_or_else(PoisonError::into_inner);
            let stop = self.stop.wait_timeout_while(stopping, nap, |stopping| !*stopping);
            drop(stop.unwrap_or_else(PoisonError::into_inner));
            pause -= nap;
        }
    }
}

impl Owner for Partition {
    fn with<R>(&self, work: impl FnOnce(&mut Log) -> R) -> R {
        work(&mut self.lock().log)
    }
}

/// A log that is taken for cleaning; given back when dropped.
struct Taken<'a> {
    cleaning: &'a Cleaning,
    hosted: Hosted,
    cleanable: Cleanable,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.cleaning.state().busy.remove(self.hosted.partition.id());
        self.hosted.partition.relocation.end_cleaning();
    }
}

impl Partitions {
    /// Cleans the log that needs it most. False where none does, and where the cleaner no longer `goes_on`.
    pub(crate) fn clean_filthiest(
        &self,
        cleaner: &mut Cleaner,
        cleaning: &Cleaning,
        now: TimestampMs,
        goes_on: &dyn Fn() -> bool,
    ) -> bool {
        if cleaning.is_stopping() || !goes_on() {
            return false;
        }
        let Some(taken) = self.take_filthiest(cleaning, now) else { return false };
        let (partition, directory) = (&taken.hosted.partition, taken.hosted.directory);
        let goes_on = || {
            let present = self.get(partition.id());
            let stays = present.is_some_and(|present| Arc::ptr_eq(&present, partition))
                && !self.directories[directory].is_offline()
                && !partition.relocation.is_moving();
            stays && goes_on()
        };
        let mut pace = |bytes| cleaning.pass(bytes, goes_on);
        match cleaner.clean(partition.as_ref(), &taken.cleanable, now, &mut pace) {
            Ok(Outcome::Cleaned(summary)) => {
                report(partition.id(), &summary);
                self.checkpoint_directory(directory, OffsetCheckpoint::Cleaner);
                true
            }
            Ok(Outcome::Interrupted) => {
                debug!(partition = %partition.id(), "cleaning interrupted");
                false
            }
            Err(error) => {
                self.give_up(&taken, cleaning, &error);
                false
            }
        }
    }

    fn take_filthiest<'a>(&self, cleaning: &'a Cleaning, now: TimestampMs) -> Option<Taken<'a>> {
        let mut state = cleaning.state();
        let mut filthiest: Option<(Hosted, Cleanable)> = None;
        for hosted in self.hosted_online() {
            let id = hosted.partition.id();
            let excluded = state.busy.contains(id) || state.uncleanable.contains(id);
            if excluded || hosted.partition.relocation.is_moving() {
                continue;
            }
            let (found, config) = hosted.partition.with(|log| (log.cleanable(now), log.config().clone()));
            let cleanable = match found {
                Ok(Some(cleanable)) if cleanable.is_due(&config) => cleanable,
                Ok(_) => continue,
                Err(error @ StorageError::Corrupt { .. }) => {
                    error!(partition = %id, %error, "this log cannot be cleaned; repair or delete what is damaged, then restart");
                    state.uncleanable.insert(id.clone());
                    continue;
                }
                Err(error) => {
                    self.report(hosted.directory, &error);
                    continue;
                }
            };
            let worse = |(_, known): &(Hosted, Cleanable)| cleanable.dirty_ratio() > known.dirty_ratio();
            if filthiest.as_ref().is_none_or(worse) {
                filthiest = Some((hosted, cleanable));
            }
        }
        let (hosted, cleanable) = filthiest?;
        if !hosted.partition.relocation.begin_cleaning() {
            return None;
        }
        state.busy.insert(hosted.partition.id().clone());
        drop(state);
        Some(Taken { cleaning, hosted, cleanable })
    }

    fn give_up(&self, taken: &Taken<'_>, cleaning: &Cleaning, error: &StorageError) {
        let id = taken.hosted.partition.id();
        if cleaning.is_stopping() {
            debug!(partition = %id, %error, "cleaning ended by the stop");
        } else if matches!(error, StorageError::Corrupt { .. }) {
            error!(partition = %id, %error, "this log cannot be cleaned; repair or delete what is damaged, then restart");
            cleaning.state().uncleanable.insert(id.clone());
        } else {
            self.report(taken.hosted.directory, error);
        }
    }
}

fn report(partition: &TopicPartition, summary: &Summary) {
    info!(
        %partition,
        upto = %summary.upto,
        read_bytes = summary.read_bytes,
        written_bytes = summary.written_bytes,
        records_read = summary.records_read,
        records_written = summary.records_written,
        map_utilization = summary.map_utilization,
        "log compacted"
    );
    if summary.records_without_key > 0 {
        tracing::warn!(%partition, records = summary.records_without_key, "records without a key were dropped from a compacted topic");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleaners_together_wait_for_what_is_beyond_their_rate() {
        let cleaning = Cleaning::default();
        cleaning.pace(500_000.0);
        std::thread::scope(|scope| {
            // One has read, another has written.
            for _ in 0..2 {
                scope.spawn(|| assert!(cleaning.pass(200_000, || true).is_continue()));
            }
        });
        // The rate is judged when it was counted for a while.
        let counted = Instant::now();
        while counted.elapsed() < Duration::from_millis(310) {
            std::thread::park_timeout(Duration::from_millis(10));
        }
        assert!(cleaning.pass(0, || true).is_continue());
        assert!(cleaning.started.elapsed() >= Duration::from_millis(800), "{:?}", cleaning.started.elapsed());

        assert!(cleaning.pass(0, || false).is_break(), "somebody else needs the log");
        cleaning.stop();
        assert!(cleaning.pass(0, || true).is_break());
    }
}
