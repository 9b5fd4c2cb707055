//! A fetch session from the fetcher's side (KIP-227): what must be said this time, and what the leader knows already.
//!
//! Always true: what a partition is [`Told`] to want is what the leader's session wants of it, as far as the fetcher can
//! know; after any failure the next request says everything anew.

use std::collections::BTreeMap;

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

/// The fetcher's side of one session.
#[derive(Debug)]
pub struct AskingSession {
    id: i32,
    epoch: i32,
    by_id: bool,
    /// How many partitions the leader's session has that the fetcher has too.
    members: usize,
    /// Partitions that the leader's session has and the fetcher has not any more.
    dropped: Vec<Named<()>>,
}

impl Default for AskingSession {
    fn default() -> Self {
        AskingSession { id: NO_SESSION, epoch: INITIAL_EPOCH, by_id: false, members: 0, dropped: Vec::new() }
    }
}

impl AskingSession {
    /// Whether the next request says everything, so that it has to be made of all partitions. `by_id`: whether topics
    /// are named by id.
    pub fn begin(&mut self, by_id: bool) -> bool {
        if by_id != self.by_id {
            self.by_id = by_id;
            self.start_over();
        }
        self.epoch == INITIAL_EPOCH
    }

    /// The next request, after [`begin`](Self::begin).
    pub fn draft(&mut self) -> Draft<'_> {
        let full = self.epoch == INITIAL_EPOCH;
        if full {
            self.members = 0;
        }
        let forgotten = std::mem::take(&mut self.dropped);
        Draft { session: self, full, wanted: Vec::new(), forgotten }
    }

    /// The fetcher has let go of a partition.
    pub fn drop_member(&mut self, partition: &TopicPartition, told: Told) {
        if let Some((topic_id, _)) = told.0 {
            self.members = self.members.saturating_sub(1);
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

/// A request that is being made. Partitions it is not told of want what they wanted.
#[derive(Debug)]
#[must_use = "the session counts on the request being sent"]
pub struct Draft<'a> {
    session: &'a mut AskingSession,
    full: bool,
    wanted: Vec<Named<Wanted>>,
    forgotten: Vec<Named<()>>,
}

impl Draft<'_> {
    /// `wanted` of one partition; `None`: nothing for now.
    pub fn want(
        &mut self,
        partition: &TopicPartition,
        topic_id: TopicId,
        wanted: Option<Wanted>,
        told: &mut Told,
    ) {
        let next = wanted.map(|wanted| (topic_id, wanted));
        let before = std::mem::replace(&mut told.0, next).filter(|_| !self.full);
        self.session.members += usize::from(next.is_some());
        self.session.members -= usize::from(before.is_some());
        let named = |topic_id| Named { partition: partition.clone(), topic_id, what: () };
        match (before, next) {
            // Another topic of the same name.
            (Some((before, _)), Some((topic_id, _))) if before != topic_id => {
                self.forgotten.push(named(before));
            }
            (Some((before, _)), None) => self.forgotten.push(named(before)),
            _ => {}
        }
        if let Some((topic_id, now)) = next
            && before != next
        {
            self.wanted.push(Named { partition: partition.clone(), topic_id, what: now });
        }
    }

    /// `None` where there is nothing to ask for.
    #[must_use]
    pub fn done(mut self) -> Option<Ask> {
        if self.full {
            self.forgotten.clear();
        }
        keep_what_came_back(&mut self.forgotten, &self.wanted, self.session.by_id);
        if self.session.members == 0 && self.forgotten.is_empty() {
            return None;
        }
        let AskingSession { id, epoch, .. } = *self.session;
        Some(Ask { session_id: id, epoch, wanted: self.wanted, forgotten: self.forgotten })
    }
}

