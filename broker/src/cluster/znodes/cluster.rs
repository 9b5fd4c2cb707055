//! `/cluster/id`, `/controller`, `/controller_epoch`, `/feature`, `/latest_producer_id_block`.

use serde_json::{Map, Value, json};
use storage::types::{BrokerId, TimestampMs};

use super::{Node, Unreadable, paths, text};

pub(crate) fn encode_cluster_id(id: &str) -> Vec<u8> {
    text(&json!({"version": "1", "id": id}))
}

pub(crate) fn cluster_id(data: &[u8]) -> Result<String, Unreadable> {
    Ok(Node::parse(paths::CLUSTER_ID, data)?.text("id")?.to_owned())
}

/// Who holds `/controller`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ControllerInfo {
    pub(crate) broker: BrokerId,
    /// Positive while a KRaft controller has taken the cluster over.
    pub(crate) kraft_epoch: i32,
}

impl ControllerInfo {
    pub(crate) fn encode(broker: BrokerId, now: TimestampMs) -> Vec<u8> {
        text(&json!({
            "version": 2, "brokerid": broker.0, "timestamp": now.to_string(), "kraftControllerEpoch": -1
        }))
    }

    /// Reads versions 1 and 2.
    pub(crate) fn decode(data: &[u8]) -> Result<ControllerInfo, Unreadable> {
        let node = Node::parse(paths::CONTROLLER, data)?;
        node.version(1..=2)?;
        Ok(ControllerInfo {
            broker: BrokerId(node.int("brokerid")?),
            kraft_epoch: node.optional_int("kraftControllerEpoch")?.unwrap_or(-1),
        })
    }
}

pub(crate) fn encode_controller_epoch(epoch: i32) -> Vec<u8> {
    epoch.to_string().into_bytes()
}

/// Plain decimal text.
pub(crate) fn controller_epoch(data: &[u8]) -> Result<i32, Unreadable> {
    std::str::from_utf8(data).ok().and_then(|text| text.trim().parse().ok()).ok_or_else(|| Unreadable {
        path: paths::CONTROLLER_EPOCH.to_owned(),
        reason: "it is not a number".to_owned(),
        held: String::from_utf8_lossy(data).chars().take(200).collect(),
    })
}

/// `/feature`: the finalised features of the cluster; a ZooKeeper cluster has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FeatureInfo {
    /// 1 below inter-broker protocol 3.3, else 2.
    pub(crate) version: i32,
    /// Off below inter-broker protocol 2.7.
    pub(crate) enabled: bool,
    pub(crate) features: Vec<(String, i16)>,
}

impl FeatureInfo {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let features: Map<String, Value> = self
            .features
            .iter()
            .map(|(name, level)| {
                let levels = if self.version == 1 {
                    json!({"max_version_level": level, "min_version_level": level})
                } else {
                    json!({"max_version_level": level})
                };
                (name.clone(), levels)
            })
            .collect();
        text(&json!({"features": features, "version": self.version, "status": i32::from(self.enabled)}))
    }

    pub(crate) fn decode(data: &[u8]) -> Result<FeatureInfo, Unreadable> {
        let node = Node::parse(paths::FEATURE, data)?;
        node.version(1..=2)?;
        let version = node.int("version")?;
        let enabled = match node.int("status")? {
            0 => false,
            1 => true,
            _ => return Err(node.lacks("status", "0 or 1")),
        };
        let levels = node.json.get("features").and_then(Value::as_object);
        let features = levels
            .into_iter()
            .flatten()
            .map(|(name, levels)| {
                levels
                    .get("max_version_level")
                    .and_then(Value::as_i64)
                    .and_then(|level| i16::try_from(level).ok())
                    .map(|level| (name.clone(), level))
                    .ok_or_else(|| node.lacks(name, "a feature with its level"))
            })
            .collect::<Result<_, _>>()?;
        Ok(FeatureInfo { version, enabled, features })
    }
}

/// The block of producer ids handed out last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProducerIdBlock {
    pub(crate) broker: BrokerId,
    pub(crate) first: i64,
    /// Inclusive.
    pub(crate) last: i64,
}

impl ProducerIdBlock {
    pub(crate) fn encode(&self) -> Vec<u8> {
        text(&json!({
            "version": 1,
            "broker": self.broker.0,
            "block_start": self.first.to_string(),
            "block_end": self.last.to_string(),
        }))
    }

    pub(crate) fn decode(data: &[u8]) -> Result<ProducerIdBlock, Unreadable> {
        let node = Node::parse(paths::PRODUCER_ID_BLOCK, data)?;
        node.version(1..=1)?;
        let number =
            |key: &str| node.text(key)?.parse::<i64>().map_err(|_| node.lacks(key, "a number in quotes"));
        Ok(ProducerIdBlock {
            broker: BrokerId(node.int("broker")?),
            first: number("block_start")?,
            last: number("block_end")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(data: &[u8]) -> String {
        String::from_utf8_lossy(data).into_owned()
    }

    #[test]
    fn small_nodes_read_as_captured_and_back() {
        let id = encode_cluster_id("4jbJC9r7SJm9JRlRrl4vLw");
        assert_eq!(shown(&id), r#"{"version":"1","id":"4jbJC9r7SJm9JRlRrl4vLw"}"#);
        assert_eq!(cluster_id(&id).as_deref(), Ok("4jbJC9r7SJm9JRlRrl4vLw"));

        let controller = ControllerInfo::encode(BrokerId(1), TimestampMs(1_795_399_907_717));
        assert_eq!(
            shown(&controller),
            r#"{"version":2,"brokerid":1,"timestamp":"1795399907717","kraftControllerEpoch":-1}"#
        );
        let read = ControllerInfo { broker: BrokerId(1), kraft_epoch: -1 };
        assert_eq!(ControllerInfo::decode(&controller), Ok(read));
        assert_eq!(ControllerInfo::decode(br#"{"version":1,"brokerid":1,"timestamp":"1"}"#), Ok(read));

        let feature = FeatureInfo { version: 2, enabled: true, features: vec![] };
        assert_eq!(shown(&feature.encode()), r#"{"features":{},"version":2,"status":1}"#);
        assert_eq!(FeatureInfo::decode(&feature.encode()), Ok(feature));

        let block = ProducerIdBlock { broker: BrokerId(2), first: 1000, last: 1999 };
        assert_eq!(
            shown(&block.encode()),
            r#"{"version":1,"broker":2,"block_start":"1000","block_end":"1999"}"#
        );
        assert_eq!(ProducerIdBlock::decode(&block.encode()), Ok(block));

        assert_eq!(controller_epoch(&encode_controller_epoch(7)), Ok(7));
        assert!(controller_epoch(b"x").is_err());
    }
}
