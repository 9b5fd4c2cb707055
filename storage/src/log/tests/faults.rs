//! Full disks, torn writes, failed syncs.

use std::sync::Arc;

use super::support::*;
use crate::config::LogConfig;
use crate::directory::LastStop;
use crate::disk::faulty::{FaultyDisk, Operation};
use crate::error::{AppendError, StorageError};
use crate::log::Log;
use crate::types::{Offset, TimestampMs};

fn faulty(config: LogConfig) -> (FaultyDisk, Place) {
    let disk = FaultyDisk::new();
    let place = Place::on(Arc::new(disk.clone()), config);
    (disk, place)
}

fn try_put(log: &mut Log, value: &str) -> Result<i64, AppendError> {
    append(log, batch_at(options(NOBODY), NOW.0, &[value])).map(|appended| appended.first.0)
}

fn is_out_of_space(error: &AppendError) -> bool {
    matches!(error, AppendError::Storage(error) if error.is_out_of_space())
}

#[test]
fn a_full_disk_is_an_ordinary_error_and_passes_when_space_is_back() {
    let (disk, place) = faulty(LogConfig::default());
    let mut log = place.open(LastStop::Clean);
    put(&mut log, &["before"]);
    let size = log.reader().size();

    for torn_at in [0, 1, 30, 60, 61, 70] {
        disk.tear_write(".log", torn_at, libc::ENOSPC);
        let refused = try_put(&mut log, "lost").expect_err("no space");
        assert!(is_out_of_space(&refused), "{refused}");
        assert_eq!(log.end(), Offset(1));
        assert_eq!(log.reader().size(), size);
        assert_eq!(std::fs::metadata(place.file("00000000000000000000.log")).expect("a file").len(), size);
    }

    assert_eq!(try_put(&mut log, "after").expect("space is back"), 1);
    assert_eq!(values(&log), ["before", "after"]);
}

#[test]
fn what_a_torn_write_left_is_gone_before_the_next_append_even_if_cutting_failed() {
    let (disk, place) = faulty(LogConfig::default());
    let mut log = place.open(LastStop::Clean);
    put(&mut log, &["before"]);
    disk.tear_write(".log", 150, libc::EIO);
    disk.fail_once(Operation::SetLength, ".log", 0, libc::EIO);
    try_put(&mut log, &"long ".repeat(50)).expect_err("torn");
    assert!(disk.is_spent());

    try_put(&mut log, "x").expect("appended");
    log.close().expect("closed");

    assert_eq!(values(&place.open(LastStop::Clean)), ["before", "x"]);
}

#[test]
fn a_torn_batch_is_cut_off_at_open_at_whatever_byte_it_tore() {
    let place = Place::new(LogConfig::default());
    let mut log = place.open(LastStop::Clean);
    put(&mut log, &["first"]);
    put(&mut log, &["second"]);
    drop(log);
    let path = place.file("00000000000000000000.log");
    let whole = std::fs::read(&path).expect("read");
    let first = crate::batch::headers(&whole).next().expect("one").expect("good").size;

    for length in (0..whole.len()).rev() {
        for zeroes in [0, 100] {
            let mut torn = whole[..length].to_vec();
            torn.resize(length + zeroes, 0);
            // Zeroes may happen to be what was lost.
            let expected: &[&str] = match torn {
                _ if torn.starts_with(&whole) => &["first", "second"],
                _ if torn.starts_with(&whole[..first]) => &["first"],
                _ => &[],
            };
            for last_stop in [LastStop::Clean, LastStop::Killed, LastStop::Unclean] {
                std::fs::write(&path, &torn).expect("written");

                let log = place.open(last_stop);

                let case = format!("cut at {length} and {zeroes} zeroes, {last_stop:?}");
                assert_eq!(values(&log), expected, "{case}");
            }
        }
    }
}

#[test]
fn a_failed_roll_leaves_the_old_segment_active() {
    let faults = [
        (Operation::Open, ".log"),
        (Operation::Open, ".index"),
        (Operation::Open, ".timeindex"),
        (Operation::SetLength, ".index"),
        (Operation::SetLength, ".timeindex"),
        (Operation::Open, ".snapshot"),
        (Operation::Write, ".snapshot"),
        (Operation::Write, ".timeindex"),
    ];
    for (operation, suffix) in faults {
        let (disk, place) = faulty(small_segments(250));
        let mut log = place.open(LastStop::Clean);
        let mut written = 0;
        while log.reader().size() + 80 <= 250 {
            put(&mut log, &["x"]);
            written += 1;
        }
        disk.fail(operation, suffix, libc::ENOSPC);

        let refused = try_put(&mut log, "lost").expect_err("the roll fails");
        assert!(is_out_of_space(&refused), "{operation:?} {suffix}: {refused}");
        assert_eq!(log.end(), Offset(written), "{operation:?} {suffix}");
        disk.heal();

        assert_eq!(try_put(&mut log, "x").expect("rolls now"), written);
        assert_eq!(log.segment_count(), 2);
        assert_eq!(values(&log).len() as i64, written + 1);
        log.close().expect("closed");
        assert_eq!(values(&place.open(LastStop::Clean)).len() as i64, written + 1, "{operation:?} {suffix}");
    }
}

#[test]
fn a_crash_within_a_roll_loses_nothing() {
    for (operation, suffix) in
        [(Operation::Open, ".index"), (Operation::Open, ".timeindex"), (Operation::Open, ".log")]
    {
        let (disk, place) = faulty(small_segments(250));
        let mut log = place.open(LastStop::Clean);
        while log.reader().size() + 80 <= 250 {
            put(&mut log, &["x"]);
        }
        let before = values(&log);
        disk.fail(operation, suffix, libc::EIO);
        try_put(&mut log, "lost").expect_err("the roll fails");
        drop(log);
        disk.heal();

        let mut log = place.open(LastStop::Unclean);

        assert_eq!(values(&log), before);
        assert_eq!(try_put(&mut log, "next").expect("appended"), before.len() as i64);
    }
}

