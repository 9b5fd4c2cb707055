//! Bytes of a file on their way to a socket.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;

use bytes::Bytes;

use super::DiskFile;

/// Record bytes as they lie in a segment: mapped for those who look at them, and with their place in the file for
/// those who only pass them on ([`FileBytes::send`]), which touches no page of the mapping.
#[derive(Clone, Debug, Default)]
pub struct FileBytes {
    bytes: Bytes,
    place: Option<Place>,
}

/// Keeps the file open while an answer is on its way.
#[derive(Clone, Debug)]
struct Place {
    file: Arc<dyn DiskFile>,
    /// Unit: bytes.
    position: u64,
}

impl From<Bytes> for FileBytes {
    /// Bytes that lie in no file.
    fn from(bytes: Bytes) -> FileBytes {
        FileBytes { bytes, place: None }
    }
}

impl FileBytes {
    /// `bytes` are what `file` has at `position`.
    pub(crate) fn new(bytes: Bytes, file: Arc<dyn DiskFile>, position: u64) -> FileBytes {
        FileBytes { bytes, place: Some(Place { file, position }) }
    }

    /// To look at.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The part that `subset` is, which must lie within these bytes.
    ///
    /// # Panics
    /// Where it does not.
    #[must_use]
    pub fn part(&self, subset: &[u8]) -> FileBytes {
        let bytes = self.bytes.slice_ref(subset);
        let skipped = subset.as_ptr() as usize - self.bytes.as_ptr() as usize;
        let place = self.place.clone();
        FileBytes { bytes, place: place.map(|place| place.behind(skipped)) }
    }

    /// Forgets the first `count` bytes.
    ///
    /// # Panics
    /// Where there are not so many.
    pub fn advance(&mut self, count: usize) {
        self.bytes = self.bytes.slice(count..);
        self.place = self.place.take().map(|place| place.behind(count));
    }

    /// Whether [`FileBytes::send`] can be used: they lie in a file of the operating system.
    #[must_use]
    pub fn is_sendable(&self) -> bool {
        self.place.as_ref().is_some_and(|place| place.file.descriptor().is_some())
    }

    /// Has the kernel move bytes from the file to `socket`, from the front; returns how many it took.
    ///
    /// A file that was cut meanwhile ends early: 0, and what is behind the cut cannot be sent any more.
    pub fn send(&self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        let Some((place, from)) =
            self.place.as_ref().and_then(|place| Some((place, place.file.descriptor()?)))
        else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        let mut position = libc::off_t::try_from(place.position).map_err(io::Error::other)?;
        // SAFETY: both descriptors are open through the call, and the position is a value of this frame.
        let sent = unsafe {
            libc::sendfile(socket.as_raw_fd(), from.as_raw_fd(), &raw mut position, self.bytes.len())
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}

impl Place {
    fn behind(self, count: usize) -> Place {
        Place { position: self.position + count as u64, ..self }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::disk::{Disk, Open, OsDisk, write_all};

    #[test]
    fn the_kernel_sends_what_the_mapping_shows() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = OsDisk.open(&folder.path().join("file"), Open::Create).expect("created");
        write_all(file.as_ref(), &mut [std::io::IoSlice::new(b"0123456789")], 0).expect("written");
        let all = FileBytes::new(Bytes::from_static(b"23456789"), file, 2);

        let (near, mut far) = UnixStream::pair().expect("a pair");
        let mut part = all.part(&all.bytes()[2..6]);
        assert_eq!(part.bytes(), "4567");
        part.advance(1);
        assert!(part.is_sendable());
        assert_eq!(part.send(near.as_fd()).expect("sent"), 3);
        drop(near);
        let mut received = String::new();
        far.read_to_string(&mut received).expect("received");
        assert_eq!(received, "567");
    }

    #[test]
    fn bytes_of_no_file_are_not_sendable() {
        assert!(!FileBytes::from(Bytes::from_static(b"abc")).is_sendable());
    }
}
