//! A fetch session from the fetcher's side (KIP-227): what must be said this time, and what the leader knows already.
//!
//! Always true: what a partition is [`Told`] to want is what the leader's session wants of it, as far as the fetcher can
//! know; after any failure the next request says everything anew.

use storage::types::{TopicId, TopicPartition};

use super::session::{INITIAL_EPOCH, Wanted, next_epoch};

/// No session: of requests that open one, and of answers that did not.
const NO_SESSION: i32 = 0;

/// What the leader was last told of one partition. Kept by the fetcher, with the partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told(Option<(TopicId, Wanted)>);

impl Told {
    /// `None` while the session does not have the partition.
    #[must_use]
    pub fn wanted(&self) -> Option<&Wanted> {
        self.0.as_ref().map(|(_, wanted)| wanted)
    }
}

/// One partition as a request names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named<T> {
    pub partition: TopicPartition,
    pub topic_id: TopicId,
    pub what: T,
}

/// What a request says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    pub session_id: i32,
    pub epoch: i32,
    pub wanted: Vec<Named<Wanted>>,
    pub forgotten: Vec<Named<()>>,
}

/// One partition of a fetcher, when a request is made.
pub struct Member<'a> {
    pub partition: &'a TopicPartition,
    pub topic_id: TopicId,
    /// `None`: nothing for now.
    pub wanted: Option<Wanted>,
    pub told: &'a mut Told,
}

/// The fetcher's side of one session.
#[derive(Debug)]
pub struct AskingSession {
    id: i32,
    epoch: i32,
    by_id: bool,
    /// Partitions that the leader's session has and the fetcher has not any more.
    dropped: Vec<Named<()>>,
}

impl Default for AskingSession {
    fn default() -> Self {
        AskingSession { id: NO_SESSION, epoch: INITIAL_EPOCH, by_id: false, dropped: Vec::new() }
    }
}

impl AskingSession {
    /// The next request; `None` where there is nothing to ask for. `by_id`: whether topics are named by id.
    pub fn next<'a>(&mut self, by_id: bool, members: impl IntoIterator<Item = Member<'a>>) -> Option<Ask> {
        if by_id != self.by_id {
            self.by_id = by_id;
            self.start_over();
        }
        let full = self.epoch == INITIAL_EPOCH;
        let mut wanted = Vec::new();
        let mut forgotten = std::mem::take(&mut self.dropped);
        let mut any = false;
        for member in members {
            let Member { partition, topic_id, wanted: now, told } = member;
            any |= now.is_some();
            let next = now.map(|now| (topic_id, now));
            let before = std::mem::replace(&mut told.0, next);
            let named = |topic_id| Named { partition: partition.clone(), topic_id, what: () };
            match (before, next) {
                (Some(_), _) if full => {}
                // Another topic of the same name.
                (Some((before, _)), Some((topic_id, _))) if before != topic_id => {
                    forgotten.push(named(before));
                }
                (Some((before, _)), None) => forgotten.push(named(before)),
                _ => {}
            }
            if let Some((topic_id, now)) = next
                && (full || before != next)
            {
                wanted.push(Named { partition: partition.clone(), topic_id, what: now });
            }
        }
        if full {
            forgotten.clear();
        }
        if !any && forgotten.is_empty() {
            return None;
        }
        Some(Ask { session_id: self.id, epoch: self.epoch, wanted, forgotten })
    }

    /// The fetcher has let go of a partition.
    pub fn drop_member(&mut self, partition: &TopicPartition, told: Told) {
        if let Some((topic_id, _)) = told.0 {
            self.dropped.push(Named { partition: partition.clone(), topic_id, what: () });
        }
    }

    /// The leader took the request; `session_id` is in its answer. 0: it keeps no session for us.
    pub fn answered(&mut self, session_id: i32) {
        match session_id {
            NO_SESSION => *self = AskingSession { by_id: self.by_id, ..AskingSession::default() },
            id => {
                self.id = id;
                self.epoch = next_epoch(self.epoch);
            }
        }
    }

    /// The leader does not know the session.
    pub fn lost(&mut self) {
        self.id = NO_SESSION;
        self.start_over();
    }

    /// No answer, or an error: whether the leader took the request is not known. The session is replaced.
    pub fn failed(&mut self) {
        self.start_over();
    }

    fn start_over(&mut self) {
        self.epoch = INITIAL_EPOCH;
        self.dropped.clear();
    }
}

#[cfg(test)]
mod tests {
    use storage::types::Offset;

    use super::*;

    /// Partitions of one topic, each with the offset it wants.
    fn ask(session: &mut AskingSession, told: &mut [Told], wanted: &[Option<i64>]) -> Option<Ask> {
        let ids: Vec<TopicPartition> =
            (0..).zip(wanted).map(|(index, _)| TopicPartition::new("t", index)).collect();
        let members = ids.iter().zip(told.iter_mut()).zip(wanted).map(|((partition, told), wanted)| Member {
            partition,
            topic_id: TopicId([1; 16]),
            wanted: wanted.map(|offset| Wanted::at(Offset(offset))),
            told,
        });
        session.next(true, members)
    }

