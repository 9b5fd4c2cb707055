//! Producers, partitions, markers that come late and a coordinator that fails: whatever happens, a transaction is
//! all or nothing, and a producer that was fenced writes nothing that counts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use coordinator::machine::AppendFailure;
use coordinator::transactions::{
    Command, Ending, Identity, Init, Initialized, Outcome, Reply, State, TransactionConfig, TransactionError,
};
use proptest::prelude::*;
use storage::types::{ProducerId, TopicPartition};

use crate::seat::Seat;

const IDS: [&str; 2] = ["tx", "ty"];
const CLIENTS: usize = 4;
const PARTITIONS: i32 = 3;
const TIMEOUT_MS: i32 = 20_000;

#[derive(Clone, Debug)]
enum Step {
    Init {
        client: usize,
        goes_on: bool,
    },
    Add {
        client: usize,
        partitions: BTreeSet<i32>,
    },
    Write {
        client: usize,
        partition: i32,
    },
    End {
        client: usize,
        commit: bool,
    },
    /// Markers reach some of the partitions that wait for one, and the coordinator hears of it, or not.
    Mark {
        id: usize,
        partitions: BTreeSet<i32>,
        heard: bool,
    },
    Pass {
        ms: u64,
    },
    Jam {
        jammed: bool,
    },
    Reload,
}

