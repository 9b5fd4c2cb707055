//! Members of a cluster die, freeze, are cut off and come back, while idempotent producers write at acks=all and a
//! group reads: nothing that was acknowledged is lost, nothing comes twice, and the replicas are equal in the end.
//!
//! The clusters run with `ODRADEK_SOAK=1`: every fault meets every member, several rounds long, also beside Apache's
//! brokers. The checker itself is held to its rules in every run.

mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use support::cluster::{Cluster, Member};
use support::ensemble::Ensemble;
use support::history::{History, Seen};
use support::process::PATIENCE;
use support::proxy::Proxy;
use support::requests::create_topic;
use support::seat::Kind;
use support::stock;
use support::workload::Workload;

const TOPIC: &str = "faults";
const PARTITIONS: i32 = 3;
const REPLICAS: i16 = 3;
/// Records that every producer must bring through after each fault.
const MORE: u64 = 50;
const SESSION: (&str, &str) = ("zookeeper.session.timeout.ms", "4000");

fn soak() -> bool {
    std::env::var_os("ODRADEK_SOAK").is_some()
}

/// A cluster at work.
struct Trial {
    cluster: Cluster,
    workload: Workload,
}

impl Trial {
    fn begin(cluster: Cluster) -> Trial {
        let mut connection = cluster.broker(cluster.controller()).connect();
        create_topic(&mut connection, TOPIC, PARTITIONS, REPLICAS, &[("min.insync.replicas", "2")]);
        let ports = cluster.brokers.iter().map(|broker| broker.port).collect();
        let workload = Workload::start(TOPIC, PARTITIONS, ports);
        let mut trial = Trial { cluster, workload };
        trial.settle("the start");
        trial
    }

    /// Waits until everything is in sync again and everybody works.
    #[track_caller]
    fn settle(&mut self, after: &str) {
        let began = Instant::now();
        for partition in 0..PARTITIONS {
            self.cluster.wait_until_in_sync(TOPIC, partition, REPLICAS.cast_unsigned().into());
        }
        self.workload.wait_for_more(MORE);
        eprintln!("{after}: settled after {:?}", began.elapsed());
        self.replicas_are_equal(after);
    }

    /// SIGKILL, and the way back.
    fn kill(&mut self, id: i32, who: &str) {
        self.cluster.broker_mut(id).kill();
        self.workload.wait_for_more(MORE);
        self.cluster.broker_mut(id).restart();
        self.settle(&format!("{who} {id} was killed"));
    }

    /// SIGSTOP until ZooKeeper has ended its session.
    fn freeze_beyond_the_session(&mut self, id: i32, who: &str) {
        self.cluster.broker(id).pause();
        self.cluster.broker(id).wait_until_it_is_forgotten();
        self.workload.wait_for_more(MORE);
        self.cluster.broker(id).resume();
        self.settle(&format!("{who} {id} was frozen beyond its session"));
    }

    /// SIGSTOP for half of a session: its registration must be there all the time.
    fn freeze_below_the_session(&mut self, id: i32) {
        self.cluster.broker(id).pause();
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(2) {
            assert!(self.cluster.ensemble.exists(&format!("/brokers/ids/{id}")));
            std::thread::park_timeout(Duration::from_millis(100));
        }
        self.cluster.broker(id).resume();
        self.settle(&format!("broker {id} was frozen within its session"));
    }

    /// SIGTERM one after the other, the next one when all are in sync again.
    fn roll(&mut self) {
        for id in self.ids() {
            self.cluster.broker_mut(id).stop();
            self.cluster.broker_mut(id).restart();
            self.settle(&format!("broker {id} was restarted in turn"));
        }
    }

    fn kill_all(&mut self) {
        self.cluster.brokers.iter_mut().for_each(|broker| broker.kill());
        for id in self.ids() {
            if self.cluster.broker(id).kind == Kind::Apache {
                self.cluster.broker(id).wait_until_it_is_forgotten();
            }
        }
        self.cluster.brokers.iter_mut().for_each(|broker| broker.spawn());
        self.cluster.wait_until_all_are_known();
        self.settle("all brokers were killed at once");
    }

