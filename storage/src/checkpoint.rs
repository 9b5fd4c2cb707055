//! Kafka's small text files: a version line, a count line, one entry a line.
//!
//! The four checkpoint files of a log directory and `leader-epoch-checkpoint` share this form. Always replaced as a
//! whole (`disk::replace_file`), so a crash leaves the old or the new content. Reading never trusts the count.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use crate::disk::{Disk, Open, read_file, replace_file, replace_file_then};
use crate::error::StorageError;
use crate::types::{Offset, TopicPartition};

const VERSION: &str = "0";

/// Largest checkpoint we read. 1,000,000 partitions with names of full length stay below it. Unit: bytes.
const SIZE_MAX: u64 = 512 << 20;

/// Which of the four files of a log directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetCheckpoint {
    /// First offset not known to be flushed.
    RecoveryPoints,
    /// Log starts that lie above the first segment's base offset.
    LogStarts,
    HighWatermarks,
    /// First offset the cleaner has not seen.
    Cleaner,
}

impl OffsetCheckpoint {
    pub const ALL: [OffsetCheckpoint; 4] = [
        OffsetCheckpoint::RecoveryPoints,
        OffsetCheckpoint::LogStarts,
        OffsetCheckpoint::HighWatermarks,
        OffsetCheckpoint::Cleaner,
    ];

    pub const fn file_name(self) -> &'static str {
        match self {
            OffsetCheckpoint::RecoveryPoints => "recovery-point-offset-checkpoint",
            OffsetCheckpoint::LogStarts => "log-start-offset-checkpoint",
            OffsetCheckpoint::HighWatermarks => "replication-offset-checkpoint",
            OffsetCheckpoint::Cleaner => "cleaner-offset-checkpoint",
        }
    }

    /// A missing or empty file has no entries; a damaged one is [`StorageError::Corrupt`].
    pub fn read(
        self,
        disk: &dyn Disk,
        directory: &Path,
    ) -> Result<BTreeMap<TopicPartition, Offset>, StorageError> {
        let entries = read_lines(disk, &directory.join(self.file_name()), parse_offset)?;
        Ok(entries.into_iter().collect())
    }

    /// Replaces the file, and calls `replaced` as soon as it is. On `Err` the old content is still there.
    pub(crate) fn write(
        self,
        disk: &dyn Disk,
        directory: &Path,
        offsets: &BTreeMap<TopicPartition, Offset>,
        replaced: impl FnOnce(),
    ) -> Result<(), StorageError> {
        let lines = offsets
            .iter()
            .map(|(partition, offset)| format!("{} {} {offset}", partition.topic, partition.partition));
        let path = directory.join(self.file_name());
        replace_file_then(disk, &path, content_of(lines).as_bytes(), replaced)
            .map_err(StorageError::io("write", &path))
    }
}

