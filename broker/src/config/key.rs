//! What is known about one configuration key: its type, default, range, importance, and what this broker does with it.
//!
//! Rows are data: parsing, messages, DescribeConfigs and `broker check` are all read off them.
//! Nothing here knows a file or a value that somebody gave.

/// How a value is written. The names in `kafka_name` appear in messages and are Kafka's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Boolean,
    /// 32 bits.
    Int,
    /// 64 bits.
    Long,
    /// 16 bits.
    Short,
    Double,
    Text,
    /// Separated by commas, blanks around them dropped.
    List,
    /// Name of a Java class.
    Class,
    /// Text that never appears in a log or an answer.
    Password,
}

impl Kind {
    pub(crate) fn kafka_name(self) -> &'static str {
        match self {
            Kind::Boolean => "BOOLEAN",
            Kind::Int => "INT",
            Kind::Long => "LONG",
            Kind::Short => "SHORT",
            Kind::Double => "DOUBLE",
            Kind::Text => "STRING",
            Kind::List => "LIST",
            Kind::Class => "CLASS",
            Kind::Password => "PASSWORD",
        }
    }

    /// Code of the type in DescribeConfigs answers (KIP-569); 0 is "unknown".
    pub(crate) fn wire_code(self) -> i8 {
        match self {
            Kind::Boolean => 1,
            Kind::Text => 2,
            Kind::Int => 3,
            Kind::Short => 4,
            Kind::Long => 5,
            Kind::Double => 6,
            Kind::List => 7,
            Kind::Class => 8,
            Kind::Password => 9,
        }
    }
}

/// Which values of its type a key takes. Bounds are inclusive.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Rule {
    Any,
    AtLeast(f64),
    Between(f64, f64),
    OneOf(&'static [&'static str]),
    OneOfIgnoringCase(&'static [&'static str]),
    /// Every item of a list.
    EachOneOf(&'static [&'static str]),
    NonNull,
    NonEmpty,
    /// `0.8.0` to `4.0-IV1`.
    KafkaVersion,
    /// 1 to 9, or -1.
    GzipLevel,
    /// -1 or above 0.
    PoolSize,
    /// `*` or `partition:broker,...`.
    ThrottledReplicas,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Importance {
    High,
    Medium,
    Low,
}

impl Importance {
    pub(crate) fn kafka_name(self) -> &'static str {
        match self {
            Importance::High => "high",
            Importance::Medium => "medium",
            Importance::Low => "low",
        }
    }
}

/// Whether and at which level a key can be changed while the broker runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Update {
    ReadOnly,
    PerBroker,
    ClusterWide,
}

impl Update {
    pub(crate) fn kafka_name(self) -> &'static str {
        match self {
            Update::ReadOnly => "read-only",
            Update::PerBroker => "per-broker",
            Update::ClusterWide => "cluster-wide",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Visibility {
    Public,
    /// Kafka leaves these out of documentation, and of DescribeConfigs unless they are set.
    Internal,
    /// Not Kafka's: a key that only this broker knows.
    Ours,
}

/// What this broker does with a value that was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Treatment {
    /// Does what the documentation says.
    Honoured,
    /// Taken, without effect; one warning at the start gives the reason.
    NoEffect(&'static str),
    /// Anything but the default stops the start, for this reason.
    OnlyDefault(&'static str),
    /// Anything but the default and these values stops the start, for this reason.
    Only(&'static [&'static str], &'static str),
}

/// One row of the table.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// As it would be written in a file; `None` is Kafka's null.
    pub(crate) default: Option<&'static str>,
    pub(crate) rule: Rule,
    pub(crate) importance: Importance,
    pub(crate) update: Update,
    pub(crate) visibility: Visibility,
    pub(crate) treatment: Treatment,
    pub(crate) about: &'static str,
}

impl Treatment {
    /// One word for a list.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Treatment::Honoured => "honoured",
            Treatment::NoEffect(_) => "no effect",
            Treatment::OnlyDefault(_) => "default only",
            Treatment::Only(..) => "few values",
        }
    }
}

impl Key {
    /// For people: what the key is for, and what this broker does with it where that is not the same.
    pub(crate) fn documentation(&self) -> String {
        match self.treatment {
            Treatment::Honoured => self.about.to_owned(),
            Treatment::NoEffect(why) => format!("{} Without effect here: {why}.", self.about),
            Treatment::OnlyDefault(why) | Treatment::Only(_, why) => {
                format!("{} Allowed here: {}; {why}.", self.about, self.allowed())
            }
        }
    }

    /// The values that do not stop the start, for a message.
    pub(crate) fn allowed(&self) -> String {
        let default = match self.default {
            None | Some("") => "leave it out".to_owned(),
            Some(default) => default.to_owned(),
        };
        match self.treatment {
            Treatment::Only(others, _) => {
                let others = others.iter().filter(|other| **other != default);
                others.fold(default.clone(), |text, other| format!("{text}, {other}"))
            }
            _ => default,
        }
    }
}

/// Writes rows in one dense form:
/// `"name": Type = default, rule, importance, update => treatment, "about";`
macro_rules! keys {
    (@visibility) => { Public };
    (@visibility $visibility:ident) => { $visibility };
    ($($([$visibility:ident])? $name:literal: $kind:ident = $default:expr, $rule:expr, $importance:ident,
        $update:ident => $treatment:expr, $about:literal;)*) => {
        &[$({
            #[allow(unused_imports)]
            use $crate::config::key::{
                Importance::*, Kind::*, Rule::*, Treatment::*, Update::*, Visibility::*,
            };
            $crate::config::key::Key {
                name: $name,
                kind: $kind,
                default: $default,
                rule: $rule,
                importance: $importance,
                update: $update,
                visibility: keys!(@visibility $($visibility)?),
                treatment: $treatment,
                about: $about,
            }
        }),*]
    };
}
pub(crate) use keys;
