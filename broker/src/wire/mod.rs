//! What goes over a connection, whoever speaks: frames that come in, answers as they go out, records in them by reference.
//!
//! Knows no API; `net` serves connections with it, `peers` calls other brokers.

pub(crate) mod frames;
pub(crate) mod memory;
pub(crate) mod outlet;
pub(crate) mod reply;
pub(crate) mod scatter;
pub(crate) mod throttled;
