//! **storage remembers**: bytes and files of partition logs, in Apache Kafka's own format.
//!
//! Synchronous. Knows no request, no leader election, no async runtime.

pub mod batch;
pub mod types;
