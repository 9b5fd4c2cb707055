//! The controller's links to a broker of the test that hangs up, comes back and goes.

use coordinator::cluster::{Endpoint, MetadataNews, SecurityProtocol};
use kafka_protocol::messages::{
    LeaderAndIsrRequest, StopReplicaRequest, UpdateMetadataRequest, UpdateMetadataResponse,
};
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::*;
use crate::config::setup_timeout::SetupTimeout;
use crate::config::version::KafkaVersion;
use crate::peers::scripted::{accept, hear_of, listen, reply, try_hear};

const PATIENCE: Duration = Duration::from_secs(60);

/// Replicas that are never asked here.
struct Nobody;

impl ReplicaSide for Nobody {
    async fn leader_and_isr(&self, _: LeaderAndIsrRequest) -> LeaderAndIsrResponse {
        panic!("the broker's own replicas are not concerned");
    }

    async fn update_metadata(&self, _: UpdateMetadataRequest) -> UpdateMetadataResponse {
        panic!("the broker's own replicas are not concerned");
    }

    async fn stop_replica(&self, _: StopReplicaRequest) -> StopReplicaResponse {
        panic!("the broker's own replicas are not concerned");
    }

    fn registered(&self, _: i64) {}
}

fn open() -> (Links, mpsc::UnboundedReceiver<Answer>) {
    let head = Letterhead { controller: BrokerId(1), controller_epoch: 7, listener: "INSIDE".into() };
    let peer = PeerSettings {
        client_id: "1".into(),
        response_max: 1 << 20,
        setup_timeout: SetupTimeout::constant(PATIENCE),
        reconnect_backoff: Duration::from_millis(1),
        receive_buffer: None,
    };
    Links::open(
        head,
        LinkSettings { peer, speaks: Dialect::of(KafkaVersion::V3_9), request_timeout: PATIENCE },
        Arc::new(Nobody),
    )
}

async fn broker(epoch: i64) -> (TcpListener, BTreeMap<BrokerId, LiveBroker>) {
    let (listener, address) = listen().await;
    let endpoint = |name: &str, port: u16| Endpoint {
        listener: name.into(),
        host: address.host.clone(),
        port: i32::from(port),
        protocol: SecurityProtocol::Plaintext,
    };
    // Nothing listens on port 1.
    let endpoints = vec![endpoint("OUTSIDE", 1), endpoint("INSIDE", address.port)];
    let broker = LiveBroker { id: BrokerId(2), epoch, rack: None, endpoints };
    (listener, BTreeMap::from([(broker.id, broker)]))
}

fn news(epoch: i64) -> Request {
    let body = RequestBody::UpdateMetadata(Arc::new(MetadataNews::default()));
    Request { to: BrokerId(2), broker_epoch: epoch, body }
}

fn stop(epoch: i64, partition: i32) -> Request {
    let order = StopOrder { leader_epoch: storage::types::LeaderEpoch(3), delete: true };
    let body = RequestBody::StopReplica(BTreeMap::from([(TopicPartition::new("t", partition), order)]));
    Request { to: BrokerId(2), broker_epoch: epoch, body }
}

#[tokio::test]
async fn a_request_is_repeated_until_it_is_answered_and_none_overtakes_it() {
    let (mut links, mut answers) = open();
    let (listener, registered) = broker(40).await;
    for request in [news(40), stop(40, 0), stop(40, 1)] {
        links.send(request, &registered);
    }

    let mut first = accept(&listener).await;
    let (_, heard) = hear_of::<UpdateMetadataRequest>(&mut first).await;
    assert_eq!((heard.controller_id.0, heard.controller_epoch, heard.broker_epoch), (1, 7, 40));
    drop(first);
    let mut second = accept(&listener).await;
    let (header, _) = hear_of::<UpdateMetadataRequest>(&mut second).await;
    reply(&mut second, &header, &UpdateMetadataResponse::default()).await;
    for partition in 0..2 {
        let (header, heard) = hear_of::<StopReplicaRequest>(&mut second).await;
        assert_eq!(header.request_api_version, Dialect::of(KafkaVersion::V3_9).stop_replica);
        assert_eq!(heard.topic_states[0].partition_states[0].partition_index, partition);
        reply(&mut second, &header, &StopReplicaResponse::default()).await;
        let answer = timeout(PATIENCE, answers.recv()).await.expect("in time").expect("open");
        assert!(
            matches!(answer, Answer::StopReplica(BrokerId(2), asked, _) if asked.contains_key(&TopicPartition::new("t", partition)))
        );
    }
}

#[tokio::test]
async fn what_was_meant_for_a_former_registration_is_not_sent_to_the_next() {
    let (mut links, _answers) = open();
    let (listener, registered) = broker(40).await;
    links.send(stop(40, 0), &registered);
    let mut first = accept(&listener).await;
    hear_of::<StopReplicaRequest>(&mut first).await;

    let mut anew = registered.clone();
    anew.values_mut().for_each(|broker| broker.epoch = 50);
    links.keep(&anew);
    links.send(stop(40, 1), &anew);
    links.send(news(50), &anew);

    assert!(try_hear(&mut first).await.is_err(), "the connection of the former registration ends");
    let mut second = accept(&listener).await;
    let (_, heard) = hear_of::<UpdateMetadataRequest>(&mut second).await;
    assert_eq!(heard.broker_epoch, 50);
}

#[tokio::test]
async fn a_term_that_ends_hangs_up() {
    let (mut links, _answers) = open();
    let (listener, registered) = broker(40).await;
    links.send(news(40), &registered);
    let mut stream = accept(&listener).await;
    hear_of::<UpdateMetadataRequest>(&mut stream).await;

    drop(links);

    assert!(try_hear(&mut stream).await.is_err());
}
