//! How many connections there may be: in all, through one listener, from one address, and how many new ones a second
//! (`max.connections`, `max.connections.per.ip` with its overrides, `max.connection.creation.rate`, and the quotas of
//! addresses, KIP-612).
//!
//! As in Kafka, a connection beyond the total or the rate waits, accepted but unread; one beyond its address's share is
//! closed, one beyond its address's rate after a while; and where a total is exceeded, because it was lowered or because brokers among themselves are let in always, the
//! connection that was silent for longest has to go. All limits may change at any time.
//!
//! The same happens to those who do not take their answers, once all these answers together are too much for this broker's
//! memory ([`UNSENT_BYTES_MAX`]). Kafka has no such limit: it gives up on such a client after `connections.max.idle.ms` only.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use coordinator::quotas::{Rate, ThrottleMs, Window};
use coordinator::time::Monotonic;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::clock;
use crate::net::ip_rates::IpRates;
use crate::quota::IpRate;

/// Answers in memory that clients have not taken yet, over all connections. The last to be counted may go beyond it.
/// Records that the kernel moves out of files do not count. Unit: bytes.
pub(crate) const UNSENT_BYTES_MAX: usize = 64 << 20;

/// What holds. Listeners by name in capitals; one that is not named has no limit of its own.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) total: usize,
    pub(crate) of_listener: BTreeMap<String, usize>,
    pub(crate) per_ip: usize,
    pub(crate) per_ip_overrides: HashMap<IpAddr, usize>,
    /// New connections per second.
    pub(crate) rate: u32,
    pub(crate) rate_of_listener: BTreeMap<String, u32>,
    /// Over which rates are taken.
    pub(crate) window: Window,
    /// The listener that brokers use among themselves, where there are others: neither the total nor the rate of
    /// the broker holds for it.
    pub(crate) protected: Option<String>,
}

/// Counts the connections of one broker.
pub(crate) struct ConnectionLimits {
    began: Instant,
    /// A std mutex: held for one count, never across `.await`.
    state: Mutex<State>,
    /// A place may have become free.
    freed: Notify,
}

struct State {
    limits: Limits,
    seats: BTreeMap<u64, Seat>,
    next_seat: u64,
    by_ip: HashMap<IpAddr, usize>,
    by_listener: BTreeMap<Arc<str>, usize>,
    rate: Rate,
    rate_by_listener: BTreeMap<Arc<str>, Rate>,
    ip_rates: IpRates,
    /// The sum over all seats. Unit: bytes.
    unsent: usize,
}

struct Seat {
    listener: Arc<str>,
    /// Of answers not taken yet. Unit: bytes.
    unsent: usize,
    activity: Arc<AtomicU64>,
    leave: CancellationToken,
}

/// Answers of a connection that it has not taken yet, counted until this is dropped.
pub(crate) struct Unsent<'a> {
    admission: &'a Admission,
    bytes: usize,
}

/// A counted connection; dropping it frees its place.
pub(crate) struct Admission {
    limits: Arc<ConnectionLimits>,
    seat: u64,
    ip: IpAddr,
    listener: Arc<str>,
    activity: Arc<AtomicU64>,
    leave: CancellationToken,
}

/// What becomes of a connection that was accepted.
pub(crate) enum Verdict {
    Admitted(Admission),
    /// The address has as many as it may.
    Refused,
    /// The address makes more than it may a second: it is closed after a wait, so that it does not come back at once.
    Held(Duration),
}

impl ConnectionLimits {
    pub(crate) fn new(limits: Limits) -> Arc<ConnectionLimits> {
        let state = State {
            limits,
            seats: BTreeMap::new(),
            next_seat: 0,
            by_ip: HashMap::new(),
            by_listener: BTreeMap::new(),
            rate: Rate::default(),
            rate_by_listener: BTreeMap::new(),
            ip_rates: IpRates::default(),
            unsent: 0,
        };
        Arc::new(ConnectionLimits { began: Instant::now(), state: Mutex::new(state), freed: Notify::new() })
    }

    /// From now on these hold; those who wait are looked at again, and who is too many leaves.
    pub(crate) fn change(&self, limits: Limits) {
        let mut state = self.state();
        state.limits = limits;
        state.close_surplus();
        drop(state);
        self.freed.notify_waiters();
    }

    /// The quota of an address, or of all without one, is this from now on.
    pub(crate) fn set_ip_rate(&self, rate: IpRate) {
        self.state().ip_rates.set(rate);
    }

