//! A broker on a real ensemble of three voters and an observer: its session survives what it may survive, ends when a
//! server says so and not before, and the data plane never waits for ZooKeeper.

mod support;

use std::time::{Duration, Instant};

use support::assignments::place;
use support::cluster::Cluster;
use support::ensemble::{Ensemble, Stat};
use support::process::PATIENCE;
use support::records::Batch;
use support::requests::{create_topic, metadata, produce, try_fetch};
use support::seat::{Broker, Kind, kind};
use support::wire::Connection;

/// Session timeout of the brokers here. Unit: ms.
const SESSION_MS: u64 = 8000;

/// As the broker asks for it. Its own copy: `SESSION_MS` in text.
const SESSION: (&str, &str) = ("zookeeper.session.timeout.ms", "8000");

const TOPIC: &str = "away";

/// Whether the long forms of the tests are asked for.
fn soak() -> bool {
    std::env::var_os("ODRADEK_SOAK").is_some()
}

fn start(ensemble: &Ensemble, chroot: &str) -> Broker {
    let connect = format!("{}{chroot}", ensemble.connect_string());
    let mut broker = Broker::join(Kind::Ours, 1, &connect, &[SESSION]);
    broker.wait_until_it_answers();
    broker
}

#[track_caller]
fn registration(ensemble: &Ensemble, chroot: &str) -> Stat {
    try_registration(ensemble, chroot).expect("the broker is registered")
}

fn try_registration(ensemble: &Ensemble, chroot: &str) -> Option<Stat> {
    Some(ensemble.read(&format!("{chroot}/brokers/ids/1"))?.1)
}

#[track_caller]
fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

/// Produces and consumes without a pause for as long as told, and once at least.
#[track_caller]
fn serves_for(connection: &mut Connection, time: Duration) {
    let began = Instant::now();
    loop {
        let offset = produce(connection, TOPIC, 0, &Batch::of(&["without ZooKeeper"]).encode());
        let fetched = try_fetch(connection, TOPIC, 0, offset).expect("the broker answers");
        assert_eq!((fetched.error, fetched.high_watermark), (0, offset + 1));
        assert!(!fetched.records.is_empty());
        if began.elapsed() >= time {
            return;
        }
    }
}

#[test]
fn a_session_outlives_the_server_that_held_it_and_an_ensemble_that_was_away() {
    let mut ensemble = Ensemble::start();
    let broker = start(&ensemble, "/kafka/one");
    let mut connection = broker.connect();
    create_topic(&mut connection, TOPIC, 1, 1, &[]);
    serves_for(&mut connection, Duration::ZERO);
    let first = registration(&ensemble, "/kafka/one");
    assert!(!ensemble.exists("/brokers"), "everything lies below the chroot");

    // The server it is connected to dies: another one takes the session over.
    let server = until("the broker's connection to a server", || ensemble.server_of(broker.pid()));
    ensemble.kill(server);
    let next = until("a connection to another server", || {
        ensemble.server_of(broker.pid()).filter(|next| *next != server)
    });
    assert_eq!(registration(&ensemble, "/kafka/one"), first);
    ensemble.revive(server);
    ensemble.wait_until_whole();

    // The next one freezes: nothing is closed, it only falls silent.
    ensemble.pause(next);
    until("a connection to a server that answers", || {
        ensemble.server_of(broker.pid()).filter(|server| *server != next)
    });
    assert_eq!(registration(&ensemble, "/kafka/one"), first);
    ensemble.resume(next);

    // All are gone for far longer than a session; a new leader grants every session its whole time again.
    (0..4).for_each(|server| ensemble.kill(server));
    let away = if soak() { Duration::from_secs(60) } else { Duration::from_millis(SESSION_MS * 2) };
    serves_for(&mut connection, away);
    (0..4).for_each(|server| ensemble.revive(server));
    ensemble.wait_until_whole();
    until("a connection after the return", || ensemble.server_of(broker.pid()));
    // Longer than a session: had it not come back, it would be gone by then.
    serves_for(&mut connection, Duration::from_millis(SESSION_MS + 2000));
    assert_eq!(registration(&ensemble, "/kafka/one"), first);
    create_topic(&mut broker.connect(), "after", 1, 1, &[]);
    produce(&mut connection, "after", 0, &Batch::of(&["the controller works again"]).encode());
}

#[test]
fn a_frozen_broker_keeps_its_registration_below_the_session_timeout_and_makes_a_new_one_beyond() {
    let ensemble = Ensemble::of(1, 0);
    let broker = start(&ensemble, "");
    let mut connection = broker.connect();
    create_topic(&mut connection, TOPIC, 1, 1, &[]);
    serves_for(&mut connection, Duration::ZERO);
    let first = registration(&ensemble, "");

    broker.pause();
    let began = Instant::now();
    // A third of its time: on a busy machine it may go on a little later than it is told to.
    while began.elapsed() < Duration::from_millis(SESSION_MS / 3) {
        assert_eq!(try_registration(&ensemble, ""), Some(first));
        std::thread::park_timeout(Duration::from_millis(100));
    }
    broker.resume();
    serves_for(&mut connection, Duration::from_millis(SESSION_MS));
    assert_eq!(registration(&ensemble, ""), first);

    broker.pause();
    until("ZooKeeper ends the session", || try_registration(&ensemble, "").is_none().then_some(()));
    broker.resume();
    let second = until("the broker registers again", || try_registration(&ensemble, ""));
    assert!(second.czxid > first.czxid, "a new registration has a new epoch");
    assert_ne!(second.owner, first.owner);
    // It leads again, under its new epoch.
    serves_for(&mut broker.connect(), Duration::ZERO);
    create_topic(&mut broker.connect(), "after", 1, 1, &[]);
    produce(&mut broker.connect(), "after", 0, &Batch::of(&["its controller works again"]).encode());
}

/// An ensemble that stands still, instead of being gone, ends all sessions when it goes on: nobody is registered then, and
/// nobody is controller.
#[test]
fn who_becomes_controller_after_all_sessions_have_expired_is_registered_first() {
    let mut cluster = Cluster::start_on(Ensemble::of(1, 0), &[kind(); 2], &[SESSION]);
    let controller = cluster.controller();
    let other = 3 - controller;
    place(&cluster, TOPIC, &[&[other]], &[]);
    let entry = format!("/brokers/ids/{other}");
    let (_, first) = cluster.ensemble.read(&entry).expect("the broker is registered");

    cluster.ensemble.pause(0);
    cluster.broker_mut(controller).kill();
    let mut connection = cluster.broker(other).connect();
    serves_for(&mut connection, Duration::from_millis(SESSION_MS + 2000));
    cluster.ensemble.resume(0);

    cluster.until("it is registered again, and controller", |cluster| {
        let owned = |path: &str| Some(cluster.ensemble.read(path)?.1);
        let (Some(entry), Some(office)) = (owned(&entry), owned("/controller")) else { return false };
        entry.czxid > first.czxid && office.owner == entry.owner && cluster.controller() == other
    });
    cluster.until("it knows itself as the only one: a new topic comes to it", |cluster| {
        let asked = cluster.broker(other).try_connect().map(|mut broker| metadata(&mut broker, TOPIC));
        asked.is_some_and(|answer| {
            answer.is_ok_and(|answer| answer.brokers.len() == 1 && answer.controller_id.0 == other)
        })
    });
    create_topic(&mut cluster.broker(other).connect(), "after", 1, 1, &[]);
    produce(&mut connection, "after", 0, &Batch::of(&["its controller works"]).encode());
}
