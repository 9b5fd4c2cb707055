//! The network between brokers, ZooKeeper and clients is cut, one way or both, and heals; connections lag, stall and are
//! reset: nothing that was acknowledged is lost, a leader that nobody but clients reaches acknowledges nothing at
//! acks=all, and the replicas are equal in the end.
//!
//! Cuts are made between network namespaces, which takes root: skipped, visibly, where that is missing. Each test has a
//! longer form behind `ODRADEK_SOAK=1`.

mod support;

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use support::cluster::{Cluster, Member};
use support::ensemble::Ensemble;
use support::ports::free_port;
use support::process::namespaces::{Host, Network, in_a_network};
use support::proxy::{Proxy, Weather};
use support::records::{Batch, read_records};
use support::requests::{produce, try_fetch, try_produce, try_produce_as};
use support::seat::{self, Kind};
use support::trial::Fault::{FreezeBeyondTheSession, Kill, Roll};
use support::trial::Victim::{Controller, Follower, Leader};
use support::trial::{MORE, SESSION, Trial, Victim, soak};
use support::wire::Connection;

/// One cluster at a time: several at once starve one another, and then time out for no fault of theirs.
static TURN: Mutex<()> = Mutex::new(());

/// So that a connection that was cut is given up after seconds.
const SETTINGS: &[(&str, &str)] = &[
    SESSION,
    ("replica.socket.timeout.ms", "5000"),
    ("controller.socket.timeout.ms", "5000"),
    ("request.timeout.ms", "5000"),
];

/// How long brokers are cut off from one another: longer than `replica.lag.time.max.ms` of the tests' clusters.
const APART: Duration = Duration::from_secs(8);

/// What is dropped of what one machine and another say to each other.
#[derive(Clone, Copy, Debug)]
enum Cut {
    Both,
    /// What the victim says.
    Out,
    /// What is said to the victim.
    In,
}

/// Three brokers on machines of their own, and ZooKeeper on a fourth. Clients reach all of them, whatever is cut.
struct Wired<'n> {
    trial: Trial,
    network: &'n Network,
}

/// Broker with id 1 on the first machine, and so on.
const BROKERS: u8 = 3;

impl Wired<'_> {
    #[track_caller]
    fn begin<'n>(name: &str, network: &'n Network, kinds: [Kind; 3]) -> Wired<'n> {
        let ensemble = Ensemble::placed(1, 0, Some(&network.hosts[usize::from(BROKERS)]));
        let cluster = Cluster::start_at(&network.hosts, ensemble, &kinds, SETTINGS);
        Wired { trial: Trial::begin(name, cluster), network }
    }

    fn host(&self, id: i32) -> &Host {
        &self.network.hosts[usize::try_from(id - 1).expect("an id")]
    }

    fn zookeeper(&self) -> Vec<&Host> {
        vec![&self.network.hosts[usize::from(BROKERS)]]
    }

    fn other_brokers(&self, id: i32) -> Vec<&Host> {
        self.trial.ids().into_iter().filter(|other| *other != id).map(|other| self.host(other)).collect()
    }

    fn cut(&self, id: i32, from: &[&Host], cut: Cut) {
        self.each_way(id, from, cut, Network::cut);
    }

    fn mend(&self, id: i32, from: &[&Host], cut: Cut) {
        self.each_way(id, from, cut, Network::mend);
    }

    fn each_way(&self, id: i32, from: &[&Host], cut: Cut, change: fn(&Network, &Host, &Host)) {
        self.trial.note(&format!("  {id}, {cut:?}"));
        for other in from {
            if matches!(cut, Cut::Both | Cut::Out) {
                change(self.network, self.host(id), other);
            }
            if matches!(cut, Cut::Both | Cut::In) {
                change(self.network, other, self.host(id));
            }
        }
    }

    /// Until its session has ended; clients and brokers still reach it.
    #[track_caller]
    fn cut_off_from_zookeeper(&mut self, victim: Victim, cut: Cut) {
        self.trial.note(&format!("{victim:?} cut off from ZooKeeper"));
        let id = self.trial.find(victim);
        self.cut(id, &self.zookeeper(), cut);
        self.trial.cluster.broker(id).wait_until_it_is_forgotten();
        self.trial.note("  ZooKeeper has forgotten it");
        self.trial.workload.wait_for_more(MORE);
        self.trial.note("  served without it");
        self.mend(id, &self.zookeeper(), cut);
        self.trial.settle();
    }

    /// ZooKeeper and clients still reach it: it goes on leading, alone.
    #[track_caller]
    fn cut_off_from_brokers(&mut self, victim: Victim, cut: Cut) {
        self.trial.note(&format!("{victim:?} cut off from the other brokers"));
        let id = self.trial.find(victim);
        self.cut(id, &self.other_brokers(id), cut);
        let began = Instant::now();
        while began.elapsed() < APART {
            assert!(self.trial.cluster.ensemble.exists(&format!("/brokers/ids/{id}")));
            std::thread::park_timeout(Duration::from_millis(200));
        }
        self.mend(id, &self.other_brokers(id), cut);
        self.trial.settle();
    }
}

