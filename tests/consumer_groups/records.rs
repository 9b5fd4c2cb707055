//! What a conversation has left of its group in `__consumer_offsets`: the same records, byte for byte, as with Apache, so that
//! either coordinator can take the other's groups over. Topic ids, times and ids that a broker made up are shown as such.

use std::fmt::Write as _;

use bytes::Bytes;

use crate::asking::Conversation;
use crate::support::records::now_ms;
use crate::support::talk::all_records;

const OFFSETS_TOPIC: &str = "__consumer_offsets";
/// As all tests have it.
const PARTITIONS: i32 = 5;
const DAY_MS: i64 = 86_400_000;
/// GroupMetadata, version 3, of a classic group that nobody has joined yet: no kind of protocol, generation 0, no protocol, no
/// leader. Apache's coordinator in KRaft mode notes it when somebody asks to join; the one on ZooKeeper does not, nor does ours.
const NOBODY_YET: [u8; 12] = [0, 3, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff];

/// Keeps the records of `group` as an answer. `hidden`: bytes that no other broker would write, and what they are.
///
/// They stay in their order, but for those of one kind that follow each other: Apache writes what it has to say of several members
/// in the order of a hash table, whose keys are ids that it made up.
pub(crate) fn note(talk: &mut Conversation, group: &str, hidden: &[(&[u8], &str)]) {
    let broker = talk.broker;
    let mut shown: Vec<(String, String)> = Vec::new();
    for partition in 0..PARTITIONS {
        for record in all_records(&mut broker.connect(), OFFSETS_TOPIC, partition) {
            let key = record.key.unwrap_or_default();
            let nobody_yet = record.value.as_ref().is_some_and(|value| value.starts_with(&NOBODY_YET));
            if is_about(&key, group) && !nobody_yet {
                let value = record.value.map_or_else(|| "nothing".to_owned(), |value| hex(&value, hidden));
                shown.push((hex(&key, hidden), value));
            }
        }
    }
    assert!(!shown.is_empty(), "records of {group}");
    // Stable: what is said of one member again and again keeps its order.
    shown
        .chunk_by_mut(|(one, _), (next, _)| kind(one) == kind(next))
        .for_each(|run| run.sort_by(|(a, _), (b, _)| a.cmp(b)));
    let lines: Vec<String> = shown.into_iter().map(|(key, value)| format!("{key} = {value}")).collect();
    talk.note(&format!("the records of {group}"), lines.join("\n            "));
}

/// The version of a key, in hex.
fn kind(key: &str) -> &str {
    key.get(..4).unwrap_or(key)
}

/// A key is its version, the group, and what else it is about; texts have their length before them.
fn is_about(key: &Bytes, group: &str) -> bool {
    let length = u16::try_from(group.len()).expect("short").to_be_bytes();
    key.get(2..).is_some_and(|key| key.starts_with(&[&length[..], group.as_bytes()].concat()))
}

/// In words of four bytes: no row of digits is long enough to be taken for a time.
fn hex(bytes: &[u8], hidden: &[(&[u8], &str)]) -> String {
    let now = now_ms();
    let mut in_word = 0;
    let mut shown = String::new();
    let mut rest = bytes;
    while let Some((first, tail)) = rest.split_first() {
        let number = rest.first_chunk().map(|eight| i64::from_be_bytes(*eight));
        let is_time = number.is_some_and(|number| (now - DAY_MS..now + DAY_MS).contains(&number));
        if let Some((value, name)) = hidden.iter().find(|(value, _)| rest.starts_with(value)) {
            let _ = write!(shown, " {name} ");
            rest = &rest[value.len()..];
        } else if is_time {
            shown.push_str(" time ");
            rest = &rest[8..];
        } else {
            let gap = if in_word == 4 { " " } else { "" };
            let _ = write!(shown, "{gap}{first:02x}");
            in_word = in_word % 4 + 1;
            rest = tail;
        }
    }
    shown
}
