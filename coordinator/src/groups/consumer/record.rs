//! What `__consumer_offsets` holds of consumer groups (KIP-848), byte for byte as Kafka 3.9 in KRaft mode writes it.
//!
//! Keys 3 to 8, values of version 0, which is flexible; a null value is a tombstone. Source: the JSON schemas in the
//! 3.9.1 jars. Topics and partitions are written in ascending order, where Kafka has the order of its tables. Tagged
//! fields of a later version are passed over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use storage::types::TopicId;

use super::assignors::Assignment;
use super::topics::TopicInfo;
use crate::groups::record::MemberId;
use crate::wire::{Reader, WireError, Writer};

/// The keys that belong to a consumer group.
pub(in crate::groups) const KEYS: std::ops::RangeInclusive<i16> = 3..=8;

const EPOCH: i16 = 3;
const TOPICS: i16 = 4;
const MEMBER: i16 = 5;
const PLAN_EPOCH: i16 = 6;
const PLAN: i16 = 7;
const CURRENT: i16 = 8;

/// ConsumerGroupMemberMetadataValue's tag of what a classic member said.
const CLASSIC_TAG: u32 = 0;

/// One durable step of a consumer group; `None` takes back what was written before.
#[derive(Clone, Debug, PartialEq)]
pub enum ConsumerRecord {
    /// ConsumerGroupMetadata: the group is there, and this is its epoch.
    Epoch(Option<i32>),
    /// ConsumerGroupPartitionMetadata: the topics it subscribes to, by name, as the plan knows them.
    Topics(Option<BTreeMap<Arc<str>, TopicInfo>>),
    /// ConsumerGroupMemberMetadata: what a member said of itself.
    Member(MemberId, Option<Arc<Subscription>>),
    /// ConsumerGroupTargetAssignmentMetadata: the group epoch that the plan is for.
    PlanEpoch(Option<i32>),
    /// ConsumerGroupTargetAssignmentMember: what a member shall have.
    Plan(MemberId, Option<Arc<Assignment>>),
    /// ConsumerGroupCurrentMemberAssignment: what a member has.
    Current(MemberId, Option<Current>),
}

/// What a member says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    pub instance_id: Option<Arc<str>>,
    pub rack_id: Option<Arc<str>>,
    pub client_id: Arc<str>,
    pub client_host: Arc<str>,
    pub topics: BTreeSet<Arc<str>>,
    /// Not used by clients of 3.9; kept as it came.
    pub regex: Option<Arc<str>>,
    /// Unit: ms.
    pub rebalance_timeout_ms: i32,
    pub assignor: Option<Arc<str>>,
    /// Set where the member speaks the classic protocol.
    pub classic: Option<ClassicSubscription>,
}

impl Default for Subscription {
    fn default() -> Self {
        Subscription {
            instance_id: None,
            rack_id: None,
            client_id: Arc::from(""),
            client_host: Arc::from(""),
            topics: BTreeSet::new(),
            regex: Some(Arc::from("")),
            rebalance_timeout_ms: -1,
            assignor: None,
            classic: None,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClassicSubscription {
    /// Unit: ms.
    pub session_timeout_ms: i32,
    /// Name and metadata, the preferred one first.
    pub protocols: Vec<(Arc<str>, Bytes)>,
}

/// Where a member is on the way from one plan to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberState {
    /// Has all it shall have by the plan of its epoch.
    Stable,
    /// Still has to give up partitions before it takes the next epoch.
    Unrevoked,
    /// Waits for partitions that others have not given up.
    Unreleased,
    /// Written by a newer coordinator.
    Unknown,
}

impl MemberState {
    fn code(self) -> i8 {
        match self {
            MemberState::Stable => 0,
            MemberState::Unrevoked => 1,
            MemberState::Unreleased => 2,
            MemberState::Unknown => 127,
        }
    }

    fn read(code: i8) -> MemberState {
        match code {
            0 => MemberState::Stable,
            1 => MemberState::Unrevoked,
            2 => MemberState::Unreleased,
            _ => MemberState::Unknown,
        }
    }
}

/// What a member has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Current {
    pub epoch: i32,
    pub previous_epoch: i32,
    pub state: MemberState,
    pub assigned: Assignment,
    /// Taken from it by the plan, and not yet given up.
    pub revoked: Assignment,
}

impl Default for Current {
    /// Of a member that has just come.
    fn default() -> Self {
        Current {
            epoch: 0,
            previous_epoch: -1,
            state: MemberState::Stable,
            assigned: Assignment::new(),
            revoked: Assignment::new(),
        }
    }
}

impl ConsumerRecord {
    /// Whether it is a tombstone.
    pub(in crate::groups) fn takes_back(&self) -> bool {
        matches!(
            self,
            ConsumerRecord::Epoch(None)
                | ConsumerRecord::Topics(None)
                | ConsumerRecord::Member(_, None)
                | ConsumerRecord::PlanEpoch(None)
                | ConsumerRecord::Plan(_, None)
                | ConsumerRecord::Current(_, None)
        )
    }

