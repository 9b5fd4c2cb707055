//! Partitions that lie here and are still being checked, while others are served already.
//!
//! What the controller says of them is taken, and carried out when they are ready; clients are told to come again, as by
//! any broker that does not lead. One that is to be deleted is not waited for: its folders are renamed at once, and whoever
//! is checking them finds out. Always true: a partition is awaited or hosted, never both, and what a checkpoint file
//! says of an awaited one stays there.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use coordinator::replication::{StaleRole, check_role, may_stop};
use kafka_protocol::messages::leader_and_isr_request::LeaderAndIsrPartitionState;
use storage::checkpoint::OffsetCheckpoint;
use storage::directory::{Folder, FolderKind};
use storage::types::{LeaderEpoch, Offset, TopicId, TopicPartition};

use crate::partition::hosting::Hosted;
use crate::partition::registry::Inventory;

/// What the controller said. At most a stop and a role after it.
pub(super) enum Word {
    Role { topic_id: TopicId, state: Box<LeaderAndIsrPartitionState> },
    Stop { epoch: LeaderEpoch, delete: bool },
}

struct Waiting {
    /// Of the directories in which it lies and is not open yet; more than one after a crash at the end of a move.
    folders: Vec<Arc<Inventory>>,
    /// Opened, while another folder is awaited.
    ready: Option<Hosted>,
    words: Vec<Word>,
}

impl Waiting {
    fn is_in(&self, directory: usize) -> bool {
        self.folders.iter().any(|folder| folder.directory == directory)
    }

    fn is_deleted(&self) -> bool {
        self.words.iter().any(|word| matches!(word, Word::Stop { delete: true, .. }))
    }
}

/// One that is awaited no more.
pub(super) struct Arrived {
    pub(super) id: TopicPartition,
    /// `None`: it was deleted meanwhile.
    pub(super) hosted: Option<Hosted>,
    pub(super) words: Vec<Word>,
}

#[derive(Default)]
pub(super) struct Awaited {
    all: HashMap<TopicPartition, Waiting>,
    /// Of the directories, until everything is open.
    inventories: Vec<Arc<Inventory>>,
    /// Folders that have got another name since.
    condemned: HashSet<PathBuf>,
}

impl Awaited {
    pub(super) fn begin(&mut self, inventories: &[Arc<Inventory>]) {
        self.inventories = inventories.to_vec();
    }

    pub(super) fn expect(&mut self, id: TopicPartition, inventory: &Arc<Inventory>) {
        let waiting = self.all.entry(id).or_insert_with(|| Waiting {
            folders: Vec::new(),
            ready: None,
            words: Vec::new(),
        });
        waiting.folders.push(Arc::clone(inventory));
    }

    /// Gives back what is not needed any more.
    pub(super) fn shrink(&mut self) {
        self.all.shrink_to_fit();
        if self.all.is_empty() {
            self.inventories.clear();
            self.condemned.clear();
        }
    }

    /// Folders of a partition that may still have to be opened, copies on their way included. They count as condemned from
    /// here on.
    pub(super) fn condemn(&mut self, id: &TopicPartition) -> Vec<(usize, PathBuf)> {
        let mut found = Vec::new();
        for inventory in &self.inventories {
            let expected = self.all.get(id).is_some_and(|waiting| waiting.is_in(inventory.directory));
            let unopened = |folder: &&Folder| match folder.kind {
                FolderKind::Current => expected,
                FolderKind::Future => true,
                FolderKind::Deleted | FolderKind::Stray => false,
            };
            let folders = inventory.folders_of(id).filter(unopened);
            found.extend(folders.map(|folder| (inventory.directory, folder.path.clone())));
        }
        self.condemned.extend(found.iter().map(|(_, path)| path.clone()));
        found
    }

    pub(super) fn is_condemned(&self, folder: &Path) -> bool {
        self.condemned.contains(folder)
    }

    /// Nothing comes from a condemned folder in `directory`. Yields the partition when no other one is awaited.
    pub(super) fn pass_over(&mut self, id: &TopicPartition, directory: usize) -> Option<Arrived> {
        let waiting = self.all.get_mut(id)?;
        waiting.folders.retain(|folder| folder.directory != directory);
        self.take_ready(id)
    }

    /// What is open of a partition that is to be deleted.
    pub(super) fn take_open(&mut self, id: &TopicPartition) -> Option<Hosted> {
        self.all.get_mut(id)?.ready.take()
    }

    /// Partitions that lie in `directory` and are not open yet.
    pub(super) fn lying_in(&self, directory: usize) -> Vec<TopicPartition> {
        let here = self.all.iter().filter(|(_, waiting)| waiting.is_in(directory) && !waiting.is_deleted());
        here.map(|(id, _)| id.clone()).collect()
    }

    pub(super) fn contains(&self, id: &TopicPartition) -> bool {
        self.all.contains_key(id)
    }

