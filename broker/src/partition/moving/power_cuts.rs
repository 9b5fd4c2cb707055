//! Power cuts at every operation of a move between log directories, and of a deletion: a partition is there whole, with all
//! that was flushed, or it was deleted.

use std::collections::BTreeSet;

use storage::disk::faulty::FaultyDisk;
use storage::disk::powered::{Dice, PoweredDisk, first_seed};
use storage::types::TimestampMs;

use super::*;
use crate::partition::specimen::{append, delete, flush, folders, id, lead, open, values};

/// Of what a cut may leave, so many samples are looked at.
const SAMPLES: u64 = 2;

/// A partition that this broker leads, with three records that were flushed.
fn begun(disk: &PoweredDisk, root: &Path) -> (Partitions, Arc<Partition>) {
    let partitions = open(Arc::new(disk.clone()), root).expect("opened");
    let partition = lead(&partitions);
    assert!((0..3).all(|number| append(&partition, &number.to_string())) && flush(&partition));
    (partitions, partition)
}

/// What was salvaged, on a disk that works.
#[track_caller]
fn opened_again(root: &Path, context: &str) -> Partitions {
    open(Arc::new(FaultyDisk::new()), root).unwrap_or_else(|why| panic!("{context}: {why}"))
}

/// What is there when the power is back.
fn salvage(disk: &PoweredDisk, root: &Path, seed: u64) -> tempfile::TempDir {
    let after = tempfile::tempdir().expect("a folder");
    disk.salvage(root, after.path(), &mut Dice(seed));
    after
}

/// The move until it is over or the power fails; meanwhile records come and are flushed, one of them behind the last step of
/// the copy. Yields how many are known to be on the disk.
fn moved(partitions: &Partitions, partition: &Arc<Partition>, to: &Path) -> usize {
    let mut flushed = 3;
    let mut write = |number: usize| {
        if append(partition, &number.to_string()) && flush(partition) {
            flushed = number + 1;
        }
    };
    let path = std::path::absolute(to).expect("a path");
    if partitions.alter_directory(&id(), &path.display().to_string()).is_err() {
        return flushed;
    }
    write(3);
    let moving = partitions.moves.get(&id()).expect("begun");
    let mut log = moving.log.lock().expect("nobody panicked");
    let copied = copy(partition, log.as_mut().expect("the copy"));
    write(4);
    if copied.is_ok() {
        let _ = partitions.take_over(&moving, &mut log);
    }
    write(5);
    flushed
}

#[test]
fn a_power_cut_at_every_operation_of_a_move_costs_nothing_that_was_flushed() {
    let seed = first_seed();
    let mut left = BTreeSet::new();
    for cut in 0.. {
        let root = tempfile::tempdir().expect("a folder");
        let disk = PoweredDisk::default();
        let (partitions, partition) = begun(&disk, root.path());
        assert_eq!(folders(root.path()), ["a/t-0"]);
        disk.fail_after(cut);
        let flushed = moved(&partitions, &partition, &root.path().join("b"));
        let done = !disk.has_failed();
        drop((partitions, partition));
        for sample in 0..SAMPLES {
            let seed = seed + cut as u64 * SAMPLES + sample;
            let context = format!("cut at {cut}, seed {seed}");
            let after = salvage(&disk, root.path(), seed);
            let found = folders(after.path());
            let partitions = opened_again(after.path(), &context);
            let partition = partitions.get(&id()).unwrap_or_else(|| panic!("{context}: gone of {found:?}"));
            let check = |when: &str| {
                let there = values(&partition);
                let expected = (0..there.len()).map(|number| number.to_string());
                assert!(there.iter().cloned().eq(expected), "{context}, {when}: {there:?}");
                assert!(there.len() >= flushed, "{context}, {when}: {there:?}, {flushed} were flushed");
            };
            check("at the start");
            assert!((0..100).any(|_| partitions.move_on(&id()) == Step::Done), "{context}: no end");
            check("when the move was gone on with");
            partitions.remove_condemned(TimestampMs(i64::MAX));
            let one: [&str; 2] = ["a/t-0", "b/t-0"];
            let kept = folders(after.path());
            assert!(kept.len() == 1 && one.contains(&kept[0].as_str()), "{context}: {kept:?}");
            left.insert(kept);
        }
        if done {
            assert!(cut > 20, "{cut} operations");
            break;
        }
    }
    assert_eq!(left.len(), 2, "both outcomes happen: {left:?}");
}

#[test]
fn a_power_cut_at_every_operation_of_a_deletion_leaves_a_partition_whole_or_none() {
    let seed = first_seed();
    let mut left = BTreeSet::new();
    for cut in 0.. {
        let root = tempfile::tempdir().expect("a folder");
        let disk = PoweredDisk::default();
        let (partitions, partition) = begun(&disk, root.path());
        drop(partition);
        disk.fail_after(cut);
        let is_deleted = delete(&partitions) == 0;
        partitions.remove_condemned(TimestampMs(i64::MAX));
        let done = !disk.has_failed();
        drop(partitions);
        for sample in 0..SAMPLES {
            let seed = seed + cut as u64 * SAMPLES + sample;
            let context = format!("cut at {cut}, seed {seed}");
            let after = salvage(&disk, root.path(), seed);
            let partitions = opened_again(after.path(), &context);
            let there = partitions.get(&id()).map(|partition| values(&partition));
            if let Some(there) = &there {
                assert!(!is_deleted, "{context}: a deletion that was answered is for good");
                assert_eq!(there.as_slice(), ["0", "1", "2"], "{context}");
            }
            partitions.remove_condemned(TimestampMs(i64::MAX));
            assert_eq!(folders(after.path()).len(), usize::from(there.is_some()), "{context}");
            left.insert(there.is_some());
        }
        if done {
            assert!(cut > 5, "{cut} operations");
            break;
        }
    }
    assert_eq!(left.len(), 2, "both outcomes happen");
}
