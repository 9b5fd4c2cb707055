//! Quotas of clients: measured where requests are served, waited for by the connection that took too much.
//!
//! The rules are `coordinator::quotas`; here are their locks and their clock. What is set
//! comes from `reconfiguration` and `following`. Until a quota is set for the first time nothing is measured, and a
//! request costs one look at a flag.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use coordinator::quotas::{ByteQuota, MutationQuota, QuotaEntity, ThrottleMs, TimeQuota};
use coordinator::time::Monotonic;

use crate::asker::Context;
use crate::clock;
use crate::config::QuotaWindows;
use crate::wire::throttled::Throttled;

/// What is set for one entity; `None` where a kind is not.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct QuotaValues {
    /// Unit: bytes per second.
    pub(crate) produced: Option<f64>,
    /// Unit: bytes per second.
    pub(crate) fetched: Option<f64>,
    /// Percents of the time of one thread.
    pub(crate) time: Option<f64>,
    /// Partitions created and deleted per second.
    pub(crate) changes: Option<f64>,
}

/// Connections per second of each address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IpRate {
    /// `None`: of those that have no rate of their own.
    pub(crate) ip: Option<IpAddr>,
    /// `None`: none is set any more.
    pub(crate) rate: Option<u32>,
}

/// The quotas of this broker. Each lock is a std mutex, held for one look-up and one addition, never across `.await`, never
/// two at once.
pub(crate) struct Quotas {
    produced: Mutex<ByteQuota>,
    fetched: Mutex<ByteQuota>,
    time: Mutex<TimeQuota>,
    changes: Mutex<MutationQuota>,
    /// Whether a quota was ever set.
    enabled: AtomicBool,
}

impl Quotas {
    pub(crate) fn new(windows: QuotaWindows) -> Quotas {
        Quotas {
            produced: Mutex::new(ByteQuota::new(windows.clients)),
            fetched: Mutex::new(ByteQuota::new(windows.clients)),
            time: Mutex::new(TimeQuota::new(windows.clients)),
            changes: Mutex::new(MutationQuota::new(windows.controller)),
            enabled: AtomicBool::new(false),
        }
    }

    pub(crate) fn set(&self, entity: &QuotaEntity, values: QuotaValues) {
        lock(&self.produced).set(entity, values.produced);
        lock(&self.fetched).set(entity, values.fetched);
        lock(&self.time).set(entity, values.time);
        lock(&self.changes).set(entity, values.changes);
        self.enabled.store(true, Ordering::Release);
    }

    /// None is set any more. What was taken stays counted.
    pub(crate) fn clear(&self) {
        lock(&self.produced).clear();
        lock(&self.fetched).clear();
        lock(&self.time).clear();
        lock(&self.changes).clear();
    }

    pub(crate) fn are_enabled(&self) -> bool {
        self.enabled.load(Ordering::Acquire)
    }

    /// Counts the bytes of a produce request, and its time where its client hears of it; how long the client has to wait.
    /// Its connection is muted.
    pub(crate) fn produced(&self, context: &Context, is_answered: bool) -> ThrottleMs {
        if !self.are_enabled() {
            return 0;
        }
        let now = clock::now().mono;
        let (user, client) = (&context.connection.user, &context.client_id);
        let bytes = u32::try_from(context.size).unwrap_or(u32::MAX);
        let for_bytes = lock(&self.produced).record(user, client, f64::from(bytes), now);
        let for_time = if is_answered { self.time_of(context, now) } else { 0 };
        context.connection.mute.begin(now, for_bytes.max(for_time))
    }

    /// Counts an answer of `bytes`, and the time of its request; how long the client has to wait, and then it must not get
    /// the answer, which does not count. Its connection is muted.
    pub(crate) fn fetched(&self, context: &Context, bytes: usize) -> ThrottleMs {
        let now = clock::now().mono;
        let (user, client) = (&context.connection.user, &context.client_id);
        let bytes = f64::from(u32::try_from(bytes).unwrap_or(u32::MAX));
        let for_time = self.time_of(context, now);
        let mut fetched = lock(&self.fetched);
        let for_bytes = fetched.record(user, client, bytes, now);
        let wait = for_bytes.max(for_time);
        if wait > 0 {
            fetched.count(user, client, -bytes, now);
        }
        drop(fetched);
        context.connection.mute.begin(now, wait)
    }