    pub(super) fn is_any_in(&self, directory: usize) -> bool {
        self.all.values().any(|waiting| waiting.is_in(directory))
    }

    /// A role for later. `None` where the partition is not awaited.
    pub(super) fn hear_role(
        &mut self,
        id: &TopicPartition,
        topic_id: TopicId,
        state: &LeaderAndIsrPartitionState,
    ) -> Option<Result<(), StaleRole>> {
        let words = &mut self.all.get_mut(id)?.words;
        if let Some(Word::Role { state: known, .. }) = words.last() {
            let stale = check_role(LeaderEpoch(known.leader_epoch), LeaderEpoch(state.leader_epoch));
            if stale.is_err() {
                return Some(stale);
            }
            words.pop();
        }
        words.push(Word::Role { topic_id, state: Box::new(state.clone()) });
        Some(Ok(()))
    }

    /// The end of what was said before; nothing where the partition is not awaited. False where a later leader epoch is
    /// known.
    pub(super) fn hear_stop(&mut self, id: &TopicPartition, epoch: LeaderEpoch, delete: bool) -> bool {
        let Some(waiting) = self.all.get_mut(id) else { return true };
        if let Some(Word::Role { state, .. }) = waiting.words.last()
            && !may_stop(LeaderEpoch(state.leader_epoch), epoch)
        {
            return false;
        }
        if !waiting.is_deleted() {
            waiting.words.clear();
            waiting.words.push(Word::Stop { epoch, delete });
        } else {
            waiting.words.truncate(1);
        }
        true
    }

    /// One of its folders is open. `settle` says which one stays where there were two; `None` while another is awaited.
    pub(super) fn arrive<E>(
        &mut self,
        id: &TopicPartition,
        hosted: Hosted,
        settle: impl FnOnce(Hosted, Hosted) -> Result<Hosted, E>,
    ) -> Result<Option<Arrived>, E> {
        let Some(waiting) = self.all.get_mut(id) else { return Ok(None) };
        waiting.folders.retain(|folder| folder.directory != hosted.directory);
        let hosted = match waiting.ready.take() {
            Some(ready) => settle(ready, hosted)?,
            None => hosted,
        };
        waiting.ready = Some(hosted);
        Ok(self.take_ready(id))
    }

    /// A directory failed: nothing comes from there. Yields those that waited for it alone.
    pub(super) fn give_up(&mut self, directory: usize) -> Vec<Arrived> {
        for waiting in self.all.values_mut() {
            waiting.folders.retain(|folder| folder.directory != directory);
        }
        let done = self.all.iter().filter(|(_, waiting)| waiting.folders.is_empty());
        let done: Vec<TopicPartition> = done.map(|(id, _)| id.clone()).collect();
        let taken = done.iter().filter_map(|id| self.take_ready(id));
        taken.filter(|arrived| arrived.hosted.is_some()).collect()
    }

    fn take_ready(&mut self, id: &TopicPartition) -> Option<Arrived> {
        if !self.all.get(id)?.folders.is_empty() {
            return None;
        }
        let (id, waiting) = self.all.remove_entry(id)?;
        Some(Arrived { id, hosted: waiting.ready, words: waiting.words })
    }

