//! The entries of the three indexes of a segment, as they lie in their files.

use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, DiskFile, Open, read_up_to};
use crate::error::StorageError;
use crate::index::{
    ABORTED_TRANSACTION_SIZE, AbortedTransaction, Entry, OffsetEntry, TimeEntry, decode_aborted,
};
use crate::types::{Offset, TimestampMs};

/// Entries read at a time.
const CHUNK: usize = 4096;

/// An entry of `.index`: the batch at `position` contains `offset`, or is the first of an append that ends with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetPlace {
    pub offset: Offset,
    /// Unit: bytes from the start of the record file.
    pub position: u32,
}

/// An entry of `.timeindex`: no record up to `offset` is younger than `timestamp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimePlace {
    pub timestamp: TimestampMs,
    pub offset: Offset,
}

impl From<OffsetEntry> for OffsetPlace {
    fn from(entry: OffsetEntry) -> OffsetPlace {
        OffsetPlace { offset: entry.offset, position: entry.position }
    }
}

impl From<TimeEntry> for TimePlace {
    fn from(entry: TimeEntry) -> TimePlace {
        TimePlace { timestamp: entry.timestamp, offset: entry.offset }
    }
}

/// The entries of an index, read piece by piece. Zeroes at the end are room for more and no entries.
#[derive(Debug)]
pub struct IndexEntries<T> {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    base: Offset,
    entry_size: usize,
    decode: fn(Offset, &[u8]) -> T,
    /// Unit: bytes.
    length: u64,
    /// Of the next chunk. Unit: bytes.
    position: u64,
    chunk: Vec<u8>,
    /// Of the next entry in the chunk. Unit: bytes.
    next: usize,
    /// From here on the chunk holds zeroes. Unit: bytes.
    written: usize,
    kind: PhantomData<T>,
}

/// The entries of a `.index`; `base` is the number in its name.
pub fn offset_index(
    disk: &dyn Disk,
    path: &Path,
    base: Offset,
) -> Result<IndexEntries<OffsetPlace>, StorageError> {
    IndexEntries::open(disk, path, base, OffsetEntry::SIZE, |base, bytes| {
        OffsetEntry::decode(base, bytes).into()
    })
}

/// The entries of a `.timeindex`; `base` is the number in its name.
pub fn time_index(
    disk: &dyn Disk,
    path: &Path,
    base: Offset,
) -> Result<IndexEntries<TimePlace>, StorageError> {
    IndexEntries::open(disk, path, base, TimeEntry::SIZE, |base, bytes| TimeEntry::decode(base, bytes).into())
}

impl<T> IndexEntries<T> {
    fn open(
        disk: &dyn Disk,
        path: &Path,
        base: Offset,
        entry_size: usize,
        decode: fn(Offset, &[u8]) -> T,
    ) -> Result<IndexEntries<T>, StorageError> {
        let file = disk.open(path, Open::Read).map_err(StorageError::io("open", path))?;
        let length = file.size().map_err(StorageError::io("look at", path))?;
        Ok(IndexEntries {
            file,
            path: path.to_path_buf(),
            base,
            entry_size,
            decode,
            length,
            position: 0,
            chunk: Vec::new(),
            next: 0,
            written: 0,
            kind: PhantomData,
        })
    }

    /// Of the file. Unit: bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Bytes behind the last whole entry; 0 in a file that is as it should be.
    #[must_use]
    pub fn torn_bytes(&self) -> u64 {
        self.length % self.entry_size as u64
    }

    /// The next entry and where it lies.
    pub fn next_entry(&mut self) -> Result<Option<(u64, T)>, StorageError> {
        if self.next >= self.chunk.len() {
            self.fill()?;
        }
        let rest = self.chunk.get(self.next..).unwrap_or_default();
        let Some(bytes) = rest.get(..self.entry_size) else { return Ok(None) };
        // One entry of zeroes that fills the file is an entry: of the time 0. More of them are room.
        let only = self.length == self.entry_size as u64;
        if self.next >= self.written && !only && self.is_room()? {
            return Ok(None);
        }
        let position = self.position - self.chunk.len() as u64 + self.next as u64;
        let entry = (self.decode)(self.base, bytes);
        self.next += self.entry_size;
        Ok(Some((position, entry)))
    }

    fn fill(&mut self) -> Result<(), StorageError> {
        self.chunk = self.read(self.position)?;
        self.position += self.chunk.len() as u64;
        self.next = 0;
        self.written = self.chunk.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        Ok(())
    }

    /// Whether the chunk behind this one holds nothing either. What lies further behind is not looked at.
    fn is_room(&self) -> Result<bool, StorageError> {
        Ok(self.read(self.position)?.iter().all(|byte| *byte == 0))
    }

    /// Whole entries from `position` on.
    fn read(&self, position: u64) -> Result<Vec<u8>, StorageError> {
        let whole = (self.length - self.torn_bytes()).saturating_sub(position);
        let wanted = usize::try_from(whole).unwrap_or(usize::MAX).min(CHUNK * self.entry_size);
        let mut chunk = vec![0; wanted];
        let read = read_up_to(self.file.as_ref(), &mut chunk, position)
            .map_err(StorageError::io("read", &self.path))?;
        chunk.truncate(read - read % self.entry_size);
        Ok(chunk)
    }
}

/// The entries of a `.txnindex` and where they lie.
pub fn aborted_transactions(
    disk: &dyn Disk,
    path: &Path,
) -> Result<Vec<(u64, AbortedTransaction)>, StorageError> {
    let mut raw = IndexEntries::open(disk, path, Offset::ZERO, ABORTED_TRANSACTION_SIZE, |_, bytes| {
        decode_aborted(bytes)
    })?;
    let mut entries = Vec::new();
    while let Some((position, decoded)) = raw.next_entry()? {
        let unknown = || StorageError::corrupt(path, position, "unknown version of an aborted transaction");
        entries.push((position, decoded.ok_or_else(unknown)?));
    }
    match raw.torn_bytes() {
        0 => Ok(entries),
        torn => Err(StorageError::corrupt(path, raw.length() - torn, "the last entry is cut off")),
    }
}
