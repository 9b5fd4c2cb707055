//! The server as its clients and its owner see it: over sockets, across restarts, with damaged files.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use coordinator::znodes::SessionId;
use storage::disk::faulty::{FaultyDisk, Operation};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use zookeeper_client::{Acls, AddWatchMode, Client, CreateMode, Error, EventType};

use super::{EmbeddedServer, JournalError, Settings, SnapshotPolicy, StartError};

const OPEN: Acls<'static> = Acls::anyone_all();

fn settings(folder: &TempDir) -> Settings {
    Settings::new(0, folder.path().join("znodes"))
}

async fn client(server: &EmbeddedServer) -> Client {
    Client::connect(&server.local_addr().to_string()).await.expect("the server accepts clients")
}

fn files(folder: &TempDir, prefix: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder.path().join("znodes")).expect("the data directory");
    let paths = entries.map(|entry| entry.expect("readable").path());
    let mut found: Vec<_> = paths
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)))
        .collect();
    found.sort();
    found
}

fn change(path: &Path, edit: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).expect("readable");
    edit(&mut bytes);
    std::fs::write(path, bytes).expect("writable");
}

/// What happens to the bytes of a log whose last record goes on beyond a position.
type Tear = fn(&mut Vec<u8>, usize);

/// Stops without the snapshot that a shutdown makes, as far as one process can.
async fn crash(server: EmbeddedServer) {
    let mut ended = server.ended.clone();
    drop(server);
    let _ = ended.wait_for(|ended| *ended).await;
}

