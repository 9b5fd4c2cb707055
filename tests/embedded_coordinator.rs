//! The embedded coordinator answers as a real ZooKeeper 3.8 does: the same random requests to both, the same answers.
//!
//! Answers are compared byte for byte, zxids and versions included; only wall clock times, session ids and the order of names in
//! unordered lists are brought to one form first. A failing seed is printed with the steps that led there.
//!
//! Its other clients: the stock shell (`org.apache.zookeeper.ZooKeeperMain`) below, kazoo in `clients.rs`, and the Rust client,
//! which is what our broker speaks with in every test of this folder, in `broker/src/zookeeper/tests.rs`.

mod support;

// The server itself, without a broker around it: every change is then caused by the test.
#[allow(dead_code, reason = "what the broker uses is not all that the test uses")]
#[path = "../broker/src/zookeeper/mod.rs"]
mod zookeeper;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use support::ensemble::Server;
use support::ports::free_port;
use support::stock;
use support::znodes::{Body, Cursor, Reply, ZnodeClient};
use tempfile::TempDir;
use zookeeper::{EmbeddedServer, Settings};

const CLIENTS: usize = 3;

/// Requests that no ZooKeeper knows: answered, then the connection is closed.
const UNKNOWN: &[i32] = &[0, 10, 23, 99, 500, -1];

const AUTH_FAILED: i32 = -115;

/// Ours and the real one, both fresh.
struct Pair {
    ours: EmbeddedServer,
    addresses: [SocketAddr; 2],
    runtime: tokio::runtime::Runtime,
    _theirs: Server,
    _folder: TempDir,
}

impl Pair {
    fn start() -> Pair {
        let folder = TempDir::new().expect("a temporary folder");
        let port = free_port();
        let lines = "tickTime=1000\nmaxSessionTimeout=20000\n";
        // Neither of the two sweeps abandoned containers while the test lasts: when it does so is nobody's answer.
        let sweeps = "-Dznode.container.checkIntervalMs=3600000 -Dzookeeper.forceSync=no";
        let theirs = Server::standalone(&folder.path().join("theirs"), port, lines, sweeps);
        let mut settings = Settings::new(0, folder.path().join("ours"));
        // Two and twenty ticks of the one second that the real server is started with.
        settings.session_timeout_min = Duration::from_secs(2);
        settings.session_timeout_max = Duration::from_secs(20);
        settings.sweep_interval = Duration::from_secs(3600);
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let ours = runtime.block_on(EmbeddedServer::start(settings)).expect("ours starts");
        let addresses = [ours.local_addr(), SocketAddr::from(([127, 0, 0, 1], port))];
        Pair { ours, addresses, runtime, _theirs: theirs, _folder: folder }
    }

    fn stop(self) {
        self.runtime.block_on(self.ours.shutdown());
    }
}

/// The same clients of one server.
struct Side {
    address: SocketAddr,
    clients: Vec<ZnodeClient>,
    /// Session ids in the order of their making.
    sessions: Vec<i64>,
}

impl Side {
    fn new(address: SocketAddr) -> Side {
        let mut side = Side { address, clients: Vec::new(), sessions: Vec::new() };
        for _ in 0..CLIENTS {
            let client = side.open();
            side.clients.push(client);
        }
        side
    }

    fn open(&mut self) -> ZnodeClient {
        let client = ZnodeClient::open(self.address);
        self.sessions.push(client.session);
        client
    }

    /// Brings the client's session to a new connection; returns the former.
    fn reattach(&mut self, client: usize) -> ZnodeClient {
        let before = &self.clients[client];
        let back = ZnodeClient::attach(self.address, before.session, &before.password, 10_000);
        std::mem::replace(
            &mut self.clients[client],
            back.expect("a closed connection does not end the session"),
        )
    }

