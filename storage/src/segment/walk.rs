//! Walking the batches of a record file, header by header or with every checksum.
//!
//! Reads with `pread`, never through the mapping: a failing disk is then an error and not the end of the process.
//! No length found in the file is believed before the file is known to have as many bytes.

use std::ops::Range;
use std::path::Path;

use crate::batch::{BatchError, BatchView, HEADER_SIZE, PREFIX_SIZE};
use crate::disk::{DiskFile, read_up_to};
use crate::error::StorageError;

/// Read ahead where batches are small. Unit: bytes.
const SMALL_BATCHES_READ: usize = 4096;

/// Window of a walk that checks everything. Unit: bytes.
const WINDOW: usize = 1 << 20;

/// A batch and where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Located {
    /// Unit: bytes from the start of the file.
    pub(crate) position: u64,
    /// Header and records. Unit: bytes.
    pub(crate) size: u64,
    pub(crate) batch: BatchView,
}

impl Located {
    pub(crate) fn end(&self) -> u64 {
        self.position + self.size
    }
}

/// Walks headers from a position to `end`, both in bytes. Records are not looked at.
///
/// Ends silently at an entry that is cut off: compare [`Walk::position`] with `end`.
pub(crate) struct Walk<'a> {
    file: &'a dyn DiskFile,
    path: &'a Path,
    position: u64,
    end: u64,
    /// What has been read, starting at `window_start`.
    window: Vec<u8>,
    window_start: u64,
    read_size: usize,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(file: &'a dyn DiskFile, path: &'a Path, position: u64, end: u64) -> Walk<'a> {
        Walk { file, path, position, end, window: Vec::new(), window_start: 0, read_size: HEADER_SIZE }
    }

    /// End of the last entry that was yielded.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    pub(crate) fn next(&mut self) -> Result<Option<Located>, StorageError> {
        let rest = self.end.saturating_sub(self.position);
        if rest <= PREFIX_SIZE as u64 {
            return Ok(None);
        }
        let wanted = usize::try_from(rest).unwrap_or(usize::MAX).min(HEADER_SIZE);
        if self.ahead().len() < wanted {
            self.fill(usize::try_from(rest).unwrap_or(usize::MAX))?;
        }
        let located = locate(self.ahead(), self.position, rest)
            .map_err(|error| StorageError::corrupt(self.path, self.position, error.to_string()))?;
        if let Some(located) = &located {
            self.position = located.end();
            let small = located.size <= SMALL_BATCHES_READ as u64 / 2;
            self.read_size = if small { SMALL_BATCHES_READ } else { HEADER_SIZE };
        }
        Ok(located)
    }

    fn ahead(&self) -> &[u8] {
        let skip = self.position.checked_sub(self.window_start).and_then(|skip| usize::try_from(skip).ok());
        skip.and_then(|skip| self.window.get(skip..)).unwrap_or_default()
    }

    fn fill(&mut self, rest: usize) -> Result<(), StorageError> {
        self.window.resize(self.read_size.min(rest), 0);
        let read = read_up_to(self.file, &mut self.window, self.position)
            .map_err(StorageError::io("read", self.path))?;
        self.window.truncate(read);
        self.window_start = self.position;
        Ok(())
    }
}

/// The entry at the start of `bytes`, of which `rest` lie before the end.
fn locate(bytes: &[u8], position: u64, rest: u64) -> Result<Option<Located>, BatchError> {
    let Some(batch) = BatchView::parse(bytes)? else { return Ok(None) };
    let size = batch.size_in_bytes() as u64;
    Ok((size <= rest).then_some(Located { position, size, batch }))
}

/// How a checked walk went on.
pub(crate) enum Step<'a> {
    /// A good batch and, unless it is larger than the window, all its bytes.
    Batch(Located, Option<&'a [u8]>),
    /// The file is good up to here and has nothing behind.
    End,
    /// What follows is no batch, or not all of one.
    Bad(String),
}

/// Walks entries with their checksums. Memory is bounded by the window, whatever the file says.
pub(crate) struct CheckedWalk<'a> {
    file: &'a dyn DiskFile,
    path: &'a Path,
    position: u64,
    end: u64,
    /// Nothing behind is read but what an entry that begins before needs.
    upto: u64,
    window: Vec<u8>,
    window_start: u64,
}

