//! The `broker` binary: the command line, then the configuration, then the server.
//!
//! Exit codes: 0 after a clean stop, 1 where the broker could not start or stopped on an error (as Kafka),
//! 2 for wrong use of the command line.

mod allocator;
mod args;
mod asker;
mod check;
mod cleaners;
mod clock;
mod cluster;
mod colleagues;
mod config;
mod descriptors;
mod errors;
mod failures;
mod fetching;
mod following;
mod handlers;
mod handover;
mod house;
mod housekeeping;
mod inspection;
mod live;
mod machines;
mod metadata;
mod moving;
mod net;
mod partition;
mod peers;
mod producer_ids;
mod quota;
mod reconfiguration;
mod replication;
mod security;
mod server;
mod status;
mod telemetry;
mod transactions;
mod wire;
mod zookeeper;

use std::io::Write as _;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

use args::{Arguments, ClusterCommand, Command, LogCommand, Source};
use config::layers::Layers;
use config::{BrokerConfig, ConfigError, read_properties};

fn main() -> ExitCode {
    allocator::give_freed_memory_back_soon();
    let arguments = Arguments::parse();
    match &arguments.command {
        Some(Command::Check { source }) => return check_only(source),
        Some(Command::Cluster { command: ClusterCommand::Status(arguments) }) => {
            return status::run(arguments);
        }
        Some(Command::Keys { topics }) => return print(&config::listing::keys(*topics)),
        Some(Command::Log { command }) => return look(command),
        None => {}
    }
    let file = arguments.source.file();
    if let Err(why) = telemetry::start(&arguments.logging) {
        let message = format!("--log-level {}: {why}", arguments.logging.log_level);
        Arguments::command().error(ErrorKind::ValueValidation, message).exit();
    }
    let config = match read_properties(file, &arguments.source.overrides()).and_then(understood) {
        Ok(config) => config,
        Err(why) => {
            tell(file, &why);
            return ExitCode::FAILURE;
        }
    };
    start(config)
}

fn check_only(source: &Source) -> ExitCode {
    let verdict = check::check(source.file(), &source.overrides());
    let printed = print(&verdict.text);
    if verdict.fine { printed } else { ExitCode::FAILURE }
}

fn look(command: &LogCommand) -> ExitCode {
    match command {
        LogCommand::Inspect { path, records, json } => {
            inspection::inspect(path, inspection::Wanted { records: *records, json: *json })
        }
        LogCommand::Verify { path, json } => inspection::verify(path, *json),
    }
}

fn print(text: &str) -> ExitCode {
    // A closed pipe (`broker keys | head`) is the reader's choice, not an error.
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

fn understood(properties: config::properties::Properties) -> Result<BrokerConfig, ConfigError> {
    let config = BrokerConfig::new(Layers::from_file(properties))?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    Ok(config)
}

/// One line for each thing that is wrong, and what to do next.
fn tell(file: &std::path::Path, why: &ConfigError) {
    for line in why.to_string().lines() {
        tracing::error!("{line}");
    }
    tracing::error!(
        "not started. `broker check -c {}` lists everything this file would do or be refused for",
        file.display()
    );
}

fn start(config: BrokerConfig) -> ExitCode {
    descriptors::raise();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(why) => {
            tracing::error!("cannot start the threads of the broker: {why}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(server::run(config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            tracing::error!("{}{why}", if why.ended_a_run() { "" } else { "not started. " });
            // A failed disk may hold threads for as long as it likes.
            runtime.shutdown_background();
            ExitCode::FAILURE
        }
    }
}
