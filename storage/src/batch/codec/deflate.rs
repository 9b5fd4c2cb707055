//! Writes records through a codec into memory, up to a limit.

use std::io::{self, Write};

use flate2::write::GzEncoder;

use super::super::attributes::Compression;
use super::super::error::BatchError;
use super::super::rules::TargetCompression;
use super::{lz4, snappy};

/// Takes uncompressed bytes, keeps compressed ones.
pub(in super::super) struct Deflate {
    codec: Compression,
    sink: Sink,
    uncompressed: u64,
}

/// What became of the bytes written.
pub(in super::super) enum Deflated {
    Bytes(Vec<u8>),
    /// They would have taken this many bytes, more than the limit. Only counted, not kept.
    TooLarge(u64),
}

enum Sink {
    Plain(Bounded),
    Gzip(GzEncoder<Bounded>),
    Snappy { block: Vec<u8>, scratch: Vec<u8>, out: Bounded },
    Lz4 { level: i32, block: Vec<u8>, scratch: Vec<u8>, out: Bounded },
    Zstd(zstd::stream::write::Encoder<'static, Bounded>),
}

/// A buffer that stops keeping, but goes on counting, once it is full.
struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
    total: u64,
}

impl Bounded {
    fn finish(self) -> Deflated {
        if self.total > self.limit as u64 {
            Deflated::TooLarge(self.total)
        } else {
            Deflated::Bytes(self.bytes)
        }
    }
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.total += bytes.len() as u64;
        if self.total <= self.limit as u64 {
            self.bytes.extend_from_slice(bytes);
        } else {
            self.bytes = Vec::new();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Deflate {
    /// Leaves `room` zeroes in front for a header; `limit` bounds those and the compressed bytes together.
    ///
    /// `magic` matters to lz4 only. `source` is the codec where `target` keeps it.
    pub(in super::super) fn new(
        target: TargetCompression,
        source: Compression,
        magic: i8,
        room: usize,
        limit: usize,
    ) -> Result<Deflate, BatchError> {
        let codec = target.codec(source);
        let mut out = Bounded { bytes: vec![0; room], limit, total: room as u64 };
        let failed = |error: io::Error| BatchError::Codec { codec, reason: error.to_string() };
        let sink = match (codec, target) {
            (Compression::None, _) => Sink::Plain(out),
            (Compression::Gzip, TargetCompression::Gzip { level: level @ 1..=9 }) => {
                Sink::Gzip(GzEncoder::new(out, flate2::Compression::new(level.cast_unsigned())))
            }
            (Compression::Gzip, _) => Sink::Gzip(GzEncoder::new(out, flate2::Compression::default())),
            (Compression::Snappy, _) => {
                out.write_all(&snappy::STREAM_HEADER).map_err(failed)?;
                Sink::Snappy { block: Vec::new(), scratch: Vec::new(), out }
            }
            (Compression::Lz4, target) => {
                let level = if let TargetCompression::Lz4 { level } = target { level } else { 9 };
                let mut scratch = Vec::new();
                lz4::write_header(magic, &mut scratch);
                out.write_all(&scratch).map_err(failed)?;
                Sink::Lz4 { level, block: Vec::new(), scratch, out }
            }
            (Compression::Zstd, target) => {
                let level = if let TargetCompression::Zstd { level } = target { level } else { 3 };
                Sink::Zstd(zstd::stream::write::Encoder::new(out, level).map_err(failed)?)
            }
        };
        Ok(Deflate { codec, sink, uncompressed: 0 })
    }

    pub(in super::super) fn codec(&self) -> Compression {
        self.codec
    }

    /// Bytes written so far, before compression.
    pub(in super::super) fn uncompressed(&self) -> u64 {
        self.uncompressed
    }

    pub(in super::super) fn write(&mut self, bytes: &[u8]) -> Result<(), BatchError> {
        self.uncompressed += bytes.len() as u64;
        match &mut self.sink {
            Sink::Plain(out) => out.write_all(bytes),
            Sink::Gzip(encoder) => encoder.write_all(bytes),
            Sink::Zstd(encoder) => encoder.write_all(bytes),
            Sink::Snappy { block, scratch, out } => in_blocks(bytes, snappy::BLOCK_SIZE, block, |full| {
                put(out, scratch, |to| snappy::write_block(full, to))
            }),
            Sink::Lz4 { level, block, scratch, out } => in_blocks(bytes, lz4::BLOCK_SIZE, block, |full| {
                put(out, scratch, |to| lz4::write_block(full, *level, to))
            }),
        }
        .map_err(|error| self.failed(&error))
    }

    pub(in super::super) fn finish(self) -> Result<Deflated, BatchError> {
        let codec = self.codec;
        let finished = match self.sink {
            Sink::Plain(out) => Ok(out),
            Sink::Gzip(encoder) => encoder.finish(),
            Sink::Zstd(encoder) => encoder.finish(),
            Sink::Snappy { block, mut scratch, mut out } => {
                let last = if block.is_empty() {
                    Ok(())
                } else {
                    put(&mut out, &mut scratch, |to| snappy::write_block(&block, to))
                };
                last.map(|()| out)
            }
            Sink::Lz4 { level, block, mut scratch, mut out } => put(&mut out, &mut scratch, |to| {
                if !block.is_empty() {
                    lz4::write_block(&block, level, to)?;
                }
                lz4::write_end(to);
                Ok(())
            })
            .map(|()| out),
        };
        finished.map(Bounded::finish).map_err(|error| BatchError::Codec { codec, reason: error.to_string() })
    }

    fn failed(&self, error: &io::Error) -> BatchError {
        BatchError::Codec { codec: self.codec, reason: error.to_string() }
    }
}

/// Writes what `compress` appends to an emptied `scratch`.
fn put(
    out: &mut Bounded,
    scratch: &mut Vec<u8>,
    compress: impl FnOnce(&mut Vec<u8>) -> Result<(), String>,
) -> io::Result<()> {
    scratch.clear();
    compress(scratch).map_err(io::Error::other)?;
    out.write_all(scratch)
}

/// Gathers `bytes` in `block` and hands it on whenever it is full and more is to come.
fn in_blocks(
    mut bytes: &[u8],
    size: usize,
    block: &mut Vec<u8>,
    mut full: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    while !bytes.is_empty() {
        if block.len() == size {
            full(block)?;
            block.clear();
        }
        let (now, later) = bytes.split_at(bytes.len().min(size - block.len()));
        block.extend_from_slice(now);
        bytes = later;
    }
    Ok(())
}
