//! Snapshots, checkpoints and the other small files: whether they can be read and hold what they may.

use storage::checkpoint::OffsetCheckpoint;
use storage::contents::{self, Content, RecordFile};
use storage::directory::FolderKind;
use storage::disk::OsDisk;
use storage::types::{LeaderEpoch, Offset};

use super::faults::Faults;
use crate::inspection::InspectionError;
use crate::inspection::places::{self, Directory, File, Partition};

pub(super) fn check(file: &File, faults: &mut Faults) {
    if let Err(error) = try_check(file, faults) {
        faults.add_error(&file.path, &error);
    }
}

fn try_check(file: &File, faults: &mut Faults) -> Result<(), InspectionError> {
    match file.content {
        Content::Producers => {
            for entry in contents::producers(&OsDisk, &file.path)? {
                if entry.last_offset() >= file.base {
                    let what = format!(
                        "producer {} has a batch at {}, behind the end of the log it was taken at",
                        entry.producer,
                        entry.last_offset()
                    );
                    faults.add(&file.path, None, what);
                }
            }
        }
        Content::Offsets(_) => drop(contents::offsets(&OsDisk, &file.path)?),
        Content::TopicId => drop(contents::topic_id(&OsDisk, &file.path)?),
        Content::MetaProperties => drop(contents::meta_properties(&OsDisk, &file.path)?),
        Content::LeaderEpochs
        | Content::CleanStop
        | Content::Lock
        | Content::Records
        | Content::OffsetIndex
        | Content::TimeIndex
        | Content::TransactionIndex => {}
    }
    Ok(())
}

/// Epochs and their starts only grow, and none starts behind the log's end.
pub(super) fn check_epochs(partition: &Partition, end: Option<Offset>, faults: &mut Faults) {
    let Some(file) = partition.file(Content::LeaderEpochs) else { return };
    let entries = match contents::leader_epochs(&OsDisk, &file.path) {
        Ok(entries) => entries,
        Err(error) => return faults.add_error(&file.path, &error.into()),
    };
    let mut before = (LeaderEpoch::NONE, Offset::NONE);
    for entry in entries {
        if entry.epoch <= before.0 || entry.start <= before.1 {
            let what =
                format!("epoch {} at {} follows {} at {}", entry.epoch, entry.start, before.0, before.1);
            faults.add(&file.path, None, what);
        }
        if end.is_some_and(|end| entry.start > end) {
            let what = format!("epoch {} starts at {}, behind the end of the log", entry.epoch, entry.start);
            faults.add(&file.path, None, what);
        }
        before = (entry.epoch, entry.start);
    }
}

/// After a clean stop every recovery point is the end of its log.
pub(super) fn check_recovery_points(directory: &Directory, faults: &mut Faults) {
    if directory.file(Content::CleanStop).is_none() {
        return;
    }
    let points = match OffsetCheckpoint::RecoveryPoints.read(&OsDisk, &directory.path) {
        Ok(points) => points,
        // Told with the file itself.
        Err(_) => return,
    };
    for folder in directory.folders.iter().filter(|folder| folder.kind == FolderKind::Current) {
        let Some(point) = points.get(&folder.partition) else { continue };
        let Ok(partition) = places::partition(folder) else { continue };
        let Some(last) = partition.files_of(Content::Records).last() else { continue };
        let Ok(end) = end_of(last) else { continue };
        if *point != end {
            let what = format!("stopped cleanly with recovery point {point}, but the log ends at {end}");
            faults.add(&last.path, None, what);
        }
    }
}

fn end_of(file: &File) -> Result<Offset, InspectionError> {
    let records = RecordFile::open(&OsDisk, &file.path)?;
    let mut walk = records.walk();
    let mut end = file.base;
    while let Some(entry) = walk.next_entry()? {
        end = entry.batch.next_offset();
    }
    Ok(end)
}
