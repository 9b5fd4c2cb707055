//! What is wrong, and where.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use storage::error::StorageError;

use crate::inspection::InspectionError;

/// Faults told of one file; what comes after them is rarely news.
const PER_FILE_MAX: usize = 100;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Fault {
    pub(super) path: PathBuf,
    /// Unit: bytes from the start of the file; `None` where it is about the whole file.
    pub(super) position: Option<u64>,
    pub(super) what: String,
}

/// Collects faults.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<Fault>);

impl Faults {
    pub(super) fn add(&mut self, path: &Path, position: Option<u64>, what: impl Into<String>) {
        let told = self.0.iter().rev().take_while(|fault| fault.path == path).count();
        if told < PER_FILE_MAX {
            self.0.push(Fault { path: path.to_path_buf(), position, what: what.into() });
        }
    }

    /// A file that went away while it was looked at is no fault.
    pub(super) fn add_error(&mut self, path: &Path, error: &InspectionError) {
        match error {
            InspectionError::Storage(StorageError::Corrupt { path, position, reason }) => {
                self.add(path, Some(*position), reason.clone());
            }
            InspectionError::Storage(StorageError::Io { source, .. })
            | InspectionError::Look { source, .. }
                if source.kind() == ErrorKind::NotFound => {}
            error => self.add(path, None, error.to_string()),
        }
    }

    pub(super) fn into_inner(self) -> Vec<Fault> {
        self.0
    }
}