    /// What the checkpoint files said of those in `directory`.
    pub(super) fn checkpointed(
        &self,
        directory: usize,
        checkpoint: OffsetCheckpoint,
    ) -> Vec<(TopicPartition, Offset)> {
        let here =
            self.all.iter().filter(|(_, waiting)| !waiting.is_deleted()).filter_map(|(id, waiting)| {
                let inventory = waiting.folders.iter().find(|folder| folder.directory == directory)?;
                Some((id.clone(), inventory.offsets(checkpoint).get(id).copied()?))
            });
        here.collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use storage::directory::LastStop;

    use super::*;

    /// With a log of `t-0`, its copy on the way here, and neighbours by name.
    fn inventory(directory: usize) -> Arc<Inventory> {
        let id = TopicPartition::new("t", 0);
        let names = ["t-0", "t-0-1", "t-0.0f-delete", "t-0.0f-future", "t-1"];
        let folder = |name: &str| Folder::of(&Path::new("/logs").join(name)).expect("a folder");
        Arc::new(Inventory {
            directory,
            last_stop: LastStop::Unclean,
            folders: names.map(folder).to_vec(),
            recovery_points: BTreeMap::from([(id, Offset(7))]),
            log_starts: BTreeMap::new(),
            high_watermarks: BTreeMap::new(),
            cleaned: BTreeMap::new(),
        })
    }

    fn role(leader_epoch: i32) -> LeaderAndIsrPartitionState {
        LeaderAndIsrPartitionState::default().with_leader_epoch(leader_epoch)
    }

    fn waiting(directories: &[usize]) -> (TopicPartition, Awaited) {
        let (id, mut awaited) = (TopicPartition::new("t", 0), Awaited::default());
        let inventories: Vec<_> = directories.iter().map(|directory| inventory(*directory)).collect();
        awaited.begin(&inventories);
        for inventory in &inventories {
            awaited.expect(id.clone(), inventory);
        }
        (id, awaited)
    }

    fn words(awaited: &Awaited, id: &TopicPartition) -> Vec<String> {
        let word = |word: &Word| match word {
            Word::Role { state, .. } => format!("role {}", state.leader_epoch),
            Word::Stop { delete, .. } => format!("stop {delete}"),
        };
        awaited.all[id].words.iter().map(word).collect()
    }

    #[test]
    fn the_newest_role_counts_and_an_older_one_is_refused() {
        let (id, mut awaited) = waiting(&[0]);
        let other = TopicPartition::new("t", 1);
        assert_eq!(awaited.hear_role(&other, TopicId::ZERO, &role(1)), None);
        assert_eq!(awaited.hear_role(&id, TopicId::ZERO, &role(4)), Some(Ok(())));
        assert_eq!(awaited.hear_role(&id, TopicId::ZERO, &role(5)), Some(Ok(())));
        assert_eq!(awaited.hear_role(&id, TopicId::ZERO, &role(5)), Some(Err(StaleRole::Known)));
        assert_eq!(awaited.hear_role(&id, TopicId::ZERO, &role(4)), Some(Err(StaleRole::Former)));
        assert!(!awaited.hear_stop(&id, LeaderEpoch(4), true), "the controller was replaced");
        assert_eq!(words(&awaited, &id), ["role 5"]);
    }

    #[test]
    fn a_deletion_is_not_forgotten_when_the_topic_is_made_anew() {
        let (id, mut awaited) = waiting(&[0]);
        awaited.hear_role(&id, TopicId::ZERO, &role(4));
        assert!(awaited.hear_stop(&id, LeaderEpoch(4), true));
        assert_eq!(words(&awaited, &id), ["stop true"]);
        assert_eq!(awaited.hear_role(&id, TopicId::ZERO, &role(0)), Some(Ok(())));
        assert_eq!(words(&awaited, &id), ["stop true", "role 0"]);
        assert!(awaited.hear_stop(&id, LeaderEpoch::NONE, false));
        assert_eq!(words(&awaited, &id), ["stop true"]);
    }

    #[test]
    fn of_a_deleted_one_nothing_comes_but_the_role_it_was_given_after() {
        let (id, mut awaited) = waiting(&[0, 1]);
        assert!(awaited.hear_stop(&id, LeaderEpoch::NONE, true));
        let name = |(directory, path): (usize, PathBuf)| format!("{directory}{}", path.display());
        let folders: Vec<String> = awaited.condemn(&id).into_iter().map(name).collect();
        assert_eq!(folders, ["0/logs/t-0", "0/logs/t-0.0f-future", "1/logs/t-0", "1/logs/t-0.0f-future"]);
        assert!(awaited.is_condemned(Path::new("/logs/t-0")));
        assert!(!awaited.is_condemned(Path::new("/logs/t-0-1")));
        assert!(awaited.lying_in(0).is_empty());
        assert!(awaited.checkpointed(1, OffsetCheckpoint::RecoveryPoints).is_empty());
        awaited.hear_role(&id, TopicId::ZERO, &role(0));

        assert!(awaited.pass_over(&id, 1).is_none(), "the other one is still being looked at");
        let arrived = awaited.pass_over(&id, 0).expect("nothing is awaited any more");
        assert!(arrived.hosted.is_none());
        assert!(matches!(arrived.words[..], [Word::Stop { delete: true, .. }, Word::Role { .. }]));
        awaited.shrink();
        assert!(awaited.condemn(&id).is_empty(), "everything is open");
    }

    #[test]
    fn checkpoints_keep_what_they_said() {
        let (id, awaited) = waiting(&[1]);
        let recovery_points = awaited.checkpointed(1, OffsetCheckpoint::RecoveryPoints);
        assert_eq!(recovery_points, [(id, Offset(7))]);
        assert!(awaited.checkpointed(0, OffsetCheckpoint::RecoveryPoints).is_empty());
        assert!(awaited.checkpointed(1, OffsetCheckpoint::LogStarts).is_empty());
    }

    #[test]
    fn nothing_comes_from_a_directory_that_failed() {
        let (id, mut awaited) = waiting(&[0, 1]);
        assert!(awaited.is_any_in(0) && awaited.is_any_in(1));
        assert_eq!(awaited.give_up(0).len(), 0);
        assert!(!awaited.is_any_in(0) && awaited.contains(&id));
        assert_eq!(awaited.give_up(1).len(), 0);
        assert!(!awaited.contains(&id));
    }
}
