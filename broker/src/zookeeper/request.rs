//! Requests of the ZooKeeper client protocol, decoded.

use coordinator::znodes::{CreateMode, Refusal, WatchKind, WatchMode, WatchRequest, Write, Zxid};

use super::jute::{Malformed, Reader};

/// The first frame of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hello {
    pub(super) last_zxid_seen: Zxid,
    /// Unit: ms.
    pub(super) timeout_ms: i32,
    /// 0 for a new session.
    pub(super) session: i64,
    pub(super) password: Vec<u8>,
    /// Clients before 3.4 do not send the read-only flag and do not expect it back.
    pub(super) knows_read_only: bool,
}

impl Hello {
    pub(super) fn decode(frame: &[u8]) -> Result<Hello, Malformed> {
        let mut reader = Reader::new(frame);
        let _protocol_version = reader.int()?;
        Ok(Hello {
            last_zxid_seen: Zxid(reader.long()?),
            timeout_ms: reader.int()?,
            session: reader.long()?,
            password: reader.buffer()?.unwrap_or_default().to_vec(),
            knows_read_only: reader.bool().is_ok(),
        })
    }
}

/// The numbers of `ZooDefs.OpCode` that matter beyond decoding.
pub(super) mod opcode {
    pub(in crate::zookeeper) const CREATE: i32 = 1;
    pub(in crate::zookeeper) const DELETE: i32 = 2;
    pub(in crate::zookeeper) const GET_DATA: i32 = 4;
    pub(in crate::zookeeper) const SET_DATA: i32 = 5;
    pub(in crate::zookeeper) const GET_CHILDREN: i32 = 8;
    pub(in crate::zookeeper) const CHECK: i32 = 13;
    pub(in crate::zookeeper) const CREATE2: i32 = 15;
    pub(in crate::zookeeper) const CREATE_CONTAINER: i32 = 19;
    pub(in crate::zookeeper) const CREATE_TTL: i32 = 21;
    pub(in crate::zookeeper) const AUTH: i32 = 100;
    pub(in crate::zookeeper) const SASL: i32 = 102;
    pub(in crate::zookeeper) const ERROR: i32 = -1;
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Request {
    Write { write: Write, kind: i32 },
    Multi { writes: Vec<Write>, kinds: Vec<i32> },
    MultiRead(Vec<Question>),
    Exists { path: String, watch: bool },
    GetData { path: String, watch: bool },
    GetChildren { path: String, watch: bool, with_stat: bool },
    GetAcl { path: String },
    CountDescendants { path: String },
    GetEphemerals { prefix: String },
    Sync { path: Option<String> },
    SetWatches(WatchRequest),
    AddWatch { path: String, mode: WatchMode },
    RemoveWatches { path: String, kind: WatchKind },
    CheckWatches { path: String, kind: WatchKind },
    WhoAmI,
    Ping,
    CloseSession,
    Auth { scheme: String, proof: Vec<u8> },
    Sasl,
    Malformed,
    Unknown,
}

/// A part of a `multiRead`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Question {
    Data(String),
    Children(String),
}

/// A request and the number its reply carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Envelope {
    pub(super) xid: i32,
    pub(super) request: Request,
    /// The four letters by which `cons` names the connection's last operation.
    pub(super) name: &'static str,
}

impl Envelope {
    /// Fails where not even the header is whole, or an authentication is not: the connection is closed then.
    pub(super) fn decode(frame: &[u8]) -> Result<Envelope, Malformed> {
        let mut reader = Reader::new(frame);
        let xid = reader.int()?;
        let code = reader.int()?;
        let (request, name) = decode(code, &mut reader);
        if (code == opcode::AUTH || code == opcode::SASL) && request == Request::Malformed {
            return Err(Malformed);
        }
        Ok(Envelope { xid, request, name })
    }
}