    pub(in crate::groups) fn encode(&self, group: &str) -> (Bytes, Option<Bytes>) {
        let key = |version: i16, member: Option<&str>| {
            let mut key = Writer::versioned(version);
            key.text(group);
            if let Some(member) = member {
                key.text(member);
            }
            key.finish()
        };
        match self {
            ConsumerRecord::Epoch(epoch) => (key(EPOCH, None), epoch.map(encode_number)),
            ConsumerRecord::Topics(topics) => (key(TOPICS, None), topics.as_ref().map(encode_topics)),
            ConsumerRecord::Member(member, it) => {
                (key(MEMBER, Some(member)), it.as_deref().map(encode_subscription))
            }
            ConsumerRecord::PlanEpoch(epoch) => (key(PLAN_EPOCH, None), epoch.map(encode_number)),
            ConsumerRecord::Plan(member, plan) => {
                let value = plan.as_ref().map(|plan| {
                    let mut out = Writer::versioned(0);
                    write_assignment(&mut out, plan);
                    out.no_tags().finish()
                });
                (key(PLAN, Some(member)), value)
            }
            ConsumerRecord::Current(member, current) => {
                (key(CURRENT, Some(member)), current.as_ref().map(encode_current))
            }
        }
    }

    /// `key` behind its version, which is one of [`KEYS`].
    pub(in crate::groups) fn decode(
        version: i16,
        key: &mut Reader<'_>,
        value: Option<&[u8]>,
    ) -> Result<(Arc<str>, ConsumerRecord), WireError> {
        let group = key.text(false)?.into();
        let mut value = match value {
            Some(value) => Some(versioned(value)?),
            None => None,
        };
        let value = value.as_mut();
        let record = match version {
            EPOCH => ConsumerRecord::Epoch(value.map(|value| value.i32()).transpose()?),
            TOPICS => ConsumerRecord::Topics(value.map(decode_topics).transpose()?),
            PLAN_EPOCH => ConsumerRecord::PlanEpoch(value.map(|value| value.i32()).transpose()?),
            MEMBER => {
                let member = key.text(false)?.into();
                ConsumerRecord::Member(member, value.map(decode_subscription).transpose()?.map(Arc::new))
            }
            PLAN => {
                let member = key.text(false)?.into();
                ConsumerRecord::Plan(member, value.map(read_assignment).transpose()?.map(Arc::new))
            }
            CURRENT => {
                let member = key.text(false)?.into();
                ConsumerRecord::Current(member, value.map(decode_current).transpose()?)
            }
            other => return Err(WireError::Version(other)),
        };
        Ok((group, record))
    }
}

fn versioned(value: &[u8]) -> Result<Reader<'_>, WireError> {
    let mut value = Reader::new(value);
    match value.i16()? {
        0 => Ok(value),
        other => Err(WireError::Version(other)),
    }
}

fn encode_number(number: i32) -> Bytes {
    Writer::versioned(0).i32(number).no_tags().finish()
}

fn write_assignment(out: &mut Writer, assignment: &Assignment) {
    out.compact_count(assignment.len());
    for (topic, partitions) in assignment {
        out.uuid(&topic.0).compact_count(partitions.len());
        for partition in partitions {
            out.i32(*partition);
        }
        out.no_tags();
    }
}

