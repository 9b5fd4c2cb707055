//! Records of the internal topics, in words.

use std::sync::Arc;

use coordinator::groups::consumer::assignors::Assignment;
use coordinator::groups::consumer::{ConsumerRecord, Current, Subscription, TopicInfo};
use coordinator::groups::{GroupMetadata, MemberMetadata, OffsetCommit, Record as GroupRecord};
use coordinator::transactions::{Metadata, Record as TransactionRecord};
use serde_json::{Value, json};
use storage::batch::Record;

use super::output::Cell;

const OFFSETS_TOPIC: &str = "__consumer_offsets";
const TRANSACTIONS_TOPIC: &str = "__transaction_state";

/// Key and value of a record of `topic`; `None` where it is no internal topic, or the record not of a kind we know.
pub(super) fn decode(topic: &str, record: &Record) -> Option<(Cell, Cell)> {
    let (key, value) = (record.key.as_deref()?, record.value.as_deref());
    let (key, value) = match topic {
        OFFSETS_TOPIC => group(GroupRecord::decode(key, value, None).ok()??)?,
        TRANSACTIONS_TOPIC => transaction(TransactionRecord::decode(key, value).ok()??),
        _ => return None,
    };
    Some((Cell::Fields(key), value.map_or(Cell::Data(None), Cell::Fields)))
}

fn group(record: GroupRecord) -> Option<(Value, Option<Value>)> {
    let of_offset = |group: Arc<str>, partition: storage::types::TopicPartition| json!({ "record": "offset", "group": &*group, "topic": &*partition.topic, "partition": partition.partition });
    Some(match record {
        GroupRecord::Offset { group, partition, commit, .. } => {
            (of_offset(group, partition), Some(offset(&commit)))
        }
        GroupRecord::OffsetGone { group, partition, .. } => (of_offset(group, partition), None),
        GroupRecord::Group(group, metadata) => {
            (json!({ "record": "group", "group": &*group }), Some(members(&metadata)))
        }
        GroupRecord::GroupGone(group) => (json!({ "record": "group", "group": &*group }), None),
        GroupRecord::Consumer(group, record) => consumer_group(&group, &record),
        GroupRecord::TransactionEnd { .. } => return None,
    })
}

/// Groups of the new protocol (KIP-848).
fn consumer_group(group: &str, record: &ConsumerRecord) -> (Value, Option<Value>) {
    let of_group = |kind: &str| json!({ "record": kind, "group": group });
    let of_member = |kind: &str, member: &str| json!({ "record": kind, "group": group, "member_id": member });
    match record {
        ConsumerRecord::Epoch(epoch) => {
            (of_group("consumer group"), epoch.map(|epoch| json!({ "epoch": epoch })))
        }
        ConsumerRecord::Topics(topics) => {
            let topic = |(name, topic): (&Arc<str>, &TopicInfo)| {
                let racks = topic.racks.iter().map(|(partition, racks)| {
                    json!({ "partition": partition, "racks": racks.iter().map(|it| &**it).collect::<Vec<_>>() })
                });
                json!({
                    "topic": &**name,
                    "topic_id": topic.id.to_string(),
                    "partitions": topic.partitions,
                    "racks": racks.collect::<Vec<_>>(),
                })
            };
            let topics = topics.as_ref().map(|topics| topics.iter().map(topic).collect::<Vec<_>>());
            (of_group("subscribed topics"), topics.map(|topics| json!({ "topics": topics })))
        }
        ConsumerRecord::Member(member, it) => (of_member("member", member), it.as_deref().map(subscription)),
        ConsumerRecord::PlanEpoch(epoch) => {
            (of_group("target assignment"), epoch.map(|epoch| json!({ "epoch": epoch })))
        }
        ConsumerRecord::Plan(member, plan) => {
            (of_member("target assignment", member), plan.as_ref().map(|plan| assignment(plan)))
        }
        ConsumerRecord::Current(member, it) => {
            (of_member("current assignment", member), it.as_ref().map(current))
        }
    }
}

fn subscription(it: &Subscription) -> Value {
    json!({
        "instance_id": it.instance_id.as_deref(),
        "rack_id": it.rack_id.as_deref(),
        "client_id": &*it.client_id,
        "client_host": &*it.client_host,
        "topics": it.topics.iter().map(|topic| &**topic).collect::<Vec<_>>(),
        "rebalance_timeout_ms": it.rebalance_timeout_ms,
        "assignor": it.assignor.as_deref(),
        "classic_session_timeout_ms": it.classic.as_ref().map(|classic| classic.session_timeout_ms),
    })
}

fn current(it: &Current) -> Value {
    json!({
        "epoch": it.epoch,
        "previous_epoch": it.previous_epoch,
        "state": format!("{:?}", it.state),
        "assigned": assignment(&it.assigned),
        "revoked": assignment(&it.revoked),
    })
}

/// Partitions by topic id.
fn assignment(it: &Assignment) -> Value {
    let topics = it.iter().map(|(topic, partitions)| {
        (topic.to_string(), json!(partitions.iter().copied().collect::<Vec<i32>>()))
    });
    Value::Object(topics.collect())
}

fn transaction(record: TransactionRecord) -> (Value, Option<Value>) {
    let key = |id: Arc<str>| json!({ "record": "transaction", "transactional_id": &*id });
    match record {
        TransactionRecord::Transaction(id, metadata) => (key(id), Some(transaction_state(&metadata))),
        TransactionRecord::Gone(id) => (key(id), None),
    }
}

fn transaction_state(metadata: &Metadata) -> Value {
    json!({
        "producer_id": metadata.producer.0,
        "producer_epoch": metadata.epoch,
        "timeout_ms": metadata.timeout_ms,
        "state": format!("{:?}", metadata.state),
        "partitions": metadata.partitions.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "updated_at": metadata.updated_at.0,
        "started_at": (metadata.started_at.0 >= 0).then_some(metadata.started_at.0),
    })
}

fn offset(commit: &OffsetCommit) -> Value {
    json!({
        "offset": commit.offset.0,
        "leader_epoch": (commit.leader_epoch.0 >= 0).then_some(commit.leader_epoch.0),
        "metadata": &*commit.metadata,
        "committed_at": commit.committed_at.0,
        "expires_at": commit.expires_at.map(|at| at.0),
    })
}

fn members(group: &GroupMetadata) -> Value {
    let text = |text: &Option<Arc<str>>| text.as_deref().map(str::to_owned);
    let member = |member: &MemberMetadata| {
        json!({
            "member_id": &*member.member_id,
            "instance_id": text(&member.instance_id),
            "client_id": &*member.client_id,
            "client_host": &*member.client_host,
            "rebalance_timeout_ms": member.rebalance_timeout_ms,
            "session_timeout_ms": member.session_timeout_ms,
        })
    };
    json!({
        "protocol_type": text(&group.protocol_type),
        "generation": group.generation,
        "protocol": text(&group.protocol),
        "leader": text(&group.leader),
        "state_since": group.state_since.map(|since| since.0),
        "members": group.members.iter().map(member).collect::<Vec<_>>(),
    })
}
