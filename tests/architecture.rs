//! ARCHITECTURE.md, kept true: who may know whom, what is never said where, and how long a file may grow.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Lines of a source file, without its tests.
const FILE_LINES_MAX: usize = 500;
/// Lines of a function, signature and closing brace included.
const FUNCTION_LINES_MAX: usize = 100;

/// Files allowed to be longer, and how long. A ratchet: numbers only shrink, and a file that has
/// become short enough leaves the list.
const LONGER_FILES: &[(&str, usize)] = &[];

/// The same for functions: `file::function`.
const LONGER_FUNCTIONS: &[(&str, usize)] = &[];

fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("broker/ lies in the checkout").to_path_buf()
}

/// Every Rust file under `folder`, by its path in the checkout.
fn sources(folder: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![checkout().join(folder)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.expect("a readable folder").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(checkout()).expect("inside").display().to_string();
                found.insert(name, fs::read_to_string(&path).expect("readable source"));
            }
        }
    }
    found
}

/// The part of a source file that ships: up to its unit tests.
fn shipped(text: &str) -> &str {
    text.split("\n#[cfg(test)]\nmod ").next().unwrap_or(text)
}

/// The shipped lines that are code, with their numbers.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    shipped(text)
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(i, line)| (i + 1, line))
}

/// Fails where the shipped code under `folder` says one of `names`; each comes with what to do instead.
#[track_caller]
fn forbid(folder: &str, except: &[&str], names: &[(&str, &str)]) {
    let mut breaches = Vec::new();
    for (file, text) in sources(folder) {
        if except.iter().any(|exempt| file.starts_with(exempt)) {
            continue;
        }
        for (number, line) in code(&text) {
            for (name, instead) in names {
                if says(&without_texts(line), name) {
                    breaches.push(format!("{file}:{number}: `{name}`: {instead}"));
                }
            }
        }
    }
    assert!(breaches.is_empty(), "\n{}", breaches.join("\n"));
}

/// The line with its string literals emptied: what is said to people is free.
fn without_texts(line: &str) -> String {
    line.split('"').step_by(2).collect::<Vec<_>>().join("\"\"")
}

/// Whether `line` contains `name` as whole words, not inside a longer identifier.
fn says(line: &str, name: &str) -> bool {
    let inside = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(name).any(|(at, _)| {
        let before = inside(line[..at].chars().next_back()) && inside(name.chars().next());
        let after = inside(line[at + name.len()..].chars().next()) && inside(name.chars().next_back());
        !before && !after
    })
}

#[test]
fn coordinator_never_touches_the_world() {
    forbid(
        "coordinator/src",
        &[],
        &[
            ("tokio", "return a decision; broker runs it"),
            ("async", "return a decision; broker waits"),
            ("Instant::now", "take `now` as an argument"),
            ("SystemTime", "take the time as an argument"),
            ("std::fs", "only storage opens files"),
            ("std::net", "only broker talks"),
            ("std::thread", "a machine is driven, it does not run"),
            ("std::env", "take the setting as an argument"),
            ("rand", "take the random value as an argument"),
            ("HashMap", "use BTreeMap: a simulation must replay"),
            ("HashSet", "use BTreeSet: a simulation must replay"),
            ("tracing", "return what happened; broker logs it"),
            ("println!", "return what happened; broker logs it"),
            ("kafka_protocol", "speak the words of storage::types; broker translates"),
        ],
    );
}

#[test]
fn coordinator_knows_of_storage_only_its_words() {
    let mut breaches = Vec::new();
    for (file, text) in sources("coordinator/src") {
        for (number, line) in code(&text) {
            let foreign =
                line.match_indices("storage::").any(|(at, _)| !line[at..].starts_with("storage::types"));
            if foreign && !line.contains("crate::") {
                breaches.push(format!("{file}:{number}: {}", line.trim()));
            }
        }
    }
    assert!(breaches.is_empty(), "coordinator may use storage::types only\n{}", breaches.join("\n"));
}

#[test]
fn storage_knows_no_request_no_leader_and_no_async() {
    forbid(
        "storage/src",
        &[],
        &[
            ("tokio", "storage is synchronous; broker chooses the thread"),
            ("async", "storage is synchronous; broker chooses the thread"),
            ("await", "storage is synchronous; broker chooses the thread"),
            ("kafka_protocol", "storage knows bytes; broker translates requests"),
            ("coordinator", "arrows point from broker and coordinator to storage, never back"),
            ("std::net", "only broker talks"),
        ],
    );
}

