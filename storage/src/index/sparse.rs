//! What the offset and the time index have in common: a sorted file of fixed-size entries.
//!
//! The file has Kafka's form: at full size and zero-filled while its segment is active, cut to its entries when the
//! segment rolls or closes. Unlike Kafka's it is not mapped and not kept open: new entries gather in memory and are
//! written 64 at a time, so that an idle partition costs neither descriptor nor mapping nor memory. After a crash
//! the file may miss the last entries; recovery rebuilds them.

use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::{DiskFile, Open, read_up_to, write_all};
use crate::error::StorageError;
use crate::segment::files::{FileKind, Files};
use crate::types::Offset;

/// Entries written at a time. With a batch of 16 KiB an entry, one small write for each MiB of log.
const CHUNK: usize = 64;

/// Entries of the file that a search reads in one go when it has come that close.
const BLOCK: usize = 512;

pub(crate) trait Entry: Copy + PartialEq + std::fmt::Debug {
    /// Bytes an entry takes in the file.
    const SIZE: usize;
    const KIND: FileKind;
    /// Appends the entry's bytes, its offset relative to `base`.
    fn encode(&self, base: Offset, bytes: &mut Vec<u8>);
    /// `bytes` has `SIZE` bytes.
    fn decode(base: Offset, bytes: &[u8]) -> Self;
    /// Grows from entry to entry.
    fn offset(&self) -> Offset;
}

/// The neighbours of the place where a predicate stops being true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds<E> {
    /// Entries in front of that place.
    pub(super) count: usize,
    pub(super) before: Option<E>,
    pub(super) after: Option<E>,
}

#[derive(Debug)]
pub(crate) struct SparseIndex<E> {
    files: Arc<Files>,
    state: Mutex<State<E>>,
}

#[derive(Debug)]
struct State<E> {
    /// All entries, those in memory included.
    count: usize,
    /// The last entries. Everything before them is in the file.
    tail: Vec<E>,
    /// How many of the tail's last are not in the file yet.
    unwritten: usize,
    /// Entries that fit; an active segment rolls when it is reached.
    capacity: usize,
    /// Length the file has, as far as known. Unit: bytes.
    length: u64,
}

impl<E: Entry> SparseIndex<E> {
    /// An index found on disk with `length` bytes, all of them entries.
    pub(crate) fn existing(files: Arc<Files>, length: u64) -> SparseIndex<E> {
        let count = usize::try_from(length).unwrap_or(usize::MAX) / E::SIZE;
        let state = State { count, tail: Vec::new(), unwritten: 0, capacity: count, length };
        SparseIndex { files, state: Mutex::new(state) }
    }

    /// Creates an empty index at its full size of `max_bytes`, rounded down to whole entries.
    pub(crate) fn create(files: Arc<Files>, max_bytes: u32) -> Result<SparseIndex<E>, StorageError> {
        let index = SparseIndex::existing(files, 0);
        let file = index.open(Open::Replace)?;
        {
            let mut state = index.state();
            state.capacity = capacity::<E>(max_bytes);
            index.set_length(&mut state, file.as_ref())?;
        }
        Ok(index)
    }

    /// Makes room for `max_bytes` of entries. The file grows with the next entry that is written.
    pub(crate) fn reserve(&self, max_bytes: u32) {
        let mut state = self.state();
        state.capacity = capacity::<E>(max_bytes).max(state.count);
    }

    pub(super) fn count(&self) -> usize {
        self.state().count
    }

    /// Unit: bytes of all entries.
    pub(crate) fn size(&self) -> u64 {
        (self.count() * E::SIZE) as u64
    }

    pub(super) fn capacity(&self) -> usize {
        self.state().capacity
    }

    pub(crate) fn last(&self) -> Result<Option<E>, StorageError> {
        let count = {
            let state = self.state();
            if let Some(last) = state.tail.last() {
                return Ok(Some(*last));
            }
            state.count
        };
        let Some(slot) = count.checked_sub(1) else { return Ok(None) };
        let file = self.open(Open::Read)?;
        let last = self.entry(file.as_ref(), slot)?;
        let mut state = self.state();
        if state.count == count && state.tail.is_empty() {
            state.tail.push(last);
        }
        Ok(Some(last))
    }

