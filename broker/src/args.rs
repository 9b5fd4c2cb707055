//! The command line, as typed. What it asks for is done in `main`.
//!
//! `broker FILE --override KEY=VALUE` is what `kafka-server-start.sh` takes, so both spellings of the file work.

use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::config::properties::Properties;

const EXAMPLES: &str = "\
Examples:
  broker -c config/server.properties
      Start; without zookeeper.connect in the file, nothing else is needed on this machine.
  broker config/server.properties --override broker.id=2 --override log.dirs=/data/kafka
      Start as kafka-server-start.sh does, with two keys replaced.
  broker check -c config/server.properties
      Say what the file would do and which keys would be refused, and start nothing.
  broker cluster status --bootstrap-server localhost:9092
      Tell brokers, controller, offline and under-replicated partitions of a running cluster.
  broker -c config/server.properties --log-format json --log-level info,broker::net=debug

Exit codes:
  0  stopped cleanly (SIGTERM, SIGINT); `check`: the file is fine; `cluster status`: nothing is offline
  1  could not start, or stopped on an error; `check`: the file would be refused; `cluster status`: something is
     offline
  2  wrong use of the command line";

/// An Apache Kafka 3.9 broker for ZooKeeper-based clusters, and for one machine on its own.
#[derive(Debug, Parser)]
#[command(
    name = "broker",
    version = VERSION,
    after_help = EXAMPLES,
    args_conflicts_with_subcommands = true
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) source: Source,
    #[command(flatten)]
    pub(crate) logging: Logging,
}

const VERSION: &str =
    concat!(env!("CARGO_PKG_VERSION"), " (Odradek; takes the seat of an Apache Kafka 3.9.1 broker)");

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Say what a file would do and which keys it would be refused for, without starting
    #[command(after_help = "Exit codes:\n  0  the file is fine\n  1  it would be refused")]
    Check {
        #[command(flatten)]
        source: Source,
    },
    /// Ask a cluster how it is
    Cluster {
        #[command(subcommand)]
        command: ClusterCommand,
    },
    /// List every key with type, default, valid values and what this broker does with it (tab-separated)
    Keys {
        /// Keys of topics instead of brokers
        #[arg(long)]
        topics: bool,
    },
    /// Look into log directories, while a broker runs or not
    Log {
        #[command(subcommand)]
        command: LogCommand,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum LogCommand {
    /// Show what lies in a log directory, in the folder of a partition, or in one of their files
    #[command(after_help = INSPECT_EXAMPLES)]
    Inspect {
        /// An entry of log.dirs, a partition's folder in it, or any file in either
        path: PathBuf,
        /// Show records instead of batches and segments
        #[arg(long)]
        records: bool,
        /// One JSON object a line; times in ms since 1970
        #[arg(long)]
        json: bool,
    },
    /// Read every batch and index, and say with file and position what is wrong
    #[command(after_help = "Exit codes:\n  0  nothing is wrong\n  1  something is; each fault is a line")]
    Verify {
        /// An entry of log.dirs, or a partition's folder in it
        path: PathBuf,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
}

const INSPECT_EXAMPLES: &str = "\
Examples:
  broker log inspect /data/kafka
      The partitions of a log directory, with their checkpoints.
  broker log inspect /data/kafka/orders-3
      The segments of a partition, its leader epochs, its producers.
  broker log inspect /data/kafka/orders-3/00000000000000000000.log
      The batches of a segment; with --records the records in them.
  broker log inspect --json --records /data/kafka/__consumer_offsets-12 | jq .key.group";
#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Brokers, controller, partitions that are offline or under-replicated, and how far followers are behind
    #[command(
        after_help = "Works with Apache's brokers too. Brokers that take only TLS or SASL cannot be asked yet.\n\nExit \
                      codes:\n  0  every broker and partition is online\n  1  something is offline, or nobody answers"
    )]
    Status(StatusArguments),
}

#[derive(Debug, Args)]
pub(crate) struct StatusArguments {
    #[command(flatten)]
    pub(crate) bootstrap: Bootstrap,
    /// For programs
    #[arg(long)]
    pub(crate) json: bool,
    /// How long each broker, and ZooKeeper, may take to answer
    #[arg(long, value_name = "MS", default_value_t = 5000)]
    pub(crate) timeout_ms: u64,
}

/// Where the first broker is found; localhost:9092 where nothing is said.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(crate) struct Bootstrap {
    /// Brokers to ask, host:port separated by commas; one that answers is enough
    #[arg(long, value_name = "LIST")]
    pub(crate) bootstrap_server: Option<String>,
    /// The server.properties of a broker: its ZooKeeper tells the brokers
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The ZooKeeper that tells the brokers, as in zookeeper.connect
    #[arg(long, value_name = "CONNECT")]
    pub(crate) zookeeper: Option<String>,
}

/// The configuration and what replaces parts of it.
#[derive(Debug, Args)]
pub(crate) struct Source {
    /// Configuration in Java's .properties syntax (server.properties)
    #[arg(short, long, value_name = "FILE", conflicts_with = "positional")]
    config: Option<PathBuf>,
    /// The same, as kafka-server-start.sh takes it
    #[arg(value_name = "FILE", id = "positional")]
    positional: Option<PathBuf>,
    /// Replace a key of the file; may be repeated
    #[arg(long = "override", value_name = "KEY=VALUE", value_parser = key_and_value)]
    overrides: Vec<(String, String)>,
}

impl Source {
    /// Ends the process with a usage message where no file was named.
    pub(crate) fn file(&self) -> &Path {
        let missing = || {
            let message = "a configuration file is needed, for example: broker -c config/server.properties";
            Arguments::command().error(ErrorKind::MissingRequiredArgument, message).exit()
        };
        self.config.as_deref().or(self.positional.as_deref()).unwrap_or_else(missing)
    }

    /// The last of equal keys wins.
    pub(crate) fn overrides(&self) -> Properties {
        self.overrides.iter().cloned().collect()
    }
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Logging {
    /// How log lines are written to stderr
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
    /// What is logged: error, warn, info, debug, trace, or a filter as in RUST_LOG
    #[arg(long, value_name = "FILTER", env = "RUST_LOG", default_value = "info", hide_env_values = true)]
    pub(crate) log_level: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For a terminal
    Text,
    /// One JSON object a line
    Json,
}
