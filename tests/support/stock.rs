//! Apache's own tools and servers, run through `scripts/kafka-tools` as a person would.

use std::path::PathBuf;
use std::process::Command;

use super::process::{Ended, PATIENCE, Process, run};

/// The versions whose console tools the runbook is typed with.
pub(crate) const VERSIONS: [&str; 3] = ["2.8.2", "3.9.1", "4.1.0"];

pub(crate) fn checkout() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().expect("broker/ lies in the checkout").to_path_buf()
}

fn command(version: &str, tool: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(checkout().join("scripts/kafka-tools"));
    command.arg(version).arg(tool).args(arguments);
    command
}

/// Runs `tool` with `input` typed into it and waits for its end.
///
/// Where Java or Maven is missing, the exit code is 69 and stderr says what to install; tests that
/// check the exit code therefore fail with that message.
#[track_caller]
pub(crate) fn tool(version: &str, tool: &str, arguments: &[&str], input: &str) -> Ended {
    let name = format!("{version} {tool} {}", arguments.join(" "));
    run(name, command(version, tool, arguments), input.as_bytes(), PATIENCE)
}

/// Starts `tool` and leaves it running.
pub(crate) fn start(version: &str, tool: &str, arguments: &[&str]) -> Process {
    start_with(version, tool, arguments, &[])
}

/// The same with environment variables, for instance `KAFKA_OPTS`. The Java machine is a small one: tests run many.
pub(crate) fn start_with(
    version: &str,
    tool: &str,
    arguments: &[&str],
    variables: &[(&str, &str)],
) -> Process {
    let mut command = command(version, tool, arguments);
    command
        .env("KAFKA_HEAP_OPTS", if tool.starts_with("zookeeper") { "-Xmx96M" } else { "-Xmx512M" })
        .env("KAFKA_JVM_PERFORMANCE_OPTS", "-XX:+UseSerialGC -XX:TieredStopAtLevel=1")
        .envs(variables.iter().copied());
    Process::spawn(format!("{version} {tool}"), command)
}
