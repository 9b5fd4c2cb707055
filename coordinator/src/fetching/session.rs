//! One fetch session: its epoch, what its fetcher wants, and what it was last told.

use std::sync::Arc;

use storage::types::{LeaderEpoch, Offset, TopicId};

use super::partitions::{Partitions, Slot, TopicRef};

/// A request with this epoch asks for a new session.
pub const INITIAL_EPOCH: i32 = 0;
/// A request with this epoch closes its session and wants no other.
pub const FINAL_EPOCH: i32 = -1;

/// The epoch of the request after one of `epoch`; 0 is for opening, so it is skipped when the numbers wrap.
#[must_use]
pub fn next_epoch(epoch: i32) -> i32 {
    match epoch {
        ..0 => FINAL_EPOCH,
        i32::MAX => 1,
        _ => epoch + 1,
    }
}

/// Why a request does not fit a session. No partition is read and nothing changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    #[error("no fetch session has this id")]
    NotFound,
    #[error("the fetch session is at another epoch")]
    WrongEpoch,
    #[error("the fetch session names topics the other way (by name or by id)")]
    OtherNaming,
}

/// What a fetcher says of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub offset: Offset,
    /// Where a follower's own log starts; `Offset::NONE` from consumers.
    pub log_start: Offset,
    /// Unit: bytes. As the wire has it: may be negative.
    pub max_bytes: i32,
    /// `LeaderEpoch::NONE` is not checked.
    pub current_leader_epoch: LeaderEpoch,
    /// Epoch of the fetcher's last record; `LeaderEpoch::NONE` asks for no check.
    pub last_fetched_epoch: LeaderEpoch,
}

impl Wanted {
    #[cfg(test)]
    pub(super) fn at(offset: Offset) -> Wanted {
        Wanted {
            offset,
            log_start: Offset::NONE,
            max_bytes: 1 << 20,
            current_leader_epoch: LeaderEpoch::NONE,
            last_fetched_epoch: LeaderEpoch::NONE,
        }
    }
}

/// What of an answer decides whether it must be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    pub has_records: bool,
    pub failed: bool,
    /// The fetcher is sent elsewhere: its log diverged, or another replica is nearer.
    pub redirected: bool,
    pub high_watermark: Offset,
    pub log_start: Offset,
}

/// One partition of a session, for a reader.
#[derive(Clone, Debug)]
pub struct Entry {
    pub slot: Slot,
    pub topic: TopicRef,
    pub partition: i32,
    pub wanted: Wanted,
}

/// What the session remembers of a partition.
#[derive(Debug)]
pub(super) struct Cached {
    pub(super) topic: TopicRef,
    pub(super) partition: i32,
    wanted: Wanted,
    /// As last told; `Offset::NONE` makes the next answer go out whatever it says.
    high_watermark: Offset,
    log_start: Offset,
}

impl Cached {
    pub(super) fn new(topic: TopicRef, partition: i32, wanted: Wanted) -> Self {
        Cached { topic, partition, wanted, high_watermark: Offset::NONE, log_start: Offset::NONE }
    }

    /// Whether the fetcher must be told, remembering what it is told.
    fn tell(&mut self, answered: &Answered) -> bool {
        let must = self.must_tell(answered);
        self.log_start = answered.log_start;
        // After an error the partition is told again as soon as the error is gone.
        self.high_watermark = if answered.failed { Offset::NONE } else { answered.high_watermark };
        must
    }

    fn must_tell(&self, answered: &Answered) -> bool {
        let moved = self.high_watermark != answered.high_watermark || self.log_start != answered.log_start;
        moved || answered.has_records || answered.failed || answered.redirected
    }
}

/// What became of an accepted request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// Its answer must be settled with this epoch.
    Epoch(i32),
    /// It dropped the last partition: the session is to be closed.
    Emptied,
}

/// An incremental fetch session.
#[derive(Debug)]
pub struct Session {
    by_id: bool,
    /// The epoch the next request must have.
    epoch: i32,
    partitions: Partitions,
}

impl Session {
    /// A session right after its first, full request was answered.
    pub fn open(
        by_id: bool,
        answered: impl IntoIterator<Item = (TopicRef, i32, Wanted, Answered)>,
    ) -> Session {
        let mut partitions = Partitions::new();
        for (topic, partition, wanted, answered) in answered {
            let Answered { high_watermark, log_start, .. } = answered;
            partitions.push(Cached { topic, partition, wanted, high_watermark, log_start });
        }
        Session { by_id, epoch: next_epoch(INITIAL_EPOCH), partitions }
    }

