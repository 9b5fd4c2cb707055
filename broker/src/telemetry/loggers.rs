//! What is logged, room by room, and changed while the broker runs (KIP-412).
//!
//! A logger is a target of log lines: `root` for all, `broker.net` for a room, and what is below it. Dots stand for
//! `::`, which Kafka's tools do not take. The level of a
//! logger without one of its own is that of the nearest above it. Levels are Kafka's names; `FATAL` is `ERROR` here.

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock, PoisonError};

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{ParseError, Targets};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, reload};

/// The name of the logger above all others.
pub(crate) const ROOT: &str = "root";

/// The rooms, and the library that says something worth reading.
const LOGGERS: [&str; 16] = [
    "broker",
    "broker::cluster",
    "broker::cluster::client",
    "broker::cluster::controller",
    "broker::config",
    "broker::fetching",
    "broker::handlers",
    "broker::machines",
    "broker::net",
    "broker::partition",
    "broker::reconfiguration",
    "broker::server",
    "broker::zookeeper",
    "coordinator",
    "storage",
    "zookeeper_client",
];

/// As Kafka lists them in its refusals.
const LEVELS: [(&str, LevelFilter); 6] = [
    ("DEBUG", LevelFilter::DEBUG),
    ("ERROR", LevelFilter::ERROR),
    ("FATAL", LevelFilter::ERROR),
    ("INFO", LevelFilter::INFO),
    ("TRACE", LevelFilter::TRACE),
    ("WARN", LevelFilter::WARN),
];

/// Why levels stay as they are, in Kafka's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LoggerError {
    #[error("Logger {0} does not exist!")]
    Unknown(String),
    #[error(
        "Cannot set the log level of {logger} to {level} as it is not a supported log level. Valid log levels are \
         DEBUG, ERROR, FATAL, INFO, TRACE, WARN"
    )]
    UnknownLevel { logger: String, level: String },
    #[error("Removing the log level of the root logger is not allowed")]
    RootNeedsLevel,
    #[error("{0} operation is not allowed for the BROKER_LOGGER resource")]
    NoList(&'static str),
    #[error("Unknown operation type {0} is not allowed for the BROKER_LOGGER resource")]
    UnknownOperation(i8),
}

/// The levels that were set, and the door to the filter they make up.
struct Loggers {
    levels: Mutex<Levels>,
    install: Box<dyn Fn(Targets) + Send + Sync>,
}

/// Loggers with a level of their own; `root` always has one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Levels {
    root: LevelFilter,
    own: BTreeMap<String, LevelFilter>,
}

static INSTALLED: OnceLock<Loggers> = OnceLock::new();

/// The filter for what `directives` say (`info`, `broker::net=debug,warn`), to be put above the layer that writes.
pub(super) fn filter<S>(directives: &str) -> Result<impl Layer<S>, ParseError>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let levels = Levels::read(directives)?;
    let (layer, handle) = reload::Layer::new(levels.targets());
    let install = Box::new(move |targets| {
        // It fails only once the subscriber is gone, and then nobody logs.
        let _ = handle.reload(targets);
    });
    // A second subscriber in one process would be filtered, but not changeable.
    let _ = INSTALLED.set(Loggers { levels: Mutex::new(levels), install });
    Ok(layer)
}

/// Every logger and its level, by name.
pub(crate) fn all() -> BTreeMap<String, &'static str> {
    let Some(loggers) = INSTALLED.get() else { return BTreeMap::new() };
    loggers.levels.lock().unwrap_or_else(PoisonError::into_inner).all()
}

/// Changes levels, or with `make` unset says whether that would do. All of the `wishes` (name, operation, level) or none.
pub(crate) fn change<'a>(
    wishes: impl Iterator<Item = (&'a str, i8, Option<&'a str>)>,
    make: bool,
) -> Result<(), LoggerError> {
    let Some(loggers) = INSTALLED.get() else { return Ok(()) };
    let mut levels = loggers.levels.lock().unwrap_or_else(PoisonError::into_inner);
    let mut next = levels.clone();
    for (logger, operation, level) in wishes {
        next.change(logger, operation, level.unwrap_or_default())?;
        if make {
            tracing::warn!("log level of {logger}: {}", level.unwrap_or("that of the logger above it"));
        }
    }
    if make {
        (loggers.install)(next.targets());
        *levels = next;
    }
    Ok(())
}

impl Levels {
    fn read(directives: &str) -> Result<Levels, ParseError> {
        let targets: Targets = directives.parse()?;
        let root = targets.default_level().unwrap_or(LevelFilter::OFF);
        Ok(Levels { root, own: targets.iter().map(|(name, level)| (name.to_owned(), level)).collect() })
    }

