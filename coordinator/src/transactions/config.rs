//! The `transaction*` keys that the rules of transactions depend on.

/// Limits and intervals of transactions; the same for all of a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransactionConfig {
    /// `transaction.max.timeout.ms`. Unit: ms. Default: 900,000.
    pub timeout_max_ms: i32,
    /// `transaction.abort.timed.out.transaction.cleanup.interval.ms`. Unit: ms. Default: 10,000.
    pub abort_interval_ms: i64,
    /// `transactional.id.expiration.ms`. Unit: ms. Default: 7 days.
    pub id_expiration_ms: i64,
    /// `transaction.remove.expired.transaction.cleanup.interval.ms`. Unit: ms. Default: 3,600,000.
    pub expiration_interval_ms: i64,
}

impl TransactionConfig {
    /// Whether a producer may ask for this transaction timeout.
    pub fn allows_timeout(&self, timeout_ms: i32) -> bool {
        timeout_ms > 0 && timeout_ms <= self.timeout_max_ms
    }
}

impl Default for TransactionConfig {
    fn default() -> Self {
        TransactionConfig {
            timeout_max_ms: 900_000,
            abort_interval_ms: 10_000,
            id_expiration_ms: 7 * 24 * 60 * 60 * 1_000,
            expiration_interval_ms: 3_600_000,
        }
    }
}

/// Tombstones of one decision at most: keeps a batch well below `message.max.bytes`.
pub(super) const TOMBSTONES_MAX: usize = 1_000;
