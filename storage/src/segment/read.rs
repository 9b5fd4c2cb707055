//! Reading a segment: finding a batch by offset or time, and handing out its bytes.

use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::walk::{Located, Walk};
use super::{Segment, to_usize};
use crate::batch::{BatchError, TimestampOffset, find_by_timestamp, find_max_timestamp};
use crate::disk::{FileBytes, read_up_to};
use crate::error::StorageError;
use crate::index::TimeEntry;
use crate::types::{Offset, TimestampMs};

/// A batch found by offset. Unit: bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) position: u64,
    pub(crate) size: u64,
}

/// How looking for a batch ended.
enum Searched {
    Found(Found),
    /// All batches are before; `upto` is where the last whole one ends. Unit: bytes.
    Nothing {
        upto: u64,
    },
}

/// What one read of a segment yields.
#[derive(Clone, Debug)]
pub(crate) struct SegmentSlice {
    pub(crate) records: FileBytes,
    /// Where they start in the file. Unit: bytes.
    pub(crate) position: u64,
    /// The limit did not even allow the first batch.
    pub(crate) first_incomplete: bool,
}

impl Segment {
    /// The first batch that ends at or behind `offset`, looking at the first `end` bytes.
    pub(crate) fn locate(&self, offset: Offset, end: u64) -> Result<Option<Found>, StorageError> {
        match self.search(offset, end)? {
            Searched::Found(found) => Ok(Some(found)),
            Searched::Nothing { .. } => Ok(None),
        }
    }

    fn search(&self, offset: Offset, end: u64) -> Result<Searched, StorageError> {
        let (file, path) = (self.handle.file()?, self.path());
        let hint = self.offsets.floor(offset)?;
        if let Some(hint) = hint {
            let mut walk = Walk::new(file.as_ref(), &path, u64::from(hint.position), end);
            match walk.next() {
                Ok(Some(first)) if starts_at_or_below(&first, hint.offset) => {
                    return find(Some(first), &mut walk, offset);
                }
                // A hint behind the end is left over from something cut; one that leads elsewhere is damage.
                Ok(None) => {}
                Ok(Some(_)) | Err(StorageError::Corrupt { .. }) => tracing::warn!(
                    path = %path.display(),
                    position = hint.position,
                    "the offset index leads to no batch, reading without it; remove the .index file and restart to have it rebuilt"
                ),
                Err(error) => return Err(error),
            }
        }
        find(None, &mut Walk::new(file.as_ref(), &path, 0, end), offset)
    }

    /// Records from the batch that contains `from`, or the next one, up to position `end`; at most `max` bytes, but
    /// with `at_least_one` never less than that batch. `None`: this segment has nothing at or behind `from`.
    ///
    /// Ends anywhere, even within a batch, as Kafka's answers do; and before a batch with a wrong checksum, which is an
    /// error once it is the first.
    pub(crate) fn read(
        &self,
        from: Offset,
        max: usize,
        end: u64,
        at_least_one: bool,
    ) -> Result<Option<SegmentSlice>, StorageError> {
        let size = self.size();
        let found = match self.search(from, size)? {
            Searched::Found(found) => found,
            Searched::Nothing { upto } if upto == size => return Ok(None),
            Searched::Nothing { upto } => {
                return Err(StorageError::corrupt(&self.path(), upto, "the batch is cut off"));
            }
        };
        let limit = if at_least_one { max.max(to_usize(found.size)) } else { max };
        let length = end.min(size).saturating_sub(found.position).min(limit as u64);
        let upto = self.sound_upto(found.position, found.position + length)?;
        let records = self.slice(found.position, upto)?;
        let first_incomplete = limit < to_usize(found.size);
        Ok(Some(SegmentSlice { records, position: found.position, first_incomplete }))
    }

    /// Bytes `from..upto` of the file, below `size`.
    pub(crate) fn slice(&self, from: u64, upto: u64) -> Result<FileBytes, StorageError> {
        if from >= upto {
            return Ok(FileBytes::default());
        }
        let reserve = self.reserve.load(Ordering::Relaxed).max(upto);
        self.handle.slice(to_usize(from), to_usize(upto), reserve)
    }

    /// Where the records below `upto` end, and the batch with `upto` begins. Unit: bytes.
    pub(crate) fn end_of(&self, upto: Offset) -> Result<u64, StorageError> {
        let size = self.size();
        Ok(self.locate(upto, size)?.map_or(size, |found| found.position))
    }

