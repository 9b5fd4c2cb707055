//! A cluster at work that is being ill-treated, fault after fault, in an order and at moments drawn from a seed. After
//! each fault all replicas come back in sync and are equal below the high watermark; in the end the checker judges what
//! everybody saw.
//!
//! A trial that fails prints its seed, and writes all that was seen and printed into a folder that it names.

use std::cell::RefCell;
use std::fmt::Debug;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kafka_protocol::messages::FindCoordinatorRequest;

use super::cluster::Cluster;
use super::dump::{Dump, difference, dumps};
use super::process::PATIENCE;
use super::random::Random;
use super::records::now_ms;
use super::requests::{create_topic, text, try_fetch};
use super::seat::Kind;
use super::workload::{ACCOUNTS, Evidence, PARTITIONS, READERS, TOPIC, TRANSACTIONAL_IDS, Workload};

/// On every broker, and in sync before the next fault.
const REPLICAS: i16 = 3;
/// Records that every producer must bring through after each fault.
pub(crate) const MORE: u64 = 30;
/// So that a member alone acknowledges nothing.
const MIN_IN_SYNC: &[(&str, &str)] = &[("min.insync.replicas", "2")];
/// Of each internal topic, as tests configure brokers.
const INTERNAL_PARTITIONS: i32 = 5;
/// How long ZooKeeper waits for a silent broker. Unit: ms.
const SESSION_MS: u64 = 4000;
/// The same for the brokers' settings.
pub(crate) const SESSION: (&str, &str) = ("zookeeper.session.timeout.ms", "4000");
/// ZooKeeper servers that vote; observers come behind them.
const VOTERS: usize = 3;

/// Whether the long trials are asked for; who does not is told.
pub(crate) fn soak() -> bool {
    let asked = std::env::var_os("ODRADEK_SOAK").is_some();
    if !asked {
        eprintln!("skipped: asked for with ODRADEK_SOAK=1");
    }
    asked
}

/// Whom a fault meets.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Victim {
    Leader,
    Follower,
    Controller,
    GroupCoordinator,
    TransactionCoordinator,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// SIGKILL, and a start on the same files.
    Kill(Victim),
    KillAll,
    /// SIGSTOP until ZooKeeper has ended the session.
    FreezeBeyondTheSession(Victim),
    /// SIGSTOP for a third of a session: the registration is there all the time.
    FreezeWithinTheSession(Victim),
    /// SIGTERM to one after the other, the next one when all are in sync again.
    Roll,
    KillZookeepersLeader,
    /// Two of three voters gone for so long; the brokers serve on.
    LoseTheQuorum(Duration),
    /// ZooKeeper's servers stand still every other moment while a broker dies and comes back.
    SlowEnsemble,
}

/// A cluster at work.
pub(crate) struct Trial {
    pub(crate) cluster: Cluster,
    pub(crate) workload: Workload,
    pub(crate) random: Random,
    name: String,
    seed: u64,
    began: Instant,
    events: RefCell<Vec<String>>,
    /// Whose replicas are compared.
    partitions: Vec<(String, i32)>,
    evidence: Option<Evidence>,
}

impl Trial {
    #[track_caller]
    pub(crate) fn begin(name: &str, cluster: Cluster) -> Trial {
        let brokers = cluster.brokers.iter().map(|broker| broker.address()).collect();
        Trial::begin_through(name, cluster, brokers)
    }

