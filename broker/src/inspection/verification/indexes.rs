//! Indexes beside the batches they point to. Both are in the order of the log, so one pass over each is enough.

use std::path::PathBuf;

use storage::contents::{self, Content, IndexEntries, OffsetPlace, RecordEntry, TimePlace};
use storage::disk::OsDisk;
use storage::types::{Offset, TimestampMs};

use super::faults::Faults;
use crate::inspection::places::File;

/// The offset and the time index of one segment.
pub(super) struct Indexes {
    offsets: Option<Reader<OffsetPlace>>,
    times: Option<Reader<TimePlace>>,
    /// An entry whose offset must be the last of a batch to come.
    promised: Option<(u64, Offset)>,
    largest: TimestampMs,
}

/// An index, read one entry ahead.
struct Reader<T> {
    path: PathBuf,
    entries: IndexEntries<T>,
    next: Option<(u64, T)>,
    before: Option<T>,
}

impl<T: Copy> Reader<T> {
    fn open(
        file: &File,
        open: impl Fn(&File) -> Result<IndexEntries<T>, storage::error::StorageError>,
        faults: &mut Faults,
    ) -> Option<Reader<T>> {
        match open(file) {
            Ok(entries) => {
                if entries.torn_bytes() > 0 {
                    let at = entries.length() - entries.torn_bytes();
                    faults.add(&file.path, Some(at), "the last entry is cut off");
                }
                let mut reader = Reader { path: file.path.clone(), entries, next: None, before: None };
                reader.advance(faults);
                Some(reader)
            }
            Err(error) => {
                faults.add_error(&file.path, &error.into());
                None
            }
        }
    }

    fn advance(&mut self, faults: &mut Faults) {
        self.before = self.next.map(|(_, entry)| entry).or(self.before);
        self.next = self.entries.next_entry().unwrap_or_else(|error| {
            faults.add_error(&self.path, &error.into());
            None
        });
    }
}

impl Indexes {
    pub(super) fn open(files: &[File], faults: &mut Faults) -> Indexes {
        let of = |content: Content| files.iter().find(|file| file.content == content);
        let offsets = of(Content::OffsetIndex).and_then(|file| {
            Reader::open(file, |file| contents::offset_index(&OsDisk, &file.path, file.base), faults)
        });
        let times = of(Content::TimeIndex).and_then(|file| {
            Reader::open(file, |file| contents::time_index(&OsDisk, &file.path, file.base), faults)
        });
        Indexes { offsets, times, promised: None, largest: TimestampMs::NONE }
    }

    /// Holds the indexes against the next batch.
    pub(super) fn pass(&mut self, entry: &RecordEntry, faults: &mut Faults) {
        self.largest = self.largest.max(entry.batch.max_timestamp());
        self.pass_offsets(entry, faults);
        self.pass_times(entry, faults);
    }

    fn pass_offsets(&mut self, batch: &RecordEntry, faults: &mut Faults) {
        let last = batch.batch.last_offset();
        let Some(reader) = &mut self.offsets else { return };
        while let Some((at, place)) =
            reader.next.filter(|(_, next)| u64::from(next.position) <= batch.position)
        {
            let broken = self.promised.take();
            let disorder = reader
                .before
                .is_some_and(|before| place.offset <= before.offset || place.position <= before.position);
            let what = if disorder {
                Some("entries do not grow".to_owned())
            } else if u64::from(place.position) < batch.position {
                Some(format!("leads to {}, where no batch begins", place.position))
            } else if batch.batch.first_or_last_offset() > place.offset {
                Some(format!("leads offset {} to a batch behind it", place.offset))
            } else {
                self.promised = Some((at, place.offset));
                None
            };
            // The batch that was promised lies before the one this entry leads to.
            if let Some((at, offset)) = broken {
                faults.add(&reader.path, Some(at), format!("no batch ends with offset {offset}"));
            }
            if let Some(what) = what {
                faults.add(&reader.path, Some(at), what);
            }
            reader.advance(faults);
        }
        if let Some((at, offset)) = self.promised.filter(|(_, offset)| *offset <= last) {
            if offset != last {
                let what =
                    format!("offset {offset} is not the last of a batch, the batch there ends at {last}");
                faults.add(&reader.path, Some(at), what);
            }
            self.promised = None;
        }
    }

    fn pass_times(&mut self, batch: &RecordEntry, faults: &mut Faults) {
        let Some(reader) = &mut self.times else { return };
        while let Some((at, place)) = reader.next.filter(|(_, next)| next.offset <= batch.batch.last_offset())
        {
            let disorder = reader
                .before
                .is_some_and(|before| place.offset < before.offset || place.timestamp <= before.timestamp);
            if disorder {
                faults.add(&reader.path, Some(at), "entries do not grow");
            } else if place.timestamp != self.largest {
                let what = format!(
                    "says {} for offset {}, up to which the largest time is {}",
                    place.timestamp, place.offset, self.largest
                );
                faults.add(&reader.path, Some(at), what);
            }
            reader.advance(faults);
        }
    }

    /// Entries that no batch was there for.
    pub(super) fn finish(mut self, faults: &mut Faults) {
        if let Some(reader) = &mut self.offsets {
            if let Some((at, offset)) = self.promised {
                faults.add(&reader.path, Some(at), format!("no batch ends with offset {offset}"));
            }
            while let Some((at, place)) = reader.next {
                let what = format!("leads to {}, behind the last batch", place.position);
                faults.add(&reader.path, Some(at), what);
                reader.advance(faults);
            }
        }
        if let Some(reader) = &mut self.times {
            while let Some((at, place)) = reader.next {
                faults.add(
                    &reader.path,
                    Some(at),
                    format!("offset {} is behind the last batch", place.offset),
                );
                reader.advance(faults);
            }
        }
    }
}
