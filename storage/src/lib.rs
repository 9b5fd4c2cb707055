//! **storage remembers**: bytes and files of partition logs, in Apache Kafka's own format.
//!
//! Synchronous. Knows no request, no leader election, no async runtime.

pub mod batch;
pub mod calendar;
pub mod checkpoint;
pub mod compaction;
pub mod config;
pub mod contents;
pub mod directory;
pub mod disk;
pub mod epochs;
pub mod error;
mod index;
pub mod log;
pub mod producers;
mod recovery;
pub mod retention;
mod segment;
#[cfg(any(test, feature = "simulation"))]
pub mod specimen;
pub mod store;
pub mod types;

pub use index::AbortedTransaction;
