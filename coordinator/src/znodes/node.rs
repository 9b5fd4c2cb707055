//! One znode.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::acl::AclList;
use super::txn::{SessionId, Zxid};

/// `ephemeralOwner` of a container.
pub(super) const CONTAINER: i64 = i64::MIN;

/// What a client sees of a znode besides its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stat {
    pub czxid: i64,
    pub mzxid: i64,
    /// Unit: ms since 1970.
    pub ctime: i64,
    /// Unit: ms since 1970.
    pub mtime: i64,
    pub version: i32,
    pub cversion: i32,
    pub aversion: i32,
    pub ephemeral_owner: i64,
    /// Unit: bytes.
    pub data_length: i32,
    pub num_children: i32,
    pub pzxid: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) data: Option<Bytes>,
    pub(super) acl: AclList,
    pub(super) czxid: Zxid,
    pub(super) mzxid: Zxid,
    pub(super) pzxid: Zxid,
    pub(super) ctime_ms: i64,
    pub(super) mtime_ms: i64,
    pub(super) version: i32,
    /// Children ever created; sequential names are made of it.
    pub(super) creations: i32,
    pub(super) aversion: i32,
    /// 0: persistent, [`CONTAINER`], else the session that owns it.
    pub(super) owner: i64,
    pub(super) children: BTreeSet<Box<str>>,
}

impl Node {
    pub(super) fn new(data: Option<Bytes>, acl: AclList, zxid: Zxid, time_ms: i64, owner: i64) -> Node {
        Node {
            data,
            acl,
            czxid: zxid,
            mzxid: zxid,
            pzxid: zxid,
            ctime_ms: time_ms,
            mtime_ms: time_ms,
            version: 0,
            creations: 0,
            aversion: 0,
            owner,
            children: BTreeSet::new(),
        }
    }

    pub(super) fn ephemeral_owner(&self) -> Option<SessionId> {
        (self.owner != 0 && self.owner != CONTAINER).then_some(SessionId(self.owner))
    }

    pub(super) fn stat(&self) -> Stat {
        let num_children = i32::try_from(self.children.len()).unwrap_or(i32::MAX);
        Stat {
            czxid: self.czxid.0,
            mzxid: self.mzxid.0,
            ctime: self.ctime_ms,
            mtime: self.mtime_ms,
            version: self.version,
            // Clients see creations plus deletions.
            cversion: self.creations.wrapping_mul(2).wrapping_sub(num_children),
            aversion: self.aversion,
            // Clients see no owner of a container.
            ephemeral_owner: self.ephemeral_owner().map_or(0, |session| session.0),
            data_length: self.data.as_ref().map_or(0, |data| i32::try_from(data.len()).unwrap_or(i32::MAX)),
            num_children,
            pzxid: self.pzxid.0,
        }
    }
}
