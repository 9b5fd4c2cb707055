//! Changes and whole trees as bytes, for the journal and its snapshots.
//!
//! Big-endian, lengths before contents, a version byte first. Framing and checksums are the journal's. Decoding trusts nothing:
//! a length beyond the input is an error, not an allocation.

use bytes::Bytes;

use super::acl::{Acl, AclList, Identity};
use super::node::Node;
use super::path;
use super::tree::{Session, ZnodeTree};
use super::txn::{Change, Lifetime, SessionId, Txn, Zxid};

/// Of both formats; a reader refuses any other.
const VERSION: u8 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("written in format {0}, this program reads format 1")]
    Version(u8),
    #[error("ends too early")]
    Short,
    #[error("holds a value that means nothing")]
    Meaningless,
    #[error("goes on after its end")]
    Trailing,
}

/// Appends the change to `out`.
pub fn encode_txn(txn: &Txn, out: &mut Vec<u8>) {
    out.push(VERSION);
    put_i64(out, txn.zxid.0);
    put_i64(out, txn.time_ms);
    put_i64(out, txn.session.0);
    put_change(out, &txn.change);
}

pub fn decode_txn(input: &[u8]) -> Result<Txn, DecodeError> {
    let mut reader = Reader { rest: input };
    reader.version()?;
    let txn = Txn {
        zxid: Zxid(reader.i64()?),
        time_ms: reader.i64()?,
        session: SessionId(reader.i64()?),
        change: reader.change(true)?,
    };
    reader.end()?;
    Ok(txn)
}

impl ZnodeTree {
    /// The whole tree as bytes; equal trees give equal bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        put_i64(out, self.zxid.0);
        put_len(out, self.sessions.len());
        for (id, session) in &self.sessions {
            put_i64(out, id.0);
            put_i32(out, session.timeout_ms);
            out.extend_from_slice(&session.password);
        }
        put_len(out, self.nodes.len());
        // In the order of paths a parent comes before its children.
        for (path, node) in &self.nodes {
            put_str(out, path);
            put_node(out, node);
        }
    }

    pub fn decode(input: &[u8]) -> Result<ZnodeTree, DecodeError> {
        let mut reader = Reader { rest: input };
        reader.version()?;
        let mut tree = ZnodeTree::new();
        tree.nodes.clear();
        tree.bytes = 0;
        tree.zxid = Zxid(reader.i64()?);
        for _ in 0..reader.len()? {
            let id = SessionId(reader.i64()?);
            let session = Session { timeout_ms: reader.i32()?, password: reader.array()? };
            tree.sessions.insert(id, session);
        }
        for _ in 0..reader.len()? {
            let path = reader.string()?;
            let node = reader.node()?;
            if !path::is_valid(&path) || !tree.add(&path, node) {
                return Err(DecodeError::Meaningless);
            }
        }
        reader.end()?;
        tree.node(path::ROOT).ok_or(DecodeError::Meaningless)?;
        Ok(tree)
    }
}

fn put_change(out: &mut Vec<u8>, change: &Change) {
    match change {
        Change::OpenSession { timeout_ms, password } => {
            out.push(1);
            put_i32(out, *timeout_ms);
            out.extend_from_slice(password);
        }
        Change::CloseSession => out.push(2),
        Change::Create { path, data, acl, lifetime, parent_creations } => {
            out.push(3);
            put_str(out, path);
            put_data(out, data);
            put_acl(out, acl);
            out.push(match lifetime {
                Lifetime::Persistent => 0,
                Lifetime::Ephemeral => 1,
                Lifetime::Container => 2,
            });
            put_i32(out, *parent_creations);
        }
        Change::Delete { path } => {
            out.push(4);
            put_str(out, path);
        }
        Change::SetData { path, data, version } => {
            out.push(5);
            put_str(out, path);
            put_data(out, data);
            put_i32(out, *version);
        }
        Change::SetAcl { path, acl, version } => {
            out.push(6);
            put_str(out, path);
            put_acl(out, acl);
            put_i32(out, *version);
        }
        Change::Check => out.push(7),
        Change::Multi(changes) => {
            out.push(8);
            put_len(out, changes.len());
            changes.iter().for_each(|change| put_change(out, change));
        }
        Change::Refused { code } => {
            out.push(9);
            put_i32(out, *code);
        }
    }
}

fn put_node(out: &mut Vec<u8>, node: &Node) {
    put_data(out, &node.data);
    put_acl(out, &node.acl);
    for long in [node.czxid.0, node.mzxid.0, node.pzxid.0, node.ctime_ms, node.mtime_ms, node.owner] {
        put_i64(out, long);
    }
    for int in [node.version, node.creations, node.aversion] {
        put_i32(out, int);
    }
}

