//! Bringing a log to the disk, without holding it.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::Log;
use super::reader::Shared;
use crate::disk::Open;
use crate::error::StorageError;
use crate::segment::Segment;
use crate::types::Offset;

/// What is to be flushed. Made under the log's lock, run outside of it.
#[derive(Debug)]
#[must_use = "nothing is flushed until it runs"]
pub struct Flush {
    shared: Arc<Shared>,
    segments: Vec<Arc<Segment>>,
    /// A producer snapshot that was written without a sync.
    snapshot: Option<PathBuf>,
    upto: Offset,
    truncations: u64,
}

impl Log {
    /// Everything that has been appended.
    pub fn flush(&self) -> Flush {
        self.flush_upto(self.end())
    }

    /// Everything below the active segment: due after a roll.
    pub fn flush_inactive(&self) -> Flush {
        self.flush_upto(self.active().base)
    }

    fn flush_upto(&self, upto: Offset) -> Flush {
        let from = self.recovery_point();
        let all = self.shared.segments.read().unwrap_or_else(PoisonError::into_inner);
        let first = all.partition_point(|segment| segment.base <= from).saturating_sub(1);
        let dirty = |segment: &&Arc<Segment>| segment.base < upto && upto > from;
        let segments: Vec<Arc<Segment>> = all.iter().skip(first).take_while(dirty).cloned().collect();
        drop(all);
        let snapshot = self.producers.latest_snapshot().map(|offset| {
            let name = crate::segment::files::file_name(offset, crate::segment::files::FileKind::Snapshot);
            self.shared.home.file(&name)
        });
        Flush {
            shared: self.shared.clone(),
            snapshot: snapshot.filter(|_| !segments.is_empty()),
            segments,
            upto,
            truncations: self.shared.truncations.load(Ordering::Acquire),
        }
    }
}

impl Flush {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Blocks until the disk has it; then the recovery point is where this flush ends.
    ///
    /// After a failure the kernel may have dropped the data, so that a second fsync succeeds without it: the log then
    /// refuses appends and flushes until it is recovered from disk.
    pub fn run(self) -> Result<(), StorageError> {
        if self.shared.poisoned.load(Ordering::Acquire) {
            return Err(StorageError::Poisoned { path: self.shared.home.folder() });
        }
        if self.segments.is_empty() {
            return Ok(());
        }
        self.sync().inspect_err(|error| {
            // Indexes without room are written another time: nothing was lost, and the recovery point stays.
            if error.is_failed_sync() || !error.is_out_of_space() {
                tracing::error!(%error, "a flush failed; this log takes no more writes until the broker is restarted");
                self.shared.poisoned.store(true, Ordering::Release);
            }
        })?;
        if self.shared.truncations.load(Ordering::Acquire) == self.truncations {
            self.shared.recovery_point.fetch_max(self.upto.0, Ordering::AcqRel);
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), StorageError> {
        let recovery_point = Offset(self.shared.recovery_point.load(Ordering::Acquire));
        self.each_segment(Segment::sync_records)?;
        self.each_segment(Segment::sync_indexes)?;
        let disk = self.shared.home.disk.as_ref();
        if let Some(path) = &self.snapshot {
            match disk.open(path, Open::Write) {
                Ok(file) => file.sync().map_err(StorageError::io("sync", path))?,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(StorageError::io("open", path)(error)),
            }
        }
        if self.segments.iter().any(|segment| segment.base >= recovery_point) {
            let folder = self.shared.home.folder();
            disk.sync_directory(&folder).map_err(StorageError::io("sync", &folder))?;
        }
        Ok(())
    }

    fn each_segment(&self, work: impl Fn(&Segment) -> Result<(), StorageError>) -> Result<(), StorageError> {
        for segment in &self.segments {
            match work(segment) {
                // Retention may have removed it meanwhile.
                Err(error) if error.is_not_found() && self.is_gone(segment) => {}
                // The folder may have been renamed meanwhile.
                Err(error) if error.is_not_found() => work(segment)?,
                other => other?,
            }
        }
        Ok(())
    }

    fn is_gone(&self, segment: &Segment) -> bool {
        let segments = self.shared.segments.read().unwrap_or_else(PoisonError::into_inner);
        segments.iter().all(|present| !std::ptr::eq(Arc::as_ptr(present), segment))
    }
}
