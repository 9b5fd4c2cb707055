//! What time asks of the partitions: checkpoints, retention, flushing, removal of deleted files, and the clean stop.
//!
//! All of it blocks on the disk; `housekeeping` calls it from threads that may.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use storage::checkpoint::OffsetCheckpoint;
use storage::error::StorageError;
use storage::types::{Offset, TimestampMs, TopicPartition};
use tracing::{info, warn};

use crate::partition::parallel::{self, waiting_for_disk};
use crate::partition::{Partition, Partitions};

/// Broker epoch in the clean shutdown marker with ZooKeeper.
const NO_BROKER_EPOCH: i64 = -1;

impl Partitions {
    /// Writes one of the checkpoint files of every directory in service.
    pub(crate) fn checkpoint(&self, checkpoint: OffsetCheckpoint) {
        for index in (0..self.directories.len()).filter(|index| !self.directories[*index].is_offline()) {
            self.checkpoint_directory(index, checkpoint);
        }
    }

    /// Writes the high watermarks down where one has moved since the last time.
    pub(crate) fn checkpoint_high_watermarks(&self) {
        if self.directories.take_watermarks_moved() {
            self.checkpoint(OffsetCheckpoint::HighWatermarks);
        }
    }

    /// Deletes segments that are too old, too much, or below the log's start.
    pub(crate) fn expire_segments(&self, now: TimestampMs) {
        self.each(|partition| {
            let deleted = partition.lock().log.expire(now)?;
            if deleted > 0 {
                info!(partition = %partition.id(), segments = deleted, "segments deleted by retention");
            }
            Ok(())
        });
    }

    /// Removes files and folders whose `file.delete.delay.ms` has passed.
    pub(crate) fn remove_condemned(&self, now: TimestampMs) {
        let due: Vec<_> = {
            let mut condemned = self.condemned.lock().unwrap_or_else(PoisonError::into_inner);
            let (due, later) = std::mem::take(&mut *condemned).into_iter().partition(|one| one.due <= now);
            *condemned = later;
            due
        };
        for one in due {
            if let Err(error) = self.directories[one.directory].directory.remove_folder(&one.folder) {
                self.report(one.directory, &error);
            }
        }
        self.each(|partition| {
            let mut inner = partition.lock();
            inner.log.pass_snapshot(now);
            inner.log.remove_due(now).map(drop)
        });
    }

    /// Flushes logs that hold unflushed records for longer than their `flush.ms`.
    pub(crate) fn flush_overdue(&self, now: TimestampMs) {
        self.each(|partition| {
            let flush = {
                let mut inner = partition.lock();
                let unflushed_ms = now.0.saturating_sub(inner.flushed_at.0);
                if unflushed_ms < inner.log.config().flush_ms {
                    return Ok(());
                }
                inner.flushed_at = now;
                inner.log.flush()
            };
            flush.run()
        });
    }

    /// Forgets idempotent producers that were silent for `producer.id.expiration.ms`.
    pub(crate) fn expire_producers(&self, now: TimestampMs) {
        for partition in self.all() {
            partition.lock().log.remove_expired_producers(now);
        }
    }

    /// Flushes and closes every log and leaves the marks of a clean stop. Appends are refused from here on.
    ///
    /// A directory of which something is still awaited has no clean stop: the next start checks it again.
    pub(crate) fn close(&self) {
        {
            let _roles = self.obey();
            self.closing.store(true, Ordering::Release);
        }
        for (index, state) in self.directories.iter().enumerate().filter(|(_, state)| !state.is_offline()) {
            let copies = self.close_moves(index);
            let logs = self.in_directory(index);
            let closed =
                parallel::map(waiting_for_disk(logs.len()), &logs, |partition| self.close_one(partition));
            let failed = copies + closed.iter().filter(|closed| !**closed).count();
            for checkpoint in [
                OffsetCheckpoint::RecoveryPoints,
                OffsetCheckpoint::LogStarts,
                OffsetCheckpoint::HighWatermarks,
                OffsetCheckpoint::Cleaner,
            ] {
                self.checkpoint_directory(index, checkpoint);
            }
            if self.awaited().is_any_in(index) {
                warn!(path = %state.path().display(), "stopped while logs were being checked; the next start goes on with it");
            } else if failed > 0 {
                warn!(path = %state.path().display(), logs = failed, "not a clean stop; the next start checks the logs");
            } else if let Err(error) = state.directory.write_clean_shutdown(NO_BROKER_EPOCH) {
                self.report(index, &error);
            }
        }
    }

    pub(super) fn checkpoint_directory(&self, index: usize, checkpoint: OffsetCheckpoint) {
        let look = || {
            let partitions = self.in_directory(index);
            let mut offsets: BTreeMap<TopicPartition, Offset> = partitions
                .iter()
                .filter_map(|partition| Some((partition.id().clone(), partition.checkpointed(checkpoint)?)))
                .collect();
            offsets.extend(self.checkpointed_futures(index, checkpoint));
            offsets.extend(self.awaited().checkpointed(index, checkpoint));
            offsets
        };
        match self.directories[index].checkpoint(checkpoint, look) {
            Ok(()) => self.directories[index].note_room(),
            Err(error) => {
                self.directories.note_watermark();
                self.report(index, &error);
            }
        }
    }

    fn close_one(&self, partition: &Partition) -> bool {
        let closed = partition.lock().log.close();
        if let Err(error) = &closed {
            warn!(partition = %partition.id(), %error, "log not closed cleanly");
        }
        closed.is_ok()
    }

    fn each(&self, work: impl Fn(&Partition) -> Result<(), StorageError>) {
        for (index, _) in self.directories.iter().enumerate().filter(|(_, state)| !state.is_offline()) {
            for partition in self.in_directory(index) {
                if let Err(error) = work(&partition) {
                    self.report(index, &error);
                    if self.directories[index].is_offline() {
                        break;
                    }
                }
            }
        }
    }
}

impl Partition {
    /// What this partition writes into a checkpoint file; `None`: it has no line there.
    fn checkpointed(self: &Arc<Self>, checkpoint: OffsetCheckpoint) -> Option<Offset> {
        let inner = self.lock();
        match checkpoint {
            OffsetCheckpoint::RecoveryPoints => Some(inner.log.recovery_point()),
            OffsetCheckpoint::HighWatermarks => Some(inner.log.high_watermark()),
            OffsetCheckpoint::LogStarts => {
                let start = inner.log.start();
                (start > inner.log.first_segment()).then_some(start)
            }
            OffsetCheckpoint::Cleaner => inner.log.cleaned(),
        }
    }
}
