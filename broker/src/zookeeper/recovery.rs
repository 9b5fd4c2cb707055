//! From the files of the data directory back to a tree.
//!
//! The newest valid snapshot, then every change after it. A log is believed up to its last whole record. What follows
//! in the last log was never acknowledged and is cut, unless a later batch is there: a batch is begun only once the one
//! before is on disk, so something on disk has changed since, and that is damage. So is what follows in an earlier log.

use std::path::{Path, PathBuf};

use coordinator::znodes::{Txn, ZnodeTree, Zxid, decode_txn};
use storage::disk::{self, Disk};

use super::journal::{JournalError, io_error};

pub(super) const LOG_PREFIX: &str = "log.";
pub(super) const SNAPSHOT_PREFIX: &str = "snapshot.";
pub(super) const LOG_MAGIC: &[u8; 8] = b"ODRZLOG2";
pub(super) const SNAPSHOT_MAGIC: &[u8; 8] = b"ODRZSNP1";

/// What logs of every version begin with.
const LOG_MAGIC_OF_ANY_VERSION: &[u8] = b"ODRZLOG";

/// Length of the change, bytes since the start of the batch that the record was written with, and CRC-32C of both and the
/// change; four bytes each.
pub(super) const RECORD_HEADER: usize = 12;

/// Larger files are not ours. Unit: bytes.
const FILE_BYTES_MAX: u64 = 16 << 30;

/// Fills in the header of the record at `start` of `batch`, which is the header's place followed by the change.
pub(super) fn seal_record(batch: &mut [u8], start: usize) {
    let since_batch = u32::try_from(start).expect("a batch is some hundred requests of 1 MiB at most");
    let record = &mut batch[start..];
    let length = u32::try_from(record.len() - RECORD_HEADER).expect("a change is smaller than its request");
    record[..4].copy_from_slice(&length.to_be_bytes());
    record[4..8].copy_from_slice(&since_batch.to_be_bytes());
    let checksum = record_checksum(&record[..8], &record[RECORD_HEADER..]);
    record[8..RECORD_HEADER].copy_from_slice(&checksum.to_be_bytes());
}

fn record_checksum(lengths: &[u8], change: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(lengths), change)
}

pub(super) struct Recovered {
    pub(super) tree: ZnodeTree,
    /// The log to go on with, and where its last whole record ends.
    pub(super) open_log: Option<(PathBuf, u64)>,
    /// Changes taken from logs.
    pub(super) replayed: u64,
}

/// The directory's files, each kind in ascending order.
pub(super) struct Files {
    pub(super) logs: Vec<(Zxid, PathBuf)>,
    pub(super) snapshots: Vec<(Zxid, PathBuf)>,
}

impl Files {
    pub(super) fn list(disk: &dyn Disk, directory: &Path) -> Result<Files, JournalError> {
        let mut files = Files { logs: Vec::new(), snapshots: Vec::new() };
        for entry in disk.list(directory, &|_| false).map_err(io_error("cannot list", directory))? {
            let path = directory.join(&entry.name);
            if let Some(zxid) = numbered(&entry.name, LOG_PREFIX) {
                files.logs.push((zxid, path));
            } else if let Some(zxid) = numbered(&entry.name, SNAPSHOT_PREFIX) {
                files.snapshots.push((zxid, path));
            }
        }
        files.logs.sort();
        files.snapshots.sort();
        Ok(files)
    }
}

fn numbered(name: &str, prefix: &str) -> Option<Zxid> {
    let digits = name.strip_prefix(prefix).filter(|digits| digits.len() == 16)?;
    i64::from_str_radix(digits, 16).ok().map(Zxid)
}

pub(super) fn recover(disk: &dyn Disk, directory: &Path) -> Result<Recovered, JournalError> {
    let files = Files::list(disk, directory)?;
    let mut tree = newest_snapshot(disk, &files)?;
    let mut open_log = None;
    let mut replayed = 0;
    // The last log that begins at or before the first change wanted, and all after it.
    let wanted = tree.zxid().next();
    let first = files.logs.iter().rposition(|(zxid, _)| *zxid <= wanted).unwrap_or(0);
    for (index, (begin, path)) in files.logs.iter().enumerate().skip(first) {
        if *begin > tree.zxid().next() {
            return Err(match (index, files.snapshots.is_empty()) {
                (0, _) => JournalError::NoSnapshot(directory.to_owned()),
                _ => JournalError::Damaged { path: path.clone(), position: 0 },
            });
        }
        let bytes = disk::read_file(disk, path, FILE_BYTES_MAX).map_err(io_error("cannot read", path))?;
        let end = replay(path, &bytes, &mut tree, &mut replayed)?;
        let torn = bytes.len() as u64 - end;
        let is_last = index + 1 == files.logs.len();
        if torn > 0 && has_later_batch(&bytes, end, &tree) {
            return Err(JournalError::Damaged { path: path.clone(), position: end });
        }
        if torn > 0 && is_last {
            tracing::warn!(path = %path.display(), torn, "the log ends in an unfinished record, which is cut off");
        }
        if is_last && end > 0 {
            open_log = Some((path.clone(), end));
        }
    }
    Ok(Recovered { tree, open_log, replayed })
}

