//! A broker in its seat on this machine: ours, or Apache Kafka 3.9.1 beside a real ZooKeeper; alone, or as a member
//! of a cluster.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use kafka_protocol::messages::MetadataRequest;
use tempfile::TempDir;

use super::ensemble::{Server, exists};
use super::ports::free_port;
use super::process::namespaces::Host;
use super::process::{Ended, PATIENCE, Process};
use super::stock;
use super::wire::{ANSWER_PATIENCE, Connection};
use super::znodes::ZnodeClient;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Our binary with its embedded coordinator.
    Ours,
    /// Apache Kafka 3.9.1 with a ZooKeeper 3.8 of its own.
    Apache,
    /// Apache Kafka 3.9.1 in KRaft mode, alone: for what it does not do on ZooKeeper.
    Kraft,
}

/// Whom the tests ask: us, unless `ODRADEK_SEAT=apache`.
pub(crate) fn kind() -> Kind {
    match std::env::var("ODRADEK_SEAT").as_deref() {
        Ok("apache") => Kind::Apache,
        _ => Kind::Ours,
    }
}

/// What both kinds are configured with, so that answers can be compared.
const COMMON: &[(&str, &str)] = &[
    ("num.partitions", "1"),
    ("offsets.topic.num.partitions", "5"),
    ("offsets.topic.replication.factor", "1"),
    ("transaction.state.log.num.partitions", "5"),
    ("transaction.state.log.replication.factor", "1"),
    ("transaction.state.log.min.isr", "1"),
    ("group.initial.rebalance.delay.ms", "0"),
    ("group.min.session.timeout.ms", "1000"),
    ("zookeeper.session.timeout.ms", "6000"),
    ("log.cleaner.dedupe.buffer.size", "8388608"),
];

/// Who coordinates a broker.
enum Coordination {
    /// Our broker itself, on `zookeeper_port`.
    Embedded,
    /// A server of its own, on `zookeeper_port`.
    Own(#[allow(dead_code, reason = "held, so that it runs")] Server),
    /// A KRaft controller in the same process, on this port.
    Kraft(u16),
    /// An ensemble that others share: what stands as `zookeeper.connect`.
    Shared(String),
}

/// One broker and what coordinates it. Everything ends with this value.
pub(crate) struct Broker {
    pub(crate) kind: Kind,
    /// Of Apache's broker, where it is one.
    pub(crate) version: &'static str,
    pub(crate) id: i32,
    pub(crate) port: u16,
    /// The machine it runs on, where that is not this one.
    host: Option<Host>,
    /// 0 where the broker shares an ensemble.
    pub(crate) zookeeper_port: u16,
    folder: TempDir,
    process: Option<Process>,
    /// What the processes before this one printed.
    printed_before: String,
    variables: Vec<(String, String)>,
    /// `ulimit -n` of the process, soft and hard; `None`: as of the test.
    descriptors: Option<u64>,
    /// Whether the next process of ours has its standard error on a terminal.
    pub(crate) is_watched: bool,
    // After `process`: dropped, and so killed, last.
    coordination: Coordination,
}

impl Broker {
    pub(crate) fn start() -> Broker {
        Broker::start_with(kind(), &[])
    }

    /// Starts with `settings` on top of what all tests share, and waits for the first Metadata answer.
    #[track_caller]
    pub(crate) fn start_with(kind: Kind, settings: &[(&str, &str)]) -> Broker {
        Broker::start_version(kind, "3.9.1", settings)
    }

    /// The same with another version of Apache's broker, for instance 2.8.2, which still writes messages of magic 0 and 1.
    #[track_caller]
    pub(crate) fn start_version(kind: Kind, version: &'static str, settings: &[(&str, &str)]) -> Broker {
        let zookeeper_port = free_port();
        let mut broker = Broker::placed(kind, 0, Coordination::Embedded);
        broker.version = version;
        broker.zookeeper_port = zookeeper_port;
        if kind == Kind::Apache {
            let folder = broker.folder.path().join("zookeeper");
            broker.coordination = Coordination::Own(Server::standalone(&folder, zookeeper_port, "", ""));
        }
        if kind == Kind::Kraft {
            broker.coordination = Coordination::Kraft(zookeeper_port);
        }
        broker.write_properties(settings);
        if kind == Kind::Kraft {
            let properties = broker.properties().display().to_string();
            let arguments = ["format", "-t", "5hAqanNTTey96GCvUvvRyQ", "-c", &properties];
            stock::tool("3.9.1", "kafka-storage", &arguments, "").success();
        }
        broker.boot();
        broker
    }

