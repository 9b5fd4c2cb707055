//! Changes of single keys, as IncrementalAlterConfigs asks for them (KIP-339).
//!
//! Lists are taken apart and put together as Kafka does it: by commas alone, blanks kept.

use super::key::{Key, Kind};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Set,
    Delete,
    /// Adds the items of a list that are not in it yet.
    Append,
    /// Takes items out of a list.
    Subtract,
}

impl Operation {
    pub(crate) fn from_wire(code: i8) -> Option<Operation> {
        match code {
            0 => Some(Operation::Set),
            1 => Some(Operation::Delete),
            2 => Some(Operation::Append),
            3 => Some(Operation::Subtract),
            _ => None,
        }
    }
}

/// One key, and what to do with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Alteration {
    pub(crate) name: String,
    pub(crate) operation: Operation,
    /// Empty for [`Operation::Delete`].
    pub(crate) value: String,
}

/// Keys and values in the order in which they were set.
pub(crate) type Entries = Vec<(String, String)>;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OperationError {
    #[error("Config value append is not allowed for config key: {0}")]
    AppendToNoList(String),
    #[error("Config value subtract is not allowed for config key: {0}")]
    SubtractFromNoList(String),
    /// Whether it is a list cannot be told.
    #[error("unknown key {0}")]
    UnknownKey(String),
}

/// Applies `alterations` in their order. On `Err` some of them may have been applied.
pub(crate) fn apply(
    entries: &mut Entries,
    alterations: &[Alteration],
    find: impl Fn(&str) -> Option<&'static Key>,
) -> Result<(), OperationError> {
    for Alteration { name, operation, value } in alterations {
        let former = |entries: &Entries| {
            let key = find(name).ok_or_else(|| OperationError::UnknownKey(name.clone()))?;
            let set = entries.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
            Ok((key.kind == Kind::List, set.or(key.default.map(str::to_owned)).unwrap_or_default()))
        };
        match operation {
            Operation::Set => set(entries, name, value.clone()),
            Operation::Delete => entries.retain(|(key, _)| key != name),
            Operation::Append => match former(entries)? {
                (true, former) => set(entries, name, appended(&former, value)),
                (false, _) => return Err(OperationError::AppendToNoList(name.clone())),
            },
            Operation::Subtract => match former(entries)? {
                (true, former) => set(entries, name, subtracted(&former, value)),
                (false, _) => return Err(OperationError::SubtractFromNoList(name.clone())),
            },
        }
    }
    Ok(())
}

fn set(entries: &mut Entries, name: &str, value: String) {
    match entries.iter_mut().find(|(key, _)| key == name) {
        Some((_, former)) => *former = value,
        None => entries.push((name.to_owned(), value)),
    }
}

fn appended(former: &str, value: &str) -> String {
    let mut items = if former.is_empty() { Vec::new() } else { split(former) };
    let new: Vec<&str> = split(value).into_iter().filter(|item| !items.contains(item)).collect();
    items.extend(new);
    items.join(",")
}

/// Each item of `value` takes out one of its kind.
fn subtracted(former: &str, value: &str) -> String {
    let mut items = split(former);
    for unwanted in split(value) {
        if let Some(at) = items.iter().position(|item| *item == unwanted) {
            items.remove(at);
        }
    }
    items.join(",")
}

/// `String.split(",")`: empty items at the end are dropped, an empty text is one empty item.
fn split(text: &str) -> Vec<&str> {
    let mut items: Vec<&str> = text.split(',').collect();
    if items.len() > 1 {
        while items.last().is_some_and(|last| last.is_empty()) {
            items.pop();
        }
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::table::topic;

    fn altered(entries: &[(&str, &str)], operation: Operation, name: &str, value: &str) -> String {
        let mut entries: Entries =
            entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let alteration = Alteration { name: name.to_owned(), operation, value: value.to_owned() };
        match apply(&mut entries, &[alteration], topic::find) {
            Ok(()) => entries.iter().map(|(key, value)| format!("{key}={value};")).collect(),
            Err(why) => why.to_string(),
        }
    }

    #[test]
    fn a_key_is_set_in_its_place_and_deleted_without_complaint() {
        let given = [("retention.ms", "1"), ("segment.bytes", "2")];
        assert_eq!(altered(&given, Operation::Set, "retention.ms", "7"), "retention.ms=7;segment.bytes=2;");
        assert_eq!(altered(&given, Operation::Delete, "retention.ms", ""), "segment.bytes=2;");
        assert_eq!(altered(&[], Operation::Delete, "no.such", ""), "");
    }

    #[test]
    fn lists_grow_from_their_default_and_take_no_item_twice() {
        let append =
            |given: &[(&str, &str)], value| altered(given, Operation::Append, "cleanup.policy", value);
        assert_eq!(append(&[], "compact"), "cleanup.policy=delete,compact;");
        assert_eq!(append(&[("cleanup.policy", "compact")], "compact"), "cleanup.policy=compact;");
        assert_eq!(append(&[("cleanup.policy", "")], "compact"), "cleanup.policy=compact;");
    }

    #[test]
    fn lists_shrink_to_the_empty_text() {
        let subtract =
            |given: &[(&str, &str)], value| altered(given, Operation::Subtract, "cleanup.policy", value);
        assert_eq!(subtract(&[], "delete"), "cleanup.policy=;");
        assert_eq!(subtract(&[("cleanup.policy", "a,b,a,")], "a"), "cleanup.policy=b,a;");
    }

    #[test]
    fn what_is_no_list_neither_grows_nor_shrinks() {
        assert_eq!(
            altered(&[], Operation::Append, "retention.ms", "1"),
            "Config value append is not allowed for config key: retention.ms"
        );
        assert_eq!(
            altered(&[], Operation::Subtract, "retention.ms", "1"),
            "Config value subtract is not allowed for config key: retention.ms"
        );
        assert_eq!(altered(&[], Operation::Append, "no.such", "1"), "unknown key no.such");
    }
}
