//! What a run is like: drawn from the seed before anything happens, so that runs differ in kind and not only in luck.

use storage::types::BrokerId;

use super::random::Random;

/// A rule left out on purpose, to see that the simulation notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// Followers cut to their high watermark and do not ask where epochs ended.
    TruncatesToHighWatermark,
    /// Controllers write without looking at `/controller_epoch`.
    WritesUnfenced,
    /// Brokers obey what was meant for an earlier life of theirs.
    ObeysForFormerLives,
    /// Leaders answer followers of any leader epoch.
    ServesAnyLeaderEpoch,
    /// New controllers take members of in-sync sets for what they were before they restarted.
    TrustsWhoRestarted,
    /// Controllers let brokers into in-sync sets whatever became of them since they were seen there.
    AdmitsFormerLives,
    /// Leaders take a new in-sync set for granted before the controller wrote it.
    AltersWithoutAsking,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct NetworkQuality {
    pub(crate) lost_per_mille: u64,
    pub(crate) late_per_mille: u64,
    /// Unit: ms.
    pub(crate) late_max_ms: u64,
}

/// How often which fault is drawn, relative to the others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Faults {
    /// Mean time between two. Unit: ms.
    pub(crate) pause_ms: u64,
    pub(crate) crash: u64,
    /// A crash that loses what was not flushed.
    pub(crate) power_loss: u64,
    pub(crate) freeze: u64,
    pub(crate) cut_brokers: u64,
    pub(crate) cut_zookeeper: u64,
    pub(crate) zookeeper_away: u64,
    pub(crate) expire_session: u64,
    pub(crate) controlled_shutdown: u64,
    pub(crate) preferred_election: u64,
    /// An operator deletes `/controller`: another is elected while the former one's session lives on.
    pub(crate) controller_deleted: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) brokers: Vec<BrokerId>,
    /// Of one topic, each with `replicas` replicas.
    pub(crate) partitions: i32,
    pub(crate) replicas: usize,
    pub(crate) min_in_sync: usize,
    pub(crate) unclean_election: bool,
    /// Leaders tell of diverging logs in answers to fetches (inter-broker protocol 2.7 and above).
    pub(crate) truncates_on_fetch: bool,
    /// Unit: ms.
    pub(crate) session_timeout_ms: u64,
    /// `replica.lag.time.max.ms`.
    pub(crate) lag_max_ms: u64,
    /// How long a fetch that finds nothing waits at most. Unit: ms.
    pub(crate) fetch_wait_ms: u64,
    /// Mean time between two records. Unit: ms.
    pub(crate) produce_pause_ms: u64,
    pub(crate) acks_all_per_mille: u64,
    pub(crate) network: NetworkQuality,
    pub(crate) faults: Faults,
    /// When all faults end. Unit: ms.
    pub(crate) trouble_ms: u64,
}

impl Scenario {
    /// A broken rule gets runs in which it matters.
    pub(crate) fn draw(random: &mut Random, broken: Option<Broken>) -> Scenario {
        let mut scenario = Scenario::any(random);
        match broken {
            Some(Broken::ServesAnyLeaderEpoch) => {
                // Later versions would also notice by the epochs of the records.
                scenario.truncates_on_fetch = false;
                scenario.faults.preferred_election = 6;
                scenario.network.late_per_mille = 60;
            }
            Some(Broken::AdmitsFormerLives) => {
                // A wish is under way while the machine it is about loses power and comes back.
                scenario.min_in_sync = 1;
                scenario.faults.power_loss = 12;
                scenario.faults.pause_ms = scenario.faults.pause_ms.min(2_000);
                scenario.network.late_per_mille = 250;
            }
            Some(Broken::WritesUnfenced) => scenario.faults.controller_deleted = 6,
            _ => {}
        }
        scenario
    }

    fn any(random: &mut Random) -> Scenario {
        let brokers = if random.chance(250) { 4 } else { 3 };
        let replicas = if random.chance(250) { 2 } else { 3 };
        let min_in_sync = if random.chance(300) { 1 } else { 2 };
        // Each kind of fault is absent from about half of the runs: what is rare beside everything else shows then.
        let weight =
            |random: &mut Random, most: u64| if random.chance(450) { 0 } else { random.between(1, most) };
        Scenario {
            brokers: (1..=brokers).map(BrokerId).collect(),
            partitions: i32::try_from(random.between(1, 3)).unwrap_or(1),
            replicas,
            min_in_sync,
            unclean_election: random.chance(150),
            truncates_on_fetch: !random.chance(250),
            session_timeout_ms: random.between(3_000, 8_000),
            lag_max_ms: random.between(2_000, 8_000),
            fetch_wait_ms: random.between(50, 400),
            produce_pause_ms: random.between(100, 600),
            acks_all_per_mille: random.between(200, 1000),
            network: NetworkQuality {
                lost_per_mille: if random.chance(500) { 0 } else { random.between(1, 40) },
                late_per_mille: if random.chance(400) { 0 } else { random.between(1, 60) },
                late_max_ms: random.between(500, 9_000),
            },
            faults: Faults {
                pause_ms: random.between(700, 6_000),
                crash: weight(random, 6),
                power_loss: weight(random, 3),
                freeze: weight(random, 6),
                cut_brokers: weight(random, 5),
                cut_zookeeper: weight(random, 5),
                zookeeper_away: weight(random, 2),
                expire_session: weight(random, 3),
                controlled_shutdown: weight(random, 3),
                preferred_election: weight(random, 6),
                controller_deleted: weight(random, 3),
            },
            trouble_ms: random.between(20_000, 60_000),
        }
    }
}
