//! What must hold whatever happens, watched by an eye that sees every machine at once.
//!
//! Once a record is below the high watermark of a leader it is *committed*: every later leader has it, and no replica has
//! another one below its own watermark. Excused is only what Kafka does not promise either: an unclean election where it
//! is allowed, and a loss of power of replicas while no other member of the in-sync set was there to keep the records.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use coordinator::cluster::Leadership;
use coordinator::replication::{History, Standing};
use storage::types::{BrokerId, LeaderEpoch, Offset, TopicPartition};

use super::log::{Log, Record, index};
use super::messages::{Counts, Life};

/// A broker lost unflushed records that its leader may count on.
struct Loss {
    /// Under this registration.
    registration: Option<i64>,
    /// Members of the set that have the records and were registered all along.
    witnesses: BTreeSet<BrokerId>,
    /// From when the broker registered again, and a controller in office could tell what had happened: the epoch of
    /// that controller, and whether no witness was left.
    told: Option<(i32, bool)>,
    /// The last state that was written before.
    version: i32,
    /// The broker left the in-sync set with this leader epoch.
    until: Option<LeaderEpoch>,
}

impl Loss {
    fn lasts(&self) -> bool {
        self.until.is_none()
    }

    /// Whether nobody could have prevented that the broker leads, by the word of the controller of `office`. A controller
    /// that was elected since prefers witnesses, but it cannot wait for those that are gone.
    fn excuses(&self, office: i32, epoch: LeaderEpoch) -> bool {
        self.until.is_none_or(|until| epoch < until)
            && self.told.is_some_and(|(then, alone)| alone || (office > then && self.witnesses.is_empty()))
    }
}

#[derive(Default)]
struct Course {
    /// With the epoch of the leader that committed it first.
    committed: Vec<(Record, LeaderEpoch)>,
    acknowledged: u64,
    /// What leaders before this epoch committed does not bind any more.
    since: i32,
    leaders: BTreeMap<LeaderEpoch, Life>,
    /// Every state that ZooKeeper ever held, by version.
    states: BTreeMap<i32, Leadership>,
    /// The registrations that the controllers knew of which wrote them.
    known: BTreeMap<i32, Arc<BTreeMap<BrokerId, i64>>>,
    losses: BTreeMap<BrokerId, Loss>,
    /// Members of the in-sync set that registered anew since they entered it: a controller must not trust them.
    restarted: BTreeSet<BrokerId>,
    /// Of every leader that there was: a former one may go on beside its successor.
    watermarks: BTreeMap<(Life, LeaderEpoch), Offset>,
}

impl Course {
    fn state(&self) -> Option<&Leadership> {
        self.states.values().next_back()
    }

    fn start_over(&mut self, since: LeaderEpoch) {
        self.since = self.since.max(since.0);
        self.committed.clear();
    }
}

#[derive(Default)]
pub(crate) struct Truth {
    courses: BTreeMap<TopicPartition, Course>,
    registered: BTreeMap<BrokerId, i64>,
    offices: BTreeMap<i32, Life>,
    /// The latest controller that had read the cluster.
    office: i32,
    counts: Counts,
    violation: Option<String>,
}

impl Truth {
    pub(crate) fn violated(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }

    pub(crate) fn violation(&self) -> Option<&String> {
        self.violation.as_ref()
    }

    pub(crate) fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }

    pub(crate) fn acknowledged_of(&self, partition: &TopicPartition) -> u64 {
        self.courses.get(partition).map_or(0, |course| course.acknowledged)
    }
}

/// What ZooKeeper holds.
impl Truth {
    pub(crate) fn registered(&mut self, broker: BrokerId, epoch: i64) {
        let former = self.registered.insert(broker, epoch);
        if former == Some(epoch) {
            return;
        }
        let office = self.office;
        for course in self.courses.values_mut() {
            if course.state().is_some_and(|state| state.isr.contains(&broker)) {
                course.restarted.insert(broker);
            }
            if let Some(loss) = course.losses.get_mut(&broker) {
                loss.told.get_or_insert((office, loss.witnesses.is_empty()));
            }
        }
    }

    pub(crate) fn unregistered(&mut self, broker: BrokerId) {
        self.registered.remove(&broker);
        for loss in self.courses.values_mut().flat_map(|course| course.losses.values_mut()) {
            loss.witnesses.remove(&broker);
        }
    }

