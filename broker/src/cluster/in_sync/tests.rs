//! Leaders' wishes, before a controller of the test.

use std::sync::atomic::AtomicI64;
use std::time::Duration;

use kafka_protocol::messages::alter_partition_response::TopicData as AnsweredTopic;
use kafka_protocol::messages::update_metadata_request::{
    UpdateMetadataBroker, UpdateMetadataEndpoint, UpdateMetadataRequest,
};
use kafka_protocol::protocol::StrBytes;
use tokio::net::TcpListener;

use super::*;
use crate::cluster::controller::ControllerHandle;
use crate::cluster::to_controller::ControllerChannel;
use crate::config::setup_timeout::SetupTimeout;
use crate::metadata::MetadataCache;
use crate::peers::scripted::{accept, hear_of, listen, reply};
use crate::peers::{Address, PeerSettings};

const ME: BrokerId = BrokerId(1);
const EPOCH: i64 = 77;
const ORDERS: TopicId = TopicId([3; 16]);

fn controller_is(metadata: &MetadataCache, id: i32, address: &Address) {
    let endpoint = UpdateMetadataEndpoint::default()
        .with_listener(StrBytes::from_static_str("INSIDE"))
        .with_host(StrBytes::from_string(address.host.clone()))
        .with_port(address.port.into());
    let broker = UpdateMetadataBroker::default().with_id(id.into()).with_endpoints(vec![endpoint]);
    metadata.update(
        &UpdateMetadataRequest::default().with_controller_id(id.into()).with_live_brokers(vec![broker]),
    );
}

/// A broker that knows the controller of the test.
async fn start() -> (Arc<IsrChanges>, Arc<MetadataCache>, TcpListener) {
    let (listener, address) = listen().await;
    let metadata = Arc::new(MetadataCache::default());
    controller_is(&metadata, 2, &address);
    let peer = PeerSettings {
        client_id: "1".into(),
        response_max: 1 << 20,
        setup_timeout: SetupTimeout::constant(Duration::from_secs(60)),
        reconnect_backoff: Duration::from_millis(1),
        receive_buffer: None,
    };
    let channel = ControllerChannel { listener: "INSIDE".into(), peer, timeout: Duration::from_secs(60) };
    let epoch = Arc::new(AtomicI64::new(EPOCH));
    let handle = ControllerHandle::of_nobody();
    let to_controller = ToController::new(ME, handle, Arc::clone(&metadata), channel, epoch);
    (Arc::new(IsrChanges::start(Arc::new(to_controller))), metadata, listener)
}

fn wanted(partition: i32, isr: &[(i32, i64)]) -> WantedIsr {
    WantedIsr {
        partition: TopicPartition::new("orders", partition),
        topic_id: ORDERS,
        leader_epoch: LeaderEpoch(5),
        partition_epoch: 8,
        isr: isr.iter().map(|(id, epoch)| (BrokerId(*id), *epoch)).collect(),
    }
}

/// What the controller says to all partitions of a request.
fn answer_all(request: &AlterPartitionRequest, error: Option<ResponseError>) -> AlterPartitionResponse {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|one| match error {
            Some(error) => {
                Answered::default().with_partition_index(one.partition_index).with_error_code(error.code())
            }
            None => Answered::default()
                .with_partition_index(one.partition_index)
                .with_leader_id(request.broker_id)
                .with_leader_epoch(one.leader_epoch)
                .with_isr(one.new_isr_with_epochs.iter().map(|member| member.broker_id).collect())
                .with_partition_epoch(one.partition_epoch + 1),
        });
        AnsweredTopic::default().with_topic_id(topic.topic_id).with_partitions(partitions.collect())
    });
    AlterPartitionResponse::default().with_topics(topics.collect())
}

