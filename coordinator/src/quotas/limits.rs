//! Which of the quotas that are set holds for whom.
//!
//! A quota is set for a user, a client id, or a client id of a user, each of them by name or as what holds for those without one
//! of their own. The most particular one holds (KIP-55); nobody has more than one of each kind.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::accounts::Account;

/// What holds where nothing is set: more than anybody can take. Kafka's default, `Long.MAX_VALUE`.
pub const UNLIMITED: f64 = 9_223_372_036_854_775_807.0;

/// One by its name, or all without an entry of their own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Named {
    Default,
    One(Arc<str>),
}

/// For whom a quota is set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum QuotaEntity {
    User(Named),
    Client(Named),
    UserClient(Named, Named),
}

/// The quotas of one kind.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    users: ByName<f64>,
    clients: ByName<f64>,
    user_clients: ByName<ByName<f64>>,
}

#[derive(Clone, Debug)]
struct ByName<T> {
    default: Option<T>,
    named: BTreeMap<Arc<str>, T>,
}

impl<T> Default for ByName<T> {
    fn default() -> Self {
        ByName { default: None, named: BTreeMap::new() }
    }
}

impl<T: Clone> ByName<T> {
    fn set(&mut self, name: &Named, value: Option<T>) {
        match (name, value) {
            (Named::Default, value) => self.default = value,
            (Named::One(name), Some(value)) => {
                self.named.insert(Arc::clone(name), value);
            }
            (Named::One(name), None) => {
                self.named.remove(name);
            }
        }
    }

    fn get(&self, name: &Named) -> Option<&T> {
        match name {
            Named::Default => self.default.as_ref(),
            Named::One(name) => self.named.get(name),
        }
    }

    fn is_empty(&self) -> bool {
        self.default.is_none() && self.named.is_empty()
    }
}

impl Limits {
    /// `None`: none is set any more.
    pub fn set(&mut self, entity: &QuotaEntity, limit: Option<f64>) {
        match entity {
            QuotaEntity::User(user) => self.users.set(user, limit),
            QuotaEntity::Client(client) => self.clients.set(client, limit),
            QuotaEntity::UserClient(user, client) => {
                let mut clients = self.user_clients.get(user).cloned().unwrap_or_default();
                clients.set(client, limit);
                self.user_clients.set(user, (!clients.is_empty()).then_some(clients));
            }
        }
    }

    /// Whose taking is counted together with that of this client of this user, and what they may take.
    #[must_use]
    pub fn of(&self, user: &Arc<str>, client: &Arc<str>) -> (Account, f64) {
        let of_user = self.user_clients.named.get(user);
        let of_all = self.user_clients.default.as_ref();
        let each = || Account { user: Arc::clone(user), client: Arc::clone(client) };
        let together = || Account { user: Arc::clone(user), client: "".into() };
        // A client without an id has no quota of its own: it shares the user's.
        let particular = |limit| match client.is_empty() {
            true => (together(), self.of_user(user).unwrap_or(UNLIMITED)),
            false => (each(), limit),
        };
        if let Some(limit) = of_user.and_then(|clients| clients.of(client)) {
            return particular(limit);
        }
        if let Some(limit) = self.users.named.get(user) {
            return (together(), *limit);
        }
        if let Some(limit) = of_all.and_then(|clients| clients.of(client)) {
            return particular(limit);
        }
        if let Some(limit) = self.users.default {
            return (together(), limit);
        }
        let account = Account { user: "".into(), client: Arc::clone(client) };
        let limit = if client.is_empty() { None } else { self.clients.of(client) };
        (account, limit.unwrap_or(UNLIMITED))
    }

    fn of_user(&self, user: &str) -> Option<f64> {
        self.users.of(user)
    }
}

impl ByName<f64> {
    fn of(&self, name: &str) -> Option<f64> {
        self.named.get(name).copied().or(self.default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str) -> Named {
        Named::One(name.into())
    }

    /// Account and limit of client `c` of user `u`.
    fn of(limits: &Limits, client: &str) -> (String, String, f64) {
        let (account, limit) = limits.of(&"u".into(), &client.into());
        (account.user.to_string(), account.client.to_string(), limit)
    }

    /// From the most general to the most particular: each takes the place of those before it.
    #[test]
    fn the_most_particular_quota_holds() {
        let mut limits = Limits::default();
        assert_eq!(of(&limits, "c"), ("".into(), "c".into(), UNLIMITED));
        let steps = [
            (QuotaEntity::Client(Named::Default), ("", "c")),
            (QuotaEntity::Client(one("c")), ("", "c")),
            (QuotaEntity::User(Named::Default), ("u", "")),
            (QuotaEntity::UserClient(Named::Default, Named::Default), ("u", "c")),
            (QuotaEntity::UserClient(Named::Default, one("c")), ("u", "c")),
            (QuotaEntity::User(one("u")), ("u", "")),
            (QuotaEntity::UserClient(one("u"), Named::Default), ("u", "c")),
            (QuotaEntity::UserClient(one("u"), one("c")), ("u", "c")),
        ];
        for (limit, (entity, (user, client))) in (1_u32..).zip(&steps) {
            limits.set(entity, Some(f64::from(limit)));
            assert_eq!(of(&limits, "c"), (user.to_string(), client.to_string(), f64::from(limit)));
        }
        for (limit, (entity, _)) in (1_u32..9).zip(&steps).rev() {
            limits.set(entity, None);
            let left = if limit == 1 { UNLIMITED } else { f64::from(limit - 1) };
            assert!((of(&limits, "c").2 - left).abs() < f64::EPSILON, "without {entity:?}");
        }
    }

    #[test]
    fn others_have_what_is_set_for_all() {
        let mut limits = Limits::default();
        limits.set(&QuotaEntity::Client(one("c")), Some(1.0));
        limits.set(&QuotaEntity::Client(Named::Default), Some(2.0));
        assert_eq!(of(&limits, "d"), ("".into(), "d".into(), 2.0));
        limits.set(&QuotaEntity::UserClient(one("other"), one("c")), Some(3.0));
        assert_eq!(of(&limits, "c"), ("".into(), "c".into(), 1.0));
    }

    #[test]
    fn a_client_without_an_id_has_no_quota_but_its_users() {
        let mut limits = Limits::default();
        limits.set(&QuotaEntity::Client(Named::Default), Some(1.0));
        assert_eq!(of(&limits, ""), ("".into(), "".into(), UNLIMITED));
        limits.set(&QuotaEntity::UserClient(one("u"), Named::Default), Some(2.0));
        assert_eq!(of(&limits, ""), ("u".into(), "".into(), UNLIMITED));
        limits.set(&QuotaEntity::User(Named::Default), Some(3.0));
        assert_eq!(of(&limits, ""), ("u".into(), "".into(), 3.0));
    }
}