    fn kill_zookeepers_leader(&mut self) {
        let leader = self.cluster.ensemble.leader();
        self.cluster.ensemble.kill(leader);
        self.workload.wait_for_more(MORE);
        self.cluster.ensemble.leader();
        self.cluster.ensemble.revive(leader);
        self.cluster.ensemble.wait_until_whole();
        self.settle("ZooKeeper's leader was killed");
    }

    fn ids(&self) -> Vec<i32> {
        self.cluster.brokers.iter().map(|broker| broker.id).collect()
    }

    fn leader(&self) -> i32 {
        self.cluster.leader(TOPIC, 0)
    }

    fn follower(&self) -> i32 {
        let leader = self.leader();
        self.ids().into_iter().find(|id| *id != leader).expect("three brokers")
    }

    /// Who has the offsets of the group.
    fn coordinator(&self) -> i32 {
        let partition = java_hash("readers") % 5;
        self.cluster.leader("__consumer_offsets", partition)
    }

    /// The batches of every replica below the high watermark, as DumpLogSegments prints them, are the same.
    #[track_caller]
    fn replicas_are_equal(&self, after: &str) {
        // Appends go on: what every replica has now is what is compared.
        let dumps: Vec<_> = self.cluster.brokers.iter().map(|broker| batches(&broker.log_dir())).collect();
        for partition in 0..PARTITIONS {
            let of = |dump: &BTreeMap<i32, BTreeMap<i64, String>>| {
                dump.get(&partition).cloned().unwrap_or_default()
            };
            let replicas: Vec<_> = dumps.iter().map(of).collect();
            let shortest =
                replicas.iter().map(|one| one.keys().last().copied().unwrap_or(-1)).min().unwrap_or(-1);
            assert!(shortest > 0, "after {after}: a replica of partition {partition} is empty");
            for replica in &replicas[1..] {
                let (first, other) = (replicas[0].range(..shortest), replica.range(..shortest));
                assert!(first.eq(other), "after {after}: partition {partition}: {replicas:#?}");
            }
        }
    }

    #[track_caller]
    fn end(self) {
        let Trial { cluster, workload } = self;
        let history = workload.finish();
        let violations = history.violations();
        assert!(violations.is_empty(), "{}", violations.join("\n"));
        assert!(!history.acknowledged.is_empty() && !history.read.is_empty());
        let trial = Quiet { cluster };
        trial.replicas_end_alike();
    }
}

/// A cluster that nobody writes to.
struct Quiet {
    cluster: Cluster,
}

impl Quiet {
    /// To the last batch: with nobody writing, every replica reaches the end.
    #[track_caller]
    fn replicas_end_alike(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let dumps: Vec<_> =
                self.cluster.brokers.iter().map(|broker| batches(&broker.log_dir())).collect();
            if dumps.windows(2).all(|pair| pair[0] == pair[1]) {
                assert_eq!(dumps[0].len(), PARTITIONS.cast_unsigned() as usize);
                return;
            }
            assert!(Instant::now() < deadline, "the replicas differ: {dumps:#?}");
        }
    }
}

/// `String.hashCode` without the sign, as Kafka finds a group's partition.
fn java_hash(text: &str) -> i32 {
    let hash =
        text.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    hash & i32::MAX
}

/// What DumpLogSegments prints of every batch of the topic in a log directory, without where it lies in its file:
/// partition, base offset, line.
fn batches(log_dir: &std::path::Path) -> BTreeMap<i32, BTreeMap<i64, String>> {
    let mut files = Vec::new();
    for partition in 0..PARTITIONS {
        let Ok(entries) = std::fs::read_dir(log_dir.join(format!("{TOPIC}-{partition}"))) else { continue };
        let paths = entries.map(|entry| entry.expect("a readable folder").path());
        files.extend(paths.filter(|path| path.extension().is_some_and(|extension| extension == "log")));
    }
    let list: Vec<String> = files.iter().map(|path| path.display().to_string()).collect();
    let dump = stock::tool("3.9.1", "kafka-dump-log", &["--files", &list.join(",")], "").success();
    let mut found: BTreeMap<i32, BTreeMap<i64, String>> = BTreeMap::new();
    let mut partition = None;
    for line in dump.lines() {
        if let Some(path) = line.strip_prefix("Dumping ") {
            let folder = path.rsplit('/').nth(1).expect("a path of a segment");
            partition = folder.rsplit('-').next().and_then(|number| number.parse().ok());
        } else if let Some(rest) = line.strip_prefix("baseOffset: ") {
            let base: i64 = rest.split(' ').next().and_then(|number| number.parse().ok()).expect("an offset");
            let words: Vec<&str> = line.split(' ').collect();
            let at = words.iter().position(|word| *word == "position:").expect("a position");
            let kept = [&words[..at], &words[at + 2..]].concat().join(" ");
            found.entry(partition.expect("a path came before")).or_default().insert(base, kept);
        }
    }
    found
}

