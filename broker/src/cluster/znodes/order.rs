//! The order in which Kafka's JSON lists the members of its hash maps.
//!
//! Kafka serialises Scala and Java hash maps as they iterate. Members come in the same order here, so that a node
//! rewritten by either broker differs only where its content does. Readers never depend on it.

/// Java's `String.hashCode`.
fn hash_code(text: &str) -> i32 {
    text.encode_utf16().fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

/// Both maps mix the high half of the hash into the low one.
fn mixed(hash: i32) -> i32 {
    hash ^ (hash.cast_unsigned() >> 16).cast_signed()
}

/// Buckets of a table that began with 16 and doubles when an insertion finds `limit(count, buckets)` true.
fn buckets(entries: usize, full: impl Fn(usize, usize) -> bool) -> u32 {
    let mut buckets = 16_usize;
    for count in 1..=entries {
        if full(count, buckets) {
            buckets *= 2;
        }
    }
    u32::try_from(buckets).unwrap_or(u32::MAX)
}

fn bucket(hash: i32, buckets: u32) -> u32 {
    hash.cast_unsigned() & (buckets - 1)
}

/// Sorts as a `scala.collection.mutable.HashMap` (2.13) iterates: by bucket, then by hash.
pub(super) fn as_scala_map<V>(entries: &mut [(String, V)]) {
    let buckets = buckets(entries.len(), |count, buckets| count >= buckets * 3 / 4);
    entries.sort_by_key(|(key, _)| {
        let hash = mixed(hash_code(key));
        (bucket(hash, buckets), hash)
    });
}

/// Sorts as `java.util.Properties` iterates: by bucket, then as inserted.
pub(super) fn as_properties<V>(entries: &mut [(String, V)]) {
    // Same growth as Scala's: the table doubles once three quarters are taken.
    let buckets = buckets(entries.len(), |count, buckets| count >= buckets * 3 / 4);
    entries.sort_by_key(|(key, _)| bucket(mixed(hash_code(key)) & i32::MAX, buckets));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_order(keys: &[&str], sort: impl Fn(&mut [(String, ())])) -> Vec<String> {
        let mut entries: Vec<_> = keys.iter().map(|key| ((*key).to_owned(), ())).collect();
        sort(&mut entries);
        entries.into_iter().map(|(key, ())| key).collect()
    }

    fn reversed<'a>(keys: &[&'a str]) -> Vec<&'a str> {
        keys.iter().rev().copied().collect()
    }

    #[test]
    fn scala_maps_come_in_the_captured_order() {
        let registration = [
            "features",
            "listener_security_protocol_map",
            "endpoints",
            "rack",
            "jmx_port",
            "port",
            "host",
            "version",
            "timestamp",
        ];
        assert_eq!(in_order(&reversed(&registration), as_scala_map), registration);

        let partitions: Vec<String> = (0..100).map(|index| index.to_string()).collect();
        let partitions: Vec<&str> = partitions.iter().map(String::as_str).collect();
        let sorted = in_order(&partitions, as_scala_map);
        // Captured from Apache 3.9.1 with 100 partitions.
        let captured =
            ["88", "89", "90", "91", "92", "93", "94", "95", "96", "97", "10", "98", "11", "99", "12"];
        assert_eq!(sorted[..15], captured);
        assert_eq!(sorted[99], "87");
    }

    #[test]
    fn properties_come_in_the_captured_order() {
        let captured = [
            "cleanup.policy",
            "segment.ms",
            "segment.bytes",
            "min.cleanable.dirty.ratio",
            "delete.retention.ms",
        ];
        let inserted = [
            "segment.ms",
            "delete.retention.ms",
            "segment.bytes",
            "cleanup.policy",
            "min.cleanable.dirty.ratio",
        ];
        assert_eq!(in_order(&inserted, as_properties), captured);
        let captured = [
            "compression.type",
            "cleanup.policy",
            "min.insync.replicas",
            "segment.bytes",
            "unclean.leader.election.enable",
        ];
        assert_eq!(in_order(&reversed(&captured), as_properties), captured);
        let captured = ["SCRAM-SHA-512", "SCRAM-SHA-256", "producer_byte_rate"];
        assert_eq!(in_order(&reversed(&captured), as_properties), captured);
    }
}
