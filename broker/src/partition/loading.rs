//! Opening every log at the start: all directories at once, on all cores, with word of how far it is.
//!
//! Logs that have nothing to be checked are opened before the broker serves anything, which takes as long as there are
//! partitions. The others, after a power cut or from a foreign broker, take as long as there are bytes: they are opened
//! while the broker serves, each is served as soon as it is ready, and what is `awaited` meanwhile answers like a partition
//! that has no leader here.
//! A directory that fails goes out of service and the others go on. One whose logs are all open is vouched for, so that
//! a kill from then on costs little (`storage::directory`).

use std::collections::{BTreeMap, VecDeque};
use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use storage::checkpoint::OffsetCheckpoint;
use storage::directory::{self, Folder, FolderKind, LastStop};
use storage::error::StorageError;
use storage::log::{Log, LogOptions};
use storage::types::{Offset, TopicPartition};
use tracing::{info, warn};

use crate::clock;
use crate::descriptors;
use crate::partition::hosting::Hosted;
use crate::partition::parallel::each;
use crate::partition::registry::Inventory;
use crate::partition::{Partition, Partitions, RoleChange};

/// How often somebody at a terminal sees the line change.
const REDRAW: Duration = Duration::from_millis(250);

/// When the log first says how far it is, and how often after.
const FIRST_REPORT: Duration = Duration::from_secs(1);
const REPORT: Duration = Duration::from_secs(5);

/// One log to open.
struct Job {
    inventory: Arc<Inventory>,
    folder: Folder,
    /// What is to be checked. Unit: bytes.
    bytes: AtomicU64,
}

impl Job {
    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The coordinators' logs first: without them whole groups stand still. Then the smallest.
    fn rank(&self) -> (bool, u64) {
        (!self.folder.partition.topic.starts_with("__"), self.bytes())
    }
}

/// Logs whose records have to be checked before they are served.
pub(crate) struct Backlog {
    jobs: Vec<Job>,
    threads: usize,
}

impl Backlog {
    /// How many logs.
    pub(crate) fn len(&self) -> usize {
        self.jobs.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }
}

impl Partitions {
    /// Opens all logs that have nothing to be checked; yields the others, and the last failure of a directory.
    pub(super) fn load(&self, threads: usize) -> (Backlog, Option<StorageError>) {
        let mut failure = None;
        let mut inventories = Vec::new();
        for index in 0..self.directories.len() {
            match self.take_inventory(index) {
                Ok(inventory) => inventories.push(Arc::new(inventory)),
                Err(error) => {
                    self.directories.take_offline(index, &error);
                    failure = Some(error);
                }
            }
        }
        let jobs: Vec<Job> = inventories.iter().flat_map(jobs_of).collect();
        descriptors::advise(jobs.len());
        self.awaited().begin(&inventories);
        for job in jobs.iter().filter(|job| job.folder.kind == FolderKind::Current) {
            self.awaited().expect(job.folder.partition.clone(), &job.inventory);
        }
        let threads = threads.max(1);
        each(threads, &jobs, |job| self.measure(job));
        for inventory in &inventories {
            tell_begin(self, inventory, &jobs);
        }
        let (quick, mut slow): (Vec<Job>, Vec<Job>) = jobs.into_iter().partition(|job| job.bytes() == 0);
        let opened = self.open_all(&quick, threads, &|_| ());
        slow.sort_by_key(Job::rank);
        (Backlog { jobs: slow, threads }, opened.or(failure))
    }

    /// Opens the rest, while the broker serves what is open: each as soon as it is ready, with the role that the controller
    /// gave it meanwhile, which `role_taken` hears of. Ends early where the broker stops.
    pub(crate) fn work_off(&self, backlog: &Backlog, role_taken: &(dyn Fn(RoleChange) + Sync)) {
        self.open_all(&backlog.jobs, backlog.threads, role_taken);
        self.resume_moves();
    }

    /// Partitions in a directory that are wanted and still being checked, with what their records take on the disk. Unit:
    /// bytes.
    pub(crate) fn lying_in(
        &self,
        index: usize,
        wanted: &dyn Fn(&TopicPartition) -> bool,
    ) -> Vec<(TopicPartition, u64)> {
        let mut ids = self.awaited().lying_in(index);
        ids.retain(wanted);
        let sized = ids.into_iter().map(|id| {
            let folder = self.directories[index].path().join(directory::partition_name(&id));
            // Where it cannot be listed, whoever checks it will say so.
            let size = Log::unchecked_bytes(&self.store, &folder, Offset::ZERO).unwrap_or(0);
            (id, size)
        });
        sized.collect()
    }

