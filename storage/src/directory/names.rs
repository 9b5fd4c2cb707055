//! Names of partition folders: `topic-0`, and `topic-0.UNIQUE-delete`, `-future`, `-stray`.

use std::path::{Path, PathBuf};

use crate::types::TopicPartition;

/// Longest file name on the file systems Kafka runs on. Unit: bytes.
const NAME_MAX: usize = 255;

const DELETE: &str = "-delete";
const FUTURE: &str = "-future";
const STRAY: &str = "-stray";

/// What a folder is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FolderKind {
    Current,
    /// The copy that is to replace `Current` when a replica moves between directories.
    Future,
    /// To be removed; nothing reads it any more. Its topic name may be cut off.
    Deleted,
    /// Belonged to no known topic at start. Its topic name may be cut off.
    Stray,
}

/// A folder of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    pub path: PathBuf,
    pub partition: TopicPartition,
    pub kind: FolderKind,
}

impl Folder {
    /// The folder at `path` by its name alone; `None` where that is not a partition's.
    #[must_use]
    pub fn of(path: &Path) -> Option<Folder> {
        Folder::parse(path, path.file_name()?.to_str()?)
    }

    pub(super) fn parse(path: &Path, name: &str) -> Option<Folder> {
        let kinds = [(DELETE, FolderKind::Deleted), (FUTURE, FolderKind::Future), (STRAY, FolderKind::Stray)];
        let marked = kinds.iter().find_map(|(suffix, kind)| Some((name.strip_suffix(suffix)?, *kind)));
        let (name, kind) = match marked {
            Some((rest, kind)) => {
                let (name, unique) = rest.rsplit_once('.')?;
                if unique.is_empty() {
                    return None;
                }
                (name, kind)
            }
            None => (name, FolderKind::Current),
        };
        let (topic, partition) = name.rsplit_once('-')?;
        let partition = partition.parse().ok().filter(|_| !topic.is_empty())?;
        Some(Folder { path: path.to_path_buf(), partition: TopicPartition::new(topic, partition), kind })
    }
}

/// Folders in a log directory that are no partitions of ours: the tiered storage cache and KRaft's metadata log.
pub(super) fn is_foreign(name: &str) -> bool {
    name == "remote-log-index-cache" || name == "__cluster_metadata-0"
}

#[must_use]
pub fn partition_name(partition: &TopicPartition) -> String {
    partition.to_string()
}

/// `unique` keeps apart the folders of a topic that is deleted more than once; any random number does.
#[must_use]
pub fn delete_name(partition: &TopicPartition, unique: u128) -> String {
    capped(partition, unique, DELETE)
}

#[must_use]
pub fn stray_name(partition: &TopicPartition, unique: u128) -> String {
    capped(partition, unique, STRAY)
}

#[must_use]
pub fn future_name(partition: &TopicPartition, unique: u128) -> String {
    format!("{partition}.{unique:032x}{FUTURE}")
}

/// Topic names are ASCII, so cutting at a byte is cutting at a character; anything else is cut earlier.
fn capped(partition: &TopicPartition, unique: u128, suffix: &str) -> String {
    let rest = format!("-{}.{unique:032x}{suffix}", partition.partition);
    let room = NAME_MAX.saturating_sub(rest.len());
    let end = (0..=room.min(partition.topic.len())).rev().find(|end| partition.topic.is_char_boundary(*end));
    format!("{}{rest}", &partition.topic[..end.unwrap_or(0)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(name: &str) -> Option<(String, FolderKind)> {
        Folder::parse(Path::new("/d"), name).map(|folder| (folder.partition.to_string(), folder.kind))
    }

    #[test]
    fn folder_names_are_apaches() {
        assert_eq!(parse("a-b.c-12"), Some(("a-b.c-12".into(), FolderKind::Current)));
        let deleted = "t1-2.beed11d770974d92814f0f91be14732f-delete";
        assert_eq!(parse(deleted), Some(("t1-2".into(), FolderKind::Deleted)));
        assert_eq!(
            parse("cmp-0.25e6d976262543c98699e7420ba61f2f-future"),
            Some(("cmp-0".into(), FolderKind::Future))
        );
        for bad in ["nodash", "-3", "a-", "a-x", "a-1-delete", "a-1.-delete", ""] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_long_topic_is_cut_to_fit_the_file_system() {
        let partition = TopicPartition::new("x".repeat(249), 7);

        let name = delete_name(&partition, 0xbeed_11d7_7097_4d92_814f_0f91_be14_732f);

        assert_eq!(name.len(), 255);
        assert!(name.ends_with("x-7.beed11d770974d92814f0f91be14732f-delete"));
        assert_eq!(parse(&name).map(|(_, kind)| kind), Some(FolderKind::Deleted));
    }
}
