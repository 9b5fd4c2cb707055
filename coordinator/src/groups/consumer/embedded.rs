//! What classic consumers say inside JoinGroup and SyncGroup: ConsumerProtocolSubscription and -Assignment.
//!
//! Every version is the front part of the next one, so a newer one than ours is read as ours (KIP-429, KIP-792,
//! KIP-881). Source: the JSON schemas in the 3.9.1 jars, versions 0 to 3.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use super::assignors::Assignment;
use super::topics::Topics;
use crate::wire::{Reader, WireError, Writer};

const VERSION_MAX: i16 = 3;

/// Partitions by topic, as a member lists them.
pub(super) type NamedPartitions = Vec<(Arc<str>, Vec<i32>)>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EmbeddedSubscription {
    pub(super) version: i16,
    pub(super) topics: BTreeSet<Arc<str>>,
    pub(super) owned: NamedPartitions,
    pub(super) rack_id: Option<Arc<str>>,
}

fn version(reader: &mut Reader<'_>) -> Result<i16, WireError> {
    match reader.i16()? {
        version if version < 0 => Err(WireError::Version(version)),
        version => Ok(version.min(VERSION_MAX)),
    }
}

fn partitions(reader: &mut Reader<'_>) -> Result<NamedPartitions, WireError> {
    let mut all = Vec::new();
    for _ in 0..reader.count(false)? {
        let topic = reader.text(false)?.into();
        let mut partitions = Vec::new();
        for _ in 0..reader.count(false)? {
            partitions.push(reader.i32()?);
        }
        all.push((topic, partitions));
    }
    Ok(all)
}

pub(super) fn read_subscription(metadata: &[u8]) -> Result<EmbeddedSubscription, WireError> {
    let mut reader = Reader::new(metadata);
    let version = version(&mut reader)?;
    let mut topics = BTreeSet::new();
    for _ in 0..reader.count(false)? {
        topics.insert(reader.text(false)?.into());
    }
    reader.nullable_bytes()?;
    let owned = if version >= 1 { partitions(&mut reader)? } else { Vec::new() };
    if version >= 2 {
        reader.i32()?;
    }
    let rack_id =
        if version >= 3 { reader.nullable_text(false)?.filter(|text| !text.is_empty()) } else { None };
    Ok(EmbeddedSubscription { version, topics, owned, rack_id: rack_id.map(Arc::from) })
}

/// Partitions of topics that exist, in their ids.
pub(super) fn read_assignment(bytes: &[u8], topics: &dyn Topics) -> Result<Assignment, WireError> {
    let mut reader = Reader::new(bytes);
    version(&mut reader)?;
    let named = partitions(&mut reader)?;
    reader.nullable_bytes()?;
    let mut assignment = Assignment::new();
    for (name, partitions) in named {
        if let Some(id) = topics.id(&name).filter(|_| !partitions.is_empty()) {
            assignment.entry(id).or_default().extend(partitions);
        }
    }
    Ok(assignment)
}

/// In the version that the member speaks; topics that are gone are left out.
pub(super) fn write_assignment(version: i16, assignment: &Assignment, topics: &dyn Topics) -> Bytes {
    let named: Vec<_> = assignment.iter().filter_map(|(id, it)| Some((topics.name(*id)?, it))).collect();
    let mut out = Writer::versioned(version);
    out.count(named.len());
    for (name, partitions) in named {
        out.text(&name).count(partitions.len());
        for partition in partitions {
            out.i32(*partition);
        }
    }
    // No user data.
    out.i32(-1).finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subscriptions_are_read_in_any_version() {
        let front = |version| {
            let mut out = Writer::versioned(version);
            out.count(2).text("a").text("b").i32(-1);
            out
        };
        let topics: BTreeSet<Arc<str>> = [Arc::from("a"), Arc::from("b")].into();
        let plain = read_subscription(&front(0).finish()).expect("version 0");
        assert_eq!((plain.topics, plain.owned, plain.rack_id), (topics.clone(), Vec::new(), None));
        let newest =
            front(9).count(1).text("a").count(2).i32(0).i32(3).i32(7).nullable_text(Some("r")).finish();
        let newest = read_subscription(&newest).expect("a newer version");
        assert_eq!(newest.version, 3);
        assert_eq!((newest.topics, newest.rack_id), (topics, Some(Arc::from("r"))));
        assert_eq!(newest.owned, [(Arc::from("a"), vec![0, 3])]);
        for broken in [&b""[..], &[0, 1, 0, 0, 0, 1], &[0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0]] {
            assert!(read_subscription(broken).is_err());
        }
    }
}
