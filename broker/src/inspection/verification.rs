//! Reading everything below a path, on all cores, and saying what is wrong.
//!
//! What seems wrong while a broker writes to it is looked at again: only what stays is told. Files that go away
//! meanwhile are no fault.

mod aborted;
mod faults;
mod indexes;
mod small;
mod walk;

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use storage::contents::Content;
use storage::directory::{Folder, FolderKind};

use super::InspectionError;
use super::output::{Cell, Columns, Output};
use super::places::{self, Directory, Partition, Place};
use faults::{Fault, Faults};

const FAULTS: Columns = Columns { kind: "fault", names: &["file", "position", "fault"] };

/// How often a partition is looked at while its faults keep changing under a running broker.
const LOOKS_MAX: usize = 3;

/// What was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    partitions: usize,
    segments: usize,
    batches: u64,
    records: u64,
    /// Unit: bytes of records.
    bytes: u64,
}

impl Tally {
    fn add(&mut self, other: Tally) {
        self.partitions += other.partitions;
        self.segments += other.segments;
        self.batches += other.batches;
        self.records += other.records;
        self.bytes += other.bytes;
    }
}

pub(super) fn verify<W: Write>(output: &mut Output<W>, path: &Path) -> Result<ExitCode, InspectionError> {
    let (mut faults, folders) = match places::at(path)? {
        Place::LogDirectory(directory) => of_directory(&directory),
        Place::Partition(partition) => (Vec::new(), vec![partition.folder]),
        Place::File(_) => return Err(InspectionError::NotAFolder(path.to_path_buf())),
    };
    let progress = progress(&folders);
    let (found, tally) = read_all(&folders, &progress);
    progress.finish_and_clear();
    faults.extend(found);
    faults.sort();
    for fault in &faults {
        let position = fault.position.map_or(Cell::None, Cell::size);
        output.row(
            &FAULTS,
            vec![Cell::text(fault.path.display().to_string()), position, Cell::text(&fault.what)],
        )?;
    }
    output.heading("Read")?;
    output.facts(
        "summary",
        vec![
            ("partitions", Cell::count(tally.partitions)),
            ("segments", Cell::count(tally.segments)),
            ("batches", Cell::size(tally.batches)),
            ("records", Cell::size(tally.records)),
            ("bytes", Cell::size(tally.bytes)),
            ("faults", Cell::count(faults.len())),
        ],
    )?;
    output.end()?;
    Ok(if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn of_directory(directory: &Directory) -> (Vec<Fault>, Vec<Folder>) {
    let mut faults = Faults::default();
    for path in &directory.unknown {
        faults.add(
            path,
            None,
            "no file or folder of Kafka's; Apache's broker refuses to start on unknown folders",
        );
    }
    directory.files.iter().for_each(|file| small::check(file, &mut faults));
    let kept = directory.folders.iter().filter(|folder| folder.kind != FolderKind::Deleted);
    let folders: Vec<Folder> = kept.cloned().collect();
    small::check_recovery_points(directory, &mut faults);
    (faults.into_inner(), folders)
}

/// A bar over the bytes to read, where somebody looks at the terminal.
fn progress(folders: &[Folder]) -> ProgressBar {
    let sizes = folders.iter().filter_map(|folder| places::partition(folder).ok());
    let total = sizes.map(|partition| partition.size()).sum();
    let target = if std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(Some(total), target);
    let style = "{wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta} left";
    bar.with_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn read_all(folders: &[Folder], progress: &ProgressBar) -> (Vec<Fault>, Tally) {
    let next = AtomicUsize::new(0);
    let found: Mutex<(Vec<Fault>, Tally)> = Mutex::default();
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(folders.len());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(folder) = folders.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (faults, tally) = read_patiently(folder, progress);
                    let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                    found.0.extend(faults);
                    found.1.add(tally);
                }
            });
        }
    });
    found.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Looks again at what seems wrong, as it may have been in the making.
fn read_patiently(folder: &Folder, progress: &ProgressBar) -> (Vec<Fault>, Tally) {
    let (mut faults, mut tally) = read(folder, progress);
    for _ in 1..LOOKS_MAX {
        if faults.is_empty() {
            break;
        }
        let (again, later) = read(folder, &ProgressBar::hidden());
        let same = again == faults;
        faults.retain(|fault| again.contains(fault));
        tally = later;
        if same {
            break;
        }
    }
    (faults, tally)
}

fn read(folder: &Folder, progress: &ProgressBar) -> (Vec<Fault>, Tally) {
    let mut faults = Faults::default();
    let partition = match places::partition(folder) {
        Ok(partition) => partition,
        Err(error) => {
            faults.add_error(&folder.path, &error);
            return (faults.into_inner(), Tally::default());
        }
    };
    let tally = check_partition(&partition, &mut faults, progress);
    (faults.into_inner(), tally)
}

fn check_partition(partition: &Partition, faults: &mut Faults, progress: &ProgressBar) -> Tally {
    for path in &partition.unknown {
        faults.add(path, None, "no file of Kafka's");
    }
    let mut log = walk::LogWalk::new(progress);
    for files in partition.segments.values() {
        match files.iter().find(|file| file.content == Content::Records) {
            Some(records) => log.read(records, files, faults),
            None => {
                for orphan in files.iter().filter(|file| file.content != Content::Producers) {
                    faults.add(&orphan.path, None, "its .log file is missing");
                }
            }
        }
        for snapshot in files.iter().filter(|file| file.content == Content::Producers) {
            small::check(snapshot, faults);
        }
    }
    for file in &partition.others {
        small::check(file, faults);
    }
    small::check_epochs(partition, log.end(), faults);
    log.finish()
}
