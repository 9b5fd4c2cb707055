//! How sessions begin, come back and end.

use std::net::SocketAddr;
use std::time::Duration;

use coordinator::znodes::{Change, Identity, SessionId, WatcherId};

use super::core::{Core, CoreError, Link, timeout, wall_clock_ms};
use super::counters::Ledger;
use super::outbox::Outbox;
use super::reply::{self, Established};
use super::request::Hello;

impl Core {
    /// Opens a session or lets a connection take one over.
    pub(super) fn connect(
        &mut self,
        id: WatcherId,
        peer: SocketAddr,
        hello: Hello,
        outbox: Outbox,
    ) -> Result<(), CoreError> {
        self.counters.received += 1;
        if hello.last_zxid_seen > self.tree.zxid() {
            // As ZooKeeper: closed without a word, so that the client tries elsewhere.
            tracing::warn!(
                %peer,
                seen = hello.last_zxid_seen.0,
                ours = self.tree.zxid().0,
                "a client has seen later changes than this coordinator has; was its data directory replaced?"
            );
            return Ok(());
        }
        let timeout_ms = self.negotiate(hello.timeout_ms);
        let session = if hello.session == 0 {
            self.open_session(timeout_ms)?
        } else {
            let session = SessionId(hello.session);
            let known = self.tree.session(session);
            if known.is_none_or(|known| known.password[..] != hello.password[..]) {
                outbox.send(reply::welcome(None, hello.knows_read_only));
                return Ok(());
            }
            if let Some(before) = self.attached.remove(&session) {
                // At once: answers to the old connection are lost to the client anyway.
                self.detach(before);
            }
            session
        };
        let password = self.tree.session(session).map_or([0; 16], |session| session.password);
        let link = Link {
            peer,
            outbox,
            session,
            timeout: timeout(timeout_ms),
            identities: vec![Identity::new("ip", peer.ip().to_string())],
            ledger: Ledger::new(wall_clock_ms()),
            closing: false,
        };
        self.expiry.touch(session, self.now(), link.timeout);
        self.links.insert(id, link);
        self.attached.insert(session, id);
        let established = Established { session: session.0, timeout_ms, password };
        self.stage(id, reply::welcome(Some(established), hello.knows_read_only));
        Ok(())
    }

    fn open_session(&mut self, timeout_ms: i32) -> Result<SessionId, CoreError> {
        let session = SessionId(self.next_session);
        self.next_session += 1;
        let password = uuid::Uuid::new_v4().into_bytes();
        self.commit(session, Change::OpenSession { timeout_ms, password })?;
        Ok(session)
    }

    fn negotiate(&self, asked_ms: i32) -> i32 {
        let ms = |duration: Duration| i32::try_from(duration.as_millis()).unwrap_or(i32::MAX);
        let (min, max) = (ms(self.settings.session_timeout_min), ms(self.settings.session_timeout_max));
        asked_ms.max(min).min(max)
    }

    /// Deletes the session and its ephemeral znodes, and closes its connection.
    pub(super) fn end_session(&mut self, session: SessionId) -> Result<(), CoreError> {
        self.expiry.forget(session);
        self.commit(session, Change::CloseSession)?;
        if let Some(id) = self.attached.remove(&session) {
            self.stage_close(id);
        }
        Ok(())
    }

    pub(super) fn end_overdue_sessions(&mut self) -> Result<(), CoreError> {
        for session in self.expiry.expire(self.now()) {
            tracing::info!(session = format_args!("{:#x}", session.0), "session expired");
            self.tally.sessions_expired += 1;
            self.end_session(session)?;
        }
        Ok(())
    }
}
