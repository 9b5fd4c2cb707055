//! What a controller tells brokers and what brokers ask it: above all, whose word is not taken.

use bytes::Bytes;
use kafka_protocol::messages::alter_partition_request::{BrokerState, PartitionData, TopicData};
use kafka_protocol::messages::leader_and_isr_request::{
    LeaderAndIsrLiveLeader, LeaderAndIsrPartitionState, LeaderAndIsrTopicState,
};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::stop_replica_request::{
    StopReplicaPartitionState, StopReplicaPartitionV0, StopReplicaTopicState, StopReplicaTopicV1,
};
use kafka_protocol::messages::update_features_request::FeatureUpdateKey;
use kafka_protocol::messages::update_metadata_request::{
    UpdateMetadataBroker, UpdateMetadataEndpoint, UpdateMetadataPartitionState, UpdateMetadataTopicState,
};
use kafka_protocol::messages::{
    AllocateProducerIdsRequest, AlterPartitionRequest, BrokerId, ControlledShutdownRequest, EnvelopeRequest,
    LeaderAndIsrRequest, MetadataRequest, StopReplicaRequest, UpdateFeaturesRequest, UpdateMetadataRequest,
};
use uuid::Uuid;

use crate::asking::{Conversation, text, topic};
use crate::support::records::Batch;
use crate::topics::{log_dirs_of, sizes};

/// Of whoever does not know it, which is not checked.
const UNKNOWN: i64 = -1;
/// The first controller of a cluster, which both of ours still have.
const CONTROLLER_EPOCH: i32 = 1;

/// The broker itself, as controller; partition 0 of `name`, held by itself and nobody else.
fn role(name: &str, id: Uuid, leader: i32, leader_epoch: i32, version: i16) -> LeaderAndIsrRequest {
    let state = LeaderAndIsrPartitionState::default()
        .with_controller_epoch(CONTROLLER_EPOCH)
        .with_leader(BrokerId(leader))
        .with_leader_epoch(leader_epoch)
        .with_isr(vec![BrokerId(0)])
        .with_partition_epoch(leader_epoch)
        .with_replicas(vec![BrokerId(0)]);
    let request = LeaderAndIsrRequest::default()
        .with_controller_epoch(CONTROLLER_EPOCH)
        .with_broker_epoch(UNKNOWN)
        .with_live_leaders(vec![LeaderAndIsrLiveLeader::default().with_host_name(text("127.0.0.1"))]);
    if version < 2 {
        return request.with_ungrouped_partition_states(vec![state.with_topic_name(topic(name))]);
    }
    let grouped = LeaderAndIsrTopicState::default().with_topic_name(topic(name)).with_topic_id(id);
    request.with_topic_states(vec![grouped.with_partition_states(vec![state])])
}

fn stop(name: &str, leader_epoch: i32) -> StopReplicaRequest {
    let state = StopReplicaPartitionState::default().with_leader_epoch(leader_epoch);
    let stopped =
        StopReplicaTopicState::default().with_topic_name(topic(name)).with_partition_states(vec![state]);
    StopReplicaRequest::default()
        .with_controller_epoch(CONTROLLER_EPOCH)
        .with_broker_epoch(UNKNOWN)
        .with_topic_states(vec![stopped])
}

pub(crate) fn orders(talk: &mut Conversation) {
    talk.create("ordered", &[]);
    let id = talk.metadata(&["ordered"]).topics[0].topic_id;
    let lead = |epoch, version| role("ordered", id, 0, epoch, version);
    for version in 0..=7 {
        talk.ask("the role it has", version, &lead(0, version));
        let former = lead(9, version).with_controller_epoch(0);
        talk.ask("a role by a former controller", version, &former);
        if version >= 2 {
            let former = lead(9, version).with_broker_epoch(0);
            talk.ask("a role for a former life", version, &former);
        }
    }
    talk.ask("a role for another topic", 7, &role("ordered", Uuid::from_u128(42), 0, 9, 7));
    let elsewhere = role("elsewhere", Uuid::from_u128(43), 0, 0, 7);
    let mut of_others = elsewhere.clone();
    of_others.topic_states[0].partition_states[0].replicas = vec![BrokerId(7)];
    talk.ask("a role among others", 7, &of_others);

    for version in 0..=4 {
        let former = stop("ordered", 9).with_controller_epoch(0);
        let former = if version < 3 { former.with_topic_states(vec![]) } else { former };
        talk.ask("a stop by a former controller", version, &former);
    }
    talk.ask("a stop for a former life", 4, &stop("ordered", 9).with_broker_epoch(0));
    for version in 0..=7 {
        talk.ask("a later epoch", version, &lead(1 + i32::from(version), version));
    }
    talk.ask("a stop of an earlier epoch", 4, &stop("ordered", 7));
    super::produce::produce(talk, "still led", 9, "ordered", &Batch::of(&["one"]));
    talk.ask("a stop", 4, &stop("ordered", 8));
    talk.ask("a role from before the stop", 7, &lead(7, 7));
    talk.ask("the role that was stopped", 7, &lead(8, 7));
    talk.ask("a role after the stop", 7, &lead(9, 7));
    super::produce::produce(talk, "led again", 9, "ordered", &Batch::of(&["two"]));
}

