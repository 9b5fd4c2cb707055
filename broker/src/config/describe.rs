//! What DescribeConfigs answers: every value with where it comes from and what else could have set it.
//!
//! The order of synonyms is the order of precedence; passwords never leave.

use super::BrokerConfig;
use super::dynamic::dynamic_only;
use super::key::{Key, Update, Visibility};
use super::layers::{listener_key, synonyms};
use super::properties::Properties;
use super::table;
use super::table::topic;
use super::value::Value;

/// Where a value was set. The numbers are those on the wire (KIP-226).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Topic = 1,
    /// `/config/brokers/ID`.
    DynamicBroker = 2,
    /// `/config/brokers/<default>`.
    DynamicCluster = 3,
    /// The file.
    Static = 4,
    Default = 5,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Described {
    pub(crate) name: String,
    /// `None` for null, and for what must not be shown.
    pub(crate) value: Option<String>,
    pub(crate) source: Source,
    /// Passwords, and keys nobody knows.
    pub(crate) sensitive: bool,
    pub(crate) read_only: bool,
    /// Code of the type (KIP-569); 0 is "unknown".
    pub(crate) kind: i8,
    pub(crate) synonyms: Vec<Synonym>,
    /// `None` for keys nobody knows.
    pub(crate) documentation: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Synonym {
    pub(crate) name: String,
    pub(crate) value: Option<String>,
    pub(crate) source: Source,
}

/// The row of a key, also where it is only dynamic or given for one listener.
fn row(name: &str) -> Option<&'static Key> {
    let of_listener = || {
        let (_, base) = listener_key(name)?;
        table::find(base).or_else(|| table::find(base.split_once('.')?.1))
    };
    table::find(name).or_else(|| dynamic_only(name)).or_else(of_listener)
}

fn is_sensitive(row: Option<&Key>) -> bool {
    row.is_none_or(|key| key.kind == super::key::Kind::Password)
}

impl BrokerConfig {
    /// Everything this broker has: the public keys of the table, and whatever else was given.
    pub(crate) fn describe_broker(&self) -> Vec<Described> {
        let public = table::all().filter(|key| key.visibility != Visibility::Internal).map(|key| key.name);
        let given = self.settings.given().keys().map(String::as_str);
        let mut names: Vec<&str> = public.chain(given).collect();
        names.sort_unstable();
        names.dedup();
        names.into_iter().map(|name| self.describe_one(name)).collect()
    }

    /// The dynamic defaults of the cluster, as an empty broker name asks for them.
    pub(crate) fn describe_cluster(&self) -> Vec<Described> {
        let described = self.layers.cluster.keys().map(|name| {
            let mut one = self.describe_one(name);
            one.synonyms.retain(|synonym| synonym.source == Source::DynamicCluster);
            one.source = Source::DynamicCluster;
            one.value = if one.sensitive { None } else { self.layers.cluster.get(name).cloned() };
            one
        });
        described.collect()
    }

    /// `overrides` as they lie in ZooKeeper.
    pub(crate) fn describe_topic(&self, overrides: &Properties) -> Vec<Described> {
        let (values, _) = self.topic_values(overrides);
        let describe = |key: &'static Key| {
            let value = values.get(key.name).and_then(Value::to_config_string);
            let own = overrides.get(key.name).map(|_| Synonym {
                name: key.name.to_owned(),
                value: value.clone(),
                source: Source::Topic,
            });
            let of_broker = topic::broker_key(key.name).map_or_else(Vec::new, |name| self.synonyms_of(name));
            let synonyms: Vec<Synonym> = own.into_iter().chain(of_broker).collect();
            Described {
                name: key.name.to_owned(),
                value,
                source: synonyms.first().map_or(Source::Default, |first| first.source),
                sensitive: false,
                read_only: false,
                kind: key.kind.wire_code(),
                synonyms,
                documentation: Some(key.documentation()),
            }
        };
        topic::KEYS.iter().map(describe).collect()
    }

    fn describe_one(&self, name: &str) -> Described {
        let row = row(name);
        let sensitive = is_sensitive(row);
        let value = match table::find(name).filter(|key| key.visibility != Visibility::Internal) {
            Some(key) => self.settings.value(key.name).to_config_string(),
            None => self.settings.given().get(name).cloned(),
        };
        let synonyms = self.synonyms_of(name);
        Described {
            name: name.to_owned(),
            value: value.filter(|_| !sensitive),
            source: synonyms.first().map_or(Source::Default, |first| first.source),
            sensitive,
            read_only: table::find(name).is_none_or(|key| key.update == Update::ReadOnly),
            kind: row.map_or(0, |key| key.kind.wire_code()),
            synonyms,
            documentation: table::find(name).map(Key::documentation),
        }
    }

    /// Everything that sets `name`, strongest first, from the first that sets it under its own name.
    fn synonyms_of(&self, name: &str) -> Vec<Synonym> {
        let mut names: Vec<&str> = synonyms(name).to_vec();
        if names.is_empty() {
            names.push(name);
            names.extend(row(name).map(|key| key.name).filter(|base| *base != name));
        }
        let hidden = is_sensitive(row(name));
        let synonym = |name: &str, value: &str, source: Source| Synonym {
            name: name.to_owned(),
            value: (!hidden).then(|| value.to_owned()),
            source,
        };
        let layers = [
            (&self.layers.broker, Source::DynamicBroker),
            (&self.layers.cluster, Source::DynamicCluster),
            (&self.layers.file, Source::Static),
        ];
        let mut found = Vec::new();
        for (layer, source) in layers {
            found.extend(names.iter().filter_map(|name| Some(synonym(name, layer.get(*name)?, source))));
        }
        let defaults = names.iter().filter_map(|name| Some((*name, table::find(name)?.default?)));
        found.extend(defaults.map(|(name, value)| synonym(name, value, Source::Default)));
        found.into_iter().skip_while(|synonym| synonym.name != name).collect()
    }
}
