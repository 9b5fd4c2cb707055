//! Appending, as the leader that assigns offsets or as a follower that takes what it is given.

use std::io::IoSlice;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use bytes::{Bytes, BytesMut};

use super::{Boundary, Log};
use crate::batch::{
    Assigned, BatchView, EndTransaction, HEADER_SIZE, Located, Origin, Prepared, TimestampType, headers,
};
use crate::error::{AppendError, StorageError};
use crate::index::AbortedTransaction;
use crate::producers::{Incoming, Update, VerificationGuard, marker};
use crate::recovery::accept;
use crate::segment::{BatchFacts, Segment};
use crate::types::{LeaderEpoch, Offset, TimestampMs};

/// Records between two producer snapshots of a segment that grows. Unit: bytes. Where producers are many, their
/// snapshots are further apart, so that they stay a small part of what is written.
const SNAPSHOT_DISTANCE: u64 = 4 << 20;

/// Twice the time after which a producer repeats what was not answered (`request.timeout.ms`).
const SNAPSHOT_AGE_MS: i64 = 60_000;

/// How a leader appends.
#[derive(Clone, Copy, Debug)]
pub struct LeaderAppend {
    pub origin: Origin,
    /// Stamped into the batch.
    pub epoch: LeaderEpoch,
    /// See [`Log::start_verification`].
    pub verification: VerificationGuard,
    pub now: TimestampMs,
}

/// What an append did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    pub first: Offset,
    /// Inclusive.
    pub last: Offset,
    /// Where the broker set the timestamps, or where a repeated batch had one.
    pub append_time: Option<TimestampMs>,
    pub log_start: Offset,
    /// The batch was there already; the offsets are those of the first time.
    pub duplicate: bool,
    /// A new segment was begun: flushing the old one is due, see [`Log::flush_inactive`].
    pub rolled: bool,
}

/// What rolling depends on, for the batches of one append.
#[derive(Clone, Copy, Debug)]
struct Extent {
    first: Offset,
    last: Offset,
    max_timestamp: TimestampMs,
    /// Unit: bytes.
    size: u64,
}

impl Log {
    /// Gives `batch` the next offsets and appends it.
    ///
    /// A batch that its idempotent producer repeats is not appended again but answered like the first time. On `Err`
    /// the log is unchanged, except that it may have begun a new segment.
    pub fn append_as_leader(&mut self, batch: Prepared, how: LeaderAppend) -> Result<Appended, AppendError> {
        self.check_writable()?;
        let stamp = batch.producer();
        if let (Some(stamp), Origin::Client { .. }) = (&stamp, how.origin)
            && let Some(first_time) = self.producers.duplicate_of(stamp)
        {
            return Ok(Appended {
                first: first_time.first_offset(),
                last: first_time.last_offset,
                append_time: Some(first_time.timestamp),
                log_start: self.start(),
                duplicate: true,
                rolled: false,
            });
        }
        let assigned = batch.assign(self.end(), how.epoch, how.now);
        let extent = Extent {
            first: assigned.base_offset(),
            last: assigned.last_offset(),
            max_timestamp: assigned.max_timestamp(),
            size: assigned.size_in_bytes() as u64,
        };
        let limit = self.config.segment_bytes;
        if extent.size > u64::from(limit) {
            return Err(AppendError::LargerThanSegment { size: extent.size, limit });
        }
        let update = self.judge(&assigned, how)?;
        let (segment, rolled) = self.segment_for(&extent, how.now)?;
        self.epochs.assign(self.store.disk().as_ref(), how.epoch, extent.first)?;

        let header = assigned.encode_header();
        let facts = BatchFacts { size: extent.size, last: extent.last, max_timestamp: extent.max_timestamp };
        let mut slices = [IoSlice::new(&header), IoSlice::new(assigned.body())];
        segment.append(&mut slices, std::iter::once(facts), &self.config)?;
        self.advance(&segment, extent.last.next());

        if let Some(update) = update {
            self.producers.apply(&update);
            self.complete(&segment, &update)?;
        }
        self.settle(&extent, how.now)?;
        let by_broker = assigned.header().timestamp_type() == TimestampType::LogAppendTime;
        Ok(Appended {
            first: extent.first,
            last: extent.last,
            append_time: by_broker.then_some(how.now),
            log_start: self.start(),
            duplicate: false,
            rolled,
        })
    }

    /// What the batch means for its producer, or why it is refused.
    fn judge(&self, assigned: &Assigned, how: LeaderAppend) -> Result<Option<Update>, AppendError> {
        let Some(stamp) = assigned.producer() else { return Ok(None) };
        let header = assigned.header();
        let incoming = Incoming {
            stamp,
            first: assigned.base_offset(),
            last: assigned.last_offset(),
            max_timestamp: assigned.max_timestamp(),
            is_transactional: header.is_transactional(),
            is_control: header.is_control(),
            marker: if header.is_control() { marker(&whole(assigned)) } else { None },
        };
        self.producers.check_verified(&incoming, how.origin, how.verification)?;
        self.producers.prepare(&incoming, Some(how.origin)).map(Some)
    }

