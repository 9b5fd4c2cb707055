//! The offsets of one group: committed ones, and those that wait for the end of a transaction.
//!
//! Always true: the later record wins, by its place in the log, whether it came plainly or through a transaction.
//! Offsets change only by records, so that a replay ends with the same ones.

use std::collections::BTreeMap;

use storage::types::{Offset, ProducerId, TimestampMs, TopicPartition};

use super::record::OffsetCommit;
use super::refusal::GroupError;
use super::roster::{Roster, State};

#[derive(Clone, Debug, PartialEq)]
struct Committed {
    /// Base offset, in the offsets topic, of the batch that brought it.
    at: Offset,
    commit: OffsetCommit,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Offsets {
    committed: BTreeMap<TopicPartition, Committed>,
    /// No producer is here without an offset.
    pending: BTreeMap<ProducerId, BTreeMap<TopicPartition, Committed>>,
}

impl Offsets {
    pub(super) fn is_empty(&self) -> bool {
        self.committed.is_empty() && self.pending.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.committed.len()
    }

    pub(super) fn set(&mut self, at: Offset, partition: &TopicPartition, commit: &OffsetCommit) {
        self.committed.insert(partition.clone(), Committed { at, commit: commit.clone() });
    }

    pub(super) fn set_pending(
        &mut self,
        at: Offset,
        producer: ProducerId,
        partition: &TopicPartition,
        commit: &OffsetCommit,
    ) {
        let pending = self.pending.entry(producer).or_default();
        pending.insert(partition.clone(), Committed { at, commit: commit.clone() });
    }

    pub(super) fn remove(&mut self, partition: &TopicPartition) {
        self.committed.remove(partition);
    }

    pub(super) fn remove_pending(&mut self, producer: ProducerId, partition: &TopicPartition) {
        if let Some(pending) = self.pending.get_mut(&producer) {
            pending.remove(partition);
            if pending.is_empty() {
                self.pending.remove(&producer);
            }
        }
    }

    /// The transaction of `producer` has ended: its offsets count now, except where a later plain commit does.
    pub(super) fn end_transaction(&mut self, producer: ProducerId, committed: bool) {
        let ended = self.pending.remove(&producer).unwrap_or_default();
        if !committed {
            return;
        }
        for (partition, offset) in ended {
            if self.committed.get(&partition).is_none_or(|current| current.at < offset.at) {
                self.committed.insert(partition, offset);
            }
        }
    }

    pub(super) fn has_pending_of(&self, producer: ProducerId) -> bool {
        self.pending.contains_key(&producer)
    }

    pub(super) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Whether a transaction that has not ended may change the offset.
    pub(super) fn is_pending(&self, partition: &TopicPartition) -> bool {
        self.pending.values().any(|pending| pending.contains_key(partition))
    }

    pub(super) fn committed(&self) -> impl Iterator<Item = (&TopicPartition, &OffsetCommit)> {
        self.committed.iter().map(|(partition, committed)| (partition, &committed.commit))
    }

    pub(super) fn partitions(&self) -> impl Iterator<Item = &TopicPartition> {
        self.committed.keys()
    }

    pub(super) fn get(&self, partition: &TopicPartition) -> Option<&OffsetCommit> {
        self.committed.get(partition).map(|committed| &committed.commit)
    }

    /// The offset for a client that wants only what no open transaction may change (KIP-447).
    pub(super) fn get_stable(&self, partition: &TopicPartition) -> Result<Option<&OffsetCommit>, GroupError> {
        match self.is_pending(partition) {
            true => Err(GroupError::UnstableOffset),
            false => Ok(self.get(partition)),
        }
    }

    /// What `offsets.retention.minutes` has come for, `max` at most.
    ///
    /// Counted from when the group became empty; from the commit for groups without members of their own, and for
    /// topics that a stable consumer group no longer subscribes to. A retention the client asked for goes before.
    pub(super) fn expired(
        &self,
        roster: &Roster,
        wall: TimestampMs,
        retention_ms: i64,
        max: usize,
    ) -> Vec<TopicPartition> {
        enum Since {
            Empty,
            Commit,
        }
        let stable = roster.state == State::Stable;
        let since = match &roster.protocol_type {
            None => Since::Commit,
            Some(_) if roster.state == State::Empty => Since::Empty,
            Some(_) if stable && roster.is_consumer_group() && roster.subscribed.is_some() => Since::Commit,
            Some(_) => return Vec::new(),
        };
        let expired = |partition: &TopicPartition, commit: &OffsetCommit| {
            if stable && roster.is_subscribed_to(&partition.topic) {
                return false;
            }
            let counted_from = match since {
                Since::Empty => roster.state_since.unwrap_or(commit.committed_at),
                Since::Commit => commit.committed_at,
            };
            match commit.expires_at {
                Some(at) => wall >= at,
                None => wall.0.saturating_sub(counted_from.0) >= retention_ms,
            }
        };
        let all = self.committed.iter();
        all.filter(|(partition, it)| expired(partition, &it.commit))
            .map(|(partition, _)| partition.clone())
            .take(max)
            .collect()
    }
}
