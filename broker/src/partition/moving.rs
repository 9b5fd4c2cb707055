//! Replicas on their way from one log directory to another (KIP-113).
//!
//! The copy lies in a `-future` folder and is filled from the log it is to replace, while that is written. It takes over
//! when it has everything, under the partition's lock: the future folder gets the partition's name first and the old
//! one is marked for deletion after, as Kafka does, so that a crash leaves one of them or two alike, never none.
//! A move that was interrupted goes on at the next start. While it is under way the partition is not compacted.

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kafka_protocol::error::ResponseError;
use storage::checkpoint::OffsetCheckpoint;
use storage::directory;
use storage::error::{AppendError, ReadError, StorageError};
use storage::log::{Log, LogReader};
use storage::types::{Offset, TopicPartition};
use tokio::sync::Notify;
use tracing::{error, info, warn};
use uuid::Uuid;

use crate::errors::WireError;
use crate::partition::copying::{
    Copied, STEP_BYTES, StepError, copy, copy_rest, has_all_of, history_differs,
};
use crate::partition::hosting::Hosted;
use crate::partition::{Partition, Partitions};

/// A move may end when no more than this is missing: it is copied under the partition's lock. Unit: bytes.
const REST_BYTES: usize = 64 << 10;

/// Longest name of a folder. Unit: bytes.
const NAME_MAX: usize = 255;

/// Keeps compaction and the end of a move apart.
#[derive(Default)]
pub(super) struct Relocation {
    moving: AtomicBool,
    cleaning: AtomicBool,
}

impl Relocation {
    /// False while a move is under way. Given back with [`Relocation::end_cleaning`].
    pub(super) fn begin_cleaning(&self) -> bool {
        self.cleaning.store(true, Ordering::SeqCst);
        let free = !self.moving.load(Ordering::SeqCst);
        if !free {
            self.end_cleaning();
        }
        free
    }

    pub(super) fn end_cleaning(&self) {
        self.cleaning.store(false, Ordering::SeqCst);
    }

    pub(super) fn is_moving(&self) -> bool {
        self.moving.load(Ordering::SeqCst)
    }

    fn is_cleaned_now(&self) -> bool {
        self.cleaning.load(Ordering::SeqCst)
    }
}

/// One replica under way.
struct Move {
    partition: Arc<Partition>,
    /// Index of the directory it goes to.
    to: usize,
    /// Sees the copy without waiting for the step at work.
    reader: LogReader,
    /// Held for one step. `None` once it has taken over or was given up.
    log: Mutex<Option<Log>>,
}

#[derive(Default)]
struct State {
    under_way: HashMap<TopicPartition, Arc<Move>>,
    /// Waiting for somebody to take the next step.
    queue: VecDeque<TopicPartition>,
    /// Where replicas that are still to come shall lie.
    preferred: HashMap<TopicPartition, usize>,
    /// Copies found at the start whose partition is not here (yet).
    found: HashMap<TopicPartition, (usize, Log)>,
    closed: bool,
}

/// All moves of this broker.
#[derive(Default)]
pub(crate) struct Moves {
    /// Held for a look-up or a change, never across a log operation.
    state: Mutex<State>,
    news: Notify,
}

/// What came of one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// So many bytes were copied; there is more to do.
    Copied(usize),
    /// Nothing can be done right now.
    Wait,
    /// Over: it has taken over, was given up, or cannot go on before the next start.
    Done,
}

/// A copy as `DescribeLogDirs` tells of it.
pub(crate) struct FutureReplica {
    pub(crate) id: TopicPartition,
    /// Unit: bytes.
    pub(crate) size: u64,
    /// Records that it is behind.
    pub(crate) lag: i64,
}

impl Moves {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next partition that wants a step.
    pub(crate) async fn next(&self) -> TopicPartition {
        loop {
            let news = self.news.notified();
            if let Some(id) = self.state().queue.pop_front() {
                return id;
            }
            news.await;
        }
    }

    /// Puts a partition back in line, if its move is still under way.
    pub(crate) fn again(&self, id: TopicPartition) {
        let mut state = self.state();
        if state.under_way.contains_key(&id) && !state.queue.contains(&id) {
            state.queue.push_back(id);
            drop(state);
            self.news.notify_one();
        }
    }

    /// Where a replica that is still to come shall lie; asked once.
    pub(super) fn take_preferred(&self, id: &TopicPartition) -> Option<usize> {
        self.state().preferred.remove(id)
    }

