//! What makes the tree survive: a log of changes, and snapshots so that the log need not be kept for ever.
//!
//! A change is durable once [`Journal::commit`] has returned. Files of the data directory: `log.ZXID` (named after its first
//! change), `snapshot.ZXID` (after its last); both own formats with a version. Knows no session, request or socket.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use coordinator::znodes::{Txn, ZnodeTree, Zxid, encode_txn};
use storage::disk::{self, Disk, DiskFile, Lock, Open};

use super::counters::Durations;
use super::recovery::{self, LOG_MAGIC, Recovered, SNAPSHOT_MAGIC};

/// Snapshots kept, so that a damaged one has a predecessor.
const SNAPSHOTS_KEPT: usize = 3;

/// Pause before a snapshot that could not be begun is tried again.
const SNAPSHOT_RETRY: Duration = Duration::from_secs(60);

/// When a snapshot is due, whichever comes first.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SnapshotPolicy {
    /// Changes since the last one. Default: 100_000, ZooKeeper's `snapCount`.
    pub(crate) changes: u64,
    /// Log bytes since the last one. Default: 64 MiB.
    pub(crate) log_bytes: u64,
}

impl Default for SnapshotPolicy {
    fn default() -> Self {
        SnapshotPolicy { changes: 100_000, log_bytes: 64 << 20 }
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum JournalError {
    #[error("{what} {path}: {source}")]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    #[error("{0} is in use by another process")]
    InUse(PathBuf),
    #[error("{path} is damaged at byte {position} and changes after it would be lost; restore it or move {directory} away to start empty", directory = .path.parent().unwrap_or(.path).display())]
    Damaged { path: PathBuf, position: u64 },
    #[error(
        "{0} was written by another version of this broker; start that one and stop it with SIGTERM, then remove the file: the \
         snapshot beside it has everything"
    )]
    OtherVersion(PathBuf),
    #[error("{0} has no valid snapshot, and its logs do not reach back to the first change")]
    NoSnapshot(PathBuf),
}

impl JournalError {
    /// Whether it passes once somebody frees space.
    pub(super) fn is_out_of_space(&self) -> bool {
        let JournalError::Io { source, .. } = self else { return false };
        matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}

/// The open end of the log.
///
/// After an `Err` what of the last batch is on disk is unknown. Where it was for want of space the batch can be committed
/// again, which writes all of it anew; after any other the journal must not be used further.
#[derive(Debug)]
pub(crate) struct Journal {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    policy: SnapshotPolicy,
    log: Arc<dyn DiskFile>,
    log_path: PathBuf,
    /// Where the next record goes. Unit: bytes.
    log_end: u64,
    /// Encoded, not yet written.
    pending: Vec<u8>,
    changes_since_snapshot: u64,
    snapshot_in_progress: Option<JoinHandle<Result<Duration, JournalError>>>,
    snapshot_not_before: Option<Instant>,
    /// Syncs of the log, and the snapshots taken.
    pub(super) syncs: Durations,
    pub(super) snapshots: Durations,
    _lock: Box<dyn Lock>,
}

impl Journal {
    /// Opens the directory, creating it where missing, and brings back the tree as of the last whole change.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        directory: &Path,
        policy: SnapshotPolicy,
    ) -> Result<(Journal, ZnodeTree), JournalError> {
        disk.create_directories(directory).map_err(io_error("cannot create", directory))?;
        let lock_path = directory.join(".lock");
        let lock = disk.lock(&lock_path).map_err(io_error("cannot lock", &lock_path))?;
        let lock = lock.ok_or_else(|| JournalError::InUse(directory.to_owned()))?;
        let Recovered { tree, open_log, replayed } = recovery::recover(disk.as_ref(), directory)?;
        let (log, log_path, log_end) = match open_log {
            Some((path, end)) => {
                let log = disk.open(&path, Open::Write).map_err(io_error("cannot open", &path))?;
                log.set_len(end).and_then(|()| log.sync()).map_err(io_error("cannot cut", &path))?;
                (log, path, end)
            }
            None => start_log(disk.as_ref(), directory, tree.zxid().next())?,
        };
        let journal = Journal {
            disk,
            directory: directory.to_owned(),
            policy,
            log,
            log_path,
            log_end,
            pending: Vec::new(),
            changes_since_snapshot: replayed,
            snapshot_in_progress: None,
            snapshot_not_before: None,
            syncs: Durations::default(),
            snapshots: Durations::default(),
            _lock: lock,
        };
        Ok((journal, tree))
    }

