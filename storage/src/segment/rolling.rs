//! When a segment has had enough, and the next one begins.

use super::{Segment, Walk};
use crate::config::LogConfig;
use crate::error::StorageError;
use crate::segment::files::Home;
use crate::types::{Offset, TimestampMs};

impl Segment {
    /// Whether a batch ending at `offset` can be found through this segment's indexes.
    pub(crate) fn can_hold(&self, offset: Offset) -> bool {
        (0..=i64::from(i32::MAX)).contains(&offset.0.wrapping_sub(self.base.0))
    }

    /// Whether the next append goes to a new segment. `size` is what is to be appended, in bytes.
    pub(crate) fn should_roll(
        &self,
        config: &LogConfig,
        size: u64,
        last: Offset,
        max_timestamp: TimestampMs,
        now: TimestampMs,
    ) -> Result<bool, StorageError> {
        let present = self.size();
        if present + size > u64::from(config.segment_bytes)
            || self.offsets.is_full()
            || self.times.is_full()
            || !self.can_hold(last)
        {
            return Ok(true);
        }
        if present == 0 {
            return Ok(false);
        }
        let waited = match self.first_timestamp()? {
            Some(first) if first.0 >= 0 => max_timestamp.0.saturating_sub(first.0),
            _ => now.0.saturating_sub(self.growth().created.0),
        };
        Ok(waited > config.segment_ms_max().saturating_sub(self.jitter_ms))
    }

    /// Of the first batch, what rolling by time counts from.
    pub(crate) fn first_timestamp(&self) -> Result<Option<TimestampMs>, StorageError> {
        if let Some(known) = self.growth().first_timestamp {
            return Ok(Some(known));
        }
        let (file, path) = (self.handle.file()?, self.path());
        let first = Walk::new(file.as_ref(), &path, 0, self.size()).next()?;
        let timestamp = first.map(|first| first.batch.max_timestamp());
        self.growth().first_timestamp = timestamp;
        Ok(timestamp)
    }
}

/// A number in `0..segment.jitter.ms` that differs between segments and stays the same across restarts.
pub(super) fn jitter(home: &Home, base: Offset, config: &LogConfig) -> i64 {
    let range = config.segment_jitter_ms.min(config.segment_ms);
    if range <= 0 {
        return 0;
    }
    let folder = home.folder();
    let name = folder.file_name().map(|name| name.as_encoded_bytes()).unwrap_or_default();
    // FNV-1a.
    let hash = name.iter().chain(&base.0.to_be_bytes()).fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    });
    i64::try_from(hash >> 1).unwrap_or(0) % range
}