fn read_assignment(value: &mut Reader<'_>) -> Result<Assignment, WireError> {
    let mut assignment = Assignment::new();
    for _ in 0..value.count(true)? {
        let topic = TopicId(value.uuid()?);
        let mut partitions = BTreeSet::new();
        for _ in 0..value.count(true)? {
            partitions.insert(value.i32()?);
        }
        value.skip_tagged_fields()?;
        if !partitions.is_empty() {
            assignment.insert(topic, partitions);
        }
    }
    Ok(assignment)
}

fn encode_topics(topics: &BTreeMap<Arc<str>, TopicInfo>) -> Bytes {
    let mut out = Writer::versioned(0);
    out.compact_count(topics.len());
    for (name, topic) in topics {
        out.uuid(&topic.id.0).compact_text(name).i32(topic.partitions).compact_count(topic.racks.len());
        for (partition, racks) in &topic.racks {
            out.i32(*partition).compact_count(racks.len());
            for rack in racks {
                out.compact_text(rack);
            }
            out.no_tags();
        }
        out.no_tags();
    }
    out.no_tags().finish()
}

fn decode_topics(value: &mut Reader<'_>) -> Result<BTreeMap<Arc<str>, TopicInfo>, WireError> {
    let mut topics = BTreeMap::new();
    for _ in 0..value.count(true)? {
        let id = TopicId(value.uuid()?);
        let name = value.text(true)?.into();
        let partitions = value.i32()?;
        let mut racks = BTreeMap::new();
        for _ in 0..value.count(true)? {
            let partition = value.i32()?;
            let mut of_partition = BTreeSet::new();
            for _ in 0..value.count(true)? {
                of_partition.insert(value.text(true)?.into());
            }
            value.skip_tagged_fields()?;
            racks.insert(partition, of_partition);
        }
        value.skip_tagged_fields()?;
        topics.insert(name, TopicInfo { id, partitions, racks });
    }
    Ok(topics)
}

fn encode_subscription(it: &Subscription) -> Bytes {
    let mut out = Writer::versioned(0);
    out.nullable_compact_text(it.instance_id.as_deref())
        .nullable_compact_text(it.rack_id.as_deref())
        .compact_text(&it.client_id)
        .compact_text(&it.client_host)
        .compact_count(it.topics.len());
    for topic in &it.topics {
        out.compact_text(topic);
    }
    out.nullable_compact_text(it.regex.as_deref())
        .i32(it.rebalance_timeout_ms)
        .nullable_compact_text(it.assignor.as_deref());
    // The field's default is an empty struct, so that it has to be said that there is none.
    if it.classic != Some(ClassicSubscription::default()) {
        let field = encode_classic(it.classic.as_ref());
        out.uvarint(1)
            .uvarint(CLASSIC_TAG)
            .uvarint(u32::try_from(field.len()).unwrap_or(u32::MAX))
            .raw(&field);
    } else {
        out.no_tags();
    }
    out.finish()
}

/// A nullable struct: a number before it says whether it is there.
fn encode_classic(it: Option<&ClassicSubscription>) -> Bytes {
    let mut out = Writer::unversioned();
    let Some(it) = it else { return out.uvarint(0).finish() };
    out.uvarint(1).i32(it.session_timeout_ms).compact_count(it.protocols.len());
    for (name, metadata) in &it.protocols {
        out.compact_text(name).compact_bytes(metadata).no_tags();
    }
    out.no_tags().finish()
}

fn decode_subscription(value: &mut Reader<'_>) -> Result<Subscription, WireError> {
    let text = |value: &mut Reader<'_>| Ok(value.nullable_text(true)?.map(Arc::from));
    let instance_id = text(value)?;
    let rack_id = text(value)?;
    let client_id = value.text(true)?.into();
    let client_host = value.text(true)?.into();
    let mut topics = BTreeSet::new();
    for _ in 0..value.count(true)? {
        topics.insert(value.text(true)?.into());
    }
    let regex = text(value)?;
    let rebalance_timeout_ms = value.i32()?;
    let assignor = text(value)?;
    let mut classic = Some(ClassicSubscription::default());
    for _ in 0..value.uvarint()? {
        let tag = value.uvarint()?;
        let field = value.sized()?;
        if tag == CLASSIC_TAG {
            classic = decode_classic(field)?;
        }
    }
    Ok(Subscription {
        instance_id,
        rack_id,
        client_id,
        client_host,
        topics,
        regex,
        rebalance_timeout_ms,
        assignor,
        classic,
    })
}

