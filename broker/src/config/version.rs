//! Kafka's versions as `inter.broker.protocol.version` and `log.message.format.version` name them.
//!
//! Two spellings name one version: `3.9-IV0` in full, `3.9` for the newest released step of 3.9.

/// A step of Kafka's protocol and record format; later steps compare greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct KafkaVersion(usize);

/// Every step Kafka 3.9.1 knows, oldest first.
const STEPS: [&str; 57] = [
    "0.8.0",
    "0.8.1",
    "0.8.2",
    "0.9.0",
    "0.10.0-IV0",
    "0.10.0-IV1",
    "0.10.1-IV0",
    "0.10.1-IV1",
    "0.10.1-IV2",
    "0.10.2-IV0",
    "0.11.0-IV0",
    "0.11.0-IV1",
    "0.11.0-IV2",
    "1.0-IV0",
    "1.1-IV0",
    "2.0-IV0",
    "2.0-IV1",
    "2.1-IV0",
    "2.1-IV1",
    "2.1-IV2",
    "2.2-IV0",
    "2.2-IV1",
    "2.3-IV0",
    "2.3-IV1",
    "2.4-IV0",
    "2.4-IV1",
    "2.5-IV0",
    "2.6-IV0",
    "2.7-IV0",
    "2.7-IV1",
    "2.7-IV2",
    "2.8-IV0",
    "2.8-IV1",
    "3.0-IV0",
    "3.0-IV1",
    "3.1-IV0",
    "3.2-IV0",
    "3.3-IV0",
    "3.3-IV1",
    "3.3-IV2",
    "3.3-IV3",
    "3.4-IV0",
    "3.5-IV0",
    "3.5-IV1",
    "3.5-IV2",
    "3.6-IV0",
    "3.6-IV1",
    "3.6-IV2",
    "3.7-IV0",
    "3.7-IV1",
    "3.7-IV2",
    "3.7-IV3",
    "3.7-IV4",
    "3.8-IV0",
    "3.9-IV0",
    "4.0-IV0",
    "4.0-IV1",
];

impl KafkaVersion {
    /// What this broker speaks unless it is told otherwise.
    pub(crate) const V3_9: KafkaVersion = KafkaVersion(STEPS.len() - 3);

    /// Every version in full, oldest first.
    pub(super) fn all() -> &'static [&'static str] {
        &STEPS
    }

    /// `3.9`, `3.9-IV0`, `3.9.1` and `0.10.2.1` are understood, as by Kafka. `4.0` alone is not: 3.9.1 had not released it.
    pub(crate) fn parse(text: &str) -> Option<KafkaVersion> {
        let segments = if text.starts_with("0.") { 3 } else { 2 };
        let end = text.match_indices('.').nth(segments - 1).map_or(text.len(), |(at, _)| at);
        let name = &text[..end];
        if let Some(step) = STEPS.iter().position(|step| *step == name) {
            return Some(KafkaVersion(step));
        }
        let release =
            |step: &str| step.split_once("-IV").map_or(step == name, |(release, _)| release == name);
        let newest = STEPS.iter().rposition(|step| release(step))?;
        (!STEPS[newest].starts_with("4.0")).then_some(KafkaVersion(newest))
    }

    /// Whether this is `step`, named in full, or a later one.
    pub(crate) fn has_reached(self, step: &str) -> bool {
        STEPS.iter().position(|other| *other == step).is_some_and(|step| self.0 >= step)
    }

    /// Whether both are steps of one release.
    pub(super) fn is_of_release(self, other: KafkaVersion) -> bool {
        let release = |version: KafkaVersion| STEPS[version.0].split("-IV").next();
        release(self) == release(other)
    }
}

impl std::fmt::Display for KafkaVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(STEPS[self.0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_by_every_spelling_kafka_takes() {
        let found = |text| KafkaVersion::parse(text).map(|version| version.to_string());
        assert_eq!(found("3.9").as_deref(), Some("3.9-IV0"));
        assert_eq!(found("3.9.1").as_deref(), Some("3.9-IV0"));
        assert_eq!(found("3.7").as_deref(), Some("3.7-IV4"));
        assert_eq!(found("0.10.2.1").as_deref(), Some("0.10.2-IV0"));
        assert_eq!(found("0.8.2").as_deref(), Some("0.8.2"));
        assert_eq!(found("4.0-IV0").as_deref(), Some("4.0-IV0"));
        for unknown in ["4.0", "3", "", "3.9-IV7", "0.10", "x"] {
            assert_eq!(found(unknown), None, "{unknown}");
        }
        assert!(KafkaVersion::parse("2.8") < KafkaVersion::parse("3.0"));
        assert_eq!(KafkaVersion::parse("3.9"), Some(KafkaVersion::V3_9));
    }
}
