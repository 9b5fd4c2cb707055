//! One request in, one answer staged.

use std::time::Instant;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use coordinator::znodes::{
    Change, Identity, Outcome, Refusal, Rejection, SessionId, WatchMode, WatchRequest, WatcherId, Write, Zxid,
};
use sha1::{Digest, Sha1};

use super::core::{Core, CoreError};
use super::jute::Writer;
use super::reply;
use super::request::{Envelope, Question, Request, opcode};

/// A read's answer: what to write behind the header.
type Answer = Result<Writer, Refusal>;

impl Core {
    pub(super) fn request(
        &mut self,
        id: WatcherId,
        envelope: Envelope,
        arrived: Instant,
    ) -> Result<(), CoreError> {
        let now = self.now();
        let Some(link) = self.links.get_mut(&id) else { return Ok(()) };
        let session = link.session;
        self.counters.received += 1;
        link.ledger.counters.received += 1;
        link.ledger.last_operation = envelope.name;
        self.expiry.touch(session, now, link.timeout);
        let xid = envelope.xid;
        match envelope.request {
            Request::Write { write, kind } => {
                let frame = self.write(id, session, xid, write, kind)?;
                self.stage(id, frame);
            }
            Request::Multi { writes, kinds } => {
                let frame = self.multi(id, session, xid, writes, &kinds)?;
                self.stage(id, frame);
            }
            Request::CloseSession => {
                // The answer before the end: afterwards the connection is no longer known.
                self.attached.remove(&session);
                self.end_session(session)?;
                self.stage(id, reply::ok(xid, self.tree.zxid()).finish());
                self.stage_close(id);
            }
            Request::Auth { scheme, proof } => self.authenticate(id, xid, &scheme, &proof),
            Request::Unknown => {
                self.stage(id, reply::refused(xid, Zxid(-1), Refusal::Unimplemented));
                self.stage_close(id);
            }
            // No SASL is set up: ZooKeeper answers with a null token then.
            Request::Sasl => {
                let mut answer = reply::ok(xid, Zxid(0));
                answer.buffer(None);
                self.stage(id, answer.finish());
            }
            Request::SetWatches(request) => self.resume(id, xid, &request),
            Request::Ping => self.stage(id, reply::ok(reply::PING_XID, self.tree.zxid()).finish()),
            read => {
                let answer = self.read(id, session, xid, read);
                let zxid = self.tree.zxid();
                let frame = match answer {
                    Ok(body) => body.finish(),
                    Err(refusal) => reply::refused(xid, zxid, refusal),
                };
                self.stage(id, frame);
            }
        }
        self.note_answer(id, xid, arrived);
        Ok(())
    }

    fn note_answer(&mut self, id: WatcherId, xid: i32, arrived: Instant) {
        let (clock, now, zxid) = (Instant::now(), self.now(), self.tree.zxid().0);
        self.counters.answered(clock.saturating_duration_since(arrived));
        if let Some(link) = self.links.get_mut(&id) {
            link.ledger.answered(arrived, clock);
            link.ledger.last_reply = now;
            link.ledger.last_zxid = zxid;
            if xid >= 0 {
                link.ledger.last_xid = Some(xid);
            }
        }
    }

    /// Decides and applies; a refused write takes a place in the order too.
    fn change(
        &mut self,
        id: WatcherId,
        session: SessionId,
        write: Write,
    ) -> Result<Result<Outcome, Rejection>, CoreError> {
        let identities = self.links.get(&id).map_or(&[][..], |link| &link.identities);
        match self.tree.decide(session, identities, write) {
            Ok(change) => Ok(Ok(self.commit(session, change)?.outcome)),
            Err(rejection) => {
                self.commit(session, Change::Refused { code: rejection.code() })?;
                Ok(Err(rejection))
            }
        }
    }

    fn write(
        &mut self,
        id: WatcherId,
        session: SessionId,
        xid: i32,
        write: Write,
        kind: i32,
    ) -> Result<Bytes, CoreError> {
        let result = self.change(id, session, write)?;
        let zxid = self.tree.zxid();
        Ok(match result {
            Ok(outcome) => {
                let mut frame = reply::ok(xid, zxid);
                reply::outcome(&mut frame, kind, &outcome);
                frame.finish()
            }
            Err(Rejection::Single(refusal)) => reply::refused(xid, zxid, refusal),
            Err(Rejection::Multi(_)) => reply::refused(xid, zxid, Refusal::RuntimeInconsistency),
        })
    }

    fn multi(
        &mut self,
        id: WatcherId,
        session: SessionId,
        xid: i32,
        writes: Vec<Write>,
        kinds: &[i32],
    ) -> Result<Bytes, CoreError> {
        let result = self.change(id, session, Write::Multi(writes))?;
        let mut frame = reply::ok(xid, self.tree.zxid());
        match result {
            Ok(Outcome::Multi(outcomes)) => reply::outcomes(&mut frame, kinds, &outcomes),
            Ok(_) => reply::multi_end(&mut frame),
            Err(Rejection::Multi(codes)) => reply::refused_multi(&mut frame, &codes),
            Err(Rejection::Single(refusal)) => return Ok(reply::refused(xid, self.tree.zxid(), refusal)),
        }
        Ok(frame.finish())
    }

