//! The versions in which Apache 3.9.1 sends each request to other brokers (`MetadataVersion`, `AbstractControlRequest`
//! builders, `AlterPartitionRequest.Builder`). Those that `inter.broker.protocol.version` decides are a [`Dialect`].

use crate::config::version::KafkaVersion;

pub(crate) const OFFSET_FOR_LEADER_EPOCH: i16 = 4;
pub(crate) const CONTROLLED_SHUTDOWN: i16 = 3;
pub(crate) const ADD_PARTITIONS_TO_TXN: i16 = 5;
pub(crate) const WRITE_TXN_MARKERS: i16 = 1;
pub(crate) const ALTER_PARTITION: i16 = 3;
pub(crate) const ALLOCATE_PRODUCER_IDS: i16 = 0;

/// From this version of LeaderAndIsr on the request says whether a leader was elected from out of sync.
pub(crate) const LEADER_AND_ISR_WITH_RECOVERY: i16 = 6;
/// From this version of Fetch on topics are named by their ids.
pub(crate) const FETCH_BY_ID: i16 = 13;
/// From this version of Fetch on a follower tells its broker epoch.
pub(crate) const FETCH_WITH_REPLICA_STATE: i16 = 15;

/// How brokers speak to each other at one `inter.broker.protocol.version`, from 3.0 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dialect {
    pub(crate) fetch: i16,
    pub(crate) list_offsets: i16,
    pub(crate) leader_and_isr: i16,
    pub(crate) stop_replica: i16,
    pub(crate) update_metadata: i16,
}

impl Dialect {
    pub(crate) fn of(version: KafkaVersion) -> Dialect {
        let since = |steps: &[(&str, i16)], oldest: i16| {
            let reached = steps.iter().find(|(step, _)| version.has_reached(step));
            reached.map_or(oldest, |(_, request)| *request)
        };
        Dialect {
            fetch: since(
                &[
                    ("3.9-IV0", 17),
                    ("3.7-IV4", 16),
                    ("3.5-IV1", 15),
                    ("3.5-IV0", 14),
                    ("3.1-IV0", FETCH_BY_ID),
                ],
                12,
            ),
            list_offsets: since(&[("3.9-IV0", 9), ("3.5-IV0", 8), ("3.0-IV1", 7)], 6),
            leader_and_isr: since(&[("3.4-IV0", 7), ("3.2-IV0", LEADER_AND_ISR_WITH_RECOVERY)], 5),
            stop_replica: since(&[("3.4-IV0", 4)], 3),
            update_metadata: since(&[("3.4-IV0", 8)], 7),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_goes_in_the_version_that_apache_sends_at_a_level() {
        let numbers = |level: &str| {
            let Dialect { fetch, list_offsets, leader_and_isr, stop_replica, update_metadata } =
                Dialect::of(KafkaVersion::parse(level).expect("a version"));
            [fetch, list_offsets, leader_and_isr, stop_replica, update_metadata]
        };
        assert_eq!(numbers("3.9"), [17, 9, 7, 4, 8]);
        assert_eq!(numbers("3.8"), [16, 8, 7, 4, 8]);
        assert_eq!(numbers("3.7-IV3"), [15, 8, 7, 4, 8]);
        assert_eq!(numbers("3.5-IV0"), [14, 8, 7, 4, 8]);
        assert_eq!(numbers("3.4"), [13, 7, 7, 4, 8]);
        assert_eq!(numbers("3.2"), [13, 7, 6, 3, 7]);
        assert_eq!(numbers("3.1"), [13, 7, 5, 3, 7]);
        assert_eq!(numbers("3.0-IV0"), [12, 6, 5, 3, 7]);
    }
}
