//! Consumer groups of the new protocol (KIP-848): the coordinator itself plans who has which partition, and every
//! member walks from its present partitions to the planned ones at its own pace.
//!
//! Behaves as Apache 3.9.1's coordinator in KRaft mode and writes its records. Three epochs: the group's goes up when
//! members or topics change, the plan's is the group epoch it was made for, a member's is the plan it has arrived at.
//! Always true: a partition has one owner at a time, because a member gives it up before another gets it; what is
//! known of a group, except clocks, is what its records say.
//!
//! Reading order: `command` (the words), `record` (what is durable), `group` (a group), `desk` (a decision in the
//! making), `reconciliation` (one member's next step), `heartbeat` (members of this protocol), `classic` (members of
//! the old one in such a group), `migration` (from one protocol to the other), `assignors` (the plans).

pub mod assignors;
mod classic;
mod command;
mod config;
mod desk;
mod embedded;
mod group;
mod heartbeat;
mod migration;
mod reconciliation;
mod record;
mod topics;

pub(super) use self::classic::{heartbeat as classic_heartbeat, join as classic_join};
pub(super) use self::classic::{leave as classic_leave, sync as classic_sync};
pub use self::command::{
    ConsumerDescription, ConsumerHeartbeat, ConsumerMemberDescription, Heard, HeartbeatRefused,
    OwnedPartitions,
};
pub(super) use self::config::RETRY_MS;
pub use self::config::{ConsumerConfig, MigrationPolicy};
pub(super) use self::desk::Desk;
pub use self::group::Clock;
pub use self::group::{ConsumerGroup, ConsumerNote};
pub(super) use self::heartbeat::{expire, heartbeat, loaded, validate};
pub(super) use self::migration::upgrade;
pub(super) use self::record::KEYS;
pub use self::record::{ClassicSubscription, ConsumerRecord, Current, MemberState, Subscription};
pub use self::topics::{ClusterTopics, TopicInfo, Topics};
