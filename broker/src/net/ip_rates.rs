//! New connections of each address per second, where there is a quota for it (`connection_creation_rate`, KIP-612).

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use coordinator::quotas::{Rate, ThrottleMs, Window};
use coordinator::time::Monotonic;

use crate::quota::IpRate;

/// An address that has not come for so long is forgotten (`ConnectionQuotaEntity.sensorExpiration`). Unit: ms.
const SILENT_MS_MAX: u64 = 3_600_000;

/// Addresses remembered at once; beyond, those that did not come for longest are forgotten. Bounds memory: with IPv6 anybody
/// has any number of them.
const ADDRESSES_MAX: usize = 50_000;

#[derive(Debug, Default)]
pub(super) struct IpRates {
    default: Option<u32>,
    of: BTreeMap<IpAddr, u32>,
    seen: HashMap<IpAddr, Seen>,
}

#[derive(Debug)]
struct Seen {
    rate: Rate,
    last: Monotonic,
}

impl IpRates {
    pub(super) fn set(&mut self, IpRate { ip, rate }: IpRate) {
        match (ip, rate) {
            (None, rate) => self.default = rate,
            (Some(ip), Some(rate)) => {
                self.of.insert(ip, rate);
            }
            (Some(ip), None) => {
                self.of.remove(&ip);
            }
        }
    }

    /// None is set any more.
    pub(super) fn clear(&mut self) {
        self.default = None;
        self.of.clear();
    }

    /// Counts a connection of `ip`; above zero it has to wait so long, and is not counted. Unit: ms.
    pub(super) fn record(&mut self, ip: IpAddr, now: Monotonic, window: Window) -> ThrottleMs {
        let Some(max) = self.of.get(&ip).copied().or(self.default) else { return 0 };
        if !self.seen.contains_key(&ip) {
            self.make_room(now);
        }
        let seen = self.seen.entry(ip).or_insert_with(|| Seen { rate: Rate::default(), last: now });
        seen.last = now;
        let longest = ThrottleMs::try_from(window.sample_ms).unwrap_or(ThrottleMs::MAX);
        seen.rate.record(1.0, now, window);
        let wait = seen.rate.wait_at_most(longest, f64::from(max), now, window);
        if wait > 0 {
            seen.rate.record(-1.0, now, window);
        }
        wait
    }

    fn make_room(&mut self, now: Monotonic) {
        if self.seen.len() < ADDRESSES_MAX {
            return;
        }
        self.seen.retain(|_, seen| seen.last.ms_until(now) <= SILENT_MS_MAX);
        if self.seen.len() < ADDRESSES_MAX {
            return;
        }
        // A quarter at once, so that the search for them is rare.
        let mut times: Vec<Monotonic> = self.seen.values().map(|seen| seen.last).collect();
        times.sort_unstable();
        let oldest_kept = times[times.len() / 4];
        self.seen.retain(|_, seen| seen.last > oldest_kept);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Window = Window { sample_ms: 1000, samples: 11 };
    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn burst(rates: &mut IpRates, ip: IpAddr) -> usize {
        (0..100).filter(|_| rates.record(ip, Monotonic(0), WINDOW) == 0).count()
    }

    #[test]
    fn an_address_has_its_own_rate_or_that_of_all() {
        let mut rates = IpRates::default();
        assert_eq!(burst(&mut rates, HERE), 100);
        rates.set(IpRate { ip: None, rate: Some(2) });
        assert_eq!(burst(&mut rates, HERE), 20, "ten seconds of two");
        let other = IpAddr::from([127, 0, 0, 9]);
        rates.set(IpRate { ip: Some(other), rate: Some(5) });
        assert_eq!(burst(&mut rates, other), 50);
        rates.set(IpRate { ip: Some(other), rate: None });
        assert_eq!(burst(&mut rates, other), 0, "fifty are more than the twenty of all");
    }

    #[test]
    fn any_number_of_addresses_is_remembered_up_to_a_bound() {
        let mut rates = IpRates::default();
        rates.set(IpRate { ip: None, rate: Some(1) });
        for number in 0..120_000_u32 {
            rates.record(IpAddr::from(number.to_be_bytes()), Monotonic(number.into()), WINDOW);
            assert!(rates.seen.len() <= ADDRESSES_MAX);
        }
    }
}
