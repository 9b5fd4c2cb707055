//! One command brings up an ensemble from the runbook's `zoo.cfg`, and one a cluster of brokers on it; both say how
//! things are, and leave nothing behind.

/// Only processes: nothing here speaks a protocol.
#[allow(dead_code, reason = "each test file uses its own part of this room")]
mod support {
    pub(crate) mod ports;
    pub(crate) mod process;
    pub(crate) mod stock;
}

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use serde_json::Value;
use support::ports::free_port;
use support::process::{Ended, PATIENCE, run};
use support::stock::{checkout, tool};
use tempfile::TempDir;

/// A state folder of its own; what runs is stopped with it.
struct Ground {
    folder: TempDir,
    zoo_cfg: PathBuf,
    client_ports: Vec<u16>,
}

impl Ground {
    /// Three voters and an observer on one address, so that it does not matter who else uses this machine.
    fn new() -> Ground {
        let folder =
            tempfile::Builder::new().prefix("odradek-scripts-").tempdir().expect("a temporary folder");
        let client_ports: Vec<u16> = (0..4).map(|_| free_port()).collect();
        let servers: String = (1..)
            .zip(&client_ports)
            .map(|(id, client)| {
                let role = if id == 4 { ":observer" } else { "" };
                format!("server.{id}=127.0.0.1:{}:{}{role};{client}\n", free_port(), free_port())
            })
            .collect();
        let data = folder.path().join("data");
        let text = format!(
            "# as in the runbook\ntickTime=500\ninitLimit=20\nsyncLimit=10\ndataDir={}\n{servers}",
            data.display()
        );
        let zoo_cfg = folder.path().join("zoo.cfg");
        fs::write(&zoo_cfg, text).expect("zoo.cfg is written");
        Ground { folder, zoo_cfg, client_ports }
    }

    fn script(&self, name: &str, arguments: &[&str]) -> Ended {
        let mut command = Command::new(checkout().join("scripts").join(name));
        command
            .args(arguments)
            .env("ODRADEK_STATE", self.folder.path().join("state"))
            .env("BROKER", env!("CARGO_BIN_EXE_broker"))
            .env("KAFKA_HEAP_OPTS", "-Xmx512M")
            .env("KAFKA_JVM_PERFORMANCE_OPTS", "-XX:+UseSerialGC -XX:TieredStopAtLevel=1");
        run(format!("scripts/{name} {}", arguments.join(" ")), command, b"", PATIENCE * 2)
    }

    fn zookeeper(&self, action: &str, more: &[&str]) -> Ended {
        let file = self.zoo_cfg.display().to_string();
        let arguments = [&[action, "-c", &file], more].concat();
        self.script("zookeeper", &arguments)
    }

    /// What `cluster status` prints once nothing is wrong and it has these words: a tool that has written its wish into
    /// ZooKeeper ends before it is fulfilled.
    #[track_caller]
    fn until_whole(&self, words: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let ended = self.script("cluster", &["status"]);
            if ended.code == 0 && ended.stdout.contains(words) {
                return ended.stdout;
            }
            assert!(Instant::now() < deadline, "{ended}");
        }
    }

    /// Mode of each server, by the lines of `status`.
    fn modes(&self) -> (i32, Vec<String>) {
        let ended = self.zookeeper("status", &[]);
        let line = |(line, port): (&str, &u16)| {
            let mode = line.strip_prefix(&format!("127.0.0.1:{port}  Mode: "));
            mode.unwrap_or_else(|| panic!("{ended}")).to_owned()
        };
        (ended.code, ended.stdout.lines().zip(&self.client_ports).map(line).collect())
    }
}

/// What `broker cluster status --json` prints once it is as wanted, and how it ends.
#[track_caller]
fn json_status(way: &[&str], wanted: impl Fn(&Value) -> bool) -> (i32, Value) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut command = Command::new(env!("CARGO_BIN_EXE_broker"));
        command.args(["cluster", "status", "--json"]).args(way);
        let ended = run("broker cluster status --json", command, b"", PATIENCE);
        let told = serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended}"));
        if wanted(&told) {
            return (ended.code, told);
        }
        assert!(Instant::now() < deadline, "{ended}");
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        self.script("cluster", &["down"]);
        self.zookeeper("down", &[]);
    }
}

