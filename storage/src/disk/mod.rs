//! The only door to the operating system.
//!
//! Everything `storage` asks of a file system goes through [`Disk`], so that a full disk, a torn write and a failed
//! fsync are ordinary tests. Production has one implementation, [`OsDisk`]. Nothing here knows what a log is.

#[cfg(any(test, feature = "simulation"))]
pub mod faulty;
mod file_bytes;
mod mapping;
mod os;
#[cfg(any(test, feature = "simulation"))]
pub mod powered;

use std::fmt;
use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;

use crate::types::TimestampMs;

pub use file_bytes::FileBytes;
pub use mapping::Mapping;
pub use os::OsDisk;

/// How [`Disk::open`] treats a missing file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// Existing file, reading only.
    Read,
    /// Existing file, reading and writing.
    Write,
    /// Reading and writing; created empty where missing, content kept where present.
    Create,
    /// Reading and writing; created empty, content dropped where present.
    Replace,
}

/// One entry of a directory, without `.` and `..`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub name: String,
    pub is_directory: bool,
    /// Bytes; 0 for directories, and for files whose size was not asked for.
    pub size: u64,
}

/// Unit: bytes of the file system a path lies on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    pub total: u64,
    /// What an unprivileged process may still use.
    pub usable: u64,
}

/// Held as long as this process owns a directory; dropping it gives the directory back.
pub trait Lock: Send + Sync + fmt::Debug {}

/// Everything `storage` asks of the operating system.
///
/// Names become durable with [`Disk::sync_directory`], content with [`DiskFile::sync`].
pub trait Disk: Send + Sync + fmt::Debug {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>>;
    /// In no particular order. Names that are not UTF-8 are reported with replacement characters. Sizes cost a look at each
    /// file, so only those that `measured` accepts by their name have one.
    fn list(&self, path: &Path, measured: &dyn Fn(&str) -> bool) -> io::Result<Vec<Entry>>;
    fn exists(&self, path: &Path) -> io::Result<bool>;
    fn create_directories(&self, path: &Path) -> io::Result<()>;
    /// Atomic; replaces `to` where it exists.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Removes a directory with everything in it.
    fn remove_directory(&self, path: &Path) -> io::Result<()>;
    fn sync_directory(&self, path: &Path) -> io::Result<()>;
    /// Locks `path` as Apache's broker does (a POSIX record lock on the file); `None` where somebody else has it.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>>;
    fn space(&self, path: &Path) -> io::Result<Space>;
    /// Descriptors this process may have open at a time (`ulimit -n`), sockets included.
    fn open_files_max(&self) -> u64;
    /// Names the memory in which the system keeps what was written to `path`: while two answers are equal, everything
    /// that any process wrote in between is there, even if it never reached the device. `None`: nobody can tell, as
    /// on a network file system. One line, for comparing only.
    fn cache_identity(&self, path: &Path) -> io::Result<Option<String>>;
    /// Changes when the file is replaced by another or written to. One word, for comparing only.
    fn fingerprint(&self, path: &Path) -> io::Result<String>;
}

/// An open file. Positions and lengths are bytes from its start.
pub trait DiskFile: Send + Sync + fmt::Debug {
    fn size(&self) -> io::Result<u64>;
    fn modified(&self) -> io::Result<TimestampMs>;
    fn set_modified(&self, modified: TimestampMs) -> io::Result<()>;
    /// May read less than asked; 0 at or beyond the end.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize>;
    /// May write less than given.
    fn write_at(&self, slices: &[IoSlice<'_>], position: u64) -> io::Result<usize>;
    fn set_len(&self, length: u64) -> io::Result<()>;
    fn sync(&self) -> io::Result<()>;
    /// Makes later reads see what the device has: what is not written yet is written first. After a failed `sync`
    /// the system may keep pages in memory that the device never took.
    fn reread(&self) -> io::Result<()>;
    /// Maps `length` bytes from the start, read-only and shared. May reach beyond the end of the file, so that a
    /// growing file needs one mapping; touching those pages before the file has grown over them kills the process.
    fn map(&self, length: u64) -> io::Result<Mapping>;
    /// For handing the file to the kernel; `None` where it is not the kernel's.
    fn descriptor(&self) -> Option<BorrowedFd<'_>>;
}

/// Fills as much of `buffer` as the file has from `position`; returns how much that is.
pub fn read_up_to(file: &dyn DiskFile, buffer: &mut [u8], position: u64) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, position + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Writes all slices one after another from `position`. On `Err` an unknown part of them has been written.
pub fn write_all(file: &dyn DiskFile, mut slices: &mut [IoSlice<'_>], mut position: u64) -> io::Result<()> {
    IoSlice::advance_slices(&mut slices, 0);
    while !slices.is_empty() {
        match file.write_at(slices, position) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                position += written as u64;
                IoSlice::advance_slices(&mut slices, written);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What a read yields at once: a file within one page is read whole, or the read fails. Unit: bytes.
const ONE_PAGE: usize = 4096;

/// Reads a whole small file. More than `limit` bytes are an error, so that a damaged directory cannot fill memory.
pub fn read_file(disk: &dyn Disk, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let file = disk.open(path, Open::Read)?;
    // Most have a few lines, and a start reads two for each partition: the size of those need not be asked for.
    let mut page = [0; ONE_PAGE];
    let read = read_once(file.as_ref(), &mut page)?;
    if let Some(content) = page.get(..read).filter(|_| read < ONE_PAGE && read as u64 <= limit) {
        return Ok(content.to_vec());
    }
    let length = file.size()?;
    if length > limit {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{length} bytes, expected at most {limit}"),
        ));
    }
    let mut content = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    let read = read_up_to(file.as_ref(), &mut content, 0)?;
    content.truncate(read);
    Ok(content)
}

fn read_once(file: &dyn DiskFile, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match file.read_at(buffer, 0) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// Replaces `path` by `content` so that a crash leaves either the old or the new file: `path.tmp` is written and
/// synced, renamed, and the directory synced. On `Err` the old file is still there.
pub fn replace_file(disk: &dyn Disk, path: &Path, content: &[u8]) -> io::Result<()> {
    replace_file_then(disk, path, content, || ())
}

/// The same; calls `replaced` as soon as `path` has the new content for everybody but a power cut.
pub fn replace_file_then(
    disk: &dyn Disk,
    path: &Path,
    content: &[u8],
    replaced: impl FnOnce(),
) -> io::Result<()> {
    replace_file_for_now(disk, path, content)?;
    replaced();
    match path.parent() {
        Some(parent) => disk.sync_directory(parent),
        None => Ok(()),
    }
}

/// The same for whoever syncs the directory before it matters: until then a power cut may bring the old file back, or none.
pub(crate) fn replace_file_for_now(disk: &dyn Disk, path: &Path, content: &[u8]) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let temporary = Path::new(&temporary);
    let written = disk.open(temporary, Open::Replace).and_then(|file| {
        write_all(file.as_ref(), &mut [IoSlice::new(content)], 0)?;
        file.sync()
    });
    if let Err(error) = written.and_then(|()| disk.rename(temporary, path)) {
        // On a full disk every block counts.
        let _ = disk.remove(temporary);
        return Err(error);
    }
    Ok(())
}
