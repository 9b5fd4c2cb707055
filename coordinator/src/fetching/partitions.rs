//! The partitions of one fetch session, in the order in which they are to be read.
//!
//! Always true: every partition is there once; look-up and re-ordering cost the same however many there are (a tree's
//! depth, a list's four links). Knows nothing of epochs.

use std::collections::BTreeMap;
use std::sync::Arc;

use storage::types::TopicId;

use super::session::Cached;

/// How a fetcher named a topic: by name up to Fetch 12, by id from 13 on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicRef {
    /// `None` while no topic is known by the id.
    pub name: Option<Arc<str>>,
    /// `TopicId::ZERO` where the fetcher uses names.
    pub id: TopicId,
}

impl TopicRef {
    fn key(&self) -> TopicKey {
        match &self.name {
            Some(name) if self.id.is_zero() => TopicKey::Name(Arc::clone(name)),
            _ => TopicKey::Id(self.id),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum TopicKey {
    Id(TopicId),
    Name(Arc<str>),
}

/// Where a partition sits in its session: good until the session accepts another request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(u32);

/// The end of a list, in both directions.
const NOWHERE: u32 = u32::MAX;

#[derive(Debug)]
struct Node {
    before: u32,
    after: u32,
    /// `None` in a free node.
    cached: Option<Cached>,
}

/// A linked list in a vector, and a tree that finds its nodes.
#[derive(Debug)]
pub(super) struct Partitions {
    nodes: Vec<Node>,
    free: Vec<u32>,
    first: u32,
    last: u32,
    index: BTreeMap<(TopicKey, i32), u32>,
}

impl Partitions {
    pub(super) fn new() -> Self {
        Partitions {
            nodes: Vec::new(),
            free: Vec::new(),
            first: NOWHERE,
            last: NOWHERE,
            index: BTreeMap::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// The partition's state, if the session has it.
    pub(super) fn find(&mut self, topic: &TopicRef, partition: i32) -> Option<&mut Cached> {
        let at = *self.index.get(&(topic.key(), partition))?;
        self.at(Slot(at))
    }

    pub(super) fn at(&mut self, slot: Slot) -> Option<&mut Cached> {
        self.nodes.get_mut(slot.0 as usize)?.cached.as_mut()
    }

    pub(super) fn peek(&self, slot: Slot) -> Option<&Cached> {
        self.nodes.get(slot.0 as usize)?.cached.as_ref()
    }

    /// Behind all others; a partition that is already there keeps its place and gets the new state.
    pub(super) fn push(&mut self, cached: Cached) {
        let key = (cached.topic.key(), cached.partition);
        if let Some(at) = self.index.get(&key) {
            self.nodes[*at as usize].cached = Some(cached);
            return;
        }
        let node = Node { before: NOWHERE, after: NOWHERE, cached: Some(cached) };
        let at = match self.free.pop() {
            Some(at) => {
                self.nodes[at as usize] = node;
                at
            }
            None => {
                self.nodes.push(node);
                u32::try_from(self.nodes.len() - 1).expect("a request cannot name four billion partitions")
            }
        };
        self.index.insert(key, at);
        self.link_last(at);
    }

    /// Whether it was there.
    pub(super) fn remove(&mut self, topic: &TopicRef, partition: i32) -> bool {
        let Some(at) = self.index.remove(&(topic.key(), partition)) else { return false };
        self.unlink(at);
        self.nodes[at as usize].cached = None;
        self.free.push(at);
        true
    }

    pub(super) fn move_last(&mut self, slot: Slot) {
        if self.nodes.get(slot.0 as usize).is_some_and(|node| node.cached.is_some()) {
            self.unlink(slot.0);
            self.link_last(slot.0);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Slot, &Cached)> {
        std::iter::successors(self.node(self.first), |(_, node)| self.node(node.after))
            .filter_map(|(at, node)| Some((Slot(at), node.cached.as_ref()?)))
    }

    pub(super) fn for_each_mut(&mut self, mut change: impl FnMut(&mut Cached)) {
        self.nodes.iter_mut().filter_map(|node| node.cached.as_mut()).for_each(&mut change);
    }

    fn node(&self, at: u32) -> Option<(u32, &Node)> {
        self.nodes.get(at as usize).map(|node| (at, node))
    }

    fn link_last(&mut self, at: u32) {
        let before = std::mem::replace(&mut self.last, at);
        match self.nodes.get_mut(before as usize) {
            Some(node) => node.after = at,
            None => self.first = at,
        }
        let node = &mut self.nodes[at as usize];
        (node.before, node.after) = (before, NOWHERE);
    }

    fn unlink(&mut self, at: u32) {
        let Node { before, after, .. } = self.nodes[at as usize];
        match self.nodes.get_mut(before as usize) {
            Some(node) => node.after = after,
            None => self.first = after,
        }
        match self.nodes.get_mut(after as usize) {
            Some(node) => node.before = before,
            None => self.last = before,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use storage::types::Offset;

    use super::super::session::Wanted;
    use super::*;

    fn topic(name: &str) -> TopicRef {
        TopicRef { name: Some(name.into()), id: TopicId::ZERO }
    }

    fn cached(partition: i32) -> Cached {
        Cached::new(topic("t"), partition, Wanted::at(Offset(0)))
    }

    fn order(partitions: &Partitions) -> Vec<i32> {
        partitions.iter().map(|(_, cached)| cached.partition).collect()
    }

    #[test]
    fn a_topic_known_by_id_is_the_same_with_and_without_its_name() {
        let mut partitions = Partitions::new();
        let id = TopicId([3; 16]);
        partitions.push(Cached::new(TopicRef { name: None, id }, 0, Wanted::at(Offset(0))));
        assert!(partitions.find(&TopicRef { name: Some("t".into()), id }, 0).is_some());
        assert!(partitions.find(&topic("t"), 0).is_none());
    }

    proptest! {
        #[test]
        fn the_list_behaves_like_a_vector(steps in prop::collection::vec((0..3, 0..8_i32), 0..60)) {
            let mut partitions = Partitions::new();
            let mut model: Vec<i32> = Vec::new();
            for (step, partition) in steps {
                match step {
                    0 => {
                        partitions.push(cached(partition));
                        if !model.contains(&partition) {
                            model.push(partition);
                        }
                    }
                    1 => {
                        let removed = partitions.remove(&topic("t"), partition);
                        prop_assert_eq!(removed, model.contains(&partition));
                        model.retain(|other| *other != partition);
                    }
                    _ => {
                        let slot = partitions.iter().find(|(_, cached)| cached.partition == partition);
                        if let Some((slot, _)) = slot {
                            partitions.move_last(slot);
                            model.retain(|other| *other != partition);
                            model.push(partition);
                        }
                    }
                }
                prop_assert_eq!(order(&partitions), model.clone());
                prop_assert_eq!(partitions.len(), model.len());
            }
        }
    }
}
