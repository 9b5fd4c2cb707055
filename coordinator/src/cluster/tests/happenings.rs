//! Whatever happens, in any order: what must hold after each of it.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Happening {
    Brokers(BTreeMap<i32, i64>),
    Create(usize, Vec<Vec<i32>>),
    Delete(usize),
    Confirm,
    Balance,
    Shutdown(i32),
    Shrink(usize),
    ForeignWrite(usize),
}

fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let replicas = prop::sample::subsequence(vec![0, 1, 2, 3], 1..=3).prop_shuffle();
    let happening = prop_oneof![
        3 => prop::collection::btree_map(0..4, 0..3_i64, 0..=4).prop_map(Happening::Brokers),
        3 => (0..3_usize, prop::collection::vec(replicas, 1..4)).prop_map(|(n, p)| Happening::Create(n, p)),
        1 => (0..3_usize).prop_map(Happening::Delete),
        2 => Just(Happening::Confirm),
        1 => Just(Happening::Balance),
        1 => (0..4).prop_map(Happening::Shutdown),
        2 => (0..9_usize).prop_map(Happening::Shrink),
        1 => (0..9_usize).prop_map(Happening::ForeignWrite),
    ];
    prop::collection::vec(happening, 1..40)
}

impl Office {
    fn suffer(&mut self, happening: Happening, epoch: &mut i64) {
        const NAMES: [&str; 3] = ["a", "b", "c"];
        match happening {
            Happening::Brokers(brokers) => {
                let known = self.controller.image().brokers().clone();
                let now = brokers.into_iter().map(|(id, bounce)| {
                    let stays = known.get(&BrokerId(id)).filter(|_| bounce > 0).map(|broker| broker.epoch);
                    *epoch += 1;
                    (id, stays.unwrap_or(*epoch))
                });
                self.brokers(&now.collect::<Vec<_>>());
            }
            Happening::Create(name, partitions) => {
                if !self.tree.topics.contains_key(NAMES[name]) {
                    let partitions: Vec<&[i32]> = partitions.iter().map(Vec::as_slice).collect();
                    self.create(NAMES[name], &partitions);
                }
            }
            Happening::Delete(name) => self.delete(NAMES[name]),
            Happening::Confirm => {
                let alive: Vec<i32> = self.controller.image().brokers().keys().map(|id| id.0).collect();
                for id in alive {
                    let deleted = self.tree.states.keys().cloned().collect::<BTreeSet<TopicPartition>>();
                    let failed = BTreeSet::new();
                    self.tell(Event::DeletionAnswered { broker: BrokerId(id), deleted, failed });
                }
            }
            Happening::Balance => self.tell(Event::BalanceLeaders),
            Happening::Shutdown(id) => self.tell(Event::ControlledShutdown {
                ticket: Ticket(0),
                broker: BrokerId(id),
                broker_epoch: -1,
            }),
            Happening::Shrink(nth) => {
                let Some((name, state)) = self.tree.states.iter().nth(nth) else { return };
                let Some(leader) = self.controller.image().brokers().get(&state.leader) else { return };
                let event = Event::AlterPartition {
                    ticket: Ticket(0),
                    broker: leader.id,
                    broker_epoch: leader.epoch,
                    changes: vec![IsrChange {
                        partition: name.clone(),
                        leader_epoch: state.leader_epoch,
                        isr: vec![member(leader.id.0, leader.epoch)],
                        recovery: state.recovery,
                        version: state.version,
                    }],
                };
                self.tell(event);
            }
            Happening::ForeignWrite(nth) => {
                if let Some(state) = self.tree.states.values_mut().nth(nth) {
                    state.version += 1;
                }
            }
        }
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let image = self.controller.image();
        prop_assert!(!self.controller.is_waiting());
        for (name, state) in &self.tree.states {
            prop_assert!(!state.isr.is_empty(), "{name} has an empty in-sync set");
            prop_assert!(
                state.leader == BrokerId::NONE || state.isr.contains(&state.leader),
                "{name} is led from outside of its in-sync set"
            );
            let Some(partition) = image.partition(name) else { continue };
            let known = partition.leadership.as_ref().expect("written by this controller");
            prop_assert!(known.version <= state.version);
            if image.is_queued_for_deletion(&name.topic) || known.version != state.version {
                continue;
            }
            let electable = state
                .isr
                .iter()
                .any(|id| image.brokers().contains_key(id) && !image.shutting_down().contains(id));
            if electable {
                prop_assert!(
                    image.brokers().contains_key(&state.leader),
                    "{name} could be led, but its leader is {}",
                    state.leader
                );
            }
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn whatever_happens_leaders_are_in_sync_and_alive_where_they_can_be(happenings in happenings()) {
        let mut office = Office::open(&[0, 1], Loaded::default());
        let mut epoch = 1000;
        for happening in happenings {
            office.suffer(happening, &mut epoch);
            office.check()?;
        }
    }
}
