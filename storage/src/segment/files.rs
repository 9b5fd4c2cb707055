//! Where the files of a segment lie, by name.
//!
//! All segments of a log share one [`Home`], so that renaming its folder is seen by every reader at once.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::disk::Disk;
use crate::error::StorageError;
use crate::types::Offset;

/// Marks files that are removed when `file.delete.delay.ms` has passed.
pub(crate) const DELETED: &str = ".deleted";

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

/// The files of one segment; all of them change their suffix together.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) home: Arc<Home>,
    pub(crate) base: Offset,
    deleted: AtomicBool,
}

impl Files {
    pub(crate) fn new(home: Arc<Home>, base: Offset) -> Arc<Files> {
        Arc::new(Files { home, base, deleted: AtomicBool::new(false) })
    }

    pub(crate) fn path(&self, kind: FileKind) -> PathBuf {
        let mut name = file_name(self.base, kind);
        if self.deleted.load(Ordering::Acquire) {
            name.push_str(DELETED);
        }
        self.home.file(&name)
    }

    pub(crate) fn disk(&self) -> &dyn Disk {
        self.home.disk.as_ref()
    }

    /// Gives the segment's files the suffix `.deleted`. On `Err` some may have it: opening a log removes those, and
    /// what is left without its `.log` file.
    pub(crate) fn mark_deleted(&self) -> Result<Vec<PathBuf>, StorageError> {
        let kinds =
            [FileKind::Records, FileKind::OffsetIndex, FileKind::TimeIndex, FileKind::TransactionIndex];
        let mut renamed = Vec::with_capacity(kinds.len());
        for kind in kinds {
            let name = file_name(self.base, kind);
            let (from, to) = (self.home.file(&name), self.home.file(&format!("{name}{DELETED}")));
            match self.disk().rename(&from, &to) {
                Ok(()) => renamed.push(to),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(StorageError::io("rename", &from)(error)),
            }
        }
        self.deleted.store(true, Ordering::Release);
        Ok(renamed)
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
