//! What a topic may be called.

/// Unit: characters.
const LENGTH_MAX: usize = 249;

/// Why the name is refused, in the words of Kafka's answer; `None` where it is fine.
pub(crate) fn invalid_topic_name(name: &str) -> Option<String> {
    name_fault(name).map(|fault| format!("Topic name is invalid: {fault}"))
}

/// What is wrong with the name, in Kafka's words; `None` where it is fine.
pub(crate) fn name_fault(name: &str) -> Option<String> {
    match name {
        "" => Some("the empty string is not allowed".to_owned()),
        "." | ".." => Some(format!("'{name}' is not allowed")),
        // Kafka counts UTF-16 units here.
        _ if name.encode_utf16().count() > LENGTH_MAX => {
            Some(format!("the length of '{name}' is longer than the max allowed length {LENGTH_MAX}"))
        }
        _ if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) => {
            Some(format!(
                "'{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
            ))
        }
        _ => None,
    }
}

/// Metric names make no difference between `.` and `_`.
pub(crate) fn has_collision_characters(name: &str) -> bool {
    name.contains(['.', '_'])
}

/// Whether two names differ in `.` and `_` only, or not at all.
pub(crate) fn collide(one: &str, other: &str) -> bool {
    one.len() == other.len()
        && one.bytes().zip(other.bytes()).all(|(a, b)| a == b || (b"._".contains(&a) && b"._".contains(&b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_refused_in_kafkas_words() {
        assert_eq!(invalid_topic_name("a.b_C-9"), None);
        assert_eq!(invalid_topic_name(&"x".repeat(249)), None);
        let refused = |name: &str| invalid_topic_name(name).expect("refused");
        assert_eq!(refused(""), "Topic name is invalid: the empty string is not allowed");
        assert_eq!(refused("."), "Topic name is invalid: '.' is not allowed");
        assert!(refused(&"x".repeat(250)).ends_with("' is longer than the max allowed length 249"));
        assert_eq!(
            refused("a b"),
            "Topic name is invalid: 'a b' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
        );
    }

    #[test]
    fn dots_and_underscores_collide() {
        assert!(collide("a.b", "a_b"));
        assert!(!collide("a.b", "a-b"));
        assert!(has_collision_characters("a.b") && !has_collision_characters("ab"));
    }
}
