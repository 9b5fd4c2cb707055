//! `broker check`: what a configuration would do, told without doing any of it.
//!
//! Reads the file and the `meta.properties` of the log directories; writes nothing, locks nothing, opens no socket.

use std::fmt::Write as _;
use std::path::Path;

use crate::config::findings::{Refusal, Warning};
use crate::config::key::Treatment;
use crate::config::layers::Layers;
use crate::config::listeners::Listener;
use crate::config::properties::{self, Properties};
use crate::config::{BrokerConfig, ConfigError, read_properties, table};

/// What to print, and whether the broker would start with it.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) text: String,
    pub(crate) fine: bool,
}

pub(crate) fn check(file: &Path, overrides: &Properties) -> Verdict {
    let properties = match read_properties(file, overrides) {
        Ok(properties) => properties,
        Err(why) => return Verdict { text: format!("{why}\n"), fine: false },
    };
    let honoured = properties.iter().filter(|(name, _)| {
        table::find(name).is_some_and(|key| !matches!(key.treatment, Treatment::NoEffect(_)))
    });
    let honoured: Vec<String> = honoured.map(|(name, value)| format!("{name}={value}")).collect();
    match BrokerConfig::new(Layers::from_file(properties)) {
        Ok(config) => fine(file, &config, &honoured),
        Err(ConfigError::Refused { refusals, warnings }) => refused(file, &honoured, &warnings, &refusals),
        Err(why) => Verdict { text: format!("{why}\n"), fine: false },
    }
}

/// Lines of the answer: a title, and what it is about.
struct Lines(String);

impl Lines {
    fn add(&mut self, title: &str, content: &dyn std::fmt::Display) {
        let _ = writeln!(self.0, "  {title:<15} {content}");
    }

    fn keys(&mut self, honoured: &[String], warnings: &[Warning]) {
        honoured.iter().for_each(|pair| self.add("honoured", pair));
        warnings.iter().for_each(|warning| self.add("warning", warning));
    }

    fn verdict(self, file: &Path, fine: bool) -> Verdict {
        let verdict = if fine { "the broker would start" } else { "the broker would not start" };
        Verdict { text: format!("{}: {verdict}\n{}", file.display(), self.0), fine }
    }
}

fn refused(file: &Path, honoured: &[String], warnings: &[Warning], refusals: &[Refusal]) -> Verdict {
    let named = |pair: &&String| {
        let key = pair.split('=').next().unwrap_or_default();
        refusals.iter().all(|refusal| refusal.key() != Some(key))
    };
    let honoured: Vec<String> = honoured.iter().filter(named).cloned().collect();
    let mut lines = Lines(String::new());
    lines.keys(&honoured, warnings);
    refusals.iter().for_each(|refusal| lines.add("refused", refusal));
    lines.verdict(file, false)
}

fn fine(file: &Path, config: &BrokerConfig, honoured: &[String]) -> Verdict {
    let mut lines = Lines(String::new());
    lines.add("listens on", &joined(&config.network.listeners));
    lines.add("advertises", &advertised(&config.network.advertised));
    lines.add("coordinated by", &config.coordination);
    lines.add("broker id", &broker_id(config));
    let mut fine = true;
    for dir in &config.logs.dirs {
        let (seen, owned) = log_dir(dir, config);
        fine &= owned;
        lines.add("log dir", &format!("{}: {seen}", dir.display()));
    }
    lines.keys(honoured, &config.warnings);
    lines.verdict(file, fine)
}

fn joined(listeners: &[Listener]) -> String {
    listeners.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn advertised(listeners: &[Listener]) -> String {
    let own_name = listeners.iter().any(|listener| listener.host.is_none());
    joined(listeners) + if own_name { " (with this machine's name as host)" } else { "" }
}

fn broker_id(config: &BrokerConfig) -> String {
    match config.identity.broker_id {
        Some(id) => id.to_string(),
        None => {
            format!("the one in meta.properties, else generated above {}", config.identity.reserved_max)
        }
    }
}

/// What lies in the directory, and whether it belongs to the broker that the file describes.
fn log_dir(dir: &Path, config: &BrokerConfig) -> (String, bool) {
    if !dir.exists() {
        return ("would be created".to_owned(), true);
    }
    let Ok(bytes) = std::fs::read(dir.join("meta.properties")) else {
        return ("exists, belongs to no broker yet".to_owned(), true);
    };
    let meta = match properties::parse(&bytes) {
        Ok(meta) => meta,
        Err(why) => return (format!("its meta.properties cannot be read: {why}"), false),
    };
    let value = |key: &str| meta.get(key).map_or("none", String::as_str);
    let (owner, cluster) = (value("broker.id"), value("cluster.id"));
    let seen = format!("belongs to broker {owner} of cluster {cluster}");
    match config.identity.broker_id {
        Some(id) if owner != "none" && owner != id.to_string() => {
            (format!("{seen}, but the file says broker.id={id}"), false)
        }
        _ => (seen, true),
    }
}