    /// What a step brought about, in one form for both servers.
    fn play(&mut self, step: &Step) -> String {
        let mut seen = String::new();
        match step {
            Step::Ask { client, code, body, shape } => {
                let closed = match self.clients[*client].request(*code, body) {
                    Ok(reply) => {
                        seen.push_str(&self.normal(&reply, *shape));
                        let last = UNKNOWN.contains(code) || reply.error == AUTH_FAILED;
                        last && self.clients[*client].is_closed()
                    }
                    Err(_) => true,
                };
                if closed {
                    seen.push_str(" closed");
                    self.reattach(*client);
                }
            }
            Step::Move { client } => {
                let mut before = self.reattach(*client);
                let _ = write!(seen, "moved, the former closed: {}", before.is_closed());
            }
            Step::Reopen { client } => {
                let reply = self.clients[*client].request(-11, &Body::default()).expect("an answer");
                seen.push_str(&self.normal(&reply, Shape::Nothing));
                let _ = write!(seen, " closed: {}", self.clients[*client].is_closed());
                let events = std::mem::take(&mut self.clients[*client].events);
                let _ = write!(seen, " {}", sorted(events));
                self.clients[*client] = self.open();
            }
        }
        for client in &mut self.clients {
            let ping = client.ping().expect("a ping is answered");
            let events = std::mem::take(&mut client.events);
            let _ = write!(seen, " | {} {} {events:?}", ping.zxid, ping.error);
        }
        seen
    }

    fn normal(&self, reply: &Reply, shape: Shape) -> String {
        let mut cursor = Cursor(&reply.body);
        let body = match reply.error {
            0 => self.body(&mut cursor, shape),
            _ => String::new(),
        };
        format!("zxid {} error {} {body} rest {:?}", reply.zxid, reply.error, cursor.0)
    }

    fn body(&self, cursor: &mut Cursor<'_>, shape: Shape) -> String {
        match shape {
            Shape::Nothing => String::new(),
            Shape::Number => cursor.int().to_string(),
            Shape::Path => {
                format!("{:?}", cursor.buffer().map(|path| String::from_utf8_lossy(&path).into_owned()))
            }
            Shape::Stat => self.stat(cursor),
            Shape::PathStat => format!("{} {}", cursor.string(), self.stat(cursor)),
            Shape::DataStat => format!("{:?} {}", cursor.buffer(), self.stat(cursor)),
            Shape::Names => names(cursor),
            Shape::NamesStat => format!("{} {}", names(cursor), self.stat(cursor)),
            Shape::Identities => {
                let count = cursor.int();
                sorted((0..count).map(|_| (cursor.string(), cursor.string())))
            }
            Shape::AclStat => {
                let count = cursor.int();
                let list = sorted((0..count).map(|_| (cursor.int(), cursor.string(), cursor.string())));
                format!("{list} {}", self.stat(cursor))
            }
            Shape::Multi => self.multi(cursor),
        }
    }

    fn multi(&self, cursor: &mut Cursor<'_>) -> String {
        let mut seen = String::new();
        loop {
            let (kind, done, error) = (cursor.int(), cursor.bool(), cursor.int());
            let _ = write!(seen, "[{kind} {done} {error} ");
            let shape = match kind {
                _ if done => return seen + "]",
                -1 => Shape::Number,
                1 => Shape::Path,
                15 => Shape::PathStat,
                5 => Shape::Stat,
                4 => Shape::DataStat,
                8 => Shape::Names,
                _ => Shape::Nothing,
            };
            seen += &self.body(cursor, shape);
            seen.push(']');
        }
    }

    fn stat(&self, cursor: &mut Cursor<'_>) -> String {
        let (czxid, mzxid) = (cursor.long(), cursor.long());
        let (ctime, mtime) = (cursor.long(), cursor.long());
        let versions = [cursor.int(), cursor.int(), cursor.int()];
        let owner = match cursor.long() {
            0 => "nobody".to_owned(),
            i64::MIN => "container".to_owned(),
            session => format!("session {:?}", self.sessions.iter().position(|known| *known == session)),
        };
        let (length, children, pzxid) = (cursor.int(), cursor.int(), cursor.long());
        let times = (ctime == 0, mtime == 0, ctime <= mtime);
        format!(
            "czxid {czxid} mzxid {mzxid} pzxid {pzxid} {versions:?} {owner} {length} {children} {times:?}"
        )
    }
}

fn names(cursor: &mut Cursor<'_>) -> String {
    let count = cursor.int();
    sorted((0..count).map(|_| cursor.string()))
}

fn sorted<T: Ord + std::fmt::Debug>(items: impl IntoIterator<Item = T>) -> String {
    let mut items: Vec<_> = items.into_iter().collect();
    items.sort();
    format!("{items:?}")
}

