//! Which fetcher copies which partition.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use storage::types::{BrokerId, LeaderEpoch, TopicPartition};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tracing::info;

use super::Replicating;
use super::fetcher::Fetcher;
use crate::partition::RoleChange;

/// A fetcher's place: the leader it copies from, and its number among those that do.
type Post = (BrokerId, u32);

/// What a fetcher is to do with a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Follow(LeaderEpoch),
    Leave,
}

/// Changes that a fetcher has not taken notice of yet; the newest for each partition.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    /// Held for an insertion or to take all, never across `.await`.
    changes: Mutex<BTreeMap<TopicPartition, Change>>,
    pub(super) more: Notify,
}

impl Inbox {
    fn put(&self, partition: TopicPartition, change: Change) {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner).insert(partition, change);
        self.more.notify_one();
    }

    pub(super) fn take(&self) -> BTreeMap<TopicPartition, Change> {
        std::mem::take(&mut *self.changes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

struct Running {
    inbox: Arc<Inbox>,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Default)]
struct State {
    /// Fetchers for each leader. Range: `1..`.
    count: u32,
    running: BTreeMap<Post, Running>,
    assigned: BTreeMap<TopicPartition, (Post, LeaderEpoch)>,
    /// The broker stops.
    closed: bool,
}

/// All fetchers of this broker.
pub(crate) struct Fetchers {
    shared: Arc<Replicating>,
    /// Held while partitions are assigned, never across `.await`.
    state: Mutex<State>,
}

impl Fetchers {
    pub(crate) fn new(shared: Arc<Replicating>) -> Fetchers {
        let state = State { count: shared.settings.fetchers, ..State::default() };
        Fetchers { shared, state: Mutex::new(state) }
    }

    /// Roles have changed: partitions come to the fetchers of their leaders, or leave.
    pub(crate) fn apply(&self, changes: &[RoleChange]) {
        let mut state = self.lock();
        if state.closed {
            return;
        }
        for RoleChange(id) in changes {
            // As it is by now: a later change may have been applied before this one.
            let partition = self.shared.partitions.get(id);
            match partition.and_then(|partition| partition.followed()) {
                Some((leader, epoch)) if leader.0 >= 0 => {
                    let post = (leader, number(id, state.count));
                    self.assign(&mut state, id.clone(), post, epoch);
                }
                _ => state.withdraw(id),
            }
        }
        state.end_idle();
    }

    /// `num.replica.fetchers` changed.
    pub(crate) fn resize(&self, count: u32) {
        let mut state = self.lock();
        if state.count == count {
            return;
        }
        info!(from = state.count, to = count, "fetchers for each leader");
        state.count = count;
        let assigned = state.assigned.clone();
        for (partition, ((leader, _), epoch)) in assigned {
            let post = (leader, number(&partition, count));
            self.assign(&mut state, partition, post, epoch);
        }
        state.end_idle();
    }

    /// The broker stops: nothing is copied any more.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.assigned.clear();
        state.running.clear();
    }

    fn assign(&self, state: &mut State, partition: TopicPartition, post: Post, epoch: LeaderEpoch) {
        match state.assigned.get(&partition) {
            Some((former, _)) if *former != post => state.withdraw(&partition),
            _ => {}
        }
        let running = state.running.entry(post).or_insert_with(|| {
            let inbox = Arc::new(Inbox::default());
            let (leader, number) = post;
            let fetcher = Fetcher::new(Arc::clone(&self.shared), Arc::clone(&inbox), leader, number);
            Running { inbox, task: tokio::spawn(fetcher.run()) }
        });
        running.inbox.put(partition.clone(), Change::Follow(epoch));
        state.assigned.insert(partition, (post, epoch));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn withdraw(&mut self, partition: &TopicPartition) {
        let Some((post, _)) = self.assigned.remove(partition) else { return };
        if let Some(running) = self.running.get(&post) {
            running.inbox.put(partition.clone(), Change::Leave);
        }
    }

    fn end_idle(&mut self) {
        let busy: BTreeSet<Post> = self.assigned.values().map(|(post, _)| *post).collect();
        self.running.retain(|post, _| busy.contains(post));
    }
}

/// Which of `count` fetchers copies `partition`, as Kafka spreads them (`AbstractFetcherManager.getFetcherId`).
fn number(partition: &TopicPartition, count: u32) -> u32 {
    let hash = partition
        .topic
        .encode_utf16()
        .fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    let mixed = hash.wrapping_mul(31).wrapping_add(partition.partition);
    mixed.checked_abs().unwrap_or(0).unsigned_abs() % count.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_spread_as_kafka_does() {
        // "orders".hashCode() is -1008770331 in Java.
        let of = |partition| number(&TopicPartition::new("orders", partition), 4);
        let expected =
            |partition: i32| (-1_008_770_331_i32).wrapping_mul(31).wrapping_add(partition).unsigned_abs() % 4;
        for partition in 0..8 {
            assert_eq!(of(partition), expected(partition));
        }
    }

    #[test]
    fn with_one_fetcher_there_is_no_choice() {
        assert_eq!(number(&TopicPartition::new("t", 7), 1), 0);
        assert_eq!(number(&TopicPartition::new("t", 7), 0), 0);
    }
}
