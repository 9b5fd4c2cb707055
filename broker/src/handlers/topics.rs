//! What Kafka knows of a topic by its name alone.

pub(crate) use crate::cluster::admin::name_fault;

/// Topics of the brokers themselves, marked so in metadata and closed to ordinary producers.
pub(crate) fn is_internal(topic: &str) -> bool {
    matches!(topic, "__consumer_offsets" | "__transaction_state" | "__share_group_state")
}

/// Whether a topic may be called so.
pub(crate) fn is_valid_name(topic: &str) -> bool {
    name_fault(topic).is_none()
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