/// What the body of an answer without error consists of.
#[derive(Clone, Copy, Debug)]
enum Shape {
    Nothing,
    Number,
    Path,
    Stat,
    PathStat,
    DataStat,
    Names,
    NamesStat,
    AclStat,
    Identities,
    Multi,
}

enum Step {
    Ask {
        client: usize,
        code: i32,
        body: Body,
        shape: Shape,
    },
    /// The session comes back on another connection while the first is still there.
    Move {
        client: usize,
    },
    /// The session is closed and a new one opened.
    Reopen {
        client: usize,
    },
}

impl std::fmt::Debug for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Step::Ask { client, code, body, .. } => {
                write!(f, "client {client} request {code} {}", body.0.escape_ascii())
            }
            Step::Move { client } => write!(f, "client {client} moves"),
            Step::Reopen { client } => write!(f, "client {client} closes and opens"),
        }
    }
}

/// A small generator: the same steps for the same seed, for ever.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).expect("31 bits") % sides
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.roll(of.len())]
    }

    fn chance(&mut self, one_in: usize) -> bool {
        self.roll(one_in) == 0
    }

    fn path(&mut self) -> &'static str {
        const USUAL: &[&str] =
            &["/a", "/b", "/a/x", "/a/y", "/b/x", "/a/x/1", "/a/x/2", "/a/x/1/deep", "/a/s0000000001"];
        // Nothing beyond U+FFFF: no znode can be called so, and ZooKeeper sends it back as broken UTF-8.
        const ODD: &[&str] = &[
            "/",
            "",
            "a",
            "/a/",
            "//a",
            "/a//x",
            "/a/.",
            "/a/../b",
            "/a/\u{1}",
            "/a/\0x",
            "/\u{e000}",
            "/zookeeper",
            "/zookeeper/config",
            "/zookeeper/quota",
            "/zookeeper/own",
            "/a/é",
        ];
        if self.chance(8) { self.one(ODD) } else { self.one(USUAL) }
    }

    fn version(&mut self) -> i32 {
        self.one(&[-1, -1, -1, 0, 1, 2, 7, -2])
    }

    fn data(&mut self) -> Option<&'static [u8]> {
        self.one(&[Some(b"".as_slice()), Some(b"x"), Some(b"some data"), None])
    }

    fn acl(&mut self, body: Body) -> Body {
        match self.roll(14) {
            0 => body.acl(&[(31, "auth", "")]),
            1 => body.acl(&[(1, "world", "anyone"), (31, "digest", "u1:3g+dR+2fKxCFNzUgPKkNA4lXcYQ=")]),
            2 => body.acl(&[(self.one(&[1, 2, 4, 8, 16, 15, 27]), "world", "anyone")]),
            3 => body.acl(&[(31, "ip", self.one(&["127.0.0.1", "127.0.0.0/8", "10.0.0.1", "1.2.3.4/0"]))]),
            4 => body.acl(&[(31, "digest", self.one(&["a:b", "a:", ":b", "a:b:c", "a", "a::"]))]),
            5 => body.acl(&[(
                31,
                self.one(&["sasl", "world", "ip", "super", ""]),
                self.one(&["x", "", "1.2.3.4/33"]),
            )]),
            6 => body.acl(&[]),
            7 => body.int(-1),
            8 => body.acl(&[(31, "world", "anyone"), (31, "world", "anyone"), (1, "ip", "127.0.0.1")]),
            _ => body.acl(&[(31, "world", "anyone")]),
        }
    }

    fn step(&mut self) -> Step {
        let client = self.roll(CLIENTS);
        match self.roll(60) {
            0 => return Step::Move { client },
            1 => return Step::Reopen { client },
            _ => {}
        }
        let (code, mut body, shape) = self.question();
        if self.chance(60) && code != 100 {
            body.0.truncate(self.roll(body.0.len().max(1)));
        }
        Step::Ask { client, code, body, shape }
    }

    fn question(&mut self) -> (i32, Body, Shape) {
        match self.roll(26) {
            0..6 => self.create(),
            6..8 => self.simple_write(),
            8 => (6, Body::default().string(self.path()), Shape::AclStat),
            9 => {
                let body = Body::default().string(self.path());
                (7, self.acl(body).int(self.version()), Shape::Stat)
            }
            10..12 => (3, self.path_and_watch(), Shape::Stat),
            12..14 => (4, self.path_and_watch(), Shape::DataStat),
            14 => (8, self.path_and_watch(), Shape::Names),
            15 => (12, self.path_and_watch(), Shape::NamesStat),
            16..19 => self.multi(),
            19 => self.multi_read(),
            20 => self.watches(),
            21 => self.set_watches(),
            22 => self.auth(),
            23 => (103, Body::default().string(self.one(&["", "/", "/a", "/a/x", " "])), Shape::Names),
            24 => self.other(),
            _ => (104, Body::default().string(self.path()), Shape::Number),
        }
    }

    fn path_and_watch(&mut self) -> Body {
        let body = match self.chance(30) {
            true => Body::default().buffer(None),
            false => Body::default().string(self.path()),
        };
        body.bool(self.chance(2))
    }

    fn create_body(&mut self, flags: i32) -> Body {
        let path = match flags & 2 {
            2 if self.chance(2) => self.one(&["/a/s", "/b/s", "/", "/a/"]),
            _ => self.path(),
        };
        let body = Body::default().string(path).buffer(self.data());
        self.acl(body).int(flags)
    }

    /// Never with a null list: there ZooKeeper trips over itself (a NullPointerException, and half an answer).
    fn multi_create_body(&mut self, flags: i32) -> Body {
        let null_list = (-1i32).to_be_bytes();
        loop {
            let body = self.create_body(flags);
            let before_flags = body.0.len() - 4;
            if !body.0[..before_flags].ends_with(&null_list) {
                return body;
            }
        }
    }

    fn create(&mut self) -> (i32, Body, Shape) {
        let flags = self.one(&[0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 9]);
        match self.roll(10) {
            0..5 => (1, self.create_body(flags), Shape::Path),
            5..8 => (15, self.create_body(flags), Shape::PathStat),
            8 => (19, self.create_body(4), Shape::PathStat),
            _ => (21, self.create_body(flags).long(1000), Shape::PathStat),
        }
    }

    fn simple_write(&mut self) -> (i32, Body, Shape) {
        let path =
            if self.chance(40) { Body::default().buffer(None) } else { Body::default().string(self.path()) };
        match self.chance(2) {
            true => (2, path.int(self.version()), Shape::Nothing),
            false => (5, path.buffer(self.data()).int(self.version()), Shape::Stat),
        }
    }

    fn multi(&mut self) -> (i32, Body, Shape) {
        let mut body = Body::default();
        for _ in 0..self.roll(5) {
            let kind = self.one(&[1, 1, 15, 2, 5, 13, 19]);
            body = body.int(kind).bool(false).int(-1);
            let part = match kind {
                1 | 15 => {
                    let flags = self.one(&[0, 0, 1, 2, 3]);
                    self.multi_create_body(flags)
                }
                19 => self.multi_create_body(4),
                5 => Body::default().string(self.path()).buffer(self.data()).int(self.version()),
                _ => Body::default().string(self.path()).int(self.version()),
            };
            body.0.extend_from_slice(&part.0);
        }
        (14, body.int(-1).bool(true).int(-1), Shape::Multi)
    }

    fn multi_read(&mut self) -> (i32, Body, Shape) {
        let mut body = Body::default();
        for _ in 0..self.roll(4) {
            body = body.int(self.one(&[4, 8])).bool(false).int(-1).string(self.path()).bool(false);
        }
        (22, body.int(-1).bool(true).int(-1), Shape::Multi)
    }

    fn watches(&mut self) -> (i32, Body, Shape) {
        let path = Body::default().string(self.path());
        match self.roll(6) {
            0..3 => (106, path.int(self.one(&[0, 1, 0, 1, 2])), Shape::Number),
            3 => (17, path.int(self.one(&[1, 2, 3, 4])), Shape::Nothing),
            _ => (18, path.int(self.one(&[1, 2, 3, 3, 3])), Shape::Nothing),
        }
    }

    fn set_watches(&mut self) -> (i32, Body, Shape) {
        let mut body = Body::default().long(self.one(&[0, 20, 100, 400, 100_000]));
        let lists = self.one(&[3, 5]);
        for _ in 0..lists {
            let paths: Vec<_> = (0..self.roll(4)).map(|_| self.path()).collect();
            body = body.strings(&paths);
        }
        (if lists == 3 { 101 } else { 105 }, body, Shape::Nothing)
    }

    fn auth(&mut self) -> (i32, Body, Shape) {
        let scheme = self.one(&["digest", "digest", "digest", "ip", "nonsense"]);
        let proof = self.one(&["u1:p1", "u2:p2", "nopassword", ""]);
        (100, Body::default().int(0).string(scheme).buffer(Some(proof.as_bytes())), Shape::Nothing)
    }

    fn other(&mut self) -> (i32, Body, Shape) {
        match self.roll(6) {
            0 => (107, Body::default(), Shape::Identities),
            1 => (9, Body::default().string(self.path()), Shape::Path),
            2 => (20, Body::default().string(self.path()).int(-1), Shape::Nothing),
            3 => (16, Body::default().buffer(None).buffer(None).string("x").long(-1), Shape::Nothing),
            4 => (102, Body::default().buffer(Some(b"token")), Shape::Path),
            _ => (self.one(UNKNOWN), Body::default(), Shape::Nothing),
        }
    }
}

