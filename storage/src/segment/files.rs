//! Where the files of a segment lie, by name.
//!
//! All segments of a log share one [`Home`], so that renaming its folder is seen by every reader at once.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use crate::disk::{Disk, DiskFile, Open};
use crate::error::{StorageError, is_out_of_space};
use crate::types::Offset;

/// Marks files that are removed when `file.delete.delay.ms` has passed.
pub(crate) const DELETED: &str = ".deleted";

/// Marks files a compaction is writing; opening a log removes them.
pub(crate) const CLEANED: &str = ".cleaned";

/// Marks files a compaction has finished, while they take the place of what they were made from; opening a log
/// completes that.
pub(crate) const SWAP: &str = ".swap";

/// Where the files of a segment are in their life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Cleaned,
    Swap,
    Present,
    Deleted,
}

impl Stage {
    const fn suffix(self) -> &'static str {
        match self {
            Stage::Cleaned => CLEANED,
            Stage::Swap => SWAP,
            Stage::Present => "",
            Stage::Deleted => DELETED,
        }
    }
}

/// What a file of a segment holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    Records,
    OffsetIndex,
    TimeIndex,
    TransactionIndex,
    Snapshot,
}

impl FileKind {
    /// All but snapshots, which belong to the log.
    pub(crate) const OF_SEGMENT: [FileKind; 4] =
        [FileKind::Records, FileKind::OffsetIndex, FileKind::TimeIndex, FileKind::TransactionIndex];

    pub(crate) const fn suffix(self) -> &'static str {
        match self {
            FileKind::Records => ".log",
            FileKind::OffsetIndex => ".index",
            FileKind::TimeIndex => ".timeindex",
            FileKind::TransactionIndex => ".txnindex",
            FileKind::Snapshot => ".snapshot",
        }
    }
}

/// Kafka's file name: the offset with 20 digits, and the suffix.
pub(crate) fn file_name(base: Offset, kind: FileKind) -> String {
    format!("{:020}{}", base.0, kind.suffix())
}

/// The inverse of [`file_name`]; what follows the suffix (`.deleted`, `.swap`) is the third part.
pub(crate) fn parse_name(name: &str) -> Option<(Offset, FileKind, &str)> {
    let (digits, rest) = name.split_once('.')?;
    let base = digits.parse::<i64>().ok().filter(|base| *base >= 0)?;
    let (kind, rest) = match rest.split_once('.') {
        Some((kind, _)) => (kind, rest.get(kind.len()..)?),
        None => (rest, ""),
    };
    let kind = match kind {
        "log" => FileKind::Records,
        "index" => FileKind::OffsetIndex,
        "timeindex" => FileKind::TimeIndex,
        "txnindex" => FileKind::TransactionIndex,
        "snapshot" => FileKind::Snapshot,
        _ => return None,
    };
    Some((Offset(base), kind, rest))
}

/// The folder of a partition.
#[derive(Debug)]
pub(crate) struct Home {
    pub(crate) disk: Arc<dyn Disk>,
    folder: RwLock<PathBuf>,
}

impl Home {
    pub(crate) fn new(disk: Arc<dyn Disk>, folder: PathBuf) -> Arc<Home> {
        Arc::new(Home { disk, folder: RwLock::new(folder) })
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.folder.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.read().unwrap_or_else(PoisonError::into_inner).join(name)
    }

    /// Opens a file of the folder, which is not renamed meanwhile.
    fn open(&self, name: &str, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        let folder = self.folder.read().unwrap_or_else(PoisonError::into_inner);
        self.disk.open(&folder.join(name), how)
    }

    /// Renames the folder, durably. On `Err` it has its old name, unless only the last sync failed.
    pub(crate) fn rename(&self, to: &Path) -> Result<(), StorageError> {
        let mut folder = self.folder.write().unwrap_or_else(PoisonError::into_inner);
        self.disk.rename(&folder, to).map_err(StorageError::io("rename", &folder))?;
        *folder = to.to_path_buf();
        match to.parent() {
            Some(parent) => self.disk.sync_directory(parent).map_err(StorageError::io("sync", parent)),
            None => Ok(()),
        }
    }
}