#[tokio::test]
async fn the_rust_client_works_against_it() {
    let folder = TempDir::new().unwrap();
    let server = EmbeddedServer::start(settings(&folder)).await.unwrap();
    let (one, two) = (client(&server).await, client(&server).await);

    one.create("/app", b"1", &CreateMode::Persistent.with_acls(OPEN)).await.unwrap();
    let (data, stat, changed) = two.get_and_watch_data("/app").await.unwrap();
    assert_eq!((data.as_slice(), stat.version), (b"1".as_slice(), 0));
    let stat = one.set_data("/app", b"2", Some(0)).await.unwrap();
    assert_eq!(changed.changed().await.event_type, EventType::NodeDataChanged);
    assert_eq!(one.set_data("/app", b"3", Some(0)).await, Err(Error::BadVersion));

    let mut watcher = two.watch("/app", AddWatchMode::PersistentRecursive).await.unwrap();
    let sequential = CreateMode::EphemeralSequential.with_acls(OPEN);
    let (_, first) = one.create("/app/n-", b"", &sequential).await.unwrap();
    assert_eq!(first.into_i64(), 0);
    assert_eq!(watcher.changed().await.event_type, EventType::NodeCreated);

    let mut multi = one.new_multi_writer();
    multi.add_check_version("/app", stat.version).unwrap();
    multi.add_create("/app/x", b"", &CreateMode::Persistent.with_acls(OPEN)).unwrap();
    multi.add_delete("/app/x", None).unwrap();
    assert_eq!(multi.commit().await.unwrap().len(), 3);

    drop(one);
    assert_eq!(watcher.changed().await.path, "/app/x");
    server.shutdown().await;
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_crash_and_sessions_live_on() {
    let folder = TempDir::new().unwrap();
    let server = EmbeddedServer::start(settings(&folder)).await.unwrap();
    let mut raw = Raw::connect(&server, 0, &[0; 16]).await.unwrap();
    assert_eq!(raw.create("/mine", 1).await, 0);
    assert_eq!(raw.create("/lasting", 0).await, 0);
    crash(server).await;
    assert!(files(&folder, "snapshot.").is_empty(), "a crash writes no snapshot");

    let server = EmbeddedServer::start(settings(&folder)).await.unwrap();
    let mut back = Raw::connect(&server, raw.session, &raw.password).await.expect("the session lives on");
    assert_eq!(back.create("/mine", 1).await, -110);
    assert_eq!(back.create("/lasting", 0).await, -110);
    assert_eq!(back.create("/new", 0).await, 0);
    server.shutdown().await;
}

#[tokio::test]
async fn a_wrong_password_neither_takes_a_session_over_nor_disturbs_it() {
    let folder = TempDir::new().unwrap();
    let server = EmbeddedServer::start(settings(&folder)).await.unwrap();
    let mut owner = Raw::connect(&server, 0, &[0; 16]).await.unwrap();
    assert!(Raw::connect(&server, owner.session, &[9; 16]).await.is_none());
    assert!(Raw::connect(&server, owner.session, b"").await.is_none());
    assert_eq!(owner.create("/still-here", 0).await, 0);
    server.shutdown().await;
}

#[tokio::test]
async fn the_session_of_before_a_crash_can_be_expired_at_once() {
    let folder = TempDir::new().unwrap();
    let server = EmbeddedServer::start(settings(&folder)).await.unwrap();
    let mut broker = Raw::connect(&server, 0, &[0; 16]).await.unwrap();
    assert_eq!(broker.create("/0", 1).await, 0);
    crash(server).await;

    let server = EmbeddedServer::start(settings(&folder)).await.unwrap();
    let session = SessionId(broker.session);
    assert!(server.expire_abandoned_session(session).await);
    assert!(!server.expire_abandoned_session(session).await);
    assert!(Raw::connect(&server, broker.session, &broker.password).await.is_none());
    let mut anew = Raw::connect(&server, 0, &[0; 16]).await.unwrap();
    assert_eq!(anew.create("/0", 1).await, 0);
    server.shutdown().await;
}

#[tokio::test]
async fn a_silent_session_expires_and_its_connection_is_closed() {
    let folder = TempDir::new().unwrap();
    let mut settings = settings(&folder);
    settings.session_timeout_min = Duration::from_millis(1500);
    settings.session_timeout_max = Duration::from_millis(1500);
    let server = EmbeddedServer::start(settings).await.unwrap();
    let mut silent = Raw::connect(&server, 0, &[0; 16]).await.unwrap();
    assert_eq!(silent.create("/gone", 1).await, 0);

    assert_eq!(silent.stream.read(&mut [0; 1]).await.unwrap_or(0), 0, "closed by the server");
    let mut other = Raw::connect(&server, 0, &[0; 16]).await.unwrap();
    assert_eq!(other.create("/gone", 1).await, 0);
    server.shutdown().await;
}

/// A log with the creations of `/a`, `/b` and `/c`, each a batch of its own, and where the last two begin.
async fn three_batches(folder: &TempDir) -> (PathBuf, Vec<u8>, [usize; 2]) {
    let server = EmbeddedServer::start(settings(folder)).await.unwrap();
    let mut raw = Raw::connect(&server, 0, &[0; 16]).await.unwrap();
    let log = files(folder, "log.").pop().unwrap();
    let mut begins = Vec::new();
    for path in ["/a", "/b", "/c"] {
        begins.push(std::fs::metadata(&log).unwrap().len() as usize);
        assert_eq!(raw.create(path, 0).await, 0);
    }
    crash(server).await;
    let whole = std::fs::read(&log).unwrap();
    (log, whole, [begins[1], begins[2]])
}

#[tokio::test]
async fn a_record_torn_at_any_byte_is_cut_off_and_what_came_before_it_stays() {
    let folder = TempDir::new().unwrap();
    let (log, whole, [_, last]) = three_batches(&folder).await;
    let torn: [Tear; 3] = [
        |bytes, at| bytes.truncate(at),
        |bytes, at| bytes[at] ^= 1,
        |bytes, at| {
            bytes.truncate(at);
            bytes.resize(at + 5000, 0);
        },
    ];
    for (at, tear) in (last..whole.len()).flat_map(|at| torn.map(|tear| (at, tear))) {
        std::fs::write(&log, &whole).unwrap();
        change(&log, |bytes| tear(bytes, at));
        let server = EmbeddedServer::start(settings(&folder)).await.unwrap();
        let mut raw = Raw::connect(&server, 0, &[0; 16]).await.unwrap();
        assert_eq!(raw.create("/b", 0).await, -110, "torn at {at}");
        assert_eq!(raw.create("/c", 0).await, 0, "torn at {at}");
        crash(server).await;
        let server =
            EmbeddedServer::start(settings(&folder)).await.expect("what follows a cut is whole again");
        crash(server).await;
    }
}

#[tokio::test]
async fn a_changed_byte_before_the_last_batch_stops_the_start_with_file_and_position() {
    let folder = TempDir::new().unwrap();
    let (log, whole, [second, third]) = three_batches(&folder).await;
    for at in second..third {
        for bit in [1, 0x80] {
            std::fs::write(&log, &whole).unwrap();
            change(&log, |bytes| bytes[at] ^= bit);
            let refused = EmbeddedServer::start(settings(&folder)).await.err();
            let Some(StartError::Journal(JournalError::Damaged { path, position })) = refused else {
                panic!("byte {at}: {refused:?}");
            };
            assert_eq!((path, position), (log.clone(), second as u64), "byte {at}");
            assert_eq!(std::fs::read(&log).unwrap().len(), whole.len(), "nothing was cut");
        }
    }
    std::fs::write(&log, &whole).unwrap();
    let server = EmbeddedServer::start(settings(&folder)).await.unwrap();
    let mut raw = Raw::connect(&server, 0, &[0; 16]).await.unwrap();
    assert_eq!(raw.create("/c", 0).await, -110);
    server.shutdown().await;
}

#[tokio::test]
async fn a_log_of_another_version_is_named_and_left_alone() {
    let folder = TempDir::new().unwrap();
    let (log, _, _) = three_batches(&folder).await;
    change(&log, |bytes| bytes[7] = b'1');
    let refused = EmbeddedServer::start(settings(&folder)).await.err();
    assert!(matches!(refused, Some(StartError::Journal(JournalError::OtherVersion(_)))), "{refused:?}");
}

#[tokio::test]
async fn a_damaged_snapshot_falls_back_to_the_one_before_and_old_files_are_purged() {
    let folder = TempDir::new().unwrap();
    let often = SnapshotPolicy { changes: 10, log_bytes: 1 << 30 };
    let settings = Settings { snapshots: often, ..settings(&folder) };
    let server = EmbeddedServer::start(settings.clone()).await.unwrap();
    let mut raw = Raw::connect(&server, 0, &[0; 16]).await.unwrap();
    // Snapshots are written beside the work: until there was one more than are kept.
    let mut written = BTreeSet::new();
    let mut number = 0;
    while number < 100 || written.len() < 4 {
        assert_eq!(raw.create(&format!("/n{number}"), 0).await, 0);
        written.extend(files(&folder, "snapshot."));
        number += 1;
    }
    server.shutdown().await;
    let (snapshots, logs) = (files(&folder, "snapshot."), files(&folder, "log."));
    assert_eq!(snapshots.len(), 3, "{snapshots:?}");
    assert!(logs.len() <= 4, "{logs:?}");

    change(snapshots.last().unwrap(), |bytes| bytes[100] ^= 1);
    // No snapshot is on its way when this one crashes.
    let seldom = SnapshotPolicy { changes: 1_000, log_bytes: 1 << 30 };
    let server = EmbeddedServer::start(Settings { snapshots: seldom, ..settings.clone() }).await.unwrap();
    let mut raw = Raw::connect(&server, 0, &[0; 16]).await.unwrap();
    for number in [0, 50, 99] {
        assert_eq!(raw.create(&format!("/n{number}"), 0).await, -110);
    }
    crash(server).await;

    // All snapshots gone bad: the logs no longer reach back to the beginning, and starting empty would lose everything.
    for path in files(&folder, "snapshot.") {
        change(&path, |bytes| bytes[101] ^= 1);
    }
    let refused = EmbeddedServer::start(settings).await.err();
    assert!(matches!(refused, Some(StartError::Journal(JournalError::NoSnapshot(_)))), "{refused:?}");
}

#[tokio::test]
async fn damage_in_the_middle_of_the_logs_stops_the_start() {
    let folder = TempDir::new().unwrap();
    let settings =
        Settings { snapshots: SnapshotPolicy { changes: 10, log_bytes: 1 << 30 }, ..settings(&folder) };
    let server = EmbeddedServer::start(settings.clone()).await.unwrap();
    let mut raw = Raw::connect(&server, 0, &[0; 16]).await.unwrap();
    // Snapshots are written beside the work, so how many changes two of them take is not said.
    let mut number = 0;
    while files(&folder, "snapshot.").len() < 2 || files(&folder, "log.").len() < 2 {
        assert_eq!(raw.create(&format!("/n{number}"), 0).await, 0);
        number += 1;
    }
    server.shutdown().await;
    // Back to the oldest snapshot, with the log right after it spoilt and another log behind that one.
    for path in &files(&folder, "snapshot.")[1..] {
        std::fs::remove_file(path).unwrap();
    }
    let logs = files(&folder, "log.");
    assert!(logs.len() >= 2, "{logs:?}");
    change(&logs[0], |bytes| bytes[60] ^= 1);

    let refused = EmbeddedServer::start(settings).await.err();
    assert!(matches!(refused, Some(StartError::Journal(JournalError::Damaged { .. }))), "{refused:?}");
}

#[tokio::test]
async fn foreign_bytes_close_their_connection_and_disturb_nobody() {
    let folder = TempDir::new().unwrap();
    let server = EmbeddedServer::start(settings(&folder)).await.unwrap();
    let mut decent = Raw::connect(&server, 0, &[0; 16]).await.unwrap();
    let hostile: [&[u8]; 6] = [
        b"\xff\xff\xff\xff",
        b"\x7f\xff\xff\xff",
        b"\x00\x10\x00\x00",
        b"\x00\x00\x00\x00",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x00\x00\x00\x08\x00\x00\x00\x00\x00\x00\x00\x00",
    ];
    for bytes in hostile {
        let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        assert_eq!(stream.read(&mut [0; 16]).await.unwrap_or(0), 0, "{}", bytes.escape_ascii());
    }
    assert_eq!(decent.create("/fine", 0).await, 0);
    server.shutdown().await;
}

#[tokio::test]
async fn four_letter_words_are_answered_and_the_others_are_off() {
    let folder = TempDir::new().unwrap();
    let server = EmbeddedServer::start(settings(&folder)).await.unwrap();
    let _client = Raw::connect(&server, 0, &[0; 16]).await.unwrap();
    let expected = [
        ("ruok", "imok"),
        ("stat", "Mode: standalone\nNode count: 5\n"),
        ("srvr", "Zxid: 0x1\n"),
        ("mntr", "zk_global_sessions\t1\n"),
        ("conf", "maxClientCnxns=60\n"),
        ("cons", "lop=NA,"),
        ("dump", "dump is not executed because it is not in the whitelist.\n"),
    ];
    for (word, part) in expected {
        let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
        stream.write_all(word.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.contains(part), "{word}: {answer}");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn connections_from_one_address_are_limited() {
    let folder = TempDir::new().unwrap();
    let server = EmbeddedServer::start(Settings { connections_max: 2, ..settings(&folder) }).await.unwrap();
    let first = Raw::connect(&server, 0, &[0; 16]).await.unwrap();
    let _second = Raw::connect(&server, 0, &[0; 16]).await.unwrap();
    let mut third = TcpStream::connect(server.local_addr()).await.unwrap();
    assert_eq!(third.read(&mut [0; 1]).await.unwrap_or(0), 0);
    drop(first);
    // The server notices the end of the first in its own time.
    while Raw::try_connect(&server, 0, &[0; 16]).await.is_err() {
        tokio::task::yield_now().await;
    }
    server.shutdown().await;
}

/// Whether nothing is answered for so long that it would have been.
async fn is_silent(stream: &mut TcpStream) -> bool {
    tokio::time::timeout(Duration::from_millis(2500), stream.read_u8()).await.is_err()
}

#[tokio::test]
async fn a_full_disk_is_waited_out_nothing_is_acknowledged_meanwhile_and_no_session_ends_for_it() {
    for is_noticed_late in [false, true] {
        let folder = TempDir::new().unwrap();
        let disk = FaultyDisk::new();
        let mut settings = settings(&folder);
        settings.session_timeout_min = Duration::from_millis(2000);
        settings.session_timeout_max = Duration::from_millis(2000);
        let server = EmbeddedServer::start_on(Arc::new(disk.clone()), settings.clone()).await.unwrap();
        let mut raw = Raw::connect(&server, 0, &[0; 16]).await.unwrap();
        assert_eq!(raw.create("/mine", 1).await, 0);
        if is_noticed_late {
            disk.fail(Operation::Sync, "", libc::ENOSPC)
        } else {
            disk.fill_up()
        }
        raw.send_create("/later", 0).await;
        assert!(is_silent(&mut raw.stream).await);
        disk.heal();
        assert_eq!(raw.answer().await, 0, "there is space again");
        assert_eq!(raw.create("/mine", 1).await, -110, "the session outlived its timeout of two seconds");
        crash(server).await;
        let server = EmbeddedServer::start(settings).await.unwrap();
        let mut back = Raw::connect(&server, 0, &[0; 16]).await.unwrap();
        assert_eq!(back.create("/later", 0).await, -110, "what was acknowledged is there");
        server.shutdown().await;
    }
}

#[tokio::test]
async fn a_server_that_waits_for_space_can_be_stopped() {
    let folder = TempDir::new().unwrap();
    let disk = FaultyDisk::new();
    let server = EmbeddedServer::start_on(Arc::new(disk.clone()), settings(&folder)).await.unwrap();
    let mut raw = Raw::connect(&server, 0, &[0; 16]).await.unwrap();
    disk.fill_up();
    raw.send_create("/never", 0).await;
    server.shutdown().await;
    assert!(raw.stream.read_u8().await.is_err(), "closed without an answer");
    let server = EmbeddedServer::start(settings(&folder)).await.expect("half a record is cut off");
    let mut raw = Raw::connect(&server, 0, &[0; 16]).await.unwrap();
    assert_eq!(raw.create("/never", 0).await, 0);
    server.shutdown().await;
}

#[tokio::test]
async fn a_failed_sync_ends_the_server_without_an_answer() {
    let folder = TempDir::new().unwrap();
    let disk = FaultyDisk::new();
    let server = EmbeddedServer::start_on(Arc::new(disk.clone()), settings(&folder)).await.unwrap();
    let mut raw = Raw::connect(&server, 0, &[0; 16]).await.unwrap();
    assert_eq!(raw.create("/before", 0).await, 0);
    disk.fail(Operation::Sync, "", libc::EIO);
    raw.send_create("/unknown", 0).await;
    server.stopped().await;
    assert!(raw.stream.read_u8().await.is_err(), "closed without an answer");
    drop(server);
    let server = EmbeddedServer::start(settings(&folder)).await.unwrap();
    let mut raw = Raw::connect(&server, 0, &[0; 16]).await.unwrap();
    assert_eq!(raw.create("/before", 0).await, -110);
    server.shutdown().await;
}

#[tokio::test]
async fn a_snapshot_that_cannot_be_begun_stops_nobody() {
    let folder = TempDir::new().unwrap();
    let often = SnapshotPolicy { changes: 10, log_bytes: 1 << 30 };
    let settings = Settings { snapshots: often, ..settings(&folder) };
    let server = EmbeddedServer::start(settings.clone()).await.unwrap();
    // A folder in its place: the log that a snapshot begins cannot be made.
    let in_the_way = |zxid: i64| folder.path().join(format!("znodes/log.{zxid:016x}"));
    (2..200).for_each(|zxid| std::fs::create_dir(in_the_way(zxid)).unwrap());
    let mut raw = Raw::connect(&server, 0, &[0; 16]).await.unwrap();
    for number in 0..50 {
        assert_eq!(raw.create(&format!("/n{number}"), 0).await, 0);
    }
    (2..200).for_each(|zxid| std::fs::remove_dir(in_the_way(zxid)).unwrap());
    crash(server).await;
    let server = EmbeddedServer::start(settings).await.unwrap();
    let mut raw = Raw::connect(&server, 0, &[0; 16]).await.unwrap();
    assert_eq!(raw.create("/n49", 0).await, -110);
    server.shutdown().await;
}

#[tokio::test]
async fn who_does_not_read_is_cut_off_before_all_of_them_fill_memory() {
    const ANSWER: usize = 900 << 10;
    const ASKED: usize = 60;
    let folder = TempDir::new().unwrap();
    let server = EmbeddedServer::start(settings(&folder)).await.unwrap();
    let owner = client(&server).await;
    owner.create("/large", &vec![7; ANSWER], &CreateMode::Persistent.with_acls(OPEN)).await.unwrap();
    // Each stays below its own limit; together they want more than twice of what all may.
    let mut greedy = Vec::new();
    for _ in 0..5 {
        let mut raw = Raw::connect(&server, 0, &[0; 16]).await.unwrap();
        let mut flood = Vec::new();
        for _ in 0..ASKED {
            let mut request = super::jute::Writer::new();
            request.int(1).int(4).string("/large").bool(false);
            flood.extend_from_slice(&request.finish());
        }
        raw.stream.write_all(&flood).await.unwrap();
        greedy.push(raw);
    }
    // Somebody is cut off, and the others are served.
    let dropped = || async {
        let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
        stream.write_all(b"mntr").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let line = answer.lines().find_map(|line| line.strip_prefix("zk_connection_drop_count\t"));
        line.and_then(|count| count.parse::<usize>().ok()).expect("a count")
    };
    while dropped().await == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(owner.get_data("/large").await.unwrap().0.len(), ANSWER);
    let mut cut_off = 0;
    for mut raw in greedy {
        let mut received = 0;
        let mut buffer = vec![0; 1 << 20];
        while received < ASKED * ANSWER {
            match raw.stream.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(read) => received += read,
            }
        }
        cut_off += usize::from(received < ASKED * ANSWER);
    }
    assert!((1..5).contains(&cut_off), "{cut_off} of five were cut off");
    server.shutdown().await;
}

/// A client that says exactly what the test wants.
struct Raw {
    stream: TcpStream,
    session: i64,
    password: Vec<u8>,
}

impl Raw {
    /// `None`: the server says the session is gone.
    async fn connect(server: &EmbeddedServer, session: i64, password: &[u8]) -> Option<Raw> {
        Raw::try_connect(server, session, password).await.expect("an answer to the hello")
    }

    async fn try_connect(
        server: &EmbeddedServer,
        session: i64,
        password: &[u8],
    ) -> std::io::Result<Option<Raw>> {
        let mut stream = TcpStream::connect(server.local_addr()).await?;
        let mut hello = super::jute::Writer::new();
        hello.int(0).long(0).int(10_000).long(session).buffer(Some(password)).bool(false);
        stream.write_all(&hello.finish()).await?;
        let answer = receive(&mut stream).await?;
        let mut reader = super::jute::Reader::new(&answer);
        let decoded = (|| {
            Ok::<_, super::jute::Malformed>((reader.int()?, reader.int()?, reader.long()?, reader.buffer()?))
        })();
        let (_, _, session, password) = decoded.expect("a whole welcome");
        let password = password.unwrap_or_default().to_vec();
        Ok((session != 0).then_some(Raw { stream, session, password }))
    }

    /// The error code of the answer.
    async fn create(&mut self, path: &str, flags: i32) -> i32 {
        self.send_create(path, flags).await;
        self.answer().await
    }

    async fn send_create(&mut self, path: &str, flags: i32) {
        let mut request = super::jute::Writer::new();
        request.int(1).int(1).string(path).buffer(None);
        request.int(1).int(31).string("world").string("anyone").int(flags);
        self.stream.write_all(&request.finish()).await.expect("the request can be sent");
    }

    /// The error code of the next answer.
    async fn answer(&mut self) -> i32 {
        let answer = receive(&mut self.stream).await.expect("the request is answered");
        let mut reader = super::jute::Reader::new(&answer);
        let _ = (reader.int(), reader.long());
        reader.int().expect("a whole header")
    }
}

async fn receive(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let length = stream.read_u32().await?;
    let mut frame = vec![0; usize::try_from(length).expect("64 bits")];
    stream.read_exact(&mut frame).await?;
    Ok(frame)
}