/// The end of partition 0 of `name`, its log included.
fn removal(name: &str, version: i16) -> StopReplicaRequest {
    let request =
        StopReplicaRequest::default().with_controller_epoch(CONTROLLER_EPOCH).with_broker_epoch(UNKNOWN);
    match version {
        0 => request
            .with_delete_partitions(true)
            .with_ungrouped_partitions(vec![StopReplicaPartitionV0::default().with_topic_name(topic(name))]),
        1 | 2 => request.with_delete_partitions(true).with_topics(vec![
            StopReplicaTopicV1::default().with_name(topic(name)).with_partition_indexes(vec![0]),
        ]),
        _ => {
            // Of any epoch: the topic is being deleted.
            let state =
                StopReplicaPartitionState::default().with_leader_epoch(-2).with_delete_partition(true);
            let stopped = StopReplicaTopicState::default().with_topic_name(topic(name));
            request.with_topic_states(vec![stopped.with_partition_states(vec![state])])
        }
    }
}

/// Replicas are removed in the words of every version, and come back empty.
pub(crate) fn removals(talk: &mut Conversation) {
    talk.create("removed", &[]);
    let id = talk.metadata(&["removed"]).topics[0].topic_id;
    for version in 0..=4 {
        super::produce::produce(talk, "before it is removed", 9, "removed", &Batch::of(&["one"]));
        talk.ask("a removal", version, &removal("removed", version));
        talk.ask_for("what is left", version, &log_dirs_of("removed", vec![0]), sizes);
        super::produce::produce(talk, "after it is removed", 9, "removed", &Batch::of(&["two"]));
        let back = role("removed", id, 0, 1 + i32::from(version), 7);
        talk.ask(&format!("a role after the removal (v{version})"), 7, &back);
    }
}

/// Partition 0 of `name`, led by this broker or as the controller says else, and all brokers.
fn news(talk: &Conversation, name: &str, leader: i32, version: i16) -> UpdateMetadataRequest {
    let port = i32::from(talk.broker.port);
    let endpoint = UpdateMetadataEndpoint::default()
        .with_host(text("127.0.0.1"))
        .with_port(port)
        .with_listener(text("PLAINTEXT"));
    let alive = UpdateMetadataBroker::default()
        .with_v0_host(text("127.0.0.1"))
        .with_v0_port(port)
        .with_rack(None)
        .with_endpoints(vec![endpoint]);
    let state = UpdateMetadataPartitionState::default()
        .with_controller_epoch(CONTROLLER_EPOCH)
        .with_leader(BrokerId(leader))
        .with_leader_epoch(3)
        .with_isr(vec![BrokerId(0)])
        .with_replicas(vec![BrokerId(0), BrokerId(7)])
        .with_offline_replicas(vec![BrokerId(7)]);
    let request = UpdateMetadataRequest::default()
        .with_controller_epoch(CONTROLLER_EPOCH)
        .with_broker_epoch(UNKNOWN)
        .with_live_brokers(vec![alive]);
    if version < 5 {
        return request.with_ungrouped_partition_states(vec![state.with_topic_name(topic(name))]);
    }
    let id = if version < 7 { Uuid::nil() } else { Uuid::from_u128(100 + version.cast_unsigned() as u128) };
    let told = UpdateMetadataTopicState::default().with_topic_name(topic(name)).with_topic_id(id);
    request.with_topic_states(vec![told.with_partition_states(vec![state])])
}