    /// Clients first ask at these addresses. With the seed of `ODRADEK_SEED`, or another one each time.
    #[track_caller]
    pub(crate) fn begin_through(name: &str, cluster: Cluster, clients_ask: Vec<SocketAddr>) -> Trial {
        let given = std::env::var("ODRADEK_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| now_ms().cast_unsigned());
        let mut connection = cluster.broker(cluster.controller()).connect();
        for topic in [TOPIC, ACCOUNTS] {
            create_topic(&mut connection, topic, PARTITIONS, REPLICAS, MIN_IN_SYNC);
        }
        let mut trial = Trial {
            cluster,
            workload: Workload::start(clients_ask),
            random: Random::new(seed),
            name: name.to_owned(),
            seed,
            began: Instant::now(),
            events: RefCell::default(),
            partitions: [TOPIC, ACCOUNTS].iter().flat_map(|topic| all_of(topic, PARTITIONS)).collect(),
            evidence: None,
        };
        let kinds: Vec<Kind> = trial.cluster.brokers.iter().map(|broker| broker.kind).collect();
        trial.note(&format!("ODRADEK_SEED={seed}, brokers {kinds:?}"));
        trial.settle();
        trial
    }

    /// A topic of one partition beside those of the workload.
    #[track_caller]
    pub(crate) fn add_topic(&mut self, topic: &str) {
        let mut controller = self.cluster.broker(self.cluster.controller()).connect();
        create_topic(&mut controller, topic, 1, REPLICAS, MIN_IN_SYNC);
        self.partitions.extend(all_of(topic, 1));
    }

    /// Each of these faults once, in an order of the seed.
    #[track_caller]
    pub(crate) fn suffer(&mut self, faults: &[Fault]) {
        let mut faults = faults.to_vec();
        for last in (1..faults.len()).rev() {
            let other = self.random.below(last as u64 + 1);
            faults.swap(last, usize::try_from(other).expect("few faults"));
        }
        for fault in faults {
            let moment = self.random.between(1, MORE);
            self.workload.wait_for_more(moment);
            self.note(&format!("{fault:?}"));
            self.happen(fault);
            self.settle();
        }
    }

    #[track_caller]
    fn happen(&mut self, fault: Fault) {
        match fault {
            Fault::Kill(victim) => self.kill(self.find(victim)),
            Fault::KillAll => self.kill_all(),
            Fault::FreezeBeyondTheSession(victim) => self.freeze_beyond_the_session(self.find(victim)),
            Fault::FreezeWithinTheSession(victim) => self.freeze_within_the_session(self.find(victim)),
            Fault::Roll => self.roll(),
            Fault::KillZookeepersLeader => self.kill_zookeepers_leader(),
            Fault::LoseTheQuorum(time) => self.lose_the_quorum(time),
            Fault::SlowEnsemble => self.slow_ensemble(),
        }
    }

    /// Prints what happens, and keeps it for the account of a failure.
    pub(crate) fn note(&self, what: &str) {
        let line = format!("{} {:6.1} s: {what}", self.name, self.began.elapsed().as_secs_f32());
        eprintln!("{line}");
        self.events.borrow_mut().push(line);
    }

    /// Waits until everything is in sync again and everybody works, and holds the replicas against one another.
    #[track_caller]
    pub(crate) fn settle(&mut self) {
        self.cluster.wait_until_all_are_known();
        self.until_in_sync();
        self.workload.wait_for_more(MORE);
        self.note("settled");
        self.replicas_are_equal();
    }

    /// As ZooKeeper has it: brokers may have old news.
    #[track_caller]
    fn until_in_sync(&self) {
        let internal = ["__consumer_offsets", "__transaction_state"];
        let internal = internal.iter().flat_map(|topic| all_of(topic, INTERNAL_PARTITIONS));
        for (topic, partition) in self.partitions.iter().cloned().chain(internal) {
            self.cluster.until(&format!("all replicas of {topic}-{partition} are in sync"), |cluster| {
                cluster.decided(&topic, partition).is_some_and(|(leader, in_sync)| {
                    leader >= 0 && in_sync.len() == REPLICAS.cast_unsigned() as usize
                })
            });
        }
    }

    #[track_caller]
    pub(crate) fn find(&self, victim: Victim) -> i32 {
        let found = match victim {
            Victim::Leader => self.leader(),
            Victim::Follower => {
                let leader = self.leader();
                self.ids().into_iter().find(|id| *id != leader).expect("several brokers")
            }
            Victim::Controller => self.cluster.controller(),
            Victim::GroupCoordinator => self.coordinator(READERS, 0),
            Victim::TransactionCoordinator => self.coordinator(TRANSACTIONAL_IDS[0], 1),
        };
        self.note(&format!("  the {victim:?} is {found}"));
        found
    }

    /// Of the first partition.
    #[track_caller]
    pub(crate) fn leader(&self) -> i32 {
        self.cluster.await_some("a leader", |cluster| {
            let (leader, _) = cluster.decided(TOPIC, 0)?;
            (leader >= 0).then_some(leader)
        })
    }

    /// `kind` 0 for groups, 1 for transactional ids.
    #[track_caller]
    fn coordinator(&self, key: &str, kind: i8) -> i32 {
        let request = FindCoordinatorRequest::default().with_key(text(key)).with_key_type(kind);
        self.cluster.await_some("a coordinator", |cluster| {
            let answer = cluster.brokers[0].try_connect()?.try_request(3, &request).ok()?;
            (answer.error_code == 0).then_some(answer.node_id.0)
        })
    }

    pub(crate) fn ids(&self) -> Vec<i32> {
        self.cluster.brokers.iter().map(|broker| broker.id).collect()
    }

    #[track_caller]
    fn kill(&mut self, id: i32) {
        self.cluster.broker_mut(id).kill();
        self.workload.wait_for_more(MORE);
        self.note("  served without it");
        self.cluster.broker_mut(id).restart();
        self.note("  it is back");
    }

    #[track_caller]
    fn kill_all(&mut self) {
        self.cluster.brokers.iter_mut().for_each(|broker| broker.kill());
        for broker in &mut self.cluster.brokers {
            if broker.kind == Kind::Apache {
                broker.wait_until_it_is_forgotten();
            }
            broker.spawn();
        }
        self.cluster.wait_until_all_are_known();
    }

    #[track_caller]
    fn freeze_beyond_the_session(&mut self, id: i32) {
        self.cluster.broker(id).pause();
        self.cluster.broker(id).wait_until_it_is_forgotten();
        self.note("  ZooKeeper has forgotten it");
        self.workload.wait_for_more(MORE);
        self.note("  served without it");
        self.cluster.broker(id).resume();
    }

    #[track_caller]
    fn freeze_within_the_session(&mut self, id: i32) {
        self.cluster.broker(id).pause();
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(SESSION_MS / 3) {
            assert!(self.cluster.ensemble.exists(&format!("/brokers/ids/{id}")));
            std::thread::park_timeout(Duration::from_millis(100));
        }
        self.cluster.broker(id).resume();
    }

    #[track_caller]
    fn roll(&mut self) {
        for id in self.ids() {
            self.cluster.broker_mut(id).stop();
            self.cluster.broker_mut(id).restart();
            self.cluster.wait_until_all_are_known();
            self.until_in_sync();
            self.note(&format!("  {id} was restarted"));
        }
    }

    #[track_caller]
    fn kill_zookeepers_leader(&mut self) {
        let leader = self.cluster.ensemble.leader();
        self.cluster.ensemble.kill(leader);
        self.workload.wait_for_more(MORE);
        self.cluster.ensemble.leader();
        self.cluster.ensemble.revive(leader);
        self.cluster.ensemble.wait_until_whole();
    }

    #[track_caller]
    fn lose_the_quorum(&mut self, time: Duration) {
        let stays = usize::try_from(self.random.below(VOTERS as u64)).expect("few voters");
        let killed = self.random.chance(500);
        let gone: Vec<usize> = (0..VOTERS).filter(|at| *at != stays).collect();
        for at in &gone {
            if killed { self.cluster.ensemble.kill(*at) } else { self.cluster.ensemble.pause(*at) }
        }
        self.note(&format!("  voters {gone:?} are gone, killed: {killed}"));
        let began = Instant::now();
        while began.elapsed() < time {
            self.workload.wait_for_more(MORE);
        }
        for at in &gone {
            if killed { self.cluster.ensemble.revive(*at) } else { self.cluster.ensemble.resume(*at) }
        }
        self.cluster.ensemble.wait_until_whole();
    }

    #[track_caller]
    fn slow_ensemble(&mut self) {
        let id = self.find(Victim::Follower);
        let Cluster { brokers, ensemble } = &mut self.cluster;
        let broker = brokers.iter_mut().find(|broker| broker.id == id).expect("a broker of the cluster");
        let (workload, random) = (&self.workload, &mut self.random);
        let (done, told) = std::sync::mpsc::channel::<()>();
        let ensemble = &*ensemble;
        std::thread::scope(|scope| {
            // Dropped however this ends, so that the servers run again.
            let done = done;
            scope.spawn(move || {
                let all = 0..ensemble.servers().len();
                let mut wait = |least, most| {
                    told.recv_timeout(Duration::from_millis(random.between(least, most)))
                        == Err(std::sync::mpsc::RecvTimeoutError::Timeout)
                };
                while wait(100, 700) {
                    all.clone().for_each(|at| ensemble.pause(at));
                    let goes_on = wait(300, 1200);
                    all.clone().for_each(|at| ensemble.resume(at));
                    if !goes_on {
                        return;
                    }
                }
            });
            broker.kill();
            workload.wait_for_more(MORE);
            broker.restart();
            workload.wait_for_more(MORE);
            drop(done);
        });
    }

    /// Every replica has, below the high watermark, the same batches.
    #[track_caller]
    fn replicas_are_equal(&self) {
        // Asked before the files are read: appends go on.
        let ends = self.partitions.iter().map(|(topic, partition)| self.high_watermark(topic, *partition));
        let ends: Vec<i64> = ends.collect();
        let dumps = dumps(&self.log_dirs(), &self.partitions);
        for (place, end) in self.partitions.iter().zip(ends) {
            let (topic, partition) = place;
            let below = |dump: &Dump| -> Vec<String> {
                let batches = dump.get(place);
                batches
                    .into_iter()
                    .flat_map(|batches| batches.range(..end))
                    .map(|one| one.1.clone())
                    .collect()
            };
            let replicas: Vec<Vec<String>> = dumps.iter().map(below).collect();
            assert_eq!(end > 0, !replicas[0].is_empty(), "{topic}-{partition} below {end}");
            for (id, replica) in self.ids().iter().zip(&replicas) {
                assert!(
                    *replica == replicas[0],
                    "{topic}-{partition} below {end}: broker {id} has {}",
                    difference(replica, &replicas[0])
                );
            }
        }
    }

    #[track_caller]
    fn high_watermark(&self, topic: &str, partition: i32) -> i64 {
        self.cluster.await_some("a high watermark", |cluster| {
            let (leader, _) = cluster.decided(topic, partition)?;
            let leader = cluster.brokers.iter().find(|broker| broker.id == leader)?;
            let answer = try_fetch(&mut leader.try_connect()?, topic, partition, 0).ok()?;
            (answer.error == 0).then_some(answer.high_watermark)
        })
    }

    fn log_dirs(&self) -> Vec<PathBuf> {
        self.cluster.brokers.iter().map(|broker| broker.log_dir()).collect()
    }

    /// What everybody saw is sound, and the replicas end alike to their last batch.
    #[track_caller]
    pub(crate) fn end(mut self) {
        let evidence = self.workload.finish();
        let violations = evidence.violations();
        let (history, transactions) = (&evidence.history, &evidence.transactions);
        let outcomes = transactions.ended.iter().fold([0; 3], |mut counts, one| {
            counts[one.outcome as usize] += 1;
            counts
        });
        self.note(&format!(
            "{} acknowledged, {} read; transactions committed, aborted, unknown: {outcomes:?}, {} read",
            history.acknowledged.len(),
            history.read.len(),
            transactions.read.len()
        ));
        let seen = !history.acknowledged.is_empty() && !history.read.is_empty() && outcomes[0] > 0;
        self.evidence = Some(evidence);
        assert!(violations.is_empty(), "{}", violations.join("\n"));
        assert!(seen, "nothing was seen");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let dumps = dumps(&self.log_dirs(), &self.partitions);
            if dumps.windows(2).all(|pair| pair[0] == pair[1]) {
                assert_eq!(dumps[0].len(), self.partitions.len());
                break;
            }
            assert!(Instant::now() < deadline, "the replicas differ: {dumps:#?}");
        }
        self.note("the replicas are equal to their ends");
    }

