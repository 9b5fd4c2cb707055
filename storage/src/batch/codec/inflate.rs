//! Reads a compressed stretch of records forward, chunk by chunk.

use std::io::Read;

use super::super::attributes::Compression;
use super::super::error::BatchError;
use super::super::raw::{MALFORMED, PREMATURE_END};
use super::super::varint;
use super::gzip::Members;
use super::lz4;
use super::snappy;
use super::{CHUNK_SIZE, INFLATED_BYTES_MAX, INFLATED_RECORD_BYTES_MAX};

/// The decompressed bytes behind a batch header or inside a wrapper message.
pub(in super::super) struct Inflate<'a> {
    codec: Compression,
    source: Source<'a>,
    /// Holds the current chunk up to `end`; what is behind is left from chunks before and never read.
    chunk: Vec<u8>,
    position: usize,
    end: usize,
    total: u64,
}

enum Source<'a> {
    Plain(&'a [u8]),
    Gzip(Box<Members<'a>>),
    Snappy(snappy::Blocks<'a>),
    Lz4(lz4::Blocks<'a>),
    Zstd(zstd::stream::read::Decoder<'static, &'a [u8]>),
}

impl<'a> Inflate<'a> {
    /// `magic` matters to lz4 only, whose frame header old clients wrote wrong (KAFKA-3160).
    pub(in super::super) fn new(
        codec: Compression,
        magic: i8,
        bytes: &'a [u8],
    ) -> Result<Inflate<'a>, BatchError> {
        let source = match codec {
            Compression::None => Source::Plain(bytes),
            Compression::Gzip => Source::Gzip(Box::new(Members::new(bytes))),
            Compression::Snappy => Source::Snappy(snappy::Blocks::new(bytes)),
            Compression::Lz4 => Source::Lz4(lz4::Blocks::new(bytes, magic).map_err(|e| failed(codec, e))?),
            Compression::Zstd => {
                let decoder =
                    zstd::stream::read::Decoder::with_buffer(bytes).map_err(|e| failed(codec, e))?;
                Source::Zstd(decoder)
            }
        };
        Ok(Inflate { codec, source, chunk: Vec::new(), position: 0, end: 0, total: 0 })
    }

    /// Makes sure there is an unread byte; `false` at the end of the stream.
    fn fill(&mut self) -> Result<bool, BatchError> {
        while self.position >= self.end {
            self.position = 0;
            self.end = 0;
            let len = match &mut self.source {
                Source::Plain(rest) => read_chunk(rest, &mut self.chunk),
                Source::Gzip(members) => read_chunk(members.as_mut(), &mut self.chunk),
                Source::Snappy(blocks) => blocks.next_into(&mut self.chunk),
                Source::Lz4(blocks) => blocks.next_into(&mut self.chunk),
                Source::Zstd(decoder) => read_chunk(decoder, &mut self.chunk),
            };
            let Some(len) = len.map_err(|reason| failed(self.codec, reason))? else {
                return Ok(false);
            };
            self.end = len;
            self.total += len as u64;
            if self.total > INFLATED_BYTES_MAX {
                return Err(BatchError::Inflated { limit: INFLATED_BYTES_MAX });
            }
        }
        Ok(true)
    }

    /// The unread rest of the current chunk, at least one byte; `PREMATURE_END` at the end of the stream.
    fn available(&mut self) -> Result<&[u8], BatchError> {
        if self.fill()? {
            Ok(self.chunk.get(self.position..).unwrap_or_default())
        } else {
            Err(PREMATURE_END)
        }
    }

    /// `None` at the end of the stream.
    #[inline]
    pub(in super::super) fn byte(&mut self) -> Result<Option<u8>, BatchError> {
        if self.position >= self.end && !self.fill()? {
            return Ok(None);
        }
        let byte = self.chunk.get(self.position).copied();
        self.position += 1;
        Ok(byte)
    }

    pub(in super::super) fn i32(&mut self) -> Result<i32, BatchError> {
        varint::decode_i32(|| self.byte()?.ok_or(PREMATURE_END))
    }

    pub(in super::super) fn i64(&mut self) -> Result<i64, BatchError> {
        varint::decode_i64(|| self.byte()?.ok_or(PREMATURE_END))
    }

    /// Hands the next `len` bytes on in pieces.
    pub(in super::super) fn pass(
        &mut self,
        mut len: usize,
        mut to: impl FnMut(&[u8]) -> Result<(), BatchError>,
    ) -> Result<(), BatchError> {
        while len > 0 {
            let piece = self.available()?;
            let piece = piece.get(..len).unwrap_or(piece);
            to(piece)?;
            len -= piece.len();
            self.position += piece.len();
        }
        Ok(())
    }

    /// The next `len` bytes, where they lie in the current chunk; else nothing is consumed.
    pub(in super::super) fn in_one_piece(&mut self, len: usize) -> Option<&[u8]> {
        let end = self.position.checked_add(len).filter(|end| *end <= self.end)?;
        let piece = self.chunk.get(self.position..end)?;
        self.position = end;
        Some(piece)
    }

    pub(in super::super) fn skip(&mut self, len: usize) -> Result<(), BatchError> {
        self.pass(len, |_| Ok(()))
    }

    /// The next `len` bytes, which must exist. Their address space is reserved at once, so that they need not be copied
    /// again and again while it grows; memory is used only as they arrive.
    pub(in super::super) fn take(&mut self, len: usize) -> Result<Vec<u8>, BatchError> {
        if len > INFLATED_RECORD_BYTES_MAX {
            return Err(BatchError::Inflated { limit: INFLATED_RECORD_BYTES_MAX as u64 });
        }
        let mut taken = Vec::with_capacity(len);
        self.pass(len, |piece| {
            taken.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(taken)
    }

    /// As [`Inflate::take`], but `None` where the stream ends first.
    pub(in super::super) fn take_or_end(&mut self, len: usize) -> Result<Option<Vec<u8>>, BatchError> {
        match self.take(len) {
            Ok(taken) => Ok(Some(taken)),
            Err(PREMATURE_END) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// As [`Inflate::skip`], but `false` where the stream ends first.
    pub(in super::super) fn skip_or_end(&mut self, len: usize) -> Result<bool, BatchError> {
        match self.skip(len) {
            Ok(()) => Ok(true),
            Err(PREMATURE_END) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether the stream ends here; reads on to its trailer.
    pub(in super::super) fn at_end(&mut self) -> Result<bool, BatchError> {
        Ok(!self.fill()?)
    }

    /// Skips a field that is null where its length is negative; yields the length.
    pub(in super::super) fn skip_nullable(&mut self) -> Result<i32, BatchError> {
        let len = self.i32()?;
        self.skip(usize::try_from(len).unwrap_or(0))?;
        Ok(len)
    }

    /// A count or length that may not be negative.
    pub(in super::super) fn len(&mut self) -> Result<usize, BatchError> {
        usize::try_from(self.i32()?).map_err(|_| MALFORMED)
    }

    /// Decompressed bytes consumed so far.
    pub(in super::super) fn consumed(&self) -> u64 {
        self.total - self.end.saturating_sub(self.position) as u64
    }
}

/// Puts the next bytes of `from` at the front of `chunk`; yields how many, `None` at the end.
fn read_chunk(from: &mut impl Read, chunk: &mut Vec<u8>) -> Result<Option<usize>, String> {
    chunk.resize(CHUNK_SIZE, 0);
    match from.read(chunk) {
        Ok(0) => Ok(None),
        Ok(len) => Ok(Some(len)),
        Err(error) => Err(error.to_string()),
    }
}

fn failed(codec: Compression, reason: impl ToString) -> BatchError {
    BatchError::Codec { codec, reason: reason.to_string() }
}
