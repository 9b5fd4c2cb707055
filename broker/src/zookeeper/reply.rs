//! Replies and events of the ZooKeeper client protocol, encoded.

use bytes::Bytes;
use coordinator::znodes::{Event, EventKind, Outcome, Refusal, Zxid};

use super::jute::Writer;
use super::request::opcode;

/// The xid of events.
const EVENT_XID: i32 = -1;

/// The xid of replies to pings.
pub(super) const PING_XID: i32 = -2;

/// `KeeperState.SyncConnected`.
const SYNC_CONNECTED: i32 = 3;

/// A reply with a body, which the caller writes behind the header.
pub(super) fn ok(xid: i32, zxid: Zxid) -> Writer {
    let mut writer = Writer::new();
    writer.int(xid).long(zxid.0).int(0);
    writer
}

pub(super) fn refused(xid: i32, zxid: Zxid, refusal: Refusal) -> Bytes {
    let mut writer = Writer::new();
    writer.int(xid).long(zxid.0).int(refusal.code());
    writer.finish()
}

pub(super) fn event(event: &Event) -> Bytes {
    let kind = match event.kind {
        EventKind::Created => 1,
        EventKind::Deleted => 2,
        EventKind::DataChanged => 3,
        EventKind::ChildrenChanged => 4,
    };
    let mut writer = Writer::new();
    writer.int(EVENT_XID).long(-1).int(0);
    writer.int(kind).int(SYNC_CONNECTED).string(&event.path);
    writer.finish()
}

/// What a session's owner is told when it is (re-)established.
pub(super) struct Established {
    pub(super) session: i64,
    /// Unit: ms.
    pub(super) timeout_ms: i32,
    pub(super) password: [u8; 16],
}

/// The answer to a hello; `None`: the session has expired or the password is wrong.
pub(super) fn welcome(established: Option<Established>, knows_read_only: bool) -> Bytes {
    let gone = Established { session: 0, timeout_ms: 0, password: [0; 16] };
    let established = established.unwrap_or(gone);
    let mut writer = Writer::new();
    writer.int(0).int(established.timeout_ms).long(established.session).buffer(Some(&established.password));
    if knows_read_only {
        writer.bool(false);
    }
    writer.finish()
}

/// The body for one applied write, as its kind of request expects it.
pub(super) fn outcome(writer: &mut Writer, kind: i32, outcome: &Outcome) {
    match outcome {
        Outcome::Created { path, .. } if kind == opcode::CREATE => {
            writer.string(path);
        }
        Outcome::Created { path, stat } => {
            writer.string(path).stat(stat);
        }
        Outcome::Changed { stat } => {
            writer.stat(stat);
        }
        Outcome::Done | Outcome::Multi(_) => {}
    }
}

/// The body of an applied multi.
pub(super) fn outcomes(writer: &mut Writer, kinds: &[i32], outcomes: &[Outcome]) {
    for (kind, one) in kinds.iter().zip(outcomes) {
        let kind = if *kind == opcode::CREATE_CONTAINER { opcode::CREATE2 } else { *kind };
        writer.int(kind).bool(false).int(0);
        outcome(writer, kind, one);
    }
    multi_end(writer);
}

/// The body of a refused multi.
pub(super) fn refused_multi(writer: &mut Writer, codes: &[i32]) {
    for code in codes {
        multi_error(writer, *code);
    }
    multi_end(writer);
}

pub(super) fn multi_error(writer: &mut Writer, code: i32) {
    writer.int(opcode::ERROR).bool(false).int(code).int(code);
}

pub(super) fn multi_end(writer: &mut Writer) {
    writer.int(-1).bool(true).int(-1);
}
