//! Which partitions of an internal topic this broker coordinates: it takes a seat when it becomes the leader, reads
//! the log, and gives the seat up when it is no longer.
//!
//! Always true: a seat belongs to one leader epoch; while the log is read nobody is served from it; a seat that was
//! given up while it was being read is not taken.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use coordinator::machine::AppendFailure;
use storage::batch;
use storage::types::{LeaderEpoch, Offset};
use tokio::runtime::Handle;
use tracing::{debug, error, info, warn};

use crate::machines::journal::{Journal, Journaled, Writing};
use crate::machines::runner::Runner;

/// Why nobody can be served from a partition here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vacant {
    Loading,
    /// Another broker leads the partition, or none.
    NotHere,
}

pub(crate) struct Seats<M: Journaled, J: Journal> {
    /// The internal topic.
    topic: &'static str,
    writing: Writing,
    make: Box<dyn Fn() -> M + Send + Sync>,
    /// Told of every seat that is taken.
    attend: Box<dyn Fn(Taken<M, J>) + Send + Sync>,
    /// A std mutex: held for a look-up or a change, never across `.await` or a read of the log.
    seats: Mutex<BTreeMap<i32, Seat<M, J>>>,
}

/// A seat from which is served from now on.
pub(crate) struct Taken<M: Journaled, J: Journal> {
    pub(crate) partition: i32,
    pub(crate) epoch: LeaderEpoch,
    pub(crate) runner: Arc<Runner<M, J>>,
}

enum Seat<M: Journaled, J: Journal> {
    Loading {
        epoch: LeaderEpoch,
        /// What other rooms appended meanwhile. Telling the machine twice does no harm.
        observed: Vec<(Offset, M::Record)>,
    },
    Taken {
        epoch: LeaderEpoch,
        runner: Arc<Runner<M, J>>,
    },
}

impl<M: Journaled, J: Journal> Seats<M, J> {
    /// `attend` is called with seats locked: it only takes note.
    pub(crate) fn new(
        topic: &'static str,
        writing: Writing,
        make: impl Fn() -> M + Send + Sync + 'static,
        attend: impl Fn(Taken<M, J>) + Send + Sync + 'static,
    ) -> Arc<Self> {
        let (make, attend) = (Box::new(make), Box::new(attend));
        Arc::new(Seats { topic, writing, make, attend, seats: Mutex::default() })
    }

    pub(crate) fn find(&self, partition: i32) -> Result<Arc<Runner<M, J>>, Vacant> {
        match self.lock().get(&partition) {
            Some(Seat::Taken { runner, .. }) => Ok(Arc::clone(runner)),
            Some(Seat::Loading { .. }) => Err(Vacant::Loading),
            None => Err(Vacant::NotHere),
        }
    }

    /// All that are being served from.
    pub(crate) fn taken(&self) -> Vec<Arc<Runner<M, J>>> {
        self.lock().values().filter_map(Seat::runner).collect()
    }

    /// Whether any is still being read.
    pub(crate) fn is_loading(&self) -> bool {
        self.lock().values().any(|seat| seat.runner().is_none())
    }

    /// This broker leads the partition from `epoch` on. Returns at once; the log is read in the background.
    pub(crate) fn lead(self: &Arc<Self>, partition: i32, epoch: LeaderEpoch, journal: J) {
        {
            let mut seats = self.lock();
            match seats.get(&partition) {
                Some(seat) if seat.epoch() >= epoch => return,
                Some(seat) => seat.close(),
                None => {}
            }
            seats.insert(partition, Seat::Loading { epoch, observed: Vec::new() });
        }
        let seats = Arc::clone(self);
        let runtime = Handle::current();
        tokio::task::spawn_blocking(move || {
            let _entered = runtime.enter();
            seats.load(partition, epoch, journal);
        });
    }

    /// This broker no longer leads the partition: whoever waits is told so.
    pub(crate) fn resign(&self, partition: i32) {
        if let Some(seat) = self.lock().remove(&partition) {
            info!(topic = self.topic, partition, "no longer coordinating");
            seat.close();
        }
    }

    /// A record that another room has appended to the partition's log.
    pub(crate) fn observe(&self, partition: i32, at: Offset, record: M::Record) {
        match self.lock().get_mut(&partition) {
            Some(Seat::Taken { runner, .. }) => runner.observe(at, &record),
            Some(Seat::Loading { observed, .. }) => observed.push((at, record)),
            None => {}
        }
    }

    /// All seats are given up, as at the end of the broker.
    pub(crate) fn close(&self) {
        for seat in std::mem::take(&mut *self.lock()).into_values() {
            seat.close();
        }
    }

    fn load(self: &Arc<Self>, partition: i32, epoch: LeaderEpoch, journal: J) {
        let started = Instant::now();
        let mut machine = (self.make)();
        let read = replay(&mut machine, &journal);
        let mut seats = self.lock();
        let Some(Seat::Loading { epoch: current, observed }) = seats.get(&partition) else { return };
        if *current != epoch {
            return;
        }
        match read {
            Ok(records) => {
                for (at, record) in observed {
                    machine.apply(*at, record);
                }
                let took = started.elapsed();
                debug!(topic = self.topic, partition, records, ?took, epoch = epoch.0, "coordinating");
                let name = format!("{}-{partition}", self.topic);
                let runner = Runner::start(name, machine, journal, self.writing);
                (self.attend)(Taken { partition, epoch, runner: Arc::clone(&runner) });
                seats.insert(partition, Seat::Taken { epoch, runner });
            }
            Err(failure) => {
                seats.remove(&partition);
                error!(
                    topic = self.topic,
                    partition,
                    ?failure,
                    "the log of the coordinator cannot be read; its clients are turned away until the partition has \
                     another leader"
                );
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<i32, Seat<M, J>>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M: Journaled, J: Journal> Seat<M, J> {
    fn epoch(&self) -> LeaderEpoch {
        match self {
            Seat::Loading { epoch, .. } | Seat::Taken { epoch, .. } => *epoch,
        }
    }

    fn runner(&self) -> Option<Arc<Runner<M, J>>> {
        match self {
            Seat::Taken { runner, .. } => Some(Arc::clone(runner)),
            Seat::Loading { .. } => None,
        }
    }

    fn close(&self) {
        if let Seat::Taken { runner, .. } = self {
            runner.close();
        }
    }
}

/// Tells the machine everything its log says; returns the number of records.
fn replay<M: Journaled, J: Journal>(machine: &mut M, journal: &J) -> Result<u64, AppendFailure> {
    let mut next = Offset::ZERO;
    let mut records = 0;
    loop {
        let read = journal.read(next)?;
        let mut advanced = false;
        for located in batch::headers(&read) {
            let Ok(located) = located else {
                warn!(
                    at = next.0,
                    "the coordinator's log has an entry that cannot be read; what follows it is lost"
                );
                return Ok(records);
            };
            let entry = read.slice(located.position..located.position + located.size);
            M::decode(&entry, &mut |at, record| {
                machine.apply(at, &record);
                records += 1;
            });
            next = located.batch.next_offset();
            advanced = true;
        }
        if !advanced {
            return Ok(records);
        }
    }
}
