//! Which leader wrote which part of a log (KIP-101), kept in `leader-epoch-checkpoint`.
//!
//! Entries are strictly increasing in epoch and in start offset. Memory never runs ahead of the file for new epochs:
//! [`LeaderEpochs::assign`] writes before it remembers.

use std::path::{Path, PathBuf};

use crate::checkpoint::{create_empty, read_lines, write_lines};
use crate::disk::Disk;
use crate::error::StorageError;
use crate::types::{LeaderEpoch, Offset};

pub(crate) const FILE_NAME: &str = "leader-epoch-checkpoint";

/// `epoch` wrote the records from `start` up to the next entry's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEntry {
    pub epoch: LeaderEpoch,
    pub start: Offset,
}

/// The epochs of one partition, oldest first.
#[derive(Debug)]
pub struct LeaderEpochs {
    directory: PathBuf,
    entries: Vec<EpochEntry>,
    /// What the file has, as far as it was ours to know. Another only for want of space, or at its end, where opening the
    /// log dropped what no record bears out: that costs no write until something is assigned.
    in_file: Vec<EpochEntry>,
    /// Whether the two differ.
    behind: bool,
}

impl LeaderEpochs {
    /// Reads the file of the partition in `directory`; creates an empty one where there is none.
    pub(crate) fn open(disk: &dyn Disk, directory: &Path) -> Result<LeaderEpochs, StorageError> {
        let path = directory.join(FILE_NAME);
        let mut epochs = LeaderEpochs {
            directory: directory.to_path_buf(),
            entries: Vec::new(),
            in_file: Vec::new(),
            behind: false,
        };
        match read_entries(disk, &path) {
            Ok(entries) if entries.is_empty() => create_empty(disk, &path)?,
            Ok(entries) => {
                entries.iter().for_each(|entry| epochs.add(*entry));
                epochs.in_file = entries;
                epochs.compare();
            }
            Err(StorageError::Corrupt { position, reason, .. }) => {
                // What is in the batches is the truth; recovery reads it back as far as it scans.
                tracing::warn!(path = %path.display(), position, reason, "ignoring a damaged leader epoch file");
            }
            Err(error) => return Err(error),
        }
        Ok(epochs)
    }

    pub(crate) fn moved_to(&mut self, directory: &Path) {
        self.directory = directory.to_path_buf();
    }

    /// Records that `epoch` starts at `start`, if that is news. On `Err` nothing changed.
    ///
    /// Entries that contradict the new one (an epoch or a start not below it) are dropped.
    pub(crate) fn assign(
        &mut self,
        disk: &dyn Disk,
        epoch: LeaderEpoch,
        start: Offset,
    ) -> Result<(), StorageError> {
        let entry = EpochEntry { epoch, start };
        if epoch.0 < 0 || start.0 < 0 || !self.is_news(entry) {
            return if self.behind { self.write(disk) } else { Ok(()) };
        }
        let before = self.entries.clone();
        self.add(entry);
        if !self.behind {
            return Ok(());
        }
        self.write(disk).inspect_err(|_| {
            self.entries = before;
            self.compare();
        })
    }

    fn compare(&mut self) {
        self.behind = self.entries != self.in_file;
    }

    /// The same on a full disk too: who becomes leader there serves what there is.
    pub(crate) fn assign_or_keep(
        &mut self,
        disk: &dyn Disk,
        epoch: LeaderEpoch,
        start: Offset,
    ) -> Result<(), StorageError> {
        if self.note(epoch, start) && self.behind { self.write_or_keep(disk) } else { Ok(()) }
    }

    /// Like [`LeaderEpochs::assign`] in memory only. True where that changed anything.
    pub(crate) fn note(&mut self, epoch: LeaderEpoch, start: Offset) -> bool {
        let entry = EpochEntry { epoch, start };
        let news = epoch.0 >= 0 && start.0 >= 0 && self.is_news(entry);
        if news {
            self.add(entry);
        }
        news
    }

    fn is_news(&self, entry: EpochEntry) -> bool {
        self.entries.last().is_none_or(|last| entry.epoch != last.epoch || entry.start < last.start)
    }

    fn add(&mut self, entry: EpochEntry) {
        if !self.is_news(entry) {
            return;
        }
        while self.entries.last().is_some_and(|last| last.epoch >= entry.epoch || last.start >= entry.start) {
            self.entries.pop();
        }
        self.entries.push(entry);
        self.compare();
    }

