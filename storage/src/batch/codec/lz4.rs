//! LZ4 frames as Kafka reads and writes them: independent blocks, one frame, no dictionary.
//!
//! Foreign blocks are decoded in safe Rust; blocks are written by liblz4, which alone has compression levels.
//! In magic 0 the checksum of the frame header covers the magic number too, which is wrong but expected (KAFKA-3160).

use twox_hash::XxHash32;

const FRAME_MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];
/// Version 1, independent blocks.
const FLAGS: u8 = 0x60;
/// Blocks of 64 KiB.
const BLOCK_DESCRIPTOR: u8 = 0x40;
const UNCOMPRESSED: u32 = 0x8000_0000;

/// Uncompressed bytes in a block we write.
pub(super) const BLOCK_SIZE: usize = 64 * 1024;

/// The level that stands for liblz4's fast compressor; any other is its high compression (Kafka's own quirk).
const FAST_LEVEL: i32 = 9;

/// The blocks of a frame.
pub(super) struct Blocks<'a> {
    rest: &'a [u8],
    block_size_max: usize,
    block_checksums: bool,
    content_checksum: bool,
    ended: bool,
}

impl<'a> Blocks<'a> {
    pub(super) fn new(bytes: &'a [u8], magic: i8) -> Result<Blocks<'a>, String> {
        let mut rest = bytes;
        if take::<4>(&mut rest)? != FRAME_MAGIC {
            return Err("the stream does not start with the magic number of lz4".to_owned());
        }
        let described = rest;
        let [flags, descriptor] = take::<2>(&mut rest)?;
        if flags & 0b1110_0011 != FLAGS {
            return Err(format!("frame flags {flags:#04x} are not supported"));
        }
        let block_size_id = descriptor >> 4;
        if descriptor & 0x8f != 0 || !(4..=7).contains(&block_size_id) {
            return Err(format!("block descriptor {descriptor:#04x} is not supported"));
        }
        if flags & 0x08 != 0 {
            take::<8>(&mut rest)?;
        }
        let described = described.get(..described.len() - rest.len()).unwrap_or_default();
        let [checksum] = take::<1>(&mut rest)?;
        if magic != 0 && checksum != header_checksum(described) {
            return Err("the frame header is corrupt".to_owned());
        }
        Ok(Blocks {
            rest,
            block_size_max: 1 << (2 * block_size_id + 8),
            block_checksums: flags & 0x10 != 0,
            content_checksum: flags & 0x04 != 0,
            ended: false,
        })
    }

    /// Puts the next block at the front of `out`; yields its length, `None` at the end of the frame.
    ///
    /// What follows the frame is ignored.
    pub(super) fn next_into(&mut self, out: &mut Vec<u8>) -> Result<Option<usize>, String> {
        if self.ended {
            return Ok(None);
        }
        let prefix = u32::from_le_bytes(take(&mut self.rest)?);
        let size = (prefix & !UNCOMPRESSED) as usize;
        if size == 0 {
            self.ended = true;
            if self.content_checksum {
                take::<4>(&mut self.rest)?;
            }
            return Ok(None);
        }
        if size > self.block_size_max {
            return Err(format!("block size {size} exceeded max: {}", self.block_size_max));
        }
        let (block, rest) = self.rest.split_at_checked(size).ok_or("the stream ended prematurely")?;
        self.rest = rest;
        if self.block_checksums && u32::from_le_bytes(take(&mut self.rest)?) != XxHash32::oneshot(0, block) {
            return Err("block checksum mismatch".to_owned());
        }
        if prefix & UNCOMPRESSED != 0 {
            out.clear();
            out.extend_from_slice(block);
            return Ok(Some(size));
        }
        // A block byte yields at most 255: do not reserve more than that for a small one.
        let room = self.block_size_max.min(size.saturating_mul(255));
        if out.len() < room {
            out.resize(room, 0);
        }
        let room = out.get_mut(..room).unwrap_or_default();
        lz4_flex::block::decompress_into(block, room).map(Some).map_err(|error| error.to_string())
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], String> {
    let (taken, later) = rest.split_first_chunk::<N>().ok_or("the stream ended prematurely")?;
    *rest = later;
    Ok(*taken)
}

fn header_checksum(described: &[u8]) -> u8 {
    (XxHash32::oneshot(0, described) >> 8) as u8
}

/// Appends the header of a frame.
pub(super) fn write_header(magic: i8, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&FRAME_MAGIC);
    out.extend_from_slice(&[FLAGS, BLOCK_DESCRIPTOR]);
    let described = if magic == 0 { start } else { start + FRAME_MAGIC.len() };
    let checksum = header_checksum(out.get(described..).unwrap_or_default());
    out.push(checksum);
}

/// Appends `block`, which must not be empty, as it is where compression does not help.
pub(super) fn write_block(block: &[u8], level: i32, out: &mut Vec<u8>) -> Result<(), String> {
    let mode = match level {
        FAST_LEVEL => lz4::block::CompressionMode::DEFAULT,
        level => lz4::block::CompressionMode::HIGHCOMPRESSION(level),
    };
    let compressed = lz4::block::compress(block, Some(mode), false).map_err(|error| error.to_string())?;
    let (bytes, flag) =
        if compressed.len() < block.len() { (compressed.as_slice(), 0) } else { (block, UNCOMPRESSED) };
    let size = u32::try_from(bytes.len()).map_err(|_| "a block is too large")?;
    out.extend_from_slice(&(size | flag).to_le_bytes());
    out.extend_from_slice(bytes);
    Ok(())
}

/// Appends the end of a frame.
pub(super) fn write_end(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0; 4]);
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use lz4::liblz4::BlockChecksum;
    use lz4::{BlockMode, BlockSize, ContentChecksum, EncoderBuilder};

    use super::super::super::attributes::Compression;
    use super::super::super::rules::TargetCompression;
    use super::super::{Deflate, Deflated};
    use super::*;

    fn payload() -> Vec<u8> {
        (0..400_000_u32).map(|i| ((i / 7).wrapping_mul(i) >> 5) as u8).collect()
    }

    fn frame(builder: &mut EncoderBuilder) -> Vec<u8> {
        let mut encoder = builder.build(Vec::new()).expect("liblz4 takes these settings");
        encoder.write_all(&payload()).expect("memory");
        let (bytes, result) = encoder.finish();
        result.expect("memory");
        bytes
    }

    fn read(frame: &[u8], magic: i8) -> Result<Vec<u8>, String> {
        let mut blocks = Blocks::new(frame, magic)?;
        let (mut all, mut block) = (Vec::new(), Vec::new());
        while let Some(len) = blocks.next_into(&mut block)? {
            all.extend_from_slice(&block[..len]);
        }
        Ok(all)
    }

    /// librdkafka and most other clients compress with this library.
    #[test]
    fn frames_of_liblz4_are_read_with_any_block_size_and_checksums() {
        for size in [BlockSize::Max64KB, BlockSize::Max256KB, BlockSize::Max1MB, BlockSize::Max4MB] {
            for checksum in [ContentChecksum::NoChecksum, ContentChecksum::ChecksumEnabled] {
                for block_checksum in [BlockChecksum::NoBlockChecksum, BlockChecksum::BlockChecksumEnabled] {
                    let bytes = frame(
                        EncoderBuilder::new()
                            .block_mode(BlockMode::Independent)
                            .block_size(size.clone())
                            .block_checksum(block_checksum)
                            .checksum(checksum.clone())
                            .content_size(payload().len() as u64),
                    );
                    assert_eq!(read(&bytes, 2), Ok(payload()));
                }
            }
        }
    }

    #[test]
    fn dependent_blocks_are_refused_as_kafka_refuses_them() {
        let bytes = frame(EncoderBuilder::new().block_mode(BlockMode::Linked));
        assert!(read(&bytes, 2).is_err());
    }

    #[test]
    fn liblz4_reads_our_frames() {
        for level in [1, 9, 17] {
            let mut sink =
                Deflate::new(TargetCompression::Lz4 { level }, Compression::None, 2, 0, usize::MAX)
                    .expect("a known level");
            sink.write(&payload()).expect("memory");
            let Deflated::Bytes(bytes) = sink.finish().expect("memory") else {
                panic!("no limit was set");
            };
            let mut all = Vec::new();
            lz4::Decoder::new(&bytes[..])
                .and_then(|mut decoder| decoder.read_to_end(&mut all))
                .expect("a good frame");
            assert_eq!(all, payload());
        }
    }

    #[test]
    fn the_wrong_header_checksum_of_old_clients_is_taken_in_magic_0_only() {
        let mut bytes = Vec::new();
        write_header(0, &mut bytes);
        write_block(b"payload", 9, &mut bytes).expect("small");
        write_end(&mut bytes);
        assert_eq!(read(&bytes, 0), Ok(b"payload".to_vec()));
        assert_eq!(read(&bytes, 1), Err("the frame header is corrupt".to_owned()));
    }
}
