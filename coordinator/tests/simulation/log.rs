//! A replica's log as far as replication cares: records by offset, who led when they were written, and what a crash of
//! the machine would leave.

use coordinator::replication::History;
use storage::types::{LeaderEpoch, Offset};

/// One record. No two appends of a run carry the same value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) epoch: LeaderEpoch,
    pub(crate) value: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Log {
    records: Vec<Record>,
    /// Strictly increasing in both, as `leader-epoch-checkpoint` keeps them.
    epochs: Vec<(LeaderEpoch, Offset)>,
    high_watermark: i64,
    /// What a loss of power keeps of the records.
    flushed: usize,
    /// What any crash keeps of the high watermark.
    noted_watermark: i64,
}

impl Log {
    pub(crate) fn records(&self) -> &[Record] {
        &self.records
    }

    /// From `offset` on, at most `most`. Empty behind the end.
    pub(crate) fn read(&self, offset: Offset, most: usize) -> Vec<Record> {
        let from = index(offset.0);
        self.records.iter().skip(from).take(most).copied().collect()
    }

    pub(crate) fn append(&mut self, record: Record) {
        if self.epochs.last().is_none_or(|(latest, _)| *latest != record.epoch) {
            self.begin_epoch(record.epoch);
        }
        self.records.push(record);
    }

    /// Appends of `epoch` begin here. As in `storage`, entries that contradict the new one go.
    pub(crate) fn begin_epoch(&mut self, epoch: LeaderEpoch) {
        let start = self.log_end();
        if self.epochs.last().is_some_and(|(latest, from)| *latest == epoch && *from <= start) {
            return;
        }
        while self.epochs.last().is_some_and(|(latest, from)| *latest >= epoch || *from >= start) {
            self.epochs.pop();
        }
        self.epochs.push((epoch, start));
    }

    pub(crate) fn truncate_to(&mut self, end: Offset) {
        let end = end.max(Offset::ZERO);
        self.records.truncate(index(end.0));
        self.epochs.retain(|(_, start)| *start < end);
        self.flushed = self.flushed.min(self.records.len());
        self.high_watermark = self.high_watermark.min(self.log_end().0);
    }

    pub(crate) fn set_high_watermark(&mut self, high_watermark: Offset) {
        self.high_watermark = high_watermark.0.clamp(0, self.log_end().0);
    }

    pub(crate) fn flush(&mut self) {
        self.flushed = self.records.len();
    }

    /// `replication-offset-checkpoint` is written.
    pub(crate) fn note_watermark(&mut self) {
        self.noted_watermark = self.high_watermark;
    }

    pub(crate) fn flushed(&self) -> usize {
        self.flushed
    }

    /// What the next life finds, with the first `kept` records on disk.
    pub(crate) fn reopen(&mut self, kept: usize) {
        self.records.truncate(kept);
        let end = self.log_end();
        self.epochs.retain(|(_, start)| *start < end);
        self.flushed = self.records.len();
        self.high_watermark = self.noted_watermark.clamp(0, end.0);
        self.noted_watermark = self.high_watermark;
    }
}

impl History for Log {
    fn log_start(&self) -> Offset {
        Offset::ZERO
    }

    fn log_end(&self) -> Offset {
        Offset(i64::try_from(self.records.len()).expect("a run is short"))
    }

    fn high_watermark(&self) -> Offset {
        Offset(self.high_watermark)
    }

    fn latest_epoch(&self) -> Option<LeaderEpoch> {
        self.epochs.last().map(|(epoch, _)| *epoch)
    }

    fn end_offset_for(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        if epoch == LeaderEpoch::NONE {
            return None;
        }
        if self.latest_epoch() == Some(epoch) {
            return Some((epoch, self.log_end()));
        }
        let (_, end) = self.epochs.iter().find(|(known, _)| *known > epoch)?;
        let floor = self.epochs.iter().rev().find(|(known, _)| *known <= epoch);
        Some((floor.map_or(epoch, |(known, _)| *known), *end))
    }
}

/// Where a record lies; none lies before 0.
pub(crate) fn index(offset: i64) -> usize {
    usize::try_from(offset).unwrap_or(0)
}