/// Sessions forget after they have added: what is wanted must not be named as forgotten, or it would be gone from the
/// leader's session while the fetcher waits for its records.
fn keep_what_came_back(forgotten: &mut Vec<Named<()>>, wanted: &[Named<Wanted>], by_id: bool) {
    if forgotten.is_empty() {
        return;
    }
    let back: BTreeMap<&TopicPartition, TopicId> =
        wanted.iter().map(|one| (&one.partition, one.topic_id)).collect();
    forgotten.retain(|one| back.get(&one.partition).is_none_or(|id| by_id && *id != one.topic_id));
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use storage::types::Offset;

    use super::*;

    /// Partitions of one topic, each with the offset it wants.
    fn ask(session: &mut AskingSession, told: &mut [Told], wanted: &[Option<i64>]) -> Option<Ask> {
        let ids: Vec<TopicPartition> =
            (0..).zip(wanted).map(|(index, _)| TopicPartition::new("t", index)).collect();
        session.begin(true);
        let mut draft = session.draft();
        for ((partition, told), wanted) in ids.iter().zip(told.iter_mut()).zip(wanted) {
            draft.want(partition, TopicId([1; 16]), wanted.map(|offset| Wanted::at(Offset(offset))), told);
        }
        draft.done()
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
    fn a_partition_that_comes_back_before_the_leader_heard_of_it_stays_in_the_session() {
        let (mut session, mut told) = (AskingSession::default(), [Told::default(); 2]);
        ask(&mut session, &mut told, &[Some(5), Some(6)]);
        session.answered(77);
        session.drop_member(&TopicPartition::new("t", 1), std::mem::take(&mut told[1]));
        let back = ask(&mut session, &mut told, &[Some(5), Some(6)]).expect("something");
        assert_eq!((partitions(&back.wanted), partitions(&back.forgotten)), (vec![1], vec![]));
    }

    /// What a fetcher does to one of its partitions between two requests.
    #[derive(Clone, Copy, Debug)]
    enum Turn {
        Want(i64),
        Pause,
        LetGo,
    }

    fn turns() -> impl Strategy<Value = Vec<(usize, Turn)>> {
        let turn = prop_oneof![(0..4i64).prop_map(Turn::Want), Just(Turn::Pause), Just(Turn::LetGo)];
        prop::collection::vec((0..3usize, turn), 0..5)
    }

    proptest! {
        /// A leader that adds what is wanted and then drops what is forgotten has what the fetcher believes it has.
        #[test]
        fn the_leader_has_of_a_session_what_the_fetcher_was_told(rounds in prop::collection::vec(turns(), 1..12)) {
            let mut session = AskingSession::default();
            let (mut told, mut now) = ([Told::default(); 3], [None; 3]);
            let mut leaders: BTreeSet<i32> = BTreeSet::new();
            for round in rounds {
                for (at, turn) in round {
                    now[at] = match turn {
                        Turn::Want(offset) => Some(offset),
                        Turn::Pause => None,
                        Turn::LetGo => {
                            let partition = TopicPartition::new("t", i32::try_from(at).expect("small"));
                            session.drop_member(&partition, std::mem::take(&mut told[at]));
                            None
                        }
                    };
                }
                let Some(request) = ask(&mut session, &mut told, &now) else { continue };
                if request.epoch == INITIAL_EPOCH {
                    leaders.clear();
                }
                leaders.extend(partitions(&request.wanted));
                leaders.retain(|partition| !partitions(&request.forgotten).contains(partition));
                session.answered(77);
                let believed = (0..).zip(&told).filter(|(_, told)| told.wanted().is_some());
                prop_assert_eq!(&leaders, &believed.map(|(at, _)| at).collect());
            }
        }
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
            session.begin(true);
            let mut draft = session.draft();
            draft.want(&partition, TopicId([id; 16]), Some(Wanted::at(Offset(0))), &mut told);
            let ask = draft.done().expect("something");
            session.answered(77);
            ask
        };
        next(1);
        let second = next(2);
        assert_eq!(second.forgotten[0].topic_id, TopicId([1; 16]));
        assert_eq!(second.wanted[0].topic_id, TopicId([2; 16]));
    }

    #[test]
    fn partitions_that_are_left_out_stay_as_they_were() {
        let (mut session, mut told) = (AskingSession::default(), [Told::default(); 3]);
        assert!(session.begin(true));
        ask(&mut session, &mut told, &[Some(5), Some(6), Some(7)]);
        session.answered(77);
        assert!(!session.begin(true));
        let poll = session.draft().done().expect("a long poll for all of them");
        assert_eq!((poll.wanted.len(), poll.forgotten.len()), (0, 0));
        session.answered(77);
        let first = ask(&mut session, &mut told[..1], &[None]).expect("something");
        assert_eq!((first.wanted.len(), partitions(&first.forgotten)), (0, vec![0]));
        session.answered(77);
        for (index, told) in (1..).zip(&told[1..]) {
            session.drop_member(&TopicPartition::new("t", index), *told);
        }
        assert_eq!(partitions(&session.draft().done().expect("a farewell").forgotten), [1, 2]);
        session.answered(77);
        assert_eq!(session.draft().done(), None);
    }

    #[test]
    fn naming_topics_the_other_way_takes_another_session() {
        let (mut session, mut told) = (AskingSession::default(), [Told::default(); 1]);
        ask(&mut session, &mut told, &[Some(5)]);
        session.answered(77);
        let partition = TopicPartition::new("t", 0);
        assert!(session.begin(false), "everything is said again");
        let mut draft = session.draft();
        draft.want(&partition, TopicId::ZERO, Some(Wanted::at(Offset(5))), &mut told[0]);
        let by_name = draft.done().expect("something");
        assert_eq!((by_name.session_id, by_name.epoch, by_name.wanted.len()), (77, 0, 1));
    }
}
