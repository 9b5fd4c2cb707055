//! `.txnindex`: the transactions that were aborted in a segment. 34 bytes an entry, in the order they ended.
//!
//! The file exists only once there is one. Readers scan it from the start, which Kafka does too: aborts are rare.

use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::{Open, read_up_to, write_all};
use crate::error::StorageError;
use crate::segment::files::{FileKind, Files};
use crate::types::{Offset, ProducerId};

pub(crate) const SIZE: usize = 34;
const VERSION: i16 = 0;

/// Entries read at a time.
const CHUNK: usize = 120;

/// A transaction whose records consumers of committed data must skip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    pub producer: ProducerId,
    pub first: Offset,
    /// Of the abort marker.
    pub last: Offset,
    /// Last stable offset after the abort: whoever reads below it has seen every transaction that matters.
    pub last_stable: Offset,
}

impl AbortedTransaction {
    fn encode(&self) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        bytes[0..2].copy_from_slice(&VERSION.to_be_bytes());
        bytes[2..10].copy_from_slice(&self.producer.0.to_be_bytes());
        bytes[10..18].copy_from_slice(&self.first.0.to_be_bytes());
        bytes[18..26].copy_from_slice(&self.last.0.to_be_bytes());
        bytes[26..34].copy_from_slice(&self.last_stable.0.to_be_bytes());
        bytes
    }

    /// `None` where the version is not one we know.
    fn decode(bytes: &[u8]) -> Option<AbortedTransaction> {
        let version = i16::from_be_bytes(*bytes.first_chunk()?);
        let field =
            |at: usize| -> Option<i64> { Some(i64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?)) };
        let entry = AbortedTransaction {
            producer: ProducerId(field(2)?),
            first: Offset(field(10)?),
            last: Offset(field(18)?),
            last_stable: Offset(field(26)?),
        };
        (version == VERSION).then_some(entry)
    }

    /// Why no broker would have written this entry, behind `before`, to the segment that starts at `base`.
    #[must_use]
    pub fn fault(&self, base: Offset, before: Option<AbortedTransaction>) -> Option<&'static str> {
        let is_behind =
            |before: AbortedTransaction| self.last > before.last && self.last_stable >= before.last_stable;
        if self.last < base || self.last.0.wrapping_sub(base.0) > i64::from(i32::MAX) {
            Some("a transaction ends outside of the segment")
        } else if self.producer.0 < 0 || self.first.0 < 0 || self.first > self.last {
            Some("a transaction without a producer or without records")
        } else if self.last_stable.0 < 0 || self.last_stable.0 > self.last.0.saturating_add(1) {
            Some("a last stable offset behind the end of its transaction")
        } else if !before.is_none_or(is_behind) {
            Some("transactions are not in the order in which they ended")
        } else {
            None
        }
    }
}

/// See [`AbortedTransaction`].
pub(crate) fn decode(bytes: &[u8]) -> Option<AbortedTransaction> {
    AbortedTransaction::decode(bytes)
}

#[derive(Debug)]
pub(crate) struct TransactionIndex {
    files: Arc<Files>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Bytes of whole entries in the file; 0 where there is none.
    length: u64,
    /// Entries behind those, for which the disk had no room yet.
    waiting: Vec<AbortedTransaction>,
}

impl TransactionIndex {
    /// `length` is that of the file found on disk, 0 without one. A torn last entry is overwritten by the next.
    pub(crate) fn new(files: Arc<Files>, length: u64) -> TransactionIndex {
        let state = State { length: length - length % SIZE as u64, waiting: Vec::new() };
        TransactionIndex { files, state: Mutex::new(state) }
    }

    /// The records of the transaction are in the log already, so a full disk is no error: the entry waits in memory
    /// until there is room.
    pub(crate) fn append(&self, entry: AbortedTransaction) -> Result<(), StorageError> {
        let mut state = self.state();
        state.waiting.push(entry);
        match self.write_waiting(&mut state) {
            Err(error) if error.is_out_of_space() => {
                tracing::warn!(%error, "an aborted transaction is noted in memory for now");
                Ok(())
            }
            Err(error) => {
                state.waiting.pop();
                Err(error)
            }
            Ok(()) => Ok(()),
        }
    }

    fn write_waiting(&self, state: &mut State) -> Result<(), StorageError> {
        if state.waiting.is_empty() {
            return Ok(());
        }
        let path = self.files.path(FileKind::TransactionIndex);
        let file = self
            .files
            .open(FileKind::TransactionIndex, Open::Create)
            .map_err(StorageError::io("open", &path))?;
        let bytes: Vec<u8> = state.waiting.iter().flat_map(|entry| entry.encode()).collect();
        write_all(file.as_ref(), &mut [IoSlice::new(&bytes)], state.length)
            .map_err(StorageError::io("write", &path))?;
        state.length += bytes.len() as u64;
        state.waiting.clear();
        Ok(())
    }

