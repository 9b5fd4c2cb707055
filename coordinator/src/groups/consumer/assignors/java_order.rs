//! The order in which Java's hash tables hand out their keys, as far as Kafka's plans depend on it.
//!
//! A table has a power of two of places; a key's place is its hash, folded, modulo that. Keys of one place come in the
//! order in which they were put there. Source: the contract of `String.hashCode` and `Objects.hash` in the Java
//! platform's documentation, and what OpenJDK's tables do. A place with eight keys or more, which Java keeps as a
//! tree, is not rebuilt.

use storage::types::TopicId;

/// `items`, given in the order they were put in, in the order a table with `table` places hands them out.
pub(in super::super) fn in_hash_order<T>(
    items: impl IntoIterator<Item = T>,
    hash: impl Fn(&T) -> i32,
    table: usize,
) -> Vec<T> {
    let mut items: Vec<T> = items.into_iter().collect();
    items.sort_by_key(|item| {
        let hash = hash(item).cast_unsigned();
        (hash ^ (hash >> 16)) as usize & (table - 1)
    });
    items
}

/// Places of a table that grew one by one to `count` keys.
pub(in super::super) fn table_grown(count: usize) -> usize {
    let mut places: usize = 16;
    while count > places / 4 * 3 {
        places *= 2;
    }
    places
}

/// Places of a set that was made as a copy of `count` keys.
pub(super) fn table_copied(count: usize) -> usize {
    // `count / 0.75 + 1`, rounded down, and never less than 16.
    (count * 4 / 3 + 1).max(16).next_power_of_two()
}

/// `String.hashCode`.
pub(in super::super) fn text_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

/// `Uuid.hashCode` of Kafka's clients.
pub(super) fn topic_hash(topic: &TopicId) -> i32 {
    let mut words = topic
        .0
        .chunks_exact(4)
        .map(|word| i32::from_be_bytes([0, 1, 2, 3].map(|at| word.get(at).copied().unwrap_or_default())));
    words.by_ref().fold(0, |hash, word| hash ^ word)
}

/// `Objects.hash` of a topic and a partition.
pub(super) fn partition_hash((topic, partition): &(TopicId, i32)) -> i32 {
    31_i32.wrapping_add(topic_hash(topic)).wrapping_mul(31).wrapping_add(*partition)
}

/// `String.compareTo`: by UTF-16 units.
pub(super) fn compare_texts(one: &str, other: &str) -> std::cmp::Ordering {
    one.encode_utf16().cmp(other.encode_utf16())
}
