//! Ports nobody listens on, below the range the kernel hands out by itself.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

const FIRST: u16 = 20_000;
const LAST: u16 = 31_999;

static STEPS: AtomicU16 = AtomicU16::new(0);

/// A port that was free a moment ago and that this process will not hand out again.
///
/// Test processes start at different places of the range, so that two of them rarely meet.
pub(crate) fn free_port() -> u16 {
    let span = LAST - FIRST;
    for _ in 0..span {
        let step = STEPS.fetch_add(1, Ordering::Relaxed);
        let start = (std::process::id().wrapping_mul(97) % u32::from(span)) as u16;
        let port = FIRST + (start + step % span) % span;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port between {FIRST} and {LAST}");
}
