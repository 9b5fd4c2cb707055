//! TLS to ZooKeeper: the settings of Apache's client in the words of rustls.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::ServerName;
use tracing::warn;
use zookeeper_client as zk;

use super::{NETTY, NIO, SecurityError};
use crate::config::coordinates::ConnectString;
use crate::config::zookeeper::{StoreKeys, ZooKeeperKeys};
use crate::security::java_options::JavaOptions;
use crate::security::keystores::{self, Format, Keystore, PrivateKey};

const PROTOCOLS: [&str; 2] = ["TLSv1.2", "TLSv1.3"];

/// Settings that belong together; the stores are not opened yet.
#[derive(Debug)]
pub(super) struct TlsSettings {
    pub(super) keystore: Option<Store>,
    truststore: Store,
    protocols: Vec<String>,
    /// In Java's names; `None` for all.
    cipher_suites: Option<Vec<String>>,
    verify_names: bool,
}

#[derive(Debug)]
pub(super) struct Store {
    location: String,
    password: String,
    format: Format,
}

fn refused<T>(why: impl Into<String>) -> Result<T, SecurityError> {
    Err(SecurityError::Setting(why.into()))
}

/// `None` where the connection is not encrypted.
pub(super) fn settings(
    keys: &ZooKeeperKeys,
    java: &JavaOptions,
) -> Result<Option<TlsSettings>, SecurityError> {
    for name in ["zookeeper.ssl.crl", "zookeeper.ssl.ocsp"] {
        if java.boolean(name, false) {
            return refused(format!(
                "{name}=true is not supported: nothing asks whether certificates are revoked"
            ));
        }
    }
    let socket = or_property(&keys.socket, java, "zookeeper.clientCnxnSocket");
    match socket.as_deref() {
        None | Some(NETTY | NIO) => {}
        Some(class) => {
            return refused(format!("zookeeper.clientCnxnSocket={class}: Java classes cannot be loaded"));
        }
    }
    if !keys.tls.unwrap_or_else(|| java.boolean("zookeeper.client.secure", false)) {
        return Ok(None);
    }
    if socket.as_deref() != Some(NETTY) {
        // Apache's client would go on without encryption.
        return refused(format!("zookeeper.ssl.client.enable=true needs zookeeper.clientCnxnSocket={NETTY}"));
    }
    let truststore = store("truststore", "trustStore", &keys.truststore, java)?;
    let Some(truststore) = truststore else {
        return refused("zookeeper.ssl.client.enable=true needs zookeeper.ssl.truststore.location");
    };
    let split = |text: &str| text.split(',').map(|item| item.trim().to_owned()).collect::<Vec<_>>();
    let protocol = or_property(&keys.protocol, java, "zookeeper.ssl.protocol");
    let protocol = protocol.unwrap_or_else(|| PROTOCOLS[0].to_owned());
    let enabled = keys.enabled_protocols.clone();
    let enabled = enabled.or_else(|| java.get("zookeeper.ssl.enabledProtocols").map(split));
    let protocols = enabled.unwrap_or_else(|| vec![protocol]);
    if let Some(other) = protocols.iter().find(|one| !PROTOCOLS.contains(&one.as_str())) {
        return refused(format!("{other} is not supported to ZooKeeper. Allowed: {}", PROTOCOLS.join(", ")));
    }
    let cipher_suites = keys.cipher_suites.clone();
    Ok(Some(TlsSettings {
        keystore: store("keystore", "keyStore", &keys.keystore, java)?,
        truststore,
        protocols,
        cipher_suites: cipher_suites.or_else(|| java.get("zookeeper.ssl.ciphersuites").map(split)),
        verify_names: verify_names(keys, java)?,
    }))
}

fn or_property(key: &Option<String>, java: &JavaOptions, property: &str) -> Option<String> {
    key.clone().or_else(|| java.get(property).map(str::to_owned))
}

fn verify_names(keys: &ZooKeeperKeys, java: &JavaOptions) -> Result<bool, SecurityError> {
    match keys.identification.as_deref() {
        None => Ok(java.boolean("zookeeper.ssl.hostnameVerification", true)),
        Some("") => Ok(false),
        Some(https) if https.eq_ignore_ascii_case("https") => Ok(true),
        Some(other) => refused(format!(
            "zookeeper.ssl.endpoint.identification.algorithm={other} is not known. Allowed: HTTPS, or nothing at all"
        )),
    }
}

