//! The file system of the machine.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use super::{Disk, DiskFile, Entry, Lock, Mapping, Open, Space};
use crate::types::TimestampMs;

/// Slices one `pwritev` may take; Linux allows 1024 (`IOV_MAX`).
const SLICES_MAX: usize = 1024;

#[derive(Clone, Copy, Debug, Default)]
pub struct OsDisk;

#[derive(Debug)]
struct OsFile {
    file: File,
}

/// Keeps the descriptor that holds the record lock.
#[derive(Debug)]
struct OsLock {
    file: File,
}

impl Lock for OsLock {}

impl Drop for OsLock {
    /// Closing the descriptor is not enough: a child that another thread has just forked holds a copy of it until it
    /// executes its program, and the lock lives as long as any copy.
    fn drop(&mut self) {
        if let Err(error) = record_lock(&self.file, libc::F_UNLCK) {
            tracing::debug!("a lock is given back by closing its file alone: {error}");
        }
    }
}

/// Takes (`F_WRLCK`) or gives back (`F_UNLCK`) an open-file-description lock on the whole file, which excludes both
/// Apache's process lock and a second broker in this process.
fn record_lock(file: &File, kind: libc::c_int) -> io::Result<()> {
    // SAFETY: `flock` is plain data and zero is a valid value of every field.
    let mut whole_file: libc::flock = unsafe { std::mem::zeroed() };
    whole_file.l_type = kind as libc::c_short;
    whole_file.l_whence = libc::SEEK_SET as libc::c_short;
    // SAFETY: the descriptor is open and the pointer lives through the call.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw mut whole_file) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

impl Disk for OsDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true);
        match how {
            Open::Read => {}
            Open::Write => {
                options.write(true);
            }
            Open::Create => {
                options.write(true).create(true).truncate(false);
            }
            Open::Replace => {
                options.write(true).create(true).truncate(true);
            }
        }
        Ok(Arc::new(OsFile { file: options.open(path)? }))
    }

    fn list(&self, path: &Path, measured: &dyn Fn(&str) -> bool) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            match look_at(&entry, measured(&name)) {
                Ok((is_directory, size)) => entries.push(Entry { name, is_directory, size }),
                // A file may vanish between being listed and being looked at: a deletion that was due.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(entries)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        fs::exists(path)
    }

    fn create_directories(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match record_lock(&file, libc::F_WRLCK) {
            Ok(()) => Ok(Some(Box::new(OsLock { file }))),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EACCES | libc::EAGAIN)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let name = std::ffi::CString::new(path.as_os_str().as_encoded_bytes())?;
        // SAFETY: plain data; the call fills it.
        let mut answer: libc::statvfs = unsafe { std::mem::zeroed() };
        // SAFETY: both pointers live through the call and `name` ends with NUL.
        if unsafe { libc::statvfs(name.as_ptr(), &raw mut answer) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Space {
            total: answer.f_blocks.saturating_mul(answer.f_frsize),
            usable: answer.f_bavail.saturating_mul(answer.f_frsize),
        })
    }

    fn open_files_max(&self) -> u64 {
        // SAFETY: plain data; the call fills it.
        let mut limit: libc::rlimit = unsafe { std::mem::zeroed() };
        // SAFETY: the pointer lives through the call.
        if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } == 0 {
            limit.rlim_cur
        } else {
            1024
        }
    }

    fn cache_identity(&self, path: &Path) -> io::Result<Option<String>> {
        if !keeps_pages_across_processes(path)? {
            return Ok(None);
        }
        let boot = match fs::read_to_string("/proc/sys/kernel/random/boot_id") {
            Ok(boot) => boot,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let device = fs::metadata(path)?.dev();
        let (major, minor) = (libc::major(device), libc::minor(device));
        let mount = mount_instance(major, minor).map_or_else(|| "-".to_string(), |mount| mount.to_string());
        Ok(Some(format!("boot={} device={major}:{minor} mount={mount}", boot.trim())))
    }

    fn fingerprint(&self, path: &Path) -> io::Result<String> {
        let metadata = fs::metadata(path)?;
        Ok(format!("{}:{}.{:09}", metadata.ino(), metadata.mtime(), metadata.mtime_nsec()))
    }
}

