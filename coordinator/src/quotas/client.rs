//! The kinds of quotas: bytes a second, time of a thread, and changes that the controller makes.

use std::sync::Arc;

use super::ThrottleMs;
use super::accounts::Accounts;
use super::limits::{Limits, QuotaEntity};
use super::rate::Rate;
use super::samples::Window;
use super::tokens::TokenBucket;
use crate::time::Monotonic;

/// One kind of quota: what is set, and what each has taken in measure `M`.
#[derive(Debug)]
pub struct Quota<M> {
    window: Window,
    limits: Limits,
    accounts: Accounts<M>,
}

/// `producer_byte_rate` or `consumer_byte_rate`. Unit: bytes per second.
pub type ByteQuota = Quota<Rate>;

/// `request_percentage`: percents of the time of one thread.
#[derive(Debug)]
pub struct TimeQuota(Quota<Rate>);

/// `controller_mutation_rate`: partitions that may be created or deleted a second.
pub type MutationQuota = Quota<TokenBucket>;

impl<M: Default> Quota<M> {
    #[must_use]
    pub fn new(window: Window) -> Self {
        Quota { window, limits: Limits::default(), accounts: Accounts::default() }
    }

    /// `None`: none is set any more.
    pub fn set(&mut self, entity: &QuotaEntity, limit: Option<f64>) {
        self.limits.set(entity, limit);
    }

    /// None is set any more; what was taken stays counted.
    pub fn clear(&mut self) {
        self.limits = Limits::default();
    }

    fn taken(&mut self, user: &Arc<str>, client: &Arc<str>, now: Monotonic) -> (&mut M, f64) {
        let (account, limit) = self.limits.of(user, client);
        (self.accounts.of(&account, now), limit)
    }
}

impl Quota<Rate> {
    /// Counts `bytes`; how long whoever took them has to wait.
    pub fn record(&mut self, user: &Arc<str>, client: &Arc<str>, bytes: f64, now: Monotonic) -> ThrottleMs {
        let window = self.window;
        let (rate, limit) = self.taken(user, client, now);
        rate.record(bytes, now, window);
        rate.wait(limit, now, window)
    }

    /// Counts, without a look at the limit. Below zero takes back what was counted and then not handed out.
    pub fn count(&mut self, user: &Arc<str>, client: &Arc<str>, bytes: f64, now: Monotonic) {
        let window = self.window;
        self.taken(user, client, now).0.record(bytes, now, window);
    }

    /// The most that can be taken at once without a wait, by somebody who has taken nothing in the whole window.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "windows are small numbers")]
    pub fn most_at_once(&self, user: &Arc<str>, client: &Arc<str>) -> f64 {
        let (_, limit) = self.limits.of(user, client);
        let complete = self.window.samples.saturating_sub(1) as f64;
        limit * complete * (self.window.sample_ms as f64 / 1000.0)
    }
}

impl TimeQuota {
    #[must_use]
    pub fn new(window: Window) -> Self {
        TimeQuota(Quota::new(window))
    }

    pub fn set(&mut self, entity: &QuotaEntity, limit: Option<f64>) {
        self.0.set(entity, limit);
    }

    /// As [`Quota::clear`].
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Counts the time that a request took, in ns; how long its client has to wait, at most one sample of the window.
    pub fn record(
        &mut self,
        user: &Arc<str>,
        client: &Arc<str>,
        spent_ns: u64,
        now: Monotonic,
    ) -> ThrottleMs {
        let window = self.0.window;
        let longest = ThrottleMs::try_from(window.sample_ms).unwrap_or(ThrottleMs::MAX);
        let (rate, limit) = self.0.taken(user, client, now);
        rate.record(percent(spent_ns), now, window);
        rate.wait_at_most(longest, limit, now, window)
    }

    /// Counts time that nobody is told to wait for, such as that of sending an answer.
    pub fn count(&mut self, user: &Arc<str>, client: &Arc<str>, spent_ns: u64, now: Monotonic) {
        self.0.count(user, client, percent(spent_ns), now);
    }
}

/// Of a second. A second of one thread is a hundred percent.
#[allow(clippy::cast_precision_loss, reason = "2^53 ns are 104 days")]
fn percent(ns: u64) -> f64 {
    ns as f64 * 100.0 / 1e9
}

impl Quota<TokenBucket> {
    /// Takes tokens for `changes` unless the bucket is in debt.
    ///
    /// # Errors
    ///
    /// How long until it is out of debt; then nothing is taken.
    pub fn take_strictly(
        &mut self,
        user: &Arc<str>,
        client: &Arc<str>,
        changes: f64,
        now: Monotonic,
    ) -> Result<(), ThrottleMs> {
        let window = self.window;
        let (bucket, limit) = self.taken(user, client, now);
        if bucket.measure(limit, now, window) < 0.0 {
            return Err(bucket.wait(limit, now, window).max(1));
        }
        bucket.take(changes, limit, now, window);
        Ok(())
    }

