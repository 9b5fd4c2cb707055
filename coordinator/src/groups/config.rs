//! The `group.*` and `offsets.*` keys that the rules of groups depend on.

use super::consumer::ConsumerConfig;

/// Limits and delays of groups; the same for all of a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupConfig {
    /// `group.min.session.timeout.ms`. Unit: ms. Default: 6,000.
    pub session_timeout_min_ms: i32,
    /// `group.max.session.timeout.ms`. Unit: ms. Default: 1,800,000.
    pub session_timeout_max_ms: i32,
    /// `group.initial.rebalance.delay.ms`: how long an empty group waits for more members. Unit: ms. Default: 3,000.
    pub initial_rebalance_delay_ms: i32,
    /// `group.max.size`. Unit: members. Default: `i32::MAX`.
    pub size_max: i32,
    /// `offset.metadata.max.bytes`. Unit: UTF-16 code units (Kafka counts Java characters). Default: 4,096.
    pub offset_metadata_max: usize,
    /// `offsets.retention.minutes`. Unit here: ms. Default: 7 days.
    pub offsets_retention_ms: i64,
    /// `offsets.retention.check.interval.ms`. Unit: ms. Default: 600,000.
    pub offsets_retention_check_interval_ms: i64,
    /// Of groups of the new protocol.
    pub consumer: ConsumerConfig,
}

impl Default for GroupConfig {
    fn default() -> Self {
        GroupConfig {
            session_timeout_min_ms: 6_000,
            session_timeout_max_ms: 1_800_000,
            initial_rebalance_delay_ms: 3_000,
            size_max: i32::MAX,
            offset_metadata_max: 4_096,
            offsets_retention_ms: 7 * 24 * 60 * 60 * 1_000,
            offsets_retention_check_interval_ms: 600_000,
            consumer: ConsumerConfig::default(),
        }
    }
}

/// Member ids one group hands out and waits for at once. Kafka has no such limit, and lets a client that only asks
/// for ids fill its memory; beyond it a join is answered like one into a full group.
pub(super) const PENDING_MEMBERS_MAX: usize = 10_000;

/// How long a new member's JoinGroup may stay unanswered before the member is dropped: it does not know its id yet
/// and cannot send heartbeats. Unit: ms.
pub(super) const NEW_MEMBER_JOIN_TIMEOUT_MS: i64 = 5 * 60 * 1_000;

/// The shortest wait before a rebalance that nobody joined is looked at again, whatever timeout the members gave.
/// Unit: ms.
pub(super) const REJOIN_WAIT_MIN_MS: i64 = 100;

/// Tombstones of one decision at most: keeps a batch well below `message.max.bytes`.
pub(super) const TOMBSTONES_MAX: usize = 1_000;
