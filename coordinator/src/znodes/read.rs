//! Questions to the tree, and the watches they leave.

use bytes::Bytes;

use super::Refusal;
use super::acl::{self, Acl, Identity, perms};
use super::node::{Node, Stat};
use super::path;
use super::tree::ZnodeTree;
use super::txn::{SessionId, Zxid};
use super::watches::{Event, EventKind, WatchMode, WatcherId, Watches};

/// The watches a connection brings along when it comes back (`setWatches`, `setWatches2`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WatchRequest {
    /// The last change the client has seen: what happened later is told at once.
    pub since: Zxid,
    pub data: Vec<String>,
    pub exist: Vec<String>,
    pub child: Vec<String>,
    pub persistent: Vec<String>,
    pub persistent_recursive: Vec<String>,
}

impl ZnodeTree {
    /// `None`: there is no such znode.
    pub fn stat(&self, path: &str, identities: &[Identity]) -> Result<Stat, Refusal> {
        if path.contains('\0') {
            return Err(Refusal::BadArguments);
        }
        Ok(self.readable(path, identities)?.stat())
    }

    pub fn data(&self, path: &str, identities: &[Identity]) -> Result<(Option<Bytes>, Stat), Refusal> {
        let node = self.readable(path, identities)?;
        Ok((node.data.clone(), node.stat()))
    }

    pub fn children(
        &self,
        path: &str,
        identities: &[Identity],
    ) -> Result<(impl Iterator<Item = &str> + Clone, Stat), Refusal> {
        let node = self.readable(path, identities)?;
        Ok((node.children.iter().map(|name| &**name), node.stat()))
    }

    /// Whoever may read or administer sees the list; only administrators see digests.
    pub fn acl(&self, path: &str, identities: &[Identity]) -> Result<(Vec<Acl>, Stat), Refusal> {
        let node = self.node(path).ok_or(Refusal::NoNode)?;
        if !acl::permits(&node.acl, perms::READ | perms::ADMIN, identities) {
            return Err(Refusal::NoAuth);
        }
        let list = match acl::permits(&node.acl, perms::ADMIN, identities) {
            true => node.acl.to_vec(),
            false => acl::masked(&node.acl),
        };
        Ok((list, node.stat()))
    }

    /// Znodes below `path`, at any depth.
    pub fn descendant_count(&self, path: &str, identities: &[Identity]) -> Result<usize, Refusal> {
        self.readable(path, identities)?;
        if path == path::ROOT {
            return Ok(self.nodes.len() - 1);
        }
        let prefix = format!("{path}/");
        let below = self.nodes.range(prefix.clone()..);
        Ok(below.take_while(|(path, _)| path.starts_with(&prefix)).count())
    }

    /// Paths of the session's ephemeral znodes that start with `prefix`.
    pub fn ephemerals<'a>(&'a self, session: SessionId, prefix: &'a str) -> impl Iterator<Item = &'a str> {
        let all = matches!(prefix.trim(), "" | "/");
        let owned = self.ephemerals.get(&session).into_iter().flatten();
        owned.map(String::as_str).filter(move |path| all || path.starts_with(prefix))
    }

    /// Sets the watches of a connection that came back; events for what it missed, in order.
    pub fn resume_watches(
        &self,
        watches: &mut Watches,
        watcher: WatcherId,
        request: &WatchRequest,
    ) -> Result<Vec<Event>, Refusal> {
        let mut events = Vec::new();
        let mut missed = |kind, path: &str| events.push(Event { kind, path: path.to_owned() });
        for path in &request.data {
            match self.node(path) {
                None => missed(EventKind::Deleted, path),
                Some(node) if node.mzxid > request.since => missed(EventKind::DataChanged, path),
                Some(_) => watches.watch_data(watcher, path, WatchMode::Once)?,
            }
        }
        for path in &request.exist {
            match self.node(path) {
                Some(_) => missed(EventKind::Created, path),
                None => watches.watch_data(watcher, path, WatchMode::Once)?,
            }
        }
        for path in &request.child {
            match self.node(path) {
                None => missed(EventKind::Deleted, path),
                Some(node) if node.pzxid > request.since => missed(EventKind::ChildrenChanged, path),
                Some(_) => watches.watch_children(watcher, path, WatchMode::Once)?,
            }
        }
        for path in &request.persistent {
            watches.watch_both(watcher, path, WatchMode::Persistent)?;
        }
        for path in &request.persistent_recursive {
            watches.watch_both(watcher, path, WatchMode::PersistentRecursive)?;
        }
        Ok(events)
    }

    fn readable(&self, path: &str, identities: &[Identity]) -> Result<&Node, Refusal> {
        let node = self.node(path).ok_or(Refusal::NoNode)?;
        match acl::permits(&node.acl, perms::READ, identities) {
            true => Ok(node),
            false => Err(Refusal::NoAuth),
        }
    }
}
