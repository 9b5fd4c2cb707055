//! The log directories of this broker, in service or not, and what becomes of one whose disk fails.
//!
//! Whoever meets a failure reports it here, from whatever thread; `failures` acts on it. A full disk is no failure: it
//! costs the one request, and passes.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use storage::checkpoint::OffsetCheckpoint;
use storage::directory::LogDirectory;
use storage::error::StorageError;
use storage::types::{Offset, TopicPartition};
use tokio::sync::watch;
use tracing::{error, info, warn};

/// Damaged places that are remembered, so that each is told once however often it is asked for.
const DAMAGES_MAX: usize = 1000;

/// A log directory in use, or out of service after a failure of its disk.
pub(crate) struct DirectoryState {
    pub(crate) directory: LogDirectory,
    offline: AtomicBool,
    /// The last that was heard of it is that there is no room.
    full: AtomicBool,
    /// File and position of damage that was told of.
    damaged: Mutex<BTreeSet<(PathBuf, u64)>>,
    /// Counts the looks at the logs that checkpoints are written from.
    looks: AtomicU64,
    /// Of each checkpoint file, the look that it was written from. Held while it is written; no other lock is taken then.
    written: [Mutex<u64>; OffsetCheckpoint::ALL.len()],
}

impl DirectoryState {
    pub(crate) fn is_offline(&self) -> bool {
        self.offline.load(Ordering::Acquire)
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// False where this damage was told of already.
    fn is_news(&self, path: &Path, position: u64) -> bool {
        let mut damaged = self.damaged.lock().unwrap_or_else(PoisonError::into_inner);
        if damaged.len() >= DAMAGES_MAX {
            damaged.clear();
        }
        damaged.insert((path.to_path_buf(), position))
    }

    /// Replaces a checkpoint file by what `look` finds in the logs: one writer after another, and never by what was found
    /// earlier than what is there.
    pub(super) fn checkpoint(
        &self,
        checkpoint: OffsetCheckpoint,
        look: impl FnOnce() -> BTreeMap<TopicPartition, Offset>,
    ) -> Result<(), StorageError> {
        let number = self.looks.fetch_add(1, Ordering::AcqRel) + 1;
        let offsets = look();
        let mut written = self.written[checkpoint as usize].lock().unwrap_or_else(PoisonError::into_inner);
        if *written > number {
            return Ok(());
        }
        self.directory.write_offsets(checkpoint, &offsets)?;
        *written = number;
        Ok(())
    }

    /// Something was written: where there was no room, there is again.
    pub(super) fn note_room(&self) {
        if self.full.swap(false, Ordering::AcqRel) {
            info!(path = %self.path().display(), "the disk has room again");
        }
    }
}

/// All of them, by index.
pub(crate) struct Directories {
    all: Vec<DirectoryState>,
    /// Directories of `log.dirs` that could not even be opened at the start.
    left_out: Vec<PathBuf>,
    /// How many of `all` are offline.
    failed: watch::Sender<usize>,
    /// Some high watermark is another than in the checkpoint files, or a partition came or went.
    watermarks_moved: AtomicBool,
}

impl Deref for Directories {
    type Target = [DirectoryState];

    fn deref(&self) -> &[DirectoryState] {
        &self.all
    }
}

impl Directories {
    pub(crate) fn new(opened: Vec<LogDirectory>, left_out: Vec<PathBuf>) -> Directories {
        let state = |directory| DirectoryState {
            directory,
            offline: AtomicBool::new(false),
            full: AtomicBool::new(false),
            damaged: Mutex::default(),
            looks: AtomicU64::new(0),
            written: Default::default(),
        };
        let watermarks_moved = AtomicBool::new(true);
        let all = opened.into_iter().map(state).collect();
        Directories { all, left_out, failed: watch::Sender::new(0), watermarks_moved }
    }

    pub(super) fn note_watermark(&self) {
        // A look costs less than a write where many do it.
        if !self.watermarks_moved.load(Ordering::Relaxed) {
            self.watermarks_moved.store(true, Ordering::Release);
        }
    }

