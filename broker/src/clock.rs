//! The only reader of clocks for the pure rooms: they get what this returns as an argument.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use coordinator::time::{Monotonic, Now};
use storage::types::TimestampMs;

/// Both clocks, read once.
pub(crate) fn now() -> Now {
    static START: OnceLock<Instant> = OnceLock::new();
    let since_start = START.get_or_init(Instant::now).elapsed().as_millis();
    Now { mono: Monotonic(u64::try_from(since_start).unwrap_or(u64::MAX)), wall: wall() }
}

/// A clock before 1970 counts as 1970.
pub(crate) fn wall() -> TimestampMs {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    TimestampMs(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}
