//! Opening every log at the start: all directories at once, on all cores, with word of how far it is.
//!
//! A directory that fails goes out of service and the others go on. One whose logs are all open is vouched for, so that
//! a kill from then on costs little (`storage::directory`).

use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use storage::checkpoint::OffsetCheckpoint;
use storage::directory::{Folder, FolderKind, LastStop};
use storage::error::StorageError;
use storage::log::Log;
use storage::types::Offset;
use tracing::info;

use crate::partition::Partitions;
use crate::partition::registry::Inventory;

/// How often somebody at a terminal sees the line change.
const REDRAW: Duration = Duration::from_millis(250);

/// How often the log says how far it is.
const REPORT: Duration = Duration::from_secs(5);

/// One log to open.
struct Job<'a> {
    inventory: &'a Inventory,
    folder: &'a Folder,
    /// What is to be checked. Unit: bytes.
    bytes: AtomicU64,
}

impl Partitions {
    /// Opens the logs of all directories; yields the last failure of one.
    pub(super) fn load_all(&self, threads: usize) -> Option<StorageError> {
        let mut failure = None;
        let mut inventories = Vec::new();
        for index in 0..self.directories.len() {
            match self.take_inventory(index) {
                Ok(inventory) => inventories.push(inventory),
                Err(error) => {
                    self.directories.take_offline(index, &error);
                    failure = Some(error);
                }
            }
        }
        let mut jobs: Vec<Job<'_>> = inventories.iter().flat_map(jobs_of).collect();
        let threads = threads.clamp(1, jobs.len().max(1));
        each(threads, &jobs, |job| self.measure(job));
        // The largest first, so that no thread is left alone with it at the end.
        jobs.sort_by_key(|job| std::cmp::Reverse(job.bytes.load(Ordering::Relaxed)));
        for inventory in &inventories {
            tell_begin(self, inventory, &jobs);
        }
        let failures: Mutex<Vec<(usize, StorageError)>> = Mutex::default();
        let progress = Progress::of(&jobs);
        let (done, waiting) = channel::<()>();
        std::thread::scope(|scope| {
            let progress = &progress;
            scope.spawn(move || progress.tell(self, waiting));
            each(threads, &jobs, |job| {
                let directory = job.inventory.directory;
                let failed = || {
                    let failures = failures.lock().unwrap_or_else(PoisonError::into_inner);
                    failures.iter().any(|(index, _)| *index == directory)
                };
                if !failed()
                    && let Err(error) = self.load_log(job.inventory, job.folder)
                {
                    failures.lock().unwrap_or_else(PoisonError::into_inner).push((directory, error));
                }
                progress.logs_done.fetch_add(1, Ordering::Relaxed);
            });
            drop(done);
        });
        for (index, error) in failures.into_inner().unwrap_or_else(PoisonError::into_inner) {
            self.directories.take_offline(index, &error);
            failure = Some(error);
        }
        progress.finish(self);
        for state in self.directories.iter().filter(|state| !state.is_offline()) {
            state.directory.vouch();
        }
        failure
    }

    fn take_inventory(&self, index: usize) -> Result<Inventory, StorageError> {
        let directory = &self.directories[index].directory;
        let inventory = Inventory {
            directory: index,
            last_stop: directory.take_last_stop()?,
            folders: directory.folders()?,
            recovery_points: directory.offsets(OffsetCheckpoint::RecoveryPoints)?,
            log_starts: directory.offsets(OffsetCheckpoint::LogStarts)?,
            high_watermarks: directory.offsets(OffsetCheckpoint::HighWatermarks)?,
            cleaned: directory.offsets(OffsetCheckpoint::Cleaner)?,
        };
        self.condemn_leftovers(&inventory);
        Ok(inventory)
    }

    /// Only an estimate: what cannot be listed fails when it is opened.
    fn measure(&self, job: &Job<'_>) {
        if job.inventory.last_stop != LastStop::Unclean {
            return;
        }
        let point = job.inventory.recovery_points.get(&job.folder.partition).copied();
        let bytes = Log::unchecked_bytes(&self.store, &job.folder.path, point.unwrap_or(Offset::ZERO));
        job.bytes.store(bytes.unwrap_or(0), Ordering::Relaxed);
    }
}

