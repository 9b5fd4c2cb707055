//! Requests that change configs, quotas and credentials: checked, written to ZooKeeper and announced there.
//!
//! ZooKeeper alone says what holds; every broker, this one too, acts on the announcement (`following`). So a change by a
//! tool that speaks to ZooKeeper has the same effect.

pub(crate) mod alter;
pub(crate) mod credentials;
mod names;
pub(crate) mod quotas;
