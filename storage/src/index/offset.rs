//! `.index`: from the last offset of a batch to its position. 8 bytes an entry, relative offset and position.

use super::sparse::{Entry, SparseIndex};
use crate::error::StorageError;
use crate::segment::files::FileKind;
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

    fn offset(&self) -> Offset {
        self.offset
    }
}

pub(crate) type OffsetIndex = SparseIndex<OffsetEntry>;

impl OffsetIndex {
    pub(crate) fn is_full(&self) -> bool {
        self.count() >= self.capacity()
    }

    /// Yields whether it is time to write.
    pub(crate) fn push(&self, entry: OffsetEntry) -> bool {
        self.add(entry)
    }

    /// The last entry not above `offset`: searching for it may start at that position.
    pub(crate) fn floor(&self, offset: Offset) -> Result<Option<OffsetEntry>, StorageError> {
        Ok(self.search(|entry| entry.offset <= offset)?.before)
    }

    /// The first entry at or behind `position`.
    pub(crate) fn at_or_behind(&self, position: u64) -> Result<Option<OffsetEntry>, StorageError> {
        Ok(self.search(|entry| u64::from(entry.position) < position)?.after)
    }

    /// Keeps the entries in the file that lie within `size` bytes of records, without the last of them: the one that
    /// was being written may be there without its time. Yields the last that is kept.
    pub(crate) fn rewind(&self, max_bytes: u32, size: u64) -> Result<Option<OffsetEntry>, StorageError> {
        // Before the first entry lie batches, so no entry has position 0; the unused rest of the file has.
        let holds = |entry: &OffsetEntry| entry.position > 0 && u64::from(entry.position) < size;
        let kept = self.search(holds)?.count.saturating_sub(1);
        self.cut_back(kept, max_bytes)?;
        self.last()
    }
}
