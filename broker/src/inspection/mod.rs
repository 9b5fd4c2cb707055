//! `broker log`: what lies in log directories, and whether it is as it should be.
//!
//! Looks while a broker runs or not: opens files for reading only, locks nothing, writes nothing. All parsers are those
//! of `storage`; this room asks them and lays out what they say.

mod batches;
mod folders;
mod internal_records;
mod output;
mod places;
mod segments;
mod small_files;
mod verification;

use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;

use storage::error::StorageError;

use output::Output;
use places::Place;

/// Why nothing, or not everything, could be shown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InspectionError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("cannot look at {path}: {source}")]
    Look { path: std::path::PathBuf, source: io::Error },
    #[error(
        "{0} is not a file of a log directory: expected a segment's .log, .index, .timeindex or .txnindex, a .snapshot, \
         a checkpoint, partition.metadata, meta.properties, or a folder with such files"
    )]
    Unknown(std::path::PathBuf),
    #[error("{0} is a file; `broker log verify` takes an entry of log.dirs or a partition's folder in it")]
    NotAFolder(std::path::PathBuf),
    #[error("cannot print: {0}")]
    Print(#[from] io::Error),
}

/// What to show of a file or folder.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) records: bool,
    pub(crate) json: bool,
}

/// Prints what `path` holds.
pub(crate) fn inspect(path: &Path, wanted: Wanted) -> ExitCode {
    let mut output = Output::new(BufWriter::new(io::stdout().lock()), wanted.json);
    let done = show(&mut output, path, wanted.records).and_then(|()| Ok(output.end()?));
    told(done.map(|()| ExitCode::SUCCESS))
}

/// Reads everything below `path` and says what is wrong.
pub(crate) fn verify(path: &Path, json: bool) -> ExitCode {
    let mut output = Output::new(BufWriter::new(io::stdout().lock()), json);
    told(verification::verify(&mut output, path))
}

fn show<W: Write>(output: &mut Output<W>, path: &Path, records: bool) -> Result<(), InspectionError> {
    match places::at(path)? {
        Place::LogDirectory(directory) => folders::show_directory(output, &directory),
        Place::Partition(partition) => folders::show_partition(output, &partition, records),
        Place::File(file) => segments::show_file(output, &file, records),
    }
}

fn told(done: Result<ExitCode, InspectionError>) -> ExitCode {
    match done {
        Ok(code) => code,
        // The reader has seen enough (`broker log inspect ... | head`).
        Err(InspectionError::Print(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to be told where this fails too.
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}