#[test]
fn random_requests_are_answered_as_zookeeper_answers_them() {
    const STEPS: usize = 6000;
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0x0DDD_ACE5);
    let pair = Pair::start();
    let [mut ours, mut theirs] = pair.addresses.map(Side::new);
    let mut dice = Dice(seed);
    let mut told: Vec<String> = Vec::new();
    let mut refusals: BTreeMap<String, usize> = BTreeMap::new();
    for number in 0..STEPS {
        let step = dice.step();
        told.push(format!("{number}: {step:?}"));
        let (our, their) = (ours.play(&step), theirs.play(&step));
        let history = &told[told.len().saturating_sub(25)..].join("\n");
        assert_eq!(our, their, "ours and theirs differ, seed {seed}, after\n{history}");
        if let Some(error) = our.split("error ").nth(1).and_then(|rest| rest.split(' ').next()) {
            *refusals.entry(error.to_owned()).or_default() += 1;
        }
    }
    // The comparison means something only if much succeeded and every refusal was met.
    assert!(refusals.get("0").copied().unwrap_or(0) > STEPS / 4, "{refusals:?}");
    for code in
        ["-5", "-6", "-8", "-101", "-102", "-103", "-108", "-110", "-111", "-114", "-115", "-121", "-123"]
    {
        assert!(refusals.contains_key(code), "no step met {code}: {refusals:?}");
    }
    pair.stop();
}