    /// Whether the checkpoints of high watermarks are behind; from here on they are not.
    pub(super) fn take_watermarks_moved(&self) -> bool {
        self.watermarks_moved.swap(false, Ordering::AcqRel)
    }

    /// Some partition of this broker may lie where it cannot be looked for now.
    pub(super) fn is_any_missing(&self) -> bool {
        !self.left_out.is_empty() || self.iter().any(DirectoryState::is_offline)
    }

    /// Directories that are configured and were not in service since the start.
    pub(crate) fn left_out(&self) -> &[PathBuf] {
        &self.left_out
    }

    /// How many are offline, now and later.
    pub(crate) fn failed(&self) -> watch::Receiver<usize> {
        self.failed.subscribe()
    }

    /// A failure of the disk takes the directory out of service; a full disk is an error of one request.
    pub(super) fn report(&self, index: usize, error: &StorageError) {
        let Some(state) = self.get(index) else { return };
        if error.is_disk_failure() {
            self.take_offline(index, error);
        } else if error.is_out_of_space() {
            if !state.full.swap(true, Ordering::AcqRel) {
                warn!(path = %state.path().display(), %error, "the disk is full: appends are refused until there is room, all else goes on");
            }
        } else if let StorageError::Corrupt { path, position, .. } = error {
            if state.is_news(path, *position) {
                error!(%error, "what is damaged on the disk is not served; take the partition from another replica (stop this broker, remove the partition's folder, start it again), or have consumers seek behind it");
            }
        } else {
            warn!(path = %state.path().display(), %error, "failed, its log directory stays in service");
        }
    }

    /// The same about a log in `folder`.
    pub(super) fn report_log(&self, folder: &Path, error: &StorageError) {
        if let Some(index) = self.iter().position(|state| folder.parent() == Some(state.path())) {
            self.report(index, error);
        }
    }

    pub(super) fn take_offline(&self, index: usize, error: &StorageError) {
        let Some(state) = self.get(index) else { return };
        if !state.offline.swap(true, Ordering::AcqRel) {
            error!(path = %state.path().display(), %error, "log directory taken out of service; repair the disk and restart the broker");
            state.directory.distrust();
            self.failed.send_modify(|failed| *failed += 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use storage::disk::OsDisk;

    use super::*;

    fn directories() -> (tempfile::TempDir, Directories) {
        let folder = tempfile::tempdir().expect("a folder");
        let directory = LogDirectory::open(Arc::new(OsDisk), folder.path()).expect("opened");
        (folder, Directories::new(vec![directory], Vec::new()))
    }

    fn found(offset: i64) -> BTreeMap<TopicPartition, Offset> {
        BTreeMap::from([(TopicPartition::new("t", 0), Offset(offset))])
    }

    #[test]
    fn what_was_found_earlier_does_not_replace_what_was_found_later() {
        let (_folder, directories) = directories();
        let kind = OffsetCheckpoint::HighWatermarks;
        let slow_look = || {
            directories[0].checkpoint(kind, || found(2)).expect("written meanwhile");
            found(1)
        };

        directories[0].checkpoint(kind, slow_look).expect("left out");

        assert_eq!(directories[0].directory.offsets(kind).expect("read"), found(2));
        directories[0].checkpoint(kind, || found(3)).expect("written");
        assert_eq!(directories[0].directory.offsets(kind).expect("read"), found(3));
    }

    #[test]
    fn any_number_may_write_a_checkpoint_at_a_time() {
        let (_folder, directories) = directories();
        let kind = OffsetCheckpoint::RecoveryPoints;
        thread::scope(|scope| {
            for writer in 0..4 {
                let state = &directories[0];
                scope.spawn(move || {
                    for round in 0..25 {
                        let offsets = || found(100 * writer + round);
                        state.checkpoint(kind, offsets).expect("nobody takes the file away");
                    }
                });
            }
        });
        let left = directories[0].directory.offsets(kind).expect("a whole file");
        assert_eq!(left.len(), 1);
    }
}
