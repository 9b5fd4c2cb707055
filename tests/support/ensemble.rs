//! Real ZooKeeper 3.8: one server, or an ensemble whose servers die, freeze and come back one by one.
//!
//! Ticks are short, so that elections and sessions take seconds. Every server answers all four-letter words.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::ports::free_port;
use super::process::namespaces::Host;
use super::process::{PATIENCE, Process};
use super::stock;
use super::znodes::{Body, Cursor, ZnodeClient};

/// What every server is configured with. A session may be asked to last 1 s to 60 s.
const COMMON: &str = "tickTime=500\ninitLimit=40\nsyncLimit=20\nmaxSessionTimeout=60000\nmaxClientCnxns=0\n\
                      admin.enableServer=false\n4lw.commands.whitelist=*\n";

/// Request code of `getData`.
const GET_DATA: i32 = 4;
/// Error code of an answer about a znode that is not there.
const NO_NODE: i32 = -101;

/// One server process with its files.
pub(crate) struct Server {
    pub(crate) port: u16,
    folder: PathBuf,
    java_options: String,
    /// The machine it runs on, where that is not this one.
    host: Option<Host>,
    process: Option<Process>,
}

impl Server {
    /// Alone, with `lines` of zoo.cfg on top of the usual and options for the Java machine.
    #[track_caller]
    pub(crate) fn standalone(folder: &Path, port: u16, lines: &str, java_options: &str) -> Server {
        let mut server = Server::new(folder.to_owned(), port, lines, java_options, None);
        server.boot();
        server.wait_until_it_serves();
        server
    }

    fn new(folder: PathBuf, port: u16, lines: &str, java_options: &str, host: Option<&Host>) -> Server {
        fs::create_dir_all(&folder).expect("the ZooKeeper folder");
        let text = format!(
            "{COMMON}dataDir={}\nclientPort={port}\nclientPortAddress={}\n{lines}",
            folder.display(),
            address(host)
        );
        fs::write(folder.join("zoo.cfg"), text).expect("zoo.cfg is written");
        Server { port, folder, java_options: java_options.to_owned(), host: host.cloned(), process: None }
    }

    fn boot(&mut self) {
        let path = self.folder.join("zoo.cfg").display().to_string();
        let options = [("KAFKA_OPTS", self.java_options.as_str())];
        let start = || stock::start_with("3.9.1", "zookeeper-server-start", &[&path], &options);
        self.process = Some(match &self.host {
            Some(host) => host.namespace.within(start),
            None => start(),
        });
    }

