//! The newest offset of every key, in a fixed amount of memory.
//!
//! 24 bytes an entry, as Kafka's `SkimpyOffsetMap`: 16 bytes of hash stand for the key (XXH3 in place of MD5), 8 for the
//! offset. Two keys of one hash would be taken for one; with 128 bits and 2^31 keys the odds are below 10^-19.

use twox_hash::XxHash3_128;

use crate::types::Offset;

/// Unit: bytes.
pub(crate) const ENTRY_SIZE: u64 = 24;

/// Places tried at random before going from slot to slot.
const JUMPS: u32 = 8;

/// Both halves of the hash, and one more than the offset; that is 0 in a free slot.
type Slot = [u64; 3];

#[derive(Debug)]
pub(crate) struct OffsetMap {
    slots: Vec<Slot>,
    used: usize,
    limit: usize,
    latest: Offset,
}

impl OffsetMap {
    /// As many slots as fit `memory` bytes, of which the share `load_factor` is filled.
    pub(crate) fn new(memory: u64, load_factor: f64) -> OffsetMap {
        let slots = usize::try_from(memory / ENTRY_SIZE).unwrap_or(usize::MAX);
        // Truncated towards zero, as Kafka does.
        let limit = (slots as f64 * load_factor).max(0.0) as usize;
        OffsetMap { slots: vec![[0; 3]; slots], used: 0, limit: limit.min(slots), latest: Offset::NONE }
    }

    /// Keys it takes.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Filled share of all slots.
    pub(crate) fn utilization(&self) -> f64 {
        self.used as f64 / (self.slots.len().max(1)) as f64
    }

    pub(crate) fn clear(&mut self) {
        if self.used > 0 {
            // New zeroes from the system cost nothing for slots that stay untouched.
            self.slots = vec![[0; 3]; self.slots.len()];
        }
        self.used = 0;
        self.latest = Offset::NONE;
    }

    /// Notes the newest offset of `key`; false where the map is full, and nothing is noted.
    ///
    /// Like Kafka's, a full map takes not even keys it knows.
    pub(crate) fn put(&mut self, key: &[u8], offset: Offset) -> bool {
        if self.used >= self.limit {
            return false;
        }
        let (high, low) = hash(key);
        let index = self.find(high, low);
        if let Some(slot) = self.slots.get_mut(index) {
            self.used += usize::from(slot[2] == 0);
            *slot = [high, low, offset.0.cast_unsigned().wrapping_add(1)];
        }
        self.latest = offset;
        true
    }

    /// The newest offset of `key`.
    pub(crate) fn get(&self, key: &[u8]) -> Option<Offset> {
        let (high, low) = hash(key);
        let slot = self.slots.get(self.find(high, low))?;
        (slot[2] != 0).then(|| Offset(slot[2].wrapping_sub(1).cast_signed()))
    }

    /// Everything up to here, inclusive, is in the map.
    pub(crate) fn latest(&self) -> Offset {
        self.latest
    }

    pub(crate) fn set_latest(&mut self, offset: Offset) {
        self.latest = offset;
    }

    /// The slot that has the hash, or the free one where it belongs. Some slot is free at all times, unless there is
    /// room for all: then every slot is looked at once.
    fn find(&self, high: u64, low: u64) -> usize {
        let count = self.slots.len();
        let mut index = 0;
        for attempt in 0..JUMPS {
            let probe = u128::from(high.rotate_left(attempt * 8) ^ low.wrapping_mul(u64::from(attempt)));
            index = ((probe * count as u128) >> 64) as usize;
            match self.slots.get(index) {
                Some(slot) if slot[2] != 0 && (slot[0], slot[1]) != (high, low) => {}
                _ => return index,
            }
        }
        for _ in 0..count {
            index = if index + 1 == count { 0 } else { index + 1 };
            match self.slots.get(index) {
                Some(slot) if slot[2] != 0 && (slot[0], slot[1]) != (high, low) => {}
                _ => return index,
            }
        }
        usize::MAX
    }
}

fn hash(key: &[u8]) -> (u64, u64) {
    let hash = XxHash3_128::oneshot(key);
    ((hash >> 64) as u64, hash as u64)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn a_map_takes_as_many_keys_as_its_memory_allows() {
        let mut map = OffsetMap::new(24 * 1000 + 23, 0.9);
        assert_eq!(map.limit(), 900);
        for key in 0..900_i64 {
            assert!(map.put(&key.to_be_bytes(), Offset(key)));
        }
        assert!(!map.put(b"one too many", Offset(900)));
        assert!(!map.put(&0_i64.to_be_bytes(), Offset(901)), "a full map takes not even known keys");
        assert_eq!(map.latest(), Offset(899));
        for key in 0..900_i64 {
            assert_eq!(map.get(&key.to_be_bytes()), Some(Offset(key)));
        }
        assert_eq!(map.get(b"one too many"), None);

        map.clear();
        assert_eq!(map.get(&0_i64.to_be_bytes()), None);
        assert_eq!(map.latest(), Offset(-1));
    }

    #[test]
    fn a_map_that_may_be_filled_to_the_last_slot_still_ends_its_searches() {
        let mut map = OffsetMap::new(24 * 50, 1.0);
        let mut model = HashMap::new();
        for round in 0..50_i64 {
            let key = (round * 7919).to_be_bytes();
            assert!(map.put(&key, Offset(round)));
            model.insert(key, round);
        }
        assert_eq!(map.get(b"absent"), None);
        for (key, offset) in model {
            assert_eq!(map.get(&key), Some(Offset(offset)));
        }
    }

    #[test]
    fn a_map_without_memory_takes_nothing() {
        let mut map = OffsetMap::new(23, 0.9);
        assert!(!map.put(b"key", Offset(0)));
        assert_eq!(map.get(b"key"), None);
    }
}
