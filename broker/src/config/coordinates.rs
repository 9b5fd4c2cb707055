//! Where the cluster's metadata lives: a ZooKeeper ensemble, or the coordinator this broker starts itself.

use std::fmt;
use std::path::{Component, Path, PathBuf};

use super::settings::Settings;

/// What coordinates this broker. In both cases the broker is a client of the ZooKeeper protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Coordination {
    Ensemble(ConnectString),
    /// On 127.0.0.1. Port 0 takes a free one.
    Embedded {
        port: u16,
        data_dir: PathBuf,
    },
}

impl fmt::Display for Coordination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Coordination::Ensemble(connect) => write!(f, "ZooKeeper at {connect}"),
            Coordination::Embedded { port, data_dir } => {
                write!(f, "embedded coordinator on 127.0.0.1:{port}, data in {}", data_dir.display())
            }
        }
    }
}

/// `host:port,host:port/chroot`, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConnectString {
    /// Never empty. IPv6 addresses are without brackets here.
    pub(crate) servers: Vec<(String, u16)>,
    /// Begins with a slash and does not end in one.
    pub(crate) chroot: Option<String>,
}

impl ConnectString {
    const DEFAULT_PORT: u16 = 2181;

    /// `Err` is a sentence.
    pub(crate) fn parse(text: &str) -> Result<ConnectString, String> {
        let refused = |why: &str| Err(format!("zookeeper.connect={text} cannot be read: {why}"));
        let (hosts, chroot) = match text.find('/') {
            Some(at) => text.split_at(at),
            None => (text, ""),
        };
        let chroot = match chroot {
            "" | "/" => None,
            path if path.ends_with('/') => return refused("the path must not end in a slash"),
            path if path.contains("//") => return refused("the path has an empty part"),
            path if path.split('/').any(|part| matches!(part, "." | "..")) => {
                return refused("the path must not contain . or ..");
            }
            path => Some(path.to_owned()),
        };
        let entries = hosts.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        let servers = entries.map(server).collect::<Option<Vec<(String, u16)>>>();
        match servers {
            None => refused("servers are written host:port, separated by commas"),
            Some(servers) if servers.is_empty() => refused(
                "it names no server. Leave the key out to let the broker start its own coordinator on this machine",
            ),
            Some(servers) => Ok(ConnectString { servers, chroot }),
        }
    }
}

impl fmt::Display for ConnectString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (host, port)) in self.servers.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            if host.contains(':') {
                write!(f, "{comma}[{host}]:{port}")?;
            } else {
                write!(f, "{comma}{host}:{port}")?;
            }
        }
        f.write_str(self.chroot.as_deref().unwrap_or_default())
    }
}

fn server(entry: &str) -> Option<(String, u16)> {
    if let Some(rest) = entry.strip_prefix('[') {
        let (host, port) = rest.split_once(']')?;
        let port = match port {
            "" => ConnectString::DEFAULT_PORT,
            port => port.strip_prefix(':')?.parse().ok()?,
        };
        return Some((host.to_owned(), port));
    }
    match entry.split_once(':') {
        None => Some((entry.to_owned(), ConnectString::DEFAULT_PORT)),
        Some((host, port)) if !host.is_empty() => Some((host.to_owned(), port.parse().ok()?)),
        Some(_) => None,
    }
}

/// `Err` is a sentence.
pub(crate) fn coordination(settings: &Settings, log_dirs: &[PathBuf]) -> Result<Coordination, String> {
    if let Some(connect) = settings.text("zookeeper.connect") {
        return ConnectString::parse(connect).map(Coordination::Ensemble);
    }
    let port = u16::try_from(settings.int("zookeeper.embedded.port")).unwrap_or(ConnectString::DEFAULT_PORT);
    let data_dir = match settings.text("zookeeper.embedded.data.dir") {
        Some(dir) => PathBuf::from(dir),
        None => beside(log_dirs.first().map_or(Path::new("kafka-logs"), PathBuf::as_path)),
    };
    let inside = log_dirs.iter().find(|log_dir| lexical(&data_dir).starts_with(lexical(log_dir)));
    match inside {
        Some(log_dir) => Err(format!(
            "zookeeper.embedded.data.dir={} lies in the log directory {}: Kafka refuses to start on folders it does \
             not know there. Choose a directory outside",
            data_dir.display(),
            log_dir.display()
        )),
        None => Ok(Coordination::Embedded { port, data_dir }),
    }
}

/// `/var/lib/kafka-logs` becomes `/var/lib/kafka-logs-zookeeper`.
fn beside(log_dir: &Path) -> PathBuf {
    let log_dir = lexical(log_dir);
    let mut name = log_dir.file_name().unwrap_or_default().to_owned();
    name.push("-zookeeper");
    log_dir.with_file_name(name)
}

/// Absolute, with `.` and `..` worked out by text alone: the directory may not exist yet.
fn lexical(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut plain = PathBuf::new();
    for part in absolute.components() {
        match part {
            Component::ParentDir => {
                plain.pop();
            }
            Component::CurDir => {}
            other => plain.push(other),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connect_string_has_servers_and_perhaps_a_chroot() {
        let parsed = ConnectString::parse("h1:2181, h2 ,[::1]:2183/kafka/one").expect("readable");
        assert_eq!(parsed.to_string(), "h1:2181,h2:2181,[::1]:2183/kafka/one");
        assert_eq!(parsed.chroot.as_deref(), Some("/kafka/one"));
        assert_eq!(ConnectString::parse("h1/").expect("readable").chroot, None);
    }

    #[test]
    fn a_connect_string_without_a_server_or_with_a_broken_path_is_refused() {
        for text in ["", ",", "/kafka", "h1:port", ":2181", "h1/a/", "h1/a//b", "h1/../b"] {
            let why = ConnectString::parse(text).expect_err(text);
            assert!(why.starts_with(&format!("zookeeper.connect={text} cannot be read: ")), "{why}");
        }
    }

    #[test]
    fn the_embedded_data_lies_beside_the_log_directory() {
        assert_eq!(beside(Path::new("/tmp/kafka-logs/")), Path::new("/tmp/kafka-logs-zookeeper"));
        assert_eq!(beside(Path::new("/a/b/../c")), Path::new("/a/c-zookeeper"));
    }
}
