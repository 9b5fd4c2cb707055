//! What `.lock` says while a broker of ours has the directory: that all in it is either checked or was written since
//! this machine started.
//!
//! Apache's brokers lock this file and neither read nor write it. The line is compared as a whole with the one that
//! would be written now, never taken apart: another boot, another mount, another file system, a copied directory, and
//! checkpoints that somebody else wrote all make it a different line. It needs no sync: what it vouches for is the
//! memory it lies in itself.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::checkpoint::OffsetCheckpoint;
use crate::disk::{Disk, Open, read_file, write_all};

/// Grows when a log left by a killed process has to meet other conditions than before.
const VERSION: u32 = 1;

/// Longest line that is looked at. Unit: bytes.
const SIZE_MAX: u64 = 4096;

/// Written and read only by who holds the lock on it.
#[derive(Debug)]
pub(super) struct Mark {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    path: PathBuf,
    /// Everything in the directory is good as far as this process knows.
    vouching: AtomicBool,
    /// Held while the line changes.
    line: Mutex<()>,
}

impl Mark {
    pub(super) fn new(disk: Arc<dyn Disk>, directory: &Path, path: PathBuf) -> Mark {
        let directory = directory.to_path_buf();
        Mark { disk, directory, path, vouching: AtomicBool::new(false), line: Mutex::new(()) }
    }

    /// Whether the line is there and still true. Takes it away.
    pub(super) fn take(&self) -> io::Result<bool> {
        let found = match read_file(self.disk.as_ref(), &self.path, SIZE_MAX) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Vec::new(),
            Err(error) => return Err(error),
        };
        self.clear()?;
        Ok(!found.is_empty() && self.statement().is_some_and(|now| now.as_bytes() == found))
    }

    /// From now on a killed process loses nothing.
    pub(super) fn vouch(&self) {
        self.vouching.store(true, Ordering::Release);
        self.renew();
    }

    /// The file that the line names was replaced by ourselves.
    pub(super) fn renew(&self) {
        let _line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.vouching.load(Ordering::Acquire) {
            return;
        }
        let Some(statement) = self.statement() else { return };
        if let Err(error) = self.write(statement.as_bytes()) {
            tracing::debug!(path = %self.path.display(), %error, "not noted that a killed broker needs little checking");
        }
    }

    /// Takes the line away; it does not come back in this process.
    pub(super) fn withdraw(&self) -> io::Result<()> {
        self.vouching.store(false, Ordering::Release);
        self.clear()
    }

    fn clear(&self) -> io::Result<()> {
        let _line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        let file = self.disk.open(&self.path, Open::Create)?;
        if file.size()? == 0 { Ok(()) } else { file.set_len(0) }
    }

    fn write(&self, line: &[u8]) -> io::Result<()> {
        let file = self.disk.open(&self.path, Open::Create)?;
        write_all(file.as_ref(), &mut [IoSlice::new(line)], 0)?;
        file.set_len(line.len() as u64)
    }

    /// `None` where nobody can tell whether written pages stay.
    fn statement(&self) -> Option<String> {
        let identity = self.disk.cache_identity(&self.directory).ok()??;
        let checkpoint = self.directory.join(OffsetCheckpoint::HighWatermarks.file_name());
        let checkpoint = self.disk.fingerprint(&checkpoint).ok()?;
        Some(format!("odradek {VERSION} {identity} checkpoint={checkpoint}\n"))
    }
}