fn put_acl(out: &mut Vec<u8>, acl: &AclList) {
    put_len(out, acl.len());
    for entry in acl.iter() {
        put_i32(out, entry.perms);
        put_str(out, &entry.identity.scheme);
        put_str(out, &entry.identity.id);
    }
}

fn put_data(out: &mut Vec<u8>, data: &Option<Bytes>) {
    match data {
        None => out.push(0),
        Some(data) => {
            out.push(1);
            put_len(out, data.len());
            out.extend_from_slice(data);
        }
    }
}

fn put_str(out: &mut Vec<u8>, text: &str) {
    put_len(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

/// Requests are capped far below 4 GiB, and so is everything made of them.
fn put_len(out: &mut Vec<u8>, len: usize) {
    let len = u32::try_from(len).expect("nothing in the tree has 2^32 parts");
    out.extend_from_slice(&len.to_be_bytes());
}

fn put_i32(out: &mut Vec<u8>, value: i32) {
    out.extend_from_slice(&value.to_be_bytes());
}

fn put_i64(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(&value.to_be_bytes());
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(DecodeError::Short)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(DecodeError::Short)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn i32(&mut self) -> Result<i32, DecodeError> {
        self.array().map(i32::from_be_bytes)
    }

    fn i64(&mut self) -> Result<i64, DecodeError> {
        self.array().map(i64::from_be_bytes)
    }

    fn len(&mut self) -> Result<usize, DecodeError> {
        let len = u32::from_be_bytes(self.array()?);
        usize::try_from(len).map_err(|_| DecodeError::Meaningless)
    }

    fn string(&mut self) -> Result<String, DecodeError> {
        let len = self.len()?;
        let bytes = self.take(len)?;
        std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| DecodeError::Meaningless)
    }

    fn data(&mut self) -> Result<Option<Bytes>, DecodeError> {
        match self.u8()? {
            0 => Ok(None),
            1 => {
                let len = self.len()?;
                Ok(Some(Bytes::copy_from_slice(self.take(len)?)))
            }
            _ => Err(DecodeError::Meaningless),
        }
    }

    fn acl(&mut self) -> Result<AclList, DecodeError> {
        let mut list = Vec::new();
        for _ in 0..self.len()? {
            let perms = self.i32()?;
            let identity = Identity { scheme: self.string()?, id: self.string()? };
            list.push(Acl { perms, identity });
        }
        Ok(list.into())
    }

    fn change(&mut self, multi_allowed: bool) -> Result<Change, DecodeError> {
        Ok(match self.u8()? {
            1 => Change::OpenSession { timeout_ms: self.i32()?, password: self.array()? },
            2 => Change::CloseSession,
            3 => Change::Create {
                path: self.string()?,
                data: self.data()?,
                acl: self.acl()?,
                lifetime: match self.u8()? {
                    0 => Lifetime::Persistent,
                    1 => Lifetime::Ephemeral,
                    2 => Lifetime::Container,
                    _ => return Err(DecodeError::Meaningless),
                },
                parent_creations: self.i32()?,
            },
            4 => Change::Delete { path: self.string()? },
            5 => Change::SetData { path: self.string()?, data: self.data()?, version: self.i32()? },
            6 => Change::SetAcl { path: self.string()?, acl: self.acl()?, version: self.i32()? },
            7 => Change::Check,
            8 if multi_allowed => {
                let mut changes = Vec::new();
                for _ in 0..self.len()? {
                    changes.push(self.change(false)?);
                }
                Change::Multi(changes)
            }
            9 => Change::Refused { code: self.i32()? },
            _ => return Err(DecodeError::Meaningless),
        })
    }

    fn node(&mut self) -> Result<Node, DecodeError> {
        let mut node = Node::new(self.data()?, self.acl()?, Zxid(self.i64()?), 0, 0);
        node.mzxid = Zxid(self.i64()?);
        node.pzxid = Zxid(self.i64()?);
        node.ctime_ms = self.i64()?;
        node.mtime_ms = self.i64()?;
        node.owner = self.i64()?;
        node.version = self.i32()?;
        node.creations = self.i32()?;
        node.aversion = self.i32()?;
        Ok(node)
    }

    fn version(&mut self) -> Result<(), DecodeError> {
        match self.u8()? {
            VERSION => Ok(()),
            other => Err(DecodeError::Version(other)),
        }
    }

    fn end(&self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError::Trailing) }
    }
}
