//! What the embedded coordinator acknowledged outlives a kill -9 of its process, as with a real ZooKeeper: the same test
//! asks both (`ODRADEK_SEAT=apache`). And what a broker says where the files of its coordinator were damaged.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use support::ensemble::{Ensemble, exists};
use support::seat::{Broker, Kind, kind};
use support::until;
use support::znodes::{Body, Cursor, ZnodeClient};

const CREATE: i32 = 1;
const GET_CHILDREN: i32 = 8;
const NODE_EXISTS: i32 = -110;
const EPHEMERAL: i32 = 1;

/// Asked for by sessions that live through the kills. Longer than any restart takes here, below what both servers grant.
const LASTING_MS: i32 = 40_000;
/// Asked for by one that nobody comes back to.
const ABANDONED_MS: i32 = 4_000;

/// A server of ZooKeeper's protocol that can be killed.
enum Coordinator {
    Ours(Box<Broker>),
    ZooKeeper(Ensemble),
}

impl Coordinator {
    fn start() -> Coordinator {
        match kind() {
            Kind::Ours => Coordinator::Ours(Box::new(Broker::start())),
            Kind::Apache | Kind::Kraft => Coordinator::ZooKeeper(Ensemble::of(1, 0)),
        }
    }

    fn address(&self) -> SocketAddr {
        match self {
            Coordinator::Ours(broker) => SocketAddr::from(([127, 0, 0, 1], broker.zookeeper_port)),
            Coordinator::ZooKeeper(ensemble) => ensemble.servers()[0].address(),
        }
    }

    /// SIGKILL, and a start on what is on disk.
    fn kill_and_revive(&mut self) {
        match self {
            Coordinator::Ours(broker) => {
                broker.kill();
                broker.restart();
            }
            Coordinator::ZooKeeper(ensemble) => {
                ensemble.kill(0);
                ensemble.revive(0);
                ensemble.wait_until_whole();
            }
        }
    }
}

fn create(client: &mut ZnodeClient, path: &str, flags: i32) -> io::Result<i32> {
    let body = Body::default().string(path).buffer(Some(b"x")).acl(&[(31, "world", "anyone")]).int(flags);
    Ok(client.request(CREATE, &body)?.error)
}

fn children(client: &mut ZnodeClient, path: &str) -> BTreeSet<String> {
    let reply = client.request(GET_CHILDREN, &Body::default().string(path).bool(false)).expect("an answer");
    assert_eq!(reply.error, 0, "children of {path}");
    let mut cursor = Cursor(&reply.body);
    (0..cursor.int()).map(|_| cursor.string()).collect()
}

fn begin(address: SocketAddr, timeout_ms: i32) -> ZnodeClient {
    let session = ZnodeClient::greet(address, 0, &[0; 16], timeout_ms).expect("an answer");
    session.expect("a new session is never refused")
}

/// Brings the session to the server that is there now, or will be.
#[track_caller]
fn come_back(former: &ZnodeClient, address: SocketAddr) -> ZnodeClient {
    let mut back = None;
    until("the session's server is back", || {
        back = ZnodeClient::greet(address, former.session, &former.password, LASTING_MS).ok();
        back.is_some()
    });
    back.flatten().expect("a kill of the server does not end a session")
}

/// Creates `/written-NUMBER/0`, `1`, ... in one session until told to stop, with an ephemeral znode beside them. What was
/// acknowledged goes into `acknowledged`.
fn write(
    address: SocketAddr,
    number: usize,
    stop: &AtomicBool,
    acknowledged: &Mutex<BTreeSet<String>>,
) -> ZnodeClient {
    let mut client = begin(address, LASTING_MS);
    let folder = format!("/written-{number}");
    assert_eq!(create(&mut client, &folder, 0).expect("an answer"), 0);
    assert_eq!(create(&mut client, &format!("/alive-{number}"), EPHEMERAL).expect("an answer"), 0);
    let mut next = 0;
    let mut unknown = false;
    while !stop.load(Ordering::Relaxed) {
        match create(&mut client, &format!("{folder}/{next}"), 0) {
            Ok(0) => {}
            // Made before the server was killed, and nobody was told.
            Ok(NODE_EXISTS) if unknown => {}
            Ok(error) => panic!("{folder}/{next}: error {error}"),
            Err(_) => {
                client = come_back(&client, address);
                unknown = true;
                continue;
            }
        }
        unknown = false;
        acknowledged.lock().expect("no panic").insert(next.to_string());
        next += 1;
    }
    client
}