    /// A `-future` folder was found at the start. Yields one that is too many.
    pub(super) fn found(&self, id: TopicPartition, directory: usize, log: Log) -> Option<(usize, Log)> {
        self.state().found.insert(id, (directory, log))
    }

    fn begin(&self, partition: &Arc<Partition>, to: usize, log: Log) {
        partition.relocation.moving.store(true, Ordering::SeqCst);
        let reader = log.reader();
        let moving = Move { partition: Arc::clone(partition), to, reader, log: Mutex::new(Some(log)) };
        let id = partition.id().clone();
        self.state().under_way.insert(id.clone(), Arc::new(moving));
        self.again(id);
    }

    fn get(&self, id: &TopicPartition) -> Option<Arc<Move>> {
        self.state().under_way.get(id).cloned()
    }

    fn end(&self, moving: &Move) {
        let mut state = self.state();
        state.under_way.remove(moving.partition.id());
        state.queue.retain(|id| id != moving.partition.id());
        moving.partition.relocation.moving.store(false, Ordering::SeqCst);
    }

    fn all(&self) -> Vec<Arc<Move>> {
        self.state().under_way.values().cloned().collect()
    }

    /// How many copies lie in each directory, for the placement of new replicas.
    pub(super) fn count_in(&self, directory: usize) -> usize {
        self.state().under_way.values().filter(|moving| moving.to == directory).count()
    }
}

impl Partitions {
    pub(crate) fn moves(&self) -> &Moves {
        &self.moves
    }

    /// AlterReplicaLogDirs of one partition: it is moved to the directory at `path`, or made there when it comes.
    pub(crate) fn alter_directory(&self, id: &TopicPartition, path: &str) -> Result<(), ResponseError> {
        let _roles = self.obey();
        if directory::future_name(id, u128::MAX).len() > NAME_MAX {
            return Err(ResponseError::InvalidTopicException);
        }
        if self.directories.left_out().iter().any(|left_out| is_at(left_out, path)) {
            return Err(ResponseError::KafkaStorageError);
        }
        let to = self.directory_at(path).ok_or(ResponseError::LogDirNotFound)?;
        if self.directories[to].is_offline() {
            return Err(ResponseError::KafkaStorageError);
        }
        let Some(hosted) = self.hosted(id) else {
            if self.awaited().contains(id) {
                return Err(ResponseError::ReplicaNotAvailable);
            }
            let cluster = self.around.metadata.snapshot();
            let known = cluster.partition(&id.topic, id.partition);
            if known.is_some_and(|known| known.offline_replicas.contains(&self.around.me)) {
                return Err(ResponseError::KafkaStorageError);
            }
            self.moves.state().preferred.insert(id.clone(), to);
            return Err(match known {
                Some(_) => ResponseError::ReplicaNotAvailable,
                None => ResponseError::UnknownTopicOrPartition,
            });
        };
        if self.directories[hosted.directory].is_offline() {
            return Err(ResponseError::KafkaStorageError);
        }
        match self.moves.get(id) {
            Some(moving) if moving.to == to => return Ok(()),
            Some(_) => self.give_up_move(id),
            None => {}
        }
        if to == hosted.directory {
            return Ok(());
        }
        if self.directories.is_any_missing() {
            return Err(ResponseError::KafkaStorageError);
        }
        self.begin_move(&hosted, to).map_err(|error| {
            self.report(to, &error);
            error.wire()
        })
    }

    fn directory_at(&self, path: &str) -> Option<usize> {
        self.directories.iter().position(|directory| is_at(directory.path(), path))
    }

    fn begin_move(&self, hosted: &Hosted, to: usize) -> Result<(), StorageError> {
        let partition = &hosted.partition;
        let id = partition.id();
        let name = directory::future_name(id, Uuid::new_v4().as_u128());
        let topic_id = Some(partition.topic_id()).filter(|id| !id.is_zero());
        let log = self.open_empty(id, self.directories[to].path().join(name), topic_id)?;
        info!(partition = %id, to = %self.directories[to].path().display(), "moving a replica to another log directory");
        self.moves.begin(partition, to, log);
        Ok(())
    }

    /// A move that the last run began goes on now that its partition is here.
    pub(super) fn resume_move(&self, hosted: &Hosted) {
        let Some((to, log)) = self.moves.state().found.remove(hosted.partition.id()) else { return };
        if to == hosted.directory {
            self.discard(to, log);
            return;
        }
        info!(partition = %hosted.partition.id(), to = %self.directories[to].path().display(), "going on with the move of a replica");
        self.moves.begin(&hosted.partition, to, log);
    }