fn decode_classic(field: &[u8]) -> Result<Option<ClassicSubscription>, WireError> {
    let mut field = Reader::new(field);
    if field.uvarint()? == 0 {
        return Ok(None);
    }
    let session_timeout_ms = field.i32()?;
    let mut protocols = Vec::new();
    for _ in 0..field.count(true)? {
        let name = field.text(true)?.into();
        protocols.push((name, Bytes::copy_from_slice(field.bytes(true)?)));
        field.skip_tagged_fields()?;
    }
    Ok(Some(ClassicSubscription { session_timeout_ms, protocols }))
}

fn encode_current(it: &Current) -> Bytes {
    let mut out = Writer::versioned(0);
    out.i32(it.epoch).i32(it.previous_epoch).i8(it.state.code());
    write_assignment(&mut out, &it.assigned);
    write_assignment(&mut out, &it.revoked);
    out.no_tags().finish()
}

fn decode_current(value: &mut Reader<'_>) -> Result<Current, WireError> {
    Ok(Current {
        epoch: value.i32()?,
        previous_epoch: value.i32()?,
        state: MemberState::read(value.i8()?),
        assigned: read_assignment(value)?,
        revoked: read_assignment(value)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn back(record: &ConsumerRecord) -> (Arc<str>, ConsumerRecord) {
        let (key, value) = record.encode("g");
        let mut key = Reader::new(&key);
        let version = key.i16().expect("a version");
        assert!(KEYS.contains(&version));
        ConsumerRecord::decode(version, &mut key, value.as_deref()).expect("our own record")
    }

    #[test]
    fn every_record_reads_back_as_it_was_written() {
        let assignment: Assignment =
            [(TopicId([7; 16]), [0, 3].into()), (TopicId([9; 16]), [300].into())].into();
        let racks = [(0, [Arc::from("a"), Arc::from("b")].into())].into();
        let info = TopicInfo { id: TopicId([7; 16]), partitions: 4, racks };
        let classic = ClassicSubscription {
            session_timeout_ms: 10_000,
            protocols: vec![(Arc::from("range"), Bytes::from_static(b"m"))],
        };
        let subscription = Subscription {
            instance_id: Some(Arc::from("i")),
            topics: [Arc::from("orders")].into(),
            assignor: Some(Arc::from("uniform")),
            classic: Some(classic),
            ..Subscription::default()
        };
        let current = Current {
            epoch: 5,
            previous_epoch: 4,
            state: MemberState::Unrevoked,
            assigned: assignment.clone(),
            revoked: [(TopicId([7; 16]), [1].into())].into(),
        };
        let member: MemberId = Arc::from("m");
        for record in [
            ConsumerRecord::Epoch(Some(7)),
            ConsumerRecord::Epoch(None),
            ConsumerRecord::Topics(Some([(Arc::from("orders"), info)].into())),
            ConsumerRecord::Topics(None),
            ConsumerRecord::Member(Arc::clone(&member), Some(Arc::new(Subscription::default()))),
            ConsumerRecord::Member(Arc::clone(&member), Some(Arc::new(subscription))),
            ConsumerRecord::Member(Arc::clone(&member), None),
            ConsumerRecord::PlanEpoch(Some(7)),
            ConsumerRecord::PlanEpoch(None),
            ConsumerRecord::Plan(Arc::clone(&member), Some(Arc::new(assignment))),
            ConsumerRecord::Plan(Arc::clone(&member), None),
            ConsumerRecord::Current(Arc::clone(&member), Some(current)),
            ConsumerRecord::Current(member, None),
        ] {
            assert_eq!(back(&record), (Arc::from("g"), record));
        }
    }
}