#[tokio::test]
async fn a_wish_is_granted_and_names_the_lives_of_its_members() {
    let (changes, _metadata, listener) = start().await;
    let asking = tokio::spawn(async move { changes.ask(wanted(0, &[(1, -1), (2, 90)])).await });

    let mut controller = accept(&listener).await;
    let (header, request) = hear_of::<AlterPartitionRequest>(&mut controller).await;
    assert_eq!((request.broker_id.0, request.broker_epoch), (1, EPOCH));
    let members = &request.topics[0].partitions[0].new_isr_with_epochs;
    let members: Vec<(i32, i64)> = members.iter().map(|one| (one.broker_id.0, one.broker_epoch)).collect();
    assert_eq!(members, [(1, EPOCH), (2, 90)]);
    reply(&mut controller, &header, &answer_all(&request, None)).await;

    let agreed = asking.await.expect("no panic").expect("granted");
    assert_eq!((agreed.partition_epoch, agreed.leader_epoch), (9, LeaderEpoch(5)));
    assert_eq!(agreed.isr, [BrokerId(1), BrokerId(2)]);
}

#[tokio::test]
async fn wishes_that_come_while_one_is_under_way_go_together_and_one_partition_waits_once() {
    let (changes, _metadata, listener) = start().await;
    let ask = |partition| {
        let changes = Arc::clone(&changes);
        tokio::spawn(async move { changes.ask(wanted(partition, &[(1, -1)])).await })
    };
    let first = ask(0);
    let mut controller = accept(&listener).await;
    let (header, request) = hear_of::<AlterPartitionRequest>(&mut controller).await;

    assert_eq!(changes.ask(wanted(0, &[(1, -1)])).await, Err(ResponseError::OperationNotAttempted));
    let (second, third) = (ask(1), ask(2));
    while changes.desk.waiting.lock().expect("no panic").len() < 3 {
        tokio::task::yield_now().await;
    }
    reply(&mut controller, &header, &answer_all(&request, None)).await;
    assert!(first.await.expect("no panic").is_ok());

    let (header, request) = hear_of::<AlterPartitionRequest>(&mut controller).await;
    assert_eq!(request.topics[0].partitions.len(), 2);
    let fenced = answer_all(&request, Some(ResponseError::FencedLeaderEpoch));
    reply(&mut controller, &header, &fenced).await;
    for asked in [second, third] {
        assert_eq!(asked.await.expect("no panic"), Err(ResponseError::FencedLeaderEpoch));
    }
}

#[tokio::test]
async fn whoever_is_no_longer_controller_is_left_for_the_next() {
    let (changes, metadata, listener) = start().await;
    let asking = tokio::spawn(async move { changes.ask(wanted(0, &[(1, -1)])).await });
    let mut former = accept(&listener).await;
    let (header, request) = hear_of::<AlterPartitionRequest>(&mut former).await;
    let (next, address) = listen().await;
    controller_is(&metadata, 3, &address);
    // Apache's controller says so for a single partition, too.
    let moved = answer_all(&request, Some(ResponseError::NotController));
    reply(&mut former, &header, &moved).await;

    let mut controller = accept(&next).await;
    let (header, request) = hear_of::<AlterPartitionRequest>(&mut controller).await;
    reply(&mut controller, &header, &answer_all(&request, None)).await;

    assert!(asking.await.expect("no panic").is_ok());
}

#[tokio::test]
async fn a_stale_broker_epoch_is_tried_again() {
    let (changes, _metadata, listener) = start().await;
    let asking = tokio::spawn(async move { changes.ask(wanted(0, &[(1, -1)])).await });
    let mut controller = accept(&listener).await;
    let (header, _) = hear_of::<AlterPartitionRequest>(&mut controller).await;
    let stale = ResponseError::StaleBrokerEpoch.code();
    reply(&mut controller, &header, &AlterPartitionResponse::default().with_error_code(stale)).await;

    let (header, request) = hear_of::<AlterPartitionRequest>(&mut controller).await;
    reply(&mut controller, &header, &answer_all(&request, None)).await;

    assert!(asking.await.expect("no panic").is_ok());
}
