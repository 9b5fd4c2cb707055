//! A partition segment by segment, and a log directory partition by partition.

use std::collections::BTreeMap;
use std::io::Write;

use storage::checkpoint::OffsetCheckpoint;
use storage::contents::{self, Content, RecordFile};
use storage::directory::FolderKind;
use storage::disk::OsDisk;
use storage::types::{Offset, TimestampMs, TopicPartition};

use super::InspectionError;
use super::output::{Cell, Columns, Output};
use super::places::{self, Directory, File, Partition};
use super::{batches, small_files};

const SEGMENTS: Columns = Columns {
    kind: "segment",
    names: &[
        "first_offset",
        "next_offset",
        "size",
        "batches",
        "records",
        "largest_time",
        "index_entries",
        "time_index_entries",
        "aborted_transactions",
        "snapshot_producers",
        "faults",
    ],
};

const PARTITIONS: Columns = Columns {
    kind: "partition",
    names: &[
        "topic",
        "partition",
        "kind",
        "topic_id",
        "segments",
        "size",
        "first_offset",
        "log_start",
        "high_watermark",
        "recovery_point",
        "cleaned_upto",
        "leader_epoch",
    ],
};

pub(super) fn show_partition<W: Write>(
    output: &mut Output<W>,
    partition: &Partition,
    records: bool,
) -> Result<(), InspectionError> {
    if records {
        for file in partition.files_of(Content::Records) {
            batches::show(output, file, true)?;
        }
        return Ok(());
    }
    let folder = &partition.folder;
    output.facts(
        "folder",
        vec![
            ("topic", Cell::text(&*folder.partition.topic)),
            ("partition", Cell::Number(i64::from(folder.partition.partition))),
            ("kind", kind(folder.kind)),
            ("topic_id", small_files::topic_id(topic_id(partition)?)),
            ("size", Cell::size(partition.size())),
            ("being_removed", Cell::count(partition.passing.len())),
            ("unknown_files", Cell::count(partition.unknown.len())),
        ],
    )?;
    output.heading("Segments")?;
    for files in partition.segments.values() {
        if let Some(cells) = segment(files)? {
            output.row(&SEGMENTS, cells)?;
        }
    }
    if let Some(epochs) = partition.file(Content::LeaderEpochs).filter(|file| file.size > 0) {
        output.heading("Leader epochs")?;
        small_files::show(output, epochs)?;
    }
    if let Some(snapshot) = partition.files_of(Content::Producers).last() {
        output.heading(&format!("Producers when the log ended at {}", snapshot.base))?;
        small_files::show_producers(output, snapshot)?;
    }
    Ok(())
}

/// `None` for the snapshot behind the last segment.
fn segment(files: &[File]) -> Result<Option<Vec<Cell>>, InspectionError> {
    let of = |content: Content| files.iter().find(|file| file.content == content);
    let Some(file) = of(Content::Records) else { return Ok(None) };
    let source = RecordFile::open(&OsDisk, &file.path)?;
    let mut walk = source.walk();
    let (mut next, mut batches, mut records, mut faults) = (file.base, 0, 0_i64, 0);
    let mut largest = TimestampMs::NONE;
    let mut counted = true;
    while let Some(entry) = walk.next_entry()? {
        batches += 1;
        faults += usize::from(entry.damage.is_some());
        next = entry.batch.next_offset();
        largest = largest.max(entry.batch.max_timestamp());
        match entry.batch.count() {
            Some(count) => records += i64::from(count),
            None => counted &= !entry.batch.attributes().is_compressed(),
        }
        records += i64::from(entry.batch.count().is_none());
    }
    faults += usize::from(walk.ended().is_some());
    let index = of(Content::OffsetIndex).map(|file| {
        let mut index = contents::offset_index(&OsDisk, &file.path, file.base)?;
        let mut count = 0;
        while index.next_entry()?.is_some() {
            count += 1;
        }
        Ok::<_, InspectionError>(count)
    });
    let times = of(Content::TimeIndex).map(|file| {
        let mut index = contents::time_index(&OsDisk, &file.path, file.base)?;
        let mut count = 0;
        while index.next_entry()?.is_some() {
            count += 1;
        }
        Ok::<_, InspectionError>(count)
    });
    let aborted =
        of(Content::TransactionIndex).map(|file| contents::aborted_transactions(&OsDisk, &file.path));
    let producers = of(Content::Producers).map(|file| contents::producers(&OsDisk, &file.path));
    Ok(Some(vec![
        Cell::Number(file.base.0),
        Cell::Number(next.0),
        Cell::size(source.size()),
        Cell::count(batches),
        // Compressed messages of the old formats do not say how many they are.
        if counted { Cell::Number(records) } else { Cell::None },
        Cell::Time(largest),
        index.transpose()?.map_or(Cell::None, Cell::count),
        times.transpose()?.map_or(Cell::None, Cell::count),
        aborted.transpose()?.map_or(Cell::None, |aborted| Cell::count(aborted.len())),
        producers.transpose()?.map_or(Cell::None, |producers| Cell::count(producers.len())),
        Cell::count(faults),
    ]))
}

