//! After a kill of our own process: what was written is there, so only what it was about to write is looked at.
//!
//! Work is bounded for each log, whatever its size: the last batches of the last segment, which its indexes on disk do
//! not know yet, and the batches behind the last producer snapshot. That this is enough rests on three habits: a
//! segment gets its final form before the next one begins; the time index is written before the offset index; and
//! a snapshot is taken every few MiB ([`crate::log`]).

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Loading;
use crate::batch::BatchView;
use crate::epochs::LeaderEpochs;
use crate::error::StorageError;
use crate::segment::{CheckedWalk, Segment, Step};
use crate::types::Offset;

impl Loading<'_> {
    /// Adds to `damaged` the closed segments behind the recovery point whose indexes do not have their final form:
    /// somebody was at them when he was killed.
    pub(super) fn find_unfinished(
        &self,
        segments: &[Arc<Segment>],
        damaged: &mut BTreeSet<Offset>,
    ) -> Result<(), StorageError> {
        let unflushed = self.first_unflushed(segments);
        let first = segments.partition_point(|segment| segment.base < unflushed);
        let closed = segments.len().saturating_sub(1);
        for segment in segments.get(first..closed).unwrap_or_default() {
            if !damaged.contains(&segment.base) && !segment.has_final_indexes(self.config)? {
                damaged.insert(segment.base);
            }
        }
        Ok(())
    }

    /// Checks the end of the last segment, cuts off what is not a whole batch and completes the indexes.
    pub(super) fn check_tail(
        &self,
        segments: &[Arc<Segment>],
        epochs: &mut LeaderEpochs,
    ) -> Result<(), StorageError> {
        let Some(active) = segments.last() else { return Ok(()) };
        let known = active.rewind_indexes(self.config)?;
        if self.check_from(active, known, epochs)? {
            return Ok(());
        }
        tracing::warn!(segment = %active.path().display(), "its index leads to no batch; checking all of it");
        self.recover_segment(active, segments, epochs)?;
        Ok(())
    }

    /// Checks the batches from the one at `position`, which the indexes know and which ends at `last` or before.
    /// Yields false where that one is not there.
    fn check_from(
        &self,
        segment: &Segment,
        (position, last): (u64, Offset),
        epochs: &mut LeaderEpochs,
    ) -> Result<bool, StorageError> {
        let (file, path, size) = (segment.file()?, segment.path(), segment.size());
        let mut walk = CheckedWalk::new(file.as_ref(), &path, position, size);
        let mut previous = Offset(segment.base.0 - 1);
        let mut epochs_changed = false;
        loop {
            let good = walk.position();
            let reason = match walk.next()? {
                Step::End => break,
                Step::Bad(reason) => reason,
                Step::Batch(located, _) => {
                    let end = located.batch.last_offset();
                    let known = position > 0 && located.position == position;
                    if known && (end > last || end < segment.base) {
                        return Ok(false);
                    }
                    if end > previous && segment.can_hold(end) {
                        segment.note_again(&located, last, self.config)?;
                        self.store.count_checked(located.size);
                        previous = end;
                        if let BatchView::V2(header) = &located.batch {
                            epochs_changed |=
                                epochs.latest().is_none_or(|latest| header.leader_epoch > latest.epoch)
                                    && epochs.note(header.leader_epoch, header.base_offset);
                        }
                        continue;
                    }
                    format!("offset {end} follows {previous}")
                }
            };
            if good == position && position > 0 {
                return Ok(false);
            }
            tracing::warn!(path = %path.display(), position = good, cut = size - good, reason, "the log ends here: what was being written when the broker was killed is cut off");
            segment.cut(good)?;
            break;
        }
        segment.trust_from(position);
        if epochs_changed {
            epochs.write_or_keep(self.home.disk.as_ref())?;
        }
        Ok(true)
    }
}
