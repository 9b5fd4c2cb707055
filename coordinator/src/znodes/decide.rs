//! Whether a write is allowed, and which change it becomes.
//!
//! The order of the checks is ZooKeeper's: where several things are wrong, the same one is named.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::Refusal;
use super::acl::{self, AclList, Identity, ProposedAcl, perms};
use super::node::CONTAINER;
use super::path;
use super::tree::{CONFIG, QUOTA, SYSTEM, ZnodeTree};
use super::txn::{Change, Lifetime, SessionId};

/// The flag of a create request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CreateMode {
    Persistent,
    Ephemeral,
    PersistentSequential,
    EphemeralSequential,
    Container,
    Ttl,
    TtlSequential,
}

impl CreateMode {
    pub fn from_flag(flag: i32) -> Option<CreateMode> {
        Some(match flag {
            0 => CreateMode::Persistent,
            1 => CreateMode::Ephemeral,
            2 => CreateMode::PersistentSequential,
            3 => CreateMode::EphemeralSequential,
            4 => CreateMode::Container,
            5 => CreateMode::Ttl,
            6 => CreateMode::TtlSequential,
            _ => return None,
        })
    }

    fn is_ephemeral(self) -> bool {
        matches!(self, CreateMode::Ephemeral | CreateMode::EphemeralSequential)
    }

    fn is_sequential(self) -> bool {
        matches!(
            self,
            CreateMode::PersistentSequential | CreateMode::EphemeralSequential | CreateMode::TtlSequential
        )
    }

    fn is_ttl(self) -> bool {
        matches!(self, CreateMode::Ttl | CreateMode::TtlSequential)
    }
}

/// What a client asks to change. A version of -1 matches any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    Create {
        path: String,
        data: Option<Bytes>,
        acl: Vec<ProposedAcl>,
        /// `None`: a flag that means nothing.
        mode: Option<CreateMode>,
        /// Asked for by the request's own kind (`createContainer`), whatever the mode says.
        container: bool,
    },
    /// `createTTL`: off in ZooKeeper unless `zookeeper.extendedTypesEnabled` is set; not offered here.
    CreateTtl {
        mode: Option<CreateMode>,
    },
    Delete {
        path: String,
        version: i32,
    },
    SetData {
        path: String,
        data: Option<Bytes>,
        version: i32,
    },
    SetAcl {
        path: String,
        acl: Vec<ProposedAcl>,
        version: i32,
    },
    Check {
        path: String,
        version: i32,
    },
    Multi(Vec<Write>),
    /// Something with a place in the order that is refused whatever the tree says.
    Refuse(Refusal),
}

/// A refused write: the code of the change, and for a multi one code an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejection {
    Single(Refusal),
    /// 0 before the failed operation, its code, then [`Refusal::RuntimeInconsistency`].
    Multi(Vec<i32>),
}

impl Rejection {
    /// What goes into [`Change::Refused`].
    pub fn code(&self) -> i32 {
        match self {
            Rejection::Single(refusal) => refusal.code(),
            Rejection::Multi(codes) => codes.iter().copied().find(|code| *code != 0).unwrap_or_default(),
        }
    }
}

impl ZnodeTree {
    /// Judges a write of `session`, whose connection holds `identities`, against the tree as it is.
    pub fn decide(
        &self,
        session: SessionId,
        identities: &[Identity],
        write: Write,
    ) -> Result<Change, Rejection> {
        let mut draft = Draft { tree: self, session, identities, changed: BTreeMap::new() };
        let Write::Multi(writes) = write else {
            return draft.decide(write).map_err(Rejection::Single);
        };
        let asked = writes.len();
        let mut changes = Vec::with_capacity(asked);
        for write in writes {
            match draft.decide(write) {
                Ok(change) => changes.push(change),
                Err(refusal) => {
                    let mut codes = vec![0; changes.len()];
                    codes.push(refusal.code());
                    codes.resize(asked, Refusal::RuntimeInconsistency.code());
                    return Err(Rejection::Multi(codes));
                }
            }
        }
        Ok(Change::Multi(changes))
    }

    /// The sweep's deletion of a container, if it is still abandoned.
    pub fn decide_sweep(&self, path: &str) -> Option<Change> {
        let node = self.node(path)?;
        (node.owner == CONTAINER && node.children.is_empty())
            .then(|| Change::Delete { path: path.to_owned() })
    }
}

/// What matters of a znode to the operations after it in the same multi.
#[derive(Clone)]
struct Sketch {
    version: i32,
    aversion: i32,
    creations: i32,
    children: usize,
    owner: i64,
    acl: AclList,
}

/// The tree, with the operations of one multi decided so far on top. `None`: deleted.
struct Draft<'a> {
    tree: &'a ZnodeTree,
    session: SessionId,
    identities: &'a [Identity],
    changed: BTreeMap<String, Option<Sketch>>,
}

