//! Bringing producers to the state they had at some place of the log, from a snapshot and the batches behind it.

use std::sync::Arc;

use bytes::Bytes;

use super::unless_full;
use crate::batch::EndTransaction;
use crate::error::StorageError;
use crate::index::AbortedTransaction;
use crate::producers::{Incoming, Producers, marker};
use crate::segment::files::Home;
use crate::segment::{Located, Segment, Walk};
use crate::types::{Offset, TimestampMs};

/// Takes one batch of the log over into the producers; an aborted transaction it completes is yielded.
pub(super) fn replay(
    producers: &mut Producers,
    located: &Located,
    control: impl FnOnce() -> Result<Option<Bytes>, StorageError>,
) -> Result<Option<AbortedTransaction>, StorageError> {
    let mut aborted = None;
    if let Some(stamp) = located.batch.producer() {
        let is_control = located.batch.is_control();
        let incoming = Incoming {
            stamp,
            first: located.batch.first_or_last_offset(),
            last: located.batch.last_offset(),
            max_timestamp: located.batch.max_timestamp(),
            is_transactional: located.batch.is_transactional(),
            is_control,
            marker: if is_control { control()?.as_ref().and_then(marker) } else { None },
        };
        aborted = accept(producers, &incoming);
    }
    producers.advance_to(located.batch.next_offset());
    Ok(aborted)
}

/// Takes over a batch that a leader has accepted; such a batch is never refused.
pub(crate) fn accept(producers: &mut Producers, incoming: &Incoming) -> Option<AbortedTransaction> {
    let update = match producers.prepare(incoming, None) {
        Ok(update) => update,
        Err(error) => {
            tracing::warn!(%error, "ignoring the producer state of a batch in the log");
            return None;
        }
    };
    producers.apply(&update);
    let completed = update.completed?;
    let last_stable = producers.last_stable_after(&completed);
    producers.complete(&completed);
    (completed.end == EndTransaction::Abort).then_some(AbortedTransaction {
        producer: completed.producer,
        first: completed.first,
        last: completed.last,
        last_stable,
    })
}

/// How producers are brought to the state they had somewhere in the log.
pub(crate) struct Replay<'a> {
    pub(crate) home: &'a Home,
    /// Start of the log.
    pub(crate) start: Offset,
    /// The log was closed in order. Without any snapshot there were no producers worth remembering then; empty
    /// snapshots say so.
    pub(crate) clean: bool,
    /// What is known at the end is written down and reaches the disk. Not after a kill: what was quickly replayed now
    /// is as quickly replayed again.
    pub(crate) sync: bool,
    pub(crate) now: TimestampMs,
}

impl Replay<'_> {
    /// Brings the producers to the state they had at `end`, from the last snapshot and the records behind it.
    pub(crate) fn rebuild(
        &self,
        producers: &mut Producers,
        segments: &[Arc<Segment>],
        end: Offset,
    ) -> Result<(), StorageError> {
        let (disk, folder) = (self.home.disk.as_ref(), self.home.folder());
        let mut snapshots: Vec<Offset> = segments.iter().rev().take(2).map(|segment| segment.base).collect();
        snapshots.reverse();
        if self.clean && producers.latest_snapshot().is_none() {
            for offset in snapshots.into_iter().chain([end]) {
                producers.advance_to(offset);
                unless_full(producers.take_snapshot(disk, &folder, self.sync).map(drop))?;
            }
            return Ok(());
        }
        let nothing_to_lose = producers.is_empty() && producers.end() >= end;
        producers.reload(disk, &folder, self.start, end, self.now)?;
        if end > producers.end() && !nothing_to_lose {
            let from = producers.end();
            let first = segments.partition_point(|segment| segment.base <= from).saturating_sub(1);
            for segment in segments.iter().skip(first).filter(|segment| segment.base < end) {
                let from = segment.base.max(producers.end()).max(self.start);
                producers.advance_to(from);
                if snapshots.contains(&segment.base) {
                    unless_full(producers.take_snapshot(disk, &folder, self.sync).map(drop))?;
                }
                replay_segment(segment, producers, from, end)?;
            }
        }
        producers.advance_to(end);
        if self.sync {
            unless_full(producers.take_snapshot(disk, &folder, true).map(drop))?;
        }
        Ok(())
    }
}

/// A kill may have come between an abort and its entry in the transaction index; such an entry is added.
fn replay_segment(
    segment: &Segment,
    producers: &mut Producers,
    from: Offset,
    end: Offset,
) -> Result<(), StorageError> {
    let size = segment.size();
    let Some(first) = segment.locate(from, size)? else { return Ok(()) };
    let (file, path) = (segment.file()?, segment.path());
    let mut walk = Walk::new(file.as_ref(), &path, first.position, size);
    while let Some(located) = walk.next()? {
        if located.batch.last_offset() >= end {
            break;
        }
        if let Some(aborted) = replay(producers, &located, || segment.entry(&located).map(Some))? {
            segment.add_aborted_once(aborted)?;
        }
    }
    Ok(())
}
