//! A broker in its seat on this machine: ours, or Apache Kafka 3.9.1 beside a real ZooKeeper.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use kafka_protocol::messages::MetadataRequest;
use tempfile::TempDir;

use super::ports::free_port;
use super::process::{Ended, PATIENCE, Process};
use super::stock;
use super::wire::Connection;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Our binary with its embedded coordinator.
    Ours,
    /// Apache Kafka 3.9.1 with a ZooKeeper 3.8 of its own.
    Apache,
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

/// One broker and what coordinates it. Everything ends with this value.
pub(crate) struct Broker {
    pub(crate) kind: Kind,
    pub(crate) port: u16,
    pub(crate) zookeeper_port: u16,
    folder: TempDir,
    process: Option<Process>,
    // After `process`: dropped, and so killed, last.
    zookeeper: Option<Process>,
}

impl Broker {
    pub(crate) fn start() -> Broker {
        Broker::start_with(kind(), &[])
    }

    /// Starts with `settings` on top of what all tests share, and waits for the first Metadata answer.
    #[track_caller]
    pub(crate) fn start_with(kind: Kind, settings: &[(&str, &str)]) -> Broker {
        let folder = tempfile::Builder::new().prefix("odradek-test-").tempdir().expect("a temporary folder");
        let (port, zookeeper_port) = (free_port(), free_port());
        let mut broker = Broker { kind, port, zookeeper_port, folder, process: None, zookeeper: None };
        broker.write_properties(settings);
        if kind == Kind::Apache {
            broker.zookeeper = Some(start_zookeeper(&broker.folder.path().join("zookeeper"), zookeeper_port));
        }
        broker.boot();
        broker
    }

    fn write_properties(&self, settings: &[(&str, &str)]) {
        let mut lines: Vec<(String, String)> =
            COMMON.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        lines.push(("broker.id".into(), "0".into()));
        lines.push(("listeners".into(), format!("PLAINTEXT://127.0.0.1:{}", self.port)));
        lines.push(("log.dirs".into(), self.log_dir().display().to_string()));
        match self.kind {
            Kind::Apache => lines.push(("zookeeper.connect".into(), self.zookeeper())),
            Kind::Ours => {
                lines.push(("zookeeper.embedded.port".into(), self.zookeeper_port.to_string()));
                let data = self.folder.path().join("zookeeper");
                lines.push(("zookeeper.embedded.data.dir".into(), data.display().to_string()));
            }
        }
        for (key, value) in settings {
            lines.retain(|(known, _)| known != key);
            lines.push((key.to_string(), value.to_string()));
        }
        let text: String = lines.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
        fs::write(self.properties(), text).expect("server.properties is written");
    }

    #[track_caller]
    fn boot(&mut self) {
        let properties = self.properties().display().to_string();
        let process = match self.kind {
            Kind::Ours => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_broker"));
                command.arg("-c").arg(properties);
                Process::spawn("broker", command)
            }
            Kind::Apache => stock::start("3.9.1", "kafka-server-start", &[&properties]),
        };
        self.process = Some(process);
        self.wait_until_it_answers();
    }

    /// Polls until the broker knows itself and its controller; fails as soon as its process ends.
    #[track_caller]
    fn wait_until_it_answers(&mut self) {
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
        let Ok(mut connection) = Connection::try_open(self.port) else { return false };
        let request = MetadataRequest::default().with_topics(Some(Vec::new()));
        connection
            .try_request(9, &request)
            .is_ok_and(|answer| !answer.brokers.is_empty() && answer.controller_id.0 >= 0)
    }

    pub(crate) fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn zookeeper(&self) -> String {
        format!("127.0.0.1:{}", self.zookeeper_port)
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

    #[track_caller]
    pub(crate) fn connect(&self) -> Connection {
        Connection::try_open(self.port)
            .unwrap_or_else(|e| panic!("connecting to the broker: {e}\n{}", self.log()))
    }

    /// SIGTERM, and the wait for the end.
    #[track_caller]
    pub(crate) fn stop(&mut self) -> Ended {
        let process = self.process.take().expect("running");
        process.signal(libc::SIGTERM);
        process.wait(PATIENCE)
    }

    /// Until it ends by itself.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> Ended {
        self.process.take().expect("running").wait(PATIENCE)
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        drop(self.process.take().expect("running"));
    }

    /// Starts again on the same files.
    #[track_caller]
    pub(crate) fn restart(&mut self) {
        assert!(self.process.is_none(), "stop or kill it first");
        if self.kind == Kind::Apache {
            // Apache exits while the ephemeral znode of its killed predecessor lives.
            self.wait_until_the_former_session_is_gone();
        }
        self.boot();
    }

    fn wait_until_the_former_session_is_gone(&self) {
        let deadline = Instant::now() + PATIENCE;
        while stock::tool("3.9.1", "zookeeper-shell", &[&self.zookeeper(), "ls", "/brokers/ids"], "")
            .stdout
            .lines()
            .any(|line| line == "[0]")
        {
            assert!(Instant::now() < deadline, "the session of the killed broker outlived {PATIENCE:?}");
        }
    }

    /// Resident memory. Unit: bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the broker runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
        let kib: u64 = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number of KiB");
        kib * 1024
    }
}

/// A standalone ZooKeeper 3.8 that answers all four-letter words.
#[track_caller]
pub(crate) fn start_zookeeper(data: &std::path::Path, port: u16) -> Process {
    fs::create_dir_all(data).expect("the ZooKeeper folder");
    let configuration = data.join("zoo.cfg");
    let text = format!(
        "dataDir={}\nclientPort={port}\nclientPortAddress=127.0.0.1\ntickTime=1000\nmaxClientCnxns=0\n\
         admin.enableServer=false\n4lw.commands.whitelist=*\n",
        data.display()
    );
    fs::write(&configuration, text).expect("zoo.cfg is written");
    let path = configuration.display().to_string();
    let mut process = stock::start("3.9.1", "zookeeper-server-start", &[&path]);
    let deadline = Instant::now() + PATIENCE;
    while !serves(port) {
        if process.has_ended() || Instant::now() > deadline {
            let log = process.log();
            panic!("ZooKeeper did not come up\n{log}");
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
    process
}

/// The port accepts connections before the server behind it is ready; `srvr` tells.
fn serves(port: u16) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(b"srvr")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.contains("Mode:"))
}
