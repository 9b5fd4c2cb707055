//! A peer against a broker of the test that answers well, late, wrongly or not at all.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::{
    ApiKey, ControlledShutdownRequest, ControlledShutdownResponse, FetchRequest, FetchResponse, RequestHeader,
};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::*;
use crate::peers::scripted::{accept, hear, listen, reply, say};
use crate::peers::versions;
use crate::wire::frames::FrameError;

const PATIENCE: Duration = Duration::from_secs(60);

fn settings() -> PeerSettings {
    PeerSettings {
        client_id: "1".into(),
        response_max: 1 << 20,
        setup_timeout: SetupTimeout::constant(PATIENCE),
        reconnect_backoff: Duration::from_millis(1),
        receive_buffer: None,
    }
}

/// A broker of the test, and a peer that calls it.
async fn pair(settings: PeerSettings) -> (TcpListener, Peer) {
    let (listener, address) = listen().await;
    (listener, Peer::new(address, settings))
}

async fn answer_one(stream: &mut TcpStream, code: i16) -> RequestHeader {
    let (header, _) = hear(stream).await;
    reply(stream, &header, &ControlledShutdownResponse::default().with_error_code(code)).await;
    header
}

async fn ask(peer: &mut Peer) -> Result<i16, PeerError> {
    let request = ControlledShutdownRequest::default().with_broker_id(7.into()).with_broker_epoch(3);
    let answer = peer.call(&request, versions::CONTROLLED_SHUTDOWN, PATIENCE).await?;
    Ok(answer.error_code)
}

#[tokio::test]
async fn calls_go_over_one_connection_and_name_their_caller() {
    let (listener, mut peer) = pair(settings()).await;
    let broker = tokio::spawn(async move {
        let mut stream = accept(&listener).await;
        let first = answer_one(&mut stream, 1).await;
        let second = answer_one(&mut stream, 2).await;
        (first, second)
    });

    assert_eq!(ask(&mut peer).await.expect("an answer"), 1);
    assert_eq!(ask(&mut peer).await.expect("an answer"), 2);

    let (first, second) = broker.await.expect("the broker");
    assert_eq!(first.request_api_version, versions::CONTROLLED_SHUTDOWN);
    assert_eq!(first.client_id.as_deref(), Some("1"));
    assert_ne!(first.correlation_id, second.correlation_id);
}

#[tokio::test]
async fn the_records_of_a_fetch_are_slices_of_the_answer() {
    let fetch = versions::FETCH_BY_ID;
    let (listener, mut peer) = pair(settings()).await;
    tokio::spawn(async move {
        let mut stream = accept(&listener).await;
        let (header, _) = hear(&mut stream).await;
        let partition =
            |fill: u8| PartitionData::default().with_records(Some(Bytes::from(vec![fill; 100_000])));
        let topic = FetchableTopicResponse::default().with_partitions(vec![partition(b'a'), partition(b'b')]);
        let response = FetchResponse::default().with_responses(vec![topic]);
        say(&mut stream, &response, fetch, header.correlation_id).await.expect("the peer listens");
    });

    let answer = peer.call(&FetchRequest::default(), fetch, PATIENCE).await.expect("an answer");

    let records: Vec<&Bytes> =
        answer.responses[0].partitions.iter().filter_map(|partition| partition.records.as_ref()).collect();
    assert_eq!(records[0], &vec![b'a'; 100_000]);
    assert_eq!(records[1], &vec![b'b'; 100_000]);
    // Copies would lie apart; slices of one answer lie as close as the answer has them.
    let gap = (records[1].as_ptr() as usize).wrapping_sub(records[0].as_ptr() as usize + 100_000);
    assert!(gap < 100, "{gap} bytes between them");
}