/// A topic of one partition whose leader is cut off from everybody but clients.
const LONELY: &str = "lonely";

impl Wired<'_> {
    /// Cut off from brokers and ZooKeeper, still reached by clients.
    #[track_caller]
    fn isolate_a_leader(&mut self) {
        self.trial.note("a leader that only clients reach");
        self.trial.add_topic(LONELY);
        let leader = self.leader_of_lonely();
        let mut client = self.trial.cluster.broker(leader).connect();
        produce(&mut client, LONELY, 0, &Batch::of(&["before"]).encode());
        let everybody = [self.other_brokers(leader), self.zookeeper()].concat();
        self.cut(leader, &everybody, Cut::Both);
        let alone = self.write_while_alone(&mut client, leader);
        let other = self.leader_of_lonely();
        self.trial.note(&format!("  {other} leads; acknowledged at acks=1 by {leader}: {alone:?}"));
        let mut elsewhere = self.trial.cluster.broker(other).connect();
        produce(&mut elsewhere, LONELY, 0, &Batch::of(&["after"]).encode());
        self.trial.workload.wait_for_more(MORE);
        self.mend(leader, &everybody, Cut::Both);
        self.trial.settle();
        // The former leader has cut off what it wrote alone, and has what was committed meanwhile.
        let mut reader = self.trial.cluster.broker(self.leader_of_lonely()).connect();
        assert_eq!(values(&mut reader, 0).1, ["before", "after"]);
    }

    #[track_caller]
    fn leader_of_lonely(&self) -> i32 {
        self.trial.cluster.await_some("a leader", |cluster| {
            let (leader, in_sync) = cluster.decided(LONELY, 0)?;
            (leader >= 0 && in_sync.len() >= 2).then_some(leader)
        })
    }

    /// Until another one leads: acks=1 is acknowledged, acks=all never, and readers see neither. The offsets of the
    /// former.
    #[track_caller]
    fn write_while_alone(&self, client: &mut Connection, leader: i32) -> Vec<i64> {
        let mut written = Vec::new();
        support::until("another broker leads", || {
            let one = try_produce(client, LONELY, 0, 1, &Batch::of(&["one"]).encode());
            if let (0, offset) = one.expect("clients reach an isolated leader") {
                written.push(offset);
            }
            let batch = Batch::of(&["all"]).encode();
            let all = try_produce_as(client, None, LONELY, 0, -1, &batch, Duration::from_secs(3));
            let (error, _) = all.expect("clients reach an isolated leader");
            assert_ne!(error, 0, "acknowledged at acks=all by a leader that nobody follows");
            let shown = values(client, 0);
            assert_eq!(shown, (1, vec!["before".to_owned()]), "what is not committed is not shown");
            self.trial.cluster.decided(LONELY, 0).is_some_and(|(now, _)| now >= 0 && now != leader)
        });
        assert!(!written.is_empty(), "an isolated leader takes what asks for its own acknowledgement only");
        written
    }
}

/// High watermark, and all values that are shown from `offset` on.
fn values(connection: &mut Connection, offset: i64) -> (i64, Vec<String>) {
    let answer = try_fetch(connection, LONELY, 0, offset).expect("the broker answers");
    assert_eq!(answer.error, 0);
    let records = read_records(&answer.records).into_iter();
    (answer.high_watermark, records.map(|(_, value)| String::from_utf8_lossy(&value).into_owned()).collect())
}

#[test]
fn nothing_is_lost_when_the_network_is_cut_and_heals() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    in_a_network(BROKERS + 1, |network| {
        let mut wired = Wired::begin("cuts", &network, [seat::kind(); 3]);
        wired.cut_off_from_zookeeper(Leader, Cut::Both);
        wired.cut_off_from_brokers(Leader, Cut::Out);
        wired.isolate_a_leader();
        wired.trial.end();
    });
}

#[track_caller]
fn every_cut(name: &str, kinds: [Kind; 3], victims: &[Victim]) {
    if !soak() {
        return;
    }
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    in_a_network(BROKERS + 1, |network| {
        let mut wired = Wired::begin(name, &network, kinds);
        for victim in victims {
            for cut in [Cut::Both, Cut::Out, Cut::In] {
                wired.cut_off_from_zookeeper(*victim, cut);
                wired.cut_off_from_brokers(*victim, cut);
            }
        }
        wired.isolate_a_leader();
        wired.trial.end();
    });
}

#[test]
fn nothing_is_lost_whichever_way_leaders_are_cut_off() {
    every_cut("cut-leaders", [Kind::Ours; 3], &[Leader]);
}

#[test]
fn nothing_is_lost_whichever_way_controllers_and_followers_are_cut_off() {
    every_cut("cut-controllers", [Kind::Ours; 3], &[Controller, Follower]);
}

#[test]
fn nothing_is_lost_whichever_way_leaders_are_cut_off_beside_apaches_brokers() {
    every_cut("cut-leaders-mixed", [Kind::Ours, Kind::Apache, Kind::Ours], &[Leader]);
}

