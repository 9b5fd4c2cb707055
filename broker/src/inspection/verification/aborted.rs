//! Transactions as the batches tell them, beside the index of those that were aborted.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use storage::AbortedTransaction;
use storage::batch::EndTransaction;
use storage::contents::{self, Content, RecordEntry, RecordFile};
use storage::disk::OsDisk;
use storage::producers::marker;
use storage::types::{Offset, ProducerId};

use super::faults::Faults;
use crate::inspection::places::File;

/// First offsets of transactions that are open where the walk stands. One entry a producer in a transaction.
#[derive(Default)]
pub(super) struct OpenTransactions(HashMap<ProducerId, Offset>);

/// The transaction index of one segment, by the offset of the marker.
pub(super) struct AbortedIndex {
    path: Option<PathBuf>,
    base: Offset,
    entries: BTreeMap<Offset, (u64, AbortedTransaction)>,
}

impl AbortedIndex {
    pub(super) fn open(files: &[File], base: Offset, faults: &mut Faults) -> AbortedIndex {
        let mut index = AbortedIndex { path: None, base, entries: BTreeMap::new() };
        let Some(file) = files.iter().find(|file| file.content == Content::TransactionIndex) else {
            return index;
        };
        index.path = Some(file.path.clone());
        match contents::aborted_transactions(&OsDisk, &file.path) {
            Ok(entries) => {
                let mut before = None;
                for (at, entry) in entries {
                    if let Some(what) = entry.fault(base, before) {
                        faults.add(&file.path, Some(at), what);
                    }
                    before = Some(entry);
                    index.entries.insert(entry.last, (at, entry));
                }
            }
            Err(error) => faults.add_error(&file.path, &error.into()),
        }
        index
    }

    /// Holds the index against the next batch.
    pub(super) fn pass(
        &mut self,
        open: &mut OpenTransactions,
        records: &RecordFile,
        file: &File,
        entry: &RecordEntry,
        faults: &mut Faults,
    ) {
        let Some(producer) = entry.batch.producer().map(|producer| producer.id) else { return };
        if !entry.batch.is_control() {
            if entry.batch.is_transactional() {
                open.0.entry(producer).or_insert(entry.batch.first_or_last_offset());
            }
            return;
        }
        let end = match records.entry(entry) {
            Ok(bytes) => bytes.as_ref().and_then(marker).map(|marker| marker.end),
            Err(error) => return faults.add_error(&file.path, &error.into()),
        };
        let began = open.0.remove(&producer);
        let last = entry.batch.last_offset();
        let found = self.entries.remove(&last);
        match (end, found) {
            (Some(EndTransaction::Abort), None) => {
                // Without records of the transaction there is nothing to skip.
                if let Some(began) = began {
                    let what = format!(
                        "the transaction of producer {producer} from {began} was aborted here, the .txnindex does not say so"
                    );
                    faults.add(&file.path, Some(entry.position), what);
                }
            }
            (Some(EndTransaction::Abort), Some((at, found))) => {
                // Compaction may have taken the first records away, but adds none before them.
                let wrong = found.producer != producer || began.is_some_and(|began| began < found.first);
                if wrong {
                    self.tell(
                        at,
                        &found,
                        &format!("the log has {producer} from {}", began.unwrap_or_default()),
                        faults,
                    );
                }
            }
            (_, Some((at, found))) => self.tell(at, &found, "it was not aborted", faults),
            (_, None) => {}
        }
    }

    fn tell(&self, at: u64, found: &AbortedTransaction, why: &str, faults: &mut Faults) {
        if let Some(path) = &self.path {
            let what = format!("producer {} from {} to {}: {why}", found.producer, found.first, found.last);
            faults.add(path, Some(at), what);
        }
    }

    /// Entries without a marker. `next` is the offset behind the segment's last batch.
    pub(super) fn finish(self, next: Offset, faults: &mut Faults) {
        for (at, entry) in self.entries.values() {
            if entry.last >= self.base && entry.last < next {
                self.tell(*at, entry, "there is no marker", faults);
            } else {
                self.tell(*at, entry, "it ends outside of this segment", faults);
            }
        }
    }
}
