//! What a path leads to: a log directory, the folder of a partition, or a file in one of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use storage::contents::{Content, FileName, file_name};
use storage::directory::{Folder, FolderKind};
use storage::disk::{Disk, OsDisk};
use storage::types::Offset;

use super::InspectionError;

pub(super) enum Place {
    LogDirectory(Directory),
    Partition(Partition),
    File(File),
}

/// A file with a name of Kafka's.
#[derive(Clone, Debug)]
pub(super) struct File {
    pub(super) path: PathBuf,
    pub(super) content: Content,
    /// The number in its name; 0 where it has none.
    pub(super) base: Offset,
    /// Topic of the folder it lies in.
    pub(super) topic: Option<String>,
    /// Unit: bytes.
    pub(super) size: u64,
}

/// A folder of a partition.
#[derive(Clone, Debug)]
pub(super) struct Partition {
    pub(super) folder: Folder,
    /// The files of each segment, snapshots among them, in the order of the log.
    pub(super) segments: BTreeMap<Offset, Vec<File>>,
    /// Files that belong to the log as a whole.
    pub(super) others: Vec<File>,
    /// In between: `.deleted`, `.cleaned`, `.swap`, `.tmp`.
    pub(super) passing: Vec<PathBuf>,
    /// Names that no broker gives.
    pub(super) unknown: Vec<PathBuf>,
}

/// One entry of `log.dirs`.
#[derive(Clone, Debug)]
pub(super) struct Directory {
    pub(super) path: PathBuf,
    pub(super) files: Vec<File>,
    pub(super) folders: Vec<Folder>,
    pub(super) unknown: Vec<PathBuf>,
}

impl Partition {
    /// Of all record files. Unit: bytes.
    pub(super) fn size(&self) -> u64 {
        self.files_of(Content::Records).map(|file| file.size).sum()
    }

    pub(super) fn files_of(&self, content: Content) -> impl Iterator<Item = &File> {
        self.segments.values().flatten().chain(&self.others).filter(move |file| file.content == content)
    }

    pub(super) fn file(&self, content: Content) -> Option<&File> {
        self.files_of(content).next()
    }
}

impl Directory {
    /// Has nothing that only a log directory has.
    fn looks_empty(&self) -> bool {
        let top = |file: &File| !matches!(file.content, Content::LeaderEpochs | Content::TopicId);
        self.folders.is_empty() && !self.files.iter().any(top)
    }

    pub(super) fn file(&self, content: Content) -> Option<&File> {
        self.files.iter().find(|file| file.content == content)
    }
}

pub(super) fn at(path: &Path) -> Result<Place, InspectionError> {
    let look = |source| InspectionError::Look { path: path.to_path_buf(), source };
    let metadata = std::fs::metadata(path).map_err(look)?;
    // `.` has no name of its own.
    let absolute = std::fs::canonicalize(path).map_err(look)?;
    if metadata.is_dir() {
        let directory = directory(path)?;
        // A log directory may be called `logs-1`, like a partition.
        return Ok(match Folder::of(&absolute).filter(|_| directory.looks_empty()) {
            Some(folder) => Place::Partition(partition(&Folder { path: path.to_path_buf(), ..folder })?),
            None => Place::LogDirectory(directory),
        });
    }
    let topic = absolute.parent().and_then(Folder::of).map(|folder| folder.partition.topic.to_string());
    let name = absolute.file_name().and_then(|name| name.to_str()).and_then(file_name);
    let file = name.map(|name| file(path.to_path_buf(), name, topic, metadata.len()));
    file.map(Place::File).ok_or_else(|| InspectionError::Unknown(path.to_path_buf()))
}

fn file(path: PathBuf, name: FileName<'_>, topic: Option<String>, size: u64) -> File {
    File { path, content: name.content, base: name.base.unwrap_or_default(), topic, size }
}

/// What lies in the folder of a partition now.
pub(super) fn partition(folder: &Folder) -> Result<Partition, InspectionError> {
    let mut found = Partition {
        folder: folder.clone(),
        segments: BTreeMap::new(),
        others: Vec::new(),
        passing: Vec::new(),
        unknown: Vec::new(),
    };
    for entry in list(&folder.path)? {
        let path = folder.path.join(&entry.name);
        match file_name(&entry.name).filter(|_| !entry.is_directory) {
            None => found.unknown.push(path),
            Some(name) if !name.suffix.is_empty() => found.passing.push(path),
            Some(name) => {
                let file = file(path, name, Some(folder.partition.topic.to_string()), entry.size);
                match name.base {
                    Some(base) => found.segments.entry(base).or_default().push(file),
                    None => found.others.push(file),
                }
            }
        }
    }
    Ok(found)
}

pub(super) fn directory(path: &Path) -> Result<Directory, InspectionError> {
    let mut found =
        Directory { path: path.to_path_buf(), files: Vec::new(), folders: Vec::new(), unknown: Vec::new() };
    for entry in list(path)? {
        let path = path.join(&entry.name);
        if entry.is_directory {
            match Folder::of(&path) {
                Some(folder) => found.folders.push(folder),
                None => found.unknown.push(path),
            }
            continue;
        }
        match file_name(&entry.name).filter(|name| name.base.is_none()) {
            Some(name) if name.suffix.is_empty() => found.files.push(file(path, name, None, entry.size)),
            Some(_) => {}
            None => found.unknown.push(path),
        }
    }
    let order = |folder: &Folder| (folder.partition.clone(), folder.kind != FolderKind::Current);
    found.folders.sort_by_key(order);
    found.unknown.sort();
    Ok(found)
}

fn list(path: &Path) -> Result<Vec<storage::disk::Entry>, InspectionError> {
    let mut entries = OsDisk
        .list(path, &|_| true)
        .map_err(|source| InspectionError::Look { path: path.to_path_buf(), source })?;
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}
