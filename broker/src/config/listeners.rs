//! Listener lists as Kafka writes them: `NAME://host:port`, separated by commas.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// How the connections of a listener are secured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SecurityProtocol {
    Plaintext,
    Ssl,
    SaslPlaintext,
    SaslSsl,
}

impl SecurityProtocol {
    /// In any case, as Kafka reads it.
    pub(crate) fn parse(name: &str) -> Option<SecurityProtocol> {
        match name.to_ascii_uppercase().as_str() {
            "PLAINTEXT" => Some(SecurityProtocol::Plaintext),
            "SSL" => Some(SecurityProtocol::Ssl),
            "SASL_PLAINTEXT" => Some(SecurityProtocol::SaslPlaintext),
            "SASL_SSL" => Some(SecurityProtocol::SaslSsl),
            _ => None,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            SecurityProtocol::Plaintext => "PLAINTEXT",
            SecurityProtocol::Ssl => "SSL",
            SecurityProtocol::SaslPlaintext => "SASL_PLAINTEXT",
            SecurityProtocol::SaslSsl => "SASL_SSL",
        }
    }
}

/// One entry of `listeners` or `advertised.listeners`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listener {
    /// In capitals.
    pub(crate) name: String,
    pub(crate) protocol: SecurityProtocol,
    /// `None` is every interface; in `advertised.listeners` it is this machine's own name.
    pub(crate) host: Option<String>,
    /// 0 takes a free port; in `advertised.listeners` it is the port that the listener of that name got.
    pub(crate) port: u16,
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, port) = (&self.name, self.port);
        match self.host.as_deref() {
            None => write!(f, "{name}://:{port}"),
            Some(host) if host.contains(':') => write!(f, "{name}://[{host}]:{port}"),
            Some(host) => write!(f, "{name}://{host}:{port}"),
        }
    }
}

/// Listener name, in capitals, to protocol.
pub(crate) type ProtocolMap = BTreeMap<String, SecurityProtocol>;

/// `listener.security.protocol.map`. `Err` is a sentence.
pub(crate) fn protocol_map(text: &str) -> Result<ProtocolMap, String> {
    let mut map = ProtocolMap::new();
    for (name, protocol) in pairs("listener.security.protocol.map", text)? {
        let protocol = SecurityProtocol::parse(&protocol).ok_or_else(|| {
            format!("Invalid security protocol `{protocol}` defined in listener.security.protocol.map")
        })?;
        map.insert(name.to_ascii_uppercase(), protocol);
    }
    Ok(map)
}

/// `a:1,b:2`; the last colon of an item divides it, so that an IPv6 address may come first.
pub(crate) fn pairs(key: &str, text: &str) -> Result<Vec<(String, String)>, String> {
    let split = |item: &str| {
        let divided = item.rsplit_once(':');
        divided.map(|(left, right)| (left.trim().to_owned(), right.trim().to_owned())).ok_or_else(|| {
            format!("Error parsing configuration property '{key}': there is no colon in `{item}`")
        })
    };
    let items = text.trim_end_matches([',', ' ', '\t']);
    if items.is_empty() { Ok(Vec::new()) } else { items.split(',').map(str::trim).map(split).collect() }
}

/// Whether two listeners of one list may have the same port.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ports {
    /// For binding: only an IPv4 and an IPv6 address may share one.
    Distinct,
    /// For advertising.
    Any,
}

/// `Err` is a sentence, in Kafka's words where Kafka has some.
pub(crate) fn parse(list: &str, protocols: &ProtocolMap, ports: Ports) -> Result<Vec<Listener>, String> {
    let entries = list.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    let listeners = entries
        .map(|entry| parse_one(entry, protocols))
        .collect::<Result<Vec<Listener>, String>>()
        .map_err(|why| format!("Error creating broker listeners from '{list}': {why}"))?;
    for (at, listener) in listeners.iter().enumerate() {
        if listeners[..at].iter().any(|earlier| earlier.name == listener.name) {
            return Err(format!("Each listener must have a different name, listeners: {list}"));
        }
    }
    if ports == Ports::Distinct {
        check_ports(list, &listeners)?;
    }
    Ok(listeners)
}

fn parse_one(entry: &str, protocols: &ProtocolMap) -> Result<Listener, String> {
    let unreadable = || format!("Unable to parse {entry} to a broker endpoint");
    let (name, address) = entry.rsplit_once("://").ok_or_else(unreadable)?;
    let (host, port) = address.rsplit_once(':').ok_or_else(unreadable)?;
    let host = host.strip_prefix('[').unwrap_or(host);
    let host = host.strip_suffix(']').unwrap_or(host);
    if !is_host(host) || !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(unreadable());
    }
    let name = name.to_ascii_uppercase();
    let port = port.parse().map_err(|_| format!("{port} is not a port (0 to 65535)"))?;
    let protocol =
        protocols.get(&name).ok_or_else(|| format!("No security protocol defined for listener {name}"))?;
    let host = if host.is_empty() { None } else { Some(host.to_owned()) };
    Ok(Listener { name, protocol: *protocol, host, port })
}

