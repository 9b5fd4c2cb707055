//! `.snapshot`: the producers of a partition as they were when the log ended at the offset in the file's name.
//!
//! Written in one piece and not renamed into place, as Apache does: a torn file fails its checksum and the one
//! before it, or the records, are used instead.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};

use super::entry::{BatchSummary, ProducerEntry};
use crate::disk::{Disk, Open, read_file, write_all};
use crate::error::StorageError;
use crate::segment::files::{FileKind, file_name};
use crate::types::{Offset, ProducerId, TimestampMs};

const VERSION: i16 = 1;
const HEADER: usize = 10;
const ENTRY: usize = 46;
/// The checksum covers everything from here.
const COVERED_FROM: usize = 6;

/// Largest snapshot we read, some 46 million producers. Unit: bytes.
const SIZE_MAX: u64 = 2 << 30;

pub(super) fn path(folder: &Path, offset: Offset) -> PathBuf {
    folder.join(file_name(offset, FileKind::Snapshot))
}

pub(super) fn write<'a>(
    disk: &dyn Disk,
    folder: &Path,
    offset: Offset,
    producers: impl ExactSizeIterator<Item = &'a ProducerEntry>,
    sync: bool,
) -> Result<(), StorageError> {
    write_encoded(disk, folder, offset, &encode(producers), sync)
}

pub(super) fn write_encoded(
    disk: &dyn Disk,
    folder: &Path,
    offset: Offset,
    content: &[u8],
    sync: bool,
) -> Result<(), StorageError> {
    let path = path(folder, offset);
    let file = disk.open(&path, Open::Replace).map_err(StorageError::io("create", &path))?;
    if let Err(error) = write_all(file.as_ref(), &mut [IoSlice::new(content)], 0) {
        let _ = disk.remove(&path);
        return Err(StorageError::io("write", &path)(error));
    }
    if sync { file.sync().map_err(StorageError::io("sync", &path)) } else { Ok(()) }
}

/// `Corrupt` where the content is not a snapshot.
pub(crate) fn read(disk: &dyn Disk, path: &Path) -> Result<Vec<ProducerEntry>, StorageError> {
    let content = match read_file(disk, path, SIZE_MAX) {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            return Err(StorageError::corrupt(path, 0, error.to_string()));
        }
        other => other.map_err(StorageError::io("read", path))?,
    };
    decode(&content).map_err(|(position, reason)| StorageError::corrupt(path, position, reason))
}

/// In the order in which a Java hash map of this size lists its keys, so that files equal Apache's.
pub(super) fn encode<'a>(producers: impl ExactSizeIterator<Item = &'a ProducerEntry>) -> Vec<u8> {
    let mut sorted: Vec<&ProducerEntry> = producers.collect();
    let buckets = (sorted.len() * 4).div_ceil(3).max(16).next_power_of_two() as u64;
    sorted.sort_by_key(|entry| (bucket(entry.producer, buckets), entry.producer));

    let mut bytes = Vec::with_capacity(HEADER + sorted.len() * ENTRY);
    bytes.extend_from_slice(&VERSION.to_be_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&(sorted.len() as u32).to_be_bytes());
    for entry in sorted {
        bytes.extend_from_slice(&entry.producer.0.to_be_bytes());
        bytes.extend_from_slice(&entry.epoch.to_be_bytes());
        bytes.extend_from_slice(&entry.last_sequence().to_be_bytes());
        bytes.extend_from_slice(&entry.last_offset().0.to_be_bytes());
        bytes.extend_from_slice(&entry.last_offset_delta().to_be_bytes());
        bytes.extend_from_slice(&entry.last_timestamp.0.to_be_bytes());
        bytes.extend_from_slice(&entry.coordinator_epoch.to_be_bytes());
        bytes.extend_from_slice(&entry.transaction_start.unwrap_or(Offset::NONE).0.to_be_bytes());
    }
    let crc = crc32c::crc32c(&bytes[COVERED_FROM..]);
    bytes[2..COVERED_FROM].copy_from_slice(&crc.to_be_bytes());
    bytes
}

/// `java.lang.Long.hashCode`, spread as `java.util.HashMap` does.
fn bucket(producer: ProducerId, buckets: u64) -> u64 {
    let key = producer.0 as u64;
    let hash = (key ^ (key >> 32)) as u32;
    u64::from(hash ^ (hash >> 16)) & (buckets - 1)
}

