//! A read-only view of a file in memory that stays valid when the file is cut.
//!
//! Reading a mapped page beyond the end of its file kills the process (SIGBUS). Appending never takes pages away;
//! truncation does. Therefore whoever truncates first calls [`Mapping::keep`] for the part that goes: the pages are
//! replaced in place by private memory with the same bytes, and slices that are still on their way to a socket keep
//! reading what they read before. Nobody waits for anybody.

use std::fs::File;
use std::io;
use std::ptr;

use memmap2::{Mmap, MmapOptions};

/// Bytes of a file, shared with the page cache.
pub struct Mapping {
    map: Mmap,
}

impl std::fmt::Debug for Mapping {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mapping({} bytes)", self.map.len())
    }
}

impl Mapping {
    pub(crate) fn of(file: &File, length: u64) -> io::Result<Mapping> {
        let length = usize::try_from(length).map_err(io::Error::other)?;
        // SAFETY: the mapping is read-only. Other processes changing a log under a running broker is outside of
        // what any broker survives; this one only appends behind what was handed out, and cuts after `keep`.
        let map = unsafe { MmapOptions::new().len(length).map(file)? };
        Ok(Mapping { map })
    }

    /// Length of the view, which may reach beyond the file. Unit: bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.map.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.map.len() == 0
    }

    /// Takes the pages out of this process, so that what was served does not count as its memory; the page cache keeps
    /// them, and whoever reads on gets them back at the price of a fault.
    ///
    /// Never call it once [`Mapping::keep`] was: kept pages are private, and would come back empty.
    pub(crate) fn release(&self) -> io::Result<()> {
        // SAFETY: the mapping is shared with its file and read-only, so dropped pages read the same when they return.
        unsafe { self.map.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) }
    }

    /// Detaches `from..upto` (bytes of the file, `upto` exclusive, at most its present length) from the file.
    ///
    /// Rounded down to a page. Costs a copy of the range; on `Err` nothing changed.
    pub(crate) fn keep(&self, from: usize, upto: usize) -> io::Result<()> {
        let page = page_size();
        let start = from - from % page;
        let upto = upto.min(self.map.len());
        if start >= upto {
            return Ok(());
        }
        let length = (upto - start).next_multiple_of(page);
        // SAFETY: `start` is page-aligned and inside the mapping, whose own length the kernel rounded up to pages,
        // so `start..start + length` belongs to it. Only pages with file behind them (below `upto`) are read. The
        // range is replaced in one step by a copy of itself, so every reader sees the same bytes before and after.
        // `Mmap::drop` unmaps by address range and does not care what lies there.
        unsafe {
            let copy = libc::mmap(
                ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            if copy == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }
            let target = self.map.as_ptr().add(start);
            ptr::copy_nonoverlapping(target, copy.cast::<u8>(), upto - start);
            let moved = libc::mremap(
                copy,
                length,
                length,
                libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED,
                target.cast_mut().cast::<libc::c_void>(),
            );
            if moved == libc::MAP_FAILED {
                let error = io::Error::last_os_error();
                libc::munmap(copy, length);
                return Err(error);
            }
        }
        Ok(())
    }
}

impl AsRef<[u8]> for Mapping {
    /// The whole view. Callers slice it below the end of the file and never look at the rest.
    fn as_ref(&self) -> &[u8] {
        &self.map
    }
}

fn page_size() -> usize {
    // SAFETY: sysconf has no preconditions.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).unwrap_or(4096).max(4096)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn released_pages_read_the_same_when_they_return() {
        let mut file = tempfile::tempfile().expect("a temporary file");
        let content: Vec<u8> = (0..40_000u32).map(|n| n as u8).collect();
        file.write_all(&content).expect("written");
        let mapping = Mapping::of(&file, 1 << 20).expect("mapped");
        assert_eq!(&mapping.as_ref()[..content.len()], &content[..]);

        mapping.release().expect("released");

        assert_eq!(&mapping.as_ref()[..content.len()], &content[..]);
    }

    #[test]
    fn kept_pages_outlive_the_truncation_of_their_file() {
        let mut file = tempfile::tempfile().expect("a temporary file");
        let content: Vec<u8> = (0..40_000u32).map(|n| n as u8).collect();
        file.write_all(&content).expect("written");
        let mapping = Mapping::of(&file, 1 << 20).expect("mapped");

        mapping.keep(10_000, content.len()).expect("detached");
        file.set_len(10_000).expect("cut");
        file.set_len(12_000).expect("grown again with zeroes");

        assert_eq!(&mapping.as_ref()[..content.len()], &content[..]);
    }
}
