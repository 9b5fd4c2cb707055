//! One connection to another broker: a request out, its answer in.

use std::io;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::FutureExt;
use kafka_protocol::messages::{ApiKey, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use socket2::SockRef;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

use super::{Address, PeerError, PeerSettings};
use crate::wire::frames::{FrameError, Frames};

/// Bytes of the length in front of each request.
const PREFIX: usize = 4;

pub(super) struct Connection {
    address: Address,
    client_id: StrBytes,
    frames: Frames<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    next_correlation_id: i32,
}

impl Connection {
    /// Tries every address the host's name has, in all for at most `patience`.
    pub(super) async fn open(
        address: &Address,
        settings: &PeerSettings,
        patience: Duration,
    ) -> Result<Connection, PeerError> {
        let unreachable = |source| PeerError::Unreachable { address: address.clone(), source };
        let connecting = TcpStream::connect((address.host.as_str(), address.port));
        let stream = match timeout(patience, connecting).await {
            Ok(connected) => connected.map_err(unreachable)?,
            Err(_) => return Err(unreachable(io::ErrorKind::TimedOut.into())),
        };
        prepare(&stream, settings).map_err(unreachable)?;
        let (reader, writer) = stream.into_split();
        Ok(Connection {
            address: address.clone(),
            client_id: StrBytes::from_string(settings.client_id.to_string()),
            frames: Frames::new(reader, settings.response_max),
            writer,
            next_correlation_id: 0,
        })
    }

    /// Whether the other side hung up while nothing was asked, as it does with idle connections.
    pub(super) fn is_over(&mut self) -> bool {
        // Nothing is due, so bytes that came unasked are as bad as an end.
        self.frames.next().now_or_never().is_some()
    }

    /// Sends `request` and waits for its answer. After `Err`, or when dropped midway, the connection is of no use.
    pub(super) async fn call<Q: Request>(
        &mut self,
        request: &Q,
        version: i16,
        within: Duration,
    ) -> Result<Q::Response, PeerError> {
        let api = api::<Q>();
        let correlation_id = self.next_correlation_id;
        self.next_correlation_id = correlation_id.wrapping_add(1);
        let message = self.message(request, version, correlation_id)?;
        let frame = match timeout(within, self.exchange(&message)).await {
            Ok(Ok(Some(frame))) => frame,
            Ok(Ok(None)) => return Err(PeerError::Closed { address: self.address.clone(), api, version }),
            Ok(Err(source)) => return Err(PeerError::Broken { address: self.address.clone(), source }),
            Err(_) => return Err(PeerError::Silent { address: self.address.clone(), api, after: within }),
        };
        read(frame, version, correlation_id).map_err(|reason| PeerError::Unreadable {
            address: self.address.clone(),
            api,
            version,
            reason,
        })
    }

    async fn exchange(&mut self, message: &[u8]) -> Result<Option<Bytes>, FrameError> {
        self.writer.write_all(message).await?;
        self.frames.next().await
    }

    fn message<Q: Request>(
        &self,
        request: &Q,
        version: i16,
        correlation_id: i32,
    ) -> Result<Bytes, PeerError> {
        let unwritable = |reason: String| PeerError::Unwritable { api: api::<Q>(), version, reason };
        let header = RequestHeader::default()
            .with_request_api_key(Q::KEY)
            .with_request_api_version(version)
            .with_correlation_id(correlation_id)
            .with_client_id(Some(self.client_id.clone()));
        let mut message = BytesMut::new();
        message.put_i32(0);
        header
            .encode(&mut message, Q::header_version(version))
            .and_then(|()| request.encode(&mut message, version))
            .map_err(|reason| unwritable(reason.to_string()))?;
        let size = i32::try_from(message.len() - PREFIX).map_err(|_| unwritable("it is too long".into()))?;
        if let Some(prefix) = message.first_chunk_mut::<PREFIX>() {
            *prefix = size.to_be_bytes();
        }
        Ok(message.freeze())
    }
}

fn prepare(stream: &TcpStream, settings: &PeerSettings) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_keepalive(true)?;
    match settings.receive_buffer {
        Some(size) => socket.set_recv_buffer_size(size),
        None => Ok(()),
    }
}

/// Bytes in the answer, such as the records of a fetch, are slices of `frame`: nothing is copied.
fn read<R: Decodable + HeaderVersion>(
    mut frame: Bytes,
    version: i16,
    correlation_id: i32,
) -> Result<R, String> {
    let header = ResponseHeader::decode(&mut frame, R::header_version(version)).map_err(|e| e.to_string())?;
    if header.correlation_id != correlation_id {
        return Err(format!(
            "it answers request {}, and request {correlation_id} was asked",
            header.correlation_id
        ));
    }
    let response = R::decode(&mut frame, version).map_err(|e| e.to_string())?;
    match frame.remaining() {
        0 => Ok(response),
        rest => Err(format!("{rest} bytes follow it")),
    }
}

fn api<Q: Request>() -> ApiKey {
    ApiKey::try_from(Q::KEY).expect("every request of the library has a key of the library")
}
