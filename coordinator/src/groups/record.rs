//! What a partition of `__consumer_offsets` holds, byte for byte as Kafka 3.9 in ZooKeeper mode writes it.
//!
//! Key versions 0 and 1 are offsets, 2 is a group, 3 to 8 belong to consumer groups (see `consumer`); a null value is a
//! tombstone; later keys are of share groups and passed over. Written: OffsetCommitKey v1, OffsetCommitValue v3 (v1 where the client asked
//! for a retention of its own), GroupMetadataKey v2, GroupMetadataValue v3. Read: all versions 3.9.1 reads (value
//! schemas 0 to 4 both). Source: the JSON schemas in the 3.9.1 jars. Knows no group, only its words.

use std::sync::Arc;

use bytes::Bytes;
use storage::types::{LeaderEpoch, Offset, ProducerId, TimestampMs, TopicPartition};

use super::consumer::{ConsumerRecord, KEYS};
use crate::wire::{Reader, WireError, Writer};

/// `group.id`: any text, the empty one too (old simple consumers commit under it).
pub type GroupId = Arc<str>;
/// Handed out by the coordinator: the client id, or the instance id of a static member, `-` and a UUID.
pub type MemberId = Arc<str>;

/// Who commits offsets in a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransactionalProducer {
    pub id: ProducerId,
    pub epoch: i16,
}

/// One durable step of a group.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// The group as of a generation.
    Group(GroupId, GroupMetadata),
    GroupGone(GroupId),
    /// A step of a group of the new protocol (KIP-848).
    Consumer(GroupId, ConsumerRecord),
    Offset {
        group: GroupId,
        partition: TopicPartition,
        commit: OffsetCommit,
        producer: Option<TransactionalProducer>,
    },
    /// `producer` where the tombstone was itself part of a transaction; then it takes back that producer's offset only.
    OffsetGone {
        group: GroupId,
        partition: TopicPartition,
        producer: Option<ProducerId>,
    },
    /// A control record: the transaction of `producer` ended, and with it the wait of its offsets.
    TransactionEnd {
        producer: ProducerId,
        committed: bool,
    },
}

/// GroupMetadataValue.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GroupMetadata {
    /// Empty text is none.
    pub protocol_type: Option<Arc<str>>,
    pub generation: i32,
    pub protocol: Option<Arc<str>>,
    pub leader: Option<MemberId>,
    /// When the group entered its state; older coordinators did not write it.
    pub state_since: Option<TimestampMs>,
    pub members: Vec<MemberMetadata>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct MemberMetadata {
    pub member_id: MemberId,
    pub instance_id: Option<Arc<str>>,
    pub client_id: Arc<str>,
    pub client_host: Arc<str>,
    /// Unit: ms.
    pub rebalance_timeout_ms: i32,
    /// Unit: ms.
    pub session_timeout_ms: i32,
    /// What the member said of itself for the chosen protocol.
    pub subscription: Bytes,
    pub assignment: Bytes,
}

/// OffsetCommitValue: where a group is in a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetCommit {
    pub offset: Offset,
    /// `LeaderEpoch::NONE` where the client did not tell.
    pub leader_epoch: LeaderEpoch,
    pub metadata: Arc<str>,
    pub committed_at: TimestampMs,
    /// Only where a client of OffsetCommit v2 to v4 asked for a retention of its own.
    pub expires_at: Option<TimestampMs>,
}

impl Record {
    /// Key and value as they go into the log; a value of `None` is a tombstone. `None` as a whole for the end of a
    /// transaction, which its coordinator writes.
    pub fn encode(&self) -> Option<(Bytes, Option<Bytes>)> {
        match self {
            Record::Group(group, metadata) => Some((group_key(group), Some(encode_group(metadata)))),
            Record::GroupGone(group) => Some((group_key(group), None)),
            Record::Consumer(group, record) => Some(record.encode(group)),
            Record::Offset { group, partition, commit, .. } => {
                Some((offset_key(group, partition), Some(encode_offset(commit))))
            }
            Record::OffsetGone { group, partition, .. } => Some((offset_key(group, partition), None)),
            Record::TransactionEnd { .. } => None,
        }
    }