#[test]
fn the_stock_shell_shows_the_same_with_both() {
    const TYPED: &str = "create /app hello\nget -s /app\ncreate -s /app/q- 1\ncreate -s /app/q- 2\ncreate -e /app/e x\n\
        create -e /app/e/child x\nls -R /\nls -s /app\nset -v 0 /app changed\nset -v 0 /app again\nstat -w /app\n\
        set /app third\ngetAcl /app\naddauth digest me:secret\ncreate /mine x auth::cdrwa\ngetAcl -s /mine\n\
        getEphemerals\ngetAllChildrenNumber /\ndelete /app\ndelete -v 9 /mine\ncreate -c /box\ncreate -t 5000 /soon x\n\
        setAcl /app world:anyone:ra\ncreate /app/no x\nsync /app\nls /missing\nsetAcl /app world:anyone:cdrwa\n\
        addWatch -m PERSISTENT_RECURSIVE /app\ncreate /app/deep\nset /app/deep v\ndelete /app/deep\n\
        removewatches /app\nget /zookeeper/config\nget -s /zookeeper/quota\ncreate /a/b/c\ndeleteall /app\nls /\nquit\n";
    let pair = Pair::start();
    let [ours, theirs] = pair.addresses.map(|address| {
        let shown = stock::tool("3.9.1", "zookeeper-shell", &[&address.to_string()], TYPED);
        format!("{}\n--\n{}", without_time(&shown.stdout), without_time(&shown.stderr))
    });
    assert_eq!(ours, theirs);
    assert!(ours.contains("Created /app/q-0000000001"), "{ours}");
    pair.stop();
}

