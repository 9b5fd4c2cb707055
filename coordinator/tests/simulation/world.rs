//! The whole: brokers that live and die, ZooKeeper, producers, faults, and the end in which all must be well again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use coordinator::cluster::{Assignment, TopicRecord};
use coordinator::replication::History;
use storage::types::{BrokerId, TopicPartition};

use super::ensemble::{Ensemble, create};
use super::log::Log;
use super::messages::{Answer, Body, Counts, Life};
use super::outside::{Happening, Input, Outside};
use super::process::Process;
use super::random::Random;
use super::replica::Role;
use super::scenario::{Broken, Scenario};
use super::term::Hands;
use super::texts;
use super::truth::Truth;

const TOPIC: &str = "orders";
/// How long after the last fault all may take to be well again. Unit: ms.
const HEALING_MS: u64 = 120_000;
/// Bounds a run that does not come to rest.
const HAPPENINGS_MAX: u64 = 2_000_000;

/// A broker's machine: its disk outlives its processes.
pub(crate) struct Machine {
    pub(crate) id: BrokerId,
    lives: u32,
    pub(crate) process: Option<Process>,
    disk: BTreeMap<TopicPartition, Log>,
    /// Stopped in its tracks, and what it will find when it goes on.
    frozen: Option<Vec<Input>>,
}

/// How a run ended.
pub(crate) struct Report {
    pub(crate) counts: Counts,
    pub(crate) violation: Option<String>,
    pub(crate) trace: Vec<String>,
}

pub(crate) struct World {
    pub(crate) outside: Outside,
    pub(crate) ensemble: Ensemble,
    pub(crate) machines: BTreeMap<BrokerId, Machine>,
    partitions: BTreeMap<TopicPartition, Vec<BrokerId>>,
    values: u64,
    /// Acknowledged records when all faults ended, by partition.
    acknowledged: BTreeMap<TopicPartition, u64>,
    over: bool,
}

impl World {
    pub(crate) fn new(seed: u64, broken: Option<Broken>, traced: bool) -> World {
        let mut random = Random::new(seed);
        let scenario = Scenario::draw(&mut random, broken);
        let mut outside = Outside::new(random, scenario.clone(), broken, traced, Truth::default());
        outside.say(|| format!("{scenario:?}"));
        let ensemble = Ensemble::begin(&mut outside);
        let machine =
            |id: BrokerId| Machine { id, lives: 0, process: None, disk: BTreeMap::new(), frozen: None };
        let machines = scenario.brokers.iter().map(|id| (*id, machine(*id))).collect();
        let count = scenario.brokers.len();
        let replicas = |index: usize| -> Vec<BrokerId> {
            let places = (0..scenario.replicas).map(|nth| (index + nth) % count);
            places.filter_map(|place| scenario.brokers.get(place).copied()).collect()
        };
        let partitions = (0..scenario.partitions).map(|index| {
            let replicas = replicas(usize::try_from(index).unwrap_or(0));
            (TopicPartition::new(TOPIC, index), replicas)
        });
        let partitions = partitions.collect();
        World {
            outside,
            ensemble,
            machines,
            partitions,
            values: 0,
            acknowledged: BTreeMap::new(),
            over: false,
        }
    }

    /// From the first start to the end, or to the first violation.
    pub(crate) fn run(mut self) -> Report {
        self.create_topic();
        for id in self.outside.scenario.brokers.clone() {
            let delay = self.outside.random.between(0, 3_000);
            self.outside.after(delay, Happening::Restart(id));
        }
        self.outside.after(1_000, Happening::Produce);
        self.outside.after(5_000, Happening::Fault);
        let trouble = self.outside.scenario.trouble_ms;
        self.outside.after(trouble, Happening::Heal);
        let mut happened = 0;
        while !self.over && self.outside.truth.violation().is_none() {
            let Some(happening) = self.outside.next() else { break };
            happened += 1;
            if happened > HAPPENINGS_MAX {
                self.outside.truth.violated("the cluster does not come to rest".to_owned());
            }
            self.happen(happening);
        }
        let violation = self.outside.truth.violation().cloned();
        Report { counts: self.outside.truth.counts().clone(), violation, trace: self.outside.take_trace() }
    }

