//! Opening a log from its folder: what is there is listed, checked as far as needed, repaired and loaded.
//!
//! After a clean stop only the end of the last segment is looked at, and after a kill of our own process hardly more
//! (`tail`). After any other stop every segment from the recovery point on is read from the disk with its checksums,
//! cut at the first batch that is not whole, and its indexes and producer snapshots are rebuilt. Missing indexes are
//! rebuilt in any case.

mod replay;
mod tail;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::batch::BatchView;
use crate::config::LogConfig;
use crate::directory::LastStop;
use crate::disk::{Entry, Open};
use crate::epochs::LeaderEpochs;
use crate::error::StorageError;
use crate::producers::{ProducerSettings, Producers};
use crate::segment::files::{CLEANED, DELETED, FileKind, Home, SWAP, file_name, parse_name};
use crate::segment::{CheckedWalk, Lengths, Segment, Step, Walk};
use crate::store::Store;
use crate::types::{Offset, TimestampMs};

use replay::replay;
pub(crate) use replay::{Replay, accept};

/// What recovery needs to know; see [`crate::log::LogOptions`].
pub(crate) struct Loading<'a> {
    pub(crate) store: &'a Store,
    pub(crate) home: &'a Arc<Home>,
    pub(crate) config: &'a LogConfig,
    pub(crate) recovery_point: Offset,
    pub(crate) log_start: Offset,
    pub(crate) last_stop: LastStop,
    pub(crate) producers: ProducerSettings,
    pub(crate) now: TimestampMs,
}

/// A log as it was found or repaired.
pub(crate) struct Loaded {
    /// By base offset, never empty.
    pub(crate) segments: Vec<Arc<Segment>>,
    pub(crate) start: Offset,
    pub(crate) end: Offset,
    pub(crate) recovery_point: Offset,
    pub(crate) epochs: LeaderEpochs,
    pub(crate) producers: Producers,
}

