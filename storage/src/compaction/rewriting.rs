//! Writing what stays of a group of segments into a new one.

use std::collections::BTreeMap;
use std::io::IoSlice;
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;

use super::offset_map::OffsetMap;
use super::transactions::Transactions;
use super::{Halt, Pace, Summary, walk};
use crate::batch::{self, BatchView, Brief, Filter, Kept, headers};
use crate::config::LogConfig;
use crate::error::StorageError;
use crate::index::AbortedTransaction;
use crate::log::Shared;
use crate::segment::files::{Home, Stage};
use crate::segment::{BatchFacts, Located, Segment};
use crate::store::Store;
use crate::types::{Offset, ProducerId, TimestampMs};

/// Bytes gathered before they are written.
const WRITE_SIZE: usize = 1 << 20;

/// The newest thing a log has of an active producer: it stays, even if only as an empty batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LastRecord {
    /// Last offset of the batch with its last sequence number.
    Data(Offset),
    /// Only a marker, with the producer epoch that fences older ones.
    Marker { epoch: i16 },
}

/// A log as a cleaning found it.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) shared: Arc<Shared>,
    pub(crate) home: Arc<Home>,
    pub(crate) store: Store,
    pub(crate) config: Arc<LogConfig>,
    /// Below `first_uncleanable`.
    pub(crate) segments: Vec<Arc<Segment>>,
    pub(crate) first_dirty: Offset,
    pub(crate) first_uncleanable: Offset,
    /// To notice truncations that happen meanwhile.
    pub(crate) truncations: u64,
}

/// The result of a group of segments, complete and on disk as `.cleaned`.
#[derive(Debug)]
pub(crate) struct Cleaned {
    pub(crate) segment: Segment,
    /// An empty segment at the base of the group's last, where nothing is left of that: recovery reads from it how far
    /// the group went.
    pub(crate) bound: Option<Segment>,
}

impl Cleaned {
    /// Gives the files the suffix `.swap`, the last of them first, so that recovery believes in none before all have it.
    pub(crate) fn announce(&self) -> Result<(), StorageError> {
        if let Some(bound) = &self.bound {
            bound.enter(Stage::Swap)?;
        }
        self.segment.enter(Stage::Swap)
    }

    /// Removes the files again.
    pub(crate) fn discard(&self) -> Result<(), StorageError> {
        self.bound.as_ref().map_or(Ok(()), Segment::remove_unborn)?;
        self.segment.remove_unborn()
    }
}

impl Job {
    /// Segments that begin below `upto`.
    pub(super) fn below(&self, upto: Offset) -> &[Arc<Segment>] {
        let count = self.segments.partition_point(|segment| segment.base < upto);
        self.segments.get(..count).unwrap_or_default()
    }

    /// Segments with offsets that were not cleaned yet.
    pub(super) fn dirty(&self) -> &[Arc<Segment>] {
        if self.first_dirty >= self.first_uncleanable {
            return &[];
        }
        let first = self.segments.partition_point(|segment| segment.base <= self.first_dirty);
        self.segments.get(first.saturating_sub(1)..).unwrap_or_default()
    }

    pub(super) fn aborted(
        &self,
        from: Offset,
        upto: Offset,
    ) -> Result<Vec<AbortedTransaction>, StorageError> {
        self.shared.aborted_between(from, upto)
    }

    /// Segments below this age lose their tombstones of the old formats, which have no delete horizon.
    fn legacy_horizon(&self) -> Result<TimestampMs, StorageError> {
        let clean = self.segments.partition_point(|segment| segment.base < self.first_dirty);
        match clean.checked_sub(1).and_then(|last| self.segments.get(last)) {
            Some(last) => Ok(TimestampMs(last.modified()?.0.saturating_sub(self.config.delete_retention_ms))),
            None => Ok(TimestampMs(0)),
        }
    }