    /// Forgets epochs that start at or above `end`. True where that changed anything.
    pub(crate) fn truncate_from_end(&mut self, end: Offset) -> bool {
        let kept = self.entries.iter().take_while(|entry| entry.start < end).count();
        let changed = kept < self.entries.len();
        self.entries.truncate(kept);
        self.compare();
        changed
    }

    /// Forgets epochs that ended at or below `start`; the one that covers `start` begins there. True where that
    /// changed anything.
    pub(crate) fn truncate_from_start(&mut self, start: Offset) -> bool {
        let covered = self.entries.iter().take_while(|entry| entry.start <= start).count();
        let Some(last) = covered.checked_sub(1).and_then(|last| self.entries.get(last).copied()) else {
            return false;
        };
        let changed = covered > 1 || last.start != start;
        self.entries.splice(..covered, [EpochEntry { epoch: last.epoch, start }]);
        self.compare();
        changed
    }

    /// Forgets everything. True where there was something, be it in the file alone.
    pub(crate) fn clear(&mut self) -> bool {
        let had = !self.entries.is_empty() || !self.in_file.is_empty();
        self.entries.clear();
        self.compare();
        had
    }

    pub(crate) fn write(&mut self, disk: &dyn Disk) -> Result<(), StorageError> {
        let lines = self.entries.iter().map(|entry| format!("{} {}", entry.epoch, entry.start));
        write_lines(disk, &self.directory.join(FILE_NAME), lines)?;
        self.in_file.clone_from(&self.entries);
        self.behind = false;
        Ok(())
    }

    /// The same where a full disk must not stop anything: what is kept in memory is written before the next record.
    pub(crate) fn write_or_keep(&mut self, disk: &dyn Disk) -> Result<(), StorageError> {
        match self.write(disk) {
            Err(error) if error.is_out_of_space() => {
                tracing::warn!(%error, "leader epochs stay in memory for now");
                Ok(())
            }
            other => other,
        }
    }

    /// Oldest first.
    #[must_use]
    pub fn entries(&self) -> &[EpochEntry] {
        &self.entries
    }

    #[must_use]
    pub fn latest(&self) -> Option<EpochEntry> {
        self.entries.last().copied()
    }

    #[must_use]
    pub fn earliest(&self) -> Option<EpochEntry> {
        self.entries.first().copied()
    }

    /// The epoch of the leader that wrote `offset`.
    #[must_use]
    pub fn of(&self, offset: Offset) -> Option<LeaderEpoch> {
        self.entries.iter().rev().find(|entry| entry.start <= offset).map(|entry| entry.epoch)
    }

    /// The largest epoch not above `epoch`, and the offset behind its last record; `log_end` for the latest.
    ///
    /// `None`: this log knows nothing of `epoch` or a later one. An `epoch` below all known ones is answered with
    /// itself and the start of the first.
    #[must_use]
    pub fn end_offset_for(&self, epoch: LeaderEpoch, log_end: Offset) -> Option<(LeaderEpoch, Offset)> {
        if epoch == LeaderEpoch::NONE {
            return None;
        }
        if self.latest().is_some_and(|latest| latest.epoch == epoch) {
            return Some((epoch, log_end));
        }
        let higher = self.entries.iter().find(|entry| entry.epoch > epoch)?;
        let floor = self.entries.iter().rev().find(|entry| entry.epoch <= epoch);
        Some((floor.map_or(epoch, |entry| entry.epoch), higher.start))
    }
}

/// The lines of the file as they stand there; a missing or empty file has none.
pub(crate) fn read_entries(disk: &dyn Disk, path: &Path) -> Result<Vec<EpochEntry>, StorageError> {
    read_lines(disk, path, parse)
}