    fn partitions<T>(named: &[Named<T>]) -> Vec<i32> {
        named.iter().map(|one| one.partition.partition).collect()
    }

    #[test]
    fn the_first_request_says_everything_and_later_ones_what_changed() {
        let (mut session, mut told) = (AskingSession::default(), [Told::default(); 3]);
        let first = ask(&mut session, &mut told, &[Some(5), Some(6), Some(7)]).expect("something");
        assert_eq!((first.session_id, first.epoch), (0, 0));
        assert_eq!(partitions(&first.wanted), [0, 1, 2]);
        session.answered(77);
        let second = ask(&mut session, &mut told, &[Some(5), Some(9), Some(7)]).expect("something");
        assert_eq!((second.session_id, second.epoch), (77, 1));
        assert_eq!(partitions(&second.wanted), [1]);
        session.answered(77);
        let third = ask(&mut session, &mut told, &[Some(5), Some(9), Some(7)]).expect("a long poll");
        assert_eq!((third.epoch, third.wanted.len()), (2, 0));
    }

    #[test]
    fn a_partition_that_waits_is_forgotten_and_comes_back() {
        let (mut session, mut told) = (AskingSession::default(), [Told::default(); 2]);
        ask(&mut session, &mut told, &[Some(5), Some(6)]);
        session.answered(77);
        let without = ask(&mut session, &mut told, &[Some(5), None]).expect("something");
        assert_eq!(partitions(&without.forgotten), [1]);
        assert_eq!(told[1].wanted(), None);
        session.answered(77);
        let back = ask(&mut session, &mut told, &[Some(5), Some(6)]).expect("something");
        assert_eq!(partitions(&back.wanted), [1]);
    }

    #[test]
    fn with_nothing_to_ask_and_nothing_to_forget_there_is_no_request() {
        let (mut session, mut told) = (AskingSession::default(), [Told::default(); 1]);
        assert_eq!(ask(&mut session, &mut told, &[None]), None);
        ask(&mut session, &mut told, &[Some(1)]);
        session.answered(77);
        session.drop_member(&TopicPartition::new("t", 0), told[0]);
        let last = ask(&mut session, &mut [], &[]).expect("a farewell");
        assert_eq!(partitions(&last.forgotten), [0]);
        session.answered(77);
        assert_eq!(ask(&mut session, &mut [], &[]), None);
    }

    #[test]
    fn after_a_failure_everything_is_said_again_in_place_of_the_old_session() {
        let (mut session, mut told) = (AskingSession::default(), [Told::default(); 2]);
        ask(&mut session, &mut told, &[Some(5), Some(6)]);
        session.answered(77);
        ask(&mut session, &mut told, &[Some(8), Some(6)]);
        session.failed();
        let again = ask(&mut session, &mut told, &[Some(8), None]).expect("something");
        assert_eq!((again.session_id, again.epoch), (77, 0));
        assert_eq!(partitions(&again.wanted), [0]);
        assert!(again.forgotten.is_empty());
        session.lost();
        let anew = ask(&mut session, &mut told, &[Some(8), Some(6)]).expect("something");
        assert_eq!((anew.session_id, anew.epoch, anew.wanted.len()), (0, 0, 2));
    }

    #[test]
    fn a_leader_without_room_for_a_session_is_told_everything_every_time() {
        let (mut session, mut told) = (AskingSession::default(), [Told::default(); 2]);
        for _ in 0..3 {
            let ask = ask(&mut session, &mut told, &[Some(5), Some(6)]).expect("something");
            assert_eq!((ask.session_id, ask.epoch, ask.wanted.len()), (0, 0, 2));
            session.answered(0);
        }
    }

    #[test]
    fn a_topic_made_anew_under_its_name_takes_the_place_of_the_old_one() {
        let (mut session, mut told) = (AskingSession::default(), Told::default());
        let partition = TopicPartition::new("t", 0);
        let mut next = |id: u8| {
            let member = Member {
                partition: &partition,
                topic_id: TopicId([id; 16]),
                wanted: Some(Wanted::at(Offset(0))),
                told: &mut told,
            };
            let ask = session.next(true, [member]).expect("something");
            session.answered(77);
            ask
        };
        next(1);
        let second = next(2);
        assert_eq!(second.forgotten[0].topic_id, TopicId([1; 16]));
        assert_eq!(second.wanted[0].topic_id, TopicId([2; 16]));
    }

    #[test]
    fn naming_topics_the_other_way_takes_another_session() {
        let (mut session, mut told) = (AskingSession::default(), [Told::default(); 1]);
        ask(&mut session, &mut told, &[Some(5)]);
        session.answered(77);
        let partition = TopicPartition::new("t", 0);
        let member = Member {
            partition: &partition,
            topic_id: TopicId::ZERO,
            wanted: Some(Wanted::at(Offset(5))),
            told: &mut told[0],
        };
        let by_name = session.next(false, [member]).expect("something");
        assert_eq!((by_name.session_id, by_name.epoch, by_name.wanted.len()), (77, 0, 1));
    }
}
