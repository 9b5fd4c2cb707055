//! Runs the coordinator's state machines: each partition of an internal topic that this broker leads is a machine's
//! log, and the machine's state is what that log says.
//!
//! Decide, append, apply, note, reply when the offset the decision rests on is committed. The rules are in
//! `coordinator`; here are only the order of these steps, the waiting, and the clock.

pub(crate) mod group_log;
pub(crate) mod group_room;
pub(crate) mod journal;
pub(crate) mod partition_journal;
pub(crate) mod runner;
pub(crate) mod seats;
#[cfg(test)]
mod tests;
mod transaction_log;
pub(crate) mod transaction_room;
