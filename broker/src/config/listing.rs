//! `broker keys`: the tables, for people and for the scripts that compare them with Kafka's.

use std::fmt::Write as _;

use super::key::Key;
use super::table;

/// One line for each key, columns separated by tabs, a line of titles first.
pub(crate) fn keys(topics: bool) -> String {
    let mut text =
        "key\ttype\tdefault\tvalid values\timportance\tupdate mode\there\tdocumentation\n".to_owned();
    if topics {
        let mut keys: Vec<&Key> = table::topic::KEYS.iter().collect();
        keys.sort_unstable_by_key(|key| key.name);
        keys.into_iter().for_each(|key| line(&mut text, key));
    } else {
        table::all().for_each(|key| line(&mut text, key));
    }
    text
}

fn line(text: &mut String, key: &Key) {
    let default = match key.default {
        None => "null",
        Some("") => "\"\"",
        Some(default) => default,
    };
    let columns = [
        key.name,
        &key.kind.kafka_name().to_ascii_lowercase(),
        default,
        &key.rule.to_string(),
        key.importance.kafka_name(),
        key.update.kafka_name(),
        key.treatment.name(),
        &key.documentation(),
    ];
    let _ = writeln!(text, "{}", columns.join("\t"));
}
