//! Which neighbouring segments are cleaned into one.
//!
//! Pure. As many as fit a segment and its indexes at their present sizes, and the range of relative offsets.

use std::ops::Range;

use crate::config::LogConfig;
use crate::segment::Segment;
use crate::types::Offset;

/// A segment as grouping sees it. Unit: bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) base: Offset,
    pub(crate) records: u64,
    pub(crate) offset_index: u64,
    pub(crate) time_index: u64,
}

impl Sizes {
    pub(crate) fn of(segment: &Segment) -> Sizes {
        let (offset_index, time_index) = segment.index_sizes();
        Sizes { base: segment.base, records: segment.size(), offset_index, time_index }
    }
}

/// Splits `segments`, which end before `end`, into groups of neighbours.
pub(crate) fn group(segments: &[Sizes], config: &LogConfig, end: Offset) -> Vec<Range<usize>> {
    let mut groups = Vec::new();
    let mut begin = 0;
    let mut total: Option<Sizes> = None;
    for (index, segment) in segments.iter().enumerate() {
        // Exclusive. The next segment's base says it without reading this one.
        let bound = segments.get(index + 1).map_or(end, |next| next.base);
        let joined = total.as_ref().map(|group| Sizes {
            base: group.base,
            records: group.records.saturating_add(segment.records),
            offset_index: group.offset_index.saturating_add(segment.offset_index),
            time_index: group.time_index.saturating_add(segment.time_index),
        });
        let fits = |joined: &Sizes| {
            joined.records <= u64::from(config.segment_bytes)
                && joined.offset_index <= u64::from(config.segment_index_bytes)
                && joined.time_index <= u64::from(config.segment_index_bytes)
                && (segment.records == 0
                    || bound.0.saturating_sub(1).saturating_sub(joined.base.0) <= i64::from(i32::MAX))
        };
        match joined.filter(fits) {
            Some(joined) => total = Some(joined),
            None => {
                if total.is_some() {
                    groups.push(begin..index);
                }
                (begin, total) = (index, Some(*segment));
            }
        }
    }
    if total.is_some() {
        groups.push(begin..segments.len());
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(base: i64, records: u64, index: u64) -> Sizes {
        Sizes { base: Offset(base), records, offset_index: index, time_index: index }
    }

    fn config() -> LogConfig {
        LogConfig { segment_bytes: 100, segment_index_bytes: 40, ..LogConfig::default() }
    }

    #[test]
    fn neighbours_join_until_segment_or_index_would_be_too_large() {
        let segments = [segment(0, 50, 8), segment(10, 50, 8), segment(20, 1, 8), segment(30, 1, 32)];
        assert_eq!(group(&segments, &config(), Offset(40)), [0..2, 2..4]);
        let segments = [segment(0, 1, 8), segment(10, 1, 33)];
        assert_eq!(group(&segments, &config(), Offset(40)), [0..1, 1..2]);
        let segments = [segment(0, 500, 80)];
        assert_eq!(group(&segments, &config(), Offset(40)), vec![0..1], "larger than allowed, but alone");
        assert_eq!(group(&[], &config(), Offset(40)), []);
    }

    #[test]
    fn a_group_never_spans_more_offsets_than_its_indexes_can_tell() {
        let far = i64::from(i32::MAX);
        let segments = [segment(0, 1, 8), segment(10, 1, 8), segment(far + 1, 1, 8)];
        assert_eq!(group(&segments, &config(), Offset(far + 2)), [0..2, 2..3]);
        assert_eq!(group(&segments[..2], &config(), Offset(far + 1)), vec![0..2]);
        assert_eq!(group(&segments[..2], &config(), Offset(far + 2)), [0..1, 1..2]);
        let segments = [segment(0, 1, 8), segment(far * 2, 0, 0)];
        assert_eq!(group(&segments, &config(), Offset(far * 3)), vec![0..2], "empty segments fit anywhere");
    }
}
