//! Which fetch sessions a broker keeps: a bounded number of them, and who has to go when one more wants in.
//!
//! Always true: never more than `max` sessions. Followers' sessions outrank those of consumers, larger ones outrank
//! smaller ones, and one that nobody used for `EVICTION_MS` outranks none. Knows the sessions by id and size only.

use std::collections::{BTreeMap, BTreeSet};

use crate::time::Monotonic;

/// How long a session is safe from being replaced by a better one; and how long it may lie unused. Unit: ms.
pub const EVICTION_MS: u64 = 120_000;

/// Rank of a session when one has to go: the smallest goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    follower: bool,
    partitions: usize,
    id: i32,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    rank: Rank,
    created: Monotonic,
    last_used: Monotonic,
}

/// A slot for a new session, and the session that lost its own for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    pub id: i32,
    pub evicted: Option<i32>,
}

/// The slots of one share of the ids.
#[derive(Debug)]
pub struct SessionSlots {
    max: usize,
    first_id: i32,
    ids: u32,
    held: BTreeMap<i32, Held>,
    by_last_use: BTreeSet<(Monotonic, i32)>,
    /// May give way to anyone: old enough.
    open_to_all: BTreeSet<Rank>,
    /// May give way to followers: old enough, or not a follower's.
    open_to_followers: BTreeSet<Rank>,
    partitions: usize,
}

impl SessionSlots {
    /// At most `max` sessions with the `ids` ids from `first_id` on. `ids` must be above `max`, so that one is always free.
    #[must_use]
    pub fn new(max: usize, first_id: i32, ids: u32) -> Self {
        assert!(usize::try_from(ids).is_ok_and(|ids| ids > max), "more ids than slots");
        SessionSlots {
            max,
            first_id,
            ids,
            held: BTreeMap::new(),
            by_last_use: BTreeSet::new(),
            open_to_all: BTreeSet::new(),
            open_to_followers: BTreeSet::new(),
            partitions: 0,
        }
    }

    /// How many sessions there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.held.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Partitions of all sessions together.
    #[must_use]
    pub fn partitions(&self) -> usize {
        self.partitions
    }

    /// `None` where all slots are held by sessions of a higher rank. `dice` is any number: it picks the id.
    pub fn open(&mut self, now: Monotonic, follower: bool, partitions: usize, dice: u32) -> Option<Opened> {
        let evicted = match self.held.len() < self.max {
            true => None,
            false => Some(self.evict(now, Rank { follower, partitions, id: 0 })?),
        };
        let id = self.free_id(dice);
        let rank = Rank { follower, partitions, id };
        self.hold(now, Held { rank, created: now, last_used: now });
        Some(Opened { id, evicted })
    }

    /// A session was used and has this many partitions now.
    pub fn touch(&mut self, now: Monotonic, id: i32, partitions: usize) {
        if let Some(mut held) = self.forget(id) {
            held.rank.partitions = partitions;
            held.last_used = now;
            self.hold(now, held);
        }
    }

    /// Whether it was there.
    pub fn close(&mut self, id: i32) -> bool {
        self.forget(id).is_some()
    }

    fn evict(&mut self, now: Monotonic, newcomer: Rank) -> Option<i32> {
        let (last_used, oldest) = *self.by_last_use.first()?;
        let id = if last_used.ms_until(now) > EVICTION_MS {
            oldest
        } else {
            let candidates = if newcomer.follower { &self.open_to_followers } else { &self.open_to_all };
            candidates.first().filter(|least| newcomer >= **least)?.id
        };
        self.forget(id);
        Some(id)
    }

    fn free_id(&self, dice: u32) -> i32 {
        let ids = i64::from(self.ids);
        (0..ids)
            .map(|step| i64::from(self.first_id) + (i64::from(dice) + step) % ids)
            .filter_map(|id| i32::try_from(id).ok())
            .find(|id| !self.held.contains_key(id))
            .expect("there are more ids than slots")
    }

    fn hold(&mut self, now: Monotonic, held: Held) {
        let Held { rank, created, last_used } = held;
        let settled = created.ms_until(now) > EVICTION_MS;
        if settled {
            self.open_to_all.insert(rank);
        }
        if settled || !rank.follower {
            self.open_to_followers.insert(rank);
        }
        self.by_last_use.insert((last_used, rank.id));
        self.partitions += rank.partitions;
        self.held.insert(rank.id, held);
    }

