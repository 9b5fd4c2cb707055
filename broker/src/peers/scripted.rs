//! A broker of a test: hears requests and says what the test tells it to.

use std::io;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::Address;

pub(crate) async fn listen() -> (TcpListener, Address) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    (listener, Address { host: "127.0.0.1".into(), port })
}

pub(crate) async fn accept(listener: &TcpListener) -> TcpStream {
    listener.accept().await.expect("a connection").0
}

/// Reads one request; its header and body.
pub(crate) async fn hear(stream: &mut TcpStream) -> (RequestHeader, Bytes) {
    try_hear(stream).await.expect("a request")
}

/// `Err` where the connection ends instead.
pub(crate) async fn try_hear(stream: &mut TcpStream) -> io::Result<(RequestHeader, Bytes)> {
    let size = stream.read_i32().await?;
    let mut frame = vec![0; usize::try_from(size).expect("a size")];
    stream.read_exact(&mut frame).await?;
    let mut frame = Bytes::from(frame);
    let key = ApiKey::try_from(i16::from_be_bytes([frame[0], frame[1]])).expect("an api");
    let version = i16::from_be_bytes([frame[2], frame[3]]);
    let header = RequestHeader::decode(&mut frame, key.request_header_version(version)).expect("a header");
    Ok((header, frame))
}

/// Reads one request of a kind.
pub(crate) async fn hear_of<Q: Request>(stream: &mut TcpStream) -> (RequestHeader, Q) {
    let (header, mut body) = hear(stream).await;
    assert_eq!(header.request_api_key, Q::KEY);
    let request = Q::decode(&mut body, header.request_api_version).expect("a request of its kind");
    (header, request)
}

pub(crate) async fn say<R: Encodable + HeaderVersion>(
    stream: &mut TcpStream,
    response: &R,
    version: i16,
    correlation_id: i32,
) -> io::Result<()> {
    let mut message = BytesMut::new();
    let header = ResponseHeader::default().with_correlation_id(correlation_id);
    header.encode(&mut message, R::header_version(version)).expect("a header");
    response.encode(&mut message, version).expect("a response");
    stream.write_i32(i32::try_from(message.len()).expect("a size")).await?;
    stream.write_all(&message).await
}

/// Answers the request with this header.
pub(crate) async fn reply<R: Encodable + HeaderVersion>(
    stream: &mut TcpStream,
    header: &RequestHeader,
    response: &R,
) {
    let said = say(stream, response, header.request_api_version, header.correlation_id).await;
    said.expect("whoever asked listens");
}