    /// Adds a change to the batch that the next [`Journal::commit`] makes durable.
    pub(crate) fn append(&mut self, txn: &Txn) {
        let start = self.pending.len();
        self.pending.extend_from_slice(&[0; recovery::RECORD_HEADER]);
        encode_txn(txn, &mut self.pending);
        recovery::seal_record(&mut self.pending, start);
        self.changes_since_snapshot += 1;
    }

    pub(crate) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Writes and syncs the batch, one sync for all of it.
    pub(crate) fn commit(&mut self) -> Result<(), JournalError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let log = self.log.as_ref();
        let failed = io_error("cannot write", &self.log_path);
        if let Err(error) = disk::write_all(log, &mut [IoSlice::new(&self.pending)], self.log_end) {
            return Err(failed(error));
        }
        let began = Instant::now();
        log.sync().map_err(failed)?;
        self.syncs.add(began.elapsed());
        self.log_end += self.pending.len() as u64;
        self.pending.clear();
        // One large batch must not pin its memory for ever.
        self.pending.shrink_to(1 << 20);
        Ok(())
    }

    /// Takes a snapshot if one is due and none is under way. The tree is encoded here, written on a thread of its own.
    ///
    /// Call with nothing pending: the snapshot must not know more than the log. That none can be taken is told and tried
    /// again later: the log has everything.
    pub(crate) fn snapshot_if_due(&mut self, tree: &ZnodeTree) {
        let due = self.changes_since_snapshot >= self.policy.changes || self.log_end >= self.policy.log_bytes;
        if !due || self.snapshot_in_progress.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return;
        }
        if self.snapshot_not_before.is_some_and(|moment| Instant::now() < moment) {
            return;
        }
        self.snapshot_not_before = None;
        self.finish_snapshot();
        if let Err(error) = self.begin_snapshot(tree) {
            tracing::warn!(%error, "no snapshot of the znode tree; free space or check the disk");
            self.snapshot_not_before = Some(Instant::now() + SNAPSHOT_RETRY);
        }
    }

    fn begin_snapshot(&mut self, tree: &ZnodeTree) -> Result<(), JournalError> {
        assert!(!self.has_pending(), "a snapshot never runs ahead of the log");
        (self.log, self.log_path, self.log_end) =
            start_log(self.disk.as_ref(), &self.directory, tree.zxid().next())?;
        self.changes_since_snapshot = 0;
        let snapshot = sealed_snapshot(tree);
        let (disk, directory, zxid) = (Arc::clone(&self.disk), self.directory.clone(), tree.zxid());
        let write = move || {
            let began = Instant::now();
            write_snapshot(disk.as_ref(), &directory, zxid, &snapshot).map(|()| began.elapsed())
        };
        let thread = std::thread::Builder::new().name("zookeeper-snapshot".into()).spawn(write);
        self.snapshot_in_progress =
            Some(thread.map_err(io_error("cannot start a thread for", &self.directory))?);
        Ok(())
    }

    /// Writes what is pending, and a last snapshot if anything changed since the one before.
    pub(crate) fn close(mut self, tree: &ZnodeTree) -> Result<(), JournalError> {
        self.commit()?;
        self.finish_snapshot();
        if self.changes_since_snapshot > 0 {
            write_snapshot(self.disk.as_ref(), &self.directory, tree.zxid(), &sealed_snapshot(tree))?;
        }
        Ok(())
    }

    /// Waits for the snapshot under way. That one could not be written is no reason to stop: the log has everything.
    fn finish_snapshot(&mut self) {
        let Some(thread) = self.snapshot_in_progress.take() else { return };
        match thread.join() {
            Ok(Ok(took)) => self.snapshots.add(took),
            Ok(Err(error)) => {
                tracing::warn!(%error, "no snapshot of the znode tree; free space or check the disk")
            }
            Err(_) => tracing::warn!("the snapshot of the znode tree failed; the log is kept"),
        }
    }

    /// Logs and snapshots. Unit: bytes.
    pub(crate) fn sizes(&self) -> (u64, u64) {
        let (mut logs, mut snapshots) = (0, 0);
        for entry in self.disk.list(&self.directory, &|_| true).unwrap_or_default() {
            if entry.name.starts_with(recovery::LOG_PREFIX) {
                logs += entry.size;
            } else if entry.name.starts_with(recovery::SNAPSHOT_PREFIX) {
                snapshots += entry.size;
            }
        }
        (logs, snapshots)
    }
}

