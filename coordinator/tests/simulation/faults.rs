//! What goes wrong, drawn as the scenario weighs it.

use coordinator::znodes::Write;
use storage::types::BrokerId;

use super::messages::Place;
use super::outside::Happening;
use super::texts;
use super::world::World;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Crash,
    PowerLoss,
    Freeze,
    CutBrokers,
    CutZooKeeper,
    ZooKeeperAway,
    ExpireSession,
    ControlledShutdown,
    PreferredElection,
    ControllerDeleted,
}

impl World {
    /// One fault, and when the next one comes.
    pub(crate) fn fault(&mut self) {
        if self.outside.healed {
            return;
        }
        let pause = self.outside.scenario.faults.pause_ms;
        let next = self.outside.random.between(1, 2 * pause);
        self.outside.after(next, Happening::Fault);
        let Some(fault) = self.draw_fault() else { return };
        let brokers = self.outside.scenario.brokers.clone();
        let Some(broker) = self.outside.random.pick(&brokers).copied() else { return };
        self.inflict(fault, broker, &brokers);
    }

    fn draw_fault(&mut self) -> Option<Fault> {
        let faults = self.outside.scenario.faults;
        let weighed = [
            (Fault::Crash, faults.crash),
            (Fault::PowerLoss, faults.power_loss),
            (Fault::Freeze, faults.freeze),
            (Fault::CutBrokers, faults.cut_brokers),
            (Fault::CutZooKeeper, faults.cut_zookeeper),
            (Fault::ZooKeeperAway, faults.zookeeper_away),
            (Fault::ExpireSession, faults.expire_session),
            (Fault::ControlledShutdown, faults.controlled_shutdown),
            (Fault::PreferredElection, faults.preferred_election),
            (Fault::ControllerDeleted, faults.controller_deleted),
        ];
        let total = weighed.iter().map(|(_, weight)| weight).sum();
        let mut drawn = self.outside.random.below(total);
        weighed.into_iter().find_map(|(fault, weight)| {
            let hit = drawn < weight;
            drawn = drawn.saturating_sub(weight);
            hit.then_some(fault)
        })
    }

    fn inflict(&mut self, fault: Fault, broker: BrokerId, brokers: &[BrokerId]) {
        match fault {
            Fault::Crash | Fault::PowerLoss => {
                let power_loss = fault == Fault::PowerLoss;
                self.outside.say(|| match power_loss {
                    true => format!("FAULT: broker {broker} loses power"),
                    false => format!("FAULT: broker {broker} crashes"),
                });
                let Some(machine) = self.machines.get_mut(&broker) else { return };
                machine.die(&mut self.outside, power_loss);
                let pause = self.duration(100, 12_000);
                self.outside.after(pause, Happening::Restart(broker));
            }
            Fault::Freeze => {
                let ms = self.duration(300, 14_000);
                self.outside.say(|| format!("FAULT: broker {broker} stands still for {ms} ms"));
                self.freeze(broker);
                self.outside.after(ms, Happening::Resume(broker));
            }
            Fault::CutBrokers => {
                let ways = self.ways_between(broker, brokers);
                self.cut(ways);
            }
            Fault::CutZooKeeper => {
                let (there, back) = (Place::Broker(broker), Place::ZooKeeper);
                let ways = match self.outside.random.below(4) {
                    0 => vec![(there, back)],
                    1 => vec![(back, there)],
                    _ => vec![(there, back), (back, there)],
                };
                self.cut(ways);
            }
            Fault::ZooKeeperAway => {
                let ms = self.duration(500, 12_000);
                self.outside.say(|| format!("FAULT: ZooKeeper is away for {ms} ms"));
                self.ensemble.go_away();
                self.outside.after(ms, Happening::ZooKeeperBack);
            }
            Fault::ExpireSession => {
                let Some(life) = self.machines.get(&broker).map(super::world::Machine::life) else { return };
                self.outside.say(|| format!("FAULT: the session of {life} is ended"));
                self.ensemble.expire_session_of(&mut self.outside, life);
            }
            Fault::ControlledShutdown => {
                let Some(machine) = self.machines.get_mut(&broker) else { return };
                if !machine.is_frozen()
                    && let Some(process) = &mut machine.process
                {
                    process.shut_down(&mut self.outside);
                }
            }
            Fault::PreferredElection => self.balance_leaders(),
            Fault::ControllerDeleted => {
                self.outside.say(|| format!("FAULT: an operator deletes {}", texts::CONTROLLER));
                let delete = Write::Delete { path: texts::CONTROLLER.to_owned(), version: -1 };
                self.ensemble.operate(&mut self.outside, delete);
            }
        }
    }

    /// From one broker to another or to all others, in one direction or both.
    fn ways_between(&mut self, broker: BrokerId, brokers: &[BrokerId]) -> Vec<(Place, Place)> {
        let others: Vec<BrokerId> = brokers.iter().copied().filter(|other| *other != broker).collect();
        let others = match self.outside.random.chance(500) {
            true => others,
            false => self.outside.random.pick(&others).copied().into_iter().collect(),
        };
        let direction = self.outside.random.below(3);
        let mut ways = Vec::new();
        for other in others {
            let (here, there) = (Place::Broker(broker), Place::Broker(other));
            if direction != 0 {
                ways.push((here, there));
            }
            if direction != 1 {
                ways.push((there, here));
            }
        }
        ways
    }

    fn cut(&mut self, ways: Vec<(Place, Place)>) {
        let ms = self.duration(300, 15_000);
        self.outside.say(|| format!("FAULT: nothing passes {ways:?} for {ms} ms"));
        self.outside.network.cut(&ways);
        self.outside.after(ms, Happening::Mend(ways));
    }

    /// Short ones as often as long ones. Unit: ms.
    fn duration(&mut self, least: u64, most: u64) -> u64 {
        let most = if self.outside.random.chance(500) { least + (most - least) / 5 } else { most };
        self.outside.random.between(least, most)
    }
}
