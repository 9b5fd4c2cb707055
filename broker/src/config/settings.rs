//! One value for every row of the table, readable by type.
//!
//! A name that is not in the table, or is read as another type than its row's, is a mistake of this program.

use std::collections::BTreeMap;
use std::time::Duration;

use super::key::Key;
use super::properties::Properties;
use super::rule::Invalid;
use super::table;
use super::value::Value;

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    values: BTreeMap<&'static str, Value>,
    given: Properties,
}

impl Settings {
    /// Where a value cannot be read, the default stands in for it, so that later checks find what else is wrong.
    pub(crate) fn read(given: Properties) -> (Settings, Vec<Invalid>) {
        let mut invalid = Vec::new();
        let mut read = |key: &'static Key| {
            let value = match given.get(key.name).map(|text| key.parse(text)) {
                Some(Ok(value)) => value,
                Some(Err(why)) => {
                    invalid.push(why);
                    key.default_value()
                }
                None => key.default_value(),
            };
            (key.name, value)
        };
        let values = table::all().map(&mut read).collect();
        (Settings { values, given }, invalid)
    }

    pub(crate) fn value(&self, name: &str) -> &Value {
        self.values.get(name).unwrap_or_else(|| panic!("{name} is not in the table"))
    }

    /// As written, whether or not a row knows it.
    pub(crate) fn given(&self) -> &Properties {
        &self.given
    }

    pub(crate) fn is_given(&self, name: &str) -> bool {
        self.given.contains_key(name)
    }

    pub(crate) fn boolean(&self, name: &str) -> bool {
        match self.value(name) {
            Value::Boolean(value) => *value,
            other => panic!("{name} is {other:?}, not a boolean"),
        }
    }

    /// Int, short and long alike; `None` for null.
    pub(crate) fn integer_or_null(&self, name: &str) -> Option<i64> {
        match self.value(name) {
            Value::Null => None,
            Value::Int(value) => Some(i64::from(*value)),
            Value::Short(value) => Some(i64::from(*value)),
            Value::Long(value) => Some(*value),
            other => panic!("{name} is {other:?}, not a whole number"),
        }
    }

    pub(crate) fn long(&self, name: &str) -> i64 {
        self.integer_or_null(name).unwrap_or_else(|| panic!("{name} has no default"))
    }

    pub(crate) fn int(&self, name: &str) -> i32 {
        match self.value(name) {
            Value::Int(value) => *value,
            other => panic!("{name} is {other:?}, not an int"),
        }
    }

    pub(crate) fn short(&self, name: &str) -> i16 {
        match self.value(name) {
            Value::Short(value) => *value,
            other => panic!("{name} is {other:?}, not a short"),
        }
    }

    /// Negative numbers, which the table allows for a few keys, become zero.
    pub(crate) fn size(&self, name: &str) -> usize {
        usize::try_from(self.long(name)).unwrap_or(0)
    }

    /// As [`size`](Self::size), of a key of type int.
    pub(crate) fn count(&self, name: &str) -> u32 {
        u32::try_from(self.int(name)).unwrap_or(0)
    }

    pub(crate) fn number(&self, name: &str) -> f64 {
        self.value(name).as_number().unwrap_or_else(|| panic!("{name} is not a number"))
    }

    /// A key in ms, with negative numbers as zero.
    pub(crate) fn millis(&self, name: &str) -> Duration {
        millis(self.long(name))
    }

    /// `None` for null.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        match self.value(name) {
            Value::Null => None,
            Value::Text(value) | Value::Class(value) => Some(value),
            other => panic!("{name} is {other:?}, not a text"),
        }
    }
}

/// Negative is zero.
pub(crate) fn millis(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}
