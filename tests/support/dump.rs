//! What DumpLogSegments prints of several brokers' replicas, to be held against one another.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::stock;

/// Batches by topic and partition, then by base offset, without where they lie in their files.
pub(crate) type Dump = BTreeMap<(String, i32), BTreeMap<i64, String>>;

/// Of these partitions, by log directory. Fails where a batch is not valid.
#[track_caller]
pub(crate) fn dumps(log_dirs: &[PathBuf], partitions: &[(String, i32)]) -> Vec<Dump> {
    let folders = log_dirs.iter().flat_map(|dir| {
        partitions.iter().map(move |(topic, partition)| dir.join(format!("{topic}-{partition}")))
    });
    let files = folders.filter_map(|folder| fs::read_dir(folder).ok()).flatten();
    let paths = files.map(|entry| entry.expect("a readable folder").path());
    let list: Vec<String> = paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .map(|path| path.display().to_string())
        .collect();
    let dump = stock::tool("3.9.1", "kafka-dump-log", &["--files", &list.join(",")], "").success();
    let mut found = vec![Dump::new(); log_dirs.len()];
    let mut batches = None;
    for line in dump.lines() {
        if let Some(path) = line.strip_prefix("Dumping ") {
            let folder = Path::new(path).parent().expect("a segment lies in a folder");
            let at = log_dirs.iter().position(|dir| folder.starts_with(dir)).expect("one of these");
            let name = folder.file_name().and_then(|name| name.to_str()).expect("a name");
            let (topic, partition) = name.rsplit_once('-').expect("topic-partition");
            let key = (topic.to_owned(), partition.parse().expect("a partition"));
            batches = Some(found[at].entry(key).or_default());
        } else if let Some(rest) = line.strip_prefix("baseOffset: ") {
            let base: i64 = rest.split(' ').next().and_then(|number| number.parse().ok()).expect("an offset");
            assert!(line.contains("isvalid: true"), "{line}");
            let words: Vec<&str> = line.split(' ').collect();
            let at = words.iter().position(|word| *word == "position:").expect("a position");
            let kept = [&words[..at], &words[at + 2..]].concat().join(" ");
            batches.as_mut().expect("a path came before").insert(base, kept);
        }
    }
    found
}

/// The first batch in which two replicas differ.
pub(crate) fn difference(one: &[String], other: &[String]) -> String {
    let same = one.iter().zip(other).take_while(|(one, other)| one == other).count();
    format!("{:?} where the first has {:?}", one.get(same), other.get(same))
}
