//! Plays the files of `tests/transaction_transcripts`: each line a request or time passing, indented below it what
//! came of it. Producers are called by a name; `p` remembers what it was last given.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use coordinator::machine::AppendFailure;
use coordinator::transactions::{
    Command, Identity, Init, Initialized, Outcome, Record, Reply, TransactionConfig,
};
use storage::types::{ProducerId, TopicPartition};

use crate::seat::{Happened, Seat, WALL_START_MS};

#[test]
fn every_transcript_still_happens_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transaction_transcripts");
    let mut files: Vec<_> =
        std::fs::read_dir(&folder).expect("transcripts").map(|file| file.expect("file").path()).collect();
    files.sort();
    assert!(!files.is_empty());
    let mut wrong = Vec::new();
    for file in files {
        let written = std::fs::read_to_string(&file).expect("readable");
        let happened = Stage::default().play(&written);
        if std::env::var_os("UPDATE_TRANSCRIPTS").is_some() {
            std::fs::write(&file, happened).expect("writable");
        } else if written != happened {
            wrong.push(format!("{}: what happened is\n{happened}", file.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

struct Stage {
    seat: Seat,
    /// What each producer was given last.
    known: BTreeMap<String, Identity>,
    next_id: i64,
}

impl Default for Stage {
    fn default() -> Self {
        Stage { seat: Seat::new(TransactionConfig::default()), known: BTreeMap::new(), next_id: 100 }
    }
}

impl Stage {
    fn play(mut self, text: &str) -> String {
        let mut out = String::new();
        for line in text.lines().filter(|line| !line.starts_with("  ")) {
            let _ = writeln!(out, "{line}");
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            for result in self.step(line) {
                let _ = writeln!(out, "  {result}");
            }
        }
        out
    }

    fn step(&mut self, line: &str) -> Vec<String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["init", producer, id, options @ ..] => self.init(producer, id, options),
            ["add", producer, id, partitions @ ..] => {
                let partitions = partitions.iter().map(|place| partition(place)).collect();
                let identity = self.identity(producer);
                let command = Command::AddPartitions { id: Arc::from(*id), identity, partitions };
                told(self.seat.play(command))
            }
            ["verify", producer, id, places @ ..] => {
                let partitions: Vec<TopicPartition> = places.iter().map(|place| partition(place)).collect();
                match self.seat.machine.verify(id, self.identity(producer), partitions) {
                    Ok(verdicts) => verdicts
                        .iter()
                        .map(|(partition, verdict)| format!("{partition} {verdict:?}"))
                        .collect(),
                    Err(error) => vec![format!("{error:?}")],
                }
            }
            [how @ ("commit" | "abort"), producer, id] => {
                let outcome = if *how == "commit" { Outcome::Commit } else { Outcome::Abort };
                let identity = self.identity(producer);
                let mut lines = told(self.seat.play(Command::End { id: Arc::from(*id), identity, outcome }));
                lines.extend(self.endings());
                lines
            }
            ["marked", id, places @ ..] => {
                let ending = self.seat.machine.endings(|it| &**it == *id).pop().expect("it is ending");
                let partitions = places.iter().map(|place| partition(place)).collect();
                let command = Command::Marked { id: ending.id, identity: ending.identity, partitions };
                let mut lines = told(self.seat.play(command));
                lines.extend(self.endings());
                lines
            }
            ["pass", ms] => {
                let mut lines = told(self.seat.pass(ms.parse().expect("milliseconds")));
                lines.extend(self.endings());
                lines
            }
            ["jam"] => {
                self.seat.jammed = Some(AppendFailure::NotEnoughReplicas);
                Vec::new()
            }
            ["unjam"] => {
                self.seat.jammed = None;
                Vec::new()
            }
            ["reload"] => {
                self.seat.reload();
                self.endings()
            }
            ["describe", id] => vec![match self.seat.machine.describe(id) {
                Some(it) => {
                    let started = if it.started_at.0 < 0 { "never".into() } else { at(it.started_at.0) };
                    format!(
                        "{} {} timeout {} started {started}{}",
                        it.state,
                        shown(it.identity),
                        it.timeout_ms,
                        list(&it.partitions)
                    )
                }
                None => "unknown".to_owned(),
            }],
            _ => panic!("what is {line:?}?"),
        }
    }

    fn init(&mut self, producer: &str, id: &str, options: &[&str]) -> Vec<String> {
        let mut init = Init { id: Arc::from(id), timeout_ms: 60_000, expected: None, fresh: None };
        for option in options {
            match option.split_once('=') {
                Some(("timeout", ms)) => init.timeout_ms = ms.parse().expect("milliseconds"),
                None if *option == "goes-on" => init.expected = Some(self.identity(producer)),
                _ => panic!("what is {option}?"),
            }
        }
        let mut happened = self.seat.play(Command::Init(init.clone()));
        if happened.replies == [Reply::Init(Ok(Initialized::NeedsProducerId))] {
            self.next_id += 1;
            init.fresh = Some(ProducerId(self.next_id));
            happened = self.seat.play(Command::Init(init));
        }
        if let [Reply::Init(Ok(Initialized::Ready(identity)))] = happened.replies.as_slice() {
            self.known.insert(producer.to_owned(), *identity);
        }
        let mut lines = told(happened);
        lines.extend(self.endings());
        lines
    }

    /// `p` as it was told last, `p+1` and `p-1` with another epoch.
    fn identity(&self, producer: &str) -> Identity {
        let (name, by) = match producer.find(['+', '-']) {
            Some(at) => (&producer[..at], producer[at..].parse().expect("a number")),
            None => (producer, 0),
        };
        let nobody = Identity { producer: ProducerId(7), epoch: 0 };
        let known = self.known.get(name).copied().unwrap_or(nobody);
        Identity { epoch: known.epoch + by, ..known }
    }

    fn endings(&self) -> Vec<String> {
        let endings = self.seat.machine.endings(|_| true);
        endings
            .iter()
            .map(|it| {
                format!("to mark: {} {} {:?}{}", it.id, shown(it.identity), it.outcome, list(&it.partitions))
            })
            .collect()
    }
}

fn partition(text: &str) -> TopicPartition {
    let (topic, number) = text.rsplit_once('-').expect("topic-partition");
    TopicPartition::new(topic, number.parse().expect("a number"))
}

fn shown(identity: Identity) -> String {
    format!("{}/{}", identity.producer, identity.epoch)
}

fn at(wall: i64) -> String {
    format!("at {} ms", wall - WALL_START_MS)
}

fn list<'a>(partitions: impl IntoIterator<Item = &'a TopicPartition>) -> String {
    partitions.into_iter().map(|partition| format!(" {partition}")).collect()
}

fn told(happened: Happened) -> Vec<String> {
    let records = happened.records.iter().map(|record| match record {
        Record::Transaction(id, it) => {
            let identity = Identity { producer: it.producer, epoch: it.epoch };
            format!("record {id} {} {}{}", it.state, shown(identity), list(&it.partitions))
        }
        Record::Gone(id) => format!("record {id} gone"),
    });
    let replies = happened.replies.iter().map(|reply| match reply {
        Reply::Init(Ok(Initialized::Ready(identity))) => format!("is {}", shown(*identity)),
        Reply::Init(other) => format!("{other:?}"),
        Reply::AddPartitions(result) | Reply::End(result) | Reply::Marked(result) => format!("{result:?}"),
    });
    records.chain(replies).collect()
}
