//! How the connection to ZooKeeper is secured, as `server.properties` has it. What the operator set as system
//! properties of the Java machine instead is found out where the connection is made.

use std::fmt;

use super::settings::Settings;
use super::value::{Password, Value};

/// `None`: not in the file, so that a system property may say it.
#[derive(Clone, Debug, Default)]
pub(crate) struct ZooKeeperKeys {
    /// `zookeeper.set.acl`.
    pub(crate) set_acl: bool,
    pub(crate) tls: Option<bool>,
    pub(crate) socket: Option<String>,
    pub(crate) keystore: StoreKeys,
    pub(crate) truststore: StoreKeys,
    pub(crate) protocol: Option<String>,
    pub(crate) enabled_protocols: Option<Vec<String>>,
    pub(crate) cipher_suites: Option<Vec<String>>,
    /// `zookeeper.ssl.endpoint.identification.algorithm`; empty is a decision too.
    pub(crate) identification: Option<String>,
}

/// Where a store is and how it is read.
#[derive(Clone, Default)]
pub(crate) struct StoreKeys {
    pub(crate) location: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) kind: Option<String>,
}

/// Passwords stay out of logs.
impl fmt::Debug for StoreKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {} {:?}", self.location, Password::HIDDEN, self.kind)
    }
}

impl ZooKeeperKeys {
    pub(super) fn new(settings: &Settings) -> ZooKeeperKeys {
        let text = |name: &str| given(settings, name).and_then(|()| settings.text(name)).map(str::to_owned);
        let list = |name: &str| match settings.value(name) {
            Value::List(items) if settings.is_given(name) && !items.is_empty() => Some(items.clone()),
            _ => None,
        };
        let store = |which: &str| StoreKeys {
            location: text(&format!("zookeeper.ssl.{which}.location")),
            password: match settings.value(&format!("zookeeper.ssl.{which}.password")) {
                Value::Password(password) => Some(password.0.clone()),
                _ => None,
            },
            kind: text(&format!("zookeeper.ssl.{which}.type")),
        };
        ZooKeeperKeys {
            set_acl: settings.boolean("zookeeper.set.acl"),
            tls: given(settings, "zookeeper.ssl.client.enable")
                .map(|()| settings.boolean("zookeeper.ssl.client.enable")),
            socket: text("zookeeper.clientCnxnSocket"),
            keystore: store("keystore"),
            truststore: store("truststore"),
            protocol: text("zookeeper.ssl.protocol"),
            enabled_protocols: list("zookeeper.ssl.enabled.protocols"),
            cipher_suites: list("zookeeper.ssl.cipher.suites"),
            identification: text("zookeeper.ssl.endpoint.identification.algorithm"),
        }
    }
}

fn given(settings: &Settings, name: &str) -> Option<()> {
    settings.is_given(name).then_some(())
}
