//! What stands in Kafka's znodes: paths, and the JSON in and out.
//!
//! Written text is byte-equal to what Apache 3.9.1 writes. Older versions are read; a version this code does not know is
//! refused, because half-understood metadata loses data. Nothing here talks to ZooKeeper.

mod broker;
mod cluster;
mod config;
mod order;
pub(crate) mod paths;
mod topic;

use serde_json::Value;

#[allow(unused_imports, reason = "the rooms that use them land next")]
pub(crate) use broker::BrokerInfo;
#[allow(unused_imports, reason = "the rooms that use them land next")]
pub(crate) use cluster::{
    ControllerInfo, FeatureInfo, ProducerIdBlock, cluster_id, controller_epoch, encode_cluster_id,
    encode_controller_epoch,
};
#[allow(unused_imports, reason = "the rooms that use them land next")]
pub(crate) use config::{ConfigChange, config, config_change, encode_config, encode_config_change};
#[allow(unused_imports, reason = "the rooms that use them land next")]
pub(crate) use topic::{
    encode_log_dir_event, encode_reassignment, encode_state, encode_topic, log_dir_event, partition_list,
    reassignment, state, topic,
};

/// Data of a znode that cannot be taken for what its path says it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the data of znode {path} cannot be read: {reason}; it holds: {held}")]
pub(crate) struct Unreadable {
    pub(crate) path: String,
    pub(crate) reason: String,
    /// The first 200 characters.
    pub(crate) held: String,
}

/// One node being read: keeps what an error message needs.
struct Node<'a> {
    path: &'a str,
    data: &'a [u8],
    json: Value,
}

impl<'a> Node<'a> {
    fn parse(path: &'a str, data: &'a [u8]) -> Result<Node<'a>, Unreadable> {
        let mut node = Node { path, data, json: Value::Null };
        match serde_json::from_slice(data) {
            Ok(json @ Value::Object(_)) => {
                node.json = json;
                Ok(node)
            }
            Ok(_) => Err(node.unreadable("it is not a JSON object")),
            Err(error) => Err(node.unreadable(&error.to_string())),
        }
    }

    /// Refuses a version outside of `known`.
    fn version(&self, known: std::ops::RangeInclusive<i64>) -> Result<i64, Unreadable> {
        let version = match self.json.get("version") {
            // /cluster/id holds its version as text.
            Some(Value::String(text)) => text.parse().ok(),
            Some(number) => number.as_i64(),
            None => None,
        };
        match version {
            Some(version) if known.contains(&version) => Ok(version),
            Some(version) => Err(self.unreadable(&format!(
                "version {version} is not known here (known: {} to {})",
                known.start(),
                known.end()
            ))),
            None => Err(self.unreadable("it has no version")),
        }
    }

    fn text(&self, key: &str) -> Result<&str, Unreadable> {
        self.json.get(key).and_then(Value::as_str).ok_or_else(|| self.lacks(key, "a text"))
    }

    fn int(&self, key: &str) -> Result<i32, Unreadable> {
        self.optional_int(key)?.ok_or_else(|| self.lacks(key, "an integer"))
    }

    /// `None` where the key is missing; an error where it holds no 32-bit integer.
    fn optional_int(&self, key: &str) -> Result<Option<i32>, Unreadable> {
        match self.json.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => value
                .as_i64()
                .and_then(|number| i32::try_from(number).ok())
                .map(Some)
                .ok_or_else(|| self.lacks(key, "an integer")),
        }
    }

    fn array(&self, key: &str) -> Result<&Vec<Value>, Unreadable> {
        self.json.get(key).and_then(Value::as_array).ok_or_else(|| self.lacks(key, "a list"))
    }

    fn lacks(&self, key: &str, what: &str) -> Unreadable {
        self.unreadable(&format!("\"{key}\" is not {what}"))
    }

    fn unreadable(&self, reason: &str) -> Unreadable {
        Unreadable {
            path: self.path.to_owned(),
            reason: reason.to_owned(),
            held: String::from_utf8_lossy(self.data).chars().take(200).collect(),
        }
    }
}

/// Compact JSON text, members in the order they were put in.
fn text(json: &Value) -> Vec<u8> {
    json.to_string().into_bytes()
}