pub(crate) fn parse_offset(line: &str) -> Option<(TopicPartition, Offset)> {
    let mut words = line.split_ascii_whitespace();
    let (topic, partition, offset) =
        (words.next()?, words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    words.next().is_none().then(|| (TopicPartition::new(topic, partition), Offset(offset)))
}

/// Reads a checkpoint whose lines `parse` understands; missing and empty files have no entries.
pub(crate) fn read_lines<T>(
    disk: &dyn Disk,
    path: &Path,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Vec<T>, StorageError> {
    let content = match read_file(disk, path, SIZE_MAX) {
        Ok(content) => content,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StorageError::io("read", path)(error)),
    };
    parse_lines(&content, parse)
        .map_err(|(line, reason)| StorageError::corrupt(path, line_position(&content, line), reason))
}

/// `Err`: the number of the bad line, from 0, and what is wrong with it.
fn parse_lines<T>(
    content: &[u8],
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Vec<T>, (usize, &'static str)> {
    let text = str::from_utf8(content).map_err(|_| (0, "not UTF-8 text"))?;
    let mut lines = text.lines();
    let Some(version) = lines.next() else { return Ok(Vec::new()) };
    if version.trim() != VERSION {
        return Err((0, "unknown version, expected 0"));
    }
    let Some(count) = lines.next() else { return Ok(Vec::new()) };
    let count: usize = count.trim().parse().map_err(|_| (1, "expected a number of entries"))?;
    let mut entries = Vec::new();
    for (number, line) in lines.enumerate() {
        entries.push(parse(line).ok_or((number + 2, "malformed line"))?);
    }
    if entries.len() == count {
        Ok(entries)
    } else {
        Err((1, "the number of entries does not match the lines"))
    }
}

fn line_position(content: &[u8], line: usize) -> u64 {
    content.split_inclusive(|byte| *byte == b'\n').take(line).map(|line| line.len() as u64).sum()
}

pub(crate) fn write_lines(
    disk: &dyn Disk,
    path: &Path,
    lines: impl ExactSizeIterator<Item = String>,
) -> Result<(), StorageError> {
    replace_file(disk, path, content_of(lines).as_bytes()).map_err(StorageError::io("write", path))
}

fn content_of(lines: impl ExactSizeIterator<Item = String>) -> String {
    let mut content = format!("{VERSION}\n{}\n", lines.len());
    for line in lines {
        content.push_str(&line);
        content.push('\n');
    }
    content
}

/// Creates an empty file where there is none, as Apache does for each of its checkpoints.
pub(crate) fn create_empty(disk: &dyn Disk, path: &Path) -> Result<(), StorageError> {
    disk.open(path, Open::Create).map(drop).map_err(StorageError::io("create", path))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::disk::OsDisk;

    #[test]
    fn a_checkpoint_reads_back_what_kafka_writes() {
        let directory = tempfile::tempdir().expect("a directory");
        let content = "0\n3\ntxd 0 4\ncmpt 0 0\n__transaction_state 2 0\n";
        std::fs::write(directory.path().join("recovery-point-offset-checkpoint"), content).expect("written");

        let read = OffsetCheckpoint::RecoveryPoints.read(&OsDisk, directory.path()).expect("read");

        assert_eq!(read.get(&TopicPartition::new("txd", 0)), Some(&Offset(4)));
        assert_eq!(read.len(), 3);
    }

    #[test]
    fn a_written_checkpoint_has_kafkas_bytes_and_leaves_no_temporary_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let offsets = BTreeMap::from([(TopicPartition::new("a", 1), Offset(7))]);

        OffsetCheckpoint::Cleaner.write(&OsDisk, directory.path(), &offsets, || ()).expect("written");

        let path = directory.path().join("cleaner-offset-checkpoint");
        assert_eq!(std::fs::read_to_string(path).expect("read"), "0\n1\na 1 7\n");
        assert_eq!(std::fs::read_dir(directory.path()).expect("listed").count(), 1);
    }

    #[test]
    fn a_missing_and_an_empty_checkpoint_have_no_entries() {
        let directory = tempfile::tempdir().expect("a directory");
        assert!(OffsetCheckpoint::LogStarts.read(&OsDisk, directory.path()).expect("read").is_empty());

        create_empty(&OsDisk, &directory.path().join("log-start-offset-checkpoint")).expect("created");
        assert!(OffsetCheckpoint::LogStarts.read(&OsDisk, directory.path()).expect("read").is_empty());
    }

    #[test]
    fn damage_is_reported_with_its_place() {
        for (content, line) in
            [("1\n0\n", 0), ("0\nx\n", 1), ("0\n2\na 0 1\n", 1), ("0\n1\na 0\n", 2), ("0\n1\na 0 1 2\n", 2)]
        {
            assert_eq!(
                parse_lines(content.as_bytes(), parse_offset).expect_err(content).0,
                line,
                "{content:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(content in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse_lines(&content, parse_offset);
        }

        #[test]
        fn arbitrary_text_never_panics(content in "0\n[0-9a-z \n-]{0,60}") {
            let _ = parse_lines(content.as_bytes(), parse_offset);
        }
    }
}