fn word(address: SocketAddr, word: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("the server accepts");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout can be set");
    stream.write_all(word.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer and a close");
    answer
}

/// Every number as `N`, hexadecimal ones and fractions too.
fn without_numbers(line: &str) -> String {
    let mut shape = String::new();
    let mut rest = line;
    while let Some(next) = rest.chars().next() {
        let is_number = |c: char| c.is_ascii_digit() || c == '.';
        let after = match rest.strip_prefix("0x") {
            Some(digits) => digits.trim_start_matches(|c: char| c.is_ascii_hexdigit()),
            None => rest.trim_start_matches(is_number),
        };
        if after.len() < rest.len() {
            shape.push('N');
            rest = after;
        } else {
            shape.push(next);
            rest = &rest[next.len_utf8()..];
        }
    }
    shape
}

/// The lines of an answer, sorted: connections are told in no order. Of the version and of paths only that they are there.
fn shape(answer: &str) -> Vec<String> {
    let line = |line: &str| match line.split_once(['=', ':']) {
        Some((name @ ("dataDir" | "dataLogDir" | "Zookeeper version"), _)) => name.to_owned(),
        _ => without_numbers(line),
    };
    let mut lines: Vec<String> = answer.lines().map(line).collect();
    lines.sort();
    lines
}

#[test]
fn four_letter_words_have_the_shape_of_zookeepers() {
    let pair = Pair::start();
    for address in pair.addresses {
        // A session that has read and written, and one that has not yet said anything.
        let mut busy = ZnodeClient::open(address);
        let body =
            Body::default().string("/worded").buffer(Some(b"x")).acl(&[(31, "world", "anyone")]).int(1);
        assert_eq!(busy.request(1, &body).expect("an answer").error, 0);
        assert_eq!(
            busy.request(4, &Body::default().string("/worded").bool(true)).expect("an answer").error,
            0
        );
        std::mem::forget(busy);
    }
    let [ours, theirs] = pair.addresses;
    assert_eq!(word(ours, "ruok"), word(theirs, "ruok"));
    for asked in ["stat", "srvr", "conf", "cons"] {
        let (our, their) = (word(ours, asked), word(theirs, asked));
        assert_eq!(shape(&our), shape(&their), "{asked}\n{our}\n{their}");
    }
    let keyed = |answer: &str| -> BTreeMap<String, String> {
        let pair =
            |line: &str| line.split_once('\t').map(|(key, value)| (key.to_owned(), without_numbers(value)));
        answer.lines().filter_map(pair).collect()
    };
    let (our, their) = (keyed(&word(ours, "mntr")), keyed(&word(theirs, "mntr")));
    for (key, value) in our.iter().filter(|(key, _)| *key != "zk_version") {
        assert_eq!(Some(value), their.get(key), "{key}");
    }
    // What every monitor of ZooKeeper reads (its own documentation of `mntr` lists these for a standalone server).
    let documented: BTreeSet<&str> = BTreeSet::from([
        "zk_version",
        "zk_server_state",
        "zk_avg_latency",
        "zk_max_latency",
        "zk_min_latency",
        "zk_packets_received",
        "zk_packets_sent",
        "zk_num_alive_connections",
        "zk_outstanding_requests",
        "zk_znode_count",
        "zk_watch_count",
        "zk_ephemerals_count",
        "zk_approximate_data_size",
        "zk_open_file_descriptor_count",
        "zk_max_file_descriptor_count",
    ]);
    let missing: Vec<_> = documented.iter().filter(|key| !our.contains_key(**key)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    pair.stop();
}

/// Wall clock, addresses and session ids differ between any two servers; the log of the client itself is no answer.
fn without_time(text: &str) -> String {
    const VARIES: [&str; 5] =
        ["ctime = ", "mtime = ", "Connecting to ", "ephemeralOwner = 0x1", "WatchedEvent state:Closed"];
    // The shell may end before it has told that it did; what frames an event says nothing.
    let varies = |line: &&str| {
        VARIES.iter().any(|start| line.starts_with(start)) || line.is_empty() || *line == "WATCHER::"
    };
    let mut lines: Vec<&str> = text.lines().filter(|line| !varies(line)).collect();
    // The shell prints events from a thread of their own, in between.
    lines.sort_unstable();
    lines.join("\n")
}
