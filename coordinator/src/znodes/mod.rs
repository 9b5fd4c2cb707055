//! **The znode tree** of the embedded coordinator: what a standalone ZooKeeper 3.8 server decides, as values.
//!
//! A write is *decided* against the tree (`&self`), gets its place in the order as a [`Txn`], and is *applied*; the same
//! changes in the same order give the same tree, byte for byte. Watches and session deadlines are machines
//! of their own, lost at a restart as with ZooKeeper. Knows no socket, file, clock or password.

mod acl;
mod codec;
mod decide;
mod expiry;
mod node;
mod path;
mod read;
mod refusal;
mod tree;
mod txn;
mod watches;

pub use acl::{Acl, AclList, Identity, ProposedAcl, permits, perms};
pub use codec::{DecodeError, decode_txn, encode_txn};
pub use decide::{CreateMode, Rejection, Write};
pub use expiry::Expiry;
pub use node::Stat;
pub use read::WatchRequest;
pub use refusal::Refusal;
pub use tree::{Applied, Misfit, Notice, Outcome, Session, ZnodeTree};
pub use txn::{Change, Lifetime, SessionId, Txn, Zxid};
pub use watches::{Event, EventKind, WatchKind, WatchMode, WatcherId, Watches};

#[cfg(test)]
mod model_tests;