    /// By a controller that knew of these registrations.
    pub(crate) fn state_written(
        &mut self,
        partition: &TopicPartition,
        state: Leadership,
        known: Arc<BTreeMap<BrokerId, i64>>,
        unclean: bool,
    ) {
        let course = self.courses.entry(partition.clone()).or_default();
        let mut wrong = None;
        let former_isr = course.state().map(|former| former.isr.clone());
        let former_isr = former_isr.as_ref();
        if let Some(former) = course.state() {
            let changes_hands = state.leader != former.leader;
            if state.leader_epoch < former.leader_epoch
                || (changes_hands && state.leader_epoch == former.leader_epoch)
                || state.controller_epoch < former.controller_epoch
            {
                wrong = Some(format!("the state of {partition} went from {former:?} to {state:?}"));
            }
            if state.leader != BrokerId::NONE && !former.isr.contains(&state.leader) {
                if unclean {
                    course.start_over(state.leader_epoch);
                    *self.counts.entry("unclean elections").or_default() += 1;
                } else {
                    wrong =
                        Some(format!("{} leads {partition} and was not in sync: {former:?}", state.leader));
                }
            }
        }
        course.restarted.retain(|broker| state.isr.contains(broker));
        for (broker, loss) in &mut course.losses {
            let rejoined = former_isr.is_some_and(|isr| !isr.contains(broker))
                && loss.registration != self.registered.get(broker).copied();
            // Whoever joins in a new life has fetched in it.
            if state.isr.contains(broker) && rejoined
                || !state.isr.contains(broker) && former_isr.is_some_and(|isr| isr.contains(broker))
            {
                loss.until.get_or_insert(state.leader_epoch);
            }
            loss.witnesses.retain(|witness| state.isr.contains(witness));
        }
        course.known.insert(state.version, known);
        course.states.insert(state.version, state);
        if let Some(wrong) = wrong {
            self.violated(wrong);
        }
    }

    /// The controller has read the cluster and begins to act.
    pub(crate) fn began_office(&mut self, epoch: i32) {
        self.office = self.office.max(epoch);
    }

    pub(crate) fn took_office(&mut self, epoch: i32, life: Life) {
        if let Some(other) = self.offices.insert(epoch, life)
            && other != life
        {
            self.violated(format!("controller epoch {epoch} belongs to {other} and to {life}"));
        }
    }
}

/// What brokers do.
impl Truth {
    /// The machine of `broker` lost power, and with it the end of its log.
    pub(crate) fn lost_power(&mut self, broker: BrokerId, partition: &TopicPartition) {
        let registered = &self.registered;
        let Some(course) = self.courses.get_mut(partition) else { return };
        let Some((isr, version)) = course.state().map(|state| (state.isr.clone(), state.version)) else {
            return;
        };
        let has_lost = |other: &BrokerId| course.losses.get(other).is_some_and(Loss::lasts);
        let has_all = |other: &BrokerId| {
            registered.contains_key(other) && !has_lost(other) && !course.restarted.contains(other)
        };
        let witnesses = isr.into_iter().filter(|other| *other != broker && has_all(other)).collect();
        for loss in course.losses.values_mut() {
            loss.witnesses.remove(&broker);
        }
        course.losses.insert(
            broker,
            Loss {
                registration: registered.get(&broker).copied(),
                witnesses,
                told: None,
                version,
                until: None,
            },
        );
    }

    /// `life` leads from now on, with this log.
    pub(crate) fn leads(&mut self, partition: &TopicPartition, life: Life, standing: &Standing, log: &Log) {
        let epoch = standing.leader_epoch;
        self.stands(partition, life, standing);
        let course = self.courses.entry(partition.clone()).or_default();
        if let Some(other) = course.leaders.insert(epoch, life)
            && other.broker != life.broker
        {
            self.violated(format!("{other} and {life} both lead {partition} in epoch {epoch}"));
            return;
        }
        if epoch.0 < course.since {
            return;
        }
        // The word of the controller may come late: what later leaders committed is not asked for.
        let missing = course
            .committed
            .iter()
            .enumerate()
            .find(|(at, (record, when))| *when <= epoch && log.records().get(*at) != Some(record));
        if let Some((at, (record, when))) = missing {
            let found = log.records().get(at);
            let version = standing.partition_epoch;
            let office = course.states.get(&version).map_or(0, |state| state.controller_epoch);
            let known = course.known.get(&version).and_then(|known| known.get(&life.broker));
            let excused = course.losses.get(&life.broker).is_some_and(|loss| {
                // The controller has not heard of the restart yet, and elected whom it took for in sync.
                let unaware = version > loss.version && known < self.registered.get(&life.broker);
                unaware || loss.excuses(office, epoch)
            });
            if !excused {
                let wrong = format!(
                    "{life} leads {partition} in epoch {epoch} and lost what was committed at {at} in epoch {when}: \
                     {record:?}; it has {found:?}"
                );
                return self.violated(wrong);
            }
            course.start_over(epoch);
            self.count("losses that nobody promised to prevent");
        }
        self.committed(partition, life, epoch, log, Offset::ZERO);
    }