    /// Writes what stays of `old`, which is at least one segment. On `Err` nothing is left behind.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn rewrite(
        &self,
        old: &[Arc<Segment>],
        map: &OffsetMap,
        transactions: &mut Transactions,
        last_records: &BTreeMap<ProducerId, LastRecord>,
        now: TimestampMs,
        summary: &mut Summary,
        pace: Pace<'_>,
    ) -> Result<Cleaned, Halt> {
        let Some((first, last)) = old.first().zip(old.last()) else { return Err(Halt::Interrupted) };
        let segment = Segment::create_cleaned(&self.store, &self.home, first.base, &self.config, now)?;
        let mut cleaned = Cleaned { segment, bound: None };
        let rules = Rules { map, last_records, now, delete_retention_ms: self.config.delete_retention_ms };
        let result = self.fill(&mut cleaned, old, last, &rules, transactions, summary, pace);
        match result {
            Ok(()) => Ok(cleaned),
            Err(halt) => {
                if let Err(error) = cleaned.discard() {
                    tracing::warn!(%error, "files of a cleaning that failed stay until the next start");
                }
                Err(halt)
            }
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn fill(
        &self,
        cleaned: &mut Cleaned,
        old: &[Arc<Segment>],
        last: &Segment,
        rules: &Rules<'_>,
        transactions: &mut Transactions,
        summary: &mut Summary,
        pace: Pace<'_>,
    ) -> Result<(), Halt> {
        let legacy_horizon = self.legacy_horizon()?;
        let mut output = Output::new(&cleaned.segment, &self.config);
        for (index, segment) in old.iter().enumerate() {
            let upto = match old.get(index + 1) {
                Some(next) => next.base,
                None => segment.read_next_offset()?.0,
            };
            transactions.expect(self.aborted(segment.base, upto)?);
            let retain_legacy_tombstones = segment.modified()? > legacy_horizon;
            let read = walk(segment, 0, &mut *pace, |located, entry| {
                rules.apply(
                    located,
                    entry,
                    retain_legacy_tombstones,
                    transactions,
                    &mut output,
                    summary,
                    segment,
                )?;
                Ok(ControlFlow::Continue(()))
            })?;
            summary.read_bytes += read;
            let written = output.written - output.paced;
            output.paced = output.written;
            if pace(written).is_break() {
                return Err(Halt::Interrupted);
            }
        }
        output.flush()?;
        summary.written_bytes += output.written;
        let next = output.next;
        cleaned.segment.finish()?;
        // Retention by time and the horizon of old tombstones go by it where records have no timestamp.
        cleaned.segment.set_modified(last.modified()?)?;
        cleaned.segment.sync()?;
        if old.len() > 1 && next.is_none_or(|next| next <= last.base) {
            let bound = Segment::create_cleaned(&self.store, &self.home, last.base, &self.config, rules.now)?;
            let bound = cleaned.bound.insert(bound);
            bound.finish()?;
            bound.sync()?;
        }
        let folder = self.home.folder();
        self.home.disk.sync_directory(&folder).map_err(StorageError::io("sync", &folder))?;
        Ok(())
    }
}

/// What decides which records stay.
struct Rules<'a> {
    map: &'a OffsetMap,
    last_records: &'a BTreeMap<ProducerId, LastRecord>,
    now: TimestampMs,
    delete_retention_ms: i64,
}