    /// Takes tokens for `changes` even from a bucket in debt; how long until it is out of it.
    pub fn take(&mut self, user: &Arc<str>, client: &Arc<str>, changes: f64, now: Monotonic) -> ThrottleMs {
        let window = self.window;
        let (bucket, limit) = self.taken(user, client, now);
        bucket.take(changes, limit, now, window);
        bucket.wait(limit, now, window)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Named, UNLIMITED};
    use super::*;

    const WINDOW: Window = Window { sample_ms: 1000, samples: 11 };

    fn me() -> (Arc<str>, Arc<str>) {
        ("ANONYMOUS".into(), "c".into())
    }

    #[test]
    fn clients_of_one_user_share_its_quota_and_others_have_their_own() {
        let mut quota = ByteQuota::new(WINDOW);
        quota.set(&QuotaEntity::User(Named::Default), Some(100.0));
        let (user, client) = me();
        assert_eq!(quota.record(&user, &client, 900.0, Monotonic(0)), 0);
        assert_eq!(quota.record(&user, &"d".into(), 200.0, Monotonic(0)), 1000);
        assert_eq!(quota.record(&"other".into(), &client, 900.0, Monotonic(0)), 0);
    }

    #[test]
    fn a_fetch_that_is_not_answered_costs_nothing() {
        let mut quota = ByteQuota::new(WINDOW);
        let (user, client) = me();
        quota.set(&QuotaEntity::Client(Named::One("c".into())), Some(100.0));
        assert_eq!(quota.record(&user, &client, 5000.0, Monotonic(0)), 40_000);
        quota.count(&user, &client, -5000.0, Monotonic(0));
        assert_eq!(quota.record(&user, &client, 1000.0, Monotonic(10)), 0);
        assert!((quota.most_at_once(&user, &client) - 1000.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_quota_that_is_changed_holds_for_what_was_taken_before() {
        let mut quota = ByteQuota::new(WINDOW);
        let (user, client) = me();
        assert_eq!(quota.record(&user, &client, 5000.0, Monotonic(0)), 0);
        quota.set(&QuotaEntity::Client(Named::Default), Some(100.0));
        assert_eq!(quota.record(&user, &client, 0.0, Monotonic(0)), 40_000);
        quota.set(&QuotaEntity::Client(Named::Default), None);
        assert_eq!(quota.record(&user, &client, 0.0, Monotonic(0)), 0);
    }

    #[test]
    fn time_is_waited_for_no_longer_than_a_sample() {
        let mut quota = TimeQuota::new(WINDOW);
        let (user, client) = me();
        quota.set(&QuotaEntity::Client(Named::Default), Some(1.0));
        // 10 % of a second in 10 s are 1 %.
        assert_eq!(quota.record(&user, &client, 100_000_000, Monotonic(0)), 0);
        assert_eq!(quota.record(&user, &client, 1_000_000, Monotonic(0)), 100);
        assert_eq!(quota.record(&user, &client, 1_000_000_000, Monotonic(0)), 1000);
        quota.set(&QuotaEntity::Client(Named::Default), Some(0.0));
        assert_eq!(quota.record(&user, &client, 1, Monotonic(0)), 1000);
    }

    #[test]
    fn changes_are_refused_while_there_is_a_debt_and_old_clients_only_wait() {
        let mut quota = MutationQuota::new(WINDOW);
        let (user, client) = me();
        quota.set(&QuotaEntity::User(Named::Default), Some(1.0));
        assert_eq!(quota.take_strictly(&user, &client, 13.0, Monotonic(0)), Ok(()));
        assert_eq!(quota.take_strictly(&user, &client, 1.0, Monotonic(500)), Err(1500));
        assert_eq!(quota.take(&user, &client, 1.0, Monotonic(500)), 2500);
        assert_eq!(quota.take_strictly(&user, &client, 1.0, Monotonic(3000)), Ok(()));
        quota.set(&QuotaEntity::User(Named::Default), None);
        assert_eq!(quota.take_strictly(&user, &client, 1e9, Monotonic(3000)), Ok(()));
    }

    #[test]
    fn what_is_not_limited_is_never_waited_for() {
        let mut quota = ByteQuota::new(WINDOW);
        let (user, client) = me();
        assert!(quota.most_at_once(&user, &client) >= UNLIMITED);
        assert_eq!(quota.record(&user, &client, 1e15, Monotonic(0)), 0);
    }
}