/// `name` as the keys spell it, `property` as the system properties do.
fn store(
    name: &str,
    property: &str,
    keys: &StoreKeys,
    java: &JavaOptions,
) -> Result<Option<Store>, SecurityError> {
    let value = |key: &Option<String>, part: &str| {
        or_property(key, java, &format!("zookeeper.ssl.{property}.{part}"))
    };
    let Some(location) = value(&keys.location, "location").filter(|location| !location.is_empty()) else {
        return Ok(None);
    };
    let format = match value(&keys.kind, "type").filter(|kind| !kind.is_empty()) {
        Some(kind) => match Format::parse(&kind) {
            Some(format) => format,
            None => {
                return refused(format!(
                    "zookeeper.ssl.{name}.type={kind} is not supported. Allowed: PEM, PKCS12, JKS"
                ));
            }
        },
        None => match Format::of_file(Path::new(&location)) {
            Some(format) => format,
            None => {
                return refused(format!(
                    "the type of {location} cannot be told by its name; set zookeeper.ssl.{name}.type to PEM, PKCS12 \
                     or JKS"
                ));
            }
        },
    };
    let password = value(&keys.password, "password").unwrap_or_default();
    Ok(Some(Store { location, password, format }))
}

impl Store {
    fn open(&self) -> Result<Keystore, SecurityError> {
        Ok(keystores::open(Path::new(&self.location), self.format, &self.password)?)
    }
}

impl TlsSettings {
    /// Opens the stores, and sets what rustls offers to ZooKeeper.
    pub(super) fn options(&self, connect: &ConnectString) -> Result<zk::TlsOptions, SecurityError> {
        for (host, _) in &connect.servers {
            if ServerName::try_from(host.as_str()).is_err() {
                return refused(format!(
                    "{host} in zookeeper.connect is no name that a certificate can have"
                ));
            }
        }
        offer(&self.protocols, self.cipher_suites.as_deref())?;
        let trusted = self.truststore.open()?.trusted;
        let certificates: String = trusted.iter().map(|der| pem("CERTIFICATE", der)).collect();
        let mut options = zk::TlsOptions::new().with_pem_ca(&certificates).map_err(|_| {
            let location = &self.truststore.location;
            SecurityError::Setting(format!("{location} has no certificate that can be trusted"))
        })?;
        if let Some(store) = &self.keystore {
            let Some(identity) = store.open()?.identity else {
                return refused(format!("{} has no private key", store.location));
            };
            let chain: String = identity.chain.iter().map(|der| pem("CERTIFICATE", der)).collect();
            let key = match &identity.key {
                PrivateKey::Pkcs8(der) => pem("PRIVATE KEY", der),
                PrivateKey::Pkcs1(der) => pem("RSA PRIVATE KEY", der),
                PrivateKey::Sec1(der) => pem("EC PRIVATE KEY", der),
            };
            options = options.with_pem_identity(&chain, &key).map_err(SecurityError::Tls)?;
        }
        if !self.verify_names {
            // SAFETY: nothing about memory; the crate marks what an operator who empties the identification algorithm
            // asks for: any certificate of the truststore will do, whatever its name.
            options = unsafe { options.with_no_hostname_verification() };
        }
        Ok(options)
    }
}

/// What is offered to ZooKeeper. The crate takes it from the process-wide default of rustls, which is therefore
/// ZooKeeper's alone: every other user of rustls names its provider. It can be set once in a process.
fn offer(protocols: &[String], cipher_suites: Option<&[String]>) -> Result<(), SecurityError> {
    let mut provider = aws_lc_rs::default_provider();
    let known: Vec<String> = provider.cipher_suites.iter().map(java_name).collect();
    provider.cipher_suites.retain(|suite| {
        let version = if suite.tls13().is_some() { PROTOCOLS[1] } else { PROTOCOLS[0] };
        let named = cipher_suites.is_none_or(|names| names.contains(&java_name(suite)));
        named && protocols.iter().any(|protocol| protocol == version)
    });
    if provider.cipher_suites.is_empty() {
        return refused(format!(
            "none of zookeeper.ssl.cipher.suites can be used with {}. Known: {}",
            protocols.join(", "),
            known.join(", ")
        ));
    }
    for name in cipher_suites.unwrap_or_default().iter().filter(|name| !known.contains(name)) {
        warn!("zookeeper.ssl.cipher.suites: {name} is not known and not offered");
    }
    // A second broker in one process, as in tests, offers what the first one does.
    let _: Result<(), std::sync::Arc<CryptoProvider>> = provider.install_default();
    Ok(())
}

/// rustls says TLS13 where Java says TLS.
fn java_name(suite: &rustls::SupportedCipherSuite) -> String {
    format!("{:?}", suite.suite()).replacen("TLS13_", "TLS_", 1)
}

fn pem(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let lines = body.as_bytes().chunks(64).map(String::from_utf8_lossy).collect::<Vec<_>>().join("\n");
    format!("-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n")
}