    fn complete(&mut self, segment: &Segment, update: &Update) -> Result<(), StorageError> {
        let Some(completed) = update.completed else { return Ok(()) };
        if completed.end == EndTransaction::Abort {
            segment.add_aborted(AbortedTransaction {
                producer: completed.producer,
                first: completed.first,
                last: completed.last,
                last_stable: self.producers.last_stable_after(&completed),
            })?;
        }
        self.producers.complete(&completed);
        Ok(())
    }

    /// Appends what a leader has sent. Offsets are taken as they are, checksums and order are checked.
    ///
    /// Ends at the first batch of an epoch above `epoch`, the one the fetch was made in, and at a batch that is cut
    /// off. `None`: there was nothing to append. On `Err` nothing of the last group of batches was appended; a
    /// group is what fits a segment.
    pub fn append_as_follower(
        &mut self,
        records: &Bytes,
        epoch: LeaderEpoch,
        now: TimestampMs,
    ) -> Result<Option<Appended>, AppendError> {
        self.check_writable()?;
        let batches = check_replicated(records, epoch, self.end())?;
        let mut appended: Option<Appended> = None;
        let mut rest = batches.as_slice();
        while !rest.is_empty() {
            let (group, later) = rest.split_at(self.group(rest));
            let this = self.append_group(records, group, now)?;
            appended = Some(match appended {
                Some(before) => {
                    Appended { first: before.first, rolled: before.rolled || this.rolled, ..this }
                }
                None => this,
            });
            rest = later;
        }
        Ok(appended)
    }

    /// How many of `batches` fit one segment, at least one.
    fn group(&self, batches: &[Located]) -> usize {
        let mut size = 0;
        let Some(first) = batches.first().map(|first| first.batch.first_or_last_offset()) else { return 0 };
        let fits = |located: &&Located| {
            size += located.size as u64;
            size <= u64::from(self.config.segment_bytes)
                && located.batch.last_offset().0.wrapping_sub(first.0) <= i64::from(i32::MAX)
        };
        batches.iter().take_while(fits).count().max(1)
    }

    fn append_group(
        &mut self,
        records: &Bytes,
        group: &[Located],
        now: TimestampMs,
    ) -> Result<Appended, AppendError> {
        let (Some(begin), Some(end)) = (group.first(), group.last()) else {
            unreachable!("a group has at least one batch")
        };
        let bytes = records.get(begin.position..end.position + end.size).unwrap_or_default();
        let extent = Extent {
            // Where only the last offset is known, the segment is named so that its indexes can still reach it.
            first: begin
                .batch
                .base_offset()
                .unwrap_or(Offset(end.batch.last_offset().0.saturating_sub(i64::from(i32::MAX)))),
            last: end.batch.last_offset(),
            max_timestamp: group
                .iter()
                .map(|located| located.batch.max_timestamp())
                .max()
                .unwrap_or(TimestampMs::NONE),
            size: bytes.len() as u64,
        };
        let (segment, rolled) = self.segment_for(&extent, now)?;
        for located in group {
            self.note_epoch(&located.batch)?;
        }
        let facts = group.iter().map(|located| BatchFacts {
            size: located.size as u64,
            last: located.batch.last_offset(),
            max_timestamp: located.batch.max_timestamp(),
        });
        segment.append(&mut [IoSlice::new(bytes)], facts, &self.config)?;
        self.advance(&segment, extent.last.next());

        for located in group {
            let Some(stamp) = located.batch.producer() else { continue };
            let is_control = located.batch.is_control();
            let entry = || records.slice(located.position..located.position + located.size);
            let incoming = Incoming {
                stamp,
                first: located.batch.first_or_last_offset(),
                last: located.batch.last_offset(),
                max_timestamp: located.batch.max_timestamp(),
                is_transactional: located.batch.is_transactional(),
                is_control,
                marker: if is_control { marker(&entry()) } else { None },
            };
            if let Some(aborted) = accept(&mut self.producers, &incoming) {
                segment.add_aborted(aborted)?;
            }
        }
        self.settle(&extent, now)?;
        Ok(Appended {
            first: begin.batch.first_or_last_offset(),
            last: extent.last,
            append_time: None,
            log_start: self.start(),
            duplicate: false,
            rolled,
        })
    }

    /// Old formats know no epochs; a log that gets them again must not believe in those it had.
    fn note_epoch(&mut self, batch: &BatchView) -> Result<(), StorageError> {
        match batch {
            BatchView::V2(header) => {
                self.epochs.assign(self.store.disk().as_ref(), header.leader_epoch, header.base_offset)
            }
            BatchView::Legacy(_) if self.epochs.clear() => {
                tracing::warn!(partition = %self.partition, "forgetting leader epochs after batches in an old format");
                self.epochs.write(self.store.disk().as_ref())
            }
            BatchView::Legacy(_) => Ok(()),
        }
    }

