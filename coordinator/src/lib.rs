//! **coordinator decides**: pure state machines. Time comes in as an argument, decisions go out as values.
//!
//! Nothing here touches a socket, a file, a clock or randomness; `tests/architecture.rs` keeps it so.

pub mod cluster;
pub mod fetching;
pub mod groups;
pub mod machine;
pub mod quotas;
pub mod replication;
pub mod time;
pub mod transactions;
mod wire;
pub mod znodes;