    /// A leader acts on a state that was written, and on no other.
    pub(crate) fn stands(&mut self, partition: &TopicPartition, life: Life, standing: &Standing) {
        let course = self.courses.entry(partition.clone()).or_default();
        let written = course.states.get(&standing.partition_epoch);
        let is_written = written.is_some_and(|state| {
            state.leader_epoch == standing.leader_epoch
                && state.isr.iter().copied().collect::<BTreeSet<_>>() == standing.isr
        });
        if !is_written {
            let wrong =
                format!("{life} leads {partition} as {standing:?}, which was never written: {written:?}");
            self.violated(wrong);
        }
    }

    /// A leader's high watermark is where its log says; it was at `before`.
    pub(crate) fn committed(
        &mut self,
        partition: &TopicPartition,
        life: Life,
        epoch: LeaderEpoch,
        log: &Log,
        before: Offset,
    ) {
        let now = log.high_watermark();
        let course = self.courses.entry(partition.clone()).or_default();
        let mut wrong = None;
        if let Some(former) = course.watermarks.insert((life, epoch), now)
            && now < former
        {
            wrong = Some(format!("the high watermark of {life} for {partition} went from {former} to {now}"));
        }
        if epoch.0 >= course.since {
            for at in index(before.0)..index(now.0) {
                let Some(record) = log.records().get(at) else { break };
                match course.committed.get(at) {
                    None => course.committed.push((*record, epoch)),
                    Some((other, _)) if other == record => {}
                    Some((other, _)) => {
                        wrong = Some(format!(
                            "{life} committed {record:?} at {at} of {partition} in epoch {epoch}; {other:?} was"
                        ));
                        break;
                    }
                }
            }
        }
        if let Some(wrong) = wrong {
            self.violated(wrong);
        }
    }

    /// A follower took over the high watermark of the leader of `epoch`; its own was at `before`.
    pub(crate) fn replicated(
        &mut self,
        partition: &TopicPartition,
        life: Life,
        epoch: LeaderEpoch,
        log: &Log,
        before: Offset,
    ) {
        let course = self.courses.entry(partition.clone()).or_default();
        if epoch.0 < course.since {
            return;
        }
        let different = (index(before.0)..index(log.high_watermark().0))
            .find(|at| course.committed.get(*at).map(|(record, _)| record) != log.records().get(*at));
        if let Some(at) = different {
            let (own, common) = (log.records().get(at), course.committed.get(at));
            let wrong = format!(
                "{life} has {own:?} below its high watermark at {at} of {partition} in epoch {epoch}; \
                 {common:?} was committed"
            );
            self.violated(wrong);
        }
    }

    /// A producer was told that all replicas in sync have its record.
    pub(crate) fn acknowledged(
        &mut self,
        partition: &TopicPartition,
        epoch: LeaderEpoch,
        at: Offset,
        value: u64,
    ) {
        self.count("records acknowledged by all");
        let course = self.courses.entry(partition.clone()).or_default();
        course.acknowledged += 1;
        let committed = course.committed.get(index(at.0)).map(|(record, _)| record.value);
        if epoch.0 >= course.since && committed != Some(value) {
            self.violated(format!(
                "{value} was acknowledged at {at} of {partition}; committed is {committed:?}"
            ));
        }
    }

    /// In the end: how many records every replica must have.
    pub(crate) fn committed_length(&self, partition: &TopicPartition) -> usize {
        self.courses.get(partition).map_or(0, |course| course.committed.len())
    }
}