    pub(super) fn resume_moves(&self) {
        let all: Vec<Hosted> =
            self.hosted.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        all.iter().for_each(|hosted| self.resume_move(hosted));
    }

    /// Ends a move without its end; the copy goes. Waits for the step at work.
    pub(super) fn give_up_move(&self, id: &TopicPartition) {
        let found = self.moves.state().found.remove(id);
        if let Some((directory, log)) = found {
            self.discard(directory, log);
        }
        let Some(moving) = self.moves.get(id) else { return };
        let taken = moving.log.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.moves.end(&moving);
        if let Some(log) = taken {
            info!(partition = %id, "the move of a replica was given up");
            self.discard(moving.to, log);
        }
    }

    /// Marks a log that nobody reads any more for deletion.
    pub(super) fn discard(&self, directory: usize, mut log: Log) {
        let id = log.partition().clone();
        if let Err(error) = log.rename(&directory::delete_name(&id, Uuid::new_v4().as_u128())) {
            self.report(directory, &error);
            return;
        }
        self.condemn(directory, log.folder(), log.config().file_delete_delay_ms);
    }

    /// One partition lies in two directories, as after a crash at the very end of a move. Where one log has all that the
    /// other has, the other goes. `Err`: they have come apart, and a person has to say which one counts.
    pub(super) fn settle_twins(&self, one: Hosted, other: Hosted) -> Result<Hosted, StorageError> {
        let (kept, spare) = if has_all_of(&one.partition, &other.partition) {
            (one, other)
        } else if has_all_of(&other.partition, &one.partition) {
            (other, one)
        } else {
            return Err(StorageError::Duplicate {
                partition: one.partition.id().clone(),
                first: one.partition.lock().log.folder(),
                second: other.partition.lock().log.folder(),
            });
        };
        let id = kept.partition.id();
        warn!(partition = %id, kept = %self.directories[kept.directory].path().display(), "found in two log directories, as after a crash at the end of a move; the one that has everything stays");
        let folder = spare.partition.rename_folder(&directory::delete_name(id, Uuid::new_v4().as_u128()))?;
        self.condemn(spare.directory, folder, spare.partition.config().log.file_delete_delay_ms);
        Ok(kept)
    }

    /// Takes a move one step on. Blocks on the disk.
    pub(crate) fn move_on(&self, id: &TopicPartition) -> Step {
        let Some(moving) = self.moves.get(id) else { return Step::Done };
        let mut log = moving.log.lock().unwrap_or_else(PoisonError::into_inner);
        if self.moves.state().closed || self.directories[moving.to].is_offline() {
            return Step::Done;
        }
        let Some(future) = log.as_mut() else { return Step::Done };
        let stepped = copy(&moving.partition, future);
        match stepped {
            Ok(Copied { bytes, rest }) if rest > REST_BYTES as i64 || bytes >= STEP_BYTES / 2 => {
                Step::Copied(bytes)
            }
            Ok(Copied { bytes, .. }) => match self.take_over(&moving, &mut log) {
                Ok(Step::Wait) if bytes > 0 => Step::Copied(bytes),
                Ok(step) => step,
                Err(error) => self.step_failed(&moving, &error),
            },
            Err(error) => self.step_failed(&moving, &error),
        }
    }

    fn step_failed(&self, moving: &Move, error: &StepError) -> Step {
        let id = moving.partition.id();
        let of_storage = match error {
            StepError::Storage(error)
            | StepError::Read(ReadError::Storage(error))
            | StepError::Append(AppendError::Storage(error)) => Some(error),
            // The log has moved on while it was read.
            StepError::Read(ReadError::OutOfRange { .. }) => return Step::Wait,
            StepError::Append(_) => None,
        };
        match of_storage {
            Some(failed) if failed.is_out_of_space() => {
                warn!(partition = %id, error = %failed, "the move of a replica waits for room in its new directory");
                Step::Wait
            }
            Some(failed @ StorageError::Io { path, .. }) => {
                let at = |directory: usize| path.starts_with(self.directories[directory].path());
                let directory = (0..self.directories.len()).find(|index| at(*index)).unwrap_or(moving.to);
                self.report(directory, failed);
                Step::Wait
            }
            _ => {
                error!(partition = %id, %error, "a replica cannot be moved; give the move up by asking for the directory it is in");
                Step::Done
            }
        }
    }