    /// The transaction that ended last.
    pub(crate) fn last(&self) -> Result<Option<AbortedTransaction>, StorageError> {
        let mut last = None;
        self.scan(|_, entry| {
            last = Some(entry);
            true
        })?;
        Ok(last)
    }

    /// Adds to `found` what a reader of `from..upto` must know. True where no later segment can add to it.
    pub(crate) fn collect(
        &self,
        from: Offset,
        upto: Offset,
        found: &mut Vec<AbortedTransaction>,
    ) -> Result<bool, StorageError> {
        let mut complete = false;
        self.scan(|_, entry| {
            if entry.last >= from && entry.first < upto {
                found.push(entry);
            }
            complete = entry.last_stable >= upto;
            !complete
        })?;
        Ok(complete)
    }

    /// Drops the transactions that ended at or behind `offset`.
    pub(crate) fn truncate_to(&self, offset: Offset) -> Result<(), StorageError> {
        let mut kept = None;
        self.scan(|position, entry| {
            let keep = entry.last < offset;
            if !keep {
                kept = Some(position);
            }
            keep
        })?;
        match kept {
            Some(position) => self.cut(position),
            None => Ok(()),
        }
    }

    /// Drops everything.
    pub(crate) fn reset(&self) -> Result<(), StorageError> {
        if self.is_empty() { Ok(()) } else { self.cut(0) }
    }

    fn is_empty(&self) -> bool {
        let state = self.state();
        state.length == 0 && state.waiting.is_empty()
    }

    /// Refuses entries no broker would have written to this segment.
    pub(crate) fn check(&self) -> Result<(), StorageError> {
        let (mut bad, mut before) = (None, None);
        self.scan(|position, entry| {
            bad = entry.fault(self.files.base, before).map(|fault| (position, fault));
            before = Some(entry);
            bad.is_none()
        })?;
        match bad {
            Some((position, fault)) => Err(self.corrupt(position, fault)),
            None => Ok(()),
        }
    }

    pub(crate) fn sync(&self) -> Result<(), StorageError> {
        if self.is_empty() {
            return Ok(());
        }
        self.write_waiting(&mut self.state())?;
        let path = self.files.path(FileKind::TransactionIndex);
        match self.files.open(FileKind::TransactionIndex, Open::Write) {
            Ok(file) => file.sync().map_err(StorageError::io("sync", &path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(StorageError::io("open", &path)(error)),
        }
    }

    fn cut(&self, position: u64) -> Result<(), StorageError> {
        let mut state = self.state();
        if position >= state.length {
            let kept = usize::try_from((position - state.length) / SIZE as u64).unwrap_or(usize::MAX);
            state.waiting.truncate(kept);
            return Ok(());
        }
        let path = self.files.path(FileKind::TransactionIndex);
        let file = self
            .files
            .open(FileKind::TransactionIndex, Open::Write)
            .map_err(StorageError::io("open", &path))?;
        file.set_len(position).map_err(StorageError::io("cut", &path))?;
        *state = State { length: position, waiting: Vec::new() };
        Ok(())
    }

    /// Shows every entry with its position to `visit`, until that says false.
    fn scan(&self, mut visit: impl FnMut(u64, AbortedTransaction) -> bool) -> Result<(), StorageError> {
        let (length, waiting) = {
            let state = self.state();
            (state.length, state.waiting.clone())
        };
        if length > 0 && !self.scan_file(length, &mut visit)? {
            return Ok(());
        }
        for (index, entry) in waiting.into_iter().enumerate() {
            if !visit(length + (index * SIZE) as u64, entry) {
                break;
            }
        }
        Ok(())
    }

    /// Yields whether `visit` went along to the end.
    fn scan_file(
        &self,
        length: u64,
        visit: &mut impl FnMut(u64, AbortedTransaction) -> bool,
    ) -> Result<bool, StorageError> {
        let path = self.files.path(FileKind::TransactionIndex);
        let file = self
            .files
            .open(FileKind::TransactionIndex, Open::Read)
            .map_err(StorageError::io("open", &path))?;
        let mut buffer = vec![0; SIZE * CHUNK];
        let mut position = 0;
        while position < length {
            let wanted = usize::try_from(length - position).unwrap_or(usize::MAX).min(buffer.len());
            let chunk = buffer.get_mut(..wanted).unwrap_or_default();
            let read = read_up_to(file.as_ref(), chunk, position).map_err(StorageError::io("read", &path))?;
            if read < wanted {
                return Err(self.corrupt(position, "the index ends here"));
            }
            for entry in chunk.chunks_exact(SIZE) {
                let decoded = AbortedTransaction::decode(entry)
                    .ok_or_else(|| self.corrupt(position, "unknown version of an aborted transaction"))?;
                if !visit(position, decoded) {
                    return Ok(false);
                }
                position += SIZE as u64;
            }
        }
        Ok(true)
    }

    fn corrupt(&self, position: u64, reason: &str) -> StorageError {
        StorageError::corrupt(&self.files.path(FileKind::TransactionIndex), position, reason)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
