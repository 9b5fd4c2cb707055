//! The tree against a model too simple to be wrong, and against its own replay.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;

const ME: SessionId = SessionId(7);
const OTHER: SessionId = SessionId(8);

fn open() -> Vec<ProposedAcl> {
    vec![ProposedAcl { perms: perms::ALL, scheme: Some("world".into()), id: Some("anyone".into()) }]
}

/// Decides and applies as the server does: a refused write takes a place in the order as well.
fn play(
    tree: &mut ZnodeTree,
    session: SessionId,
    write: Write,
    log: &mut Vec<u8>,
) -> Result<Applied, Rejection> {
    let decided = tree.decide(session, &[], write);
    let (change, rejection) = match decided {
        Ok(change) => (change, None),
        Err(rejection) => (Change::Refused { code: rejection.code() }, Some(rejection)),
    };
    let txn = Txn { zxid: tree.zxid().next(), time_ms: 1000 + tree.zxid().0, session, change };
    encode_txn(&txn, log);
    let decoded = decode_txn(&log[log.len() - encoded_length(&txn)..]).expect("what was encoded decodes");
    assert_eq!(decoded, txn);
    let applied = tree.apply(&txn).expect("a decided change fits");
    match rejection {
        None => Ok(applied),
        Some(rejection) => Err(rejection),
    }
}

fn encoded_length(txn: &Txn) -> usize {
    let mut bytes = Vec::new();
    encode_txn(txn, &mut bytes);
    bytes.len()
}

fn with_sessions() -> ZnodeTree {
    let mut tree = ZnodeTree::new();
    for session in [ME, OTHER] {
        let change = Change::OpenSession { timeout_ms: 10_000, password: [3; 16] };
        let txn = Txn { zxid: tree.zxid().next(), time_ms: 0, session, change };
        tree.apply(&txn).expect("a session can be opened");
    }
    tree
}

fn paths() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["/a", "/b", "/a/x", "/a/y", "/a/x/1", "/b/x", "/", "/a/", "nowhere"])
        .prop_map(str::to_owned)
}

fn writes() -> impl Strategy<Value = Write> {
    let version = prop::sample::select(vec![-1, -1, 0, 1, 2]);
    let mode = prop::sample::select(vec![0, 0, 1, 2, 3]);
    prop_oneof![
        3 => (paths(), mode, any::<bool>()).prop_map(|(path, mode, container)| Write::Create {
            path,
            data: Some(Bytes::from_static(b"data")),
            acl: open(),
            mode: CreateMode::from_flag(mode),
            container,
        }),
        2 => (paths(), version.clone()).prop_map(|(path, version)| Write::Delete { path, version }),
        2 => (paths(), version.clone())
            .prop_map(|(path, version)| Write::SetData { path, data: None, version }),
        1 => (paths(), version).prop_map(|(path, version)| Write::Check { path, version }),
    ]
}

fn requests() -> impl Strategy<Value = Vec<(bool, Write)>> {
    let write = prop_oneof![
        3 => writes(),
        1 => prop::collection::vec(writes(), 0..5).prop_map(Write::Multi),
    ];
    prop::collection::vec((any::<bool>(), write), 0..60)
}

/// Names, versions, owners and how many children were ever made; nothing else.
#[derive(Clone)]
struct Model(BTreeMap<String, ModelNode>);

#[derive(Clone)]
struct ModelNode {
    version: i32,
    made: i32,
    owner: Option<SessionId>,
}

impl Model {
    fn new() -> Model {
        let built_in = ["/", "/zookeeper", "/zookeeper/config", "/zookeeper/quota"];
        let node = ModelNode { version: 0, made: 0, owner: None };
        Model(built_in.into_iter().map(|path| (path.to_owned(), node.clone())).collect())
    }

    fn parent(path: &str) -> String {
        let (parent, _) = path.rsplit_once('/').expect("absolute");
        if parent.is_empty() { "/".into() } else { parent.into() }
    }

    fn has_children(&self, path: &str) -> bool {
        self.0.keys().any(|other| other != "/" && Model::parent(other) == path)
    }

    /// Whether it was done; on false the model may be spoilt, so callers work on a copy.
    fn play(&mut self, session: SessionId, write: &Write) -> bool {
        match write {
            Write::Create { path, mode: Some(mode), container, .. } => {
                let Some((parent, name)) = path.rsplit_once('/') else { return false };
                let parent = if parent.is_empty() { "/" } else { parent };
                let Some(above) = self.0.get_mut(parent) else { return false };
                if above.owner.is_some() {
                    return false;
                }
                let sequential =
                    matches!(mode, CreateMode::PersistentSequential | CreateMode::EphemeralSequential);
                let path = if sequential { format!("{path}{:010}", above.made) } else { path.clone() };
                if (name.is_empty() && !sequential) || self.0.contains_key(&path) {
                    return false;
                }
                let ephemeral = matches!(mode, CreateMode::Ephemeral | CreateMode::EphemeralSequential);
                let owner = (ephemeral && !container).then_some(session);
                self.0.get_mut(parent).expect("seen above").made += 1;
                self.0.insert(path, ModelNode { version: 0, made: 0, owner });
                true
            }
            Write::Delete { path, version } => {
                let deletable =
                    self.0.get(path).is_some_and(|node| *version == -1 || *version == node.version);
                deletable && path != "/" && !self.has_children(path) && self.0.remove(path).is_some()
            }
            Write::SetData { path, version, .. } => match self.0.get_mut(path) {
                Some(node) if *version == -1 || *version == node.version => {
                    node.version += 1;
                    true
                }
                _ => false,
            },
            Write::Check { path, version } => {
                self.0.get(path).is_some_and(|node| *version == -1 || *version == node.version)
            }
            Write::Multi(writes) => {
                let mut copy = self.clone();
                let done = writes.iter().all(|write| copy.play(session, write));
                if done {
                    *self = copy;
                }
                done
            }
            _ => false,
        }
    }
}

