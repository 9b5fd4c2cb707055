//! Values of configuration keys, read and printed as Kafka's ConfigDef reads and prints them.
//!
//! Messages are Kafka's own, word for word: tools and people search for them.

use std::fmt;

use super::key::Kind;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Boolean(bool),
    Int(i32),
    Long(i64),
    Short(i16),
    Double(f64),
    Text(String),
    List(Vec<String>),
    Class(String),
    Password(Password),
}

/// Text that does not print itself.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Password(pub(crate) String);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Password::HIDDEN)
    }
}

impl Password {
    /// What Kafka prints in place of a password.
    pub(crate) const HIDDEN: &'static str = "[hidden]";
}

impl Value {
    /// `Err` is the reason, without key and value.
    pub(crate) fn parse(kind: Kind, text: &str) -> Result<Value, String> {
        let text = java_trim(text);
        let not_a_number = || format!("Not a number of type {}", kind.kafka_name());
        match kind {
            Kind::Boolean if text.eq_ignore_ascii_case("true") => Ok(Value::Boolean(true)),
            Kind::Boolean if text.eq_ignore_ascii_case("false") => Ok(Value::Boolean(false)),
            Kind::Boolean => Err("Expected value to be either true or false".to_owned()),
            Kind::Int => text.parse().map(Value::Int).map_err(|_| not_a_number()),
            Kind::Long => text.parse().map(Value::Long).map_err(|_| not_a_number()),
            Kind::Short => text.parse().map(Value::Short).map_err(|_| not_a_number()),
            Kind::Double => java_double(text).map(Value::Double).ok_or_else(not_a_number),
            Kind::Text => Ok(Value::Text(text.to_owned())),
            Kind::List => Ok(Value::List(list(text))),
            Kind::Class => Ok(Value::Class(text.to_owned())),
            Kind::Password => Ok(Value::Password(Password(text.to_owned()))),
        }
    }

    /// As Kafka writes it into answers and znodes; `None` for null. Passwords come out in the clear.
    pub(crate) fn to_config_string(&self) -> Option<String> {
        match self {
            Value::Null => None,
            Value::Boolean(value) => Some(value.to_string()),
            Value::Int(value) => Some(value.to_string()),
            Value::Long(value) => Some(value.to_string()),
            Value::Short(value) => Some(value.to_string()),
            Value::Double(value) => Some(java_double_text(*value)),
            Value::Text(value) | Value::Class(value) => Some(value.clone()),
            Value::List(items) => Some(items.join(",")),
            Value::Password(Password(value)) => Some(value.clone()),
        }
    }

    /// For range checks; `None` for what is not a number.
    pub(crate) fn as_number(&self) -> Option<f64> {
        match self {
            Value::Int(value) => Some(f64::from(*value)),
            Value::Short(value) => Some(f64::from(*value)),
            // Java compares as double too: bounds of this size are only Long.MAX_VALUE.
            #[allow(clippy::cast_precision_loss)]
            Value::Long(value) => Some(*value as f64),
            Value::Double(value) => Some(*value),
            _ => None,
        }
    }
}

/// As messages show it: a list in brackets, a password hidden, null as the word.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("null"),
            Value::List(items) => write!(f, "[{}]", items.join(", ")),
            Value::Password(_) => f.write_str(Password::HIDDEN),
            other => f.write_str(&other.to_config_string().unwrap_or_default()),
        }
    }
}

/// `String.trim`: everything up to U+0020 goes, on both ends.
pub(crate) fn java_trim(text: &str) -> &str {
    text.trim_matches(|c| c <= ' ')
}

/// Java's `\s` within a list; the blanks of other scripts stay.
fn is_list_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\u{b}' | '\u{c}' | '\r')
}

/// Empty items stay, as in Kafka: `a,,b` has three.
fn list(text: &str) -> Vec<String> {
    if text.is_empty() {
        return Vec::new();
    }
    text.split(',').map(|item| item.trim_matches(is_list_blank).to_owned()).collect()
}

/// `Double.parseDouble`, but for its hexadecimal form: a `d` or `f` may follow, `inf` is not a number, `Infinity` is.
fn java_double(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if matches!(unsigned, "NaN" | "Infinity") {
        return text.parse().ok();
    }
    let digits = text.strip_suffix(['d', 'D', 'f', 'F']).unwrap_or(text);
    let plain = digits.chars().all(|c| c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | 'e' | 'E'));
    if plain { digits.parse().ok() } else { None }
}

/// `Double.toString`: plain from 1e-3 to below 1e7, `1.5E10` outside, always with a digit after the point.
fn java_double_text(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity".to_owned() } else { "-Infinity".to_owned() };
    }
    let magnitude = value.abs();
    let text = if magnitude == 0.0 || (1e-3..1e7).contains(&magnitude) {
        value.to_string()
    } else {
        format!("{value:E}")
    };
    let (mantissa, exponent) = text.find('E').map_or((text.as_str(), ""), |at| text.split_at(at));
    let point = if mantissa.contains('.') { "" } else { ".0" };
    format!("{mantissa}{point}{exponent}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_in_java() {
        assert_eq!(Value::parse(Kind::Int, " +5 "), Ok(Value::Int(5)));
        assert_eq!(Value::parse(Kind::Int, "2147483648"), Err("Not a number of type INT".to_owned()));
        assert_eq!(Value::parse(Kind::Short, "32768"), Err("Not a number of type SHORT".to_owned()));
        assert_eq!(Value::parse(Kind::Long, "1_000"), Err("Not a number of type LONG".to_owned()));
        assert_eq!(Value::parse(Kind::Long, ""), Err("Not a number of type LONG".to_owned()));
        assert_eq!(Value::parse(Kind::Double, "0.5d"), Ok(Value::Double(0.5)));
        assert_eq!(Value::parse(Kind::Double, "-Infinity"), Ok(Value::Double(f64::NEG_INFINITY)));
        assert_eq!(Value::parse(Kind::Double, "inf"), Err("Not a number of type DOUBLE".to_owned()));
        assert_eq!(Value::parse(Kind::Double, ".5e1"), Ok(Value::Double(5.0)));
    }

    #[test]
    fn booleans_take_any_case_and_nothing_else() {
        assert_eq!(Value::parse(Kind::Boolean, "TRUE "), Ok(Value::Boolean(true)));
        let refused = Err("Expected value to be either true or false".to_owned());
        assert_eq!(Value::parse(Kind::Boolean, "yes"), refused);
    }

    #[test]
    fn lists_keep_empty_items_and_drop_blanks_around_commas() {
        let items = |text| Value::parse(Kind::List, text);
        assert_eq!(items(" a , b,,c "), Ok(Value::List(["a", "b", "", "c"].map(str::to_owned).to_vec())));
        assert_eq!(items("  "), Ok(Value::List(Vec::new())));
    }

    /// Each expectation was printed by Double.toString of Java 17.
    #[test]
    fn doubles_print_as_in_java() {
        let printed = [
            (0.5, "0.5"),
            (1.0, "1.0"),
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (0.001, "0.001"),
            (0.000_9, "9.0E-4"),
            (9_999_999.0, "9999999.0"),
            (10_000_000.0, "1.0E7"),
            (123_456_789.25, "1.2345678925E8"),
            (f64::MAX, "1.7976931348623157E308"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ];
        for (value, text) in printed {
            assert_eq!(Value::Double(value).to_config_string().as_deref(), Some(text));
        }
    }

    #[test]
    fn a_password_never_prints_itself() {
        let secret = Value::Password(Password("hunter2".to_owned()));
        assert_eq!(format!("{secret} {secret:?}"), "[hidden] Password([hidden])");
    }
}