impl<'a> CheckedWalk<'a> {
    pub(crate) fn new(file: &'a dyn DiskFile, path: &'a Path, position: u64, end: u64) -> CheckedWalk<'a> {
        CheckedWalk::up_to(file, path, position..end, end)
    }

    /// Of a file that goes on to `end`, for whoever looks at no entry that begins behind `range`.
    pub(crate) fn up_to(
        file: &'a dyn DiskFile,
        path: &'a Path,
        range: Range<u64>,
        end: u64,
    ) -> CheckedWalk<'a> {
        let (position, upto) = (range.start, range.end);
        CheckedWalk { file, path, position, end, upto, window: Vec::new(), window_start: 0 }
    }

    /// End of the last good entry.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    pub(crate) fn next(&mut self) -> Result<Step<'_>, StorageError> {
        let rest = self.end.saturating_sub(self.position);
        if rest == 0 {
            return Ok(Step::End);
        }
        self.fill(HEADER_SIZE as u64)?;
        let located = match locate(self.ahead(), self.position, rest) {
            Ok(Some(located)) => located,
            Ok(None) => return Ok(Step::Bad("the last batch is cut off".to_string())),
            Err(error) => return Ok(Step::Bad(error.to_string())),
        };
        if located.size > WINDOW as u64 {
            return Ok(match self.check_large(&located)? {
                Some(reason) => Step::Bad(reason),
                None => {
                    self.position = located.end();
                    Step::Batch(located, None)
                }
            });
        }
        self.fill(located.size)?;
        if let Err(error) = located.batch.check_crc(self.ahead()) {
            return Ok(Step::Bad(error.to_string()));
        }
        self.position = located.end();
        let start = usize::try_from(located.position - self.window_start).unwrap_or(usize::MAX);
        let end = start.saturating_add(usize::try_from(located.size).unwrap_or(usize::MAX));
        Ok(Step::Batch(located, self.window.get(start..end)))
    }

    /// After a bad entry: goes on behind it, where its length can be believed. `None`: nothing to go on with.
    pub(crate) fn pass_over(&mut self) -> Result<Option<Located>, StorageError> {
        let rest = self.end.saturating_sub(self.position);
        self.fill(HEADER_SIZE as u64)?;
        let located = locate(self.ahead(), self.position, rest).ok().flatten();
        if let Some(located) = &located {
            self.position = located.end();
        }
        Ok(located)
    }

    /// The checksum of an entry that does not fit the window; what is wrong with it, if anything.
    fn check_large(&mut self, located: &Located) -> Result<Option<String>, StorageError> {
        let mut position = located.position;
        let mut body = position + HEADER_SIZE as u64;
        let mut crc = match &located.batch {
            BatchView::V2(header) => Crc::V2(header.compute_crc(&[])),
            BatchView::Legacy(_) => {
                body = position + PREFIX_SIZE as u64 - 1;
                Crc::Legacy(crc32fast::Hasher::new())
            }
        };
        position = position.max(body);
        let mut buffer = vec![0; WINDOW];
        while position < located.end() {
            let wanted = usize::try_from(located.end() - position).unwrap_or(usize::MAX).min(WINDOW);
            let chunk = buffer.get_mut(..wanted).unwrap_or_default();
            let read = read_up_to(self.file, chunk, position).map_err(StorageError::io("read", self.path))?;
            if read < wanted {
                return Ok(Some("the last batch is cut off".to_string()));
            }
            crc.update(chunk);
            position += wanted as u64;
        }
        let (computed, stored) = (crc.finish(), located.batch.crc());
        Ok((computed != stored).then(|| BatchError::WrongCrc { stored, computed }.to_string()))
    }

    /// Makes the window cover `size` bytes from the position, as far as the file has them.
    fn fill(&mut self, size: u64) -> Result<(), StorageError> {
        let wanted = size.min(self.end - self.position);
        if (self.ahead().len() as u64) < wanted {
            let ahead = self.upto.saturating_sub(self.position).min(WINDOW as u64).max(wanted);
            self.window.resize(usize::try_from(ahead).unwrap_or(usize::MAX), 0);
            let read = read_up_to(self.file, &mut self.window, self.position)
                .map_err(StorageError::io("read", self.path))?;
            self.window.truncate(read);
            self.window_start = self.position;
        }
        Ok(())
    }

    fn ahead(&self) -> &[u8] {
        let skip = self.position.checked_sub(self.window_start).and_then(|skip| usize::try_from(skip).ok());
        skip.and_then(|skip| self.window.get(skip..)).unwrap_or_default()
    }
}

/// Of magic 2, or of magic 0 and 1.
enum Crc {
    V2(u32),
    Legacy(crc32fast::Hasher),
}

impl Crc {
    fn update(&mut self, bytes: &[u8]) {
        match self {
            Crc::V2(crc) => *crc = crc32c::crc32c_append(*crc, bytes),
            Crc::Legacy(hasher) => hasher.update(bytes),
        }
    }

    fn finish(self) -> u32 {
        match self {
            Crc::V2(crc) => crc,
            Crc::Legacy(hasher) => hasher.finalize(),
        }
    }
}
