//! Our table of configuration keys is Kafka's: compared with what the stock classes print about themselves.
//!
//! `kafka.server.KafkaConfig` and `LogConfig` have a `main` that writes their documentation as HTML. Its sentences
//! are not compared, only types, defaults, valid values, importance and update modes.

/// Only processes and stock tools: nothing here speaks the protocol.
#[allow(dead_code, reason = "each test file uses its own part of this room")]
mod support {
    pub(crate) mod process;
    pub(crate) mod stock;
}

use std::collections::BTreeMap;
use std::process::Command;

use support::process::{PATIENCE, run};
use support::stock;

/// Column title, in small letters, to text.
type Row = BTreeMap<String, String>;

fn stock_table(class: &str) -> BTreeMap<String, Row> {
    let ended = stock::tool("3.9.1", class, &[], "");
    assert_eq!(ended.code, 0, "{ended}");
    let mut table: BTreeMap<String, Row> = BTreeMap::new();
    let mut key = String::new();
    for line in ended.stdout.lines() {
        if let Some(rest) = line.strip_prefix("<h4>") {
            let name = rest
                .strip_suffix("</a></h4>")
                .and_then(|rest| rest.rsplit_once('>'))
                .expect("a key's title")
                .1;
            name.clone_into(&mut key);
            table.insert(key.clone(), Row::new());
        } else if let Some(rest) = line.strip_prefix("<tr><th>") {
            let rest = rest.strip_suffix("</td></tr>").expect("a cell");
            let (title, content) = rest.split_once(":</th><td>").expect("a titled cell");
            let row = table.get_mut(&key).expect("a cell belongs to a key");
            row.insert(title.to_lowercase(), content.to_owned());
        }
    }
    table
}

fn our_table(arguments: &[&str]) -> BTreeMap<String, Row> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_broker"));
    command.arg("keys").args(arguments);
    let ended = run("broker keys", command, b"", PATIENCE);
    assert_eq!(ended.code, 0, "{ended}");
    let mut lines = ended.stdout.lines().map(|line| line.split('\t').map(str::to_owned).collect::<Vec<_>>());
    let titles = lines.next().expect("titles");
    lines.map(|cells| (cells[0].clone(), titles.iter().cloned().zip(cells).collect())).collect()
}

/// `604800000 (7 days)` is `604800000`.
fn without_units(default: &str) -> &str {
    default.split_once(" (").map_or(default, |(number, _)| number)
}

#[track_caller]
fn compare(
    stock: &BTreeMap<String, Row>,
    ours: &BTreeMap<String, Row>,
    titles: &[&str],
    except: &[(&str, &str)],
) {
    let mut differences = Vec::new();
    for (key, theirs) in stock {
        let Some(ours) = ours.get(key) else {
            differences.push(format!("{key} is missing"));
            continue;
        };
        for title in titles {
            let (theirs, ours) = (without_units(&theirs[*title]), ours[*title].as_str());
            if theirs != ours && !except.contains(&(key, title)) {
                differences.push(format!("{key}, {title}: Kafka says {theirs:?}, we say {ours:?}"));
            }
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn every_public_broker_key_is_kafkas() {
    // Two validators print a sentence where ours prints a range, and two belong to KRaft keys that may only be empty here.
    let except = [
        ("remote.log.manager.copier.thread.pool.size", "valid values"),
        ("remote.log.manager.expiration.thread.pool.size", "valid values"),
        ("controller.quorum.voters", "valid values"),
        ("controller.quorum.bootstrap.servers", "valid values"),
    ];
    let stock = stock_table("kafka.server.KafkaConfig");
    assert_eq!(stock.len(), 314);
    let titles = ["type", "default", "valid values", "importance", "update mode"];
    compare(&stock, &our_table(&[]), &titles, &except);
}

#[test]
fn every_topic_key_is_kafkas() {
    let stock = stock_table("org.apache.kafka.storage.internals.log.LogConfig");
    let ours = our_table(&["--topics"]);
    assert_eq!((stock.len(), ours.len()), (36, 36));
    compare(&stock, &ours, &["type", "default", "valid values", "importance"], &[]);
}
