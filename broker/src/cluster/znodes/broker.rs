//! `/brokers/ids/N`: how a broker presents itself.

use coordinator::cluster::{Endpoint, LiveBroker, SecurityProtocol};
use serde_json::{Map, Value, json};
use storage::types::{BrokerId, TimestampMs};

use super::{Node, Unreadable, paths, text};

/// What `inter.broker.protocol.version` 2.7 and above writes.
const VERSION: i32 = 5;

/// What a broker writes about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BrokerInfo {
    pub(crate) id: BrokerId,
    pub(crate) rack: Option<String>,
    /// The advertised listeners in configured order.
    pub(crate) endpoints: Vec<Endpoint>,
    /// `-1`: no JMX.
    pub(crate) jmx_port: i32,
}

impl BrokerInfo {
    /// The member order is Kafka's. Old clients get host and port of the first plaintext listener.
    pub(crate) fn encode(&self, now: TimestampMs) -> Vec<u8> {
        let plaintext =
            self.endpoints.iter().find(|endpoint| endpoint.protocol == SecurityProtocol::Plaintext);
        let mut json = Map::new();
        json.insert("features".into(), json!({}));
        let protocols: Map<String, Value> = self
            .endpoints
            .iter()
            .map(|endpoint| (endpoint.listener.clone(), endpoint.protocol.name().into()))
            .collect();
        json.insert("listener_security_protocol_map".into(), protocols.into());
        json.insert("endpoints".into(), self.endpoints.iter().map(connection_string).collect());
        if let Some(rack) = &self.rack {
            json.insert("rack".into(), rack.as_str().into());
        }
        json.insert("jmx_port".into(), self.jmx_port.into());
        json.insert("port".into(), plaintext.map_or(-1, |endpoint| endpoint.port).into());
        json.insert("host".into(), plaintext.map(|endpoint| endpoint.host.as_str()).into());
        json.insert("version".into(), VERSION.into());
        json.insert("timestamp".into(), now.to_string().into());
        text(&json.into())
    }

    /// Reads versions 1 to 5. `epoch` is the node's `czxid`.
    pub(crate) fn decode(id: BrokerId, data: &[u8], epoch: i64) -> Result<LiveBroker, Unreadable> {
        let path = paths::broker(id);
        let node = Node::parse(&path, data)?;
        let endpoints = if node.version(1..=5)? == 1 {
            vec![Endpoint {
                listener: SecurityProtocol::Plaintext.name().to_owned(),
                host: node.text("host")?.to_owned(),
                port: node.int("port")?,
                protocol: SecurityProtocol::Plaintext,
            }]
        } else {
            let protocols = node.json.get("listener_security_protocol_map").and_then(Value::as_object);
            node.array("endpoints")?
                .iter()
                .map(|endpoint| {
                    endpoint
                        .as_str()
                        .and_then(|text| parse_endpoint(text, protocols))
                        .ok_or_else(|| node.unreadable(&format!("{endpoint} is not an endpoint")))
                })
                .collect::<Result<_, _>>()?
        };
        let rack = node.json.get("rack").and_then(Value::as_str).map(str::to_owned);
        Ok(LiveBroker { id, epoch, rack, endpoints })
    }
}

/// `LISTENER://host:port`, an IPv6 host in brackets.
fn connection_string(endpoint: &Endpoint) -> String {
    let Endpoint { listener, host, port, .. } = endpoint;
    if host.contains(':') && !host.starts_with('[') {
        format!("{listener}://[{host}]:{port}")
    } else {
        format!("{listener}://{host}:{port}")
    }
}