    /// Yields the last failure of a directory.
    fn open_all(
        &self,
        jobs: &[Job],
        threads: usize,
        role_taken: &(dyn Fn(RoleChange) + Sync),
    ) -> Option<StorageError> {
        let failure = Mutex::new(None);
        let progress = Progress::of(jobs, self.store.checked());
        let queue = Mutex::new(jobs.iter().collect::<VecDeque<_>>());
        let (done, waiting) = channel::<()>();
        std::thread::scope(|scope| {
            let (progress, queue, failure) = (&progress, &queue, &failure);
            scope.spawn(move || progress.tell(self, waiting));
            for thread in 0..threads.min(jobs.len()) {
                let done = done.clone();
                scope.spawn(move || {
                    let next = || {
                        let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
                        // One thread begins with the largest, so that it is not left alone with it at the end.
                        if thread == 1 { queue.pop_back() } else { queue.pop_front() }
                    };
                    while let Some(job) = next().filter(|_| !self.is_closing()) {
                        if let Err(error) = self.open_one(job, role_taken) {
                            *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                        }
                        progress.logs_done.fetch_add(1, Ordering::Relaxed);
                    }
                    drop(done);
                });
            }
            drop(done);
        });
        progress.finish(self);
        self.awaited().shrink();
        for (index, state) in self.directories.iter().enumerate().filter(|(_, state)| !state.is_offline()) {
            if !self.awaited().is_any_in(index) && !self.is_closing() {
                state.directory.vouch();
            }
        }
        failure.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// A failure takes the directory out of service, with all that is still to come from it.
    fn open_one(&self, job: &Job, role_taken: &(dyn Fn(RoleChange) + Sync)) -> Result<(), StorageError> {
        let index = job.inventory.directory;
        if self.directories[index].is_offline() {
            return Ok(());
        }
        let is_condemned = || self.awaited().is_condemned(&job.folder.path);
        if is_condemned() {
            self.pass_over(&job.folder, index).into_iter().for_each(role_taken);
            return Ok(());
        }
        let opened = self.open_log(&job.inventory, &job.folder).and_then(|hosted| match hosted {
            Some(hosted) => self.arrive(&job.folder, hosted),
            None => Ok(None),
        });
        match opened {
            Err(_) if is_condemned() => {
                self.pass_over(&job.folder, index).into_iter().for_each(role_taken);
                Ok(())
            }
            Ok(change) => {
                change.into_iter().for_each(role_taken);
                Ok(())
            }
            Err(error) => {
                self.directories.take_offline(index, &error);
                self.give_up_awaited(index).into_iter().for_each(role_taken);
                Err(error)
            }
        }
    }

    /// `None` where it is the copy of a replica on its way.
    fn open_log(&self, inventory: &Inventory, folder: &Folder) -> Result<Option<Hosted>, StorageError> {
        let id = &folder.partition;
        let offset_of =
            |offsets: &BTreeMap<TopicPartition, Offset>| offsets.get(id).copied().unwrap_or(Offset::ZERO);
        let config = self.configs.of(&id.topic);
        let mut log = Log::reopen(
            &self.store,
            LogOptions {
                folder: folder.path.clone(),
                partition: id.clone(),
                config: Arc::clone(&config.log),
                recovery_point: offset_of(&inventory.recovery_points),
                log_start: inventory.log_start_of(id),
                last_stop: inventory.last_stop,
                topic_id: None,
                producers: self.producer_settings(),
                now: clock::wall(),
            },
        )?;
        if folder.kind == FolderKind::Future {
            log.set_high_watermark(offset_of(&inventory.high_watermarks));
            let _roles = self.obey();
            if self.awaited().is_condemned(&folder.path) {
                return Ok(None);
            }
            if let Some((directory, spare)) = self.moves.found(id.clone(), inventory.directory, log) {
                warn!(partition = %id, "found two copies that were to replace it; one of them goes");
                self.discard(directory, spare);
            }
            return Ok(None);
        }
        log.set_cleaned(inventory.cleaned.get(id).copied());
        let partition = Partition::new(
            Arc::clone(&self.around),
            Arc::clone(&self.directories),
            config,
            log,
            offset_of(&inventory.high_watermarks),
        );
        Ok(Some(Hosted { partition: Arc::new(partition), directory: inventory.directory }))
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
    fn measure(&self, job: &Job) {
        if job.inventory.last_stop != LastStop::Unclean {
            return;
        }
        let point = job.inventory.recovery_points.get(&job.folder.partition).copied();
        let bytes = Log::unchecked_bytes(&self.store, &job.folder.path, point.unwrap_or(Offset::ZERO));
        job.bytes.store(bytes.unwrap_or(0), Ordering::Relaxed);
    }
}

fn jobs_of(inventory: &Arc<Inventory>) -> impl Iterator<Item = Job> {
    let current = inventory
        .folders
        .iter()
        .filter(|folder| matches!(folder.kind, FolderKind::Current | FolderKind::Future));
    current.map(move |folder| Job {
        inventory: Arc::clone(inventory),
        folder: folder.clone(),
        bytes: AtomicU64::new(0),
    })
}

fn tell_begin(partitions: &Partitions, inventory: &Inventory, jobs: &[Job]) {
    let here = jobs.iter().filter(|job| job.inventory.directory == inventory.directory);
    let (logs, bytes) = here.fold((0_usize, 0_u64), |(logs, bytes), job| (logs + 1, bytes + job.bytes()));
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

/// How far the start is, for those who wait.
struct Progress {
    began: Instant,
    logs: usize,
    logs_done: AtomicUsize,
    /// To be checked. Unit: bytes.
    bytes: u64,
    /// Checked before, by whoever opened logs. Unit: bytes.
    before: u64,
}

impl Progress {
    fn of(jobs: &[Job], before: u64) -> Progress {
        let bytes = jobs.iter().map(Job::bytes).sum();
        Progress { began: Instant::now(), logs: jobs.len(), logs_done: AtomicUsize::new(0), bytes, before }
    }

    /// Until all is done: a line that changes on a terminal, and now and then one in the log.
    fn tell(&self, partitions: &Partitions, done: Receiver<()>) {
        let terminal = std::io::stderr().is_terminal();
        let mut due = FIRST_REPORT;
        while let Err(RecvTimeoutError::Timeout) = done.recv_timeout(REDRAW) {
            let line = self.line(partitions.store.checked().saturating_sub(self.before));
            if terminal {
                // The cursor goes back, so that the next line of the log takes its place.
                let _ = write!(std::io::stderr(), "\r\x1b[K{line}\r");
            }
            let elapsed = self.began.elapsed();
            if elapsed >= due {
                due = elapsed + REPORT;
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
        let checked = partitions.store.checked().saturating_sub(self.before);
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
mod flipped_bits;

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