#[test]
fn an_ensemble_comes_up_from_a_zoo_cfg_and_its_status_shows_each_mode() {
    let ground = Ground::new();
    assert_eq!(ground.modes(), (1, vec!["NULL".to_owned(); 4]));
    ground.zookeeper("up", &[]).success();

    let (code, mut modes) = ground.modes();
    assert_eq!(code, 0);
    assert_eq!(modes.pop().as_deref(), Some("observer"));
    let leader = modes.iter().position(|mode| mode == "leader").expect("a leader");
    modes.remove(leader);
    assert_eq!(modes, ["follower", "follower"]);

    ground.zookeeper("down", &[&(leader + 1).to_string()]).success();
    let (code, modes) = ground.modes();
    assert_eq!((code, modes[leader].as_str()), (1, "NULL"));
    let again = ground.zookeeper("up", &[]).success();
    assert_eq!(again.matches("Mode: leader").count(), 1, "{again}");
    ground.zookeeper("down", &["--wipe"]).success();
    assert!(!ground.folder.path().join("data/1").exists());
}

#[test]
fn a_cluster_of_ours_and_apaches_comes_up_with_one_command_and_tells_how_it_is() {
    let ground = Ground::new();
    let port = free_port().to_string();
    let zoo_cfg = ground.zoo_cfg.display().to_string();
    assert_eq!(ground.script("cluster", &["status"]).code, 1);
    let up = ["up", "--brokers", "2", "--apache", "2", "--port", &port, "--zoo-cfg", &zoo_cfg];
    let up = ground.script("cluster", &up).success();
    let bootstrap = format!("127.0.0.1:{port},127.0.0.2:{port}");
    assert!(up.contains(&format!("bootstrap.servers={bootstrap}")), "{up}");

    let zookeeper = format!("127.0.0.1:{}", ground.client_ports[0]);
    let create = [
        "--create",
        "--partitions",
        "2",
        "--replication-factor",
        "2",
        "--topic",
        "mymsg",
        "--zookeeper",
        &zookeeper,
    ];
    tool("2.8.2", "kafka-topics", &create, "").success();
    let status = ground.until_whole("partitions 2");
    assert!(status.contains("offline partitions: none"), "{status}");
    assert!(status.contains(&format!("broker 2  127.0.0.2:{port}  apache  pid ")), "{status}");

    for way in [["--bootstrap-server", bootstrap.as_str()], ["--zookeeper", zookeeper.as_str()]] {
        let (code, told) = json_status(&way, |told| told["partitions"] == 2 && told["whole"] == true);
        assert_eq!((code, &told["whole"]), (0, &true.into()), "{told}");
        let brokers = told["brokers"].as_array().expect("a list").iter();
        let shares = brokers.map(|one| (one["id"].clone(), one["replicas"].clone(), one["state"].clone()));
        let expected = [1, 2].map(|id| (id.into(), 2.into(), "online".into()));
        assert_eq!(shares.collect::<Vec<_>>(), expected, "{told}");
        for problem in ["offlinePartitions", "underReplicatedPartitions", "underMinIsrPartitions"] {
            assert_eq!(told[problem], Value::Array(Vec::new()), "{told}");
        }
    }

    ground.script("cluster", &["down", "2"]).success();
    let (code, told) = json_status(&["--bootstrap-server", &bootstrap], |told| {
        let under = told["underReplicatedPartitions"].as_array().map_or(0, Vec::len);
        told["whole"] == false && told["brokers"][1]["state"] == "offline" && under == 2
    });
    assert_eq!((code, &told["whole"]), (1, &false.into()), "{told}");
    assert_eq!(told["brokers"][1]["state"], "offline", "{told}");
    let under = told["underReplicatedPartitions"].as_array().expect("a list");
    assert_eq!(under.len(), 2, "{told}");
    assert!(under.iter().all(|one| one["leader"] == 1 && one["inSync"] == Value::from(vec![1])), "{told}");
    let ended = ground.script("cluster", &["status"]);
    assert_eq!(ended.code, 1, "{ended}");
    assert!(ended.stdout.contains(&format!("broker 2  127.0.0.2:{port}  apache  NULL")), "{ended}");
    ground.script("cluster", &["down", "--wipe"]).success();
    assert!(!ground.folder.path().join("state/cluster").exists());
}