/// Without a map (versions 2 and 3) a listener is called like its protocol.
fn parse_endpoint(text: &str, protocols: Option<&Map<String, Value>>) -> Option<Endpoint> {
    let (listener, address) = text.split_once("://")?;
    let (host, port) = address.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let listener = listener.to_uppercase();
    let protocol = match protocols {
        None => SecurityProtocol::parse(&listener)?,
        Some(protocols) => protocols
            .iter()
            .find(|(name, _)| name.to_uppercase() == listener)
            .and_then(|(_, protocol)| SecurityProtocol::parse(protocol.as_str()?))?,
    };
    Some(Endpoint { listener, host: host.to_owned(), port: port.parse().ok()?, protocol })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPTURED: &str = concat!(
        r#"{"features":{},"listener_security_protocol_map":{"PLAINTEXT":"PLAINTEXT","SASL_PLAINTEXT":"SASL_PLAINTEXT"},"#,
        r#""endpoints":["PLAINTEXT://127.0.0.1:26192","SASL_PLAINTEXT://127.0.0.1:26292"],"rack":"rack0","jmx_port":-1,"#,
        r#""port":26192,"host":"127.0.0.1","version":5,"timestamp":"1795399905670"}"#
    );

    fn endpoint(listener: &str, host: &str, port: i32, protocol: SecurityProtocol) -> Endpoint {
        Endpoint { listener: listener.to_owned(), host: host.to_owned(), port, protocol }
    }

    fn info() -> BrokerInfo {
        BrokerInfo {
            id: BrokerId(0),
            rack: Some("rack0".to_owned()),
            endpoints: vec![
                endpoint("PLAINTEXT", "127.0.0.1", 26192, SecurityProtocol::Plaintext),
                endpoint("SASL_PLAINTEXT", "127.0.0.1", 26292, SecurityProtocol::SaslPlaintext),
            ],
            jmx_port: -1,
        }
    }

    #[test]
    fn a_registration_reads_as_the_captured_one_and_back() {
        let broker = info();
        let text = broker.encode(TimestampMs(1_795_399_905_670));
        assert_eq!(String::from_utf8_lossy(&text), CAPTURED);

        let read = BrokerInfo::decode(BrokerId(0), &text, 61).expect("our own text");
        assert_eq!((read.epoch, read.rack.as_deref()), (61, Some("rack0")));
        assert_eq!(read.endpoints, broker.endpoints);
    }

    #[test]
    fn without_a_plaintext_listener_old_clients_find_no_address() {
        let mut broker = info();
        broker.endpoints = vec![endpoint("OUT", "::1", 9093, SecurityProtocol::Ssl)];
        let text = String::from_utf8(broker.encode(TimestampMs(1))).expect("UTF-8");
        assert!(text.starts_with(
            r#"{"features":{},"listener_security_protocol_map":{"OUT":"SSL"},"endpoints":["OUT://[::1]:9093"]"#
        ));
        assert!(text.ends_with(r#""jmx_port":-1,"port":-1,"host":null,"version":5,"timestamp":"1"}"#));
        let read = BrokerInfo::decode(BrokerId(0), text.as_bytes(), 1).expect("our own text");
        assert_eq!(read.endpoints, broker.endpoints);
    }

    #[test]
    fn old_registrations_are_read_and_future_ones_refused() {
        let first =
            br#"{"version":1,"host":"localhost","port":9092,"jmx_port":9999,"timestamp":"2233345666"}"#;
        let read = BrokerInfo::decode(BrokerId(3), first, 1).expect("version 1");
        assert_eq!(read.endpoints, [endpoint("PLAINTEXT", "localhost", 9092, SecurityProtocol::Plaintext)]);
        let third = br#"{"version":3,"host":"h","port":1,"jmx_port":1,"timestamp":"2","endpoints":["SSL://h:9093"],"rack":"dc1"}"#;
        let read = BrokerInfo::decode(BrokerId(3), third, 1).expect("version 3");
        assert_eq!(read.endpoints, [endpoint("SSL", "h", 9093, SecurityProtocol::Ssl)]);
        let future = br#"{"version":6,"endpoints":[]}"#;
        let refused = BrokerInfo::decode(BrokerId(3), future, 1).expect_err("version 6");
        assert_eq!(refused.reason, "version 6 is not known here (known: 1 to 5)");
        assert!(BrokerInfo::decode(BrokerId(3), b"", 1).is_err());
        assert!(BrokerInfo::decode(BrokerId(3), br#"{"version":5,"endpoints":["nonsense"]}"#, 1).is_err());
    }
}