    /// Reads one record of the log. `Ok(None)`: a key that this coordinator does not know, left over from another.
    /// `producer` where the batch is transactional.
    pub fn decode(
        key: &[u8],
        value: Option<&[u8]>,
        producer: Option<TransactionalProducer>,
    ) -> Result<Option<Record>, WireError> {
        let mut key = Reader::new(key);
        match key.i16()? {
            0 | 1 => {
                let group = key.text(false)?.into();
                let topic: &str = key.text(false)?;
                let partition = TopicPartition::new(topic, key.i32()?);
                Ok(Some(match value {
                    Some(value) => {
                        Record::Offset { group, partition, commit: decode_offset(value)?, producer }
                    }
                    None => Record::OffsetGone {
                        group,
                        partition,
                        producer: producer.map(|producer| producer.id),
                    },
                }))
            }
            2 => {
                let group = key.text(false)?.into();
                Ok(Some(match value {
                    Some(value) => Record::Group(group, decode_group(value)?),
                    None => Record::GroupGone(group),
                }))
            }
            version if KEYS.contains(&version) => {
                let (group, record) = ConsumerRecord::decode(version, &mut key, value)?;
                Ok(Some(Record::Consumer(group, record)))
            }
            _ => Ok(None),
        }
    }
}

fn group_key(group: &str) -> Bytes {
    Writer::versioned(2).text(group).finish()
}

fn offset_key(group: &str, partition: &TopicPartition) -> Bytes {
    Writer::versioned(1).text(group).text(&partition.topic).i32(partition.partition).finish()
}

fn encode_offset(commit: &OffsetCommit) -> Bytes {
    match commit.expires_at {
        Some(expires_at) => Writer::versioned(1)
            .i64(commit.offset.0)
            .text(&commit.metadata)
            .i64(commit.committed_at.0)
            .i64(expires_at.0)
            .finish(),
        None => Writer::versioned(3)
            .i64(commit.offset.0)
            .i32(commit.leader_epoch.0)
            .text(&commit.metadata)
            .i64(commit.committed_at.0)
            .finish(),
    }
}

fn decode_offset(value: &[u8]) -> Result<OffsetCommit, WireError> {
    let mut value = Reader::new(value);
    let version = value.i16()?;
    if !(0..=4).contains(&version) {
        return Err(WireError::Version(version));
    }
    let offset = Offset(value.i64()?);
    let leader_epoch = if version >= 3 { LeaderEpoch(value.i32()?) } else { LeaderEpoch::NONE };
    let metadata = value.text(version >= 4)?.into();
    let committed_at = TimestampMs(value.i64()?);
    let expires_at = if version == 1 { Some(TimestampMs(value.i64()?)) } else { None };
    Ok(OffsetCommit {
        offset,
        leader_epoch,
        metadata,
        committed_at,
        expires_at: expires_at.filter(|at| *at != TimestampMs::NONE),
    })
}

fn encode_group(metadata: &GroupMetadata) -> Bytes {
    let mut out = Writer::versioned(3);
    out.text(metadata.protocol_type.as_deref().unwrap_or(""))
        .i32(metadata.generation)
        .nullable_text(metadata.protocol.as_deref())
        .nullable_text(metadata.leader.as_deref())
        .i64(metadata.state_since.unwrap_or(TimestampMs::NONE).0)
        .count(metadata.members.len());
    for member in &metadata.members {
        out.text(&member.member_id)
            .nullable_text(member.instance_id.as_deref())
            .text(&member.client_id)
            .text(&member.client_host)
            .i32(member.rebalance_timeout_ms)
            .i32(member.session_timeout_ms)
            .bytes(&member.subscription)
            .bytes(&member.assignment);
    }
    out.finish()
}

fn decode_group(value: &[u8]) -> Result<GroupMetadata, WireError> {
    let mut value = Reader::new(value);
    let version = value.i16()?;
    if !(0..=4).contains(&version) {
        return Err(WireError::Version(version));
    }
    let compact = version >= 4;
    let protocol_type = Some(value.text(compact)?).filter(|text| !text.is_empty()).map(Arc::from);
    let generation = value.i32()?;
    let protocol = value.nullable_text(compact)?.map(Arc::from);
    let leader = value.nullable_text(compact)?.map(Arc::from);
    let state_since = if version >= 2 { TimestampMs(value.i64()?) } else { TimestampMs::NONE };
    let mut members = Vec::new();
    for _ in 0..value.count(compact)? {
        members.push(decode_member(&mut value, version)?);
    }
    Ok(GroupMetadata {
        protocol_type,
        generation,
        protocol,
        leader,
        state_since: Some(state_since).filter(|since| *since != TimestampMs::NONE),
        members,
    })
}

