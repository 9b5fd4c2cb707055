//! What every promise to the outside needs: a broker in its seat, the stock tools, a raw wire client.
//!
//! Whatever is started here is killed when its owner is dropped, and by the kernel when the test
//! process itself dies. The same tests run against Apache Kafka 3.9.1 with `ODRADEK_SEAT=apache`:
//! that is how a test is shown to be right before our broker is asked.

// Each test file uses its own part of this room.
#![allow(dead_code)]

pub(crate) mod assignments;
pub(crate) mod cluster;
pub(crate) mod dump;
pub(crate) mod ensemble;
pub(crate) mod history;
pub(crate) mod http;
pub(crate) mod kcat;
pub(crate) mod mounts;
pub(crate) mod offline;
pub(crate) mod ports;
pub(crate) mod process;
pub(crate) mod proxy;
/// Chance, replayable.
#[path = "../../coordinator/tests/simulation/random.rs"]
pub(crate) mod random;
pub(crate) mod records;
pub(crate) mod requests;
pub(crate) mod schemas;
pub(crate) mod seat;
pub(crate) mod stock;
pub(crate) mod talk;
pub(crate) mod transactional;
pub(crate) mod trial;
pub(crate) mod wire;
pub(crate) mod workload;
pub(crate) mod znodes;

/// Waits until `holds`; fails when that takes too long.
#[track_caller]
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + process::PATIENCE;
    while !holds() {
        assert!(std::time::Instant::now() < deadline, "waited in vain for {what}");
        std::thread::park_timeout(std::time::Duration::from_millis(10));
    }
}
