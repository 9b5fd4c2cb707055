//! Which brokers hold which new partition.
//!
//! Kafka's spread: the first replicas go round-robin from a random start, the others follow with a shift that grows once
//! per round; with racks, a partition visits every rack before it visits one twice. The randomness comes in as an
//! argument. This room knows no existing load.

use std::collections::{BTreeMap, BTreeSet};

use storage::types::BrokerId;
use thiserror::Error;

/// Why no assignment can be made. The texts are Kafka's: clients show them.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AssignmentError {
    #[error("Number of partitions must be larger than 0.")]
    NoPartitions,
    #[error("Replication factor must be larger than 0.")]
    NoReplicas,
    #[error("Replication factor: {wanted} larger than available brokers: {available}.")]
    TooFewBrokers { wanted: i32, available: usize },
    /// Ours: Kafka tries, and fails for want of memory.
    #[error(
        "Number of partitions must not be larger than {PARTITIONS_MAX}: ZooKeeper holds no topic with more."
    )]
    TooManyPartitions,
    #[error("Not all brokers have rack information for replica rack aware assignment.")]
    RackMissing,
}

/// Partitions of one topic. Its znode, which has to stay below 1 MiB (`jute.maxbuffer`), lists the replicas of all of them.
pub(super) const PARTITIONS_MAX: i32 = 100_000;

/// Where the round-robin starts and what is placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Partitions to place. Range: 1 and above.
    pub partitions: i32,
    /// Replicas of each. Range: 1..=number of brokers.
    pub replication_factor: i32,
    /// Index of the first new partition: 0 for a new topic, the number of partitions for one that grows.
    pub first_partition: i32,
    /// Any number: the broker of partition 0, modulo the number of brokers.
    pub start: usize,
    /// Any number: distance of the second replica in the first round.
    pub shift: usize,
}

/// The replicas of each new partition, preferred leader first, by partition index.
///
/// `brokers` in ascending order of ids; either all of them have a rack or none.
pub fn assign_replicas(
    brokers: &[(BrokerId, Option<&str>)],
    placement: Placement,
) -> Result<BTreeMap<i32, Vec<BrokerId>>, AssignmentError> {
    if placement.partitions <= 0 {
        return Err(AssignmentError::NoPartitions);
    }
    if placement.first_partition.saturating_add(placement.partitions) > PARTITIONS_MAX {
        return Err(AssignmentError::TooManyPartitions);
    }
    if placement.replication_factor <= 0 {
        return Err(AssignmentError::NoReplicas);
    }
    let replicas = usize::try_from(placement.replication_factor).unwrap_or(usize::MAX);
    if replicas > brokers.len() {
        return Err(AssignmentError::TooFewBrokers {
            wanted: placement.replication_factor,
            available: brokers.len(),
        });
    }
    let ring = Ring::of(brokers)?;
    let first = placement.first_partition.max(0);
    let start = placement.start % ring.len();
    let mut shift = placement.shift % ring.len();
    let mut assigned = BTreeMap::new();
    for partition in first..first.saturating_add(placement.partitions) {
        let position = usize::try_from(partition).unwrap_or(0);
        if position > 0 && position.is_multiple_of(ring.len()) {
            shift += 1;
        }
        assigned.insert(partition, ring.replicas_from((position + start) % ring.len(), shift, replicas));
    }
    Ok(assigned)
}

/// The brokers in the order in which partitions visit them; neighbours are on different racks where they can be.
struct Ring<'a> {
    /// Without racks every broker is on one and the same.
    brokers: Vec<(BrokerId, &'a str)>,
    racks: usize,
}