    fn create_topic(&mut self) {
        let assignments = self
            .partitions
            .iter()
            .map(|(name, replicas)| (name.partition, Assignment::of(replicas.clone())))
            .collect();
        let record = TopicRecord { name: Arc::from(TOPIC), id: None, assignments };
        let write = create(&texts::topic(TOPIC), texts::encode_topic(&record), false);
        self.ensemble.operate(&mut self.outside, write);
        // Nobody reads it but a controller that looks for the topic's own settings.
        self.ensemble.operate(&mut self.outside, create("/config", Bytes::new(), false));
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Process(life, input) => {
                let machine = self.machines.get_mut(&life.broker);
                if let Some(machine) = machine.filter(|machine| machine.lives == life.number) {
                    machine.input(&mut self.outside, input);
                }
                self.bury(life.broker);
            }
            Happening::Arrival { to, from, id, body } => {
                match self.machines.get_mut(&to).filter(|machine| machine.process.is_some()) {
                    Some(machine) => machine.input(&mut self.outside, Input::Request { from, id, body }),
                    None => self.outside.refuse(from, id),
                }
                self.bury(to);
            }
            Happening::ToZooKeeper { life, connection, message } => {
                self.ensemble.receive(&mut self.outside, life, connection, message);
            }
            Happening::ToClient(answer) => {
                let is_taken = matches!(answer, Answer::Produced(Ok(_)));
                self.outside.truth.count(if is_taken { "records produced" } else { "records refused" });
            }
            Happening::ZooKeeperTick => self.ensemble.tick(&mut self.outside),
            Happening::Produce => self.produce(),
            Happening::Fault => self.fault(),
            Happening::Restart(id) => self.restart(id),
            Happening::Resume(id) => self.resume(id),
            Happening::Mend(ways) => self.outside.network.mend(&ways),
            Happening::ZooKeeperBack => {
                self.outside.say(|| "ZooKeeper is back");
                self.ensemble.come_back(&self.outside);
            }
            Happening::Heal => self.heal(),
            Happening::Check => self.check(),
        }
    }

    /// A record for a random partition, to its leader or, now and then, to whoever may think it leads.
    fn produce(&mut self) {
        let pause = self.outside.scenario.produce_pause_ms;
        let next = self.outside.random.between(1, 2 * pause);
        self.outside.after(next, Happening::Produce);
        let names: Vec<TopicPartition> = self.partitions.keys().cloned().collect();
        let Some(partition) = self.outside.random.pick(&names).cloned() else { return };
        let leads = |machine: &&Machine| {
            let replica = machine.process.as_ref().and_then(|process| process.replicas.get(&partition));
            replica.is_some_and(|replica| matches!(replica.role, Role::Leader { .. }))
        };
        let leaders: Vec<BrokerId> = self.machines.values().filter(leads).map(|machine| machine.id).collect();
        let Some(to) = self.outside.random.pick(&leaders).copied() else { return };
        self.values += 1;
        let acks_all_per_mille = self.outside.scenario.acks_all_per_mille;
        let acks_all = self.outside.healed || self.outside.random.chance(acks_all_per_mille);
        let body = Body::Produce { partition, value: self.values, acks_all };
        self.outside.produce(to, body);
    }
}

impl Machine {
    fn input(&mut self, outside: &mut Outside, input: Input) {
        match (&mut self.frozen, &mut self.process) {
            (Some(later), _) => later.push(input),
            (None, Some(process)) => process.input(outside, input),
            (None, None) => {}
        }
    }

    pub(crate) fn life(&self) -> Life {
        Life { broker: self.id, number: self.lives }
    }

    pub(crate) fn is_frozen(&self) -> bool {
        self.frozen.is_some()
    }

    /// The process ends; the disk keeps what it had, or only some of what was not flushed.
    pub(crate) fn die(&mut self, outside: &mut Outside, power_loss: bool) {
        let Some(process) = self.process.take() else { return };
        self.frozen = None;
        for (partition, replica) in process.replicas {
            let mut log = replica.log;
            let all = log.records().len();
            let flushed = u64::try_from(log.flushed()).unwrap_or(0);
            let kept = match power_loss {
                true => usize::try_from(outside.random.between(flushed, all as u64)).unwrap_or(all),
                false => all,
            };
            if kept < all {
                outside.say(|| format!("broker {}: {partition} keeps {kept} of {all} records", self.id));
                outside.truth.lost_power(self.id, &partition);
            }
            log.reopen(kept);
            self.disk.insert(partition, log);
        }
    }

    /// In order: everything is written down.
    fn stop(&mut self, outside: &mut Outside) {
        if let Some(process) = &mut self.process {
            process.replicas.values_mut().for_each(|replica| {
                replica.log.flush();
                replica.log.note_watermark();
            });
        }
        self.die(outside, false);
    }
}

/// Lives.
impl World {
    pub(crate) fn restart(&mut self, id: BrokerId) {
        let Some(machine) = self.machines.get_mut(&id) else { return };
        if machine.process.is_none() {
            machine.lives += 1;
            let disk = std::mem::take(&mut machine.disk);
            machine.process = Some(Process::start(&mut self.outside, machine.life(), disk));
        }
    }

    pub(crate) fn freeze(&mut self, id: BrokerId) {
        if let Some(machine) = self.machines.get_mut(&id)
            && machine.process.is_some()
            && machine.frozen.is_none()
        {
            machine.frozen = Some(Vec::new());
        }
    }

