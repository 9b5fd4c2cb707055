//! The tree and its sessions, and how a change changes them.

use std::collections::{BTreeMap, BTreeSet};

use super::acl::{self, AclList};
use super::node::{CONTAINER, Node, Stat};
use super::path;
use super::txn::{Change, Lifetime, SessionId, Txn, Zxid};

pub(super) const SYSTEM: &str = "/zookeeper";
pub(super) const QUOTA: &str = "/zookeeper/quota";
pub(super) const CONFIG: &str = "/zookeeper/config";

/// What is durable of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    /// Unit: ms.
    pub timeout_ms: i32,
    /// Proves to whom the session belongs when a connection comes back.
    pub password: [u8; 16],
}

/// All znodes and sessions as of [`ZnodeTree::zxid`].
///
/// Always true: every znode but the root has its parent, no ephemeral znode has children, and the ephemeral and container
/// indexes name exactly the znodes that are so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZnodeTree {
    pub(super) nodes: BTreeMap<String, Node>,
    pub(super) sessions: BTreeMap<SessionId, Session>,
    pub(super) ephemerals: BTreeMap<SessionId, BTreeSet<String>>,
    pub(super) containers: BTreeSet<String>,
    pub(super) zxid: Zxid,
    /// Paths and data. Unit: bytes.
    pub(super) bytes: u64,
}

/// What an applied change tells the one who asked for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Done,
    Created { path: String, stat: Stat },
    Changed { stat: Stat },
    Multi(Vec<Outcome>),
}

/// Something happened at `path`, in the order in which watchers must hear of it.
///
/// `acl` is the list that decides who may hear of it: only those who may read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    Created { path: String, acl: AclList },
    Deleted { path: String, acl: AclList },
    DataChanged { path: String, acl: AclList },
    ChildrenChanged { path: String, acl: AclList },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    pub outcome: Outcome,
    pub notices: Vec<Notice>,
}

/// A change that does not fit the tree: it was not decided against this state. The tree must not be used further.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    #[error("change {found} follows change {expected_after}: one is missing")]
    Gap { expected_after: i64, found: i64 },
    #[error("change {zxid} does not fit the tree at {path}")]
    Path { zxid: i64, path: String },
    #[error("change {zxid} nests a multi")]
    Nested { zxid: i64 },
}

impl Default for ZnodeTree {
    fn default() -> Self {
        ZnodeTree::new()
    }
}

impl ZnodeTree {
    /// The tree of a fresh server: the root, `/zookeeper`, `/zookeeper/quota` and `/zookeeper/config`.
    pub fn new() -> ZnodeTree {
        let mut tree = ZnodeTree {
            nodes: BTreeMap::new(),
            sessions: BTreeMap::new(),
            ephemerals: BTreeMap::new(),
            containers: BTreeSet::new(),
            zxid: Zxid(0),
            bytes: 0,
        };
        for built_in in [path::ROOT, SYSTEM, CONFIG, QUOTA] {
            tree.add(built_in, Node::new(Some(bytes::Bytes::new()), acl::open(), Zxid(0), 0, 0));
        }
        if let Some(config) = tree.nodes.get_mut(CONFIG) {
            config.acl = acl::read_only();
            config.aversion = -1;
        }
        tree
    }

    /// The last change in the tree.
    pub fn zxid(&self) -> Zxid {
        self.zxid
    }

    pub fn session(&self, id: SessionId) -> Option<&Session> {
        self.sessions.get(&id)
    }

    pub fn sessions(&self) -> impl Iterator<Item = (SessionId, &Session)> {
        self.sessions.iter().map(|(id, session)| (*id, session))
    }

    /// Znodes, the root once.
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    pub fn ephemeral_count(&self) -> usize {
        self.ephemerals.values().map(BTreeSet::len).sum()
    }

    /// Paths and data. Unit: bytes.
    pub fn data_bytes(&self) -> u64 {
        self.bytes
    }

    /// The session that owns the ephemeral znode at `path`.
    pub fn owner_of(&self, path: &str) -> Option<SessionId> {
        self.node(path).and_then(Node::ephemeral_owner)
    }

    /// Containers that had children and have none any more.
    pub fn abandoned_containers(&self) -> Vec<String> {
        let abandoned = |path: &&String| {
            self.node(path).is_some_and(|node| node.creations > 0 && node.children.is_empty())
        };
        self.containers.iter().filter(abandoned).cloned().collect()
    }

    /// Whether any container exists, that is whether a sweep could ever find something.
    pub fn has_containers(&self) -> bool {
        !self.containers.is_empty()
    }

    pub(super) fn node(&self, path: &str) -> Option<&Node> {
        self.nodes.get(path::normal(path))
    }

    /// Applies the change that follows [`ZnodeTree::zxid`]. On `Err` the tree must not be used further.
    pub fn apply(&mut self, txn: &Txn) -> Result<Applied, Misfit> {
        if txn.zxid != self.zxid.next() {
            return Err(Misfit::Gap { expected_after: self.zxid.0, found: txn.zxid.0 });
        }
        let mut notices = Vec::new();
        let outcome = match &txn.change {
            Change::Multi(changes) => {
                let mut outcomes = Vec::with_capacity(changes.len());
                for change in changes {
                    outcomes.push(self.apply_one(txn, change, &mut notices)?);
                }
                Outcome::Multi(outcomes)
            }
            change => self.apply_one(txn, change, &mut notices)?,
        };
        self.zxid = txn.zxid;
        Ok(Applied { outcome, notices })
    }

