//! The fetch sessions of this broker, behind locks small enough that fetchers do not meet.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use coordinator::fetching::{Accepted, FINAL_EPOCH, INITIAL_EPOCH, Session, SessionError, SessionSlots};
use coordinator::time::Monotonic;
use kafka_protocol::messages::FetchRequest;

use super::answer::Answer;
use super::asked::{Asked, TOPIC_IDS_SINCE, asked_by, forgotten_by};
use crate::metadata::MetadataSnapshot;

/// Kafka splits the slots in as many shares (KAFKA-9401), and evicts within one. The remainder of a division is lost.
const SHARES: usize = 8;

/// Ids of one share.
const SHARE_IDS: i32 = i32::MAX / 8;

/// No session.
const NO_SESSION: i32 = 0;

pub(crate) struct FetchSessions {
    shares: Vec<Mutex<Share>>,
    /// Where the next session is opened: round robin.
    next: AtomicUsize,
}

/// A std mutex: held for one look-up in the books, never across `.await`. The session's own lock is taken inside it, never
/// the other way round.
struct Share {
    slots: SessionSlots,
    open: HashMap<i32, Arc<Mutex<Session>>>,
}

/// What a request is to its session, until it is answered.
pub(crate) enum FetchContext {
    Refused(SessionError),
    Sessionless,
    /// A session is opened with the answer, if there is a slot.
    Opening {
        by_id: bool,
        follower: bool,
    },
    Incremental {
        id: i32,
        session: Arc<Mutex<Session>>,
        epoch: i32,
    },
}

/// What the answer says of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Settled {
    pub(crate) session_id: i32,
    pub(crate) error: Option<SessionError>,
}

impl FetchSessions {
    /// `slots`: `max.incremental.fetch.session.cache.slots`.
    pub(crate) fn new(slots: usize) -> Self {
        let share = |index: i32| {
            let first = (index * SHARE_IDS).max(1);
            let ids = (index + 1) * SHARE_IDS - first;
            Mutex::new(Share {
                slots: SessionSlots::new(slots / SHARES, first, ids.unsigned_abs()),
                open: HashMap::new(),
            })
        };
        FetchSessions { shares: (0..8).map(share).collect(), next: AtomicUsize::new(0) }
    }

    /// How many sessions there are, and how many partitions in all of them.
    #[cfg(test)]
    fn size(&self) -> (usize, usize) {
        self.shares.iter().map(lock).fold((0, 0), |(sessions, partitions), share| {
            (sessions + share.slots.len(), partitions + share.slots.partitions())
        })
    }

    /// Which partitions the request wants, in the order in which they are to be read.
    pub(crate) fn begin(
        &self,
        now: Monotonic,
        request: &FetchRequest,
        version: i16,
        follower: bool,
        metadata: &MetadataSnapshot,
    ) -> (FetchContext, Vec<Asked>) {
        let (id, epoch) = (request.session_id, request.session_epoch);
        let by_id = version >= TOPIC_IDS_SINCE;
        if epoch != INITIAL_EPOCH && epoch != FINAL_EPOCH {
            return self.resume(now, request, version, metadata);
        }
        if let Some(mut share) = self.share_of(id) {
            share.close(id);
        }
        let context = match epoch {
            FINAL_EPOCH => FetchContext::Sessionless,
            _ => FetchContext::Opening { by_id, follower },
        };
        (context, asked_by(request, version, metadata))
    }

    fn resume(
        &self,
        now: Monotonic,
        request: &FetchRequest,
        version: i16,
        metadata: &MetadataSnapshot,
    ) -> (FetchContext, Vec<Asked>) {
        let id = request.session_id;
        let refused = |error| (FetchContext::Refused(error), Vec::new());
        let wanted = asked_by(request, version, metadata);
        let Some(mut share) = self.share_of(id) else { return refused(SessionError::NotFound) };
        let Some(session) = share.open.get(&id).cloned() else { return refused(SessionError::NotFound) };
        let mut open = session.lock().unwrap_or_else(PoisonError::into_inner);
        let named = wanted.iter().map(|asked| (asked.topic.clone(), asked.partition, asked.wanted));
        let forgotten = forgotten_by(request, version, metadata);
        match open.accept(request.session_epoch, version >= TOPIC_IDS_SINCE, named, forgotten) {
            Err(error) => refused(error),
            Ok(Accepted::Emptied) => {
                share.close(id);
                (FetchContext::Sessionless, wanted)
            }
            Ok(Accepted::Epoch(epoch)) => {
                share.slots.touch(now, id, open.len());
                drop(share);
                open.resolve(|id| metadata.topic_name(id).cloned());
                let asked = open.entries().map(|entry| Asked {
                    slot: Some(entry.slot),
                    topic: entry.topic,
                    partition: entry.partition,
                    wanted: entry.wanted,
                });
                let asked = asked.collect();
                drop(open);
                (FetchContext::Incremental { id, session, epoch }, asked)
            }
        }
    }