    /// Adds an entry behind the last, in memory; the caller checks that it is larger. Yields whether it is time to
    /// [write](Self::write_out) them.
    pub(super) fn add(&self, entry: E) -> bool {
        let mut state = self.state();
        if state.count >= state.capacity {
            return false;
        }
        state.tail.push(entry);
        state.count += 1;
        state.unwritten += 1;
        state.unwritten.is_multiple_of(CHUNK)
    }

    /// Brings the entries to the file. Where it cannot be written now they stay in memory until it can: false.
    pub(crate) fn write_out(&self) -> bool {
        let mut state = self.state();
        match self.write(&mut state) {
            Ok(()) => {
                let old = state.tail.len().saturating_sub(CHUNK);
                state.tail.drain(..old);
                true
            }
            Err(error) => {
                tracing::warn!(%error, "index entries stay in memory for now");
                false
            }
        }
    }

    /// Of the segment.
    pub(super) fn base(&self) -> Offset {
        self.files.base
    }

    /// Keeps the first `count` entries of an index that was just found, and nothing else in the file.
    pub(super) fn cut_back(&self, count: usize, max_bytes: u32) -> Result<(), StorageError> {
        let mut state = self.state();
        let length = (count * E::SIZE) as u64;
        if state.length != length {
            let path = self.files.path(E::KIND);
            let file = self.open(Open::Create)?;
            file.set_len(length).map_err(StorageError::io("cut", &path))?;
        }
        let capacity = capacity::<E>(max_bytes).max(count);
        *state = State { count, tail: Vec::new(), unwritten: 0, capacity, length };
        Ok(())
    }

    /// Like [`SparseIndex::add`] in a segment that gets no more entries: room for one more is always made.
    pub(super) fn add_last(&self, entry: E) {
        let mut state = self.state();
        state.capacity = state.capacity.max(state.count + 1);
        drop(state);
        self.add(entry);
    }

