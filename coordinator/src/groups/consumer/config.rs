//! The `group.consumer.*` keys that the rules depend on.

use super::assignors::Assignor;

/// Limits and times of consumer groups; the same for all of a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsumerConfig {
    /// `group.consumer.session.timeout.ms`: a member not heard of for so long is out. Unit: ms. Default: 45,000.
    pub session_timeout_ms: i32,
    /// `group.consumer.heartbeat.interval.ms`: what members are told. Unit: ms. Default: 5,000.
    pub heartbeat_interval_ms: i32,
    /// `group.consumer.max.size`. Unit: members. Default: `i32::MAX`.
    pub size_max: i32,
    /// `group.consumer.assignors`; the first is for members that ask for none. Never empty.
    pub assignors: &'static [Assignor],
    /// `group.consumer.migration.policy`.
    pub migration: MigrationPolicy,
}

/// Which groups may change their protocol while they have members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MigrationPolicy {
    /// A classic group becomes a consumer group when the first member of the new protocol comes.
    pub upgrade: bool,
    /// A consumer group becomes a classic one when the last member of the new protocol goes.
    pub downgrade: bool,
}

impl Default for ConsumerConfig {
    fn default() -> Self {
        ConsumerConfig {
            session_timeout_ms: 45_000,
            heartbeat_interval_ms: 5_000,
            size_max: i32::MAX,
            assignors: &[Assignor::Uniform, Assignor::Range],
            migration: MigrationPolicy { upgrade: false, downgrade: false },
        }
    }
}

impl ConsumerConfig {
    /// The one of that name, where it is offered.
    pub(super) fn assignor(&self, name: &str) -> Option<Assignor> {
        self.assignors.iter().copied().find(|assignor| assignor.name() == name)
    }

    pub(super) fn default_assignor(&self) -> Assignor {
        self.assignors.first().copied().unwrap_or(Assignor::Uniform)
    }
}

/// How long after a failure to write down that a member is out it is tried again. Unit: ms.
pub(in crate::groups) const RETRY_MS: i64 = 500;
