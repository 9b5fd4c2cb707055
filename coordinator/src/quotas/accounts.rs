//! What each has taken, for as long as it is of use.
//!
//! Client ids are whatever clients write into their requests, so there may be any number: an account that was silent for
//! an hour is forgotten, as in Kafka, and where all together would need too much memory, those silent for longest are.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::time::Monotonic;

/// `ClientQuotaManager.InactiveSensorExpirationTimeSeconds`. Unit: ms.
const SILENT_MS_MAX: u64 = 3_600_000;
/// All accounts of one kind of quota. Unit: bytes.
const MEMORY_MAX: usize = 16 << 20;
/// An account without its names: up to a dozen samples, and its place in the map. Unit: bytes.
const ACCOUNT_SIZE: usize = 512;

/// Whose taking is counted together. An empty name stands for all.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Account {
    pub user: Arc<str>,
    pub client: Arc<str>,
}

impl Account {
    fn size(&self) -> usize {
        ACCOUNT_SIZE + self.user.len() + self.client.len()
    }
}

#[derive(Debug)]
pub(super) struct Accounts<M> {
    held: BTreeMap<Account, Held<M>>,
    /// Unit: bytes.
    size: usize,
}

#[derive(Debug)]
struct Held<M> {
    taken: M,
    last: Monotonic,
}

impl<M> Default for Accounts<M> {
    fn default() -> Self {
        Accounts { held: BTreeMap::new(), size: 0 }
    }
}

impl<M: Default> Accounts<M> {
    /// What `account` has taken, to add to it.
    pub(super) fn of(&mut self, account: &Account, now: Monotonic) -> &mut M {
        if !self.held.contains_key(account) {
            self.make_room(account.size(), now);
            self.size += account.size();
        }
        let held =
            self.held.entry(account.clone()).or_insert_with(|| Held { taken: M::default(), last: now });
        if held.last.ms_until(now) > SILENT_MS_MAX {
            held.taken = M::default();
        }
        held.last = now;
        &mut held.taken
    }

    fn make_room(&mut self, wanted: usize, now: Monotonic) {
        if self.size + wanted <= MEMORY_MAX {
            return;
        }
        self.held.retain(|_, held| held.last.ms_until(now) <= SILENT_MS_MAX);
        self.size = self.held.keys().map(Account::size).sum();
        if self.size + wanted <= MEMORY_MAX {
            return;
        }
        // A quarter at once, so that the search for them is rare.
        let mut all: Vec<(Monotonic, Account)> =
            self.held.iter().map(|(account, held)| (held.last, account.clone())).collect();
        all.sort_unstable();
        for (_, account) in all {
            if self.size + wanted <= MEMORY_MAX / 4 * 3 {
                return;
            }
            self.size -= account.size();
            self.held.remove(&account);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(client: &str) -> Account {
        Account { user: "u".into(), client: client.into() }
    }

    #[test]
    fn an_hour_of_silence_is_forgotten_and_less_is_not() {
        let mut accounts: Accounts<u32> = Accounts::default();
        *accounts.of(&account("a"), Monotonic(0)) = 7;
        assert_eq!(*accounts.of(&account("a"), Monotonic(SILENT_MS_MAX)), 7);
        assert_eq!(*accounts.of(&account("a"), Monotonic(2 * SILENT_MS_MAX + 1)), 0);
    }

    #[test]
    fn any_number_of_client_ids_needs_no_more_than_the_memory_there_is() {
        let mut accounts: Accounts<u32> = Accounts::default();
        *accounts.of(&account("faithful"), Monotonic(0)) = 7;
        for number in 0..20_000 {
            let now = Monotonic(number);
            assert_eq!(*accounts.of(&account("faithful"), now), 7, "who is not silent is kept");
            *accounts.of(&account(&format!("{number:01000}")), now) = 1;
            assert!(accounts.size <= MEMORY_MAX);
        }
        assert_eq!(accounts.size, accounts.held.keys().map(Account::size).sum::<usize>());
        assert_eq!(*accounts.of(&account(&format!("{:01000}", 19_999)), Monotonic(20_000)), 1);
    }
}