impl Draft<'_> {
    fn decide(&mut self, write: Write) -> Result<Change, Refusal> {
        if self.tree.session(self.session).is_none() {
            return Err(Refusal::UnknownSession);
        }
        match write {
            Write::Create { path, data, acl, mode, container } => {
                self.create(path, data, &acl, mode, container)
            }
            Write::CreateTtl { mode: Some(mode) } if mode.is_ttl() => Err(Refusal::Unimplemented),
            Write::CreateTtl { .. } => Err(Refusal::BadArguments),
            Write::Delete { path, version } => self.delete(path, version),
            Write::SetData { path, data, version } => {
                let mut node = self.named(&path)?;
                self.permit(&node.acl, perms::WRITE)?;
                node.version = next_version(node.version, version)?;
                let version = node.version;
                self.changed.insert(path.clone(), Some(node));
                Ok(Change::SetData { path, data, version })
            }
            Write::SetAcl { path, acl, version } => {
                require(path::is_valid(&path), Refusal::BadArguments)?;
                let list = acl::settle(&acl, self.identities)?;
                let mut node = self.find(&path).ok_or(Refusal::NoNode)?;
                self.permit(&node.acl, perms::ADMIN)?;
                node.aversion = next_version(node.aversion, version)?;
                // ZooKeeper judges later operations of the multi by the old list.
                let version = node.aversion;
                self.changed.insert(path.clone(), Some(node));
                Ok(Change::SetAcl { path, acl: list, version })
            }
            Write::Check { path, version } => {
                let node = self.named(&path)?;
                self.permit(&node.acl, perms::READ)?;
                next_version(node.version, version)?;
                Ok(Change::Check)
            }
            Write::Multi(_) => Err(Refusal::Marshalling),
            Write::Refuse(refusal) => Err(refusal),
        }
    }

    fn create(
        &mut self,
        path: String,
        data: Option<Bytes>,
        acl: &[ProposedAcl],
        mode: Option<CreateMode>,
        container: bool,
    ) -> Result<Change, Refusal> {
        let mode = mode.ok_or(Refusal::BadArguments)?;
        require(!mode.is_ttl(), Refusal::Unimplemented)?;
        let (parent_path, _) = path::split(&path).ok_or(Refusal::BadArguments)?;
        let parent_path = path::normal(parent_path).to_owned();
        let acl = acl::settle(acl, self.identities)?;
        let mut parent = self.find(&parent_path).ok_or(Refusal::NoNode)?;
        self.permit(&parent.acl, perms::CREATE)?;
        let path = match mode.is_sequential() {
            true => format!("{path}{:010}", parent.creations),
            false => path,
        };
        require(path::is_valid(&path), Refusal::BadArguments)?;
        require(self.find(&path).is_none(), Refusal::NodeExists)?;
        require(parent.owner == 0 || parent.owner == CONTAINER, Refusal::NoChildrenForEphemerals)?;
        let lifetime = match mode {
            _ if container => Lifetime::Container,
            mode if mode.is_ephemeral() => Lifetime::Ephemeral,
            _ => Lifetime::Persistent,
        };
        let owner = match lifetime {
            Lifetime::Persistent => 0,
            Lifetime::Ephemeral => self.session.0,
            Lifetime::Container => CONTAINER,
        };
        parent.creations = parent.creations.wrapping_add(1);
        parent.children += 1;
        let parent_creations = parent.creations;
        self.changed.insert(parent_path, Some(parent));
        let node = Sketch { version: 0, aversion: 0, creations: 0, children: 0, owner, acl: acl.clone() };
        self.changed.insert(path.clone(), Some(node));
        Ok(Change::Create { path, data, acl, lifetime, parent_creations })
    }

    fn delete(&mut self, path: String, version: i32) -> Result<Change, Refusal> {
        require(![path::ROOT, SYSTEM, QUOTA, CONFIG].contains(&path.as_str()), Refusal::BadArguments)?;
        let (parent_path, _) = path::split(&path).ok_or(Refusal::BadArguments)?;
        let parent_path = path::normal(parent_path).to_owned();
        let mut parent = self.find(&parent_path).ok_or(Refusal::NoNode)?;
        self.permit(&parent.acl, perms::DELETE)?;
        let node = self.find(&path).ok_or(Refusal::NoNode)?;
        next_version(node.version, version)?;
        require(node.children == 0, Refusal::NotEmpty)?;
        parent.children = parent.children.saturating_sub(1);
        self.changed.insert(parent_path, Some(parent));
        self.changed.insert(path.clone(), None);
        Ok(Change::Delete { path })
    }

    fn named(&self, path: &str) -> Result<Sketch, Refusal> {
        require(path::is_valid(path), Refusal::BadArguments)?;
        self.find(path).ok_or(Refusal::NoNode)
    }

    fn find(&self, path: &str) -> Option<Sketch> {
        if let Some(changed) = self.changed.get(path) {
            return changed.clone();
        }
        self.tree.node(path).map(|node| Sketch {
            version: node.version,
            aversion: node.aversion,
            creations: node.creations,
            children: node.children.len(),
            owner: node.owner,
            acl: node.acl.clone(),
        })
    }

    fn permit(&self, list: &[acl::Acl], wanted: i32) -> Result<(), Refusal> {
        require(acl::permits(list, wanted, self.identities), Refusal::NoAuth)
    }
}

fn next_version(current: i32, expected: i32) -> Result<i32, Refusal> {
    require(expected == -1 || expected == current, Refusal::BadVersion)?;
    Ok(current.wrapping_add(1))
}

fn require(condition: bool, otherwise: Refusal) -> Result<(), Refusal> {
    if condition { Ok(()) } else { Err(otherwise) }
}
