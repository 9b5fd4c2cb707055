//! Reassignments, elections, log directories, features, and what brokers ask one another.

use kafka_protocol::messages::alter_partition_reassignments_request::{
    ReassignablePartition, ReassignableTopic,
};
use kafka_protocol::messages::alter_replica_log_dirs_request::{AlterReplicaLogDir, AlterReplicaLogDirTopic};
use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::elect_leaders_request::TopicPartitions;
use kafka_protocol::messages::update_features_request::FeatureUpdateKey;
use kafka_protocol::messages::{
    AllocateProducerIdsRequest, AlterPartitionReassignmentsRequest, AlterPartitionRequest,
    AlterReplicaLogDirsRequest, BrokerId, ControlledShutdownRequest, DescribeProducersRequest,
    ElectLeadersRequest, LeaderAndIsrRequest, ListPartitionReassignmentsRequest, UpdateFeaturesRequest,
    UpdateMetadataRequest,
};

use super::Asker;
use crate::asking::{text, topic};

pub(super) fn ask(asker: &mut Asker) {
    reassignments(asker);
    elections(asker);
    directories_features_and_producers(asker);
    between_brokers(asker);
}

fn reassigning(name: &str, replicas: Option<&[i32]>) -> AlterPartitionReassignmentsRequest {
    let replicas = replicas.map(|ids| ids.iter().map(|id| BrokerId(*id)).collect());
    let partition = ReassignablePartition::default().with_partition_index(0).with_replicas(replicas);
    let asked = ReassignableTopic::default().with_name(topic(name)).with_partitions(vec![partition]);
    AlterPartitionReassignmentsRequest::default().with_topics(vec![asked]).with_timeout_ms(30_000)
}

fn reassignments(asker: &mut Asker) {
    asker.not_the_controller();
    asker.ask(0, "not the controller", &reassigning("pt", Some(&[1, 2])));
    asker.ask(0, "not the controller", &ListPartitionReassignmentsRequest::default().with_timeout_ms(30_000));
    asker.controller();
    asker.ask(0, "unknown topic", &reassigning("nosuch", Some(&[1])));
    asker.ask(0, "unknown broker 9", &reassigning("pt", Some(&[9])));
    asker.ask(0, "cancel when none is in progress", &reassigning("pt", None));
}

fn elections(asker: &mut Asker) {
    const PREFERRED: i8 = 0;
    const UNCLEAN: i8 = 1;
    let electing = |name: &str, kind: i8| {
        let asked = TopicPartitions::default().with_topic(topic(name)).with_partitions(vec![0]);
        ElectLeadersRequest::default()
            .with_election_type(kind)
            .with_topic_partitions(Some(vec![asked]))
            .with_timeout_ms(30_000)
    };
    asker.not_the_controller().ask(2, "not the controller", &electing("pt", PREFERRED));
    asker.controller();
    asker.ask(2, "preferred leader already leads", &electing("pt", PREFERRED));
    asker.ask(2, "unknown topic", &electing("nosuch", PREFERRED));
    asker.ask(2, "unclean election, leader is alive", &electing("pt", UNCLEAN));
}

fn directories_features_and_producers(asker: &mut Asker) {
    let moved = AlterReplicaLogDirTopic::default().with_name(topic("pt")).with_partitions(vec![0]);
    let to = AlterReplicaLogDir::default().with_path(text("/no/such/directory")).with_topics(vec![moved]);
    let moving = AlterReplicaLogDirsRequest::default().with_dirs(vec![to]);
    asker.at(1).ask(2, "directory the broker does not have", &moving);

    let feature = FeatureUpdateKey::default()
        .with_feature(text("no.such.feature"))
        .with_max_version_level(1)
        .with_upgrade_type(1);
    let updating =
        UpdateFeaturesRequest::default().with_feature_updates(vec![feature]).with_timeout_ms(30_000);
    asker.not_the_controller().ask(1, "not the controller", &updating);
    asker.controller().ask(1, "unknown feature, controller", &updating);

    let asked = TopicRequest::default().with_name(topic("nosuch")).with_partition_indexes(vec![0]);
    let describing = DescribeProducersRequest::default().with_topics(vec![asked]);
    asker.at(1).ask(0, "unknown topic", &describing);
}

/// All of them with epochs that were never any broker's or controller's: nobody may act on them.
fn between_brokers(asker: &mut Asker) {
    let ids = AllocateProducerIdsRequest::default().with_broker_id(BrokerId(1)).with_broker_epoch(1);
    asker.not_the_controller().ask(0, "not the controller", &ids);
    asker.controller().ask(0, "with a stale broker epoch", &ids);
    let in_sync = AlterPartitionRequest::default().with_broker_id(BrokerId(1)).with_broker_epoch(1);
    asker.ask(3, "unknown broker epoch", &in_sync);
    let leaving = ControlledShutdownRequest::default().with_broker_id(BrokerId(1)).with_broker_epoch(1);
    asker.ask(3, "unknown broker epoch", &leaving);
    let controller = BrokerId(asker.stage.controller);
    asker.not_the_controller();
    let leadership = LeaderAndIsrRequest::default()
        .with_controller_id(controller)
        .with_controller_epoch(0)
        .with_broker_epoch(-1);
    asker.ask(7, "stale controller epoch 0", &leadership);
    let told = UpdateMetadataRequest::default()
        .with_controller_id(controller)
        .with_controller_epoch(i32::MAX)
        .with_broker_epoch(1);
    asker.ask(8, "stale broker epoch 1", &told);
}