    /// Ours, with `ulimit -n` at `descriptors`.
    #[track_caller]
    pub(crate) fn start_with_descriptors(descriptors: u64, settings: &[(&str, &str)]) -> Broker {
        let mut broker = Broker::placed(Kind::Ours, 0, Coordination::Embedded);
        broker.zookeeper_port = free_port();
        broker.descriptors = Some(descriptors);
        broker.write_properties(settings);
        broker.boot();
        broker
    }

    /// A member of the cluster behind `connect`: started, and not waited for. See `wait_until_it_answers`.
    pub(crate) fn join(kind: Kind, id: i32, connect: &str, settings: &[(&str, &str)]) -> Broker {
        Broker::join_with(kind, id, connect, settings, &[])
    }

    /// The same with environment variables of its process.
    pub(crate) fn join_with(
        kind: Kind,
        id: i32,
        connect: &str,
        settings: &[(&str, &str)],
        variables: &[(&str, &str)],
    ) -> Broker {
        let mut broker = Broker::placed(kind, id, Coordination::Shared(connect.to_owned()));
        broker.variables =
            variables.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        broker.write_properties(settings);
        broker.spawn();
        broker
    }

    /// A member on a machine of a network of the test.
    pub(crate) fn join_at(
        host: &Host,
        kind: Kind,
        id: i32,
        connect: &str,
        settings: &[(&str, &str)],
    ) -> Broker {
        let mut broker = Broker::placed(kind, id, Coordination::Shared(connect.to_owned()));
        broker.host = Some(host.clone());
        broker.write_properties(settings);
        broker.spawn();
        broker
    }

    fn placed(kind: Kind, id: i32, coordination: Coordination) -> Broker {
        let folder = tempfile::Builder::new().prefix("odradek-test-").tempdir().expect("a temporary folder");
        let port = free_port();
        Broker {
            kind,
            version: "3.9.1",
            id,
            port,
            host: None,
            zookeeper_port: 0,
            folder,
            process: None,
            printed_before: String::new(),
            variables: Vec::new(),
            descriptors: None,
            is_watched: false,
            coordination,
        }
    }

    fn write_properties(&self, settings: &[(&str, &str)]) {
        let mut lines: Vec<(String, String)> =
            COMMON.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        let id = if self.kind == Kind::Kraft { "node.id" } else { "broker.id" };
        lines.push((id.into(), self.id.to_string()));
        lines.push(("listeners".into(), format!("PLAINTEXT://{}", self.address())));
        lines.push(("log.dirs".into(), self.log_dir().display().to_string()));
        match self.coordination {
            Coordination::Own(_) | Coordination::Shared(_) => {
                lines.push(("zookeeper.connect".into(), self.zookeeper()));
            }
            Coordination::Kraft(controller) => {
                let address = format!("127.0.0.1:{controller}");
                let listeners = format!("PLAINTEXT://127.0.0.1:{},CONTROLLER://{address}", self.port);
                lines.push(("process.roles".into(), "broker,controller".into()));
                lines.push(("controller.quorum.voters".into(), format!("{}@{address}", self.id)));
                lines.push(("controller.listener.names".into(), "CONTROLLER".into()));
                lines.push((
                    "listener.security.protocol.map".into(),
                    "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT".into(),
                ));
                lines.retain(|(key, _)| key != "listeners");
                lines.push(("listeners".into(), listeners));
            }
            Coordination::Embedded => {
                lines.push(("zookeeper.embedded.port".into(), self.zookeeper_port.to_string()));
                let data = self.folder.path().join("zookeeper");
                lines.push(("zookeeper.embedded.data.dir".into(), data.display().to_string()));
            }
        }
        for (key, value) in settings {
            lines.retain(|(known, _)| known != key);
            lines.push((key.to_string(), value.replace("{port}", &self.port.to_string())));
        }
        let text: String = lines.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
        fs::write(self.properties(), text).expect("server.properties is written");
    }