#[test]
fn what_was_acknowledged_outlives_kills_and_sessions_are_taken_up_again_or_expire() {
    const WRITERS: usize = 3;
    let rounds = if std::env::var_os("ODRADEK_SOAK").is_some() { 50 } else { 5 };
    let mut coordinator = Coordinator::start();
    let address = coordinator.address();
    let stop = Arc::new(AtomicBool::new(false));
    let acknowledged: Vec<Arc<Mutex<BTreeSet<String>>>> = (0..WRITERS).map(|_| Arc::default()).collect();
    let mut abandoned = begin(address, ABANDONED_MS);
    assert_eq!(create(&mut abandoned, "/abandoned", EPHEMERAL).expect("an answer"), 0);
    let writers: Vec<_> = (0..WRITERS)
        .map(|number| {
            let (stop, acknowledged) = (Arc::clone(&stop), Arc::clone(&acknowledged[number]));
            std::thread::spawn(move || write(address, number, &stop, &acknowledged))
        })
        .collect();
    let count = || acknowledged.iter().map(|one| one.lock().expect("no panic").len()).min().unwrap_or(0);
    for round in 0..rounds {
        // Somewhere in the next writes, never at the same place.
        let wanted = count() + 10 + 7 * (round % 5);
        until(&format!("more writes in round {round}"), || {
            assert!(writers.iter().all(|writer| !writer.is_finished()), "a writer gave up");
            count() >= wanted
        });
        coordinator.kill_and_revive();
        let mut reader = begin(address, LASTING_MS);
        for (number, acknowledged) in acknowledged.iter().enumerate() {
            let before = acknowledged.lock().expect("no panic").clone();
            let there = children(&mut reader, &format!("/written-{number}"));
            let lost: Vec<_> = before.difference(&there).collect();
            assert!(lost.is_empty(), "round {round}: {lost:?} of writer {number}");
            assert!(exists(&mut reader, &format!("/alive-{number}")), "round {round}");
        }
    }
    stop.store(true, Ordering::Relaxed);
    let mut sessions: Vec<ZnodeClient> =
        writers.into_iter().map(|writer| writer.join().expect("no panic")).collect();
    let mut reader = begin(address, LASTING_MS);
    until("the session that nobody came back to has expired", || !exists(&mut reader, "/abandoned"));
    let refused = ZnodeClient::greet(address, abandoned.session, &abandoned.password, ABANDONED_MS);
    assert!(refused.expect("an answer").is_none(), "an expired session is gone");
    // The others have been heard all the time, or closed by their owners.
    let closed = sessions.pop().expect("three");
    for (number, session) in sessions.iter_mut().enumerate() {
        session.ping().expect("the session lives");
        assert!(exists(&mut reader, &format!("/alive-{number}")));
    }
    let mut closed = closed;
    closed.request(-11, &Body::default()).expect("closed");
    assert!(!exists(&mut reader, "/alive-2"), "a closed session takes its znodes along");
}

/// The log of a coordinator that was killed, and a broker that can be started on it.
fn killed() -> (Broker, PathBuf) {
    let mut broker = Broker::start_with(Kind::Ours, &[]);
    let address = SocketAddr::from(([127, 0, 0, 1], broker.zookeeper_port));
    let mut client = begin(address, LASTING_MS);
    for path in ["/first", "/second", "/third"] {
        assert_eq!(create(&mut client, path, 0).expect("an answer"), 0);
    }
    broker.kill();
    let data = broker.properties().parent().expect("a folder").join("zookeeper");
    let entries =
        fs::read_dir(data).expect("the coordinator's data").map(|entry| entry.expect("an entry").path());
    let is_log =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("log."));
    let log = entries.filter(is_log).max().expect("a log");
    (broker, log)
}

#[test]
fn a_record_that_a_kill_left_unfinished_is_cut_off_and_the_broker_starts() {
    let (mut broker, log) = killed();
    let whole = fs::read(&log).expect("read");
    // Within the last record.
    for cut in [1, 7, 30] {
        fs::write(&log, &whole[..whole.len() - cut]).expect("written");
        broker.restart();
        let address = SocketAddr::from(([127, 0, 0, 1], broker.zookeeper_port));
        assert!(exists(&mut begin(address, LASTING_MS), "/second"), "cut by {cut}");
        assert!(broker.whole_log().contains("the log ends in an unfinished record, which is cut off"));
        broker.kill();
    }
}

#[test]
fn a_byte_that_changed_in_the_middle_stops_the_start_with_file_and_position_and_nothing_is_cut() {
    let (mut broker, log) = killed();
    let whole = fs::read(&log).expect("read");
    let mut changed = whole.clone();
    changed[whole.len() / 2] ^= 4;
    fs::write(&log, &changed).expect("written");

    broker.spawn();
    let ended = broker.wait();

    assert_eq!(ended.code, 1, "{ended}");
    assert!(ended.stderr.contains(&format!("{} is damaged at byte ", log.display())), "{ended}");
    assert_eq!(fs::read(&log).expect("read"), changed);
    fs::write(&log, &whole).expect("written");
    broker.restart();
    let address = SocketAddr::from(([127, 0, 0, 1], broker.zookeeper_port));
    assert!(exists(&mut begin(address, LASTING_MS), "/third"));
}
