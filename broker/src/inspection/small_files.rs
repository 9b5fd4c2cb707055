//! The files of a log directory that are not records or indexes, row by row.

use std::io::Write;

use storage::contents::{self, Content};
use storage::disk::OsDisk;
use storage::producers::ProducerEntry;
use storage::types::TopicId;

use super::InspectionError;
use super::output::{Cell, Columns, Output};
use super::places::File;

const PRODUCERS: Columns = Columns {
    kind: "producer",
    names: &[
        "producer_id",
        "producer_epoch",
        "first_sequence",
        "last_sequence",
        "last_offset",
        "offset_delta",
        "last_time",
        "coordinator_epoch",
        "transaction_start",
    ],
};

const EPOCHS: Columns = Columns { kind: "leader_epoch", names: &["leader_epoch", "start_offset"] };

const OFFSETS: Columns = Columns { kind: "checkpoint", names: &["topic", "partition", "offset"] };

pub(super) fn show_producers<W: Write>(output: &mut Output<W>, file: &File) -> Result<(), InspectionError> {
    for entry in contents::producers(&OsDisk, &file.path)? {
        output.row(&PRODUCERS, producer(&entry))?;
    }
    Ok(())
}

fn producer(entry: &ProducerEntry) -> Vec<Cell> {
    let last = entry.batches().last();
    vec![
        Cell::Number(entry.producer.0),
        Cell::known(i64::from(entry.epoch)),
        last.map_or(Cell::None, |batch| Cell::known(i64::from(batch.first_sequence()))),
        last.map_or(Cell::None, |batch| Cell::known(i64::from(batch.last_sequence))),
        last.map_or(Cell::None, |batch| Cell::known(batch.last_offset.0)),
        last.map_or(Cell::None, |batch| Cell::Number(i64::from(batch.offset_delta))),
        Cell::Time(entry.last_timestamp),
        Cell::known(i64::from(entry.coordinator_epoch)),
        entry.transaction_start.map_or(Cell::None, |start| Cell::Number(start.0)),
    ]
}

/// Shows any of the small files.
pub(super) fn show<W: Write>(output: &mut Output<W>, file: &File) -> Result<(), InspectionError> {
    match file.content {
        Content::LeaderEpochs => {
            for entry in contents::leader_epochs(&OsDisk, &file.path)? {
                let cells = vec![Cell::Number(i64::from(entry.epoch.0)), Cell::Number(entry.start.0)];
                output.row(&EPOCHS, cells)?;
            }
        }
        Content::TopicId => {
            let id = contents::topic_id(&OsDisk, &file.path)?;
            output.facts("partition_metadata", vec![("topic_id", topic_id(id))])?;
        }
        Content::Offsets(_) => {
            for (partition, offset) in contents::offsets(&OsDisk, &file.path)? {
                let topic = Cell::text(&*partition.topic);
                let number = Cell::Number(i64::from(partition.partition));
                output.row(&OFFSETS, vec![topic, number, Cell::Number(offset.0)])?;
            }
        }
        Content::MetaProperties => {
            let Some(meta) = contents::meta_properties(&OsDisk, &file.path)? else { return Ok(()) };
            let mut facts = vec![
                ("version", Cell::Number(i64::from(meta.version))),
                ("broker_id", meta.broker_id.map_or(Cell::None, |id| Cell::Number(i64::from(id)))),
                ("cluster_id", meta.cluster_id.map_or(Cell::None, Cell::Text)),
            ];
            let others: Vec<String> =
                meta.others.iter().map(|(key, value)| format!("{key}={value}")).collect();
            if !others.is_empty() {
                facts.push(("others", Cell::Text(others.join(", "))));
            }
            output.facts("meta_properties", facts)?;
        }
        Content::CleanStop => {
            output
                .facts("clean_stop", vec![("content", Cell::Text(contents::text(&OsDisk, &file.path)?))])?;
        }
        Content::Lock => {
            output.facts("lock", vec![("content", Cell::Text(contents::text(&OsDisk, &file.path)?))])?;
        }
        Content::Records
        | Content::OffsetIndex
        | Content::TimeIndex
        | Content::TransactionIndex
        | Content::Producers => {}
    }
    Ok(())
}

pub(super) fn topic_id(id: Option<TopicId>) -> Cell {
    id.map_or(Cell::None, |id| Cell::Text(id.to_string()))
}