    /// No address has a quota any more.
    pub(crate) fn clear_ip_rates(&self) {
        self.state().ip_rates.clear();
    }

    /// A place for a connection of `ip` through `listener`, waited for where there is none.
    pub(crate) async fn admit(self: &Arc<Self>, listener: &Arc<str>, ip: IpAddr) -> Verdict {
        let pause = self.state().pause(listener, clock::now().mono);
        if pause > 0 {
            tokio::time::sleep(Duration::from_millis(pause.into())).await;
        }
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            // Before the look: what is freed after it wakes us.
            freed.as_mut().enable();
            if let Some(verdict) = self.enter(listener, ip) {
                return verdict;
            }
            freed.await;
        }
    }

    /// `None`: there is no place.
    fn enter(self: &Arc<Self>, listener: &Arc<str>, ip: IpAddr) -> Option<Verdict> {
        let mut state = self.state();
        if !state.has_room(listener) {
            return None;
        }
        let wait = state.pause_of_ip(listener, ip, clock::now().mono);
        if wait > 0 {
            return Some(Verdict::Held(Duration::from_millis(wait.into())));
        }
        let max = *state.limits.per_ip_overrides.get(&ip).unwrap_or(&state.limits.per_ip);
        let from_here = state.by_ip.get(&ip).copied().unwrap_or(0);
        if from_here >= max {
            return Some(Verdict::Refused);
        }
        state.by_ip.insert(ip, from_here + 1);
        *state.by_listener.entry(Arc::clone(listener)).or_default() += 1;
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (activity, leave) = (Arc::new(AtomicU64::new(now)), CancellationToken::new());
        let seat = state.next_seat;
        state.next_seat += 1;
        let taken = Seat {
            listener: Arc::clone(listener),
            unsent: 0,
            activity: Arc::clone(&activity),
            leave: leave.clone(),
        };
        state.seats.insert(seat, taken);
        state.close_surplus();
        let (limits, listener) = (Arc::clone(self), Arc::clone(listener));
        Some(Verdict::Admitted(Admission { limits, seat, ip, listener, activity, leave }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_protected(&self, listener: &str) -> bool {
        self.limits.protected.as_deref() == Some(listener)
    }

    fn has_room(&self, listener: &str) -> bool {
        let through = self.by_listener.get(listener).copied().unwrap_or(0);
        let own = self.limits.of_listener.get(listener).copied().unwrap_or(usize::MAX);
        through < own && (self.is_protected(listener) || self.seats.len() < self.limits.total)
    }

    /// Counts a new connection and says how long it has to wait. Unit: ms.
    fn pause(&mut self, listener: &Arc<str>, now: Monotonic) -> ThrottleMs {
        let window = self.limits.window;
        let of_broker = match self.is_protected(listener) {
            true => 0,
            false => pause(&mut self.rate, self.limits.rate, now, window),
        };
        let own = self.limits.rate_of_listener.get(&**listener).copied().unwrap_or(u32::MAX);
        let of_listener =
            pause(self.rate_by_listener.entry(Arc::clone(listener)).or_default(), own, now, window);
        of_broker.max(of_listener)
    }

    /// Counts a new connection of an address with a quota; above zero it must not come in, and then counts for nobody.
    fn pause_of_ip(&mut self, listener: &Arc<str>, ip: IpAddr, now: Monotonic) -> ThrottleMs {
        let window = self.limits.window;
        let wait = self.ip_rates.record(ip, now, window);
        if wait > 0 {
            if !self.is_protected(listener) {
                self.rate.record(-1.0, now, window);
            }
            if let Some(rate) = self.rate_by_listener.get_mut(listener) {
                rate.record(-1.0, now, window);
            }
        }
        wait
    }

    /// Asks the connections that were silent for longest to leave, as many as there are too many.
    fn close_surplus(&mut self) {
        let leaving = self.seats.values().filter(|seat| seat.leave.is_cancelled()).count();
        let surplus = (self.seats.len() - leaving).saturating_sub(self.limits.total);
        if surplus == 0 {
            return;
        }
        let staying = self.seats.values().filter(|seat| !seat.leave.is_cancelled());
        let mut staying: Vec<&Seat> = staying.filter(|seat| !self.is_protected(&seat.listener)).collect();
        staying.sort_by_key(|seat| seat.activity.load(Ordering::Relaxed));
        for seat in staying.iter().take(surplus) {
            seat.leave.cancel();
        }
        info!("{} connections are closed: there are more than max.connections", staying.len().min(surplus));
    }

    /// Asks those who do not take their answers to leave, silent for longest first, until what the others keep is within
    /// [`UNSENT_BYTES_MAX`]; `newest` stays.
    fn close_unread(&mut self, newest: u64) {
        if self.unsent <= UNSENT_BYTES_MAX {
            return;
        }
        let leaving = self.seats.values().filter(|seat| seat.leave.is_cancelled()).map(|seat| seat.unsent);
        let mut kept = self.unsent - leaving.sum::<usize>();
        let candidates = self
            .seats
            .iter()
            .filter(|(id, seat)| **id != newest && seat.unsent > 0 && !seat.leave.is_cancelled());
        let mut candidates: Vec<&Seat> = candidates.map(|(_, seat)| seat).collect();
        candidates.sort_by_key(|seat| seat.activity.load(Ordering::Relaxed));
        let mut closed = 0;
        for seat in candidates {
            if kept <= UNSENT_BYTES_MAX {
                break;
            }
            seat.leave.cancel();
            kept -= seat.unsent;
            closed += 1;
        }
        if closed > 0 {
            warn!(
                "{closed} connections are closed: clients leave more than {UNSENT_BYTES_MAX} bytes of answers unread"
            );
        }
    }
}

/// Counts one more; no pause is longer than one sample of the window.
fn pause(rate: &mut Rate, max: u32, now: Monotonic, window: Window) -> ThrottleMs {
    let longest = ThrottleMs::try_from(window.sample_ms).unwrap_or(ThrottleMs::MAX);
    rate.record(1.0, now, window);
    rate.wait_at_most(longest, f64::from(max), now, window)
}

impl Admission {
    /// The connection is not idle.
    pub(crate) fn is_active(&self) {
        let now = u64::try_from(self.limits.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.activity.store(now, Ordering::Relaxed);
    }

    /// Counts an answer that the client has not taken; where all these are too much, those silent for longest leave, this
    /// one last.
    pub(crate) fn keeps(&self, bytes: usize) -> Unsent<'_> {
        let mut state = self.limits.state();
        state.unsent += bytes;
        if let Some(seat) = state.seats.get_mut(&self.seat) {
            seat.unsent += bytes;
        }
        state.close_unread(self.seat);
        Unsent { admission: self, bytes }
    }

    /// Ends when the connection has to leave.
    pub(crate) async fn must_leave(&self) {
        self.leave.cancelled().await;
    }
}

impl Drop for Unsent<'_> {
    fn drop(&mut self) {
        let mut state = self.admission.limits.state();
        state.unsent -= self.bytes;
        if let Some(seat) = state.seats.get_mut(&self.admission.seat) {
            seat.unsent -= self.bytes;
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut state = self.limits.state();
        state.seats.remove(&self.seat);
        if let Some(count) = state.by_ip.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                state.by_ip.remove(&self.ip);
            }
        }
        if let Some(count) = state.by_listener.get_mut(&self.listener) {
            *count -= 1;
        }
        drop(state);
        self.limits.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn limits(total: usize, per_ip: usize) -> Limits {
        Limits {
            total,
            of_listener: BTreeMap::new(),
            per_ip,
            per_ip_overrides: HashMap::new(),
            rate: u32::MAX,
            rate_of_listener: BTreeMap::new(),
            window: Window { sample_ms: 1000, samples: 11 },
            protected: None,
        }
    }

    /// `None`: it would have to wait.
    fn at_once(limits: &Arc<ConnectionLimits>, listener: &str, ip: IpAddr) -> Option<Verdict> {
        limits.admit(&listener.into(), ip).now_or_never()
    }

    fn is_refused(limits: &Arc<ConnectionLimits>, listener: &str, ip: IpAddr) -> bool {
        matches!(at_once(limits, listener, ip), Some(Verdict::Refused))
    }

    fn admitted(limits: &Arc<ConnectionLimits>, listener: &str) -> Admission {
        match at_once(limits, listener, HERE) {
            Some(Verdict::Admitted(admission)) => admission,
            _ => panic!("there is room"),
        }
    }

    #[test]
    fn an_address_is_refused_beyond_its_limit_and_welcome_again_when_one_leaves() {
        let limits = ConnectionLimits::new(limits(10, 1));
        let first = admitted(&limits, "A");
        assert!(is_refused(&limits, "A", HERE));
        drop(first);
        admitted(&limits, "A");
    }

    #[test]
    fn an_override_of_zero_shuts_an_address_out_until_it_is_changed() {
        let other = IpAddr::from([127, 0, 0, 9]);
        let shut = Limits { per_ip_overrides: HashMap::from([(other, 0)]), ..limits(10, 5) };
        let counted = ConnectionLimits::new(shut);
        assert!(is_refused(&counted, "A", other));
        admitted(&counted, "A");
        counted.change(limits(10, 5));
        assert!(matches!(at_once(&counted, "A", other), Some(Verdict::Admitted(_))));
    }

    #[test]
    fn a_listener_with_a_limit_of_its_own_waits_while_others_do_not() {
        let own = BTreeMap::from([("A".to_owned(), 1)]);
        let limits = ConnectionLimits::new(Limits { of_listener: own, ..limits(10, 10) });
        let first = admitted(&limits, "A");
        assert!(at_once(&limits, "A", HERE).is_none());
        admitted(&limits, "B");
        drop(first);
        admitted(&limits, "A");
    }

    #[tokio::test]
    async fn who_waits_is_let_in_when_the_limit_is_raised() {
        let counted = ConnectionLimits::new(limits(1, 10));
        let _first = admitted(&counted, "A");
        let waiting = {
            let counted = Arc::clone(&counted);
            tokio::spawn(
                async move { matches!(counted.admit(&"A".into(), HERE).await, Verdict::Admitted(_)) },
            )
        };
        tokio::task::yield_now().await;
        counted.change(limits(2, 10));
        assert!(waiting.await.expect("no panic"));
    }

    #[test]
    fn when_the_total_is_lowered_those_silent_for_longest_leave() {
        let counted = ConnectionLimits::new(limits(3, 10));
        let all = [admitted(&counted, "A"), admitted(&counted, "A"), admitted(&counted, "A")];
        for (admission, activity) in all.iter().zip([30, 10, 20]) {
            admission.activity.store(activity, Ordering::Relaxed);
        }
        counted.change(limits(1, 10));
        let left = |admission: &Admission| admission.must_leave().now_or_never().is_some();
        assert_eq!(all.each_ref().map(left), [false, true, true]);
    }

    #[test]
    fn once_answers_nobody_takes_are_too_much_those_silent_for_longest_leave_and_the_newest_stays() {
        const THIRD: usize = UNSENT_BYTES_MAX / 3 + 1;
        let counted = ConnectionLimits::new(limits(10, 10));
        let all = [
            admitted(&counted, "A"),
            admitted(&counted, "A"),
            admitted(&counted, "A"),
            admitted(&counted, "A"),
        ];
        for (admission, activity) in all.iter().zip([30, 10, 20, 40]) {
            admission.activity.store(activity, Ordering::Relaxed);
        }
        let left = || all.each_ref().map(|one| one.must_leave().now_or_never().is_some());
        let first = all[0].keeps(THIRD);
        let _second = all[1].keeps(THIRD);
        assert_eq!(left(), [false; 4]);
        let _third = all[2].keeps(THIRD);
        assert_eq!(left(), [false, true, false, false]);
        drop(first);
        let _fourth = all[3].keeps(THIRD);
        assert_eq!(left(), [false, true, false, false], "what leaves does not count twice");
        let _again = all[3].keeps(UNSENT_BYTES_MAX);
        assert_eq!(left(), [false, true, true, false], "the newest may be too large by itself");
    }

    #[test]
    fn brokers_are_let_in_though_all_places_are_taken_and_the_idlest_client_leaves() {
        let protected = Limits { protected: Some("INTERNAL".into()), ..limits(1, 10) };
        let counted = ConnectionLimits::new(protected);
        let client = admitted(&counted, "CLIENTS");
        let _broker = admitted(&counted, "INTERNAL");
        assert!(client.must_leave().now_or_never().is_some());
    }

    #[test]
    fn an_address_beyond_its_rate_is_held_and_counts_for_nobody_else() {
        let counted = ConnectionLimits::new(Limits { rate: 100, ..limits(1000, 1000) });
        counted.set_ip_rate(IpRate { ip: Some(HERE), rate: Some(1) });
        let _ten: Vec<Admission> = (0..10).map(|_| admitted(&counted, "A")).collect();
        // The rate of the broker lets in a thousand at once.
        for _ in 0..2000 {
            assert!(matches!(at_once(&counted, "A", HERE), Some(Verdict::Held(wait)) if !wait.is_zero()));
        }
        let other = IpAddr::from([127, 0, 0, 9]);
        assert!(matches!(at_once(&counted, "A", other), Some(Verdict::Admitted(_))));
        counted.set_ip_rate(IpRate { ip: Some(HERE), rate: None });
        admitted(&counted, "A");
    }
}
