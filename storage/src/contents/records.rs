//! A record file, batch by batch, with every checksum and beyond what is damaged.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::batch::BatchView;
use crate::disk::{Disk, DiskFile, Open, read_up_to};
use crate::error::StorageError;
use crate::segment::{CheckedWalk, Located, Step};

/// Larger batches are checked for their checksum alone: their bytes are not handed out. Unit: bytes.
pub const ENTRY_BYTES_MAX: u64 = 256 << 20;

/// A `.log` file, opened for reading.
#[derive(Debug)]
pub struct RecordFile {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    size: u64,
}

/// One batch, or one message of an old format, as it lies in the file.
#[derive(Clone, Debug)]
pub struct RecordEntry {
    /// Unit: bytes from the start of the file.
    pub position: u64,
    /// Header and records. Unit: bytes.
    pub size: u64,
    pub batch: BatchView,
    /// What is wrong with it, where its checksum is not that of its bytes.
    pub damage: Option<String>,
}

impl RecordFile {
    /// The file as long as it is now; what is appended later is not looked at.
    pub fn open(disk: &dyn Disk, path: &Path) -> Result<RecordFile, StorageError> {
        let file = disk.open(path, Open::Read).map_err(StorageError::io("open", path))?;
        let size = file.size().map_err(StorageError::io("look at", path))?;
        Ok(RecordFile { file, path: path.to_path_buf(), size })
    }

    /// Unit: bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    #[must_use]
    pub fn walk(&self) -> RecordFileWalk<'_> {
        RecordFileWalk { walk: CheckedWalk::new(self.file.as_ref(), &self.path, 0, self.size), ended: None }
    }

    /// All bytes of an entry of this file, copied; `None` where it has more than [`ENTRY_BYTES_MAX`].
    pub fn entry(&self, entry: &RecordEntry) -> Result<Option<Bytes>, StorageError> {
        if entry.size > ENTRY_BYTES_MAX {
            return Ok(None);
        }
        // Within the file, which the walk has checked.
        let mut bytes = vec![0; usize::try_from(entry.size).unwrap_or(0)];
        let read = read_up_to(self.file.as_ref(), &mut bytes, entry.position)
            .map_err(StorageError::io("read", &self.path))?;
        if read < bytes.len() {
            return Err(StorageError::corrupt(&self.path, entry.position, "the batch is cut off"));
        }
        Ok(Some(Bytes::from(bytes)))
    }
}

/// See [`RecordFile::walk`].
pub struct RecordFileWalk<'a> {
    walk: CheckedWalk<'a>,
    /// Why nothing follows although the file goes on.
    ended: Option<String>,
}

impl RecordFileWalk<'_> {
    /// The next entry. An entry with a wrong checksum is yielded too, and passed over if its length can be right.
    pub fn next_entry(&mut self) -> Result<Option<RecordEntry>, StorageError> {
        if self.ended.is_some() {
            return Ok(None);
        }
        let reason = match self.walk.next()? {
            Step::Batch(located, _) => return Ok(Some(entry(&located, None))),
            Step::End => return Ok(None),
            Step::Bad(reason) => reason,
        };
        match self.walk.pass_over()? {
            Some(located) => Ok(Some(entry(&located, Some(reason)))),
            None => {
                self.ended = Some(reason);
                Ok(None)
            }
        }
    }

    /// End of the last entry that was yielded. Unit: bytes.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.walk.position()
    }

    /// Why the walk ended before the file did.
    #[must_use]
    pub fn ended(&self) -> Option<&str> {
        self.ended.as_deref()
    }
}

fn entry(located: &Located, damage: Option<String>) -> RecordEntry {
    RecordEntry { position: located.position, size: located.size, batch: located.batch, damage }
}