    fn apply_one(
        &mut self,
        txn: &Txn,
        change: &Change,
        notices: &mut Vec<Notice>,
    ) -> Result<Outcome, Misfit> {
        let misfit = |path: &str| Misfit::Path { zxid: txn.zxid.0, path: path.to_owned() };
        match change {
            Change::OpenSession { timeout_ms, password } => {
                self.sessions.insert(txn.session, Session { timeout_ms: *timeout_ms, password: *password });
                Ok(Outcome::Done)
            }
            Change::CloseSession => {
                self.sessions.remove(&txn.session);
                for path in self.ephemerals.remove(&txn.session).unwrap_or_default() {
                    self.delete(&path, txn.zxid, notices).ok_or_else(|| misfit(&path))?;
                }
                Ok(Outcome::Done)
            }
            Change::Create { path, data, acl, lifetime, parent_creations } => {
                let owner = match lifetime {
                    Lifetime::Persistent => 0,
                    Lifetime::Ephemeral => txn.session.0,
                    Lifetime::Container => CONTAINER,
                };
                let node = Node::new(data.clone(), acl.clone(), txn.zxid, txn.time_ms, owner);
                let stat = self.create(path, node, *parent_creations, notices).ok_or_else(|| misfit(path))?;
                Ok(Outcome::Created { path: path.clone(), stat })
            }
            Change::Delete { path } => {
                self.delete(path, txn.zxid, notices).ok_or_else(|| misfit(path))?;
                Ok(Outcome::Done)
            }
            Change::SetData { path, data, version } => {
                let node = self.nodes.get_mut(path.as_str()).ok_or_else(|| misfit(path))?;
                self.bytes -= length(&node.data);
                self.bytes += length(data);
                node.data = data.clone();
                node.version = *version;
                node.mzxid = txn.zxid;
                node.mtime_ms = txn.time_ms;
                notices.push(Notice::DataChanged { path: path.clone(), acl: node.acl.clone() });
                Ok(Outcome::Changed { stat: node.stat() })
            }
            Change::SetAcl { path, acl, version } => {
                let shared = self.shared_acl(path, acl);
                let node = self.nodes.get_mut(path.as_str()).ok_or_else(|| misfit(path))?;
                node.acl = shared;
                node.aversion = *version;
                Ok(Outcome::Changed { stat: node.stat() })
            }
            Change::Check | Change::Refused { .. } => Ok(Outcome::Done),
            Change::Multi(_) => Err(Misfit::Nested { zxid: txn.zxid.0 }),
        }
    }

    fn create(&mut self, path: &str, node: Node, creations: i32, notices: &mut Vec<Notice>) -> Option<Stat> {
        let (parent_path, _) = path::split(path)?;
        let parent_path = path::normal(parent_path);
        let parent = self.nodes.get_mut(parent_path)?;
        if parent.ephemeral_owner().is_some() {
            return None;
        }
        if creations > parent.creations {
            parent.creations = creations;
            parent.pzxid = node.czxid;
        }
        let parent_acl = parent.acl.clone();
        let stat = node.stat();
        let acl = node.acl.clone();
        self.add(path, node).then_some(())?;
        notices.push(Notice::Created { path: path.to_owned(), acl });
        notices.push(Notice::ChildrenChanged { path: parent_path.to_owned(), acl: parent_acl });
        Some(stat)
    }

    /// Puts a znode below its parent and into the indexes; false if the parent is missing or the place taken.
    pub(super) fn add(&mut self, path: &str, mut node: Node) -> bool {
        node.acl = self.shared_acl(path, &node.acl);
        if path != path::ROOT {
            let Some((parent, name)) = path::split(path) else { return false };
            let Some(parent) = self.nodes.get_mut(path::normal(parent)) else { return false };
            if !parent.children.insert(name.into()) {
                return false;
            }
        }
        self.bytes += path.len() as u64 + length(&node.data);
        if let Some(owner) = node.ephemeral_owner() {
            self.ephemerals.entry(owner).or_default().insert(path.to_owned());
        } else if node.owner == CONTAINER {
            self.containers.insert(path.to_owned());
        }
        self.nodes.insert(path.to_owned(), node).is_none()
    }

    /// The same list as the parent's is kept once.
    fn shared_acl(&self, path: &str, acl: &AclList) -> AclList {
        let parent = path::split(path).and_then(|(parent, _)| self.node(parent));
        match parent {
            Some(parent) if parent.acl == *acl => parent.acl.clone(),
            _ => acl.clone(),
        }
    }

    fn delete(&mut self, path: &str, zxid: Zxid, notices: &mut Vec<Notice>) -> Option<()> {
        let (parent_path, name) = path::split(path)?;
        let parent_path = path::normal(parent_path);
        if !self.nodes.get(path)?.children.is_empty() {
            return None;
        }
        let parent = self.nodes.get_mut(parent_path)?;
        parent.children.remove(name).then_some(())?;
        parent.pzxid = parent.pzxid.max(zxid);
        let parent_acl = parent.acl.clone();
        let node = self.nodes.remove(path)?;
        self.bytes -= path.len() as u64 + length(&node.data);
        self.containers.remove(path);
        if let Some(owner) = node.ephemeral_owner()
            && let Some(owned) = self.ephemerals.get_mut(&owner)
        {
            owned.remove(path);
            if owned.is_empty() {
                self.ephemerals.remove(&owner);
            }
        }
        notices.push(Notice::Deleted { path: path.to_owned(), acl: node.acl });
        notices.push(Notice::ChildrenChanged { path: parent_path.to_owned(), acl: parent_acl });
        Some(())
    }
}

fn length(data: &Option<bytes::Bytes>) -> u64 {
    data.as_ref().map_or(0, |data| data.len() as u64)
}
