//! Real applications on our broker: what they promise their users holds, whoever is killed.

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use support::kcat::kcat;
use support::process::Process;
use support::seat::Broker;
use support::stock::{checkout, start};
use support::talk::create_topic;
use support::until;

const WORDS: [&str; 4] = ["all", "streams", "lead", "kafka"];

/// `tests/clients/java/WordCount.java` with a folder for its state.
fn word_count(broker: &Broker, state: &str) -> Process {
    let source = checkout().join("tests/clients/java/WordCount.java");
    start("streams-3.9.1", &source.display().to_string(), &[&broker.bootstrap(), "lines", "counts", state])
}

/// Every count that readers of committed records see, by word, in order.
fn counts(broker: &Broker) -> BTreeMap<String, Vec<u64>> {
    let arguments = ["-C", "-t", "counts", "-o", "beginning", "-e", "-q", "-K:"];
    let isolation = ["-X", "isolation.level=read_committed"];
    let printed = kcat(broker, &[&arguments[..], &isolation].concat(), "").success();
    let mut counts: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for line in printed.lines() {
        let (word, count) = line.split_once(':').expect("word:count");
        counts.entry(word.to_owned()).or_default().push(count.parse().expect("a number"));
    }
    counts
}

/// Lines of all words, each once.
fn write_lines(broker: &Broker, lines: usize) {
    let input = format!("{}\n", WORDS.join(" ")).repeat(lines);
    kcat(broker, &["-P", "-t", "lines", "-X", "enable.idempotence=true"], &input).success();
}

#[test]
fn kafka_streams_counts_every_word_once_though_it_and_the_broker_are_killed_and_its_state_is_lost() {
    const LINES: usize = 200;
    const ROUNDS: usize = 4;
    let mut broker = Broker::start();
    create_topic(&broker, "lines", 2, &[]);
    create_topic(&broker, "counts", 2, &[]);
    let state = tempfile::tempdir().expect("a folder");
    let state_folder = state.path().display().to_string();

    let mut counting = word_count(&broker, &state_folder);
    for round in 1..=ROUNDS {
        write_lines(&broker, LINES);
        let seen = (round - 1) * LINES * WORDS.len();
        until("the first counts of a round", || counts(&broker).values().map(Vec::len).sum::<usize>() > seen);
        if round == 1 {
            drop(counting);
            counting = word_count(&broker, &state_folder);
        } else if round == 2 {
            broker.kill();
            broker.restart();
        } else if round == 3 {
            // What it has counted so far is left in its changelog only.
            drop(counting);
            std::fs::remove_dir_all(state.path()).expect("the state is deleted");
            counting = word_count(&broker, &state_folder);
        }
    }
    until("all counts", || {
        std::thread::park_timeout(Duration::from_millis(200));
        counts(&broker).values().map(Vec::len).sum::<usize>() >= ROUNDS * LINES * WORDS.len()
    });
    drop(counting);

    let expected: Vec<u64> = (1..).take(ROUNDS * LINES).collect();
    for (word, seen) in counts(&broker) {
        assert_eq!(seen, expected, "{word}\n{}", broker.log());
    }
}
