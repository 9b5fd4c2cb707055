//! A disk that fails once, at each operation of a truncation: what is there afterwards, and that it can be done again.

use std::sync::Arc;

use super::support::*;
use crate::batch::{BatchOptions, EndTransaction};
use crate::directory::LastStop;
use crate::disk::faulty::{FaultyDisk, Operation};
use crate::error::{AppendError, StorageError};
use crate::log::Log;
use crate::types::{LeaderEpoch, Offset};

const OPERATIONS: [Operation; 9] = [
    Operation::Open,
    Operation::Read,
    Operation::Write,
    Operation::SetLength,
    Operation::Sync,
    Operation::SyncDirectory,
    Operation::Rename,
    Operation::Remove,
    Operation::Map,
];

/// Batches of the log before it is cut, one record each.
const BATCHES: i64 = 18;
/// The id of the producer whose batches stand beside those of a transactional one.
const STEADY: i64 = 7;

#[derive(Clone, Copy, Debug)]
enum Cut {
    To(i64),
    FullyTo(i64),
}

impl Cut {
    fn make(self, log: &mut Log) -> Result<(), StorageError> {
        match self {
            Cut::To(end) => log.truncate_to(Offset(end), NOW).map(drop),
            Cut::FullyTo(start) => log.truncate_fully_and_start_at(Offset(start), None, NOW),
        }
    }

    fn end(self) -> i64 {
        match self {
            Cut::To(end) | Cut::FullyTo(end) => end,
        }
    }

    /// How many of the batches that were there are to be there still.
    fn kept(self) -> i64 {
        match self {
            Cut::To(end) => end,
            Cut::FullyTo(_) => 0,
        }
    }
}

/// Who wrote the batch at this offset: of six, four are of a steady producer, and two are a transaction that is aborted.
enum Author {
    Steady,
    Transactional,
    Marker,
}

fn author(offset: i64) -> Author {
    match offset % 6 {
        2 => Author::Transactional,
        4 => Author::Marker,
        _ => Author::Steady,
    }
}

/// Batches of the steady producer below `end`: the sequence number that it uses next.
fn steady_below(end: i64) -> i32 {
    (0..end).filter(|offset| matches!(author(*offset), Author::Steady)).count() as i32
}

fn leader_epoch(offset: i64) -> LeaderEpoch {
    LeaderEpoch((offset / 5) as i32)
}

fn fill(log: &mut Log) {
    for offset in 0..BATCHES {
        let value = format!("value {offset}");
        let transactions = (offset / 6) as i32;
        let (bytes, origin) = match author(offset) {
            Author::Steady => {
                let steady = options(producer(STEADY, 0, steady_below(offset)));
                (batch_at(steady, NOW.0 + offset, &[&value]), CLIENT)
            }
            Author::Transactional => {
                let options =
                    BatchOptions { is_transactional: true, ..options(producer(STEADY + 1, 0, transactions)) };
                (batch_at(options, NOW.0 + offset, &[&value]), CLIENT)
            }
            Author::Marker => {
                let marker = marker_batch(producer(STEADY + 1, 0, -1), EndTransaction::Abort, 0);
                (marker, crate::batch::Origin::Coordinator)
            }
        };
        let lead = lead(leader_epoch(offset).0, origin);
        let appended = log.append_as_leader(prepared(bytes, origin), lead).expect("appended");
        assert_eq!(appended.first, Offset(offset));
    }
}

/// That the log is what the cut asked for, goes on from there, and is the same after a stop.
fn check_cut(cut: Cut, place: &Place, mut log: Log, before: &[(i64, String)], case: &str) {
    let (end, kept) = (cut.end(), &before[..cut.kept() as usize]);
    assert_eq!(log.end(), Offset(end), "{case}");
    assert_eq!(contents(&log, log.start().0), kept, "{case}");
    let epoch = (!kept.is_empty()).then(|| leader_epoch(end - 1));
    assert_eq!(log.latest_epoch(), epoch, "{case}");
    log.set_high_watermark(log.end());
    let open = (0..cut.kept()).rev().find(|offset| !matches!(author(*offset), Author::Steady));
    let open = open.filter(|offset| matches!(author(*offset), Author::Transactional));
    assert_eq!(log.last_stable(), Offset(open.unwrap_or(end)), "{case}");

    let next = options(producer(STEADY, 0, steady_below(cut.kept())));
    let lead = lead(leader_epoch(BATCHES).0 + 1, CLIENT);
    let appended = log.append_as_leader(prepared(batch_at(next, NOW.0, &["other"]), CLIENT), lead);
    let appended = appended.unwrap_or_else(|error| panic!("{case}: {error}"));
    assert_eq!((appended.first, appended.duplicate), (Offset(end), false), "{case}");
    let after = contents(&log, log.start().0);
    log.close().unwrap_or_else(|error| panic!("{case}: {error}"));
    let log = place.open(LastStop::Clean);
    assert_eq!(contents(&log, log.start().0), after, "{case}");
}

