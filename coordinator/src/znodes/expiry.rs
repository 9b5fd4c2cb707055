//! When sessions end for want of a sign of life. Volatile: after a restart every session gets its whole timeout anew.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::txn::SessionId;

/// Deadlines of sessions. Times are since an arbitrary start, the same for all calls.
#[derive(Debug, Default)]
pub struct Expiry {
    deadlines: BTreeSet<(Duration, SessionId)>,
    by_session: BTreeMap<SessionId, Duration>,
}

impl Expiry {
    /// A sign of life at `now`: the session lives `timeout` longer, at least.
    pub fn touch(&mut self, session: SessionId, now: Duration, timeout: Duration) {
        let deadline = now.saturating_add(timeout);
        if let Some(before) = self.by_session.insert(session, deadline) {
            self.deadlines.remove(&(before, session));
        }
        self.deadlines.insert((deadline, session));
    }

    pub fn forget(&mut self, session: SessionId) {
        if let Some(deadline) = self.by_session.remove(&session) {
            self.deadlines.remove(&(deadline, session));
        }
    }

    pub fn next_deadline(&self) -> Option<Duration> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Takes the sessions whose deadline is not after `now`, the most overdue first.
    pub fn expire(&mut self, now: Duration) -> Vec<SessionId> {
        let mut expired = Vec::new();
        while let Some((deadline, session)) = self.deadlines.first().copied()
            && deadline <= now
        {
            self.deadlines.pop_first();
            self.by_session.remove(&session);
            expired.push(session);
        }
        expired
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_session_expires_at_its_deadline_and_a_touched_one_does_not() {
        let secs = Duration::from_secs;
        let mut expiry = Expiry::default();
        expiry.touch(SessionId(1), secs(0), secs(4));
        expiry.touch(SessionId(2), secs(0), secs(5));
        expiry.touch(SessionId(1), secs(3), secs(4));

        assert_eq!(expiry.next_deadline(), Some(secs(5)));
        assert_eq!(expiry.expire(secs(5)), [SessionId(2)]);
        assert_eq!(expiry.expire(secs(6)), []);
        assert_eq!(expiry.expire(secs(7)), [SessionId(1)]);
        assert_eq!(expiry.next_deadline(), None);
    }
}