    /// Copies the rest under the partition's lock and puts the copy in the place of the log. `Wait`: not now.
    fn take_over(&self, moving: &Move, log: &mut Option<Log>) -> Result<Step, StepError> {
        let partition = &moving.partition;
        let Some(future) = log.as_mut() else { return Ok(Step::Done) };
        if partition.relocation.is_cleaned_now() {
            return Ok(Step::Wait);
        }
        // Most of it reaches the disk before the old log goes.
        future.flush().run()?;
        let id = partition.id();
        let Some(hosted) = self.hosted(id).filter(|hosted| Arc::ptr_eq(&hosted.partition, partition)) else {
            return Ok(Step::Wait);
        };
        let mut inner = partition.lock();
        if history_differs(&inner.log, future).is_some() || !copy_rest(&inner, future)? {
            return Ok(Step::Wait);
        }
        if future.recovery_point() < inner.log.recovery_point() {
            // What its records were promised in the old place is true in the new one before the old one goes.
            future.flush().run()?;
        }
        let Some(mut future) = log.take() else { return Ok(Step::Done) };
        future.update_config(inner.log.config().clone());
        future.set_high_watermark(inner.log.high_watermark());
        future.set_cleaned(inner.log.cleaned());
        if let Err(error) = future.rename(&directory::partition_name(id)) {
            *log = Some(future);
            return Err(error.into());
        }
        let old = std::mem::replace(&mut inner.log, future);
        let now_there = Hosted { partition: Arc::clone(partition), directory: moving.to };
        self.hosted.write().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), now_there);
        drop(inner);
        self.discard(hosted.directory, old);
        self.moves.end(moving);
        for directory in [moving.to, hosted.directory] {
            for checkpoint in OffsetCheckpoint::ALL {
                self.checkpoint_directory(directory, checkpoint);
            }
        }
        info!(partition = %id, directory = %self.directories[moving.to].path().display(), "the replica is in its new log directory");
        Ok(Step::Done)
    }

    /// The copies in one directory.
    pub(crate) fn futures_in(&self, directory: usize) -> Vec<FutureReplica> {
        let here = self.moves.all().into_iter().filter(|moving| moving.to == directory);
        let told = here.map(|moving| FutureReplica {
            id: moving.partition.id().clone(),
            size: moving.reader.size(),
            lag: (moving.partition.end_offset() - moving.reader.end().offset).max(0),
        });
        told.collect()
    }

    /// What copies in `directory` write into a checkpoint file: Kafka's checkpoints do not tell copies from others.
    pub(super) fn checkpointed_futures(
        &self,
        directory: usize,
        checkpoint: OffsetCheckpoint,
    ) -> Vec<(TopicPartition, Offset)> {
        let here = self.moves.all().into_iter().filter(|moving| moving.to == directory);
        let offsets = here.filter_map(|moving| {
            let log = moving.log.lock().unwrap_or_else(PoisonError::into_inner);
            let log = log.as_ref()?;
            let offset = match checkpoint {
                OffsetCheckpoint::RecoveryPoints => log.recovery_point(),
                OffsetCheckpoint::HighWatermarks => log.high_watermark(),
                OffsetCheckpoint::LogStarts => {
                    Some(log.start()).filter(|start| *start > log.first_segment())?
                }
                OffsetCheckpoint::Cleaner => return None,
            };
            Some((moving.partition.id().clone(), offset))
        });
        offsets.collect()
    }

    /// No step is taken any more; the copies are closed. Yields how many of those in `directory` could not be.
    pub(super) fn close_moves(&self, directory: usize) -> usize {
        self.moves.state().closed = true;
        let here = self.moves.all().into_iter().filter(|moving| moving.to == directory);
        let failed = here.filter(|moving| {
            let mut log = moving.log.lock().unwrap_or_else(PoisonError::into_inner);
            log.as_mut().is_some_and(|log| log.close().is_err())
        });
        let waiting = {
            let mut state = self.moves.state();
            let mut failed = 0;
            for (_, log) in state.found.values_mut().filter(|(at, _)| *at == directory) {
                failed += usize::from(log.close().is_err());
            }
            failed
        };
        failed.count() + waiting
    }
}

/// Whether a log directory is the one that a request names.
fn is_at(own: &Path, path: &str) -> bool {
    std::path::absolute(own).is_ok_and(|own| own.as_os_str() == path)
}

#[cfg(test)]
mod power_cuts;
