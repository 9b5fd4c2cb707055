//! What the command line promises: which files start, which are refused and why, and what the exit codes mean.

/// Only processes and stock tools: nothing here speaks the protocol.
#[allow(dead_code, reason = "each test file uses its own part of this room")]
mod support {
    pub(crate) mod process;
    pub(crate) mod stock;
}

use std::fs;
use std::process::Command;

use support::process::{Ended, PATIENCE, run};
use support::stock::checkout;

fn broker(arguments: &[&str]) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_broker"));
    command.args(arguments).current_dir(checkout()).env_remove("RUST_LOG");
    run(format!("broker {}", arguments.join(" ")), command, b"", PATIENCE)
}

#[test]
fn the_files_that_apache_ships_pass_unchanged() {
    for file in ["config/kafka-2.8/server.properties", "config/kafka-3.9/server.properties"] {
        let ended = broker(&["check", "-c", file]);
        assert_eq!(ended.code, 0, "{ended}");
        assert!(ended.stdout.contains("coordinated by  ZooKeeper at localhost:2181"), "{ended}");
        assert!(ended.stdout.contains("num.io.threads, num.network.threads"), "{ended}");
        assert!(!ended.stdout.contains("unknown key"), "{ended}");
    }
}

#[test]
fn the_file_for_one_machine_passes_without_a_warning() {
    let ended = broker(&["check", "--config", "config/server.properties"]);
    assert_eq!(ended.code, 0, "{ended}");
    assert!(ended.stdout.contains("embedded coordinator on 127.0.0.1:2181"), "{ended}");
    assert!(!ended.stdout.contains("warning"), "{ended}");
}

#[test]
fn check_tells_everything_that_is_wrong_and_ends_with_1() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("server.properties");
    fs::write(&file, "num.partitions=0\nssl.keystore.password=hunter2\nmy.key=1\nnum.io.threads=4\n")
        .expect("written");
    let ended = broker(&["check", "-c", &file.display().to_string(), "--override", "process.roles=broker"]);
    assert_eq!(ended.code, 1, "{ended}");
    for told in [
        "Invalid value 0 for configuration num.partitions: Value must be at least 1",
        "ssl.keystore.password=[hidden] is not supported",
        "process.roles=broker is not supported: KRaft mode is not supported",
        "my.key: unknown key",
        "num.io.threads: without effect",
    ] {
        assert!(ended.stdout.contains(told), "{told}\n{ended}");
    }
    assert!(!ended.stdout.contains("hunter2"), "{ended}");
}

#[test]
fn check_sees_that_a_log_directory_belongs_to_another_broker() {
    let folder = tempfile::tempdir().expect("a folder");
    let logs = folder.path().join("logs");
    fs::create_dir(&logs).expect("created");
    fs::write(logs.join("meta.properties"), "broker.id=7\nversion=0\ncluster.id=abc\n").expect("written");
    let dirs = format!("log.dirs={}", logs.display());
    let check = |id: &str| {
        broker(&[
            "check",
            "config/server.properties",
            "--override",
            &dirs,
            "--override",
            &format!("broker.id={id}"),
        ])
    };
    assert_eq!(check("7").code, 0);
    let ended = check("8");
    assert_eq!(ended.code, 1, "{ended}");
    assert!(
        ended.stdout.contains("belongs to broker 7 of cluster abc, but the file says broker.id=8"),
        "{ended}"
    );
}

#[test]
fn a_refused_file_ends_the_start_with_1_and_says_what_is_allowed() {
    let ended = broker(&["config/server.properties", "--override", "listeners=SSL://:9093"]);
    assert_eq!(ended.code, 1, "{ended}");
    assert!(ended.stderr.contains("listeners=SSL://:9093 is not supported"), "{ended}");
    assert!(ended.stderr.contains("Allowed: listeners of security protocol PLAINTEXT"), "{ended}");
    assert!(ended.stderr.contains("broker check -c config/server.properties"), "{ended}");
    assert_eq!(ended.stdout, "", "{ended}");
}

#[test]
fn a_file_that_is_not_there_ends_with_1() {
    let ended = broker(&["-c", "/no/such/server.properties"]);
    assert_eq!(ended.code, 1, "{ended}");
    assert!(ended.stderr.contains("cannot read /no/such/server.properties"), "{ended}");
}

#[test]
fn wrong_use_of_the_command_line_ends_with_2() {
    for arguments in [
        &[][..],
        &["--no-such-flag"],
        &["check"],
        &["-c", "config/server.properties", "--override", "novalue"],
        &["-c", "config/server.properties", "--log-level", "broker=loud"],
        &["-c", "config/server.properties", "second.properties"],
    ] {
        assert_eq!(broker(arguments).code, 2, "{arguments:?}");
    }
}

#[test]
fn log_lines_are_json_objects_when_asked_for() {
    let ended = broker(&["-c", "/no/such/file", "--log-format", "json"]);
    for line in ended.stderr.lines() {
        let object: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"));
        assert_eq!(object["level"], "ERROR", "{line}");
    }
}

#[test]
fn help_and_version_end_with_0() {
    let help = broker(&["--help"]);
    assert_eq!(help.code, 0);
    assert!(help.stdout.contains("broker check -c config/server.properties"), "{help}");
    assert_eq!(broker(&["--version"]).code, 0);
}
