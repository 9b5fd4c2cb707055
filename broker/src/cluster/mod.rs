//! The ZooKeeper side of the broker: what it registers, what it reads, and what it decides when it is controller.
//!
//! Always true here: ZooKeeper is reached through `client` alone, and every controller write is fenced by the version
//! of `/controller_epoch`. This room knows no log and no socket of a Kafka client; what the controller decides lives in
//! `coordinator::cluster`.

pub(crate) mod admin;
pub(crate) mod client;
pub(crate) mod config_changes;
pub(crate) mod configs;
pub(crate) mod consumer_offsets;
pub(crate) mod controller;
pub(crate) mod entities;
pub(crate) mod identity;
pub(crate) mod in_sync;
mod ledger;
mod loading;
pub(crate) mod presence;
pub(crate) mod producer_ids;
pub(crate) mod registration;
mod requests;
pub(crate) mod security;
#[cfg(test)]
mod tests;
pub(crate) mod to_controller;
mod watches;
pub(crate) mod znodes;