fn jobs_of(inventory: &Inventory) -> impl Iterator<Item = Job<'_>> {
    let current = inventory
        .folders
        .iter()
        .filter(|folder| matches!(folder.kind, FolderKind::Current | FolderKind::Future));
    current.map(move |folder| Job { inventory, folder, bytes: AtomicU64::new(0) })
}

fn tell_begin(partitions: &Partitions, inventory: &Inventory, jobs: &[Job<'_>]) {
    let here = jobs.iter().filter(|job| job.inventory.directory == inventory.directory);
    let (logs, bytes) = here
        .fold((0_usize, 0_u64), |(logs, bytes), job| (logs + 1, bytes + job.bytes.load(Ordering::Relaxed)));
    let path = partitions.directories[inventory.directory].path().display();
    match inventory.last_stop {
        LastStop::Unclean if logs > 0 => info!(
            %path, logs, bytes,
            "no clean stop, and not a kill within this boot: checking all that may not have reached the disk"
        ),
        LastStop::Killed if logs > 0 => {
            info!(%path, logs, "the last broker here was killed: checking the ends of its logs");
        }
        LastStop::Unclean | LastStop::Killed | LastStop::Clean => {}
    }
}

/// Does `work` for each of `jobs`, several at a time, in their order.
fn each<T: Sync>(threads: usize, jobs: &[T], work: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    work(job);
                }
            });
        }
    });
}

/// How far the start is, for those who wait.
struct Progress {
    began: Instant,
    logs: usize,
    logs_done: AtomicUsize,
    /// To be checked. Unit: bytes.
    bytes: u64,
}

impl Progress {
    fn of(jobs: &[Job<'_>]) -> Progress {
        let bytes = jobs.iter().map(|job| job.bytes.load(Ordering::Relaxed)).sum();
        Progress { began: Instant::now(), logs: jobs.len(), logs_done: AtomicUsize::new(0), bytes }
    }

    /// Until all is done: a line that changes on a terminal, and now and then one in the log.
    fn tell(&self, partitions: &Partitions, done: Receiver<()>) {
        let terminal = std::io::stderr().is_terminal();
        let mut reported = self.began;
        while let Err(RecvTimeoutError::Timeout) = done.recv_timeout(REDRAW) {
            let line = self.line(partitions.store.checked());
            if terminal {
                // The cursor goes back, so that the next line of the log takes its place.
                let _ = write!(std::io::stderr(), "\r\x1b[K{line}\r");
            }
            if reported.elapsed() >= REPORT {
                reported = Instant::now();
                info!("{line}");
            }
        }
        if terminal {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }

    fn line(&self, checked: u64) -> String {
        let logs_done = self.logs_done.load(Ordering::Relaxed);
        let mut line = format!("opening logs: {logs_done} of {}", self.logs);
        let share = if self.bytes > 0 {
            let mib = |bytes: u64| bytes >> 20;
            line.push_str(&format!(", checked {} of {} MiB", mib(checked.min(self.bytes)), mib(self.bytes)));
            checked.min(self.bytes) as f64 / self.bytes as f64
        } else {
            logs_done as f64 / self.logs.max(1) as f64
        };
        if let Some(left) = time_left(self.began.elapsed(), share) {
            line.push_str(&format!(", about {} s left", left.as_secs().max(1)));
        }
        line
    }

    fn finish(&self, partitions: &Partitions) {
        let checked = partitions.store.checked();
        if self.logs > 0 {
            let ms = self.began.elapsed().as_millis();
            info!(logs = self.logs, checked_bytes = checked, "logs opened in {ms} ms");
        }
    }
}

/// `share` of the work took `elapsed`; `None` while there is too little to tell. Range of `share`: 0.0..=1.0.
fn time_left(elapsed: Duration, share: f64) -> Option<Duration> {
    let total = elapsed.as_secs_f64() / share;
    (share > 0.01).then(|| Duration::from_secs_f64(total)).map(|total| total.saturating_sub(elapsed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_is_told_once_there_is_something_to_go_by() {
        assert_eq!(time_left(Duration::from_secs(10), 0.0), None);
        assert_eq!(time_left(Duration::from_secs(10), 0.25), Some(Duration::from_secs(30)));
        assert_eq!(time_left(Duration::from_secs(10), 1.0), Some(Duration::ZERO));
    }
}
