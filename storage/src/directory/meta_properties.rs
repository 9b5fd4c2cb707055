//! `meta.properties`: which broker of which cluster owns a log directory.
//!
//! Java's properties syntax, as far as a file of this kind uses it. Keys we do not know are kept.

use std::io;
use std::path::Path;

use crate::calendar::Moment;
use crate::disk::{Disk, read_file};
use crate::error::StorageError;
use crate::types::TimestampMs;

/// Largest file we read. Unit: bytes.
const SIZE_MAX: u64 = 1 << 20;

pub(crate) const FILE_NAME: &str = "meta.properties";

/// Content of `meta.properties`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetaProperties {
    /// 0 with ZooKeeper; 1 with KRaft, where `broker_id` is written as `node.id`.
    pub version: i32,
    pub broker_id: Option<i32>,
    pub cluster_id: Option<String>,
    /// Keys of other Kafka versions, such as `directory.id`.
    pub others: Vec<(String, String)>,
}

/// `None` where the file is missing.
pub(crate) fn read(disk: &dyn Disk, path: &Path) -> Result<Option<MetaProperties>, StorageError> {
    match read_file(disk, path, SIZE_MAX) {
        Ok(content) => match MetaProperties::parse(&content) {
            Ok(properties) => Ok(Some(properties)),
            Err(reason) => Err(StorageError::corrupt(path, 0, reason)),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StorageError::io("read", path)(error)),
    }
}

impl MetaProperties {
    /// `Err`: what is wrong with it.
    pub(super) fn parse(content: &[u8]) -> Result<MetaProperties, String> {
        let text = str::from_utf8(content).map_err(|_| "not UTF-8 text".to_string())?;
        let mut properties = MetaProperties::default();
        for line in text.lines() {
            let line = line.trim_start();
            if line.is_empty() || line.starts_with(['#', '!']) {
                continue;
            }
            let (key, value) = split(line);
            match key.as_str() {
                "version" => properties.version = number(&key, &value)?,
                "broker.id" | "node.id" => properties.broker_id = Some(number(&key, &value)?),
                "cluster.id" => properties.cluster_id = Some(value),
                _ => properties.others.push((key, value)),
            }
        }
        match properties.version {
            0 | 1 => Ok(properties),
            other => Err(format!("unknown version {other}, expected 0 or 1")),
        }
    }

    /// In the order in which Java's hash table happens to write these keys.
    pub(super) fn encode(&self, now: TimestampMs) -> String {
        let mut text = format!("#\n#{}\n", java_date(now));
        let mut line = |key: &str, value: &str| {
            text.push_str(&format!("{}={}\n", escape(key), escape(value)));
        };
        let id_key = if self.version == 0 { "broker.id" } else { "node.id" };
        if let Some(id) = self.broker_id {
            line(id_key, &id.to_string());
        }
        for (key, value) in &self.others {
            line(key, value);
        }
        line("version", &self.version.to_string());
        if let Some(cluster) = &self.cluster_id {
            line("cluster.id", cluster);
        }
        text
    }
}

fn number(key: &str, value: &str) -> Result<i32, String> {
    value.trim().parse().map_err(|_| format!("{key}={value} is not a number"))
}

/// Key and value with escapes resolved; the first `=`, `:` or blank that is not escaped separates them.
fn split(line: &str) -> (String, String) {
    let mut key = String::new();
    let mut rest = line.chars();
    while let Some(character) = rest.next() {
        match character {
            '\\' => key.extend(rest.next().map(unescape)),
            '=' | ':' | ' ' | '\t' => break,
            other => key.push(other),
        }
    }
    let mut value = String::new();
    let mut rest = rest.as_str().trim_start_matches([' ', '\t', '=', ':']).chars();
    while let Some(character) = rest.next() {
        match character {
            '\\' => value.extend(rest.next().map(unescape)),
            other => value.push(other),
        }
    }
    (key, value)
}

fn unescape(character: char) -> char {
    match character {
        't' => '\t',
        'n' => '\n',
        'r' => '\r',
        'f' => '\u{c}',
        other => other,
    }
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\\' | '=' | ':' | '#' | '!' | ' ' => escaped.extend(['\\', character]),
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\t' => escaped.push_str("\\t"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// `java.util.Date.toString` in UTC: `Mon Nov 23 02:11:44 UTC 2026`.
fn java_date(now: TimestampMs) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let Moment { year, month, day, weekday, hour, minute, second, .. } = Moment::of(now);
    let day_name = DAYS.get(usize::from(weekday)).copied().unwrap_or_default();
    let month_name = MONTHS.get(usize::from(month) - 1).copied().unwrap_or_default();
    format!("{day_name} {month_name} {day:02} {hour:02}:{minute:02}:{second:02} UTC {year}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn apaches_file_is_read_and_written_back_alike() {
        let text =
            "#\n#Mon Nov 23 02:11:44 UTC 2026\nbroker.id=1\nversion=0\ncluster.id=4jbJC9r7SJm9JRlRrl4vLw\n";

        let properties = MetaProperties::parse(text.as_bytes()).expect("parsed");

        assert_eq!(properties.broker_id, Some(1));
        assert_eq!(properties.cluster_id.as_deref(), Some("4jbJC9r7SJm9JRlRrl4vLw"));
        assert_eq!(properties.encode(TimestampMs(1_795_399_904_000)), text);
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(java_date(TimestampMs(0)), "Thu Jan 01 00:00:00 UTC 1970");
        assert_eq!(java_date(TimestampMs(951_782_400_000)), "Tue Feb 29 00:00:00 UTC 2000");
        assert_eq!(java_date(TimestampMs(1_709_164_800_000)), "Thu Feb 29 00:00:00 UTC 2024");
    }

    #[test]
    fn a_number_that_is_none_is_refused() {
        assert!(MetaProperties::parse(b"broker.id=one").is_err());
        assert!(MetaProperties::parse(b"version=9").is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(content in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = MetaProperties::parse(&content);
        }

        #[test]
        fn what_is_written_is_read_back(broker in any::<i32>(), cluster in "[ -~]{1,30}") {
            let cluster = cluster.trim_start().to_string();
            let properties = MetaProperties {
                broker_id: Some(broker), cluster_id: Some(cluster), ..MetaProperties::default()
            };
            let written = properties.encode(TimestampMs(0));
            prop_assert_eq!(MetaProperties::parse(written.as_bytes()), Ok(properties));
        }
    }
}