    #[track_caller]
    fn boot(&mut self) {
        self.spawn();
        self.wait_until_it_answers();
    }

    /// Starts the process without waiting for anything.
    pub(crate) fn spawn(&mut self) {
        assert!(self.process.is_none(), "stop or kill it first");
        let host = self.host.clone();
        self.process = Some(match host {
            Some(host) => host.namespace.within(|| self.born()),
            None => self.born(),
        });
    }

    fn born(&self) -> Process {
        let properties = self.properties().display().to_string();
        let variables = self.variables.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        match self.kind {
            Kind::Ours => {
                let mut command = match self.descriptors {
                    None => Command::new(env!("CARGO_BIN_EXE_broker")),
                    Some(descriptors) => {
                        let mut shell = Command::new("sh");
                        let script = format!("ulimit -n {descriptors}; exec \"$0\" \"$@\"");
                        shell.args(["-c", &script, env!("CARGO_BIN_EXE_broker")]);
                        shell
                    }
                };
                command.arg("-c").arg(properties).envs(variables);
                let name = format!("broker {}", self.id);
                if self.is_watched {
                    Process::spawn_at_terminal(name, command)
                } else {
                    Process::spawn(name, command)
                }
            }
            Kind::Apache | Kind::Kraft => {
                let variables: Vec<_> = variables.collect();
                stock::start_with(self.version, "kafka-server-start", &[&properties], &variables)
            }
        }
    }