#[test]
fn the_crates_depend_on_each_other_in_one_direction() {
    let dependencies = |name: &str| {
        let manifest = fs::read_to_string(checkout().join(name).join("Cargo.toml")).expect("a manifest");
        let section = manifest.split("[dependencies]").nth(1).expect("dependencies");
        let section = section.split("\n[").next().expect("a section").to_string();
        section
            .lines()
            .filter_map(|line| line.split(['.', ' ', '=']).next())
            .filter(|name| !name.is_empty() && !name.starts_with('#'))
            .map(str::to_string)
            .collect::<Vec<_>>()
    };
    for forbidden in ["broker", "coordinator", "tokio", "kafka-protocol", "zookeeper-client"] {
        assert!(
            !dependencies("storage").contains(&forbidden.to_string()),
            "storage must not know {forbidden}"
        );
    }
    for forbidden in ["broker", "tokio", "kafka-protocol", "zookeeper-client", "tracing", "libc", "memmap2"] {
        assert!(
            !dependencies("coordinator").contains(&forbidden.to_string()),
            "coordinator must not know {forbidden}"
        );
    }
}

/// The room of a crate that a file belongs to: the folder or file below `src`.
fn room(file: &str) -> &str {
    let inside = file.split_once("/src/").expect("a file of a crate's src").1;
    inside.split('/').next().expect("a first part").trim_end_matches(".rs")
}

#[test]
fn the_rooms_of_broker_know_each_other_in_one_direction() {
    let sources = sources("broker/src");
    let rooms: BTreeSet<&str> = sources.keys().map(|file| room(file)).collect();
    let mut known: BTreeMap<&str, BTreeMap<&str, String>> = BTreeMap::new();
    for (file, text) in sources.iter().filter(|(file, _)| !file.contains("tests")) {
        for (number, line) in code(text) {
            for (at, _) in line.match_indices("crate::") {
                let rest = &line[at + "crate::".len()..];
                let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
                if let Some(other) = rooms.get(&rest[..end]).filter(|other| **other != room(file)) {
                    let of = known.entry(room(file)).or_default();
                    of.entry(other).or_insert_with(|| format!("{file}:{number}: {}", line.trim()));
                }
            }
        }
    }
    // Who knows nobody that is left is left out, until nobody is; what stays goes round in circles.
    while let Some(ground) =
        known.iter().find(|(_, of)| of.keys().all(|other| !known.contains_key(other))).map(|(room, _)| *room)
    {
        known.remove(ground);
    }
    let circles: Vec<&String> = known
        .values()
        .flat_map(|of| of.iter().filter(|(other, _)| known.contains_key(*other)))
        .map(|(_, line)| line)
        .collect();
    assert!(
        circles.is_empty(),
        "rooms that know each other in circles; move what both need into a room below them\n{circles:#?}"
    );
}

#[test]
fn record_batches_are_read_by_storage_alone() {
    forbid(
        "broker/src",
        &[],
        &[
            ("kafka_protocol::records", "its record layer loses duplicate header keys; use storage::batch"),
            ("crc32fast", "checksums of records belong to storage::batch"),
            ("flate2", "compression of records belongs to storage::batch"),
            ("lz4_flex", "compression of records belongs to storage::batch"),
        ],
    );
}

#[test]
fn every_source_file_says_what_it_is_for() {
    let silent: Vec<String> = ["storage/src", "coordinator/src", "broker/src", "tests", "benches"]
        .into_iter()
        .flat_map(sources)
        .filter(|(_, text)| !text.starts_with("//!"))
        .map(|(file, _)| file)
        .collect();
    assert!(silent.is_empty(), "these begin without a `//!` header: {silent:#?}");
}

#[test]
fn names_say_what_a_thing_is() {
    let vague = ["manager", "helper", "helpers", "util", "utils", "common", "misc"];
    let mut breaches = Vec::new();
    for folder in ["storage/src", "coordinator/src", "broker/src", "tests"] {
        for (file, text) in sources(folder) {
            let stem = Path::new(&file).file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            if vague.contains(&stem) {
                breaches.push(format!("{file}: a room is called by what it holds"));
            }
            for (number, line) in text.lines().enumerate() {
                let declared = ["struct ", "enum ", "trait "].iter().find_map(|word| line.split(word).nth(1));
                let name: String =
                    declared.unwrap_or_default().chars().take_while(|c| c.is_alphanumeric()).collect();
                if name.ends_with("Manager") || name.ends_with("Helper") {
                    breaches.push(format!("{file}:{}: {name}: say what it is", number + 1));
                }
            }
        }
    }
    assert!(breaches.is_empty(), "\n{}", breaches.join("\n"));
}

#[test]
fn tests_are_sentences_that_always_run_and_never_sleep() {
    // Put together here, so that this file does not accuse itself.
    let ignored = concat!("#[ig", "nore");
    let prefixed = concat!("fn te", "st_");
    let slept = concat!("thread::sl", "eep(");
    let mut breaches = Vec::new();
    for folder in ["storage", "coordinator", "broker", "tests"] {
        for (file, text) in sources(folder) {
            for (number, line) in text.lines().enumerate() {
                for (name, instead) in [
                    (ignored, "a test runs or does not exist"),
                    (prefixed, "a test is named as a sentence"),
                    (slept, "wait for the condition, not for the clock"),
                ] {
                    if line.contains(name) && !line.trim_start().starts_with("//") {
                        breaches.push(format!("{file}:{}: `{name}`: {instead}", number + 1));
                    }
                }
            }
        }
    }
    assert!(breaches.is_empty(), "\n{}", breaches.join("\n"));
}

