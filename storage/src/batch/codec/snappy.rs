//! Snappy in the framing of Java's `SnappyOutputStream`: a header of 16 bytes, then blocks, each with its size.
//!
//! Some clients send a single raw block without any framing; as in Java, what does not start with the header is one.

use std::mem;

/// Magic, version 1, oldest version that can read it 1.
pub(super) const STREAM_HEADER: [u8; 16] =
    [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1];
const MAGIC: &[u8] = &[0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];

/// Uncompressed bytes in a block we write; Java's default.
pub(super) const BLOCK_SIZE: usize = 32 * 1024;

/// No element of the format yields more than 64 bytes from 3: a block that claims more lies.
const RATIO_MAX: usize = 22;

/// The blocks of a stream.
pub(super) struct Blocks<'a> {
    rest: &'a [u8],
    framing: Framing,
}

enum Framing {
    Unknown,
    Framed,
    Ended,
}

impl<'a> Blocks<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Blocks<'a> {
        Blocks { rest: bytes, framing: Framing::Unknown }
    }

    /// Puts the next block at the front of `out`; yields its length, `None` at the end.
    pub(super) fn next_into(&mut self, out: &mut Vec<u8>) -> Result<Option<usize>, String> {
        match self.framing {
            Framing::Ended => Ok(None),
            Framing::Framed => self.next_block(out),
            Framing::Unknown if self.rest.is_empty() => Err("cannot decompress an empty stream".to_owned()),
            Framing::Unknown if self.rest.len() < STREAM_HEADER.len() || !self.rest.starts_with(MAGIC) => {
                self.framing = Framing::Ended;
                decompress(mem::take(&mut self.rest), out).map(Some)
            }
            Framing::Unknown => {
                self.framing = Framing::Framed;
                self.next_header()?;
                self.next_block(out)
            }
        }
    }

    /// Splits a stream header off; yields its version.
    fn next_header(&mut self) -> Result<i32, String> {
        let (header, rest) =
            self.rest.split_first_chunk::<16>().ok_or_else(|| "a stream header is cut off".to_owned())?;
        let [_, _, _, _, _, _, _, _, a, b, c, d, ..] = *header;
        self.rest = rest;
        Ok(i32::from_be_bytes([a, b, c, d]))
    }

    fn next_block(&mut self, out: &mut Vec<u8>) -> Result<Option<usize>, String> {
        loop {
            let Some((size, rest)) = self.rest.split_first_chunk::<4>() else {
                self.framing = Framing::Ended;
                return Ok(None);
            };
            // Another stream may follow; only then does Java look at the version.
            if self.rest.starts_with(MAGIC) {
                let version = self.next_header()?;
                if version < 1 {
                    return Err(format!("stream version {version} is too old"));
                }
                continue;
            }
            let size =
                usize::try_from(i32::from_be_bytes(*size)).map_err(|_| "a block has a negative size")?;
            let (block, rest) = rest.split_at_checked(size).ok_or("a block is cut off")?;
            self.rest = rest;
            return decompress(block, out).map(Some);
        }
    }
}

fn decompress(block: &[u8], out: &mut Vec<u8>) -> Result<usize, String> {
    let len = snap::raw::decompress_len(block).map_err(|error| error.to_string())?;
    if len / RATIO_MAX > block.len() {
        return Err(format!("a block of {} bytes claims to hold {len}", block.len()));
    }
    if out.len() < len {
        out.resize(len, 0);
    }
    snap::raw::Decoder::new().decompress(block, out).map_err(|error| error.to_string())
}

/// Appends `block` as one block of a stream.
pub(super) fn write_block(block: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    let mut compressed = vec![0; snap::raw::max_compress_len(block.len())];
    let len =
        snap::raw::Encoder::new().compress(block, &mut compressed).map_err(|error| error.to_string())?;
    let prefix = i32::try_from(len).map_err(|_| "a block is too large")?;
    out.extend_from_slice(&prefix.to_be_bytes());
    out.extend_from_slice(compressed.get(..len).unwrap_or_default());
    Ok(())
}