impl Loading<'_> {
    /// `entries`: what lies in the folder, [measured](is_measured).
    pub(crate) fn load(&self, mut entries: Vec<Entry>) -> Result<Loaded, StorageError> {
        let folder = self.home.folder();
        let mut epochs = LeaderEpochs::open(self.home.disk.as_ref(), &folder)?;
        if self.finish_interrupted_compaction(&folder, &entries)? {
            entries = self.list(&folder)?;
        }
        let (mut segments, mut damaged) = self.find_segments(&folder, &entries)?;
        match self.last_stop {
            LastStop::Killed => self.find_unfinished(&segments, &mut damaged)?,
            // What lies behind the recovery point is checked in its order: nothing in front of it may be walked before.
            LastStop::Unclean => damaged.retain(|base| *base < self.first_unflushed(&segments)),
            LastStop::Clean => {}
        }
        let untouched = damaged.is_empty() && self.last_stop != LastStop::Unclean;
        let end_is_known = segments.last().is_some_and(|last| damaged.contains(&last.base));
        for base in damaged {
            if let Some(segment) = segments.iter().find(|segment| segment.base == base).cloned() {
                tracing::warn!(segment = %segment.path().display(), "rebuilding missing or damaged indexes from the records");
                self.recover_segment(&segment, &segments, &mut epochs)?;
            }
        }
        match self.last_stop {
            LastStop::Unclean => self.recover_from_recovery_point(&mut segments, &mut epochs)?,
            LastStop::Killed if !end_is_known => self.check_tail(&segments, &mut epochs)?,
            LastStop::Killed | LastStop::Clean => {}
        }
        let mut end = self.find_end(&segments, &mut epochs)?;
        let mut snapshots = if untouched { snapshots_in(&entries) } else { self.snapshots()? };
        if end.is_some_and(|end| end < self.log_start) {
            tracing::warn!(
                folder = %folder.display(), end = %end.unwrap_or_default(), log_start = %self.log_start,
                "the log ends below its recorded start, as if segment files had been removed; starting it empty"
            );
            for segment in segments.drain(..) {
                self.discard(&segment)?;
            }
            epochs.clear();
            epochs.write_or_keep(self.home.disk.as_ref())?;
            let mut producers = Producers::new(self.producers, std::mem::take(&mut snapshots));
            producers.clear(self.home.disk.as_ref(), &folder, self.log_start)?;
            end = None;
        }
        if segments.is_empty() {
            let base = self.log_start;
            segments.push(Arc::new(Segment::create(self.store, self.home, base, self.config, self.now)?));
        } else if let Some(active) = segments.last() {
            active.activate(self.config);
        }
        let end = end.unwrap_or(self.log_start);
        self.finish(segments, end, epochs, snapshots)
    }

    fn finish(
        &self,
        segments: Vec<Arc<Segment>>,
        end: Offset,
        mut epochs: LeaderEpochs,
        snapshots: BTreeSet<Offset>,
    ) -> Result<Loaded, StorageError> {
        let first = segments.first().map_or(end, |segment| segment.base);
        let start = self.log_start.max(first);
        // Nothing is written for these: the next open would drop them too.
        epochs.truncate_from_end(end);
        if epochs.truncate_from_start(start) {
            epochs.write_or_keep(self.home.disk.as_ref())?;
        }
        let mut producers = Producers::new(self.producers, snapshots);
        let bases = segments.iter().map(|segment| segment.base).collect();
        producers.remove_strays(self.home.disk.as_ref(), &self.home.folder(), &bases)?;
        let clean = self.last_stop == LastStop::Clean;
        let replay = Replay { home: self.home, start, clean, sync: self.syncs(), now: self.now };
        replay.rebuild(&mut producers, &segments, end)?;
        // Opening many logs must not need a descriptor for each.
        segments.iter().for_each(|segment| segment.release());
        let recovery_point = if clean { end } else { self.recovery_point.min(end) };
        Ok(Loaded { segments, start, end, recovery_point: recovery_point.max(start), epochs, producers })
    }

    /// Removes what a crash left of deletions and unfinished compactions; completes finished ones. Yields whether
    /// there was anything of that kind.
    fn finish_interrupted_compaction(&self, folder: &Path, entries: &[Entry]) -> Result<bool, StorageError> {
        let disk = self.home.disk.as_ref();
        let mut names: Vec<&str> =
            entries.iter().filter(|entry| !entry.is_directory).map(|entry| entry.name.as_str()).collect();
        let leftover = |name: &&str| [DELETED, CLEANED, SWAP].iter().any(|suffix| name.ends_with(suffix));
        if !names.iter().any(leftover) {
            return Ok(false);
        }
        // Indexes before records: as long as the records wait, all of the result is known to be one.
        names.sort_unstable();
        let first_cleaned = names
            .iter()
            .filter(|name| name.ends_with(CLEANED))
            .filter_map(|name| parse_name(name).map(|(base, _, _)| base))
            .min();
        let is_rubbish = |name: &str| {
            let unfinished_swap = || {
                let base = parse_name(name).map(|(base, _, _)| base);
                name.ends_with(SWAP) && first_cleaned.is_some_and(|first| base >= Some(first))
            };
            name.ends_with(DELETED) || name.ends_with(CLEANED) || unfinished_swap()
        };
        for name in names.iter().filter(|name| is_rubbish(name)) {
            let path = folder.join(name);
            disk.remove(&path).map_err(StorageError::io("remove", &path))?;
        }
        names.retain(|name| !is_rubbish(name));
        let swapped = self.swapped_range(folder, &names)?;
        let is_replaced = |name: &str| {
            let swapped_in =
                |base| names.contains(&format!("{}{SWAP}", file_name(base, FileKind::Records)).as_str());
            parse_name(name).is_some_and(|(base, kind, _)| {
                swapped.contains(&base) || kind != FileKind::Snapshot && swapped_in(base)
            })
        };
        // All that was compacted goes before any result takes its name: whatever interrupts this, it starts again.
        for name in names.iter().filter(|name| !name.ends_with(SWAP)) {
            if is_replaced(name) {
                let path = folder.join(name);
                tracing::info!(path = %path.display(), "removing a segment file that was compacted");
                disk.remove(&path).map_err(StorageError::io("remove", &path))?;
            }
        }
        disk.sync_directory(folder).map_err(StorageError::io("sync", folder))?;
        for (name, swapped_in) in names.iter().filter_map(|name| Some((name, name.strip_suffix(SWAP)?))) {
            let (from, to) = (folder.join(name), folder.join(swapped_in));
            disk.rename(&from, &to).map_err(StorageError::io("rename", &from))?;
        }
        disk.sync_directory(folder).map_err(StorageError::io("sync", folder))?;
        Ok(true)
    }

    /// The offsets that compacted segments waiting to be swapped in stand for.
    fn swapped_range(&self, folder: &Path, names: &[&str]) -> Result<std::ops::Range<Offset>, StorageError> {
        let mut range = Offset(i64::MAX)..Offset(i64::MIN);
        for name in names {
            let Some((base, FileKind::Records, SWAP)) = parse_name(name) else { continue };
            let path = folder.join(name);
            let file = self.home.disk.open(&path, Open::Read).map_err(StorageError::io("open", &path))?;
            let length = file.size().map_err(StorageError::io("look at", &path))?;
            let mut walk = Walk::new(file.as_ref(), &path, 0, length);
            let mut next = base;
            while let Some(located) = walk.next()? {
                next = located.batch.next_offset();
            }
            range = range.start.min(base)..range.end.max(next);
        }
        Ok(range)
    }

    fn list(&self, folder: &Path) -> Result<Vec<Entry>, StorageError> {
        self.home.disk.list(folder, &is_measured).map_err(StorageError::io("list", folder))
    }

    /// The segments on disk, and the bases of those whose indexes must be rebuilt.
    fn find_segments(
        &self,
        folder: &Path,
        entries: &[Entry],
    ) -> Result<(Vec<Arc<Segment>>, BTreeSet<Offset>), StorageError> {
        let mut found: BTreeMap<Offset, (bool, Lengths)> = BTreeMap::new();
        for entry in entries {
            let Some((base, kind, "")) = parse_name(&entry.name).filter(|_| !entry.is_directory) else {
                continue;
            };
            if kind == FileKind::Snapshot {
                continue;
            }
            let (has_records, lengths) = found.entry(base).or_default();
            match kind {
                FileKind::Records => (*has_records, lengths.records) = (true, entry.size),
                FileKind::OffsetIndex => lengths.offset_index = Some(entry.size),
                FileKind::TimeIndex => lengths.time_index = Some(entry.size),
                FileKind::TransactionIndex => lengths.transaction_index = Some(entry.size),
                FileKind::Snapshot => {}
            }
        }
        let (mut segments, mut damaged) = (Vec::new(), BTreeSet::new());
        for (base, (has_records, lengths)) in found {
            if !has_records {
                self.remove_orphans(folder, base)?;
                continue;
            }
            let segment = Segment::existing(self.store, self.home, base, lengths, self.config, self.now);
            let indexed = lengths.offset_index.is_some_and(|length| length % 8 == 0)
                && lengths.time_index.is_some_and(|length| length % 12 == 0)
                && match segment.check_transactions() {
                    Err(StorageError::Corrupt { .. }) => false,
                    other => other.map(|()| true)?,
                };
            if !indexed {
                damaged.insert(base);
            }
            segments.push(Arc::new(segment));
        }
        Ok((segments, damaged))
    }

    fn remove_orphans(&self, folder: &Path, base: Offset) -> Result<(), StorageError> {
        for kind in [FileKind::OffsetIndex, FileKind::TimeIndex, FileKind::TransactionIndex] {
            let path = folder.join(file_name(base, kind));
            match self.home.disk.remove(&path) {
                Ok(()) => {
                    tracing::warn!(path = %path.display(), "removed an index without its .log file");
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(StorageError::io("remove", &path)(error)),
            }
        }
        Ok(())
    }

    fn snapshots(&self) -> Result<BTreeSet<Offset>, StorageError> {
        Ok(snapshots_in(&self.list(&self.home.folder())?))
    }

    /// Base of the segment that contains the recovery point, or of the first behind it.
    fn first_unflushed(&self, segments: &[Arc<Segment>]) -> Offset {
        let index = segments.partition_point(|segment| segment.base <= self.recovery_point).saturating_sub(1);
        segments.get(index).map_or(self.recovery_point, |segment| segment.base)
    }

    fn recover_from_recovery_point(
        &self,
        segments: &mut Vec<Arc<Segment>>,
        epochs: &mut LeaderEpochs,
    ) -> Result<(), StorageError> {
        let unflushed = self.first_unflushed(segments);
        let first = segments.partition_point(|segment| segment.base < unflushed);
        for index in first..segments.len() {
            let Some(segment) = segments.get(index).cloned() else { break };
            let cut = self.recover_segment(&segment, segments, epochs)?;
            if cut > 0 {
                for later in segments.drain(index + 1..) {
                    tracing::warn!(segment = %later.path().display(), "removing a segment behind a damaged one");
                    self.discard(&later)?;
                }
                break;
            }
        }
        Ok(())
    }

    /// Takes a segment out of the log. Its snapshot goes too: it describes records that are gone.
    fn discard(&self, segment: &Segment) -> Result<(), StorageError> {
        let snapshot = self.home.file(&file_name(segment.base, FileKind::Snapshot));
        for path in segment.mark_deleted()?.into_iter().chain([snapshot]) {
            match self.home.disk.remove(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(StorageError::io("remove", &path)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The offset behind the last record; `None` without segments.
    fn find_end(
        &self,
        segments: &[Arc<Segment>],
        epochs: &mut LeaderEpochs,
    ) -> Result<Option<Offset>, StorageError> {
        let Some(last) = segments.last() else { return Ok(None) };
        match last.read_next_offset() {
            Ok((next, end)) if end == last.size() => return Ok(Some(next)),
            Ok(_) | Err(StorageError::Corrupt { .. }) => {}
            Err(error) => return Err(error),
        }
        tracing::warn!(segment = %last.path().display(), "the last segment does not end with a whole batch although it was closed; checking it");
        self.recover_segment(last, segments, epochs)?;
        Ok(Some(last.read_next_offset()?.0))
    }

    /// Checks every batch of `segment`, cuts it at the first bad one and rebuilds its indexes and the producer
    /// snapshot behind it. Yields how many bytes were cut.
    fn recover_segment(
        &self,
        segment: &Segment,
        segments: &[Arc<Segment>],
        epochs: &mut LeaderEpochs,
    ) -> Result<u64, StorageError> {
        let mut producers = Producers::new(self.producers, self.snapshots()?);
        let before: Vec<Arc<Segment>> =
            segments.iter().filter(|other| other.base < segment.base).cloned().collect();
        let replay = Replay {
            home: self.home,
            start: self.log_start,
            clean: false,
            sync: self.syncs(),
            now: self.now,
        };
        replay.rebuild(&mut producers, &before, segment.base)?;
        let (valid, epochs_changed) = self.scan(segment, &mut producers, epochs)?;
        let cut = segment.size().saturating_sub(valid);
        if cut > 0 {
            segment.cut(valid)?;
        }
        segment.trust_from(0);
        unless_full(segment.finish())?;
        if epochs_changed {
            epochs.write_or_keep(self.home.disk.as_ref())?;
        }
        // At the end of the log there will be one of a state that knows more than the last batch of each producer.
        let is_last = cut > 0 || segments.last().is_some_and(|last| last.base == segment.base);
        if !is_last {
            let (disk, folder) = (self.home.disk.as_ref(), self.home.folder());
            unless_full(producers.take_snapshot(disk, &folder, self.syncs()).map(drop))?;
        }
        Ok(cut)
    }

    /// After a kill a file that is rebuilt needs to be as safe as the records are, and not safer: nothing waits for
    /// the disk.
    fn syncs(&self) -> bool {
        self.last_stop != LastStop::Killed
    }

    /// Walks a segment with its checksums; yields how many bytes are good and whether epochs were found.
    fn scan(
        &self,
        segment: &Segment,
        producers: &mut Producers,
        epochs: &mut LeaderEpochs,
    ) -> Result<(u64, bool), StorageError> {
        segment.reset_indexes(self.config)?;
        let (file, path, size) = (segment.file()?, segment.path(), segment.size());
        if self.last_stop == LastStop::Unclean {
            // What the device has is what counts, not what a failed write left in memory.
            file.reread().map_err(StorageError::io("sync", &path))?;
        }
        let mut walk = CheckedWalk::new(file.as_ref(), &path, 0, size);
        let mut previous = Offset(segment.base.0 - 1);
        let mut epochs_changed = false;
        loop {
            let good = walk.position();
            let (located, bytes) = match walk.next()? {
                Step::Batch(located, bytes) => (located, bytes),
                Step::End => return Ok((good, epochs_changed)),
                Step::Bad(reason) => {
                    tracing::warn!(path = %path.display(), position = good, cut = size - good, reason, "cutting the log at the last good batch");
                    return Ok((good, epochs_changed));
                }
            };
            let last = located.batch.last_offset();
            if last <= previous {
                tracing::warn!(path = %path.display(), position = good, %last, %previous, "offsets go back, cutting the log here");
                return Ok((good, epochs_changed));
            }
            if !segment.can_hold(last) {
                return Err(StorageError::corrupt(
                    &path,
                    good,
                    format!("offset {last} is too far from the segment's base offset for its indexes"),
                ));
            }
            previous = last;
            self.store.count_checked(located.size);
            segment.note_recovered(&located, self.config)?;
            if let BatchView::V2(header) = &located.batch {
                epochs_changed |= epochs.latest().is_none_or(|latest| header.leader_epoch > latest.epoch)
                    && epochs.note(header.leader_epoch, header.base_offset);
            }
            let control = bytes.filter(|_| located.batch.is_control()).map(Bytes::copy_from_slice);
            let completed = replay(producers, &located, || Ok(control))?;
            if let Some(aborted) = completed {
                segment.add_aborted(aborted)?;
            }
        }
    }
}

/// Whether the size of a file matters for opening a log.
pub(crate) fn is_measured(name: &str) -> bool {
    matches!(parse_name(name), Some((_, kind, "")) if kind != FileKind::Snapshot)
}

/// A log opens on a full disk too: what has no room can be made again.
fn unless_full(result: Result<(), StorageError>) -> Result<(), StorageError> {
    match result {
        Err(error) if error.is_out_of_space() => {
            tracing::warn!(%error, "left out for want of space while opening a log");
            Ok(())
        }
        other => other,
    }
}

fn snapshots_in(entries: &[Entry]) -> BTreeSet<Offset> {
    let snapshot = |entry: &Entry| match parse_name(&entry.name) {
        Some((offset, FileKind::Snapshot, "")) => Some(offset),
        _ => None,
    };
    entries.iter().filter_map(snapshot).collect()
}
