//! Where the handlers of the group APIs go: finds the seat that a group belongs to, asks, and waits.
//!
//! Knows which partition a group hashes to and how many there are; the rules are the machine's.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use coordinator::groups::consumer::ClusterTopics;
use coordinator::groups::{Command, GroupConfig, GroupError, Groups, Note, Reply};
use coordinator::machine::{AppendFailure, Machine};
use storage::batch::TargetCompression;
use storage::types::TopicPartition;

use crate::config::Groups as GroupSettings;
use crate::machines::journal::{Journal, Writing};
use crate::machines::runner::Runner;
use crate::machines::seats::{Seats, Taken, Vacant};
use crate::metadata::MetadataCache;

/// The internal topic of groups and their offsets.
pub(crate) const OFFSETS_TOPIC: &str = "__consumer_offsets";

pub(crate) struct GroupRoom<J: Journal> {
    seats: Arc<Seats<Groups, J>>,
    metadata: Arc<MetadataCache>,
    closed: AtomicBool,
}

/// Which group ids an API takes: those of offsets also take the empty one, for the sake of old simple consumers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EmptyGroupId {
    Allowed,
    Refused,
}

impl<J: Journal> GroupRoom<J> {
    pub(crate) fn new(settings: &GroupSettings, metadata: &Arc<MetadataCache>) -> Self {
        let config = group_config(settings);
        let writing = Writing {
            compression: compression(settings.offsets_topic_codec),
            commit_timeout: settings.offsets_commit_timeout,
        };
        let (at_load, at_start) = (Arc::clone(metadata), Arc::clone(metadata));
        let make = move || {
            let mut groups = Groups::new(config);
            groups.note(Note::Topics(topics(&at_load)));
            groups
        };
        // The cluster may have changed while the log was read.
        let attend = move |seat: Taken<Groups, J>| seat.runner.inform(Note::Topics(topics(&at_start)));
        GroupRoom {
            seats: Seats::new(OFFSETS_TOPIC, writing, make, attend),
            metadata: Arc::clone(metadata),
            closed: AtomicBool::new(false),
        }
    }

    /// The controller has told something new: groups may subscribe to other topics than before.
    pub(crate) fn follow_cluster(&self) {
        let topics = topics(&self.metadata);
        for runner in self.seats.taken() {
            runner.inform(Note::Topics(topics.clone()));
        }
    }

    pub(crate) fn seats(&self) -> &Arc<Seats<Groups, J>> {
        &self.seats
    }

    /// The runner that serves `group`, where the offsets topic has `partitions` partitions.
    pub(crate) fn find(
        &self,
        group: &str,
        partitions: i32,
        empty: EmptyGroupId,
    ) -> Result<Arc<Runner<Groups, J>>, GroupError> {
        if group.is_empty() && empty == EmptyGroupId::Refused {
            return Err(GroupError::InvalidGroupId);
        }
        if self.closed.load(Ordering::Acquire) {
            return Err(GroupError::CoordinatorNotAvailable);
        }
        self.seats.find(partition_for(group, partitions)).map_err(|vacant| match vacant {
            Vacant::Loading => GroupError::LoadInProgress,
            Vacant::NotHere => GroupError::NotCoordinator,
        })
    }

    /// All runners that serve.
    pub(crate) fn all(&self) -> Result<Vec<Arc<Runner<Groups, J>>>, GroupError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(GroupError::CoordinatorNotAvailable);
        }
        Ok(self.seats.taken())
    }

    /// The partitions are gone, and the offsets of all groups in them with them.
    pub(crate) async fn forget(&self, partitions: &[TopicPartition]) {
        for runner in self.seats.taken() {
            for group in runner.look(|groups| groups.groups_with_offsets_of(partitions)) {
                // Lost leadership: the next coordinator finds the offsets expired.
                let _ = runner.ask(Command::ForgetPartitions(group, partitions.to_vec())).await;
            }
        }
    }

    /// The broker stops: nobody is served any more, and whoever waits is told so.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.seats.close();
    }
}

/// Asks, and waits for the answer; a seat lost meanwhile is `NotCoordinator`.
pub(crate) async fn ask<J: Journal>(
    runner: Result<Arc<Runner<Groups, J>>, GroupError>,
    command: Command,
) -> Result<Reply, GroupError> {
    runner?.ask(command).await.map_err(|_| GroupError::NotCoordinator)
}

/// The failure of a read as the clients of groups know it.
pub(crate) fn read_failure(failure: AppendFailure) -> GroupError {
    match failure {
        AppendFailure::NotLeader | AppendFailure::Storage => GroupError::NotCoordinator,
        _ => GroupError::CoordinatorNotAvailable,
    }
}

/// The partition of the offsets topic that coordinates `group`: the absolute value of Java's hash of the text.
pub(crate) fn partition_for(group: &str, partitions: i32) -> i32 {
    let hash =
        group.encode_utf16().fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    // `Utils.abs`: the one value without a positive counterpart counts as 0.
    let hash = if hash == i32::MIN { 0 } else { hash.abs() };
    hash % partitions.max(1)
}

fn group_config(settings: &GroupSettings) -> GroupConfig {
    let ms = |duration: std::time::Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    let ms32 = |duration| i32::try_from(ms(duration)).unwrap_or(i32::MAX);
    GroupConfig {
        session_timeout_min_ms: ms32(settings.min_session_timeout),
        session_timeout_max_ms: ms32(settings.max_session_timeout),
        initial_rebalance_delay_ms: ms32(settings.initial_rebalance_delay),
        size_max: i32::try_from(settings.max_size).unwrap_or(i32::MAX),
        offset_metadata_max: settings.offset_metadata_max_bytes,
        offsets_retention_ms: ms(settings.offsets_retention),
        offsets_retention_check_interval_ms: ms(settings.offsets_retention_check_interval),
        consumer: settings.consumer,
    }
}

/// The topics of the cluster as of now.
fn topics(metadata: &MetadataCache) -> ClusterTopics {
    let snapshot = metadata.snapshot();
    ClusterTopics { version: snapshot.version(), topics: snapshot }
}

/// `offsets.topic.compression.codec`, with each codec's default level.
fn compression(codec: i32) -> TargetCompression {
    match codec {
        1 => TargetCompression::Gzip { level: -1 },
        2 => TargetCompression::Snappy,
        3 => TargetCompression::Lz4 { level: 9 },
        4 => TargetCompression::Zstd { level: 3 },
        _ => TargetCompression::Uncompressed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_belongs_where_java_puts_it() {
        // "...".hashCode() of Java, absolute, modulo 50.
        for (group, partition) in [
            ("", 0),
            ("g", 3),
            ("pg", 25),
            ("console-consumer-50803", 37),
            ("größe-中文-😀", 40),
            // The value that has no absolute one.
            ("polygenelubricants", 0),
        ] {
            assert_eq!(partition_for(group, 50), partition, "{group}");
        }
    }
}
