//! `KAFKA_OPTS`: the options that operators hand to the Java machine of Apache's broker.
//!
//! The login file and the TLS settings of the ZooKeeper client are system properties there, so they are looked for
//! here too. Everything else in the variable concerns Java and is not read.

use std::collections::BTreeMap;

/// System properties, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct JavaOptions(BTreeMap<String, String>);

impl JavaOptions {
    pub(crate) fn from_environment() -> JavaOptions {
        JavaOptions::parse(&std::env::var("KAFKA_OPTS").unwrap_or_default())
    }

    /// Words apart as the start script's shell takes them apart: at white space, without quoting. The last of equal
    /// names wins.
    pub(crate) fn parse(text: &str) -> JavaOptions {
        let definitions = text.split_whitespace().filter_map(|word| word.strip_prefix("-D"));
        let pair = |definition: &str| match definition.split_once('=') {
            Some((name, value)) => (name.to_owned(), value.to_owned()),
            None => (definition.to_owned(), String::new()),
        };
        JavaOptions(definitions.map(pair).collect())
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// As Java reads booleans: only `true`, in any case, is true.
    pub(crate) fn boolean(&self, name: &str, default: bool) -> bool {
        self.get(name).map_or(default, |value| value.eq_ignore_ascii_case("true"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_are_found_among_other_options() {
        let options = JavaOptions::parse("-Xmx1G -Da.b=c=d\n-Dflag  -Da.b=e -verbose:gc");
        assert_eq!(options.get("a.b"), Some("e"));
        assert_eq!(options.get("flag"), Some(""));
        assert_eq!(options.get("verbose:gc"), None);
    }

    #[test]
    fn only_true_is_true() {
        let options = JavaOptions::parse("-Dyes=TRUE -Dno=1");
        assert!(
            options.boolean("yes", false) && !options.boolean("no", true) && options.boolean("absent", true)
        );
    }
}