/// Whether it is a directory, and its size. The listing itself says what most of that is.
fn look_at(entry: &fs::DirEntry, measured: bool) -> io::Result<(bool, u64)> {
    let kind = entry.file_type()?;
    let metadata = if kind.is_symlink() {
        fs::metadata(entry.path())?
    } else if kind.is_dir() || !measured {
        return Ok((kind.is_dir(), 0));
    } else {
        entry.metadata()?
    };
    Ok((metadata.is_dir(), if metadata.is_dir() { 0 } else { metadata.len() }))
}

/// File systems of this machine whose pages outlive the process that wrote them. Others, those of the network above
/// all, may lose what was written without the machine going down.
fn keeps_pages_across_processes(path: &Path) -> io::Result<bool> {
    const EXT: i64 = 0xEF53;
    const XFS: i64 = 0x5846_5342;
    const BTRFS: i64 = 0x9123_683E;
    const F2FS: i64 = 0xF2F5_2010;
    const TMPFS: i64 = 0x0102_1994;
    const OVERLAY: i64 = 0x794C_7630;
    let name = std::ffi::CString::new(path.as_os_str().as_encoded_bytes())?;
    // SAFETY: plain data; the call fills it.
    let mut answer: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers live through the call and `name` ends with NUL.
    if unsafe { libc::statfs(name.as_ptr(), &raw mut answer) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok([EXT, XFS, BTRFS, F2FS, TMPFS, OVERLAY].contains(&answer.f_type))
}

/// Tells one mount of a block device from the next, which a lost and found disk gets without a reboot: the entry of
/// a mounted file system under `/sys/fs` is made anew each time and its number is not used again.
fn mount_instance(major: u32, minor: u32) -> Option<u64> {
    let device = fs::read_link(format!("/sys/dev/block/{major}:{minor}")).ok()?;
    let name = device.file_name()?;
    let entry = |kind: &str| fs::metadata(Path::new("/sys/fs").join(kind).join(name)).ok();
    ["ext4", "xfs", "f2fs"].iter().find_map(|kind| entry(kind)).map(|entry| entry.ino())
}

impl DiskFile for OsFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn modified(&self) -> io::Result<TimestampMs> {
        let modified = self.file.metadata()?.modified()?;
        let since_epoch = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(TimestampMs(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)))
    }

    fn set_modified(&self, modified: TimestampMs) -> io::Result<()> {
        let since_epoch = Duration::from_millis(u64::try_from(modified.0).unwrap_or(0));
        self.file.set_modified(UNIX_EPOCH + since_epoch)
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.file.read_at(buffer, position)
    }

    fn write_at(&self, slices: &[IoSlice<'_>], position: u64) -> io::Result<usize> {
        let slices = slices.get(..SLICES_MAX).unwrap_or(slices);
        let position = libc::off_t::try_from(position).map_err(io::Error::other)?;
        // SAFETY: `IoSlice` is guaranteed to have the layout of `iovec`; the count is at most 1024.
        let written = unsafe {
            libc::pwritev(
                self.file.as_raw_fd(),
                slices.as_ptr().cast::<libc::iovec>(),
                slices.len() as libc::c_int,
                position,
            )
        };
        usize::try_from(written).map_err(|_| io::Error::last_os_error())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn reread(&self) -> io::Result<()> {
        self.file.sync_data()?;
        // SAFETY: the descriptor is open; the call changes nothing but what is cached.
        match unsafe { libc::posix_fadvise(self.file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) } {
            0 => Ok(()),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }

    fn map(&self, length: u64) -> io::Result<Mapping> {
        Mapping::of(&self.file, length)
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.file.as_fd())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_given_back_though_a_forked_child_still_has_its_descriptor() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(".lock");
        let file = File::create(&path).expect("created");
        // What a child has between its fork and its program: another descriptor of the same open file.
        let of_the_child = file.try_clone().expect("a copy");
        record_lock(&file, libc::F_WRLCK).expect("locked");
        let lock = OsLock { file };

        assert!(OsDisk.lock(&path).expect("asked").is_none(), "held");
        drop(lock);
        assert!(OsDisk.lock(&path).expect("asked").is_some(), "given back");
        drop(of_the_child);
    }
}