#[test]
fn the_checker_finds_what_was_doctored() {
    let sound = History {
        acknowledged: vec![
            Seen::new(0, 0, "0/0"),
            Seen::new(0, 1, "0/1"),
            Seen { partition: 0, offset: None, value: "0/2".into() },
        ],
        read: vec![
            Seen::new(0, 0, "0/0"),
            Seen::new(0, 1, "0/1"),
            Seen::new(0, 1, "0/1"),
            Seen::new(0, 2, "0/2"),
        ],
        log: vec![Seen::new(0, 0, "0/0"), Seen::new(0, 1, "0/1"), Seen::new(0, 2, "0/2")],
    };
    assert_eq!(sound.violations(), [""; 0]);
    let doctored = |change: fn(&mut History), told: &str| {
        let mut history = sound.clone();
        change(&mut history);
        let violations = history.violations();
        assert!(violations.iter().any(|one| one.starts_with(told)), "{told}: {violations:?}");
    };
    doctored(|history| drop(history.log.pop()), "acknowledged and lost");
    doctored(|history| history.log[1].value = "0/2".into(), "acknowledged and lost");
    doctored(|history| history.log.swap(0, 1), "offsets do not ascend");
    doctored(|history| history.log.push(Seen::new(0, 3, "0/2")), "written twice");
    doctored(|history| drop(history.log.remove(0)), "records before it are missing");
    doctored(|history| history.read[0].value = "0/9".into(), "read and not there");
    doctored(|history| history.read.retain(|one| one.offset != Some(2)), "acknowledged and never read");
}

#[test]
fn nothing_is_lost_when_members_die_freeze_and_come_back() {
    if !soak() {
        eprintln!("skipped: asked for with ODRADEK_SOAK=1");
        return;
    }
    let mut trial = Trial::begin(Cluster::start(&[Kind::Ours; 3], &[SESSION]));
    for _ in 0..3 {
        trial.kill(trial.leader(), "the leader");
        trial.kill(trial.cluster.controller(), "the controller");
        trial.freeze_beyond_the_session(trial.leader(), "the leader");
        trial.kill_zookeepers_leader();
        trial.roll();
        trial.kill_all();
        trial.kill(trial.follower(), "a follower");
        trial.kill(trial.coordinator(), "the group's coordinator");
        trial.freeze_below_the_session(trial.leader());
        trial.freeze_beyond_the_session(trial.cluster.controller(), "the controller");
        trial.freeze_beyond_the_session(trial.follower(), "a follower");
    }
    trial.end();
}

#[test]
fn nothing_is_lost_in_a_cluster_with_apaches_brokers() {
    if !soak() {
        eprintln!("skipped: asked for with ODRADEK_SOAK=1");
        return;
    }
    for kinds in [[Kind::Ours, Kind::Apache, Kind::Ours], [Kind::Apache, Kind::Ours, Kind::Apache]] {
        let mut trial = Trial::begin(Cluster::start(&kinds, &[SESSION]));
        for id in trial.ids() {
            trial.kill(id, "broker");
            trial.freeze_beyond_the_session(id, "broker");
            trial.freeze_below_the_session(id);
        }
        trial.kill(trial.cluster.controller(), "the controller");
        trial.kill_zookeepers_leader();
        trial.roll();
        trial.kill_all();
        trial.end();
    }
}

/// Three brokers; what one says to ZooKeeper, and what others say to it, goes through proxies.
struct Wired {
    trial: Trial,
    /// To every ZooKeeper server, by broker.
    to_zookeeper: Vec<Vec<Proxy>>,
    /// From the other brokers, by broker.
    from_brokers: Vec<Proxy>,
}