#[test]
fn nothing_is_lost_whichever_way_controllers_are_cut_off_beside_apaches_brokers() {
    every_cut("cut-controllers-mixed", [Kind::Apache, Kind::Ours, Kind::Apache], &[Controller]);
}

/// Three brokers that clients, brokers and ZooKeeper are joined to through proxies.
struct Proxied {
    trial: Trial,
    among_brokers: Vec<Proxy>,
    from_clients: Vec<Proxy>,
    to_zookeeper: Vec<Proxy>,
}

impl Proxied {
    #[track_caller]
    fn begin(name: &str, kinds: [Kind; 3]) -> Proxied {
        let ensemble = Ensemble::of(1, 0);
        let ports: [[u16; 2]; 3] = [0; 3].map(|_| [free_port(), free_port()]);
        let proxies = |listener: usize| -> Vec<Proxy> {
            ports.iter().zip(0..).map(|(ports, seed)| Proxy::to(ports[listener], seed << 32)).collect()
        };
        let (from_clients, among_brokers) = (proxies(0), proxies(1));
        let to_zookeeper: Vec<Proxy> =
            (0..3).map(|seed| Proxy::to(ensemble.servers()[0].port, seed << 32)).collect();
        let texts: Vec<[String; 3]> = (0..3)
            .map(|at| {
                let listeners = |clients: SocketAddr, brokers: SocketAddr| {
                    format!("CLIENTS://{clients},BROKERS://{brokers}")
                };
                let own = ports[at].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
                [
                    format!("{},DIRECT://127.0.0.1:{{port}}", listeners(own[0], own[1])),
                    format!(
                        "{},DIRECT://127.0.0.1:{{port}}",
                        listeners(from_clients[at].address(), among_brokers[at].address())
                    ),
                    to_zookeeper[at].address().to_string(),
                ]
            })
            .collect();
        let settings: Vec<Vec<(&str, &str)>> = texts
            .iter()
            .map(|[listeners, advertised, zookeeper]| {
                let mut settings = SETTINGS.to_vec();
                settings.extend([
                    ("listeners", listeners.as_str()),
                    ("advertised.listeners", advertised),
                    (
                        "listener.security.protocol.map",
                        "CLIENTS:PLAINTEXT,BROKERS:PLAINTEXT,DIRECT:PLAINTEXT",
                    ),
                    ("inter.broker.listener.name", "BROKERS"),
                    ("zookeeper.connect", zookeeper),
                ]);
                settings
            })
            .collect();
        let each: Vec<Member<'_>> =
            kinds.iter().zip(&settings).map(|(kind, settings)| (*kind, settings.as_slice())).collect();
        let cluster = Cluster::start_each(ensemble, &each);
        let clients_ask = from_clients.iter().map(Proxy::address).collect();
        let trial = Trial::begin_through(name, cluster, clients_ask);
        Proxied { trial, among_brokers, from_clients, to_zookeeper }
    }

    /// Everywhere; to ZooKeeper without resets and shorter, as sessions are to live.
    fn weather(&self, weather: Weather) {
        self.trial.note(&format!("{weather:?}"));
        self.among_brokers.iter().chain(&self.from_clients).for_each(|proxy| proxy.set(weather));
        let milder = Weather { stall_max_ms: weather.stall_max_ms / 4, resets_per_mille: 0, ..weather };
        self.to_zookeeper.iter().for_each(|proxy| proxy.set(milder));
    }

    /// Work goes on for so long.
    #[track_caller]
    fn endure(&self, time: Duration) {
        let began = Instant::now();
        while began.elapsed() < time {
            self.trial.workload.wait_for_more(MORE);
        }
    }
}

const FOUL: Weather =
    Weather { late_max_ms: 30, stalls_per_mille: 4, stall_max_ms: 4_000, resets_per_mille: 2 };

#[test]
fn nothing_is_lost_when_connections_lag_stall_and_are_reset() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut proxied = Proxied::begin("weather", [seat::kind(); 3]);
    proxied.weather(FOUL);
    proxied.endure(Duration::from_secs(10));
    proxied.weather(Weather::default());
    proxied.trial.settle();
    proxied.trial.end();
}

#[track_caller]
fn foul_weather(name: &str, kinds: [Kind; 3]) {
    if !soak() {
        return;
    }
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut proxied = Proxied::begin(name, kinds);
    proxied.weather(FOUL);
    proxied.endure(Duration::from_secs(60));
    proxied.trial.suffer(&[Kill(Leader), FreezeBeyondTheSession(Controller), Roll]);
    proxied.weather(Weather::default());
    proxied.trial.settle();
    proxied.trial.end();
}

#[test]
fn nothing_is_lost_when_members_die_while_connections_lag_stall_and_are_reset() {
    foul_weather("foul", [Kind::Ours; 3]);
}

#[test]
fn nothing_is_lost_when_members_die_in_foul_weather_beside_apaches_brokers() {
    foul_weather("foul-mixed", [Kind::Ours, Kind::Apache, Kind::Ours]);
}
