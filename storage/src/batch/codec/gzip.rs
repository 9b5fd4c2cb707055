//! Gzip as Java's `GZIPInputStream` reads it: members one after the other, and whatever follows them ignored.

use std::io::{self, Read};

use flate2::bufread::GzDecoder;

const MEMBER_START: [u8; 3] = [0x1f, 0x8b, 8];

/// The uncompressed bytes of all members.
pub(super) struct Members<'a> {
    current: GzDecoder<&'a [u8]>,
    ended: bool,
}

impl<'a> Members<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Members<'a> {
        Members { current: GzDecoder::new(bytes), ended: false }
    }
}

impl Read for Members<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while !self.ended {
            let len = self.current.read(out)?;
            if len > 0 || out.is_empty() {
                return Ok(len);
            }
            let rest: &[u8] = self.current.get_ref();
            if rest.starts_with(&MEMBER_START) {
                self.current = GzDecoder::new(rest);
            } else {
                self.ended = true;
            }
        }
        Ok(0)
    }
}
