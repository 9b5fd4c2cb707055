//! From the files of the data directory back to a tree.
//!
//! The newest valid snapshot, then every change after it. A log is believed up to its last whole record; what follows
//! in the last log was never acknowledged and is cut, what follows in an earlier one is damage.

use std::path::{Path, PathBuf};

use coordinator::znodes::{Txn, ZnodeTree, Zxid, decode_txn};
use storage::disk::{self, Disk};

use super::journal::{JournalError, io_error};

pub(super) const LOG_PREFIX: &str = "log.";
pub(super) const SNAPSHOT_PREFIX: &str = "snapshot.";
pub(super) const LOG_MAGIC: &[u8; 8] = b"ODRZLOG1";
pub(super) const SNAPSHOT_MAGIC: &[u8; 8] = b"ODRZSNP1";

/// Length and CRC-32C, four bytes each; the checksum covers the length and the change.
pub(super) const RECORD_HEADER: usize = 8;

/// Larger files are not ours. Unit: bytes.
const FILE_BYTES_MAX: u64 = 16 << 30;

/// Fills in the header of `record`, which is the header's place followed by the change.
pub(super) fn seal_record(record: &mut [u8]) {
    let length = u32::try_from(record.len() - RECORD_HEADER).expect("a change is smaller than its request");
    record[..4].copy_from_slice(&length.to_be_bytes());
    let checksum = record_checksum(length, &record[RECORD_HEADER..]);
    record[4..RECORD_HEADER].copy_from_slice(&checksum.to_be_bytes());
}

fn record_checksum(length: u32, change: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&length.to_be_bytes()), change)
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
        for entry in disk.list(directory).map_err(io_error("cannot list", directory))? {
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
        return match bytes.len() < LOG_MAGIC.len() || bytes.iter().all(|byte| *byte == 0) {
            true => Ok(0),
            false => Err(JournalError::Damaged { path: path.to_owned(), position: 0 }),
        };
    };
    let mut position = LOG_MAGIC.len() as u64;
    while let Some((change, after)) = next_record(rest) {
        let damaged = || JournalError::Damaged { path: path.to_owned(), position };
        let txn: Txn = decode_txn(change).map_err(|_| damaged())?;
        if txn.zxid > tree.zxid() {
            tree.apply(&txn).map_err(|_| damaged())?;
            *replayed += 1;
        }
        position = (bytes.len() - after.len()) as u64;
        rest = after;
    }
    Ok(position)
}

/// The change of the record at the front, if it is whole, and what follows.
fn next_record(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (checksum, rest) = rest.split_first_chunk::<4>()?;
    let length = u32::from_be_bytes(*length);
    let (change, after) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    (length > 0 && record_checksum(length, change) == u32::from_be_bytes(*checksum))
        .then_some((change, after))
}