    /// Leaves in `answers` what has to be sent, and remembers that it was.
    pub(crate) fn settle(&self, now: Monotonic, context: FetchContext, answers: &mut Vec<Answer>) -> Settled {
        match context {
            FetchContext::Refused(error) => Settled { session_id: NO_SESSION, error: Some(error) },
            FetchContext::Sessionless => Settled { session_id: NO_SESSION, error: None },
            FetchContext::Opening { by_id, follower } => {
                let session_id = self.open(now, by_id, follower, answers);
                Settled { session_id, error: None }
            }
            FetchContext::Incremental { id, session, epoch } => {
                let mut session = session.lock().unwrap_or_else(PoisonError::into_inner);
                let error = leave_what_is_new(&mut session, epoch, answers).err();
                Settled { session_id: id, error }
            }
        }
    }

    /// Which of `answers` would be sent, if they were settled now.
    pub(crate) fn would_send(&self, context: &FetchContext, answers: &[Answer]) -> Vec<bool> {
        match context {
            FetchContext::Refused(_) => vec![false; answers.len()],
            FetchContext::Sessionless | FetchContext::Opening { .. } => vec![true; answers.len()],
            FetchContext::Incremental { session, epoch, .. } => {
                let session = session.lock().unwrap_or_else(PoisonError::into_inner);
                let told = answers.iter().filter_map(|answer| Some((answer.asked.slot?, answer.answered())));
                session.would_send(*epoch, told).unwrap_or_else(|_| vec![false; answers.len()])
            }
        }
    }

    /// What is said of the session in an answer that holds nothing: what was read will be sent another time, and no session
    /// is opened.
    pub(crate) fn settle_unsent(&self, context: &FetchContext) -> Settled {
        match context {
            FetchContext::Refused(error) => Settled { session_id: NO_SESSION, error: Some(*error) },
            FetchContext::Sessionless | FetchContext::Opening { .. } => {
                Settled { session_id: NO_SESSION, error: None }
            }
            FetchContext::Incremental { id, session, epoch } => {
                let session = session.lock().unwrap_or_else(PoisonError::into_inner);
                Settled { session_id: *id, error: session.would_send(*epoch, []).err() }
            }
        }
    }

    fn open(&self, now: Monotonic, by_id: bool, follower: bool, answers: &[Answer]) -> i32 {
        let index = self.next.fetch_add(1, Ordering::Relaxed) % self.shares.len();
        let mut share = lock(&self.shares[index]);
        let Some(opened) = share.slots.open(now, follower, answers.len(), dice()) else { return NO_SESSION };
        if let Some(evicted) = opened.evicted {
            share.open.remove(&evicted);
        }
        let session = Session::open(
            by_id,
            answers.iter().map(|answer| {
                let Asked { topic, partition, wanted, .. } = &answer.asked;
                (topic.clone(), *partition, *wanted, answer.answered())
            }),
        );
        share.open.insert(opened.id, Arc::new(Mutex::new(session)));
        opened.id
    }

    /// `None` for an id no session ever has.
    fn share_of(&self, id: i32) -> Option<MutexGuard<'_, Share>> {
        let index = usize::try_from(id / SHARE_IDS).ok()?;
        self.shares.get(index).map(lock)
    }
}

impl Share {
    fn close(&mut self, id: i32) {
        if self.slots.close(id) {
            self.open.remove(&id);
        }
    }
}

fn lock(share: &Mutex<Share>) -> MutexGuard<'_, Share> {
    share.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes out of `answers` what the fetcher knows already. With an error nothing is left.
fn leave_what_is_new(
    session: &mut Session,
    epoch: i32,
    answers: &mut Vec<Answer>,
) -> Result<(), SessionError> {
    let mut must_send = Vec::with_capacity(answers.len());
    let told = answers.iter().filter_map(|answer| Some((answer.asked.slot?, answer.answered())));
    let settled = session.settle(epoch, told, |must| must_send.push(must));
    let mut must_send = must_send.into_iter();
    answers.retain(|_| must_send.next().unwrap_or(false));
    settled
}

/// A number nobody can foresee.
fn dice() -> u32 {
    uuid::Uuid::new_v4().as_fields().0
}

#[cfg(test)]
mod tests {
    use coordinator::fetching::{Answered, TopicRef};
    use kafka_protocol::messages::TopicName;
    use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
    use kafka_protocol::protocol::StrBytes;
    use storage::disk::FileBytes;
    use storage::types::{Offset, TopicId};

    use super::*;
    use crate::partition::reading::Seen;

    const T0: Monotonic = Monotonic(0);

