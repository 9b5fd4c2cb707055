//! Small real file systems, to be filled to the last byte or to fail. Needs root; who has it not is told.

use std::fs;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

/// Unmounted when dropped, whoever still uses it.
pub(crate) struct Mount {
    /// Holds the image of a loop mount.
    _image: Option<TempDir>,
    folder: TempDir,
}

impl Mount {
    /// A file system in memory. Unit: bytes. `None` where this process may not mount.
    pub(crate) fn tmpfs(size: u64) -> Option<Mount> {
        let options = format!("size={size}");
        Mount::of(&["-t", "tmpfs", "-o", &options, "tmpfs"], None)
    }

    /// An ext4 of `size` bytes on a loop device. `None` where this process may not mount.
    pub(crate) fn ext4(size: u64) -> Option<Mount> {
        let folder = folder();
        let image = folder.path().join("image");
        fs::File::create(&image).and_then(|file| file.set_len(size)).expect("an image");
        let path = image.display().to_string();
        let made = Command::new("mkfs.ext4").args(["-q", "-m", "0", &path]).output();
        if !made.is_ok_and(|made| made.status.success()) {
            skipped();
            return None;
        }
        Mount::of(&["-o", "loop", &path], Some(folder))
    }

    fn of(arguments: &[&str], image: Option<TempDir>) -> Option<Mount> {
        let folder = folder();
        let mounted = Command::new("mount").args(arguments).arg(folder.path()).output();
        if mounted.is_ok_and(|mounted| mounted.status.success()) {
            return Some(Mount { _image: image, folder });
        }
        skipped();
        None
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Takes all the space that is left, to the last byte.
    pub(crate) fn fill(&self) {
        let filler = fs::File::options().create(true).append(true).open(self.path().join("filler"));
        let mut file = filler.expect("a filler");
        for size in [1 << 16, 4096, 1] {
            while std::io::Write::write_all(&mut file, &vec![7; size]).is_ok() {}
        }
    }

    /// From now on every access to the disk below this ext4 is EIO, as if it had been pulled out.
    pub(crate) fn fail(&self) {
        /// `_IOR('X', 125, __u32)` of `linux/ext4.h`.
        const EXT4_IOC_SHUTDOWN: libc::c_ulong = 0x8004_587D;
        /// Nothing more reaches the disk, not even the journal.
        const NOLOGFLUSH: u32 = 2;
        let flags = NOLOGFLUSH;
        let root = fs::File::open(self.path()).expect("the mount");
        // SAFETY: the descriptor is open and the flags live through the call.
        let done = unsafe { libc::ioctl(root.as_raw_fd(), EXT4_IOC_SHUTDOWN as _, &raw const flags) };
        assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.folder.path()).output();
    }
}

fn folder() -> TempDir {
    tempfile::Builder::new().prefix("odradek-mount-").tempdir().expect("a temporary folder")
}

fn skipped() {
    eprintln!("SKIPPED: this test mounts a file system, which takes root; it says nothing here");
}
