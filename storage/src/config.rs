//! The settings of one topic's logs, typed.
//!
//! Made by the broker from topic configuration over broker defaults; parsing and validation of the text are its
//! business. A log takes a new one at any time through [`crate::log::Log::update_config`].

/// `cleanup.policy`. At least one is set; both may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cleanup {
    pub delete: bool,
    pub compact: bool,
}

/// Settings of one topic, by the names of its topic configuration keys.
#[derive(Clone, Debug, PartialEq)]
pub struct LogConfig {
    /// Unit: bytes. Default: 1 GiB. Range: `14..=i32::MAX`.
    pub segment_bytes: u32,
    /// Unit: ms. Default: 7 days. Range: `1..`.
    pub segment_ms: i64,
    /// Unit: ms. Default: 0. Range: `0..`. How much earlier than `segment_ms` a segment may roll.
    pub segment_jitter_ms: i64,
    /// Unit: bytes. Default: 10 MiB. Range: `4..=i32::MAX`. Preallocated for each index of the active segment.
    pub segment_index_bytes: u32,
    /// Unit: bytes. Default: 4096. Range: `0..=i32::MAX`. Log bytes between two index entries.
    pub index_interval_bytes: u32,
    /// Unit: records. Default: `i64::MAX`. Range: `1..`.
    pub flush_messages: i64,
    /// Unit: ms. Default: `i64::MAX`. Range: `0..`.
    pub flush_ms: i64,
    /// Unit: bytes a partition. Default: none, which is -1 in the file.
    pub retention_bytes: Option<u64>,
    /// Unit: ms. Default: 7 days. None is -1 in the file: for ever.
    pub retention_ms: Option<i64>,
    /// Unit: ms. Default: 60_000. Range: `0..`.
    pub file_delete_delay_ms: i64,
    /// Default: delete.
    pub cleanup: Cleanup,
    /// Unit: ms. Default: 24 h. Range: `0..`. How long tombstones stay readable.
    pub delete_retention_ms: i64,
    /// Unit: ms. Default: 0. Range: `0..`.
    pub min_compaction_lag_ms: i64,
    /// Unit: ms. Default: `i64::MAX`. Range: `1..`.
    pub max_compaction_lag_ms: i64,
    /// Default: 0.5. Range: `0.0..=1.0`.
    pub min_cleanable_dirty_ratio: f64,
    /// Default: false. Whether `.log` files are created at full size.
    pub preallocate: bool,
}

impl LogConfig {
    /// How old a segment grows. The active one is not compacted, so where records must not wait longer for that, it may
    /// not stay active longer. Unit: ms.
    #[must_use]
    pub fn segment_ms_max(&self) -> i64 {
        if self.cleanup.compact && self.max_compaction_lag_ms > 0 {
            self.segment_ms.min(self.max_compaction_lag_ms)
        } else {
            self.segment_ms
        }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        const DAY_MS: i64 = 24 * 60 * 60 * 1000;
        LogConfig {
            segment_bytes: 1 << 30,
            segment_ms: 7 * DAY_MS,
            segment_jitter_ms: 0,
            segment_index_bytes: 10 << 20,
            index_interval_bytes: 4096,
            flush_messages: i64::MAX,
            flush_ms: i64::MAX,
            retention_bytes: None,
            retention_ms: Some(7 * DAY_MS),
            file_delete_delay_ms: 60_000,
            cleanup: Cleanup { delete: true, compact: false },
            delete_retention_ms: DAY_MS,
            min_compaction_lag_ms: 0,
            max_compaction_lag_ms: i64::MAX,
            min_cleanable_dirty_ratio: 0.5,
            preallocate: false,
        }
    }
}
