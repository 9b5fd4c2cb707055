//! What Kafka knows of a topic by its name alone.

/// Longest name. Unit: bytes (all of them ASCII).
const NAME_SIZE_MAX: usize = 249;

/// Topics of the brokers themselves, marked so in metadata and closed to ordinary producers.
pub(crate) fn is_internal(topic: &str) -> bool {
    matches!(topic, "__consumer_offsets" | "__transaction_state" | "__share_group_state")
}

/// Whether a topic may be called so.
pub(crate) fn is_valid_name(topic: &str) -> bool {
    name_fault(topic).is_none()
}

/// Why a topic may not be called so, in Kafka's words.
pub(crate) fn name_fault(topic: &str) -> Option<String> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    // Kafka counts UTF-16 units here.
    let length = topic.encode_utf16().count();
    match topic {
        "" => Some("the empty string is not allowed".to_owned()),
        "." | ".." => Some(format!("'{topic}' is not allowed")),
        _ if length > NAME_SIZE_MAX => {
            Some(format!("the length of '{topic}' is longer than the max allowed length {NAME_SIZE_MAX}"))
        }
        _ if !topic.bytes().all(legal) => Some(format!(
            "'{topic}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_kafka_allows() {
        assert!(is_valid_name("my.Topic_1-x"));
        assert!(is_valid_name(&"x".repeat(249)));
        for refused in ["", ".", "..", "a b", "ü", "a/b"] {
            assert!(!is_valid_name(refused), "{refused}");
        }
        assert!(!is_valid_name(&"x".repeat(250)));
    }
}
