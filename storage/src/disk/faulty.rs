//! A disk that fails on demand: the nth operation of a kind errors, or a write tears.
//!
//! Syncs are counted as operations but not done: these tests crash processes, not machines.

use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Disk, DiskFile, Entry, Lock, Mapping, Open, OsDisk, Space};
use crate::types::TimestampMs;

/// What a fault can hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Open,
    Read,
    Write,
    SetLength,
    Sync,
    SyncDirectory,
    Rename,
    Remove,
    Map,
}

#[derive(Clone, Copy, Debug)]
struct Fault {
    operation: Operation,
    /// Only files whose name ends so.
    suffix: &'static str,
    /// Matching operations that pass before.
    after: usize,
    /// How many fail then.
    times: usize,
    error: i32,
    reach: Reach,
}

/// How much of a write that fails still reaches the file.
#[derive(Clone, Copy, Debug)]
enum Reach {
    Bytes(usize),
    Half,
}

/// Passes everything to the real disk until told to fail.
#[derive(Clone, Debug, Default)]
pub struct FaultyDisk {
    faults: Arc<Mutex<Vec<Fault>>>,
}

impl FaultyDisk {
    pub fn new() -> FaultyDisk {
        FaultyDisk::default()
    }

    /// From now on the operation fails with this `errno` on files ending in `suffix`, until healed.
    pub fn fail(&self, operation: Operation, suffix: &'static str, error: i32) {
        let reach = Reach::Bytes(0);
        self.plan(Fault { operation, suffix, after: 0, times: usize::MAX, error, reach });
    }

    /// From now on there is room for half of each write, until healed.
    pub fn fill_up(&self) {
        let (operation, error, reach) = (Operation::Write, libc::ENOSPC, Reach::Half);
        self.plan(Fault { operation, suffix: "", after: 0, times: usize::MAX, error, reach });
    }

    /// One operation fails, after `after` that pass.
    pub fn fail_once(&self, operation: Operation, suffix: &'static str, after: usize, error: i32) {
        self.plan(Fault { operation, suffix, after, times: 1, error, reach: Reach::Bytes(0) });
    }

    /// The next write brings `bytes` to the file and fails.
    pub fn tear_write(&self, suffix: &'static str, bytes: usize, error: i32) {
        let reach = Reach::Bytes(bytes);
        self.plan(Fault { operation: Operation::Write, suffix, after: 0, times: 1, error, reach });
    }

    pub fn heal(&self) {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Whether all planned single faults have happened.
    pub fn is_spent(&self) -> bool {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn plan(&self, fault: Fault) {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).push(fault);
    }

    /// The error the operation is to yield, and for writes how much still happens.
    fn strike(&self, operation: Operation, path: &Path) -> Option<(io::Error, Reach)> {
        let name = path.to_string_lossy();
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        let index =
            faults.iter().position(|fault| fault.operation == operation && name.ends_with(fault.suffix))?;
        let fault = &mut faults[index];
        if fault.after > 0 {
            fault.after -= 1;
            return None;
        }
        let (error, reach) = (io::Error::from_raw_os_error(fault.error), fault.reach);
        fault.times -= 1;
        if fault.times == 0 {
            faults.remove(index);
        }
        Some((error, reach))
    }

    fn check(&self, operation: Operation, path: &Path) -> io::Result<()> {
        self.strike(operation, path).map_or(Ok(()), |(error, _)| Err(error))
    }
}

impl Disk for FaultyDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        self.check(Operation::Open, path)?;
        let file = OsDisk.open(path, how)?;
        Ok(Arc::new(FaultyFile { file, path: path.to_path_buf(), disk: self.clone() }))
    }

    fn list(&self, path: &Path, measured: &dyn Fn(&str) -> bool) -> io::Result<Vec<Entry>> {
        OsDisk.list(path, measured)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        OsDisk.exists(path)
    }

    fn create_directories(&self, path: &Path) -> io::Result<()> {
        OsDisk.create_directories(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.check(Operation::Rename, from)?;
        OsDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.check(Operation::Remove, path)?;
        OsDisk.remove(path)
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        self.check(Operation::Remove, path)?;
        OsDisk.remove_directory(path)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.check(Operation::SyncDirectory, path)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        OsDisk.lock(path)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        OsDisk.space(path)
    }

    fn open_files_max(&self) -> u64 {
        OsDisk.open_files_max()
    }

    fn cache_identity(&self, path: &Path) -> io::Result<Option<String>> {
        OsDisk.cache_identity(path)
    }

    fn fingerprint(&self, path: &Path) -> io::Result<String> {
        OsDisk.fingerprint(path)
    }
}

#[derive(Debug)]
struct FaultyFile {
    file: Arc<dyn DiskFile>,
    path: std::path::PathBuf,
    disk: FaultyDisk,
}

impl DiskFile for FaultyFile {
    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }

    fn modified(&self) -> io::Result<TimestampMs> {
        self.file.modified()
    }

    fn set_modified(&self, modified: TimestampMs) -> io::Result<()> {
        self.file.set_modified(modified)
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.disk.check(Operation::Read, &self.path)?;
        self.file.read_at(buffer, position)
    }

    fn write_at(&self, slices: &[IoSlice<'_>], position: u64) -> io::Result<usize> {
        match self.disk.strike(Operation::Write, &self.path) {
            None => self.file.write_at(slices, position),
            Some((error, reach)) => {
                let all: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
                let reached = match reach {
                    Reach::Bytes(bytes) => &all[..bytes.min(all.len())],
                    Reach::Half => &all[..all.len() / 2],
                };
                self.file.write_at(&[IoSlice::new(reached)], position)?;
                Err(error)
            }
        }
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.disk.check(Operation::SetLength, &self.path)?;
        self.file.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.check(Operation::Sync, &self.path)
    }

    fn reread(&self) -> io::Result<()> {
        self.sync()
    }

    fn map(&self, length: u64) -> io::Result<Mapping> {
        self.disk.check(Operation::Map, &self.path)?;
        self.file.map(length)
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.file.descriptor()
    }
}
