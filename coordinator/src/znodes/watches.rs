//! Who waits for what to happen where. Volatile: a client brings its watches along when it comes back.
//!
//! Two tables as in ZooKeeper: data watches (created, deleted, changed) and child watches. A watcher is a connection, not a
//! session. Bounded: [`WATCH_BYTES_MAX`] a watcher.

use std::collections::{BTreeMap, BTreeSet};

use super::Refusal;
use super::acl::AclList;
use super::path;
use super::tree::Notice;

/// One connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct WatcherId(pub u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    Created,
    Deleted,
    DataChanged,
    ChildrenChanged,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub kind: EventKind,
    pub path: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatchMode {
    Once,
    Persistent,
    /// Persistent, for the znode and everything below it; says nothing of children changed.
    PersistentRecursive,
}

/// Which watches `removeWatches` and `checkWatches` mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatchKind {
    Children,
    Data,
    Any,
}

/// What the watches of one connection may take: paths, and [`WATCH_BYTES`] for each. Unit: bytes.
pub(super) const WATCH_BYTES_MAX: usize = 32 << 20;

/// What one watch counts besides its path. Unit: bytes.
const WATCH_BYTES: usize = 64;

#[derive(Debug, Default)]
pub struct Watches {
    data: Table,
    children: Table,
}

impl Watches {
    pub fn watch_data(&mut self, watcher: WatcherId, path: &str, mode: WatchMode) -> Result<(), Refusal> {
        self.data.add(watcher, path, mode)
    }

    pub fn watch_children(&mut self, watcher: WatcherId, path: &str, mode: WatchMode) -> Result<(), Refusal> {
        self.children.add(watcher, path, mode)
    }

    /// `addWatch`.
    pub fn watch_both(&mut self, watcher: WatcherId, path: &str, mode: WatchMode) -> Result<(), Refusal> {
        self.data.add(watcher, path, mode)?;
        self.children.add(watcher, path, mode)
    }

    /// Whether there was one to remove.
    pub fn remove(&mut self, watcher: WatcherId, path: &str, kind: WatchKind) -> bool {
        let children = kind != WatchKind::Data && self.children.remove(watcher, path);
        let data = kind != WatchKind::Children && self.data.remove(watcher, path);
        children || data
    }

    /// ZooKeeper's answer to `checkWatches`, which counts the watches of others on the same path too.
    pub fn contains(&self, watcher: WatcherId, path: &str, kind: WatchKind) -> bool {
        let children = kind != WatchKind::Data && self.children.contains(watcher, path);
        let data = kind != WatchKind::Children && self.data.contains(watcher, path);
        children || data
    }

    /// Forgets a connection.
    pub fn forget(&mut self, watcher: WatcherId) {
        self.data.forget(watcher);
        self.children.forget(watcher);
    }

    pub fn count(&self) -> usize {
        self.data.count() + self.children.count()
    }

    /// Who hears of what, in order. The list says who may: whoever holds READ.
    pub fn notify(&mut self, notices: &[Notice]) -> Vec<(WatcherId, Event, AclList)> {
        let mut told = Vec::new();
        let mut tell = |watchers: &BTreeSet<WatcherId>, kind, path: &str, acl: &AclList| {
            let event = |_| Event { kind, path: path.to_owned() };
            told.extend(watchers.iter().map(|watcher| (*watcher, event(()), acl.clone())));
        };
        for notice in notices {
            match notice {
                Notice::Created { path, acl } => {
                    tell(&self.data.fire(path, true), EventKind::Created, path, acl);
                }
                Notice::DataChanged { path, acl } => {
                    tell(&self.data.fire(path, true), EventKind::DataChanged, path, acl);
                }
                Notice::ChildrenChanged { path, acl } => {
                    tell(&self.children.fire(path, false), EventKind::ChildrenChanged, path, acl);
                }
                Notice::Deleted { path, acl } => {
                    let mut watchers = self.data.fire(path, true);
                    watchers.append(&mut self.children.fire(path, true));
                    tell(&watchers, EventKind::Deleted, path, acl);
                }
            }
        }
        told
    }
}