    fn request(id: i32, epoch: i32, partitions: &[i32]) -> FetchRequest {
        let partitions =
            partitions.iter().map(|partition| FetchPartition::default().with_partition(*partition));
        let topic = FetchTopic::default()
            .with_topic(TopicName(StrBytes::from_static_str("t")))
            .with_partitions(partitions.collect());
        FetchRequest::default().with_session_id(id).with_session_epoch(epoch).with_topics(vec![topic])
    }

    fn begin(sessions: &FetchSessions, request: &FetchRequest) -> (FetchContext, Vec<Asked>) {
        sessions.begin(T0, request, 12, false, &MetadataSnapshot::default())
    }

    /// Answers everything with the given high watermark; returns the partitions that are sent.
    fn settle(
        sessions: &FetchSessions,
        (context, asked): (FetchContext, Vec<Asked>),
        high_watermark: i64,
    ) -> (Settled, Vec<i32>) {
        let seen = |asked| Answer {
            asked,
            outcome: Ok(Seen {
                records: FileBytes::default(),
                first_incomplete: false,
                older_segment: false,
                log_end: Offset(high_watermark),
                high_watermark: Offset(high_watermark),
                last_stable_offset: Offset(high_watermark),
                log_start: Offset(0),
                aborted: None,
                diverging: None,
                preferred: None,
            }),
        };
        let mut answers: Vec<Answer> = asked.into_iter().map(seen).collect();
        let settled = sessions.settle(T0, context, &mut answers);
        (settled, answers.iter().map(|answer| answer.asked.partition).collect())
    }

    #[test]
    fn a_session_lives_from_its_full_request_to_its_final_one() {
        let sessions = FetchSessions::new(1000);
        let (opened, sent) = settle(&sessions, begin(&sessions, &request(0, 0, &[0, 1])), 5);
        assert_eq!(sent, [0, 1]);
        assert_eq!(sessions.size(), (1, 2));

        let (_, sent) = settle(&sessions, begin(&sessions, &request(opened.session_id, 1, &[])), 5);
        assert_eq!(sent, Vec::<i32>::new());
        let (_, sent) = settle(&sessions, begin(&sessions, &request(opened.session_id, 2, &[2])), 6);
        assert_eq!(sent, [0, 1, 2]);

        let (closed, _) = settle(&sessions, begin(&sessions, &request(opened.session_id, -1, &[0])), 6);
        assert_eq!(closed, Settled { session_id: 0, error: None });
        assert_eq!(sessions.size(), (0, 0));
    }

    #[test]
    fn ids_that_no_session_has_are_not_found() {
        let sessions = FetchSessions::new(1000);
        for id in [0, 1, -1, i32::MAX, i32::MIN] {
            let (settled, _) = settle(&sessions, begin(&sessions, &request(id, 5, &[0])), 0);
            assert_eq!(settled, Settled { session_id: 0, error: Some(SessionError::NotFound) });
        }
    }

    #[test]
    fn a_request_that_forgets_everything_ends_its_session() {
        let sessions = FetchSessions::new(1000);
        let (opened, _) = settle(&sessions, begin(&sessions, &request(0, 0, &[0])), 5);
        let mut last = request(opened.session_id, 1, &[]);
        last.forgotten_topics_data = vec![
            kafka_protocol::messages::fetch_request::ForgottenTopic::default()
                .with_topic(TopicName(StrBytes::from_static_str("t")))
                .with_partitions(vec![0]),
        ];
        let (settled, _) = settle(&sessions, begin(&sessions, &last), 5);
        assert_eq!(settled, Settled { session_id: 0, error: None });
        assert_eq!(sessions.size(), (0, 0));
    }

    #[test]
    fn a_session_opened_by_name_refuses_topic_ids() {
        let sessions = FetchSessions::new(1000);
        let (opened, _) = settle(&sessions, begin(&sessions, &request(0, 0, &[0])), 5);
        let by_id = request(opened.session_id, 1, &[]);
        let begun = sessions.begin(T0, &by_id, 13, false, &MetadataSnapshot::default());
        let (settled, _) = settle(&sessions, begun, 5);
        assert_eq!(settled.error, Some(SessionError::OtherNaming));
    }

    #[test]
    fn fewer_slots_than_shares_are_none() {
        let sessions = FetchSessions::new(7);
        let (settled, sent) = settle(&sessions, begin(&sessions, &request(0, 0, &[0])), 5);
        assert_eq!(settled, Settled { session_id: 0, error: None });
        assert_eq!(sent, [0]);
    }

    #[test]
    fn an_answered_partition_is_told_apart_by_what_it_says() {
        let topic = TopicRef { name: None, id: TopicId([1; 16]) };
        let asked = asked_by(&request(0, 0, &[0]), 12, &MetadataSnapshot::default()).remove(0);
        let failed = Answer {
            asked: Asked { topic, ..asked },
            outcome: Err(kafka_protocol::error::ResponseError::UnknownTopicId),
        };
        let answered: Answered = failed.answered();
        assert!(answered.failed && answered.high_watermark == Offset::NONE);
    }
}