    fn forget(&mut self, id: i32) -> Option<Held> {
        let held = self.held.remove(&id)?;
        self.by_last_use.remove(&(held.last_used, id));
        self.open_to_all.remove(&held.rank);
        self.open_to_followers.remove(&held.rank);
        self.partitions -= held.rank.partitions;
        Some(held)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const T0: Monotonic = Monotonic(1_000_000);

    fn later(ms: u64) -> Monotonic {
        Monotonic(T0.0 + ms)
    }

    fn slots(max: usize) -> SessionSlots {
        SessionSlots::new(max, 1, 1000)
    }

    fn open(slots: &mut SessionSlots, now: Monotonic, follower: bool, partitions: usize) -> Option<Opened> {
        slots.open(now, follower, partitions, 7)
    }

    #[test]
    fn without_slots_there_are_no_sessions() {
        assert_eq!(open(&mut slots(0), T0, true, 5), None);
    }

    #[test]
    fn the_dice_choose_the_id_and_the_next_free_one_follows() {
        let mut slots = slots(3);
        assert_eq!(open(&mut slots, T0, false, 1), Some(Opened { id: 8, evicted: None }));
        assert_eq!(open(&mut slots, T0, false, 1), Some(Opened { id: 9, evicted: None }));
        assert_eq!(slots.open(T0, false, 1, 999), Some(Opened { id: 1000, evicted: None }));
    }

    #[test]
    fn ids_go_round_at_the_end_of_their_share() {
        let mut slots = slots(3);
        slots.open(T0, false, 1, 999);
        assert_eq!(slots.open(T0, false, 1, 999), Some(Opened { id: 1, evicted: None }));
    }

    #[test]
    fn a_consumer_does_not_replace_a_young_session() {
        let mut slots = slots(1);
        open(&mut slots, T0, false, 1);
        assert_eq!(open(&mut slots, later(1), false, 100), None);
    }

    #[test]
    fn a_follower_replaces_a_young_consumer() {
        let mut slots = slots(1);
        open(&mut slots, T0, false, 100);
        assert_eq!(open(&mut slots, later(1), true, 1), Some(Opened { id: 8, evicted: Some(8) }));
    }

    #[test]
    fn a_follower_does_not_replace_a_young_follower() {
        let mut slots = slots(1);
        open(&mut slots, T0, true, 1);
        assert_eq!(open(&mut slots, later(1), true, 100), None);
    }

    #[test]
    fn a_session_unused_for_two_minutes_gives_way_to_anyone() {
        let mut slots = slots(1);
        open(&mut slots, T0, true, 100);
        assert_eq!(open(&mut slots, later(EVICTION_MS), false, 1), None);
        assert!(open(&mut slots, later(EVICTION_MS + 1), false, 1).is_some());
    }

    #[test]
    fn an_old_session_in_use_gives_way_to_a_larger_one_only() {
        let mut slots = slots(1);
        let first = open(&mut slots, T0, false, 10).expect("free").id;
        slots.touch(later(EVICTION_MS + 1), first, 10);
        assert_eq!(open(&mut slots, later(EVICTION_MS + 2), false, 9), None);
        let larger = open(&mut slots, later(EVICTION_MS + 2), false, 11).expect("larger");
        assert_eq!(larger.evicted, Some(first));
        assert_eq!(slots.partitions(), 11);
    }

    #[test]
    fn a_closed_session_frees_its_slot() {
        let mut slots = slots(1);
        let id = open(&mut slots, T0, false, 3).expect("free").id;
        assert!(slots.close(id));
        assert!(!slots.close(id));
        assert!(open(&mut slots, T0, false, 1).is_some());
    }

    proptest! {
        #[test]
        fn the_books_always_balance(
            steps in prop::collection::vec((0..3, any::<bool>(), 0..20_usize, 0..60_000_u64, 0..12_u32), 0..80)
        ) {
            let mut slots = SessionSlots::new(3, 1, 8);
            let mut model: BTreeMap<i32, usize> = BTreeMap::new();
            let mut now = T0;
            for (step, follower, partitions, ms, dice) in steps {
                now = Monotonic(now.0 + ms);
                let id = i32::try_from(dice).expect("small");
                match step {
                    0 => {
                        let full = model.len() == 3;
                        if let Some(opened) = slots.open(now, follower, partitions, dice) {
                            prop_assert_eq!(opened.evicted.is_some(), full);
                            opened.evicted.map(|evicted| model.remove(&evicted));
                            prop_assert_eq!(model.insert(opened.id, partitions), None);
                        } else {
                            prop_assert!(full);
                        }
                    }
                    1 => {
                        slots.touch(now, id, partitions);
                        model.entry(id).and_modify(|size| *size = partitions);
                    }
                    _ => prop_assert_eq!(slots.close(id), model.remove(&id).is_some()),
                }
                prop_assert_eq!(slots.len(), model.len());
                prop_assert!(slots.by_last_use.len() == model.len());
                prop_assert!(slots.open_to_followers.len() <= model.len());
                prop_assert!(slots.open_to_all.is_subset(&slots.open_to_followers));
                prop_assert_eq!(slots.partitions(), model.values().sum::<usize>());
            }
        }
    }
}
