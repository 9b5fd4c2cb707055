//! `.index`: from the last offset of a batch to its position. 8 bytes an entry, relative offset and position.

use std::sync::Arc;

use super::sparse::{Entry, SparseIndex};
use crate::error::StorageError;
use crate::segment::files::{FileKind, Files};
use crate::types::Offset;

/// The batch at `position` contains `offset` as its last, or is the first of an append that ends with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OffsetEntry {
    pub(crate) offset: Offset,
    /// Unit: bytes from the start of the segment.
    pub(crate) position: u32,
}

impl Entry for OffsetEntry {
    const SIZE: usize = 8;
    const KIND: FileKind = FileKind::OffsetIndex;

    fn encode(&self, base: Offset, bytes: &mut Vec<u8>) {
        // Relative offsets fit 32 bits: a segment rolls before they do not.
        bytes.extend_from_slice(&((self.offset - base) as u32).to_be_bytes());
        bytes.extend_from_slice(&self.position.to_be_bytes());
    }

    fn decode(base: Offset, bytes: &[u8]) -> Self {
        let field = |at: usize| {
            bytes.get(at..at + 4).and_then(|field| field.try_into().ok()).map_or(0, u32::from_be_bytes)
        };
        OffsetEntry { offset: Offset(base.0.saturating_add(i64::from(field(0)))), position: field(4) }
    }
}

#[derive(Debug)]
pub(crate) struct OffsetIndex {
    entries: SparseIndex<OffsetEntry>,
}

impl OffsetIndex {
    pub(crate) fn existing(files: Arc<Files>, length: u64) -> OffsetIndex {
        OffsetIndex { entries: SparseIndex::existing(files, length) }
    }

    pub(crate) fn create(files: Arc<Files>, max_bytes: u32) -> Result<OffsetIndex, StorageError> {
        Ok(OffsetIndex { entries: SparseIndex::create(files, max_bytes)? })
    }

    pub(crate) fn reserve(&self, max_bytes: u32) {
        self.entries.reserve(max_bytes);
    }

    pub(crate) fn is_full(&self) -> bool {
        self.entries.count() >= self.entries.capacity()
    }

    pub(crate) fn last(&self) -> Result<Option<OffsetEntry>, StorageError> {
        self.entries.last()
    }

    pub(crate) fn push(&self, entry: OffsetEntry) {
        self.entries.push(entry);
    }

    /// The last entry not above `offset`: searching for it may start at that position.
    pub(crate) fn floor(&self, offset: Offset) -> Result<Option<OffsetEntry>, StorageError> {
        Ok(self.entries.search(|entry| entry.offset <= offset)?.before)
    }

    /// The first entry at or behind `position`.
    pub(crate) fn at_or_behind(&self, position: u64) -> Result<Option<OffsetEntry>, StorageError> {
        Ok(self.entries.search(|entry| u64::from(entry.position) < position)?.after)
    }

    /// Keeps the entries below `offset`.
    pub(crate) fn truncate_to(&self, offset: Offset, max_bytes: u32) -> Result<(), StorageError> {
        let kept = self.entries.search(|entry| entry.offset < offset)?.count;
        self.entries.truncate(kept, max_bytes)
    }

    pub(crate) fn reset(&self, max_bytes: u32) -> Result<(), StorageError> {
        self.entries.reset(max_bytes)
    }

    /// Unit: bytes of all entries.
    pub(crate) fn size(&self) -> u64 {
        (self.entries.count() * OffsetEntry::SIZE) as u64
    }

    pub(crate) fn trim(&self) -> Result<(), StorageError> {
        self.entries.trim()
    }

    pub(crate) fn flush(&self, sync: bool) -> Result<(), StorageError> {
        self.entries.flush(sync)
    }
}