    /// Brings everything to the file and, with `sync`, from there to the disk.
    pub(crate) fn flush(&self, sync: bool) -> Result<(), StorageError> {
        self.write(&mut self.state())?;
        if !sync {
            return Ok(());
        }
        let path = self.files.path(E::KIND);
        match self.files.open(E::KIND, Open::Write) {
            Ok(file) => file.sync().map_err(StorageError::io("sync", &path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(StorageError::io("open", &path)(error)),
        }
    }

    /// Writes everything and cuts the file to its entries: the form of a segment that gets no more.
    pub(crate) fn trim(&self) -> Result<(), StorageError> {
        let mut state = self.state();
        self.write(&mut state)?;
        let trimmed = (state.count * E::SIZE) as u64;
        if state.length != trimmed {
            let path = self.files.path(E::KIND);
            let file = self.open(Open::Create)?;
            file.set_len(trimmed).map_err(StorageError::io("cut", &path))?;
            state.length = trimmed;
        }
        state.capacity = state.count;
        state.tail.drain(..);
        Ok(())
    }

    /// Drops all entries and makes room for `max_bytes` of new ones.
    pub(crate) fn reset(&self, max_bytes: u32) -> Result<(), StorageError> {
        let file = self.open(Open::Replace)?;
        let mut state = self.state();
        let capacity = capacity::<E>(max_bytes);
        *state = State { count: 0, tail: Vec::new(), unwritten: 0, capacity, length: 0 };
        drop(file);
        Ok(())
    }

    /// Keeps the entries below `offset` and makes room for `max_bytes`.
    pub(crate) fn truncate_to(&self, offset: Offset, max_bytes: u32) -> Result<(), StorageError> {
        let kept = self.search(|entry| entry.offset() < offset)?.count;
        self.truncate(kept, max_bytes)
    }

    /// Keeps the first `count` entries and makes room for `max_bytes`.
    fn truncate(&self, count: usize, max_bytes: u32) -> Result<(), StorageError> {
        let mut state = self.state();
        let on_disk = state.count - state.unwritten;
        if count < state.count {
            let first_in_tail = state.count - state.tail.len();
            let kept = count.saturating_sub(first_in_tail);
            state.tail.truncate(kept);
            state.count = count;
            state.unwritten = count.saturating_sub(on_disk);
        }
        state.capacity = capacity::<E>(max_bytes).max(state.count);
        let file = self.open(Open::Create)?;
        self.set_length(&mut state, file.as_ref())
    }

    /// Where `holds` turns from true to false. It must be true for a prefix of the entries and false for the rest.
    pub(super) fn search(&self, holds: impl Fn(&E) -> bool) -> Result<Bounds<E>, StorageError> {
        let (in_file, first_of_tail) = {
            let state = self.state();
            let in_file = state.count - state.tail.len();
            match state.tail.first() {
                Some(first) if in_file == 0 || holds(first) => {
                    let count = state.tail.partition_point(&holds);
                    let before = count.checked_sub(1).and_then(|slot| state.tail.get(slot).copied());
                    return Ok(Bounds {
                        count: in_file + count,
                        before,
                        after: state.tail.get(count).copied(),
                    });
                }
                first => (in_file, first.copied()),
            }
        };
        if in_file == 0 {
            return Ok(Bounds { count: 0, before: None, after: None });
        }
        self.search_file(in_file, first_of_tail, holds)
    }

    fn search_file(
        &self,
        in_file: usize,
        behind: Option<E>,
        holds: impl Fn(&E) -> bool,
    ) -> Result<Bounds<E>, StorageError> {
        let file = self.open(Open::Read)?;
        let (mut low, mut high) = (0, in_file);
        while high - low > BLOCK {
            let middle = low + (high - low) / 2;
            if holds(&self.entry(file.as_ref(), middle)?) { low = middle } else { high = middle + 1 }
        }
        // `low - 1` and `high` are known only where the search has looked at them: read both neighbours too.
        let first = low.saturating_sub(1);
        let block = self.entries(file.as_ref(), first, (high + 1).min(in_file))?;
        let count = block.partition_point(&holds);
        let before = count.checked_sub(1).and_then(|slot| block.get(slot).copied());
        let after = match block.get(count) {
            Some(after) => Some(*after),
            None => behind,
        };
        Ok(Bounds { count: first + count, before, after })
    }

    fn entry(&self, file: &dyn DiskFile, slot: usize) -> Result<E, StorageError> {
        let entries = self.entries(file, slot, slot + 1)?;
        entries.first().copied().ok_or_else(|| self.too_short(slot))
    }

    fn entries(&self, file: &dyn DiskFile, from: usize, upto: usize) -> Result<Vec<E>, StorageError> {
        let mut bytes = vec![0; (upto - from) * E::SIZE];
        let path = || self.files.path(E::KIND);
        let read = read_up_to(file, &mut bytes, (from * E::SIZE) as u64)
            .map_err(|error| StorageError::io("read", &path())(error))?;
        if read < bytes.len() {
            return Err(self.too_short(from));
        }
        Ok(bytes.chunks_exact(E::SIZE).map(|entry| E::decode(self.files.base, entry)).collect())
    }

    fn too_short(&self, slot: usize) -> StorageError {
        StorageError::corrupt(&self.files.path(E::KIND), (slot * E::SIZE) as u64, "the index ends here")
    }

    fn write(&self, state: &mut State<E>) -> Result<(), StorageError> {
        if state.unwritten == 0 {
            return Ok(());
        }
        let path = self.files.path(E::KIND);
        let file = self.open(Open::Create)?;
        self.set_length(state, file.as_ref())?;
        let mut bytes = Vec::with_capacity(state.unwritten * E::SIZE);
        let first = state.tail.len() - state.unwritten;
        for entry in state.tail.iter().skip(first) {
            entry.encode(self.files.base, &mut bytes);
        }
        let position = ((state.count - state.unwritten) * E::SIZE) as u64;
        write_all(file.as_ref(), &mut [IoSlice::new(&bytes)], position)
            .map_err(StorageError::io("write", &path))?;
        state.unwritten = 0;
        Ok(())
    }

    /// Brings the file to the size of its capacity.
    fn set_length(&self, state: &mut State<E>, file: &dyn DiskFile) -> Result<(), StorageError> {
        let wanted = (state.capacity * E::SIZE) as u64;
        if state.length != wanted {
            let path = self.files.path(E::KIND);
            file.set_len(wanted).map_err(StorageError::io("resize", &path))?;
            state.length = wanted;
        }
        Ok(())
    }

    fn open(&self, how: Open) -> Result<Arc<dyn DiskFile>, StorageError> {
        let path = self.files.path(E::KIND);
        self.files.open(E::KIND, how).map_err(StorageError::io("open", &path))
    }

    fn state(&self) -> MutexGuard<'_, State<E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn capacity<E: Entry>(max_bytes: u32) -> usize {
    usize::try_from(max_bytes).unwrap_or(usize::MAX) / E::SIZE
}