    /// The first offset that is surely behind a read of `length` bytes from `position`; `None`: the next segment's.
    pub(crate) fn upper_bound(&self, position: u64, length: u64) -> Result<Option<Offset>, StorageError> {
        let Some(entry) = self.offsets.at_or_behind(position + length)? else { return Ok(None) };
        let (file, path) = (self.handle.file()?, self.path());
        let mut walk = Walk::new(file.as_ref(), &path, u64::from(entry.position), self.size());
        match walk.next() {
            Ok(Some(first)) if starts_at_or_below(&first, entry.offset) => Ok(Some(entry.offset)),
            // Damage. Without the index the answer is only less sharp.
            Ok(_) | Err(StorageError::Corrupt { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The first record at or behind `from` that is not older than `target`.
    pub(crate) fn find_by_timestamp(
        &self,
        target: TimestampMs,
        from: Offset,
    ) -> Result<Option<TimestampOffset>, StorageError> {
        let indexed = match self.times.floor(target)? {
            Some(hint) if self.is_borne_out(hint)? => hint.offset,
            Some(_) => {
                tracing::warn!(path = %self.path().display(), "the time index leads to no batch of its time, reading without it; remove the .timeindex file and restart to have it rebuilt");
                self.base
            }
            None => self.base,
        };
        let start = self.end_of(indexed.max(from))?;
        let (file, path) = (self.handle.file()?, self.path());
        let mut walk = Walk::new(file.as_ref(), &path, start, self.size());
        while let Some(located) = walk.next()? {
            if located.batch.max_timestamp() >= target {
                let entry = self.sound_entry(&located)?;
                let found = find_by_timestamp(&entry, target, from);
                if let Some(found) = self.decoded(&located, found)? {
                    return Ok(Some(found));
                }
            }
        }
        Ok(None)
    }

    /// Whether the batch that `entry` of the time index points to has that time.
    pub(super) fn is_borne_out(&self, entry: TimeEntry) -> Result<bool, StorageError> {
        let size = self.size();
        let Some(found) = self.locate(entry.offset, size)? else { return Ok(false) };
        let (file, path) = (self.handle.file()?, self.path());
        let batch = Walk::new(file.as_ref(), &path, found.position, size).next()?;
        Ok(batch.is_some_and(|located| located.batch.max_timestamp() == entry.timestamp))
    }

    /// The first record that has the segment's youngest timestamp.
    pub(crate) fn find_largest(&self) -> Result<Option<TimestampOffset>, StorageError> {
        let largest = self.largest()?;
        let start = self.end_of(largest.offset)?;
        let (file, path) = (self.handle.file()?, self.path());
        let mut walk = Walk::new(file.as_ref(), &path, start, self.size());
        while let Some(located) = walk.next()? {
            if located.batch.max_timestamp() == largest.timestamp {
                let entry = self.sound_entry(&located)?;
                let found = find_max_timestamp(&entry);
                return self.decoded(&located, found);
            }
        }
        Ok(None)
    }

    /// Bytes of a batch, copied out of the file.
    pub(crate) fn entry(&self, located: &Located) -> Result<Bytes, StorageError> {
        let file = self.handle.file()?;
        let path = self.path();
        // Not larger than the file, which the walk has checked.
        let mut entry = vec![0; to_usize(located.size)];
        let read = read_up_to(file.as_ref(), &mut entry, located.position)
            .map_err(StorageError::io("read", &path))?;
        if read < entry.len() {
            return Err(StorageError::corrupt(&path, located.position, "the batch is cut off"));
        }
        Ok(Bytes::from(entry))
    }

    /// The same of a batch that is to be looked into, with its checksum.
    fn sound_entry(&self, located: &Located) -> Result<Bytes, StorageError> {
        let entry = self.entry(located)?;
        let checked = located.batch.check_crc(&entry);
        self.decoded(located, checked)?;
        Ok(entry)
    }

    fn decoded<T>(&self, located: &Located, result: Result<T, BatchError>) -> Result<T, StorageError> {
        result.map_err(|error| StorageError::corrupt(&self.path(), located.position, error.to_string()))
    }
}

fn starts_at_or_below(located: &Located, offset: Offset) -> bool {
    located.batch.first_or_last_offset() <= offset
}

fn find(first: Option<Located>, walk: &mut Walk<'_>, offset: Offset) -> Result<Searched, StorageError> {
    let mut next = first;
    loop {
        let located = match next.take() {
            Some(located) => located,
            None => match walk.next()? {
                Some(located) => located,
                None => return Ok(Searched::Nothing { upto: walk.position() }),
            },
        };
        if located.batch.last_offset() >= offset {
            return Ok(Searched::Found(Found { position: located.position, size: located.size }));
        }
    }
}
