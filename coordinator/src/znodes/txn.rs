//! What changes the tree, one value a change, in one total order.
//!
//! A [`Txn`] is decided once, written to the journal, and applied to every copy of the tree with the same result.

use bytes::Bytes;

use super::acl::AclList;

/// Position in the total order of changes; the first is 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Zxid(pub i64);

impl Zxid {
    pub fn next(self) -> Zxid {
        Zxid(self.0.wrapping_add(1))
    }
}

/// A client's session; never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionId(pub i64);

/// One change, its place in the order and its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Txn {
    pub zxid: Zxid,
    /// Wall clock. Unit: ms since 1970.
    pub time_ms: i64,
    pub session: SessionId,
    pub change: Change,
}

/// Who keeps a znode alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// Until it is deleted.
    Persistent,
    /// Until the session that made it ends.
    Ephemeral,
    /// Until its last child is deleted and the sweep comes by.
    Container,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    OpenSession {
        /// Unit: ms.
        timeout_ms: i32,
        password: [u8; 16],
    },
    /// Ends the session and deletes its ephemeral znodes.
    CloseSession,
    Create {
        path: String,
        data: Option<Bytes>,
        acl: AclList,
        lifetime: Lifetime,
        /// Creations in the parent so far, this one included.
        parent_creations: i32,
    },
    Delete {
        path: String,
    },
    SetData {
        path: String,
        data: Option<Bytes>,
        version: i32,
    },
    SetAcl {
        path: String,
        acl: AclList,
        version: i32,
    },
    /// A version was checked: changes nothing, has a place in the order.
    Check,
    /// All or nothing, in this order. Never nested.
    Multi(Vec<Change>),
    /// A refused write takes a place in the order as well, as with ZooKeeper.
    Refused {
        code: i32,
    },
}