fn step() -> impl Strategy<Value = Step> {
    let client = 0..CLIENTS;
    let some = prop::collection::btree_set(0..PARTITIONS, 1..3);
    prop_oneof![
        3 => (client.clone(), prop::bool::weighted(0.3)).prop_map(|(client, goes_on)| Step::Init { client, goes_on }),
        6 => (client.clone(), some).prop_map(|(client, partitions)| Step::Add { client, partitions }),
        8 => (client.clone(), 0..PARTITIONS).prop_map(|(client, partition)| Step::Write { client, partition }),
        4 => (client, any::<bool>()).prop_map(|(client, commit)| Step::End { client, commit }),
        6 => (0..IDS.len(), prop::collection::btree_set(0..PARTITIONS, 0..4), prop::bool::weighted(0.8))
            .prop_map(|(id, partitions, heard)| Step::Mark { id, partitions, heard }),
        2 => prop_oneof![0..1_000u64, 5_000..30_000u64].prop_map(|ms| Step::Pass { ms }),
        1 => prop::bool::weighted(0.3).prop_map(|jammed| Step::Jam { jammed }),
        1 => Just(Step::Reload),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Open,
    Ended(Outcome),
}

struct Write {
    /// Of the client's count: what was written together.
    transaction: u64,
    fate: Fate,
    /// What its client was told of the transaction, or may conclude.
    promised: Option<Outcome>,
}

/// What a partition's log knows of producers; the rules of `storage::producers` in short.
#[derive(Default)]
struct Partition {
    epochs: BTreeMap<ProducerId, i16>,
    open: BTreeMap<ProducerId, Vec<usize>>,
}

#[derive(Clone, Default)]
struct Client {
    identity: Option<Identity>,
    /// Writes since the last end.
    current: Vec<usize>,
    /// Partitions it has added since. Clients write to no others; one that is fenced may not know of it.
    added: BTreeSet<i32>,
    transaction: u64,
}

struct World {
    seat: Seat,
    clients: Vec<Client>,
    partitions: Vec<Partition>,
    writes: Vec<Write>,
    next_id: i64,
    transactions: u64,
    /// The newest of each transactional id.
    newest: BTreeMap<usize, Identity>,
}

fn place(partition: i32) -> TopicPartition {
    TopicPartition::new("t", partition)
}

impl World {
    fn new() -> World {
        World {
            seat: Seat::new(TransactionConfig::default()),
            clients: vec![Client::default(); CLIENTS],
            partitions: (0..PARTITIONS).map(|_| Partition::default()).collect(),
            writes: Vec::new(),
            next_id: 0,
            transactions: 0,
            newest: BTreeMap::new(),
        }
    }

    /// Two clients share each transactional id.
    fn id(client: usize) -> usize {
        client % IDS.len()
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Init { client, goes_on } => self.init(client, goes_on),
            Step::Add { client, partitions } => self.add(client, &partitions),
            Step::Write { client, partition } => self.write(client, partition),
            Step::End { client, commit } => self.end(client, commit),
            Step::Mark { id, partitions, heard } => self.mark(id, &partitions, heard),
            Step::Pass { ms } => drop(self.seat.pass(ms)),
            Step::Jam { jammed } => {
                self.seat.jammed = jammed.then_some(AppendFailure::NotEnoughReplicas);
            }
            Step::Reload => self.seat.reload(),
        }
        self.compare_with_the_log();
    }

    fn init(&mut self, client: usize, goes_on: bool) {
        let id = World::id(client);
        let expected = self.clients[client].identity.filter(|_| goes_on);
        let mut init = Init { id: Arc::from(IDS[id]), timeout_ms: TIMEOUT_MS, expected, fresh: None };
        let mut replies = self.seat.play(Command::Init(init.clone())).replies;
        if replies == [Reply::Init(Ok(Initialized::NeedsProducerId))] {
            self.next_id += 1;
            init.fresh = Some(ProducerId(self.next_id));
            replies = self.seat.play(Command::Init(init)).replies;
        }
        match replies.as_slice() {
            [Reply::Init(Ok(Initialized::Ready(identity)))] => {
                let before = self.newest.insert(id, *identity);
                let lost_answer = goes_on && before == Some(*identity);
                assert!(
                    before.is_none_or(|before| before.producer != identity.producer
                        || before.epoch < identity.epoch
                        || lost_answer),
                    "an epoch is given once: {before:?} {identity:?}"
                );
                self.abandon(client);
                self.clients[client].identity = Some(*identity);
            }
            [Reply::Init(Ok(Initialized::NeedsProducerId))] => panic!("a fresh id was there"),
            [Reply::Init(Err(error))] => self.refused(client, *error),
            other => panic!("{other:?}"),
        }
    }

    /// What the client has written and not ended can only be aborted from here on.
    fn abandon(&mut self, client: usize) {
        self.promise(client, Outcome::Abort);
    }

    fn promise(&mut self, client: usize, outcome: Outcome) {
        self.clients[client].added.clear();
        for write in std::mem::take(&mut self.clients[client].current) {
            self.writes[write].promised = Some(outcome);
        }
        self.transactions += 1;
        self.clients[client].transaction = self.transactions;
    }

    fn refused(&mut self, client: usize, error: TransactionError) {
        if matches!(error, TransactionError::ProducerFenced | TransactionError::InvalidProducerIdMapping) {
            self.abandon(client);
            // That is the end of a producer, also where a coordinator that took over meanwhile would still know it.
            self.clients[client].identity = None;
        }
    }

    fn add(&mut self, client: usize, partitions: &BTreeSet<i32>) {
        let Some(identity) = self.clients[client].identity else { return };
        let asked = partitions.iter().map(|partition| place(*partition)).collect();
        let id = Arc::from(IDS[World::id(client)]);
        let command = Command::AddPartitions { id, identity, partitions: asked };
        match self.seat.play(command).replies.as_slice() {
            [Reply::AddPartitions(Ok(()))] => self.clients[client].added.extend(partitions),
            [Reply::AddPartitions(Err(error))] => self.refused(client, *error),
            other => panic!("{other:?}"),
        }
    }

    fn write(&mut self, client: usize, partition: i32) {
        let Some(identity) = self.clients[client].identity else { return };
        if !self.clients[client].added.contains(&partition) {
            return;
        }
        let log = &mut self.partitions[partition as usize];
        if log.epochs.get(&identity.producer).is_some_and(|known| *known > identity.epoch) {
            return self.refused(client, TransactionError::ProducerFenced);
        }
        if !log.open.contains_key(&identity.producer) {
            let verdicts = self.seat.machine.verify(IDS[World::id(client)], identity, [place(partition)]);
            match verdicts.as_deref() {
                Ok([(_, Ok(()))]) => {}
                Err(error) => return self.refused(client, *error),
                _ => return,
            }
        }
        log.epochs.insert(identity.producer, identity.epoch);
        log.open.entry(identity.producer).or_default().push(self.writes.len());
        self.clients[client].current.push(self.writes.len());
        let transaction = self.clients[client].transaction;
        let fenced = self.newest.get(&World::id(client)) != Some(&identity);
        // Too late to be told, but in any case nothing that may count.
        let promised = fenced.then_some(Outcome::Abort);
        self.writes.push(Write { transaction, fate: Fate::Open, promised });
    }

    fn end(&mut self, client: usize, commit: bool) {
        let Some(identity) = self.clients[client].identity else { return };
        let outcome = if commit { Outcome::Commit } else { Outcome::Abort };
        let id = Arc::from(IDS[World::id(client)]);
        match self.seat.play(Command::End { id, identity, outcome }).replies.as_slice() {
            [Reply::End(Ok(()))] => self.promise(client, outcome),
            [Reply::End(Err(error))] => self.refused(client, *error),
            other => panic!("{other:?}"),
        }
    }

    fn mark(&mut self, id: usize, partitions: &BTreeSet<i32>, heard: bool) {
        let Some(ending) = self.seat.machine.endings(|it| &**it == IDS[id]).pop() else { return };
        let Ending { id, identity, outcome, partitions: waiting } = ending;
        let reached: BTreeSet<TopicPartition> =
            waiting.into_iter().filter(|it| partitions.contains(&it.partition)).collect();
        for partition in &reached {
            self.partitions[partition.partition as usize].take_marker(identity, outcome, &mut self.writes);
        }
        if heard {
            let replies = self.seat.play(Command::Marked { id, identity, partitions: reached }).replies;
            assert!(matches!(replies.as_slice(), [Reply::Marked(_)]), "{replies:?}");
        }
    }

    /// The log says what the machine knows, but for partitions that have had their marker.
    fn compare_with_the_log(&self) {
        let replayed = self.seat.replayed();
        for id in IDS {
            let (lives, said) = (self.seat.machine.stored(id), replayed.stored(id));
            assert_eq!(lives.is_some(), said.is_some());
            let (Some(lives), Some(said)) = (lives, said) else { continue };
            let mut lives = lives.clone();
            if lives.state.is_ending() {
                assert!(lives.partitions.is_subset(&said.partitions));
                lives.partitions = said.partitions.clone();
            }
            if lives.state == State::Ongoing && lives.epoch == said.epoch + 1 {
                // The producer was to be fenced while the log took nothing.
                lives.epoch = said.epoch;
            }
            assert_eq!(&lives, said);
        }
    }

    /// Lets everything come to its end, and looks at what became of it.
    fn judge(&mut self) {
        self.seat.jammed = None;
        for _ in 0..2 {
            self.seat.pass(60_000);
            for id in 0..IDS.len() {
                self.mark(id, &(0..PARTITIONS).collect(), true);
            }
        }
        assert!(self.seat.machine.endings(|_| true).is_empty());
        let mut together: BTreeMap<(u64, bool), BTreeSet<Outcome>> = BTreeMap::new();
        for write in &self.writes {
            let Fate::Ended(outcome) = write.fate else { panic!("a transaction is open for ever") };
            if let Some(promised) = write.promised {
                assert_eq!(outcome, promised, "what was promised is what came");
            }
            together.entry((write.transaction, write.promised.is_some())).or_default().insert(outcome);
        }
        assert!(together.values().all(|outcomes| outcomes.len() == 1), "all or nothing: {together:?}");
    }
}

impl Partition {
    fn take_marker(&mut self, identity: Identity, outcome: Outcome, writes: &mut [Write]) {
        let known = self.epochs.get(&identity.producer).copied().unwrap_or(identity.epoch);
        assert!(known <= identity.epoch, "markers are written under the newest epoch");
        self.epochs.insert(identity.producer, identity.epoch);
        for write in self.open.remove(&identity.producer).unwrap_or_default() {
            writes[write].fate = Fate::Ended(outcome);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn transactions_are_all_or_nothing_and_fenced_producers_write_nothing_that_counts(
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut world = World::new();
        for step in steps {
            world.take(step);
        }
        world.judge();
    }
}