fn parse(line: &str) -> Option<EpochEntry> {
    let mut words = line.split_ascii_whitespace();
    let (epoch, start) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let valid = words.next().is_none() && epoch >= 0 && start >= 0;
    valid.then_some(EpochEntry { epoch: LeaderEpoch(epoch), start: Offset(start) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::OsDisk;

    fn epochs(entries: &[(i32, i64)]) -> (tempfile::TempDir, LeaderEpochs) {
        let directory = tempfile::tempdir().expect("a directory");
        let mut epochs = LeaderEpochs::open(&OsDisk, directory.path()).expect("opened");
        for (epoch, start) in entries {
            epochs.assign(&OsDisk, LeaderEpoch(*epoch), Offset(*start)).expect("assigned");
        }
        (directory, epochs)
    }

    fn pairs(epochs: &LeaderEpochs) -> Vec<(i32, i64)> {
        epochs.entries().iter().map(|entry| (entry.epoch.0, entry.start.0)).collect()
    }

    #[test]
    fn an_epoch_is_on_disk_when_it_is_assigned() {
        let (directory, _) = epochs(&[(0, 0), (3, 12)]);

        let reopened = LeaderEpochs::open(&OsDisk, directory.path()).expect("opened");

        assert_eq!(pairs(&reopened), [(0, 0), (3, 12)]);
        let text = std::fs::read_to_string(directory.path().join(FILE_NAME)).expect("read");
        assert_eq!(text, "0\n2\n0 0\n3 12\n");
    }

    #[test]
    fn a_new_epoch_replaces_those_that_contradict_it() {
        let (_directory, mut epochs) = epochs(&[(1, 0), (2, 10), (4, 20)]);

        epochs.assign(&OsDisk, LeaderEpoch(3), Offset(15)).expect("assigned");
        assert_eq!(pairs(&epochs), [(1, 0), (2, 10), (3, 15)]);

        epochs.assign(&OsDisk, LeaderEpoch(5), Offset(10)).expect("assigned");
        assert_eq!(pairs(&epochs), [(1, 0), (5, 10)]);
    }

    #[test]
    fn the_end_of_an_epoch_is_the_start_of_the_next() {
        let (_directory, epochs) = epochs(&[(2, 5), (4, 20)]);
        let end = |epoch| epochs.end_offset_for(LeaderEpoch(epoch), Offset(30));

        assert_eq!(end(1), Some((LeaderEpoch(1), Offset(5))));
        assert_eq!(end(2), Some((LeaderEpoch(2), Offset(20))));
        assert_eq!(end(3), Some((LeaderEpoch(2), Offset(20))));
        assert_eq!(end(4), Some((LeaderEpoch(4), Offset(30))));
        assert_eq!(end(5), None);
        assert_eq!(end(-1), None);
    }

    #[test]
    fn truncation_forgets_what_is_gone() {
        let (_directory, mut epochs) = epochs(&[(0, 0), (1, 10), (2, 20)]);

        assert!(epochs.truncate_from_end(Offset(20)));
        assert!(!epochs.truncate_from_end(Offset(20)));
        assert_eq!(pairs(&epochs), [(0, 0), (1, 10)]);

        assert!(epochs.truncate_from_start(Offset(12)));
        assert!(!epochs.truncate_from_start(Offset(12)));
        assert_eq!(pairs(&epochs), [(1, 12)]);
    }

    #[test]
    fn an_epoch_without_records_costs_no_write_when_it_is_dropped_and_comes_again() {
        let (directory, _) = epochs(&[(0, 0)]);
        let path = directory.path().join(FILE_NAME);
        let modified = || std::fs::metadata(&path).and_then(|file| file.modified()).expect("there");
        let before = modified();
        let mut reopened = LeaderEpochs::open(&OsDisk, directory.path()).expect("opened");
        assert!(reopened.truncate_from_end(Offset(0)));
        assert!(reopened.entries().is_empty());

        reopened.assign_or_keep(&OsDisk, LeaderEpoch(0), Offset(0)).expect("assigned");
        assert_eq!((pairs(&reopened), modified()), (vec![(0, 0)], before));

        assert!(reopened.truncate_from_end(Offset(0)));
        reopened.assign(&OsDisk, LeaderEpoch(1), Offset(0)).expect("assigned");
        let reopened = LeaderEpochs::open(&OsDisk, directory.path()).expect("opened");
        assert_eq!(pairs(&reopened), [(1, 0)]);
    }

    #[test]
    fn a_damaged_file_is_not_fatal() {
        let (directory, _) = epochs(&[]);
        std::fs::write(directory.path().join(FILE_NAME), "0\n1\n-3 x\n").expect("written");

        let reopened = LeaderEpochs::open(&OsDisk, directory.path()).expect("opened");

        assert!(reopened.entries().is_empty());
    }
}
