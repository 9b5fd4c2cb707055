//! How many connections there may be, in all and from one address
//! (`max.connections`, `max.connections.per.ip`, `max.connections.per.ip.overrides`).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Counts the connections of one broker. The total makes the acceptor wait; the count of an address refuses.
pub(crate) struct ConnectionLimits {
    total: Arc<Semaphore>,
    per_ip: Arc<PerIp>,
}

struct PerIp {
    max: usize,
    overrides: HashMap<IpAddr, usize>,
    /// A std mutex: held for one look-up and one count, never across `.await`.
    counts: Mutex<HashMap<IpAddr, usize>>,
}

/// A counted connection; dropping it frees its place.
pub(crate) struct Admission {
    ip: IpAddr,
    per_ip: Arc<PerIp>,
    _room: Room,
}

/// A place in the total, and in the listener's own total where it has one.
pub(crate) struct Room {
    _total: OwnedSemaphorePermit,
    _own: Option<OwnedSemaphorePermit>,
}

impl ConnectionLimits {
    pub(crate) fn new(total: usize, per_ip: usize, overrides: HashMap<IpAddr, usize>) -> Self {
        ConnectionLimits {
            total: semaphore(total),
            per_ip: Arc::new(PerIp { max: per_ip, overrides, counts: Mutex::new(HashMap::new()) }),
        }
    }

    /// Waits until the total leaves room, as Kafka's acceptor does; other clients keep theirs.
    ///
    /// `own` is the limit of one listener (`listener.name.NAME.max.connections`).
    pub(crate) async fn room(&self, own: Option<&Arc<Semaphore>>) -> Room {
        let own = match own {
            Some(own) => Some(place(own).await),
            None => None,
        };
        Room { _total: place(&self.total).await, _own: own }
    }

    /// `None` where the address already has as many connections as it may.
    pub(crate) fn admit(&self, ip: IpAddr, room: Room) -> Option<Admission> {
        let max = *self.per_ip.overrides.get(&ip).unwrap_or(&self.per_ip.max);
        let mut counts = self.per_ip.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(ip).or_insert(0);
        if *count >= max {
            if *count == 0 {
                counts.remove(&ip);
            }
            return None;
        }
        *count += 1;
        Some(Admission { ip, per_ip: Arc::clone(&self.per_ip), _room: room })
    }
}

async fn place(semaphore: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    Arc::clone(semaphore).acquire_owned().await.expect("the semaphore is never closed")
}

/// A limit on connections. `max` above what a semaphore can count is no limit in practice.
pub(crate) fn semaphore(max: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS)))
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut counts = self.per_ip.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.ip);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_is_refused_beyond_its_limit_and_welcome_again_when_one_leaves() {
        let limits = ConnectionLimits::new(10, 1, HashMap::new());
        let ip = IpAddr::from([127, 0, 0, 1]);
        let first = limits.admit(ip, limits.room(None).await).expect("the first fits");
        assert!(limits.admit(ip, limits.room(None).await).is_none());
        drop(first);
        assert!(limits.admit(ip, limits.room(None).await).is_some());
    }

    #[tokio::test]
    async fn a_listener_with_a_limit_of_its_own_waits_while_others_do_not() {
        let limits = ConnectionLimits::new(10, 5, HashMap::new());
        let own = semaphore(1);
        let first = limits.room(Some(&own)).await;
        assert!(own.try_acquire().is_err());
        drop(limits.room(None).await);
        drop(first);
        drop(limits.room(Some(&own)).await);
    }

    #[tokio::test]
    async fn an_override_of_zero_shuts_an_address_out() {
        let ip = IpAddr::from([127, 0, 0, 9]);
        let limits = ConnectionLimits::new(10, 5, HashMap::from([(ip, 0)]));
        assert!(limits.admit(ip, limits.room(None).await).is_none());
    }
}