    #[track_caller]
    fn wait_until_it_serves(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while self.mode().is_none() {
            let process = self.process.as_mut().expect("booted");
            if process.has_ended() || Instant::now() > deadline {
                let log = process.log();
                panic!("ZooKeeper did not come up\n{log}");
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from((address(self.host.as_ref()), self.port))
    }

    /// `leader`, `follower`, `observer` or `standalone`; `None` where it does not serve.
    /// The port accepts connections before the server behind it is ready; `srvr` tells.
    pub(crate) fn mode(&self) -> Option<String> {
        let ask = || -> io::Result<String> {
            let mut stream = TcpStream::connect_timeout(&self.address(), Duration::from_secs(1))?;
            stream.set_read_timeout(Some(Duration::from_secs(2)))?;
            stream.write_all(b"srvr")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        ask().ok()?.lines().find_map(|line| line.strip_prefix("Mode: ")).map(str::to_owned)
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        drop(self.process.take());
    }

    /// SIGSTOP: its connections stay open and nobody answers on them.
    pub(crate) fn pause(&self) {
        self.process.as_ref().expect("running").signal(libc::SIGSTOP);
    }

    pub(crate) fn resume(&self) {
        self.process.as_ref().expect("running").signal(libc::SIGCONT);
    }

    pub(crate) fn is_running(&self) -> bool {
        self.process.is_some()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.as_ref().expect("running").pid()
    }
}

/// Where a server listens that runs there.
fn address(host: Option<&Host>) -> Ipv4Addr {
    host.map_or(Ipv4Addr::LOCALHOST, |host| host.address)
}

/// Three voters and an observer, each on a port of its own of 127.0.0.1 or of one machine of the test's network.
pub(crate) struct Ensemble {
    servers: Vec<Server>,
    // Removed after the processes that write into it.
    _folder: TempDir,
}

impl Ensemble {
    #[track_caller]
    pub(crate) fn start() -> Ensemble {
        Ensemble::of(3, 1)
    }

    /// Starts them all and waits until each has its Mode.
    #[track_caller]
    pub(crate) fn of(voters: usize, observers: usize) -> Ensemble {
        Ensemble::placed(voters, observers, None)
    }

    #[track_caller]
    pub(crate) fn placed(voters: usize, observers: usize, host: Option<&Host>) -> Ensemble {
        let folder = tempfile::Builder::new().prefix("odradek-zk-").tempdir().expect("a temporary folder");
        let all = voters + observers;
        let members: String = (1..=all)
            .map(|id| {
                let role = if id > voters { "observer" } else { "participant" };
                format!("server.{id}={}:{}:{}:{role}\n", address(host), free_port(), free_port())
            })
            .collect();
        let server = |id: usize| {
            let data = folder.path().join(id.to_string());
            fs::create_dir_all(&data).expect("the ZooKeeper folder");
            fs::write(data.join("myid"), id.to_string()).expect("myid is written");
            let peer = if id > voters { "peerType=observer\n" } else { "" };
            Server::new(data, free_port(), &format!("{members}{peer}"), "", host)
        };
        let mut ensemble = Ensemble { servers: (1..=all).map(server).collect(), _folder: folder };
        ensemble.servers.iter_mut().for_each(Server::boot);
        ensemble.servers.iter_mut().for_each(Server::wait_until_it_serves);
        ensemble
    }

    /// All servers, observers too, without a chroot.
    pub(crate) fn connect_string(&self) -> String {
        let addresses: Vec<String> = self.servers.iter().map(|server| server.address().to_string()).collect();
        addresses.join(",")
    }

    pub(crate) fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// Waits until one of them leads; its place in `servers`.
    #[track_caller]
    pub(crate) fn leader(&self) -> usize {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let leads = |server: &Server| {
                server.is_running() && matches!(server.mode().as_deref(), Some("leader" | "standalone"))
            };
            if let Some(at) = self.servers.iter().position(leads) {
                return at;
            }
            assert!(Instant::now() < deadline, "no ZooKeeper server became the leader");
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }

    /// The server that holds the connection of the process `pid`, if any does. Reads the kernel's socket table.
    pub(crate) fn server_of(&self, pid: u32) -> Option<usize> {
        let ports = connected_ports(pid);
        self.servers.iter().position(|server| ports.contains(&server.port))
    }

    pub(crate) fn kill(&mut self, at: usize) {
        self.servers[at].kill();
    }

    pub(crate) fn pause(&self, at: usize) {
        self.servers[at].pause();
    }

    pub(crate) fn resume(&self, at: usize) {
        self.servers[at].resume();
    }

    /// Starts a killed server again on its files, without waiting for a Mode: it may need the others for a quorum.
    pub(crate) fn revive(&mut self, at: usize) {
        assert!(!self.servers[at].is_running(), "kill it first");
        self.servers[at].boot();
    }

    /// Waits until every running server has a Mode.
    #[track_caller]
    pub(crate) fn wait_until_whole(&mut self) {
        self.servers.iter_mut().filter(|server| server.is_running()).for_each(Server::wait_until_it_serves);
    }

    /// Whether a znode is there, as a server that serves has it; waits for one.
    #[track_caller]
    pub(crate) fn exists(&self, path: &str) -> bool {
        self.read(path).is_some()
    }

    /// A znode's data and stat; `None` where there is none. Waits for a server that serves: one that has just lost its
    /// quorum hangs up.
    #[track_caller]
    pub(crate) fn read(&self, path: &str) -> Option<(Vec<u8>, Stat)> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let serves = |server: &&Server| server.is_running() && server.mode().is_some();
            let answer = self.servers.iter().find(serves).and_then(|server| {
                let mut client = ZnodeClient::try_open(server.address()).ok()?;
                try_read(&mut client, path).ok()
            });
            if let Some(found) = answer {
                return found;
            }
            assert!(Instant::now() < deadline, "no ZooKeeper server serves");
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }
}

/// Of a znode's stat, what tests ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) czxid: i64,
    pub(crate) version: i32,
    /// Session that owns the znode, or 0.
    pub(crate) owner: i64,
}

/// Whether a znode is there.
#[track_caller]
pub(crate) fn exists(client: &mut ZnodeClient, path: &str) -> bool {
    try_read(client, path).expect("ZooKeeper answers").is_some()
}

/// `Ok(None)` where there is no such znode; `Err` where the server hung up.
pub(crate) fn try_read(client: &mut ZnodeClient, path: &str) -> io::Result<Option<(Vec<u8>, Stat)>> {
    let reply = client.request(GET_DATA, &Body::default().string(path).bool(false))?;
    match reply.error {
        0 => {}
        NO_NODE => return Ok(None),
        error => return Err(io::Error::other(format!("reading {path}: error {error}"))),
    }
    let mut cursor = Cursor(&reply.body);
    let data = cursor.buffer().unwrap_or_default();
    let (czxid, _mzxid, _ctime, _mtime) = (cursor.long(), cursor.long(), cursor.long(), cursor.long());
    let (version, _cversion, _aversion) = (cursor.int(), cursor.int(), cursor.int());
    Ok(Some((data, Stat { czxid, version, owner: cursor.long() })))
}

/// Remote ports of the established TCP connections of a process.
fn connected_ports(pid: u32) -> Vec<u16> {
    const ESTABLISHED: &str = "01";
    let inodes: Vec<String> = fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten()
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .filter_map(|target| Some(target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let table = fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap_or_default();
    let remote = |line: &str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let ours = *columns.get(3)? == ESTABLISHED
            && inodes.iter().any(|inode| columns.get(9) == Some(&inode.as_str()));
        let port = columns.get(2)?.rsplit_once(':')?.1;
        ours.then(|| u16::from_str_radix(port, 16).ok()).flatten()
    };
    table.lines().skip(1).filter_map(remote).collect()
}
