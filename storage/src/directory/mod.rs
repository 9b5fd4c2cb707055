//! One entry of `log.dirs`: the files at its top and the folders in it.
//!
//! Holds Apache's lock on `.lock` for as long as it lives, so neither Apache's broker nor a second one of ours can
//! open the same directory. Knows where logs lie, not what is in them.

mod mark;
mod meta_properties;
mod names;
mod partition_metadata;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::checkpoint::{OffsetCheckpoint, create_empty};
use crate::disk::{Disk, Lock, Space, replace_file};
use crate::error::StorageError;
use crate::types::{Offset, TimestampMs, TopicPartition};

use mark::Mark;
pub use meta_properties::MetaProperties;
pub(crate) use meta_properties::{FILE_NAME as META_PROPERTIES, read as read_meta_properties};
pub use names::{Folder, FolderKind, delete_name, future_name, partition_name, stray_name};
pub(crate) use partition_metadata::{
    FILE_NAME as PARTITION_METADATA, read as read_topic_id_at, read_topic_id, write_first_topic_id,
    write_topic_id,
};

pub(crate) const LOCK: &str = ".lock";
pub(crate) const CLEAN_SHUTDOWN: &str = ".kafka_cleanshutdown";

/// What the last owner of the directory left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastStop {
    /// Everything was flushed and closed; logs open without being checked.
    Clean,
    /// Our process was killed and the machine stayed up: all that was written is there. Only the ends of logs are
    /// looked at.
    Killed,
    /// A power cut, or a broker that is not ours: logs are checked from their recovery points on.
    Unclean,
}

/// A locked log directory.
#[derive(Debug)]
pub struct LogDirectory {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    mark: Mark,
    _lock: Box<dyn Lock>,
}

impl LogDirectory {
    /// Creates the directory where it is missing and locks it.
    pub fn open(disk: Arc<dyn Disk>, path: &Path) -> Result<LogDirectory, StorageError> {
        if !disk.exists(path).map_err(StorageError::io("look for", path))? {
            disk.create_directories(path).map_err(StorageError::io("create", path))?;
            if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                disk.sync_directory(parent).map_err(StorageError::io("sync", parent))?;
            }
        }
        let lock = disk.lock(&path.join(LOCK)).map_err(StorageError::io("lock", path))?;
        let lock = lock.ok_or_else(|| StorageError::Locked { path: path.to_path_buf() })?;
        for checkpoint in OffsetCheckpoint::ALL {
            create_empty(disk.as_ref(), &path.join(checkpoint.file_name()))?;
        }
        let mark = Mark::new(disk.clone(), path, path.join(LOCK));
        Ok(LogDirectory { disk, path: path.to_path_buf(), mark, _lock: lock })
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `None` on a directory no broker has used yet.
    pub fn meta_properties(&self) -> Result<Option<MetaProperties>, StorageError> {
        read_meta_properties(self.disk.as_ref(), &self.path.join(META_PROPERTIES))
    }

    pub fn write_meta_properties(
        &self,
        properties: &MetaProperties,
        now: TimestampMs,
    ) -> Result<(), StorageError> {
        let path = self.path.join(META_PROPERTIES);
        replace_file(self.disk.as_ref(), &path, properties.encode(now).as_bytes())
            .map_err(StorageError::io("write", &path))
    }