proptest! {
    #[test]
    fn the_tree_does_what_the_model_does(requests in requests()) {
        let (mut tree, mut model) = (with_sessions(), Model::new());
        let mut log = Vec::new();
        for (mine, write) in requests {
            let session = if mine { ME } else { OTHER };
            let mut copy = model.clone();
            let done = copy.play(session, &write);
            let played = play(&mut tree, session, write.clone(), &mut log);
            prop_assert_eq!(played.is_ok(), done, "{:?}: {:?}", write, played);
            if done {
                model = copy;
            }
            let names: Vec<_> = tree.nodes.keys().cloned().collect();
            prop_assert_eq!(names, model.0.keys().cloned().collect::<Vec<_>>());
            for (path, node) in &model.0 {
                let stat = tree.stat(path, &[]).expect("a znode of the model");
                prop_assert_eq!(stat.version, node.version);
                prop_assert_eq!(stat.ephemeral_owner, node.owner.map_or(0, |owner| owner.0));
                let children = model.0.keys().filter(|other| *other != "/" && Model::parent(other) == *path).count();
                prop_assert_eq!(usize::try_from(stat.num_children).expect("small"), children);
            }
        }
    }

    #[test]
    fn a_snapshot_and_the_changes_after_it_give_the_same_tree(requests in requests(), cut in 0..60usize) {
        let mut live = with_sessions();
        let mut restored = None;
        let mut later = Vec::new();
        for (number, (mine, write)) in requests.into_iter().enumerate() {
            if number == cut {
                let mut bytes = Vec::new();
                live.encode(&mut bytes);
                restored = Some(ZnodeTree::decode(&bytes).expect("a tree decodes"));
                prop_assert_eq!(restored.as_ref(), Some(&live));
            }
            let session = if mine { ME } else { OTHER };
            let mut log = Vec::new();
            let _ = play(&mut live, session, write, &mut log);
            if restored.is_some() {
                later.push(decode_txn(&log).expect("what was encoded decodes"));
            }
        }
        if let Some(mut restored) = restored {
            for txn in &later {
                restored.apply(txn).expect("the changes follow the snapshot");
            }
            prop_assert_eq!(restored, live);
        }
    }

    #[test]
    fn random_bytes_are_neither_a_change_nor_a_tree(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode_txn(&bytes);
        let _ = ZnodeTree::decode(&bytes);
        let mut versioned = vec![1];
        versioned.extend_from_slice(&bytes);
        let _ = decode_txn(&versioned);
        let _ = ZnodeTree::decode(&versioned);
    }
}

#[test]
fn the_end_of_a_session_takes_its_ephemeral_znodes_along() {
    let mut tree = with_sessions();
    let mut log = Vec::new();
    let create = |path: &str, flag| Write::Create {
        path: path.into(),
        data: None,
        acl: open(),
        mode: CreateMode::from_flag(flag),
        container: false,
    };
    for (path, flag) in [("/a", 0), ("/a/mine", 1), ("/mine", 1)] {
        play(&mut tree, ME, create(path, flag), &mut log).expect("a free place");
    }
    play(&mut tree, OTHER, create("/a/other", 1), &mut log).expect("a free place");
    assert_eq!(tree.owner_of("/mine"), Some(ME));

    let txn = Txn { zxid: tree.zxid().next(), time_ms: 0, session: ME, change: Change::CloseSession };
    let applied = tree.apply(&txn).expect("a session can be closed");

    let deleted: Vec<_> = applied
        .notices
        .iter()
        .filter_map(|notice| match notice {
            Notice::Deleted { path, .. } => Some(path.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(deleted, ["/a/mine", "/mine"]);
    assert_eq!(tree.ephemeral_count(), 1);
    assert_eq!(tree.decide(ME, &[], create("/late", 0)), Err(Rejection::Single(Refusal::UnknownSession)));
}

#[test]
fn a_recursive_watch_hears_of_everything_below_and_a_one_shot_watch_once() {
    let mut watches = Watches::default();
    let acl = acl::open();
    watches.watch_both(WatcherId(1), "/a", WatchMode::PersistentRecursive).expect("room for a watch");
    watches.watch_data(WatcherId(2), "/a/b", WatchMode::Once).expect("room for a watch");
    let changed = [Notice::DataChanged { path: "/a/b".into(), acl: acl.clone() }];

    let hears = |told: Vec<(WatcherId, Event, AclList)>| told.iter().map(|(id, ..)| id.0).collect::<Vec<_>>();
    assert_eq!(hears(watches.notify(&changed)), [1, 2]);
    assert_eq!(hears(watches.notify(&changed)), [1]);
    let children = [Notice::ChildrenChanged { path: "/a".into(), acl }];
    assert_eq!(hears(watches.notify(&children)), []);
    watches.forget(WatcherId(1));
    assert_eq!(watches.count(), 0);
}

#[test]
fn the_watches_of_one_connection_are_bounded() {
    let mut watches = Watches::default();
    let path = |number: usize| format!("/{number:01000}");
    let held =
        (0..).take_while(|n| watches.watch_data(WatcherId(1), &path(*n), WatchMode::Once).is_ok()).count();
    assert!((10_000..20_000).contains(&held), "{held}");
    assert_eq!(watches.watch_data(WatcherId(1), &path(0), WatchMode::Once), Ok(()));
    assert_eq!(watches.watch_data(WatcherId(2), &path(0), WatchMode::Once), Ok(()));
}
