//! What every promise to the outside needs: a broker in its seat, the stock tools, a raw wire client.
//!
//! Whatever is started here is killed when its owner is dropped, and by the kernel when the test
//! process itself dies. The same tests run against Apache Kafka 3.9.1 with `ODRADEK_SEAT=apache`:
//! that is how a test is shown to be right before our broker is asked.

// Each test file uses its own part of this room.
#![allow(dead_code)]

pub(crate) mod ports;
pub(crate) mod process;
pub(crate) mod records;
pub(crate) mod seat;
pub(crate) mod stock;
pub(crate) mod wire;
pub(crate) mod znodes;
