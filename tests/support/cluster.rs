//! Several brokers on one ensemble, ours and Apache's in any mixture.

use std::time::{Duration, Instant};

use super::ensemble::Ensemble;
use super::process::PATIENCE;
use super::process::namespaces::Host;
use super::requests::metadata;
use super::seat::{Broker, Kind};

/// What every member is configured with on top of what all tests share.
const MEMBERS: &[(&str, &str)] = &[
    ("offsets.topic.replication.factor", "3"),
    ("transaction.state.log.replication.factor", "3"),
    ("transaction.state.log.min.isr", "2"),
    ("replica.lag.time.max.ms", "6000"),
    ("replica.fetch.backoff.ms", "200"),
];

/// A broker's kind, and its settings on top of what all share.
pub(crate) type Member<'a> = (Kind, &'a [(&'a str, &'a str)]);

/// Brokers with the ids 1, 2, 3...; they end before the ensemble does.
pub(crate) struct Cluster {
    pub(crate) brokers: Vec<Broker>,
    pub(crate) ensemble: Ensemble,
}

impl Cluster {
    /// Starts one broker of each kind at once on three voters and an observer, and waits until all know all.
    #[track_caller]
    pub(crate) fn start(kinds: &[Kind], settings: &[(&str, &str)]) -> Cluster {
        Cluster::start_on(Ensemble::start(), kinds, settings)
    }

    #[track_caller]
    pub(crate) fn start_on(ensemble: Ensemble, kinds: &[Kind], settings: &[(&str, &str)]) -> Cluster {
        let each: Vec<Member<'_>> = kinds.iter().map(|kind| (*kind, settings)).collect();
        Cluster::start_each(ensemble, &each)
    }

    /// Every broker with settings of its own; `{port}` in a value is the broker's port.
    #[track_caller]
    pub(crate) fn start_each(ensemble: Ensemble, each: &[Member<'_>]) -> Cluster {
        let connect = ensemble.connect_string();
        let join = |(id, (kind, settings)): (i32, &Member<'_>)| {
            let settings: Vec<_> = MEMBERS.iter().chain(*settings).copied().collect();
            Broker::join(*kind, id, &connect, &settings)
        };
        Cluster::of((1..).zip(each).map(join).collect(), ensemble)
    }

    /// One broker of each kind on each of these machines.
    #[track_caller]
    pub(crate) fn start_at(
        hosts: &[Host],
        ensemble: Ensemble,
        kinds: &[Kind],
        settings: &[(&str, &str)],
    ) -> Cluster {
        let connect = ensemble.connect_string();
        let settings: Vec<_> = MEMBERS.iter().chain(settings).copied().collect();
        let join =
            |(id, (host, kind)): (i32, (&Host, &Kind))| Broker::join_at(host, *kind, id, &connect, &settings);
        Cluster::of((1..).zip(hosts.iter().zip(kinds)).map(join).collect(), ensemble)
    }

    #[track_caller]
    fn of(brokers: Vec<Broker>, ensemble: Ensemble) -> Cluster {
        let mut cluster = Cluster { brokers, ensemble };
        cluster.wait_until_all_are_known();
        cluster
    }

    /// Until every running broker names every running broker and a controller.
    #[track_caller]
    pub(crate) fn wait_until_all_are_known(&mut self) {
        self.brokers.iter_mut().filter(|broker| broker.is_running()).for_each(Broker::wait_until_it_answers);
        let running: Vec<i32> =
            self.brokers.iter().filter(|broker| broker.is_running()).map(|broker| broker.id).collect();
        self.until("every broker knows every broker", |cluster| {
            cluster.brokers.iter().filter(|broker| broker.is_running()).all(|broker| {
                let Some(mut connection) = broker.try_connect() else { return false };
                metadata(&mut connection, "nothing").is_ok_and(|answer| {
                    let known: Vec<i32> = answer.brokers.iter().map(|broker| broker.node_id.0).collect();
                    running.iter().all(|id| known.contains(id)) && running.contains(&answer.controller_id.0)
                })
            })
        });
    }

    pub(crate) fn broker(&self, id: i32) -> &Broker {
        self.brokers.iter().find(|broker| broker.id == id).expect("a broker of the cluster")
    }

    pub(crate) fn broker_mut(&mut self, id: i32) -> &mut Broker {
        self.brokers.iter_mut().find(|broker| broker.id == id).expect("a broker of the cluster")
    }

    pub(crate) fn bootstrap(&self) -> String {
        self.brokers.iter().map(Broker::bootstrap).collect::<Vec<_>>().join(",")
    }

    /// Who stands in `/controller`.
    #[track_caller]
    pub(crate) fn controller(&self) -> i32 {
        self.await_some("a controller", |cluster| {
            let (data, _) = cluster.ensemble.read("/controller")?;
            let controller: serde_json::Value = serde_json::from_slice(&data).ok()?;
            i32::try_from(controller["brokerid"].as_i64()?).ok()
        })
    }

    /// Leader (-1: none) and in-sync replicas, as the controller has decided and ZooKeeper keeps them.
    pub(crate) fn decided(&self, topic: &str, partition: i32) -> Option<(i32, Vec<i32>)> {
        let (data, _) =
            self.ensemble.read(&format!("/brokers/topics/{topic}/partitions/{partition}/state"))?;
        let state: serde_json::Value = serde_json::from_slice(&data).ok()?;
        let id = |id: &serde_json::Value| i32::try_from(id.as_i64()?).ok();
        let in_sync = state["isr"].as_array()?.iter().map(id).collect::<Option<_>>()?;
        Some((id(&state["leader"])?, in_sync))
    }

    /// Who leads the partition, as any running broker tells; a leader that runs.
    #[track_caller]
    pub(crate) fn leader(&self, topic: &str, partition: i32) -> i32 {
        self.await_some("a leader", |cluster| {
            let (leader, _) = cluster.leadership(topic, partition)?;
            cluster.broker(leader).is_running().then_some(leader)
        })
    }

    /// Leader and in-sync replicas, sorted, as the first running broker that answers tells.
    pub(crate) fn leadership(&self, topic: &str, partition: i32) -> Option<(i32, Vec<i32>)> {
        self.brokers.iter().filter(|broker| broker.is_running()).find_map(|broker| {
            let answer = metadata(&mut broker.try_connect()?, topic).ok()?;
            let found =
                answer.topics.first()?.partitions.iter().find(|one| one.partition_index == partition)?;
            let mut in_sync: Vec<i32> = found.isr_nodes.iter().map(|id| id.0).collect();
            in_sync.sort_unstable();
            (found.leader_id.0 >= 0).then_some((found.leader_id.0, in_sync))
        })
    }

    /// Waits until so many replicas of the partition are in sync.
    #[track_caller]
    pub(crate) fn wait_until_in_sync(&self, topic: &str, partition: i32, replicas: usize) {
        self.until(&format!("{replicas} replicas of {topic}-{partition} are in sync"), |cluster| {
            cluster.leadership(topic, partition).is_some_and(|(_, in_sync)| in_sync.len() >= replicas)
        });
    }

    /// Waits until `holds`; fails with `what` and the brokers' logs after `PATIENCE`.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, holds: impl Fn(&Cluster) -> bool) {
        self.await_some(what, |cluster| holds(cluster).then_some(()));
    }

    #[track_caller]
    pub(crate) fn await_some<T>(&self, what: &str, found: impl Fn(&Cluster) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = found(self) {
                return found;
            }
            let dead: Vec<String> = self.brokers.iter().filter_map(Broker::sudden_end).collect();
            assert!(dead.is_empty(), "{dead:?}, while waiting for: {what}");
            assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }
}