    /// Polls until the broker knows itself and its controller; fails as soon as its process ends.
    #[track_caller]
    pub(crate) fn wait_until_it_answers(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while !self.answers_metadata() {
            let process = self.process.as_mut().expect("booted");
            if process.has_ended() || Instant::now() > deadline {
                let log = process.log();
                panic!("the broker did not come up\n{log}");
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }

    fn answers_metadata(&self) -> bool {
        let Some(mut connection) = self.try_connect() else { return false };
        let request = MetadataRequest::default().with_topics(Some(Vec::new()));
        connection.try_request(9, &request).is_ok_and(|answer| {
            answer.brokers.iter().any(|broker| broker.node_id.0 == self.id) && answer.controller_id.0 >= 0
        })
    }

    pub(crate) fn bootstrap(&self) -> String {
        self.address().to_string()
    }

    /// What stands, or could stand, as `zookeeper.connect`.
    pub(crate) fn zookeeper(&self) -> String {
        match &self.coordination {
            Coordination::Shared(connect) => connect.clone(),
            _ => format!("127.0.0.1:{}", self.zookeeper_port),
        }
    }

    pub(crate) fn properties(&self) -> PathBuf {
        self.folder.path().join("server.properties")
    }

    pub(crate) fn log_dir(&self) -> PathBuf {
        self.folder.path().join("logs")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.as_ref().expect("running").pid()
    }

    /// What the broker printed so far.
    pub(crate) fn log(&self) -> String {
        self.process.as_ref().map(Process::log).unwrap_or_default()
    }

    /// All that the running broker printed on standard error, where its log goes.
    pub(crate) fn whole_log(&self) -> String {
        self.process.as_ref().map(Process::stderr).unwrap_or_default()
    }

    /// All that the broker's processes printed, killed ones too.
    pub(crate) fn printed(&self) -> String {
        let now = self.process.as_ref().map(|process| process.stdout() + &process.stderr());
        self.printed_before.clone() + &now.unwrap_or_default()
    }

    /// Where clients reach it.
    pub(crate) fn address(&self) -> SocketAddr {
        let ip = self.host.as_ref().map_or(Ipv4Addr::LOCALHOST, |host| host.address);
        SocketAddr::from((ip, self.port))
    }

    #[track_caller]
    pub(crate) fn connect(&self) -> Connection {
        Connection::try_open_at(self.address(), ANSWER_PATIENCE)
            .unwrap_or_else(|e| panic!("connecting to the broker: {e}\n{}", self.log()))
    }

    /// `None` where nobody listens.
    pub(crate) fn try_connect(&self) -> Option<Connection> {
        Connection::try_open_at(self.address(), ANSWER_PATIENCE).ok()
    }

    /// SIGTERM, and the wait for the end.
    #[track_caller]
    pub(crate) fn stop(&mut self) -> Ended {
        self.stop_by(libc::SIGTERM)
    }

    #[track_caller]
    pub(crate) fn stop_by(&mut self, signal: i32) -> Ended {
        self.process.as_ref().expect("running").signal(signal);
        self.wait()
    }

    /// Until it ends by itself.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> Ended {
        let ended = self.process.take().expect("running").wait(PATIENCE);
        self.printed_before += &format!("{}{}--- ended with {}\n", ended.stdout, ended.stderr, ended.code);
        ended
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.process.as_ref().expect("running").signal(libc::SIGKILL);
        self.wait();
    }

    /// SIGSTOP: its connections stay open and nobody answers on them.
    pub(crate) fn pause(&self) {
        self.process.as_ref().expect("running").signal(libc::SIGSTOP);
    }

    pub(crate) fn resume(&self) {
        self.process.as_ref().expect("running").signal(libc::SIGCONT);
    }

    /// How its process ended without being told to.
    pub(crate) fn sudden_end(&self) -> Option<String> {
        self.process.as_ref()?.sudden_end()
    }

    pub(crate) fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// Starts again on the same files and waits for the first Metadata answer.
    #[track_caller]
    pub(crate) fn restart(&mut self) {
        if self.kind == Kind::Apache {
            // Apache exits while the ephemeral znode of its killed predecessor lives.
            self.wait_until_it_is_forgotten();
        }
        self.boot();
    }

    /// Waits until ZooKeeper has ended the session of a killed broker.
    #[track_caller]
    pub(crate) fn wait_until_it_is_forgotten(&self) {
        let connect = self.zookeeper();
        let (servers, chroot) = connect.split_once('/').unwrap_or((&connect, ""));
        let slash = if chroot.is_empty() { "" } else { "/" };
        let path = format!("{slash}{chroot}/brokers/ids/{}", self.id);
        let serving = servers.split(',').filter_map(|server| server.parse().ok());
        let address = serving.into_iter().find(|address| TcpStream::connect(address).is_ok());
        let mut client = ZnodeClient::open(address.expect("a ZooKeeper server that serves"));
        let deadline = Instant::now() + PATIENCE;
        while exists(&mut client, &path) {
            assert!(Instant::now() < deadline, "the session of the killed broker outlived {PATIENCE:?}");
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }

    /// Descriptors and mappings that the process has.
    pub(crate) fn open_files_and_mappings(&self) -> (usize, usize) {
        let open = fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("the broker runs").count();
        let maps = fs::read_to_string(format!("/proc/{}/maps", self.pid())).expect("the broker runs");
        (open, maps.lines().count())
    }

    /// TCP connections that the process has to `port`.
    pub(crate) fn connections_to(&self, port: u16) -> usize {
        let sockets = fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("the broker runs");
        let sockets = sockets.filter_map(|one| fs::read_link(one.ok()?.path()).ok());
        let mine: Vec<String> = sockets.map(|link| link.to_string_lossy().into_owned()).collect();
        let (remote, established) = (format!(":{port:04X}"), "01");
        let known =
            ["tcp", "tcp6"].map(|table| fs::read_to_string(format!("/proc/{}/net/{table}", self.pid())));
        let known = known.into_iter().flatten().collect::<String>();
        // Number, here, there, state, queues, timer, retransmissions, user, timeout, inode.
        let rows = known.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        rows.filter(|row| row.len() > 9 && row[2].ends_with(&remote) && row[3] == established)
            .filter(|row| mine.contains(&format!("socket:[{}]", row[9])))
            .count()
    }

    /// Resident memory. Unit: bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the broker runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
        let kib: u64 = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number of KiB");
        kib * 1024
    }
}