fn decode(code: i32, reader: &mut Reader<'_>) -> (Request, &'static str) {
    use opcode::*;
    let (request, name) = match code {
        CREATE | CREATE2 | CREATE_CONTAINER | CREATE_TTL => return (write(code, reader), "CREA"),
        DELETE => return (write(code, reader), "DELE"),
        SET_DATA => return (write(code, reader), "SETD"),
        7 => return (write(code, reader), "SETA"),
        CHECK => return (write(code, reader), "CHEC"),
        14 => return (multi(reader), "MULT"),
        // reconfig: off, and impossible for a standalone server.
        16 => (reconfig(reader), "RECO"),
        // deleteContainer is the server's own; ZooKeeper reads a client's as an invalid path.
        20 => return (refused(Refusal::BadArguments), "DELE"),
        3 => (path_and_watch(reader).map(|(path, watch)| Request::Exists { path, watch }), "EXIS"),
        GET_DATA => (path_and_watch(reader).map(|(path, watch)| Request::GetData { path, watch }), "GETD"),
        GET_CHILDREN => (children(reader, false), "GETC"),
        12 => (children(reader, true), "GETC"),
        6 => (reader.required_string().map(|path| Request::GetAcl { path }), "GETA"),
        9 => (reader.string().map(|path| Request::Sync { path }), "SYNC"),
        11 => (Ok(Request::Ping), "PING"),
        17 => (path_and_kind(reader).map(|(path, kind)| Request::CheckWatches { path, kind }), "CHKW"),
        18 => (path_and_kind(reader).map(|(path, kind)| Request::RemoveWatches { path, kind }), "REMW"),
        22 => (multi_read(reader).map(Request::MultiRead), "MLTR"),
        AUTH => (auth(reader), "AUTH"),
        101 => (set_watches(reader, false).map(Request::SetWatches), "SETW"),
        SASL => (reader.buffer().and_then(|token| token.ok_or(Malformed)).map(|_| Request::Sasl), "SASL"),
        103 => (
            reader.string().map(|prefix| Request::GetEphemerals { prefix: prefix.unwrap_or_default() }),
            "GETE",
        ),
        104 => (reader.required_string().map(|path| Request::CountDescendants { path }), "GETACN"),
        105 => (set_watches(reader, true).map(Request::SetWatches), "STW2"),
        106 => (add_watch(reader), "ADDW"),
        107 => (Ok(Request::WhoAmI), "HOMI"),
        -11 => (Ok(Request::CloseSession), "CLOS"),
        _ => (Ok(Request::Unknown), "NA"),
    };
    (request.unwrap_or(Request::Malformed), name)
}

/// Unlike other writes, one that cannot be decoded takes no place in the order.
fn reconfig(reader: &mut Reader<'_>) -> Result<Request, Malformed> {
    for _ in ["joining", "leaving", "new members"] {
        reader.buffer()?;
    }
    let _version = reader.long()?;
    Ok(refused(Refusal::ReconfigDisabled))
}

fn refused(refusal: Refusal) -> Request {
    Request::Write { write: Write::Refuse(refusal), kind: opcode::ERROR }
}

fn write(code: i32, reader: &mut Reader<'_>) -> Request {
    match write_body(code, reader) {
        Ok(write) => Request::Write { write, kind: code },
        Err(Malformed) => refused(Refusal::Marshalling),
    }
}

fn write_body(code: i32, reader: &mut Reader<'_>) -> Result<Write, Malformed> {
    use opcode::*;
    Ok(match code {
        CREATE | CREATE2 | CREATE_CONTAINER => Write::Create {
            path: reader.required_string()?,
            data: reader.data()?,
            acl: reader.acl()?,
            mode: CreateMode::from_flag(reader.int()?),
            container: code == CREATE_CONTAINER,
        },
        CREATE_TTL => {
            reader.required_string()?;
            reader.buffer()?;
            reader.acl()?;
            let mode = CreateMode::from_flag(reader.int()?);
            let _ttl = reader.long()?;
            Write::CreateTtl { mode }
        }
        DELETE => Write::Delete { path: reader.required_string()?, version: reader.int()? },
        // A null path is an invalid one here, and a malformed request above: so it is in ZooKeeper.
        SET_DATA => Write::SetData {
            path: reader.string()?.unwrap_or_default(),
            data: reader.data()?,
            version: reader.int()?,
        },
        7 => Write::SetAcl {
            path: reader.string()?.unwrap_or_default(),
            acl: reader.acl()?,
            version: reader.int()?,
        },
        CHECK => Write::Check { path: reader.string()?.unwrap_or_default(), version: reader.int()? },
        _ => return Err(Malformed),
    })
}

