//! What can go wrong in a log, in the operator's words.
//!
//! `StorageError` is about the disk and takes a log directory out of service; `AppendError` and `ReadError` are
//! about one request. The broker maps all of them to wire codes in one table; this room knows no wire code.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::types::{LeaderEpoch, Offset, ProducerId, TopicId, TopicPartition};

/// A failure of the disk or of what lies on it.
#[derive(Debug, Error)]
pub enum StorageError {
    #[error("cannot {action} {path}: {source}")]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    /// Bytes on disk that no Kafka broker wrote like this. `position` is a byte offset within the file.
    #[error("{path} is damaged at byte {position}: {reason}")]
    Corrupt { path: PathBuf, position: u64, reason: String },
    #[error(
        "the log in {path} refuses writes because an earlier fsync failed; restart the broker to recover it from disk"
    )]
    Poisoned { path: PathBuf },
    #[error("the log in {path} is closed because the broker is stopping")]
    Closed { path: PathBuf },
    #[error(
        "{partition} lies in two log directories, {first} and {second}; keep the one with the newer data"
    )]
    Duplicate { partition: TopicPartition, first: PathBuf, second: PathBuf },
    #[error("no log directory is in service; repair a disk named in log.dirs and restart the broker")]
    NoDirectory,
    #[error("{path} is in use by another broker process; stop it or give this one another log.dirs")]
    Locked { path: PathBuf },
    #[error(
        "{path} is not the folder of a partition: expected TOPIC-PARTITION or TOPIC-PARTITION.UNIQUEID-delete; log directories may contain nothing else"
    )]
    NotAPartition { path: PathBuf },
    #[error("{partition} on disk has topic id {found}, but the cluster says {expected}")]
    TopicId { partition: TopicPartition, found: TopicId, expected: TopicId },
    #[error("cannot truncate {path} to negative offset {offset}")]
    NegativeOffset { path: PathBuf, offset: Offset },
}

impl StorageError {
    /// For `map_err` at the one place where the path is known.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StorageError {
        let path = path.to_path_buf();
        move |source| StorageError::Io { action, path, source }
    }

    pub(crate) fn corrupt(path: &Path, position: u64, reason: impl Into<String>) -> StorageError {
        StorageError::Corrupt { path: path.to_path_buf(), position, reason: reason.into() }
    }

    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, StorageError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// After a failed fsync nobody knows what the disk has; trying again proves nothing.
    pub(crate) fn is_failed_sync(&self) -> bool {
        matches!(self, StorageError::Io { action: "sync", .. })
    }

    /// The disk does not do what it should: its log directory cannot be relied upon any more. Not so where space, memory
    /// or descriptors have run out for now, or where only what lies in one file is wrong.
    #[must_use]
    pub fn is_disk_failure(&self) -> bool {
        match self {
            StorageError::Poisoned { .. } => true,
            StorageError::Io { source, .. } => {
                let short_of = [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::EINTR, libc::EAGAIN];
                self.is_failed_sync()
                    || !self.is_out_of_space()
                        && source.raw_os_error().is_none_or(|number| !short_of.contains(&number))
            }
            _ => false,
        }
    }

    /// A full disk or quota: appends fail, reads and deletions go on, and space may come back.
    #[must_use]
    pub fn is_out_of_space(&self) -> bool {
        matches!(self, StorageError::Io { source, .. } if is_out_of_space(source))
    }
}

pub(crate) fn is_out_of_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Why nothing was appended. The log is unchanged.
#[derive(Debug, Error)]
pub enum AppendError {
    #[error(
        "out of order sequence number for producer {producer} at offset {offset}: {sequence} (incoming seq. number), {last} (current end sequence number)"
    )]
    OutOfOrderSequence { producer: ProducerId, offset: Offset, sequence: i32, last: i32 },
    #[error(
        "epoch of producer {producer} at offset {offset} is {epoch}, which is smaller than the last seen epoch {current}"
    )]
    InvalidProducerEpoch { producer: ProducerId, offset: Offset, epoch: i16, current: i16 },
    #[error("producer {producer} at offset {offset}: {reason}")]
    InvalidTransactionState { producer: ProducerId, offset: Offset, reason: &'static str },
    #[error(
        "invalid coordinator epoch for producer {producer} at offset {offset}: {epoch} (zombie), {current} (current)"
    )]
    CoordinatorFenced { producer: ProducerId, offset: Offset, epoch: i32, current: i32 },
    #[error("the batches of one append are {size} bytes, which exceeds segment.bytes = {limit}")]
    LargerThanSegment { size: u64, limit: u32 },
    /// A follower got batches that do not continue its log. `first` is the offset the batches start at.
    #[error(
        "first offset {first} of the batches to append is less than the next offset {next} (last offset is {last})"
    )]
    UnexpectedOffset { first: Offset, last: Offset, next: Offset },
    #[error("offsets do not increase: batch ending at {last} follows one ending at {previous}")]
    OffsetsOutOfOrder { previous: Offset, last: Offset },
    #[error("batch at byte {position} is corrupt: {reason}")]
    Corrupt { position: usize, reason: String },
    #[error("leader epoch {epoch} at offset {offset} is not valid")]
    InvalidEpoch { epoch: LeaderEpoch, offset: Offset },
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Why nothing was read.
#[derive(Debug, Error)]
pub enum ReadError {
    #[error("offset {requested} is outside of this log, which holds {start}..{end}")]
    OutOfRange { requested: Offset, start: Offset, end: Offset },
    #[error(transparent)]
    Storage(#[from] StorageError),
}