#[tokio::test]
async fn a_broker_that_hung_up_between_two_calls_is_connected_to_again() {
    let (listener, mut peer) = pair(settings()).await;
    let broker = tokio::spawn(async move {
        answer_one(&mut accept(&listener).await, 1).await;
        answer_one(&mut accept(&listener).await, 2).await;
    });
    assert_eq!(ask(&mut peer).await.expect("an answer"), 1);

    // The first connection is closed once the broker waits for the second; until its end is seen, a call may fail.
    let second = loop {
        match ask(&mut peer).await {
            Ok(code) => break code,
            Err(PeerError::Closed { .. } | PeerError::Broken { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    };

    assert_eq!(second, 2);
    broker.await.expect("the broker");
}

#[tokio::test]
async fn an_answer_that_comes_too_late_is_never_taken_for_the_next_one() {
    let (listener, mut peer) = pair(settings()).await;
    let request = ControlledShutdownRequest::default();
    let late = peer.call(&request, versions::CONTROLLED_SHUTDOWN, Duration::from_millis(20)).await;
    assert!(matches!(late, Err(PeerError::Silent { api: ApiKey::ControlledShutdown, .. })));

    let broker = tokio::spawn(async move {
        let mut first = accept(&listener).await;
        let (header, _) = hear(&mut first).await;
        // The peer is gone from here: whether this can still be written does not matter.
        let _ = say(&mut first, &ControlledShutdownResponse::default(), 3, header.correlation_id).await;
        answer_one(&mut accept(&listener).await, 9).await;
    });
    assert_eq!(ask(&mut peer).await.expect("the second connection"), 9);
    broker.await.expect("the broker");
}

#[tokio::test]
async fn an_answer_to_another_request_is_refused() {
    let (listener, mut peer) = pair(settings()).await;
    tokio::spawn(async move {
        let mut stream = accept(&listener).await;
        let (header, _) = hear(&mut stream).await;
        let response = ControlledShutdownResponse::default();
        say(&mut stream, &response, 3, header.correlation_id + 1).await.expect("the peer listens");
        accept(&listener).await
    });
    let refused = ask(&mut peer).await;
    assert!(matches!(refused, Err(PeerError::Unreadable { .. })), "{refused:?}");
}

#[tokio::test]
async fn an_answer_above_the_limit_is_refused_by_its_length() {
    let (listener, mut peer) = pair(PeerSettings { response_max: 100, ..settings() }).await;
    let broker = tokio::spawn(async move {
        let mut stream = accept(&listener).await;
        hear(&mut stream).await;
        let mut prefix = BytesMut::new();
        prefix.put_i32(101);
        stream.write_all(&prefix).await.expect("the peer listens");
        stream
    });
    let refused = ask(&mut peer).await;
    let too_large = matches!(
        refused,
        Err(PeerError::Broken { source: FrameError::TooLarge { size: 101, max: 100 }, .. })
    );
    assert!(too_large, "{refused:?}");
    broker.await.expect("the broker");
}

#[tokio::test]
async fn a_broker_that_does_not_listen_is_unreachable_until_it_does() {
    // Bound, so that the port is nobody else's meanwhile, and not listened on.
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    let port = socket.local_addr().expect("bound").port();
    let mut peer = Peer::new(Address { host: "127.0.0.1".into(), port }, settings());
    assert!(matches!(ask(&mut peer).await, Err(PeerError::Unreachable { .. })));

    let listener = socket.listen(8).expect("listening");
    tokio::spawn(async move { answer_one(&mut accept(&listener).await, 5).await });
    assert_eq!(ask(&mut peer).await.expect("an answer"), 5);
}

#[tokio::test(start_paused = true)]
async fn who_cannot_be_connected_to_is_given_more_time_with_every_attempt() {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    let listener = socket.listen(1).expect("listening");
    let address = listener.local_addr().expect("bound");
    // Nobody accepts: once its queue is full, the kernel answers no one.
    let in_time = || std::net::TcpStream::connect_timeout(&address, Duration::from_secs(1));
    let queued: Vec<_> = std::iter::from_fn(|| in_time().ok()).collect();
    assert!(!queued.is_empty());
    let setup_timeout = SetupTimeout { first: Duration::from_secs(10), max: Duration::from_secs(30) };
    let address = Address { host: "127.0.0.1".into(), port: address.port() };
    let mut peer = Peer::new(address, PeerSettings { setup_timeout, ..settings() });

    for expected in [8..=12, 16..=24, 24..=30, 24..=30] {
        let asked = Instant::now();
        let failed = ask(&mut peer).await;
        assert!(matches!(failed, Err(PeerError::Unreachable { .. })), "{failed:?}");
        let waited = asked.elapsed().as_secs();
        assert!(expected.contains(&waited), "{waited} s, not {expected:?}");
    }
}