    pub(crate) fn resume(&mut self, id: BrokerId) {
        let Some(machine) = self.machines.get_mut(&id) else { return };
        let Some(later) = machine.frozen.take() else { return };
        self.outside.say(|| format!("broker {id} goes on"));
        for input in later {
            machine.input(&mut self.outside, input);
        }
        self.bury(id);
    }

    /// A process that has nothing more to do stops in order, and ends its session.
    fn bury(&mut self, id: BrokerId) {
        let Some(machine) = self.machines.get_mut(&id) else { return };
        if !machine.process.as_ref().is_some_and(|process| process.done) {
            return;
        }
        let life = machine.life();
        self.outside.say(|| format!("{life}: stops in order"));
        machine.stop(&mut self.outside);
        self.ensemble.expire_session_of(&mut self.outside, life);
        let pause = self.outside.random.between(500, 10_000);
        self.outside.after(pause, Happening::Restart(id));
    }

    /// Work for whoever is controller.
    pub(crate) fn balance_leaders(&mut self) {
        for machine in self.machines.values_mut().filter(|machine| !machine.is_frozen()) {
            let Some(process) = &mut machine.process else { continue };
            if let Some(number) = process.term.as_ref().map(|term| term.number) {
                process
                    .with_term(&mut self.outside, number, |term, hands: &mut Hands<'_>| term.balance(hands));
            }
        }
    }
}

/// The end.
impl World {
    fn heal(&mut self) {
        self.outside.say(|| "all faults end");
        self.outside.healed = true;
        self.outside.network.mend_all();
        for id in self.outside.scenario.brokers.clone() {
            self.resume(id);
            self.outside.after(100, Happening::Restart(id));
        }
        self.acknowledged = self
            .partitions
            .keys()
            .map(|name| (name.clone(), self.outside.truth.acknowledged_of(name)))
            .collect();
        self.outside.after(1_000, Happening::Check);
    }

    fn check(&mut self) {
        match self.unfinished() {
            None => self.over = true,
            Some(_) if self.outside.now < self.outside.scenario.trouble_ms + HEALING_MS => {
                self.outside.after(500, Happening::Check);
            }
            Some(what) => self.outside.truth.violated(format!("it does not become well again: {what}")),
        }
    }

    /// What is not as it should be when nothing has been wrong for a while.
    fn unfinished(&self) -> Option<String> {
        if let Some(down) = self.machines.values().find(|machine| machine.process.is_none()) {
            return Some(format!("broker {} is down", down.id));
        }
        let terms = self.processes().filter_map(|process| process.term.as_ref());
        let in_office: Vec<i32> = terms.filter(|term| term.is_in_office()).map(|term| term.epoch).collect();
        let stands = self.ensemble.data(texts::CONTROLLER_EPOCH).map(|data| texts::read_number(&data));
        if in_office.len() != 1 || in_office.first().map(|epoch| i64::from(*epoch)) != stands {
            return Some(format!("controllers {in_office:?} are in office, the epoch is {stands:?}"));
        }
        self.partitions.iter().find_map(|(partition, replicas)| self.unequal(partition, replicas))
    }

    fn processes(&self) -> impl Iterator<Item = &Process> {
        self.machines.values().filter_map(|machine| machine.process.as_ref())
    }

    fn unequal(&self, partition: &TopicPartition, replicas: &[BrokerId]) -> Option<String> {
        let Some((data, version)) = self.ensemble.node(&texts::state(partition)) else {
            return Some(format!("{partition} was never led"));
        };
        let state = texts::decode_state(&data, version);
        let isr: BTreeSet<BrokerId> = state.isr.iter().copied().collect();
        if isr != replicas.iter().copied().collect() || !isr.contains(&state.leader) {
            return Some(format!("{partition} is {}", super::ensemble::shown(&state)));
        }
        if self.outside.truth.acknowledged_of(partition)
            <= self.acknowledged.get(partition).copied().unwrap_or(0)
        {
            return Some(format!("{partition} acknowledges no record"));
        }
        let told = (state.leader, state.leader_epoch);
        if let Some(behind) = self.processes().find(|process| process.leaders.get(partition) != Some(&told)) {
            return Some(format!("{} was not told who leads {partition}", behind.life));
        }
        let logs: Vec<(BrokerId, &Log)> = self
            .processes()
            .filter_map(|process| Some((process.life.broker, &process.replicas.get(partition)?.log)))
            .filter(|(id, _)| replicas.contains(id))
            .collect();
        let leaders = logs.iter().find(|(id, _)| *id == state.leader).map(|(_, log)| *log)?;
        let committed = self.outside.truth.committed_length(partition);
        logs.iter().find_map(|(id, log)| {
            let common = usize::try_from(log.high_watermark().0).unwrap_or(0);
            let same = log.records().get(..common) == leaders.records().get(..common);
            let recent = committed.saturating_sub(common) < 32;
            (!same || !recent).then(|| {
                format!(
                    "{partition} of broker {id} ends at {}, watermark {common}, committed {committed}",
                    log.log_end()
                )
            })
        })
    }
}
