//! One file: its batches, its entries, or what else it holds.

use std::io::Write;

use storage::contents::{self, Content};
use storage::disk::OsDisk;

use super::InspectionError;
use super::output::{Cell, Columns, Output};
use super::places::File;
use super::{batches, small_files};

const OFFSET_INDEX: Columns = Columns { kind: "index_entry", names: &["entry", "offset", "position"] };
const TIME_INDEX: Columns = Columns { kind: "time_index_entry", names: &["entry", "time", "offset"] };
const ABORTED: Columns = Columns {
    kind: "aborted_transaction",
    names: &["entry", "producer_id", "first_offset", "last_offset", "last_stable_offset"],
};

pub(super) fn show_file<W: Write>(
    output: &mut Output<W>,
    file: &File,
    records: bool,
) -> Result<(), InspectionError> {
    match file.content {
        Content::Records => batches::show(output, file, records),
        Content::OffsetIndex => {
            let mut index = contents::offset_index(&OsDisk, &file.path, file.base)?;
            while let Some((at, entry)) = index.next_entry()? {
                let position = Cell::Number(i64::from(entry.position));
                output.row(&OFFSET_INDEX, vec![Cell::size(at), Cell::Number(entry.offset.0), position])?;
            }
            torn(output, index.torn_bytes())
        }
        Content::TimeIndex => {
            let mut index = contents::time_index(&OsDisk, &file.path, file.base)?;
            while let Some((at, entry)) = index.next_entry()? {
                let (time, offset) = (Cell::Time(entry.timestamp), Cell::Number(entry.offset.0));
                output.row(&TIME_INDEX, vec![Cell::size(at), time, offset])?;
            }
            torn(output, index.torn_bytes())
        }
        Content::TransactionIndex => {
            for (at, entry) in contents::aborted_transactions(&OsDisk, &file.path)? {
                let numbers = [entry.producer.0, entry.first.0, entry.last.0, entry.last_stable.0];
                let cells = std::iter::once(Cell::size(at)).chain(numbers.map(Cell::Number));
                output.row(&ABORTED, cells.collect())?;
            }
            Ok(())
        }
        Content::Producers => small_files::show_producers(output, file),
        _ => small_files::show(output, file),
    }
}

fn torn<W: Write>(output: &mut Output<W>, bytes: u64) -> Result<(), InspectionError> {
    if bytes > 0 {
        output.heading("The last entry is cut off:")?;
        output.facts("rest", vec![("bytes", Cell::size(bytes))])?;
    }
    Ok(())
}
