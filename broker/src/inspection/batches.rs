//! Batches of a record file and the records in them, a row each.

use std::io::Write;

use bytes::Bytes;
use serde_json::{Map, Value, json};
use storage::batch::{BatchView, EndTransaction, Record, records};
use storage::contents::{RecordEntry, RecordFile};
use storage::disk::OsDisk;
use storage::error::StorageError;
use storage::producers::marker;

use super::InspectionError;
use super::internal_records;
use super::output::{Cell, Columns, Output};
use super::places::File;

const BATCHES: Columns = Columns {
    kind: "batch",
    names: &[
        "position",
        "size",
        "first_offset",
        "last_offset",
        "records",
        "magic",
        "codec",
        "largest_time",
        "time_type",
        "leader_epoch",
        "producer_id",
        "producer_epoch",
        "first_sequence",
        "last_sequence",
        "transactional",
        "control",
        "crc",
        "fault",
    ],
};

const RECORDS: Columns =
    Columns { kind: "record", names: &["offset", "position", "time", "sequence", "key", "value", "headers"] };

/// Shows a record file: its batches, or with `with_records` the records in them.
pub(super) fn show<W: Write>(
    output: &mut Output<W>,
    file: &File,
    with_records: bool,
) -> Result<(), InspectionError> {
    let records = RecordFile::open(&OsDisk, &file.path)?;
    let mut walk = records.walk();
    while let Some(entry) = walk.next_entry()? {
        if !with_records || entry.damage.is_some() {
            output.row(&BATCHES, batch(&records, &entry)?)?;
        } else {
            show_records(output, file, &records, &entry)?;
        }
    }
    if let Some(why) = walk.ended() {
        let rest = records.size() - walk.position();
        let facts = vec![
            ("position", Cell::size(walk.position())),
            ("bytes", Cell::size(rest)),
            ("fault", Cell::text(why)),
        ];
        output.heading("What follows is no batch:")?;
        output.facts("rest", facts)?;
    }
    Ok(())
}

fn batch(records: &RecordFile, entry: &RecordEntry) -> Result<Vec<Cell>, StorageError> {
    let view = &entry.batch;
    let producer = view.producer();
    let of_producer = |number: fn(&storage::batch::ProducerStamp) -> i64| {
        producer.as_ref().map_or(Cell::None, |producer| Cell::known(number(producer)))
    };
    let control = if view.is_control() && entry.damage.is_none() {
        Cell::text(match records.entry(entry)?.as_ref().and_then(marker).map(|marker| marker.end) {
            Some(EndTransaction::Commit) => "commit",
            Some(EndTransaction::Abort) => "abort",
            None => "other",
        })
    } else {
        Cell::None
    };
    Ok(vec![
        Cell::size(entry.position),
        Cell::size(entry.size),
        view.base_offset().map_or(Cell::None, |base| Cell::Number(base.0)),
        Cell::Number(view.last_offset().0),
        view.count().map_or(Cell::None, |count| Cell::Number(i64::from(count))),
        Cell::Number(i64::from(view.magic())),
        codec(view),
        Cell::Time(view.max_timestamp()),
        view.timestamp_type().map_or(Cell::None, |kind| Cell::text(kind.name())),
        Cell::known(i64::from(view.leader_epoch().0)),
        of_producer(|producer| producer.id.0),
        of_producer(|producer| i64::from(producer.epoch)),
        of_producer(|producer| i64::from(producer.first_sequence)),
        of_producer(|producer| i64::from(producer.last_sequence)),
        Cell::Flag(view.is_transactional()),
        control,
        Cell::Number(i64::from(view.crc())),
        entry.damage.as_ref().map_or(Cell::None, Cell::text),
    ])
}

fn codec(view: &BatchView) -> Cell {
    view.compression().map_or_else(|error| Cell::text(error.to_string()), |codec| Cell::text(codec.name()))
}

fn show_records<W: Write>(
    output: &mut Output<W>,
    file: &File,
    source: &RecordFile,
    entry: &RecordEntry,
) -> Result<(), InspectionError> {
    let Some(bytes) = source.entry(entry)? else {
        return Ok(output.row(&BATCHES, batch(source, entry)?)?);
    };
    let found = records(&bytes).map_err(|error| (0, error.to_string()));
    let found = match found {
        Ok(found) => found,
        Err((_, why)) => return broken(output, source, entry, why),
    };
    for record in found {
        match record {
            Ok(record) => output.row(&RECORDS, row(file, entry, &bytes, &record))?,
            Err(error) => return broken(output, source, entry, error.to_string()),
        }
    }
    Ok(())
}

/// A batch with a good checksum whose records make no sense.
fn broken<W: Write>(
    output: &mut Output<W>,
    source: &RecordFile,
    entry: &RecordEntry,
    why: String,
) -> Result<(), InspectionError> {
    let entry = RecordEntry { damage: Some(why), ..entry.clone() };
    Ok(output.row(&BATCHES, batch(source, &entry)?)?)
}

fn row(file: &File, entry: &RecordEntry, bytes: &Bytes, record: &Record) -> Vec<Cell> {
    let (key, value) = if entry.batch.is_control() {
        (Cell::text("end of transaction"), end_of_transaction(bytes))
    } else {
        let decoded = file.topic.as_deref().and_then(|topic| internal_records::decode(topic, record));
        decoded.unwrap_or_else(|| (Cell::Data(record.key.clone()), Cell::Data(record.value.clone())))
    };
    vec![
        Cell::Number(record.offset.0),
        Cell::size(entry.position),
        Cell::Time(record.timestamp),
        Cell::known(i64::from(record.sequence)),
        key,
        value,
        headers(record),
    ]
}

fn end_of_transaction(batch: &Bytes) -> Cell {
    let Some(marker) = marker(batch) else { return Cell::text("of a kind that this broker does not know") };
    let end = match marker.end {
        EndTransaction::Commit => "commit",
        EndTransaction::Abort => "abort",
    };
    Cell::Fields(json!({ "end": end, "coordinator_epoch": marker.coordinator_epoch }))
}

/// In their order; a key that comes twice is there twice.
fn headers(record: &Record) -> Cell {
    if record.headers.is_empty() {
        return Cell::None;
    }
    let one = |header: &storage::batch::RecordHeader| {
        let value =
            header.value.as_deref().map_or(Value::Null, |value| json!(String::from_utf8_lossy(value)));
        Value::Object(Map::from_iter([(String::from_utf8_lossy(&header.key).into_owned(), value)]))
    };
    Cell::Fields(Value::Array(record.headers.iter().map(one).collect()))
}
