//! How a connection to ZooKeeper is secured: TLS, a SASL login, and the ACLs of znodes that are created.
//!
//! The file's keys come first; where one is absent, the Java system property that Apache's broker would read stands in
//! (`KAFKA_OPTS`). A setting that cannot be honoured to the letter is refused, never weakened. Nothing here connects.

#[cfg(test)]
mod tests;
mod tls;

use std::path::PathBuf;

use zookeeper_client as zk;

use crate::config::coordinates::ConnectString;
use crate::config::zookeeper::ZooKeeperKeys;
use crate::security::jaas::{self, LoginModule};
use crate::security::java_options::JavaOptions;
use crate::security::keystores::KeystoreError;

/// The socket class without which Apache's client does not speak TLS.
const NETTY: &str = "org.apache.zookeeper.ClientCnxnSocketNetty";
const NIO: &str = "org.apache.zookeeper.ClientCnxnSocketNIO";
const DIGEST_LOGIN: &str = "org.apache.zookeeper.server.auth.DigestLoginModule";

#[derive(Debug, thiserror::Error)]
pub(crate) enum SecurityError {
    #[error("{0}")]
    Setting(String),
    #[error("the login file {} cannot be used: {why}", path.display())]
    Login { path: PathBuf, why: String },
    #[error(transparent)]
    Store(#[from] KeystoreError),
    #[error("TLS to ZooKeeper: {0}")]
    Tls(zk::Error),
    #[error(
        "zookeeper.set.acl is true, but nobody logs in to ZooKeeper: there is neither a login file with a context \
         {context} (KAFKA_OPTS=-Djava.security.auth.login.config=FILE) nor a client certificate \
         (zookeeper.ssl.client.enable, zookeeper.clientCnxnSocket and zookeeper.ssl.keystore.location)"
    )]
    NobodyLogsIn { context: String },
}

/// All that a connection needs to know beyond addresses and timeouts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Security {
    tls: Option<zk::TlsOptions>,
    sasl: Option<zk::SaslOptions>,
    pub(super) acls: AclPolicy,
}

impl Security {
    /// What a connection to `connect` needs.
    pub(crate) fn new(
        keys: &ZooKeeperKeys,
        java: &JavaOptions,
        connect: &ConnectString,
    ) -> Result<Security, SecurityError> {
        let tls = tls::settings(keys, java)?;
        let has_certificate = tls.as_ref().is_some_and(|tls| tls.keystore.is_some());
        let login = login(java)?;
        if keys.set_acl && login.is_none() && !has_certificate {
            return Err(SecurityError::NobodyLogsIn { context: context(java).to_owned() });
        }
        let tls = tls.map(|tls| tls.options(connect)).transpose()?;
        let acls = if keys.set_acl { AclPolicy::OnlyCreatorWrites } else { AclPolicy::Open };
        Ok(Security { tls, sasl: login.map(Login::into_options), acls })
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.tls.is_some()
    }

    pub(super) fn apply(&self, mut connector: zk::Connector) -> zk::Connector {
        if let Some(tls) = &self.tls {
            connector = connector.with_tls(tls.clone());
        }
        if let Some(sasl) = &self.sasl {
            connector = connector.with_sasl(sasl.clone());
        }
        connector
    }
}

/// Who may do what with a znode that the broker creates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum AclPolicy {
    /// Everybody everything.
    #[default]
    Open,
    /// `zookeeper.set.acl`: who logged in as its creator everything; everybody else reads, but for secrets.
    OnlyCreatorWrites,
}

impl AclPolicy {
    /// Where everybody writes under either policy: consumers that keep their offsets in ZooKeeper.
    const OPEN_PATH: &str = "/consumers";
    /// Where nobody else reads: passwords in configs, and delegation tokens.
    const SECRET_PATHS: [&str; 3] = ["/config/users", "/config/brokers", "/delegation_token/tokens"];

    /// `path` is without the chroot.
    pub(super) fn of(self, path: &str) -> zk::Acls<'static> {
        static CREATOR_AND_READERS: [zk::Acl; 2] = [
            zk::Acl::new_const(zk::Permission::ALL, "auth", ""),
            zk::Acl::new_const(zk::Permission::READ, "world", "anyone"),
        ];
        if self == AclPolicy::Open || path == Self::OPEN_PATH {
            return zk::Acls::anyone_all();
        }
        match Self::SECRET_PATHS.iter().any(|secret| path.starts_with(secret)) {
            true => zk::Acls::creator_all(),
            false => zk::Acls::new(&CREATOR_AND_READERS),
        }
    }
}

/// User and password of a DIGEST-MD5 login.
struct Login {
    user: String,
    password: String,
}

impl Login {
    fn into_options(self) -> zk::SaslOptions {
        zk::SaslOptions::digest_md5(self.user, self.password).into()
    }
}

fn context(java: &JavaOptions) -> &str {
    java.get("zookeeper.sasl.clientconfig").unwrap_or("Client")
}

/// `None` where no login file is named, or it has no context for ZooKeeper.
fn login(java: &JavaOptions) -> Result<Option<Login>, SecurityError> {
    let Some(file) = java.get("java.security.auth.login.config") else { return Ok(None) };
    // Java takes a URL too, and a further equals sign for "only this file".
    let file = file.trim_start_matches('=');
    let path = PathBuf::from(file.strip_prefix("file:").unwrap_or(file));
    let refused = |why: String| SecurityError::Login { path: path.clone(), why };
    let text = std::fs::read_to_string(&path).map_err(|error| refused(error.to_string()))?;
    let mut contexts = jaas::parse(&text).map_err(|error| refused(error.to_string()))?;
    let name = context(java);
    let Some(modules) = contexts.remove(name) else { return Ok(None) };
    if !java.boolean("zookeeper.sasl.client", true) {
        return Err(refused(format!(
            "it has a context {name}, but -Dzookeeper.sasl.client=false forbids its use"
        )));
    }
    let login = match modules.as_slice() {
        [module] => digest_login(module),
        _ => Err(format!("the context {name} must have exactly one login module")),
    };
    login.map(Some).map_err(refused)
}

fn digest_login(module: &LoginModule) -> Result<Login, String> {
    if module.class != DIGEST_LOGIN {
        return Err(format!("the login module {} is not supported. Allowed: {DIGEST_LOGIN}", module.class));
    }
    let option = |name: &str| {
        let value = module.options.get(name).cloned();
        let value = value.ok_or_else(|| format!("{DIGEST_LOGIN} needs the option {name}"))?;
        match value.contains("${") {
            true => Err(format!("the option {name} refers to a system property, which is not supported")),
            false => Ok(value),
        }
    };
    Ok(Login { user: option("username")?, password: option("password")? })
}
