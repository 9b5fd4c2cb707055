//! kcat, and with it librdkafka, as the reader and writer of tests that are about something else.

use std::process::Command;

use super::process::{Ended, PATIENCE, run};
use super::seat::Broker;

/// Runs kcat against `broker` with `input` typed into it.
#[track_caller]
pub(crate) fn kcat(broker: &Broker, arguments: &[&str], input: &str) -> Ended {
    let mut command = Command::new("kcat");
    command.args(["-b", &broker.bootstrap()]).args(arguments);
    run(format!("kcat {} (apt-get install kcat)", arguments.join(" ")), command, input.as_bytes(), PATIENCE)
}

/// Everything committed in all partitions, each record in kcat's `format`, sorted.
#[track_caller]
pub(crate) fn all_committed(broker: &Broker, topic: &str, format: &str) -> Vec<String> {
    let arguments =
        ["-C", "-t", topic, "-o", "beginning", "-e", "-q", "-X", "isolation.level=read_committed", "-f"];
    let format = format!("{format}\n");
    let printed = kcat(broker, &[&arguments[..], &[&format]].concat(), "").success();
    let mut lines: Vec<String> = printed.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// What a new member of `group` reads from its committed offsets to the end, sorted. It commits, and leaves.
#[track_caller]
pub(crate) fn read_in_group(broker: &Broker, group: &str, topic: &str) -> Vec<String> {
    let arguments = ["-q", "-e", "-X", "auto.offset.reset=earliest", "-f", "%s\n", "-G", group, topic];
    let printed = kcat(broker, &arguments, "").success();
    let mut lines: Vec<String> = printed.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}