    /// How the last run ended. Removes what it left to tell, durably, so that a crash from now on is seen as one until
    /// somebody [vouches](Self::vouch).
    pub fn take_last_stop(&self) -> Result<LastStop, StorageError> {
        let killed = self.mark.take().map_err(StorageError::io("look at", &self.path.join(LOCK)))?;
        let path = self.path.join(CLEAN_SHUTDOWN);
        match self.disk.remove(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(if killed { LastStop::Killed } else { LastStop::Unclean });
            }
            Err(error) => return Err(StorageError::io("remove", &path)(error)),
        }
        self.disk.sync_directory(&self.path).map_err(StorageError::io("sync", &self.path))?;
        Ok(LastStop::Clean)
    }

    /// Every log in here was opened, and so checked as far as it needed to be: should this process be killed from now
    /// on, the ends of the logs are all that the next one has to look at.
    pub fn vouch(&self) {
        self.mark.vouch();
    }

    /// The disk failed: what was written may not be there when it is read again. The next start checks everything.
    pub fn distrust(&self) {
        if let Err(error) = self.mark.withdraw() {
            tracing::debug!(path = %self.path.display(), %error, "the mark of this boot stays");
        }
    }

    /// Says that every log in here was closed. `broker_epoch` is -1 with ZooKeeper.
    pub fn write_clean_shutdown(&self, broker_epoch: i64) -> Result<(), StorageError> {
        let path = self.path.join(CLEAN_SHUTDOWN);
        let content = format!("{{\"version\":0,\"brokerEpoch\":{broker_epoch}}}");
        replace_file(self.disk.as_ref(), &path, content.as_bytes())
            .map_err(StorageError::io("write", &path))?;
        // From here on the directory is as Apache's broker leaves it.
        self.mark.withdraw().map_err(StorageError::io("empty", &self.path.join(LOCK)))
    }

    /// The folders of partitions, sorted by name. A folder of any other name is an error, as it is for Apache.
    pub fn folders(&self) -> Result<Vec<Folder>, StorageError> {
        let mut entries =
            self.disk.list(&self.path, &|_| false).map_err(StorageError::io("list", &self.path))?;
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let mut folders = Vec::new();
        for entry in entries.iter().filter(|entry| entry.is_directory && !names::is_foreign(&entry.name)) {
            let path = self.path.join(&entry.name);
            let folder = Folder::parse(&path, &entry.name);
            folders.push(folder.ok_or(StorageError::NotAPartition { path })?);
        }
        Ok(folders)
    }

    /// The offsets of one of the four checkpoint files. A damaged one counts as empty, with a warning: recovery then
    /// checks more than it needs to, and logs start at their first segment.
    pub fn offsets(
        &self,
        checkpoint: OffsetCheckpoint,
    ) -> Result<BTreeMap<TopicPartition, Offset>, StorageError> {
        match checkpoint.read(self.disk.as_ref(), &self.path) {
            Err(error @ StorageError::Corrupt { .. }) => {
                tracing::warn!(%error, "ignoring a damaged checkpoint; partitions are checked from their start");
                Ok(BTreeMap::new())
            }
            other => other,
        }
    }

    pub fn write_offsets(
        &self,
        checkpoint: OffsetCheckpoint,
        offsets: &BTreeMap<TopicPartition, Offset>,
    ) -> Result<(), StorageError> {
        checkpoint.write(self.disk.as_ref(), &self.path, offsets, || {
            if checkpoint == OffsetCheckpoint::HighWatermarks {
                self.mark.renew();
            }
        })
    }

    pub fn space(&self) -> Result<Space, StorageError> {
        self.disk.space(&self.path).map_err(StorageError::io("measure", &self.path))
    }

    /// Gives a folder in here another name, durably: the one of a log that is not open. False where there is no such folder.
    pub fn rename_folder(&self, folder: &Path, name: &str) -> Result<bool, StorageError> {
        match self.disk.rename(folder, &self.path.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            other => other.map_err(StorageError::io("rename", folder))?,
        }
        self.disk.sync_directory(&self.path).map_err(StorageError::io("sync", &self.path))?;
        Ok(true)
    }

    /// Removes a folder whose deletion is due (see [`FolderKind::Deleted`]) with everything in it.
    pub fn remove_folder(&self, folder: &Path) -> Result<(), StorageError> {
        match self.disk.remove_directory(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(StorageError::io("remove", folder)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::OsDisk;

    fn open(path: &Path) -> Result<LogDirectory, StorageError> {
        LogDirectory::open(Arc::new(OsDisk), path)
    }

    #[test]
    fn a_directory_has_one_owner_at_a_time() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("new/data");
        let owner = open(&path).expect("opened");

        assert!(matches!(open(&path), Err(StorageError::Locked { .. })));

        drop(owner);
        open(&path).expect("free again");
    }

    #[test]
    fn a_clean_stop_is_seen_once() {
        let directory = tempfile::tempdir().expect("a directory");
        let owner = open(directory.path()).expect("opened");
        assert_eq!(owner.take_last_stop().expect("looked"), LastStop::Unclean);

        owner.write_clean_shutdown(-1).expect("written");

        let marker = std::fs::read_to_string(directory.path().join(".kafka_cleanshutdown")).expect("read");
        assert_eq!(marker, r#"{"version":0,"brokerEpoch":-1}"#);
        assert_eq!(owner.take_last_stop().expect("looked"), LastStop::Clean);
        assert_eq!(owner.take_last_stop().expect("looked"), LastStop::Unclean);
    }

    #[test]
    fn a_kill_is_told_from_a_power_cut_by_a_line_that_only_we_write() {
        let directory = tempfile::tempdir().expect("a directory");
        let stop = |run: &dyn Fn(&LogDirectory)| {
            let owner = open(directory.path()).expect("opened");
            let last = owner.take_last_stop().expect("looked");
            run(&owner);
            last
        };
        let checkpoint = |owner: &LogDirectory| {
            owner.write_offsets(OffsetCheckpoint::HighWatermarks, &BTreeMap::new()).expect("written");
        };
        assert_eq!(stop(&|owner| owner.vouch()), LastStop::Unclean, "it was never ours");
        assert_eq!(stop(&|_| ()), LastStop::Killed, "and here the start itself is killed");
        assert_eq!(
            stop(&|owner| {
                checkpoint(owner);
                owner.vouch();
                checkpoint(owner);
            }),
            LastStop::Unclean
        );
        let foreign = directory.path().join("replication-offset-checkpoint");
        std::fs::write(&foreign, "0\n1\nt 0 5\n").expect("a broker of Apache's came between");
        assert_eq!(stop(&|owner| owner.vouch()), LastStop::Unclean);
        let line = std::fs::read_to_string(directory.path().join(".lock")).expect("read");
        std::fs::write(directory.path().join(".lock"), line.replace("boot=", "boot=f")).expect("a reboot");
        assert_eq!(stop(&|owner| owner.vouch()), LastStop::Unclean);
        assert_eq!(
            stop(&|owner| {
                owner.vouch();
                owner.distrust();
                checkpoint(owner);
            }),
            LastStop::Killed
        );
        assert_eq!(stop(&|owner| owner.vouch()), LastStop::Unclean, "the disk had failed");
        assert_eq!(stop(&|owner| owner.write_clean_shutdown(-1).expect("written")), LastStop::Killed);
        let left = std::fs::read(directory.path().join(".lock")).expect("read");
        assert_eq!((stop(&|_| ()), left.len()), (LastStop::Clean, 0), "as Apache leaves it");
    }

    #[test]
    fn an_unknown_folder_is_refused_by_name() {
        let directory = tempfile::tempdir().expect("a directory");
        let owner = open(directory.path()).expect("opened");
        std::fs::create_dir(directory.path().join("orders-3")).expect("created");
        assert_eq!(owner.folders().expect("listed").len(), 1);

        std::fs::create_dir(directory.path().join("lost+found")).expect("created");

        let error = owner.folders().expect_err("refused");
        assert!(error.to_string().contains("lost+found"), "{error}");
    }

    #[test]
    fn a_damaged_checkpoint_counts_as_empty() {
        let directory = tempfile::tempdir().expect("a directory");
        let owner = open(directory.path()).expect("opened");
        std::fs::write(directory.path().join("recovery-point-offset-checkpoint"), "0\nnine\n")
            .expect("written");

        assert!(owner.offsets(OffsetCheckpoint::RecoveryPoints).expect("read").is_empty());
    }
}
