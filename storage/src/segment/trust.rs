//! Which bytes of a record file are known to be what was written: this process wrote them, or it has found their
//! checksums right since it opened the file.
//!
//! Whoever wants to read anything else has the checksums looked at first, once. So hot records are never checked twice,
//! and a batch that went bad on the disk is told of with its place and never handed out.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Segment;
use super::walk::{CheckedWalk, Step};
use crate::error::StorageError;

/// Stretches that are remembered. With more readers than that at places far apart in one old file, some is checked again.
const STRETCHES_MAX: usize = 8;

#[derive(Debug)]
pub(super) struct Trust {
    /// Everything from here on was written by this process or checked when the log was opened. Unit: bytes.
    since: AtomicU64,
    found: Mutex<Found>,
}

#[derive(Debug, Default)]
struct Found {
    /// Whole batches that were right. Sorted, none touching another. Unit: bytes.
    sound: Vec<Range<u64>>,
}

impl Trust {
    /// Nothing is known of the first `size` bytes.
    pub(super) fn beyond(size: u64) -> Trust {
        Trust { since: AtomicU64::new(size), found: Mutex::default() }
    }

    /// What this process writes next begins at `position`, or everything from there on was checked.
    pub(super) fn extend_to(&self, position: u64) {
        self.since.fetch_min(position, Ordering::AcqRel);
    }

    /// What of `from..upto` has to be checked: it begins where a batch does if `from` does.
    fn unknown(&self, from: u64, upto: u64) -> Option<Range<u64>> {
        let upto = upto.min(self.since.load(Ordering::Acquire));
        if from >= upto {
            return None;
        }
        self.found().unknown(from..upto)
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Found {
    fn unknown(&self, asked: Range<u64>) -> Option<Range<u64>> {
        let holds = |place: u64| self.sound.iter().find(move |stretch| stretch.contains(&place));
        let from = holds(asked.start).map_or(asked.start, |stretch| stretch.end);
        let upto = holds(asked.end - 1).map_or(asked.end, |stretch| stretch.start);
        (from < upto).then_some(from..upto)
    }

    fn note(&mut self, mut sound: Range<u64>) {
        self.sound.retain(|known| {
            let apart = known.end < sound.start || sound.end < known.start;
            if !apart {
                sound = sound.start.min(known.start)..sound.end.max(known.end);
            }
            apart
        });
        if self.sound.len() == STRETCHES_MAX
            && let Some(shortest) = (0..STRETCHES_MAX)
                .min_by_key(|index| self.sound.get(*index).map(|stretch| stretch.end - stretch.start))
        {
            self.sound.remove(shortest);
        }
        self.sound.push(sound);
        self.sound.sort_unstable_by_key(|stretch| stretch.start);
    }
}

impl Segment {
    /// How far the batches in `from..upto` are what was written; `from` is where one begins. An error where the first of
    /// them is not. Unit: bytes.
    pub(super) fn sound_upto(&self, from: u64, upto: u64) -> Result<u64, StorageError> {
        let Some(unknown) = self.trust.unknown(from, upto) else { return Ok(upto) };
        let (file, path) = (self.handle.file()?, self.path());
        let mut walk = CheckedWalk::up_to(file.as_ref(), &path, unknown.clone(), self.size());
        let damage = loop {
            if walk.position() >= unknown.end {
                break None;
            }
            match walk.next()? {
                Step::Batch(..) => {}
                Step::End => break None,
                Step::Bad(reason) => break Some(reason),
            }
        };
        let good = walk.position();
        if good > unknown.start {
            self.trust.found().note(unknown.start..good);
        }
        match damage {
            None => Ok(upto),
            Some(_) if good > from => Ok(good),
            Some(reason) => Err(StorageError::corrupt(&path, good, reason)),
        }
    }

    /// Everything from `position` on was found right. Unit: bytes.
    pub(crate) fn trust_from(&self, position: u64) {
        self.trust.extend_to(position);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_checked_is_not_checked_again() {
        let trust = Trust::beyond(1000);
        assert_eq!(trust.unknown(0, 100), Some(0..100));
        trust.found().note(0..120);
        assert_eq!(trust.unknown(0, 100), None);
        assert_eq!(trust.unknown(60, 200), Some(120..200));
        trust.found().note(300..400);
        assert_eq!(trust.unknown(120, 350), Some(120..300));
        assert_eq!(trust.unknown(120, 500), Some(120..500), "a stretch in the middle is not worth two reads");
        trust.found().note(120..500);
        assert!(trust.found().sound.iter().eq([&(0..500)]), "one stretch");
        assert_eq!(trust.unknown(900, 5000), Some(900..1000), "behind that this process has written");
        assert_eq!(trust.unknown(1000, 5000), None);
        trust.extend_to(700);
        assert_eq!(trust.unknown(500, 5000), Some(500..700));
    }

    #[test]
    fn the_longest_stretches_are_remembered() {
        let trust = Trust::beyond(u64::MAX);
        for index in 0..100 {
            trust.found().note(index * 1000..index * 1000 + 1 + index);
        }
        let found = trust.found();
        assert_eq!(found.sound.len(), STRETCHES_MAX);
        assert_eq!(found.sound.last(), Some(&(99_000..99_100)));
        assert_eq!(found.sound.first(), Some(&(92_000..92_093)));
    }
}