/// Compares what is longer than `limit` with the list of what may be.
#[track_caller]
fn ratchet(found: BTreeMap<String, usize>, limit: usize, allowed: &[(&str, usize)]) {
    let mut breaches = Vec::new();
    for (name, lines) in found.iter().filter(|(_, lines)| **lines > limit) {
        match allowed.iter().find(|(allowed, _)| allowed == name) {
            None => {
                breaches.push(format!("{name} has {lines} lines, the limit is {limit}: split it by concept"))
            }
            Some((_, most)) if lines > most => {
                breaches.push(format!("{name} grew from {most} to {lines} lines; it was to shrink"));
            }
            Some(_) => {}
        }
    }
    for (name, _) in allowed {
        if found.get(*name).is_none_or(|lines| *lines <= limit) {
            breaches.push(format!("{name} is short enough now: take it off the list"));
        }
    }
    assert!(breaches.is_empty(), "\n{}", breaches.join("\n"));
}

#[test]
fn files_stay_readable_in_one_sitting() {
    let lengths = ["storage/src", "coordinator/src", "broker/src"]
        .into_iter()
        .flat_map(sources)
        .filter(|(file, _)| !file.ends_with("/tests.rs"))
        .map(|(file, text)| (file, shipped(&text).lines().count()))
        .collect();
    ratchet(lengths, FILE_LINES_MAX, LONGER_FILES);
}

#[test]
fn functions_stay_readable_on_one_screen() {
    let mut lengths = BTreeMap::new();
    for (file, text) in ["storage/src", "coordinator/src", "broker/src"].into_iter().flat_map(sources) {
        let lines: Vec<&str> = shipped(&text).lines().collect();
        for (start, line) in lines.iter().enumerate() {
            let Some(name) = function_name(line) else { continue };
            let indent = line.len() - line.trim_start().len();
            let closing = format!("{}}}", " ".repeat(indent));
            let Some(length) = lines[start..].iter().position(|line| *line == closing) else { continue };
            let longest = lengths.entry(format!("{file}::{name}")).or_insert(0);
            *longest = (*longest).max(length + 1);
        }
    }
    ratchet(lengths, FUNCTION_LINES_MAX, LONGER_FUNCTIONS);
}

/// The name of the function that begins on this line, as rustfmt lays it out.
fn function_name(line: &str) -> Option<&str> {
    let words = line.trim_start();
    let start = [
        "fn ",
        "pub fn ",
        "pub(crate) fn ",
        "pub(super) fn ",
        "async fn ",
        "pub async fn ",
        "pub(crate) async fn ",
    ]
    .into_iter()
    .find_map(|prefix| words.strip_prefix(prefix))?;
    // A one-line function ends where it begins.
    (!words.ends_with('}')).then(|| start.split(['(', '<']).next().unwrap_or_default())
}

/// Read under a name that is put together.
const KEYS_READ_BY_PREFIX: &[&str] = &[
    "zookeeper.ssl.keystore.",
    "zookeeper.ssl.truststore.",
    "quota.window.",
    "controller.quota.window.",
    "replication.quota.window.",
    "group.consumer.min.",
    "group.consumer.max.",
];

#[test]
fn a_key_that_is_said_to_be_honoured_is_read_by_code() {
    const TABLE: &str = "broker/src/config/table/";
    // Here keys are only checked, or listed by what may change them.
    const READS_NOTHING: [&str; 2] = ["broker/src/config/checks.rs", "broker/src/config/dynamic.rs"];
    let sources = sources("broker/src");
    let (table, code): (Vec<_>, Vec<_>) = sources.iter().partition(|(file, _)| file.starts_with(TABLE));
    let reads: String = code
        .iter()
        .filter(|(file, _)| !READS_NOTHING.contains(&file.as_str()) && !file.contains("tests"))
        .map(|(_, text)| shipped(text))
        .collect();
    // Of a topic's key the broker's is the default.
    let defaults =
        sources[&format!("{TABLE}topic.rs")].split("BROKER_KEYS").nth(1).expect("the defaults of topics");
    let mut honoured = 0;
    let mut unread = Vec::new();
    for (file, text) in
        table.iter().filter(|(file, _)| !file.ends_with("topic.rs") && !file.ends_with("entities.rs"))
    {
        let rows = text.split("keys! {").nth(1).unwrap_or_default().split("\";");
        for row in rows.filter(|row| row.contains("=> Honoured")) {
            let name = row.split('"').nth(1).expect("a row begins with its name");
            let quoted = format!("\"{name}\"");
            honoured += 1;
            let by_prefix = KEYS_READ_BY_PREFIX.iter().any(|prefix| name.starts_with(prefix));
            if !by_prefix && !reads.contains(&quoted) && !defaults.contains(&quoted) {
                unread.push(format!("{file}: {name}"));
            }
        }
    }
    assert!(honoured > 100, "the table is read wrongly: {honoured} rows");
    assert!(unread.is_empty(), "nobody reads these keys; say NoEffect and why\n{}", unread.join("\n"));
}
