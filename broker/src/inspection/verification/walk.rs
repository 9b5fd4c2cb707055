//! The batches of a log from its first segment to its last.

use indicatif::ProgressBar;
use storage::batch::{BatchView, records};
use storage::contents::{Content, RecordEntry, RecordFile};
use storage::disk::OsDisk;
use storage::types::{LeaderEpoch, Offset, TimestampMs};

use super::Tally;
use super::aborted::{AbortedIndex, OpenTransactions};
use super::faults::Faults;
use super::indexes::Indexes;
use crate::inspection::InspectionError;
use crate::inspection::places::File;

/// Batches a progress bar is moved on after.
const STEP: u64 = 64;

pub(super) struct LogWalk<'a> {
    progress: &'a ProgressBar,
    tally: Tally,
    /// Of the last batch so far; `None` before the first.
    last: Option<Offset>,
    end: Option<Offset>,
    epoch: LeaderEpoch,
    open: OpenTransactions,
}

impl<'a> LogWalk<'a> {
    pub(super) fn new(progress: &'a ProgressBar) -> LogWalk<'a> {
        LogWalk {
            progress,
            tally: Tally { partitions: 1, ..Tally::default() },
            last: None,
            end: None,
            epoch: LeaderEpoch::NONE,
            open: OpenTransactions::default(),
        }
    }

    /// The offset behind the last record; `None` without segments.
    pub(super) fn end(&self) -> Option<Offset> {
        self.end
    }

    pub(super) fn finish(self) -> Tally {
        self.tally
    }

    /// Reads one segment. Its indexes are opened before its records are measured: entries may be fewer, never more.
    pub(super) fn read(&mut self, file: &File, files: &[File], faults: &mut Faults) {
        for (content, name) in [(Content::OffsetIndex, ".index"), (Content::TimeIndex, ".timeindex")] {
            if files.iter().all(|file| file.content != content) {
                faults.add(&file.path, None, format!("its {name} file is missing"));
            }
        }
        if let Err(error) = self.try_read(file, files, faults) {
            faults.add_error(&file.path, &error);
        }
    }

    fn try_read(&mut self, file: &File, files: &[File], faults: &mut Faults) -> Result<(), InspectionError> {
        let mut indexes = Indexes::open(files, faults);
        let mut aborted = AbortedIndex::open(files, file.base, faults);
        let source = RecordFile::open(&OsDisk, &file.path)?;
        self.tally.segments += 1;
        if let Some(last) = self.last.filter(|last| *last >= file.base) {
            let what = format!("begins with offset {}, but the segment before it goes to {last}", file.base);
            faults.add(&file.path, None, what);
        }
        let mut walk = source.walk();
        let (mut next, mut told) = (file.base, 0);
        while let Some(entry) = walk.next_entry()? {
            self.tally.batches += 1;
            if let Some(what) = &entry.damage {
                faults.add(&file.path, Some(entry.position), what.clone());
            } else {
                self.check(file, &source, &entry, faults)?;
                aborted.pass(&mut self.open, &source, file, &entry, faults);
                next = entry.batch.next_offset();
            }
            indexes.pass(&entry, faults);
            if self.tally.batches.is_multiple_of(STEP) {
                self.progress.inc(walk.position() - told);
                told = walk.position();
            }
        }
        self.progress.inc(source.size() - told);
        self.tally.bytes += walk.position();
        if let Some(what) = walk.ended() {
            let rest = source.size() - walk.position();
            faults.add(&file.path, Some(walk.position()), format!("{what}; {rest} bytes follow"));
        }
        self.end = Some(next);
        indexes.finish(faults);
        aborted.finish(next, faults);
        Ok(())
    }

    /// A batch with a good checksum: its place in the log, and its records.
    fn check(
        &mut self,
        file: &File,
        source: &RecordFile,
        entry: &RecordEntry,
        faults: &mut Faults,
    ) -> Result<(), InspectionError> {
        let mut tell = |what: String| faults.add(&file.path, Some(entry.position), what);
        let (first, last) = (entry.batch.first_or_last_offset(), entry.batch.last_offset());
        if first < file.base {
            tell(format!("offset {first} is below the segment's first, {}", file.base));
        }
        if last.0.wrapping_sub(file.base.0) > i64::from(i32::MAX) {
            tell(format!("offset {last} is too far from the segment's first for its indexes"));
        }
        if let Some(before) = self.last.filter(|before| first <= *before || last < first) {
            tell(format!("offsets {first} to {last} follow {before}"));
        }
        self.last = Some(last);
        let epoch = entry.batch.leader_epoch();
        if epoch < self.epoch && epoch != LeaderEpoch::NONE {
            tell(format!("leader epoch {epoch} follows {}", self.epoch));
        }
        self.epoch = self.epoch.max(epoch);
        let Some(bytes) = source.entry(entry)? else { return Ok(()) };
        match check_records(&entry.batch, &bytes) {
            Ok(count) => self.tally.records += count,
            Err(what) => faults.add(&file.path, Some(entry.position), what),
        }
        Ok(())
    }
}

/// How many records there are, or what is wrong with them.
fn check_records(batch: &BatchView, bytes: &bytes::Bytes) -> Result<u64, String> {
    let found = records(bytes).map_err(|error| error.to_string())?;
    let (first, last) = (batch.base_offset(), batch.last_offset());
    let (mut count, mut before, mut largest) = (0_u64, None, TimestampMs::NONE);
    for record in found {
        let record = record.map_err(|error| error.to_string())?;
        let within = record.offset <= last && first.is_none_or(|first| record.offset >= first);
        if !within || before.is_some_and(|before| record.offset <= before) {
            return Err(format!("a record with offset {} in a batch that ends at {last}", record.offset));
        }
        (before, largest) = (Some(record.offset), largest.max(record.timestamp));
        count += 1;
    }
    if let BatchView::V2(_) = batch
        && largest > batch.max_timestamp()
    {
        return Err(format!(
            "a record has the time {largest}, the batch says {} is its largest",
            batch.max_timestamp()
        ));
    }
    Ok(count)
}