#[test]
fn a_failed_fsync_poisons_the_log() {
    let (disk, place) = faulty(LogConfig::default());
    let mut log = place.open(LastStop::Clean);
    put(&mut log, &["x"]);
    disk.fail_once(Operation::Sync, ".log", 0, libc::EIO);

    assert!(matches!(log.flush().run(), Err(StorageError::Io { .. })));

    assert!(matches!(log.flush().run(), Err(StorageError::Poisoned { .. })));
    assert!(matches!(try_put(&mut log, "y"), Err(AppendError::Storage(StorageError::Poisoned { .. }))));
    assert_eq!(log.recovery_point(), Offset(0));
    assert_eq!(values(&log), ["x"], "reads go on");
    assert!(matches!(log.close(), Err(StorageError::Poisoned { .. })));

    let mut log = place.open(LastStop::Unclean);
    assert_eq!(values(&log), ["x"]);
    put(&mut log, &["y"]);
    log.flush().run().expect("flushed");
    assert_eq!(log.recovery_point(), Offset(2));
}

#[test]
fn a_failing_epoch_file_refuses_the_append_that_needs_it() {
    for operation in [Operation::Write, Operation::Sync] {
        let (disk, place) = faulty(LogConfig::default());
        let mut log = place.open(LastStop::Clean);
        disk.fail(operation, "leader-epoch-checkpoint.tmp", libc::EIO);
        try_put(&mut log, "x").expect_err("the epoch cannot be noted");
        assert_eq!((log.end(), log.latest_epoch()), (Offset(0), None));
        disk.heal();

        assert_eq!(try_put(&mut log, "x").expect("appended"), 0);
    }
}

#[test]
fn index_entries_wait_in_memory_while_their_file_cannot_be_written() {
    let config = LogConfig { index_interval_bytes: 1, ..LogConfig::default() };
    let (disk, place) = faulty(config);
    let mut log = place.open(LastStop::Clean);
    disk.fail(Operation::Write, ".index", libc::ENOSPC);
    for _ in 0..300 {
        put(&mut log, &["x"]);
    }
    assert_eq!(contents(&log, 17).first(), Some(&(17, "x".to_string())));
    disk.heal();

    log.close().expect("closed");

    let index = std::fs::metadata(place.file("00000000000000000000.index")).expect("an index");
    assert_eq!(index.len(), 299 * 8);
}

#[test]
fn a_disk_that_cannot_be_read_is_an_error_and_not_the_end() {
    let (disk, place) = faulty(LogConfig::default());
    let mut log = place.open(LastStop::Clean);
    put(&mut log, &["a", "b"]);
    put(&mut log, &["c"]);
    disk.fail(Operation::Read, ".log", libc::EIO);

    let read = log.reader().read(Offset(1), 1000, Offset(3), true);
    assert!(matches!(read, Err(crate::error::ReadError::Storage(StorageError::Io { .. }))));

    disk.heal();
    assert_eq!(values(&log).len(), 3);
}

#[test]
fn a_deletion_that_fails_goes_on_where_it_stopped_and_leaves_no_hole() {
    for suffix in [".log", ".index", ".timeindex", ".snapshot"] {
        for after in 0..3 {
            let (disk, place) = faulty(small_segments(300));
            let mut log = place.open(LastStop::Clean);
            for _ in 0..20 {
                put(&mut log, &["value"]);
            }
            log.set_high_watermark(log.end());
            log.delete_records(Offset(12)).expect("deleted");
            disk.fail_once(Operation::Rename, suffix, after, libc::EIO);
            let failed = log.expire(NOW).is_err();
            assert_eq!(failed, disk.is_spent(), "{suffix} after {after}");
            log.delete_records(Offset(18)).expect("deleted");
            disk.heal();
            let more = log.expire(NOW).expect("expired");
            assert!(more > 0);
            log.remove_due(TimestampMs(i64::MAX)).expect("removed");
            assert!(!place.names().iter().any(|name| name.ends_with(".deleted")), "{suffix} after {after}");

            drop(log);
            let log = place.open(LastStop::Killed);
            let offsets: Vec<i64> = contents(&log, log.start().0).iter().map(|(offset, _)| *offset).collect();
            assert_eq!(offsets, (log.start().0..20).collect::<Vec<_>>(), "{suffix} after {after}");
            assert!(log.start() > Offset(12), "{suffix} after {after}: {:?}", log.start());
        }
    }
}

#[test]
fn what_is_deleted_goes_at_once_where_the_disk_is_too_full_for_longer_names() {
    let config = LogConfig { file_delete_delay_ms: 3_600_000, ..small_segments(300) };
    let (disk, place) = faulty(config);
    let mut log = place.open(LastStop::Clean);
    for _ in 0..20 {
        put(&mut log, &["value"]);
    }
    log.set_high_watermark(log.end());
    let before = place.names().len();
    disk.fail(Operation::Rename, "", libc::ENOSPC);
    log.delete_records(Offset(12)).expect("deleted");

    let deleted = log.expire(NOW).expect("expired");

    let names = place.names();
    assert!(deleted > 2 && names.len() < before - 3 * deleted, "{names:?}");
    assert!(!names.iter().any(|name| name.ends_with(".deleted")), "{names:?}");
    assert_eq!(contents(&log, 12).len(), 8);
    disk.heal();
    put(&mut log, &["there is room"]);
    drop(log);
    let log = place.open(LastStop::Killed);
    assert_eq!((log.start(), contents(&log, 12).len()), (Offset(12), 9), "{names:?}");
}