fn decode_member(value: &mut Reader<'_>, version: i16) -> Result<MemberMetadata, WireError> {
    let compact = version >= 4;
    let member_id = value.text(compact)?.into();
    let instance_id = if version >= 3 { value.nullable_text(compact)?.map(Arc::from) } else { None };
    let client_id = value.text(compact)?.into();
    let client_host = value.text(compact)?.into();
    let rebalance_timeout_ms = if version >= 1 { Some(value.i32()?) } else { None };
    let session_timeout_ms = value.i32()?;
    let subscription = Bytes::copy_from_slice(value.bytes(compact)?);
    let assignment = Bytes::copy_from_slice(value.bytes(compact)?);
    if compact {
        value.skip_tagged_fields()?;
    }
    Ok(MemberMetadata {
        member_id,
        instance_id,
        client_id,
        client_host,
        rebalance_timeout_ms: rebalance_timeout_ms.unwrap_or(session_timeout_ms),
        session_timeout_ms,
        subscription,
        assignment,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit() -> OffsetCommit {
        OffsetCommit {
            offset: Offset(5),
            leader_epoch: LeaderEpoch::NONE,
            metadata: Arc::from("m"),
            committed_at: TimestampMs(1_795_401_262_301),
            expires_at: None,
        }
    }

    fn member() -> MemberMetadata {
        MemberMetadata {
            member_id: Arc::from("c-1"),
            instance_id: Some(Arc::from("i")),
            client_id: Arc::from("c"),
            client_host: Arc::from("/127.0.0.1"),
            rebalance_timeout_ms: 60_000,
            session_timeout_ms: 10_000,
            subscription: Bytes::from_static(b"sub"),
            assignment: Bytes::from_static(b"part"),
        }
    }

    fn group() -> GroupMetadata {
        GroupMetadata {
            protocol_type: Some(Arc::from("consumer")),
            generation: 1,
            protocol: Some(Arc::from("range")),
            leader: Some(Arc::from("c-1")),
            state_since: Some(TimestampMs(9)),
            members: vec![member()],
        }
    }

    #[test]
    fn an_offset_is_written_as_kafka_writes_it() {
        let partition = TopicPartition::new("pt", 0);
        let record = Record::Offset { group: Arc::from("pg"), partition, commit: commit(), producer: None };
        let (key, value) = record.encode().expect("durable");
        assert_eq!(&key[..], b"\0\x01\0\x02pg\0\x02pt\0\0\0\0");
        let value = value.expect("no tombstone");
        assert_eq!(
            &value[..],
            b"\0\x03\0\0\0\0\0\0\0\x05\xff\xff\xff\xff\0\x01m\0\0\x01\xa2\x06\x41\x24\xdd"
        );
        assert_eq!(Record::decode(&key, Some(&value), None), Ok(Some(record)));
    }

    #[test]
    fn an_offset_with_a_retention_of_its_own_is_written_in_version_1() {
        let expiring = OffsetCommit { expires_at: Some(TimestampMs(7)), ..commit() };
        let value = encode_offset(&expiring);
        assert_eq!(&value[..2], b"\0\x01");
        assert_eq!(decode_offset(&value), Ok(expiring));
    }

    #[test]
    fn an_empty_group_is_written_as_kafka_writes_it() {
        let metadata =
            GroupMetadata { protocol: None, leader: None, members: Vec::new(), generation: 2, ..group() };
        let (key, value) = Record::Group(Arc::from("pg"), metadata).encode().expect("durable");
        assert_eq!(&key[..], b"\0\x02\0\x02pg");
        let value = value.expect("no tombstone");
        assert_eq!(&value[..], b"\0\x03\0\x08consumer\0\0\0\x02\xff\xff\xff\xff\0\0\0\0\0\0\0\x09\0\0\0\0");
    }

    #[test]
    fn groups_of_all_versions_are_read() {
        let mut old = Writer::versioned(0);
        old.text("consumer").i32(1).text("range").text("c-1").count(1);
        old.text("c-1").text("c").text("/h").i32(10_000).bytes(b"sub").bytes(b"part");
        let read = decode_group(&old.finish()).expect("version 0");
        assert_eq!(read.state_since, None);
        assert_eq!(read.members.first().map(|member| member.rebalance_timeout_ms), Some(10_000));

        let flexible = b"\0\x04\x09consumer\0\0\0\x01\x06range\x04c-1\0\0\0\0\0\0\0\x09\x02\
            \x04c-1\x02i\x02c\x0b/127.0.0.1\0\0\xea\x60\0\0\x27\x10\x04sub\x05part\0\0";
        assert_eq!(decode_group(flexible), Ok(group()));
        assert_eq!(decode_group(&encode_group(&group())), Ok(group()));
        assert_eq!(decode_group(b"\0\x05"), Err(WireError::Version(5)));
    }

    #[test]
    fn a_broken_record_is_an_error_and_a_foreign_one_is_passed_over() {
        let (key, value) = Record::Group(Arc::from("g"), group()).encode().expect("durable");
        let value = value.expect("no tombstone");
        for end in 0..value.len() {
            assert!(decode_group(&value[..end]).is_err(), "cut at {end}");
        }
        assert!(Record::decode(&key[..3], Some(&value), None).is_err());
        assert_eq!(Record::decode(b"\0\x09\0\x01g", None, None), Ok(None));
        assert_eq!(Record::decode(&key, None, None), Ok(Some(Record::GroupGone(Arc::from("g")))));
    }
}