/// What is told in the words of every version is known, and forgotten when the controller says so.
pub(crate) fn announcements(talk: &mut Conversation) {
    let former = UpdateMetadataRequest::default().with_controller_epoch(0).with_broker_epoch(UNKNOWN);
    for version in 0..=8 {
        talk.ask("news of a former controller", version, &former);
        if version >= 5 {
            talk.ask("news for a former life", version, &former.clone().with_broker_epoch(0));
        }
        let name = format!("told-{version}");
        let asked = MetadataRequestTopic::default().with_name(Some(topic(&name)));
        let known =
            MetadataRequest::default().with_topics(Some(vec![asked])).with_allow_auto_topic_creation(false);
        for (question, leader) in [("news", 0), ("news of a deletion", -2)] {
            let request = news(talk, &name, leader, version);
            talk.ask(question, version, &request);
            talk.ask(&format!("what is known after {question} (v{version})"), 12, &known);
        }
    }
}

pub(crate) fn questions(talk: &mut Conversation) {
    talk.create("changed-in-sync", &[]);
    let id = talk.metadata(&["changed-in-sync"]).topics[0].topic_id;
    let change = |partition: i32, id: Uuid| {
        let member = BrokerState::default().with_broker_id(BrokerId(0));
        let partition = PartitionData::default().with_partition_index(partition);
        let partition = partition.with_new_isr(vec![BrokerId(0)]).with_new_isr_with_epochs(vec![member]);
        let altered = TopicData::default().with_topic_name(topic("changed-in-sync")).with_topic_id(id);
        AlterPartitionRequest::default().with_topics(vec![altered.with_partitions(vec![partition])])
    };
    for version in 0..=3 {
        let mut wanted = change(0, id);
        for partition in &mut wanted.topics[0].partitions {
            match version {
                3 => partition.new_isr.clear(),
                _ => partition.new_isr_with_epochs.clear(),
            }
        }
        match version {
            0 | 1 => wanted.topics[0].topic_id = Uuid::nil(),
            _ => wanted.topics[0].topic_name = topic(""),
        }
        talk.ask("a change in a former life", version, &wanted.clone().with_broker_epoch(1));
        talk.ask("a change by nobody", version, &wanted.with_broker_id(BrokerId(7)));
    }
    for version in 0..=3 {
        let leave = |broker, epoch| {
            let leave = ControlledShutdownRequest::default().with_broker_id(BrokerId(broker));
            if version < 2 { leave } else { leave.with_broker_epoch(epoch) }
        };
        talk.ask("the leave of a stranger", version, &leave(7, UNKNOWN));
        if version >= 2 {
            talk.ask("the leave of a former life", version, &leave(0, 0));
        }
    }
    let ids = |broker, epoch| {
        AllocateProducerIdsRequest::default().with_broker_id(BrokerId(broker)).with_broker_epoch(epoch)
    };
    talk.ask("ids for a stranger", 0, &ids(7, UNKNOWN));
    talk.ask("ids for a former life", 0, &ids(0, 1));
    let envelope = EnvelopeRequest::default()
        .with_request_data(Bytes::from_static(b"request"))
        .with_client_host_address(Bytes::from_static(&[127, 0, 0, 1]));
    talk.ask("an envelope", 0, &envelope);
}

/// Brokers on ZooKeeper have no features to be finalised.
pub(crate) fn features(talk: &mut Conversation) {
    let update = |name: &str, level| {
        FeatureUpdateKey::default().with_feature(text(name)).with_max_version_level(level)
    };
    let mut ask = |question: &str, version, update| {
        let request =
            UpdateFeaturesRequest::default().with_timeout_ms(30_000).with_feature_updates(vec![update]);
        talk.ask(question, version, &request);
    };
    for level in [-1, 0, 1] {
        for name in ["", "metadata.version"] {
            ask(&format!("{name:?} at {level}"), 0, update(name, level));
            let downgrade = update(name, level).with_allow_downgrade(true);
            ask(&format!("{name:?} down to {level}"), 0, downgrade);
            for kind in 0..=4 {
                ask(&format!("{name:?} to {level}, {kind}"), 1, update(name, level).with_upgrade_type(kind));
            }
        }
    }
}