    /// Bytes beyond which an answer would have to be waited for whatever was taken before: no fetch would ever get it.
    pub(crate) fn fetched_at_once_max(&self, context: &Context) -> usize {
        if !self.are_enabled() {
            return usize::MAX;
        }
        let most = lock(&self.fetched).most_at_once(&context.connection.user, &context.client_id);
        whole(most)
    }

    /// Counts the time that a request took, and tells its client in the answer how long it has to wait, for this or for what
    /// the answer says already. Its connection is muted.
    pub(crate) fn settle(&self, context: &Context, answer: &mut impl Throttled) {
        let told = ThrottleMs::try_from(answer.throttle_time_ms()).unwrap_or(0);
        let now = clock::now().mono;
        let for_time = if self.are_enabled() && !answer.is_exempt() { self.time_of(context, now) } else { 0 };
        if told.max(for_time) > 0 {
            let wait = context.connection.mute.begin(now, told.max(for_time));
            answer.set_throttle_time_ms(wire_ms(wait));
        }
    }

    /// Counts the time of sending an answer, for which nobody is told to wait: that is left to the next request.
    pub(crate) fn sent(&self, context: &Context, spent_ns: u64) {
        let (user, client) = (&context.connection.user, &context.client_id);
        lock(&self.time).count(user, client, spent_ns, clock::now().mono);
    }

    /// The changes to topics that a request makes. Requests older than `strict_since` are never refused, their clients only
    /// wait.
    pub(crate) fn changes<'a>(&'a self, context: &'a Context, strict_since: i16) -> Changes<'a> {
        Changes { of: Some((self, context)), strict: context.version >= strict_since, wait: None }
    }

    fn time_of(&self, context: &Context, now: Monotonic) -> ThrottleMs {
        let Some(stopwatch) = &context.stopwatch else { return 0 };
        let spent = stopwatch.spent_ns();
        lock(&self.time).record(&context.connection.user, &context.client_id, spent, now)
    }
}

/// What one request changes, against the quota of its client (KIP-599).
pub(crate) struct Changes<'a> {
    /// `None`: nobody's.
    of: Option<(&'a Quotas, &'a Context)>,
    strict: bool,
    /// As it was told, and when.
    wait: Option<(ThrottleMs, Monotonic)>,
}

/// The client has made more changes than it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("The throttling quota has been exceeded.")]
pub(crate) struct TooManyChanges;

impl Changes<'_> {
    /// Any number of them.
    #[cfg(test)]
    pub(crate) fn unlimited() -> Changes<'static> {
        Changes { of: None, strict: false, wait: None }
    }

    /// Counts partitions that are about to be created or deleted; `Err` where they must not be.
    pub(crate) fn record(&mut self, partitions: usize) -> Result<(), TooManyChanges> {
        let Some((quotas, context)) = self.of else { return Ok(()) };
        if !quotas.are_enabled() {
            return Ok(());
        }
        let now = clock::now().mono;
        let (user, client) = (&context.connection.user, &context.client_id);
        let partitions = f64::from(u32::try_from(partitions).unwrap_or(u32::MAX));
        let mut changes = lock(&quotas.changes);
        let (wait, recorded) = match self.strict {
            true => match changes.take_strictly(user, client, partitions, now) {
                Ok(()) => (0, Ok(())),
                Err(wait) => (wait, Err(TooManyChanges)),
            },
            false => (changes.take(user, client, partitions, now), Ok(())),
        };
        if wait > 0 {
            self.wait = Some((wait, now));
        }
        recorded
    }

    /// What is left by now of the wait, for the answer.
    pub(crate) fn throttle_time_ms(&self) -> i32 {
        let left =
            self.wait.map(|(wait, since)| u64::from(wait).saturating_sub(since.ms_until(clock::now().mono)));
        wire_ms(ThrottleMs::try_from(left.unwrap_or(0)).unwrap_or(ThrottleMs::MAX))
    }
}

pub(crate) fn wire_ms(wait: ThrottleMs) -> i32 {
    i32::try_from(wait).unwrap_or(i32::MAX)
}

fn lock<Q>(quota: &Mutex<Q>) -> MutexGuard<'_, Q> {
    quota.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A number of bytes; none where it is below zero.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast of f64 saturates")]
fn whole(bytes: f64) -> usize {
    bytes as usize
}