impl Rules<'_> {
    #[allow(clippy::too_many_arguments)]
    fn apply(
        &self,
        located: &Located,
        entry: &[u8],
        retain_legacy_tombstones: bool,
        transactions: &mut Transactions,
        output: &mut Output<'_>,
        summary: &mut Summary,
        source: &Segment,
    ) -> Result<(), StorageError> {
        let batch = &located.batch;
        let is_control = batch.is_control();
        let horizon = match batch {
            BatchView::V2(header) => header.delete_horizon(),
            BatchView::Legacy(_) => None,
        };
        let expired = horizon.is_some_and(|horizon| horizon <= self.now);
        let (discard, marks_empty_transaction) = if is_control {
            let verdict = transactions.control(batch, &Bytes::copy_from_slice(entry));
            if let Some(aborted) = verdict.aborted {
                output.segment.add_aborted(aborted)?;
            }
            (verdict.discardable && expired, verdict.discardable)
        } else {
            (transactions.data(batch), false)
        };
        let retain_empty = self.is_last_of_producer(batch);
        if discard && !retain_empty {
            return Ok(());
        }
        let retain_tombstones =
            if batch.magic() < 2 { retain_legacy_tombstones } else { horizon.is_none() || !expired };
        let how = Filter {
            retain_empty,
            marks_empty_transaction,
            new_horizon: TimestampMs(self.now.0.saturating_add(self.delete_retention_ms)),
        };
        let mut without_key = 0;
        let (kept, tally) = batch::filter(batch, entry, how, |record| {
            if discard || is_control {
                return !discard;
            }
            without_key += u64::from(record.key.is_none() && record.offset <= self.map.latest());
            self.stays(record, retain_tombstones)
        })
        .map_err(|error| StorageError::corrupt(&source.path(), located.position, error.to_string()))?;
        summary.records_read += tally.read;
        summary.records_written += tally.kept;
        summary.records_without_key += without_key;
        match kept {
            Kept::Nothing => Ok(()),
            Kept::Whole => output.write(batch, entry),
            Kept::Anew(bytes) => {
                for located in headers(&bytes) {
                    let wrong = |error: batch::BatchError| {
                        StorageError::corrupt(&source.path(), 0, error.to_string())
                    };
                    let located = located.map_err(wrong)?;
                    let one = bytes.get(located.position..located.position + located.size);
                    output.write(&located.batch, one.unwrap_or_default())?;
                }
                Ok(())
            }
        }
    }

    fn stays(&self, record: &Brief<'_>, retain_tombstones: bool) -> bool {
        if record.offset > self.map.latest() {
            return true;
        }
        let Some(key) = record.key else { return false };
        let newest = self.map.get(key).is_none_or(|newest| record.offset >= newest);
        newest && (record.has_value || retain_tombstones)
    }

    fn is_last_of_producer(&self, batch: &BatchView) -> bool {
        let Some(stamp) = batch.producer() else { return false };
        match self.last_records.get(&stamp.id) {
            Some(LastRecord::Data(offset)) => batch.last_offset() == *offset,
            Some(LastRecord::Marker { epoch }) => batch.is_control() && stamp.epoch == *epoch,
            None => false,
        }
    }
}

/// Batches on their way into the new segment.
struct Output<'a> {
    segment: &'a Segment,
    config: &'a LogConfig,
    bytes: Vec<u8>,
    facts: Vec<BatchFacts>,
    /// Unit: bytes, those still gathered included.
    written: u64,
    /// Of those, what the pace was told of.
    paced: u64,
    /// Behind the last batch.
    next: Option<Offset>,
}

impl<'a> Output<'a> {
    fn new(segment: &'a Segment, config: &'a LogConfig) -> Output<'a> {
        Output { segment, config, bytes: Vec::new(), facts: Vec::new(), written: 0, paced: 0, next: None }
    }

    fn write(&mut self, batch: &BatchView, entry: &[u8]) -> Result<(), StorageError> {
        let last = batch.last_offset();
        if !self.segment.can_hold(last) {
            let reason = format!("offset {last} is too far from the segment's base offset for its indexes");
            return Err(StorageError::corrupt(&self.segment.path(), self.written, reason));
        }
        self.bytes.extend_from_slice(entry);
        self.written += entry.len() as u64;
        self.next = Some(last.next());
        let (size, max_timestamp) = (entry.len() as u64, batch.max_timestamp());
        self.facts.push(BatchFacts { size, last, max_timestamp });
        if self.bytes.len() >= WRITE_SIZE { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), StorageError> {
        if !self.bytes.is_empty() {
            let facts = self.facts.drain(..);
            self.segment.append(&mut [IoSlice::new(&self.bytes)], facts, self.config)?;
            self.bytes.clear();
        }
        Ok(())
    }
}
