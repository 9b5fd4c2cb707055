//! What the four-letter words tell: of the server and of each connection.

use std::time::{Duration, Instant};

/// Requests and replies and the time between them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counters {
    pub(super) received: u64,
    pub(super) sent: u64,
    pub(super) answers: Sizes,
    latency_count: u64,
    latency_sum: Duration,
    latency_min: Option<Duration>,
    latency_max: Duration,
    latency_last: Duration,
}

impl Counters {
    pub(super) fn answered(&mut self, latency: Duration) {
        self.latency_count += 1;
        self.latency_sum += latency;
        self.latency_min = Some(self.latency_min.map_or(latency, |min| min.min(latency)));
        self.latency_max = self.latency_max.max(latency);
        self.latency_last = latency;
    }

    /// Unit: ms.
    pub(super) fn latency_min_ms(&self) -> u128 {
        self.latency_min.unwrap_or_default().as_millis()
    }

    /// Unit: ms.
    pub(super) fn latency_max_ms(&self) -> u128 {
        self.latency_max.as_millis()
    }

    /// Unit: ms.
    pub(super) fn latency_last_ms(&self) -> u128 {
        self.latency_last.as_millis()
    }

    /// Unit: ms, fractions included.
    pub(super) fn latency_average_ms(&self) -> f64 {
        match self.latency_count {
            0 => 0.0,
            count => self.latency_sum.as_secs_f64() * 1000.0 / count as f64,
        }
    }
}

/// How long something took, and how often.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Durations {
    pub(super) count: u64,
    pub(super) sum: Duration,
    pub(super) min: Duration,
    pub(super) max: Duration,
}

impl Durations {
    pub(super) fn add(&mut self, took: Duration) {
        self.min = if self.count == 0 { took } else { self.min.min(took) };
        self.max = self.max.max(took);
        self.sum += took;
        self.count += 1;
    }

    /// Unit: ms, fractions included.
    pub(super) fn average_ms(&self) -> f64 {
        match self.count {
            0 => 0.0,
            count => self.sum.as_secs_f64() * 1000.0 / count as f64,
        }
    }
}

/// Sizes of answers. Unit: bytes; `None` before the first.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sizes {
    pub(super) last: Option<usize>,
    pub(super) min: Option<usize>,
    pub(super) max: Option<usize>,
    pub(super) sum: u64,
}

impl Sizes {
    pub(super) fn add(&mut self, size: usize) {
        self.last = Some(size);
        self.min = Some(self.min.map_or(size, |min| min.min(size)));
        self.max = Some(self.max.map_or(size, |max| max.max(size)));
        self.sum += size as u64;
    }
}

/// What `cons` tells of one connection.
#[derive(Debug, Clone)]
pub(super) struct Ledger {
    pub(super) counters: Counters,
    /// Unit: ms since 1970.
    pub(super) established_ms: i64,
    pub(super) last_operation: &'static str,
    pub(super) last_xid: Option<i32>,
    pub(super) last_zxid: i64,
    /// When the last reply went out, since the server's start.
    pub(super) last_reply: Duration,
}

impl Ledger {
    pub(super) fn new(established_ms: i64) -> Ledger {
        Ledger {
            counters: Counters::default(),
            established_ms,
            last_operation: "NA",
            last_xid: None,
            last_zxid: 0,
            last_reply: Duration::ZERO,
        }
    }

    pub(super) fn answered(&mut self, arrived: Instant, now: Instant) {
        self.counters.answered(now.saturating_duration_since(arrived));
    }
}
