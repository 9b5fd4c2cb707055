//! A client of the wire protocol that can also say what no decent client would say.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::{RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use socket2::{Domain, Socket, Type};

/// How long one answer may take.
pub(crate) const ANSWER_PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Connection {
    stream: TcpStream,
    correlation: i32,
    pub(crate) client_id: &'static str,
}

impl Connection {
    pub(crate) fn try_open(port: u16) -> io::Result<Connection> {
        Connection::try_open_within(port, ANSWER_PATIENCE)
    }

    /// No answer may take longer than `patience`.
    pub(crate) fn try_open_within(port: u16, patience: Duration) -> io::Result<Connection> {
        Connection::try_open_at(SocketAddr::from(([127, 0, 0, 1], port)), patience)
    }

    pub(crate) fn try_open_at(address: SocketAddr, patience: Duration) -> io::Result<Connection> {
        Connection::over(TcpStream::connect_timeout(&address, Duration::from_secs(5))?, patience)
    }

    /// From another address of this machine than 127.0.0.1.
    pub(crate) fn from_address(source: IpAddr, port: u16, patience: Duration) -> io::Result<Connection> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::new(source, 0).into())?;
        socket.connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)).into(), Duration::from_secs(5))?;
        Connection::over(TcpStream::from(socket), patience)
    }

    /// Speaks over a connected socket; no answer may take longer than `patience`.
    pub(crate) fn over(stream: TcpStream, patience: Duration) -> io::Result<Connection> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        Ok(Connection { stream, correlation: 0, client_id: "promise" })
    }

    /// How long one answer may take from now on.
    pub(crate) fn patience(&mut self, patience: Duration) {
        self.stream.set_read_timeout(Some(patience)).expect("a timeout can be set");
    }

    /// Sends `request` and decodes its answer; any trailing byte of the answer fails the test.
    #[track_caller]
    pub(crate) fn request<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        self.try_request(version, request).unwrap_or_else(|e| panic!("api {} version {version}: {e}", R::KEY))
    }

    pub(crate) fn try_request<R: Request>(&mut self, version: i16, request: &R) -> io::Result<R::Response> {
        self.send(version, request)?;
        self.receive::<R>(version)
    }

    /// Sends without waiting for an answer.
    pub(crate) fn send<R: Request>(&mut self, version: i16, request: &R) -> io::Result<()> {
        let frame = self.frame(version, request);
        self.stream.write_all(&frame)
    }

    /// The bytes of `request`, length prefix included.
    pub(crate) fn frame<R: Request>(&mut self, version: i16, request: &R) -> Bytes {
        self.correlation += 1;
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation)
            .with_client_id(Some(StrBytes::from_static_str(self.client_id)));
        let mut body = BytesMut::new();
        header.encode(&mut body, R::header_version(version)).expect("a header encodes");
        request.encode(&mut body, version).unwrap_or_else(|e| panic!("api {} v{version}: {e}", R::KEY));
        framed(&body)
    }

    pub(crate) fn receive<R: Request>(&mut self, version: i16) -> io::Result<R::Response> {
        let mut answer = self.read_frame()?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let header = ResponseHeader::decode(&mut answer, R::Response::header_version(version))
            .map_err(|e| io::Error::other(format!("response header: {e}")))?;
        if header.correlation_id != self.correlation {
            return Err(io::Error::other(format!(
                "correlation id {} answered with {}",
                self.correlation, header.correlation_id
            )));
        }
        let response = R::Response::decode(&mut answer, version)
            .map_err(|e| io::Error::other(format!("response body: {e}")))?;
        if answer.has_remaining() {
            return Err(io::Error::other(format!("{} bytes after the answer", answer.remaining())));
        }
        Ok(response)
    }

    /// Sends bytes as they are.
    pub(crate) fn write_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// The next frame without its length prefix; `None` where the broker closed the connection.
    pub(crate) fn read_frame(&mut self) -> io::Result<Option<Bytes>> {
        let mut length = [0; 4];
        match self.stream.read_exact(&mut length) {
            Ok(()) => {}
            Err(e) if is_close(&e) => return Ok(None),
            Err(e) => return Err(e),
        }
        let length = usize::try_from(i32::from_be_bytes(length)).map_err(io::Error::other)?;
        let mut frame = BytesMut::zeroed(length);
        self.stream.read_exact(&mut frame)?;
        Ok(Some(frame.freeze()))
    }

    /// Whether the broker closes the connection, without a byte before, within `patience`.
    pub(crate) fn is_closed_within(&mut self, patience: Duration) -> bool {
        self.stream.set_read_timeout(Some(patience)).expect("a timeout can be set");
        let closed = match self.stream.read(&mut [0; 1]) {
            Ok(read) => read == 0,
            Err(e) => is_close(&e),
        };
        self.stream.set_read_timeout(Some(ANSWER_PATIENCE)).expect("a timeout can be set");
        closed
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }
}

fn is_close(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    )
}

/// `body` behind its length.
pub(crate) fn framed(body: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(4 + body.len());
    frame.extend_from_slice(&i32::try_from(body.len()).expect("a frame below 2 GiB").to_be_bytes());
    frame.extend_from_slice(body);
    frame.freeze()
}
