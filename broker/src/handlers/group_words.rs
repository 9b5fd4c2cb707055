//! Between the words of the wire and those of the group coordinator.
//!
//! What the coordinator keeps is copied out of the request, whose buffer would stay in memory with it otherwise.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use coordinator::groups::{GroupError, Groups};
use kafka_protocol::protocol::StrBytes;

use crate::errors::WireError;
use crate::house::House;
use crate::machines::group_room::{EmptyGroupId, OFFSETS_TOPIC};
use crate::machines::partition_journal::PartitionJournal;
use crate::machines::runner::Runner;

/// The runner of one partition of the offsets topic.
pub(super) type GroupRunner = Arc<Runner<Groups, PartitionJournal>>;

/// Whoever coordinates `group` here.
pub(super) fn coordinator_of(
    house: &House,
    group: &str,
    empty: EmptyGroupId,
) -> Result<GroupRunner, GroupError> {
    house.groups.find(group, offsets_partitions(house), empty)
}

/// How many partitions the offsets topic has, or will have.
pub(super) fn offsets_partitions(house: &House) -> i32 {
    let existing = house.metadata.snapshot().topic(OFFSETS_TOPIC).map(|topic| topic.partitions.len());
    let existing = existing.and_then(|count| i32::try_from(count).ok());
    existing.unwrap_or(house.config.groups.offsets_topic_partitions)
}

pub(super) fn copied(text: &str) -> Arc<str> {
    Arc::from(text)
}

pub(super) fn copied_if(text: Option<&StrBytes>) -> Option<Arc<str>> {
    text.map(|text| Arc::from(text.as_str()))
}

pub(super) fn copied_bytes(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

/// As Java writes an address without a name: a slash, and for IPv6 all eight groups.
pub(super) fn client_host(address: IpAddr) -> Arc<str> {
    match address.to_canonical() {
        IpAddr::V4(address) => Arc::from(format!("/{address}")),
        IpAddr::V6(address) => {
            let groups: Vec<String> = address.segments().iter().map(|group| format!("{group:x}")).collect();
            Arc::from(format!("/{}", groups.join(":")))
        }
    }
}

pub(super) fn wire(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

pub(super) fn wire_if(text: Option<&Arc<str>>) -> Option<StrBytes> {
    text.map(|text| wire(text))
}

/// 0 is no error.
pub(super) fn code(result: Result<(), GroupError>) -> i16 {
    result.err().map_or(0, |error| error.wire().code())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_a_member_looks_as_in_java() {
        let host = |address: &str| client_host(address.parse().expect("an address"));
        assert_eq!(&*host("127.0.0.1"), "/127.0.0.1");
        assert_eq!(&*host("::ffff:10.0.0.1"), "/10.0.0.1");
        assert_eq!(&*host("2001:db8::1"), "/2001:db8:0:0:0:0:0:1");
    }
}
