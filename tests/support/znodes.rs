//! A client of ZooKeeper's protocol, frame by frame, that can also say what no decent client would say.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long one answer may take.
const ANSWER_PATIENCE: Duration = Duration::from_secs(30);

/// A request's body in the making.
#[derive(Clone, Default)]
pub(crate) struct Body(pub(crate) Vec<u8>);

impl Body {
    pub(crate) fn int(mut self, value: i32) -> Body {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub(crate) fn long(mut self, value: i64) -> Body {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub(crate) fn bool(mut self, value: bool) -> Body {
        self.0.push(u8::from(value));
        self
    }

    pub(crate) fn buffer(self, value: Option<&[u8]>) -> Body {
        match value {
            None => self.int(-1),
            Some(bytes) => {
                let mut body = self.int(i32::try_from(bytes.len()).expect("a small buffer"));
                body.0.extend_from_slice(bytes);
                body
            }
        }
    }

    pub(crate) fn string(self, value: &str) -> Body {
        self.buffer(Some(value.as_bytes()))
    }

    pub(crate) fn strings(mut self, values: &[&str]) -> Body {
        self = self.int(i32::try_from(values.len()).expect("a short list"));
        values.iter().fold(self, |body, value| body.string(value))
    }

    pub(crate) fn acl(mut self, entries: &[(i32, &str, &str)]) -> Body {
        self = self.int(i32::try_from(entries.len()).expect("a short list"));
        entries.iter().fold(self, |body, (perms, scheme, id)| body.int(*perms).string(scheme).string(id))
    }
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) xid: i32,
    pub(crate) zxid: i64,
    pub(crate) error: i32,
    pub(crate) body: Vec<u8>,
}

/// Kind and path.
pub(crate) type WatchEvent = (i32, String);

pub(crate) struct ZnodeClient {
    stream: TcpStream,
    pub(crate) session: i64,
    pub(crate) password: Vec<u8>,
    /// As granted. Unit: ms.
    pub(crate) timeout_ms: i32,
    /// Events since somebody last took them.
    pub(crate) events: Vec<WatchEvent>,
    next_xid: i32,
}

impl ZnodeClient {
    /// Opens a new session.
    pub(crate) fn open(address: SocketAddr) -> ZnodeClient {
        ZnodeClient::try_open(address).expect("a new session is never refused")
    }

    /// The same with a server that may just lose its quorum, and then hangs up.
    pub(crate) fn try_open(address: SocketAddr) -> io::Result<ZnodeClient> {
        ZnodeClient::greet(address, 0, &[0; 16], 10_000)?.ok_or(io::ErrorKind::ConnectionRefused.into())
    }

    /// Comes back to a session; `None` where the server says that it is gone.
    pub(crate) fn attach(
        address: SocketAddr,
        session: i64,
        password: &[u8],
        timeout_ms: i32,
    ) -> Option<ZnodeClient> {
        ZnodeClient::greet(address, session, password, timeout_ms).expect("a hello is answered")
    }

    /// The same with a server that may be away. Session 0 begins a new one.
    pub(crate) fn greet(
        address: SocketAddr,
        session: i64,
        password: &[u8],
        timeout_ms: i32,
    ) -> io::Result<Option<ZnodeClient>> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(ANSWER_PATIENCE))?;
        stream.set_nodelay(true)?;
        let hello =
            Body::default().int(0).long(0).int(timeout_ms).long(session).buffer(Some(password)).bool(false);
        send(&mut stream, &hello.0)?;
        let answer = receive(&mut stream)?;
        let mut cursor = Cursor(&answer);
        cursor.int();
        let timeout_ms = cursor.int();
        let session = cursor.long();
        let password = cursor.buffer().unwrap_or_default();
        Ok((session != 0).then_some(ZnodeClient {
            stream,
            session,
            password,
            timeout_ms,
            events: Vec::new(),
            next_xid: 1,
        }))
    }

    /// One request, one answer; events before it are kept. `Err`: the server closed the connection.
    pub(crate) fn request(&mut self, code: i32, body: &Body) -> io::Result<Reply> {
        let xid = self.next_xid;
        self.next_xid += 1;
        self.request_as(xid, code, body)
    }

    pub(crate) fn request_as(&mut self, xid: i32, code: i32, body: &Body) -> io::Result<Reply> {
        self.send(xid, code, body)?;
        self.reply()
    }

    pub(crate) fn send(&mut self, xid: i32, code: i32, body: &Body) -> io::Result<()> {
        let mut frame = Body::default().int(xid).int(code).0;
        frame.extend_from_slice(&body.0);
        send(&mut self.stream, &frame)
    }

    pub(crate) fn reply(&mut self) -> io::Result<Reply> {
        loop {
            let frame = receive(&mut self.stream)?;
            let mut cursor = Cursor(&frame);
            let (xid, zxid, error) = (cursor.int(), cursor.long(), cursor.int());
            if xid == -1 {
                let kind = cursor.int();
                assert_eq!(cursor.int(), 3, "events come in the state SyncConnected");
                self.events.push((kind, cursor.string()));
                continue;
            }
            return Ok(Reply { xid, zxid, error, body: cursor.0.to_vec() });
        }
    }

    /// Waits for the answer to a ping: every event caused before it has arrived then.
    pub(crate) fn ping(&mut self) -> io::Result<Reply> {
        self.request_as(-2, 11, &Body::default())
    }

    /// Whether the server has closed this connection; waits for that.
    pub(crate) fn is_closed(&mut self) -> bool {
        receive(&mut self.stream).is_err_and(|error| error.kind() != io::ErrorKind::TimedOut)
    }
}

fn send(stream: &mut TcpStream, frame: &[u8]) -> io::Result<()> {
    let mut bytes = u32::try_from(frame.len()).expect("a small frame").to_be_bytes().to_vec();
    bytes.extend_from_slice(frame);
    stream.write_all(&bytes)
}

fn receive(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    let read = stream.read_exact(&mut length);
    read.map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => {
            let silence = format!("neither an answer nor a close within {ANSWER_PATIENCE:?}");
            io::Error::new(io::ErrorKind::TimedOut, silence)
        }
        _ => error,
    })?;
    let mut frame = vec![0; usize::try_from(u32::from_be_bytes(length)).expect("64 bits")];
    stream.read_exact(&mut frame)?;
    Ok(frame)
}

/// Reads an answer; panics where it is shorter than it must be.
pub(crate) struct Cursor<'a>(pub(crate) &'a [u8]);

impl Cursor<'_> {
    fn array<const N: usize>(&mut self) -> [u8; N] {
        let (taken, rest) = self.0.split_first_chunk::<N>().expect("an answer of the right length");
        self.0 = rest;
        *taken
    }

    pub(crate) fn bool(&mut self) -> bool {
        self.array::<1>() != [0]
    }

    pub(crate) fn int(&mut self) -> i32 {
        i32::from_be_bytes(self.array())
    }

    pub(crate) fn long(&mut self) -> i64 {
        i64::from_be_bytes(self.array())
    }

    pub(crate) fn buffer(&mut self) -> Option<Vec<u8>> {
        let length = self.int();
        let length = usize::try_from(length).ok()?;
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        Some(taken.to_vec())
    }

    pub(crate) fn string(&mut self) -> String {
        String::from_utf8(self.buffer().expect("not null")).expect("UTF-8")
    }
}