/// `Err`: where it is damaged and how.
fn decode(bytes: &[u8]) -> Result<Vec<ProducerEntry>, (u64, String)> {
    let mut fields = Fields(bytes);
    let (Some(version), Some(crc), Some(count)) = (fields.i16(), fields.u32(), fields.u32()) else {
        return Err((0, format!("{} bytes are too few for a snapshot", bytes.len())));
    };
    if version != VERSION {
        return Err((0, format!("unknown version {version}, expected {VERSION}")));
    }
    let computed = crc32c::crc32c(bytes.get(COVERED_FROM..).unwrap_or_default());
    if crc != computed {
        return Err((2, format!("stored checksum {crc}, computed {computed}")));
    }
    let mut entries = Vec::new();
    for _ in 0..count {
        let position = (bytes.len() - fields.0.len()) as u64;
        entries.push(fields.entry().ok_or((position, format!("ends before its {count} entries do")))?);
    }
    Ok(entries)
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*field)
    }

    fn i16(&mut self) -> Option<i16> {
        self.take().map(i16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }

    fn i32(&mut self) -> Option<i32> {
        self.take().map(i32::from_be_bytes)
    }

    fn i64(&mut self) -> Option<i64> {
        self.take().map(i64::from_be_bytes)
    }

    fn entry(&mut self) -> Option<ProducerEntry> {
        let mut entry = ProducerEntry::empty(ProducerId(self.i64()?));
        entry.epoch = self.i16()?;
        let last_sequence = self.i32()?;
        let last_offset = Offset(self.i64()?);
        let offset_delta = self.i32()?;
        let timestamp = TimestampMs(self.i64()?);
        entry.coordinator_epoch = self.i32()?;
        entry.transaction_start = Some(Offset(self.i64()?)).filter(|start| start.0 >= 0);
        entry.last_timestamp = timestamp;
        if last_offset.0 >= 0 {
            entry.add_batch(BatchSummary { last_sequence, last_offset, offset_delta, timestamp });
        }
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        text.split_ascii_whitespace().map(|byte| u8::from_str_radix(byte, 16).expect("hex")).collect()
    }

    #[test]
    fn apaches_snapshot_is_read_and_written_back_alike() {
        let open_transaction = hex(
            "00 01 00 85 80 2a 00 00 00 01 00 00 00 00 00 00 03 ea 00 00 00 00 00 00 00 00 00 00 00 00 00 00
             00 00 00 00 00 00 01 8b cf e5 68 00 ff ff ff ff 00 00 00 00 00 00 00 00",
        );
        let committed = hex(
            "00 01 ca 7c 11 a8 00 00 00 01 00 00 00 00 00 00 03 ea 00 00 00 00 00 01 00 00 00 00 00 00 00 02
             00 00 00 00 00 00 01 a2 06 44 93 74 00 00 00 00 ff ff ff ff ff ff ff ff",
        );
        for bytes in [&open_transaction, &committed] {
            let entries = decode(bytes).expect("decoded");
            assert_eq!(&encode(entries.iter()), bytes);
        }
        let entries = decode(&open_transaction).expect("decoded");
        assert_eq!(entries[0].transaction_start, Some(Offset(0)));
        assert_eq!(entries[0].producer, ProducerId(1002));
        assert_eq!(decode(&committed).expect("decoded")[0].last_sequence(), 1);
    }

    #[test]
    fn an_empty_snapshot_has_ten_bytes() {
        assert_eq!(encode([].iter()).len(), 10);
    }

    #[test]
    fn a_flipped_bit_is_found() {
        let mut entry = ProducerEntry::empty(ProducerId(9));
        entry.epoch = 3;
        let good = encode([entry].iter());
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&bad).is_err(), "bit {bit}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), fix: bool) {
            if fix && bytes.len() >= HEADER {
                bytes[..2].copy_from_slice(&VERSION.to_be_bytes());
                let crc = crc32c::crc32c(&bytes[COVERED_FROM..]);
                bytes[2..COVERED_FROM].copy_from_slice(&crc.to_be_bytes());
            }
            let _ = decode(&bytes);
        }
    }
}