#[derive(Debug, Default)]
struct Table {
    by_path: BTreeMap<String, BTreeMap<WatcherId, WatchMode>>,
    by_watcher: BTreeMap<WatcherId, Watched>,
    /// Without any, parents need not be looked at.
    recursive: usize,
}

#[derive(Debug, Default)]
struct Watched {
    paths: BTreeSet<String>,
    bytes: usize,
}

impl Table {
    fn add(&mut self, watcher: WatcherId, path: &str, mode: WatchMode) -> Result<(), Refusal> {
        let watched = self.by_watcher.entry(watcher).or_default();
        if !watched.paths.contains(path) {
            let bytes = watched.bytes + path.len() + WATCH_BYTES;
            if bytes > WATCH_BYTES_MAX / 2 {
                return Err(Refusal::Throttled);
            }
            watched.bytes = bytes;
            watched.paths.insert(path.to_owned());
        }
        let before = self.by_path.entry(path.to_owned()).or_default().insert(watcher, mode);
        self.recursive -= usize::from(before == Some(WatchMode::PersistentRecursive));
        self.recursive += usize::from(mode == WatchMode::PersistentRecursive);
        Ok(())
    }

    fn remove(&mut self, watcher: WatcherId, path: &str) -> bool {
        let removed = self.unlist(watcher, path);
        if removed && let Some(watched) = self.by_watcher.get_mut(&watcher) {
            watched.drop_path(path);
            if watched.paths.is_empty() {
                self.by_watcher.remove(&watcher);
            }
        }
        removed
    }

    fn unlist(&mut self, watcher: WatcherId, path: &str) -> bool {
        let Some(watchers) = self.by_path.get_mut(path) else { return false };
        let mode = watchers.remove(&watcher);
        self.recursive -= usize::from(mode == Some(WatchMode::PersistentRecursive));
        if watchers.is_empty() {
            self.by_path.remove(path);
        }
        mode.is_some()
    }

    fn contains(&self, watcher: WatcherId, path: &str) -> bool {
        self.by_path.contains_key(path)
            || self.by_watcher.get(&watcher).is_some_and(|watched| {
                self.recursive > 0
                    && watched.paths.contains(path)
                    && self.mode(watcher, path) == Some(WatchMode::PersistentRecursive)
            })
    }

    fn mode(&self, watcher: WatcherId, path: &str) -> Option<WatchMode> {
        self.by_path.get(path)?.get(&watcher).copied()
    }

    fn forget(&mut self, watcher: WatcherId) {
        for path in self.by_watcher.remove(&watcher).unwrap_or_default().paths {
            self.unlist(watcher, &path);
        }
    }

    fn count(&self) -> usize {
        self.by_watcher.values().map(|watched| watched.paths.len()).sum()
    }

    /// Takes those who wait at `path`, and if asked those who wait recursively at or above it.
    fn fire(&mut self, path: &str, recursive: bool) -> BTreeSet<WatcherId> {
        let mut told = BTreeSet::new();
        let mut spent = Vec::new();
        let levels = if self.recursive == 0 { 1 } else { usize::MAX };
        for (level, place) in path::with_parents(path).take(levels).enumerate() {
            for (watcher, mode) in self.by_path.get(place).into_iter().flatten() {
                match mode {
                    WatchMode::PersistentRecursive if recursive => told.insert(*watcher),
                    WatchMode::Persistent if level == 0 => told.insert(*watcher),
                    WatchMode::Once if level == 0 => {
                        spent.push(*watcher);
                        told.insert(*watcher)
                    }
                    _ => false,
                };
            }
        }
        for watcher in spent {
            self.remove(watcher, path);
        }
        told
    }
}

impl Watched {
    fn drop_path(&mut self, path: &str) {
        if self.paths.remove(path) {
            self.bytes -= path.len() + WATCH_BYTES;
        }
    }
}
