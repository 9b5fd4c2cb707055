//! `partition.metadata`: the topic id a partition folder belongs to (KIP-516).

use std::io;
use std::path::Path;

use crate::disk::{Disk, read_file, replace_file, replace_file_for_now};
use crate::error::StorageError;
use crate::types::TopicId;

pub(crate) const FILE_NAME: &str = "partition.metadata";
const SIZE_MAX: u64 = 64 << 10;

/// `None` where the file is missing: the folder was made by a broker without topic ids.
pub(crate) fn read_topic_id(disk: &dyn Disk, folder: &Path) -> Result<Option<TopicId>, StorageError> {
    read(disk, &folder.join(FILE_NAME))
}

/// The same by the file itself.
pub(crate) fn read(disk: &dyn Disk, path: &Path) -> Result<Option<TopicId>, StorageError> {
    match read_file(disk, path, SIZE_MAX) {
        Ok(content) => match parse(&content) {
            Some(id) => Ok(Some(id)),
            None => Err(StorageError::corrupt(path, 0, "expected the lines `version: 0` and `topic_id: ID`")),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StorageError::io("read", path)(error)),
    }
}

pub(crate) fn write_topic_id(disk: &dyn Disk, folder: &Path, id: TopicId) -> Result<(), StorageError> {
    let path = folder.join(FILE_NAME);
    replace_file(disk, &path, content(id).as_bytes()).map_err(StorageError::io("write", &path))
}

/// The same in a folder that has just been made. A power cut may leave the folder without it until the folder is synced:
/// with the leader epoch that comes before the first record, or with the first flush.
pub(crate) fn write_first_topic_id(disk: &dyn Disk, folder: &Path, id: TopicId) -> Result<(), StorageError> {
    let path = folder.join(FILE_NAME);
    replace_file_for_now(disk, &path, content(id).as_bytes()).map_err(StorageError::io("write", &path))
}

fn content(id: TopicId) -> String {
    format!("version: 0\ntopic_id: {id}")
}

fn parse(content: &[u8]) -> Option<TopicId> {
    let mut lines = str::from_utf8(content).ok()?.lines();
    let version: i32 = value(lines.next()?, "version")?.parse().ok()?;
    let id = TopicId::parse(value(lines.next()?, "topic_id")?)?;
    (version >= 0 && !id.is_zero()).then_some(id)
}

fn value<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    Some(line.strip_prefix(key)?.strip_prefix(':')?.trim())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::disk::OsDisk;

    #[test]
    fn the_topic_id_has_apaches_bytes() {
        let folder = tempfile::tempdir().expect("a directory");
        let id = TopicId::parse("5hAqanNTTey96GCvUvvRyQ").expect("an id");
        assert_eq!(read_topic_id(&OsDisk, folder.path()).expect("read"), None);

        write_topic_id(&OsDisk, folder.path(), id).expect("written");

        let content = std::fs::read_to_string(folder.path().join(FILE_NAME)).expect("read");
        assert_eq!(content, "version: 0\ntopic_id: 5hAqanNTTey96GCvUvvRyQ");
        assert_eq!(read_topic_id(&OsDisk, folder.path()).expect("read"), Some(id));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(content in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = parse(&content);
        }
    }
}