    fn targets(&self) -> Targets {
        let own = self.own.iter().map(|(name, level)| (name.clone(), *level));
        Targets::new().with_default(self.root).with_targets(own)
    }

    fn exists(&self, logger: &str) -> bool {
        logger == ROOT || LOGGERS.contains(&logger) || self.own.contains_key(logger)
    }

    fn all(&self) -> BTreeMap<String, &'static str> {
        let named = LOGGERS.into_iter().chain(self.own.keys().map(String::as_str));
        let mut all: BTreeMap<String, &str> =
            named.map(|logger| (logger.replace("::", "."), name(self.level_of(logger)))).collect();
        all.insert(ROOT.to_owned(), name(self.root));
        all
    }

    fn level_of(&self, logger: &str) -> LevelFilter {
        let mut above = Some(logger);
        while let Some(name) = above {
            if let Some(level) = self.own.get(name) {
                return *level;
            }
            above = name.rsplit_once("::").map(|(above, _)| above);
        }
        self.root
    }

    fn change(&mut self, logger: &str, operation: i8, level: &str) -> Result<(), LoggerError> {
        let shown = logger;
        let logger = &*logger.replace('.', "::");
        let known = || if self.exists(logger) { Ok(()) } else { Err(LoggerError::Unknown(shown.to_owned())) };
        match operation {
            0 => {
                known()?;
                let unknown =
                    || LoggerError::UnknownLevel { logger: shown.to_owned(), level: level.to_owned() };
                let (_, level) = LEVELS.into_iter().find(|(name, _)| *name == level).ok_or_else(unknown)?;
                if logger == ROOT {
                    self.root = level;
                } else {
                    self.own.insert(logger.to_owned(), level);
                }
                Ok(())
            }
            1 => {
                known()?;
                if logger == ROOT {
                    return Err(LoggerError::RootNeedsLevel);
                }
                self.own.remove(logger);
                Ok(())
            }
            2 => Err(LoggerError::NoList("APPEND")),
            3 => Err(LoggerError::NoList("SUBTRACT")),
            other => Err(LoggerError::UnknownOperation(other)),
        }
    }
}

/// As Kafka shows a level.
fn name(level: LevelFilter) -> &'static str {
    match level.into_level() {
        None => "OFF",
        Some(tracing::Level::ERROR) => "ERROR",
        Some(tracing::Level::WARN) => "WARN",
        Some(tracing::Level::INFO) => "INFO",
        Some(tracing::Level::DEBUG) => "DEBUG",
        Some(tracing::Level::TRACE) => "TRACE",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levels(directives: &str) -> Levels {
        Levels::read(directives).expect("directives")
    }

    #[test]
    fn a_logger_has_the_level_of_the_nearest_above_it() {
        let all = levels("warn,broker=info,broker::cluster=debug").all();
        assert_eq!(all["root"], "WARN");
        assert_eq!(all["storage"], "WARN");
        assert_eq!(all["broker.net"], "INFO");
        assert_eq!(all["broker.cluster.client"], "DEBUG");
    }

    #[test]
    fn levels_are_set_and_taken_back() {
        let mut levels = levels("info");
        assert_eq!(levels.change("broker.net", 0, "TRACE"), Ok(()));
        assert_eq!(levels.all()["broker.net"], "TRACE");
        assert!(levels.targets().would_enable("broker::net::front", &tracing::Level::TRACE));
        assert_eq!(levels.change("broker.net", 1, ""), Ok(()));
        assert_eq!(levels.all()["broker.net"], "INFO");
        assert_eq!(levels.change("root", 0, "FATAL"), Ok(()));
        assert_eq!(levels.all()["storage"], "ERROR");
    }

    #[test]
    fn refusals_are_kafkas() {
        let mut levels = levels("info");
        let mut refused = |logger, operation, level| {
            levels.change(logger, operation, level).expect_err("refused").to_string()
        };
        assert_eq!(refused("kafka.server", 0, "INFO"), "Logger kafka.server does not exist!");
        assert_eq!(
            refused("root", 0, "LOUD"),
            "Cannot set the log level of root to LOUD as it is not a supported log level. Valid log levels are \
             DEBUG, ERROR, FATAL, INFO, TRACE, WARN"
        );
        assert_eq!(refused("root", 1, ""), "Removing the log level of the root logger is not allowed");
        assert_eq!(
            refused("broker", 2, "x"),
            "APPEND operation is not allowed for the BROKER_LOGGER resource"
        );
        assert_eq!(
            refused("broker", 9, "x"),
            "Unknown operation type 9 is not allowed for the BROKER_LOGGER resource"
        );
    }
}