fn multi(reader: &mut Reader<'_>) -> Request {
    match multi_body(reader) {
        Ok((writes, kinds)) => Request::Multi { writes, kinds },
        Err(Malformed) => refused(Refusal::Marshalling),
    }
}

fn multi_body(reader: &mut Reader<'_>) -> Result<(Vec<Write>, Vec<i32>), Malformed> {
    let (mut writes, mut kinds) = (Vec::new(), Vec::new());
    while let Some(kind) = multi_header(reader)? {
        if kind == 7 {
            return Err(Malformed);
        }
        let write = write_body(kind, reader)?;
        if matches!(write, Write::Create { mode: None, .. } | Write::CreateTtl { mode: None }) {
            return Err(Malformed);
        }
        writes.push(write);
        kinds.push(kind);
    }
    Ok((writes, kinds))
}

fn multi_read(reader: &mut Reader<'_>) -> Result<Vec<Question>, Malformed> {
    let mut questions = Vec::new();
    while let Some(kind) = multi_header(reader)? {
        let (path, _watch) = path_and_watch(reader)?;
        questions.push(match kind {
            opcode::GET_DATA => Question::Data(path),
            opcode::GET_CHILDREN => Question::Children(path),
            _ => return Err(Malformed),
        });
    }
    Ok(questions)
}

/// The kind of the operation that follows, `None` at the end.
fn multi_header(reader: &mut Reader<'_>) -> Result<Option<i32>, Malformed> {
    let kind = reader.int()?;
    let done = reader.bool()?;
    let _error = reader.int()?;
    Ok((!done).then_some(kind))
}

fn path_and_watch(reader: &mut Reader<'_>) -> Result<(String, bool), Malformed> {
    Ok((reader.required_string()?, reader.bool()?))
}

fn children(reader: &mut Reader<'_>, with_stat: bool) -> Result<Request, Malformed> {
    let (path, watch) = path_and_watch(reader)?;
    Ok(Request::GetChildren { path, watch, with_stat })
}

fn path_and_kind(reader: &mut Reader<'_>) -> Result<(String, WatchKind), Malformed> {
    let path = reader.required_string()?;
    let kind = match reader.int()? {
        1 => WatchKind::Children,
        2 => WatchKind::Data,
        3 => WatchKind::Any,
        _ => return Err(Malformed),
    };
    Ok((path, kind))
}

fn add_watch(reader: &mut Reader<'_>) -> Result<Request, Malformed> {
    let path = reader.required_string()?;
    let mode = match reader.int()? {
        0 => WatchMode::Persistent,
        1 => WatchMode::PersistentRecursive,
        _ => return Err(Malformed),
    };
    Ok(Request::AddWatch { path, mode })
}

fn set_watches(reader: &mut Reader<'_>, with_persistent: bool) -> Result<WatchRequest, Malformed> {
    let mut request = WatchRequest {
        since: Zxid(reader.long()?),
        data: reader.strings()?,
        exist: reader.strings()?,
        child: reader.strings()?,
        ..WatchRequest::default()
    };
    if with_persistent {
        request.persistent = reader.strings()?;
        request.persistent_recursive = reader.strings()?;
    }
    Ok(request)
}

fn auth(reader: &mut Reader<'_>) -> Result<Request, Malformed> {
    let _type = reader.int()?;
    let scheme = reader.required_string()?;
    let proof = reader.buffer()?.unwrap_or_default().to_vec();
    Ok(Request::Auth { scheme, proof })
}
