//! A partition's replication: who is in sync, up to where a record is safe, and how a follower's log becomes the leader's.
//!
//! Pure. It knows offsets, epochs, brokers and times that are told to it; it holds no log and sends nothing. The leader's
//! rules are in `leader` (with what it knows of one follower in `progress`, and the in-sync set on its way through the
//! controller in `in_sync`), the follower's in `follower`, and in `orders` whose word counts at all.

mod follower;
mod in_sync;
mod leader;
mod orders;
mod progress;
mod throttle;

#[cfg(test)]
mod follower_tests;
#[cfg(test)]
mod leader_tests;

pub use follower::{
    EpochEnd, Follower, FollowerSettings, History, LeaderAnswer, LeaderError, Order, Phase, Question, Step,
    Truncation, replicated_high_watermark, replicated_log_start,
};
pub use in_sync::{InSyncMember, Proposal, Verdict};
pub use leader::{AfterVerdict, Fetch, Leader, LeaderSettings, Moment, Moved, StaleFetch, Standing};
pub use orders::{
    EpochMismatch, Obedience, StaleController, StaleRole, UNKNOWN_BROKER_EPOCH, check_leader_epoch,
    check_role, is_for_former_life, is_old_news, may_stop,
};
pub use throttle::Throttle;
