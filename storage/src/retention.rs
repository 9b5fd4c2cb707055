//! Which segments of a log have had their time.
//!
//! Pure: facts about the segments in, a number of segments from the front out. Only what lies below the high
//! watermark goes, and the last segment only with records in it.

use crate::config::LogConfig;
use crate::error::StorageError;
use crate::types::{Offset, TimestampMs};

/// Why segments go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// They lie below the log start, after `DeleteRecords`.
    LogStart,
    /// `retention.bytes`.
    Size,
    /// `retention.ms`.
    Time,
}

/// One segment, oldest first.
pub(crate) trait Aging {
    fn base(&self) -> Offset;
    /// Unit: bytes.
    fn size(&self) -> u64;
    /// Youngest record, or when the file was written where the records do not say.
    fn youngest(&self) -> Result<TimestampMs, StorageError>;
}

/// The partition as retention sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Position {
    pub(crate) start: Offset,
    pub(crate) high_watermark: Offset,
    pub(crate) end: Offset,
}

/// How many of the oldest segments `reason` allows to delete.
pub(crate) fn deletable<S: Aging>(
    segments: &[S],
    position: Position,
    config: &LogConfig,
    reason: Reason,
    now: TimestampMs,
) -> Result<usize, StorageError> {
    let applies = reason == Reason::LogStart || config.cleanup.delete;
    let total: u64 = segments.iter().map(Aging::size).sum();
    let mut surplus = match (reason, config.retention_bytes) {
        (Reason::Size, Some(limit)) if total >= limit => total - limit,
        (Reason::Size, _) => return Ok(0),
        _ => 0,
    };
    if !applies {
        return Ok(0);
    }
    for (count, segment) in segments.iter().enumerate() {
        let next = segments.get(count + 1).map(Aging::base);
        let expired = match reason {
            Reason::LogStart => next.is_some_and(|next| next <= position.start),
            Reason::Size if segment.size() <= surplus => {
                surplus -= segment.size();
                true
            }
            Reason::Size => false,
            Reason::Time => match config.retention_ms {
                Some(limit) => now.0.saturating_sub(segment.youngest()?.0) > limit,
                None => false,
            },
        };
        let replicated = position.high_watermark >= next.unwrap_or(position.end);
        let empty_active = next.is_none() && segment.size() == 0;
        if !expired || !replicated || empty_active {
            return Ok(count);
        }
    }
    Ok(segments.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Cleanup;

    struct Fake {
        base: i64,
        size: u64,
        youngest: i64,
    }

    impl Aging for Fake {
        fn base(&self) -> Offset {
            Offset(self.base)
        }

        fn size(&self) -> u64 {
            self.size
        }

        fn youngest(&self) -> Result<TimestampMs, StorageError> {
            Ok(TimestampMs(self.youngest))
        }
    }

    /// Three segments of 10 records and 100 bytes, written at 1000, 2000 and 3000 ms.
    fn three() -> Vec<Fake> {
        (0..3).map(|n| Fake { base: n * 10, size: 100, youngest: (n + 1) * 1000 }).collect()
    }

    fn count(reason: Reason, config: &LogConfig, start: i64, high_watermark: i64, now: i64) -> usize {
        let position =
            Position { start: Offset(start), high_watermark: Offset(high_watermark), end: Offset(30) };
        deletable(&three(), position, config, reason, TimestampMs(now)).expect("judged")
    }

    #[test]
    fn old_segments_go_by_time_but_not_above_the_high_watermark() {
        let config = LogConfig { retention_ms: Some(500), ..LogConfig::default() };
        assert_eq!(count(Reason::Time, &config, 0, 30, 1500), 0);
        assert_eq!(count(Reason::Time, &config, 0, 30, 2501), 2);
        assert_eq!(count(Reason::Time, &config, 0, 30, 9999), 3);
        assert_eq!(count(Reason::Time, &config, 0, 29, 9999), 2);
        assert_eq!(count(Reason::Time, &config, 0, 9, 9999), 0);
    }

    #[test]
    fn retention_by_size_keeps_at_least_that_much() {
        let config = LogConfig { retention_bytes: Some(150), ..LogConfig::default() };
        assert_eq!(count(Reason::Size, &config, 0, 30, 0), 1);
        let config = LogConfig { retention_bytes: Some(100), ..LogConfig::default() };
        assert_eq!(count(Reason::Size, &config, 0, 30, 0), 2);
        assert_eq!(count(Reason::Size, &LogConfig::default(), 0, 30, 0), 0);
    }

    #[test]
    fn segments_below_the_log_start_go_even_from_compacted_topics() {
        let cleanup = Cleanup { delete: false, compact: true };
        let config = LogConfig { cleanup, retention_ms: Some(1), ..LogConfig::default() };
        assert_eq!(count(Reason::LogStart, &config, 20, 30, 0), 2);
        assert_eq!(count(Reason::LogStart, &config, 19, 30, 0), 1);
        assert_eq!(count(Reason::Time, &config, 20, 30, 9999), 0);
    }
}