/// Instead of a longer name, which may want a block more of the folder than a full disk has: deletions make room there, so
/// none may wait for it.
pub(crate) fn remove_at_once(disk: &dyn Disk, path: &Path) -> Result<(), StorageError> {
    match disk.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StorageError::io("remove", path)(error)),
        _ => Ok(()),
    }
}

/// The files of one segment; all of them change their suffix together.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) home: Arc<Home>,
    pub(crate) base: Offset,
    /// Held shared while a file is opened by name, exclusively while names change.
    stage: RwLock<Stage>,
}

impl Files {
    pub(crate) fn new(home: Arc<Home>, base: Offset, stage: Stage) -> Arc<Files> {
        Arc::new(Files { home, base, stage: RwLock::new(stage) })
    }

    pub(crate) fn path(&self, kind: FileKind) -> PathBuf {
        let stage = *self.stage.read().unwrap_or_else(PoisonError::into_inner);
        self.home.file(&self.name(kind, stage))
    }

    pub(crate) fn open(&self, kind: FileKind, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        let stage = self.stage.read().unwrap_or_else(PoisonError::into_inner);
        self.home.open(&self.name(kind, *stage), how)
    }

    fn name(&self, kind: FileKind, stage: Stage) -> String {
        let mut name = file_name(self.base, kind);
        name.push_str(stage.suffix());
        name
    }

    pub(crate) fn disk(&self) -> &dyn Disk {
        self.home.disk.as_ref()
    }

    /// Gives the segment's files the suffix of `next`; yields their new names. On `Err` some may have it: opening a
    /// log finishes or undoes that.
    pub(crate) fn enter(&self, next: Stage) -> Result<Vec<PathBuf>, StorageError> {
        let mut stage = self.stage.write().unwrap_or_else(PoisonError::into_inner);
        let mut renamed = Vec::with_capacity(FileKind::OF_SEGMENT.len());
        for kind in FileKind::OF_SEGMENT {
            let (from, to) =
                (self.home.file(&self.name(kind, *stage)), self.home.file(&self.name(kind, next)));
            match self.disk().rename(&from, &to) {
                Ok(()) => renamed.push(to),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    // Perhaps it went the last time, when another of them could not.
                    if self.disk().exists(&to).map_err(StorageError::io("look for", &to))? {
                        renamed.push(to);
                    }
                }
                Err(error) if next == Stage::Deleted && is_out_of_space(&error) => {
                    remove_at_once(self.disk(), &from)?;
                }
                Err(error) => return Err(StorageError::io("rename", &from)(error)),
            }
        }
        *stage = next;
        Ok(renamed)
    }

    /// Removes the files of a segment nobody was told of, wherever a failure stopped them between `.cleaned` and
    /// `.swap`. While this goes on there is a `.cleaned` file at all times, so that no `.swap` is believed.
    pub(crate) fn remove_unborn(&self) -> Result<(), StorageError> {
        let path = |kind, stage| self.home.file(&self.name(kind, stage));
        let last = FileKind::TimeIndex;
        match self.disk().rename(&path(last, Stage::Swap), &path(last, Stage::Cleaned)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(StorageError::io("rename", &path(last, Stage::Swap))(error));
            }
            _ => {}
        }
        let others = FileKind::OF_SEGMENT.into_iter().filter(|kind| *kind != last).chain([last]);
        for stage in [Stage::Swap, Stage::Cleaned] {
            for path in others.clone().map(|kind| path(kind, stage)) {
                match self.disk().remove(&path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        return Err(StorageError::io("remove", &path)(error));
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kafkas() {
        assert_eq!(file_name(Offset(40), FileKind::Snapshot), "00000000000000000040.snapshot");
        assert_eq!(parse_name("00000000000000000040.timeindex"), Some((Offset(40), FileKind::TimeIndex, "")));
        assert_eq!(
            parse_name("00000000000000000001.log.deleted"),
            Some((Offset(1), FileKind::Records, ".deleted"))
        );
        for other in ["leader-epoch-checkpoint", "partition.metadata", "x.log", "-1.log", "1.logs", ""] {
            assert_eq!(parse_name(other), None, "{other:?}");
        }
    }
}
