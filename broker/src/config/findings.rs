//! What is wrong with a configuration, and what its author should know.

use std::fmt;

use thiserror::Error;

use super::rule::Invalid;

/// Stops the start.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum Refusal {
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// Kafka would take it, this broker cannot do it, and taking it silently would be a lie.
    #[error("{key}={value} is not supported: {why}. Allowed: {allowed}")]
    Unsupported { key: String, value: String, why: String, allowed: String },
    /// Two keys that do not go together, or a value no range can tell is wrong.
    #[error("{0}")]
    Rule(String),
}

impl Refusal {
    /// The key to blame, where it is one.
    pub(crate) fn key(&self) -> Option<&str> {
        match self {
            Refusal::Invalid(invalid) => Some(&invalid.key),
            Refusal::Unsupported { key, .. } => Some(key),
            Refusal::Rule(_) => None,
        }
    }
}

/// Does not stop the start; each is logged once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Warning {
    NoEffect {
        keys: Vec<String>,
        why: &'static str,
    },
    Unknown {
        key: String,
        advice: Option<String>,
    },
    /// A sentence on its own.
    Note(String),
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::NoEffect { keys, why } => write!(f, "{}: without effect, {why}", keys.join(", ")),
            Warning::Unknown { key, advice } => {
                let advice = advice.as_deref().unwrap_or("Kafka 3.9 does not know it either");
                write!(f, "{key}: unknown key, its value is ignored; {advice}")
            }
            Warning::Note(note) => f.write_str(note),
        }
    }
}