fn topic_id(partition: &Partition) -> Result<Option<storage::types::TopicId>, InspectionError> {
    match partition.file(Content::TopicId) {
        Some(file) => Ok(contents::topic_id(&OsDisk, &file.path)?),
        None => Ok(None),
    }
}

fn kind(kind: FolderKind) -> Cell {
    Cell::text(match kind {
        FolderKind::Current => "current",
        FolderKind::Future => "future",
        FolderKind::Deleted => "delete",
        FolderKind::Stray => "stray",
    })
}

pub(super) fn show_directory<W: Write>(
    output: &mut Output<W>,
    directory: &Directory,
) -> Result<(), InspectionError> {
    if let Some(meta) = directory.file(Content::MetaProperties) {
        small_files::show(output, meta)?;
    }
    output.facts(
        "directory",
        vec![
            ("clean_stop", Cell::Flag(directory.file(Content::CleanStop).is_some())),
            ("partitions", Cell::count(directory.folders.len())),
            ("unknown_entries", Cell::count(directory.unknown.len())),
        ],
    )?;
    let offsets =
        |checkpoint: OffsetCheckpoint| -> Result<BTreeMap<TopicPartition, Offset>, InspectionError> {
            Ok(checkpoint.read(&OsDisk, &directory.path)?)
        };
    let checkpoints = [
        offsets(OffsetCheckpoint::LogStarts)?,
        offsets(OffsetCheckpoint::HighWatermarks)?,
        offsets(OffsetCheckpoint::RecoveryPoints)?,
        offsets(OffsetCheckpoint::Cleaner)?,
    ];
    output.heading("Partitions")?;
    for folder in &directory.folders {
        let partition = places::partition(folder)?;
        let epochs = partition.file(Content::LeaderEpochs);
        let epochs = epochs.map(|file| contents::leader_epochs(&OsDisk, &file.path)).transpose()?;
        let latest = epochs.and_then(|epochs| epochs.last().map(|last| i64::from(last.epoch.0)));
        let first = partition.files_of(Content::Records).map(|file| file.base).next();
        let mut cells = vec![
            Cell::text(&*folder.partition.topic),
            Cell::Number(i64::from(folder.partition.partition)),
            kind(folder.kind),
            small_files::topic_id(topic_id(&partition)?),
            Cell::count(partition.files_of(Content::Records).count()),
            Cell::size(partition.size()),
            first.map_or(Cell::None, |first| Cell::Number(first.0)),
        ];
        let own = |of: &BTreeMap<TopicPartition, Offset>| {
            let counts = folder.kind == FolderKind::Current;
            of.get(&folder.partition).filter(|_| counts).map_or(Cell::None, |offset| Cell::Number(offset.0))
        };
        cells.extend(checkpoints.iter().map(own));
        cells.push(latest.map_or(Cell::None, Cell::Number));
        output.row(&PARTITIONS, cells)?;
    }
    Ok(())
}
