//! The README's runbook, typed line by line against a running broker.

mod support;

use std::fs;
use std::process::Command;

use support::process::{PATIENCE, run};
use support::seat::Broker;
use support::stock::checkout;

/// The commands of the README's console blocks, each with the lines shown under it.
fn commands(text: &str) -> Vec<(String, Vec<String>)> {
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    for block in text.split("```console\n").skip(1) {
        for line in block.split("```").next().unwrap_or_default().lines() {
            match (line.strip_prefix("$ "), found.last_mut()) {
                (Some(command), _) => found.push((command.to_string(), Vec::new())),
                (None, Some((_, shown))) => shown.push(line.to_string()),
                (None, None) => panic!("output before any command: {line}"),
            }
        }
    }
    found
}

/// Topic ids are new in every run.
fn without_ids(line: &str) -> String {
    let Some((before, after)) = line.split_once("TopicId: ") else { return line.to_string() };
    format!("{before}TopicId: ID{}", after.trim_start_matches(|c: char| !c.is_whitespace()))
}

#[test]
fn the_runbook_of_the_readme_prints_what_it_shows() {
    let broker = Broker::start();
    let readme = fs::read_to_string(checkout().join("README.md")).expect("the README");
    let typed: Vec<_> = commands(&readme)
        .into_iter()
        .filter(|(command, _)| command.contains("scripts/kafka-tools"))
        .collect();
    assert!(typed.len() >= 4, "{typed:?}");
    for (command, shown) in typed {
        let here = command
            .replace("localhost:9092", &broker.bootstrap())
            .replace("localhost:2181", &broker.zookeeper());
        let mut shell = Command::new("bash");
        shell.arg("-c").arg(&here).current_dir(checkout());
        let ended = run(&command, shell, b"", PATIENCE);
        assert_eq!(ended.code, 0, "{ended}");
        let mut seen: Vec<String> =
            ended.stdout.lines().chain(ended.stderr.lines()).map(without_ids).collect();
        let mut expected: Vec<String> = shown.iter().map(|line| without_ids(line)).collect();
        // A terminal mixes both streams; two partitions come in either order.
        seen.sort();
        expected.sort();
        assert_eq!(seen, expected, "{command}");
    }
}
