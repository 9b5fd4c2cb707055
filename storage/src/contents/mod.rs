//! What the files of a log directory hold, for those who look without taking part: `broker log`, tests.
//!
//! Opens files for reading only. Locks nothing, repairs nothing, believes nothing: what is wrong is an error with its
//! place. A broker may write to the same files meanwhile, so an answer may be out of date when it is given.

mod indexes;
mod records;

use std::path::Path;

use crate::checkpoint::{OffsetCheckpoint, read_lines};
use crate::directory::{self, MetaProperties};
use crate::disk::{Disk, read_file};
use crate::epochs::{self, EpochEntry};
use crate::error::StorageError;
use crate::producers::{self, ProducerEntry};
use crate::segment::files::{FileKind, parse_name};
use crate::types::{Offset, TopicId, TopicPartition};

pub use indexes::{IndexEntries, OffsetPlace, TimePlace, aborted_transactions, offset_index, time_index};
pub use records::{ENTRY_BYTES_MAX, RecordEntry, RecordFile, RecordFileWalk};

/// What a file of this name holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    Records,
    OffsetIndex,
    TimeIndex,
    TransactionIndex,
    Producers,
    LeaderEpochs,
    TopicId,
    Offsets(OffsetCheckpoint),
    MetaProperties,
    CleanStop,
    Lock,
}

/// A file name of Kafka's, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileName<'a> {
    pub content: Content,
    /// The number in the name: a segment's first offset, or the end of the log a snapshot was taken at.
    pub base: Option<Offset>,
    /// Empty, or where the file is in its life: `.deleted`, `.cleaned`, `.swap`, `.tmp`.
    pub suffix: &'a str,
}

/// `None` for a name no broker gives.
#[must_use]
pub fn file_name(name: &str) -> Option<FileName<'_>> {
    if let Some((base, kind, suffix)) = parse_name(name) {
        let content = match kind {
            FileKind::Records => Content::Records,
            FileKind::OffsetIndex => Content::OffsetIndex,
            FileKind::TimeIndex => Content::TimeIndex,
            FileKind::TransactionIndex => Content::TransactionIndex,
            FileKind::Snapshot => Content::Producers,
        };
        return Some(FileName { content, base: Some(base), suffix });
    }
    let (stem, suffix) = match name.strip_suffix(".tmp") {
        Some(stem) => (stem, ".tmp"),
        None => (name, ""),
    };
    let content = match stem {
        epochs::FILE_NAME => Content::LeaderEpochs,
        directory::PARTITION_METADATA => Content::TopicId,
        directory::META_PROPERTIES => Content::MetaProperties,
        directory::CLEAN_SHUTDOWN => Content::CleanStop,
        directory::LOCK => Content::Lock,
        _ => Content::Offsets(OffsetCheckpoint::ALL.into_iter().find(|one| one.file_name() == stem)?),
    };
    Some(FileName { content, base: None, suffix })
}

/// The producers in a `.snapshot`, in the order of the file.
pub fn producers(disk: &dyn Disk, path: &Path) -> Result<Vec<ProducerEntry>, StorageError> {
    producers::read_snapshot(disk, path)
}

/// The lines of `leader-epoch-checkpoint` as they stand there. A missing or empty file has none.
pub fn leader_epochs(disk: &dyn Disk, path: &Path) -> Result<Vec<EpochEntry>, StorageError> {
    epochs::read_entries(disk, path)
}

/// The lines of a checkpoint of a log directory as they stand there. A missing or empty file has none.
pub fn offsets(disk: &dyn Disk, path: &Path) -> Result<Vec<(TopicPartition, Offset)>, StorageError> {
    read_lines(disk, path, crate::checkpoint::parse_offset)
}

/// What `partition.metadata` says; `None` where there is no such file.
pub fn topic_id(disk: &dyn Disk, path: &Path) -> Result<Option<TopicId>, StorageError> {
    directory::read_topic_id_at(disk, path)
}

/// What `meta.properties` says; `None` where there is no such file.
pub fn meta_properties(disk: &dyn Disk, path: &Path) -> Result<Option<MetaProperties>, StorageError> {
    directory::read_meta_properties(disk, path)
}

/// What `.kafka_cleanshutdown` or `.lock` say. Anything that is not text is replaced.
pub fn text(disk: &dyn Disk, path: &Path) -> Result<String, StorageError> {
    const SIZE_MAX: u64 = 1 << 20;
    let content = read_file(disk, path, SIZE_MAX).map_err(StorageError::io("read", path))?;
    Ok(String::from_utf8_lossy(&content).into_owned())
}