pub(super) fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> JournalError {
    let path = path.to_owned();
    move |source| JournalError::Io { what, path, source }
}

/// A new log whose name is durable before anything is written to it.
fn start_log(
    disk: &dyn Disk,
    directory: &Path,
    first: Zxid,
) -> Result<(Arc<dyn DiskFile>, PathBuf, u64), JournalError> {
    let path = directory.join(format!("{}{:016x}", recovery::LOG_PREFIX, first.0));
    let log = disk.open(&path, Open::Replace).map_err(io_error("cannot create", &path))?;
    let begun = disk::write_all(log.as_ref(), &mut [IoSlice::new(LOG_MAGIC)], 0)
        .and_then(|()| log.sync())
        .and_then(|()| disk.sync_directory(directory));
    if let Err(error) = begun {
        // One that stays without its header says nothing, and is not mistaken for another.
        let _ = disk.remove(&path);
        return Err(io_error("cannot create", &path)(error));
    }
    Ok((log, path, LOG_MAGIC.len() as u64))
}

fn sealed_snapshot(tree: &ZnodeTree) -> Vec<u8> {
    let mut snapshot = SNAPSHOT_MAGIC.to_vec();
    tree.encode(&mut snapshot);
    let checksum = crc32c::crc32c(&snapshot);
    snapshot.extend_from_slice(&checksum.to_be_bytes());
    snapshot
}

fn write_snapshot(disk: &dyn Disk, directory: &Path, zxid: Zxid, content: &[u8]) -> Result<(), JournalError> {
    let path = directory.join(format!("{}{:016x}", recovery::SNAPSHOT_PREFIX, zxid.0));
    disk::replace_file(disk, &path, content).map_err(io_error("cannot write", &path))?;
    purge(disk, directory)
}

/// Removes snapshots beyond the newest [`SNAPSHOTS_KEPT`], and logs that end before the oldest kept one.
fn purge(disk: &dyn Disk, directory: &Path) -> Result<(), JournalError> {
    let files = recovery::Files::list(disk, directory)?;
    let mut snapshots = files.snapshots.iter().rev();
    let oldest_kept = snapshots.by_ref().take(SNAPSHOTS_KEPT).last();
    for (_, path) in snapshots {
        disk.remove(path).map_err(io_error("cannot remove", path))?;
    }
    let Some((oldest_kept, _)) = oldest_kept else { return Ok(()) };
    for pair in files.logs.windows(2) {
        let [(_, path), (next_first, _)] = pair else { continue };
        // The log ends right before the next one begins.
        if next_first.0 <= oldest_kept.next().0 {
            disk.remove(path).map_err(io_error("cannot remove", path))?;
        }
    }
    Ok(())
}