/// The newest snapshot that is whole; a fresh tree where there is none but the logs begin at the first change.
fn newest_snapshot(disk: &dyn Disk, files: &Files) -> Result<ZnodeTree, JournalError> {
    for (_, path) in files.snapshots.iter().rev() {
        let bytes = disk::read_file(disk, path, FILE_BYTES_MAX).map_err(io_error("cannot read", path))?;
        match read_snapshot(&bytes) {
            Some(tree) => return Ok(tree),
            None => tracing::warn!(path = %path.display(), "damaged snapshot; taking the one before"),
        }
    }
    match (files.snapshots.last(), files.logs.first()) {
        (Some((_, path)), None) => Err(JournalError::Damaged { path: path.clone(), position: 0 }),
        _ => Ok(ZnodeTree::new()),
    }
}

fn read_snapshot(bytes: &[u8]) -> Option<ZnodeTree> {
    let (content, checksum) = bytes.split_last_chunk::<4>()?;
    if crc32c::crc32c(content) != u32::from_be_bytes(*checksum) {
        return None;
    }
    ZnodeTree::decode(content.strip_prefix(SNAPSHOT_MAGIC)?).ok()
}

/// Applies the log's changes that the tree does not have yet; returns where the last whole record ends, 0 where not even
/// the log's own header is whole.
fn replay(path: &Path, bytes: &[u8], tree: &mut ZnodeTree, replayed: &mut u64) -> Result<u64, JournalError> {
    let Some(mut rest) = bytes.strip_prefix(LOG_MAGIC) else {
        let path = path.to_owned();
        return match bytes.len() < LOG_MAGIC.len() || bytes.iter().all(|byte| *byte == 0) {
            true => Ok(0),
            false if bytes.starts_with(LOG_MAGIC_OF_ANY_VERSION) => Err(JournalError::OtherVersion(path)),
            false => Err(JournalError::Damaged { path, position: 0 }),
        };
    };
    let mut position = LOG_MAGIC.len() as u64;
    while let Some(record) = next_record(rest) {
        let damaged = || JournalError::Damaged { path: path.to_owned(), position };
        let txn: Txn = decode_txn(record.change).map_err(|_| damaged())?;
        if txn.zxid > tree.zxid() {
            tree.apply(&txn).map_err(|_| damaged())?;
            *replayed += 1;
        }
        rest = record.after;
        position = (bytes.len() - rest.len()) as u64;
    }
    Ok(position)
}

/// Whether a record that was written after the batch around `end` had been synced follows anywhere.
fn has_later_batch(bytes: &[u8], end: u64, tree: &ZnodeTree) -> bool {
    let end = usize::try_from(end).unwrap_or(usize::MAX);
    (end.saturating_add(1)..bytes.len()).any(|position| {
        next_record(&bytes[position..]).is_some_and(|record| {
            let is_later = position.checked_sub(record.since_batch).is_some_and(|batch| batch > end);
            is_later && decode_txn(record.change).is_ok_and(|txn| txn.zxid > tree.zxid())
        })
    })
}

/// A whole record at the front of some bytes.
struct Record<'a> {
    change: &'a [u8],
    /// How far before the record its batch begins. Unit: bytes.
    since_batch: usize,
    after: &'a [u8],
}

fn next_record(bytes: &[u8]) -> Option<Record<'_>> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (since_batch, rest) = rest.split_first_chunk::<4>()?;
    let (checksum, rest) = rest.split_first_chunk::<4>()?;
    let [length, since_batch] =
        [length, since_batch].map(|size| usize::try_from(u32::from_be_bytes(*size)).unwrap_or(usize::MAX));
    let (change, after) = rest.split_at_checked(length)?;
    (length > 0 && record_checksum(&bytes[..8], change) == u32::from_be_bytes(*checksum)).then_some(Record {
        change,
        since_batch,
        after,
    })
}
