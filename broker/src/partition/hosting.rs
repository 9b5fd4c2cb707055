//! Which partitions are here, and in which directory each of them lies.

use std::collections::HashMap;
use std::sync::Arc;

use storage::types::TopicPartition;

use crate::partition::Partition;

/// A partition and the directory it is in.
#[derive(Clone)]
pub(super) struct Hosted {
    pub(super) partition: Arc<Partition>,
    /// Index into `Partitions::directories`.
    pub(super) directory: usize,
}

/// Always true: `counts` tells how many of `all` are in each directory.
#[derive(Default)]
pub(super) struct Hosting {
    all: HashMap<TopicPartition, Hosted>,
    counts: Vec<usize>,
}

impl Hosting {
    pub(super) fn get(&self, id: &TopicPartition) -> Option<&Hosted> {
        self.all.get(id)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Hosted> {
        self.all.values()
    }

    /// Yields the one that was there.
    pub(super) fn insert(&mut self, id: TopicPartition, hosted: Hosted) -> Option<Hosted> {
        let directory = hosted.directory;
        if self.counts.len() <= directory {
            self.counts.resize(directory + 1, 0);
        }
        self.counts[directory] += 1;
        let former = self.all.insert(id, hosted);
        if let Some(former) = &former {
            self.counts[former.directory] -= 1;
        }
        former
    }

    pub(super) fn remove(&mut self, id: &TopicPartition) {
        if let Some(gone) = self.all.remove(id) {
            self.counts[gone.directory] -= 1;
        }
    }

    /// How many partitions lie in a directory.
    pub(super) fn count_in(&self, directory: usize) -> usize {
        self.counts.get(directory).copied().unwrap_or(0)
    }
}
