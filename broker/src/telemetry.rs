//! Log lines: where they go and how they look. Who logs what is everybody's own business, through `tracing`.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use crate::args::{LogFormat, Logging};

/// To stderr, so that stdout stays free for what a command was asked for. `Err`: the filter cannot be read.
pub(crate) fn start(logging: &Logging) -> Result<(), ParseError> {
    let filter = EnvFilter::try_new(&logging.log_level)?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match logging.log_format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).with_target(false).init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
    Ok(())
}
