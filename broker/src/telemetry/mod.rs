//! Log lines: where they go and how they look. Who logs what is everybody's own business, through `tracing`.

pub(crate) mod loggers;

use std::io::IsTerminal;

use tracing_subscriber::filter::ParseError;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::args::{LogFormat, Logging};

/// To stderr, so that stdout stays free for what a command was asked for. `Err`: the filter cannot be read.
pub(crate) fn start(logging: &Logging) -> Result<(), ParseError> {
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match logging.log_format {
        LogFormat::Text => {
            let lines = lines.with_ansi(std::io::stderr().is_terminal()).with_target(false);
            tracing_subscriber::registry().with(loggers::filter(&logging.log_level)?).with(lines).init();
        }
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true);
            tracing_subscriber::registry().with(loggers::filter(&logging.log_level)?).with(lines).init();
        }
    }
    Ok(())
}
