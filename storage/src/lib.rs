//! **storage remembers**: bytes and files of partition logs, in Apache Kafka's own format.
//!
//! Synchronous. Knows no request, no leader election, no async runtime.

pub mod batch;
pub mod checkpoint;
pub mod config;
pub mod directory;
pub mod disk;
pub mod epochs;
pub mod error;
pub mod types;