/// That only records of before are there, without a hole, and none is missing that was to be kept.
fn check_remains(cut: Cut, log: &Log, before: &[(i64, String)], case: &str) {
    let found = contents(log, log.start().0);
    let first = found.first().map_or(0, |(offset, _)| *offset as usize);
    assert!(found[..] == before[first..first + found.len()], "{case}: {found:?}");
    if let Cut::To(end) = cut {
        assert!(first == 0 && found.len() as i64 >= end, "{case}: {found:?}");
    }
    // An empty log may know who wrote what lay before it, as one does whose segments have had their time.
    let last = leader_epoch(log.end().0.clamp(1, BATCHES) - 1);
    match log.latest_epoch() {
        None => assert!(found.is_empty(), "{case}"),
        Some(epoch) => assert_eq!((epoch, log.end() > Offset::ZERO), (last, true), "{case}"),
    }
}

/// Nobody is shown a broken batch, or one at another place, by a log that was only half cut.
fn check_readers(log: &Log, case: &str) {
    for offset in 0..BATCHES {
        let Ok(slice) = log.reader().read(Offset(offset), 1, log.end(), true) else { continue };
        for located in crate::batch::headers(slice.records.bytes()) {
            let batch = located.unwrap_or_else(|error| panic!("{case}: {error}")).batch;
            assert_eq!(batch.last_offset(), Offset(offset), "{case}");
        }
    }
}

/// Makes the cut with one operation that fails. Yields whether the cut came so far.
fn cut_with_a_fault(cut: Cut, operation: Operation, after: usize, errno: i32, stop: LastStop) -> bool {
    let case = format!("{cut:?}, {operation:?} {after} fails with {errno}, then {stop:?}");
    let disk = FaultyDisk::new();
    let place = Place::on(Arc::new(disk.clone()), small_segments(300));
    let mut log = place.open(LastStop::Clean);
    fill(&mut log);
    let before = contents(&log, 0);
    assert!(log.segment_count() > 3);

    disk.fail_once(operation, "", after, errno);
    let done = cut.make(&mut log);
    let reached = disk.is_spent();
    disk.heal();
    if done.is_ok() {
        check_cut(cut, &place, log, &before, &case);
        return reached;
    }
    assert!(reached, "{case}: {done:?}");
    check_readers(&log, &case);
    let refused = append(&mut log, batch_at(options(NOBODY), NOW.0, &["x"]));
    assert!(
        matches!(refused, Err(AppendError::Storage(StorageError::Poisoned { .. }))),
        "{case}: {refused:?}"
    );
    drop(log);

    let mut log = place.try_open(stop).unwrap_or_else(|error| panic!("{case}: {error}"));
    check_remains(cut, &log, &before, &case);
    cut.make(&mut log).unwrap_or_else(|error| panic!("{case}: again: {error}"));
    check_cut(cut, &place, log, &before, &case);
    true
}

/// What a disk answers, to operations that need no room only that it is broken.
fn answers(operation: Operation) -> &'static [i32] {
    match operation {
        Operation::Open | Operation::Write | Operation::SetLength | Operation::Rename => {
            &[libc::EIO, libc::ENOSPC]
        }
        _ => &[libc::EIO],
    }
}

/// In a short run each fault is followed by one of the two stops, in turn.
fn fail_each_operation_of(cuts: &[Cut]) {
    for &cut in cuts {
        let mut faults = 0;
        for operation in OPERATIONS {
            for (turn, errno) in answers(operation).iter().enumerate() {
                for after in 0.. {
                    let stops = [LastStop::Killed, LastStop::Unclean];
                    let first = (after + turn) % stops.len();
                    let stops = if soak() { &stops[..] } else { &stops[first..=first] };
                    let mut reached =
                        stops.iter().map(|stop| cut_with_a_fault(cut, operation, after, *errno, *stop));
                    if !reached.all(|reached| reached) {
                        break;
                    }
                    faults += 1;
                }
            }
        }
        assert!(faults > 20, "{cut:?}: only {faults} faults");
    }
}

#[test]
fn a_truncation_that_fails_at_any_operation_keeps_what_it_was_to_keep_and_can_be_done_again() {
    fail_each_operation_of(&[Cut::To(0), Cut::To(10), Cut::To(BATCHES - 1)]);
}

#[test]
fn a_full_truncation_that_fails_at_any_operation_leaves_no_hole_and_can_be_done_again() {
    fail_each_operation_of(&[Cut::FullyTo(0), Cut::FullyTo(9), Cut::FullyTo(1000)]);
}