    /// The segment the append goes to, and whether it is new.
    fn segment_for(
        &mut self,
        extent: &Extent,
        now: TimestampMs,
    ) -> Result<(Arc<Segment>, bool), StorageError> {
        let active = self.active();
        if !active.should_roll(&self.config, extent.size, extent.last, extent.max_timestamp, now)? {
            return Ok((active, false));
        }
        self.roll_to(extent.first, now)?;
        Ok((self.active(), true))
    }

    /// Bounds what has to be replayed after a kill: the snapshots of Kafka, at the start of each segment, would let a
    /// whole segment be read again. Called with every append, and now and then without one.
    ///
    /// A snapshot knows the last batch of each producer only, and those that are on their way when the broker is killed
    /// may be repeated from further back. So it is written when it has become old.
    pub fn pass_snapshot(&mut self, now: TimestampMs) {
        if self.producers.is_captured_before(TimestampMs(now.0.saturating_sub(SNAPSHOT_AGE_MS))) {
            let disk = self.store.disk().clone();
            if let Err(error) = self.producers.write_captured(disk.as_ref(), &self.folder()) {
                tracing::debug!(%error, "no producer snapshot now");
            }
        }
        if self.since_snapshot >= SNAPSHOT_DISTANCE.max(self.producers.snapshot_bytes() * 64) {
            self.since_snapshot = 0;
            self.producers.capture(now);
        }
    }

    /// Begins a new segment at the end of the log.
    pub fn roll(&mut self, now: TimestampMs) -> Result<(), StorageError> {
        self.check_writable()?;
        self.roll_to(Offset::ZERO, now)
    }

    /// Begins a new segment at `expected`, or at the end where that is later. On `Err` the old one is still active.
    pub(super) fn roll_to(&mut self, expected: Offset, now: TimestampMs) -> Result<(), StorageError> {
        let end = self.end();
        let base = expected.max(end);
        let active = self.active();
        let disk = self.store.disk().clone();
        let empty = active.base == base;
        if !empty {
            active.finish()?;
            self.producers.advance_to(base);
            self.producers.take_snapshot(disk.as_ref(), &self.folder(), false)?;
            self.producers.keep_snapshot(base);
            self.since_snapshot = 0;
        }
        let segment = Segment::create(&self.store, &self.shared.home, base, &self.config, now)?;
        let mut segments = self.shared.segments.write().unwrap_or_else(PoisonError::into_inner);
        if empty {
            // Without records it has nothing to keep; its files were made anew.
            segments.pop();
        }
        segments.push(Arc::new(segment));
        drop(segments);
        self.shared.tail().reset(Boundary { offset: end, segment: base, position: 0 });
        Ok(())
    }

    /// Shows the new end to readers.
    fn advance(&self, segment: &Segment, end: Offset) {
        let boundary = Boundary { offset: end, segment: segment.base, position: segment.size() };
        self.shared.tail().advance(boundary);
    }

    fn settle(&mut self, appended: &Extent, now: TimestampMs) -> Result<(), StorageError> {
        let end = appended.last.next();
        self.producers.advance_to(end);
        self.publish_first_unstable();
        self.since_snapshot += appended.size;
        self.pass_snapshot(now);
        let unflushed = end.0 - self.shared.recovery_point.load(Ordering::Acquire);
        if unflushed >= self.config.flush_messages {
            match self.flush().run() {
                // The records are on the disk, only their indexes are not.
                Err(error) if error.is_out_of_space() && !error.is_failed_sync() => {}
                other => other?,
            }
        }
        Ok(())
    }
}

/// Header and body in one piece; control batches are small.
fn whole(assigned: &Assigned) -> Bytes {
    let mut bytes = BytesMut::with_capacity(HEADER_SIZE + assigned.body().len());
    bytes.extend_from_slice(&assigned.encode_header());
    bytes.extend_from_slice(assigned.body());
    bytes.freeze()
}

/// The batches of `records` that a follower may append behind `end`.
fn check_replicated(records: &Bytes, epoch: LeaderEpoch, end: Offset) -> Result<Vec<Located>, AppendError> {
    let mut batches: Vec<Located> = Vec::new();
    let mut walk = headers(records);
    while let Some(next) = walk.next() {
        let position = walk.position();
        let corrupt =
            |error: crate::batch::BatchError| AppendError::Corrupt { position, reason: error.to_string() };
        let located = next.map_err(corrupt)?;
        if located.batch.leader_epoch() > epoch {
            tracing::info!(batch_epoch = %located.batch.leader_epoch(), %epoch, "leaving out batches of a later leader epoch");
            break;
        }
        located.batch.check_crc(walk.bytes_of(&located)).map_err(corrupt)?;
        let last = located.batch.last_offset();
        match batches.last() {
            Some(previous) if last <= previous.batch.last_offset() => {
                return Err(AppendError::OffsetsOutOfOrder { previous: previous.batch.last_offset(), last });
            }
            None if located.batch.first_or_last_offset() < end => {
                let first = located.batch.first_or_last_offset();
                return Err(AppendError::UnexpectedOffset { first, last, next: end });
            }
            _ => batches.push(located),
        }
    }
    Ok(batches)
}
