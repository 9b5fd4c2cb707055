//! The idempotent and transactional producers of a partition: duplicates, gaps, epochs, open transactions.
//!
//! A port of the rules of Kafka's `ProducerStateManager` (KIP-98, KIP-890 verification of transactions included).
//! An append is first judged ([`Producers::prepare`]), changing nothing, and taken over once its bytes are written.

mod append;
mod entry;
mod marker;
mod snapshot;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::disk::Disk;
use crate::error::{StorageError, is_out_of_space};
use crate::segment::files::{DELETED, remove_at_once};
use crate::types::{Offset, ProducerId, TimestampMs};

pub(crate) use append::{Incoming, Update};
pub use entry::{BATCHES_MAX, BatchSummary, ProducerEntry};
pub use marker::{Marker, marker};
pub(crate) use snapshot::read as read_snapshot;

/// A transaction is late when it is open this much longer than the largest timeout allows. Unit: ms.
const LATE_TRANSACTION_BUFFER_MS: i64 = 5 * 60 * 1000;

/// Broker settings about producers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerSettings {
    /// `producer.id.expiration.ms`. Unit: ms. Default: 1 day.
    pub expiration_ms: i64,
    /// `transaction.max.timeout.ms`. Unit: ms. Default: 15 minutes.
    pub transaction_timeout_max_ms: i64,
    /// `transaction.partition.verification.enable`. Default: true.
    pub verify_transactions: bool,
}

impl Default for ProducerSettings {
    fn default() -> Self {
        ProducerSettings {
            expiration_ms: 86_400_000,
            transaction_timeout_max_ms: 900_000,
            verify_transactions: true,
        }
    }
}

/// Proof that the transaction coordinator was asked about this partition for the transaction being written (KIP-890).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerificationGuard(u64);

impl VerificationGuard {
    /// No proof; all that is needed within a transaction the log knows of.
    pub const NONE: VerificationGuard = VerificationGuard(0);