    /// All that was seen and printed, in a folder of its own.
    fn write_account(&self) -> std::io::Result<PathBuf> {
        fn lines(all: &[impl Debug]) -> String {
            all.iter().map(|one| format!("{one:?}\n")).collect()
        }
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{}", self.name, self.seed));
        fs::create_dir_all(&folder)?;
        let so_far;
        let evidence = match &self.evidence {
            Some(evidence) => evidence,
            None => {
                so_far = self.workload.evidence();
                &so_far
            }
        };
        let Evidence { history, transactions } = evidence;
        fs::write(folder.join("events"), self.events.borrow().join("\n"))?;
        fs::write(folder.join("acknowledged"), lines(&history.acknowledged))?;
        fs::write(folder.join("read"), lines(&history.read))?;
        fs::write(folder.join("log"), lines(&history.log))?;
        fs::write(folder.join("transactions"), lines(&transactions.ended))?;
        fs::write(folder.join("transactions-read"), lines(&transactions.read))?;
        fs::write(folder.join("transactions-log"), lines(&transactions.log))?;
        for broker in &self.cluster.brokers {
            fs::write(folder.join(format!("broker-{}", broker.id)), broker.printed())?;
        }
        Ok(folder)
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let account = self.write_account();
            let events = self.events.borrow().join("\n");
            eprintln!("{events}\nODRADEK_SEED={}; all that was seen: {account:?}", self.seed);
        }
    }
}

fn all_of(topic: &str, partitions: i32) -> impl Iterator<Item = (String, i32)> + use<'_> {
    (0..partitions).map(move |partition| (topic.to_owned(), partition))
}
