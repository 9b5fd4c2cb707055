//! Checks a value against the rule of its key. The reasons are Kafka's, word for word.

use std::fmt;

use super::key::{Key, Rule};
use super::value::Value;
use super::version::KafkaVersion;

/// A value that its key does not take, in Kafka's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Invalid value {value} for configuration {key}: {reason}")]
pub(crate) struct Invalid {
    pub(crate) key: String,
    /// As given, or as understood where it was understood; a password is hidden.
    pub(crate) value: String,
    pub(crate) reason: String,
}

impl Key {
    /// Type and range. What this broker makes of the value is not asked here.
    pub(crate) fn parse(&self, text: &str) -> Result<Value, Invalid> {
        let value = Value::parse(self.kind, text).map_err(|reason| Invalid {
            key: self.name.to_owned(),
            value: text.to_owned(),
            reason,
        })?;
        self.check(&value)?;
        Ok(value)
    }

    /// The default as a value. The table's own tests keep every default readable.
    pub(crate) fn default_value(&self) -> Value {
        self.default.map_or(Value::Null, |text| {
            Value::parse(self.kind, text).unwrap_or_else(|why| panic!("default of {}: {why}", self.name))
        })
    }

    fn check(&self, value: &Value) -> Result<(), Invalid> {
        let broken = self.rule.broken_by(self.name, value);
        broken.map_or(Ok(()), |(shown, reason)| {
            Err(Invalid { key: self.name.to_owned(), value: shown, reason })
        })
    }
}

impl Rule {
    /// The offending value and the reason.
    fn broken_by(self, name: &str, value: &Value) -> Option<(String, String)> {
        let whole = |reason: String| Some((value.to_string(), reason));
        match (self, value) {
            (Rule::AtLeast(min), value) => {
                let number = value.as_number()?;
                if number < min { whole(format!("Value must be at least {min}")) } else { None }
            }
            (Rule::Between(min, max), value) => {
                let number = value.as_number()?;
                if number < min {
                    whole(format!("Value must be at least {min}"))
                } else if number > max {
                    whole(format!("Value must be no more than {max}"))
                } else {
                    None
                }
            }
            (Rule::OneOf(allowed), Value::Text(text)) if !allowed.contains(&text.as_str()) => {
                whole(format!("String must be one of: {}", allowed.join(", ")))
            }
            (Rule::OneOfIgnoringCase(allowed), Value::Text(text)) => {
                let known = allowed.iter().any(|one| one.eq_ignore_ascii_case(text));
                let reason = || format!("String must be one of (case insensitive): {}", allowed.join(", "));
                if known { None } else { whole(reason()) }
            }
            (Rule::EachOneOf(allowed), Value::List(items)) => {
                let stranger = items.iter().find(|item| !allowed.contains(&item.as_str()))?;
                Some((stranger.clone(), format!("String must be one of: {}", allowed.join(", "))))
            }
            (Rule::NonEmpty, Value::Text(text)) if text.is_empty() => {
                whole("String must be non-empty".to_owned())
            }
            (Rule::KafkaVersion, Value::Text(text)) if KafkaVersion::parse(text).is_none() => {
                whole(format!("Version {text} is not a valid version"))
            }
            (Rule::GzipLevel, Value::Int(level)) if *level != -1 && !(1..=9).contains(level) => {
                whole("Value must be between 1 and 9 or equal to -1".to_owned())
            }
            (Rule::PoolSize, Value::Int(size)) if *size < -1 || *size == 0 => {
                whole("Value can be -1 or greater than 0".to_owned())
            }
            (Rule::ThrottledReplicas, Value::List(items)) if !throttled_replicas(items) => whole(format!(
                "{name} must be the literal '*' or a list of replicas in the following format: \
                 [partitionId]:[brokerId],[partitionId]:[brokerId],..."
            )),
            _ => None,
        }
    }
}

/// As Kafka's own documentation of its keys shows it; empty where anything goes.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rule::Any => Ok(()),
            Rule::AtLeast(min) => write!(f, "[{min},...]"),
            Rule::Between(min, max) => write!(f, "[{min},...,{max}]"),
            Rule::OneOf(allowed) | Rule::EachOneOf(allowed) => write!(f, "[{}]", allowed.join(", ")),
            Rule::OneOfIgnoringCase(allowed) => write!(f, "(case insensitive) [{}]", allowed.join(", ")),
            Rule::NonNull => f.write_str("non-null string"),
            Rule::NonEmpty => f.write_str("non-empty string"),
            Rule::KafkaVersion => write!(f, "[{}]", KafkaVersion::all().join(", ")),
            Rule::GzipLevel => f.write_str("[1,...,9] or -1"),
            Rule::PoolSize => f.write_str("[1,...] or -1"),
            Rule::ThrottledReplicas => f.write_str("[partitionId]:[brokerId],[partitionId]:[brokerId],..."),
        }
    }
}

fn throttled_replicas(items: &[String]) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let replica = |item: &String| {
        let item = item.trim();
        item.is_empty() || item.split_once(':').is_some_and(|(left, right)| digits(left) && digits(right))
    };
    items.iter().all(replica) || items.concat().trim() == "*"
}