impl<'a> Ring<'a> {
    fn of(brokers: &[(BrokerId, Option<&'a str>)]) -> Result<Ring<'a>, AssignmentError> {
        if brokers.iter().all(|(_, rack)| rack.is_none()) {
            return Ok(Ring { brokers: brokers.iter().map(|(id, _)| (*id, "")).collect(), racks: 1 });
        }
        let mut by_rack: BTreeMap<&str, BTreeSet<BrokerId>> = BTreeMap::new();
        for (id, rack) in brokers {
            by_rack.entry(rack.ok_or(AssignmentError::RackMissing)?).or_default().insert(*id);
        }
        let racks = by_rack.len();
        let mut alternated = Vec::with_capacity(brokers.len());
        while !by_rack.is_empty() {
            for (rack, ids) in &mut by_rack {
                alternated.extend(ids.pop_first().map(|id| (id, *rack)));
            }
            by_rack.retain(|_, ids| !ids.is_empty());
        }
        Ok(Ring { brokers: alternated, racks })
    }

    fn len(&self) -> usize {
        self.brokers.len()
    }

    /// `count` different brokers, the one at `first` leading. A rack is used twice only when all are used.
    fn replicas_from(&self, first: usize, shift: usize, count: usize) -> Vec<BrokerId> {
        let Some(&(leader, rack)) = self.brokers.get(first) else { return Vec::new() };
        let mut chosen = vec![leader];
        let mut racks = BTreeSet::from([rack]);
        let others = self.len().saturating_sub(1).max(1);
        let mut step = shift * self.racks;
        while chosen.len() < count.min(self.len()) {
            let next = (first + 1 + step % others) % self.len();
            step += 1;
            let Some(&(broker, rack)) = self.brokers.get(next) else { break };
            let rack_is_due = !racks.contains(rack) || racks.len() == self.racks;
            if rack_is_due && !chosen.contains(&broker) {
                chosen.push(broker);
                racks.insert(rack);
            }
        }
        chosen
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plain(count: i32) -> Vec<(BrokerId, Option<&'static str>)> {
        (0..count).map(|id| (BrokerId(id), None)).collect()
    }

    fn place(partitions: i32, replication_factor: i32, start: usize, shift: usize) -> Placement {
        Placement { partitions, replication_factor, first_partition: 0, start, shift }
    }

    fn ids(replicas: &[i32]) -> Vec<BrokerId> {
        replicas.iter().copied().map(BrokerId).collect()
    }

    #[test]
    fn leaders_go_round_and_followers_shift_after_each_round() {
        let assigned = assign_replicas(&plain(5), place(10, 3, 0, 0)).expect("five brokers");
        let expected = [
            [0, 1, 2],
            [1, 2, 3],
            [2, 3, 4],
            [3, 4, 0],
            [4, 0, 1],
            [0, 2, 3],
            [1, 3, 4],
            [2, 4, 0],
            [3, 0, 1],
            [4, 1, 2],
        ];
        assert_eq!(assigned.values().cloned().collect::<Vec<_>>(), expected.map(|replicas| ids(&replicas)));
    }

    #[test]
    fn no_more_partitions_are_placed_than_the_znode_of_a_topic_holds() {
        let placed = |partitions, first_partition| {
            assign_replicas(&plain(1), Placement { first_partition, ..place(partitions, 1, 0, 0) })
        };
        assert_eq!(placed(i32::MAX, 0), Err(AssignmentError::TooManyPartitions));
        assert_eq!(placed(1, PARTITIONS_MAX), Err(AssignmentError::TooManyPartitions));
        assert_eq!(placed(2, PARTITIONS_MAX - 2).map(|placed| placed.len()), Ok(2));
    }

    #[test]
    fn racks_alternate_and_no_partition_uses_a_rack_twice_before_all_are_used() {
        let racks = ["rack1", "rack3", "rack3", "rack2", "rack2", "rack1"];
        let brokers: Vec<_> = (0..6).map(BrokerId).zip(racks.map(Some)).collect();
        let assigned = assign_replicas(&brokers, place(7, 3, 0, 0)).expect("six brokers");
        let expected =
            [[0, 3, 1], [3, 1, 5], [1, 5, 4], [5, 4, 2], [4, 2, 0], [2, 0, 3], [0, 4, 2]].map(|r| ids(&r));
        assert_eq!(assigned.values().cloned().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_growing_topic_goes_on_where_it_stopped() {
        let whole = assign_replicas(&plain(3), place(6, 2, 1, 0)).expect("three brokers");
        let grown =
            assign_replicas(&plain(3), Placement { first_partition: 4, partitions: 2, ..place(0, 2, 1, 1) })
                .expect("three brokers");
        assert_eq!(grown.keys().copied().collect::<Vec<_>>(), [4, 5]);
        assert_eq!(grown.values().collect::<Vec<_>>(), whole.values().skip(4).collect::<Vec<_>>());
    }

    #[test]
    fn what_cannot_be_placed_is_refused_in_kafkas_words() {
        let refusal =
            |brokers: &[_], placement| assign_replicas(brokers, placement).expect_err("refused").to_string();
        assert_eq!(
            refusal(&plain(1), place(1, 3, 0, 0)),
            "Replication factor: 3 larger than available brokers: 1."
        );
        assert_eq!(refusal(&plain(1), place(0, 1, 0, 0)), "Number of partitions must be larger than 0.");
        assert_eq!(refusal(&plain(1), place(1, 0, 0, 0)), "Replication factor must be larger than 0.");
        let half = [(BrokerId(0), Some("r")), (BrokerId(1), None)];
        assert_eq!(
            refusal(&half, place(1, 1, 0, 0)),
            "Not all brokers have rack information for replica rack aware assignment."
        );
    }

    proptest! {
        #[test]
        fn every_partition_gets_distinct_replicas_and_spreads_over_racks(
            racks in prop::collection::vec(0..4_usize, 1..9),
            partitions in 1..40,
            factor in 1..9,
            start in 0..100_usize,
            shift in 0..100_usize,
        ) {
            const NAMES: [&str; 4] = ["a", "b", "c", "d"];
            let brokers: Vec<_> =
                racks.iter().zip(0..).map(|(rack, id)| (BrokerId(id), Some(NAMES[*rack]))).collect();
            let placement = Placement { partitions, replication_factor: factor, first_partition: 0, start, shift };
            let Ok(assigned) = assign_replicas(&brokers, placement) else {
                prop_assert!(usize::try_from(factor).expect("positive") > brokers.len());
                return Ok(());
            };
            let rack_count = racks.iter().collect::<BTreeSet<_>>().len();
            for replicas in assigned.values() {
                let distinct: BTreeSet<_> = replicas.iter().collect();
                prop_assert_eq!(distinct.len(), replicas.len());
                prop_assert_eq!(replicas.len(), usize::try_from(factor).expect("positive"));
                let used: BTreeSet<_> =
                    replicas.iter().map(|id| racks[usize::try_from(id.0).expect("an index")]).collect();
                prop_assert_eq!(used.len(), rack_count.min(replicas.len()));
            }
        }
    }
}