/// The characters Kafka allows in an address; empty passes.
pub(crate) fn is_host(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-%._:".contains(&byte))
}

fn check_ports(list: &str, listeners: &[Listener]) -> Result<(), String> {
    let mut by_port: BTreeMap<u16, Vec<&Listener>> = BTreeMap::new();
    for listener in listeners.iter().filter(|listener| listener.port != 0) {
        by_port.entry(listener.port).or_default().push(listener);
    }
    for (port, sharing) in by_port.iter().filter(|(_, sharing)| sharing.len() > 1) {
        let is_v4 = |host: &str| host.parse::<Ipv4Addr>().is_ok();
        let is_v6 = |host: &str| host.parse::<Ipv6Addr>().is_ok();
        let hosts: Vec<&str> = sharing.iter().filter_map(|listener| listener.host.as_deref()).collect();
        let addresses: Vec<&str> = hosts.iter().copied().filter(|host| is_v4(host) || is_v6(host)).collect();
        let named = sharing.len() - addresses.len();
        if named > 1 {
            return Err(format!("Each listener must have a different port, listeners: {list}"));
        }
        let [first, second] = addresses[..] else {
            return Err(format!(
                "Each listener must have a different port unless exactly one listener has an IPv4 address \
                 and the other IPv6 address, listeners: {list}, port: {port}"
            ));
        };
        let one_of_each = (is_v4(first) && is_v6(second)) || (is_v6(first) && is_v4(second));
        if named > 0 || !one_of_each {
            return Err(format!(
                "If you have two listeners on the same port then one needs to be IPv4 and the other IPv6, \
                 listeners: {list}, port: {port}"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map() -> ProtocolMap {
        protocol_map("PLAINTEXT:PLAINTEXT,SSL:SSL, internal : sasl_ssl").expect("a map")
    }

    #[test]
    fn listeners_read_as_kafka_reads_them() {
        let listeners =
            parse("PLAINTEXT://:9092, ssl://[::1]:9093,INTERNAL://host-1.example:0", &map(), Ports::Distinct)
                .expect("three listeners");
        let shown: Vec<String> = listeners.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["PLAINTEXT://:9092", "SSL://[::1]:9093", "INTERNAL://host-1.example:0"]);
        assert_eq!(listeners[0].host, None);
        assert_eq!(listeners[2].protocol, SecurityProtocol::SaslSsl);
    }

    #[test]
    fn a_listener_that_cannot_be_read_is_shown() {
        let refused = |text| parse(text, &map(), Ports::Distinct).expect_err("refused");
        assert_eq!(
            refused("PLAINTEXT:9092"),
            "Error creating broker listeners from 'PLAINTEXT:9092': Unable to parse PLAINTEXT:9092 to a broker endpoint"
        );
        assert_eq!(
            refused("CLIENTS://:9092"),
            "Error creating broker listeners from 'CLIENTS://:9092': No security protocol defined for listener CLIENTS"
        );
        assert!(refused("PLAINTEXT://:70000").ends_with("70000 is not a port (0 to 65535)"));
        assert!(refused("PLAINTEXT://a b:1").contains("Unable to parse"));
        assert!(
            refused("PLAINTEXT://:1,plaintext://:2").starts_with("Each listener must have a different name")
        );
    }

    #[test]
    fn a_port_is_shared_only_by_an_ipv4_and_an_ipv6_address() {
        let bind = |text| parse(text, &map(), Ports::Distinct);
        assert!(bind("PLAINTEXT://127.0.0.1:9092,SSL://[::1]:9092").is_ok());
        assert!(bind("PLAINTEXT://127.0.0.1:9092,SSL://127.0.0.2:9092").is_err());
        assert!(bind("PLAINTEXT://:9092,SSL://:9092").is_err());
        assert!(bind("PLAINTEXT://127.0.0.1:9092,SSL://[::1]:9092,INTERNAL://:9092").is_err());
        assert!(parse("PLAINTEXT://a:9092,SSL://a:9092", &map(), Ports::Any).is_ok());
    }

    #[test]
    fn a_map_without_a_colon_or_with_an_unknown_protocol_is_refused() {
        assert!(protocol_map("A").is_err());
        assert_eq!(
            protocol_map("A:TLS"),
            Err("Invalid security protocol `TLS` defined in listener.security.protocol.map".to_owned())
        );
    }
}