    /// How many partitions it remembers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.partitions.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.partitions.is_empty()
    }

    /// Takes over what an incremental request adds, changes and forgets, in this order.
    ///
    /// # Errors
    ///
    /// On `Err` the session is unchanged.
    pub fn accept(
        &mut self,
        epoch: i32,
        by_id: bool,
        wanted: impl IntoIterator<Item = (TopicRef, i32, Wanted)>,
        forgotten: impl IntoIterator<Item = (TopicRef, i32)>,
    ) -> Result<Accepted, SessionError> {
        if epoch != self.epoch {
            return Err(SessionError::WrongEpoch);
        }
        if by_id != self.by_id {
            return Err(SessionError::OtherNaming);
        }
        for (topic, partition, wanted) in wanted {
            match self.partitions.find(&topic, partition) {
                Some(cached) => cached.wanted = wanted,
                None => self.partitions.push(Cached::new(topic, partition, wanted)),
            }
        }
        for (topic, partition) in forgotten {
            self.partitions.remove(&topic, partition);
        }
        if self.partitions.is_empty() {
            return Ok(Accepted::Emptied);
        }
        self.epoch = next_epoch(self.epoch);
        Ok(Accepted::Epoch(self.epoch))
    }

    /// Gives a name to the topics that were unknown when they were added.
    pub fn resolve(&mut self, name_of: impl Fn(TopicId) -> Option<Arc<str>>) {
        if self.by_id {
            self.partitions.for_each_mut(|cached| {
                if cached.topic.name.is_none() {
                    cached.topic.name = name_of(cached.topic.id);
                }
            });
        }
    }

    /// In the order in which they are to be read.
    pub fn entries(&self) -> impl Iterator<Item = Entry> {
        self.partitions.iter().map(|(slot, cached)| Entry {
            slot,
            topic: cached.topic.clone(),
            partition: cached.partition,
            wanted: cached.wanted,
        })
    }

    /// Says of each answer whether it would have to be sent, and remembers nothing.
    ///
    /// # Errors
    ///
    /// As [`Session::settle`].
    pub fn would_send(
        &self,
        epoch: i32,
        answers: impl IntoIterator<Item = (Slot, Answered)>,
    ) -> Result<Vec<bool>, SessionError> {
        if epoch != self.epoch {
            return Err(SessionError::WrongEpoch);
        }
        let must =
            |(slot, answered)| self.partitions.peek(slot).is_none_or(|cached| cached.must_tell(&answered));
        Ok(answers.into_iter().map(must).collect())
    }

    /// Says of each answer whether it must be sent, and remembers it as sent.
    ///
    /// # Errors
    ///
    /// `WrongEpoch` where another request was accepted since the one of `epoch`: its slots mean nothing any more.
    pub fn settle(
        &mut self,
        epoch: i32,
        answers: impl IntoIterator<Item = (Slot, Answered)>,
        mut must_send: impl FnMut(bool),
    ) -> Result<(), SessionError> {
        if epoch != self.epoch {
            return Err(SessionError::WrongEpoch);
        }
        for (slot, answered) in answers {
            let Some(cached) = self.partitions.at(slot) else {
                must_send(true);
                continue;
            };
            must_send(cached.tell(&answered));
            if answered.has_records {
                self.partitions.move_last(slot);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn topic(name: &str) -> TopicRef {
        TopicRef { name: Some(name.into()), id: TopicId::ZERO }
    }

    fn quiet(high_watermark: i64) -> Answered {
        Answered {
            has_records: false,
            failed: false,
            redirected: false,
            high_watermark: Offset(high_watermark),
            log_start: Offset(0),
        }
    }

    fn records(high_watermark: i64) -> Answered {
        Answered { has_records: true, ..quiet(high_watermark) }
    }

    /// A session on partitions `0..count` of one topic, all told a high watermark of 10.
    fn session(count: i32) -> Session {
        Session::open(false, (0..count).map(|p| (topic("t"), p, Wanted::at(Offset(10)), quiet(10))))
    }

    fn order(session: &Session) -> Vec<i32> {
        session.entries().map(|entry| entry.partition).collect()
    }

    fn accept(session: &mut Session, epoch: i32) -> i32 {
        match session.accept(epoch, false, [], []) {
            Ok(Accepted::Epoch(epoch)) => epoch,
            other => panic!("accepted: {other:?}"),
        }
    }

    /// Answers every partition with what `answer` gives for it; returns the partitions that are sent.
    fn settle(session: &mut Session, epoch: i32, answer: impl Fn(i32) -> Answered) -> Vec<i32> {
        let entries: Vec<Entry> = session.entries().collect();
        let mut sent = Vec::new();
        let answers: Vec<_> = entries.iter().map(|entry| (entry.slot, answer(entry.partition))).collect();
        session.settle(epoch, answers, |must| sent.push(must)).expect("same epoch");
        entries.iter().zip(sent).filter(|(_, sent)| *sent).map(|(entry, _)| entry.partition).collect()
    }

    #[test]
    fn epochs_start_at_one_and_never_come_back_to_zero() {
        assert_eq!(next_epoch(INITIAL_EPOCH), 1);
        assert_eq!(next_epoch(i32::MAX), 1);
        assert_eq!(next_epoch(FINAL_EPOCH), FINAL_EPOCH);
    }

    #[test]
    fn an_unchanged_partition_is_not_told_again() {
        let mut session = session(3);
        let epoch = accept(&mut session, 1);
        assert_eq!(settle(&mut session, epoch, |p| if p == 1 { quiet(11) } else { quiet(10) }), [1]);
        let epoch = accept(&mut session, epoch);
        assert_eq!(settle(&mut session, epoch, |p| quiet(if p == 1 { 11 } else { 10 })), Vec::<i32>::new());
    }

    #[test]
    fn a_moved_log_start_is_told_once() {
        let mut session = session(1);
        let trimmed = Answered { log_start: Offset(4), ..quiet(10) };
        let epoch = accept(&mut session, 1);
        assert_eq!(settle(&mut session, epoch, |_| trimmed), [0]);
        let epoch = accept(&mut session, epoch);
        assert_eq!(settle(&mut session, epoch, |_| trimmed), Vec::<i32>::new());
    }

    #[test]
    fn partitions_with_records_go_behind_the_others() {
        let mut session = session(4);
        let epoch = accept(&mut session, 1);
        let sent = settle(&mut session, epoch, |p| if p < 2 { records(20) } else { quiet(10) });
        assert_eq!(sent, [0, 1]);
        assert_eq!(order(&session), [2, 3, 0, 1]);
    }

    #[test]
    fn an_error_is_told_every_time_and_its_end_too() {
        let mut session = session(1);
        let failed =
            Answered { failed: true, high_watermark: Offset::NONE, log_start: Offset::NONE, ..quiet(0) };
        for epoch in 1..3 {
            let epoch = accept(&mut session, epoch);
            assert_eq!(settle(&mut session, epoch, |_| failed), [0]);
        }
        let epoch = accept(&mut session, 3);
        assert_eq!(settle(&mut session, epoch, |_| quiet(10)), [0]);
    }

    #[test]
    fn a_doubled_request_is_refused_and_changes_nothing() {
        let mut session = session(2);
        accept(&mut session, 1);
        let again = session.accept(1, false, [], [(topic("t"), 0)]);
        assert_eq!(again, Err(SessionError::WrongEpoch));
        assert_eq!(order(&session), [0, 1]);
    }

    #[test]
    fn an_answer_that_was_overtaken_by_the_next_request_is_refused() {
        let mut session = session(1);
        let epoch = accept(&mut session, 1);
        accept(&mut session, epoch);
        assert_eq!(session.settle(epoch, [], |_| {}), Err(SessionError::WrongEpoch));
    }

    #[test]
    fn a_session_by_name_refuses_a_request_by_id() {
        assert_eq!(session(1).accept(1, true, [], []), Err(SessionError::OtherNaming));
    }

    #[test]
    fn forgetting_the_last_partition_empties_the_session() {
        let mut session = session(1);
        assert_eq!(session.accept(1, false, [], [(topic("t"), 0)]), Ok(Accepted::Emptied));
    }

    #[test]
    fn a_request_changes_what_it_names_and_adds_behind() {
        let mut session = session(2);
        let moved = Wanted::at(Offset(77));
        let added = [(topic("t"), 1, moved), (topic("u"), 0, moved)];
        session.accept(1, false, added, []).expect("accepted");
        let offsets: Vec<_> = session.entries().map(|entry| entry.wanted.offset.0).collect();
        assert_eq!(offsets, [10, 77, 77]);
    }

    #[test]
    fn an_unknown_topic_id_gets_its_name_once_there_is_one() {
        let id = TopicId([1; 16]);
        let unknown = TopicRef { name: None, id };
        let mut session = Session::open(true, [(unknown, 0, Wanted::at(Offset(0)), quiet(-1))]);
        session.resolve(|_| None);
        assert_eq!(session.entries().next().expect("one").topic.name, None);
        session.resolve(|asked| (asked == id).then(|| "t".into()));
        assert_eq!(session.entries().next().expect("one").topic.name.as_deref(), Some("t"));
    }

    proptest! {
        /// A fetcher that applies every answer it is sent always knows the newest high watermarks.
        #[test]
        fn what_is_left_out_is_what_the_fetcher_knows(
            rounds in prop::collection::vec(prop::collection::vec((0..3_i64, any::<bool>()), 3), 1..30)
        ) {
            let mut session = session(3);
            let mut known = [10; 3];
            let mut epoch = 1;
            for round in rounds {
                epoch = accept(&mut session, epoch);
                let now = |p: i32| {
                    let (high_watermark, failed) = round[usize::try_from(p).expect("index")];
                    let high_watermark = if failed { -1 } else { high_watermark };
                    Answered { failed, ..quiet(high_watermark) }
                };
                for p in settle(&mut session, epoch, now) {
                    known[usize::try_from(p).expect("index")] = now(p).high_watermark.0;
                }
                for p in 0..3 {
                    prop_assert_eq!(known[usize::try_from(p).expect("index")], now(p).high_watermark.0);
                }
            }
        }
    }
}
