//! `/config/TYPE/NAME` and the notices under `/config/changes`.

use serde_json::{Map, Value, json};

use super::{Node, Unreadable, order, paths, text};

/// Keys and values of one entity, in the order in which they were set (it decides among keys of one hash bucket).
pub(crate) fn encode_config(config: &[(String, String)]) -> Vec<u8> {
    let mut entries: Vec<(String, &str)> =
        config.iter().map(|(key, value)| (key.clone(), value.as_str())).collect();
    order::as_properties(&mut entries);
    let config: Map<String, Value> = entries.into_iter().map(|(key, value)| (key, value.into())).collect();
    text(&json!({"version": 1, "config": config}))
}

/// A node without data (a parent of other entities) has an empty config.
pub(crate) fn config(path: &str, data: &[u8]) -> Result<Vec<(String, String)>, Unreadable> {
    if data.is_empty() {
        return Ok(Vec::new());
    }
    let node = Node::parse(path, data)?;
    node.version(1..=1)?;
    let Some(config) = node.json.get("config").and_then(Value::as_object) else { return Ok(Vec::new()) };
    config
        .iter()
        .map(|(key, value)| match value {
            Value::String(value) => Ok((key.clone(), value.clone())),
            Value::Number(value) => Ok((key.clone(), value.to_string())),
            Value::Bool(value) => Ok((key.clone(), value.to_string())),
            _ => Err(node.lacks(key, "a text")),
        })
        .collect()
}

/// Which entity's config changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConfigChange {
    /// topics, clients, users, brokers or ips: the first segment of the path.
    pub(crate) entity_type: String,
    /// The rest of the path as it stands: `t1`, `<default>`, `alice/clients/c1`.
    pub(crate) entity: String,
}

pub(crate) fn encode_config_change(entity_path: &str) -> Vec<u8> {
    text(&json!({"version": 2, "entity_path": entity_path}))
}

/// Reads versions 1 (two members) and 2 (one path).
pub(crate) fn config_change(path: &str, data: &[u8]) -> Result<ConfigChange, Unreadable> {
    let node = Node::parse(path, data)?;
    if node.version(1..=2)? == 1 {
        return Ok(ConfigChange {
            entity_type: node.text("entity_type")?.to_owned(),
            entity: node.text("entity_name")?.to_owned(),
        });
    }
    match node.text("entity_path")?.split_once('/') {
        Some((entity_type, entity)) if !entity_type.is_empty() && !entity.is_empty() => {
            Ok(ConfigChange { entity_type: entity_type.to_owned(), entity: entity.to_owned() })
        }
        _ => Err(node.lacks("entity_path", "a type and a name")),
    }
}

impl ConfigChange {
    /// The znode that holds the config.
    pub(crate) fn path(&self) -> String {
        paths::config(&self.entity_type, &self.entity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_reads_as_captured_and_back() {
        let captured = r#"{"version":1,"config":{"cleanup.policy":"compact","segment.ms":"2000","segment.bytes":"20000","min.cleanable.dirty.ratio":"0.01","delete.retention.ms":"100"}}"#;
        let read = config("/config/topics/cmp", captured.as_bytes()).expect("captured text");
        assert_eq!(String::from_utf8_lossy(&encode_config(&read)), captured);
        assert_eq!(String::from_utf8_lossy(&encode_config(&[])), r#"{"version":1,"config":{}}"#);
        assert_eq!(config("/config/users/alice", b""), Ok(vec![]));
        assert!(config("/config/topics/t", br#"{"version":2,"config":{}}"#).is_err());
    }

    #[test]
    fn both_forms_of_a_change_notice_are_read() {
        let expected = ConfigChange { entity_type: "topics".into(), entity: "t1".into() };
        assert_eq!(config_change("p", &encode_config_change("topics/t1")), Ok(expected.clone()));
        let old = br#"{"version":1,"entity_type":"topics","entity_name":"t1"}"#;
        assert_eq!(config_change("p", old), Ok(expected));
        let nested = config_change("p", &encode_config_change("users/alice/clients/c1")).expect("a path");
        assert_eq!(nested.path(), "/config/users/alice/clients/c1");
        assert!(config_change("p", &encode_config_change("topics")).is_err());
    }
}