    fn new() -> VerificationGuard {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        VerificationGuard(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

#[derive(Clone, Copy, Debug)]
struct Verification {
    guard: VerificationGuard,
    since: TimestampMs,
    lowest_sequence: i32,
    epoch: i16,
    /// See [`Producers::confirm`].
    confirmed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Transaction {
    producer: ProducerId,
    /// Of its marker, once it is completed.
    last: Option<Offset>,
}

/// The content of a snapshot file that is not written yet.
#[derive(Debug)]
struct Captured {
    end: Offset,
    at: TimestampMs,
    content: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Producers {
    settings: ProducerSettings,
    /// Boxed: half of a map's places are empty after it has grown, and a producer takes some 160 bytes.
    entries: HashMap<ProducerId, Box<ProducerEntry>>,
    verifications: HashMap<ProducerId, Verification>,
    /// Open transactions by first offset.
    ongoing: BTreeMap<Offset, Transaction>,
    /// Completed ones whose marker is not below the high watermark yet.
    unreplicated: BTreeMap<Offset, Transaction>,
    /// Snapshot files on disk.
    snapshots: BTreeSet<Offset>,
    /// The one of them that belongs to no segment and goes when there is a newer one.
    passing: Option<Offset>,
    /// One that waits to become old before it is written.
    captured: Option<Captured>,
    /// The state reflects the log up to here, exclusive.
    end: Offset,
    /// End of the log when the last snapshot was taken.
    snapshot_end: Offset,
}

impl Producers {
    /// Knows nothing yet; `snapshots` are the offsets of the files found in the folder.
    pub(crate) fn new(settings: ProducerSettings, snapshots: BTreeSet<Offset>) -> Producers {
        Producers {
            settings,
            entries: HashMap::new(),
            verifications: HashMap::new(),
            ongoing: BTreeMap::new(),
            unreplicated: BTreeMap::new(),
            snapshots,
            passing: None,
            captured: None,
            end: Offset::ZERO,
            snapshot_end: Offset::ZERO,
        }
    }

    pub(crate) fn set_settings(&mut self, settings: ProducerSettings) {
        self.settings = settings;
    }

    pub(crate) fn settings(&self) -> ProducerSettings {
        self.settings
    }

    pub(crate) fn end(&self) -> Offset {
        self.end
    }

    pub(crate) fn advance_to(&mut self, end: Offset) {
        self.end = end;
    }

    /// Nothing that truncating the log could change.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.unreplicated.is_empty()
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = &ProducerEntry> {
        self.entries.values().map(Box::as_ref)
    }

    pub(crate) fn entry(&self, producer: ProducerId) -> Option<&ProducerEntry> {
        self.entries.get(&producer).map(Box::as_ref)
    }

    pub(crate) fn has_ongoing_transaction(&self, producer: ProducerId) -> bool {
        self.entry(producer).is_some_and(|entry| entry.transaction_start.is_some())
    }

    /// The first offset that a reader of committed data must not pass.
    pub(crate) fn first_unstable(&self) -> Option<Offset> {
        let ongoing = self.ongoing.keys().next();
        let unreplicated = self.unreplicated.keys().next();
        ongoing.into_iter().chain(unreplicated).min().copied()
    }

    /// Whether some transaction is open far longer than allowed: what `kafka-transactions find-hanging` looks for.
    pub(crate) fn has_late_transaction(&self, now: TimestampMs) -> bool {
        let oldest = self.ongoing.values().next().and_then(|transaction| self.entry(transaction.producer));
        let limit = self.settings.transaction_timeout_max_ms.saturating_add(LATE_TRANSACTION_BUFFER_MS);
        oldest.is_some_and(|entry| {
            entry.last_timestamp.0 > 0 && now.0.saturating_sub(entry.last_timestamp.0) > limit
        })
    }

    pub(crate) fn on_high_watermark(&mut self, high_watermark: Offset) {
        self.unreplicated.retain(|_, transaction| transaction.last.is_none_or(|last| last >= high_watermark));
    }

    pub(crate) fn on_log_start(&mut self, start: Offset) {
        self.on_high_watermark(start);
        self.end = self.end.max(start);
        self.snapshot_end = self.latest_snapshot().unwrap_or(start);
    }

    pub(crate) fn remove_expired(&mut self, now: TimestampMs) {
        let expiration = self.settings.expiration_ms;
        self.entries.retain(|_, entry| !is_expired(entry, expiration, now));
        self.verifications.retain(|_, verification| now.0.saturating_sub(verification.since.0) < expiration);
    }

    /// The proof needed for the next batch of `producer`; [`VerificationGuard::NONE`] within a transaction.
    pub(crate) fn start_verification(
        &mut self,
        producer: ProducerId,
        sequence: i32,
        epoch: i16,
        now: TimestampMs,
    ) -> VerificationGuard {
        if self.has_ongoing_transaction(producer) {
            return VerificationGuard::NONE;
        }
        let verification = self.verifications.entry(producer).or_insert_with(|| Verification {
            guard: VerificationGuard::new(),
            since: now,
            lowest_sequence: sequence,
            epoch,
            confirmed: false,
        });
        if epoch == verification.epoch && sequence < verification.lowest_sequence {
            verification.lowest_sequence = sequence;
        }
        if epoch > verification.epoch {
            verification.epoch = epoch;
            verification.lowest_sequence = sequence;
            verification.confirmed = false;
        }
        verification.guard
    }

    /// The transaction coordinator knows what `guard` was made for: what the broker itself appends for `producer`
    /// needs no further proof. Nothing happens where another guard is expected by now.
    pub(crate) fn confirm(&mut self, producer: ProducerId, guard: VerificationGuard) {
        if let Some(verification) = self.verifications.get_mut(&producer)
            && verification.guard == guard
        {
            verification.confirmed = true;
        }
    }

    /// The guard expected of `producer`, [`VerificationGuard::NONE`] without one.
    pub(crate) fn guard_of(&self, producer: ProducerId) -> VerificationGuard {
        self.verifications.get(&producer).map_or(VerificationGuard::NONE, |verification| verification.guard)
    }

    /// Forgets everything and continues at `offset`, without snapshots.
    pub(crate) fn clear(
        &mut self,
        disk: &dyn Disk,
        folder: &Path,
        offset: Offset,
    ) -> Result<(), StorageError> {
        self.forget();
        for snapshot in std::mem::take(&mut self.snapshots) {
            remove_if_there(disk, &snapshot::path(folder, snapshot))?;
        }
        self.snapshot_end = Offset::ZERO;
        self.end = offset;
        Ok(())
    }

    fn forget(&mut self) {
        self.captured = None;
        self.entries.clear();
        self.ongoing.clear();
        self.unreplicated.clear();
    }

    /// Goes back to the last usable snapshot within `start..=end` of the log; the caller replays the rest.
    pub(crate) fn reload(
        &mut self,
        disk: &dyn Disk,
        folder: &Path,
        start: Offset,
        end: Offset,
        now: TimestampMs,
    ) -> Result<(), StorageError> {
        let outside: Vec<Offset> =
            self.snapshots.iter().filter(|offset| **offset > end || **offset <= start).copied().collect();
        for offset in outside {
            self.remove_snapshot(disk, folder, offset)?;
        }
        if end == self.end {
            self.on_log_start(start);
            return Ok(());
        }
        self.forget();
        while let Some(latest) = self.latest_snapshot() {
            match snapshot::read(disk, &snapshot::path(folder, latest)) {
                Ok(entries) => {
                    let expiration = self.settings.expiration_ms;
                    entries.into_iter().filter(|entry| !is_expired(entry, expiration, now)).for_each(
                        |entry| {
                            self.load(entry);
                        },
                    );
                    (self.snapshot_end, self.end) = (latest, latest);
                    return Ok(());
                }
                Err(error @ StorageError::Corrupt { .. }) => {
                    tracing::warn!(%error, "removing a damaged producer snapshot, using the one before");
                    self.remove_snapshot(disk, folder, latest)?;
                }
                Err(StorageError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                    self.snapshots.remove(&latest);
                }
                Err(error) => return Err(error),
            }
        }
        (self.snapshot_end, self.end) = (start, start);
        Ok(())
    }

    fn load(&mut self, entry: ProducerEntry) {
        if let Some(start) = entry.transaction_start {
            self.ongoing.insert(start, Transaction { producer: entry.producer, last: None });
        }
        self.entries.insert(entry.producer, Box::new(entry));
    }

    /// Writes a snapshot where the log has grown since the last. Yields the file, to be synced where that was not
    /// asked for.
    pub(crate) fn take_snapshot(
        &mut self,
        disk: &dyn Disk,
        folder: &Path,
        sync: bool,
    ) -> Result<Option<PathBuf>, StorageError> {
        if self.end <= self.snapshot_end {
            return Ok(None);
        }
        snapshot::write(disk, folder, self.end, self.entries.values().map(Box::as_ref), sync)?;
        self.snapshots.insert(self.end);
        self.snapshot_end = self.end;
        self.captured = None;
        if let Some(passed) = self.passing.take().filter(|passed| self.snapshots.contains(passed)) {
            self.remove_snapshot(disk, folder, passed)?;
        }
        Ok(Some(snapshot::path(folder, self.end)))
    }

    /// A segment begins at `base`, and the snapshot there stays as long as it does.
    pub(crate) fn keep_snapshot(&mut self, base: Offset) {
        self.passing = self.passing.filter(|passing| *passing != base);
    }

    /// Remembers a snapshot of this moment, to be [written](Self::write_captured) later; one that waits already stays.
    pub(crate) fn capture(&mut self, now: TimestampMs) {
        if self.captured.is_none() && self.end > self.snapshot_end {
            let content = snapshot::encode(self.entries.values().map(Box::as_ref));
            self.captured = Some(Captured { end: self.end, at: now, content });
        }
    }

    pub(crate) fn is_captured_before(&self, time: TimestampMs) -> bool {
        self.captured.as_ref().is_some_and(|captured| captured.at <= time)
    }

    /// Writes the remembered snapshot, in the midst of a segment; the next one replaces it. Nothing is synced.
    pub(crate) fn write_captured(&mut self, disk: &dyn Disk, folder: &Path) -> Result<(), StorageError> {
        let Some(captured) = self.captured.take() else { return Ok(()) };
        snapshot::write_encoded(disk, folder, captured.end, &captured.content, false)?;
        self.snapshots.insert(captured.end);
        self.snapshot_end = captured.end;
        match self.passing.replace(captured.end).filter(|passed| self.snapshots.contains(passed)) {
            Some(passed) => self.remove_snapshot(disk, folder, passed),
            None => Ok(()),
        }
    }

    /// What the next snapshot takes, roughly. Unit: bytes.
    pub(crate) fn snapshot_bytes(&self) -> u64 {
        self.entries.len() as u64 * 46
    }

    pub(crate) fn latest_snapshot(&self) -> Option<Offset> {
        self.snapshots.last().copied()
    }

    fn remove_snapshot(
        &mut self,
        disk: &dyn Disk,
        folder: &Path,
        offset: Offset,
    ) -> Result<(), StorageError> {
        self.snapshots.remove(&offset);
        remove_if_there(disk, &snapshot::path(folder, offset))
    }

    /// Gives the snapshot at a deleted segment's base the suffix `.deleted`; yields its new name.
    pub(crate) fn mark_snapshot_deleted(
        &mut self,
        disk: &dyn Disk,
        folder: &Path,
        offset: Offset,
    ) -> Result<Option<PathBuf>, StorageError> {
        if !self.snapshots.remove(&offset) {
            return Ok(None);
        }
        let path = snapshot::path(folder, offset);
        let mut marked = path.as_os_str().to_owned();
        marked.push(DELETED);
        let marked = PathBuf::from(marked);
        match disk.rename(&path, &marked) {
            Ok(()) => Ok(Some(marked)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) if is_out_of_space(&error) => remove_at_once(disk, &path).map(|()| None),
            Err(error) => Err(StorageError::io("rename", &path)(error)),
        }
    }

    /// Removes snapshots that belong to no segment, but keeps the newest of those if it lies behind all segments.
    pub(crate) fn remove_strays(
        &mut self,
        disk: &dyn Disk,
        folder: &Path,
        bases: &BTreeSet<Offset>,
    ) -> Result<(), StorageError> {
        let strays: Vec<Offset> = self.snapshots.difference(bases).copied().collect();
        let newest_base = bases.last().copied();
        for (index, offset) in strays.iter().enumerate() {
            let newest = index + 1 == strays.len();
            if newest && newest_base.is_none_or(|base| *offset >= base) {
                self.passing = Some(*offset);
                continue;
            }
            self.remove_snapshot(disk, folder, *offset)?;
        }
        Ok(())
    }
}

fn is_expired(entry: &ProducerEntry, expiration_ms: i64, now: TimestampMs) -> bool {
    entry.transaction_start.is_none() && now.0.saturating_sub(entry.last_timestamp.0) >= expiration_ms
}

fn remove_if_there(disk: &dyn Disk, path: &Path) -> Result<(), StorageError> {
    match disk.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StorageError::io("remove", path)(error)),
        _ => Ok(()),
    }
}