impl Wired {
    fn begin() -> Wired {
        let ensemble = Ensemble::start();
        let ways =
            || -> Vec<Proxy> { ensemble.servers().iter().map(|server| Proxy::to(server.port)).collect() };
        let to_zookeeper: Vec<Vec<Proxy>> = (0..3).map(|_| ways()).collect();
        let inner_ports: Vec<u16> = (0..3).map(|_| support::ports::free_port()).collect();
        let from_brokers: Vec<Proxy> = inner_ports.iter().map(|port| Proxy::to(*port)).collect();
        let listeners: Vec<[String; 3]> = (0..3)
            .map(|at| {
                let inner = from_brokers[at].port;
                let servers: Vec<String> =
                    to_zookeeper[at].iter().map(|proxy| format!("127.0.0.1:{}", proxy.port)).collect();
                [
                    format!("CLIENTS://127.0.0.1:{{port}},BROKERS://127.0.0.1:{}", inner_ports[at]),
                    format!("CLIENTS://127.0.0.1:{{port}},BROKERS://127.0.0.1:{inner}"),
                    servers.join(","),
                ]
            })
            .collect();
        let settings: Vec<Vec<(&str, &str)>> = listeners
            .iter()
            .map(|[listeners, advertised, zookeeper]| {
                vec![
                    SESSION,
                    ("listeners", listeners),
                    ("advertised.listeners", advertised),
                    ("listener.security.protocol.map", "CLIENTS:PLAINTEXT,BROKERS:PLAINTEXT"),
                    ("inter.broker.listener.name", "BROKERS"),
                    ("zookeeper.connect", zookeeper),
                ]
            })
            .collect();
        let each: Vec<Member<'_>> = settings.iter().map(|one| (Kind::Ours, one.as_slice())).collect();
        let cluster = Cluster::start_each(ensemble, &each);
        Wired { trial: Trial::begin(cluster), to_zookeeper, from_brokers }
    }

    fn zookeeper_of(&self, id: i32) -> &[Proxy] {
        &self.to_zookeeper[usize::try_from(id - 1).expect("an id")]
    }

    fn brokers_to(&self, id: i32) -> &Proxy {
        &self.from_brokers[usize::try_from(id - 1).expect("an id")]
    }

    /// Cut off from ZooKeeper alone until its session has ended; clients and brokers still reach it.
    fn cut_off_from_zookeeper(&mut self, id: i32, who: &str) {
        self.zookeeper_of(id).iter().for_each(Proxy::cut);
        self.trial.cluster.broker(id).wait_until_it_is_forgotten();
        self.trial.workload.wait_for_more(MORE);
        self.zookeeper_of(id).iter().for_each(Proxy::mend);
        self.trial.settle(&format!("{who} {id} was cut off from ZooKeeper"));
    }

    /// Followers cannot fetch and the controller cannot speak to it, or only in one direction; clients still reach it.
    fn cut_off_from_brokers(&mut self, id: i32, one_way: bool) {
        if one_way {
            self.brokers_to(id).cut_forth()
        } else {
            self.brokers_to(id).cut()
        }
        self.trial.cluster.until("the followers leave the in-sync set, or leadership moves", |cluster| {
            (0..PARTITIONS).all(|partition| {
                cluster
                    .leadership(TOPIC, partition)
                    .is_some_and(|(leader, in_sync)| leader != id || in_sync == [id])
            })
        });
        self.brokers_to(id).mend();
        self.trial.settle(&format!("broker {id} was cut off from the others, one way: {one_way}"));
    }
}

#[test]
fn nothing_is_lost_when_the_network_is_cut() {
    if !soak() {
        eprintln!("skipped: asked for with ODRADEK_SOAK=1");
        return;
    }
    let mut wired = Wired::begin();
    wired.cut_off_from_zookeeper(wired.trial.leader(), "the leader");
    wired.cut_off_from_zookeeper(wired.trial.cluster.controller(), "the controller");
    for one_way in [false, true] {
        wired.cut_off_from_brokers(wired.trial.leader(), one_way);
    }
    for proxy in wired.from_brokers.iter().chain(wired.to_zookeeper.iter().flatten()) {
        proxy.reset();
    }
    wired.trial.settle("every connection was reset");
    wired.trial.end();
}