    fn read(&mut self, id: WatcherId, session: SessionId, xid: i32, request: Request) -> Answer {
        let identities = self.links.get(&id).map_or(&[][..], |link| &link.identities);
        let (tree, watches) = (&self.tree, &mut self.watches);
        let mut body = reply::ok(xid, tree.zxid());
        match request {
            Request::Exists { path, watch } => {
                let stat = tree.stat(&path, identities);
                if watch && matches!(stat, Ok(_) | Err(Refusal::NoNode)) {
                    watches.watch_data(id, &path, WatchMode::Once)?;
                }
                body.stat(&stat?);
            }
            Request::GetData { path, watch } => {
                let (data, stat) = tree.data(&path, identities)?;
                if watch {
                    watches.watch_data(id, &path, WatchMode::Once)?;
                }
                body.buffer(data.as_deref()).stat(&stat);
            }
            Request::GetChildren { path, watch, with_stat } => {
                let (children, stat) = tree.children(&path, identities)?;
                if watch {
                    watches.watch_children(id, &path, WatchMode::Once)?;
                }
                body.strings(children);
                if with_stat {
                    body.stat(&stat);
                }
            }
            Request::GetAcl { path } => {
                let (list, stat) = tree.acl(&path, identities)?;
                body.acl(&list).stat(&stat);
            }
            Request::CountDescendants { path } => {
                body.count(tree.descendant_count(&path, identities)?);
            }
            Request::GetEphemerals { prefix } => {
                let owned: Vec<_> = tree.ephemerals(session, &prefix).collect();
                body.strings(owned.into_iter());
            }
            Request::Sync { path } => {
                body.buffer(path.as_deref().map(str::as_bytes));
            }
            Request::AddWatch { path, mode } => {
                watches.watch_both(id, &path, mode)?;
                body.int(0);
            }
            Request::RemoveWatches { path, kind } if watches.remove(id, &path, kind) => {}
            Request::CheckWatches { path, kind } if watches.contains(id, &path, kind) => {}
            Request::RemoveWatches { .. } | Request::CheckWatches { .. } => return Err(Refusal::NoWatcher),
            Request::MultiRead(questions) => self.answer_all(identities, &questions, &mut body),
            Request::WhoAmI => introduce(identities, &mut body),
            _ => return Err(Refusal::Marshalling),
        }
        Ok(body)
    }

    fn answer_all(&self, identities: &[Identity], questions: &[Question], body: &mut Writer) {
        for question in questions {
            match question {
                Question::Data(path) => match self.tree.data(path, identities) {
                    Ok((data, stat)) => {
                        body.int(opcode::GET_DATA).bool(false).int(0);
                        body.buffer(data.as_deref()).stat(&stat);
                    }
                    Err(refusal) => reply::multi_error(body, refusal.code()),
                },
                Question::Children(path) => match self.tree.children(path, identities) {
                    Ok((children, _)) => {
                        body.int(opcode::GET_CHILDREN).bool(false).int(0);
                        body.strings(children);
                    }
                    Err(refusal) => reply::multi_error(body, refusal.code()),
                },
            }
        }
        reply::multi_end(body);
    }

    fn resume(&mut self, id: WatcherId, xid: i32, request: &WatchRequest) {
        let frame = match self.tree.resume_watches(&mut self.watches, id, request) {
            Ok(missed) => {
                for event in &missed {
                    self.stage(id, reply::event(event));
                }
                reply::ok(xid, self.tree.zxid()).finish()
            }
            Err(refusal) => reply::refused(xid, self.tree.zxid(), refusal),
        };
        self.stage(id, frame);
    }

    fn authenticate(&mut self, id: WatcherId, xid: i32, scheme: &str, proof: &[u8]) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let identity = match scheme {
            "digest" => Some(digest_identity(proof)),
            "ip" => Some(Identity::new("ip", link.peer.ip().to_string())),
            _ => None,
        };
        let zxid = Zxid(0);
        match identity {
            Some(identity) => {
                if !link.identities.contains(&identity) && link.identities.len() < IDENTITIES_MAX {
                    link.identities.push(identity);
                }
                self.stage(id, reply::ok(xid, zxid).finish());
            }
            None => {
                self.tally.auth_failed += 1;
                self.stage(id, reply::refused(xid, zxid, Refusal::AuthFailed));
                self.stage_close(id);
            }
        }
    }
}

/// Identities one connection may prove; each is looked at in every access check.
const IDENTITIES_MAX: usize = 64;

/// `user:password` becomes `user:base64(sha1(user:password))`.
fn digest_identity(proof: &[u8]) -> Identity {
    let proof = String::from_utf8_lossy(proof);
    let user = proof.split(':').next().unwrap_or_default();
    let digest = BASE64_STANDARD.encode(Sha1::digest(proof.as_bytes()));
    Identity::new("digest", format!("{user}:{digest}"))
}

/// Digests without their secret half.
fn introduce(identities: &[Identity], body: &mut Writer) {
    body.count(identities.len());
    for identity in identities {
        let user = match identity.scheme.as_str() {
            "digest" => identity.id.split(':').next().unwrap_or_default(),
            _ => identity.id.as_str(),
        };
        body.string(&identity.scheme).string(user);
    }
}
